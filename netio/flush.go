package netio

import (
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	// maxBuffers is how many buffers one write takes (Linux: UIO_MAXIOV).
	maxBuffers = 1024
	// keepEntries is how many buffers a list of them may have room for that is kept for others.
	keepEntries = 64
	// pieceBytes is what a blocking write takes at once: one full TLS record (RFC 8446 section 5.1).
	pieceBytes = 16 << 10
)

// past is a deadline that ends a write in progress.
var past = time.Unix(1, 0)

var pieces = sync.Pool{New: func() any { b := make([]byte, 0, pieceBytes); return &b }}

// turn is a worker's visit to a writer that was listed.
func (w *Writer) turn(s *scratch) {
	w.mu.Lock()
	w.listed = false
	held := w.held
	w.held = true
	w.mu.Unlock()
	if !held { // else who holds it sees to what is pending
		w.flush(s, true)
	}
}

// flush writes what is pending with one call that does not wait, and then lets go of the writer, or hands it to a goroutine that waits until the peer takes more. The source is asked only if
// fill says so: the caller of Queue or Write may hold locks of its own, so there neither the source nor OnError is called.
func (w *Writer) flush(s *scratch, fill bool) {
	if !w.gather(s, fill) {
		return
	}
	n, freed := 0, 0
	if len(s.bufs) > 0 {
		if err := w.attempt(s); err != nil {
			s.release()
			w.broken(err, !fill)
			return
		}
		blocked := s.n < s.tried
		n, freed = s.n, w.wrote(s)
		s.release()
		if blocked {
			w.account(n, freed)
			go w.flushWaiting()
			return
		}
	}
	w.letGo(n, freed)
}

// attempt writes as much of s.bufs as the system takes at once.
func (w *Writer) attempt(s *scratch) error {
	s.n, s.tried, s.err = 0, 0, nil
	err := w.raw.Control(s.once) // and not Write, which asks the poller too; it never waits here, and only one goroutine writes
	if err == nil && s.err != syscall.EAGAIN {
		err = s.err
	}
	if err != nil {
		return w.opError(err)
	}
	return nil
}

// gather collects in s.bufs what is to be written next: what is left of the last time, or else the queue and, if asked, what the source has. It
// returns false if there will be no more writing.
func (w *Writer) gather(s *scratch, fill bool) bool {
	w.mu.Lock()
	if err := w.err; err != nil {
		w.mu.Unlock()
		w.dropRest(err)
		return false
	}
	var source Source
	if w.rest == nil {
		w.rest, w.queue = w.queue, nil
		if fill && w.dirty && (w.rest == nil || len(w.rest.list) <= maxBuffers) && w.source != nil {
			w.dirty = false
			if !w.gated || w.source.(Gated).Enter() { // else who keeps it shut calls Wake after
				source = w.source
			}
		}
	}
	w.mu.Unlock()
	if w.rest != nil {
		for _, e := range w.rest.list[:min(len(w.rest.list), maxBuffers)] {
			s.bufs = append(s.bufs, e.b)
		}
	}
	if source == nil {
		return true
	}
	own := len(s.bufs)
	s.bufs = source.Fill(s.bufs, fillBytes)
	if w.gated {
		source.(Gated).Leave()
	}
	size := 0
	for _, b := range s.bufs[own:] {
		size += len(b)
	}
	if size >= fillBytes {
		w.mu.Lock()
		w.dirty = true
		w.mu.Unlock()
	}
	return true
}

// pendingLocked says whether there is more to do, be it only to answer those whose buffers will not go out.
func (w *Writer) pendingLocked() bool {
	return w.rest != nil || w.err == nil && (w.queue != nil || w.dirty && w.source != nil)
}

// letGo ends the holding of the writer after n bytes were written, and leaves what is pending to the pool.
func (w *Writer) letGo(n, freed int) {
	w.mu.Lock()
	w.accountLocked(n, freed)
	w.held = false
	start := w.pendingLocked() && w.listLocked()
	w.mu.Unlock()
	if start {
		w.start()
	}
}

func (w *Writer) account(n, freed int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.accountLocked(n, freed)
}

// accountLocked counts a write of n bytes that has freed so much of the queue.
func (w *Writer) accountLocked(n, freed int) {
	if n > 0 {
		w.bytes += uint64(n)
		w.writes++
	}
	if w.err == nil {
		w.queued -= freed
	}
}

// wrote looks at the s.n bytes just written: it answers those whose buffers are out and keeps the rest. It returns how much of the queue is free again.
func (w *Writer) wrote(s *scratch) (freed int) {
	n, out := s.n, 0
	for out < len(s.bufs) && n >= len(s.bufs[out]) {
		n -= len(s.bufs[out])
		out++
	}
	if w.rest == nil && out == len(s.bufs) {
		return 0
	}
	rest := w.rest
	if rest == nil {
		rest = entriesPool.Get().(*entries)
	}
	own := rest.list
	for _, e := range own[:min(out, len(own))] {
		freed += e.size
		e.finish(nil)
	}
	if out >= len(own) && out == len(s.bufs) {
		w.rest = nil
		rest.free()
		return freed
	}
	for i := len(own); i < len(s.bufs); i++ {
		own = append(own, entry{b: s.bufs[i]})
	}
	own = slices.Delete(own, 0, out)
	own[0].b = own[0].b[n:]
	for i := range own {
		own[i].move()
	}
	rest.list = own
	w.rest = rest
	return freed
}

// flushWaiting writes what a peer did not take at once. It waits as long as the peer takes something within the timeout, and then leaves the writer to the pool again.
func (w *Writer) flushWaiting() {
	s := scratchPool.Get().(*scratch)
	defer scratchPool.Put(s)
	for done := false; !done; s.release() {
		if !w.gather(s, false) || !w.await() {
			s.release()
			return
		}
		s.err = nil
		err := w.raw.Write(s.wait)
		if err == nil {
			err = s.err
		}
		w.waited()
		if err != nil {
			s.release()
			w.broken(w.opError(err), false)
			return
		}
		w.account(s.n, w.wrote(s))
		done = w.rest == nil
	}
	w.letGo(0, 0)
}

// flushBlocking is the flush of a connection that cannot be written without waiting. It joins small buffers, for each write is a TLS record and a system call.
func (w *Writer) flushBlocking() {
	s := scratchPool.Get().(*scratch)
	defer scratchPool.Put(s)
	piece := pieces.Get().(*[]byte)
	defer pieces.Put(piece)
	for w.gather(s, true) {
		b := w.join((*piece)[:0], s.bufs)
		if len(b) > 0 {
			if !w.await() {
				s.release()
				return
			}
			_, err := w.conn.Write(b)
			w.waited()
			if err != nil {
				s.release()
				w.broken(err, false)
				return
			}
		}
		s.n = len(b)
		w.account(s.n, w.wrote(s))
		s.release()
		w.mu.Lock()
		w.held = w.pendingLocked()
		more := w.held
		w.mu.Unlock()
		if !more {
			return
		}
	}
}

// join appends to b as much of bufs as fits, and gives the callers of Write their bytes back.
func (w *Writer) join(b []byte, bufs [][]byte) []byte {
	whole := 0
	for _, next := range bufs {
		n := min(len(next), pieceBytes-len(b))
		b = append(b, next[:n]...)
		if n < len(next) {
			break
		}
		whole++
	}
	if w.rest == nil {
		return b
	}
	for i := range w.rest.list {
		if i < whole {
			w.rest.list[i].let()
		} else {
			w.rest.list[i].move()
		}
	}
	return b
}

// await sets the deadline of a write that may wait. It returns false if the writer has ended.
func (w *Writer) await() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		w.dropRest(w.err)
		return false
	}
	w.waiting = true
	if w.timeout > 0 {
		w.conn.SetWriteDeadline(time.Now().Add(w.timeout))
	}
	return true
}

// waited takes the deadline away, be it await's or that of fail.
func (w *Writer) waited() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = false
	if w.timeout > 0 || w.err != nil {
		w.conn.SetWriteDeadline(time.Time{})
	}
}

// release empties the borrowed list so that it holds nobody's bytes.
func (s *scratch) release() {
	clear(s.bufs)
	s.bufs = s.bufs[:0]
}

// opError gives an error of a raw connection the look of those of package net.
func (w *Writer) opError(err error) error {
	return &net.OpError{Op: "write", Net: w.conn.LocalAddr().Network(), Source: w.conn.LocalAddr(), Addr: w.conn.RemoteAddr(), Err: cause(err, "writev")}
}

// cause is what went wrong, without what package net says of a raw connection.
func cause(err error, call string) error {
	switch e := err.(type) {
	case *net.OpError:
		return e.Err
	case syscall.Errno:
		return os.NewSyscallError(call, e)
	}
	return err
}
