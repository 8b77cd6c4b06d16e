package rtc

import (
	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
)

// RequestKeyframe asks the other side for a keyframe of the video that it sends (PLI, RFC 4585 section 6.3.1).
func (p *Peer) RequestKeyframe() {
	for _, r := range p.pc.GetReceivers() {
		if t := r.Track(); t != nil && t.Kind() == webrtc.RTPCodecTypeVideo {
			p.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: uint32(t.SSRC())}})
		}
	}
}
