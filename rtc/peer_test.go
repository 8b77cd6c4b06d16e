package rtc

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hawser/lifecycle"
	"hawser/ring"
)

// seen keeps the changes of a peer and lets tests wait for one.
type seen struct {
	mu      sync.Mutex
	changes []Change
	more    chan struct{}
}

func newSeen() *seen { return &seen{more: make(chan struct{}, 1)} }

func (s *seen) add(c Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes = append(s.changes, c)
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// words returns the states so far.
func (s *seen) words() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for _, c := range s.changes {
		list = append(list, c.To.String())
	}
	return strings.Join(list, " ")
}

func (s *seen) last() Change {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changes[len(s.changes)-1]
}

// until waits until the states so far are those words, in one of several ways.
func (s *seen) until(t *testing.T, words ...string) {
	t.Helper()
	patience := time.After(time.Minute)
	for !slices.Contains(words, s.words()) {
		select {
		case <-s.more:
		case <-patience:
			t.Fatalf("the states are %q, want %q; last %+v", s.words(), words, s.last())
		}
	}
}

// quick are clocks for tests on real sockets: those that end something have time for a busy machine.
func quick(o Options) Options {
	o.Loopback = true
	o.DisconnectedTimeout, o.FailedTimeout, o.KeepAlive, o.Settle = 20*time.Second, 20*time.Second, 100*time.Millisecond, 300*time.Millisecond
	return o
}

func newEngine(t *testing.T, o Options) *Engine {
	t.Helper()
	e, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func openPeer(t *testing.T, e *Engine, o PeerOptions) *Peer {
	t.Helper()
	p, err := e.Peer(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close(lifecycle.ReasonDone) })
	return p
}

// connect lets one peer offer and the other one answer.
func connect(t *testing.T, offerer, answerer *Peer) {
	t.Helper()
	offer, err := offerer.Offer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	agree(t, offerer, answerer, offer)
}

func agree(t *testing.T, offerer, answerer *Peer, offer string) {
	t.Helper()
	answer, err := answerer.Answer(t.Context(), offer)
	if err != nil {
		t.Fatal(err)
	}
	if err := offerer.SetAnswer(answer); err != nil {
		t.Fatal(err)
	}
}

// events returns the states and reasons that a log has of a connection.
func events(t *testing.T, l *lifecycle.Log, id string) (list []lifecycle.Event) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for e := range l.Events(ctx, 0) {
		if e.Conn == id && (e.Kind == lifecycle.KindState || e.Kind == lifecycle.KindClose) {
			list = append(list, e)
		}
	}
	return list
}

// Two peers on real sockets, with data in both directions, a restart by either side, and an end.
func TestPeers(t *testing.T) {
	for _, c := range []struct {
		name           string
		server, client Options
	}{
		{"own ports", Options{}, Options{}},
		{"one port", Options{UDP: "127.0.0.1:0"}, Options{}},
		{"one port on all addresses", Options{UDP: ":0"}, Options{}},
		{"lite", Options{UDP: "127.0.0.1:0", Lite: true}, Options{}},
		{"tcp", Options{UDP: "-", TCP: "127.0.0.1:0"}, Options{TCP: "127.0.0.1:0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			testPeers(t, newEngine(t, quick(c.server)), newEngine(t, quick(c.client)), c.server.Lite)
		})
	}
}

func testPeers(t *testing.T, server, client *Engine, lite bool) {
	log := lifecycle.NewLog(ring.Limits{})
	conn := log.Open("rtc", lifecycle.Server, "")
	atServer, atClient := newSeen(), newSeen()
	echoed := make(chan string, 8)
	s := openPeer(t, server, PeerOptions{Conn: conn, OnChange: atServer.add, OnChannel: func(c *Channel) ChannelOptions {
		return ChannelOptions{OnMessage: func(text bool, data []byte) { c.Send(text, data) }}
	}})
	k := openPeer(t, client, PeerOptions{OnChange: atClient.add})
	opened := make(chan struct{})
	channel, err := k.Open("echo", ChannelOptions{OnOpen: func() { close(opened) }, OnMessage: func(text bool, data []byte) { echoed <- fmt.Sprint(text, " ", string(data)) }})
	if err != nil {
		t.Fatal(err)
	}
	connect(t, k, s)
	atServer.until(t, "new checking connected completed")
	atClient.until(t, "new checking connected completed")
	<-opened
	large := strings.Repeat("x", 40_000)
	for _, m := range []struct {
		text bool
		data string
	}{{true, "hello"}, {false, "\x00\x01"}, {true, ""}, {true, large}} {
		if err := channel.Send(m.text, []byte(m.data)); err != nil {
			t.Fatal(err)
		}
		if got := <-echoed; got != fmt.Sprint(m.text, " ", m.data) {
			t.Errorf("got %.50q back, want %v %.50q", got, m.text, m.data)
		}
	}
	change := s.ICE()
	if change.To != StateCompleted || change.Pair.IsZero() || !lite && change.Pair.RoundTrip <= 0 {
		t.Errorf("at the server: %+v", change)
	}
	pairLocal := change.Pair.Local.Address

	offer, err := k.Restart(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	agree(t, k, s, offer)
	const restarted = "new checking connected completed checking connected completed"
	atServer.until(t, restarted)
	atClient.until(t, restarted)
	if err := channel.Send(true, []byte("again")); err != nil {
		t.Fatal(err)
	}
	if got := <-echoed; got != "true again" {
		t.Errorf("after the restart %q came", got)
	}

	k.Close(lifecycle.ReasonDone)
	atClient.until(t, restarted+" closed")
	if closed := restarted + " closed"; change.Pair.Local.Protocol == "tcp" {
		atServer.until(t, closed, restarted+" disconnected closed") // the end of TCP may overtake that of DTLS
		return
	} else {
		atServer.until(t, closed)
	}
	var states []string
	all := events(t, log, conn.ID())
	for _, e := range all {
		states = append(states, e.From+">"+e.State+" "+e.Light.String())
	}
	want := []string{">new amber", "new>checking amber", "checking>connected green", "connected>completed green", "completed>checking amber",
		"checking>connected green", "connected>completed green", "completed>closed red"}
	if !slices.Equal(states, want) {
		t.Errorf("events:\n%q\nwant\n%q", states, want)
	}
	if !strings.Contains(all[2].Detail, pairLocal) {
		t.Errorf("the event of connected has %q, want the pair with %s", all[2].Detail, pairLocal)
	}
	if last := all[len(all)-1]; last.Reason.Code != lifecycle.ReasonDone.Code || last.Kind != lifecycle.KindClose {
		t.Errorf("the end: %+v", last)
	}
}

// A receiver that takes nothing makes Send refuse, with bounded memory, and nothing that was accepted is lost.
func TestChannelIsBounded(t *testing.T) {
	server, client := newEngine(t, quick(Options{UDP: "127.0.0.1:0"})), newEngine(t, quick(Options{}))
	hold := make(chan struct{})
	got := make(chan []byte, 1000)
	s := openPeer(t, server, PeerOptions{OnChannel: func(c *Channel) ChannelOptions {
		return ChannelOptions{OnMessage: func(_ bool, data []byte) { <-hold; got <- data }}
	}})
	k := openPeer(t, client, PeerOptions{})
	opened, drained := make(chan struct{}), make(chan struct{}, 100)
	c, err := k.Open("slow", ChannelOptions{OnOpen: func() { close(opened) }, OnDrain: func() { drained <- struct{}{} }, MaxBuffered: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	connect(t, k, s)
	<-opened
	message, sent := make([]byte, 32<<10), 0
	var refused error
	for refused == nil && sent < 1000 {
		message[0] = byte(sent)
		if refused = c.Send(false, message); refused == nil {
			sent++
		}
	}
	if r := lifecycle.ReasonOf(refused); r.Code != lifecycle.ReasonSlow.Code {
		t.Fatalf("after %d messages: %v, want slow", sent, refused)
	}
	if c.Buffered() > 256<<10 {
		t.Errorf("%d bytes wait", c.Buffered())
	}
	close(hold)
	for i := range sent {
		if data := <-got; data[0] != byte(i) || !bytes.Equal(data[1:], message[1:]) {
			t.Fatalf("message %d is another one", i)
		}
	}
	<-drained
}

// Announced addresses stand in for the machine's own in what is told, and packets find their way all the same.
func TestAnnouncedAddress(t *testing.T) {
	server, client := newEngine(t, quick(Options{UDP: ":0", Announce: []string{"127.0.0.1"}})), newEngine(t, quick(Options{}))
	seen := newSeen()
	s := openPeer(t, server, PeerOptions{OnChannel: func(*Channel) ChannelOptions { return ChannelOptions{} }})
	k := openPeer(t, client, PeerOptions{OnChange: seen.add})
	if _, err := k.Open("data", ChannelOptions{}); err != nil {
		t.Fatal(err)
	}
	offer, err := k.Offer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	answer, err := s.Answer(t.Context(), offer)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(answer) {
		if f := strings.Fields(line); strings.HasPrefix(line, "a=candidate:") && f[4] != "127.0.0.1" && strings.Contains(f[4], ".") {
			t.Errorf("it tells %s", line)
		}
	}
	if err := k.SetAnswer(answer); err != nil {
		t.Fatal(err)
	}
	seen.until(t, "new checking connected completed")
}
