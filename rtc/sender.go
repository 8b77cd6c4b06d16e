package rtc

import (
	"encoding/binary"
	"sync"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

// A sender is one viewer's side of the media: it turns groups, which all viewers share, into this viewer's RTP packets, and answers what the viewer says of them. It is used so:
//
//	s := newSender(writer, senderParams{Slots: [2]slotParams{SlotVideo: {SSRC: …}}, Now: time.Now, KeyframeWanted: …})
//	s.write(group)                  // from one goroutine; the caller flushes its batch behind it, one send for the group
//	s.rtcp(packets)                 // what the viewer sent, from any goroutine
//	packets := s.reports(time.Now()) // every second or so, from any goroutine; to be sent as one compound packet
//
// It starts no goroutine and no timer.

// rtpWriter takes packets, as webrtc.TrackLocalWriter does. It may keep neither the header nor the payload. A sender gives it the packets of all of its SSRCs.
type rtpWriter interface {
	WriteRTP(header *rtp.Header, payload []byte) (int, error)
}

// slotParams are what was negotiated for one track.
type slotParams struct {
	SSRC        uint32 // 0: the track is not sent, its groups are passed over
	PayloadType uint8
	NACK        bool   // answer NACKs, generic (RFC 4585 section 6.2.1)
	RTXSSRC     uint32 // 0: packets are sent again as they were (RFC 4588 otherwise)
	RTXType     uint8
}

// senderParams are what was negotiated for a viewer, and what the sender calls; the functions are called without a lock held, and may be nil but for Now.
type senderParams struct {
	Slots [2]slotParams // by SlotVideo and SlotAudio
	// TransportCC is the ID of the header extension of transport-wide sequence numbers; 0: not negotiated.
	TransportCC uint8
	// Now gives the time, for the intervals below and round trips.
	Now func() time.Time
	// KeyframeWanted is called for a PLI or FIR, at most once in keyframeInterval.
	KeyframeWanted func()
	// Slow is called when the viewer cannot take the rate; again only after it could for a while.
	Slow func(Strain)
}

const (
	keyframeInterval = 500 * time.Millisecond
	reportInterval   = time.Second
	// Groups that can be sent again: 2 seconds of video at 60 frames a second, 1.3 seconds of sound in frames of 20 ms.
	videoHistory = 128
	audioHistory = 64
	// What is sent again counts against a credit in bytes, which fills with half of what is sent: a viewer that loses more has another trouble, which sending more would make worse.
	resendCredit = 256 << 10
	resendShare  = 2
)

// SenderStats are what was sent to a viewer and what it said, from the beginning.
type SenderStats struct {
	Groups, Packets, Bytes uint64 // media, without what was sent again; bytes of payload
	Resent, ResentBytes    uint64 // packets sent again
	Nacked                 uint64 // packets that were asked for
	Unanswered             uint64 // of those: no longer there, or beyond the credit
	Keyframes              uint64 // PLI and FIR
	Slow                   uint64 // times that the viewer could not take the rate
	RoundTrip              time.Duration
	Jitter                 time.Duration // of video if it is sent, as the viewer sees it
	Loss                   float64       // of the last report, 0 to 1
	Lost                   int64         // packets, as the viewer counts them
	QueueDelay             time.Duration // what packets wait on the way beyond the least seen, by transport-wide feedback
	LastGroup              uint32        // RTP timestamp of the last group of video, of sound without
}

// sent is a group in the history of a track.
type sent struct {
	group     Group
	first     uint16 // sequence number of its first packet
	transport uint16 // and its transport-wide one
}

// outSlot is a track on its way to the viewer. The header belongs to the writing goroutine, the rest is guarded by the sender's mu.
type outSlot struct {
	slotParams
	header         rtp.Header
	extension      [2]byte
	seq, rtx       uint16 // the next ones, from 0: SRTP wants the first below 2^15 (RFC 3711 section 3.3.1)
	packets, bytes uint32 // for sender reports, with what was sent again on the same SSRC
	history        []sent // a ring; nil without NACK
	groups         int    // put into it, in all
	last           uint32 // RTP timestamp, when packets > 0
	reports        [2]reported
}

// reported is a sender report that reception reports may refer to.
type reported struct {
	ntp uint32 // the middle 32 bits
	at  time.Time
}

// sender is described at the top of this file. write must not be called by several goroutines at once; everything else may run at once.
type sender struct {
	w      rtpWriter
	params senderParams
	slots  [2]outSlot

	mu        sync.Mutex
	transport uint16 // the next transport-wide sequence number
	credit    int
	clock     wallClock
	reported  time.Time
	keyframe  time.Time // when one was last asked for
	strain    strainMeter
	stats     SenderStats

	resendMu  sync.Mutex // guards what follows; taken before mu
	resending rtp.Header
	extension [2]byte
	payload   []byte // of RTX
}

func newSender(w rtpWriter, p senderParams) *sender {
	s := &sender{w: w, params: p, credit: resendCredit / 2}
	for i := range s.slots {
		slot := &s.slots[i]
		slot.slotParams = p.Slots[i]
		slot.header = rtp.Header{Version: 2, SSRC: slot.SSRC, PayloadType: slot.PayloadType}
		s.extend(&slot.header, slot.extension[:])
		if slot.NACK && slot.SSRC != 0 {
			slot.history = make([]sent, [2]int{videoHistory, audioHistory}[i])
		}
	}
	s.resending = rtp.Header{Version: 2}
	s.extend(&s.resending, s.extension[:])
	if p.TransportCC != 0 {
		s.strain.sends = make([]sending, sendHistory)
	}
	return s
}

// extend puts the transport-wide sequence number into a header: the bytes are part of the sender, and change from packet to packet.
func (s *sender) extend(h *rtp.Header, at []byte) {
	if s.params.TransportCC != 0 {
		_ = h.SetExtension(s.params.TransportCC, at) // an ID that does not fit was not negotiated
	}
}

// write sends a group. Groups that were left out before it leave no gap in the sequence numbers: a gap would be loss to the viewer, which would ask for what it never gets. The error is the
// writer's; the rest of the group is not sent then.
func (s *sender) write(b []byte) error {
	g := Group(b)
	slot := &s.slots[g.Slot()]
	if slot.SSRC == 0 {
		return nil
	}
	seq, transport := s.account(slot, g)
	h := &slot.header
	h.Timestamp = g.Timestamp()
	last := g.Len() - 1
	if g.Slot() != SlotVideo {
		last = -1
	}
	rest := b[groupHeader:]
	for i := range g.Len() {
		end := lengthPrefix + int(binary.BigEndian.Uint16(rest))
		h.SequenceNumber, h.Marker = seq, i == last
		binary.BigEndian.PutUint16(slot.extension[:], transport)
		if _, err := s.w.WriteRTP(h, rest[lengthPrefix:end]); err != nil {
			return err
		}
		rest = rest[end:]
		seq++
		transport++
	}
	return nil
}

// account gives a group its numbers and remembers it.
func (s *sender) account(slot *outSlot, g Group) (seq, transport uint16) {
	n := g.Len()
	size := len(g) - groupHeader - n*lengthPrefix
	now := s.params.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	seq, transport = slot.seq, s.transport
	slot.seq += uint16(n)
	slot.packets += uint32(n)
	slot.bytes += uint32(size)
	slot.last = g.Timestamp()
	if slot.history != nil {
		slot.history[slot.groups%len(slot.history)] = sent{g, seq, transport}
		slot.groups++
	}
	if s.params.TransportCC != 0 {
		s.transport += uint16(n)
		s.strain.sent(transport, n, now)
	}
	s.credit = min(s.credit+size/resendShare, resendCredit)
	s.stats.Groups++
	s.stats.Packets += uint64(n)
	s.stats.Bytes += uint64(size)
	if g.Slot() == SlotVideo || s.slots[SlotVideo].SSRC == 0 {
		s.stats.LastGroup = g.Timestamp()
	}
	return seq, transport
}

// find gives the group that the packet with a sequence number was in, and its number there.
func (o *outSlot) find(seq uint16) (sent, int, bool) {
	for n := o.groups - 1; n >= max(0, o.groups-len(o.history)); n-- {
		if e := o.history[n%len(o.history)]; int(seq-e.first) < e.group.Len() {
			return e, int(seq - e.first), true
		}
	}
	return sent{}, 0, false
}

// resend answers a NACK for one packet.
func (s *sender) resend(slot *outSlot, seq uint16) error {
	s.resendMu.Lock()
	defer s.resendMu.Unlock()
	s.mu.Lock()
	s.stats.Nacked++
	e, i, ok := slot.find(seq)
	var payload []byte
	if ok {
		payload = e.group.Packet(i)
	}
	if !ok || len(payload) > s.credit {
		s.stats.Unanswered++
		s.mu.Unlock()
		return nil
	}
	s.credit -= len(payload)
	s.stats.Resent++
	s.stats.ResentBytes += uint64(len(payload))
	h := &s.resending
	h.Timestamp, h.Marker = e.group.Timestamp(), e.group.Marker(i)
	if slot.RTXSSRC == 0 {
		// The same packet bit for bit, its transport-wide number too: with another one, SRTP would use a nonce of AES-GCM twice (RFC 7714 section 8.4).
		h.SSRC, h.PayloadType, h.SequenceNumber = slot.SSRC, slot.PayloadType, seq
		binary.BigEndian.PutUint16(s.extension[:], e.transport+uint16(i))
		slot.packets++
		slot.bytes += uint32(len(payload))
	} else {
		h.SSRC, h.PayloadType, h.SequenceNumber = slot.RTXSSRC, slot.RTXType, slot.rtx
		slot.rtx++
		if s.params.TransportCC != 0 {
			binary.BigEndian.PutUint16(s.extension[:], s.transport)
			s.strain.sent(s.transport, 1, s.params.Now())
			s.transport++
		}
		s.payload = append(binary.BigEndian.AppendUint16(s.payload[:0], seq), payload...)
		payload = s.payload
	}
	s.mu.Unlock()
	_, err := s.w.WriteRTP(h, payload)
	return err
}

// Stats are a copy.
func (s *sender) Stats() SenderStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// reports gives the sender reports that are due (RFC 3550 section 6.4.1), nil when none is. The reports of both tracks tell one and the same mapping of media time to the clock, so that the viewer shows them in step.
func (s *sender) reports(now time.Time) []rtcp.Packet {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.reported.IsZero() && now.Sub(s.reported) < reportInterval {
		return nil
	}
	newest, seen := uint32(0), false
	for i := range s.slots {
		slot := &s.slots[i]
		if at := slot.last * commonTicks[i]; slot.packets > 0 && (!seen || int32(at-newest) > 0) {
			newest, seen = at, true
		}
	}
	if !seen {
		return nil
	}
	s.reported = now
	at, ntp := s.clock.at(now, newest), ntpTime(now)
	var out []rtcp.Packet
	for i := range s.slots {
		slot := &s.slots[i]
		if slot.packets == 0 {
			continue
		}
		slot.reports[1] = slot.reports[0]
		slot.reports[0] = reported{uint32(ntp >> 16), now}
		out = append(out, &rtcp.SenderReport{SSRC: slot.SSRC, NTPTime: ntp, RTPTime: timestamp(i, slot.last, at), PacketCount: slot.packets, OctetCount: slot.bytes})
	}
	return out
}
