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
	// keepEntries is how large the list of taken buffers may stay while nothing is pending.
	keepEntries = 16
	// pieceBytes is what a blocking write takes at once: one full TLS record (RFC 8446 section 5.1).
	pieceBytes = 16 << 10
)

// past is a deadline that ends a write in progress.
var past = time.Unix(1, 0)

var pieces = sync.Pool{New: func() any { b := make([]byte, 0, pieceBytes); return &b }}

// turn is one visit to a busy writer: it writes what is pending with one call that does not wait, and either leaves the writer idle, queues it again, or
// hands it to a goroutine that waits until the peer takes more. The caller of Queue or Write may hold locks of its own, so a visit from there (here)
// calls neither the source nor OnError.
func (w *Writer) turn(s *scratch, here bool) {
	if w.lost != nil {
		w.broken(w.lost)
		return
	}
	defer s.release()
	if !w.gather(s, !here) {
		return
	}
	done := true
	if len(s.bufs) > 0 {
		s.err = nil
		err := w.raw.Write(s.once)
		if err == nil && s.err != syscall.EAGAIN {
			err = s.err
		}
		if err != nil {
			w.lost = w.opError(err)
			w.opts.Pool.push(w)
			return
		}
		blocked := s.n < s.tried
		if done = w.wrote(s); !done && blocked {
			go w.flushWaiting()
			return
		}
	}
	if !done || !w.idle() {
		w.opts.Pool.push(w)
	}
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
	if len(w.rest) == 0 {
		w.rest, w.queue = w.queue, w.rest
		if fill && w.dirty && len(w.rest) <= maxBuffers && w.source != nil {
			source, w.dirty = w.source, false
		}
	}
	w.mu.Unlock()
	for _, e := range w.rest[:min(len(w.rest), maxBuffers)] {
		s.bufs = append(s.bufs, e.b)
	}
	if source == nil {
		return true
	}
	own := len(s.bufs)
	s.bufs = source.Fill(s.bufs, fillBytes)
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

// idle leaves the writer idle unless there is more to do.
func (w *Writer) idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil && (w.dirty && w.source != nil || len(w.queue) > 0) {
		return false
	}
	w.busy = false
	return true
}

// wrote accounts for the s.n bytes just written: it answers those whose buffers are out and keeps the rest. It returns true if all that was taken is written.
func (w *Writer) wrote(s *scratch) bool {
	own, n, out, freed := w.rest, s.n, 0, 0
	for ; out < len(s.bufs) && n >= len(s.bufs[out]); out++ {
		n -= len(s.bufs[out])
		if out < len(own) {
			freed += own[out].size
		}
	}
	w.mu.Lock()
	w.bytes += uint64(s.n)
	w.writes++
	w.queued -= freed
	w.mu.Unlock()
	for _, e := range own[:min(out, len(own))] {
		e.finish(nil)
	}
	if out >= len(own) && out == len(s.bufs) {
		clear(own)
		if cap(own) > keepEntries {
			own = nil
		}
		w.rest = own[:0]
		return true
	}
	for i := len(own); i < len(s.bufs); i++ {
		own = append(own, entry{b: s.bufs[i]})
	}
	own = slices.Delete(own, 0, out)
	own[0].b = own[0].b[n:]
	for i := range own {
		own[i].move()
	}
	w.rest = own
	return false
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
			w.broken(w.opError(err))
			return
		}
		done = w.wrote(s)
	}
	if !w.idle() {
		w.opts.Pool.push(w)
	}
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
				w.broken(err)
				return
			}
		}
		s.n = len(b)
		done := w.wrote(s)
		s.release()
		if done && w.idle() {
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
	for i := range w.rest {
		if i < whole {
			w.rest[i].let()
		} else {
			w.rest[i].move()
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
	if w.opts.Timeout > 0 {
		w.conn.SetWriteDeadline(time.Now().Add(w.opts.Timeout))
	}
	return true
}

// waited takes the deadline away, be it await's or that of fail.
func (w *Writer) waited() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = false
	if w.opts.Timeout > 0 || w.err != nil {
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
