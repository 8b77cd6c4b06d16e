// Package fmp4 packages frames as fragmented MP4 (ISO 14496-12, CMAF: ISO 23000-19) for players such as a browser's Media
// Source Extensions: one init segment for all tracks, and one fragment (moof and mdat) for each frame, so that nothing waits for a
// second frame. It carries H264, HEVC, AV1, VP9, AAC, MP3, Opus, FLAC, AC-3 and E-AC-3. It reads no MP4, and it makes no files that can be sought.
//
//	m, err := fmp4.NewMuxer(tracks)
//	if err != nil {
//		return err
//	}
//	send(fmp4.MIME(tracks), m.Init())
//	for frame := range frames {
//		b, err := m.AppendFragment(nil, frame)
//		if err != nil {
//			return err
//		}
//		send(b)
//	}
package fmp4

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"hawser/media"
)

// Supports says whether a Muxer can carry the track: all codecs but VP8 with their parameters, AAC only of the object types that
// browsers decode (low complexity, and high efficiency 1, 2 and extended). Whether a browser decodes a codec is for its isTypeSupported to say.
func Supports(t media.Track) bool {
	if t.ID < 1 || t.Kind != t.Codec.Kind() || t.Kind == media.Audio && t.SampleRate < 1 {
		return false
	}
	switch t.Codec {
	case media.H264, media.HEVC:
		return t.NALUSize() > 0
	case media.AV1, media.VP9: // the size is not always in their parameters, and players fail without
		return t.MIME() != "" && t.Width > 0 && t.Height > 0
	case media.AAC:
		switch t.MIME() {
		case "mp4a.40.2", "mp4a.40.5", "mp4a.40.29", "mp4a.40.42":
			return true
		}
	case media.MP3:
		return true
	case media.Opus, media.FLAC, media.AC3, media.EAC3:
		return validSound(t)
	}
	return false
}

// validSound says whether the parameters of a sound track are as package media makes them.
func validSound(t media.Track) bool {
	switch c := t.Config; t.Codec {
	case media.Opus:
		_, err := media.ParseOpusHead(c)
		return err == nil
	case media.FLAC:
		_, err := media.ParseFLAC(c)
		return err == nil
	case media.AC3:
		return len(c) == 3
	default:
		return len(c) == 5
	}
}

// MIME gives the type of the tracks together, with their codecs as RFC 6381 spells them, such as
// `video/mp4; codecs="avc1.42c01e,mp4a.40.2"`. It leaves out what Supports refuses; "" if nothing is left.
func MIME(tracks []media.Track) string {
	typ := "audio/mp4"
	var words []string
	for _, t := range tracks {
		if !Supports(t) {
			continue
		}
		words = append(words, t.MIME())
		if t.Kind == media.Video {
			typ = "video/mp4"
		}
	}
	if len(words) == 0 {
		return ""
	}
	return typ + `; codecs="` + strings.Join(words, ",") + `"`
}

const (
	videoTimescale = 90000
	// firstDuration is what the first picture is said to last; each later one is said to last as long as the one before did.
	firstDuration = time.Second / 30
	// minDuration is the shortest duration that is believed; less is a doubled timestamp.
	minDuration = time.Millisecond
)

// Muxer makes the init segment and the fragments of one stream. Fragments must be made in decoding order within each
// track. One goroutine at a time may use it.
type Muxer struct {
	init     []byte
	tracks   []track
	sequence uint32
}

// NewMuxer makes a muxer for the tracks. It is an error if one of them is not supported (see Supports), if two have the
// same ID, or if there is none. When a track's parameters change, make a new one.
func NewMuxer(tracks []media.Track) (*Muxer, error) {
	if len(tracks) == 0 {
		return nil, errors.New("fmp4: got no tracks, want one or more")
	}
	m := &Muxer{}
	for i, t := range tracks {
		if !Supports(t) {
			return nil, fmt.Errorf("fmp4: track %d: got %s %q, want a track that can be carried", t.ID, t.Codec, t.MIME())
		}
		if slices.ContainsFunc(tracks[:i], func(u media.Track) bool { return u.ID == t.ID }) {
			return nil, fmt.Errorf("fmp4: track %d: got two of this ID, want one", t.ID)
		}
		m.tracks = append(m.tracks, newTrack(t))
	}
	m.init = appendInit(nil, tracks)
	return m, nil
}

// Init gives the init segment: ftyp and moov with all tracks. The caller must not change it.
func (m *Muxer) Init() []byte { return m.init }

// AppendFragment appends the fragment for one frame: a moof with one track's run of one sample, and its mdat. Its
// decoding time counts from the stream's zero, not from the first frame. It appends nothing for data frames and codec
// parameters. It is an error if the frame's track is not the muxer's or the frame is larger than the format can say.
//
// A frame's duration is not known when it is sent, so that a picture is said to last as long as the one before did. The decoding
// times of one track always grow, by at most twice the last duration (so that players see no break, after which they drop pictures up to
// the next keyframe); a picture that comes later keeps its presentation time. Audio follows the count of its
// samples while that agrees with the frames' times within 1.5 frames, so that times in whole milliseconds leave no gaps.
func (m *Muxer) AppendFragment(dst []byte, f media.Frame) ([]byte, error) {
	if f.Config || f.Kind == media.Data {
		return dst, nil
	}
	t := m.track(f.Track)
	if t == nil {
		return dst, fmt.Errorf("fmp4: frame of track %d: got no such track, want one of the muxer's", f.Track)
	}
	if int64(len(f.Data)) > maxSample {
		return dst, fmt.Errorf("fmp4: frame of track %d: got %d bytes, want at most %d", f.Track, len(f.Data), int64(maxSample))
	}
	m.sequence++
	s := t.next(f)
	return appendFragment(dst, m.sequence, t.id, s, f.Data), nil
}

func (m *Muxer) track(id int) *track {
	for i := range m.tracks {
		if m.tracks[i].id == uint32(id) {
			return &m.tracks[i]
		}
	}
	return nil
}
