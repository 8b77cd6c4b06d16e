//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// bare is the limit: one thread, one epoll instance, one read and one write for what has come. It knows how long the frames are, and neither parses nor unmasks.
type bare struct {
	options
	ep     int
	conns  map[int]*bareConn // by descriptor
	list   []*bareConn
	in     int    // the length of a client's frame
	frame  []byte // the server's
	frames []byte // as many as the longest write so far had
	buf    []byte
}

type bareConn struct {
	fd   int
	head []byte // of the handshake; nil when it is done
	open bool
	got  int // bytes of an incomplete frame
	due  []byte
}

func newBare(o options) engine {
	data := payload(o.size)
	if o.deflate {
		data = compress(data)
	}
	b := &bare{options: o, conns: map[int]*bareConn{}, buf: make([]byte, readSize)}
	b.in = len(appendFrame(nil, true, o.deflate, data))
	b.frame = appendFrame(nil, false, o.deflate, data)
	return b
}

func (b *bare) serve(net.Listener) error { return errors.New("bare: it runs by itself") }
func (b *bare) cast([]byte) error        { return b.burst(1) }
func (b *bare) count() int               { return len(b.list) }

// run is serve, with the commands of lead.
func (b *bare) run(ln net.Listener, lead *leader) error {
	f, err := ln.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	defer f.Close()
	listener, stdin := int(f.Fd()), 0
	if err := syscall.SetNonblock(listener, true); err != nil {
		return err
	}
	if b.ep, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return err
	}
	for _, fd := range []int{listener, stdin} {
		if err := epollAdd(b.ep, fd, fd, syscall.EPOLLIN); err != nil {
			return err
		}
	}
	var events [256]syscall.EpollEvent
	for {
		n, err := epollWait(b.ep, events[:], 100*time.Millisecond)
		if err != nil {
			return err
		}
		if n == 0 {
			runtime.Gosched() // to a profiler, for one
		}
		for _, ev := range events[:n] {
			switch fd := int(ev.Fd); fd {
			case listener:
				err = b.accept(listener)
			case stdin:
				n, _ := syscall.Read(stdin, b.buf)
				if n <= 0 {
					return nil
				}
				for line := range strings.Lines(string(b.buf[:n])) { // the load generator waits for each answer
					err = errors.Join(err, lead.do(strings.TrimSpace(line)))
				}
			default:
				err = b.ready(b.conns[fd], ev.Events)
			}
			if err != nil {
				return err
			}
		}
	}
}

func (b *bare) accept(listener int) error {
	for {
		fd, _, err := syscall.Accept4(listener, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		if err == syscall.EAGAIN {
			return nil
		}
		if err != nil {
			return err
		}
		if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1); err != nil {
			return err
		}
		c := &bareConn{fd: fd}
		b.conns[fd] = c
		b.list = append(b.list, c)
		if err := epollAdd(b.ep, fd, fd, syscall.EPOLLIN); err != nil {
			return err
		}
	}
}

// ready serves a connection.
func (b *bare) ready(c *bareConn, events uint32) error {
	if len(c.due) > 0 {
		if events&syscall.EPOLLOUT != 0 {
			return b.write(c, c.due)
		}
		return nil
	}
	n, err := rawIO(syscall.SYS_READ, c.fd, b.buf)
	switch {
	case err == syscall.EAGAIN:
		return nil
	case err != nil || n == 0: // the end
		delete(b.conns, c.fd)
		return syscall.Close(c.fd)
	case !c.open:
		return b.shake(c, b.buf[:n])
	}
	c.got += n
	whole := c.got / b.in
	c.got %= b.in
	if whole == 0 || b.silent {
		return nil
	}
	return b.write(c, b.joined(whole))
}

// joined is n of the server's frames.
func (b *bare) joined(n int) []byte {
	for len(b.frames) < n*len(b.frame) {
		b.frames = append(b.frames, b.frame...)
	}
	return b.frames[:n*len(b.frame)]
}

// shake answers the handshake. The load generator sends nothing behind it.
func (b *bare) shake(c *bareConn, head []byte) error {
	c.head = append(c.head, head...)
	if !bytes.HasSuffix(c.head, []byte(endHead)) {
		return nil
	}
	c.head, c.open = nil, true
	answer := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + wsAccept + "\r\n"
	if b.deflate {
		answer += "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n"
	}
	return b.write(c, []byte(answer+"\r\n"))
}

// write writes, and waits for what the system does not take.
func (b *bare) write(c *bareConn, data []byte) error {
	n, err := rawIO(syscall.SYS_WRITE, c.fd, data)
	if err != nil && err != syscall.EAGAIN {
		return fmt.Errorf("bare: write: %w", err)
	}
	waited := len(c.due) > 0
	c.due = data[n:]
	if waits := len(c.due) > 0; waits != waited {
		events := uint32(syscall.EPOLLIN)
		if waits {
			events = syscall.EPOLLOUT
		}
		return syscall.EpollCtl(b.ep, syscall.EPOLL_CTL_MOD, c.fd, &syscall.EpollEvent{Events: events, Fd: int32(c.fd)})
	}
	return nil
}

// burst sends n messages to all, with one write each.
func (b *bare) burst(n int) error {
	data := b.joined(n)
	for _, c := range b.list {
		if err := b.write(c, data); err != nil {
			return err
		}
	}
	return nil
}
