package netio

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

// DefaultReadSize is the size of the buffers that a Reader reads into, in bytes, unless it is told another.
const DefaultReadSize = 64 << 10

// readBuffers are the borrowed buffers of the default size.
var readBuffers = sync.Pool{New: func() any { b := make([]byte, DefaultReadSize); return &b }}

// Reader reads from a connection. While nothing arrives it holds no buffer if the connection is a plain socket. One goroutine at a time may call Next.
type Reader struct {
	conn net.Conn
	raw  syscall.RawConn
	size int
	buf  []byte // only without raw
	eat  func([]byte) error
	poll func(fd uintptr) bool
	err  error
}

// NewReader makes a reader. size is the most bytes it reads at once, 0 means DefaultReadSize and is also the greatest.
func NewReader(c net.Conn, size int) *Reader {
	if size <= 0 || size > DefaultReadSize {
		size = DefaultReadSize
	}
	r := &Reader{conn: c, raw: rawConn(c), size: size}
	r.poll = r.readOnce
	return r
}

// Next waits until bytes arrive and calls f with them, once. The bytes are f's until it returns. Next returns the error of f, io.EOF when the peer has ended its side, or the
// connection's error, a passed read deadline among them (os.ErrDeadlineExceeded).
func (r *Reader) Next(f func(b []byte) error) error {
	if r.raw == nil {
		if r.buf == nil {
			r.buf = make([]byte, r.size)
		}
		n, err := r.conn.Read(r.buf)
		if n > 0 {
			return f(r.buf[:n])
		}
		return err
	}
	r.eat, r.err = f, nil
	err := r.raw.Read(r.poll)
	r.eat = nil
	if r.err != nil {
		return r.err
	}
	if err != nil {
		return &net.OpError{Op: "read", Net: r.conn.LocalAddr().Network(), Addr: r.conn.RemoteAddr(), Err: err}
	}
	return nil
}

// readOnce is one attempt to read; false means that nothing is there and the goroutine is to be parked.
func (r *Reader) readOnce(fd uintptr) bool {
	b := readBuffers.Get().(*[]byte)
	defer readBuffers.Put(b)
	n, err := tryRead(fd, (*b)[:r.size])
	switch {
	case err == syscall.EAGAIN:
		return false
	case err != nil:
		r.err = &net.OpError{Op: "read", Net: r.conn.LocalAddr().Network(), Addr: r.conn.RemoteAddr(), Err: os.NewSyscallError("read", err)}
	case n == 0:
		r.err = io.EOF
	default:
		r.err = r.eat((*b)[:n])
	}
	return true
}
