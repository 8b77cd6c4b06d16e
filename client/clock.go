package client

import "time"

// clockSamples is how many exchanges the clock remembers.
const clockSamples = 10

// Clock is what the exchanges of ping and pong say. It is zero before the first.
type Clock struct {
	// RoundTrip is that of the last exchange.
	RoundTrip time.Duration
	// Best is the shortest of the last ten.
	Best time.Duration
	// Offset is how much the server's clock is ahead of this machine's, by the best exchange, give or take half of Best and a millisecond.
	Offset time.Duration
	// Exchanges is how many of the last ten there were.
	Exchanges int
}

// Clock returns the round trip and the difference of the clocks, as measured by the heartbeat.
func (c *Client) Clock() Clock {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clock.now
}

// clock measures.
type clock struct {
	now     Clock
	id      uint64 // of the last ping
	sent    time.Time
	samples []sample // the last ones, oldest first
}

type sample struct{ roundTrip, offset time.Duration }

// ping notes that one was sent.
func (k *clock) ping(id uint64, at time.Time) { k.id, k.sent = id, at }

// pong takes the answer to the last ping; one to an earlier ping says nothing.
func (k *clock) pong(id uint64, at int64, now time.Time) {
	if id != k.id {
		return
	}
	k.id = 0
	rtt := now.Sub(k.sent)
	s := sample{roundTrip: rtt, offset: time.UnixMilli(at).Sub(k.sent.Add(rtt / 2))}
	if len(k.samples) == clockSamples {
		k.samples = append(k.samples[:0], k.samples[1:]...)
	}
	k.samples = append(k.samples, s)
	best := k.samples[0]
	for _, s := range k.samples {
		if s.roundTrip < best.roundTrip {
			best = s
		}
	}
	k.now = Clock{RoundTrip: rtt, Best: best.roundTrip, Offset: best.offset, Exchanges: len(k.samples)}
}
