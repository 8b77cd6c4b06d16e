package record

import (
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"math"
	"time"

	"hawser/flv"
	"hawser/media"
)

// fileReader is what is needed of a file to play it.
type fileReader interface {
	io.ReaderAt
	io.Closer
	Stat() (fs.FileInfo, error)
}

// Reader reads a recorded file for a player, as FLV tags whatever its format is. It keeps no buffer. One goroutine at a time may use it, but for Place, Length and Tracks, which
// may run at once with any other method.
type Reader interface {
	// Length returns the newest timestamp of the file.
	Length() time.Duration
	// Tracks returns the tracks of the file, as they are at its end.
	Tracks() []media.Track
	// Place returns the timestamp to which a Seek to a time would go.
	Place(to time.Duration) (at time.Duration)
	// Seek goes to the keyframe at or before a time (in a file without pictures, to a sound) and returns its timestamp; before the first one that is the file's beginning. The
	// next tags are the codec parameters that hold there, after the metadata if it was not given yet.
	Seek(to time.Duration) (at time.Duration)
	// Next reads the next tag; its Data is new. Behind the last whole one the error is io.EOF. Timestamps are the file's; those of parameters after a Seek are the keyframe's.
	Next() (flv.Tag, error)
	// Close closes the file.
	Close() error
}

// flvReader is the Reader of FLV.
type flvReader struct {
	f      fileReader
	x      *index
	offset int64   // of the next tag
	first  []int64 // the tags that come before it
	when   time.Duration
	begun  bool // a tag was given
}

// Play opens a recorded file for a player: its first tags are metadata and codec parameters. The caller closes it. A missing one is lifecycle.ReasonNotFound; what is no FLV inside a *flv.SyntaxError, and
// MP4 that is not fragmented or whose tracks are all unknown an error that says so.
func (d *Folder) Play(name string) (Reader, error) {
	f, err := d.Open(name)
	if err != nil {
		return nil, err
	}
	x, err := d.index(name, f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("record: play %q: %w", name, err)
	}
	if x.mp4 == nil {
		return &flvReader{f: f, x: x, offset: x.begin}, nil
	}
	r := &mp4Reader{f: f, x: x}
	r.Seek(0)
	return r, nil
}

// Length implements Reader.
func (r *flvReader) Length() time.Duration { return r.x.length }

// Tracks implements Reader.
func (r *flvReader) Tracks() []media.Track { return r.x.tracks }

// Place implements Reader.
func (r *flvReader) Place(to time.Duration) (at time.Duration) {
	p, _ := r.x.at(to)
	return p.at
}

// Seek implements Reader.
func (r *flvReader) Seek(to time.Duration) (at time.Duration) {
	p, headers := r.x.at(to)
	if p.offset == 0 {
		r.offset, r.first = r.x.begin, nil
		return 0
	}
	if r.x.script > 0 && !r.begun {
		headers = append([]int64{r.x.script}, headers...)
	}
	r.offset, r.first, r.when = p.offset, headers, p.at
	return p.at
}

// Next implements Reader.
func (r *flvReader) Next() (flv.Tag, error) {
	r.begun = true
	if len(r.first) > 0 {
		t, _, err := r.tag(r.first[0])
		if err == nil && t.Type != flv.TypeScript {
			t.Timestamp = uint32(r.when.Milliseconds())
		}
		r.first = r.first[1:]
		return t, err
	}
	if r.offset >= r.x.end {
		return flv.Tag{}, io.EOF
	}
	t, next, err := r.tag(r.offset)
	r.offset = next
	return t, err
}

// tag reads the tag at an offset. A duration that was never written is that which the walk has found.
func (r *flvReader) tag(at int64) (t flv.Tag, next int64, err error) {
	var head [tagHeader]byte
	if _, err := r.f.ReadAt(head[:], at); err != nil {
		return t, 0, fmt.Errorf("record: tag at offset %d: %w", at, err)
	}
	length := int64(head[1])<<16 | int64(head[2])<<8 | int64(head[3])
	t = flv.Tag{Type: head[0] & 31, Timestamp: uint32(head[4])<<16 | uint32(head[5])<<8 | uint32(head[6]) | uint32(head[7])<<24, Data: make([]byte, length)}
	if _, err := r.f.ReadAt(t.Data, at+tagHeader); err != nil {
		return t, 0, fmt.Errorf("record: tag at offset %d: %w", at, err)
	}
	if place := r.x.duration - at - tagHeader; at == r.x.script && place >= 0 && place+8 <= length && binary.BigEndian.Uint64(t.Data[place:]) == 0 {
		binary.BigEndian.PutUint64(t.Data[place:], math.Float64bits(r.x.length.Seconds()))
	}
	return t, at + tagHeader + length + backBytes, nil
}

// Close implements Reader.
func (r *flvReader) Close() error { return r.f.Close() }
