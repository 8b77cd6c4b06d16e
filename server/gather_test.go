package server

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// woken counts how often a session was woken.
type woken struct {
	deaf
	times atomic.Int32
}

func (w *woken) Wake() { w.times.Add(1) }

// Sessions are woken at once, until many have more than one thing to send all the time; then they wait for each other, and when that is over they do not wait any more. None is left asleep.
func TestGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gatherer
		conns, carriers := make([]*sessionConn, 2*gatherWakes), make([]*woken, 2*gatherWakes)
		for i := range conns {
			carriers[i] = new(woken)
			conns[i] = &sessionConn{carrier: carriers[i]}
		}
		expected := int32(0)
		round := func(sessions, joined int) (atOnce bool) {
			t.Helper()
			expected++
			for _, c := range conns[:sessions] {
				g.wake(c, joined)
			}
			atOnce = carriers[sessions-1].times.Load() == expected
			time.Sleep(gatherTime)
			synctest.Wait()
			for i, w := range carriers[:sessions] {
				if w.times.Load() != expected {
					t.Fatalf("session %d was woken %d times, want %d", i, w.times.Load(), expected)
				}
			}
			for i := range carriers[sessions:] {
				carriers[sessions+i].times.Store(expected) // these had nothing
			}
			return atOnce
		}
		for range 3 {
			if !round(len(conns), 0) {
				t.Error("sessions that never have more than one thing wait")
			}
			if !round(3, 5) {
				t.Error("a few sessions wait")
			}
		}
		round(len(conns), 1)
		for range 3 {
			if round(len(conns), 1) {
				t.Error("many sessions with much do not wait")
			}
		}
		round(len(conns), 0)
		round(len(conns), 0)
		if !round(len(conns), 0) {
			t.Error("they still wait when it is over")
		}
		if g.timer == nil || g.timer.Stop() || len(g.held) > 0 {
			t.Error("there is a timer while nobody waits")
		}
	})
}
