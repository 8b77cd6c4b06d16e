package flv

import (
	"fmt"
	"slices"
	"time"

	"hawser/media"
)

// Video bodies (section E.4.3).
const (
	frameUnknown    = 0 // reserved; gortmplib, and so MediaMTX, writes it in all Enhanced RTMP bodies
	frameKey        = 1
	frameInter      = 2
	frameDisposable = 3
	frameGenerated  = 4 // a keyframe made by a server
	frameInfo       = 5 // a command for the player; no picture
	videoExtended   = 0x80
	videoAVC        = 7
	videoHEVC       = 12 // not in the specification: what many encoders of China send in place of Enhanced RTMP's hvc1
	videoHeader     = 5  // bytes of an AVC or HEVC body before the picture
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

// beforeZero is how far below 2^32 a first timestamp is taken for a negative one, in milliseconds: encoders that begin
// with the priming samples of their audio write such. Clocks that merely run for long stay as they are.
const beforeZero = 10_000

// Demuxer turns one publisher's audio and video bodies into frames. It remembers the tracks and unwraps the 32-bit
// timestamps of all into one line. The zero value is ready. One goroutine at a time may use it.
type Demuxer struct {
	slots []*slot // in order of their tracks' IDs
	last  int64   // the newest timestamp unwrapped, in milliseconds
	begun bool
	body  extended // the Enhanced RTMP body in hand
}

// slot is what is known of one track.
type slot struct {
	track media.Track // Codec is CodecNone until parameters came
	nalu  int         // bytes of each NAL unit's length
	// pending has parameters that came alone, of a codec whose keyframes say the picture's size; CodecNone if there are none.
	pending media.Track
	head    uint32 // of AC-3 and E-AC-3: what the track was made of
	layout  int    // channels that a multichannel configuration named
}

// slot gives the slot of a track.
func (d *Demuxer) slot(id int) *slot {
	i := 0
	for ; i < len(d.slots) && d.slots[i].track.ID <= id; i++ {
		if d.slots[i].track.ID == id {
			return d.slots[i]
		}
	}
	s := &slot{track: media.Track{ID: id}}
	d.slots = slices.Insert(d.slots, i, s)
	return s
}

// Tracks gives the tracks whose parameters have come, in order of their IDs.
func (d *Demuxer) Tracks() []media.Track {
	var tracks []media.Track
	for _, s := range d.slots {
		if s.track.Codec != media.CodecNone {
			tracks = append(tracks, s.track)
		}
	}
	return tracks
}

// Feed takes the body of one tag or RTMP message, of the given type, and its timestamp in milliseconds. It gives the frame, whose
// Data is a part of body (a copy where empty NAL units had to be left out), and a track that is not nil where its parameters are new or have changed. That track comes
// with a frame of Config, or with the frame itself where the parameters were read from it, or alone where only its Color is news. ok is false where there is no frame: in
// an empty body, script data (which is not looked into: ParseMetadata is for that), a command frame, the end of a sequence, parameters that are the same as before, and a
// frame that came before its parameters.
//
// A body of several tracks (Enhanced RTMP, ManyTracks) gives the first of them; while More is true, Next gives the others:
//
//	for f, t, ok, err := d.Feed(typ, at, body); ; f, t, ok, err = d.Next() {
//		// use them; an error of one track leaves the others good
//		if !d.More() {
//			break
//		}
//	}
//
// Errors: a *SyntaxError for a body that breaks the format, a *media.ConfigError for broken codec parameters, ErrUnsupported
// for codecs and features that are not carried. The demuxer stays usable.
func (d *Demuxer) Feed(typ byte, timestamp uint32, body []byte) (f media.Frame, t *media.Track, ok bool, err error) {
	d.body = extended{}
	if len(body) == 0 || typ != TypeVideo && typ != TypeAudio {
		return f, nil, false, nil
	}
	dts := d.unwrap(timestamp)
	switch {
	case isExtended(typ, body):
		if err := d.body.open(typ, dts, body); err != nil || d.body.done() {
			d.body = extended{}
			return f, nil, false, err
		}
		return d.Next()
	case typ == TypeVideo:
		f, t, ok, err = d.slot(VideoTrack).feedVideo(body)
	default:
		f, t, ok, err = d.slot(AudioTrack).feedAudio(body)
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

// feedVideo reads a legacy video body; the frame's PTS is the composition offset.
func (s *slot) feedVideo(b []byte) (f media.Frame, t *media.Track, ok bool, err error) {
	kind, id := b[0]>>4, b[0]&15
	codec := media.H264
	if id == videoHEVC {
		codec = media.HEVC
	}
	switch {
	case kind == frameInfo:
		return f, nil, false, nil
	case kind < frameKey || kind > frameInfo:
		return f, nil, false, bodyError("video", 0, fmt.Sprintf("frame type %d", kind), "1 to 5")
	case id != videoAVC && id != videoHEVC:
		return f, nil, false, fmt.Errorf("flv: video: codec %d (%s): %w", id, name(videoNames, id), ErrUnsupported)
	case len(b) < videoHeader:
		return f, nil, false, bodyError("video", len(b), "the end", "a header of 5 bytes")
	}
	data := b[videoHeader:]
	switch b[1] {
	case packetConfig:
		return s.config(codec, data)
	case packetEnd:
		return f, nil, false, nil
	case packetFrame:
		return s.picture(codec, kind == frameKey || kind == frameGenerated, composition(b[2:]), data, videoHeader)
	}
	return f, nil, false, bodyError("video", 1, fmt.Sprintf("AVC packet type %d", b[1]), "0 to 2")
}

// composition reads a composition offset: 24 bits with a sign, in milliseconds.
func composition(b []byte) time.Duration {
	return time.Duration(int32(uint24(b)<<8)>>8) * time.Millisecond
}

// feedAudio reads a legacy audio body.
func (s *slot) feedAudio(b []byte) (f media.Frame, t *media.Track, ok bool, err error) {
	switch format := b[0] >> 4; format {
	case audioAAC:
		return s.feedAAC(b)
	case audioMP3, audioMP3At8k:
		return s.mp3(b[1:], b[0])
	default:
		return f, nil, false, fmt.Errorf("flv: audio: format %d (%s): %w", format, name(audioNames, format), ErrUnsupported)
	}
}

func (s *slot) feedAAC(b []byte) (f media.Frame, t *media.Track, ok bool, err error) {
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
		return s.config(media.AAC, data)
	}
	return s.sound(media.AAC, data)
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
