// Package netio is the way in and out of a network connection for servers with many of them: writes that never wait for one slow peer and take all that is pending in one
// system call, and reads that hold no buffer, and if wanted no goroutine, while nothing arrives.
//
// A [Writer] sends two things, in this order: what was queued for this connection alone (replies, control messages), and what its [Source] gives, which is
// usually the same bytes that many other connections get. It is woken, it does not poll; a few workers of a [Pool] serve all writers, and only a
// connection whose peer does not take its bytes has a goroutine of its own, for as long as that lasts. A [Reader] waits without a buffer where the system allows it (plain TCP and Unix sockets on Linux);
// elsewhere, TLS for instance, both fall back to blocking calls with the same behaviour. A [Watch] calls a function when something arrives, on Linux, for connections taken over with [Own].
//
//	w := netio.NewWriter(conn, netio.WriterOptions{})
//	w.Queue([]byte("220 ready\r\n"))
//	r := netio.NewReader(conn, 0)
//	for r.Next(parser.Feed) == nil {
//	}
package netio

import (
	"errors"
	"net"
	"syscall"
)

// ErrSlow is returned by Queue when a connection's queue is full because its peer does not take what it was sent.
var ErrSlow = errors.New("netio: queue full: the peer does not keep up")

// Source gives a Writer what is to be sent.
type Source interface {
	// Fill appends to dst the buffers that are pending, in order, and returns it. It stops once it has appended max bytes or more; a result that large
	// means that it is called again when the bytes are written, a smaller one that nothing more is pending and that the source will call Wake when there is.
	// The bytes must not change until they are written, in practice never. One goroutine at a time calls it.
	Fill(dst [][]byte, max int) [][]byte
}

// Gated is a Source whose bytes must follow what its owner queues: a stream follows the answer to the request for it. An owner that keeps others from Enter while it queues the answer and lets the source have
// something, and calls Wake after, has them go out in that order, although the queue is taken before Fill is called.
type Gated interface {
	Source
	// Enter says whether Fill may be called. It is called under a lock of the writer, and does not wait.
	Enter() bool
	// Leave is called after the Fill that follows an Enter.
	Leave()
}

// rawConn returns what is needed for calls that do not wait, or nil if c is not a plain socket.
func rawConn(c net.Conn) syscall.RawConn {
	if !canTry {
		return nil
	}
	switch c.(type) {
	case *net.TCPConn, *net.UnixConn, *Socket:
	default:
		return nil
	}
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// opError is an error of a connection as package net shows it.
func opError(c net.Conn, op string, err error) error {
	return &net.OpError{Op: op, Net: c.LocalAddr().Network(), Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}
