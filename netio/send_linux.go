//go:build linux && !386 && !s390x

package netio

import (
	"syscall"
	"unsafe"
)

// sendFlags are that the call does not wait, and that a peer which is gone is no signal.
const sendFlags = syscall.MSG_DONTWAIT | syscall.MSG_NOSIGNAL

// sendOne writes a buffer to a socket; send is cheaper than write.
func sendOne(fd uintptr, b []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), sendFlags, 0, 0)
		if errno != syscall.EINTR {
			return int(n), errno
		}
	}
}

// sendMany writes buffers to a socket with one call.
func sendMany(fd uintptr, iov []syscall.Iovec) (int, syscall.Errno) {
	m := syscall.Msghdr{Iov: &iov[0]}
	setLen(&m.Iovlen, len(iov))
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&m)), sendFlags)
		if errno != syscall.EINTR {
			return int(n), errno
		}
	}
}

// setLen sets a field whose size is the processor's.
func setLen[T uint32 | uint64](p *T, n int) { *p = T(n) }
