package rtc

import (
	"fmt"
	"strings"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"hawser/lifecycle"
	"hawser/media"
)

// A receiver is one track that a peer sends: packets go in as they arrive, frames come out in order. It is used so:
//
//	r := newReceiver(track.Codec(), deliver, wantKey)
//	r.shareClock(clock)              // one peerClock for all receivers of the peer, before the first packet: so that their frames have one zero
//	r.rtp(packet, time.Now())        // each packet of the track, which the receiver keeps; NACK and RTX have been dealt with before (pion's interceptors)
//	r.senderReport(report, time.Now())
//
// rtp and senderReport must not run at once. deliver and wantKey are called within rtp. No goroutine, no timer, no clock: what is overdue is noticed when the next packet comes.

// ReceiverStats are what came of a track, from the beginning.
type ReceiverStats struct {
	Packets, Bytes uint64 // bytes of payload
	Lost           uint64 // packets that did not come in time
	Late           uint64 // packets that came twice, or after they were given up
	Frames         uint64 // that were delivered
	Keyframes      uint64 // of those
	Wanted         uint64 // times that a keyframe was asked for
}

// IDs of the tracks that are received.
const (
	videoTrackID = 1
	audioTrackID = 2
)

// receiver is described at the top of this file.
type receiver struct {
	deliver func(*media.Track, media.Frame)
	wantKey func()
	order   reorder
	frames  *Depacketizer // nil for a codec that is not known
	clock   trackClock
	id      int
	kind    media.Kind
	ended   bool // the track

	track    *media.Track // what deliver was given last
	unit     *media.Track // and what it was made of
	decode   *h264.DTSExtractor
	dts      time.Duration // of the last frame
	arrival  time.Time     // of the packet at hand
	asked    time.Time     // when a keyframe was last asked for
	reported ReceiverStats
}

// newReceiver makes the receiver of a track of a codec. Of a codec that WebRTC does not carry, nothing is delivered.
func newReceiver(c webrtc.RTPCodecParameters, deliver func(*media.Track, media.Frame), wantKey func()) *receiver {
	r := &receiver{deliver: deliver, wantKey: wantKey, id: videoTrackID, kind: media.Video}
	codec, err := codecOf(c.MimeType)
	if err == nil {
		r.frames, err = NewDepacketizer(codec, r.emit)
	}
	if err != nil {
		return r
	}
	r.order.patience = videoPatience
	if codec == media.Opus {
		r.id, r.kind = audioTrackID, media.Audio
		r.order.patience = audioPatience
	}
	if f, ok := r.frames.format.(*h264Format); ok {
		f.sprop(c.SDPFmtpLine)
	}
	r.clock.rate = int64(ClockRate(int(r.kind - media.Video)))
	r.clock.shared = &peerClock{}
	r.order.out = func(p *rtp.Packet) { r.frames.Push(p.Payload, p.Timestamp, p.Marker) }
	r.order.lost = func(n int) {
		r.reported.Lost += uint64(n)
		r.frames.Lost()
	}
	return r
}

// shareClock gives the receiver the clock of its peer, before the first packet.
func (r *receiver) shareClock(c *peerClock) { r.clock.shared = c }

// codecOf gives the codec of a MIME type such as video/H264.
func codecOf(mime string) (media.Codec, error) {
	for codec, name := range mimes {
		if strings.EqualFold(mime, name) {
			return codec, nil
		}
	}
	return media.CodecNone, fmt.Errorf("rtc: %w", lifecycle.ReasonUnsupported.With("%s is not known", mime))
}

// rtp takes a packet, which must not be changed afterwards.
func (r *receiver) rtp(p *rtp.Packet, arrival time.Time) {
	if r.frames == nil {
		return
	}
	r.reported.Packets++
	r.reported.Bytes += uint64(len(p.Payload))
	r.arrival = arrival
	r.clock.start(p.Timestamp, arrival)
	r.order.push(p, arrival)
	if r.frames.KeyframeWanted() && (r.asked.IsZero() || arrival.Sub(r.asked) >= keyframeInterval) {
		r.asked = arrival
		r.reported.Wanted++
		r.wantKey()
	}
}

// senderReport takes a sender report of the track.
func (r *receiver) senderReport(s *rtcp.SenderReport, _ time.Time) {
	if r.frames != nil {
		r.clock.report(s.NTPTime, s.RTPTime)
	}
}

// Stats are a copy; not to be called while rtp runs.
func (r *receiver) Stats() ReceiverStats {
	s := r.reported
	s.Late = r.order.late
	return s
}

// emit makes a frame of a unit, and delivers it.
func (r *receiver) emit(u Unit) {
	if u.Track != r.unit {
		t := *u.Track
		t.ID = r.id
		r.unit, r.track = u.Track, &t
		r.decode = nil
		if depth, known := reorderDepth(t); depth > 0 || !known {
			r.decode = &h264.DTSExtractor{}
			r.decode.Initialize()
		}
	}
	pts := r.clock.at(u.Timestamp, r.arrival)
	f := media.Frame{Track: r.id, Kind: r.kind, Key: u.Key, DTS: pts, PTS: pts, Data: u.Data}
	if r.decode != nil {
		f.DTS = r.decodeTime(u, pts)
	}
	f.DTS = max(f.DTS, r.dts) // decoders are never asked to go back
	f.PTS = max(f.PTS, f.DTS)
	r.dts = f.DTS
	r.reported.Frames++
	if u.Key {
		r.reported.Keyframes++
	}
	r.deliver(r.track, f)
}

// decodeTime finds out when a picture is decoded that may be shown later than others behind it: RTP says only when it is shown.
func (r *receiver) decodeTime(u Unit, pts time.Duration) time.Duration {
	sets, err := parameterSets(r.track.Config)
	if err != nil {
		return pts
	}
	units := sets[:1:1]
	if err := eachNALU(u.Data, r.track.NALUSize(), func(nalu []byte) { units = append(units, nalu) }); err != nil {
		return pts
	}
	dts, err := r.decode.Extract(units, ticks(pts, r.clock.rate))
	if err != nil {
		r.decode = &h264.DTSExtractor{}
		r.decode.Initialize()
		return min(pts, r.dts+time.Millisecond)
	}
	return min(duration(dts, r.clock.rate), pts)
}
