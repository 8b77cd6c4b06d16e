package media

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/av1"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h265"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/vp9"
)

// hvccHeader is the length of an HEVCDecoderConfigurationRecord before its parameter sets.
const hvccHeader = 23

// hevcSPS is the NAL unit type of a sequence parameter set.
const hevcSPS = 33

// ParseHVCC parses an HEVCDecoderConfigurationRecord (ISO 14496-15 section 8.3.3.1.2), which must hold a sequence parameter set. It
// copies b and leaves the track's ID to the caller. An error is a *ConfigError.
func ParseHVCC(b []byte) (Track, error) {
	bad := func(offset int, got, want string) (Track, error) {
		return Track{}, &ConfigError{Codec: HEVC, Offset: offset, Got: got, Want: want}
	}
	switch {
	case len(b) > MaxConfig:
		return bad(MaxConfig, "more bytes", "the end")
	case len(b) < hvccHeader:
		return bad(len(b), "the end", fmt.Sprintf("%d bytes or more", hvccHeader))
	case b[0] != 1:
		return bad(0, fmt.Sprintf("version %d", b[0]), "version 1")
	case b[21]&3 == 2:
		return bad(21, "NAL unit lengths of 3 bytes", "1, 2 or 4")
	}
	sps, at, err := hvccSPS(b)
	if err != nil {
		return Track{}, err
	}
	if sps == nil {
		return bad(22, "no sequence parameter set", "one or more")
	}
	var s h265.SPS
	err = s.Unmarshal(sps)
	w, h := 0, 0
	if err == nil {
		w, h = s.Width(), s.Height()
		err = checkSize(w, h)
	}
	if err != nil {
		return Track{}, &ConfigError{Codec: HEVC, Offset: at, Got: "a sequence parameter set that cannot be read", Want: wantPicture, Err: err}
	}
	return Track{Kind: Video, Codec: HEVC, Config: bytes.Clone(b), Width: w, Height: h}, nil
}

// hvccSPS walks the arrays of parameter sets and gives the first sequence parameter set with its offset.
func hvccSPS(b []byte) (sps []byte, at int, err error) {
	fail := func(offset int, want string) ([]byte, int, error) {
		return nil, 0, &ConfigError{Codec: HEVC, Offset: offset, Got: "the end", Want: want}
	}
	pos := hvccHeader
	for range b[22] {
		if len(b)-pos < 3 {
			return fail(len(b), "an array of parameter sets")
		}
		typ, n := b[pos]&0x3f, int(binary.BigEndian.Uint16(b[pos+1:]))
		pos += 3
		for range n {
			if len(b)-pos < 2 {
				return fail(len(b), "the length of a parameter set")
			}
			size := int(binary.BigEndian.Uint16(b[pos:]))
			pos += 2
			if size > len(b)-pos {
				return fail(len(b), fmt.Sprintf("a parameter set of %d bytes", size))
			}
			if typ == hevcSPS && sps == nil {
				sps, at = b[pos:pos+size:pos+size], pos
			}
			pos += size
		}
	}
	return sps, at, nil
}

var wantPicture = fmt.Sprintf("one with a picture of 1x1 to %dx%d", MaxSide, MaxSide)

func checkSize(w, h int) error {
	if w < 1 || h < 1 || w > MaxSide || h > MaxSide {
		return fmt.Errorf("a picture of %dx%d", w, h)
	}
	return nil
}

// AV1 open bitstream units (AV1 specification section 5.3 and 6.2.2).
const (
	obuSequenceHeader = 1
	obuDelimiter      = 2
	av1cHeader        = 4 // bytes of an AV1CodecConfigurationRecord before its units
)

// nextOBU gives the type and the whole bytes of the unit at the start of b. A unit without a size reaches to the end.
func nextOBU(b []byte) (typ byte, obu []byte, err error) {
	if b[0]&0x80 != 0 {
		return 0, nil, fmt.Errorf("got 0x%02x, want the header of an open bitstream unit", b[0])
	}
	at := 1
	if b[0]&4 != 0 { // an extension
		at++
	}
	typ = b[0] >> 3 & 15
	if b[0]&2 == 0 { // no size
		return typ, b, nil
	}
	size, n := uint64(0), 0
	for ; ; n++ {
		if n == 8 || at+n >= len(b) {
			return 0, nil, fmt.Errorf("got the end, want the size of an open bitstream unit")
		}
		size |= uint64(b[at+n]&0x7f) << (7 * n)
		if b[at+n] < 0x80 {
			break
		}
	}
	at += n + 1
	if size > uint64(len(b)-at) {
		return 0, nil, fmt.Errorf("got %d bytes, want an open bitstream unit of %d", len(b)-at, size)
	}
	return typ, b[:at+int(size)], nil
}

// SplitAV1 looks at a temporal unit of AV1 (open bitstream units with sizes, AV1 specification section 5.2): unit is b without the delimiters
// that stand before it, header the sequence header in it, nil where there is none; both are parts of b. The error is about units that do not fill b.
func SplitAV1(b []byte) (unit, header []byte, err error) {
	unit = b
	for at := 0; at < len(b); {
		typ, obu, err := nextOBU(b[at:])
		if err != nil {
			return nil, nil, fmt.Errorf("media: av1 at offset %d: %w", at, err)
		}
		at += len(obu)
		switch {
		case typ == obuDelimiter && len(unit) == len(b)-at+len(obu):
			unit = b[at:]
		case typ == obuSequenceHeader && header == nil:
			header = obu
		}
	}
	return unit, header, nil
}

// ParseAV1C parses an AV1CodecConfigurationRecord (AV1 in ISO base media section 2.3). It copies b and leaves the track's ID to the caller. The
// picture's size is 0 where the record holds no sequence header; ParseAV1 reads one from a keyframe. An error is a *ConfigError.
func ParseAV1C(b []byte) (Track, error) {
	switch {
	case len(b) > MaxConfig:
		return Track{}, &ConfigError{Codec: AV1, Offset: MaxConfig, Got: "more bytes", Want: "the end"}
	case len(b) < av1cHeader:
		return Track{}, &ConfigError{Codec: AV1, Offset: len(b), Got: "the end", Want: "4 bytes or more"}
	case b[0] != 0x81:
		return Track{}, &ConfigError{Codec: AV1, Got: fmt.Sprintf("0x%02x", b[0]), Want: "0x81, version 1"}
	}
	_, header, err := SplitAV1(b[av1cHeader:])
	if err != nil {
		return Track{}, &ConfigError{Codec: AV1, Offset: av1cHeader, Got: "units that cannot be read", Want: "a sequence header", Err: err}
	}
	t := Track{Kind: Video, Codec: AV1, Config: bytes.Clone(b)}
	if header == nil {
		return t, nil
	}
	if _, t.Width, t.Height, err = readAV1Header(header); err != nil {
		return Track{}, err
	}
	return t, nil
}

// ParseAV1 makes the track of a sequence header that SplitAV1 found. An error is a *ConfigError.
func ParseAV1(header []byte) (Track, error) {
	s, w, h, err := readAV1Header(header)
	if err != nil {
		return Track{}, err
	}
	flag := func(v bool, bit byte) byte {
		if v {
			return 1 << bit
		}
		return 0
	}
	c := &s.ColorConfig
	config := []byte{0x81, s.SeqProfile<<5 | s.SeqLevelIdx[0]&31,
		flag(s.SeqTier[0], 7) | flag(c.HighBitDepth, 6) | flag(c.TwelveBit, 5) | flag(c.MonoChrome, 4) | flag(c.SubsamplingX, 3) | flag(c.SubsamplingY, 2) |
			byte(c.ChromaSamplePosition)&3, 0}
	return Track{Kind: Video, Codec: AV1, Config: append(config, header...), Width: w, Height: h}, nil
}

func readAV1Header(obu []byte) (s av1.SequenceHeader, w, h int, err error) {
	if err = s.Unmarshal(obu); err == nil {
		w, h = s.Width(), s.Height()
		if err = checkSize(w, h); err == nil && (len(s.SeqLevelIdx) == 0 || len(s.SeqTier) == 0) {
			err = fmt.Errorf("no operating point")
		}
	}
	if err != nil {
		err = &ConfigError{Codec: AV1, Offset: av1cHeader, Got: "a sequence header that cannot be read", Want: wantPicture, Err: err}
	}
	return s, w, h, err
}

// vpccSize is the length of a VPCodecConfigurationRecord without initialization data, which VP9 has not.
const vpccSize = 8

// ParseVPCC parses the VPCodecConfigurationRecord of VP9 (VP codec ISO media file format binding), with or without the version and flags of the box
// that it stands in; Config is without. The picture's size is not in it: ParseVP9 reads that from a keyframe. An error is a *ConfigError.
func ParseVPCC(b []byte) (Track, error) {
	at := 0
	if len(b) >= vpccSize+4 && b[0] == 1 && b[1] == 0 && b[2] == 0 && b[3] == 0 { // a bit depth of 0 would be no record
		at = 4
	}
	b = b[at:]
	if len(b) < vpccSize {
		return Track{}, &ConfigError{Codec: VP9, Offset: at + len(b), Got: "the end", Want: "8 bytes"}
	}
	if depth := b[2] >> 4; b[0] > 3 || depth != 8 && depth != 10 && depth != 12 {
		return Track{}, &ConfigError{Codec: VP9, Offset: at, Got: fmt.Sprintf("profile %d of %d bits", b[0], depth), Want: "profile 0 to 3 of 8, 10 or 12 bits"}
	}
	return Track{Kind: Video, Codec: VP9, Config: bytes.Clone(b[:vpccSize])}, nil
}

// ParseVP9 reads the uncompressed header of a keyframe (VP9 specification section 6.2), and makes a record for it of unspecified level and colours. An error is a *ConfigError.
func ParseVP9(b []byte) (Track, error) {
	var h vp9.Header
	err := h.Unmarshal(b)
	if err == nil && (h.NonKeyFrame || h.ShowExistingFrame || h.ColorConfig == nil || h.FrameSize == nil) {
		err = fmt.Errorf("no keyframe")
	}
	if err == nil {
		err = checkSize(h.Width(), h.Height())
	}
	if err != nil {
		return Track{}, &ConfigError{Codec: VP9, Got: "a frame header that cannot be read", Want: wantPicture, Err: err}
	}
	full := byte(0)
	if h.ColorConfig.ColorRange {
		full = 1
	}
	const unspecified = 2 // ISO 23091-4
	config := []byte{h.Profile, 0, h.ColorConfig.BitDepth<<4 | h.ChromaSubsampling()<<1 | full, unspecified, unspecified, unspecified, 0, 0}
	return Track{Kind: Video, Codec: VP9, Config: config, Width: h.Width(), Height: h.Height()}, nil
}

// ParseVP8 reads the header of a keyframe (RFC 6386 section 9.1). An error is a *ConfigError.
func ParseVP8(b []byte) (Track, error) {
	if len(b) < 10 || b[0]&1 != 0 || b[3] != 0x9d || b[4] != 1 || b[5] != 0x2a {
		return Track{}, &ConfigError{Codec: VP8, Got: fmt.Sprintf("% x", b[:min(len(b), 10)]), Want: "the header of a keyframe"}
	}
	w, h := int(b[6])|int(b[7]&0x3f)<<8, int(b[8])|int(b[9]&0x3f)<<8
	if err := checkSize(w, h); err != nil {
		return Track{}, &ConfigError{Codec: VP8, Offset: 6, Got: "a header that cannot be read", Want: wantPicture, Err: err}
	}
	return Track{Kind: Video, Codec: VP8, Width: w, Height: h}, nil
}

// IsKey says whether a decoder may start at a frame of the track, for containers that do not say: every audio frame, and a picture
// that refers to none before it. It takes broken frames for others.
func (t Track) IsKey(frame []byte) bool {
	switch t.Codec {
	case H264:
		return t.anyNALU(frame, func(b byte) bool { return h264.NALUType(b&31) == h264.NALUTypeIDR })
	case HEVC:
		return t.anyNALU(frame, func(b byte) bool { typ := b >> 1 & 63; return typ >= 16 && typ <= 21 }) // BLA, IDR and CRA
	case AV1:
		_, header, err := SplitAV1(frame)
		return err == nil && header != nil
	case VP8:
		return len(frame) > 0 && frame[0]&1 == 0
	case VP9:
		return vp9.IsRandomAccess(frame)
	}
	return t.Kind == Audio
}

// anyNALU says whether a NAL unit's first byte satisfies is.
func (t Track) anyNALU(b []byte, is func(byte) bool) bool {
	n := t.NALUSize()
	for n > 0 && len(b) > n {
		size := uint64(0)
		for _, c := range b[:n] {
			size = size<<8 | uint64(c)
		}
		if b = b[n:]; size > uint64(len(b)) {
			return false
		}
		if size > 0 && is(b[0]) {
			return true
		}
		b = b[size:]
	}
	return false
}

// hevcMIME spells an HEVCDecoderConfigurationRecord (ISO 14496-15 annex E.3).
func hevcMIME(c []byte) string {
	tier := "L"
	if c[1]&0x20 != 0 {
		tier = "H"
	}
	s := "hvc1."
	if space := c[1] >> 6; space > 0 {
		s += string(rune('A' + space - 1))
	}
	s += fmt.Sprintf("%d.%X.%s%d", c[1]&31, bits.Reverse32(binary.BigEndian.Uint32(c[2:])), tier, c[12])
	for _, v := range bytes.TrimRight(c[6:12], "\x00") {
		s += fmt.Sprintf(".%X", v)
	}
	return s
}

// av1MIME spells an AV1CodecConfigurationRecord (AV1 in ISO base media section 5).
func av1MIME(c []byte) string {
	tier, depth := "M", 8
	if c[2]&0x80 != 0 {
		tier = "H"
	}
	switch {
	case c[2]&0x60 == 0x60:
		depth = 12
	case c[2]&0x40 != 0:
		depth = 10
	}
	return fmt.Sprintf("av01.%d.%02d%s.%02d", c[1]>>5, c[1]&31, tier, depth)
}

// vp9MIME spells a VPCodecConfigurationRecord (VP codec ISO media file format binding); where the level is not known, it says level 1, as players ask for one.
func vp9MIME(c []byte) string {
	level := c[1]
	if level == 0 {
		level = 10
	}
	return fmt.Sprintf("vp09.%02d.%02d.%02d", c[0], level, c[2]>>4)
}
