package flv

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"hawser/media"
)

// The identities that a Demuxer gives its tracks.
const (
	VideoTrack = 1
	AudioTrack = 2
)

// Video bodies (section E.4.3).
const (
	frameKey        = 1
	frameInter      = 2
	frameDisposable = 3
	frameGenerated  = 4 // a keyframe made by a server
	frameInfo       = 5 // a command for the player; no picture
	videoExtended   = 0x80
	videoAVC        = 7
	videoHeader     = 5 // bytes of an AVC body before the picture
)

// Audio bodies (section E.4.2).
const (
	audioMP3      = 2
	audioExtended = 9
	audioAAC      = 10
	audioMP3At8k  = 14
	audioHeader   = 2 // bytes of an AAC body before the frame
)

// Packet types of AVC and AAC bodies.
const (
	packetConfig = 0
	packetFrame  = 1
	packetEnd    = 2
)

// maxBodyHeader is the greatest number of bytes in a body before the frame.
const maxBodyHeader = videoHeader

// beforeZero is how far below 2^32 a first timestamp is taken for a negative one, in milliseconds: encoders that begin
// with the priming samples of their audio write such. Clocks that merely run for long stay as they are.
const beforeZero = 10_000

// Demuxer turns one publisher's audio and video bodies into frames. It remembers the tracks and unwraps the 32-bit
// timestamps of both into one line. The zero value is ready. One goroutine at a time may use it.
type Demuxer struct {
	video, audio media.Track // Codec is CodecNone until parameters came
	nalu         int         // bytes of each NAL unit's length
	last         int64       // the newest timestamp unwrapped, in milliseconds
	begun        bool
}

// Tracks gives the tracks whose parameters have come, video (VideoTrack) before audio (AudioTrack).
func (d *Demuxer) Tracks() []media.Track {
	var tracks []media.Track
	for _, t := range []media.Track{d.video, d.audio} {
		if t.Codec != media.CodecNone {
			tracks = append(tracks, t)
		}
	}
	return tracks
}

// Feed takes the body of one tag or RTMP message, of the given type, and its timestamp in milliseconds. It gives the frame, whose
// Data is a part of body (a copy where empty NAL units had to be left out), and a track that is not nil where its parameters are new or have changed; that track comes with a
// frame of Config for codecs that have parameters, with the frame itself for others. ok is false where there is no frame: in
// an empty body, script data, a command frame, the end of a sequence, parameters that are the same as before, and a frame
// that came before its parameters.
//
// Errors: a *SyntaxError for a body that breaks the format, a *media.ConfigError for broken codec parameters, ErrUnsupported
// for codecs that are not carried. The demuxer stays usable.
func (d *Demuxer) Feed(typ byte, timestamp uint32, body []byte) (f media.Frame, t *media.Track, ok bool, err error) {
	if len(body) == 0 || typ != TypeVideo && typ != TypeAudio {
		return f, nil, false, nil
	}
	dts := d.unwrap(timestamp)
	if typ == TypeVideo {
		f, t, ok, err = d.feedVideo(body)
	} else {
		f, t, ok, err = d.feedAudio(body)
	}
	if err != nil {
		return media.Frame{}, nil, false, err
	}
	f.DTS, f.PTS = dts, f.PTS+dts
	return f, t, ok, nil
}

// unwrap gives a 32-bit timestamp as the time nearest to the one before.
func (d *Demuxer) unwrap(timestamp uint32) time.Duration {
	switch {
	case d.begun:
		d.last += int64(int32(timestamp - uint32(d.last)))
	case timestamp > 1<<32-beforeZero:
		d.last = int64(int32(timestamp))
	default:
		d.last = int64(timestamp)
	}
	d.begun = true
	return time.Duration(d.last) * time.Millisecond
}

// feedVideo reads a video body; the frame's PTS is the composition offset.
func (d *Demuxer) feedVideo(b []byte) (f media.Frame, t *media.Track, ok bool, err error) {
	if b[0]&videoExtended != 0 {
		return f, nil, false, fmt.Errorf("flv: video: enhanced body 0x%02x: %w", b[0], ErrUnsupported)
	}
	kind, codec := b[0]>>4, b[0]&15
	switch {
	case kind == frameInfo:
		return f, nil, false, nil
	case kind < frameKey || kind > frameInfo:
		return f, nil, false, bodyError("video", 0, fmt.Sprintf("frame type %d", kind), "1 to 5")
	case codec != videoAVC:
		return f, nil, false, fmt.Errorf("flv: video: codec %d (%s): %w", codec, name(videoNames, codec), ErrUnsupported)
	case len(b) < videoHeader:
		return f, nil, false, bodyError("video", len(b), "the end", "a header of 5 bytes")
	}
	data := b[videoHeader:]
	switch b[1] {
	case packetConfig:
		return d.videoConfig(data)
	case packetEnd:
		return f, nil, false, nil
	case packetFrame:
		if d.nalu == 0 || len(data) == 0 {
			return f, nil, false, nil
		}
		offset := int32(uint24(b[2:])<<8) >> 8 // signed
		data, err = d.checkNALUs(data)
		f = media.Frame{Track: VideoTrack, Kind: media.Video, Key: kind == frameKey || kind == frameGenerated,
			PTS: time.Duration(offset) * time.Millisecond, Data: data}
		return f, nil, len(data) > 0, err
	}
	return f, nil, false, bodyError("video", 1, fmt.Sprintf("AVC packet type %d", b[1]), "0 to 2")
}

func (d *Demuxer) videoConfig(b []byte) (f media.Frame, t *media.Track, ok bool, err error) {
	if d.video.Codec == media.H264 && bytes.Equal(b, d.video.Config) {
		return f, nil, false, nil
	}
	track, err := media.ParseAVCC(b)
	if err != nil {
		return f, nil, false, fmt.Errorf("flv: video: sequence header: %w", err)
	}
	track.ID = VideoTrack
	d.video, d.nalu = track, track.NALUSize()
	return media.Frame{Track: VideoTrack, Kind: media.Video, Key: true, Config: true, Data: track.Config}, &track, true, nil
}

// checkNALUs walks a picture's NAL units, for what would break every player behind us: one that is longer than what is
// there is an error, and empty ones are left out.
func (d *Demuxer) checkNALUs(b []byte) ([]byte, error) {
	var kept []byte // all before at, once an empty one was left out
	for at := 0; at < len(b); {
		left := len(b) - at - d.nalu
		if left < 0 {
			return nil, bodyError("video", videoHeader+at, fmt.Sprintf("%d bytes and the end", len(b)-at), fmt.Sprintf("a length of %d bytes", d.nalu))
		}
		size := d.naluSize(b[at:])
		if size > int64(left) {
			return nil, bodyError("video", videoHeader+at, fmt.Sprintf("a NAL unit of %d bytes", size), fmt.Sprintf("at most the %d left", left))
		}
		end := at + d.nalu + int(size)
		switch {
		case size == 0 && kept == nil:
			kept = append(make([]byte, 0, len(b)), b[:at]...)
		case size > 0 && kept != nil:
			kept = append(kept, b[at:end]...)
		}
		at = end
	}
	if kept != nil {
		return kept, nil
	}
	return b, nil
}

// naluSize reads a NAL unit's length; b has as many bytes as it takes.
func (d *Demuxer) naluSize(b []byte) int64 {
	switch d.nalu {
	case 4:
		return int64(binary.BigEndian.Uint32(b))
	case 2:
		return int64(binary.BigEndian.Uint16(b))
	}
	return int64(b[0])
}

func (d *Demuxer) feedAudio(b []byte) (f media.Frame, t *media.Track, ok bool, err error) {
	switch format := b[0] >> 4; format {
	case audioAAC:
		return d.feedAAC(b)
	case audioMP3, audioMP3At8k:
		return d.feedMP3(b)
	case audioExtended:
		return f, nil, false, fmt.Errorf("flv: audio: enhanced body 0x%02x: %w", b[0], ErrUnsupported)
	default:
		return f, nil, false, fmt.Errorf("flv: audio: format %d (%s): %w", format, name(audioNames, format), ErrUnsupported)
	}
}

func (d *Demuxer) feedAAC(b []byte) (f media.Frame, t *media.Track, ok bool, err error) {
	if len(b) < audioHeader {
		return f, nil, false, bodyError("audio", len(b), "the end", "an AAC packet type")
	}
	data := b[audioHeader:]
	switch {
	case b[1] > packetFrame:
		return f, nil, false, bodyError("audio", 1, fmt.Sprintf("AAC packet type %d", b[1]), "0 or 1")
	case len(data) == 0:
		return f, nil, false, nil
	case b[1] == packetConfig:
		return d.audioConfig(data)
	case d.audio.Codec != media.AAC:
		return f, nil, false, nil
	}
	return media.Frame{Track: AudioTrack, Kind: media.Audio, Key: true, Data: data}, nil, true, nil
}

func (d *Demuxer) audioConfig(b []byte) (f media.Frame, t *media.Track, ok bool, err error) {
	if d.audio.Codec == media.AAC && bytes.Equal(b, d.audio.Config) {
		return f, nil, false, nil
	}
	track, err := media.ParseASC(b)
	if err != nil {
		return f, nil, false, fmt.Errorf("flv: audio: sequence header: %w", err)
	}
	track.ID = AudioTrack
	d.audio = track
	return media.Frame{Track: AudioTrack, Kind: media.Audio, Key: true, Config: true, Data: track.Config}, &track, true, nil
}

// feedMP3 takes the track's parameters from the frame itself, or from the body's flags where it has no header.
func (d *Demuxer) feedMP3(b []byte) (f media.Frame, t *media.Track, ok bool, err error) {
	if len(b) == 1 {
		return f, nil, false, nil
	}
	track, err := media.ParseMP3(b[1:])
	if err != nil {
		track = media.Track{Kind: media.Audio, Codec: media.MP3, SampleRate: 44100 >> (3 - b[0]>>2&3), Channels: int(b[0]&1) + 1}
	}
	track.ID = AudioTrack
	if old := d.audio; old.Codec != media.MP3 || old.SampleRate != track.SampleRate || old.Channels != track.Channels {
		d.audio = track
		t = &media.Track{}
		*t = track
	}
	return media.Frame{Track: AudioTrack, Kind: media.Audio, Key: true, Data: b[1:]}, t, true, nil
}

func bodyError(what string, offset int, got, want string) error {
	return &SyntaxError{What: what, Offset: int64(offset), Got: got, Want: want}
}

var videoNames = []string{2: "Sorenson H.263", 3: "screen video", 4: "VP6", 5: "VP6 with alpha", 6: "screen video 2"}

var audioNames = []string{0: "PCM", 1: "ADPCM", 3: "PCM", 4: "Nellymoser 16 kHz", 5: "Nellymoser 8 kHz", 6: "Nellymoser",
	7: "G.711 A-law", 8: "G.711 mu-law", 11: "Speex", 15: "device-specific"}

// name gives the table's word for a codec.
func name(names []string, id byte) string {
	if int(id) < len(names) && names[id] != "" {
		return names[id]
	}
	return "unknown"
}
