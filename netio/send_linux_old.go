//go:build linux && (386 || s390x)

package netio

import (
	"syscall"
	"unsafe"
)

// sendOne writes a buffer to a socket.
func sendOne(fd uintptr, b []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		if errno != syscall.EINTR {
			return int(n), errno
		}
	}
}

// sendMany writes buffers to a socket with one call.
func sendMany(fd uintptr, iov []syscall.Iovec) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall(syscall.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&iov[0])), uintptr(len(iov)))
		if errno != syscall.EINTR {
			return int(n), errno
		}
	}
}
