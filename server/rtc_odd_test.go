package server

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"hawser/lifecycle"
	"hawser/media"
)

// directions are the kinds and directions of the sections of a description, such as "video sendonly, audio inactive".
func directions(sdp string) string {
	var words []string
	for line := range strings.Lines(sdp) {
		switch line = strings.TrimSpace(line); {
		case strings.HasPrefix(line, "m="):
			f := strings.Fields(line[2:])
			words = append(words, f[0])
			if f[1] == "0" {
				words[len(words)-1] += " refused"
			}
		case line == "a=sendrecv", line == "a=sendonly", line == "a=recvonly", line == "a=inactive":
			words[len(words)-1] += " " + line[2:]
		}
	}
	return strings.Join(words, ", ")
}

// Offers that are odd: what can be done with them is done, and the answer says what; the others are refused, take no path and leave no peer.
func TestRTCOddOffers(t *testing.T) {
	r := serve(t, withRTC())
	r.feedPlain("/live/both", true)
	r.feedPlain("/live/silent", false)
	track, _ := h264Clip(t)
	play, publish := newRTCClient(t).offer(), newRTCClient(t, track, opusTrack()).offer()
	sub := func(sdp string, pairs ...string) string {
		for i := 0; i < len(pairs); i += 2 {
			sdp = regexp.MustCompile(pairs[i]).ReplaceAllString(sdp, pairs[i+1])
		}
		return sdp
	}
	only := func(sdp, kind string) string { // the sections of a kind
		head, rest, _ := strings.Cut(sdp, "m=")
		mid := ""
		for section := range strings.SplitSeq(rest, "m=") {
			if strings.HasPrefix(section, kind) {
				_, mid, _ = strings.Cut(section, "a=mid:")
				head += "m=" + section
			}
		}
		return sub(head, "a=group:BUNDLE.*", "a=group:BUNDLE "+mid[:1])
	}
	for _, c := range []struct {
		name, path, offer string
		status            int
		says              string // the directions of the answer, or the refusal
	}{
		{"both", "/live/both/whep", play, 201, "video sendonly, audio sendonly"},
		{"sound that there is not", "/live/silent/whep", play, 201, "video sendonly, audio inactive"},
		{"sound alone", "/live/both/whep", only(play, "audio"), 201, "audio sendonly"},
		{"sound alone, that there is not", "/live/silent/whep", only(play, "audio"), 406, "there is neither video nor audio"},
		{"pictures alone", "/live/both/whep", only(play, "video"), 201, "video sendonly"},
		{"pictures that are not wanted", "/live/both/whep", strings.Replace(play, "a=recvonly", "a=inactive", 1), 201, "video inactive, audio sendonly"},
		{"both ways", "/live/both/whep", sub(play, "a=recvonly", "a=sendrecv"), 201, "video sendonly, audio sendonly"},
		{"pictures of unknown codecs", "/live/both/whep", sub(play, "(H264|VP8|VP9|AV1)/90000", "H265/90000"), 406, "the client does not take h264"},
		{"nothing wanted", "/live/both/whep", sub(play, "a=recvonly", "a=inactive"), 406, "receives neither"},
		{"who plays would send", "/live/both/whep", publish, 406, "receives neither"},
		{"no BUNDLE", "/live/both/whep", sub(play, "a=group.*\r\n", ""), 406, "BUNDLE"},
		{"no rtcp-mux", "/live/both/whep", sub(play, "a=rtcp-mux\r\n", ""), 406, "rtcp-mux"},
		{"not secure", "/live/both/whep", sub(play, "UDP/TLS/RTP/SAVPF", "RTP/AVP"), 406, "RTP/AVP"},
		{"who publishes would play", "/live/new/whip", play, 406, "sends neither"},
		{"who publishes sends nothing", "/live/new/whip", sub(publish, "a=sendonly", "a=inactive"), 406, "sends neither"},
		{"pictures of a codec that is not known", "/live/new/whip", sub(publish, "H264/90000", "H265/90000"), 406, "H265"},
		{"sound of a codec that is not known", "/live/new/whip", sub(publish, "opus/48000/2", "G722/8000"), 201, "video recvonly, audio refused"},
		{"sound is published", "/live/new/whip", only(publish, "audio"), 201, "audio recvonly"},
		{"data is published", "/live/new/whip", sub(only(publish, "audio"), "m=audio 9 UDP/TLS/RTP/SAVPF 111", "m=application 9 UDP/DTLS/SCTP webrtc-datachannel"), 406, "sends neither"},
		{"the address ends in a slash", "/live/new/whip/", publish, 201, "video recvonly, audio recvonly"},
	} {
		resp, body := r.request(http.MethodPost, c.path, c.offer, "Content-Type", sdpType)
		if says := directions(body); resp.StatusCode != c.status || c.status == 201 && says != c.says || !strings.Contains(says+body, c.says) {
			t.Errorf("%s: got %s %s\n%s, want %d %s", c.name, resp.Status, says, body, c.status, c.says)
		}
		location := resp.Header.Get("Location")
		if location == "" {
			continue
		}
		if strings.Contains(location, "//") {
			t.Errorf("%s: Location %s", c.name, location)
		}
		if resp, body := r.request(http.MethodDelete, location, ""); resp.StatusCode != 200 {
			t.Errorf("%s: DELETE %s: %s %s", c.name, location, resp.Status, body)
		}
		until(t, "the publisher is gone", func() bool { info, _ := r.Streams().Find("/live/new"); return info.Publisher == "" })
	}
	e := r.event("what is left out", func(e *lifecycle.Event) bool { return e.Kind == KindWithout && strings.Contains(e.Reason.Text, "G722") })
	if e.Protocol != overRTC || e.Path != "/live/new" {
		t.Errorf("%+v", e)
	}
	until(t, "no peer is left", func() bool { return r.RTCPeers() == 0 })
}

// A publisher whose offer does not name its SSRCs, which it need not (RFC 8829 section 5.2.1), and one that offers several encodings.
func TestWHIPUndeclared(t *testing.T) {
	r := serve(t, withRTC())
	track, _ := h264Clip(t)
	ssrc, last := regexp.MustCompile("a=ssrc.*\r\n"), regexp.MustCompile("m=audio")
	for path, change := range map[string]func(string) string{
		"/live/undeclared": func(sdp string) string { return ssrc.ReplaceAllString(sdp, "") },
		"/live/simulcast": func(sdp string) string {
			return last.ReplaceAllString(ssrc.ReplaceAllString(sdp, ""), "a=rid:f send\r\na=rid:q send\r\na=simulcast:send f;q\r\nm=audio")
		},
	} {
		c := newRTCClient(t, track, opusTrack())
		resp, body := r.request(http.MethodPost, path+"/whip", change(c.offer()), "Content-Type", sdpType)
		if resp.StatusCode != http.StatusCreated || strings.Contains(body, "simulcast") {
			t.Fatalf("%s: %s\n%s", path, resp.Status, body)
		}
		if err := c.peer.SetAnswer(body); err != nil {
			t.Fatal(err)
		}
		c.publishPlain()
		until(t, "both tracks of "+path, func() bool { info, _ := r.Streams().Find(path); return len(info.Tracks) == 2 && info.Frames > 20 })
	}
}

// Who has no credentials but in the address gets an address with them for the session, and may end it.
func TestRTCTokenInAddress(t *testing.T) {
	g := serveGuardedWith(t, withRTC(), "keys:\n"+keyEntry("k", "hk_key", "play /live/a"))
	g.feedPlain("/live/a", false)
	c := newRTCClient(t)
	location, etag := g.rig.signOn("/live/a/whep?token=hk_key", c)
	c.got(3, media.Video)
	if resp, body := g.rig.request(http.MethodPatch, location, "a=end-of-candidates\r\n", "Content-Type", fragmentType, "If-Match", `"other", `+etag); resp.StatusCode != 204 {
		t.Errorf("PATCH: %s %s", resp.Status, body)
	}
	if resp, body := g.rig.request(http.MethodDelete, location, ""); resp.StatusCode != 200 {
		t.Errorf("DELETE %s: %s %s", location, resp.Status, body)
	}
	resp, _ := g.rig.request(http.MethodPost, "/live/a/whep", newRTCClient(t).offer(), "Content-Type", sdpType, "Authorization", "Bearer hk_key")
	if location := resp.Header.Get("Location"); location == "" || strings.Contains(location, "?") {
		t.Errorf("with a header, Location is %q", location)
	}
}
