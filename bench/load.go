//go:build linux

package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

const (
	// maxOpening is how many connections are being opened at once: fewer than any listener's queue holds.
	maxOpening = 100
	// stallTime is how long nothing may come before a server counts as stuck.
	stallTime = 10 * time.Second
	// readSize is the most that the load generator and the bare loop read at once.
	readSize = 256 << 10
	maxHead  = 4 << 10 // of the answer to the handshake
)

// The handshake is the same each time, so the answer's key is too (the example of RFC 6455 section 1.3).
const (
	wsKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	wsAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
	endHead  = "\r\n\r\n"
)

// loader is the load generator: one thread, one epoll instance, no library.
type loader struct {
	ep      int
	clients []*client
	events  [256]syscall.EpollEvent
	buf     []byte
	block   bool // sleep while nothing comes; else spin, so that no server pays for waking this thread

	want       []byte // the payload of all messages
	compressed bool
	frames     []byte // client frames, ready to be sent: one more than are in flight
	frame      int    // the length of one
	answer     bool   // each message that comes is followed by another that is sent

	opening  int
	ready    int
	messages uint64
}

// client is one connection.
type client struct {
	fd      int
	state   clientState
	head    []byte // of the handshake, while it comes
	in      counter
	due     int  // bytes to be sent
	phase   int  // of the frame that is being sent, bytes that are out
	blocked bool // the system takes no more for now
	watched bool // for that to change
}

type clientState uint8

const (
	shaking clientState = iota // the request is sent
	open
)

// newLoader makes a load generator for messages of that payload, with up to depth of them in flight on a connection.
func newLoader(data []byte, compressed bool, depth int) (*loader, error) {
	ep, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	l := &loader{ep: ep, buf: make([]byte, readSize), want: data, compressed: compressed}
	if compressed {
		data = compress(data)
	}
	for range depth + 1 {
		l.frames = appendFrame(l.frames, true, compressed, data)
	}
	l.frame = len(l.frames) / (depth + 1)
	return l, nil
}

// close ends all connections at once; no port stays in TIME_WAIT.
func (l *loader) close() {
	for _, c := range l.clients {
		if c.fd >= 0 {
			syscall.SetsockoptLinger(c.fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
			syscall.Close(c.fd)
		}
	}
	syscall.Close(l.ep)
}

// connect opens n connections to addr.
func (l *loader) connect(addr string, n int) error {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return err
	}
	sa := &syscall.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	request := fmt.Sprintf("GET / HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n", addr, wsKey)
	if l.compressed {
		request += "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n"
	}
	for len(l.clients) < n {
		if err := l.until(func() bool { return l.opening < maxOpening }); err != nil {
			return err
		}
		if err := l.dial(sa, []byte(request+"\r\n")); err != nil {
			return fmt.Errorf("connection %d: %w", len(l.clients), err)
		}
	}
	return l.until(func() bool { return l.ready == n })
}

// dial opens one connection and sends its request.
func (l *loader) dial(sa syscall.Sockaddr, request []byte) error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	c := &client{fd: fd, in: counter{want: l.want, compressed: l.compressed}}
	l.clients = append(l.clients, c)
	l.opening++
	if err := syscall.Connect(fd, sa); err != nil {
		return err
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		return err
	}
	if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1); err != nil {
		return err
	}
	if _, err := syscall.Write(fd, request); err != nil { // an empty socket takes it whole
		return err
	}
	return epollAdd(l.ep, fd, len(l.clients)-1, syscall.EPOLLIN)
}

// epollAdd registers a descriptor under a number.
func epollAdd(ep, fd, number int, events uint32) error {
	return syscall.EpollCtl(ep, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: events, Fd: int32(number)})
}

// epollWait is epoll_pwait without the scheduler's knowledge: the thread has nothing else to do.
func epollWait(ep int, events []syscall.EpollEvent, timeout time.Duration) (int, error) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(ep), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)),
		uintptr(timeout.Milliseconds()), 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case syscall.EINTR:
		return 0, nil
	}
	return 0, errno
}

// rawIO is a read or write that never waits and never tells the scheduler.
func rawIO(trap uintptr, fd int, b []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall(trap, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

// until serves the connections until done, which is asked after each look, says so.
func (l *loader) until(done func() bool) error {
	seen, ready, since := l.messages, l.ready, time.Now()
	for looks := 0; !done(); looks++ {
		if err := l.look(); err != nil {
			return err
		}
		if looks%1024 != 0 && !l.block {
			continue
		}
		runtime.Gosched()
		if now := time.Now(); l.messages != seen || l.ready != ready {
			seen, ready, since = l.messages, l.ready, now
		} else if now.Sub(since) > stallTime {
			return fmt.Errorf("nothing came for %v: %d of %d connections are open, %d messages came", stallTime, l.ready, len(l.clients), l.messages)
		}
	}
	return nil
}

// look handles what has happened on the connections.
func (l *loader) look() error {
	wait := time.Duration(0)
	if l.block {
		wait = 100 * time.Millisecond
	}
	n, err := epollWait(l.ep, l.events[:], wait)
	if err != nil {
		return fmt.Errorf("epoll_wait: %w", err)
	}
	for _, ev := range l.events[:n] {
		c := l.clients[ev.Fd]
		if ev.Events&syscall.EPOLLOUT != 0 && c.blocked {
			c.blocked = false
			if err := l.flush(c, int(ev.Fd)); err != nil {
				return fmt.Errorf("connection %d: %w", ev.Fd, err)
			}
		}
		if ev.Events&^syscall.EPOLLOUT != 0 {
			if err := l.read(c, int(ev.Fd)); err != nil {
				return fmt.Errorf("connection %d: %w", ev.Fd, err)
			}
		}
	}
	return nil
}

// read takes what has come, and answers it if asked to.
func (l *loader) read(c *client, number int) error {
	n, err := rawIO(syscall.SYS_READ, c.fd, l.buf)
	switch {
	case err == syscall.EAGAIN:
		return nil
	case err != nil:
		return fmt.Errorf("read: %w", err)
	case n == 0:
		return fmt.Errorf("the server has ended the connection, behind %q", c.head)
	}
	b := l.buf[:n]
	if c.state == shaking {
		if b, err = l.shake(c, b); err != nil || c.state == shaking {
			return err
		}
	}
	messages, err := c.in.feed(b)
	if err != nil {
		return err
	}
	l.messages += uint64(messages)
	if l.answer && messages > 0 {
		c.due += messages * l.frame
		return l.flush(c, number)
	}
	return nil
}

// shake takes the server's answer and returns what follows it.
func (l *loader) shake(c *client, b []byte) ([]byte, error) {
	c.head = append(c.head, b...)
	head, rest, whole := bytes.Cut(c.head, []byte(endHead))
	if !whole {
		if len(c.head) > maxHead {
			return nil, fmt.Errorf("no end of the answer in %d bytes", maxHead)
		}
		return nil, nil
	}
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) || !bytes.Contains(head, []byte(wsAccept)) {
		return nil, fmt.Errorf("the server answers %q", c.head)
	}
	if got := bytes.Contains(head, []byte("permessage-deflate")); got != l.compressed {
		return nil, fmt.Errorf("compression is %v, want %v: %q", got, l.compressed, head)
	}
	c.state, c.head = open, nil
	l.opening--
	l.ready++
	return rest, nil
}

// send puts n more messages on the way, on all connections.
func (l *loader) send(n int) error {
	for i, c := range l.clients {
		c.due += n * l.frame
		if err := l.flush(c, i); err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
	}
	return nil
}

// flush writes what is due, in one call if the system takes it.
func (l *loader) flush(c *client, number int) error {
	for c.due > 0 && !c.blocked {
		b := l.frames[c.phase:min(c.phase+c.due, len(l.frames))]
		n, err := rawIO(syscall.SYS_WRITE, c.fd, b)
		if err != nil && err != syscall.EAGAIN {
			return fmt.Errorf("write: %w", err)
		}
		c.due -= n
		c.phase = (c.phase + n) % l.frame
		if n < len(b) {
			c.blocked = true
		}
	}
	if c.watched == c.blocked {
		return nil
	}
	c.watched = c.blocked
	events := uint32(syscall.EPOLLIN)
	if c.watched {
		events |= syscall.EPOLLOUT
	}
	return syscall.EpollCtl(l.ep, syscall.EPOLL_CTL_MOD, c.fd, &syscall.EpollEvent{Events: events, Fd: int32(number)})
}
