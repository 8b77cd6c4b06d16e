package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"slices"
	"time"

	"hawser/fmp4"
	"hawser/media"
)

// fmp4File is the container for fragmented MP4: an init segment, then one fragment for each frame, and no index at the end.
type fmp4File struct {
	muxer  *fmp4.Muxer
	tracks []media.Track
}

func (c *fmp4File) carries(t media.Track) bool { return fmp4.Supports(t) }

func (c *fmp4File) begin(dst []byte, tracks []media.Track) (_ []byte, err error) {
	if c.muxer, err = fmp4.NewMuxer(tracks); err != nil {
		return dst, err
	}
	c.tracks = tracks
	return append(dst, c.muxer.Init()...), nil
}

func (c *fmp4File) change(dst []byte, tracks []media.Track, _ time.Duration) ([]byte, bool) {
	return dst, slices.EqualFunc(c.tracks, tracks, func(a, b media.Track) bool {
		return a.ID == b.ID && a.Codec == b.Codec && bytes.Equal(a.Config, b.Config) && a.Width == b.Width && a.Height == b.Height &&
			a.SampleRate == b.SampleRate && a.Channels == b.Channels
	})
}

// resume goes on with a file that has the same init segment.
func (c *fmp4File) resume(f *os.File, tracks []media.Track) (int64, time.Duration, bool) {
	begin, err := c.begin(nil, tracks)
	if err != nil {
		return 0, 0, false
	}
	head := make([]byte, len(begin))
	if _, err := f.ReadAt(head, 0); err != nil || !bytes.Equal(head, begin) {
		return 0, 0, false
	}
	scales, err := timescales(begin)
	if err != nil {
		return 0, 0, false
	}
	info, err := f.Stat()
	if err != nil {
		return 0, 0, false
	}
	end, newest, err := fragments(f, int64(len(begin)), info.Size(), scales)
	return end, newest, err == nil
}

func (c *fmp4File) frame(dst []byte, _ *media.Track, f media.Frame) ([]byte, error) {
	return c.muxer.AppendFragment(dst, f)
}

// commit is a box's header: a box without a size goes to the end of the file (ISO 14496-12 section 4.2), and one without a type is skipped. ffmpeg refuses the whole file
// for a torn moof at its end.
func (c *fmp4File) commit() int { return 8 }

func (c *fmp4File) patch(time.Duration) ([]byte, int64) { return nil, 0 }

// maxMoof bounds the moof of a fragment that is read, in bytes; ours have 104.
const maxMoof = 1 << 20

var errNoMP4 = errors.New("record: not a fragmented MP4 file")

// fragments walks the fragments of a file from a place on (ISO 14496-12 section 8.8), and gives the end of the last whole one and the newest time.
func fragments(f io.ReaderAt, from, size int64, scales map[uint32]uint32) (end int64, newest time.Duration, err error) {
	var head [16]byte
	end = from
	for at := from; ; {
		if n, _ := f.ReadAt(head[:], at); n < 8 {
			return end, newest, nil
		}
		length, typ := int64(binary.BigEndian.Uint32(head[:])), string(head[4:8])
		if length == 1 {
			length = int64(binary.BigEndian.Uint64(head[8:]))
		}
		switch {
		case length < 8 || length > size-at: // torn; see commit
			return end, newest, nil
		case typ == "moof" && length <= maxMoof:
			b := make([]byte, length)
			if _, err := f.ReadAt(b, at); err != nil {
				return end, newest, nil
			}
			newest = max(newest, moofEnd(b, scales))
		}
		if at += length; typ == "mdat" {
			end = at
		}
	}
}

// moofEnd gives the time at which a fragment's samples begin or, where it says so, end.
func moofEnd(b []byte, scales map[uint32]uint32) (newest time.Duration) {
	for _, traf := range boxes(b, "moof", "traf") {
		var id uint32
		var at, length uint64
		for _, h := range boxes(traf, "tfhd") {
			if len(h) >= 8 {
				id = binary.BigEndian.Uint32(h[4:])
			}
		}
		for _, d := range boxes(traf, "tfdt") {
			switch {
			case len(d) >= 12 && d[0] == 1:
				at = binary.BigEndian.Uint64(d[4:])
			case len(d) >= 8 && d[0] == 0:
				at = uint64(binary.BigEndian.Uint32(d[4:]))
			}
		}
		for _, r := range boxes(traf, "trun") {
			const offsetAndDuration = 0x101
			if len(r) >= 16 && binary.BigEndian.Uint32(r)&offsetAndDuration == offsetAndDuration {
				length = uint64(binary.BigEndian.Uint32(r[12:]))
			}
		}
		if scale := uint64(scales[id]); scale > 0 {
			end := at + length
			newest = max(newest, time.Duration(end/scale)*time.Second+time.Duration(end%scale*uint64(time.Second)/scale))
		}
	}
	return newest
}

// timescales reads what the tracks of an init segment count in.
func timescales(b []byte) (map[uint32]uint32, error) {
	scales := map[uint32]uint32{}
	for _, trak := range boxes(b, "moov", "trak") {
		id, scale := boxes(trak, "tkhd"), boxes(trak, "mdia", "mdhd")
		if len(id) == 1 && len(id[0]) >= 16 && id[0][0] == 0 && len(scale) == 1 && len(scale[0]) >= 16 && scale[0][0] == 0 {
			scales[binary.BigEndian.Uint32(id[0][12:])] = binary.BigEndian.Uint32(scale[0][12:])
		}
	}
	if len(scales) == 0 {
		return nil, errNoMP4
	}
	return scales, nil
}

// boxes gives the insides of all boxes along a path of types (ISO 14496-12 section 4.2).
func boxes(b []byte, path ...string) (found [][]byte) {
	for len(b) >= 8 {
		n := binary.BigEndian.Uint32(b)
		if n < 8 || uint64(n) > uint64(len(b)) {
			return found
		}
		if string(b[4:8]) == path[0] {
			if len(path) == 1 {
				found = append(found, b[8:n])
			} else {
				found = append(found, boxes(b[8:n], path[1:]...)...)
			}
		}
		b = b[n:]
	}
	return found
}
