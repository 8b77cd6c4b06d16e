package main

import (
	"context"
	"fmt"
	"net"
	"sync"

	"github.com/spf13/cobra"

	"hawser/rtmp"
)

// bareCommand makes the hidden `hawser bench bare`: one loop that writes the stream's messages to all that are connected, with one write each and nothing else. It is the limit that
// a server is compared with.
func bareCommand() *cobra.Command {
	var kbps, overhead int
	c := &cobra.Command{
		Use:    "bare",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			defer ln.Close()
			context.AfterFunc(c.Context(), func() { ln.Close() })
			fmt.Fprintf(c.OutOrStdout(), "bare: on %s\n", ln.Addr())
			var b bareLoop
			go b.accept(ln)
			return newBenchStream(kbps).run(c.Context(), func(m rtmp.Message) error {
				b.write(append(rtmp.AppendMessage(nil, rtmp.OwnChunkSize, m), make([]byte, overhead)...))
				return nil
			})
		},
	}
	c.Flags().IntVar(&kbps, "kbps", 2500, "bits per second, in thousands")
	c.Flags().IntVar(&overhead, "overhead", 0, "bytes added to each message")
	return c
}

// bareLoop writes to sockets.
type bareLoop struct {
	mu    sync.Mutex
	conns []net.Conn // keeps the sockets open
	fds   []int
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

func (b *bareLoop) write(message []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, fd := range b.fds {
		writeRaw(fd, message) // a full socket loses it: the viewers are never slow
	}
}
