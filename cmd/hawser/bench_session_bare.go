package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
)

// sessionBareCommand makes the hidden `hawser bench data bare`: a loop that writes what one connection sends to the others that want it, and nothing else.
func sessionBareCommand() *cobra.Command {
	var gather time.Duration
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
			b := &bareData{follow: make(map[int][]*bareConn), gather: gather}
			if gather > 0 {
				go b.tick(c.Context())
			}
			for {
				conn, err := ln.Accept()
				if err != nil {
					return nil
				}
				go b.serve(conn)
			}
		},
	}
	c.Flags().DurationVar(&gather, "gather", 0, "collect for so long before writing")
	return c
}

// bareData writes messages to who wants them.
type bareData struct {
	gather time.Duration

	mu     sync.Mutex
	follow map[int][]*bareConn
	full   []*bareConn // have something to be written
}

type bareConn struct {
	net.Conn
	buf []byte
}

func (b *bareData) serve(c net.Conn) {
	r := bufio.NewReaderSize(c, 64)
	line, err := r.ReadString('\n')
	switch {
	case err != nil:
	case line[0] == 'P':
		b.publish(bufio.NewReaderSize(io.MultiReader(r, c), 64<<10))
	default:
		b.mu.Lock()
		conn := &bareConn{Conn: c}
		for _, word := range strings.Fields(line[1:]) {
			n := 0
			fmt.Sscan(word, &n)
			b.follow[n] = append(b.follow[n], conn)
		}
		b.mu.Unlock()
		c.Write([]byte{0x81, 2, '{', '}'}) // it is there
		r.ReadByte()
	}
}

func (b *bareData) publish(r io.Reader) {
	var head [4]byte
	for {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		frame := make([]byte, binary.BigEndian.Uint16(head[2:]))
		if _, err := io.ReadFull(r, frame); err != nil {
			return
		}
		b.mu.Lock()
		for _, c := range b.follow[int(binary.BigEndian.Uint16(head[:]))] {
			if b.gather == 0 {
				c.Write(frame)
				continue
			}
			if len(c.buf) == 0 {
				b.full = append(b.full, c)
			}
			c.buf = append(c.buf, frame...)
		}
		b.mu.Unlock()
	}
}

// tick writes what was gathered.
func (b *bareData) tick(ctx context.Context) {
	for ctx.Err() == nil {
		pause(ctx, b.gather)
		b.mu.Lock()
		for _, c := range b.full {
			c.Write(c.buf)
			c.buf = c.buf[:0]
		}
		b.full = b.full[:0]
		b.mu.Unlock()
	}
}
