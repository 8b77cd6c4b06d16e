package websocket

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// stress is one end of a connection on which everything happens at once.
type stress struct {
	t        *testing.T
	c        *Conn
	wg       sync.WaitGroup
	received atomic.Int32
	enough   chan struct{} // closed at the fiftieth message
}

// numbered is a message that shows whether it came whole, and in its order.
func numbered(sender, i int) []byte {
	b := fmt.Appendf(nil, "%d %d %s", sender, i, strings.Repeat("x", rand.IntN(5000)))
	return fmt.Appendf(b, " %08x", crc32.ChecksumIEEE(b))
}

// check returns the sender and number of a message that came whole.
func (s *stress) check(b []byte) (sender, i int) {
	body, sum := b[:max(len(b)-9, 0)], b[max(len(b)-8, 0):]
	if string(sum) != fmt.Sprintf("%08x", crc32.ChecksumIEEE(body)) {
		s.t.Errorf("a message of %d bytes is not whole", len(b))
	}
	fmt.Sscan(string(body), &sender, &i)
	return sender, i
}

// gone says whether an operation failed because the connection is closing or closed; the end of its own context is nothing.
func (s *stress) gone(err error) bool {
	if err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, context.Canceled) {
		s.t.Errorf("got %v", err)
	}
	return errors.Is(err, net.ErrClosed)
}

// impatient is a context that may end at any moment.
func impatient() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	if n := rand.IntN(3); n == 0 {
		cancel()
	} else if n == 1 {
		go cancel()
	}
	return ctx, cancel
}

func (s *stress) send(sender int) {
	for i := 0; ; i++ {
		ctx, cancel := impatient()
		err := s.c.Write(ctx, TextMessage, numbered(sender, i))
		cancel()
		if s.gone(err) {
			return
		}
	}
}

func (s *stress) ping() {
	for {
		ctx, cancel := impatient()
		err := s.c.Ping(ctx, []byte("p"))
		cancel()
		_, _, _ = s.c.State(), s.c.Err(), s.c.RemoteAddr()
		s.c.CloseReceived()
		if s.gone(err) {
			return
		}
	}
}

// read goes on reading, now with the one call and now with the other, until the end.
func (s *stress) read() { s.readUntil(func() bool { return s.c.Err() != nil }) }

func (s *stress) readUntil(done func() bool) {
	last := map[int]int{}
	take := func(b []byte) {
		sender, i := s.check(b)
		if before, seen := last[sender]; seen && i <= before {
			s.t.Errorf("sender %d: message %d behind %d", sender, i, before)
		}
		last[sender] = i
		if s.received.Add(1) == 50 {
			close(s.enough)
		}
	}
	for !done() {
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(time.Duration(rand.IntN(2000))*time.Microsecond, cancel)
		if rand.IntN(2) == 0 {
			if _, b, err := s.c.Read(ctx); err == nil {
				take(b)
			}
		} else {
			for ev := range s.c.Events(ctx) {
				if ev.Kind == Text {
					take(ev.Data)
				}
				if done() || rand.IntN(50) == 0 {
					break
				}
			}
		}
		cancel()
	}
}

// run starts it all; wait for wg.
func (s *stress) run() {
	for sender := range 4 {
		s.wg.Go(func() { s.send(sender) })
	}
	s.wg.Go(s.ping)
	s.wg.Go(s.ping)
	s.wg.Go(s.read)
}

// Sends, pings, reads, cancels and closes at once from many goroutines, on both ends: messages stay whole and in order, everything returns, and both ends have ended.
func TestEverythingAtOnce(t *testing.T) {
	for round := range 6 {
		client, server := both(t, &AcceptOptions{Keepalive: time.Millisecond, Poll: time.Millisecond}, &DialOptions{Keepalive: time.Millisecond})
		ends := []*stress{{t: t, c: client, enough: make(chan struct{})}, {t: t, c: server, enough: make(chan struct{})}}
		for _, s := range ends {
			s.run()
		}
		for i := range 8 {
			s := ends[i%2]
			s.wg.Go(func() {
				select {
				case <-s.enough:
				case <-s.c.Done():
				}
				switch {
				case round%3 == 1 && i == 0:
					s.c.CloseNow()
				case round%3 == 2 && i%2 == 0: // the other end closes
				default:
					s.c.Close(3000+i, "enough")
				}
			})
		}
		for _, s := range ends {
			s.wg.Wait()
			<-s.c.Done()
			if !errors.Is(s.c.Err(), net.ErrClosed) || s.c.State() != StateClosed {
				t.Errorf("round %d: ended with %v, state %v", round, s.c.Err(), s.c.State())
			}
		}
	}
}

// A reader whose contexts end all the time, and which leaves its loops, loses nothing.
func TestImpatientReader(t *testing.T) {
	const senders, messages = 4, 150
	client, server := both(t, nil, nil)
	for _, ends := range [][2]*Conn{{client, server}, {server, client}} {
		s := &stress{t: t, c: ends[1], enough: make(chan struct{})}
		for sender := range senders {
			s.wg.Go(func() {
				for i := range messages {
					if err := ends[0].Write(testContext(t), TextMessage, numbered(sender, i)); err != nil {
						t.Errorf("Write: %v", err)
					}
				}
			})
		}
		s.readUntil(func() bool { return s.received.Load() == senders*messages || t.Context().Err() != nil })
		s.wg.Wait()
	}
}

// Clients that are cancelled, left and cut at any moment of their life end, each with at most one Disconnected an attempt.
func TestManyClients(t *testing.T) {
	url := serve(t, &AcceptOptions{CloseTimeout: time.Second}, func(c *Conn) {
		for i := range rand.IntN(6) {
			c.Write(context.Background(), TextMessage, numbered(0, i))
		}
		if rand.IntN(3) == 0 {
			c.CloseNow()
		}
	})
	var wg sync.WaitGroup
	for range 60 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(testContext(t))
			defer cancel()
			cl := &Client{URL: url, Persist: true, MinBackOff: time.Microsecond, MaxBackOff: time.Millisecond, DialOptions: DialOptions{CloseTimeout: time.Second}}
			stop, leave, n, gone := rand.IntN(25), rand.IntN(25), 0, map[int]int{}
			for ev := range cl.Events(ctx) {
				if ev.Kind == Disconnected {
					gone[ev.Attempt]++
				}
				if n == stop {
					go cancel()
				}
				if n++; n > leave {
					break
				}
			}
			for attempt, k := range gone {
				if k != 1 {
					t.Errorf("attempt %d was disconnected %d times", attempt, k)
				}
			}
		})
	}
	wg.Wait()
}
