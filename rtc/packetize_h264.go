package rtc

import (
	"encoding/binary"
	"fmt"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"

	"hawser/media"
)

// Types of NAL units (ISO 14496-10 table 7-1), and of RTP payloads that carry several or a part (RFC 6184 table 1).
const (
	nalSlice     = 1
	nalIDR       = 5
	nalSEI       = 6
	nalSPS       = 7
	nalPPS       = 8
	nalDelimiter = 9
	nalFiller    = 12
	nalSTAPA     = 24
	nalFUA       = 28
	nalType      = 0x1f
	nalRef       = 0x60
	fuStart      = 0x80
	fuEnd        = 0x40
)

// parameterSets gives the sequence and picture parameter sets of an AVCDecoderConfigurationRecord (ISO 14496-15 section 5.3.3.1).
func parameterSets(config []byte) (sets [][]byte, err error) {
	if _, err := media.ParseAVCC(config); err != nil {
		return nil, err
	}
	at := 5
	for _, mask := range [2]byte{0x1f, 0xff} { // a count of five bits, and of eight
		n := int(config[at] & mask)
		at++
		for range n {
			size := int(binary.BigEndian.Uint16(config[at:]))
			at += 2
			sets = append(sets, config[at:at+size:at+size])
			at += size
		}
	}
	return sets, nil
}

// Reorders says whether the parameters of an H264 track tell that pictures are sent in another order than shown (B-frames), which browsers do not show over WebRTC. It is false where
// the parameters do not say: then only frames tell, by a PTS that differs from the DTS.
func Reorders(t media.Track) bool {
	depth, known := reorderDepth(t)
	return known && depth > 0
}

// reorderDepth is how many pictures can be shown before one that is sent before them: 0 where the profile or the kind of picture order leaves no choice (ISO 14496-10 sections A.2.1 and
// 8.2.1.3), else max_num_reorder_frames (annex E.2.1), if that is there.
func reorderDepth(t media.Track) (depth int, known bool) {
	if t.Codec != media.H264 {
		return 0, true
	}
	var sps h264.SPS
	if sets, err := parameterSets(t.Config); err != nil || sps.Unmarshal(sets[0]) != nil {
		return 0, false
	}
	const baseline = 66
	switch {
	case sps.ProfileIdc == baseline || sps.PicOrderCntType == 2:
		return 0, true
	case sps.VUI == nil || sps.VUI.BitstreamRestriction == nil:
		return 0, false
	}
	return int(sps.VUI.BitstreamRestriction.MaxNumReorderFrames), true
}

// eachNALU calls f for the NAL units of a frame with lengths of size bytes. The error says that they do not fill it.
func eachNALU(b []byte, size int, f func(nalu []byte)) error {
	for len(b) > 0 {
		if len(b) < size {
			return fmt.Errorf("got %d bytes, want the length of a NAL unit", len(b))
		}
		n := uint64(0)
		for _, c := range b[:size] {
			n = n<<8 | uint64(c)
		}
		if b = b[size:]; n > uint64(len(b)) {
			return fmt.Errorf("got %d bytes, want a NAL unit of %d", len(b), n)
		}
		if n > 0 {
			f(b[:n])
		}
		b = b[n:]
	}
	return nil
}

// h264 is RFC 6184 in packetization mode 1. Before a keyframe stand the track's parameter sets, unless it brings its own.
func (p *Packetizer) h264(w *groupWriter, f *media.Frame) error {
	size := p.track.NALUSize()
	if f.Key {
		brings := false
		if err := eachNALU(f.Data, size, func(nalu []byte) { brings = brings || nalu[0]&nalType == nalSPS }); err != nil {
			return err
		}
		if !brings {
			p.parameters(w)
		}
	}
	return eachNALU(f.Data, size, func(nalu []byte) {
		if typ := nalu[0] & nalType; typ != nalDelimiter && typ != nalFiller {
			appendNALU(w, nalu)
		}
	})
}

// parameters appends the track's parameter sets: in one payload (STAP-A, section 5.7.1) if they fit.
func (p *Packetizer) parameters(w *groupWriter) {
	total, ref := 1, byte(0)
	for _, set := range p.params {
		total += 2 + len(set)
		ref = max(ref, set[0]&nalRef)
	}
	if total > MaxPayload {
		for _, set := range p.params {
			appendNALU(w, set)
		}
		return
	}
	w.next()
	w.b = append(w.b, ref|nalSTAPA)
	for _, set := range p.params {
		w.b = binary.BigEndian.AppendUint16(w.b, uint16(len(set)))
		w.b = append(w.b, set...)
	}
}

// appendNALU appends a NAL unit as one payload, or as several fragments (FU-A, section 5.8).
func appendNALU(w *groupWriter, nalu []byte) {
	if len(nalu) <= MaxPayload {
		w.next()
		w.b = append(w.b, nalu...)
		return
	}
	bits := byte(fuStart)
	for rest := nalu[1:]; len(rest) > 0; bits = 0 {
		w.next()
		if len(rest) <= w.room()-2 {
			bits |= fuEnd
		}
		w.b = append(w.b, nalu[0]&^nalType|nalFUA, bits|nalu[0]&nalType)
		rest = w.take(rest)
	}
}
