package rtc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"hawser/lifecycle"
	"hawser/media"
)

// anOffer is an offer that is accepted, of a client with a data channel.
func anOffer(t testing.TB) string {
	t.Helper()
	e, err := New(Options{Loopback: true})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	p, err := e.Peer(PeerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Open("data", ChannelOptions{}); err != nil {
		t.Fatal(err)
	}
	offer, err := p.Offer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return offer
}

func TestHostileOffers(t *testing.T) {
	e := newEngine(t, quick(Options{UDP: "127.0.0.1:0"}))
	good := anOffer(t)
	for _, c := range []struct {
		name, offer string
		want        lifecycle.Reason // its zero value: any error
		limit       string           // which is counted
	}{
		{"empty", "", lifecycle.Reason{}, ""},
		{"no SDP", "GET / HTTP/1.1\r\n\r\n", lifecycle.Reason{}, ""},
		{"huge", good + strings.Repeat("a=x:y\r\n", 10_000), lifecycle.ReasonTooBig, "rtc.MaxSDP"},
		{"10,000 candidates", good + strings.Repeat("a=candidate:1 1 udp 1 1.1.1.1 1 typ host\r\n", 1400), lifecycle.ReasonLimit, "rtc.MaxCandidates"},
		{"many sections", good + strings.Repeat("m=video 9 UDP/TLS/RTP/SAVPF 96\r\n", 500), lifecycle.ReasonLimit, "rtc.MaxSections"},
		{"cut off", good[:len(good)/2], lifecycle.Reason{}, ""},
		{"without fingerprint", strings.ReplaceAll(good, "a=fingerprint:", "a=nothing:"), lifecycle.Reason{}, ""},
		{"without credentials", strings.ReplaceAll(good, "a=ice-ufrag:", "a=nothing:"), lifecycle.Reason{}, ""},
		{"without password", strings.ReplaceAll(good, "a=ice-pwd:", "a=nothing:"), lifecycle.Reason{}, ""},
	} {
		p := openPeer(t, e, PeerOptions{})
		before := lifecycle.LimitsReached()[c.limit]
		_, err := p.Answer(t.Context(), c.offer)
		if n := lifecycle.LimitsReached()[c.limit] - before; c.limit != "" && (n != 1 || e.Bounds()[c.limit] == 0) {
			t.Errorf("%s: %s, which is %d, was counted %d times", c.name, c.limit, e.Bounds()[c.limit], n)
		}
		if err == nil || !c.want.IsZero() && !errors.Is(err, c.want) || !strings.HasPrefix(err.Error(), "rtc: ") {
			t.Errorf("%s: %v, want %s", c.name, err, c.want.Word)
		}
		p.Close(lifecycle.ReasonProtocol)
	}
	p := openPeer(t, e, PeerOptions{})
	if _, err := p.Answer(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	var err error
	for i := 0; i < 10_000 && err == nil; i++ {
		err = p.AddCandidate(fmt.Sprintf("candidate:%d 1 udp 2130706431 192.0.2.%d %d typ host", i, i%250+1, 1024+i))
	}
	if !errors.Is(err, lifecycle.ReasonLimit) {
		t.Errorf("after 10,000 candidates: %v", err)
	}
	for _, candidate := range []string{"nonsense", "candidate:", "candidate:1 1 udp x 1.1.1.1 1 typ host", "candidate:1 1 udp 1 1.1.1.1 99999 typ host", strings.Repeat("x", 100_000)} {
		if err := p.AddCandidate(candidate); err == nil || len(err.Error()) > 1000 {
			t.Errorf("%.30q: %.200v", candidate, err)
		}
	}
}

// Offers that could be answered, but of which nothing would come, are refused with what is wanted; odd ones that work are not.
func TestOffersThatCannotWork(t *testing.T) {
	client, server := newEngine(t, quick(Options{})), newEngine(t, quick(Options{UDP: "127.0.0.1:0"}))
	viewer := openPeer(t, client, PeerOptions{OnFrame: func(*media.Track, media.Frame) {}})
	good, err := viewer.Offer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	with := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(good) }
	video, audio, _ := strings.Cut(good, "m=audio ")
	for _, c := range []struct {
		name, offer string
		want        lifecycle.Reason // its zero value: it is answered
		text        string
	}{
		{"as it is", good, lifecycle.Reason{}, ""},
		{"no BUNDLE", with("a=group:BUNDLE 0 1\r\n", ""), lifecycle.ReasonUnsupported, "no BUNDLE"},
		{"another group", with("a=group:BUNDLE 0 1", "a=group:LS 0 1"), lifecycle.ReasonUnsupported, "no BUNDLE"},
		{"BUNDLE of others", with("a=group:BUNDLE 0 1", "a=group:BUNDLE 7 8"), lifecycle.ReasonUnsupported, "no BUNDLE"},
		{"BUNDLE of one", with("a=group:BUNDLE 0 1", "a=group:BUNDLE 1"), lifecycle.Reason{}, ""},
		{"no rtcp-mux", with("a=rtcp-mux\r\n", ""), lifecycle.ReasonUnsupported, "rtcp-mux"},
		{"rtcp-mux of the bundle's first", video + "m=audio " + strings.ReplaceAll(audio, "a=rtcp-mux\r\n", ""), lifecycle.Reason{}, ""},
		{"not secure", with("UDP/TLS/RTP/SAVPF", "RTP/AVP"), lifecycle.ReasonUnsupported, `"RTP/AVP"`},
		{"passive", with("a=setup:actpass", "a=setup:passive"), lifecycle.ReasonUnsupported, "want actpass"},
		{"holdconn", with("a=setup:actpass", "a=setup:holdconn"), lifecycle.ReasonUnsupported, "want actpass"},
		{"active", with("a=setup:actpass", "a=setup:active"), lifecycle.Reason{}, ""},
		{"one mid twice", with("a=mid:1", "a=mid:0"), lifecycle.ReasonBadRequest, "mid"},
		{"all refused", with("m=video 9", "m=video 0", "m=audio 9", "m=audio 0"), lifecycle.Reason{}, ""},
		{"bundle-only", with("m=audio 9", "m=audio 0", "a=mid:1", "a=mid:1\r\na=bundle-only"), lifecycle.Reason{}, ""},
		{"lines that end in LF", strings.ReplaceAll(good, "\r\n", "\n"), lifecycle.Reason{}, ""},
	} {
		p := openPeer(t, server, PeerOptions{Send: []media.Track{media.OpusTrack(2)}, Source: &groupSource{}})
		_, err := p.Answer(t.Context(), c.offer)
		switch {
		case c.want.IsZero() && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case !c.want.IsZero() && (!errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text)):
			t.Errorf("%s: %v, want %s and %q", c.name, err, c.want.Word, c.text)
		}
		p.Close(lifecycle.ReasonProtocol)
	}
}

func TestSections(t *testing.T) {
	got := Sections("v=0\r\na=setup:actpass\r\na=recvonly\r\nm=video 0 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:v\r\na=rtpmap:96 vp8/90000\r\na=rtpmap:97 rtx/90000\r\na=rtpmap:98\r\n" +
		"m=audio 0 UDP/TLS/RTP/SAVPF 111\r\na=bundle-only\r\na=rtcp-mux\r\na=sendonly\r\na=setup:active\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nm=\r\nm=odd 9\r\na=sendrecv\r\n")
	want := []Section{
		{Kind: "video", Protocol: "UDP/TLS/RTP/SAVPF", Mid: "v", Codecs: []string{"VP8", "RTX"}, setup: "actpass", direction: "recvonly"},
		{Kind: "audio", Protocol: "UDP/TLS/RTP/SAVPF", Live: true, Sends: true, mux: true, setup: "active", direction: "sendonly"},
		{Kind: "application", Protocol: "UDP/DTLS/SCTP", Live: true, Sends: true, Receives: true, setup: "actpass", direction: "sendrecv"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// A flood of offers that lead to nothing: as many peers as may be, and no more; after ConnectTimeout they are gone, and what they held.
func TestFloodOfOffers(t *testing.T) {
	o := quick(Options{UDP: "127.0.0.1:0", MaxPeers: 20, ConnectTimeout: 3 * time.Second})
	e := newEngine(t, o)
	offer := anOffer(t)
	before := runtime.NumGoroutine()
	made, refused := 0, 0
	closed := make(chan lifecycle.Reason, 1000)
	for range 500 {
		p, err := e.Peer(PeerOptions{OnChange: func(c Change) {
			if c.To == StateClosed {
				closed <- c.Reason
			}
		}})
		if err != nil {
			if !errors.Is(err, lifecycle.ReasonLimit) || !strings.Contains(err.Error(), "MaxPeers") {
				t.Fatal(err)
			}
			refused++
			continue
		}
		made++
		if _, err := p.Answer(t.Context(), offer); err != nil {
			t.Fatal(err)
		}
	}
	if made < 20 || refused == 0 {
		t.Errorf("%d peers, %d refused", made, refused)
	}
	for range made {
		if r := <-closed; !errors.Is(r, lifecycle.ReasonTimeout) {
			t.Errorf("closed with %v", r)
		}
	}
	patience := time.After(time.Minute)
	lines := func() int {
		e.mux.linesMu.RLock()
		defer e.mux.linesMu.RUnlock()
		return len(e.mux.lines)
	}
	for runtime.NumGoroutine() > before+20 || lines() > 0 {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-patience:
			t.Fatalf("%d goroutines, there were %d; %d lines", runtime.NumGoroutine(), before, lines())
		}
	}
}

// check is a binding request for an agent.
func check(username string) []byte {
	b := make([]byte, 20, 100)
	binary.BigEndian.PutUint16(b, 1)
	binary.BigEndian.PutUint32(b[4:], 0x2112a442)
	b = binary.BigEndian.AppendUint16(b, 6)
	b = binary.BigEndian.AppendUint16(b, uint16(len(username)))
	b = append(b, username...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-20))
	return b
}

// What strangers send to the port changes nothing, and costs no memory: no route, no line; and peers connect meanwhile.
func TestHostilePackets(t *testing.T) {
	server, client := newEngine(t, quick(Options{UDP: "127.0.0.1:0", MaxCandidates: 10})), newEngine(t, quick(Options{}))
	s := openPeer(t, server, PeerOptions{OnChannel: func(*Channel) ChannelOptions { return ChannelOptions{} }})
	seen := newSeen()
	k := openPeer(t, client, PeerOptions{OnChange: seen.add})
	if _, err := k.Open("data", ChannelOptions{}); err != nil {
		t.Fatal(err)
	}
	offer, err := k.Offer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	answer, err := s.Answer(t.Context(), offer)
	if err != nil {
		t.Fatal(err)
	}
	ufrag := firstValue(answer, "ice-ufrag")
	hostile := [][]byte{{}, {0}, []byte("GET / HTTP/1.1\r\n\r\n"), make([]byte, 1500), check("nobody:x"), check(""), check(strings.Repeat("u", 600)), check(ufrag + ":forged"),
		{22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1}, {0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1}, {0x80, 200, 0, 1}, check("x")[:22],
		append(check("cut"), 0, 6, 0xff, 0xff)}
	for range 100 {
		c, err := net.Dial("udp", server.UDPAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range hostile {
			c.Write(p)
		}
		c.Close()
	}
	if err := k.SetAnswer(answer); err != nil {
		t.Fatal(err)
	}
	seen.until(t, "new checking connected completed")
	if n := server.mux.strangers.Load(); n < 100 {
		t.Errorf("%d packets were nobody's", n)
	}
	line := server.mux.line(ufrag)
	if line == nil || len(server.mux.lines) != 1 {
		t.Fatalf("%d lines", len(server.mux.lines))
	}
	for _, c := range line.conns {
		c.mu.Lock()
		if len(c.remotes) > 10 {
			t.Errorf("%d remote addresses, at most 10 may be (MaxCandidates)", len(c.remotes))
		}
		c.mu.Unlock()
	}
}

func FuzzBindingRequest(f *testing.F) {
	f.Add(check("ours:theirs"))
	f.Add(check("")[:21])
	f.Fuzz(func(t *testing.T, b []byte) {
		if name, ok := bindingRequest(b); ok && (len(name) > len(b) || strings.Contains(string(name), ":")) {
			t.Errorf("%x: %q", b, name)
		}
	})
}

func FuzzOffer(f *testing.F) {
	good := anOffer(f)
	f.Add(good, "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n")
	f.Add(good[:100], "a=candidate:1 1 udp 1 1.1.1.1 1 typ host\r\n")
	e, err := New(Options{UDP: "127.0.0.1:0", Loopback: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { e.Close() })
	f.Fuzz(func(t *testing.T, offer, fragment string) {
		p, err := e.Peer(PeerOptions{OnCandidate: func(string) {}})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close(lifecycle.ReasonDone)
		if _, err := p.Answer(t.Context(), offer); err == nil {
			p.Patch(t.Context(), fragment)
		}
		withFragment(offer, fragmentOf(fragment))
	})
}

func FuzzCandidate(f *testing.F) {
	f.Add("candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host")
	f.Add("candidate:1 1 tcp 1 ::1 9 typ srflx raddr 0.0.0.0 rport 0 tcptype active")
	good := anOffer(f)
	e, err := New(Options{UDP: "127.0.0.1:0", Loopback: true, MaxCandidates: 1 << 30})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { e.Close() })
	p, err := e.Peer(PeerOptions{OnCandidate: func(string) {}})
	if err == nil {
		_, err = p.Answer(f.Context(), good)
	}
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, candidate string) { p.AddCandidate(candidate) })
}
