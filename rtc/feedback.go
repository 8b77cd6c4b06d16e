package rtc

import (
	"time"

	"github.com/pion/rtcp"
)

// rtcp takes what the viewer sent. Packets about SSRCs that are not the sender's are passed over.
func (s *sender) rtcp(packets []rtcp.Packet) {
	for _, p := range packets {
		switch p := p.(type) {
		case *rtcp.ReceiverReport:
			s.reception(p.Reports)
		case *rtcp.SenderReport:
			s.reception(p.Reports)
		case *rtcp.TransportLayerNack:
			s.nack(p)
		case *rtcp.PictureLossIndication:
			if p.MediaSSRC == s.slots[SlotVideo].SSRC {
				s.keyframeWanted()
			}
		case *rtcp.FullIntraRequest:
			for _, e := range p.FIR {
				if e.SSRC == s.slots[SlotVideo].SSRC {
					s.keyframeWanted()
				}
			}
		case *rtcp.TransportLayerCC:
			s.transportCC(p)
		}
	}
}

// slotOf gives the track with an SSRC.
func (s *sender) slotOf(ssrc uint32) *outSlot {
	for i := range s.slots {
		if ssrc != 0 && s.slots[i].SSRC == ssrc {
			return &s.slots[i]
		}
	}
	return nil
}

// nack sends packets again that are still in the history (RFC 4585 section 6.2.1).
func (s *sender) nack(p *rtcp.TransportLayerNack) {
	slot := s.slotOf(p.MediaSSRC)
	if slot == nil || slot.history == nil {
		return
	}
	for i := range p.Nacks {
		p.Nacks[i].Range(func(seq uint16) bool { return s.resend(slot, seq) == nil })
	}
}

// keyframeWanted passes a request on; those that come within keyframeInterval of one are the same.
func (s *sender) keyframeWanted() {
	now := s.params.Now()
	s.mu.Lock()
	s.stats.Keyframes++
	again := !s.keyframe.IsZero() && now.Sub(s.keyframe) < keyframeInterval
	if !again {
		s.keyframe = now
	}
	s.mu.Unlock()
	if !again && s.params.KeyframeWanted != nil {
		s.params.KeyframeWanted()
	}
}

// reception takes reception reports in (RFC 3550 section 6.4.1).
func (s *sender) reception(reports []rtcp.ReceptionReport) {
	now := s.params.Now()
	for i := range reports {
		r := &reports[i]
		slot := s.slotOf(r.SSRC)
		if slot == nil {
			continue
		}
		s.mu.Lock()
		for _, sent := range slot.reports {
			if sent.ntp == r.LastSenderReport && r.LastSenderReport != 0 {
				delay := time.Duration(r.Delay) * time.Second / 65536
				s.stats.RoundTrip = max(now.Sub(sent.at)-delay, 0)
			}
		}
		loss := float64(r.FractionLost) / 256
		var slow bool
		if slot == &s.slots[SlotVideo] || s.slots[SlotVideo].SSRC == 0 {
			s.stats.Loss = loss
			s.stats.Jitter = duration(int64(r.Jitter), int64(ClockRate(SlotVideo)))
			if slot != &s.slots[SlotVideo] {
				s.stats.Jitter = duration(int64(r.Jitter), int64(ClockRate(SlotAudio)))
			}
			s.stats.Lost = int64(int32(r.TotalLost<<8)) >> 8 // 24 bits with a sign: duplicates make it negative
			if s.params.TransportCC == 0 {
				slow = s.strain.see(now, Strain{Loss: loss})
			}
		}
		s.told(slow)
	}
}

// told unlocks mu, and says that the viewer cannot take the rate if that is news.
func (s *sender) told(slow bool) {
	strain := s.strain.last
	if slow {
		s.stats.Slow++
	}
	s.mu.Unlock()
	if slow && s.params.Slow != nil {
		s.params.Slow(strain)
	}
}

// transportCC takes transport-wide feedback in.
func (s *sender) transportCC(p *rtcp.TransportLayerCC) {
	if s.params.TransportCC == 0 {
		return
	}
	now := s.params.Now()
	s.mu.Lock()
	strain, ok := s.strain.feedback(p)
	slow := false
	if ok {
		s.stats.QueueDelay = strain.Delay
		slow = s.strain.see(now, strain)
	}
	s.told(slow)
}
