package media

import (
	"bytes"
	"encoding"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// avcc is what x264 wrote for 160x90 at 25 frames a second, main profile.
const avcc = "01 4d400b ff e1 0017 674d400becc146fc9808800000030080000019078a14cd 01 0005 68e97b2c80"

func TestParseAVCC(t *testing.T) {
	config := unhex(t, avcc)
	track, err := ParseAVCC(config)
	if err != nil {
		t.Fatal(err)
	}
	if track.Kind != Video || track.Codec != H264 || track.Width != 160 || track.Height != 90 || !bytes.Equal(track.Config, config) {
		t.Errorf("got %+v", track)
	}
	if track.MIME() != "avc1.4d400b" || track.NALUSize() != 4 {
		t.Errorf("got %q, NAL unit lengths of %d", track.MIME(), track.NALUSize())
	}
	config[1] = 0
	if track.Config[1] != 0x4d {
		t.Error("the track holds the caller's bytes")
	}
}

func TestParseASC(t *testing.T) {
	for _, c := range []struct {
		name, config, mime      string
		rate, channels, samples int
	}{
		{"low complexity 44.1 kHz mono", "1208 56e500", "mp4a.40.2", 44100, 1, 1024},
		{"low complexity 48 kHz stereo", "1190", "mp4a.40.2", 48000, 2, 1024},
		{"frames of 960 samples", "1194", "mp4a.40.2", 48000, 2, 960},
		{"main", "0a10", "mp4a.40.1", 44100, 2, 1024},
		{"7.1", "11b8", "mp4a.40.2", 48000, 8, 1024},
		{"explicit frequency", "17 80 5d c0 10", "mp4a.40.2", 48000, 2, 1024},
		{"high efficiency, 24 kHz core", "2b 11 88 00", "mp4a.40.5", 24000, 2, 1024},
		{"high efficiency 2, mono core", "eb 09 88 00", "mp4a.40.29", 24000, 1, 1024},
		{"extended", "f9 46 40", "mp4a.40.42", 48000, 2, 0},
		{"channels in the stream", "1180", "mp4a.40.2", 48000, 0, 1024},
	} {
		t.Run(c.name, func(t *testing.T) {
			track, err := ParseASC(unhex(t, c.config))
			if err != nil {
				t.Fatal(err)
			}
			if track.MIME() != c.mime || track.SampleRate != c.rate || track.Channels != c.channels || track.FrameSamples != c.samples {
				t.Errorf("got %q %+v", track.MIME(), track)
			}
		})
	}
}

func TestParseMP3(t *testing.T) {
	for header, want := range map[string]Track{
		"fffb9064": {Kind: Audio, Codec: MP3, SampleRate: 44100, Channels: 2, FrameSamples: 1152},
		"fff384c4": {Kind: Audio, Codec: MP3, SampleRate: 24000, Channels: 1, FrameSamples: 576},
		"ffe388c4": {Kind: Audio, Codec: MP3, SampleRate: 8000, Channels: 1, FrameSamples: 576},
	} {
		if got, err := ParseMP3(unhex(t, header)); err != nil || got.SampleRate != want.SampleRate || got.Channels != want.Channels || got.FrameSamples != want.FrameSamples {
			t.Errorf("%s: got %+v, %v, want %+v", header, got, err, want)
		}
	}
}

func TestBrokenConfig(t *testing.T) {
	parse := map[string]func([]byte) (Track, error){"avcc": ParseAVCC, "asc": ParseASC, "mp3": ParseMP3}
	for _, c := range []struct {
		parser, bytes string
		want          string
	}{
		{"avcc", "", "media: h264 parameters at offset 0: got the end, want 7 bytes or more"},
		{"avcc", "02 4d400b ff e0 00", "media: h264 parameters at offset 0: got version 2, want version 1"},
		{"avcc", "01 4d400b fe e0 00", "media: h264 parameters at offset 4: got NAL unit lengths of 3 bytes, want 1, 2 or 4"},
		{"avcc", "01 4d400b ff e0 00", "media: h264 parameters at offset 5: got no sequence parameter set, want one or more"},
		{"avcc", "01 4d400b ff e1 0017 674d", "media: h264 parameters at offset 8: got 2 bytes, want a sequence parameter set of 23"},
		{"avcc", "01 4d400b ff e1 0002 674d 01", "media: h264 parameters at offset 11: got the end, want the length of a picture parameter set"},
		{"avcc", "01 4d400b ff e1 0002 674d", "media: h264 parameters at offset 10: got the end, want a count of picture parameter sets"},
		{"avcc", "01 4d400b ff e1 0002 674d 00", "media: h264 parameters at offset 8: got a sequence parameter set that cannot be read, want one with a picture of 1x1 to 16384x16384"},
		{"asc", "", "media: aac parameters at offset 0: got the end, want an audio object type"},
		{"asc", "0190", "media: aac parameters at offset 0: got audio object type 0, want 1 or more"},
		{"asc", "1690", "media: aac parameters at offset 1: got sampling frequency index 13 without a frequency, want a sampling frequency"},
		{"asc", "11", "media: aac parameters at offset 0: got the end, want a sampling frequency index"},
		{"asc", "11f8", "media: aac parameters at offset 1: got channel configuration 15, want 0 to 7 or 11 to 14"},
		{"mp3", "fffb", "media: mp3 parameters at offset 2: got the end, want a frame header of 4 bytes"},
		{"mp3", "00000000", "media: mp3 parameters at offset 0: got 00 00 00 00, want the header of an MPEG audio layer III frame"},
	} {
		_, err := parse[c.parser](unhex(t, c.bytes))
		var ce *ConfigError
		if !errors.As(err, &ce) || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s %s:\n got %v\nwant %s", c.parser, c.bytes, err, c.want)
		}
	}
	for name, f := range map[string]func([]byte) (Track, error){"avcc": ParseAVCC, "asc": ParseASC} {
		if _, err := f(make([]byte, MaxConfig+1)); err == nil || !strings.Contains(err.Error(), "more bytes") {
			t.Errorf("%s of more than MaxConfig bytes: got %v", name, err)
		}
	}
}

func TestWords(t *testing.T) {
	for k := KindNone; k <= Data; k++ {
		roundTrip(t, k, new(Kind))
	}
	for c := CodecNone; c <= FLAC; c++ {
		roundTrip(t, c, new(Codec))
	}
	if Kind(9).String() != "Kind(9)" || Codec(99).String() != "Codec(99)" {
		t.Error("strangers have a word")
	}
	if H264.Kind() != Video || VP9.Kind() != Video || AAC.Kind() != Audio || FLAC.Kind() != Audio || CodecNone.Kind() != KindNone || Codec(99).Kind() != KindNone {
		t.Error("a codec has the wrong kind")
	}
	var k Kind
	if err := k.UnmarshalText([]byte("smell")); err == nil {
		t.Error(`kind "smell" was read`)
	}
}

// roundTrip writes v as its word and reads that into p.
func roundTrip[T interface {
	comparable
	encoding.TextMarshaler
}, P interface {
	*T
	encoding.TextUnmarshaler
}](t *testing.T, v T, p P) {
	t.Helper()
	text, err := v.MarshalText()
	if err == nil {
		err = p.UnmarshalText(text)
	}
	if err != nil || *p != v {
		t.Errorf("%q: got %v, %v, want %v", text, *p, err, v)
	}
}

func TestMIMEWithoutConfig(t *testing.T) {
	for _, c := range []Codec{CodecNone, H264, AAC, HEVC} {
		track := Track{Codec: c}
		if got := track.MIME(); got != "" {
			t.Errorf("%s: got %q, want none", c, got)
		}
		if n := track.NALUSize(); n != 0 {
			t.Errorf("%s: got NAL unit lengths of %d, want 0", c, n)
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add(unhex(f, avcc))
	f.Add(unhex(f, "1190"))
	f.Add(unhex(f, "2b118800"))
	f.Add(unhex(f, "fffb9064"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if track, err := ParseAVCC(b); err == nil {
			if track.Width < 1 || track.Height < 1 || track.Width > MaxSide || track.Height > MaxSide || track.MIME() == "" || track.NALUSize() == 0 {
				t.Errorf("got %+v", track)
			}
		}
		if track, err := ParseASC(b); err == nil && (track.SampleRate < 1 || track.MIME() == "") {
			t.Errorf("got %+v", track)
		}
		if track, err := ParseMP3(b); err == nil && (track.SampleRate < 1 || track.Channels < 1) {
			t.Errorf("got %+v", track)
		}
	})
}
