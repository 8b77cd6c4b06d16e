package rtmp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hawser/amf"
	"hawser/lifecycle"
	"hawser/ring"
)

// opening is what a client sends up to an accepted connect.
func opening() []byte {
	return openingOf("live")
}

// openingOf is opening for another application.
func openingOf(app string) []byte {
	b := append(newHandshake(true).first(), make([]byte, handshakePart)...)
	return AppendMessage(b, DefaultChunkSize, command(0, "connect", 1, amf.Object{{Name: "app", Value: app}}))
}

// publishing is what a client sends up to an accepted publish of /live/cam1.
func publishing() []byte {
	return appendMessages(opening(), DefaultChunkSize, command(0, "createStream", 2, nil), command(1, "publish", 0, nil, "cam1", "live"))
}

func (r *relay) connect() net.Conn {
	r.t.Helper()
	nc, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { nc.Close() })
	return nc
}

// piped serves one end of a pipe in a synctest bubble and returns the other.
func piped(t *testing.T, log *lifecycle.Log) net.Conn {
	return served(t, &Server{Log: log, Handler: &Handler{}})
}

// served is piped for a server that the test has made.
func served(t *testing.T, s *Server) net.Conn {
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() { s.ServeConn(t.Context(), far); close(done) }()
	t.Cleanup(func() { near.Close(); <-done })
	return near
}

func closeReason(l *lifecycle.Log) lifecycle.Reason {
	for _, e := range l.Recent(10) {
		if e.Kind == lifecycle.KindClose {
			return e.Reason
		}
	}
	return lifecycle.Reason{}
}

// TestHalfOpen leaves the handshake and connect unfinished.
func TestHalfOpen(t *testing.T) {
	for _, n := range []int{0, 1, 1000, 1537, 3073, 3100} {
		synctest.Test(t, func(t *testing.T) {
			log := lifecycle.NewLog(ring.Limits{})
			nc := piped(t, log)
			go io.Copy(io.Discard, nc)
			nc.Write(opening()[:n])
			synctest.Wait()
			time.Sleep(DefaultHandshakeTimeout - time.Nanosecond)
			synctest.Wait()
			if !closeReason(log).IsZero() {
				t.Errorf("after %d bytes: closed too early", n)
			}
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			if why := closeReason(log); !errors.Is(why, lifecycle.ReasonTimeout) || why.Text != "no connect within 10s (HandshakeTimeout)" {
				t.Errorf("after %d bytes: closed with %v", n, why)
			}
		})
	}
}

// TestIdle has a client that is silent: it gets a ping request, stays while it answers, and is gone when it does not.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := lifecycle.NewLog(ring.Limits{})
		nc := piped(t, log)
		var mute atomic.Bool
		go func() {
			r := NewChunkReader(Limits{})
			io.CopyN(io.Discard, nc, handshakeBytes)
			b := make([]byte, 4096)
			for {
				n, err := nc.Read(b)
				if err != nil {
					return
				}
				r.Feed(b[:n], func(m Message) error {
					if m.Type == TypeUserControl && binary.BigEndian.Uint16(m.Payload) == ControlPingRequest && !mute.Load() {
						go nc.Write(AppendMessage(nil, 0, userControl(ControlPingResponse, binary.BigEndian.Uint32(m.Payload[2:]))))
					}
					return nil
				})
			}
		}()
		nc.Write(opening())
		time.Sleep(10 * DefaultIdleTimeout)
		synctest.Wait()
		if why := closeReason(log); !why.IsZero() {
			t.Fatalf("closed with %v although it answers", why)
		}
		mute.Store(true)
		time.Sleep(DefaultIdleTimeout - time.Second)
		synctest.Wait()
		if why := closeReason(log); !why.IsZero() {
			t.Fatalf("closed with %v too early", why)
		}
		time.Sleep(DefaultIdleTimeout)
		synctest.Wait()
		if why := closeReason(log); !errors.Is(why, lifecycle.ReasonTimeout) || why.Text != "no byte within 1m0s (IdleTimeout)" {
			t.Errorf("closed with %v", why)
		}
	})
}

// TestMutePlayer has a player that acknowledges nothing and answers no ping: it stays while it takes what it is sent, and is gone when nothing comes any more.
func TestMutePlayer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := lifecycle.NewLog(ring.Limits{})
		f := &feed{size: OwnChunkSize, count: map[byte]int{}}
		playing := make(chan *Stream, 1)
		nc := served(t, &Server{Log: log, Handler: &Handler{OnPlay: func(_ context.Context, s *Stream) error {
			s.SetSource(&cursor{feed: f})
			playing <- s
			return nil
		}}})
		go io.Copy(io.Discard, nc)
		nc.Write(appendMessages(opening(), 0, command(0, "createStream", 2, nil), command(1, "play", 0, nil, "cam1")))
		f.players = map[*Stream]bool{<-playing: true}
		for range 600 {
			f.add(Message{Type: TypeAudio, StreamID: MediaStreamID, Payload: make([]byte, 100)})
			time.Sleep(time.Second)
			if why := closeReason(log); !why.IsZero() {
				t.Fatalf("closed with %v although it takes all", why)
			}
		}
		time.Sleep(DefaultIdleTimeout / 2)
		synctest.Wait()
		if why := closeReason(log); !why.IsZero() {
			t.Fatalf("closed with %v too early", why)
		}
		time.Sleep(2 * DefaultIdleTimeout)
		synctest.Wait()
		if why := closeReason(log); !errors.Is(why, lifecycle.ReasonTimeout) || why.Text != "no byte within 1m0s (IdleTimeout)" {
			t.Errorf("closed with %v", why)
		}
	})
}

// TestTold breaks the protocol or a limit: a client that is connected is told what was wrong before the end.
func TestTold(t *testing.T) {
	for name, want := range map[string]string{
		"giant message": "too_big: got a video message of 16777215 bytes", "chunk size 0": "protocol: got chunk size 0", "too many chunk streams": "limit: got chunk stream",
		"publish without createStream": "protocol: got publish on message stream 9", "broken AMF": "protocol: got a command with",
	} {
		i := slices.IndexFunc(hostileInputs(t), func(h hostileInput) bool { return h.name == name })
		nc := newRelay(t, nil).connect()
		nc.SetDeadline(time.Now().Add(10 * time.Second))
		nc.Write(hostileInputs(t)[i].send)
		b, err := io.ReadAll(nc)
		if err != nil || !bytes.Contains(b, []byte("NetConnection.Connect.Closed")) || !bytes.Contains(b, []byte(want)) {
			t.Errorf("%s: %v; the client read %q", name, err, b[max(0, len(b)-300):])
		}
	}
}

// endless is a source that always has more.
type endless struct{ b []byte }

func (e endless) Fill(dst [][]byte, most int) [][]byte {
	for n := 0; n < most; n += len(e.b) {
		dst = append(dst, e.b)
	}
	return dst
}

// TestSlow has a player that does not read.
func TestSlow(t *testing.T) {
	r := newRelay(t, func(s *Server) {
		s.WriteTimeout = 50 * time.Millisecond
		s.Handler.OnPlay = func(_ context.Context, s *Stream) error {
			s.SetSource(endless{AppendMessage(nil, OwnChunkSize, Message{Type: TypeVideo, StreamID: 1, Payload: make([]byte, 60000)})})
			return nil
		}
	})
	nc := r.connect()
	nc.Write(appendMessages(opening(), 0, command(0, "createStream", 2, nil), command(1, "play", 0, nil, "cam1")))
	r.await("stop /live/cam1 slow")
	r.await("disconnect live slow")
}

func TestMaxConnections(t *testing.T) {
	r := newRelay(t, func(s *Server) { s.MaxConnections = 1 })
	publish(t, r.url("/live/cam1"))
	if _, err := Dial(t.Context(), r.url("/live/cam1"), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
	if why := r.logged(lifecycle.KindClose).Reason; !errors.Is(why, lifecycle.ReasonLimit) {
		t.Errorf("closed with %v", why)
	}
}

// TestShutdown ends the server under a publisher, a player and a connection in its handshake.
func TestShutdown(t *testing.T) {
	log := lifecycle.NewLog(ring.Limits{})
	s := &Server{Log: log}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Serve(ctx, ln) }()
	url := "rtmp://" + ln.Addr().String() + "/live/cam1"
	publish(t, url)
	v := play(t, url)
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.Write(opening()[:2000])
	for len(log.Conns()) < 3 {
		runtime.Gosched()
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Serve: %v", err)
	}
	for _, err := range v.Messages(t.Context()) {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("player: %v", err)
		}
	}
	for _, e := range log.Recent(100) {
		if e.Kind == lifecycle.KindClose && !errors.Is(e.Reason, lifecycle.ReasonShutdown) {
			t.Errorf("%s closed with %v", e.Conn, e.Reason)
		}
	}
	if _, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		t.Error("still listens")
	}
}

// TestAcknowledgements counts those that the server sends, by our window and by its own.
func TestAcknowledgements(t *testing.T) {
	const window = 1000
	r := newRelay(t, nil)
	c := publish(t, r.url("/live/cam1"))
	c.queue(control(TypeWindowAckSize, window))
	for range 100 {
		if err := c.WriteMessage(t.Context(), Message{Type: TypeVideo, Payload: make([]byte, 500)}); err != nil {
			t.Fatal(err)
		}
	}
	sent := c.Stats().Sent
	for range 1000 {
		if uint64(c.Stats().Acked)+window >= sent {
			break
		}
		if _, err := c.Call(t.Context(), "_checkbw"); err != nil {
			t.Fatal(err)
		}
	}
	if acked := uint64(c.Stats().Acked); acked+window < sent {
		t.Errorf("acknowledged %d of %d bytes", acked, sent)
	}
}

// TestClientAcknowledges has a server announce a small window to a player.
func TestClientAcknowledges(t *testing.T) {
	const window = 1000
	r := newRelay(t, func(s *Server) { s.Window = window })
	v := play(t, r.url("/live/cam1"))
	for range 100 {
		r.feed("/live/cam1").add(Message{Type: TypeVideo, Payload: make([]byte, 500)})
	}
	n := 0
	for _, err := range v.Messages(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 100 {
			break
		}
	}
	if _, err := v.Call(t.Context(), "_checkbw"); err != nil { // what the client sent before has arrived
		t.Fatal(err)
	}
	if got := r.server.Conns()[0].Stats(); uint64(got.Acked) < 50_000 || uint64(got.Acked) > got.Sent {
		t.Errorf("acknowledged %d of %d bytes", got.Acked, got.Sent)
	}
}

func TestJoinPath(t *testing.T) {
	for _, test := range []struct{ app, name, path string }{
		{"live", "cam1", "/live/cam1"},
		{"live", "cam1?token=x", "/live/cam1"},
		{"live?token=x", "cam1", "/live/cam1"},
		{"live/", "/cam1", "/live/cam1"},
		{"live/a", "b/c", "/live/a/b/c"},
		{"cam1", "", "/cam1"},
		{"", "cam1", "/cam1"},
		{"live", "mp4:cam1.mp4", "/live/cam1.mp4"},
		{"live", "flv:cam1", "/live/cam1"},
		{"live", "käse", "/live/käse"},
		{"", "", ""},
		{"live", "a/../b", ""},
		{"live", "a//b", ""},
		{"live", "a\x00b", ""},
		{"live", "a\xff", ""},
		{"live", strings.Repeat("x", 249), "/live/" + strings.Repeat("x", 249)},
		{"live", strings.Repeat("x", 250), ""},
	} {
		path, err := joinPath(test.app, test.name)
		if ok := err == nil; ok != (test.path != "") || ok && path != test.path {
			t.Errorf("%q and %q: got %q, %v", test.app, test.name, path, err)
		}
	}
	q := joinQuery("rtmp://h/live?a=1&b=1", "live?b=2&c=2", "cam1?c=3&d=%20x")
	if got := q.Encode(); got != "a=1&b=2&c=3&d=+x" {
		t.Errorf("query %q", got)
	}
}

func TestPlayStart(t *testing.T) {
	for v, want := range map[float64]string{-2: "any 0s", -2000: "any 0s", -1: "live 0s", -1000: "live 0s", 0: "recorded 0s", 1500: "recorded 1.5s", 1e300: fmt.Sprint("recorded ", time.Duration(1<<40)*time.Millisecond)} {
		what, at := playStart(v)
		if got := fmt.Sprint(what, " ", at); got != want {
			t.Errorf("%v: got %s, want %s", v, got, want)
		}
	}
}

// BenchmarkFanOut writes one message to many players of the same bytes, over loopback.
func BenchmarkFanOut(b *testing.B) {
	const players = 50
	r := newRelay(b, nil)
	received := make(chan int, players)
	for range players {
		nc := r.connect()
		nc.Write(appendMessages(opening(), 0, command(0, "createStream", 2, nil), command(1, "play", 0, nil, "cam1")))
		go func() { n, _ := io.Copy(io.Discard, nc); received <- int(n) }()
	}
	f := r.feed("/live/cam1")
	for {
		f.mu.Lock()
		n := len(f.players)
		f.mu.Unlock()
		if n == players {
			break
		}
		runtime.Gosched()
	}
	b.ReportAllocs()
	b.SetBytes(players * 5000)
	for b.Loop() {
		f.add(Message{Type: TypeVideo, Payload: make([]byte, 5000)})
	}
	for _, c := range r.server.Conns() {
		c.w.Flush(b.Context())
	}
}

// TestAccessAnyTime asks connections for all that they know while they come, connect and go: before connect that is nothing. The race detector looks on.
func TestAccessAnyTime(t *testing.T) {
	r := newRelay(t, nil)
	early := r.connect()
	if _, err := early.Write(opening()[:100]); err != nil {
		t.Fatal(err)
	}
	var strange, known atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		for ctx.Err() == nil {
			for _, c := range r.server.Conns() {
				object, query, capabilities, args := c.Object(), c.Query(), c.Capabilities(), c.Args()
				if c.TCURL() != "" || len(query)+len(args)+len(capabilities.FourCC) != 0 || c.RequestReconnect("", "") {
					t.Errorf("got more than the client said: %v", object)
				}
				switch app := c.App(); {
				case app == "live" && c.Object().String("app") == app:
					known.Add(1)
				case app == "" && object == nil:
					strange.Add(1)
				case app != "live":
					t.Errorf("application %q of %v", app, object)
				}
				c.Stats()
				c.Streams()
			}
		}
	}()
	for n := 0; n < 20 || known.Load() == 0 || strange.Load() == 0; n++ {
		nc := r.connect()
		if _, err := nc.Write(publishing()); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, nc, handshakeBytes+100); err != nil {
			t.Fatal(err)
		}
		nc.Close()
	}
	cancel()
	<-asked
}
