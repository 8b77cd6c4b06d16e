package netio

import (
	"io"
	"net"
	"sync/atomic"
	"syscall"
)

// Watch tells a Handler when something arrives on a Socket, and holds no goroutine meanwhile. It goes by edges: a handler reads until nothing more is there. All
// methods may run at once.
type Watch struct {
	socket  *Socket
	handler Handler
	loop    *loop  // set by Start
	serial  uint32 // tells this watch from another one of the same descriptor
	state   atomic.Uint32
	apart   atomic.Int32 // how many of the next turns get a goroutine of their own, because one has blocked
}

// The bits of Watch.state.
const (
	watchBusy  = 1 << iota // somebody is about to give it its turn, or does
	watchAgain             // and must give it another one
	watchEnd               // the peer has ended its side, or the connection failed
	watchStopped
)

// apartTurns is Watch.apart when a turn has blocked.
const apartTurns = 64

// NewWatch makes a watch of a socket; it is nil if c is no *Socket.
func NewWatch(c net.Conn, h Handler) *Watch {
	s, ok := c.(*Socket)
	if !ok {
		return nil
	}
	w := &Watch{socket: s, handler: h}
	w.state.Store(watchBusy) // until Start
	return w
}

// Start begins to call the handler, from other goroutines than the caller's; at once if something is there already, or Wake was called. It returns false, and the watch is of no use, if the connection is closed
// or the system has no more watches. It can be called once.
func (w *Watch) Start() bool {
	if !loops.add(w) {
		return false
	}
	if w.leave() {
		go w.runApart()
	}
	return true
}

// Stop ends the calls of the handler; one may still be in progress. It must be called in the end, before the connection is closed or after.
func (w *Watch) Stop() {
	if w.set(watchStopped)&watchStopped == 0 {
		loops.remove(w)
	}
}

// Wake gives the handler a turn, in another goroutine than the caller's. It never blocks.
func (w *Watch) Wake() {
	if w.claim(0) {
		go w.runApart()
	}
}

// set sets bits and returns what was there before.
func (w *Watch) set(bits uint32) uint32 {
	for {
		old := w.state.Load()
		if w.state.CompareAndSwap(old, old|bits) {
			return old
		}
	}
}

// claim says that a turn is due; true means that the caller must run it.
func (w *Watch) claim(bits uint32) bool {
	for {
		old := w.state.Load()
		if old&watchStopped != 0 {
			return false
		}
		next := old | bits | watchBusy
		if old&watchBusy != 0 {
			next |= watchAgain
		}
		if w.state.CompareAndSwap(old, next) {
			return old&watchBusy == 0
		}
	}
}

// run gives the watch the turns that are due.
func (w *Watch) run(t *Turn) {
	t.watch = w
	for again := true; again; {
		t.more = false
		w.handler.Turn(t)
		if t.more && w.state.Load()&watchStopped == 0 {
			go w.runApart()
			break
		}
		again = w.leave()
	}
	t.watch = nil
}

// leave ends a turn; true means that another one is due.
func (w *Watch) leave() bool {
	for {
		old := w.state.Load()
		again := old&watchAgain != 0 && old&watchStopped == 0
		next := old &^ watchAgain
		if !again {
			next &^= watchBusy
		}
		if w.state.CompareAndSwap(old, next) {
			return again
		}
	}
}

// runApart is run in a goroutine of its own.
func (w *Watch) runApart() {
	t := newTurn()
	defer t.free()
	w.run(t)
}

// Turn is what a Handler reads with, until it returns.
type Turn struct {
	watch *Watch
	buf   *[]byte
	more  bool
}

func newTurn() *Turn { return &Turn{buf: readBuffers.Get().(*[]byte)} }

func (t *Turn) free() { readBuffers.Put(t.buf) }

// Read returns what has arrived, which is the caller's until the next Read, nil if that is nothing. more says that there may be more: the handler must read it, or call More. An error is
// io.EOF when the peer has ended its side, or the connection's.
func (t *Turn) Read() (b []byte, more bool, err error) {
	s := t.watch.socket
	if !s.use() {
		return nil, false, opError(s, "read", net.ErrClosed)
	}
	n, err := tryRead(uintptr(s.fd), *t.buf)
	s.free()
	switch {
	case err == syscall.EAGAIN:
		return nil, false, nil
	case err != nil:
		return nil, false, opError(s, "read", cause(err, "read"))
	case n == 0:
		return nil, false, io.EOF
	}
	return (*t.buf)[:n], n == len(*t.buf) || t.watch.state.Load()&watchEnd != 0, nil
}

// More asks for another turn, after others have had theirs.
func (t *Turn) More() { t.more = true }
