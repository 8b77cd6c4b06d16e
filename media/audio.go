package media

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/ac3"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/eac3"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/opus"
)

// opusRate is the clock of Opus, whatever the rate of its source.
const opusRate = 48000

// opusHead is the length of an Opus identification header without a channel mapping table.
const opusHead = 19

// ParseOpusHead parses an Opus identification header (RFC 7845 section 5.1). It copies b and leaves the track's ID to the caller. An error is a *ConfigError.
func ParseOpusHead(b []byte) (Track, error) {
	bad := func(offset int, got, want string) (Track, error) {
		return Track{}, &ConfigError{Codec: Opus, Offset: offset, Got: got, Want: want}
	}
	switch {
	case len(b) > MaxConfig:
		return bad(MaxConfig, "more bytes", "the end")
	case len(b) < opusHead:
		return bad(len(b), "the end", fmt.Sprintf("%d bytes or more", opusHead))
	case string(b[:8]) != "OpusHead":
		return bad(0, fmt.Sprintf("%q", b[:8]), `"OpusHead"`)
	case b[8]>>4 != 0:
		return bad(8, fmt.Sprintf("version %d", b[8]), "0 to 15")
	case b[9] == 0:
		return bad(9, "no channels", "one or more")
	case b[18] == 0 && b[9] > 2:
		return bad(18, fmt.Sprintf("%d channels of mapping family 0", b[9]), "one or two")
	case b[18] != 0 && len(b) < opusHead+2+int(b[9]):
		return bad(len(b), "the end", fmt.Sprintf("a mapping of %d channels", b[9]))
	}
	return Track{Kind: Audio, Codec: Opus, Config: bytes.Clone(b), SampleRate: opusRate, Channels: int(b[9])}, nil
}

// opusStreams are the streams, and those of them that are coupled, of Opus of 1 to 8 channels, and its mapping (RFC 7845 section 5.1.1.2).
var opusStreams = [...]struct {
	streams, coupled byte
	mapping          string
}{{1, 0, "\x00"}, {1, 1, "\x00\x01"}, {2, 1, "\x00\x02\x01"}, {2, 2, "\x00\x01\x02\x03"}, {3, 2, "\x00\x04\x01\x02\x03"},
	{4, 2, "\x00\x04\x01\x02\x03\x05"}, {4, 3, "\x00\x04\x01\x02\x03\x05\x06"}, {5, 3, "\x00\x06\x01\x02\x03\x04\x05\x07"}}

// OpusTrack makes the track of a publisher that sends no identification header: channels from 1 to 8 (others are taken for the nearest), nothing to skip.
func OpusTrack(channels int) Track {
	channels = min(max(channels, 1), len(opusStreams))
	head := binary.LittleEndian.AppendUint32(append([]byte("OpusHead"), 1, byte(channels), 0, 0), opusRate)
	head = append(head, 0, 0, 0)
	if channels > 2 {
		s := opusStreams[channels-1]
		head[18] = 1
		head = append(append(head, s.streams, s.coupled), s.mapping...)
	}
	return Track{Kind: Audio, Codec: Opus, Config: head, SampleRate: opusRate, Channels: channels}
}

// streamInfo is the length of FLAC's STREAMINFO (RFC 9639 section 8.2).
const streamInfo = 34

// ParseFLAC parses FLAC's STREAMINFO, as it is or behind the signature "fLaC" and its block's header (RFC 9639 section 6). It copies what it
// needs and leaves the track's ID to the caller. An error is a *ConfigError.
func ParseFLAC(b []byte) (Track, error) {
	at := 0
	if bytes.HasPrefix(b, []byte("fLaC")) {
		at = 4
	}
	if len(b)-at >= 4+streamInfo {
		if b[at]&0x7f != 0 || b[at+1] != 0 || b[at+2] != 0 || b[at+3] != streamInfo {
			return Track{}, &ConfigError{Codec: FLAC, Offset: at, Got: fmt.Sprintf("block header % x", b[at:at+4]), Want: "that of 34 bytes of STREAMINFO"}
		}
		at += 4
	}
	if b = b[at:]; len(b) < streamInfo {
		return Track{}, &ConfigError{Codec: FLAC, Offset: at + len(b), Got: "the end", Want: "34 bytes of STREAMINFO"}
	}
	word := binary.BigEndian.Uint32(b[10:])
	t := Track{Kind: Audio, Codec: FLAC, Config: bytes.Clone(b[:streamInfo]), SampleRate: int(word >> 12), Channels: int(word>>9&7) + 1}
	if t.SampleRate == 0 {
		return Track{}, &ConfigError{Codec: FLAC, Offset: at + 10, Got: "no sample rate", Want: "1 Hz or more"}
	}
	if shortest, longest := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]); shortest == longest {
		t.FrameSamples = int(longest)
	}
	return t, nil
}

// ParseAC3 reads the start of an AC-3 frame (ETSI TS 102 366 section 4.3) and makes the content of an AC3SpecificBox of it (annex F.4). An error is a *ConfigError.
func ParseAC3(b []byte) (Track, error) {
	var s ac3.SyncInfo
	var i ac3.BSI
	const header = 5 // bytes of SyncInfo
	err := s.Unmarshal(b)
	if err == nil {
		err = i.Unmarshal(b[header:])
	}
	if err != nil {
		return Track{}, &ConfigError{Codec: AC3, Got: "a frame that cannot be read", Want: "sync and bit stream information", Err: err}
	}
	lfe := byte(0)
	if i.LfeOn {
		lfe = 1
	}
	config := uint32(s.Fscod)<<22 | uint32(i.Bsid)<<17 | uint32(i.Bsmod)<<14 | uint32(i.Acmod)<<11 | uint32(lfe)<<10 | uint32(s.Frmsizecod>>1)<<5
	return Track{Kind: Audio, Codec: AC3, Config: []byte{byte(config >> 16), byte(config >> 8), byte(config)}, SampleRate: s.SampleRate(), Channels: i.ChannelCount(),
		FrameSamples: ac3.SamplesPerFrame}, nil
}

// ParseEAC3 reads the start of an E-AC-3 frame (ETSI TS 102 366 annex E) and makes the content of an EC3SpecificBox of it (annex F.6), of one
// independent substream. An error is a *ConfigError.
func ParseEAC3(b []byte) (Track, error) {
	var s eac3.SyncInfo
	if err := s.Unmarshal(b); err != nil {
		return Track{}, &ConfigError{Codec: EAC3, Got: "a frame that cannot be read", Want: "sync information", Err: err}
	}
	samples := 256 * s.NumBlocks()
	if s.SampleRate() == 0 || samples == 0 {
		return Track{}, &ConfigError{Codec: EAC3, Offset: 4, Got: "no sample rate", Want: "one"}
	}
	lfe := byte(0)
	if s.Lfeon {
		lfe = 1
	}
	kbps := s.FrameSize() * 8 * s.SampleRate() / samples / 1000
	config := []byte{byte(kbps >> 5), byte(kbps << 3), s.Fscod<<6 | s.Bsid<<1, s.Acmod<<1 | lfe, 0}
	return Track{Kind: Audio, Codec: EAC3, Config: config, SampleRate: s.SampleRate(), Channels: s.ChannelCount(), FrameSamples: samples}, nil
}

// Samples gives the samples in a frame of the track at its SampleRate: FrameSamples, or what the frame itself says in Opus and FLAC; 0 where it is not known.
func (t Track) Samples(frame []byte) int {
	switch {
	case t.FrameSamples > 0:
		return t.FrameSamples
	case t.Codec == Opus:
		return int(opus.PacketDuration2(frame))
	case t.Codec == FLAC:
		return flacSamples(frame)
	}
	return 0
}

// flacSamples reads the block size of a frame's header (RFC 9639 section 9.1.1).
func flacSamples(b []byte) int {
	if len(b) < 6 || b[0] != 0xff || b[1]&0xfe != 0xf8 {
		return 0
	}
	size := int(b[2] >> 4)
	at := 5 // behind a frame's or sample's number in one byte
	for more := b[4] << 1; b[4]&0x80 != 0 && more&0x80 != 0; more <<= 1 {
		at++
	}
	switch {
	case size == 1:
		return 192
	case size >= 2 && size <= 5:
		return 576 << (size - 2)
	case size == 6 && at < len(b):
		return int(b[at]) + 1
	case size == 7 && at+1 < len(b):
		return int(binary.BigEndian.Uint16(b[at:])) + 1
	case size >= 8:
		return 256 << (size - 8)
	}
	return 0
}
