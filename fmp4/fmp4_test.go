package fmp4_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"hawser/flv"
	"hawser/fmp4"
	"hawser/media"
)

const ms = time.Millisecond

// sample gives the tracks and frames of two seconds of H264 with B-frames, and AAC.
func sample(t testing.TB) (tracks []media.Track, frames []media.Frame) {
	t.Helper()
	b, err := os.ReadFile("../flv/testdata/bframes.flv")
	if err != nil {
		t.Fatal(err)
	}
	r, d := flv.NewReader(bytes.NewReader(b)), flv.Demuxer{}
	for {
		tag, err := r.Next()
		if err == io.EOF {
			return d.Tracks(), frames
		}
		f, _, ok, err2 := d.Feed(tag.Type, tag.Timestamp, tag.Data)
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		if ok {
			frames = append(frames, f)
		}
	}
}

// mux gives the init segment and the fragments one by one.
func mux(t testing.TB, tracks []media.Track, frames []media.Frame) (init []byte, fragments [][]byte) {
	t.Helper()
	m, err := fmp4.NewMuxer(tracks)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		b, err := m.AppendFragment(nil, f)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > 0 {
			fragments = append(fragments, b)
		}
	}
	return m.Init(), fragments
}

// box is a box's type and content.
type box struct {
	typ  string
	body []byte
}

// boxes splits b into boxes, which must fill it.
func boxes(t testing.TB, b []byte) (list []box) {
	t.Helper()
	for len(b) > 0 {
		if len(b) < 8 || int64(binary.BigEndian.Uint32(b)) > int64(len(b)) || binary.BigEndian.Uint32(b) < 8 {
			t.Fatalf("got %x where a box should begin", b[:min(len(b), 16)])
		}
		n := binary.BigEndian.Uint32(b)
		list = append(list, box{string(b[4:8]), b[8:n]})
		b = b[n:]
	}
	return list
}

// find gives the only box at a path of types.
func find(t testing.TB, b []byte, path string) []byte {
	t.Helper()
	for _, typ := range strings.Split(path, "/") {
		n := 0
		for _, x := range boxes(t, b) {
			if x.typ == typ {
				b = x.body
				n++
			}
		}
		if n != 1 {
			t.Fatalf("got %d boxes %s, want one", n, path)
		}
	}
	return b
}

// fragment is what a fragment says.
type fragment struct {
	sequence, track uint32
	at              int64 // decoding time
	duration        uint32
	flags           uint32
	offset          int32 // composition offset
	data            []byte
}

// parse reads a fragment as ISO 14496-12 section 8.8 has it, and fails where a browser would.
func parse(t testing.TB, b []byte) (f fragment) {
	t.Helper()
	top := boxes(t, b)
	if len(top) != 2 || top[0].typ != "moof" || top[1].typ != "mdat" {
		t.Fatalf("got %v, want moof and mdat", top)
	}
	mfhd, tfhd, tfdt, trun := find(t, b, "moof/mfhd"), find(t, b, "moof/traf/tfhd"), find(t, b, "moof/traf/tfdt"), find(t, b, "moof/traf/trun")
	word := binary.BigEndian.Uint32
	if got := word(tfhd); got != 0x020000 {
		t.Errorf("tfhd: got version and flags %08x, want default-base-is-moof alone", got)
	}
	if got := word(tfdt); got != 0x01000000 || len(tfdt) != 12 {
		t.Errorf("tfdt: got version and flags %08x and %d bytes, want version 1", got, len(tfdt))
	}
	if got := word(trun); got != 0x01000f01 || word(trun[4:]) != 1 {
		t.Errorf("trun: got version and flags %08x, %d samples, want version 1, all values, one sample", got, word(trun[4:]))
	}
	from := word(trun[8:])
	size := word(trun[16:])
	if int(from) != len(b)-len(top[1].body) || int(size) != len(top[1].body) {
		t.Errorf("trun: got %d bytes at %d of %d", size, from, len(b))
	}
	return fragment{sequence: word(mfhd[4:]), track: word(tfhd[4:]), at: int64(binary.BigEndian.Uint64(tfdt[4:])), duration: word(trun[12:]),
		flags: word(trun[20:]), offset: int32(word(trun[24:])), data: top[1].body}
}

// TestSample packages what ffmpeg wrote and looks at every fragment.
func TestSample(t *testing.T) {
	tracks, frames := sample(t)
	_, fragments := mux(t, tracks, frames)
	frames = slices.DeleteFunc(frames, func(f media.Frame) bool { return f.Config })
	if len(fragments) != len(frames) {
		t.Fatalf("got %d fragments of %d frames", len(fragments), len(frames))
	}
	next := map[uint32]int64{}
	for i, f := range frames {
		got := parse(t, fragments[i])
		if got.sequence != uint32(i+1) || int(got.track) != f.Track || !bytes.Equal(got.data, f.Data) {
			t.Fatalf("frame %d: got sequence %d of track %d, %d bytes", i, got.sequence, got.track, len(got.data))
		}
		if want := map[bool]uint32{true: 0x02000000, false: 0x01010000}[f.Key]; got.flags != want {
			t.Errorf("frame %d: got sample flags %08x, want %08x", i, got.flags, want)
		}
		if f.Kind == media.Audio {
			if at, ok := next[got.track]; ok && got.at != at {
				t.Errorf("frame %d: sound at %d, want %d: no gap after the one before", i, got.at, at)
			}
			if late := scaled(got.at, 44100) - f.DTS; late < -35*ms || late > 35*ms || got.offset != 0 || got.duration != 1024 {
				t.Errorf("frame %d: sound is %v off, offset %d, duration %d", i, late, got.offset, got.duration)
			}
			next[got.track] = got.at + 1024
			continue
		}
		if got.at != int64(f.DTS/ms)*90 || int64(got.offset) != int64((f.PTS-f.DTS)/ms)*90 {
			t.Errorf("frame %d: got %d and offset %d, want %v and %v", i, got.at, got.offset, f.DTS, f.PTS-f.DTS)
		}
		if i > 1 && got.duration != 3600 && got.duration != 3000 {
			t.Errorf("frame %d: got duration %d, want 3600", i, got.duration)
		}
	}
}

// scaled is a time in a timescale.
func scaled(v int64, timescale int64) time.Duration {
	return time.Duration(v) * time.Second / time.Duration(timescale)
}

// TestInit looks at the init segment: two tracks with their timescales, codec parameters and defaults for fragments.
func TestInit(t *testing.T) {
	tracks, _ := sample(t)
	init, _ := mux(t, tracks, nil)
	find(t, init, "ftyp")
	find(t, init, "moov/mvhd")
	var traks []box
	trexes := boxes(t, find(t, init, "moov/mvex"))
	for _, b := range boxes(t, find(t, init, "moov")) {
		if b.typ == "trak" {
			traks = append(traks, b)
		}
	}
	if len(traks) != 2 || len(trexes) != 2 {
		t.Fatalf("got %d tracks, %d trex, want two of each", len(traks), len(trexes))
	}
	for i, want := range []struct {
		id, timescale uint32
		handler       string
		config        []byte
	}{{1, 90000, "vide", tracks[0].Config}, {2, 44100, "soun", tracks[1].Config}} {
		id := binary.BigEndian.Uint32(find(t, traks[i].body, "tkhd")[12:])
		scale := binary.BigEndian.Uint32(find(t, traks[i].body, "mdia/mdhd")[12:])
		handler := string(find(t, traks[i].body, "mdia/hdlr")[8:12])
		if id != want.id || scale != want.timescale || handler != want.handler || binary.BigEndian.Uint32(trexes[i].body[4:]) != want.id {
			t.Errorf("got track %d, timescale %d, %q, want %+v", id, scale, handler, want)
		}
		if stsd := find(t, traks[i].body, "mdia/minf/stbl/stsd"); !bytes.Contains(stsd, want.config) {
			t.Errorf("track %d: the codec parameters are not in %x", id, stsd)
		}
	}
}

// videoFrames makes pictures at the given times; the first is a keyframe, as are those in keys.
func videoFrames(at []time.Duration, keys ...int) (frames []media.Frame) {
	for i, dts := range at {
		frames = append(frames, media.Frame{Track: 1, Kind: media.Video, Key: i == 0 || slices.Contains(keys, i), DTS: dts, PTS: dts, Data: []byte{0, 0, 0, 1, 6}})
	}
	return frames
}

// every gives n times from a first one.
func every(from, step time.Duration, n int) (at []time.Duration) {
	for i := range n {
		at = append(at, from+time.Duration(i)*step)
	}
	return at
}

// checkSteps sees that decoding times grow by at most twice the duration before, which is what players stand, and gives the
// greatest difference between the presentation times said and those of the frames.
func checkSteps(t *testing.T, frames []media.Frame, fragments [][]byte, timescale int64) (off time.Duration) {
	t.Helper()
	var last fragment
	for i, b := range fragments {
		f := parse(t, b)
		if step := f.at - last.at; i > 0 && (step < 1 || step > 2*int64(last.duration)) {
			t.Errorf("fragment %d: decoding time %d after %d of duration %d", i, f.at, last.at, last.duration)
		}
		off = max(off, (scaled(f.at+int64(f.offset), timescale) - frames[i].PTS).Abs())
		last = f
	}
	return off
}

// TestUnevenVideo sends pictures as cameras, screens and bad networks do: the steps stay such that a player drops nothing, and
// the presentation times stay what they were.
func TestUnevenVideo(t *testing.T) {
	tracks, _ := sample(t)
	for _, c := range []struct {
		name   string
		frames []media.Frame
		slack  time.Duration
	}{
		{name: "thirty a second in milliseconds", frames: videoFrames([]time.Duration{0, 33 * ms, 67 * ms, 100 * ms, 133 * ms, 167 * ms})},
		{name: "every second one is missing now and then", frames: videoFrames([]time.Duration{0, 33 * ms, 100 * ms, 133 * ms, 200 * ms, 300 * ms})},
		{name: "a pause without a keyframe", frames: videoFrames(append(every(0, 40*ms, 10), every(3*time.Second, 40*ms, 100)...))},
		{name: "a slow screen", frames: videoFrames(append(every(0, 16*ms, 10), every(time.Second, 500*ms, 20)...))},
		{name: "a pause before a keyframe", frames: videoFrames(append(every(0, 40*ms, 10), every(5*time.Second, 40*ms, 10)...), 10)},
		{name: "doubled times", frames: videoFrames([]time.Duration{0, 40 * ms, 40 * ms, 40 * ms, 80 * ms, 120 * ms}), slack: ms},
		{name: "times that go back", frames: videoFrames([]time.Duration{time.Second, 1040 * ms, 900 * ms, 940 * ms, 1080 * ms}), slack: 150 * ms},
		{name: "before zero", frames: videoFrames([]time.Duration{-23 * ms, 17 * ms, 57 * ms}), slack: 23 * ms},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, fragments := mux(t, tracks, c.frames)
			if off := checkSteps(t, c.frames, fragments, 90000); off > c.slack {
				t.Errorf("presentation times are up to %v off, want at most %v", off, c.slack)
			}
		})
	}
}

// TestDecodingTimeCatchesUp sees that a pause is bridged, not carried along for ever.
func TestDecodingTimeCatchesUp(t *testing.T) {
	tracks, _ := sample(t)
	_, fragments := mux(t, tracks, videoFrames(append(every(0, 40*ms, 10), every(time.Second, 40*ms, 50)...)))
	first, last := parse(t, fragments[10]), parse(t, fragments[len(fragments)-1])
	if first.offset == 0 || last.offset != 0 {
		t.Errorf("got an offset of %d after the pause and %d at the end, want some and none", first.offset, last.offset)
	}
}

// TestUnevenAudio lets the count of samples lead while it agrees with the times.
func TestUnevenAudio(t *testing.T) {
	tracks, _ := sample(t)
	audio := func(at []time.Duration) (frames []media.Frame) {
		for _, dts := range at {
			frames = append(frames, media.Frame{Track: 2, Kind: media.Audio, Key: true, DTS: dts, PTS: dts, Data: []byte{0x21, 0x10}})
		}
		return frames
	}
	frame := 1024 * time.Second / 44100
	var rounded, drifting []time.Duration
	for i := range 500 {
		rounded = append(rounded, (time.Duration(i) * frame).Truncate(ms))
		drifting = append(drifting, time.Duration(i)*(frame+frame/200)) // half a percent slow
	}
	for _, c := range []struct {
		name  string
		at    []time.Duration
		slack time.Duration
	}{
		{"whole milliseconds", rounded, ms},
		{"drift", drifting, 3 * frame / 2},
		{"one frame lost", slices.Concat(every(0, frame, 10), every(11*frame, frame, 10)), 3 * frame / 2},
		{"a pause", slices.Concat(every(0, frame, 10), every(time.Second, frame, 100)), frame / 100},
		{"times that go back", slices.Concat(every(time.Second, frame, 10), every(500*ms, frame, 10)), time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			frames := audio(c.at)
			_, fragments := mux(t, tracks, frames)
			if off := checkSteps(t, frames, fragments, 44100); off > c.slack {
				t.Errorf("presentation times are up to %v off, want at most %v", off, c.slack)
			}
		})
	}
}

func TestMIMEAndSupports(t *testing.T) {
	tracks, _ := sample(t)
	main := tracks[1]
	main.Config = []byte{0x0a, 0x10}
	vp8 := media.Track{ID: 2, Kind: media.Video, Codec: media.VP8}
	for _, c := range []struct {
		tracks []media.Track
		want   string
	}{
		{tracks, `video/mp4; codecs="avc1.4d400b,mp4a.40.2"`},
		{tracks[:1], `video/mp4; codecs="avc1.4d400b"`},
		{tracks[1:], `audio/mp4; codecs="mp4a.40.2"`},
		{[]media.Track{tracks[0], vp8}, `video/mp4; codecs="avc1.4d400b"`},
		{[]media.Track{main}, ""},
		{nil, ""},
	} {
		if got := fmp4.MIME(c.tracks); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

func TestErrors(t *testing.T) {
	tracks, _ := sample(t)
	for _, c := range []struct {
		tracks []media.Track
		want   string
	}{
		{nil, "fmp4: got no tracks, want one or more"},
		{[]media.Track{{ID: 1, Codec: media.VP8}}, `fmp4: track 1: got vp8 "vp8", want a track that can be carried`},
		{[]media.Track{{ID: 1, Codec: media.H264}}, `fmp4: track 1: got h264 "", want a track that can be carried`},
		{[]media.Track{tracks[0], tracks[0]}, "fmp4: track 1: got two of this ID, want one"},
	} {
		if _, err := fmp4.NewMuxer(c.tracks); err == nil || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
	m, err := fmp4.NewMuxer(tracks)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := m.AppendFragment([]byte("x"), media.Frame{Track: 3}); err == nil || string(b) != "x" {
		t.Errorf("unknown track: got %q, %v", b, err)
	}
	for _, f := range []media.Frame{{Track: 1, Config: true}, {Kind: media.Data}} {
		if b, err := m.AppendFragment([]byte("x"), f); err != nil || string(b) != "x" {
			t.Errorf("%+v: got %q, %v, want nothing", f, b, err)
		}
	}
}

// TestExtremeTimes neither panics nor goes back.
func TestExtremeTimes(t *testing.T) {
	tracks, _ := sample(t)
	frames := videoFrames([]time.Duration{math.MinInt64, 0, math.MaxInt64, math.MinInt64, math.MaxInt64}, 2)
	_, fragments := mux(t, tracks, frames)
	last := int64(-1)
	for _, b := range fragments {
		if f := parse(t, b); f.at <= last {
			t.Errorf("got decoding time %d after %d", f.at, last)
		} else {
			last = f.at
		}
	}
}

// TestFragmentBytes holds one fragment to its bytes.
func TestFragmentBytes(t *testing.T) {
	tracks, _ := sample(t)
	_, fragments := mux(t, tracks, []media.Frame{{Track: 1, Kind: media.Video, Key: true, DTS: time.Second, PTS: 1080 * ms, Data: []byte{0xaa, 0xbb}}})
	want := "00000068" + "6d6f6f66" + "00000010" + "6d666864" + "00000000" + "00000001" +
		"00000050" + "74726166" + "00000010" + "74666864" + "00020000" + "00000001" +
		"00000014" + "74666474" + "01000000" + "0000000000015f90" +
		"00000024" + "7472756e" + "01000f01" + "00000001" + "00000070" + "00000bb7" + "00000002" + "02000000" + "00001c20" +
		"0000000a" + "6d646174" + "aabb"
	if got := hex.EncodeToString(fragments[0]); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func TestNoAllocation(t *testing.T) {
	tracks, frames := sample(t)
	m, err := fmp4.NewMuxer(tracks)
	if err != nil {
		t.Fatal(err)
	}
	dst := make([]byte, 0, 64<<10)
	i := 0
	if n := testing.AllocsPerRun(len(frames), func() {
		_, err = m.AppendFragment(dst[:0], frames[i%len(frames)])
		i++
	}); n != 0 || err != nil {
		t.Errorf("got %v allocations a frame, %v", n, err)
	}
}

func BenchmarkAppendFragment(b *testing.B) {
	tracks, _ := sample(b)
	m, err := fmp4.NewMuxer(tracks)
	if err != nil {
		b.Fatal(err)
	}
	f := media.Frame{Track: 1, Kind: media.Video, Data: make([]byte, 10_000)}
	var dst []byte
	b.ReportAllocs()
	b.SetBytes(int64(len(f.Data)))
	for b.Loop() {
		f.DTS += 33 * ms
		f.PTS = f.DTS
		if dst, err = m.AppendFragment(dst[:0], f); err != nil {
			b.Fatal(err)
		}
	}
}
