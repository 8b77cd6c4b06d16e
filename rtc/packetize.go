package rtc

import (
	"encoding/binary"
	"fmt"
	"time"

	"hawser/lifecycle"
	"hawser/media"
)

// Carries says whether WebRTC carries a track, as far as its codec goes: H264, VP8, VP9, AV1 and Opus. The error is a lifecycle.ReasonUnsupported that names the codec. Pictures
// that are sent in another order than shown are another question: Reorders.
func Carries(t media.Track) error {
	switch t.Codec {
	case media.H264, media.VP8, media.VP9, media.AV1, media.Opus:
		if t.Codec == media.Opus && t.Channels > 2 {
			return lifecycle.ReasonUnsupported.With("opus of %d channels is not carried by WebRTC", t.Channels)
		}
		return nil
	}
	return lifecycle.ReasonUnsupported.With("%s is not carried by WebRTC", t.Codec)
}

// Packetizer turns the frames of one track into groups, once for all viewers. It must not be used by several goroutines at once.
type Packetizer struct {
	track   media.Track
	slot    int
	clock   int64
	picture uint16   // the number of the picture in VP8 and VP9, of 15 bits
	params  [][]byte // H264: the parameter sets of the track's Config
	header  []byte   // AV1: the units of the track's Config
	payload func(w *groupWriter, f *media.Frame) error
}

// NewPacketizer makes the packetizer of a track: H264 in packetization mode 1 (RFC 6184), VP8 (RFC 7741), VP9 (RFC 9628), AV1 (its RTP payload format, version 1.0) or Opus (RFC 7587).
// The error is lifecycle.ReasonUnsupported for others (Carries), or is about the track's Config.
func NewPacketizer(t media.Track) (*Packetizer, error) {
	fail := func(err error) (*Packetizer, error) { return nil, fmt.Errorf("rtc: packetize track %d: %w", t.ID, err) }
	if err := Carries(t); err != nil {
		return fail(err)
	}
	p := &Packetizer{track: t}
	switch t.Codec {
	case media.H264:
		params, err := parameterSets(t.Config)
		if err != nil {
			return fail(err)
		}
		p.params, p.payload = params, p.h264
	case media.VP8:
		p.payload = p.vp8
	case media.VP9:
		p.payload = p.vp9
	case media.AV1:
		if len(t.Config) > av1cHeader {
			p.header = t.Config[av1cHeader:]
		}
		p.payload = p.av1
	case media.Opus:
		p.slot, p.payload = SlotAudio, p.opus
	}
	p.clock = int64(ClockRate(p.slot))
	return p, nil
}

// AppendGroup appends the group of a frame of the track. A frame that is not of it, is new parameters (a new Track needs a new Packetizer), or has no form in RTP adds nothing.
// The timestamp is the frame's PTS: what RTP counts is when a picture is shown.
func (p *Packetizer) AppendGroup(dst []byte, f media.Frame) []byte {
	if f.Track != p.track.ID || f.Config || len(f.Data) == 0 {
		return dst
	}
	flags := byte(0)
	if f.Key {
		flags = GroupKey
	}
	w := startGroup(dst, p.slot, flags, uint32(ticks(f.PTS, p.clock)))
	if err := p.payload(&w, &f); err != nil {
		return dst
	}
	return w.finish()
}

// Timestamp is the RTP timestamp that groups of a slot have at a media time.
func Timestamp(slot int, at time.Duration) uint32 { return uint32(ticks(at, int64(ClockRate(slot)))) }

// ticks is a time in ticks of a clock, rounded to the nearest.
func ticks(t time.Duration, clock int64) int64 {
	seconds, rest := int64(t/time.Second), int64(t%time.Second)
	half := int64(time.Second / 2)
	if rest < 0 {
		half = -half
	}
	return seconds*clock + (rest*clock+half)/int64(time.Second)
}

// opus is RFC 7587 section 4.2: a packet is a payload.
func (p *Packetizer) opus(w *groupWriter, f *media.Frame) error {
	if len(f.Data) > MaxPayload { // 464 kbit/s and more in frames of 20 ms, which no encoder makes of two channels
		return fmt.Errorf("an Opus packet of %d bytes", len(f.Data))
	}
	w.next()
	w.b = append(w.b, f.Data...)
	return nil
}

// vp8 is RFC 7741 section 4.2, with a PictureID of 15 bits on every packet: receivers tell by it what a picture refers to.
func (p *Packetizer) vp8(w *groupWriter, f *media.Frame) error {
	const extended, start, number = 0x80, 0x10, 0x80 // X and S, and I in the next byte
	first := byte(start)
	for rest := f.Data; len(rest) > 0; first = 0 {
		w.next()
		w.b = append(w.b, extended|first, number, 0x80|byte(p.picture>>8), byte(p.picture))
		rest = w.take(rest)
	}
	p.nextPicture()
	return nil
}

func (p *Packetizer) nextPicture() { p.picture = (p.picture + 1) & 0x7fff }

// vp9 is RFC 9628 section 4.2 in non-flexible mode: one layer, each keyframe with its size.
func (p *Packetizer) vp9(w *groupWriter, f *media.Frame) error {
	const number, predicted, start, end, structure, alone = 0x80, 0x40, 0x08, 0x04, 0x02, 0x01 // I, P, B, E, V, Z
	bits := byte(number | alone)
	if !f.Key {
		bits |= predicted
	}
	for rest := f.Data; len(rest) > 0; {
		w.next()
		at := len(w.b)
		w.b = append(w.b, bits, 0x80|byte(p.picture>>8), byte(p.picture))
		if len(rest) == len(f.Data) {
			w.b[at] |= start
			if t, err := media.ParseVP9(f.Data); f.Key && err == nil {
				const sizes = 0x10 // N_S = 0, Y
				w.b[at] |= structure
				w.b = append(w.b, sizes)
				w.b = binary.BigEndian.AppendUint16(w.b, uint16(t.Width))
				w.b = binary.BigEndian.AppendUint16(w.b, uint16(t.Height))
			}
		}
		if rest = w.take(rest); len(rest) == 0 {
			w.b[at] |= end
		}
	}
	p.nextPicture()
	return nil
}

// take moves what fits of b into the open payload and gives the rest.
func (w *groupWriter) take(b []byte) []byte {
	n := min(w.room(), len(b))
	w.b = append(w.b, b[:n]...)
	return b[n:]
}
