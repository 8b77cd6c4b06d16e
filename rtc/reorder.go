package rtc

import (
	"time"

	"github.com/pion/rtp"
)

const (
	// maxReorder is how many packets may be between the one that is waited for and the newest: a second at 10 Mbit/s. A power of two.
	maxReorder = 1024
	// How long a missing packet is waited for: for pictures as long as it takes to ask for it twice on a long way; sound is seldom asked for again, and must not be late.
	videoPatience = 500 * time.Millisecond
	audioPatience = 150 * time.Millisecond
)

// reorder puts packets in the order of their sequence numbers. It reads no clock: what is overdue is found when the next packet comes.
type reorder struct {
	patience time.Duration
	out      func(*rtp.Packet)
	lost     func(n int) // before the next packet, n are missing; 0: not known how many

	ring    [maxReorder]held // by sequence number
	n       int              // in the ring
	next    uint16
	started bool
	strange uint16 // the number that would follow that of a packet from nowhere
	stray   bool   // there was one
	late    uint64 // packets that came twice or too late
}

// held is a packet that waits for another.
type held struct {
	p  *rtp.Packet
	at time.Time
}

// push takes a packet, which the reorder buffer keeps, and hands out what is in order.
func (r *reorder) push(p *rtp.Packet, now time.Time) {
	seq := p.SequenceNumber
	if !r.started {
		r.started, r.next = true, seq
	}
	ahead := int(int16(seq - r.next))
	switch {
	case ahead < -maxReorder: // from long ago, or the sender began anew: two that follow each other tell
		if !r.stray || seq != r.strange {
			r.stray, r.strange = true, seq+1
			r.late++
			return
		}
		r.restart(seq)
	case ahead < 0:
		r.late++
		return
	case ahead >= maxReorder:
		r.restart(seq)
	}
	r.stray = false
	slot := &r.ring[seq%maxReorder]
	if slot.p != nil {
		r.late++
		return
	}
	*slot = held{p, now}
	r.n++
	r.drain()
	for r.n > 0 {
		gap := uint16(0)
		for r.ring[(r.next+gap)%maxReorder].p == nil {
			gap++
		}
		if now.Sub(r.ring[(r.next+gap)%maxReorder].at) < r.patience {
			return
		}
		r.lost(int(gap))
		r.next += gap
		r.drain()
	}
}

// drain hands out what is in order.
func (r *reorder) drain() {
	for r.n > 0 {
		slot := &r.ring[r.next%maxReorder]
		p := slot.p
		if p == nil {
			return
		}
		*slot = held{}
		r.n--
		r.next++
		r.out(p)
	}
}

// restart hands out all that is held, and goes on at a number that is far away.
func (r *reorder) restart(seq uint16) {
	for r.n > 0 {
		gap := 0
		for ; r.ring[r.next%maxReorder].p == nil; r.next++ {
			gap++
		}
		r.lost(gap)
		r.drain()
	}
	gap := int(int16(seq - r.next))
	r.lost(max(gap, 0))
	r.next = seq
}
