package server

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// gatherTime is how long sessions wait for more to be written with while gathering pays.
	gatherTime = 2 * time.Millisecond
	// gatherWakes is how many sessions must have had something within that time for it to be worth the wait.
	gatherWakes = 100
)

// gatherer wakes the sessions that have something to send: at once, as long as a write each can be had. When many have something all the time, and get more of it between two writes anyway, it wakes them
// together every gatherTime, so that what comes meanwhile goes out in the same write. While there is nothing to wake it has no goroutine and no timer.
type gatherer struct {
	on atomic.Bool // sessions wait

	mu            sync.Mutex
	held          []*sessionConn
	spare         []*sessionConn // the list's other half
	timer         *time.Timer
	since         time.Time
	woken, joined int // since then: sessions, and what they got beside what they were woken for
}

// wake wakes a session that has something to send, now or soon; joined is how much it got since it was woken last.
func (g *gatherer) wake(c *sessionConn, joined int) {
	g.mu.Lock()
	g.woken++
	g.joined += joined
	if now := time.Now(); now.Sub(g.since) >= gatherTime {
		g.judgeLocked(now)
	}
	if !g.on.Load() {
		g.mu.Unlock()
		c.carrier.Wake()
		return
	}
	if len(g.held) == 0 {
		if g.timer == nil {
			g.timer = time.AfterFunc(gatherTime, g.flush)
		} else {
			g.timer.Reset(gatherTime)
		}
	}
	g.held = append(g.held, c)
	g.mu.Unlock()
}

// judgeLocked says whether to gather from now on: if many sessions were woken, and a quarter of them had more by the time they were written to; once begun, an eighth of them.
func (g *gatherer) judgeLocked(now time.Time) {
	part := 4
	if g.on.Load() {
		part = 8
	}
	g.on.Store(g.woken >= gatherWakes && g.joined*part >= g.woken)
	g.since, g.woken, g.joined = now, 0, 0
}

// flush wakes those who wait.
func (g *gatherer) flush() {
	g.mu.Lock()
	list := g.held
	g.held, g.spare = g.spare[:0], nil
	g.mu.Unlock()
	for _, c := range list {
		c.carrier.Wake()
	}
	clear(list)
	g.mu.Lock()
	g.spare = list[:0]
	g.mu.Unlock()
}
