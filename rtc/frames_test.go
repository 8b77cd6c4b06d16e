package rtc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"hawser/media"
)

// clip is what an encoder made of a few pictures, or packets of sound that nobody looks into.
type clip struct {
	name   string
	track  media.Track
	frames []media.Frame
}

// clips are one for each codec that is carried.
func clips(t testing.TB) []clip {
	return []clip{
		annexB(t, "plain.h264"), annexB(t, "small.h264"), ivf(t, media.VP8), ivf(t, media.VP9), ivf(t, media.AV1), sound(),
	}
}

const pictureTime = time.Second / 30

// sound are 2.5 to 60 ms of Opus, by its first byte; the rest is not looked at.
func sound() clip {
	t := media.OpusTrack(2)
	t.ID = 2
	c := clip{name: "opus", track: t}
	for i := range 40 {
		c.frames = append(c.frames, media.Frame{Track: 2, Kind: media.Audio, Key: true, DTS: time.Duration(i) * 20 * time.Millisecond, PTS: time.Duration(i) * 20 * time.Millisecond,
			Data: bytes.Repeat([]byte{0xfc, byte(i)}, 30+i)})
	}
	return c
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ivf reads a file of VP8, VP9 or AV1.
func ivf(t testing.TB, codec media.Codec) clip {
	t.Helper()
	b := read(t, "plain."+codec.String()+".ivf")
	const fileHeader, frameHeader = 32, 12
	c := clip{name: codec.String()}
	for b = b[fileHeader:]; len(b) > 0; {
		n := int(binary.LittleEndian.Uint32(b))
		data := b[frameHeader : frameHeader+n]
		b = b[frameHeader+n:]
		if codec == media.AV1 {
			unit, _, err := media.SplitAV1(data)
			if err != nil {
				t.Fatal(err)
			}
			data = unit
		}
		at := time.Duration(len(c.frames)) * pictureTime
		c.frames = append(c.frames, media.Frame{Track: 1, Kind: media.Video, Key: (media.Track{Codec: codec}).IsKey(data), DTS: at, PTS: at, Data: data})
	}
	first, err := c.frames[0].Data, error(nil)
	switch codec {
	case media.VP8:
		c.track, err = media.ParseVP8(first)
	case media.VP9:
		c.track, err = media.ParseVP9(first)
	default:
		var header []byte
		if _, header, err = media.SplitAV1(first); err == nil {
			c.track, err = media.ParseAV1(header)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	c.track.ID = 1
	return c
}

// annexB reads a file of H264 with delimiters, and gives it the form of MP4: the parameter sets in Config, the frames without.
func annexB(t testing.TB, name string) clip {
	t.Helper()
	c := clip{name: name}
	var h h264Format
	for _, unit := range strings.Split(strings.ReplaceAll(string(read(t, name)), "\x00\x00\x00\x01", "\x00\x00\x01"), "\x00\x00\x01")[1:] {
		nalu := []byte(unit)
		switch nalu[0] & nalType {
		case nalDelimiter:
			at := time.Duration(len(c.frames)) * pictureTime
			c.frames = append(c.frames, media.Frame{Track: 1, Kind: media.Video, DTS: at, PTS: at})
		case nalSPS:
			h.keepSPS(nalu)
		case nalPPS:
			h.keepPPS(nalu)
		default:
			f := &c.frames[len(c.frames)-1]
			f.Key = f.Key || nalu[0]&nalType == nalIDR
			f.Data = append(binary.BigEndian.AppendUint32(f.Data, uint32(len(nalu))), nalu...)
		}
	}
	var err error
	if c.track, err = media.ParseAVCC(h.config()); err != nil {
		t.Fatal(err)
	}
	c.track.ID = 1
	return c
}

// reordered is the clip whose pictures are shown in another order, with the times that a container gave them.
func reordered(t testing.TB) clip {
	t.Helper()
	c := annexB(t, "reordered.h264")
	lines := strings.Fields(string(read(t, "reordered.csv")))
	if len(lines) != len(c.frames) {
		t.Fatalf("%d times of %d frames", len(lines), len(c.frames))
	}
	for i, line := range lines {
		var pts, dts float64
		if _, err := fmt.Sscanf(line, "%g,%g", &pts, &dts); err != nil {
			t.Fatal(err)
		}
		c.frames[i].PTS, c.frames[i].DTS = time.Duration(pts*float64(time.Second)), time.Duration(dts*float64(time.Second))
	}
	return c
}

// groups packetises a clip.
func (c clip) groups(t testing.TB) (list []Group) {
	t.Helper()
	p, err := NewPacketizer(c.track)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range c.frames {
		g, err := CheckGroup(p.AppendGroup(nil, f))
		if err != nil {
			t.Fatalf("%s: frame %d: %v", c.name, i, err)
		}
		list = append(list, g)
	}
	return list
}
