package netio

import (
	"net"
	"os"
	"syscall"
	"time"
)

// keepEntries is how large the list of taken buffers may stay while nothing is pending.
const keepEntries = 16

// turn is one worker's visit to a busy writer: it writes what is pending with one call, and either leaves the writer idle, queues it again, or hands
// it to a goroutine that waits until the peer takes more.
func (w *Writer) turn(s *scratch) {
	full, ok := w.gather(s, false)
	if !ok {
		return
	}
	s.err = nil
	if err := w.raw.Write(s.once); err != nil && s.err == nil {
		s.err = err
	}
	if s.err != nil && s.err != syscall.EAGAIN {
		w.broken(w.opError(s.err))
		s.release()
		return
	}
	again := s.err == nil && s.n == s.tried
	done := w.wrote(s)
	s.release()
	switch {
	case !done && !again:
		go w.flushWaiting()
	case !done || !w.idle(full):
		w.opts.Pool.push(w)
	}
}

// gather collects in s.bufs what is to be written next, and says whether the source had more than fits. It returns false if there is nothing or no
// more writing; waits says that the caller is going to wait for the peer.
func (w *Writer) gather(s *scratch, waits bool) (full, ok bool) {
	w.mu.Lock()
	if err := w.err; err != nil {
		w.mu.Unlock()
		w.dropRest(err)
		return false, false
	}
	fill := w.dirty && len(w.rest) == 0 && w.source != nil
	if fill {
		w.dirty = false
	}
	w.rest = append(w.rest, w.queue...)
	clear(w.queue)
	w.queue, w.queued = w.queue[:0], 0
	w.mu.Unlock()
	for i := range w.rest {
		if waits {
			w.rest[i].move()
		}
		s.bufs = append(s.bufs, w.rest[i].b)
	}
	if fill {
		s.bufs = w.source.Fill(s.bufs, fillBytes)
		size := 0
		for _, b := range s.bufs[len(w.rest):] {
			size += len(b)
		}
		full = size >= fillBytes
	}
	if len(s.bufs) == 0 {
		return false, !w.idle(false)
	}
	return full, true
}

// idle leaves the writer idle unless there is more to do.
func (w *Writer) idle(full bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if full {
		w.dirty = true
	}
	if w.err == nil && (w.dirty && w.source != nil || len(w.queue) > 0) {
		return false
	}
	w.busy = false
	return true
}

// wrote accounts for the s.n bytes just written: it answers those whose buffers are out and keeps the rest. It returns true if all is written.
func (w *Writer) wrote(s *scratch) bool {
	n := s.n
	w.mu.Lock()
	w.bytes += uint64(n)
	w.writes++
	w.mu.Unlock()
	own := w.rest
	i := 0
	for ; i < len(s.bufs) && n >= len(s.bufs[i]); i++ {
		n -= len(s.bufs[i])
		if i < len(own) {
			own[i].finish(nil)
		}
	}
	if i == len(s.bufs) {
		clear(own)
		if cap(own) > keepEntries {
			own = nil
		}
		w.rest = own[:0]
		return true
	}
	rest := make([]entry, 0, len(s.bufs)-i)
	for j := i; j < len(s.bufs); j++ {
		e := entry{b: s.bufs[j]}
		if j < len(own) {
			e = own[j]
		}
		if j == i {
			e.b = e.b[n:]
		}
		e.move()
		rest = append(rest, e)
	}
	w.rest = rest
	return false
}

// flushWaiting writes for a peer that does not take everything at once. It waits as long as the peer takes something within the timeout.
func (w *Writer) flushWaiting() {
	s := scratchPool.Get().(*scratch)
	defer scratchPool.Put(s)
	for {
		full, ok := w.gather(s, true)
		if !ok {
			return
		}
		w.setDeadline()
		s.err = nil
		err := w.raw.Write(s.wait)
		if s.err != nil && s.err != syscall.EAGAIN {
			err = s.err
		}
		if err != nil {
			w.broken(w.opError(err))
			s.release()
			return
		}
		done := w.wrote(s)
		s.release()
		w.clearDeadline()
		if done && w.idle(full) {
			return
		}
	}
}

// flushBlocking is the flush of a connection that cannot be written without waiting.
func (w *Writer) flushBlocking() {
	s := scratchPool.Get().(*scratch)
	defer scratchPool.Put(s)
	for {
		full, ok := w.gather(s, true)
		if !ok {
			return
		}
		w.setDeadline()
		bufs := append(net.Buffers(nil), s.bufs...)
		n, err := bufs.WriteTo(w.conn)
		if err != nil {
			w.broken(err)
			s.release()
			return
		}
		s.n = int(n)
		w.wrote(s)
		s.release()
		w.clearDeadline()
		if w.idle(full) {
			return
		}
	}
}

func (w *Writer) setDeadline() {
	if w.opts.Timeout > 0 {
		w.conn.SetWriteDeadline(time.Now().Add(w.opts.Timeout))
	}
}

func (w *Writer) clearDeadline() {
	if w.opts.Timeout > 0 {
		w.conn.SetWriteDeadline(time.Time{})
	}
}

// release empties the borrowed list so that it holds nobody's bytes.
func (s *scratch) release() {
	clear(s.bufs)
	s.bufs = s.bufs[:0]
}

// opError gives an error the look of those of package net.
func (w *Writer) opError(err error) error {
	if errno, ok := err.(syscall.Errno); ok {
		err = os.NewSyscallError("writev", errno)
	}
	if _, ok := err.(*net.OpError); ok {
		return err
	}
	return &net.OpError{Op: "write", Net: w.conn.LocalAddr().Network(), Source: w.conn.LocalAddr(), Addr: w.conn.RemoteAddr(), Err: err}
}
