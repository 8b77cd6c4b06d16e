package e2e

import (
	"testing"

	"hawser/e2e/lab"
)

// TestCodecsChange lets publishers with other codecs take a stream over while a browser watches with the product's player: H264 by RTMP, VP8 with sound by WHIP, which the session cannot carry, and H264 again. The
// picture goes on by itself.
func TestCodecsChange(t *testing.T) {
	t.Parallel()
	n, s := network(t, lab.Options{}, "--second-publisher", "takeover")
	h264 := clip(t, seconds)
	publish(t, s, h264, labPath, "-stream_loop", "-1", "-an")
	s.awaitLive(labPath)
	viewer, camera := open(t, n.Client, "chromium"), open(t, n.Client, "chromium")
	viewer.do("watch", map[string]any{"server": s.url(""), "path": labPath, "log": "/log", "shows": "webrtc"}, new(struct{}))
	for _, take := range []struct {
		codec string
		over  func()
	}{
		{"VP8", func() {
			camera.do("publish", map[string]any{"url": s.url(labPath + "/whip"), "video": "VP8", "trickle": true}, new(struct{}))
		}},
		{"H264", func() { publish(t, s, h264, labPath, "-stream_loop", "-1", "-an") }},
	} {
		viewer.do("mark", nil, new(struct{}))
		take.over()
		viewer.do("carries", map[string]any{"codec": take.codec, "n": 60}, new(struct{}))
		var a labSeen
		viewer.do("whole", map[string]any{"n": 0}, &a)
		t.Logf("%s: frozen for %d ms; %+v", take.codec, a.Picture.Freeze, a.Switches)
		if a.State != "playing" || a.Picture.Freeze > back.Milliseconds() {
			t.Errorf("with %s the player is %q, and the picture stood for %d ms", take.codec, a.State, a.Picture.Freeze)
		}
	}
}

// TestSimulcastPublisher lets a browser send its picture three times at once. That is declined: it sends one, and a viewer gets it.
func TestSimulcastPublisher(t *testing.T) {
	t.Parallel()
	n, s := network(t, lab.Options{})
	publisher, player := open(t, n.Client, "chromium"), open(t, n.Client, "chromium")
	encodings := []map[string]any{{"rid": "f"}, {"rid": "h", "scaleResolutionDownBy": 2}, {"rid": "q", "scaleResolutionDownBy": 4}}
	publisher.do("publish", map[string]any{"url": s.url(labPath + "/whip"), "video": "VP8", "trickle": true, "encodings": encodings}, new(struct{}))
	s.awaitLive(labPath)
	player.do("play", map[string]any{"url": s.url(labPath + "/whep")}, new(struct{}))
	var got rtcReport
	player.do("frames", map[string]any{"n": rtcFrames}, &got)
	got.decoded(t, "VP8", busyPercent)
	t.Logf("%+v", got.Video)
}
