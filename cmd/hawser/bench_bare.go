package main

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"hawser/rtmp"
)

// bareCommand makes the hidden `hawser bench bare`: one loop that writes the stream's messages to all that are connected, with one write each and nothing else. It is the limit that
// a server is compared with.
func bareCommand() *cobra.Command {
	var kbps, overhead int
	var gather, sound time.Duration
	var udp bool
	c := &cobra.Command{
		Use:  "bare",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if udp {
				conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
				if err != nil {
					return err
				}
				defer conn.Close()
				context.AfterFunc(c.Context(), func() { conn.Close() })
				fmt.Fprintf(c.OutOrStdout(), "bare: on %s\n", conn.LocalAddr())
				b := bareUDP{conn: conn}
				go b.accept()
				return b.run(c.Context(), kbps)
			}
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			defer ln.Close()
			context.AfterFunc(c.Context(), func() { ln.Close() })
			fmt.Fprintf(c.OutOrStdout(), "bare: on %s\n", ln.Addr())
			b := bareLoop{gather: gather, sound: sound}
			go b.accept(ln)
			return newBenchStream(kbps, false).run(c.Context(), func(m rtmp.Message) error {
				b.add(m.Type == rtmp.TypeVideo, append(rtmp.AppendMessage(nil, rtmp.OwnChunkSize, m), make([]byte, overhead)...))
				return nil
			})
		},
	}
	c.Flags().IntVar(&kbps, "kbps", 2500, "bits per second, in thousands")
	c.Flags().IntVar(&overhead, "overhead", 0, "bytes added to each message")
	c.Flags().DurationVar(&gather, "gather", 0, "how long messages wait for others")
	c.Flags().DurationVar(&sound, "gather-sound", 0, "how long sound waits for the next picture")
	c.Flags().BoolVar(&udp, "udp", false, "send packets as they are over WebRTC")
	return c
}

// bareLoop writes to sockets.
type bareLoop struct {
	gather, sound time.Duration

	mu      sync.Mutex
	conns   []net.Conn // keeps the sockets open
	fds     []int
	pending []byte // gathered so far
	timer   *time.Timer
}

// add writes a message, or lets it wait for others as the server does.
func (b *bareLoop) add(picture bool, message []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	wait := b.gather
	if wait == 0 && !picture {
		wait = b.sound
	}
	if b.pending = append(b.pending, message...); wait == 0 {
		b.writeLocked()
	} else if b.timer == nil {
		b.timer = time.AfterFunc(wait, b.write)
	}
}

func (b *bareLoop) write() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.writeLocked()
}

func (b *bareLoop) accept(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		raw, err := conn.(*net.TCPConn).SyscallConn()
		if err != nil {
			return
		}
		raw.Control(func(fd uintptr) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.conns = append(b.conns, conn)
			b.fds = append(b.fds, int(fd))
		})
	}
}

// writeLocked writes what is pending, the same bytes to all.
func (b *bareLoop) writeLocked() {
	if b.timer != nil {
		b.timer.Stop()
		b.timer = nil
	}
	for _, fd := range b.fds {
		writeRaw(fd, b.pending) // a full socket loses it: the viewers are never slow
	}
	b.pending = b.pending[:0]
}
