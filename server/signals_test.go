package server

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"hawser/client"
	"hawser/lifecycle"
	"hawser/media"
	"hawser/rtc"
	"hawser/session"
)

// signalled is a peer of package rtc that a session of the Go client agrees upon, as the example of client.Signals does.
type signalled struct {
	*rtcClient
	signals *client.Signals
	words   chan string // what the server says besides
}

// agree asks, offers, and takes what the server says until the end of the test.
func agree(t *testing.T, c *client.Client, path, as string, peer *rtcClient) *signalled {
	t.Helper()
	signals, err := c.Signals(path)
	if err != nil {
		t.Fatal(err)
	}
	s := &signalled{peer, signals, make(chan string, 100)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	t.Cleanup(func() {
		cancel()
		<-done
	})
	go func() {
		defer close(done)
		s.hear(ctx, as)
	}()
	s.say(map[string]any{"ask": true, "as": as})
	return s
}

func (s *signalled) say(data any) {
	s.t.Helper()
	if err := s.signals.Send(data); err != nil {
		s.t.Error(err)
	}
}

func (s *signalled) hear(ctx context.Context, as string) {
	offered := false
	for data := range s.signals.Messages(ctx) {
		var m struct {
			As        string
			About     *struct{ Possible bool }
			Servers   []rtc.ICEServer
			Answer    string
			Candidate *string
			State     *rtcState
			Close     *lifecycle.Reason
		}
		err := json.Unmarshal(data, &m)
		switch {
		case err != nil:
		case (m.As == "publish") != (as == "publish"): // another peer's on the same path
		case m.Close != nil:
			s.words <- "close " + m.Close.Word
		case m.State != nil:
			s.words <- m.State.ICE.String()
		case m.Candidate != nil:
			err = s.peer.AddCandidate(*m.Candidate)
		case m.Answer != "":
			err = s.peer.SetAnswer(m.Answer)
		case m.About != nil && m.About.Possible && !offered:
			offered = true
			if err = s.peer.SetICEServers(m.Servers); err == nil {
				s.say(map[string]string{"offer": s.offer(), "as": as})
			}
		}
		if err != nil {
			s.t.Errorf("%s: %v", data, err)
		}
	}
}

// said waits for a word of the server.
func (s *signalled) said(want string) {
	s.t.Helper()
	for late := soon(s.t); ; {
		select {
		case word := <-s.words:
			if word == want {
				return
			}
		case <-late.Done():
			s.t.Fatalf("the server has not said %q", want)
		}
	}
}

// The Go client's signals, with package rtc at its end: one client publishes a path and plays it, another one plays it, over a break of its connection; both are told when it is over.
func TestGoClientSignals(t *testing.T) {
	o := withTURN()
	o.Streams.Grace = -1
	r := serve(t, o)
	track, _ := h264Clip(t)
	one := login(t, r, client.Options{})
	proxy, conns := r.proxy()
	two, err := client.New(client.Options{Servers: []string{"ws://" + proxy + "/session"}, BackOff: client.BackOff{Random: func() float64 { return 0 }}})
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	if err := two.Connect(soon(t)); err != nil {
		t.Fatal(err)
	}
	publisher := newRTCClient(t, track, opusTrack())
	pub := agree(t, one, "/live/cam1", "publish", publisher)
	pub.said("connected")
	publisher.publishPlain()
	until(t, "frames", func() bool { info, _ := r.Streams().Find("/live/cam1"); return len(info.Tracks) == 2 })
	var players []*signalled
	for _, c := range []*client.Client{one, two} {
		p := agree(t, c, "/live/cam1", "play", newRTCClient(t))
		p.said("completed")
		p.got(5, media.Video)
		p.got(5, media.Audio)
		players = append(players, p)
	}
	(<-conns).Close()
	players[1].said("completed") // told again
	if err := players[0].signals.Close(); err != nil {
		t.Error(err)
	}
	if err := players[0].signals.Send(map[string]any{"ask": true}); !errors.Is(err, lifecycle.ReasonLost) {
		t.Errorf("after Close: %v", err)
	}
	pub.say(map[string]any{"close": lifecycle.ReasonDone, "as": "publish"})
	players[1].said("close gone")
	if err := two.Close(); err != nil {
		t.Error(err)
	}
	if players[1].signals.Err() != nil {
		t.Errorf("after the client's end: %v", players[1].signals.Err())
	}
}

// What makes no sense is refused here, and nothing is kept for a connection that is not there.
func TestGoClientSignalFaults(t *testing.T) {
	r := serve(t, withRTC())
	c := login(t, r, client.Options{})
	if _, err := c.Signals("no path"); !errors.Is(err, lifecycle.ReasonBadRequest) {
		t.Errorf("a bad path: %v", err)
	}
	signals, err := c.Signals("/live/nobody")
	if err != nil {
		t.Fatal(err)
	}
	if err := signals.Send(make([]byte, session.DefaultMaxMessage+1)); !errors.Is(err, lifecycle.ReasonTooBig) {
		t.Errorf("too long: %v", err)
	}
	if err := signals.Send(func() {}); !errors.Is(err, lifecycle.ReasonBadRequest) {
		t.Errorf("no data: %v", err)
	}
	if err := signals.Send(map[string]string{"offer": newRTCClient(t).offer()}); err != nil {
		t.Fatal(err)
	}
	for data := range signals.Messages(soon(t)) {
		var m struct{ Close *lifecycle.Reason }
		if err := json.Unmarshal(data, &m); err != nil {
			t.Fatal(err)
		}
		if m.Close != nil { // after about
			if m.Close.Word != "not_found" {
				t.Errorf("got %s", data)
			}
			break
		}
	}
	c.Close()
	if err := signals.Send(map[string]any{"ask": true}); !errors.Is(err, lifecycle.ReasonLost) {
		t.Errorf("of a client that is closed: %v", err)
	}
	if _, err := c.Signals("/live/a"); !errors.Is(err, lifecycle.ReasonLost) {
		t.Errorf("with a client that is closed: %v", err)
	}
}
