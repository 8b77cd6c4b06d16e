package e2e

import (
	"image"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// sample is the clip of the demo: H264 without B-frames, AAC, and a mark whose place tells the frame.
const sample = "../cmd/hawser/sample/sample.flv"

// anyRTC lets WebRTC be on ports that the system chooses.
var anyRTC = []string{"--rtc", ":0"}

// mark is where the mark was in a presented frame, and the media time that the player gave the frame, in seconds.
type mark struct{ X, Y, MediaTime float64 }

// ladderSeen is what the functions of ladder.mjs that look at the console answer.
type ladderSeen struct {
	Stats struct {
		pageStats
		Webrtc struct {
			Phase, Detail, Here, There, Pair string
			FramesReceived, FramesDecoded    int
		}
	}
	Switches, Against []string
	Numbers           map[string]string
	Ends              [][]string
	Before, After     []mark
	Shot              string
	Video             struct{ X, Y, Width, Height float64 }
}

// presented fails the test unless about as many frames were presented as the stream has, and the picture is one.
func (a *ladderSeen) presented(t *testing.T, least int) {
	t.Helper()
	if n := a.Stats.FramesPresented; n < least || a.Stats.PlayerState != "playing" {
		t.Errorf("%d frames presented, and the player is %q: want %d and playing", n, a.Stats.PlayerState, least)
	}
	v := a.Video
	if n := colours(t, a.Shot, image.Rect(int(v.X), int(v.Y), int(v.X+v.Width), int(v.Y+v.Height))); n < 100 {
		t.Errorf("%d colours in the screenshot's picture: it is blank", n)
	}
}

// phase is by how many frames the marks are ahead of their media times, in the median, from -30 to 30.
func phase(t *testing.T, marks []mark) float64 {
	t.Helper()
	if len(marks) < 10 {
		t.Fatalf("the mark is in %d frames", len(marks))
	}
	var list []float64
	first := place{marks[0].X, marks[0].Y}.frame() - marks[0].MediaTime*30
	for _, m := range marks {
		list = append(list, math.Remainder(place{m.X, m.Y}.frame()-m.MediaTime*30-first, 60))
	}
	slices.Sort(list)
	return math.Remainder(first+list[len(list)/2], 60)
}

// TestLadderClimbs lets ffmpeg publish H264 by RTMP, which a browser plays over the session at first and over WebRTC as soon as that is steady, with the media time of each frame as it was.
func TestLadderClimbs(t *testing.T) {
	s := serve(t, anyRTC...)
	const path = "/live/climbs"
	publish(t, s, sample, path, "-stream_loop", "-1", "-an")
	s.awaitLive(path)
	var a ladderSeen
	browse(t, s, "climbs", map[string]any{"path": path, "choose": true, "frames": 30, "ms": 3000, "height": 1500}).answer(&a)
	rtc := a.Stats.Webrtc
	t.Logf("%+v\n%q\n%q", rtc, a.Switches, a.Numbers)
	if rtc.FramesReceived < 60 || rtc.FramesDecoded*100 < rtc.FramesReceived*90 { // some are on their way
		t.Errorf("%d of %d frames decoded, want 90 %%", rtc.FramesDecoded, rtc.FramesReceived)
	}
	if len(a.Switches) == 0 || !strings.HasPrefix(a.Switches[0], "websocket to webrtc: frames were decoded steadily for ") {
		t.Errorf("the switches are %q", a.Switches)
	}
	if before, after := phase(t, a.Before), phase(t, a.After); math.Abs(math.Remainder(before-after, 60)) > 0.6 {
		t.Errorf("media time is off by %.2f frames over WebRTC", math.Remainder(after-before, 60))
	} else {
		t.Logf("the mark's phase is %.2f frames over the session, %.2f over WebRTC", before, after)
	}
	a.presented(t, 90)
	if a.Numbers["Picture by"] != "WebRTC" || !strings.HasPrefix(a.Numbers["ICE, here / server"], "connected / ") || len(a.Ends) < 4 {
		t.Errorf("the page says %q and lists %q", a.Numbers, a.Ends)
	}
	s.awaitEvent("the switch, with its evidence", func(e event) bool {
		return e.Kind == "switch" && e.Protocol == "rtc" && e.Path == path && strings.Contains(e.Detail, "decoded steadily")
	})
	s.awaitEvent("the browser's own view", func(e event) bool {
		return e.Kind == "view" && e.Path == path && e.State == "connected" && strings.Contains(e.Detail, "framesDecoded")
	})
}

// TestDataOverWebRTC runs the demo and compares, frame by frame, the mark in the picture that comes by WebRTC with the one of the data that comes over the session with it.
func TestDataOverWebRTC(t *testing.T) {
	s := startServer(t, "demo", "--http", "127.0.0.1:0", "--rtmp", "127.0.0.1:0", "--rtc", ":0")
	const path, frames = "/live/demo", 120
	var a struct {
		Seen []struct {
			place
			Told *place
		}
		Updates, Alone, Late, Disorder int
		Detail                         string
	}
	browse(t, s, "tells", map[string]any{"path": path, "choose": true, "frames": frames}).answer(&a)
	var differences []float64
	for _, f := range a.Seen {
		if f.Told != nil {
			differences = append(differences, math.Abs(apart(f.place, *f.Told)))
		}
	}
	if len(differences) < frames*9/10 {
		t.Fatalf("of %d frames %d have a mark and data", frames, len(differences))
	}
	slices.Sort(differences)
	n := len(differences)
	t.Logf("marks are apart by: median %.3f, most %.3f frames, over %d frames; of %d updates %d came after their frame", differences[n/2], differences[n-1], n, a.Updates, a.Late)
	if most := differences[n-1-n/20]; most > 1.1 {
		t.Errorf("the data's mark is up to %.2f frames away from the picture's, want at most 1", most)
	}
	if half := differences[n/2]; half > 0.5 {
		t.Errorf("the data's mark is %.2f frames away from the picture's in the median, want the same frame", half)
	}
	if a.Disorder > 0 || a.Alone > 0 || a.Updates < frames/2 {
		t.Errorf("%d updates, %d out of order, %d without a frame", a.Updates, a.Disorder, a.Alone)
	}
	if !strings.Contains(a.Detail, "aac") {
		t.Errorf("the player says %q, want that sound is left out", a.Detail)
	}
}

// TestLadderStays plays what WebRTC does not carry, or cannot reach: over the session, with the reason on the page.
func TestLadderStays(t *testing.T) {
	tests := []struct {
		name, why   string
		options     []string // of the clip; nil is the sample
		publish     []string
		unreachable bool
	}{
		{name: "frames in another order", why: `^off: .*another order`, options: append(slices.Clone(seconds), "-bf", "2"), publish: []string{"-an"}},
		{name: "AAC", why: `^off: audio: aac`},
		{name: "nobody answers", why: `ICE checked for \d+ ms and found no pair`, publish: []string{"-an"}, unreachable: true},
	}
	s := serve(t, anyRTC...)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := s.in(t)
			file, path := sample, "/live/"+strings.ReplaceAll(test.name, " ", "-")
			if test.options != nil {
				file = clip(t, test.options)
			}
			publish(t, s, file, path, append([]string{"-stream_loop", "-1"}, test.publish...)...)
			s.awaitLive(path)
			var a struct {
				ladderSeen
				Before int
			}
			browse(t, s, "stays", map[string]any{"path": path, "choose": true, "ms": 5000, "unreachable": test.unreachable}).answer(&a)
			t.Logf("%q, against WebRTC: %q", a.Numbers, a.Against)
			if a.Numbers["Picture by"] != "session" || len(a.Switches) > 0 {
				t.Errorf("the picture comes by %q, after %q: want the session", a.Numbers["Picture by"], a.Switches)
			}
			if !regexp.MustCompile(test.why).MatchString(a.Numbers["WebRTC"]) && !slices.ContainsFunc(a.Against, regexp.MustCompile(test.why).MatchString) {
				t.Errorf("the page says %q of WebRTC, and before %q: want %s", a.Numbers["WebRTC"], a.Against, test.why)
			}
			a.presented(t, a.Before+5*30/2)
		})
	}
}

// TestBrowserPublishes lets a browser publish its camera and microphone through its session; ffprobe takes it by RTMP.
func TestBrowserPublishes(t *testing.T) {
	need(t, "ffprobe")
	s := serve(t, anyRTC...)
	const path = "/live/publishes"
	b := browse(t, s, "publishes", map[string]any{"path": path, "ms": 8000})
	if _, err := b.out.await(t.Context(), ready); err != nil {
		t.Fatalf("%v\n%s", err, b.out)
	}
	s.awaitLive(path)
	out := start(t, "ffprobe", "-v", "error", "-show_entries", "stream=codec_name,codec_type", "-of", "csv=p=0", s.rtmpURL(path)).wait()
	for _, want := range []string{"h264,video", ",audio"} { // an old ffprobe has no name for Opus in RTMP
		if !strings.Contains(out, want) {
			t.Errorf("ffprobe finds %q, want %s", out, want)
		}
	}
	var a struct {
		Stats  struct{ FramesSent, BytesSent int }
		States []string
	}
	b.answer(&a)
	if want := []string{"stopped", "starting", "publishing", "stopped"}; !slices.Equal(a.States, want) || a.Stats.FramesSent < 60 {
		t.Errorf("the publisher was %q and sent %+v", a.States, a.Stats)
	}
	s.awaitEvent("the end of the publisher", func(e event) bool { return e.Kind == "close" && e.Protocol == "rtc" && e.Path == path })
}

// TestSessionOverDataChannel has a session over WebRTC: texts small and large both ways, and media.
func TestSessionOverDataChannel(t *testing.T) {
	s := serve(t, anyRTC...)
	const path = "/live/channel"
	publish(t, s, clip(t, append(slices.Clone(seconds), "-s", "1280x720", "-crf", "15")), path, "-stream_loop", "-1")
	s.awaitLive(path)
	var a struct {
		Transport, State string
		RTT              float64
		Got              []int
		Fragments, Bytes int
	}
	browse(t, s, "channels", map[string]any{"path": path, "ms": 3000}).answer(&a)
	t.Logf("%+v", a)
	if a.Transport != "webrtc" || a.State != "logged_in" || !slices.Equal(a.Got, []int{5, 60_000, 4}) {
		t.Errorf("the session over %q is %q and got texts of %v letters", a.Transport, a.State, a.Got)
	}
	if a.Fragments < 60 || a.Bytes < 16<<10 {
		t.Errorf("%d fragments, the largest of %d bytes: want some, and one that is sent in parts", a.Fragments, a.Bytes)
	}
}
