package record

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"hawser/flv"
	"hawser/fmp4"
	"hawser/lifecycle"
	"hawser/media"
)

// recordedMP4 writes a fragmented MP4 file as a recording does, with n frames of the clip.
func recordedMP4(t testing.TB, n int) (b []byte, frames []media.Frame) {
	t.Helper()
	tracks, all := clip(t)
	return mp4Of(t, tracks, all, n)
}

func mp4Of(t testing.TB, tracks []media.Track, all []media.Frame, n int) (b []byte, frames []media.Frame) {
	t.Helper()
	c := newContainer(FMP4, &Options{})
	b, err := c.begin(nil, tracks)
	if err != nil {
		t.Fatal(err)
	}
	length := all[len(all)-1].DTS + 40*time.Millisecond
	for i := range n {
		f := all[i%len(all)]
		f.DTS += time.Duration(i/len(all)) * length
		f.PTS += time.Duration(i/len(all)) * length
		if b, err = c.frame(b, nil, f); err != nil {
			t.Fatal(err)
		}
		frames = append(frames, f)
	}
	return b, frames
}

// A file that is only there as fragmented MP4 plays as FLV does: the same frames at the same times, from its beginning and from each place.
func TestPlayMP4(t *testing.T) {
	_, all := clip(t)
	b, frames := recordedMP4(t, len(all))
	torn := binary.BigEndian.AppendUint32(slices.Clone(b), 1000)
	r, err := keep(t, "a.mp4", append(torn, "moof"...)).Play("a.mp4")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	want, _ := clip(t)
	for i, track := range r.Tracks() {
		if w := want[i]; track.Codec != w.Codec || !bytes.Equal(track.Config, w.Config) || track.Width != w.Width || track.SampleRate != w.SampleRate || track.ID != w.ID {
			t.Errorf("track %+v, want %+v", track, w)
		}
	}
	compare := func(got, want []media.Frame) {
		t.Helper()
		if len(got) != len(want) {
			t.Fatalf("%d frames, want %d", len(got), len(want))
		}
		for i, f := range got {
			if w := want[i]; (f.DTS-w.DTS).Abs() > time.Millisecond || (f.PTS-w.PTS).Abs() > time.Millisecond || f.Key != w.Key || f.Track != w.Track || !bytes.Equal(f.Data, w.Data) {
				t.Fatalf("frame %d: got %v %v, want %v %v", i, f.DTS, f.PTS, w.DTS, w.PTS)
			}
		}
	}
	got, scripts := readAll(t, r)
	compare(got, frames)
	if scripts != 1 || (r.Length()-newestOf(frames)).Abs() > time.Millisecond {
		t.Errorf("%d messages of metadata, length %v, want %v", scripts, r.Length(), newestOf(frames))
	}
	for _, to := range []time.Duration{0, time.Millisecond, 999 * time.Millisecond, time.Second, 1500 * time.Millisecond, r.Length(), time.Hour, -1} {
		from := 0
		for i, f := range frames {
			if f.Kind == media.Video && f.Key && f.DTS <= to && to > 0 {
				from = i
			}
		}
		at := r.Seek(to)
		if place := r.Place(to); place != at || from > 0 && at != frames[from].DTS {
			t.Errorf("%v: went to %v, Place says %v, want %v", to, at, place, frames[from].DTS)
		}
		got, scripts := readAll(t, r)
		compare(got, frames[from:])
		if scripts != 0 {
			t.Errorf("%v: metadata came again", to)
		}
	}
}

// Sound alone can be sought in, about to the second, and the places are bounded.
func TestSeekSoundMP4(t *testing.T) {
	tracks, all := clip(t)
	all = slices.DeleteFunc(all, func(f media.Frame) bool { return f.Kind != media.Audio })
	b, _ := mp4Of(t, tracks[1:], all, 20*len(all))
	x, err := scanMP4(bytes.NewReader(b), int64(len(b)), 1000)
	if err != nil || len(x.places) < 30 {
		t.Fatalf("%v, %d places", err, len(x.places))
	}
	if p, _ := x.at(20500 * time.Millisecond); p.at < 19*time.Second || p.at > 20500*time.Millisecond {
		t.Errorf("went to %v", p.at)
	}
	b, _ = recordedMP4(t, 2000)
	if x, err = scanMP4(bytes.NewReader(b), int64(len(b)), 8); err != nil || len(x.places) > 8 || len(x.places) < 3 {
		t.Errorf("%v, %d places", err, len(x.places))
	}
}

// fromHex reads hexadecimal digits.
func fromHex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What the muxer writes of a track is read back, for every codec that it carries.
func TestTracksOfMP4(t *testing.T) {
	must := func(track media.Track, err error) media.Track {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return track
	}
	tracks, _ := clip(t)
	hevc := must(media.ParseHVCC(fromHex(t, hvcc)))
	hevc.Color = media.Color{Primaries: 9, Transfer: 16, Matrix: 9, MaxFALL: 400, MaxCLL: 1000, RedX: 0.708, RedY: 0.292, GreenX: 0.17, GreenY: 0.797, BlueX: 0.131, BlueY: 0.046, WhiteX: 0.3127, WhiteY: 0.329,
		MaxLuminance: 1000, MinLuminance: 0.0001}
	vp9 := must(media.ParseVPCC(fromHex(t, "000a820202020000")))
	vp9.Width, vp9.Height = 160, 90
	flac := make([]byte, 34)
	copy(flac, fromHex(t, "1000 1000 000000 000000 0bb802f0 00000000"))
	all := append(slices.Clone(tracks), hevc, vp9, media.OpusTrack(2), must(media.ParseFLAC(flac)),
		media.Track{Codec: media.AC3, Config: []byte{0x10, 0x11, 0x40}, SampleRate: 48000, Channels: 2}, media.Track{Codec: media.EAC3, Config: []byte{4, 0, 0x20, 2, 0}, SampleRate: 48000, Channels: 2},
		media.Track{Codec: media.MP3, SampleRate: 44100, Channels: 2}, media.Track{Codec: media.MP3, SampleRate: 22050, Channels: 1})
	for i := range all {
		all[i].ID, all[i].Kind = i+1, all[i].Codec.Kind()
	}
	m, err := fmp4.NewMuxer(all)
	if err != nil {
		t.Fatal(err)
	}
	read, err := mp4Tracks(m.Init()[binary.BigEndian.Uint32(m.Init()):])
	if err != nil || len(read) != len(all) {
		t.Fatalf("%d tracks, %v; want %d", len(read), err, len(all))
	}
	for i, got := range read {
		want := all[i]
		want.FrameSamples, got.FrameSamples = 0, 0
		if !reflect.DeepEqual(got.Track, want) {
			t.Errorf("%v: got %+v, want %+v", want.Codec, got.Track, want)
		}
	}
}

// Fragments of other muxers have several samples and say only what differs from the defaults.
func TestFragmentOfMany(t *testing.T) {
	x := &index{mp4: []mp4Track{{Track: media.Track{ID: 1, Kind: media.Video}, id: 1, scale: 1000, defaults: defaults{duration: 40, size: 7, flags: 0x10000}}}}
	moof := fromHex(t, "00000064 6d6f6f66 0000005c 74726166"+
		"00000014 74666864 00020008 00000001 00000014"+ // durations of 20
		"00000010 74666474 00000000 00000064"+ // at 100
		"00000030 7472756e 00000a05 00000003 00000050 00000000"+ // from 80 on; the first is a keyframe
		"00000005 00000001 00000006 00000002 00000007 00000003")
	got, err := x.fragment(nil, moof, 1000)
	if err != nil || len(got) != 3 {
		t.Fatalf("%d samples, %v", len(got), err)
	}
	offset := int64(1080)
	for i, s := range got {
		if s.dts != uint64(100+20*i) || s.size != uint32(5+i) || s.ahead != int64(i+1) || s.key != (i == 0) || s.offset != offset {
			t.Errorf("sample %d: %+v", i, s)
		}
		offset += int64(s.size)
	}
	for name, broken := range map[string][]byte{"too many": bytes.Replace(moof, []byte{0, 0, 0, 3, 0, 0, 0, 0x50}, []byte{0xff, 0, 0, 3, 0, 0, 0, 0x50}, 1), "too few": bytes.Replace(moof, []byte{0, 0, 0, 3, 0, 0, 0, 0x50}, []byte{0, 0, 0, 9, 0, 0, 0, 0x50}, 1)} {
		if _, err := x.fragment(nil, broken, 0); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestPlayBrokenMP4(t *testing.T) {
	b, _ := recordedMP4(t, 30)
	moov := bytes.Index(b, []byte("moov"))
	for name, file := range map[string][]byte{
		"nothing": nil, "no moov": b[:moov-4], "not fragmented at all": []byte("\x00\x00\x00\x0cftypisom\x00\x00\x00\x10mdat........"),
		"no timescale": bytes.Replace(b, []byte("\x00\x01\x5f\x90"), make([]byte, 4), 1),
	} {
		if _, err := keep(t, "a.mp4", file).Play("a.mp4"); !errors.Is(err, errNoMP4) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	big := binary.BigEndian.AppendUint32(nil, 1<<30)
	big = append(append(big, "moov"...), make([]byte, 100)...)
	if _, err := scanMP4(bytes.NewReader(big), 1<<40, 10); !errors.Is(err, lifecycle.ReasonTooBig) {
		t.Errorf("a giant moov: got %v", err)
	}
}

func FuzzMP4(f *testing.F) {
	b, _ := recordedMP4(f, 10)
	f.Add(b, int64(len(b)))
	f.Add(b[:len(b)-7], int64(len(b)))
	f.Add(b[:1200], int64(1<<40))
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		x, err := scanMP4(bytes.NewReader(b), size, 16)
		if err != nil {
			return
		}
		if len(x.places) > 16 || x.end > size || len(x.mp4) == 0 {
			t.Errorf("%d places, ends at %d of %d", len(x.places), x.end, size)
		}
		r := &mp4Reader{f: readerOf(b), x: x}
		r.Seek(0)
		for i := range 100 {
			tag, err := r.Next()
			if err != nil {
				break
			}
			if len(tag.Data) > flv.MaxData {
				t.Fatalf("%d bytes", len(tag.Data))
			}
			if i%10 == 9 {
				r.Seek(time.Duration(i) * time.Second)
			}
		}
	})
}
