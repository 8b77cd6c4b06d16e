package rtc

import (
	"time"

	"github.com/pion/rtcp"
)

// Strain says how hard it is for a viewer to take the rate.
type Strain struct {
	Loss  float64       // the part of the packets that did not arrive, 0 to 1
	Delay time.Duration // how much longer than the quickest of the last half minute packets were on their way: what waits in queues
}

const (
	// A viewer is slow when one of these lasts for strainTime. A few percent of loss are a bad radio link, which sending less does not mend.
	strainLoss  = 0.3
	strainDelay = 400 * time.Millisecond
	strainTime  = time.Second
	// strainForget is how long the quickest packet counts.
	strainForget = 30 * time.Second
	sendHistory  = 256
	// feedbackTick is the unit of transport-wide arrival times (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1): its reference time counts in 64 ms, 24 bits wide.
	feedbackReference = 64 * time.Millisecond
	feedbackWrap      = feedbackReference << 24
)

// sending is a run of packets that were sent at one time.
type sending struct {
	first uint16
	n     uint16
	at    time.Duration // since the meter's base
}

// strainMeter finds out whether a viewer can take the rate, from feedback. It reads no clock.
type strainMeter struct {
	sends []sending // a ring; nil without transport-wide feedback
	runs  int       // put into it, in all
	base  time.Time

	arrived  time.Duration    // the last arrival, of the viewer's clock, over its wraps
	started  bool             // arrived is known
	quickest [2]time.Duration // the least time on the way, of the viewer's clock less ours: in the present half of strainForget, and in the one before
	turned   time.Time
	have     [2]bool

	hard, easy time.Time // since when it is so; zero: it is not
	slow       bool      // it was told that it is too hard
	last       Strain
}

// sent remembers when packets were sent.
func (m *strainMeter) sent(first uint16, n int, now time.Time) {
	if m.base.IsZero() {
		m.base = now
	}
	m.sends[m.runs%len(m.sends)] = sending{first, uint16(n), now.Sub(m.base)}
	m.runs++
}

// sentAt is when a packet was sent.
func (m *strainMeter) sentAt(seq uint16) (time.Duration, bool) {
	for i := m.runs - 1; i >= max(0, m.runs-len(m.sends)); i-- {
		if e := m.sends[i%len(m.sends)]; seq-e.first < e.n {
			return e.at, true
		}
	}
	return 0, false
}

// feedback reads what arrived and when. It is false when the feedback is about nothing that is known.
func (m *strainMeter) feedback(p *rtcp.TransportLayerCC) (Strain, bool) {
	arrival := time.Duration(p.ReferenceTime&0xffffff) * feedbackReference
	if m.started { // over the wrap, to where it is nearest to the last
		arrival += (m.arrived - arrival + feedbackWrap/2).Truncate(feedbackWrap)
	}
	seq, left, deltas := p.BaseSequenceNumber, int(p.PacketStatusCount), p.RecvDeltas
	var all, lost int
	least, have := time.Duration(0), false
	see := func(status uint16) {
		if left == 0 {
			return
		}
		left--
		all++
		switch status {
		case rtcp.TypeTCCPacketReceivedSmallDelta, rtcp.TypeTCCPacketReceivedLargeDelta:
			if len(deltas) > 0 {
				arrival += time.Duration(deltas[0].Delta) * time.Microsecond
				deltas = deltas[1:]
				if at, ok := m.sentAt(seq); ok && (!have || arrival-at < least) {
					least, have = arrival-at, true
				}
			}
		case rtcp.TypeTCCPacketNotReceived:
			lost++
		}
		seq++
	}
	for _, chunk := range p.PacketChunks {
		switch c := chunk.(type) {
		case *rtcp.RunLengthChunk:
			for range min(int(c.RunLength), left) {
				see(c.PacketStatusSymbol)
			}
		case *rtcp.StatusVectorChunk:
			for _, status := range c.SymbolList {
				see(status)
			}
		}
	}
	if !have {
		return Strain{}, false
	}
	m.arrived, m.started = arrival, true
	return Strain{Loss: float64(lost) / float64(all), Delay: m.queued(least)}, true
}

// queued is how much longer than the quickest a packet was on its way.
func (m *strainMeter) queued(way time.Duration) time.Duration {
	if !m.have[0] || way < m.quickest[0] {
		m.quickest[0], m.have[0] = way, true
	}
	least := m.quickest[0]
	if m.have[1] {
		least = min(least, m.quickest[1])
	}
	return way - least
}

// see takes a measurement in. It is true when the viewer has become slow.
func (m *strainMeter) see(now time.Time, s Strain) bool {
	m.last = s
	if m.turned.IsZero() {
		m.turned = now
	}
	if now.Sub(m.turned) >= strainForget/2 {
		m.turned = now
		m.quickest[1], m.have[1] = m.quickest[0], m.have[0]
		m.have[0] = false
	}
	if s.Loss < strainLoss && s.Delay < strainDelay {
		m.hard = time.Time{}
		if m.easy.IsZero() {
			m.easy = now
		}
		m.slow = m.slow && now.Sub(m.easy) < strainTime
		return false
	}
	m.easy = time.Time{}
	if m.hard.IsZero() {
		m.hard = now
	}
	if m.slow || now.Sub(m.hard) < strainTime {
		return false
	}
	m.slow = true
	return true
}
