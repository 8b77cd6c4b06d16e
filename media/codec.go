package media

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/bluenviron/mediacommon/v2/pkg/bits"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
)

// Limits of what the parsers here accept.
const (
	MaxSide   = 16384    // width or height in pixels
	MaxConfig = 64 << 10 // bytes of codec parameters
)

// ConfigError says where codec parameters break their format.
type ConfigError struct {
	Codec     Codec
	Offset    int // bytes from the start of the parameters
	Got, Want string
	Err       error // the cause, when another parser found it
}

// Error gives the codec, the offset, what was got and what was wanted.
func (e *ConfigError) Error() string {
	s := fmt.Sprintf("media: %s parameters at offset %d: got %s, want %s", e.Codec, e.Offset, e.Got, e.Want)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap gives the cause.
func (e *ConfigError) Unwrap() error { return e.Err }

// MIME gives the track's codec as RFC 6381 spells it, such as "avc1.42c01e", "hvc1.1.6.L93.B0", "av01.0.04M.08", "vp09.00.10.08" or "mp4a.40.2"; "" for
// a codec whose parameters are missing.
func (t Track) MIME() string {
	switch t.Codec {
	case H264:
		if len(t.Config) >= 4 {
			return "avc1." + hex.EncodeToString(t.Config[1:4])
		}
	case AAC:
		pos := 0
		if typ, err := readObjectType(t.Config, &pos); err == nil {
			return "mp4a.40." + strconv.Itoa(typ)
		}
	case HEVC:
		if len(t.Config) >= hvccHeader {
			return hevcMIME(t.Config)
		}
	case AV1:
		if len(t.Config) >= av1cHeader {
			return av1MIME(t.Config)
		}
	case VP9:
		if len(t.Config) >= vpccSize {
			return vp9MIME(t.Config)
		}
	case MP3:
		if t.SampleRate > 0 && t.SampleRate < 32000 { // MPEG-2, ISO 13818-3
			return "mp4a.69"
		}
		return "mp4a.6B"
	case Opus:
		return "opus"
	case FLAC:
		return "flac"
	case AC3:
		return "ac-3"
	case EAC3:
		return "ec-3"
	case VP8:
		return "vp8"
	}
	return ""
}

// NALUSize gives the bytes in each NAL unit's length prefix, from an H264 or HEVC track's Config; 0 for other tracks.
func (t Track) NALUSize() int {
	switch {
	case t.Codec == H264 && len(t.Config) > 4:
		return int(t.Config[4]&3) + 1
	case t.Codec == HEVC && len(t.Config) > 21:
		return int(t.Config[21]&3) + 1
	}
	return 0
}

// ParseAVCC parses an AVCDecoderConfigurationRecord (ISO 14496-15 section 5.3.3.1). It copies b and leaves the track's
// ID to the caller. An error is a *ConfigError.
func ParseAVCC(b []byte) (Track, error) {
	bad := func(offset int, got, want string) (Track, error) {
		return Track{}, &ConfigError{Codec: H264, Offset: offset, Got: got, Want: want}
	}
	if len(b) > MaxConfig {
		return bad(MaxConfig, "more bytes", "the end")
	}
	if len(b) < 7 {
		return bad(len(b), "the end", "7 bytes or more")
	}
	if b[0] != 1 {
		return bad(0, fmt.Sprintf("version %d", b[0]), "version 1")
	}
	if b[4]&3 == 2 {
		return bad(4, "NAL unit lengths of 3 bytes", "1, 2 or 4")
	}
	sps, end, err := avccSets(b, 5, int(b[5]&31), "sequence")
	if err != nil {
		return Track{}, err
	}
	if sps == nil {
		return bad(5, "no sequence parameter set", "one or more")
	}
	if end >= len(b) {
		return bad(end, "the end", "a count of picture parameter sets")
	}
	if _, _, err = avccSets(b, end, int(b[end]), "picture"); err != nil {
		return Track{}, err
	}
	const spsAt = 8 // version to level 4, sizes 2, length 2
	w, h, err := spsSize(sps)
	if err != nil {
		return Track{}, &ConfigError{Codec: H264, Offset: spsAt, Got: "a sequence parameter set that cannot be read",
			Want: wantPicture, Err: err}
	}
	return Track{Kind: Video, Codec: H264, Config: bytes.Clone(b), Width: w, Height: h}, nil
}

// avccSets walks n parameter sets behind the count byte at offset at. It gives the first, and the offset behind the last.
func avccSets(b []byte, at, n int, what string) (first []byte, end int, err error) {
	at++
	for i := range n {
		if len(b)-at < 2 {
			return nil, 0, &ConfigError{Codec: H264, Offset: at, Got: "the end", Want: "the length of a " + what + " parameter set"}
		}
		size := int(b[at])<<8 | int(b[at+1])
		at += 2
		if size > len(b)-at {
			return nil, 0, &ConfigError{Codec: H264, Offset: at, Got: fmt.Sprintf("%d bytes", len(b)-at),
				Want: fmt.Sprintf("a %s parameter set of %d", what, size)}
		}
		if i == 0 {
			first = b[at : at+size : at+size]
		}
		at += size
	}
	return first, at, nil
}

// spsSize gives the size of the picture that a sequence parameter set describes.
func spsSize(b []byte) (w, h int, err error) {
	var sps h264.SPS
	if err := sps.Unmarshal(b); err != nil {
		return 0, 0, err
	}
	w, h = sps.Width(), sps.Height()
	return w, h, checkSize(w, h)
}

// Audio object types (ISO 14496-3 table 1.17) that the parser must tell apart.
const (
	objectSBR    = 5
	objectPS     = 29
	objectEscape = 31
)

// sampleRates is ISO 14496-3 table 1.18.
var sampleRates = [...]int{96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350}

// ParseASC parses an AudioSpecificConfig (ISO 14496-3 section 1.6.2.1). It copies b and leaves the track's ID to the
// caller. Channels is 0 where a program configuration element describes them. An error is a *ConfigError.
func ParseASC(b []byte) (Track, error) {
	t := Track{Kind: Audio, Codec: AAC}
	if len(b) > MaxConfig {
		return Track{}, &ConfigError{Codec: AAC, Offset: MaxConfig, Got: "more bytes", Want: "the end"}
	}
	pos := 0
	typ, err := readObjectType(b, &pos)
	if err != nil {
		return Track{}, err
	}
	if typ == 0 {
		return Track{}, &ConfigError{Codec: AAC, Got: "audio object type 0", Want: "1 or more"}
	}
	if t.SampleRate, err = readSampleRate(b, &pos); err != nil {
		return Track{}, err
	}
	channels, err := readASC(b, &pos, 4, "a channel configuration")
	if err != nil {
		return Track{}, err
	}
	if t.Channels, err = channelCount(channels, pos); err != nil {
		return Track{}, err
	}
	if typ == objectSBR || typ == objectPS { // the core's own type follows the extension's rate
		if _, err = readSampleRate(b, &pos); err != nil {
			return Track{}, err
		}
		if typ, err = readObjectType(b, &pos); err != nil {
			return Track{}, err
		}
	}
	if t.FrameSamples, err = frameSamples(b, &pos, typ); err != nil {
		return Track{}, err
	}
	t.Config = bytes.Clone(b)
	return t, nil
}

// channelCount reads a channel configuration (ISO 14496-3 table 1.19) that ends at bit pos.
func channelCount(config, pos int) (int, error) {
	switch {
	case config <= 6:
		return config, nil
	case config == 7 || config == 12 || config == 14:
		return 8, nil
	case config == 11:
		return 7, nil
	case config == 13:
		return 24, nil
	}
	return 0, &ConfigError{Codec: AAC, Offset: (pos - 1) / 8, Got: fmt.Sprintf("channel configuration %d", config), Want: "0 to 7 or 11 to 14"}
}

// frameSamples reads the frame length flag of a GASpecificConfig; 0 for object types that have none.
func frameSamples(b []byte, pos *int, typ int) (int, error) {
	full, short := 1024, 960
	switch typ {
	case 1, 2, 3, 4, 6, 7, 17, 19, 20, 21, 22:
	case 23: // low delay
		full, short = 512, 480
	default:
		return 0, nil
	}
	flag, err := readASC(b, pos, 1, "a frame length flag")
	if err != nil {
		return 0, err
	}
	if flag == 1 {
		return short, nil
	}
	return full, nil
}

// readASC reads n bits.
func readASC(b []byte, pos *int, n int, want string) (int, error) {
	v, err := bits.ReadBits(b, pos, n)
	if err != nil {
		return 0, &ConfigError{Codec: AAC, Offset: *pos / 8, Got: "the end", Want: want}
	}
	return int(v), nil
}

func readObjectType(b []byte, pos *int) (int, error) {
	v, err := readASC(b, pos, 5, "an audio object type")
	if err != nil || v != objectEscape {
		return v, err
	}
	v, err = readASC(b, pos, 6, "an audio object type")
	return 32 + v, err
}

func readSampleRate(b []byte, pos *int) (int, error) {
	i, err := readASC(b, pos, 4, "a sampling frequency index")
	if err != nil {
		return 0, err
	}
	if i < len(sampleRates) {
		return sampleRates[i], nil
	}
	rate := 0
	if i == 15 {
		if rate, err = readASC(b, pos, 24, "a sampling frequency"); err != nil {
			return 0, err
		}
	}
	if rate == 0 {
		return 0, &ConfigError{Codec: AAC, Offset: (*pos - 1) / 8, Got: fmt.Sprintf("sampling frequency index %d without a frequency", i),
			Want: "a sampling frequency"}
	}
	return rate, nil
}

// mp3Rates are the sampling frequencies of MPEG-1 audio; MPEG-2 halves them, MPEG-2.5 quarters them.
var mp3Rates = [...]int{44100, 48000, 32000}

// ParseMP3 reads the header of an MPEG audio frame (ISO 11172-3 section 2.4.1.3, ISO 13818-3), layer III. It leaves the
// track's ID to the caller. An error is a *ConfigError.
func ParseMP3(b []byte) (Track, error) {
	if len(b) < 4 {
		return Track{}, &ConfigError{Codec: MP3, Offset: len(b), Got: "the end", Want: "a frame header of 4 bytes"}
	}
	version, layer, rate := b[1]>>3&3, b[1]>>1&3, b[2]>>2&3
	if b[0] != 0xff || b[1] < 0xe0 || version == 1 || layer != 1 || rate == 3 {
		return Track{}, &ConfigError{Codec: MP3, Got: fmt.Sprintf("% x", b[:4]), Want: "the header of an MPEG audio layer III frame"}
	}
	t := Track{Kind: Audio, Codec: MP3, SampleRate: mp3Rates[rate], Channels: 2, FrameSamples: 1152}
	if version != 3 { // MPEG-2, and 2.5 at half of that
		t.SampleRate /= 2
		t.FrameSamples = 576
	}
	if version == 0 {
		t.SampleRate /= 2
	}
	if b[3]>>6 == 3 {
		t.Channels = 1
	}
	return t, nil
}
