package media

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

// Parameters and the beginnings of frames, as x265, libaom, libvpx, libopus and ffmpeg wrote them for 160x90 and 48 kHz.
const (
	hvcc = "01 01 60000000 900000000000 1e f000 fc fd f8 f8 0000 0f 03 " +
		"20 0001 0018 40010c01ffff01600000030090000003000003001e959009 " +
		"21 0001 002a 42010101600000030090000003000003001ea0142061f26595912930bc05a02000000300200000030321 " +
		"22 0001 0006 4401c073c189"
	av1Header = "0a 0d 20000003b4fd936be480868010"
	vp9Key    = "82 49 83 42 00 09f0 0590 8418"
	flacInfo  = "1200 1200 000255 0004ff 0bb802f00000bb80 ba53abf56ced381f730b6f85c5f5e43d"
)

func TestParseFormats(t *testing.T) {
	for _, c := range []struct {
		name  string
		parse func([]byte) (Track, error)
		bytes string
		mime  string
		want  Track // without Kind; Config is as hexadecimal in config
		conf  string
	}{
		{"HEVC", ParseHVCC, hvcc, "hvc1.1.6.L30.90", Track{Codec: HEVC, Width: 160, Height: 90}, hvcc},
		{"AV1", ParseAV1C, "81 20 00 00" + av1Header, "av01.1.00M.08", Track{Codec: AV1, Width: 160, Height: 90}, "81 20 00 00" + av1Header},
		{"AV1 without a sequence header", ParseAV1C, "81 08 4c 00", "av01.0.08M.10", Track{Codec: AV1}, "81 08 4c 00"},
		{"AV1 of the high tier", ParseAV1C, "81 4d e0 00", "av01.2.13H.12", Track{Codec: AV1}, "81 4d e0 00"},
		{"a sequence header of AV1", ParseAV1, av1Header, "av01.1.00M.08", Track{Codec: AV1, Width: 160, Height: 90}, "81 20 00 00" + av1Header},
		{"VP9", ParseVPCC, "00 1f 82 01 01 01 0000", "vp09.00.31.08", Track{Codec: VP9}, "00 1f 82 01 01 01 0000"},
		{"VP9 with a box's version", ParseVPCC, "01000000 02 00 a2 02 02 02 0000", "vp09.02.10.10", Track{Codec: VP9}, "02 00 a2 02 02 02 0000"},
		{"a keyframe of VP9", ParseVP9, vp9Key, "vp09.00.10.08", Track{Codec: VP9, Width: 160, Height: 90}, "00 00 82 02 02 02 0000"},
		{"a keyframe of VP8", ParseVP8, "50 0100 9d012a a000 5a00 00", "vp8", Track{Codec: VP8, Width: 160, Height: 90}, ""},
		{"Opus", ParseOpusHead, "4f70757348656164 01 02 3801 80bb0000 0000 00", "opus", Track{Codec: Opus, SampleRate: 48000, Channels: 2},
			"4f70757348656164 01 02 3801 80bb0000 0000 00"},
		{"Opus of six channels", ParseOpusHead, "4f70757348656164 01 06 3801 80bb0000 0000 01 04 02 000401020305", "opus", Track{Codec: Opus, SampleRate: 48000, Channels: 6},
			"4f70757348656164 01 06 3801 80bb0000 0000 01 04 02 000401020305"},
		{"FLAC", ParseFLAC, flacInfo, "flac", Track{Codec: FLAC, SampleRate: 48000, Channels: 2, FrameSamples: 4608}, flacInfo},
		{"FLAC with its signature", ParseFLAC, "664c6143 80000022" + flacInfo, "flac", Track{Codec: FLAC, SampleRate: 48000, Channels: 2, FrameSamples: 4608}, flacInfo},
		{"AC-3", ParseAC3, "0b77 1234 0a 40 43 e106", "ac-3", Track{Codec: AC3, SampleRate: 48000, Channels: 2, FrameSamples: 1536}, "1010a0"},
		{"E-AC-3", ParseEAC3, "0b77 007f 34 86 ff 00", "ec-3", Track{Codec: EAC3, SampleRate: 48000, Channels: 2, FrameSamples: 1536}, "0200 20 04 00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.Kind = c.want.Codec.Kind()
			if c.conf != "" {
				c.want.Config = unhex(t, c.conf)
			}
			b := unhex(t, c.bytes)
			track, err := c.parse(b)
			if err != nil || !reflect.DeepEqual(track, c.want) || track.MIME() != c.mime {
				t.Errorf("got %+v, %q, %v\nwant %+v, %q", track, track.MIME(), err, c.want, c.mime)
			}
			clear(b)
			if c.conf != "" && !reflect.DeepEqual(track.Config, unhex(t, c.conf)) {
				t.Error("the track holds the caller's bytes")
			}
			for n := range b { // the beginnings of it are errors, or tracks, and no panic
				if track, err := c.parse(unhex(t, c.bytes)[:n]); err == nil && track.Codec != c.want.Codec {
					t.Errorf("of %d bytes: got %+v", n, track)
				}
			}
		})
	}
}

func TestBrokenFormats(t *testing.T) {
	noSPS := strings.Replace(hvcc, " 0f 03 20", " 0f 01 20", 1)
	for _, c := range []struct {
		parse       func([]byte) (Track, error)
		bytes, want string
	}{
		{ParseHVCC, "", "media: hevc parameters at offset 0: got the end, want 23 bytes or more"},
		{ParseHVCC, strings.Replace(hvcc, "01 01", "02 01", 1), "media: hevc parameters at offset 0: got version 2, want version 1"},
		{ParseHVCC, strings.Replace(hvcc, " 0f 03", " 0e 03", 1), "media: hevc parameters at offset 21: got NAL unit lengths of 3 bytes, want 1, 2 or 4"},
		{ParseHVCC, noSPS, "media: hevc parameters at offset 22: got no sequence parameter set, want one or more"},
		{ParseHVCC, hvcc[:strings.Index(hvcc, "0018")], "media: hevc parameters at offset 26: got the end, want the length of a parameter set"},
		{ParseHVCC, hvcc[:strings.Index(hvcc, "4001")] + "40", "media: hevc parameters at offset 29: got the end, want a parameter set of 24 bytes"},
		{ParseAV1C, "81 20 00", "media: av1 parameters at offset 3: got the end, want 4 bytes or more"},
		{ParseAV1C, "82 20 00 00", "media: av1 parameters at offset 0: got 0x82, want 0x81, version 1"},
		{ParseAV1C, "81 20 00 00 0a 0d 20", "media: av1 parameters at offset 4: got units that cannot be read, want a sequence header"},
		{ParseAV1C, "81 20 00 00 0a 01 20", "media: av1 parameters at offset 4: got a sequence header that cannot be read, want one with a picture"},
		{ParseVPCC, "00 0a 82 02", "media: vp9 parameters at offset 4: got the end, want 8 bytes"},
		{ParseVPCC, "00 0a 72 02 02 02 0000", "media: vp9 parameters at offset 0: got profile 0 of 7 bits, want profile 0 to 3 of 8, 10 or 12 bits"},
		{ParseVP9, "86 00", "media: vp9 parameters at offset 0: got a frame header that cannot be read"},
		{ParseVP8, "51 0100 9d012a a000 5a00", "media: vp8 parameters at offset 0: got 51 01 00 9d 01 2a a0 00 5a 00, want the header of a keyframe"},
		{ParseVP8, "50 0100 9d012a 0000 5a00", "media: vp8 parameters at offset 6: got a header that cannot be read"},
		{ParseOpusHead, "4f70757348656164 01 03 3801 80bb0000 0000 00", "media: opus parameters at offset 18: got 3 channels of mapping family 0, want one or two"},
		{ParseOpusHead, "4f70757348656164 01 03 3801 80bb0000 0000 01 02", "media: opus parameters at offset 20: got the end, want a mapping of 3 channels"},
		{ParseOpusHead, "4f70757348656164 01 00 3801 80bb0000 0000 00", "media: opus parameters at offset 9: got no channels, want one or more"},
		{ParseOpusHead, "4f70757348656164 10 02 3801 80bb0000 0000 00", "media: opus parameters at offset 8: got version 16, want 0 to 15"},
		{ParseOpusHead, "4f70757354616773 01 02 3801 80bb0000 0000 00", `media: opus parameters at offset 0: got "OpusTags", want "OpusHead"`},
		{ParseFLAC, "664c6143 80000021" + flacInfo, "media: flac parameters at offset 4: got block header 80 00 00 21, want that of 34 bytes of STREAMINFO"},
		{ParseFLAC, "664c6143 1200", "media: flac parameters at offset 6: got the end, want 34 bytes of STREAMINFO"},
		{ParseFLAC, strings.Replace(flacInfo, "0bb802", "000002", 1), "media: flac parameters at offset 10: got no sample rate, want 1 Hz or more"},
		{ParseAC3, "0b77 1234", "media: ac3 parameters at offset 0: got a frame that cannot be read"},
		{ParseEAC3, "0b77 1234", "media: eac3 parameters at offset 0: got a frame that cannot be read"},
	} {
		_, err := c.parse(unhex(t, c.bytes))
		var ce *ConfigError
		if !errors.As(err, &ce) || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s:\n got %v\nwant %s", c.bytes, err, c.want)
		}
	}
}

// TestOpusTrack makes headers that are read as what they were made for.
func TestOpusTrack(t *testing.T) {
	for channels := 1; channels <= 8; channels++ {
		made := OpusTrack(channels)
		if track, err := ParseOpusHead(made.Config); err != nil || !reflect.DeepEqual(track, made) || track.Channels != channels {
			t.Errorf("%d channels: got %+v, %v, want %+v", channels, track, err, made)
		}
	}
	if OpusTrack(0).Channels != 1 || OpusTrack(99).Channels != 8 {
		t.Error("a count that does not exist is taken")
	}
}

func TestIsKey(t *testing.T) {
	h264, h265 := Track{Kind: Video, Codec: H264, Config: unhex(t, avcc)}, Track{Kind: Video, Codec: HEVC, Config: unhex(t, hvcc)}
	for _, c := range []struct {
		track Track
		frame string
		want  bool
	}{
		{h264, "00000002 0600 00000001 65", true},
		{h264, "00000001 41", false},
		{h264, "00000009 65", false},
		{h264, "", false},
		{h265, "00000002 4e01 00000002 2601", true}, // IDR_W_RADL
		{h265, "00000002 2a01", true},               // CRA
		{h265, "00000002 0201", false},
		{Track{Kind: Video, Codec: AV1}, "1200" + av1Header + "32021000", true},
		{Track{Kind: Video, Codec: AV1}, "1200 32021000", false},
		{Track{Kind: Video, Codec: AV1}, "3205", false},
		{Track{Kind: Video, Codec: VP9}, vp9Key, true},
		{Track{Kind: Video, Codec: VP9}, "8600", false},
		{Track{Kind: Video, Codec: VP8}, "50", true},
		{Track{Kind: Video, Codec: VP8}, "51", false},
		{Track{Kind: Audio, Codec: Opus}, "fc", true},
	} {
		if got := c.track.IsKey(unhex(t, c.frame)); got != c.want {
			t.Errorf("%s %s: got %v", c.track.Codec, c.frame, got)
		}
	}
}

func TestSamples(t *testing.T) {
	for _, c := range []struct {
		track Track
		frame string
		want  int
	}{
		{Track{Codec: AAC, FrameSamples: 1024}, "2110", 1024},
		{Track{Codec: AAC}, "2110", 0},
		{Track{Codec: Opus}, "fc01", 960},
		{Track{Codec: Opus}, "fd01", 1920},
		{Track{Codec: Opus}, "ff03", 2880},
		{Track{Codec: Opus}, "", 0},
		{Track{Codec: FLAC}, "fff8 1a18 00 00", 192},
		{Track{Codec: FLAC}, "fff8 5a18 00 00", 4608},
		{Track{Codec: FLAC}, "fff8 ca18 00 00", 4096},
		{Track{Codec: FLAC}, "fff8 6a18 05 3b 00", 60},
		{Track{Codec: FLAC}, "fff8 7a18 05 1067 00", 4200},
		{Track{Codec: FLAC}, "fff8 7a18 c280 1067 00", 4200},
		{Track{Codec: FLAC}, "fff8 7a18 e28080 1067 00", 4200},
		{Track{Codec: FLAC}, "fff8 7a18 e28080", 0},
		{Track{Codec: FLAC}, "1234", 0},
	} {
		if got := c.track.Samples(unhex(t, c.frame)); got != c.want {
			t.Errorf("%s %s: got %d, want %d", c.track.Codec, c.frame, got, c.want)
		}
	}
}

func FuzzFormats(f *testing.F) {
	for _, b := range []string{hvcc, "81 20 00 00" + av1Header, av1Header, "00 1f 82 01 01 01 0000", vp9Key, "50 0100 9d012a a000 5a00 00", "4f70757348656164 01 02 3801 80bb0000 0000 00", flacInfo,
		"0b77 1234 0a 40 43 e106", "0b77 007f 34 86 ff 00", "fff8 7a18 e28080 1067 00"} {
		f.Add(unhex(f, b))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, parse := range []func([]byte) (Track, error){ParseHVCC, ParseAV1C, ParseAV1, ParseVPCC, ParseVP9, ParseVP8, ParseOpusHead, ParseFLAC, ParseAC3, ParseEAC3} {
			track, err := parse(b)
			var ce *ConfigError
			if err != nil && !errors.As(err, &ce) {
				t.Fatalf("got error %v", err)
			}
			if err != nil {
				continue
			}
			if track.Kind != track.Codec.Kind() || track.MIME() == "" || track.Width < 0 || track.Width > MaxSide || track.Height > MaxSide ||
				track.Kind == Audio && (track.SampleRate < 1 || track.Channels < 1) {
				t.Errorf("got %+v, %q", track, track.MIME())
			}
			track.IsKey(b)
			track.Samples(b)
		}
	})
}
