// Package media holds the words that every media protocol here shares: tracks, frames, codecs and their parameters.
//
// A protocol room (flv, fmp4, rtc) turns its own bytes into a [Frame] of a [Track] and back; nothing between the rooms looks
// inside a frame. The package parses codec parameters and does no I/O; it is not a demuxer and not a decoder.
//
//	track, err := media.ParseAVCC(config)
//	if err != nil {
//		return err
//	}
//	fmt.Println(track.MIME(), track.Width, track.Height) // avc1.42c01e 640 360
package media

import (
	"fmt"
	"time"
)

// Kind says what a track carries. The zero value, KindNone, is no kind.
type Kind uint8

// The kinds of a track.
const (
	KindNone Kind = iota // not known
	Video                // pictures
	Audio                // sound
	Data                 // timed data, such as FLV script data
)

var kindWords = [...]string{"none", "video", "audio", "data"}

// String gives the kind's word: none, video, audio or data.
func (k Kind) String() string {
	if int(k) < len(kindWords) {
		return kindWords[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// MarshalText gives the kind's word.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a kind's word.
func (k *Kind) UnmarshalText(b []byte) (err error) {
	*k, err = ParseKind(string(b))
	return err
}

// ParseKind reads a kind's word as String gives it.
func ParseKind(s string) (Kind, error) {
	for i, w := range kindWords {
		if w == s {
			return Kind(i), nil
		}
	}
	return KindNone, fmt.Errorf("media: got kind %q, want video, audio or data", s)
}

// Codec names how a track's frames are coded. The zero value, CodecNone, is no codec.
type Codec uint8

// The codecs that have a name here. Having a name does not mean that every room can carry it.
const (
	CodecNone Codec = iota // not known
	H264                   // ISO 14496-10; frames are length-prefixed NAL units, Config is an AVCDecoderConfigurationRecord
	HEVC                   // ISO 23008-2; frames are length-prefixed NAL units, Config is an HEVCDecoderConfigurationRecord
	AV1                    // frames are temporal units of OBUs with sizes, without a delimiter before them; Config is an AV1CodecConfigurationRecord
	VP8                    // RFC 6386; no Config
	VP9                    // frames may be superframes; Config is a VPCodecConfigurationRecord, without its box's version and flags
	AAC                    // ISO 14496-3; frames are raw access units, Config is an AudioSpecificConfig
	Opus                   // RFC 6716; Config is the identification header of RFC 7845, "OpusHead"
	MP3                    // frames are whole MPEG audio frames, no Config
	AC3                    // Config is the content of an AC3SpecificBox, made from a frame: only MP4 carries it
	EAC3                   // Config is the content of an EC3SpecificBox, made from a frame: only MP4 carries it
	FLAC                   // RFC 9639; Config is the content of STREAMINFO, 34 bytes
)

var codecWords = [...]string{"none", "h264", "hevc", "av1", "vp8", "vp9", "aac", "opus", "mp3", "ac3", "eac3", "flac"}

// String gives the codec's word, such as h264.
func (c Codec) String() string {
	if int(c) < len(codecWords) {
		return codecWords[c]
	}
	return fmt.Sprintf("Codec(%d)", uint8(c))
}

// MarshalText gives the codec's word.
func (c Codec) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads a codec's word.
func (c *Codec) UnmarshalText(b []byte) (err error) {
	*c, err = ParseCodec(string(b))
	return err
}

// ParseCodec reads a codec's word as String gives it.
func ParseCodec(s string) (Codec, error) {
	for i, w := range codecWords {
		if w == s {
			return Codec(i), nil
		}
	}
	return CodecNone, fmt.Errorf("media: got codec %q, want a codec's word such as h264 or aac", s)
}

// Kind gives what the codec codes, KindNone for CodecNone and strangers.
func (c Codec) Kind() Kind {
	switch {
	case c == CodecNone || int(c) >= len(codecWords):
		return KindNone
	case c <= VP9:
		return Video
	}
	return Audio
}

// Track describes one track of a stream. It is a value: a change of parameters is a new Track with the same ID.
type Track struct {
	ID    int   // 1, 2, …; unique in its stream
	Kind  Kind  // what it carries
	Codec Codec // how
	// Config is the codec's parameters as containers carry them (see the codecs), immutable; nil for codecs that have none.
	Config []byte

	Width, Height int   // pixels shown, after cropping; 0 = not known
	Color         Color // of video, as far as its container says it

	SampleRate   int // Hz at which the decoder's core runs: what timestamps count, half the output rate for HE-AAC; 0 = not known
	Channels     int // 0 = not known
	FrameSamples int // samples in each frame at SampleRate, such as 1024; 0 = not constant or not known
}

// Color is the colour of a picture as a container says it beside the codec's parameters (ISO 23091-4, SMPTE ST 2086); a member that is 0 was not said.
type Color struct {
	BitDepth                    uint8
	Primaries, Transfer, Matrix uint8   // codes of ISO 23091-4
	MaxFALL, MaxCLL             float64 // greatest light level of a picture on average, and of a pixel, in cd/m²
	// The display on which the picture was mastered: its corners and white point in CIE 1931, and its luminance in cd/m².
	RedX, RedY, GreenX, GreenY, BlueX, BlueY, WhiteX, WhiteY float64
	MaxLuminance, MinLuminance                               float64
}

// Frame is one coded frame: a picture, an audio access unit, a data message, or new codec parameters.
type Frame struct {
	Track  int  // Track.ID; 0 for data that belongs to no track
	Kind   Kind // the track's kind
	Key    bool // a decoder may start here; true for every audio frame
	Config bool // Data is new codec parameters, not a frame
	// DTS and PTS are the decoding and presentation times from the stream's own zero. They differ where pictures are
	// sent in another order than shown (B-frames).
	DTS, PTS time.Duration
	// Data is immutable and may be shared by any number of readers.
	Data []byte
}
