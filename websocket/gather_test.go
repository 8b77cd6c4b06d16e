package websocket

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// What answers messages that came together goes out in one write, and in order.
func TestGather(t *testing.T) {
	const n = 16
	var in, want []byte
	for i := range n {
		in = append(in, text(fmt.Sprint(i)).bytes(true)...)
		want = append(want, text(fmt.Sprint(i)).bytes(false)...)
	}
	answer := map[string]func(c *Conn, b []byte) error{
		"Write": func(c *Conn, b []byte) error { return c.Write(context.Background(), TextMessage, b) },
		"Queue": func(c *Conn, b []byte) error { return c.Queue(AppendFrame(nil, true, OpText, b)) },
		"both": func(c *Conn, b []byte) error {
			if len(b) == 1 {
				return c.Queue(AppendFrame(nil, true, OpText, b))
			}
			return c.WritePrepared(context.Background(), Prepare(TextMessage, b))
		},
	}
	for name, send := range answer {
		for _, loop := range []bool{true, false} {
			c, peer := connect(t, true, &AcceptOptions{Gather: time.Minute})
			peer.Write(in) // arrives at once on the loopback
			if loop {
				i := 0
				for ev := range c.Events(testContext(t)) {
					send(c, ev.Data)
					if i++; i == n {
						break
					}
				}
			} else {
				for range n {
					_, b, _ := c.Read(testContext(t))
					send(c, b)
				}
			}
			got := make([]byte, len(want))
			if _, err := io.ReadFull(peer, got); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, loop %v: got %q, %v", name, loop, got, err)
			}
			if _, writes := c.Stats(); writes > 1 {
				t.Errorf("%s, loop %v: %d writes", name, loop, writes)
			}
		}
	}
}

// Gathering does not hold an answer back while its handler goes on working.
func TestGatherExpires(t *testing.T) {
	c, peer := connect(t, true, nil)
	peer.Write(frames(true, text("a"), text("b")))
	for ev := range c.Events(testContext(t)) {
		c.Write(testContext(t), TextMessage, ev.Data)
		got := make([]byte, 3)
		if _, err := io.ReadFull(peer, got); err != nil || string(got[2:]) != string(ev.Data) {
			t.Fatalf("got %q, %v", got, err)
		}
		if string(ev.Data) == "b" {
			break
		}
	}
}

// Large answers and small ones keep their order while they are gathered.
func TestGatherOrder(t *testing.T) {
	const n = 300
	c, peer := connect(t, true, &AcceptOptions{QueueLimit: 40 << 10})
	var in []frame
	for i := range n {
		in = append(in, text(fmt.Sprint(i)))
	}
	sizes := []int{0, 1, 100, 3000, gatherFrame - 10, gatherFrame + 10, gatherLimit, 100_000}
	go func() {
		peer.Write(frames(true, in...))
	}()
	go func() {
		i := 0
		for ev := range c.Events(testContext(t)) {
			b := append(bytes.Clone(ev.Data), bytes.Repeat([]byte("x"), sizes[rand.IntN(len(sizes))])...)
			if err := c.Write(testContext(t), TextMessage, b); err != nil {
				t.Error(err)
			}
			if i++; i == n {
				break
			}
		}
	}()
	var got int
	p := parser{emit: func(_, _ byte, b []byte, _ bool) error {
		if strings.TrimRight(string(b), "x") != fmt.Sprint(got) {
			t.Fatalf("message %d is %.20q", got, b)
		}
		got++
		return nil
	}}
	buf := make([]byte, 10_000)
	for got < n {
		k, err := peer.Read(buf)
		if _, perr := p.feed(buf[:k]); err != nil || perr != nil {
			t.Fatalf("after %d messages: %v, %v", got, err, perr)
		}
	}
}
