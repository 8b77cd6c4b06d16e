package rtmp

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hawser/lifecycle"
	"hawser/ring"
)

// relay is a tiny server on a Handler: what is published on a path goes to all who play it, from the first message on.
type relay struct {
	t      testing.TB
	server *Server
	log    *lifecycle.Log
	addr   string
	size   int // of the chunks

	mu     sync.Mutex
	feeds  map[string]*feed
	events []string
	seen   chan struct{} // closed and replaced at each event
}

// feed is one path's messages as chunks.
type feed struct {
	size    int // of the chunks
	mu      sync.Mutex
	items   [][]byte
	count   map[byte]int
	players map[*Stream]bool
	live    bool
	done    bool // players are told once they have everything
}

// cursor is one player's source.
type cursor struct {
	feed  *feed
	next  int
	ended bool
}

func (c *cursor) Fill(dst [][]byte, most int) [][]byte {
	c.feed.mu.Lock()
	defer c.feed.mu.Unlock()
	for n := 0; c.next < len(c.feed.items) && n < most; c.next++ {
		n += len(c.feed.items[c.next])
		dst = append(dst, c.feed.items[c.next])
	}
	if c.feed.done && c.next == len(c.feed.items) && !c.ended {
		c.ended = true
		dst = append(dst, AppendMessage(nil, c.feed.size, userControl(ControlStreamEOF, 1)),
			AppendMessage(nil, c.feed.size, status(1, "status", "NetStream.Play.UnpublishNotify", "over")))
	}
	return dst
}

func (f *feed) add(m Message) {
	m.StreamID, m.ChunkStream = MediaStreamID, 0
	f.mu.Lock()
	f.items = append(f.items, AppendMessage(nil, f.size, m))
	f.count[m.Type]++
	for s := range f.players {
		s.Wake()
	}
	f.mu.Unlock()
}

// newRelay starts a relay; change sets what a test wants different before it serves.
func newRelay(t testing.TB, change func(*Server)) *relay {
	r := &relay{t: t, log: lifecycle.NewLog(ring.Limits{}), feeds: map[string]*feed{}, seen: make(chan struct{})}
	r.server = &Server{Log: r.log, Handler: r.handler()}
	if change != nil {
		change(r.server)
	}
	r.size = orDefault(r.server.ChunkSize, OwnChunkSize)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.server.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if n := len(r.log.Conns()); n != 0 {
			t.Errorf("%d connections are left in the log", n)
		}
	})
	return r
}

func (r *relay) handler() *Handler {
	return &Handler{
		OnConnect: func(_ context.Context, c *Conn) error { r.note("connect", c.App()); return nil },
		OnDisconnect: func(c *Conn, why lifecycle.Reason) {
			r.note("disconnect", c.App(), why.Word)
		},
		OnPublish: func(_ context.Context, s *Stream) error {
			f := r.feed(s.Path())
			f.mu.Lock()
			taken := f.live
			f.live = true
			f.mu.Unlock()
			if taken {
				return lifecycle.ReasonTaken.With("%s is taken", s.Path())
			}
			s.SetSink(func(m Message) error { f.add(m); return nil })
			r.note("publish", s.Path(), string(s.Mode()))
			return nil
		},
		OnClose: func(s *Stream, why lifecycle.Reason) {
			f := r.feed(s.Path())
			f.mu.Lock()
			f.live = false
			f.mu.Unlock()
			r.note("close", s.Path(), why.Word)
		},
		OnUnpublish: func(path string, why lifecycle.Reason) { r.note("unpublish", path, why.Word) },
		OnPlay: func(_ context.Context, s *Stream) error {
			f := r.feed(s.Path())
			f.mu.Lock()
			f.players[s] = true
			f.mu.Unlock()
			s.SetSource(&cursor{feed: f})
			r.note("play", s.Path())
			return nil
		},
		OnStop: func(s *Stream, why lifecycle.Reason) {
			f := r.feed(s.Path())
			f.mu.Lock()
			delete(f.players, s)
			f.mu.Unlock()
			r.note("stop", s.Path(), why.Word)
		},
		OnDelete: func(s *Stream) { r.note("delete", s.Path()) },
	}
}

// over says that nothing more will come: players end once they have everything.
func (f *feed) over() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done = true
	for s := range f.players {
		s.Wake()
	}
}

func (r *relay) feed(path string) *feed {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.feeds[path]
	if f == nil {
		f = &feed{size: r.size, count: map[byte]int{}, players: map[*Stream]bool{}}
		r.feeds[path] = f
	}
	return f
}

func (r *relay) note(words ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, strings.Join(words, " "))
	close(r.seen)
	r.seen = make(chan struct{})
}

const testTimeout = time.Minute

// await waits until the event was noted.
func (r *relay) await(event string) {
	r.t.Helper()
	limit := time.NewTimer(testTimeout)
	defer limit.Stop()
	for {
		r.mu.Lock()
		seen, found, all := r.seen, slices.Contains(r.events, event), slices.Clone(r.events)
		r.mu.Unlock()
		if found {
			return
		}
		select {
		case <-seen:
		case <-limit.C:
			r.t.Fatalf("event %q did not come; got %q", event, all)
		}
	}
}

func (r *relay) noted() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// logged waits for an event of that kind in the event log.
func (r *relay) logged(kind string) lifecycle.Event {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	for ev := range r.log.Events(ctx, 0) {
		if ev.Kind == kind {
			return ev
		}
	}
	r.t.Fatalf("no event of kind %q in the log", kind)
	return lifecycle.Event{}
}
