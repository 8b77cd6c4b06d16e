package server

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"hawser/lifecycle"
	"hawser/media"
	"hawser/rtc"
	"hawser/stream"
)

// What is refused over WHIP and WHEP, and how that is said.
func TestRTCRefusals(t *testing.T) {
	o := withRTC()
	o.Origins = []string{"https://good.example"}
	r := serve(t, o)
	f := r.feed("/live/b") // B-frames and AAC
	f.write(30)
	r.feedPlain("/live/ok", false)
	track, _ := h264Clip(t)
	play := newRTCClient(t).offer()
	publish := newRTCClient(t, track).offer()
	sdp := []string{"Content-Type", sdpType}
	with := func(more ...string) []string { return append(more, sdp...) }
	for _, c := range []struct {
		method, path, body string
		headers            []string
		status             int
		word               string
	}{
		{"POST", "/live/nobody/whep", play, sdp, 404, "not_found"},
		{"POST", "/live/b/whep", play, sdp, 406, "unsupported"},
		{"POST", "/live/ok/whep", "nonsense", sdp, 406, "unsupported"}, // it offers nothing
		{"POST", "/live/ok/whep", "a=group:BUNDLE 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\na=rtcp-mux\r\na=rtpmap:96 H264/90000\r\n", sdp, 400, "bad_request"},
		{"POST", "/live/ok/whep", strings.Repeat("a", rtc.DefaultMaxSDP+1), sdp, 413, "too_big"},
		{"POST", "/live/ok/whep", play, []string{"Content-Type", "text/plain"}, 415, "bad_request"},
		{"POST", "/live/ok/whip", publish, sdp, 409, "taken"},
		{"POST", "/live/new/whip", "v=0\r\n", sdp, 406, "unsupported"}, // it offers nothing
		{"POST", "/live/new/whip", strings.ReplaceAll(publish, "a=fingerprint", "a=f"), sdp, 400, "bad_request"},
		{"POST", "/live/new/whip", publish, with("Origin", "https://evil.example"), 403, "refused"},
		{"POST", "/" + strings.Repeat("x", 300) + "/whip", publish, sdp, 400, "bad_request"},
		{"GET", "/live/ok/whep", "", nil, 405, ""},
		{"PUT", "/live/ok/whip", publish, sdp, 405, ""},
		{"PATCH", "/live/ok/whep", "", nil, 405, ""},
		{"POST", "/live/ok/whep/id", play, sdp, 405, ""},
		{"GET", "/live/ok/whep/id", "", nil, 405, ""},
		{"DELETE", "/live/ok/whep/id", "", nil, 404, "not_found"},
		{"PATCH", "/live/ok/whep/id", "", nil, 404, "not_found"},
		{"POST", "/elsewhere", "", nil, 405, ""},
	} {
		resp, body := r.request(c.method, c.path, c.body, c.headers...)
		if resp.StatusCode != c.status || c.word != "" && !strings.Contains(body, `"word":"`+c.word+`"`) {
			t.Errorf("%s %.40s: got %s %s, want %d %s", c.method, c.path, resp.Status, body, c.status, c.word)
		}
		if c.status == 405 && resp.Header.Get("Allow") == "" {
			t.Errorf("%s %.40s: no Allow", c.method, c.path)
		}
	}
	if info, ok := r.Streams().Find("/live/new"); ok && info.Status == stream.Live {
		t.Errorf("an offer that was refused publishes: %+v", info)
	}
	e := r.event("what is left out", func(e *lifecycle.Event) bool { return e.Kind == KindWithout && e.Path == "/live/b" })
	for _, want := range []string{"B-frames", "aac is not carried"} {
		if !strings.Contains(e.Reason.Text, want) {
			t.Errorf("left out: %q does not say %q", e.Reason.Text, want)
		}
	}
	if n := r.RTCPeers(); n != 0 {
		t.Errorf("%d peers are left", n)
	}
}

// RTCPeers counts the peers that the log has.
func (r *rig) RTCPeers() (n int) {
	for _, c := range r.Log().Conns() {
		if c.Protocol == overRTC {
			n++
		}
	}
	return n
}

// A page of another host may ask before it requests, and sees the headers that it needs.
func TestRTCPreflight(t *testing.T) {
	o := withRTC()
	o.Origins = []string{"https://good.example"}
	r := serve(t, o)
	for path, want := range map[string]string{"/live/a/whip": "OPTIONS, POST", "/live/a/whep/id": "DELETE, OPTIONS, PATCH"} {
		resp, _ := r.request("OPTIONS", path, "", "Origin", "https://good.example", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type")
		h := resp.Header
		if resp.StatusCode != 204 || h.Get("Access-Control-Allow-Methods") != want || h.Get("Access-Control-Allow-Origin") != "https://good.example" ||
			!strings.Contains(h.Get("Access-Control-Expose-Headers"), "Location") || !strings.Contains(h.Get("Access-Control-Allow-Headers"), "Authorization") {
			t.Errorf("%s: %s %v", path, resp.Status, h)
		}
	}
	if resp, _ := r.request("OPTIONS", "/live/a/whip", "", "Origin", "https://evil.example"); resp.StatusCode != 403 {
		t.Errorf("another origin: %s", resp.Status)
	}
	if resp, _ := r.request("OPTIONS", "/live/a/whep", "", "Origin", "https://evil.example"); resp.StatusCode != 204 {
		t.Errorf("who plays may be of any origin, as with HTTP-FLV: %s", resp.Status)
	}
}

// Candidates and restarts by PATCH, with the ETag that goes with each.
func TestRTCRestart(t *testing.T) {
	r := serve(t, withRTC())
	r.feedPlain("/live/cam1", false)
	c := newRTCClient(t)
	location, etag := r.signOn("/live/cam1/whep", c)
	c.got(3, media.Video)
	r.settled(1)
	patch := func(body string, headers ...string) (*http.Response, string) {
		return r.request(http.MethodPatch, location, body, headers...)
	}
	typ := []string{"Content-Type", fragmentType}
	for _, x := range []struct {
		body    string
		headers []string
		status  int
	}{
		{"a=end-of-candidates\r\n", typ, 428},
		{"a=end-of-candidates\r\n", append([]string{"If-Match", `"other"`}, typ...), 412},
		{"a=end-of-candidates\r\n", []string{"If-Match", etag, "Content-Type", sdpType}, 415},
		{"what is this", append([]string{"If-Match", etag}, typ...), 400},
		{"a=ice-ufrag:onlyone\r\n", append([]string{"If-Match", etag}, typ...), 400},
		{"a=candidate:1 1 udp nonsense\r\n", append([]string{"If-Match", etag}, typ...), 400},
		{"a=candidate:1 1 udp 2130706431 127.0.0.1 9 typ host\r\na=end-of-candidates\r\n", append([]string{"If-Match", etag}, typ...), 204},
	} {
		if resp, body := patch(x.body, x.headers...); resp.StatusCode != x.status {
			t.Errorf("%q %v: got %s %s, want %d", x.body, x.headers, resp.Status, body, x.status)
		}
	}
	r.request("DELETE", location, "")
	c = newRTCClient(t)
	s, err := c.engine.Play(soon(t), "http://"+r.http+"/live/cam1/whep", rtc.HTTPOptions{Peer: rtc.PeerOptions{OnFrame: c.take}, Trickle: true})
	if err != nil {
		t.Fatal(err)
	}
	r.settled(2)
	if err := s.Restart(soon(t)); err != nil {
		t.Fatal(err)
	}
	r.settled(3)
	n := len(c.got(1, media.Video))
	c.got(n+10, media.Video)
	if err := s.Close(soon(t), lifecycle.ReasonDone); err != nil {
		t.Fatal(err)
	}
	until(t, "nobody views", func() bool { info, _ := r.Streams().Find("/live/cam1"); return info.Viewers == 0 })
}

// Sound that cannot be carried is left out, with an event; the pictures come.
func TestRTCWithoutSound(t *testing.T) {
	r := serve(t, withRTC())
	f := r.feedPlain("/live/cam1", false)
	if err := f.pub.SetTrack(media.Track{ID: 2, Kind: media.Audio, Codec: media.AAC, Config: []byte{0x12, 0x10}, SampleRate: 44100, Channels: 2}); err != nil {
		t.Fatal(err)
	}
	until(t, "two tracks", func() bool { info, _ := r.Streams().Find("/live/cam1"); return len(info.Tracks) == 2 })
	c := newRTCClient(t)
	r.signOn("/live/cam1/whep", c)
	c.got(5, media.Video)
	e := r.event("without", func(e *lifecycle.Event) bool { return e.Kind == KindWithout })
	if e.Reason.Text != "audio: aac is not carried by WebRTC" || e.Protocol != overRTC {
		t.Errorf("%+v", e)
	}
}

// A viewer of pictures in another order than shown, which is known only when they come, is told.
func TestRTCReordered(t *testing.T) {
	r := serve(t, withRTC())
	f := r.feedPlain("/live/cam1", false)
	c := newRTCClient(t)
	r.signOn("/live/cam1/whep", c)
	c.got(3, media.Video)
	for _, at := range []time.Duration{2000 * time.Millisecond, 1900 * time.Millisecond} {
		if err := f.pub.Write(media.Frame{Track: 1, Kind: media.Video, DTS: 2 * time.Second, PTS: at, Data: f.frames[1].Data}); err != nil {
			t.Fatal(err)
		}
	}
	if why := r.ended(overRTC); why.Word != "unsupported" || !strings.Contains(why.Text, "B-frames") {
		t.Errorf("%v", why)
	}
}

// Another codec needs another description: the viewer is told so, and may come again.
func TestRTCCodecChange(t *testing.T) {
	r := serve(t, withRTC())
	f := r.feedPlain("/live/cam1", false)
	c := newRTCClient(t)
	r.signOn("/live/cam1/whep", c)
	c.got(3, media.Video)
	if err := f.pub.SetTrack(opusTrack()); err != nil {
		t.Fatal(err)
	}
	if why := r.ended(overRTC); why.Word != "gone" || !why.Retry || !strings.Contains(why.Text, "opus") {
		t.Errorf("%v", why)
	}
}

// The limits: peers, and offers of one address; each with its own word.
func TestRTCLimits(t *testing.T) {
	o := withRTC()
	o.RTC.MaxPeers, o.MaxOfferRate = 1, 3
	r := serve(t, o)
	r.feedPlain("/live/cam1", false)
	c := newRTCClient(t)
	location, _ := r.signOn("/live/cam1/whep", c)
	offer := newRTCClient(t).offer()
	post := func() (*http.Response, string) {
		return r.request("POST", "/live/cam1/whep", offer, "Content-Type", sdpType)
	}
	if resp, body := post(); resp.StatusCode != 503 || !strings.Contains(body, "MaxPeers") || resp.Header.Get("Retry-After") == "" {
		t.Errorf("a second peer: %s %s", resp.Status, body)
	}
	var resp *http.Response
	var body string
	until(t, "an offer is too many", func() bool { resp, body = post(); return resp.StatusCode != 503 })
	if resp.StatusCode != 429 || !strings.Contains(body, "MaxOfferRate") || resp.Header.Get("Retry-After") == "" {
		t.Errorf("one offer too many: %s %s", resp.Status, body)
	}
	r.event("refuse", func(e *lifecycle.Event) bool { return e.Kind == "refuse" && e.Reason.Word == "limit" })
	r.request("DELETE", location, "")
	until(t, "there is room again", func() bool { resp, _ := post(); return resp.StatusCode == 201 })
}

// Of two publishers, with takeover, the second one comes in the place of the first.
func TestRTCTakeover(t *testing.T) {
	o := withRTC()
	o.Streams.Second = stream.SecondTakesOver
	r := serve(t, o)
	track, _ := h264Clip(t)
	var clients []*rtcClient
	for range 2 {
		c := newRTCClient(t, track, opusTrack())
		r.signOn("/live/cam1/whip", c)
		c.publishPlain()
		clients = append(clients, c)
		until(t, "its frames come", func() bool {
			info, _ := r.Streams().Find("/live/cam1")
			return info.Frames > 20 && strings.HasSuffix(info.Publisher, fmt.Sprint(len(clients)))
		})
	}
	if why := r.ended(overRTC); why.Word != "replaced" {
		t.Errorf("the first: %v", why)
	}
	clients[0].until("closed")
}

// With WebRTC off everything says so.
func TestRTCOff(t *testing.T) {
	r := serve(t, Options{})
	if resp, body := r.request("POST", "/live/a/whep", "v=0\r\n", "Content-Type", sdpType); resp.StatusCode != 501 || !strings.Contains(body, "WebRTC is off") {
		t.Errorf("%s %s", resp.Status, body)
	}
	w := r.login()
	for signal, want := range map[string]string{`{"ask":true}`: `"possible":false`, `{"offer":"v=0\r\n"}`: `"close":`} {
		w.say(`{"t":"signal","path":"/live/a","data":%s}`, signal)
		if m := w.next(); !strings.Contains(string(m.Data), want) || !strings.Contains(string(m.Data), `WebRTC is off`) {
			t.Errorf("%s: %s", signal, m.Data)
		}
	}
}

// A port that is taken is what Serve says.
func TestRTCPortTaken(t *testing.T) {
	r := serve(t, withRTC())
	s := New(Options{RTC: quickRTC(r.RTC().UDPAddr().String())})
	if err := s.Serve(t.Context(), nil, nil); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("%v", err)
	}
}

// sourceRig is a viewer's source without a network, and who publishes what it hands out.
type sourceRig struct {
	t      *testing.T
	pub    *stream.Publisher
	frames []media.Frame
	v      *rtcSource
	woken  waker

	video, sound []rtc.Group // handed out
}

func newSourceRig(t *testing.T) *sourceRig {
	t.Helper()
	r := serve(t, withRTC())
	pub, err := r.Streams().Publish("/live/cam1", "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pub.Close(lifecycle.ReasonDone) })
	track, frames := vp8Clip(t) // of which any picture may follow any other
	pub.SetTrack(track)
	pub.SetTrack(opusTrack())
	g := &sourceRig{t: t, pub: pub, frames: frames, woken: make(waker, 1)}
	viewer, err := r.Streams().View("/live/cam1", r.formats.rtc, "test")
	if err != nil {
		t.Fatal(err)
	}
	g.v = &rtcSource{peer: &rtcPeer{server: r.Server}, send: viewer.Stream().Info().Tracks, viewer: viewer, wake: g.woken}
	t.Cleanup(g.v.close)
	g.woken.Wake() // as the connection does
	return g
}

// write publishes a picture, the first of which is the keyframe, made longer by so many bytes; and its sound.
func (g *sourceRig) write(n, longer int) {
	g.t.Helper()
	f := g.frames[min(n, 1)]
	f.Data = append(bytes.Clone(f.Data), make([]byte, longer)...)
	f.DTS = time.Duration(n) * time.Second / 30
	f.PTS = f.DTS
	if err := g.pub.Write(f); err != nil {
		g.t.Fatal(err)
	}
	sound := opusFrame(n)
	sound.DTS, sound.PTS = f.DTS, f.DTS
	g.pub.Write(sound)
}

// fill takes what the source has until there are so many pictures. Like the peer it comes once by itself, and then when it is woken.
func (g *sourceRig) fill(pictures, max int) {
	g.t.Helper()
	for late := soon(g.t); len(g.video) < pictures; {
		select {
		case <-g.woken:
		case <-late.Done():
			g.t.Fatalf("%d of %d pictures came, and nobody is woken for the rest", len(g.video), pictures)
		}
		for _, b := range g.v.Fill(nil, max) {
			if group := rtc.Group(b); group.Slot() == rtc.SlotVideo {
				g.video = append(g.video, group)
			} else {
				g.sound = append(g.sound, group)
			}
		}
	}
}

// A viewer that begins in the middle of a group of pictures gets all of it at once, with times close to the newest, and no old sound.
func TestRTCStart(t *testing.T) {
	g := newSourceRig(t)
	const last = 90 // three seconds since the keyframe
	for n := range last + 1 {
		g.write(n, 0)
	}
	g.fill(last+1, 1<<20)
	for n := last + 1; n < last+10; n++ {
		g.write(n, 0)
	}
	g.fill(last+10, 1<<20)
	for i := 1; i < len(g.video); i++ {
		if step := int32(g.video[i].Timestamp() - g.video[i-1].Timestamp()); step <= 0 || i > last && step != 3000 {
			t.Fatalf("picture %d is %d ticks after the one before", i, step)
		}
	}
	if lasts := g.video[last].Timestamp() - g.video[0].Timestamp(); !g.video[0].Key() || lasts > 90*30 {
		t.Errorf("what was old begins with a keyframe: %v, and lasts for %d ticks", g.video[0].Key(), lasts)
	}
	if len(g.sound) == 0 || len(g.sound) > 15 {
		t.Errorf("%d frames of sound", len(g.sound))
	}
}

// A viewer whose share is taken is visited again for the rest, also where the share was smaller than what a peer comes again after by itself: at the beginning, and at its end.
func TestRTCShares(t *testing.T) {
	for _, c := range []struct {
		name              string
		longer, max, from int
	}{
		{"the newest picture fills the share of the beginning", startChunk, 1 << 20, 1},
		{"old pictures fill it", startChunk, 1 << 20, 6},
		{"small shares", 3000, 5000, 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newSourceRig(t)
			for n := range c.from {
				g.write(n, c.longer)
			}
			g.fill(c.from, c.max)
			for n := range 6 {
				g.write(c.from+n, c.longer)
			}
			g.fill(c.from+6, c.max)
		})
	}
}

// A viewer that cannot take the rate goes on at the next keyframe, and is closed when that was too often.
func TestRTCSlow(t *testing.T) {
	o := withRTC()
	o.Streams.MaxSkips = 2
	r := serve(t, o)
	r.feedPlain("/live/cam1", false)
	c := newRTCClient(t)
	location, _ := r.signOn("/live/cam1/whep", c)
	c.got(3, media.Video)
	p := r.whip.find(location[strings.LastIndexByte(location, '/')+1:])
	n := len(c.got(1, media.Video))
	p.slow(rtc.Strain{Loss: 0.5})
	e := r.event("slow", func(e *lifecycle.Event) bool { return e.Kind == stream.KindSlow })
	if e.Conn != p.life.ID() || e.Path != "/live/cam1" || e.Reason.Word != "slow" {
		t.Errorf("%+v", e)
	}
	c.got(n+20, media.Video)
	for range 2 {
		p.slow(rtc.Strain{Loss: 0.5})
		n = len(c.got(1, media.Video))
		until(t, "it goes on or is over", func() bool { return len(c.got(1, media.Video)) > n+8 || !p.why().IsZero() })
	}
	if why := r.ended(overRTC); why.Word != "slow" || !strings.Contains(why.Text, "MaxSkips") {
		t.Errorf("%v", why)
	}
}
