package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"hawser/e2e/lab"
)

// rtcFrames is how many frames a player must have decoded before a test looks at its numbers: some seconds of them.
const rtcFrames = 120

// busyPercent is how much of what it receives a browser decodes at least that shares the machine with others.
const busyPercent = 90

// decoded checks that a browser shows what it receives: so much of it at least.
func (r *rtcReport) decoded(t *testing.T, codec string, percent int) {
	t.Helper()
	v := r.Video
	if !strings.EqualFold(v.MimeType, "video/"+codec) {
		t.Errorf("the picture is %q, want %s", v.MimeType, codec)
	}
	if v.FramesDecoded < rtcFrames || 100*v.FramesDecoded < percent*v.FramesBefore {
		t.Errorf("%d of %d frames decoded, want %d %%", v.FramesDecoded, v.FramesBefore, percent)
	}
	if v.FrameWidth == 0 || v.FrameHeight == 0 {
		t.Errorf("the picture is %dx%d", v.FrameWidth, v.FrameHeight)
	}
}

// heard checks that a browser hears something.
func (r *rtcReport) heard(t *testing.T) {
	t.Helper()
	if a := r.Audio; !strings.EqualFold(a.MimeType, "audio/opus") || a.TotalSamplesReceived < 48000 || a.TotalAudioEnergy == 0 {
		t.Errorf("the sound is %q: %d samples with energy %g", a.MimeType, a.TotalSamplesReceived, a.TotalAudioEnergy)
	}
}

// rtcStates are the states of the server's connections, in order.
func (s *server) rtcStates() map[string][]string {
	s.t.Helper()
	states := map[string][]string{}
	for _, e := range s.events() {
		if e.Protocol == "rtc" && e.Kind == "state" {
			states[e.Conn] = append(states[e.Conn], e.State)
		}
	}
	return states
}

// TestChromiumToChromium publishes by WHIP from one browser and plays it by WHEP in another, codec by codec.
func TestChromiumToChromium(t *testing.T) {
	t.Parallel()
	n, s := network(t, lab.Options{})
	publisher, player := open(t, n.Client, "chromium"), open(t, n.Client, "chromium")
	for _, codec := range []string{"H264", "VP8", "VP9", "AV1"} {
		t.Run(codec, func(t *testing.T) {
			publisher, player := publisher.in(t), player.in(t)
			path := "/live/" + strings.ToLower(codec)
			publisher.do("load", nil, new(struct{}))
			player.do("load", nil, new(struct{}))
			publisher.do("publish", map[string]any{"url": s.url(path + "/whip"), "video": codec, "trickle": true}, new(struct{}))
			s.in(t).awaitLive(path)
			player.do("play", map[string]any{"url": s.url(path + "/whep"), "trickle": codec != "VP8"}, new(struct{}))
			var got, sent rtcReport
			player.do("frames", map[string]any{"n": rtcFrames}, &got)
			publisher.do("report", nil, &sent)
			got.decoded(t, codec, busyPercent)
			got.heard(t)
			t.Logf("sent %d frames; player %v over %s - %s: %+v", sent.Video.FramesSent, got.words(), got.Pair.Local, got.Pair.Remote, got.Video)
			for _, b := range []*browser{player, publisher} {
				var ended struct{ Status int }
				b.do("end", nil, &ended)
				if ended.Status != 200 {
					t.Errorf("DELETE: %d", ended.Status)
				}
			}
		})
	}
}

// TestRTMPToChromium lets ffmpeg publish and Chromium play it over WebRTC.
func TestRTMPToChromium(t *testing.T) {
	t.Parallel()
	n, s := network(t, lab.Options{})
	const path = "/live/cam"
	publish(t, s, clip(t, seconds), path, "-stream_loop", "-1")
	s.awaitLive(path)
	player := open(t, n.Client, "chromium")
	player.do("play", map[string]any{"url": s.url(path + "/whep"), "trickle": true}, new(struct{}))
	var got rtcReport
	player.do("frames", map[string]any{"n": 300}, &got)
	got.decoded(t, "H264", 98)
	if v := got.Video; v.FrameWidth != 320 || v.FrameHeight != 180 || v.PacketsLost > 0 {
		t.Errorf("%dx%d with %d packets lost", v.FrameWidth, v.FrameHeight, v.PacketsLost)
	}
	t.Logf("%v %+v", got.words(), got.Video)
}

// TestChromiumToRTMP publishes by WHIP and reads it with ffprobe over RTMP.
func TestChromiumToRTMP(t *testing.T) {
	t.Parallel()
	need(t, "ffprobe")
	n, s := network(t, lab.Options{})
	const path = "/live/whip"
	viewer := startOn(t, n.Server, "ffprobe", "-v", "error", "-show_entries", "packet=codec_type,pts_time,dts_time", "-of", "csv=p=0", s.rtmpURL(path))
	s.awaitStream(path, "viewed", func(l liveStream) bool { return l.Viewers == 1 })
	publisher := open(t, n.Client, "chromium")
	publisher.do("publish", map[string]any{"url": s.url(path + "/whip"), "video": "H264", "trickle": true}, new(struct{}))
	var sent rtcReport
	publisher.do("frames", map[string]any{"n": rtcFrames}, &sent)
	publisher.do("end", nil, new(struct{}))
	got := only(viewer.packets(), "video")
	if len(got) < rtcFrames-30 {
		t.Fatalf("ffprobe read %d pictures, %d were sent", len(got), sent.Video.FramesSent)
	}
	span := got[len(got)-1].pts - got[0].pts
	if rate := float64(len(got)-1) / float64(span) * 1000; rate < 10 || rate > 35 {
		t.Errorf("%d pictures in %d ms", len(got), span)
	}
}

// TestFirefoxPlays plays VP8 over WebRTC: this Firefox has no H264 there.
func TestFirefoxPlays(t *testing.T) {
	t.Parallel()
	n, s := network(t, lab.Options{})
	const path = "/live/vp8"
	publisher := open(t, n.Client, "chromium")
	publisher.do("publish", map[string]any{"url": s.url(path + "/whip"), "video": "VP8", "trickle": true}, new(struct{}))
	s.awaitLive(path)
	player := open(t, n.Client, "firefox")
	player.do("play", map[string]any{"url": s.url(path + "/whep"), "trickle": true}, new(struct{}))
	var got rtcReport
	player.do("frames", map[string]any{"n": rtcFrames}, &got)
	got.decoded(t, "VP8", busyPercent)
	got.heard(t)
	t.Logf("%v %+v", got.words(), got.Video)
}

// TestPaths plays over every kind of path that a network may leave, and looks at the pair.
func TestPaths(t *testing.T) {
	const turn = "turn:10.77.1.1:3478"
	relayed := map[string]any{"iceTransportPolicy": "relay", "iceServers": []any{map[string]any{"urls": turn, "username": "ann", "credential": "secret"}}}
	for _, c := range []struct {
		name       string
		lab        lab.Options
		faults     string
		args       []string
		config     map[string]any // of the browser
		pair       string         // the browser's end of it
		turnserver bool
	}{
		{name: "IPv6", lab: lab.Options{IPv6: true}, pair: "udp host fd77:2::1:"},
		{name: "a client behind a NAT", lab: lab.Options{NAT: true}, pair: "udp prflx 10.77.1.254:"},
		{name: "an ICE-lite server", args: []string{"--rtc-lite"}, pair: "udp host 10.77.2.1:"},
		{name: "TCP only", faults: lab.NoUDP, pair: "tcp prflx 10.77.2.1:"},
		{name: "TURN", faults: "udp dport 8189 drop", args: udpOnly, config: relayed, pair: "udp relay 10.77.1.1:", turnserver: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.turnserver {
				need(t, "turnserver")
			}
			n, s := network(t, c.lab, c.args...)
			const path = "/live/cam"
			publish(t, s, clip(t, seconds), path, "-stream_loop", "-1")
			s.awaitLive(path)
			if c.turnserver {
				startOn(t, n.Server, "turnserver", "-n", "-L", "10.77.1.1", "-E", "10.77.1.1", "-a", "-u", "ann:secret", "-r", "hawser", "--allow-loopback-peers", "--no-cli", "--no-tls", "--no-dtls",
					"--log-file", "stdout", "--pidfile", t.TempDir()+"/pid", "--db", t.TempDir()+"/db")
			}
			if err := n.Break(c.faults); err != nil {
				t.Fatal(err)
			}
			player := open(t, n.Client, "chromium")
			player.do("play", map[string]any{"url": s.url(path + "/whep"), "trickle": true, "config": c.config}, new(struct{}))
			var got rtcReport
			player.do("frames", map[string]any{"n": rtcFrames}, &got)
			got.decoded(t, "H264", busyPercent)
			t.Logf("%s - %s", got.Pair.Local, got.Pair.Remote)
			if !strings.HasPrefix(got.Pair.Local, c.pair) {
				t.Errorf("the pair is %s - %s, want %s", got.Pair.Local, got.Pair.Remote, c.pair)
			}
		})
	}
}

// TestRestart changes the client's address under a player of WHEP, and lets UDP be cut under another: an ICE restart by PATCH finds another way, and the picture goes on.
func TestRestart(t *testing.T) {
	for name, strike := range map[string]func(*lab.Network) error{"another address": readdress, "UDP is cut": broken(lab.NoUDP)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, s := network(t, lab.Options{})
			const path = "/live/cam"
			publish(t, s, clip(t, seconds), path, "-stream_loop", "-1")
			s.awaitLive(path)
			player := open(t, n.Client, "chromium")
			player.do("play", map[string]any{"url": s.url(path + "/whep")}, new(struct{}))
			var before, after rtcReport
			player.do("frames", map[string]any{"n": rtcFrames}, &before)
			if err := strike(n); err != nil {
				t.Fatal(err)
			}
			player.do("restart", nil, new(struct{}))
			player.do("frames", map[string]any{"n": before.Video.FramesDecoded + 2*rtcFrames}, &after)
			after.decoded(t, "H264", busyPercent)
			t.Logf("%s, then %s; %v", before.Pair.Local, after.Pair.Local, after.words())
			if after.Pair.Local == before.Pair.Local || after.ETag == before.ETag {
				t.Errorf("the pair is still %s - %s, the ETag %s", after.Pair.Local, after.Pair.Remote, after.ETag)
			}
			conns := s.rtcStates()
			if len(conns) != 1 {
				t.Errorf("there were %d connections: %v", len(conns), conns)
			}
		})
	}
}

// TestOverWebSocketInstead plays what WebRTC does not carry, or not in this browser, with the product's player: the picture comes over the session, and it is said why.
func TestOverWebSocketInstead(t *testing.T) {
	for _, c := range []struct {
		name, browser string
		clip          []string
		why           string // in what the player says of WebRTC
	}{
		{"Firefox, H264 and AAC", "firefox", seconds, "aac"},
		{"Chromium, H264 and AAC", "chromium", seconds, "aac"},
		{"Chromium, B-frames", "chromium", bFrames, "order"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n, s := network(t, lab.Options{})
			const path = "/live/cam"
			publish(t, s, clip(t, c.clip), path, "-stream_loop", "-1")
			s.awaitLive(path)
			page := open(t, n.Client, c.browser)
			page.do("watch", map[string]any{"server": s.url(""), "path": path, "log": "/log", "shows": "websocket"}, new(struct{}))
			time.Sleep(5 * time.Second) // for WebRTC to be tried
			var w labSeen
			page.do("whole", map[string]any{"n": 0}, &w)
			t.Logf("%+v", w)
			if rtc := w.Stats.WebRTC; rtc.Phase != "off" || !strings.Contains(rtc.Detail, c.why) {
				t.Errorf("WebRTC is %s: %q, want off, with %q", rtc.Phase, rtc.Detail, c.why)
			}
			if w.Shows != "websocket" || w.State != "playing" || w.Picture.Changes < 60 {
				t.Errorf("%s over %s with %d pictures", w.State, w.Shows, w.Picture.Changes)
			}
		})
	}
}

// TestPeersOfOthers lets aiortc and GStreamer publish and play at the same time, what they send in Chromium too.
func TestPeersOfOthers(t *testing.T) {
	for _, script := range []string{"aiortc_peer.py", "gst_peer.py"} {
		for _, codec := range []string{"H264", "VP8"} {
			t.Run(strings.TrimSuffix(script, "_peer.py")+" "+codec, func(t *testing.T) {
				t.Parallel()
				n, s := network(t, lab.Options{})
				const path, watched = "/live/theirs", 6
				player := open(t, n.Client, "chromium")
				publisher := peer(t, n.Client, script, "publish", s.url(path+"/whip"), codec, fmt.Sprint(watched+9))
				s.awaitLive(path)
				plays := peer(t, n.Client, script, "play", s.url(path+"/whep"), codec, fmt.Sprint(watched))
				player.do("play", map[string]any{"url": s.url(path + "/whep"), "trickle": true}, new(struct{}))
				var got rtcReport
				player.do("frames", map[string]any{"n": rtcFrames}, &got)
				got.decoded(t, codec, busyPercent)
				got.heard(t)
				for _, p := range []*program{plays, publisher} {
					states, last := p.said()
					t.Logf("%v %+v", states, last)
					if last.Video < watched*30/6 || last.Audio == 0 || !slices.Contains(states, "completed") {
						t.Errorf("%s: %+v after %v; the server's connections: %v", strings.Join(p.cmd.Args, " "), last, states, s.rtcStates())
						t.Logf("it said:\n%s", p.out)
					}
				}
			})
		}
	}
}

// in is the browser for a subtest: what goes wrong there fails the subtest.
func (b *browser) in(t *testing.T) *browser {
	p := *b.program
	p.t = t
	return &browser{program: &p, stdin: b.stdin, answers: b.answers}
}
