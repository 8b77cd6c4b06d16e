package netio

import (
	"bytes"
	"context"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	// DefaultQueueLimit bounds what is queued for one connection, in bytes.
	DefaultQueueLimit = 1 << 20
	// DefaultTimeout is how long a peer may take none of the bytes that wait for it.
	DefaultTimeout = 10 * time.Second
	// fillBytes is about how much one write takes from the source.
	fillBytes = 64 << 10
	// queuedOverhead is what a queued buffer counts beside its bytes, so that very short ones are bounded too.
	queuedOverhead = 64
)

// WriterOptions are the settings of a Writer; the zero value is good.
type WriterOptions struct {
	// Pool serves the writer; nil means a pool that all such writers share.
	Pool *Pool
	// QueueLimit bounds what Queue has taken and the system has not: each buffer counts its bytes and 64 more. 0 means DefaultQueueLimit. An empty queue takes
	// buffers of any size.
	QueueLimit int
	// Timeout is how long a write may wait while the peer takes nothing; 0 means DefaultTimeout, negative none. The writer uses the connection's write deadline for it.
	Timeout time.Duration
	// OnError is called at most once, when a write fails, never from a caller of Wake, Queue or Write and with no lock held. It may call any method of the
	// Writer and close the connection.
	OnError func(error)
}

// Writer writes to a connection. What is queued goes out before what is then taken from the source, each buffer whole and in order. All methods may run at once, except SetSource,
// which must be called before the first Wake. Nobody else may write to the connection, or set its write deadline, meanwhile.
//
// The fields stand in the order in which a flush needs them: with many connections each line of memory that it touches has to be fetched.
type Writer struct {
	mu      sync.Mutex
	held    bool  // somebody flushes
	listed  bool  // the pool is going to
	dirty   bool  // the source may have something
	waiting bool  // somebody waits for the peer under a deadline
	gated   bool  // the source is Gated
	err     error // no more writes
	pool    *Pool
	next    *Writer         // guarded by the pool's mu
	raw     syscall.RawConn // nil: blocking writes

	// guarded by mu
	source Source
	queue  *entries // nil: nothing
	queued int      // what Queue has taken and is not yet written, for QueueLimit
	bytes  uint64
	writes uint64

	rest *entries // taken but not yet written; owned by who holds the writer, else guarded by mu; nil: nothing

	conn    net.Conn
	limit   int
	timeout time.Duration
	onError func(error)
}

// entry is a buffer to be written, and the Write that it belongs to, if any.
type entry struct {
	b     []byte
	wait  *ticket
	size  int  // what it counts in Writer.queued
	last  bool // of its Write
	moved bool // b is the writer's own copy, or is not read any more
}

// entries is a borrowed list of them: a writer holds none while nothing is pending.
type entries struct{ list []entry }

var entriesPool = sync.Pool{New: func() any { return &entries{list: make([]entry, 0, 4)} }}

func (e *entries) free() {
	if e == nil || cap(e.list) > keepEntries {
		return
	}
	clear(e.list)
	e.list = e.list[:0]
	entriesPool.Put(e)
}

// move makes b the writer's own, so that the caller of Write gets its bytes back.
func (e *entry) move() {
	if e.wait != nil && !e.moved {
		e.b = bytes.Clone(e.b)
		e.let()
	}
}

// let tells the caller of Write that its bytes are not read any more.
func (e *entry) let() {
	if e.wait == nil || e.moved {
		return
	}
	e.moved = true
	if e.last {
		e.wait.moved <- struct{}{}
	}
}

// ticket is one Write that waits for its last buffer.
type ticket struct {
	done  chan error    // the result
	moved chan struct{} // the caller's bytes are its own again
	own   bool          // not shared through the pool
}

// newTicket borrows a ticket; that of a connection which is no plain socket is new, so that tests can give it a time of its own (testing/synctest).
func (w *Writer) newTicket() *ticket {
	if w.raw != nil {
		return ticketPool.Get().(*ticket)
	}
	return &ticket{done: make(chan error, 1), moved: make(chan struct{}, 1), own: true}
}

func (t *ticket) free() {
	if t.own {
		return
	}
	select {
	case <-t.moved:
	default:
	}
	ticketPool.Put(t)
}

var (
	scratchPool = sync.Pool{New: func() any { return newScratch() }}
	ticketPool  = sync.Pool{New: func() any { return &ticket{done: make(chan error, 1), moved: make(chan struct{}, 1)} }}
)

// NewWriter makes a writer for a connection.
func NewWriter(c net.Conn, o WriterOptions) *Writer {
	if o.Pool == nil {
		o.Pool = defaultPool
	}
	if o.QueueLimit <= 0 {
		o.QueueLimit = DefaultQueueLimit
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	return &Writer{conn: c, raw: rawConn(c), pool: o.Pool, limit: o.QueueLimit, timeout: o.Timeout, onError: o.OnError}
}

// SetSource says where the writer gets what it sends when it is woken.
func (w *Writer) SetSource(s Source) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.source = s
	_, w.gated = s.(Gated)
}

// Stats returns how many bytes went out in how many writes.
func (w *Writer) Stats() (bytes, writes uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.bytes, w.writes
}

// Wake says that the source may have something to send. It never blocks; a worker does the rest.
func (w *Writer) Wake() {
	w.mu.Lock()
	w.dirty = true
	start := w.err == nil && w.listLocked()
	w.mu.Unlock()
	if start {
		w.start()
	}
}

// listLocked makes a writer that nobody looks after the pool's; if it does, start must follow.
func (w *Writer) listLocked() bool {
	if w.held || w.listed {
		return false
	}
	if w.raw == nil {
		w.held = true
	} else {
		w.listed = true
	}
	return true
}

// start hands a writer that listLocked has marked to whoever flushes it.
func (w *Writer) start() {
	if w.raw == nil {
		go w.flushBlocking()
		return
	}
	w.pool.push(w)
}

// Queue adds buffers that are sent before anything more that the source gives. The bytes must not change any more. It never blocks: past QueueLimit it returns ErrSlow and takes nothing.
//
// A call now and then writes at once, in the caller's goroutine. Of calls that follow each other within a few microseconds, to whichever writers of the pool, the second and later ones leave that to the pool's
// workers: so they share the work of a loop over many connections, and what such loops queue for one connection goes out in one write.
func (w *Writer) Queue(bufs ...[]byte) error {
	_, err := w.send(bufs, false)
	return err
}

// QueueNow is Queue that always makes the first attempt in the caller's goroutine. done says that the system has taken all that was queued, so that the bytes may be used again.
func (w *Writer) QueueNow(bufs ...[]byte) (done bool, err error) { return w.send(bufs, true) }

// send is Queue and QueueNow.
func (w *Writer) send(bufs [][]byte, now bool) (done bool, err error) {
	size := 0
	for _, b := range bufs {
		size += queuedSize(b)
	}
	w.mu.Lock()
	if err := w.err; err != nil || size == 0 {
		w.mu.Unlock()
		return err == nil, err
	}
	if w.queued > 0 && w.queued+size > w.limit && !w.canHoldLocked() {
		w.mu.Unlock()
		return false, ErrSlow
	}
	if w.idleLocked() && len(bufs) <= maxBuffers && (now || w.pool.alone()) {
		w.held = true
		w.mu.Unlock()
		left, _, err := w.writeHere(bufs, false)
		if !now {
			w.pool.noteQueue()
		}
		return left == 0, err
	}
	for _, b := range bufs {
		if len(b) > 0 {
			w.addLocked(entry{b: b, size: queuedSize(b)})
		}
	}
	w.queued += size
	if w.canHoldLocked() && (now || w.queued > min(fillBytes, w.limit)) { // the pool is late
		w.held = true
		w.mu.Unlock()
		w.turnHere()
		return w.empty(), nil
	}
	start := w.listLocked()
	w.mu.Unlock()
	if start {
		w.start()
	}
	return false, nil
}

// idleLocked says whether nothing is pending and the caller may write at once.
func (w *Writer) idleLocked() bool {
	return w.canHoldLocked() && w.queue == nil && w.rest == nil
}

// canHoldLocked says whether the caller may flush.
func (w *Writer) canHoldLocked() bool { return !w.held && w.raw != nil }

func (w *Writer) addLocked(e entry) {
	if w.queue == nil {
		w.queue = entriesPool.Get().(*entries)
	}
	w.queue.list = append(w.queue.list, e)
}

// empty says whether everything that was queued so far is written.
func (w *Writer) empty() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.idleLocked()
}

// queuedSize is what a buffer counts against QueueLimit.
func queuedSize(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	return len(b) + queuedOverhead
}

// turnHere flushes in the caller's goroutine what is queued: it does not wait, and saves a hop. The caller has marked the writer as held.
func (w *Writer) turnHere() {
	s := scratchPool.Get().(*scratch)
	w.flush(s, false)
	scratchPool.Put(s)
}

// Write sends the buffers and returns when the system has taken them all; the caller may then change them. When ctx ends first, buffers of which nothing was sent are
// withdrawn, and otherwise a copy of the rest still goes out, so that the stream of bytes stays whole; Write returns the error of ctx in both cases and the connection stays usable.
func (w *Writer) Write(ctx context.Context, bufs ...[]byte) error {
	if err := ctx.Err(); err != nil || len(bufs) == 0 {
		return err
	}
	w.mu.Lock()
	if err := w.err; err != nil {
		w.mu.Unlock()
		return err
	}
	var t *ticket
	if w.idleLocked() && len(bufs) <= maxBuffers {
		w.held = true
		w.mu.Unlock()
		var left int
		var err error
		if left, t, err = w.writeHere(bufs, true); err != nil || left == 0 {
			return err
		}
	} else {
		t = w.newTicket()
		for i, b := range bufs {
			w.addLocked(entry{b: b, wait: t, last: i == len(bufs)-1})
		}
		here := w.canHoldLocked()
		start := !here && w.listLocked()
		w.held = w.held || here
		w.mu.Unlock()
		if here {
			w.turnHere()
		} else if start {
			w.start()
		}
	}
	select {
	case err := <-t.done:
		t.free()
		return err
	case <-ctx.Done():
		w.withdraw(t, len(bufs))
		return ctx.Err()
	}
}

// writeHere writes the buffers of a caller who holds the writer and finds nothing before them, without an entry for each. left is how much the system did not take at once. That waits for the peer, as
// the rest of a Write if the caller wants a ticket to wait too.
func (w *Writer) writeHere(bufs [][]byte, wait bool) (left int, t *ticket, err error) {
	s := scratchPool.Get().(*scratch)
	s.bufs = append(s.bufs, bufs...)
	err = w.attempt(s)
	n, left := s.n, s.tried-s.n
	s.release()
	scratchPool.Put(s)
	switch {
	case err != nil:
		return left, nil, w.broken(err, true)
	case left == 0:
		w.letGo(n, 0)
		return 0, nil, nil
	case wait:
		t = w.newTicket()
	}
	w.keep(bufs, n, t)
	go w.flushWaiting()
	return left, t, nil
}

// keep makes what follows the first n bytes the rest that is to be written, a copy of it if it is that of a Write.
func (w *Writer) keep(bufs [][]byte, n int, t *ticket) {
	wrote, queued := n, 0
	rest := entriesPool.Get().(*entries)
	for _, b := range bufs {
		if n >= len(b) {
			n -= len(b)
			continue
		}
		e := entry{b: b[n:], wait: t, moved: t != nil}
		if n = 0; t != nil {
			e.b = bytes.Clone(e.b)
		} else {
			e.size = queuedSize(b)
			queued += e.size
		}
		rest.list = append(rest.list, e)
	}
	if t != nil {
		rest.list[len(rest.list)-1].last = true
		t.moved <- struct{}{}
	}
	w.rest = rest
	w.account(wrote, -queued)
}

// withdraw takes the n buffers of a Write out of the queue, or waits until the writer has copied those that it has taken; it does so before it ever waits for the peer.
func (w *Writer) withdraw(t *ticket, n int) {
	w.mu.Lock()
	if q := w.queue; q != nil {
		if i := slices.IndexFunc(q.list, func(e entry) bool { return e.wait == t }); i >= 0 {
			if q.list = slices.Delete(q.list, i, i+n); len(q.list) == 0 {
				w.queue = nil
				q.free()
			}
			w.mu.Unlock()
			t.free()
			return
		}
	}
	w.mu.Unlock()
	select {
	case <-t.done:
		t.free()
	case <-t.moved: // the ticket will still be answered, to nobody
	}
}

// Flush returns when everything queued so far was taken by the system.
func (w *Writer) Flush(ctx context.Context) error { return w.Write(ctx, nil) }

// Close stops the writer: what is pending is dropped, a Write that waits and later calls return net.ErrClosed. It does not close the connection. A call of the source's Fill may
// still be in progress when it returns.
func (w *Writer) Close() error {
	w.fail(net.ErrClosed)
	return nil
}

// fail ends the writer with an error; it returns false if it had ended before.
func (w *Writer) fail(err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return false
	}
	w.err = err
	if w.queue != nil {
		for _, e := range w.queue.list {
			e.finish(err)
		}
	}
	w.queue, w.queued = nil, 0
	if w.waiting {
		w.conn.SetWriteDeadline(past)
	}
	return true
}

// dropRest answers those whose buffers were taken and will not go out. The caller holds the writer.
func (w *Writer) dropRest(err error) {
	if w.rest != nil {
		for _, e := range w.rest.list {
			e.finish(err)
		}
	}
	w.rest = nil
}

func (e entry) finish(err error) {
	if e.last {
		e.wait.done <- err
	}
}

// broken ends the writer because a write failed, and says so, unless it had ended before; it returns how it has. The caller of Queue or Write may hold locks of its own, so OnError is not called from there (here).
func (w *Writer) broken(err error, here bool) error {
	first := w.fail(err)
	w.mu.Lock()
	err = w.err
	w.mu.Unlock()
	w.dropRest(err)
	switch {
	case !first || w.onError == nil:
	case here:
		go w.onError(err)
	default:
		w.onError(err)
	}
	return err
}
