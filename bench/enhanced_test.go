//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"net"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/bluenviron/gortmplib"
	"github.com/bluenviron/gortmplib/pkg/codecs"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/flac"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/opus"

	"hawser/flv"
	"hawser/media"
	"hawser/rtmp"
	"hawser/server"
)

// Parameters and the beginnings of frames as x265, libaom, libvpx and ffmpeg wrote them, of 160x90 and 48 kHz.
const (
	hevcVPS   = "40010c01ffff01600000030090000003000003001e959009"
	hevcSPS   = "42010101600000030090000003000003001ea0142061f26595912930bc05a02000000300200000030321"
	hevcPPS   = "4401c073c189"
	av1Header = "0a0d20000003b4fd936be480868010" // as an open bitstream unit with its size
	vp9Key    = "8249834200 09f0 0590 8418"
	flacInfo  = "12001200000255" + "0004ff0bb802f00000bb80ba53abf56ced381f730b6f85c5f5e43d"
	ac3Frame  = "0b7712340a4043e106"
	step      = 40 * time.Millisecond
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(string(bytes.ReplaceAll([]byte(s), []byte(" "), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// rtmpServer starts a server and gives the URL of a stream.
func rtmpServer(t *testing.T) (*server.Server, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s, done := server.New(server.Options{}), make(chan error, 1)
	go func() { done <- s.Serve(ctx, nil, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, "rtmp://" + l.Addr().String() + "/live/a"
}

// stranger connects gortmplib, which is MediaMTX's.
func stranger(t *testing.T, ctx context.Context, rawURL string, publish bool) *gortmplib.Client {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	c := &gortmplib.Client{URL: u, Publish: publish}
	if err := c.Initialize(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// broadcast is what gortmplib publishes, and what is to come out.
type broadcast struct {
	name        string
	tracks      []codecs.Codec
	want        []media.Codec
	key, inter  []byte // pictures that come out; every tenth is a keyframe
	sound       []byte
	writeVideo  func(w *gortmplib.Writer, at time.Duration, key bool) error
	writeSounds func(w *gortmplib.Writer, at time.Duration) error
}

func broadcasts(t *testing.T) []broadcast {
	var info flac.StreamInfo
	if err := info.Unmarshal(unhex(t, flacInfo)); err != nil {
		t.Fatal(err)
	}
	key, inter := unhex(t, "2601aa"), unhex(t, "0201bb")
	size := []byte{0, 0, 0, 3}
	header := unhex(t, av1Header)
	bare := append([]byte{header[0] &^ 2}, header[2:]...) // without its size
	ac3 := &codecs.AC3{SampleRate: 48000, ChannelCount: 2}
	return []broadcast{{
		name: "HEVC and Opus",
		tracks: []codecs.Codec{&codecs.H265{VPS: unhex(t, hevcVPS), SPS: unhex(t, hevcSPS), PPS: unhex(t, hevcPPS)},
			&codecs.Opus{IDHeader: &opus.IDHeader{Version: 1, ChannelCount: 2, PreSkip: 312, InputSampleRate: 48000}}},
		want: []media.Codec{media.HEVC, media.Opus}, key: slices.Concat(size, key), inter: slices.Concat(size, inter), sound: []byte{0xfc, 1},
		writeVideo: func(w *gortmplib.Writer, at time.Duration, isKey bool) error {
			return w.WriteH265(w.Tracks[0], at+step, at, [][]byte{map[bool][]byte{true: key, false: inter}[isKey]})
		},
		writeSounds: func(w *gortmplib.Writer, at time.Duration) error {
			return w.WriteOpus(w.Tracks[1], at, []byte{0xfc, 1})
		},
	}, {
		name: "AV1 and FLAC", tracks: []codecs.Codec{&codecs.AV1{}, &codecs.FLAC{StreamInfo: &info}},
		want: []media.Codec{media.AV1, media.FLAC}, key: slices.Concat(header, unhex(t, "32021000")), inter: unhex(t, "32021000"), sound: []byte{0xff, 0xf8},
		writeVideo: func(w *gortmplib.Writer, at time.Duration, isKey bool) error {
			if isKey {
				return w.WriteAV1(w.Tracks[0], at, [][]byte{bare, {0x30, 0x10, 0}})
			}
			return w.WriteAV1(w.Tracks[0], at, [][]byte{{0x30, 0x10, 0}})
		},
		writeSounds: func(w *gortmplib.Writer, at time.Duration) error {
			return w.WriteFLAC(w.Tracks[1], at, []byte{0xff, 0xf8})
		},
	}, {
		name: "VP9, AC-3 and a second AC-3", tracks: []codecs.Codec{&codecs.VP9{}, ac3, ac3},
		want: []media.Codec{media.VP9, media.AC3, media.AC3}, key: unhex(t, vp9Key), inter: []byte{0x86, 0}, sound: unhex(t, ac3Frame),
		writeVideo: func(w *gortmplib.Writer, at time.Duration, isKey bool) error {
			return w.WriteVP9(w.Tracks[0], at, map[bool][]byte{true: unhex(t, vp9Key), false: {0x86, 0}}[isKey])
		},
		writeSounds: func(w *gortmplib.Writer, at time.Duration) error {
			if err := w.WriteAC3(w.Tracks[1], at, unhex(t, ac3Frame)); err != nil {
				return err
			}
			return w.WriteAC3(w.Tracks[2], at, unhex(t, ac3Frame))
		},
	}}
}

// TestStrangerPublishes takes what gortmplib publishes: Enhanced RTMP of each codec, and a second track of a kind.
func TestStrangerPublishes(t *testing.T) {
	const pictures = 20
	for _, c := range broadcasts(t) {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			s, path := rtmpServer(t)
			player := playing(t, ctx, path)
			w := &gortmplib.Writer{Conn: stranger(t, ctx, path, true)}
			for _, codec := range c.tracks {
				w.Tracks = append(w.Tracks, &gortmplib.Track{Codec: codec})
			}
			err := w.Initialize()
			for i := 0; i < pictures && err == nil; i++ {
				if err = c.writeVideo(w, time.Duration(i)*step, i%10 == 0); err == nil {
					err = c.writeSounds(w, time.Duration(i)*step)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			c.check(t, ctx, player, pictures)
			live, _ := s.Streams().Find("/live/a")
			var got []media.Codec
			for _, track := range live.Tracks {
				got = append(got, track.Codec)
				if track.Kind == media.Video && track.Width != 160 || track.Kind == media.Audio && (track.SampleRate != 48000 || track.Channels != 2) {
					t.Errorf("got track %+v", track)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got tracks %v, want %v", got, c.want)
			}
		})
	}
}

// check reads the pictures and the sound between them, from the keyframe on that was the last one when the player could be served.
func (c *broadcast) check(t *testing.T, ctx context.Context, player *rtmp.Client, pictures int) {
	t.Helper()
	var d flv.Demuxer
	n := -1
	for m, err := range player.Messages(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		f, _, ok, err := d.Feed(m.Type, m.Timestamp, m.Payload)
		if n < 0 && ok && !f.Config && f.Kind == media.Video {
			if n = int(f.DTS / step); n%10 != 0 {
				t.Fatalf("the first picture is %d: no keyframe", n)
			}
		}
		switch want := map[bool][]byte{true: c.key, false: c.inter}[n%10 == 0]; {
		case err != nil:
			t.Fatal(err)
		case !ok || f.Config:
		case f.Kind == media.Video:
			if !bytes.Equal(f.Data, want) || f.Key != (n%10 == 0) || f.DTS != time.Duration(n)*step {
				t.Fatalf("picture %d: got %+v, want %x", n, f, want)
			}
			n++
		case !bytes.Equal(f.Data, c.sound):
			t.Fatalf("sound: got %+v, want %x", f, c.sound)
		}
		if n == pictures {
			return
		}
	}
}

// playing connects our own client as a player.
func playing(t *testing.T, ctx context.Context, path string) *rtmp.Client {
	t.Helper()
	c, err := rtmp.Dial(ctx, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Play(ctx); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestStrangerPlays lets gortmplib read what the client and server write. VP9 and FLAC it reads only with parameters in another form than Enhanced RTMP has.
func TestStrangerPlays(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, path := rtmpServer(t)
	hvcc := "0101600000009000000000001ef000fcfdf8f800000f03" + "2000010018" + hevcVPS + "210001002a" + hevcSPS + "2200010006" + hevcPPS
	video, err := media.ParseHVCC(unhex(t, hvcc))
	if err != nil {
		t.Fatal(err)
	}
	video.ID = flv.VideoTrack
	audio := media.OpusTrack(2)
	audio.ID = flv.AudioTrack
	c, err := rtmp.Dial(ctx, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Publish(ctx); err != nil {
		t.Fatal(err)
	}
	write := func(track media.Track, f media.Frame) {
		t.Helper()
		f.Track, f.Kind = track.ID, track.Kind
		if err := c.WriteFrame(ctx, track, f); err != nil {
			t.Fatal(err)
		}
	}
	write(video, media.Frame{Config: true, Key: true, Data: video.Config})
	write(audio, media.Frame{Config: true, Key: true, Data: audio.Config})
	both := func(i int) {
		at := time.Duration(i) * step
		write(video, media.Frame{Key: i == 0, DTS: at, PTS: at + step, Data: []byte{0, 0, 0, 3, 0x02 | byte(0x24*max(0, 1-i)), 1, byte(i)}})
		write(audio, media.Frame{Key: true, DTS: at, PTS: at, Data: []byte{0xfc, byte(i)}})
	}
	first := playing(t, ctx, path)
	for i := range 5 {
		both(i)
	}
	for m, err := range first.Messages(ctx) { // up to the newest: then the server has them, and the next player gets its parameters once
		if err != nil {
			t.Fatal(err)
		}
		if m.Type == rtmp.TypeAudio && m.Timestamp == uint32((4*step).Milliseconds()) {
			break
		}
	}
	player := stranger(t, ctx, path, false)
	for i := 5; i < 60; i++ {
		both(i)
	}
	r := &gortmplib.Reader{Conn: player}
	if err := r.Initialize(); err != nil {
		t.Fatal(err)
	}
	hear(t, r, 60)
}

// hear reads so many pictures and sounds.
func hear(t *testing.T, r *gortmplib.Reader, n int) {
	t.Helper()
	pictures, sounds := 0, 0
	for _, track := range r.Tracks() {
		switch codec := track.Codec.(type) {
		case *codecs.H265:
			if !bytes.Equal(codec.SPS, unhex(t, hevcSPS)) {
				t.Errorf("got a sequence parameter set of %x", codec.SPS)
			}
			r.OnDataH265(track, func(pts, dts time.Duration, au [][]byte) {
				if dts != time.Duration(pictures)*step || pts != dts+step || len(au) != 1 || au[0][2] != byte(pictures) {
					t.Errorf("picture %d: got %x at %v, %v", pictures, au, dts, pts)
				}
				pictures++
			})
		case *codecs.Opus:
			if codec.IDHeader.ChannelCount != 2 {
				t.Errorf("got %+v", codec.IDHeader)
			}
			r.OnDataOpus(track, func(pts time.Duration, b []byte) {
				if pts != time.Duration(sounds)*step || !bytes.Equal(b, []byte{0xfc, byte(sounds)}) {
					t.Errorf("sound %d: got %x at %v", sounds, b, pts)
				}
				sounds++
			})
		default:
			t.Errorf("got a track of %T", codec)
		}
	}
	for (pictures < n || sounds < n) && !t.Failed() {
		if err := r.Read(); err != nil {
			t.Fatal(err)
		}
	}
}
