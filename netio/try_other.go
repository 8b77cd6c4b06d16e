//go:build !linux

package netio

import "syscall"

// canTry says that sockets can be written and read without waiting.
const canTry = false

// scratch is what one flush needs; it is borrowed, never held by a connection.
type scratch struct {
	bufs     [][]byte
	once     func(fd uintptr)
	wait     func(fd uintptr) bool
	n, tried int
	err      error
}

func newScratch() *scratch { return &scratch{} }

func tryRead(uintptr, []byte) (int, error) { return 0, syscall.EAGAIN }
