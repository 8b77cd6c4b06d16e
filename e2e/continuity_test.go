package e2e

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// outage is how long the publisher is away.
const outage = 2 * time.Second

// bigger is a clip like seconds, in another size.
var bigger = append([]string{"-s", "480x270"}, seconds...)

// TestPublisherComesBack kills an ffmpeg that publishes and starts it again after two seconds, with the same pictures and with bigger ones. A player that knows nothing of that, ffmpeg, and
// a browser's page stay and go on: what they get is what both publishers sent, in one time that does not go back.
func TestPublisherComesBack(t *testing.T) {
	for name, c := range map[string]struct {
		clip          []string
		width, height int
	}{
		"the same":     {seconds, 320, 180},
		"another size": {bigger, 480, 270},
	} {
		t.Run(name, func(t *testing.T) {
			const path = "/live/back"
			file, next := clip(t, seconds), clip(t, c.clip)
			s := serve(t, "--grace", "15s")
			out := filepath.Join(t.TempDir(), "player.flv")
			player := start(t, "ffmpeg", "-v", "warning", "-i", s.rtmpURL(path), "-c", "copy", out)
			s.awaitStream(path, "viewed", func(l liveStream) bool { return l.Viewers == 1 })
			first := publish(t, s, file, path, "-stream_loop", "-1")
			s.awaitLive(path)
			page := browse(t, s, "outage", map[string]any{"path": path, "more": 2 * 30})
			if _, err := page.out.await(t.Context(), ready); err != nil {
				t.Fatal(err)
			}
			first.kill()
			killed := time.Now()
			gone := s.awaitEvent("publisher gone", func(e event) bool { return e.Kind == "gone" && e.Path == path })
			if gone.Reason.Word != "lost" || gone.Light != "amber" {
				t.Errorf("publisher gone: %+v, want the reason lost and amber", gone)
			}
			time.Sleep(time.Until(killed.Add(outage)))
			publish(t, s, next, path).wait()
			away := s.checkReturn(path, gone)

			t.Logf("away for %v", away)
			page.checkOutage(c.width, c.height)
			if said := player.wait(); said != "" {
				t.Errorf("ffmpeg complains: %s", said)
			}
			checkPlayed(t, out, file, next)
			checkSizes(t, out, c.width, c.height)
			s.checkOpened("session", 1)
			s.checkOpened("rtmp", 3) // ffmpeg plays; two publish
		})
	}
}

// checkOutage looks at what the page saw of an outage: its player waited, and went on from there.
func (p *program) checkOutage(width, height int) {
	p.t.Helper()
	var a struct {
		States        []string
		Back          int
		Before, After pageStats
	}
	p.answer(&a)
	p.t.Logf("the page was %q, %+v then %+v", a.States, a.Before, a.After)
	if i := slices.Index(a.States, "waiting"); i < 0 || !slices.Contains(a.States[i:], "playing") || slices.Contains(a.States, "gone") {
		p.t.Errorf("the page's player was %q, want playing, waiting and playing again", a.States)
	}
	if a.Back > 0 || a.After.Restarts > 0 || a.After.CurrentTime <= a.Before.CurrentTime {
		p.t.Errorf("the page's pictures went back %d times, and its player began anew %d times; from %v s to %v s", a.Back, a.After.Restarts, a.Before.CurrentTime, a.After.CurrentTime)
	}
	if a.After.Width != width || a.After.Height != height {
		p.t.Errorf("the page shows %dx%d, want %dx%d", a.After.Width, a.After.Height, width, height)
	}
}

// checkOpened counts the connections that there were: nobody may have connected again.
func (s *server) checkOpened(protocol string, want int) {
	s.t.Helper()
	opened := 0
	for _, e := range s.events() {
		if e.Kind == "open" && e.Protocol == protocol {
			opened++
		}
	}
	if opened != want {
		s.t.Errorf("%d connections of %s, want %d", opened, protocol, want)
	}
}

// checkReturn looks in the log for what came after a publisher had gone: the next publisher and the gap, green, in this order. It returns how long the gap is.
func (s *server) checkReturn(path string, gone event) time.Duration {
	s.t.Helper()
	gap := s.awaitEvent("gap", func(e event) bool { return e.Kind == "gap" && e.Path == path })
	again := s.awaitEvent("publisher back", func(e event) bool { return e.Kind == "publish" && e.Protocol == "stream" && e.Seq > gone.Seq })
	long, err := time.ParseDuration(gap.Detail)
	if took := gap.Time.Sub(gone.Time); err != nil || long < outage*9/10 || (took-long).Abs() > 5*time.Second {
		s.t.Errorf("the gap is %q, want at least %v, and about the %v between the events: %v", gap.Detail, outage, took, err)
	}
	if again.Light != "green" || gap.Light != "green" || again.Seq > gap.Seq {
		s.t.Errorf("publisher back: %+v, then %+v, want green", again, gap)
	}
	return long
}

// checkPlayed compares what a player got of a file that was cut off somewhere, and of the next one after that.
func checkPlayed(t *testing.T, played, file, next string) {
	t.Helper()
	got, want, then := elementaryStreams(t, played), elementaryStreams(t, file), elementaryStreams(t, next)
	for kind, list := range got {
		for i := 1; i < len(list); i++ {
			if step := list[i].dts - list[i-1].dts; step < 0 || step > time.Second {
				t.Errorf("%s: from %v to %v", kind, list[i-1].dts, list[i].dts)
			}
		}
	}
	cut := len(got["video"]) - len(then["video"])
	if cut < 1 {
		t.Fatalf("%d pictures, of which the second publisher sent %d", len(got["video"]), len(then["video"]))
	}
	before, after := elementary{}, elementary{"video": got["video"][cut:]}
	at := after["video"][0].dts
	for _, u := range got["audio"] {
		if u.dts >= at {
			after["audio"] = append(after["audio"], u)
		}
	}
	after.compare(t, then, 0, quirks{})
	for kind, list := range got { // the first round of the file, within which the publisher may have been killed; after its early sound the next may follow
		before[kind] = list[:min(len(list)-len(after[kind]), len(want[kind])-maxEarlySound)]
	}
	before.compare(t, want, 0, quirks{video: len(want["video"]), audio: len(want["audio"])})
}

// checkSizes decodes a file and checks that its last pictures, as many as a clip has, are of one size.
func checkSizes(t *testing.T, file string, width, height int) {
	t.Helper()
	said := start(t, "ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "frame=width,height", "-of", "csv=p=0:nk=0", file).wait()
	lines := strings.Fields(said)
	size := "width=" + strconv.Itoa(width) + ",height=" + strconv.Itoa(height)
	n := 0
	for i := len(lines) - 1; i >= 0 && strings.HasPrefix(lines[i], size); i-- {
		n++
	}
	if all := clipSeconds * 30; n < all {
		t.Errorf("%d pictures decode to %s at the end, want %d: %q", n, size, all, lines[max(0, len(lines)-3):])
	}
}
