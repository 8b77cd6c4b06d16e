package server

import (
	"runtime"
	"testing"
)

// Sessions that are silent hold no goroutine and no timer each, whatever they follow: what looks after them is one for all.
func TestIdleSessionsHoldNoGoroutine(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("on Linux only")
	}
	r := serve(t, Options{})
	r.log("/chat", 0, 3)
	const n = 100
	first := r.login() // what runs for the first only
	first.say(`{"t":"subscribe","path":"/chat"}`)
	first.next()
	before := runtime.NumGoroutine()
	var wires []*wire
	for range n {
		w := r.login()
		w.say(`{"t":"subscribe","path":"/chat"}`)
		w.next()
		wires = append(wires, w)
	}
	until(t, "the sessions rest", func() bool { return runtime.NumGoroutine()-before < n/10 })
	r.log("/chat", 3, 4)
	for _, w := range wires {
		w.next()
	}
	until(t, "they rest again", func() bool { return runtime.NumGoroutine()-before < n/10 })
	for _, c := range r.sessions.list() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.expiry != nil {
			t.Error("a session without credentials has a timer")
		}
		for path, f := range c.subs {
			if f := f.(*dataFeed); f.pacer.bound.Load() != nil {
				t.Errorf("a subscription to %s without a rate has a timer", path)
			}
		}
	}
	r.gather.mu.Lock()
	defer r.gather.mu.Unlock()
	if r.gather.timer != nil {
		t.Error("sessions gather without a load")
	}
}
