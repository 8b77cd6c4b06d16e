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

// TestStrangerPublishes takes what gortmplib publishes: Enhanced RTMP of each codec, and a second track of a kind.
func TestStrangerPublishes(t *testing.T) {
	h265 := &codecs.H265{VPS: unhex(t, hevcVPS), SPS: unhex(t, hevcSPS), PPS: unhex(t, hevcPPS)}
	var info flac.StreamInfo
	if err := info.Unmarshal(unhex(t, flacInfo)); err != nil {
		t.Fatal(err)
	}
	key, inter := unhex(t, "2601aa"), unhex(t, "0201bb")
	for _, c := range []struct {
		name   string
		tracks []codecs.Codec
		want   []media.Codec
		write  func(w *gortmplib.Writer, i int, at time.Duration) error
		video  func(i int) []byte // what comes out
		audio  []byte
	}{
		{"HEVC and Opus", []codecs.Codec{h265, &codecs.Opus{IDHeader: &opus.IDHeader{Version: 1, ChannelCount: 2, PreSkip: 312, InputSampleRate: 48000}}}, []media.Codec{media.HEVC, media.Opus},
			func(w *gortmplib.Writer, i int, at time.Duration) error {
				unit := inter
				if i%10 == 0 {
					unit = key
				}
				if err := w.WriteH265(w.Tracks[0], at+step, at, [][]byte{unit}); err != nil {
					return err
				}
				return w.WriteOpus(w.Tracks[1], at, []byte{0xfc, 1})
			}, func(i int) []byte {
				if i%10 == 0 {
					return append([]byte{0, 0, 0, 3}, key...)
				}
				return append([]byte{0, 0, 0, 3}, inter...)
			}, []byte{0xfc, 1}},
		{"AV1 and FLAC", []codecs.Codec{&codecs.AV1{}, &codecs.FLAC{StreamInfo: &info}}, []media.Codec{media.AV1, media.FLAC},
			func(w *gortmplib.Writer, i int, at time.Duration) error {
				unit := [][]byte{{0x30, 0x10, 0}}
				if i%10 == 0 {
					header := unhex(t, av1Header)
					unit = slices.Insert(unit, 0, append([]byte{header[0] &^ 2}, header[2:]...))
				}
				if err := w.WriteAV1(w.Tracks[0], at, unit); err != nil {
					return err
				}
				return w.WriteFLAC(w.Tracks[1], at, []byte{0xff, 0xf8})
			}, func(i int) []byte {
				if i%10 == 0 {
					return unhex(t, av1Header+"32021000")
				}
				return unhex(t, "32021000")
			}, []byte{0xff, 0xf8}},
		{"VP9, AC-3 and a second AC-3", []codecs.Codec{&codecs.VP9{}, &codecs.AC3{SampleRate: 48000, ChannelCount: 2}, &codecs.AC3{SampleRate: 48000, ChannelCount: 2}},
			[]media.Codec{media.VP9, media.AC3, media.AC3},
			func(w *gortmplib.Writer, i int, at time.Duration) error {
				frame := []byte{0x86, 0}
				if i%10 == 0 {
					frame = unhex(t, vp9Key)
				}
				if err := w.WriteVP9(w.Tracks[0], at, frame); err != nil {
					return err
				}
				if err := w.WriteAC3(w.Tracks[1], at, unhex(t, ac3Frame)); err != nil {
					return err
				}
				return w.WriteAC3(w.Tracks[2], at, unhex(t, ac3Frame))
			}, func(i int) []byte {
				if i%10 == 0 {
					return unhex(t, vp9Key)
				}
				return []byte{0x86, 0}
			}, unhex(t, ac3Frame)},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			s, path := rtmpServer(t)
			player, err := rtmp.Dial(ctx, path, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer player.Close()
			if err := player.Play(ctx); err != nil {
				t.Fatal(err)
			}
			w := &gortmplib.Writer{Conn: stranger(t, ctx, path, true)}
			for _, codec := range c.tracks {
				w.Tracks = append(w.Tracks, &gortmplib.Track{Codec: codec})
			}
			if err := w.Initialize(); err != nil {
				t.Fatal(err)
			}
			for i := range 20 {
				if err := c.write(w, i, time.Duration(i)*step); err != nil {
					t.Fatal(err)
				}
			}
			var d flv.Demuxer
			pictures := 0
			for m, err := range player.Messages(ctx) {
				if err != nil {
					t.Fatal(err)
				}
				f, _, ok, err := d.Feed(m.Type, m.Timestamp, m.Payload)
				switch {
				case err != nil:
					t.Fatal(err)
				case !ok || f.Config:
				case f.Kind == media.Video:
					if !bytes.Equal(f.Data, c.video(pictures)) || f.Key != (pictures%10 == 0) || f.DTS != time.Duration(pictures)*step {
						t.Fatalf("picture %d: got %+v, want %x", pictures, f, c.video(pictures))
					}
					pictures++
				case !bytes.Equal(f.Data, c.audio):
					t.Fatalf("sound: got %+v, want %x", f, c.audio)
				}
				if pictures == 20 {
					break
				}
			}
			var got []media.Codec
			live, _ := s.Streams().Find("/live/a")
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

// TestStrangerPlays lets gortmplib read what the client and server write. VP9 and FLAC it reads only with parameters in another form than Enhanced RTMP has.
func TestStrangerPlays(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
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
	first, err := rtmp.Dial(ctx, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if err := first.Play(ctx); err != nil {
		t.Fatal(err)
	}
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
	for (pictures < 60 || sounds < 60) && !t.Failed() {
		if err := r.Read(); err != nil {
			t.Fatal(err)
		}
	}
}
