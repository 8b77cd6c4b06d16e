package server

import (
	"fmt"
	"testing"
	"time"

	"hawser/lifecycle"
	"hawser/session"
)

// wantStatus reads a status.
func (w *wire) wantStatus(path string, status session.Status) {
	w.t.Helper()
	if m := w.want(session.TypeStatus); m.Path != path || m.Status != status {
		w.t.Errorf("got %s %v, want %s %v", m.Path, m.Status, path, status)
	}
}

// wantWanted reads what a source is told.
func (w *wire) wantWanted(path string, on bool) {
	w.t.Helper()
	if m := w.want(session.TypeWanted); m.Path != path || m.On != on {
		w.t.Errorf("got %s %v, want %s %v", m.Path, m.On, path, on)
	}
}

func (w *wire) follow(path string) {
	w.t.Helper()
	w.say(`{"t":"subscribe","path":"%s"}`, path)
	w.want(session.TypeSnapshot)
}

// TestSourceComesAndGoes: who follows what a source fed is told when it has left, and when it is back; a late one after its snapshot.
func TestSourceComesAndGoes(t *testing.T) {
	for _, tc := range []struct {
		required string
		status   session.Status
	}{{"true", session.StatusStale}, {"false", session.StatusLimited}} {
		t.Run(tc.status.String(), func(t *testing.T) {
			r := serve(t, Options{})
			source, w := r.login(), r.login()
			source.say(`{"t":"source","path":"/fx","on":true,"required":%s}`, tc.required)
			w.follow("/fx/EURUSD")
			w.follow("/other")
			source.wantWanted("/fx/EURUSD", true)
			source.say(`{"t":"source","path":"/fx","on":false}`)
			w.wantStatus("/fx/EURUSD", tc.status)
			late := r.login()
			late.follow("/fx/GBPUSD")
			late.wantStatus("/fx/GBPUSD", tc.status)
			late.say(`{"t":"subscribe","path":"/fx/list","window":{"start":0,"count":1}}`)
			late.want(session.TypeWindow)
			late.wantStatus("/fx/list", tc.status)
			source.say(`{"t":"source","path":"/fx","on":true}`)
			w.wantStatus("/fx/EURUSD", session.StatusOK)
			for range 2 {
				if m := late.want(session.TypeStatus); m.Status != session.StatusOK {
					t.Errorf("got %+v", m.Message)
				}
			}
		})
	}
}

// TestSourceIsKept: a source whose connection breaks and comes back in time is not missed; one that does not is.
func TestSourceIsKept(t *testing.T) {
	t.Parallel()
	r := serve(t, Options{Keep: 3 * time.Second})
	source, w := r.open(nil), r.login()
	source.say(`{"t":"hello","version":1}`)
	id := source.want(session.TypeWelcome).Message.Session
	source.say(`{"t":"source","path":"/fx","on":true}`)
	w.follow("/fx/EURUSD")
	source.wantWanted("/fx/EURUSD", true)
	for _, broken := range []bool{true, false} { // and taken over
		if broken {
			source.ws.CloseNow()
			until(t, "it is gone", func() bool { return len(r.Sessions()) == 1 })
		}
		source = r.open(nil)
		source.say(`{"t":"hello","version":1,"session":"%s"}`, id)
		if m := source.want(session.TypeWelcome); !m.Resumed {
			t.Errorf("got %+v", m.Message)
		}
		source.say(`{"t":"source","path":"/fx","on":true}`)
		source.wantWanted("/fx/EURUSD", true)
	}
	r.log("/fx/EURUSD", 0, 1)
	w.wantLog("/fx/EURUSD", 0, 1) // and no status before
	source.ws.CloseNow()
	w.wantStatus("/fx/EURUSD", session.StatusStale)
}

// TestSeveralSources: the one with the greatest priority is asked, equal ones in turn, and another when its connection has gone.
func TestSeveralSources(t *testing.T) {
	r := serve(t, Options{})
	low, a, b, w := r.login(), r.login(), r.login(), r.login()
	ready := func(w *wire) { // what was said before has been done
		w.say(`{"t":"ping","id":1}`)
		w.want(session.TypePong)
	}
	low.say(`{"t":"source","path":"/fx","on":true,"priority":1}`)
	a.say(`{"t":"source","path":"/fx","on":true,"priority":2}`)
	b.say(`{"t":"source","path":"/fx","on":true,"priority":2}`)
	ready(low)
	ready(a)
	ready(b)
	asked := map[string]bool{}
	for i := range 4 {
		w.follow(fmt.Sprintf("/fx/%d", i))
	}
	for _, source := range []*wire{a, b} {
		for range 2 {
			m := source.want(session.TypeWanted)
			asked[m.Path] = m.On
		}
	}
	if len(asked) != 4 {
		t.Errorf("asked for %v", asked)
	}
	a.ws.CloseNow()
	for range 2 {
		if m := b.want(session.TypeWanted); !m.On {
			t.Errorf("got %+v", m.Message)
		}
	}
	b.ws.CloseNow()
	for range 4 {
		if m := low.want(session.TypeWanted); !m.On {
			t.Errorf("got %+v", m.Message)
		}
	}
	ready(w) // no status came
}

// TestWantedLingers: a path is wanted for some time after the last has gone.
func TestWantedLingers(t *testing.T) {
	s := New(Options{})
	s.sources.linger = 50 * time.Millisecond
	r := serveIt(t, s)
	source, w := r.login(), r.login()
	source.say(`{"t":"source","path":"/fx","on":true}`)
	w.follow("/fx/a")
	source.wantWanted("/fx/a", true)
	start := time.Now()
	w.say(`{"t":"unsubscribe","path":"/fx/a"}`)
	source.wantWanted("/fx/a", false)
	if took := time.Since(start); took < 50*time.Millisecond {
		t.Errorf("after %v", took)
	}
	w.follow("/fx/a")
	source.wantWanted("/fx/a", true)
}

func TestSourcesAreBounded(t *testing.T) {
	r := serve(t, Options{})
	w := r.login()
	for i := range MaxSources + 1 {
		w.say(`{"t":"source","path":"/s/%d","on":true}`, i)
	}
	if m := w.want(session.TypeError); !m.Reason.Is(lifecycle.ReasonLimit) || m.Path != fmt.Sprintf("/s/%d", MaxSources) {
		t.Errorf("got %+v", m.Message)
	}
	w.say(`{"t":"source","path":"/s/0","on":false}`)
	w.say(`{"t":"source","path":"/s/x","on":true}`)
	w.say(`{"t":"ping","id":1}`)
	w.want(session.TypePong)
	var s sources
	for i := range 2 * maxLost {
		s.loseLocked(&dataSource{path: fmt.Sprint("/", i)})
	}
	if len(s.lost) != maxLost {
		t.Errorf("%d paths are remembered", len(s.lost))
	}
}
