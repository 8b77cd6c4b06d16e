package e2e

import (
	"bytes"
	"encoding/json"
	"image"
	_ "image/png"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// browsers are the names under which a Chromium may be installed.
var browsers = []string{"chromium", "chromium-browser", "google-chrome", "chrome"}

// browse starts browser.mjs on the server's page, or skips the test for want of a browser.
func browse(t *testing.T, s *server, does string, more map[string]any) *program {
	t.Helper()
	need(t, "node")
	i := slices.IndexFunc(browsers, installed)
	if i < 0 {
		t.Skipf("none of %s is installed", strings.Join(browsers, ", "))
	}
	if _, err := os.Stat("node_modules/playwright-core"); err != nil {
		t.Skip("playwright-core is not installed: npm --prefix e2e ci")
	}
	path, _ := exec.LookPath(browsers[i])
	args := map[string]any{"browser": path, "url": s.httpURL("/"), "does": does, "shot": shot(t)}
	for k, v := range more {
		args[k] = v
	}
	b, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	return start(t, "node", "browser.mjs", string(b))
}

// shot is where the test's screenshot goes: the folder that HAWSER_SHOTS names, if it does.
func shot(t *testing.T) string {
	dir := os.Getenv("HAWSER_SHOTS")
	if dir == "" {
		dir = t.TempDir()
	}
	dir, err := filepath.Abs(dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, strings.ReplaceAll(t.Name(), "/", "-")+".png")
}

// answer waits for the browser's last line and fails when something went wrong in the page.
func (p *program) answer(v any) {
	p.t.Helper()
	lines := strings.Split(strings.TrimSpace(p.wait()), "\n")
	last := []byte(lines[len(lines)-1])
	var all struct {
		Failed, Page string
		Errors       []string
	}
	if err := json.Unmarshal(last, &all); err != nil {
		p.t.Fatalf("the browser said %q: %v", p.out, err)
	}
	if len(all.Errors) > 0 {
		p.t.Errorf("errors in the page: %q", all.Errors)
	}
	if all.Failed != "" {
		p.t.Fatalf("%s\nthe page says:\n%s", all.Failed, all.Page)
	}
	if err := json.Unmarshal(last, v); err != nil {
		p.t.Fatalf("the browser said %s: %v", last, err)
	}
}

// pageStats is what window.hawser.stats() says of the player.
type pageStats struct {
	PlayerState                         string
	FramesPresented, FramesDropped      int
	Stalls, Jumps, Restarts             int
	AudioDecodedBytes                   int
	Latency, CurrentTime, FrameInterval float64
	Width, Height                       int
}

// TestBrowserPlays lets ffmpeg publish and a browser play it in the page through a session.
func TestBrowserPlays(t *testing.T) {
	s := serve(t)
	const path = "/live/page"
	publish(t, s, clip(t, seconds), path, "-stream_loop", "-1")
	s.awaitLive(path)
	const watched = 5 // seconds
	var a struct {
		Before, After pageStats
		Video         struct{ X, Y, Width, Height float64 }
		Light, Shot   string
		Events        int
	}
	browse(t, s, "play", map[string]any{"path": path, "ms": watched * 1000}).answer(&a)
	t.Logf("before %+v, after %+v", a.Before, a.After)
	if n := a.After.FramesPresented - a.Before.FramesPresented; n < watched*30/2 { // a busy machine drops some
		t.Errorf("%d frames presented in %d s of 30 frames a second", n, watched)
	}
	if n := a.After.AudioDecodedBytes - a.Before.AudioDecodedBytes; n <= 0 {
		t.Errorf("%d bytes of sound decoded", n)
	}
	if a.After.Width != 320 || a.After.Height != 180 || a.After.PlayerState != "playing" {
		t.Errorf("the page plays %dx%d and is %q, want 320x180 and playing", a.After.Width, a.After.Height, a.After.PlayerState)
	}
	if a.After.CurrentTime-a.Before.CurrentTime < watched*0.5 {
		t.Errorf("playback went from %.2f to %.2f s in %d s", a.Before.CurrentTime, a.After.CurrentTime, watched)
	}
	if a.Light != "green" || a.Events == 0 {
		t.Errorf("the page's light is %q with %d events, want green and some", a.Light, a.Events)
	}
	v := a.Video
	if n := colours(t, a.Shot, image.Rect(int(v.X), int(v.Y), int(v.X+v.Width), int(v.Y+v.Height))); n < 200 {
		t.Errorf("%d colours in the screenshot's picture: it is blank", n)
	}
	s.awaitEvent("the session's end", func(e event) bool { return e.Kind == "close" && e.Protocol == "session" })
}

// colours counts the colours within a part of a picture.
func colours(t *testing.T, file string, part image.Rectangle) int {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	img, _, err := image.Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[[3]uint32]bool{}
	part = part.Intersect(img.Bounds())
	for y := part.Min.Y; y < part.Max.Y; y++ {
		for x := part.Min.X; x < part.Max.X; x++ {
			r, g, b, _ := img.At(x, y).RGBA()
			seen[[3]uint32{r >> 11, g >> 11, b >> 11}] = true
		}
	}
	return len(seen)
}

type place struct{ X, Y float64 }

// frame is the number of the frame, in the round of 60, in which the mark of the sample clip is at a place (cmd/hawser/sample/README.md).
func (p place) frame() float64 {
	return math.Atan2((p.Y-0.5)/0.36, (p.X-0.5)/0.32) / (2 * math.Pi) * 60
}

// apart is the distance of two places in frames of the sample clip, from -30 to 30.
func apart(a, b place) float64 { return math.Remainder(a.frame()-b.frame(), 60) }

// TestMarks runs the demo and compares, frame by frame, the mark in the picture with the mark that the page draws by the data.
func TestMarks(t *testing.T) {
	s := startServer(t, "demo", "--http", "127.0.0.1:0", "--rtmp", "127.0.0.1:0", "--rtc", "")
	const path, frames = "/live/demo", 120
	var a struct {
		Seen []struct {
			MediaTime      float64
			Picture, Drawn *place
		}
		Stats pageStats
	}
	browse(t, s, "marks", map[string]any{"path": path, "frames": frames, "settle": 2000}).answer(&a)
	var differences []float64
	missing := 0
	for _, f := range a.Seen {
		if f.Picture == nil || f.Drawn == nil {
			missing++
			continue
		}
		differences = append(differences, math.Abs(apart(*f.Picture, *f.Drawn)))
	}
	if missing > 0 || len(differences) != frames {
		t.Fatalf("of %d frames %d lack a mark in the picture or on it: %+v", len(a.Seen), missing, a.Stats)
	}
	slices.Sort(differences)
	t.Logf("marks are apart by: median %.3f, most %.3f frames, over %d frames", differences[frames/2], differences[frames-1], frames)
	// A tenth of a frame is two pixels: what the measuring itself may be off by. On a busy machine the browser may go on to the next
	// picture between the two looks; a few frames may be.
	if most := differences[frames-1-frames/50]; most > 1.1 {
		t.Errorf("the drawn mark is up to %.2f frames away from the picture's, want at most 1", most)
	}
	if half := differences[frames/2]; half > 0.5 {
		t.Errorf("the drawn mark is %.2f frames away from the picture's in the median, want the same frame", half)
	}
}

var ready = regexp.MustCompile(`"ready":true`)
