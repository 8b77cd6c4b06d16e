package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"path/filepath"
	"testing"

	"hawser/flv"
	"hawser/media"
	"hawser/rtmp"
)

// TestEnhancedFrames publishes HEVC, AV1 and VP9 with Opus by `hawser publish` to a player of package rtmp, which gets each frame that ffmpeg has encoded, byte for byte, with its times.
func TestEnhancedFrames(t *testing.T) {
	t.Parallel()
	s := serve(t, "--grace", "1s")
	for _, c := range []struct {
		codec   media.Codec
		encoder []string
	}{
		{media.HEVC, []string{"-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:bframes=2"}},
		{media.AV1, []string{"-c:v", "libsvtav1", "-preset", "12"}},
		{media.VP9, []string{"-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "200k"}},
	} {
		t.Run(c.codec.String(), func(t *testing.T) {
			t.Parallel()
			s := s.in(t)
			path := "/live/frames-" + c.codec.String()
			file := enhancedClip(t, c.codec, c.encoder...)
			player, err := rtmp.Dial(t.Context(), s.rtmpURL(path), nil)
			if err == nil {
				err = player.Play(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			defer player.Close()
			s.awaitStream(path, "viewed", func(l liveStream) bool { return l.Viewers == 1 })
			publisher := start(t, executable, "publish", "--rtmp", "rtmp://"+s.rtmp, path, file)
			got, tracks := receive(t, player)
			publisher.wait()
			if tracks[media.Video].Codec != c.codec || tracks[media.Audio].Codec != media.Opus {
				t.Errorf("the tracks are %+v, want %v and Opus", tracks, c.codec)
			}
			want := encoded(t, filepath.Join(filepath.Dir(file), "clip.mp4"))
			for _, kind := range []media.Kind{media.Video, media.Audio} {
				compareFrames(t, got[kind], want[kind])
			}
		})
	}
}

// receive reads frames until the stream ends.
func receive(t *testing.T, c *rtmp.Client) (frames map[media.Kind][]media.Frame, tracks map[media.Kind]media.Track) {
	t.Helper()
	frames, tracks = map[media.Kind][]media.Frame{}, map[media.Kind]media.Track{}
	var demux flv.Demuxer
	for m, err := range c.Messages(t.Context()) {
		if errors.Is(err, rtmp.ErrStreamEnded) {
			return frames, tracks
		}
		if err != nil {
			t.Fatal(err)
		}
		f, track, ok, err := demux.Feed(m.Type, m.Timestamp, bytes.Clone(m.Payload))
		if err != nil {
			t.Fatal(err)
		}
		if track != nil {
			tracks[track.Kind] = *track
		}
		if ok && !f.Config {
			frames[f.Kind] = append(frames[f.Kind], f)
		}
	}
	return frames, tracks
}

// encoded are the frames of a file as ffprobe reads them.
func encoded(t *testing.T, file string) map[media.Kind][]media.Frame {
	t.Helper()
	var p struct {
		Packets []probedPacket `json:"packets"`
	}
	out := start(t, "ffprobe", "-v", "error", "-show_packets", "-show_data", "-of", "json", file).wait()
	if err := json.Unmarshal([]byte(out), &p); err != nil {
		t.Fatal(err)
	}
	frames := map[media.Kind][]media.Frame{}
	for _, x := range p.Packets {
		kind := []media.Kind{media.Video, media.Audio}[x.Stream]
		frames[kind] = append(frames[kind], media.Frame{Kind: kind, Key: x.Flags[0] == 'K', PTS: at(t, x.PTS), DTS: at(t, x.DTS), Data: undump(t, x.Data)})
	}
	return frames
}

// compareFrames checks that frames are the same ones, with the same times.
func compareFrames(t *testing.T, got, want []media.Frame) {
	t.Helper()
	if early := len(want) - len(got); early > 0 && early <= maxEarlySound && want[0].Kind == media.Audio {
		want = want[early:]
	}
	if len(got) != len(want) || len(got) == 0 {
		t.Errorf("got %d frames, want %d", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		g, w := got[i], want[i]
		if !bytes.Equal(g.Data, w.Data) || g.DTS != w.DTS || g.PTS != w.PTS || g.Kind == media.Video && g.Key != w.Key {
			t.Fatalf("%v %d: got %d bytes at %v, %v (key: %t), want %d at %v, %v (key: %t)", g.Kind, i, len(g.Data), g.DTS, g.PTS, g.Key, len(w.Data), w.DTS, w.PTS, w.Key)
		}
	}
}
