package websocket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hawser/lifecycle"
	"hawser/netio"
	"hawser/ring"
)

// both gives both ends of a connection over real sockets.
func both(t testing.TB, so *AcceptOptions, do *DialOptions) (client, server *Conn) {
	t.Helper()
	conns, end := make(chan *Conn), make(chan struct{})
	url := serve(t, so, func(c *Conn) { conns <- c; <-end })
	client, err := Dial(testContext(t), url, do)
	if err != nil {
		t.Fatal(err)
	}
	server = <-conns
	t.Cleanup(func() { client.CloseNow(); server.CloseNow(); close(end) })
	return client, server
}

func TestReadWrite(t *testing.T) {
	client, server := both(t, nil, nil)
	for _, ends := range [][2]*Conn{{client, server}, {server, client}} {
		from, to := ends[0], ends[1]
		for _, n := range []int{0, 1, 125, 126, 4096, 4097, 65535, 65536, 1 << 20} {
			want := bytes.Repeat([]byte("é\x00"), n/3+1)[:n/3*3]
			sent := make(chan error, 1)
			b := bytes.Clone(want)
			go func() {
				sent <- from.Write(testContext(t), TextMessage, b)
				clear(b) // it is ours again
			}()
			typ, got, err := to.Read(testContext(t))
			if err != nil || typ != TextMessage || !bytes.Equal(got, want) || <-sent != nil {
				t.Fatalf("%d bytes: got %v of %d, %v", n, typ, len(got), err)
			}
		}
	}
	if err := client.Write(testContext(t), 7, nil); err == nil {
		t.Error("type 7 is sent")
	}
	if err := client.Ping(testContext(t), make([]byte, 126)); err == nil {
		t.Error("a ping of 126 bytes is sent")
	}
}

// The end of a context ends the waiting, not the connection, even in the middle of a message.
func TestReadContext(t *testing.T) {
	for _, server := range []bool{true, false} {
		c, peer := connect(t, server, nil)
		out := frames(server, frame{op: OpText, payload: "a"}, frame{fin: true, payload: "bc"})
		ctx, cancel := context.WithCancel(context.Background())
		read := make(chan error)
		go func() {
			_, _, err := c.Read(ctx)
			read <- err
		}()
		peer.Write(out[:len(out)-1])
		cancel()
		if err := <-read; !errors.Is(err, context.Canceled) {
			t.Fatalf("Read returned %v", err)
		}
		for range c.Events(ctx) {
			t.Error("an event after the end of the context")
		}
		peer.Write(out[len(out)-1:])
		if _, b, err := c.Read(testContext(t)); err != nil || string(b) != "abc" {
			t.Fatalf("Read returned %q, %v", b, err)
		}
	}
}

// Leaving the loop keeps what is already read.
func TestLeaveLoop(t *testing.T) {
	c, peer := connect(t, true, nil)
	var list []frame
	for i := range 100 {
		list = append(list, text(fmt.Sprint(i)))
	}
	peer.Write(frames(true, list...))
	for i := range 100 {
		if i%2 == 0 {
			_, b, err := c.Read(testContext(t))
			if err != nil || string(b) != fmt.Sprint(i) {
				t.Fatalf("message %d is %q, %v", i, b, err)
			}
			continue
		}
		for ev := range c.Events(testContext(t)) {
			if string(ev.Data) != fmt.Sprint(i) {
				t.Fatalf("message %d is %v %q", i, ev.Kind, ev.Data)
			}
			break
		}
	}
}

func TestOneReader(t *testing.T) {
	c, peer := connect(t, true, nil)
	peer.Write(frames(true, text("a")))
	for range c.Events(testContext(t)) {
		if _, _, err := c.Read(testContext(t)); err != ErrReading {
			t.Errorf("Read within the loop returned %v", err)
		}
		break
	}
}

// Everything at once from many goroutines, on both ends: frames stay whole, the order of each sender holds, and the end is clean.
func TestManyGoroutines(t *testing.T) {
	const senders, messages = 8, 200
	client, server := both(t, &AcceptOptions{Keepalive: time.Millisecond}, &DialOptions{Keepalive: time.Millisecond})
	var wg sync.WaitGroup
	var done atomic.Int32
	for _, c := range []*Conn{client, server} {
		for s := range senders {
			wg.Go(func() {
				for i := range messages {
					b := fmt.Appendf(nil, "%d %d %s", s, i, strings.Repeat("x", rand.IntN(20_000)))
					var err error
					switch {
					case c == server && i%3 == 1:
						err = c.Queue(AppendFrame(nil, true, OpText, b))
						for err == netio.ErrSlow {
							c.Flush(testContext(t))
							err = c.Queue(AppendFrame(nil, true, OpText, b))
						}
					case i%3 == 2:
						err = c.WritePrepared(testContext(t), Prepare(TextMessage, b))
					default:
						err = c.Write(testContext(t), TextMessage, b)
					}
					if err == nil && i%50 == 0 {
						err = c.Ping(testContext(t), b[:3])
					}
					if err != nil {
						t.Errorf("sender %d, message %d: %v", s, i, err)
						return
					}
				}
				if done.Add(1) == 2*senders {
					client.Close(CloseNormal, "all sent")
					server.Close(CloseNormal, "all sent")
				}
			})
		}
		wg.Go(func() {
			next, count := map[int]int{}, 0
			for ev := range c.Events(testContext(t)) {
				if ev.Kind != Text {
					continue
				}
				var s, i int
				fmt.Sscan(string(ev.Data), &s, &i)
				if next[s] != i {
					t.Errorf("sender %d: got message %d, want %d", s, i, next[s])
				}
				next[s]++
				count++
			}
			if count != senders*messages {
				t.Errorf("got %d messages; %v", count, c.Err())
			}
		})
	}
	wg.Wait()
	if client.Err() == nil || server.Err() == nil {
		t.Errorf("client %v, server %v", client.Err(), server.Err())
	}
}

// fountain is a source that always has something.
type fountain struct{ frame []byte }

func (f *fountain) Fill(dst [][]byte, max int) [][]byte {
	for ; max > 0; max -= len(f.frame) {
		dst = append(dst, f.frame)
	}
	return dst
}

// onceSource gives its frames once.
type onceSource struct{ frames [][]byte }

func (s *onceSource) Fill(dst [][]byte, max int) [][]byte {
	dst = append(dst, s.frames...)
	s.frames = nil
	return dst
}

func TestSourceAndPrepared(t *testing.T) {
	client, server := both(t, nil, nil)
	p := Prepare(TextMessage, []byte("prepared"))
	server.SetSource(&onceSource{[][]byte{p.Bytes(), AppendFrame(nil, true, OpBinary, []byte("ready-made"))}})
	server.Wake()
	if got := readAll(t, client, 2); got != "prepared ready-made" {
		t.Errorf("the source gave %q", got)
	}
	for _, ends := range [][2]*Conn{{client, server}, {server, client}} {
		if err := ends[0].WritePrepared(testContext(t), p); err != nil {
			t.Error(err)
		}
		if got := readAll(t, ends[1], 1); got != "prepared" {
			t.Errorf("got %q", got)
		}
	}
	if client.Queue(p.Bytes()) == nil {
		t.Error("a client queued an unmasked frame")
	}
}

// A peer that reads nothing costs its own sender the time of its context, others nothing, and memory only up to the limit.
func TestBlockedPeer(t *testing.T) {
	c, peer := connect(t, true, &AcceptOptions{QueueLimit: 100_000})
	ctx, cancel := context.WithCancel(context.Background())
	blocked := make(chan error)
	go func() { blocked <- c.Write(ctx, BinaryMessage, make([]byte, 64<<20)) }()
	frame := AppendFrame(nil, true, OpBinary, make([]byte, 10_000))
	n := 0
	for {
		if err := c.Queue(frame); err == netio.ErrSlow {
			break
		}
		n++
	}
	cancel()
	if err := <-blocked; !errors.Is(err, context.Canceled) {
		t.Errorf("Write returned %v", err)
	}
	if n > 10+4096 { // what the kernel took before the large one, if that came later, and the limit
		t.Errorf("%d frames were queued", n)
	}
	var got []int
	p := parser{emit: func(_, _ byte, b []byte, _ bool) error { got = append(got, len(b)); return nil }}
	buf := make([]byte, 1<<20)
	for len(got) < n {
		k, err := peer.Read(buf)
		if _, perr := p.feed(buf[:k]); err != nil || perr != nil {
			t.Fatalf("after %d messages: %v, %v", len(got), err, perr)
		}
	}
	if c.State() != StateOpen {
		t.Errorf("state %v", c.State())
	}
}

func TestLifecycle(t *testing.T) {
	log := lifecycle.NewLog(ring.Limits{})
	client, server := both(t, &AcceptOptions{Log: log}, &DialOptions{Log: log})
	if !strings.HasPrefix(client.ID(), "websocket-") || client.ID() == server.ID() || len(log.Conns()) != 2 {
		t.Errorf("IDs %q and %q, connections %v", client.ID(), server.ID(), log.Conns())
	}
	go server.Close(4002, "")
	eventsOf(client, testContext(t))
	<-server.Done()
	got := map[string]string{}
	for _, ev := range log.Recent(100) {
		got[ev.Conn] += fmt.Sprintf("%s:%s:%v:%s ", ev.Kind, ev.State, ev.Light, ev.Reason.Word)
	}
	want := "open::red: state:open:green: state:closing:amber:slow close:closed:red:slow "
	if got[server.ID()] != want || got[client.ID()] != strings.Replace(want, "state:open", "state:connecting:amber: state:open", 1) {
		t.Errorf("got %v", got)
	}
	if len(log.Conns()) != 0 {
		t.Errorf("still there: %v", log.Conns())
	}
	if _, err := Dial(testContext(t), "ws://127.0.0.1:1", &DialOptions{Log: log}); err == nil || len(log.Conns()) != 0 {
		t.Errorf("Dial returned %v; still there: %v", err, log.Conns())
	}
}
