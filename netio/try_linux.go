package netio

import (
	"syscall"
	"unsafe"
)

// canTry says that sockets can be written and read without waiting.
const canTry = true

// scratch is what one flush needs; it is borrowed, never held by a connection.
type scratch struct {
	bufs  [][]byte
	iov   []syscall.Iovec
	once  func(fd uintptr) bool // one attempt, then done
	wait  func(fd uintptr) bool // attempts until at least one byte is written
	n     int                   // written by the last attempt
	tried int                   // bytes in the last attempt
	err   error
}

func newScratch() *scratch {
	s := &scratch{}
	s.once = func(fd uintptr) bool { s.writev(fd); return true }
	s.wait = func(fd uintptr) bool { s.writev(fd); return s.err != syscall.EAGAIN }
	return s
}

// writev makes one attempt to write s.bufs. The socket never blocks, so the scheduler need not be told of the call.
func (s *scratch) writev(fd uintptr) {
	s.iov, s.tried = s.iov[:0], 0
	for _, b := range s.bufs {
		if len(b) == 0 {
			continue
		}
		if len(s.iov) == maxBuffers {
			break
		}
		v := syscall.Iovec{Base: &b[0]}
		v.SetLen(len(b))
		s.iov = append(s.iov, v)
		s.tried += len(b)
	}
	s.n, s.err = 0, nil
	if len(s.iov) == 0 {
		return
	}
	for {
		var n uintptr
		var errno syscall.Errno
		if len(s.iov) == 1 { // write is cheaper than writev
			n, _, errno = syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(s.iov[0].Base)), uintptr(s.tried))
		} else {
			n, _, errno = syscall.RawSyscall(syscall.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&s.iov[0])), uintptr(len(s.iov)))
		}
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 {
			s.err = errno
		} else {
			s.n = int(n)
		}
		break
	}
	clear(s.iov)
}

// tryRead reads what has arrived without waiting; it returns EAGAIN when that is nothing.
func tryRead(fd uintptr, b []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 {
			return 0, errno
		}
		return int(n), nil
	}
}
