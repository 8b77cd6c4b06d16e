package netio

import (
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unique"
)

// socketClosed is added to the users of a Socket when it is closed.
const socketClosed = -1 << 30

// Socket is a plain socket taken over from package net: one descriptor and two addresses, known to no poller. The first call that has to wait, and the first deadline, hands the
// descriptor to the runtime's poller, which it stays with. All methods may run at once.
type Socket struct {
	users  atomic.Int32 // those who use fd at the moment; below zero once it is closed
	fd     int32
	file   atomic.Pointer[polledFile]    // with the runtime's poller
	local  unique.Handle[netip.AddrPort] // all connections of a server have the same
	remote netip.AddrPort
	names  *[2]net.Addr // instead, of Unix sockets
}

// polledFile is a descriptor that the runtime's poller has.
type polledFile struct {
	*os.File
	raw syscall.RawConn
}

// polledMu is held while a Socket.file is made.
var polledMu sync.Mutex

// Own takes a plain socket (TCP, Unix) over from package net and returns it as a *Socket, which costs half the memory and nothing at all in the runtime's poller. c itself is closed if
// that succeeds: its owner gives it up. Other connections, and all where the system is not Linux, are returned as they are.
func Own(c net.Conn) net.Conn {
	raw := rawConn(c)
	if raw == nil {
		return c
	}
	s := &Socket{fd: -1}
	raw.Control(func(fd uintptr) {
		if n, _, errno := syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_DUPFD_CLOEXEC, 0); errno == 0 {
			s.fd = int32(n)
		}
	})
	if s.fd < 0 {
		return c
	}
	local, ok1 := c.LocalAddr().(*net.TCPAddr)
	remote, ok2 := c.RemoteAddr().(*net.TCPAddr)
	if ok1 && ok2 {
		s.local, s.remote = unique.Make(local.AddrPort()), remote.AddrPort()
	} else {
		s.names = &[2]net.Addr{c.LocalAddr(), c.RemoteAddr()}
	}
	c.Close()
	s.held(false)
	return s
}

// held says whether somebody is sure to close the socket; else the garbage collector does.
func (s *Socket) held(held bool) {
	if held {
		runtime.SetFinalizer(s, nil)
		return
	}
	runtime.SetFinalizer(s, (*Socket).Close)
}

// use keeps the descriptor from being closed until free; false means that it is closed.
func (s *Socket) use() bool {
	if s.users.Add(1) > 0 {
		return true
	}
	s.free()
	return false
}

func (s *Socket) free() {
	if s.users.Add(-1) == socketClosed {
		s.shut()
	}
}

// shut closes the descriptor, once: the users are out, and no more come.
func (s *Socket) shut() {
	if !s.users.CompareAndSwap(socketClosed, 2*socketClosed) {
		return
	}
	s.held(true)
	if f := s.file.Load(); f != nil {
		f.Close()
		return
	}
	syscall.Close(int(s.fd))
}

// Close implements net.Conn.
func (s *Socket) Close() error {
	for {
		n := s.users.Load()
		if n < 0 {
			return net.ErrClosed
		}
		if s.users.CompareAndSwap(n, n+socketClosed) {
			break
		}
	}
	if s.users.Load() == socketClosed {
		s.shut()
	}
	return nil
}

// polled gives the descriptor to the runtime's poller.
func (s *Socket) polled() (*polledFile, error) {
	if f := s.file.Load(); f != nil {
		return f, nil
	}
	polledMu.Lock()
	defer polledMu.Unlock()
	if f := s.file.Load(); f != nil {
		return f, nil
	}
	if !s.use() {
		return nil, net.ErrClosed
	}
	defer s.free()
	f := &polledFile{File: os.NewFile(uintptr(s.fd), "socket")} // it is non-blocking, which makes it one of the poller's
	f.raw, _ = f.SyscallConn()                                  // which does not fail
	s.file.Store(f)
	return f, nil
}

// rawSocket is a Socket as a syscall.RawConn.
type rawSocket Socket

// Control implements syscall.RawConn.
func (r *rawSocket) Control(f func(fd uintptr)) error {
	s := (*Socket)(r)
	if !s.use() {
		return net.ErrClosed
	}
	defer s.free()
	f(uintptr(s.fd))
	return nil
}

// Read implements syscall.RawConn.
func (r *rawSocket) Read(f func(fd uintptr) bool) error {
	file, err := r.try(f)
	if file != nil {
		err = (*Socket)(r).closing(file.raw.Read(f))
	}
	return err
}

// Write implements syscall.RawConn.
func (r *rawSocket) Write(f func(fd uintptr) bool) error {
	file, err := r.try(f)
	if file != nil {
		err = (*Socket)(r).closing(file.raw.Write(f))
	}
	return err
}

// try calls f once if the runtime's poller has not got the descriptor. Where it does, or must have it because f is not done, try returns the file to go on with.
func (r *rawSocket) try(f func(fd uintptr) bool) (*polledFile, error) {
	s := (*Socket)(r)
	if file := s.file.Load(); file != nil {
		return file, nil
	}
	if !s.use() {
		return nil, net.ErrClosed
	}
	done := f(uintptr(s.fd))
	s.free()
	if done {
		return nil, nil
	}
	return s.polled()
}

// closing is an error of the file, or that the socket was closed.
func (s *Socket) closing(err error) error {
	if err != nil && s.users.Load() < 0 {
		return net.ErrClosed
	}
	return err
}

// SyscallConn implements syscall.Conn.
func (s *Socket) SyscallConn() (syscall.RawConn, error) { return (*rawSocket)(s), nil }

// Read implements net.Conn.
func (s *Socket) Read(b []byte) (int, error) { return s.stream(b, (*os.File).Read, "read") }

// Write implements net.Conn.
func (s *Socket) Write(b []byte) (int, error) { return s.stream(b, (*os.File).Write, "write") }

func (s *Socket) stream(b []byte, do func(*os.File, []byte) (int, error), op string) (n int, err error) {
	file, err := s.polled()
	if err == nil {
		n, err = do(file.File, b)
	}
	if err == nil || err == io.EOF {
		return n, err
	}
	if e, ok := err.(*os.PathError); ok {
		err = e.Err
	}
	return n, opError(s, op, s.closing(err))
}

// CloseWrite ends the writing side.
func (s *Socket) CloseWrite() error {
	err := net.ErrClosed
	if s.use() {
		defer s.free()
		err = os.NewSyscallError("shutdown", syscall.Shutdown(int(s.fd), syscall.SHUT_WR))
	}
	if err != nil {
		return opError(s, "close", err)
	}
	return nil
}

// LocalAddr implements net.Conn.
func (s *Socket) LocalAddr() net.Addr {
	if s.names != nil {
		return s.names[0]
	}
	return net.TCPAddrFromAddrPort(s.local.Value())
}

// RemoteAddr implements net.Conn.
func (s *Socket) RemoteAddr() net.Addr {
	if s.names != nil {
		return s.names[1]
	}
	return net.TCPAddrFromAddrPort(s.remote)
}

// SetDeadline implements net.Conn.
func (s *Socket) SetDeadline(t time.Time) error { return s.deadline(t, (*os.File).SetDeadline) }

// SetReadDeadline implements net.Conn.
func (s *Socket) SetReadDeadline(t time.Time) error { return s.deadline(t, (*os.File).SetReadDeadline) }

// SetWriteDeadline implements net.Conn.
func (s *Socket) SetWriteDeadline(t time.Time) error {
	return s.deadline(t, (*os.File).SetWriteDeadline)
}

func (s *Socket) deadline(t time.Time, set func(*os.File, time.Time) error) error {
	if t.IsZero() && s.file.Load() == nil {
		return nil // none was ever set
	}
	file, err := s.polled()
	if err == nil {
		err = s.closing(set(file.File, t))
	}
	return err
}
