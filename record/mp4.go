package record

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"time"

	"hawser/flv"
	"hawser/lifecycle"
	"hawser/media"
)

const (
	// maxMoov bounds the moov of a file that is played, in bytes.
	maxMoov = 1 << 20
	// maxSamples bounds the samples of one fragment; ours have one.
	maxSamples = 1 << 16
)

// mp4Track is a track of a file, and what holds of its samples unless a fragment says otherwise (ISO 14496-12 section 8.8.3).
type mp4Track struct {
	media.Track
	id, scale uint32
	defaults
}

type defaults struct{ duration, size, flags uint32 }

// sample is one frame in a file.
type sample struct {
	track  *mp4Track
	dts    uint64 // in the track's timescale
	ahead  int64  // of the presentation time
	key    bool
	offset int64
	size   uint32
}

// time is a time in the track's timescale.
func (t *mp4Track) time(v int64) time.Duration {
	s, rest := v/int64(t.scale), v%int64(t.scale)
	return time.Duration(s)*time.Second + time.Duration(rest)*time.Second/time.Duration(t.scale)
}

// box reads the header of a box (ISO 14496-12 section 4.2); ok is false at the end, or where the file is torn.
func box(f io.ReaderAt, at, size int64) (typ string, header, length int64, ok bool) {
	var b [16]byte
	if n, _ := f.ReadAt(b[:], at); n < 8 {
		return "", 0, 0, false
	}
	header, length, typ = 8, int64(binary.BigEndian.Uint32(b[:])), string(b[4:8])
	if length == 1 {
		header, length = 16, int64(binary.BigEndian.Uint64(b[8:]))
	}
	return typ, header, length, length >= header && length <= size-at
}

// scanMP4 walks through a fragmented MP4 file of the given size, as scan does through FLV.
func scanMP4(f io.ReaderAt, size int64, max int) (*index, error) {
	s := &scanner{f: f, x: &index{size: size}, max: max, every: 1}
	var moof []sample
	for at := int64(0); ; {
		typ, header, length, ok := box(f, at, size)
		if !ok {
			break
		}
		switch {
		case typ == "moov" && s.x.mp4 == nil:
			b, err := readBox(f, at, length, maxMoov)
			if err != nil {
				return nil, err
			}
			if s.x.mp4, err = mp4Tracks(b); err != nil {
				return nil, err
			}
			s.x.begin, s.x.end = at+length, at+length
			for i := range s.x.mp4 {
				s.x.tracks = append(s.x.tracks, s.x.mp4[i].Track)
				s.video = s.video || s.x.mp4[i].Kind == media.Video
			}
		case typ == "moof" && s.x.mp4 != nil:
			b, err := readBox(f, at, length, maxMoof)
			if err == nil {
				moof, err = s.x.fragment(moof[:0], b, at)
			}
			if err != nil {
				return nil, err
			}
			s.fragment(moof, at)
		case typ == "mdat" && header == 8 && s.x.mp4 != nil:
			s.x.end = at + length
		}
		at += length
	}
	if s.x.mp4 == nil {
		return nil, errNoMP4
	}
	if !s.video {
		s.x.places = s.sound
	}
	return s.x, nil
}

// fragment notes a place, and the time of what is there.
func (s *scanner) fragment(samples []sample, at int64) {
	seen := false // a picture
	for i := range samples {
		m := &samples[i]
		when := m.track.time(int64(m.dts)).Round(time.Millisecond)
		s.x.length = max(s.x.length, when)
		switch n := len(s.sound); {
		case m.track.Kind == media.Video && !seen:
			if seen = true; m.key {
				s.keyframe(place{when, at})
			}
		case !s.video && i == 0 && n < s.max && (n == 0 || when-s.sound[n-1].at >= soundStep):
			s.sound = append(s.sound, place{when, at})
		}
	}
}

// readBox reads a whole box.
func readBox(f io.ReaderAt, at, length, most int64) ([]byte, error) {
	if length > most {
		return nil, lifecycle.ReasonTooBig.With("record: a box of %d bytes at offset %d, at most %d are read", length, at, most)
	}
	b := make([]byte, length)
	_, err := f.ReadAt(b, at)
	return b, err
}

// fragment appends the samples of a moof that begins at a place (ISO 14496-12 section 8.8). Those of tracks that are not known are passed over.
func (x *index) fragment(dst []sample, moof []byte, at int64) ([]sample, error) {
	for _, traf := range boxes(moof, "moof", "traf") {
		heads, times := boxes(traf, "tfhd"), boxes(traf, "tfdt")
		if len(heads) == 0 || len(heads[0]) < 8 || len(times) == 0 {
			return dst, fmt.Errorf("record: fragment at offset %d: got no track or no time, want both", at)
		}
		run, ok := x.openRun(heads[0], at)
		if !ok {
			continue
		}
		switch d := times[0]; {
		case len(d) >= 12 && d[0] == 1:
			run.dts = binary.BigEndian.Uint64(d[4:])
		case len(d) >= 8:
			run.dts = uint64(binary.BigEndian.Uint32(d[4:]))
		}
		for _, b := range boxes(traf, "trun") {
			var err error
			if dst, err = run.samples(dst, b); err != nil {
				return dst, fmt.Errorf("record: fragment at offset %d: %w", at, err)
			}
		}
	}
	return dst, nil
}

// run is where the runs of one track in one fragment have come to.
type run struct {
	track *mp4Track
	defaults
	moof   int64 // where data offsets count from
	offset int64 // of the next sample
	dts    uint64
}

// openRun reads a tfhd; false for a track that is not known.
func (x *index) openRun(head []byte, at int64) (run, bool) {
	const baseOffset, description, duration, size, sampleFlags = 1, 2, 8, 16, 32
	id, flags := binary.BigEndian.Uint32(head[4:]), binary.BigEndian.Uint32(head)
	i := slices.IndexFunc(x.mp4, func(t mp4Track) bool { return t.id == id })
	if i < 0 {
		return run{}, false
	}
	r, f := run{track: &x.mp4[i], defaults: x.mp4[i].defaults, moof: at, offset: at}, fields{b: head[8:]}
	if flags&baseOffset != 0 {
		r.moof = int64(f.u32())<<32 | int64(f.u32())
		r.offset = r.moof
	}
	if flags&description != 0 {
		f.u32()
	}
	f.maybe(flags&duration, &r.duration)
	f.maybe(flags&size, &r.size)
	f.maybe(flags&sampleFlags, &r.flags)
	return r, true
}

// samples appends those of a trun (section 8.8.8).
func (r *run) samples(dst []sample, b []byte) ([]sample, error) {
	const dataOffset, firstFlags, duration, size, sampleFlags, composition = 1, 4, 0x100, 0x200, 0x400, 0x800
	const notSync = 0x10000
	f := fields{b: b}
	head := f.u32()
	count := f.u32()
	if count > uint32(maxSamples-min(len(dst), maxSamples)) {
		return dst, lifecycle.ReasonTooBig.With("%d samples, at most %d are read", count, maxSamples)
	}
	if head&dataOffset != 0 {
		r.offset = r.moof + int64(int32(f.u32()))
	}
	first := r.flags
	f.maybe(head&firstFlags, &first)
	for i := range count {
		s, flags, lasts, ahead := sample{track: r.track, dts: r.dts, offset: r.offset, size: r.size}, r.flags, r.duration, uint32(0)
		if i == 0 {
			flags = first
		}
		f.maybe(head&duration, &lasts)
		f.maybe(head&size, &s.size)
		f.maybe(head&sampleFlags, &flags)
		f.maybe(head&composition, &ahead)
		if s.ahead = int64(int32(ahead)); head>>24 == 0 {
			s.ahead = int64(ahead)
		}
		s.key = flags&notSync == 0
		if f.short {
			return dst, fmt.Errorf("got a run of %d bytes, want %d samples in it", len(b), count)
		}
		r.dts, r.offset = r.dts+uint64(lasts), r.offset+int64(s.size)
		dst = append(dst, s)
	}
	return dst, nil
}

// fields reads numbers one after the other.
type fields struct {
	b     []byte
	short bool // there were too few
}

func (f *fields) u32() uint32 {
	if len(f.b) < 4 {
		f.short = true
		return 0
	}
	v := binary.BigEndian.Uint32(f.b)
	f.b = f.b[4:]
	return v
}

// maybe reads a number where it is there.
func (f *fields) maybe(there uint32, to *uint32) {
	if there != 0 {
		*to = f.u32()
	}
}

// mp4Reader is the Reader of fragmented MP4.
type mp4Reader struct {
	f       fileReader
	x       *index
	offset  int64     // of the next box
	first   []flv.Tag // what comes before it
	samples []sample  // of the last fragment, not read yet
	moof    []sample
	begun   bool
}

// Length implements Reader.
func (r *mp4Reader) Length() time.Duration { return r.x.length }

// Tracks implements Reader.
func (r *mp4Reader) Tracks() []media.Track { return r.x.tracks }

// Place implements Reader.
func (r *mp4Reader) Place(to time.Duration) time.Duration {
	p, _ := r.x.at(to)
	return p.at
}

// Seek implements Reader.
func (r *mp4Reader) Seek(to time.Duration) time.Duration {
	p, _ := r.x.at(to)
	r.offset, r.samples = max(p.offset, r.x.begin), nil
	r.first = headTags(r.x.tracks, p.at)
	if !r.begun {
		r.first = append([]flv.Tag{{Type: flv.TypeScript, Data: metadata(r.x.tracks, r.x.length)}}, r.first...)
	}
	return p.at
}

// Next implements Reader.
func (r *mp4Reader) Next() (flv.Tag, error) {
	if r.begun = true; len(r.first) > 0 {
		t := r.first[0]
		r.first = r.first[1:]
		return t, nil
	}
	for {
		for len(r.samples) == 0 {
			if err := r.fragment(); err != nil {
				return flv.Tag{}, err
			}
		}
		s := r.samples[0]
		r.samples = r.samples[1:]
		t, err := r.tag(&s)
		if err != nil || t.Type != 0 {
			return t, err
		}
	}
}

// fragment goes on to the next fragment.
func (r *mp4Reader) fragment() error {
	typ, _, length, ok := box(r.f, r.offset, r.x.end)
	if !ok {
		return io.EOF
	}
	if typ == "moof" {
		b, err := readBox(r.f, r.offset, length, maxMoof)
		if err == nil {
			r.moof, err = r.x.fragment(r.moof[:0], b, r.offset)
		}
		if err != nil {
			return err
		}
		r.samples = r.moof
	}
	r.offset += length
	return nil
}

// tag reads a sample; its type is 0 for one that FLV has no form for.
func (r *mp4Reader) tag(s *sample) (flv.Tag, error) {
	if s.size > maxFrame || s.offset < 0 || s.offset+int64(s.size) > r.x.end {
		return flv.Tag{}, lifecycle.ReasonProtocol.With("record: a sample of %d bytes at offset %d, the file has %d", s.size, s.offset, r.x.end)
	}
	data := make([]byte, s.size)
	if _, err := r.f.ReadAt(data, s.offset); err != nil {
		return flv.Tag{}, fmt.Errorf("record: sample at offset %d: %w", s.offset, err)
	}
	dts := s.track.time(int64(s.dts)).Round(time.Millisecond) // as FLV counts
	pts := s.track.time(int64(s.dts) + s.ahead).Round(time.Millisecond)
	f := media.Frame{Track: s.track.ID, Kind: s.track.Kind, Key: s.key, DTS: dts, PTS: pts, Data: data}
	typ, body := flv.AppendFrame(nil, s.track.Track, f)
	return flv.Tag{Type: typ, Timestamp: uint32(dts.Milliseconds()), Data: body}, nil
}

// Close implements Reader.
func (r *mp4Reader) Close() error { return r.f.Close() }
