package server

import (
	"net/http"
	"strings"
	"testing"

	"hawser/lifecycle"
	"hawser/media"
	"hawser/rtc"
)

// withTURN are options for peers that have a TURN server.
func withTURN() Options {
	o := withRTC()
	o.RTC.TURN = &rtc.TURNOptions{UDP: "127.0.0.1:0", Relay: "127.0.0.1", Secret: "s3cret"}
	return o
}

// Who may play is told of the TURN server before the offer and with the answer; nobody else, and no preflight.
func TestRTCServers(t *testing.T) {
	g := serveGuardedWith(t, withTURN(), "keys:\n"+keyEntry("k", "hk_key", "play /live/a"))
	g.feedPlain("/live/a", false)
	for _, c := range []struct {
		path    string
		headers []string
		told    bool
	}{
		{"/live/a/whep", []string{"Authorization", "Bearer hk_key"}, true},
		{"/live/a/whep", nil, false},
		{"/live/a/whep", []string{"Authorization", "Bearer wrong"}, false},
		{"/live/a/whip", []string{"Authorization", "Bearer hk_key"}, false},
		{"/live/b/whep", []string{"Authorization", "Bearer hk_key"}, false},
		{"/live/a/whep/id", []string{"Authorization", "Bearer hk_key"}, false},
		{"/live/a/whep", []string{"Authorization", "Bearer hk_key", "Origin", "https://x.example", "Access-Control-Request-Method", "POST"}, false},
		{sessionPath, nil, false},
		{sessionPath, []string{"Authorization", "Bearer hk_key"}, true},
	} {
		resp, _ := g.rig.request(http.MethodOptions, c.path, "", c.headers...)
		link := resp.Header.Get("Link")
		if told := strings.Contains(link, "turn:127.0.0.1:") && strings.Contains(link, `rel="ice-server"`) && strings.Contains(link, "credential="); resp.StatusCode != 204 || told != c.told {
			t.Errorf("%s %q: %s, Link %q", c.path, c.headers, resp.Status, link)
		}
	}
	for _, trickle := range []bool{false, true} {
		o := quickRTC("")
		o.RelayOnly = true // there is no other way than the one that the server names
		engine, err := rtc.New(*o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { engine.Close() })
		c := &rtcClient{t: t}
		s, err := engine.Play(soon(t), "http://"+g.http+"/live/a/whep", rtc.HTTPOptions{Peer: rtc.PeerOptions{OnFrame: c.take}, Token: "hk_key", Trickle: trickle})
		if err != nil {
			t.Fatal(err)
		}
		c.got(3, media.Video)
		if pair := s.Peer.ICE().Pair; pair.Local.Type != "relay" {
			t.Errorf("trickle %v: the pair is %v, want a relay", trickle, pair)
		}
		if err := s.Close(soon(t), lifecycle.ReasonDone); err != nil {
			t.Error(err)
		}
	}
}
