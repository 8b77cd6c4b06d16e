package rtc

import (
	"fmt"

	vpx "github.com/pion/rtp/codecs"

	"hawser/media"
)

// vp8Format is RFC 7741.
type vp8Format struct{}

func (vp8Format) reset() {}

func (vp8Format) starts(payload []byte) bool { return payload[0]&0x17 == 0x10 } // S, and partition 0

func (vp8Format) add(frame, payload []byte) ([]byte, error) {
	var p vpx.VP8Packet
	b, err := p.Unmarshal(payload)
	if err != nil {
		return frame, err
	}
	return append(frame, b...), nil
}

func (vp8Format) finish(frame []byte) ([]byte, bool, *media.Track, error) {
	if !(media.Track{Codec: media.VP8}).IsKey(frame) {
		return frame, false, nil, nil
	}
	t, err := media.ParseVP8(frame)
	return frame, true, &t, err
}

// vp9Format is RFC 9628. The frames of several spatial layers become one superframe.
type vp9Format struct {
	layers []int // where the frames of the layers begin
}

func (v *vp9Format) reset() { v.layers = v.layers[:0] }

func (v *vp9Format) starts(payload []byte) bool { // B, and layer 0
	var p vpx.VP9Packet
	_, err := p.Unmarshal(payload)
	return err == nil && p.B && (!p.L || p.SID == 0)
}

func (v *vp9Format) add(frame, payload []byte) ([]byte, error) {
	var p vpx.VP9Packet // a new one each time: it appends to what was in it
	b, err := p.Unmarshal(payload)
	if err != nil {
		return frame, err
	}
	if p.B {
		if len(v.layers) == maxSuperframe {
			return frame, fmt.Errorf("got more than %d layers", maxSuperframe)
		}
		v.layers = append(v.layers, len(frame))
	}
	return append(frame, b...), nil
}

// maxSuperframe is how many frames a superframe can hold (VP9 specification annex B).
const maxSuperframe = 8

func (v *vp9Format) finish(frame []byte) ([]byte, bool, *media.Track, error) {
	if len(v.layers) > 1 {
		frame = appendSuperframe(frame, v.layers)
	}
	v.reset()
	if !(media.Track{Codec: media.VP9}).IsKey(frame) {
		return frame, false, nil, nil
	}
	t, err := media.ParseVP9(frame)
	return frame, true, &t, err
}

// appendSuperframe appends the index that makes a superframe of frames that begin at starts (VP9 specification annex B.2).
func appendSuperframe(b []byte, starts []int) []byte {
	marker := 0xc0 | 3<<3 | byte(len(starts)-1) // sizes of four bytes
	total := len(b)
	b = append(b, marker)
	for i, start := range starts {
		end := total
		if i+1 < len(starts) {
			end = starts[i+1]
		}
		n := end - start
		b = append(b, byte(n), byte(n>>8), byte(n>>16), byte(n>>24))
	}
	return append(b, marker)
}
