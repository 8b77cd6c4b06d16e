package flv

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"hawser/amf"
	"hawser/media"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const (
	avcc = "01 4d400b ff e1 0017 674d400becc146fc9808800000030080000019078a14cd 01 0005 68e97b2c80"
	asc  = "1208 56e500"
	nalu = "00000003 65aabb 00000001 06"
	mp3  = "fffb9064 0011"
)

// sample is two seconds of H264 with B-frames, and AAC, as ffmpeg wrote it; testdata/README says how.
func sample(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/bframes.flv")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readAll(t testing.TB, r *Reader) (tags []Tag) {
	t.Helper()
	for {
		tag, err := r.Next()
		if err == io.EOF {
			return tags
		}
		if err != nil {
			t.Fatal(err)
		}
		tags = append(tags, tag)
	}
}

// videoTrack, audioTrack and mp3Track are what the constants above describe.
func videoTrack(t testing.TB) media.Track {
	track, err := media.ParseAVCC(unhex(t, avcc))
	if err != nil {
		t.Fatal(err)
	}
	track.ID = VideoTrack
	return track
}

func audioTrack(t testing.TB) media.Track {
	track, err := media.ParseASC(unhex(t, asc))
	if err != nil {
		t.Fatal(err)
	}
	track.ID = AudioTrack
	return track
}

func mp3Track() media.Track {
	return media.Track{ID: AudioTrack, Kind: media.Audio, Codec: media.MP3, SampleRate: 44100, Channels: 2, FrameSamples: 1152}
}

// TestBodies reads and writes each kind of body.
func TestBodies(t *testing.T) {
	const ms = time.Millisecond
	video, audio := media.Frame{Track: VideoTrack, Kind: media.Video}, media.Frame{Track: AudioTrack, Kind: media.Audio, Key: true}
	with := func(f media.Frame, change func(*media.Frame)) media.Frame {
		change(&f)
		return f
	}
	for _, c := range []struct {
		name  string
		typ   byte
		body  string
		track media.Track
		frame media.Frame // at 1 s
		fresh bool        // the track's parameters are news to a demuxer that has seen those of the others
	}{
		{"AVC parameters", TypeVideo, "17 00 000000" + avcc, videoTrack(t),
			with(video, func(f *media.Frame) { f.Key, f.Config, f.Data = true, true, unhex(t, avcc) }), true},
		{"AAC parameters", TypeAudio, "af 00" + asc, audioTrack(t),
			with(audio, func(f *media.Frame) { f.Config, f.Data = true, unhex(t, asc) }), true},
		{"keyframe", TypeVideo, "17 01 000000" + nalu, videoTrack(t), with(video, func(f *media.Frame) { f.Key, f.Data = true, unhex(t, nalu) }), false},
		{"later frame", TypeVideo, "27 01 000050" + nalu, videoTrack(t),
			with(video, func(f *media.Frame) { f.PTS, f.Data = 80*ms, unhex(t, nalu) }), false},
		{"negative composition offset", TypeVideo, "27 01 ffffd8" + nalu, videoTrack(t),
			with(video, func(f *media.Frame) { f.PTS, f.Data = -40*ms, unhex(t, nalu) }), false},
		{"AAC frame", TypeAudio, "af 01 2110", audioTrack(t), with(audio, func(f *media.Frame) { f.Data = unhex(t, "2110") }), false},
		{"MP3 frame", TypeAudio, "2f" + mp3, mp3Track(), with(audio, func(f *media.Frame) { f.Data = unhex(t, mp3) }), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.frame.DTS, c.frame.PTS = time.Second, c.frame.PTS+time.Second
			body := unhex(t, c.body)
			typ, got := AppendFrame([]byte("x"), c.track, c.frame)
			if typ != c.typ || !bytes.Equal(got[1:], body) {
				t.Errorf("written:\n got type %d, %x\nwant type %d, %x", typ, got[1:], c.typ, body)
			}
			d := &Demuxer{}
			if !c.fresh {
				feed(t, d, TypeVideo, 0, "17 00 000000"+avcc)
				feed(t, d, TypeAudio, 0, "af 00"+asc)
			}
			frame, track, ok, err := d.Feed(c.typ, 1000, body)
			if err != nil || !ok || !reflect.DeepEqual(frame, c.frame) {
				t.Errorf("read:\n got %+v, %v, %v\nwant %+v", frame, ok, err, c.frame)
			}
			if (track != nil) != c.fresh || track != nil && !reflect.DeepEqual(*track, c.track) {
				t.Errorf("read: got track %+v, want one: %v", track, c.fresh)
			}
			tag := AppendFrameTag(nil, c.track, c.frame)
			if want := AppendTag(nil, Tag{Type: c.typ, Timestamp: 1000, Data: body}); !bytes.Equal(tag, want) {
				t.Errorf("tag:\n got %x\nwant %x", tag, want)
			}
		})
	}
}

// feed gives a body to the demuxer, which must take it.
func feed(t testing.TB, d *Demuxer, typ byte, at uint32, body string) (media.Frame, *media.Track, bool) {
	t.Helper()
	f, track, ok, err := d.Feed(typ, at, unhex(t, body))
	if err != nil {
		t.Fatal(err)
	}
	return f, track, ok
}

func TestNoFrame(t *testing.T) {
	ready := &Demuxer{}
	feed(t, ready, TypeVideo, 0, "17 00 000000"+avcc)
	feed(t, ready, TypeAudio, 0, "af 00"+asc)
	for _, c := range []struct {
		name string
		d    *Demuxer
		typ  byte
		body string
	}{
		{"empty body", ready, TypeVideo, ""},
		{"script", ready, TypeScript, "02 0001 61"},
		{"unknown type", ready, 22, "00"},
		{"command frame", ready, TypeVideo, "57 00"},
		{"end of sequence", ready, TypeVideo, "17 02 000000"},
		{"no picture", ready, TypeVideo, "27 01 000000"},
		{"empty NAL units", ready, TypeVideo, "27 01 000000 00000000 00000000"},
		{"no sound", ready, TypeAudio, "af 01"},
		{"no MP3", &Demuxer{}, TypeAudio, "2f"},
		{"same AVC parameters", ready, TypeVideo, "17 00 000000" + avcc},
		{"same AAC parameters", ready, TypeAudio, "af 00" + asc},
		{"picture before parameters", &Demuxer{}, TypeVideo, "17 01 000000" + nalu},
		{"sound before parameters", &Demuxer{}, TypeAudio, "af 01 2110"},
	} {
		if f, track, ok := feed(t, c.d, c.typ, 5, c.body); ok || track != nil {
			t.Errorf("%s: got %+v, %+v", c.name, f, track)
		}
	}
	if got := ready.Tracks(); !reflect.DeepEqual(got, []media.Track{videoTrack(t), audioTrack(t)}) {
		t.Errorf("got tracks %+v", got)
	}
}

// TestEmptyNALUnits leaves out what makes browsers refuse a picture.
func TestEmptyNALUnits(t *testing.T) {
	d := &Demuxer{}
	feed(t, d, TypeVideo, 0, "17 00 000000"+avcc)
	for _, body := range []string{"00000000" + nalu, nalu + "00000000", "00000003 65aabb 00000000 00000000 00000001 06"} {
		if f, _, ok := feed(t, d, TypeVideo, 0, "17 01 000000"+body); !ok || !bytes.Equal(f.Data, unhex(t, nalu)) {
			t.Errorf("%s: got %x, %v, want %s", body, f.Data, ok, nalu)
		}
	}
}

// TestParametersChange sees a new picture size in the middle of a stream.
func TestParametersChange(t *testing.T) {
	d := &Demuxer{}
	feed(t, d, TypeVideo, 0, "17 00 000000"+avcc)
	changed := strings.Replace(avcc, "01 4d400b ff", "01 4d400b fd", 1) // two bytes of NAL unit length
	f, track, ok := feed(t, d, TypeVideo, 40, "17 00 000000"+changed)
	if !ok || !f.Config || track == nil || track.NALUSize() != 2 {
		t.Fatalf("got %+v, %+v", f, track)
	}
	if _, _, ok := feed(t, d, TypeVideo, 40, "17 01 000000 0001 65"); !ok {
		t.Error("a frame with the new lengths is not taken")
	}
	_, track, _ = feed(t, d, TypeAudio, 0, "2f"+mp3)
	if track == nil || track.Codec != media.MP3 {
		t.Fatalf("got %+v, want MP3", track)
	}
	if _, track, ok = feed(t, d, TypeAudio, 0, "2f"+mp3); track != nil || !ok {
		t.Errorf("second frame: got track %+v", track)
	}
	if _, track, _ = feed(t, d, TypeAudio, 0, "22 0000"); track == nil || track.SampleRate != 5512 || track.Channels != 1 {
		t.Errorf("without a frame header: got track %+v, want what the flags say", track)
	}
}

func TestTimestampsUnwrap(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []uint32
		want []int64
	}{
		{"usual", []uint32{0, 40, 33}, []int64{0, 40, 33}},
		{"wrap", []uint32{4_000_000_000, 1<<32 - 10, 30, 1<<32 - 5, 70}, []int64{4_000_000_000, 1<<32 - 10, 1<<32 + 30, 1<<32 - 5, 1<<32 + 70}},
		{"priming below zero", []uint32{1<<32 - 23, 0, 23}, []int64{-23, 0, 23}},
	} {
		d := &Demuxer{}
		feed(t, d, TypeAudio, c.in[0], "af 00"+asc)
		for i, want := range c.want {
			f, _, _ := feed(t, d, TypeAudio, c.in[i], "af 01 2110")
			if f.DTS != time.Duration(want)*time.Millisecond || f.PTS != f.DTS {
				t.Errorf("%s: %d: got %v, want %d ms", c.name, c.in[i], f.DTS, want)
			}
		}
	}
}

func TestBrokenBodies(t *testing.T) {
	d := &Demuxer{}
	feed(t, d, TypeVideo, 0, "17 00 000000"+avcc)
	for _, c := range []struct {
		typ         byte
		body, want  string
		unsupported bool
	}{
		{TypeVideo, "07", "flv: video at offset 0: got frame type 0, want 1 to 5", false},
		{TypeVideo, "17 01 00", "flv: video at offset 3: got the end, want a header of 5 bytes", false},
		{TypeVideo, "17 03 000000", "flv: video at offset 1: got AVC packet type 3, want 0 to 2", false},
		{TypeVideo, "17 01 000000 00000004 65aabb", "flv: video at offset 5: got a NAL unit of 4 bytes, want at most the 3 left", false},
		{TypeVideo, "17 01 000000 00000001 65 ffff", "flv: video at offset 10: got 2 bytes and the end, want a length of 4 bytes", false},
		{TypeVideo, "17 01 000000 ffffffff 65", "flv: video at offset 5: got a NAL unit of 4294967295 bytes, want at most the 1 left", false},
		{TypeVideo, "17 00 000000 02", "flv: video: sequence header: media: h264 parameters at offset 1: got the end, want 7 bytes or more", false},
		{TypeVideo, "14 00", "flv: video: codec 4 (VP6): unsupported", true},
		{TypeVideo, "1f 00", "flv: video: codec 15 (unknown): unsupported", true},
		{TypeAudio, "af", "flv: audio at offset 1: got the end, want an AAC packet type", false},
		{TypeAudio, "af 02 00", "flv: audio at offset 1: got AAC packet type 2, want 0 or 1", false},
		{TypeAudio, "af 00 01", "flv: audio: sequence header: media: aac parameters at offset 0: got audio object type 0, want 1 or more", false},
		{TypeAudio, "b6 00", "flv: audio: format 11 (Speex): unsupported", true},
	} {
		f, track, ok, err := d.Feed(c.typ, 0, unhex(t, c.body))
		if err == nil || !strings.HasPrefix(err.Error(), c.want) || errors.Is(err, ErrUnsupported) != c.unsupported || ok || track != nil || f.Data != nil {
			t.Errorf("%s:\n got %v\nwant %s", c.body, err, c.want)
		}
	}
	if _, _, ok := feed(t, d, TypeVideo, 0, "17 01 000000"+nalu); !ok {
		t.Error("the demuxer takes no more frames after errors")
	}
}

// TestSample reads what ffmpeg wrote: all frames, in order, with B-frames, and writes it again without a change.
func TestSample(t *testing.T) {
	d, count, lead := &Demuxer{}, map[media.Kind]int{}, false
	last := map[media.Kind]time.Duration{media.Video: -1, media.Audio: -1}
	rewritten := AppendHeader(nil, true, true)
	for _, tag := range readAll(t, NewReader(iotest.OneByteReader(bytes.NewReader(sample(t))))) {
		f, _, ok, err := d.Feed(tag.Type, tag.Timestamp, tag.Data)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			rewritten = AppendTag(rewritten, tag)
			continue
		}
		rewritten = AppendFrameTag(rewritten, d.Tracks()[f.Track-1], f)
		if f.Config {
			continue
		}
		if f.DTS <= last[f.Kind] || f.PTS < f.DTS {
			t.Errorf("%s: got DTS %v and PTS %v after %v", f.Kind, f.DTS, f.PTS, last[f.Kind])
		}
		lead = lead || f.PTS > f.DTS+40*time.Millisecond
		last[f.Kind] = f.DTS
		count[f.Kind]++
	}
	if count[media.Video] != 50 || count[media.Audio] != 88 || !lead {
		t.Errorf("got %v frames, B-frames: %v, want 50 of video with B-frames and 88 of audio", count, lead)
	}
	if !bytes.Equal(rewritten, sample(t)) {
		t.Error("written again it differs")
	}
}

func TestReaderErrors(t *testing.T) {
	head := "464c5601 05 00000009 00000000"
	for _, c := range []struct {
		name, bytes, want string
		is                error
	}{
		{"nothing", "", "flv: file at offset 0: reading a file's header: unexpected EOF", io.ErrUnexpectedEOF},
		{"not FLV", "474554202f20485454", `flv: file at offset 0: got "GET", want "FLV"`, nil},
		{"version", "464c5602 05 00000009", "flv: file at offset 3: got version 2, want version 1", nil},
		{"short header", "464c5601 05 00000008", "flv: file at offset 5: got a header of 8 bytes, want 9 to 65545", nil},
		{"huge header", "464c5601 05 ffffffff", "flv: file at offset 5: got a header of 4294967295 bytes, want 9 to 65545", nil},
		{"no tags", "464c5601 05 00000009 0000", "EOF", io.EOF},
		{"tag type", head + "ff 000000 00000000 000000", "flv: file at offset 13: got tag type 0xff, want one below 0x40", nil},
		{"encrypted", head + "29 000000 00000000 000000", "flv: file at offset 13: encrypted tag: unsupported", ErrUnsupported},
		{"in a tag's header", head + "09 0000", "flv: file at offset 9: reading a tag's header: unexpected EOF", io.ErrUnexpectedEOF},
		{"in a tag's data", head + "09 ffffff 00000000 000000 01", "flv: file at offset 25: reading a tag's data: unexpected EOF", io.ErrUnexpectedEOF},
	} {
		_, err := NewReader(bytes.NewReader(unhex(t, c.bytes))).Next()
		if err == nil || err.Error() != c.want || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s:\n got %v\nwant %s", c.name, err, c.want)
		}
	}
}

func TestReaderLargeTagAndLongHeader(t *testing.T) {
	data := bytes.Repeat([]byte("hawser"), 50_000)
	file := unhex(t, "464c5601 05 0000000c aabbcc 00000000")
	file = AppendTag(file, Tag{Type: TypeVideo, Timestamp: 1<<32 - 2, Data: data})
	file = AppendTag(file, Tag{Type: TypeScript, Timestamp: 3, Data: nil})
	tags := readAll(t, NewReader(bytes.NewReader(file)))
	if len(tags) != 2 || tags[0].Type != TypeVideo || tags[0].Timestamp != 1<<32-2 || !bytes.Equal(tags[0].Data, data) || tags[1].Type != TypeScript || len(tags[1].Data) != 0 {
		t.Errorf("got %d tags", len(tags))
	}
}

func TestMetadata(t *testing.T) {
	body := Metadata([]media.Track{videoTrack(t), audioTrack(t), {}})
	info, ok, err := ParseMetadata(body)
	if err != nil || !ok || !info.Video || !info.Audio || info.Width != 160 || info.Height != 90 || info.Values.Number("audiosamplerate") != 44100 {
		t.Errorf("got %+v, %v, %v", info, ok, err)
	}
	names := []string{}
	for _, m := range info.Values {
		names = append(names, m.Name)
	}
	if want := []string{"videocodecid", "width", "height", "audiocodecid", "audiosamplerate", "audiochannels", "audiosamplesize", "stereo"}; !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
	set := amf.Append(nil, "@setDataFrame", "onMetaData", amf.Object{{Name: "width", Value: -1}, {Name: "framerate", Value: 25}, {Name: "encoder", Value: "e"}})
	if info, ok, err = ParseMetadata(set); err != nil || !ok || info.Video || info.Width != 0 || info.FrameRate != 25 || info.Encoder != "e" {
		t.Errorf("@setDataFrame: got %+v, %v, %v", info, ok, err)
	}
	mixed := amf.MixedArray{Members: amf.Object{{Name: "width", Value: 320.0}}, Items: amf.StrictArray{nil}}
	if info, ok, err = ParseMetadata(amf.Append([]byte{0}, "onMetaData", mixed)); err != nil || !ok || info.Width != 320 {
		t.Errorf("of AMF3: got %+v, %v, %v", info, ok, err)
	}
	if _, ok, err = ParseMetadata(amf.Append(nil, "onCuePoint")); ok || err != nil {
		t.Errorf("onCuePoint: got %v, %v", ok, err)
	}
	if _, ok, err = ParseMetadata(append(amf.Append(nil, "onMetaData"), 0x11)); ok || err == nil {
		t.Errorf("broken: got %v, %v", ok, err)
	}
	for _, tag := range readAll(t, NewReader(bytes.NewReader(sample(t))))[:1] {
		if info, ok, err = ParseMetadata(tag.Data); err != nil || !ok || info.Width != 160 || info.FrameRate != 25 || !info.Video || !info.Audio {
			t.Errorf("of ffmpeg: got %+v, %v, %v", info, ok, err)
		}
	}
}

// TestNotCarried writes nothing for what FLV has no place for.
func TestNotCarried(t *testing.T) {
	for _, c := range []struct {
		track media.Track
		frame media.Frame
	}{
		{media.Track{Kind: media.Video}, media.Frame{Kind: media.Video, Data: []byte{1}}},
		{media.Track{ID: 2*MaxTracks + 1, Codec: media.VP9, Kind: media.Video}, media.Frame{Kind: media.Video, Data: []byte{1}}},
		{media.Track{Codec: media.VP8, Kind: media.Video}, media.Frame{Kind: media.Video, Config: true}},
		{mp3Track(), media.Frame{Kind: media.Audio, Config: true}},
	} {
		if typ, body := AppendFrame(nil, c.track, c.frame); typ != 0 || len(body) != 0 {
			t.Errorf("%s: got type %d, %x", c.track.Codec, typ, body)
		}
		if tag := AppendFrameTag(nil, c.track, c.frame); len(tag) != 0 {
			t.Errorf("%s: got tag %x", c.track.Codec, tag)
		}
	}
	if typ, body := AppendFrame(nil, media.Track{}, media.Frame{Kind: media.Data, Data: []byte("x")}); typ != TypeScript || string(body) != "x" {
		t.Errorf("data: got type %d, %q", typ, body)
	}
}

// TestMP3Flags says the nearest of the rates that the flags can say.
func TestMP3Flags(t *testing.T) {
	for rate, want := range map[int]byte{8000: 0xe3, 11025: 0x27, 16000: 0x27, 22050: 0x2b, 44100: 0x2f, 48000: 0x2f} {
		track := mp3Track()
		track.SampleRate = rate
		if _, body := AppendFrame(nil, track, media.Frame{Kind: media.Audio, Data: []byte{1}}); body[0] != want {
			t.Errorf("%d Hz: got %02x, want %02x", rate, body[0], want)
		}
	}
}
