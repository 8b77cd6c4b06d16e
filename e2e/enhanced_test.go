package e2e

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"hawser/flv"
	"hawser/media"
)

// enhancedClip is an FLV file of five seconds with HEVC, AV1 or VP9, and Opus. ffmpeg encodes it; Debian's writes no Enhanced RTMP, so package flv does.
func enhancedClip(t *testing.T, codec media.Codec, encoder ...string) string {
	t.Helper()
	return enhancedClipWith(t, media.Opus, codec, encoder...)
}

// enhancedClipWith is the same with other sound.
func enhancedClipWith(t *testing.T, sound, codec media.Codec, encoder ...string) string {
	t.Helper()
	need(t, "ffmpeg", "ffprobe")
	dir := t.TempDir()
	encoded, path := filepath.Join(dir, "clip.mp4"), filepath.Join(dir, "clip.flv")
	args := []string{"-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000",
		"-t", strconv.Itoa(clipSeconds), "-pix_fmt", "yuv420p", "-g", "30", "-c:a", soundEncoders[sound], "-ac", "2"}
	start(t, "ffmpeg", append(append(args, encoder...), encoded)...).wait()
	out := start(t, "ffprobe", "-v", "error", "-show_packets", "-show_streams", "-show_data", "-of", "json", encoded).wait()
	if err := os.WriteFile(path, enhancedTags(t, codec, sound, out), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// soundEncoders are ffmpeg's names of what encodes sound.
var soundEncoders = map[media.Codec]string{media.Opus: "libopus", media.AAC: "aac"}

// probedPacket is a frame with its bytes, as ffprobe shows them.
type probedPacket struct {
	Stream int    `json:"stream_index"`
	PTS    string `json:"pts_time"`
	DTS    string `json:"dts_time"`
	Flags  string `json:"flags"`
	Data   string `json:"data"`
}

// at is a time of ffprobe's in whole milliseconds, not before 0.
func at(t *testing.T, text string) time.Duration {
	t.Helper()
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return max(0, time.Duration(math.Round(v*1000))*time.Millisecond)
}

// enhancedTags makes tags of what ffprobe said of a file.
func enhancedTags(t *testing.T, codec, sound media.Codec, probed string) []byte {
	t.Helper()
	var p struct {
		Packets []probedPacket `json:"packets"`
		Streams []struct {
			Extradata string `json:"extradata"`
		} `json:"streams"`
	}
	if err := json.Unmarshal([]byte(probed), &p); err != nil || len(p.Streams) != 2 {
		t.Fatalf("ffprobe said %d streams, %v", len(p.Streams), err)
	}
	tracks := []media.Track{{ID: flv.VideoTrack, Kind: media.Video, Codec: codec}, {ID: flv.AudioTrack, Kind: media.Audio, Codec: sound}}
	file := flv.AppendHeader(nil, true, true)
	for i, track := range tracks {
		if config := undump(t, p.Streams[i].Extradata); len(config) > 0 {
			file = flv.AppendFrameTag(file, track, media.Frame{Kind: track.Kind, Key: true, Config: true, Data: config})
		}
	}
	slices.SortStableFunc(p.Packets, func(a, b probedPacket) int { return cmp.Compare(at(t, a.DTS), at(t, b.DTS)) })
	for _, x := range p.Packets {
		track := tracks[x.Stream]
		file = flv.AppendFrameTag(file, track, media.Frame{Kind: track.Kind, Key: x.Flags[0] == 'K', DTS: at(t, x.DTS), PTS: at(t, x.PTS), Data: undump(t, x.Data)})
	}
	return file
}

// undump reads the bytes in a dump of ffprobe.
func undump(t *testing.T, dump string) (b []byte) {
	t.Helper()
	for line := range strings.Lines(dump) {
		if _, line, ok := strings.Cut(line, ": "); ok {
			line, _, _ = strings.Cut(line, "  ")
			part, err := hex.DecodeString(strings.ReplaceAll(line, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			b = append(b, part...)
		}
	}
	return b
}

// TestBrowserPlaysEnhanced publishes AV1 and VP9 with Opus over Enhanced RTMP, and a browser plays them in the page.
func TestBrowserPlaysEnhanced(t *testing.T) {
	s := serve(t)
	for _, c := range []struct {
		codec   media.Codec
		encoder []string
	}{
		{media.AV1, []string{"-c:v", "libsvtav1", "-preset", "12"}},
		{media.VP9, []string{"-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "200k"}},
	} {
		t.Run(c.codec.String(), func(t *testing.T) {
			s := s.in(t)
			path := "/live/" + c.codec.String()
			start(t, executable, "publish", "--loop", "--rtmp", "rtmp://"+s.rtmp, path, enhancedClip(t, c.codec, c.encoder...))
			s.awaitLive(path)
			const watched = 3 // seconds
			var a struct{ Before, After pageStats }
			browse(t, s, "play", map[string]any{"path": path, "ms": watched * 1000}).answer(&a)
			t.Logf("before %+v, after %+v", a.Before, a.After)
			if a.After.FramesPresented-a.Before.FramesPresented < watched*30/3 || a.After.AudioDecodedBytes <= a.Before.AudioDecodedBytes { // a busy machine drops some
				t.Errorf("from %+v to %+v in %d s", a.Before, a.After, watched)
			}
			if a.After.Width != 320 || a.After.Height != 180 || a.After.PlayerState != "playing" {
				t.Errorf("the page plays %dx%d and is %q, want 320x180 and playing", a.After.Width, a.After.Height, a.After.PlayerState)
			}
		})
	}
}
