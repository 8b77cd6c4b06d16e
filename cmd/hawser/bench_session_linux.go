package main

import (
	"errors"
	"net"
	"syscall"
	"time"
	"unsafe"
)

// poller waits for many sockets in one thread, without a library and without the scheduler's knowledge.
type poller struct {
	ep     int
	events [256]syscall.EpollEvent
}

func newPoller() (*poller, error) {
	ep, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	return &poller{ep: ep}, err
}

// adopt takes a connection's socket over, under a number; nobody else may use the connection from then on.
func (p *poller) adopt(c net.Conn, number int) (fd int, err error) {
	defer c.Close()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return -1, err
	}
	err2 := raw.Control(func(old uintptr) { fd, err = syscall.Dup(int(old)) })
	if err = errors.Join(err, err2); err != nil {
		return -1, err
	}
	return fd, syscall.EpollCtl(p.ep, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(number)})
}

// wait calls f with the numbers of those that have something to read. Without patience it only looks.
func (p *poller) wait(patience time.Duration, f func(number int)) error {
	call := syscall.RawSyscall6
	if patience > 0 {
		call = syscall.Syscall6
	}
	n, _, errno := call(syscall.SYS_EPOLL_PWAIT, uintptr(p.ep), uintptr(unsafe.Pointer(&p.events)), uintptr(len(p.events)), uintptr(patience.Milliseconds()), 0, 0)
	if errno != 0 && errno != syscall.EINTR {
		return errno
	}
	if errno == 0 {
		for _, ev := range p.events[:n] {
			f(int(ev.Fd))
		}
	}
	return nil
}

// transfer is a read or write that never waits; 0 and nil say that nothing can be done now.
func (p *poller) transfer(write bool, fd int, b []byte) (int, error) {
	trap := uintptr(syscall.SYS_READ)
	if write {
		trap = syscall.SYS_WRITE
	}
	n, _, errno := syscall.RawSyscall(trap, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	switch {
	case errno == syscall.EAGAIN, errno == syscall.EINTR:
		return 0, nil
	case errno != 0:
		return 0, errno
	case n == 0 && !write:
		return 0, net.ErrClosed
	}
	return int(n), nil
}

func (p *poller) drop(fd int) { syscall.Close(fd) }

func (p *poller) close() { syscall.Close(p.ep) }
