package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// clips are the files that tests publish, made once by ffmpeg.
var clips struct {
	dir  string
	mu   sync.Mutex
	made map[string]string
}

// What the clips are made with, beside picture and sound: one keyframe at the start and no B-frames, the same with B-frames, and a
// keyframe every second.
var (
	oneGOP  = []string{"-g", "10000", "-keyint_min", "10000", "-sc_threshold", "0", "-bf", "0"}
	bFrames = []string{"-g", "10000", "-keyint_min", "10000", "-sc_threshold", "0", "-bf", "2"}
	seconds = []string{"-g", "30", "-keyint_min", "30", "-sc_threshold", "0", "-bf", "0"}
)

const clipSeconds = 5

// clip is an FLV file of five seconds, H264 at 30 frames a second and AAC.
func clip(t *testing.T, options []string) string {
	t.Helper()
	need(t, "ffmpeg", "ffprobe")
	clips.mu.Lock()
	defer clips.mu.Unlock()
	key := strings.Join(options, " ")
	if path := clips.made[key]; path != "" {
		return path
	}
	path := filepath.Join(clips.dir, fmt.Sprintf("clip%d.flv", len(clips.made)))
	args := []string{"-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000",
		"-t", strconv.Itoa(clipSeconds), "-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "veryfast", "-c:a", "aac", "-ac", "2"}
	start(t, "ffmpeg", append(append(args, options...), path)...).wait()
	if clips.made == nil {
		clips.made = map[string]string{}
	}
	clips.made[key] = path
	return path
}

// publish lets ffmpeg publish a file in real time.
func publish(t *testing.T, s *server, file, path string, options ...string) *program {
	t.Helper()
	args := append([]string{"-v", "error", "-re"}, options...)
	return startOn(t, s.host, "ffmpeg", append(args, "-i", file, "-c", "copy", "-f", "flv", s.rtmpURL(path))...)
}

// packet is a frame as ffprobe reads it; times are in milliseconds.
type packet struct {
	kind     string
	pts, dts int
}

// probe starts ffprobe on a file or URL; packets waits for it.
func probe(t *testing.T, from string) *program {
	t.Helper()
	return start(t, "ffprobe", "-v", "error", "-show_entries", "packet=codec_type,pts_time,dts_time", "-of", "csv=p=0", from)
}

// packets reads what ffprobe has found, and checks that the decoding times of a track never go back.
func (p *program) packets() (list []packet) {
	p.t.Helper()
	last := map[string]int{}
	for line := range strings.Lines(p.wait()) {
		words := strings.Split(strings.TrimSpace(line), ",")
		if words[0] == "" {
			continue
		}
		if len(words) < 3 || words[0] != "video" && words[0] != "audio" {
			p.t.Logf("%s says %q", p.name, line)
			continue
		}
		at := packet{words[0], milliseconds(p.t, words[1]), milliseconds(p.t, words[2])}
		if before, ok := last[at.kind]; ok && at.dts < before {
			p.t.Errorf("%s goes back from %d to %d ms", at.kind, before, at.dts)
		}
		last[at.kind] = at.dts
		list = append(list, at)
	}
	return list
}

func milliseconds(t *testing.T, text string) int {
	t.Helper()
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatalf("ffprobe says %q for a time", text)
	}
	return int(f*1000 + 0.5)
}

// count is the number of packets of a kind.
func count(list []packet, kind string) (n int) {
	for _, p := range list {
		if p.kind == kind {
			n++
		}
	}
	return n
}

// only are the packets of a kind.
func only(list []packet, kind string) []packet {
	return slices.DeleteFunc(slices.Clone(list), func(p packet) bool { return p.kind != kind })
}

// TestRelay publishes with ffmpeg and reads over RTMP and HTTP-FLV at once with ffprobe: every frame that was published, with the same times in both.
func TestRelay(t *testing.T) {
	for name, options := range map[string][]string{"plain": oneGOP, "B-frames": bFrames} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := clip(t, options)
			want := probe(t, file).packets()
			s := serve(t)
			const path = "/live/cam1"
			overRTMP := probe(t, s.rtmpURL(path)) // waits for the publisher
			s.awaitStream(path, "viewed", func(l liveStream) bool { return l.Viewers == 1 })
			publisher := publish(t, s, file, path)
			s.awaitLive(path)
			overFLV := probe(t, s.flvURL(path)) // joins at the clip's one keyframe
			publisher.wait()
			gotRTMP, gotFLV := overRTMP.packets(), overFLV.packets()
			for kind, mayMiss := range map[string]int{"video": 0, "audio": 2} { // sound that comes before the first picture is nobody's
				published, a, b := only(want, kind), only(gotRTMP, kind), only(gotFLV, kind)
				if len(a) > len(published) || len(a) < len(published)-mayMiss {
					t.Errorf("%d %s packets over RTMP, published %d", len(a), kind, len(published))
				}
				if !slices.Equal(a, b) {
					t.Errorf("%s: %d packets over RTMP, %d over HTTP-FLV, or their times differ", kind, len(a), len(b))
				}
			}
			if a, b := offsets(want), offsets(gotRTMP); !slices.Equal(a, b) {
				t.Errorf("differences between presentation and decoding: got %v, published %v", b, a)
			}
		})
	}
}

// offsets are the distances between presentation and decoding of the pictures.
func offsets(list []packet) (ms []int) {
	for _, p := range only(list, "video") {
		ms = append(ms, p.pts-p.dts)
	}
	return ms
}
