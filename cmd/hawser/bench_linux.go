package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// clockTick is the unit of the times in /proc/PID/stat, USER_HZ, which is 100 on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// affinity lets a thread (0: the calling one) run on one processor only.
func affinity(thread, cpu int) error {
	var set [16]uint64
	set[cpu/64] = 1 << (cpu % 64)
	_, _, errno := syscall.RawSyscall(syscall.SYS_SCHED_SETAFFINITY, uintptr(thread), unsafe.Sizeof(set), uintptr(unsafe.Pointer(&set)))
	if errno != 0 {
		return errno
	}
	return nil
}

// startPinned starts a program that runs on one processor only, if the machine has more than one.
func startPinned(cmd *exec.Cmd, cpu int) error {
	if runtime.NumCPU() < 2 {
		return cmd.Start()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		err := affinity(0, cpu)
		if err == nil {
			err = cmd.Start()
		}
		done <- err
	}()
	return <-done
}

// pinSelf keeps this program's threads on one processor.
func pinSelf(cpu int) error {
	if runtime.NumCPU() < 2 {
		return nil
	}
	tasks, err := filepath.Glob("/proc/self/task/*")
	for _, t := range tasks {
		id, _ := strconv.Atoi(filepath.Base(t))
		if e := affinity(id, cpu); e != nil && e != syscall.ESRCH {
			err = e
		}
	}
	return err
}

// writeRaw writes to a socket, and does not wait.
func writeRaw(fd int, b []byte) { syscall.Write(fd, b) }

// segmentControl asks the kernel to cut what is sent into packets of so many bytes (UDP_SEGMENT).
func segmentControl(size int) []byte {
	const udpSegment = 103
	b := make([]byte, syscall.CmsgSpace(2))
	h := (*syscall.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = syscall.IPPROTO_UDP, udpSegment
	h.SetLen(syscall.CmsgLen(2))
	binary.NativeEndian.PutUint16(b[syscall.CmsgLen(0):], uint16(size))
	return b
}

// processorTime is the processor time of a process.
func processorTime(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+2:]))
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * clockTick, nil
}

// resident is the resident memory of a process in bytes, counted page by page: what stat says is behind by some hundred pages.
func resident(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), "\nRss:")
	var kilobytes int64
	if _, err := fmt.Sscan(rest, &kilobytes); err != nil {
		return 0, fmt.Errorf("smaps_rollup without Rss: %w", err)
	}
	return kilobytes * 1024, nil
}

// ownTime is the processor time of this program.
func ownTime() time.Duration {
	cpu, _ := processorTime(os.Getpid())
	return cpu
}
