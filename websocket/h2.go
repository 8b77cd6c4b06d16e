package websocket

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// h2Read is how much of a stream is read at once, in bytes: a frame of HTTP/2 of the usual greatest size.
const h2Read = 16 << 10

// h2Stream is the reading half of a stream of HTTP/2 as a net.Conn (RFC 8441 section 5). Neither side of Go's HTTP/2 can be read with a deadline that is later taken away, so a goroutine reads ahead, by one buffer.
// One goroutine at a time may call Read.
type h2Stream struct {
	local, remote net.Addr

	in      io.Reader
	buf     []byte
	rest    []byte        // of what arrived
	arrived chan []byte   // a part of buf, which is the reader's until taken
	taken   chan struct{} // buffered, so that Read never waits to say so
	over    chan struct{} // closed when in has ended, with err
	err     error

	closed    chan struct{}
	closeOnce sync.Once
	read      h2Deadline
	write     h2Deadline
}

func (s *h2Stream) init() {
	s.arrived, s.taken, s.over, s.closed = make(chan []byte), make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	s.read.passed, s.write.passed = make(chan struct{}), make(chan struct{})
}

// start begins to read ahead.
func (s *h2Stream) start(in io.Reader) {
	s.in, s.buf = in, make([]byte, h2Read)
	go s.readAhead()
}

// readAhead ends with what it reads from, which ends no later than the stream is closed.
func (s *h2Stream) readAhead() {
	defer close(s.over)
	for {
		n, err := s.in.Read(s.buf)
		if n > 0 {
			select {
			case s.arrived <- s.buf[:n]:
			case <-s.closed:
				return
			}
			select {
			case <-s.taken:
			case <-s.closed:
				return
			}
		}
		if err != nil {
			s.err = err
			return
		}
	}
}

// Read implements net.Conn.
func (s *h2Stream) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		passed := s.read.wait()
		select { // these come before what has arrived
		case <-s.closed:
			return 0, net.ErrClosed
		case <-passed:
			return 0, os.ErrDeadlineExceeded
		default:
		}
		select {
		case s.rest = <-s.arrived:
		case <-s.closed:
			return 0, net.ErrClosed
		case <-passed:
			return 0, os.ErrDeadlineExceeded
		case <-s.over:
			if s.err == nil {
				return 0, net.ErrClosed
			}
			return 0, s.err
		}
	}
	n := copy(p, s.rest)
	if s.rest = s.rest[n:]; len(s.rest) == 0 {
		s.taken <- struct{}{}
	}
	return n, nil
}

// LocalAddr implements net.Conn.
func (s *h2Stream) LocalAddr() net.Addr { return s.local }

// RemoteAddr implements net.Conn.
func (s *h2Stream) RemoteAddr() net.Addr { return s.remote }

// SetReadDeadline implements net.Conn.
func (s *h2Stream) SetReadDeadline(t time.Time) error {
	s.read.set(t)
	return nil
}

// SetWriteDeadline implements net.Conn. A write that it interrupts ends the stream.
func (s *h2Stream) SetWriteDeadline(t time.Time) error {
	s.write.set(t)
	return nil
}

// SetDeadline implements net.Conn.
func (s *h2Stream) SetDeadline(t time.Time) error {
	s.read.set(t)
	s.write.set(t)
	return nil
}

// h2Deadline is a moment that may be moved, and a channel that is closed when it has passed.
type h2Deadline struct {
	onPass func() // called, if set, when the moment passes

	mu     sync.Mutex
	at     time.Time // zero: never
	passed chan struct{}
	timer  *time.Timer
}

func (d *h2Deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.passed
}

func (d *h2Deadline) set(t time.Time) {
	d.mu.Lock()
	select {
	case <-d.passed:
		d.passed = make(chan struct{})
	default:
	}
	d.at = t
	left := time.Until(t)
	switch {
	case t.IsZero():
		if d.timer != nil {
			d.timer.Stop()
		}
	case left <= 0:
	case d.timer == nil:
		d.timer = time.AfterFunc(left, d.pass)
	default:
		d.timer.Reset(left)
	}
	d.mu.Unlock()
	if !t.IsZero() && left <= 0 {
		d.pass()
	}
}

// pass closes the channel, unless the moment has been moved meanwhile.
func (d *h2Deadline) pass() {
	d.mu.Lock()
	if d.at.IsZero() || time.Now().Before(d.at) {
		d.mu.Unlock()
		return
	}
	select {
	case <-d.passed:
	default:
		close(d.passed)
	}
	d.mu.Unlock()
	if d.onPass != nil {
		d.onPass()
	}
}
