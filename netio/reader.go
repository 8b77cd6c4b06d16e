package netio

import (
	"io"
	"net"
	"sync"
	"syscall"
)

// DefaultReadSize is the size of the buffers that a Reader reads into, in bytes, unless it is told another: a message of 64 KiB and its header arrive in one piece.
const DefaultReadSize = 128 << 10

// heldReadSize is the greatest size of a buffer that a Reader keeps where it cannot wait without one: a full TLS record, the most that one read gives.
const heldReadSize = 16 << 10

// readBuffers are the borrowed buffers of the default size.
var readBuffers = sync.Pool{New: func() any { b := make([]byte, DefaultReadSize); return &b }}

// Reader reads from a connection. While nothing arrives it holds no buffer if the connection is a plain socket. One goroutine at a time may call Next.
type Reader struct {
	conn net.Conn
	raw  syscall.RawConn
	size int
	buf  []byte // only without raw
	poll func(fd uintptr) bool
	got  *[]byte // what poll has read
	n    int
	err  error
}

// NewReader makes a reader. size is the most bytes it reads at once, 0 means DefaultReadSize and is also the greatest.
func NewReader(c net.Conn, size int) *Reader {
	if size <= 0 || size > DefaultReadSize {
		size = DefaultReadSize
	}
	r := &Reader{conn: c, raw: rawConn(c), size: size}
	if r.raw == nil {
		r.size = min(size, heldReadSize)
	}
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
	err := r.raw.Read(r.poll)
	b, n := r.got, r.n
	r.got = nil
	switch {
	case err != nil:
		err = r.opError(err)
	case r.err != nil:
		err = r.opError(r.err)
	case n == 0:
		err = io.EOF
	default:
		err = f((*b)[:n]) // outside the call above, which keeps the descriptor from being closed
	}
	if b != nil {
		readBuffers.Put(b)
	}
	return err
}

// readOnce is one attempt to read; false means that nothing is there, and the goroutine is parked without a buffer.
func (r *Reader) readOnce(fd uintptr) bool {
	b := readBuffers.Get().(*[]byte)
	r.n, r.err = tryRead(fd, (*b)[:r.size])
	if r.err == syscall.EAGAIN {
		readBuffers.Put(b)
		return false
	}
	r.got = b
	return true
}

func (r *Reader) opError(err error) error {
	return opError(r.conn, "read", cause(err, "read"))
}
