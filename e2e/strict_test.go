package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"hawser/flv"
	"hawser/media"
	"hawser/rtmp"
)

// TestStrictCodecs publishes HEVC and AV1 with AAC to a server with --strict-codecs. Players that know no Enhanced RTMP, or do not say so, get the sound alone and nothing that they misread, and the event log says what
// is left out for them; one that names the codec gets all, from the same stream.
func TestStrictCodecs(t *testing.T) {
	t.Parallel()
	need(t, "ffmpeg", "ffprobe")
	s := serve(t, "--strict-codecs")
	for _, c := range []struct {
		codec   media.Codec
		encoder []string
	}{
		{media.HEVC, []string{"-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error"}},
		{media.AV1, []string{"-c:v", "libsvtav1", "-preset", "12"}},
	} {
		t.Run(c.codec.String(), func(t *testing.T) {
			t.Parallel()
			s := s.in(t)
			path := "/live/strict-" + c.codec.String()
			start(t, executable, "publish", "--loop", "--rtmp", "rtmp://"+s.rtmp, path, enhancedClipWith(t, media.AAC, c.codec, c.encoder...))
			s.awaitLive(path)
			told := map[string]bool{} // players of which an event has been seen
			for name, args := range map[string][]string{
				"ffmpeg":   {"-v", "error", "-i", s.rtmpURL(path), "-t", "2", "-c", "copy"},
				"rtmpdump": {"-q", "-r", s.rtmpURL(path), "--stop", "2", "-o"},
			} {
				t.Run(name, func(t *testing.T) {
					need(t, name)
					file := filepath.Join(t.TempDir(), "played.flv")
					player := start(t, name, append(args, file)...)
					left := s.in(t).awaitEvent("what is left out for "+name, func(e event) bool { return e.Kind == "unsupported" && e.Path == path && !told[e.Conn] })
					told[left.Conn] = true
					if want := "left out, as the player has not said that it reads it: video 1 (" + c.codec.String() + ")"; left.Reason.Text != want {
						t.Errorf("the event says %q, want %q", left.Reason.Text, want)
					}
					if said := player.wait(); said != "" {
						t.Errorf("%s complains: %s", name, said)
					}
					if got := kinds(t, file); got["video"] != 0 || got["audio"] < 2*40 {
						t.Errorf("%s has played %v, want two seconds of sound alone", name, got)
					}
				})
			}
			knows, err := rtmp.Dial(t.Context(), s.rtmpURL(path), nil)
			if err == nil {
				err = knows.Play(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			defer knows.Close()
			if got := firstPicture(t, knows); got != c.codec {
				t.Errorf("a player that names its codecs gets %v, want %v", got, c.codec)
			}
		})
	}
}

// kinds counts the packets of each kind in a file.
func kinds(t *testing.T, file string) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for line := range strings.Lines(start(t, "ffprobe", "-v", "error", "-show_entries", "packet=codec_type", "-of", "csv=p=0", file).wait()) {
		counts[strings.Trim(line, ",\n")]++
	}
	return counts
}

// firstPicture reads until there is one, and returns its codec.
func firstPicture(t *testing.T, c *rtmp.Client) media.Codec {
	t.Helper()
	var demux flv.Demuxer
	var codec media.Codec
	for m, err := range c.Messages(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		f, track, ok, err := demux.Feed(m.Type, m.Timestamp, m.Payload)
		if err != nil {
			t.Fatal(err)
		}
		if track != nil && track.Kind == media.Video {
			codec = track.Codec
		}
		if ok && !f.Config && f.Kind == media.Video {
			return codec
		}
	}
	return codec
}
