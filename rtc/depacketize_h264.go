package rtc

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"hawser/media"
)

// maxParameterSets bounds the picture parameter sets that are kept of a track.
const maxParameterSets = 32

// h264Format is RFC 6184: single NAL units, STAP-A and FU-A. Frames get NAL units with lengths of four bytes; parameter sets go into the track's Config instead.
type h264Format struct {
	sps      []byte
	pps      [][]byte // by their numbers as they stand in them
	changed  bool     // since the last Config
	inside   bool     // the next part of a NAL unit is waited for
	fragment int      // where its length stands in the frame
	set      []byte   // or it itself, where it does not belong into the frame
	inSet    bool
	key      bool // the frame has a slice of an IDR picture
	begun    bool // the frame has a slice
}

func (h *h264Format) starts(payload []byte) bool {
	return payload[0]&nalType != nalFUA || len(payload) > 1 && payload[1]&fuStart != 0
}

func (h *h264Format) reset() { h.inside, h.inSet, h.key, h.begun = false, false, false, false }

func (h *h264Format) add(frame, payload []byte) ([]byte, error) {
	typ := payload[0] & nalType
	if typ == nalFUA {
		return h.part(frame, payload)
	}
	if h.inside {
		return frame, fmt.Errorf("got a NAL unit of type %d, want the rest of another", typ)
	}
	switch {
	case typ == nalSTAPA:
		for b := payload[1:]; len(b) > 0; {
			if len(b) < 2 || int(binary.BigEndian.Uint16(b)) > len(b)-2 {
				return frame, fmt.Errorf("got %d bytes, want a NAL unit with its length", len(b))
			}
			end := 2 + int(binary.BigEndian.Uint16(b))
			var err error
			if frame, err = h.unit(frame, b[2:end]); err != nil {
				return frame, err
			}
			b = b[end:]
		}
		return frame, nil
	case typ == 0 || typ > nalSTAPA:
		return frame, fmt.Errorf("got a payload of type %d, want a NAL unit, STAP-A or FU-A", typ)
	}
	return h.unit(frame, payload)
}

// unit takes a whole NAL unit.
func (h *h264Format) unit(frame, nalu []byte) ([]byte, error) {
	if len(nalu) == 0 {
		return frame, nil
	}
	switch nalu[0] & nalType {
	case nalSPS:
		h.keepSPS(nalu)
		return frame, nil
	case nalPPS:
		h.keepPPS(nalu)
		return frame, nil
	case nalDelimiter, nalFiller:
		return frame, nil
	}
	if err := h.slice(nalu); err != nil {
		return frame, err
	}
	return append(binary.BigEndian.AppendUint32(frame, uint32(len(nalu))), nalu...), nil
}

// slice looks at the beginning of a NAL unit. The first slice of a picture begins at its first macroblock: first_mb_in_slice, a 0 coded in one bit (ISO 14496-10 section 7.3.3). Where it
// does not, packets before it were lost.
func (h *h264Format) slice(nalu []byte) error {
	typ := nalu[0] & nalType
	if typ != nalSlice && typ != nalIDR {
		return nil
	}
	if !h.begun && (len(nalu) < 2 || nalu[1]&0x80 == 0) {
		return fmt.Errorf("got a slice from the middle, want the first of a picture")
	}
	h.begun, h.key = true, h.key || typ == nalIDR
	return nil
}

// part takes a fragment of a NAL unit.
func (h *h264Format) part(frame, payload []byte) ([]byte, error) {
	if len(payload) < 2 {
		return frame, fmt.Errorf("got the end, want the header of a fragment")
	}
	first, last := payload[1]&fuStart != 0, payload[1]&fuEnd != 0
	if first == h.inside {
		return frame, fmt.Errorf("got a fragment out of its order")
	}
	header := payload[0]&^nalType | payload[1]&nalType
	if first {
		h.inside = true
		if typ := header & nalType; typ == nalSPS || typ == nalPPS || typ == nalDelimiter || typ == nalFiller {
			h.inSet, h.set = true, append(h.set[:0], header)
		} else {
			if err := h.slice(append([]byte{header}, payload[2:min(len(payload), 3)]...)); err != nil {
				return frame, err
			}
			h.fragment = len(frame)
			frame = append(frame, 0, 0, 0, 0, header)
		}
	}
	if h.inSet {
		if len(h.set) > media.MaxConfig {
			return frame, fmt.Errorf("got a parameter set of more than %d bytes", media.MaxConfig)
		}
		h.set = append(h.set, payload[2:]...)
	} else {
		frame = append(frame, payload[2:]...)
	}
	if last {
		h.inside = false
		if h.inSet {
			h.inSet = false
			return h.unit(frame, h.set)
		}
		binary.BigEndian.PutUint32(frame[h.fragment:], uint32(len(frame)-h.fragment-4))
	}
	return frame, nil
}

// keepSPS takes a sequence parameter set in; a new one makes the picture parameter sets of the old one void.
func (h *h264Format) keepSPS(b []byte) {
	if len(b) >= 4 && !bytes.Equal(b, h.sps) {
		h.sps, h.pps, h.changed = bytes.Clone(b), nil, true
	}
}

// keepPPS takes a picture parameter set in, in place of that with the same number.
func (h *h264Format) keepPPS(b []byte) {
	number := func(pps []byte) int { return golomb(pps[1:]) }
	if len(b) < 2 || number(b) < 0 {
		return
	}
	for i, old := range h.pps {
		if number(old) == number(b) {
			if !bytes.Equal(old, b) {
				h.pps[i], h.changed = bytes.Clone(b), true
			}
			return
		}
	}
	if len(h.pps) < maxParameterSets {
		h.pps, h.changed = append(h.pps, bytes.Clone(b)), true
		slices.SortFunc(h.pps, func(a, b []byte) int { return number(a) - number(b) })
	}
}

// golomb reads the unsigned exponential Golomb code at the start of b (ISO 14496-10 section 9.1), of a value up to 255 as a picture parameter set's number is; -1 for another.
func golomb(b []byte) int {
	v := uint32(0)
	for i := range 4 {
		v <<= 8
		if i < len(b) {
			v |= uint32(b[i])
		}
	}
	for zeros := range 9 {
		if v&(1<<31>>zeros) != 0 {
			return int(v>>(31-2*zeros)) - 1
		}
	}
	return -1
}

func (h *h264Format) finish(frame []byte) (data []byte, key bool, t *media.Track, err error) {
	if h.inside {
		return nil, false, nil, fmt.Errorf("got the end of a frame, want the rest of a NAL unit")
	}
	key = h.key
	h.reset()
	if len(frame) == 0 || !h.changed || h.sps == nil || len(h.pps) == 0 {
		return frame, key, nil, nil
	}
	track, err := media.ParseAVCC(h.config())
	if err != nil {
		return nil, false, nil, err
	}
	h.changed = false
	return frame, key, &track, nil
}

// config makes an AVCDecoderConfigurationRecord (ISO 14496-15 section 5.3.3.1) of the parameter sets.
func (h *h264Format) config() []byte {
	b := []byte{1, h.sps[1], h.sps[2], h.sps[3], 0xff, 0xe1}
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(h.sps))), h.sps...)
	b = append(b, byte(len(h.pps)))
	for _, pps := range h.pps {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(pps))), pps...)
	}
	return b
}

// sprop takes the parameter sets of a session description in: sprop-parameter-sets of RFC 6184 section 8.1.
func (h *h264Format) sprop(fmtp string) {
	for field := range strings.SplitSeq(fmtp, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		if !strings.EqualFold(name, "sprop-parameter-sets") {
			continue
		}
		for set := range strings.SplitSeq(value, ",") {
			b, err := base64.StdEncoding.DecodeString(set)
			switch {
			case err != nil || len(b) == 0:
			case b[0]&nalType == nalSPS:
				h.keepSPS(b)
			case b[0]&nalType == nalPPS:
				h.keepPPS(b)
			}
		}
	}
}
