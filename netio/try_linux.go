package netio

import (
	"syscall"
	"unsafe"
)

// canTry says that sockets can be written and read without waiting.
const canTry = true

const (
	// joinBytes is how much is joined to one buffer at most, and joinFrame the average size of buffers that are: to copy them costs less than to tell the system of each.
	joinBytes = 32 << 10
	joinFrame = 2 << 10
)

// scratch is what one flush needs; it is borrowed, never held by a connection.
type scratch struct {
	bufs   [][]byte
	iov    []syscall.Iovec
	joined []byte
	once   func(fd uintptr)      // one attempt
	wait   func(fd uintptr) bool // attempts until at least one byte is written
	n      int                   // written by the last attempt
	tried  int                   // bytes in the last attempt
	err    error
}

func newScratch() *scratch {
	s := &scratch{}
	s.once = s.send
	s.wait = func(fd uintptr) bool { s.send(fd); return s.err != syscall.EAGAIN }
	return s
}

// send makes one attempt to write s.bufs. The socket never blocks, so the scheduler need not be told of the call.
func (s *scratch) send(fd uintptr) {
	s.n, s.tried, s.err = 0, 0, nil
	count, one := 0, []byte(nil)
	for _, b := range s.bufs {
		if len(b) == 0 {
			continue
		}
		if count == maxBuffers {
			break
		}
		s.tried += len(b)
		count++
		one = b
	}
	var errno syscall.Errno
	switch {
	case count == 0:
		return
	case count == 1:
		s.n, errno = sendOne(fd, one)
	case s.tried <= joinBytes && s.tried < count*joinFrame:
		s.n, errno = sendOne(fd, s.join())
	default:
		s.n, errno = sendMany(fd, s.vector(count))
		clear(s.iov)
	}
	if errno != 0 {
		s.n, s.err = 0, errno
	}
}

// join copies what is to be written behind each other.
func (s *scratch) join() []byte {
	if s.joined == nil {
		s.joined = make([]byte, 0, joinBytes)
	}
	b := s.joined
	for _, next := range s.bufs {
		if len(b) == s.tried {
			break
		}
		b = append(b, next...)
	}
	return b
}

// vector lists the first n buffers that hold something.
func (s *scratch) vector(n int) []syscall.Iovec {
	s.iov = s.iov[:0]
	for _, b := range s.bufs {
		if len(b) == 0 || len(s.iov) == n {
			continue
		}
		v := syscall.Iovec{Base: &b[0]}
		v.SetLen(len(b))
		s.iov = append(s.iov, v)
	}
	return s.iov
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
