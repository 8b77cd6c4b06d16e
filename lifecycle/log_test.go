package lifecycle

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hawser/ring"
)

// words is an event in short.
func words(e Event) string {
	return strings.TrimSpace(fmt.Sprintf("%s %s>%s %s %s %s", e.Kind, e.From, e.State, e.Light, e.Reason.Word, e.Path))
}

// all returns the events kept, in short, without waiting for more.
func all(t *testing.T, l *Log) (list []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for e := range l.Events(ctx, 0) {
		list = append(list, words(e))
	}
	return list
}

func TestConnLife(t *testing.T) {
	l := NewLog(ring.Limits{})
	c := l.Open("rtmp", Server, "127.0.0.1:4711")
	other := l.Open("session", Client, "")
	if c.ID() != "rtmp-1" || other.ID() != "session-2" {
		t.Errorf("identities %q and %q", c.ID(), other.ID())
	}
	c.Set("handshake", Amber, Reason{})
	c.Set("handshake", Amber, Reason{})
	c.SetPath("/live/a")
	c.Set("publishing", Green, Reason{})
	c.Event(Event{Kind: "key", Path: "/other", State: "own", Conn: "not-mine", Light: Red})
	c.Set("publishing", Amber, ReasonSlow)
	if state, light := c.State(); state != "publishing" || light != Amber {
		t.Errorf("state %s, %s", state, light)
	}
	var ids []string
	for _, info := range l.Conns() {
		ids = append(ids, info.ID)
	}
	if !slices.Equal(ids, []string{"rtmp-1", "session-2"}) {
		t.Errorf("present: %v", ids)
	}
	c.Close(ReasonDone)
	c.Close(ReasonLost)
	c.Set("handshake", Green, Reason{})
	c.Event(Event{Kind: "late"})
	if list := l.Conns(); len(list) != 1 || list[0].ID != "session-2" {
		t.Errorf("present after the close: %+v", list)
	}
	want := []string{
		"open > red", "open > red",
		"state >handshake amber",
		"state handshake>publishing green  /live/a",
		"key >own green  /other",
		"state publishing>publishing amber slow /live/a",
		"close publishing>closed red done /live/a",
	}
	if got := all(t, l); !slices.Equal(got, want) {
		t.Errorf("events:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, e := range l.Recent(5) {
		if e.Conn != "rtmp-1" || e.Protocol != "rtmp" || e.Side != Server || e.Remote != "127.0.0.1:4711" || e.Time.IsZero() {
			t.Errorf("an event without its connection's identity: %+v", e)
		}
	}
}

// A package that is used without a log costs nothing and never fails.
func TestNilLog(t *testing.T) {
	var l *Log
	c := l.Open("rtmp", Server, "")
	c.Set("x", Green, Reason{})
	c.SetPath("/a")
	c.Event(Event{})
	c.Close(ReasonDone)
	if state, light := c.State(); c.ID() != "" || state != "" || light != Red || c.Info() != (ConnInfo{}) {
		t.Error("a nil Conn has a state")
	}
	for range l.Events(t.Context(), 0) {
		t.Error("a nil Log has events")
	}
	tail, head := l.Bounds()
	if l.Add(Event{}) != 0 || l.Conns() != nil || l.Recent(3) != nil || tail != head {
		t.Error("a nil Log has something")
	}
}

// add logs events whose Detail counts from the log's head on.
func add(l *Log, n int) {
	_, head := l.Bounds()
	for i := range n {
		l.Add(Event{Kind: "e", Detail: fmt.Sprint(int(head) + i)})
	}
}

func TestEventsFrom(t *testing.T) {
	l := NewLog(ring.Limits{Count: 10})
	add(l, 25)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		from   uint64
		first  uint64
		kind   string
		missed uint64
		count  int
	}{
		{from: 0, first: 15, kind: "e", count: 10},
		{from: 20, first: 20, kind: "e", count: 5},
		{from: 4, first: 14, kind: KindMissed, missed: 11, count: 11},
		{from: 25, count: 0},
		{from: 1000, count: 0},
		{from: LogLive, count: 0},
	} {
		var got []Event
		for e := range l.Events(ended, c.from) {
			got = append(got, e)
		}
		if len(got) != c.count {
			t.Errorf("from %d: %d events, want %d", c.from, len(got), c.count)
			continue
		}
		if c.count == 0 {
			continue
		}
		if got[0].Seq != c.first || got[0].Kind != c.kind || got[0].Missed != c.missed {
			t.Errorf("from %d: begins with %+v, want %s at %d, missed %d", c.from, got[0], c.kind, c.first, c.missed)
		}
		for i, e := range got {
			if e.Seq != c.first+uint64(i) || e.Kind == "e" && e.Detail != fmt.Sprint(e.Seq) {
				t.Errorf("from %d: event %d is %+v", c.from, i, e)
			}
		}
	}
	if got := l.Recent(3); len(got) != 3 || got[0].Seq != 22 || got[2].Detail != "24" {
		t.Errorf("Recent(3): %+v", got)
	}
	if got := l.Recent(1 << 40); len(got) != 10 || got[0].Seq != 15 {
		t.Errorf("Recent of very many: %d events", len(got))
	}
}

func TestEventsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLog(ring.Limits{Count: 4})
		add(l, 2)
		ctx, cancel := context.WithCancel(t.Context())
		live := l.Events(ctx, LogLive)
		add(l, 1) // after the call of Events: is seen
		var seen []string
		var observer sync.WaitGroup
		observer.Go(func() {
			for e := range live {
				seen = append(seen, e.Kind+e.Detail)
			}
		})
		synctest.Wait()
		add(l, 1)
		synctest.Wait()
		add(l, 9) // at once: more than the log keeps; how many it loses depends on the scheduler, not their sum
		synctest.Wait()
		add(l, 1)
		cancel()
		observer.Wait()
		if seen[0] != "e2" || seen[1] != "e3" || seen[len(seen)-1] != "e13" {
			t.Errorf("saw %v", seen)
		}
		for range live { // a second look begins at the same place and ends with the context
		}
		if s := l.events.Stats(); s.Cursors != 0 {
			t.Errorf("%d cursors are left", s.Cursors)
		}
	})
}

// An observer that stops in the middle of a batch, or is slow, knows exactly how many events it lost.
func TestSlowObserver(t *testing.T) {
	l := NewLog(ring.Limits{Count: 8})
	add(l, 8)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	next, missed := uint64(0), uint64(0)
	for e := range l.Events(ctx, 0) {
		if e.Kind == KindMissed {
			if e.Time.IsZero() || e.Seq != next+e.Missed-1 {
				t.Fatalf("at %d: %+v", next, e)
			}
			missed += e.Missed
			next += e.Missed
			continue
		}
		if e.Seq != next {
			t.Fatalf("got %d, want %d", e.Seq, next)
		}
		next++
		switch e.Seq {
		case 3:
			add(l, 100) // the observer has 4 more at hand
		case 105:
			cancel()
		}
	}
	if missed != 92 || next != 108 {
		t.Errorf("missed %d and came to %d, want 92 and 108", missed, next)
	}
}

// Events returns soon after its context has ended even while others keep adding.
func TestEventsEndWhileOthersAdd(t *testing.T) {
	l := NewLog(ring.Limits{Count: 64})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	add(l, 1)
	for range l.Events(ctx, 0) {
		add(l, 1) // there is always one more
	}
	if _, head := l.Bounds(); head > 3 {
		t.Errorf("went on for %d events", head)
	}
}

// Many connections live at once; each observer sees every event of each in order, and a connection whose close was seen is gone.
func TestLogAtOnce(t *testing.T) {
	const conns, states, observers = 40, 50, 4
	l := NewLog(ring.Limits{Count: conns * (states + 3)})
	var living, looking sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range observers {
		looking.Go(func() {
			last := make(map[string]string)
			closed := 0
			for e := range l.Events(ctx, 0) {
				if e.Kind == KindState && last[e.Conn] != e.From {
					t.Errorf("%s: from %q, but was %q", e.Conn, e.From, last[e.Conn])
				}
				last[e.Conn] = e.State
				if e.Kind == KindClose {
					closed++
					for _, info := range l.Conns() {
						if info.ID == e.Conn {
							t.Errorf("%s is closed and still there", e.Conn)
						}
					}
				}
				if closed == conns {
					return
				}
			}
			t.Errorf("saw %d connections close, want %d", closed, conns)
		})
	}
	for range conns {
		living.Go(func() {
			c := l.Open("x", Server, "")
			var both sync.WaitGroup
			for half := range 2 {
				both.Go(func() {
					for i := range states / 2 {
						c.Set(fmt.Sprint(half, ".", i), Green, Reason{})
						c.SetPath("/p")
						c.State()
					}
				})
			}
			both.Wait()
			c.Close(ReasonDone)
		})
	}
	living.Wait()
	looking.Wait()
	if n := len(l.Conns()); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

func BenchmarkSet(b *testing.B) {
	for _, observers := range []int{0, 10} {
		b.Run(fmt.Sprint("observers=", observers), func(b *testing.B) {
			b.ReportAllocs()
			l := NewLog(ring.Limits{})
			ctx, cancel := context.WithCancel(b.Context())
			var looking sync.WaitGroup
			for range observers {
				looking.Go(func() {
					for range l.Events(ctx, LogLive) {
					}
				})
			}
			c := l.Open("x", Server, "")
			states := [2]string{"a", "b"}
			i := 0
			for b.Loop() {
				c.Set(states[i&1], Green, Reason{})
				i++
			}
			cancel()
			looking.Wait()
		})
	}
}
