package websocket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
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
			c, peer := connect(t, true, nil)
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
			if _, writes := c.Stats(); writes > 2 { // Flush counts
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

// Close from many goroutines while others send: each call returns, one close frame goes out, and nothing behind it.
func TestCloseWhileSending(t *testing.T) {
	for range 5 {
		c, peer := connect(t, true, nil)
		answer := make(chan []byte, 1)
		go func() { answer <- peer.exchange(nil, false) }()
		go func() {
			for range c.Events(testContext(t)) {
			}
		}()
		c.SetSource(&fountain{frame: text("from the source").bytes(false)})
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for j := 0; ; j++ {
					c.Wake()
					if c.Ping(testContext(t), nil) != nil || c.Queue(text("x").bytes(false)) != nil || c.Write(testContext(t), TextMessage, make([]byte, 10_000)) != nil {
						return
					}
					if i < 4 && j == 5 {
						c.Close(4000+i, "")
					}
				}
			})
		}
		wg.Wait()
		go peer.Write(closing(CloseNormal, "").bytes(true))
		b := <-answer
		got, err := parse(false, b, len(b)+1)
		for i, f := range got {
			if (f.op == OpClose) != (i == len(got)-1) {
				t.Fatalf("frame %d of %d is %v", i, len(got), f.op)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
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

// What the peer said before it went away is heard although writing to it already fails.
func TestCloseFrameBehindWriteError(t *testing.T) {
	c, peer := connect(t, true, nil)
	peer.Write(closing(4001, "restart").bytes(true))
	peer.Close()
	for c.Write(testContext(t), TextMessage, make([]byte, 1000)) == nil {
	}
	_, _, err := c.Read(testContext(t))
	var e *CloseError
	if !errors.As(err, &e) || e.Code != 4001 || e.Reason != "restart" || e.Side != Remote {
		t.Errorf("Read returned %v", err)
	}
}

func TestLost(t *testing.T) {
	for _, server := range []bool{true, false} {
		c, peer := connect(t, server, nil)
		peer.Write(text("half").bytes(server)[:3])
		peer.Close()
		got := eventsOf(c, testContext(t))
		code, _ := c.CloseReceived()
		if got != "disconnected:failed" || code != CloseAbnormal || !lifecycle.ReasonOf(c.Err()).Is(lifecycle.ReasonLost) || !errors.Is(c.Err(), net.ErrClosed) {
			t.Errorf("got %s; %v", got, c.Err())
		}
		if again := eventsOf(c, testContext(t)); again != got {
			t.Errorf("a later loop got %s", again)
		}
	}
}

func TestClose(t *testing.T) {
	for _, tt := range []struct {
		name   string
		code   int
		reason string
		want   int
		text   string
	}{
		{"normal", CloseNormal, "bye", CloseNormal, "bye"},
		{"no status", 0, "", CloseNoStatus, ""},
		{"long", 4000, strings.Repeat("é", 100), 4000, strings.Repeat("é", 61)},
		{"not UTF-8", 4000, "a\xff", 4000, "a\uFFFD"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for swap := range 2 {
				client, server := both(t, nil, nil)
				ends := [2]*Conn{client, server}
				a, b := ends[swap], ends[1-swap]
				got := make(chan string, 1)
				go func() { got <- eventsOf(b, testContext(t)) }()
				if err := a.Close(tt.code, tt.reason); err != nil {
					t.Errorf("Close returned %v", err)
				}
				word := fmt.Sprint(tt.want)
				if tt.text != "" {
					word += fmt.Sprintf("%q", tt.text)
				}
				if g, want := <-got, fmt.Sprintf("closing:%[1]s closed:%[1]s disconnected:graceful", word); g != want {
					t.Errorf("the other end got %s, want %s", g, want)
				}
				var ae, be *CloseError
				if !errors.As(a.Err(), &ae) || !errors.As(b.Err(), &be) || ae.Side != Local || be.Side != Remote || ae.Code != tt.want || be.Code != tt.want {
					t.Errorf("ended with %v and %v", a.Err(), b.Err())
				}
				if code, _ := a.CloseReceived(); code != tt.want {
					t.Errorf("received code %d", code)
				}
				if err := a.Close(CloseNormal, ""); err != nil {
					t.Errorf("a second Close returned %v", err)
				}
			}
		})
	}
	c, _ := connect(t, true, nil)
	if err := c.Close(1005, ""); err == nil || c.State() != StateOpen {
		t.Error("code 1005 is sent")
	}
}

// While the peer's close is handled, sending is still possible; after ours, messages still come.
func TestCloseInLoop(t *testing.T) {
	client, server := both(t, nil, nil)
	last := make(chan string, 1)
	go func() {
		var words []string
		for ev := range client.Events(testContext(t)) {
			words = append(words, eventWord(ev))
			if ev.Kind == Text {
				if err := client.Close(CloseGoingAway, ""); err != nil {
					t.Error(err)
				}
				if err := client.Write(testContext(t), TextMessage, nil); !errors.Is(err, net.ErrClosed) {
					t.Errorf("Write after Close returned %v", err)
				}
			}
		}
		last <- strings.Join(words, " ")
	}()
	server.Write(testContext(t), TextMessage, []byte("go"))
	for ev := range server.Events(testContext(t)) {
		if ev.Kind == Closing {
			if err := server.Write(testContext(t), BinaryMessage, []byte("last words")); err != nil {
				t.Errorf("Write while closing returned %v", err)
			}
		}
		if ev.Kind == Closed && server.Write(testContext(t), BinaryMessage, nil) == nil {
			t.Error("Write after closed")
		}
	}
	if got, want := <-last, `text:"go" binary:"last words" closed:1001 disconnected:graceful`; got != want {
		t.Errorf("got %s, want %s", got, want)
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
