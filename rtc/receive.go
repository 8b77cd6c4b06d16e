package rtc

import (
	"slices"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// receive takes a track that the other side sends, until it ends. Of several of a kind there is one at a time: the first, and when that has ended the next.
func (p *Peer) receive(t *webrtc.TrackRemote, from *webrtc.RTPReceiver) {
	if p.opts.OnFrame == nil {
		return
	}
	wantKey := func() { p.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: uint32(t.SSRC())}}) }
	r := newReceiver(t.Codec(), p.opts.OnFrame, wantKey)
	r.shareClock(&p.clock)
	slot := SlotVideo
	if t.Kind() == webrtc.RTPCodecTypeAudio {
		slot = SlotAudio
	}
	go func() {
		for {
			packets, _, err := from.ReadRTCP()
			if err != nil {
				return
			}
			for _, packet := range packets {
				if report, ok := packet.(*rtcp.SenderReport); ok && report.SSRC == uint32(t.SSRC()) {
					p.receiving.Lock()
					r.senderReport(report, time.Now())
					p.receiving.Unlock()
				}
			}
		}
	}()
	buf := make([]byte, receiveMTU)
	for {
		n, _, err := t.Read(buf)
		if err != nil {
			p.receiving.Lock()
			r.ended = true
			p.receiving.Unlock()
			return
		}
		packet := &rtp.Packet{}
		if packet.Unmarshal(slices.Clone(buf[:n])) != nil {
			continue
		}
		p.receiving.Lock()
		if taken := p.received[slot]; (taken == nil || taken.ended) && r.frames != nil {
			p.received[slot] = r
		}
		if p.received[slot] == r {
			r.rtp(packet, time.Now())
		}
		p.receiving.Unlock()
	}
}

// Stats are what went over a peer so far, and how.
type Stats struct {
	// Sent is what was sent, and what the other side says of it.
	Sent SenderStats
	// Video and Audio are what was received.
	Video, Audio ReceiverStats
}

// Stats returns what went over the peer so far.
func (p *Peer) Stats() (s Stats) {
	if sender := p.sender.Load(); sender != nil {
		s.Sent = sender.Stats()
	}
	p.receiving.Lock()
	defer p.receiving.Unlock()
	if r := p.received[SlotVideo]; r != nil {
		s.Video = r.Stats()
	}
	if r := p.received[SlotAudio]; r != nil {
		s.Audio = r.Stats()
	}
	return s
}
