package server

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"hawser/lifecycle"
	"hawser/media"
	"hawser/rtc"
	"hawser/session"
)

// signal sends the data of a signal.
func (w *wire) signal(path string, data any) {
	w.t.Helper()
	b, err := json.Marshal(data)
	if err != nil {
		w.t.Fatal(err)
	}
	w.say(`{"t":"signal","path":%q,"data":%s}`, path, b)
}

// said reads signals of a path until one has a member, and returns it.
func (w *wire) said(path, member string) map[string]json.RawMessage {
	w.t.Helper()
	for {
		g := w.next()
		if g.Type != session.TypeSignal || g.Path != path {
			continue
		}
		var data map[string]json.RawMessage
		if err := json.Unmarshal(g.Data, &data); err != nil {
			w.t.Fatal(err)
		}
		if state, ok := data["state"]; ok {
			var s rtcState
			if err := json.Unmarshal(state, &s); err != nil {
				w.t.Fatal(err)
			}
			w.ice = append(w.ice, s)
		}
		if _, ok := data[member]; ok {
			return data
		}
		if why, ok := data["close"]; ok {
			w.t.Fatalf("waiting for %q: close %s", member, why)
		}
	}
}

// peerUp opens a peer through the session.
func (w *wire) peerUp(path, as string, c *rtcClient) {
	w.t.Helper()
	w.signal(path, map[string]string{"offer": c.offer(), "as": as})
	w.answer(path, c)
}

func (w *wire) answer(path string, c *rtcClient) {
	w.t.Helper()
	var sdp, candidate string
	json.Unmarshal(w.said(path, "answer")["answer"], &sdp)
	if err := c.peer.SetAnswer(sdp); err != nil {
		w.t.Fatal(err)
	}
	for range 2 { // one address, and the end
		json.Unmarshal(w.said(path, "candidate")["candidate"], &candidate)
		if err := c.peer.AddCandidate(candidate); err != nil {
			w.t.Fatal(err)
		}
	}
}

// closed reads until the peer of a path is closed, and returns why.
func (w *wire) peerClosed(path string) (why lifecycle.Reason) {
	w.t.Helper()
	json.Unmarshal(w.said(path, "close")["close"], &why)
	return why
}

// Play and publish through a session: about, answer, candidates, the server's states; both views in one log; close.
func TestSignal(t *testing.T) {
	r := serve(t, withRTC())
	w := r.login()
	track, _ := h264Clip(t)
	publisher := newRTCClient(t, track, opusTrack())
	w.signal("/live/cam1", map[string]any{"ask": true, "as": "publish"})
	if about := w.said("/live/cam1", "about"); string(about["about"]) != `{"possible":true}` || string(about["as"]) != `"publish"` || string(about["servers"]) != "[]" {
		t.Errorf("about publishing: %s", about)
	}
	w.peerUp("/live/cam1", "publish", publisher)
	publisher.publishPlain()
	until(t, "frames come", func() bool { info, _ := r.Streams().Find("/live/cam1"); return info.Frames > 20 })
	v := r.login()
	v.signal("/live/cam1", map[string]any{"ask": true})
	if about := v.said("/live/cam1", "about"); string(about["about"]) != `{"possible":true,"status":"live","video":"h264","audio":"opus"}` {
		t.Errorf("about playing: %s", about)
	}
	c := newRTCClient(t)
	v.peerUp("/live/cam1", "play", c)
	c.got(10, media.Video)
	c.got(10, media.Audio)
	for len(v.ice) < 4 {
		v.said("/live/cam1", "state")
	}
	for i, want := range []rtc.ICEState{rtc.StateNew, rtc.StateChecking, rtc.StateConnected, rtc.StateCompleted} {
		if got := v.ice[i]; got.ICE != want || (i >= 2) != strings.HasPrefix(got.Pair, "udp ") {
			t.Errorf("state %d is %+v, want %s", i, got, want)
		}
	}
	v.signal("/live/cam1", map[string]any{"view": map[string]any{"ice": "connected", "connection": "connecting", "error": "701 timed out",
		"stats": map[string]any{"rtt": 12.5, "pair": "udp host", "framesDecoded": 40, "odd": []int{1}}}})
	e := r.event("view", func(e *lifecycle.Event) bool { return e.Kind == KindView })
	if e.Protocol != overRTC || e.State != "connected" || e.Path != "/live/cam1" || e.Detail != "connection connecting, framesDecoded 40, pair udp host, rtt 12.5, error: 701 timed out" {
		t.Errorf("view: %+v", e)
	}
	v.signal("/live/cam1", map[string]any{"switch": map[string]any{"to": "webrtc", "why": "decoded steadily for 2 s"}})
	if e := r.event("switch", func(e *lifecycle.Event) bool { return e.Kind == KindSwitch }); e.Transport != "webrtc" || e.Detail != "decoded steadily for 2 s" {
		t.Errorf("switch: %+v", e)
	}
	v.signal("/live/cam1", map[string]any{"close": lifecycle.ReasonDone})
	until(t, "the viewer is gone", func() bool { info, _ := r.Streams().Find("/live/cam1"); return info.Viewers == 0 })
	w.signal("/live/cam1", map[string]any{"close": lifecycle.ReasonDone, "as": "publish"})
	r.event("gone", func(e *lifecycle.Event) bool { return e.Protocol == "stream" && e.Kind == "gone" })
}

// An offer of the same description restarts ICE, the same text again gets the same answer, and another description replaces the peer without a word of the first.
func TestSignalOffers(t *testing.T) {
	r := serve(t, withRTC())
	r.feedPlain("/live/cam1", false)
	w := r.login()
	c := newRTCClient(t)
	offer := c.offer()
	w.signal("/live/cam1", map[string]string{"offer": offer})
	w.answer("/live/cam1", c)
	c.got(3, media.Video)
	r.settled(1)
	w.signal("/live/cam1", map[string]string{"offer": offer})
	var clock rtcClock
	if said := w.said("/live/cam1", "answer")["clock"]; json.Unmarshal(said, &clock) != nil || clock.Time == 0 || int64(clock.RTP) != (clock.Time*90+500)/1000 {
		t.Errorf("the clock is %s", said)
	}
	restart, err := c.peer.Restart(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	w.signal("/live/cam1", map[string]string{"offer": restart})
	w.answer("/live/cam1", c)
	r.settled(2)
	second := newRTCClient(t)
	w.peerUp("/live/cam1", "play", second)
	second.got(3, media.Video)
	if why := r.ended(overRTC); why.Word != "replaced" {
		t.Errorf("the first peer: %v", why)
	}
	c.until("closed")
	if n := r.RTCPeers(); n != 1 {
		t.Errorf("%d peers", n)
	}
}

// Signals that make no sense get an error, and the session goes on; what is refused is closed with its reason.
func TestSignalFaults(t *testing.T) {
	r := serve(t, withRTC())
	f := r.feed("/live/b")
	f.write(30)
	w := r.login()
	for _, data := range []string{`[1]`, `"x"`, `{"offer":1}`, `{"ask":true,"as":"admin"}`} {
		w.say(`{"t":"signal","path":"/live/b","data":%s}`, data)
		if m := w.want(session.TypeError); m.Reason.Word != "bad_request" || m.Path != "/live/b" {
			t.Errorf("%s: %+v", data, m.Message)
		}
	}
	for _, data := range []string{`null`, `{}`, `{"novelty":1}`, `{"candidate":"candidate:1"}`, `{"close":{"code":1}}`} { // these mean nothing here
		w.say(`{"t":"signal","path":"/live/b","data":%s}`, data)
	}
	w.signal("/live/b", map[string]any{"ask": true})
	about := w.said("/live/b", "about")
	if !strings.Contains(string(about["about"]), `"possible":false`) || !strings.Contains(string(about["about"]), `"reorder":true`) || !strings.Contains(string(about["reason"]), `"unsupported"`) {
		t.Errorf("about: %s", about)
	}
	for path, want := range map[string]string{"/live/b": "unsupported", "/live/nobody": "not_found"} {
		w.signal(path, map[string]string{"offer": newRTCClient(t).offer()})
		if why := w.peerClosed(path); why.Word != want {
			t.Errorf("%s: %v, want %s", path, why, want)
		}
	}
	w.signal("/live/c", map[string]string{"offer": "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 H264/90000\r\n", "as": "publish"})
	if why := w.peerClosed("/live/c"); why.Word != "unsupported" || !strings.Contains(why.Text, "BUNDLE") {
		t.Errorf("a bad offer: %v", why)
	}
	for range MaxSessionOffers {
		w.signal("/live/nobody", map[string]string{"offer": "v=0\r\n"})
	}
	for {
		if why := w.peerClosed("/live/nobody"); why.Word == "limit" {
			break
		}
	}
}

// A session that is resumed keeps its peers, which send on meanwhile; one that ends takes them with it.
func TestSignalKept(t *testing.T) {
	r := serve(t, withRTC())
	r.feedPlain("/live/cam1", false)
	w := r.open(nil)
	w.say(`{"t":"hello","version":1}`)
	name := w.want(session.TypeWelcome).Message.Session
	c := newRTCClient(t)
	w.peerUp("/live/cam1", "play", c)
	c.got(3, media.Video)
	r.settled(1)
	w.ws.CloseNow()
	r.event("the connection is gone", func(e *lifecycle.Event) bool { return e.Protocol == "session" && e.Kind == lifecycle.KindClose })
	n := len(c.got(1, media.Video))
	c.got(n+10, media.Video)
	w = r.open(nil)
	w.say(`{"t":"hello","version":1,"session":%q}`, name)
	if m := w.want(session.TypeWelcome); !m.Resumed {
		t.Errorf("%+v", m.Message)
	}
	if state := w.said("/live/cam1", "state"); !strings.Contains(string(state["state"]), `"completed"`) {
		t.Errorf("after the resume: %s", state)
	}
	n = len(c.got(1, media.Video))
	c.got(n+10, media.Video)
	w.say(`{"t":"bye"}`)
	w.ws.CloseNow()
	if why := r.ended(overRTC); why.Word != "done" {
		t.Errorf("with the session: %v", why)
	}
	c.until("closed")
}

// A session that does not come back loses its peers with what is kept of it.
func TestSignalNotResumed(t *testing.T) {
	o := withRTC()
	o.Keep, o.Heartbeat = 1, patience // nothing is kept for long
	r := serve(t, o)
	r.feedPlain("/live/cam1", false)
	w := r.login()
	c := newRTCClient(t)
	w.peerUp("/live/cam1", "play", c)
	c.got(3, media.Video)
	w.ws.CloseNow()
	if why := r.ended(overRTC); why.Word != "lost" {
		t.Errorf("%v", why)
	}
}

// What a stream is now is told to who plays it: paused, live again, over.
func TestSignalStatus(t *testing.T) {
	r := serve(t, withRTC())
	f := r.feedPlain("/live/cam1", false)
	w := r.login()
	c := newRTCClient(t)
	w.peerUp("/live/cam1", "play", c)
	c.got(3, media.Video)
	f.pub.Close(lifecycle.ReasonLost)
	if about := w.said("/live/cam1", "about"); !strings.Contains(string(about["about"]), `"status":"waiting"`) {
		t.Errorf("paused: %s", about)
	}
	again := r.feedPlain("/live/cam1", false)
	if about := w.said("/live/cam1", "about"); !strings.Contains(string(about["about"]), `"status":"live"`) {
		t.Errorf("again: %s", about)
	}
	n := len(c.got(1, media.Video))
	c.got(n+10, media.Video)
	again.pub.Close(lifecycle.ReasonDone)
	w.said("/live/cam1", "about")
	r.Streams().EndGraces()
	if why := w.peerClosed("/live/cam1"); why.Word != "gone" {
		t.Errorf("ended: %v", why)
	}
}

// Who may not play or stream gets no peer, though data may be published there, and who may no longer loses it.
func TestRTCAuth(t *testing.T) {
	rules := func(path string) string {
		return "users:\n  alice:\n    allow:\n      - play " + path + "\nkeys:\n" + keyEntry("k", "hk_key", "play "+path, "stream /live/b", "publish /live/a")
	}
	g := serveGuardedWith(t, withRTC(), rules("/live/a"))
	g.feedPlain("/live/a", false)
	track, _ := h264Clip(t)
	offer := newRTCClient(t, track).offer()
	for _, c := range []struct {
		path, token string
		status      int
	}{
		{"/live/a/whep", "", 401}, {"/live/a/whep", "wrong", 401}, {"/live/b/whep", "hk_key", 403}, {"/live/a/whip", "hk_key", 403}, {"/live/b/whip", "hk_key", 201},
	} {
		headers := []string{"Content-Type", sdpType}
		if c.token != "" {
			headers = append(headers, "Authorization", "Bearer "+c.token)
		}
		if resp, body := g.rig.request("POST", c.path, offer, headers...); resp.StatusCode != c.status {
			t.Errorf("%s with %q: %s %s", c.path, c.token, resp.Status, body)
		} else if c.status == 201 {
			if resp, _ := g.rig.request("DELETE", resp.Header.Get("Location"), ""); resp.StatusCode != 401 {
				t.Errorf("DELETE without credentials: %s", resp.Status)
			}
		}
	}
	viewer := newRTCClient(t)
	resp, body := g.rig.request("POST", "/live/a/whep", viewer.offer(), "Content-Type", sdpType, "Authorization", "Bearer hk_key")
	if resp.StatusCode != 201 {
		t.Fatalf("%s %s", resp.Status, body)
	}
	if err := viewer.peer.SetAnswer(body); err != nil {
		t.Fatal(err)
	}
	viewer.got(3, media.Video)
	w := g.hello(g.token("alice", time.Hour))
	w.want(session.TypeWelcome)
	c := newRTCClient(t)
	w.peerUp("/live/a", "play", c)
	c.got(3, media.Video)
	w.signal("/live/a", map[string]string{"offer": offer, "as": "publish"})
	if why := w.peerClosed("/live/a"); why.Word != "refused" {
		t.Errorf("to publish: %v", why)
	}
	g.change(rules("/live/other"))
	if why := w.peerClosed("/live/a"); why.Word != "refused" {
		t.Errorf("after the rules have changed: %v", why)
	}
	viewer.until("closed")
	until(t, "nobody watches", func() bool { info, _ := g.Streams().Find("/live/a"); return info.Viewers == 0 })
}

// The hooks are asked about what WebRTC plays and publishes, and told when it is over.
func TestRTCHooks(t *testing.T) {
	with := func(rules map[string]rule) (*rig, *seen) {
		s := &seen{}
		o := asWebhook(t, s, rules)
		o.Hooks.Hooks = o.Hooks.Hooks[:1]
		o.RTC, o.Streams.Grace = withRTC().RTC, -1
		return serve(t, o), s
	}
	track, _ := h264Clip(t)
	r, s := with(map[string]rule{"publish": {path: "/live/renamed"}})
	c := newRTCClient(t, track, opusTrack())
	location, _ := r.signOn("/live/a/whip", c)
	c.publishPlain()
	until(t, "it publishes under another name", func() bool { info, _ := r.Streams().Find("/live/renamed"); return info.Frames > 10 })
	v := newRTCClient(t)
	played, _ := r.signOn("/live/renamed/whep", v)
	v.got(3, media.Video)
	w := r.login()
	w.signal("/live/b", map[string]string{"offer": newRTCClient(t, track).offer(), "as": "publish"})
	if why := w.peerClosed("/live/b"); why.Word != "refused" {
		t.Errorf("a session that publishes is renamed: %v", why)
	}
	r.request("DELETE", played, "")
	r.request("DELETE", location, "")
	want := []string{"publish /live/a", "play /live/renamed", "stop /live/renamed", "publish_close /live/renamed", "unpublish /live/renamed"}
	until(t, strings.Join(want, ", "), func() bool {
		lines := s.lines()
		return !slices.ContainsFunc(want, func(w string) bool { return !slices.Contains(lines, w) })
	})
	r, _ = with(map[string]rule{"play": {refuse: "members only"}, "publish": {refuse: "not you"}})
	r.feedPlain("/live/a", false)
	for path, want := range map[string]string{"/live/a/whep": "members only", "/live/b/whip": "not you"} {
		if resp, body := r.request("POST", path, newRTCClient(t, track).offer(), "Content-Type", sdpType); resp.StatusCode != 403 || !strings.Contains(body, want) {
			t.Errorf("%s: %s %s", path, resp.Status, body)
		}
	}
}
