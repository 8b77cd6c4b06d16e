package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// keyframesAndB is a clip with a keyframe every second and B-frames.
var keyframesAndB = []string{"-g", "30", "-keyint_min", "30", "-sc_threshold", "0", "-bf", "2"}

// rtmpPublisher is a program that publishes without encoding anew, so that what arrives can be compared with the file.
type rtmpPublisher struct {
	name string
	args []string // FILE and URL stand for the clip and where to, COPY for a file that keeps what is published
}

func gstreamer(sink ...string) rtmpPublisher {
	const flv = "flvdemux name=d flvmux name=m streamable=true d.video ! h264parse ! queue ! m. d.audio ! aacparse ! queue ! m. "
	const tee = "m. ! tee name=t t. ! queue ! filesink location=COPY t. ! queue ! "
	return rtmpPublisher{sink[0], append(strings.Fields("gst-launch-1.0 -q filesrc location=FILE ! "+flv+tee), sink...)}
}

var rtmpPublishers = []rtmpPublisher{
	{"ffmpeg", strings.Fields("ffmpeg -v error -re -i FILE -c copy -f flv URL")},
	gstreamer("rtmp2sink", "location=URL"),
	gstreamer("rtmpsink", "location=URL live=1"), // is librtmp
}

// rtmpPlayer is a program that plays into a file.
type rtmpPlayer struct {
	name string
	file string   // as it names its container
	args []string // FILE and URL stand for the file and where from
	does quirks
}

// aacFrame is about how long a frame of AAC is. VLC counts from the first one on and does not look at the times of the others.
const aacFrame = 25 * time.Millisecond

var rtmpPlayers = []rtmpPlayer{
	{"ffmpeg", "ffmpeg.flv", strings.Fields("ffmpeg -v error -i URL -c copy FILE"), quirks{}},
	{"rtmp2src", "rtmp2src.flv", strings.Fields("gst-launch-1.0 -q rtmp2src location=URL ! filesink location=FILE"), quirks{video: 2, audio: 2}},
	{"rtmpdump", "rtmpdump.flv", strings.Fields("rtmpdump -q --live -r URL -o FILE"), quirks{}},
	{"vlc", "vlc.flv", strings.Fields("cvlc -q -I dummy --sout #standard{access=file,mux=avformat{mux=flv},dst=FILE} URL vlc://quit"), quirks{video: 10, audio: 20, settles: 4, jitter: aacFrame}},
}

// played is a player that runs, and the file that it makes.
type played struct {
	*program
	player rtmpPlayer
	path   string
}

// play starts a player.
func (p rtmpPlayer) play(t *testing.T, dir, url string) played {
	t.Helper()
	out := played{player: p, path: filepath.Join(dir, p.file)}
	args := replaced(p.args, "FILE", out.path, "URL", url)
	out.program = start(t, args[0], args[1:]...)
	return out
}

func replaced(args []string, pairs ...string) (list []string) {
	r := strings.NewReplacer(pairs...)
	for _, a := range args {
		list = append(list, r.Replace(a))
	}
	return list
}

// openDir is a folder that VLC may write to as nobody.
func openDir(t *testing.T) string {
	dir := t.TempDir()
	os.Chmod(dir, 0o777)
	os.Chmod(filepath.Dir(dir), 0o755)
	return dir
}

// waitingPlayers starts every player there is, and waits until the server has them all.
func waitingPlayers(t *testing.T, s *server, path string) (list []played) {
	t.Helper()
	dir := openDir(t)
	for _, p := range rtmpPlayers {
		if installed(p.args[0]) {
			list = append(list, p.play(t, dir, s.rtmpURL(path)))
		}
	}
	s.awaitStream(path, "viewed by all", func(l liveStream) bool { return l.Viewers == len(list) })
	return list
}

// check waits for the players' end and compares what they played with what was published, whose times may be off by jitter.
func check(t *testing.T, players []played, want elementary, jitter time.Duration) {
	for _, p := range rtmpPlayers {
		t.Run("to "+p.name, func(t *testing.T) {
			need(t, p.args[0])
			for _, run := range players {
				if run.player.name == p.name {
					run.t = t
					run.wait()
					elementaryStreams(t, run.path).compare(t, want, 0, p.does.jittered(jitter))
				}
			}
		})
	}
}

// TestPublishersAndPlayers publishes one file with each publisher to each player that waits for it, and to one that comes late: the units of the elementary streams and their
// times are those of the file.
func TestPublishersAndPlayers(t *testing.T) {
	t.Parallel()
	s := serve(t, "--grace", "10s")
	file := clip(t, keyframesAndB)
	for _, pub := range rtmpPublishers {
		t.Run("from "+pub.name, func(t *testing.T) {
			t.Parallel()
			need(t, pub.args[0])
			s := s.in(t)
			path := "/live/from-" + pub.name
			players := waitingPlayers(t, s, path)
			published := file
			if slices.Contains(pub.args, "location=COPY") {
				published = filepath.Join(t.TempDir(), "copy.flv")
			}
			args := replaced(pub.args, "FILE", file, "URL", s.rtmpURL(path), "COPY", published)
			run := start(t, args[0], args[1:]...)
			s.awaitStream(path, "past its first second", func(l liveStream) bool { return l.Frames > 100 })
			late := rtmpPlayers[0].play(t, t.TempDir(), s.rtmpURL(path))
			run.wait()
			want := elementaryStreams(t, published)
			check(t, players, want, 0)
			checkLate(t, late, want, 0)
		})
	}
}

// checkLate waits for the end of a player that came after the first second, and compares what it played with the rest of what was published, from a keyframe on.
func checkLate(t *testing.T, p played, want elementary, jitter time.Duration) {
	t.Run("to one that comes late", func(t *testing.T) {
		p.t = t
		p.wait()
		got := elementaryStreams(t, p.path)
		first := nearest(want["video"], got["video"][0], got["video"][0].dts)
		if first < 30 || first%30 != 0 {
			t.Fatalf("begins with picture %d, want a keyframe after the first second, which is each thirtieth", first)
		}
		got.compare(t, want, first, p.player.does.jittered(jitter))
	})
}
