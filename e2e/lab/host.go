package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// Host is a network namespace. All its methods may run at once.
type Host struct {
	// Addr is its address.
	Addr netip.Addr

	name string
}

// gateway is the router's address in the host's network.
func (h *Host) gateway() netip.Addr {
	b := h.Addr.AsSlice()
	b[len(b)-1] = 254
	a, _ := netip.AddrFromSlice(b)
	return a
}

// net is an address with the length of the network's part, and what else ip wants to be told of it.
func (h *Host) net(a netip.Addr) string {
	if a.Is4() {
		return a.String() + "/24"
	}
	return a.String() + "/64 nodad"
}

// set sets a switch below /proc/sys/net.
func (h *Host) set(name, value string) error {
	return run(h.Command("sh", "-c", "echo "+value+" >/proc/sys/net/"+name))
}

// Command is a command that will run on the host.
func (h *Host) Command(name string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", h.name, name}, args...)...)
}

// setns is the number of the system call that package syscall lacks.
var setns = map[string]uintptr{"amd64": 308, "arm64": 268}

// Dial connects from the host to an address, which must be one of numbers. What is said to a server from its own host suffers no fault of the network.
func (h *Host) Dial(ctx context.Context, network, addr string) (c net.Conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		home, e1 := os.Open("/proc/thread-self/ns/net")
		there, e2 := os.Open("/run/netns/" + h.name)
		defer home.Close()
		defer there.Close()
		if err = errors.Join(e1, e2); err != nil {
			return
		}
		if err = enter(there); err == nil {
			c, err = new(net.Dialer).DialContext(ctx, network, addr)
		}
		if enter(home) == nil { // otherwise the thread is spoilt, and ends with this goroutine
			runtime.UnlockOSThread()
		}
	}()
	<-done
	return c, err
}

// enter moves the thread to a network namespace.
func enter(namespace *os.File) error {
	const newNet = 0x40000000 // CLONE_NEWNET
	if _, _, errno := syscall.RawSyscall(setns[runtime.GOARCH], namespace.Fd(), newNet, 0); errno != 0 {
		return fmt.Errorf("lab: enter %s: %w", namespace.Name(), errno)
	}
	return nil
}

// Kill ends all that runs on the host, at once.
func (h *Host) Kill() error {
	out, err := exec.Command("ip", "netns", "pids", h.name).Output()
	if err != nil {
		return fmt.Errorf("lab: kill what runs on %s: %w", h.name, err)
	}
	for _, sig := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} { // stopped first: a program whose others are gone may say goodbye
		for _, word := range strings.Fields(string(out)) {
			if pid, err := strconv.Atoi(word); err == nil && pid != os.Getpid() {
				syscall.Kill(pid, sig)
			}
		}
	}
	return nil
}

// remove kills what runs on the host and removes it.
func (h *Host) remove() error {
	if h.Kill() != nil {
		return nil // it was never made
	}
	return run(exec.Command("ip", "netns", "del", h.name))
}
