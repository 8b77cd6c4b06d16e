package rtc

import (
	"slices"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"

	"hawser/lifecycle"
	"hawser/media"
)

// KindSlow is the kind of the event when the other side cannot take the rate at which it is sent to (reason slow).
const KindSlow = "slow"

// outTrack is a track that is sent. It implements webrtc.TrackLocal.
type outTrack struct {
	peer  *Peer
	track media.Track
}

// bound is a track on which both sides have agreed.
type bound struct {
	params    slotParams
	transport uint8
	writer    rtpWriter
}

func (t *outTrack) slot() int {
	if t.track.Kind == media.Audio {
		return SlotAudio
	}
	return SlotVideo
}

// Bind implements webrtc.TrackLocal.
func (t *outTrack) Bind(c webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	codec, err := choose(t.track, c.CodecParameters())
	if err != nil {
		return codec, err
	}
	b := bound{writer: c.WriteStream(), params: slotParams{SSRC: uint32(c.SSRC()), PayloadType: uint8(codec.PayloadType),
		NACK: slices.Contains(codec.RTCPFeedback, webrtc.RTCPFeedback{Type: "nack"})}}
	for _, e := range c.HeaderExtensions() {
		if e.URI == sdp.TransportCCURI {
			b.transport = uint8(e.ID)
		}
	}
	t.peer.mu.Lock()
	t.peer.bound[t.slot()] = b
	t.peer.mu.Unlock()
	reader, ssrc := c.RTCPReader(), uint32(c.SSRC())
	go t.peer.listen(func(b []byte) (int, error) { n, _, err := reader.Read(b, nil); return n, err }, ssrc)
	return codec, nil
}

// Unbind implements webrtc.TrackLocal.
func (t *outTrack) Unbind(webrtc.TrackLocalContext) error { return nil }

// ID implements webrtc.TrackLocal.
func (t *outTrack) ID() string { return t.track.Kind.String() }

// RID implements webrtc.TrackLocal.
func (t *outTrack) RID() string { return "" }

// StreamID implements webrtc.TrackLocal.
func (t *outTrack) StreamID() string { return "hawser" }

// Kind implements webrtc.TrackLocal.
func (t *outTrack) Kind() webrtc.RTPCodecType {
	if t.track.Kind == media.Audio {
		return webrtc.RTPCodecTypeAudio
	}
	return webrtc.RTPCodecTypeVideo
}

// startSender makes the sender of what both sides have agreed on, when the peer is connected for the first time.
func (p *Peer) startSender() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sender.Load() != nil {
		return
	}
	params := senderParams{Now: time.Now, KeyframeWanted: p.opts.OnKeyframe, Slow: p.slow}
	var writer rtpWriter
	for i, b := range p.bound {
		if b.writer != nil {
			writer, params.Slots[i] = b.writer, b.params
			params.TransportCC = max(params.TransportCC, b.transport)
		}
	}
	if writer == nil {
		return
	}
	if p.keys != nil {
		if sealer := p.keys.sealer(); sealer != nil {
			writer = &directWriter{peer: p, sealer: sealer, stack: writer}
		}
	}
	p.sender.Store(newSender(writer, params))
}

func (p *Peer) slow(s Strain) {
	p.opts.Conn.Event(lifecycle.Event{Kind: KindSlow, Reason: lifecycle.ReasonSlow.With("%.0f %% of the packets are lost, they wait %v on the way", 100*s.Loss, s.Delay.Round(time.Millisecond))})
	if p.opts.OnSlow != nil {
		p.opts.OnSlow(s)
	}
}

// listen reads what the other side says of a track, until the peer is closed. The stack hands packets that are about both tracks to the readers of both; each takes its part.
func (p *Peer) listen(read func([]byte) (int, error), ssrc uint32) {
	buf := make([]byte, receiveMTU)
	for {
		n, err := read(buf)
		if err != nil {
			return
		}
		packets, err := rtcp.Unmarshal(buf[:n])
		if s := p.sender.Load(); err == nil && s != nil {
			s.rtcp(about(packets, ssrc))
		}
	}
}

// about returns what packets say of one SSRC.
func about(packets []rtcp.Packet, ssrc uint32) []rtcp.Packet {
	of := func(r rtcp.ReceptionReport) bool { return r.SSRC != ssrc }
	return slices.DeleteFunc(packets, func(packet rtcp.Packet) bool {
		switch packet := packet.(type) {
		case *rtcp.ReceiverReport:
			packet.Reports = slices.DeleteFunc(packet.Reports, of)
			return len(packet.Reports) == 0
		case *rtcp.SenderReport:
			packet.Reports = slices.DeleteFunc(packet.Reports, of)
			return len(packet.Reports) == 0
		}
		return !slices.Contains(packet.DestinationSSRC(), ssrc)
	})
}

// receiveMTU is the greatest packet that is received.
const receiveMTU = 1500
