package flv

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"hawser/media"
)

// parsers read the codec parameters that a sequence header holds. Other codecs have none, or their frames say all.
var parsers = map[media.Codec]func([]byte) (media.Track, error){
	media.H264: media.ParseAVCC, media.HEVC: media.ParseHVCC, media.AV1: media.ParseAV1C, media.VP9: media.ParseVPCC,
	media.AAC: media.ParseASC, media.Opus: media.ParseOpusHead, media.FLAC: media.ParseFLAC,
}

// config takes a sequence header.
func (s *slot) config(codec media.Codec, b []byte) (f media.Frame, t *media.Track, ok bool, err error) {
	parse := parsers[codec]
	if parse == nil || s.track.Codec == codec && bytes.Equal(b, s.track.Config) {
		return f, nil, false, nil
	}
	var track media.Track
	switch {
	case codec == media.Opus && len(b) == 0: // allowed (Enhanced RTMP, OpusSequenceHeader): the frames say it, or a multichannel configuration
		track = media.Track{Codec: codec}
	default:
		track, err = parse(b)
	}
	if err != nil {
		return f, nil, false, fmt.Errorf("flv: %s: sequence header: %w", codec.Kind(), err)
	}
	s.pending = media.Track{}
	if track.Kind == media.Video && track.Width == 0 || track.Config == nil { // the rest of it comes with a frame
		if s.track.Codec != codec || !bytes.HasPrefix(s.track.Config, track.Config) {
			s.pending = track
		}
		return f, nil, false, nil
	}
	if s.track.Codec == codec && bytes.Equal(track.Config, s.track.Config) {
		return f, nil, false, nil
	}
	if track.Codec == media.AAC && track.Channels == 0 {
		track.Channels = s.layout
	}
	t = s.use(track)
	return media.Frame{Track: t.ID, Kind: t.Kind, Key: true, Config: true, Data: t.Config}, t, true, nil
}

// use makes a track the slot's, and gives a copy that a caller may keep.
func (s *slot) use(t media.Track) *media.Track {
	t.ID, t.Color = s.track.ID, s.track.Color
	s.track, s.nalu, s.pending = t, t.NALUSize(), media.Track{}
	return &t
}

// picture takes a coded picture that begins at an offset in its body; the frame's PTS is its composition offset.
func (s *slot) picture(codec media.Codec, key bool, offset time.Duration, b []byte, at int) (f media.Frame, t *media.Track, ok bool, err error) {
	switch codec {
	case media.H264, media.HEVC:
		if s.track.Codec == codec {
			b, err = checkNALUs(b, s.nalu, at)
		}
	case media.AV1:
		b, t, err = s.av1(b, key, at)
	case media.VP8, media.VP9:
		if key && len(b) > 0 {
			t, err = s.vpx(codec, b)
		}
	}
	if err != nil || len(b) == 0 || s.track.Codec != codec || s.pending.Codec != media.CodecNone {
		return f, nil, false, err
	}
	return media.Frame{Track: s.track.ID, Kind: media.Video, Key: key, PTS: offset, Data: b}, t, true, nil
}

// av1 checks a temporal unit and takes its delimiter away. A keyframe may bring parameters: where none came before, or others.
func (s *slot) av1(b []byte, key bool, at int) (unit []byte, t *media.Track, err error) {
	if bytes.HasPrefix(b, []byte{0, 0, 1}) {
		return nil, nil, fmt.Errorf("flv: video: AV1 with start codes, as in MPEG-2 TS: %w", ErrUnsupported)
	}
	unit, header, err := media.SplitAV1(b)
	if err != nil {
		return nil, nil, fmt.Errorf("flv: video: frame at offset %d: %w", at, err)
	}
	known := s.track.Codec == media.AV1 && s.pending.Codec == media.CodecNone
	if !key || header == nil || known && bytes.HasSuffix(s.track.Config, header) {
		return unit, nil, nil
	}
	track, err := media.ParseAV1(header)
	if err != nil {
		return nil, nil, fmt.Errorf("flv: video: keyframe: %w", err)
	}
	if known && bytes.Equal(track.Config, s.track.Config) {
		return unit, nil, nil
	}
	return unit, s.use(track), nil
}

// vpx takes the picture's size from a keyframe, and what else no sequence header has said.
func (s *slot) vpx(codec media.Codec, b []byte) (*media.Track, error) {
	parse := media.ParseVP8
	if codec == media.VP9 {
		parse = media.ParseVP9
	}
	track, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("flv: video: keyframe: %w", err)
	}
	old := &s.track
	switch {
	case s.pending.Codec == codec:
		track.Config = s.pending.Config
	case old.Codec == codec:
		track.Config = old.Config
	}
	if old.Codec == codec && s.pending.Codec == media.CodecNone && old.Width == track.Width && old.Height == track.Height {
		return nil, nil
	}
	return s.use(track), nil
}

// sound takes a coded audio frame.
func (s *slot) sound(codec media.Codec, b []byte) (f media.Frame, t *media.Track, ok bool, err error) {
	if len(b) == 0 {
		return f, nil, false, nil
	}
	switch codec {
	case media.MP3:
		const mp3At44kStereo = audioMP3<<4 | 15
		return s.mp3(b, mp3At44kStereo)
	case media.Opus:
		if s.pending.Codec == media.Opus {
			t = s.opusWithoutHead(b)
		}
	case media.AC3, media.EAC3:
		t, err = s.ac3(codec, b)
	}
	if err != nil || s.track.Codec != codec {
		return f, nil, false, err
	}
	return media.Frame{Track: s.track.ID, Kind: media.Audio, Key: true, Data: b}, t, true, nil
}

// opusWithoutHead makes a track as a multichannel configuration says, or the stereo flag of the packet (RFC 6716 section 3.1).
func (s *slot) opusWithoutHead(b []byte) *media.Track {
	channels := 1 + int(b[0]>>2&1)
	if s.layout > 0 {
		channels = s.layout
	}
	return s.use(media.OpusTrack(channels))
}

// ac3 reads the parameters of AC-3 and E-AC-3 where a frame's header has others than before.
func (s *slot) ac3(codec media.Codec, b []byte) (*media.Track, error) {
	parse, head := media.ParseAC3, uint32(0)
	if len(b) >= 8 {
		head = binary.BigEndian.Uint32(b[4:]) &^ 0x010000ff // rate, bit rate (of two sizes that alternate at 44.1 kHz), mode
	}
	if codec == media.EAC3 {
		parse = media.ParseEAC3
		if len(b) >= 8 {
			head = binary.BigEndian.Uint32(b[2:]) &^ 0x07ff0007 // all but the frame's size
		}
	}
	if s.track.Codec == codec && head == s.head && head != 0 {
		return nil, nil
	}
	track, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("flv: audio: %w", err)
	}
	s.head = head
	if s.track.Codec == codec && bytes.Equal(track.Config, s.track.Config) {
		return nil, nil
	}
	return s.use(track), nil
}

// mp3 takes the track's parameters from the frame itself, or from a legacy body's flags where it has no header.
func (s *slot) mp3(b []byte, flags byte) (f media.Frame, t *media.Track, ok bool, err error) {
	if len(b) == 0 {
		return f, nil, false, nil
	}
	track, err := media.ParseMP3(b)
	if err != nil {
		track = media.Track{Kind: media.Audio, Codec: media.MP3, SampleRate: 44100 >> (3 - flags>>2&3), Channels: int(flags&1) + 1}
	}
	if old := &s.track; old.Codec != media.MP3 || old.SampleRate != track.SampleRate || old.Channels != track.Channels {
		t = s.use(track)
	}
	return media.Frame{Track: s.track.ID, Kind: media.Audio, Key: true, Data: b}, t, true, nil
}

// checkNALUs walks a picture's NAL units with lengths of n bytes, which begin at an offset in their body, for what would break every player behind us: one that is
// longer than what is there is an error, and empty ones are left out.
func checkNALUs(b []byte, n, offset int) ([]byte, error) {
	var kept []byte // all before at, once an empty one was left out
	for at := 0; at < len(b); {
		left := len(b) - at - n
		if left < 0 {
			return nil, bodyError("video", offset+at, fmt.Sprintf("%d bytes and the end", len(b)-at), fmt.Sprintf("a length of %d bytes", n))
		}
		size := naluSize(b[at:], n)
		if size > int64(left) {
			return nil, bodyError("video", offset+at, fmt.Sprintf("a NAL unit of %d bytes", size), fmt.Sprintf("at most the %d left", left))
		}
		end := at + n + int(size)
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

// naluSize reads a NAL unit's length of n bytes.
func naluSize(b []byte, n int) int64 {
	switch n {
	case 4:
		return int64(binary.BigEndian.Uint32(b))
	case 2:
		return int64(binary.BigEndian.Uint16(b))
	}
	return int64(b[0])
}
