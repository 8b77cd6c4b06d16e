package rtc

import (
	"sync"
	"time"
)

const (
	// slewShare bounds how fast a track is brought in step with the other: a twentieth of the time that passes, which nobody hears.
	slewShare = 20
	// maxSkew is the most that sender reports may say a track is away from where its arrival put it; reports that say more are of clocks that have nothing to do with each other.
	maxSkew = 5 * time.Second
	// maxLeap is how far RTP timestamps may go from what the clock says between two frames before they are taken for those of another beginning.
	maxLeap = 10 * time.Second
)

// peerClock is what the tracks of one peer share, so that their times are from one zero: the arrival of the first packet of any of them, and where sender reports put that on the sender's clock.
// Its methods may run at once.
type peerClock struct {
	mu     sync.Mutex
	zero   time.Time
	offset time.Duration // stream time less the sender's clock
	mapped bool          // offset is known
}

// since is the stream time of an arrival.
func (c *peerClock) since(arrival time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.zero.IsZero() {
		c.zero = arrival
	}
	return arrival.Sub(c.zero)
}

// stream gives the stream time of a time on the sender's clock; guess is what it is when nothing was known before.
func (c *peerClock) stream(sender, guess time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.mapped {
		c.mapped, c.offset = true, guess-sender
	}
	return sender + c.offset
}

// trackClock turns a track's RTP timestamps into stream time.
type trackClock struct {
	rate   int64
	shared *peerClock

	started bool
	last    uint32 // timestamp, of tick ticks
	ticks   int64
	shift   time.Duration // stream time of tick 0
	target  time.Duration // what sender reports say that it should be
	arrival time.Time     // of the last frame
}

// start takes the first packet: until sender reports come, its arrival says what time it is.
func (t *trackClock) start(timestamp uint32, arrival time.Time) {
	if !t.started {
		t.started, t.last, t.arrival = true, timestamp, arrival
		t.shift = t.shared.since(arrival)
		t.target = t.shift
	}
}

// at gives the stream time of a frame.
func (t *trackClock) at(timestamp uint32, arrival time.Time) time.Duration {
	step := int64(int32(timestamp - t.last))
	passed := duration(step, t.rate)
	if off := arrival.Sub(t.arrival) - passed; off.Abs() > maxLeap { // another beginning: go on by the clock
		t.shift += off
		t.target = t.shift
	} else if passed > 0 {
		most := passed / slewShare
		t.shift += min(max(t.target-t.shift, -most), most)
	}
	t.ticks += step
	t.last, t.arrival = timestamp, arrival
	return t.shift + duration(t.ticks, t.rate)
}

// report takes a sender report in: the sender's clock at a timestamp (RFC 3550 section 6.4.1).
func (t *trackClock) report(ntp uint64, timestamp uint32) {
	if !t.started || ntp == 0 {
		return
	}
	seconds := int64(ntp>>32) - ntpEpoch
	clock := time.Duration(seconds)*time.Second + time.Duration((ntp&0xffffffff)*uint64(time.Second)>>32)
	zero := clock - duration(t.ticks+int64(int32(timestamp-t.last)), t.rate)
	if target := t.shared.stream(zero, t.shift); (target - t.shift).Abs() <= maxSkew {
		t.target = target
	}
}
