package record

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"path"
	"slices"
	"time"

	"hawser/flv"
	"hawser/lifecycle"
	"hawser/media"
)

const (
	fileHeader = 9  // bytes of an FLV file's header, in front of the first back pointer
	tagHeader  = 11 // of a tag
	backBytes  = 4  // of the back pointer behind it
	// peek is how much of a tag's body says what it is: flags, multitrack type, FourCC, track.
	peek = 7
	// maxHeader bounds the body of codec parameters and metadata.
	maxHeader = media.MaxConfig + peek
	// maxChanges bounds the tags with codec parameters in one file.
	maxChanges = 4096
	// soundStep is how far apart the places of a file without pictures stand.
	soundStep = time.Second
)

// place is where a player may begin.
type place struct {
	at     time.Duration
	offset int64 // of the tag
}

// parameters are a tag with codec parameters or a colour; they hold from there on for all tags of the same key.
type parameters struct {
	offset int64
	key    [3]byte // type, track, and whether it is a colour
}

// index is what one walk through an FLV file has found.
type index struct {
	size     int64 // the file's when it was walked through
	modified time.Time
	used     uint64 // when it was last asked for, for Folder.index

	begin    int64         // of the first tag
	end      int64         // of the last whole tag
	length   time.Duration // the newest time
	places   []place
	headers  []parameters
	script   int64         // the first onMetaData; 0 for none
	duration int64         // where its number of seconds is; 0 for nowhere
	tracks   []media.Track // as the last parameters say
	mp4      []mp4Track    // of fragmented MP4
}

// scanner makes an index.
type scanner struct {
	f     io.ReaderAt
	x     *index
	max   int
	demux flv.Demuxer
	heard bool // the first sound has come

	every, count int // of the keyframes only each so many-th is kept
	sound        []place
	video        bool
}

// scan walks through an FLV file of the given size, from tag to tag, without reading what is inside. It keeps at most about max places. A torn tag ends the walk without an error.
func scan(f io.ReaderAt, size int64, max int) (*index, error) {
	s := &scanner{f: f, x: &index{size: size}, max: max, every: 1}
	var head [tagHeader + peek]byte
	if n, _ := f.ReadAt(head[:fileHeader], 0); n < fileHeader || string(head[:3]) != "FLV" {
		return nil, &flv.SyntaxError{What: "file", Got: fmt.Sprintf("%q", head[:min(n, 3)]), Want: `"FLV"`}
	}
	at := int64(binary.BigEndian.Uint32(head[5:])) + backBytes
	s.x.begin = at
	for s.x.end = at; ; s.x.end = at {
		n, _ := f.ReadAt(head[:], at)
		length := int64(head[1])<<16 | int64(head[2])<<8 | int64(head[3])
		next := at + tagHeader + length + backBytes
		if n < tagHeader || next > size {
			break
		}
		time := time.Duration(int32(uint32(head[4])<<16|uint32(head[5])<<8|uint32(head[6])|uint32(head[7])<<24)) * time.Millisecond
		if err := s.tag(at, length, time, head[0], head[tagHeader:min(int64(n), tagHeader+length)]); err != nil {
			return nil, err
		}
		at = next
	}
	if !s.video {
		s.x.places = s.sound
	}
	s.x.tracks = s.demux.Tracks()
	return s.x, nil
}

// tag notes what there is to note of a tag, of whose body the beginning is given.
func (s *scanner) tag(at, length int64, when time.Duration, typ byte, body []byte) error {
	s.x.length = max(s.x.length, when)
	switch key, what := kindOf(typ, body); {
	case what == tagScript && s.x.script == 0 && length <= maxHeader:
		b, err := s.read(at, length)
		if err != nil {
			return err
		}
		if i := bytes.Index(b, durationKey); i >= 0 && bytes.Contains(b[:i], []byte("onMetaData")) && i+len(durationKey)+8 <= len(b) {
			s.x.script, s.x.duration = at, at+tagHeader+int64(i+len(durationKey))
		}
	case what == tagHeaders:
		if len(s.x.headers) == maxChanges {
			return lifecycle.ReasonLimit.With("record: more than %d changes of parameters in one file", maxChanges)
		}
		s.x.headers = append(s.x.headers, parameters{at, key})
		return s.feed(at, length, typ)
	case what == tagKey:
		s.video = true
		s.keyframe(place{when, at})
	case typ == flv.TypeVideo:
		s.video = true
	case typ == flv.TypeAudio:
		if n := len(s.sound); !s.video && n < s.max && (n == 0 || when-s.sound[n-1].at >= soundStep) {
			s.sound = append(s.sound, place{when, at})
		}
		if !s.heard {
			s.heard = true
			return s.feed(at, length, typ)
		}
	}
	return nil
}

// keyframe notes a place; when there are too many, every other one goes.
func (s *scanner) keyframe(p place) {
	if s.count++; (s.count-1)%s.every != 0 {
		return
	}
	if s.x.places = append(s.x.places, p); len(s.x.places) < max(s.max, 2) {
		return
	}
	for i := range s.x.places {
		if i%2 == 0 {
			s.x.places[i/2] = s.x.places[i]
		}
	}
	s.x.places = s.x.places[:(len(s.x.places)+1)/2]
	s.every *= 2
}

// feed lets the demuxer see a tag, for the tracks. What it cannot read, a player may.
func (s *scanner) feed(at, length int64, typ byte) error {
	if length > maxHeader {
		return nil
	}
	b, err := s.read(at, length)
	if err == nil {
		s.demux.Feed(typ, 0, b)
	}
	return err
}

// read reads a tag's body.
func (s *scanner) read(at, length int64) ([]byte, error) {
	b := make([]byte, length)
	_, err := s.f.ReadAt(b, at+tagHeader)
	return b, err
}

// What a tag is to a player that seeks.
type tagKind uint8

const (
	tagOther tagKind = iota
	tagScript
	tagHeaders // codec parameters, or a colour
	tagKey     // a keyframe
)

// kindOf says what a tag is, by the beginning of its body (section E.4; Enhanced RTMP 2, enhanced audio and video), and for parameters whose they are.
func kindOf(typ byte, b []byte) (key [3]byte, what tagKind) {
	if typ == flv.TypeScript {
		return key, tagScript
	}
	if len(b) < 2 || typ != flv.TypeAudio && typ != flv.TypeVideo {
		return key, tagOther
	}
	const (
		avc, aac, enhancedAudio        = 7, 10, 9
		audioMultitrack, videoMultiple = 5, 6
		sequenceEnd, aboutVideo        = 2, 4
	)
	key[0] = typ
	enhanced, packet, multitrack := b[0]&0x80 != 0, b[0]&15, byte(videoMultiple)
	isKey := typ == flv.TypeVideo && b[0]>>4&7 == 1
	if typ == flv.TypeAudio {
		enhanced, multitrack = b[0]>>4 == enhancedAudio, audioMultitrack
	}
	switch {
	case enhanced && packet == multitrack:
		if packet = b[1] & 15; b[1]>>4 == 0 && len(b) >= peek { // one track: its codec, and its number
			key[1] = b[6]
		}
	case enhanced:
	case typ == flv.TypeVideo && b[0]&15 == avc, typ == flv.TypeAudio && b[0]>>4 == aac:
		packet = b[1]
	default:
		packet = 1
	}
	switch {
	case packet == 0:
		return key, tagHeaders
	case enhanced && typ == flv.TypeVideo && packet == aboutVideo:
		key[2] = packet
		return key, tagHeaders
	case isKey && packet != sequenceEnd:
		return key, tagKey
	}
	return key, tagOther
}

// at returns the last place that is not behind a time, and the offsets of the parameters that hold there; the zero place if there is none.
func (x *index) at(to time.Duration) (place, []int64) {
	i, found := slices.BinarySearchFunc(x.places, to, func(p place, t time.Duration) int { return cmp.Compare(p.at, t) })
	if !found {
		i--
	}
	if i < 0 || i == 0 && to <= 0 {
		return place{}, nil
	}
	p := x.places[i]
	newest := map[[3]byte]int64{}
	var order [][3]byte
	for _, h := range x.headers {
		if h.offset >= p.offset {
			break
		}
		if _, known := newest[h.key]; !known {
			order = append(order, h.key)
		}
		newest[h.key] = h.offset
	}
	offsets := make([]int64, len(order))
	for i, key := range order {
		offsets[i] = newest[key]
	}
	return p, offsets
}

// index returns the index of a file, from memory if the file is still as long and as old.
func (d *Folder) index(name string, f fileReader) (*index, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	x := d.indexes[name]
	if x != nil && x.size == info.Size() && x.modified.Equal(info.ModTime()) {
		d.clock++
		x.used = d.clock
		d.mu.Unlock()
		return x, nil
	}
	d.mu.Unlock()
	walk := scan
	if path.Ext(name) == "."+extensions[FMP4] {
		walk = scanMP4
	}
	if x, err = walk(f, info.Size(), d.opts.MaxKeyframes); err != nil {
		return nil, err
	}
	x.modified = info.ModTime()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clock++
	x.used = d.clock
	d.indexes[name] = x
	if len(d.indexes) > d.opts.MaxIndexes {
		oldest := name
		for n, other := range d.indexes {
			if other.used < d.indexes[oldest].used {
				oldest = n
			}
		}
		delete(d.indexes, oldest)
	}
	return x, nil
}
