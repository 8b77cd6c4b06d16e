package record

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"time"

	"hawser/amf"
	"hawser/flv"
	"hawser/media"
)

// container turns frames into the bytes of one file. Times count from the file's own zero.
type container interface {
	// carries says whether the format has a form for the track.
	carries(t media.Track) bool
	// begin appends what stands before the first frame of a new file.
	begin(dst []byte, tracks []media.Track) ([]byte, error)
	// resume looks at a file that is to be gone on with, and gives the end of what is whole in it and the time that comes next. ok is false if these tracks cannot follow there.
	resume(f *os.File, tracks []media.Track) (end int64, next time.Duration, ok bool)
	// change appends what says that these tracks hold from a time on; false if that takes a new file.
	change(dst []byte, tracks []media.Track, at time.Duration) ([]byte, bool)
	// frame appends a frame.
	frame(dst []byte, t *media.Track, f media.Frame) ([]byte, error)
	// commit is how many bytes at the beginning of a write are to be written after the rest: while they are zeros, players see nothing of it.
	commit() int
	// patch gives what is to be written over at a place when the file is complete; nil for nothing.
	patch(length time.Duration) (b []byte, at int64)
}

func newContainer(f Format, o *Options) container {
	if f == FMP4 {
		return &fmp4File{}
	}
	return &flvFile{max: o.MaxKeyframes}
}

// maxFrame bounds a frame, in bytes: FLV cannot say more, and its bodies have a header.
const maxFrame = flv.MaxData - 64

// usualStep is the time between the last frame of a file and the first that goes on there.
const usualStep = 40 * time.Millisecond

// maxTracks is how many tracks of a file are told apart; streams have no more.
const maxTracks = 33

// flvFile is the container for FLV (Adobe Flash Video File Format Specification 10.1, annex E).
type flvFile struct {
	codecs   [maxTracks]media.Codec // that the file's tracks have had
	duration int64                  // where the number of onMetaData is; 0 if it has none
	max      int                    // keyframes of an index
}

func (c *flvFile) carries(t media.Track) bool {
	typ, _ := flv.AppendFrame(nil, t, media.Frame{Track: t.ID, Kind: t.Kind, Key: true, Data: []byte{0}})
	return typ != 0
}

func (c *flvFile) begin(dst []byte, tracks []media.Track) ([]byte, error) {
	var audio, video bool
	for _, t := range tracks {
		audio, video = audio || t.Kind == media.Audio, video || t.Kind == media.Video
	}
	start := len(dst)
	dst = flv.AppendHeader(dst, audio, video)
	dst = flv.AppendTag(dst, flv.Tag{Type: flv.TypeScript, Data: metadata(tracks, 0)})
	if i := bytes.Index(dst[start:], durationKey); i >= 0 {
		c.duration = int64(i + len(durationKey))
	}
	return c.headers(dst, tracks, 0), nil
}

// durationKey is what stands before the number of seconds in onMetaData (AMF0: the key's length and text, the marker of a number).
var durationKey = []byte("\x00\x08duration\x00")

// metadata is onMetaData with the duration, which players take for unknown while it is 0.
func metadata(tracks []media.Track, length time.Duration) []byte {
	body := flv.Metadata(tracks)
	info, ok, err := flv.ParseMetadata(body)
	if !ok || err != nil {
		return body
	}
	return amf.Append(nil, "onMetaData", append(amf.ECMAArray{{Name: "duration", Value: length.Seconds()}}, info.Values...))
}

// headers appends what is said of the tracks.
func (c *flvFile) headers(dst []byte, tracks []media.Track, at time.Duration) []byte {
	for _, t := range tracks {
		if t.ID >= 0 && t.ID < maxTracks {
			c.codecs[t.ID] = t.Codec
		}
	}
	for _, tag := range headTags(tracks, at) {
		dst = flv.AppendTag(dst, tag)
	}
	return dst
}

// headTags says of the tracks what frames do not: their colours, as far as there is a message for that, and codec parameters.
func headTags(tracks []media.Track, at time.Duration) (tags []flv.Tag) {
	add := func(typ byte, body []byte) {
		if typ != 0 {
			tags = append(tags, flv.Tag{Type: typ, Timestamp: uint32(at.Milliseconds()), Data: body})
		}
	}
	for _, t := range tracks {
		add(flv.AppendColor(nil, t))
		if len(t.Config) > 0 {
			add(flv.AppendFrame(nil, t, media.Frame{Track: t.ID, Kind: t.Kind, Key: true, Config: true, Data: t.Config}))
		}
	}
	return tags
}

func (c *flvFile) change(dst []byte, tracks []media.Track, at time.Duration) ([]byte, bool) {
	if !c.follow(tracks) {
		return dst, false
	}
	return c.headers(dst, tracks, at), true
}

// follow says whether the tracks can come behind those before: players stand new parameters, but no other codec.
func (c *flvFile) follow(tracks []media.Track) bool {
	for _, t := range tracks {
		if t.ID >= 0 && t.ID < maxTracks && c.codecs[t.ID] != media.CodecNone && c.codecs[t.ID] != t.Codec {
			return false
		}
	}
	return true
}

func (c *flvFile) resume(f *os.File, tracks []media.Track) (int64, time.Duration, bool) {
	info, err := f.Stat()
	if err != nil {
		return 0, 0, false
	}
	x, err := scan(f, info.Size(), c.max)
	if err != nil {
		return 0, 0, false
	}
	for _, t := range x.tracks {
		c.codecs[t.ID] = t.Codec
	}
	if !c.follow(tracks) {
		return 0, 0, false
	}
	c.duration = x.duration
	return x.end, x.length + usualStep, true
}

func (c *flvFile) frame(dst []byte, t *media.Track, f media.Frame) ([]byte, error) {
	return flv.AppendFrameTag(dst, *t, f), nil
}

// commit is none: players stand a torn tag.
func (c *flvFile) commit() int { return 0 }

func (c *flvFile) patch(length time.Duration) ([]byte, int64) {
	if c.duration == 0 {
		return nil, 0
	}
	return binary.BigEndian.AppendUint64(nil, math.Float64bits(length.Seconds())), c.duration
}
