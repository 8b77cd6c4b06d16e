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
type Writer struct {
	conn net.Conn
	raw  syscall.RawConn // nil: blocking writes
	opts WriterOptions
	next *Writer // guarded by the pool's mu

	mu      sync.Mutex
	source  Source
	queue   []entry
	queued  int   // what Queue has taken and is not yet written, for QueueLimit
	busy    bool  // somebody flushes, or is about to
	dirty   bool  // the source may have something
	waiting bool  // somebody waits for the peer under a deadline
	err     error // no more writes
	bytes   uint64
	writes  uint64

	// owned by whoever is busy
	rest []entry // taken but not yet written
	lost error   // a write failed; it is yet to be told
}

// entry is a buffer to be written, and the Write that it belongs to, if any.
type entry struct {
	b     []byte
	wait  *ticket
	size  int  // what it counts in Writer.queued
	last  bool // of its Write
	moved bool // b is the writer's own copy, or is not read any more
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
	return &Writer{conn: c, raw: rawConn(c), opts: o}
}

// SetSource says where the writer gets what it sends when it is woken.
func (w *Writer) SetSource(s Source) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.source = s
}

// Stats returns how many bytes went out in how many writes.
func (w *Writer) Stats() (bytes, writes uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.bytes, w.writes
}

// Idle says whether everything that was queued so far is written. True means that the bytes given to Queue before may be used again.
func (w *Writer) Idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.busy && len(w.queue) == 0
}

// Wake says that the source may have something to send. It never blocks; a worker does the rest.
func (w *Writer) Wake() {
	w.mu.Lock()
	w.dirty = true
	start := !w.busy && w.err == nil
	if start {
		w.busy = true
	}
	w.mu.Unlock()
	if start {
		w.start()
	}
}

// start hands a writer that was just made busy to whoever flushes it.
func (w *Writer) start() {
	if w.raw == nil {
		go w.flushBlocking()
		return
	}
	w.opts.Pool.push(w)
}

// Queue adds buffers that are sent before anything more that the source gives. The bytes must not change any more. It never blocks: past QueueLimit it returns ErrSlow and takes nothing.
func (w *Writer) Queue(bufs ...[]byte) error {
	size := 0
	for _, b := range bufs {
		size += queuedSize(b)
	}
	w.mu.Lock()
	if err := w.err; err != nil || size == 0 {
		w.mu.Unlock()
		return err
	}
	if w.queued > 0 && w.queued+size > w.opts.QueueLimit {
		w.mu.Unlock()
		return ErrSlow
	}
	for _, b := range bufs {
		if len(b) > 0 {
			w.queue = append(w.queue, entry{b: b, size: queuedSize(b)})
		}
	}
	w.queued += size
	start := !w.busy
	w.busy = true
	w.mu.Unlock()
	if start {
		w.startHere()
	}
	return nil
}

// queuedSize is what a buffer counts against QueueLimit.
func queuedSize(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	return len(b) + queuedOverhead
}

// startHere makes the first attempt in the caller's goroutine: it does not wait, and saves a hop.
func (w *Writer) startHere() {
	if w.raw == nil {
		go w.flushBlocking()
		return
	}
	s := scratchPool.Get().(*scratch)
	w.turn(s, true)
	scratchPool.Put(s)
}

// Write sends the buffers and returns when the system has taken them all; the caller may then change them. When ctx ends first, buffers of which nothing was sent are
// withdrawn, and otherwise a copy of the rest still goes out, so that the stream of bytes stays whole; Write returns the error of ctx in both cases and the connection stays usable.
func (w *Writer) Write(ctx context.Context, bufs ...[]byte) error {
	if err := ctx.Err(); err != nil || len(bufs) == 0 {
		return err
	}
	t := w.newTicket()
	w.mu.Lock()
	if w.err != nil {
		defer w.mu.Unlock()
		t.free()
		return w.err
	}
	for i, b := range bufs {
		w.queue = append(w.queue, entry{b: b, wait: t, last: i == len(bufs)-1})
	}
	start := !w.busy
	w.busy = true
	w.mu.Unlock()
	if start {
		w.startHere()
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

// withdraw takes the n buffers of a Write out of the queue, or waits until the writer has copied those that it has taken; it does so before it ever waits for the peer.
func (w *Writer) withdraw(t *ticket, n int) {
	w.mu.Lock()
	for i := range w.queue {
		if w.queue[i].wait == t {
			w.queue = slices.Delete(w.queue, i, i+n)
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
func (w *Writer) Flush(ctx context.Context) error { return w.Write(ctx, []byte{}) }

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
	for _, e := range w.queue {
		e.finish(err)
	}
	w.queue, w.queued = nil, 0
	if w.waiting {
		w.conn.SetWriteDeadline(past)
	}
	return true
}

// dropRest answers those whose buffers were taken and will not go out.
func (w *Writer) dropRest(err error) {
	for _, e := range w.rest {
		e.finish(err)
	}
	w.rest = nil
}

func (e entry) finish(err error) {
	if e.last {
		e.wait.done <- err
	}
}

// broken ends the writer because a write failed, and says so. If it had ended before, that counts.
func (w *Writer) broken(err error) {
	first := w.fail(err)
	w.mu.Lock()
	err = w.err
	w.mu.Unlock()
	w.dropRest(err)
	if first && w.opts.OnError != nil {
		w.opts.OnError(err)
	}
}
