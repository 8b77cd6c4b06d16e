//go:build unix

package store

import (
	"os"
	"syscall"
)

// lockFile takes a lock that ends with the process; syscall.EWOULDBLOCK when another has it.
func lockFile(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }
