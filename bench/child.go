//go:build linux

package main

import (
	"bufio"
	"fmt"
	"io"
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

// The processors. What runs in a process that is pinned when it starts sees one processor only (runtime.NumCPU, GOMAXPROCS).
const (
	serverCPU = 0
	loadCPU   = 1
)

// child is a server in a process of its own.
type child struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	addr string
}

// startChild runs this program with other arguments on the server's processor and waits until it listens.
func startChild(args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.Command(self, args...)}
	c.cmd.Stderr = os.Stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(out)
	if err := startPinned(c.cmd); err != nil {
		return nil, err
	}
	line, err := c.reply()
	addr, ok := strings.CutPrefix(line, "listening ")
	if err != nil || !ok {
		c.stop()
		return nil, fmt.Errorf("%q did not start: it says %q: %w", args, line, err)
	}
	c.addr = addr
	return c, nil
}

// startPinned starts a program that runs on the server's processor only, if there is another one for the load.
func startPinned(cmd *exec.Cmd) error {
	if runtime.NumCPU() < 2 {
		return cmd.Start()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		err := affinity(0, serverCPU)
		if err == nil {
			err = cmd.Start()
		}
		done <- err
	}()
	return <-done
}

// pinSelf keeps this process on the load's processor.
func pinSelf() error {
	if runtime.NumCPU() < 2 {
		return nil
	}
	tasks, err := filepath.Glob("/proc/self/task/*")
	for _, t := range tasks {
		id, _ := strconv.Atoi(filepath.Base(t))
		if e := affinity(id, loadCPU); e != nil && e != syscall.ESRCH {
			err = e
		}
	}
	return err
}

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

// tell sends the server a command that it does not answer.
func (c *child) tell(format string, args ...any) error {
	_, err := fmt.Fprintf(c.in, format+"\n", args...)
	return err
}

// ask sends the server a command and returns the answer.
func (c *child) ask(format string, args ...any) (string, error) {
	if err := c.tell(format, args...); err != nil {
		return "", err
	}
	return c.reply()
}

func (c *child) reply() (string, error) {
	line, err := c.out.ReadString('\n')
	return strings.TrimSpace(line), err
}

// stop ends the server.
func (c *child) stop() {
	c.in.Close()
	t := time.AfterFunc(stallTime, func() { c.cmd.Process.Kill() })
	defer t.Stop()
	c.cmd.Wait()
}

// cpuTime is the processor time of the server so far, as exact as the scheduler knows it.
func (c *child) cpuTime() (time.Duration, error) {
	const ofProcess, scheduled = 3, 2 // clock_getcpuclockid(3): the process's number inverted, and CPUCLOCK_SCHED
	var ts syscall.Timespec
	id := ^c.cmd.Process.Pid<<ofProcess | scheduled
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, uintptr(id), uintptr(unsafe.Pointer(&ts)), 0)
	if errno != 0 {
		return 0, fmt.Errorf("clock_gettime: %w", errno)
	}
	return time.Duration(ts.Nano()), nil
}

// rss is the memory of the server that is in use, in bytes.
func (c *child) rss() (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", c.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(b), &size, &resident); err != nil {
		return 0, err
	}
	return resident * int64(os.Getpagesize()), nil
}

// counts is what a server has done so far, beside its processor time.
type counts struct {
	allocs, goroutines uint64 // the Go runtime's
	stack, heap        uint64 // bytes of stacks and of objects, now
	reads, writes      uint64 // system calls (those that go through a descriptor's read and write, vectors too, and what a sender counts itself)
	switches           uint64 // times that one of its threads waited for something
	delay              uint64 // nanoseconds for which one could have run, but the processor was taken
}

// counts asks the server and the system.
func (c *child) counts() (n counts, err error) {
	line, err := c.ask("stats")
	if err != nil {
		return n, err
	}
	var sends uint64
	if _, err := fmt.Sscan(line, &n.allocs, &n.goroutines, &n.stack, &n.heap, &sends); err != nil {
		return n, fmt.Errorf("stats: %q: %w", line, err)
	}
	proc := fmt.Sprintf("/proc/%d/", c.cmd.Process.Pid)
	io, err := fields(proc + "io")
	if err != nil {
		return n, err
	}
	n.reads, n.writes = io["syscr"], io["syscw"]+sends
	tasks, err := filepath.Glob(proc + "task/*")
	for _, t := range tasks { // one that has just ended is missed
		if status, err := fields(t + "/status"); err == nil {
			n.switches += status["voluntary_ctxt_switches"]
		}
		if b, err := os.ReadFile(t + "/schedstat"); err == nil {
			var ran, delay uint64
			fmt.Sscan(string(b), &ran, &delay)
			n.delay += delay
		}
	}
	return n, err
}

// fields reads the lines "name: number" of a file.
func fields(name string) (map[string]uint64, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	m := map[string]uint64{}
	for line := range strings.SplitSeq(string(b), "\n") {
		if key, value, ok := strings.Cut(line, ":"); ok {
			if v, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64); err == nil {
				m[key] = v
			}
		}
	}
	return m, nil
}
