package rtc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"hawser/lifecycle"
	"hawser/media"
)

// httpServer is a server of WHIP and WHEP with one resource, as RFC 9725 wants it.
type httpServer struct {
	t      *testing.T
	engine *Engine
	opts   PeerOptions

	mu      sync.Mutex
	peer    *Peer
	etag    int
	patches []string
	deleted bool
}

func (s *httpServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if r.Header.Get("Authorization") != "Bearer secret" {
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	tag := func() string { return fmt.Sprintf(`"%d"`, s.etag) }
	switch r.Method {
	case http.MethodPost:
		s.peer = openPeer(s.t, s.engine, s.opts)
		answer, err := s.peer.Answer(r.Context(), string(body))
		if err != nil || r.Header.Get("Content-Type") != "application/sdp" {
			http.Error(w, fmt.Sprint(err), http.StatusBadRequest)
			return
		}
		w.Header().Set("Location", "/resource/1")
		w.Header().Set("ETag", tag())
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, answer)
	case http.MethodPatch:
		match := r.Header.Get("If-Match")
		if match != "*" && match != tag() || r.Header.Get("Content-Type") != "application/trickle-ice-sdpfrag" {
			http.Error(w, "If-Match", http.StatusPreconditionFailed)
			return
		}
		s.patches = append(s.patches, string(body))
		answer, err := s.peer.Patch(r.Context(), string(body))
		switch {
		case err != nil:
			http.Error(w, err.Error(), http.StatusBadRequest)
		case answer == "":
			w.WriteHeader(http.StatusNoContent)
		default:
			s.etag++
			w.Header().Set("ETag", tag())
			io.WriteString(w, answer)
		}
	case http.MethodDelete:
		s.deleted = true
		s.peer.Close(lifecycle.ReasonDone)
	}
}

// Publishing and playing by HTTP, with and without trickle, with a restart, until the resource is deleted.
func TestPublishAndPlayByHTTP(t *testing.T) {
	for _, trickle := range []bool{false, true} {
		for _, play := range []bool{false, true} {
			t.Run(fmt.Sprintf("play %v trickle %v", play, trickle), func(t *testing.T) {
				t.Parallel()
				testHTTP(t, play, trickle)
			})
		}
	}
}

func testHTTP(t *testing.T, play, trickle bool) {
	c := annexB(t, "plain.h264")
	source, got := &groupSource{}, make(chan gotFrame, 1000)
	sends := PeerOptions{Send: []media.Track{c.track}, Source: source}
	receives := PeerOptions{OnFrame: func(t *media.Track, f media.Frame) { got <- gotFrame{t, f} }}
	server := &httpServer{t: t, engine: newEngine(t, quick(Options{UDP: "127.0.0.1:0"})), opts: receives}
	client := newEngine(t, quick(Options{}))
	mine, open := sends, client.Publish
	if play {
		server.opts, mine, open = sends, receives, client.Play
	}
	states := newSeen()
	mine.OnChange = states.add
	web := httptest.NewServer(server)
	defer web.Close()
	session, err := open(t.Context(), web.URL+"/live/cam1/whip", HTTPOptions{Peer: mine, Token: "secret", Trickle: trickle})
	if err != nil {
		t.Fatal(err)
	}
	sender := session.Peer
	if play {
		sender = server.peer
	}
	untilSecure(t, sender)
	through := func() {
		source.put(sender, c.groups(t)...)
		for i := range c.frames {
			select {
			case g := <-got:
				if !bytes.Equal(g.frame.Data, c.frames[i].Data) {
					t.Fatalf("frame %d is another one", i)
				}
			case <-time.After(time.Minute):
				t.Fatalf("frame %d does not come", i)
			}
		}
	}
	through()
	if err := session.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	states.until(t, "new checking connected checking connected completed", "new checking connected completed checking connected completed")
	if err := session.Close(t.Context(), lifecycle.ReasonDone); err != nil {
		t.Fatal(err)
	}
	server.mu.Lock()
	defer server.mu.Unlock()
	if !server.deleted || server.etag != 1 || trickle != (len(server.patches) > 1) || !strings.Contains(strings.Join(server.patches, ""), "a=candidate:") {
		t.Errorf("deleted %v, etag %d, patches %q", server.deleted, server.etag, server.patches)
	}
}

func TestRefusedByHTTP(t *testing.T) {
	server := &httpServer{t: t, engine: newEngine(t, quick(Options{UDP: "127.0.0.1:0"}))}
	web := httptest.NewServer(server)
	defer web.Close()
	client := newEngine(t, quick(Options{}))
	peer := PeerOptions{OnFrame: func(*media.Track, media.Frame) {}}
	_, err := client.Play(t.Context(), web.URL, HTTPOptions{Peer: peer, Token: "wrong"})
	if !errors.Is(err, lifecycle.ReasonUnauthorized) || !strings.Contains(err.Error(), "who are you?") {
		t.Errorf("without the token: %v", err)
	}
	for status, want := range map[int]lifecycle.Reason{404: lifecycle.ReasonNotFound, 406: lifecycle.ReasonUnsupported, 409: lifecycle.ReasonTaken, 503: lifecycle.ReasonLimit, 403: lifecycle.ReasonRefused,
		201: lifecycle.ReasonInternal} {
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		if _, err := client.Play(t.Context(), web.URL, HTTPOptions{Peer: peer}); err == nil || lifecycle.ReasonOf(err).Code != want.Code {
			t.Errorf("%d: %v, want %s", status, err, want.Word)
		}
		web.Close()
	}
	client.mu.Lock()
	defer client.mu.Unlock()
	if len(client.peers) != 0 {
		t.Errorf("%d peers are left", len(client.peers))
	}
}

// The STUN and TURN servers that a server names in links are used: those of the answer to OPTIONS for an offer with all addresses, those of the answer to POST with trickle, and with a restart.
func TestICEServersByHTTP(t *testing.T) {
	turn := &TURNOptions{UDP: "127.0.0.1:0", Relay: "127.0.0.1", Secret: "s3cret"}
	for _, c := range []struct {
		name             string
		trickle, restart bool
		method           string // whose answer has the links
	}{{"options", false, false, http.MethodOptions}, {"trickle", true, false, http.MethodPost}, {"restart", false, true, http.MethodPost}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := &httpServer{t: t, engine: newEngine(t, quick(Options{UDP: "127.0.0.1:0", TURN: turn})), opts: PeerOptions{OnFrame: func(*media.Track, media.Frame) {}}}
			s := server.engine.ICEServers()[0]
			links := fmt.Sprintf(`<stun:192.0.2.1>; rel="next", <%s>; rel="ice-server"; username="%s"; credential="%s"; credential-type="password"`, s.URLs[0], s.Username, s.Credential)
			web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == c.method {
					w.Header().Add("Link", links)
				}
				server.ServeHTTP(w, r)
			}))
			defer web.Close()
			clip := annexB(t, "plain.h264")
			states := newSeen()
			client := newEngine(t, quick(Options{RelayOnly: true}))
			session, err := client.Publish(t.Context(), web.URL, HTTPOptions{Peer: PeerOptions{Send: []media.Track{clip.track}, Source: &groupSource{}, OnChange: states.add}, Token: "secret", Trickle: c.trickle})
			if err != nil {
				t.Fatal(err)
			}
			if c.restart {
				if err := session.Restart(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			states.until(t, "new checking connected completed")
			if pair := session.Peer.ICE().Pair; pair.Local.Type != "relay" {
				t.Errorf("the pair is %v, want a relay", pair)
			}
			if err := session.Close(t.Context(), lifecycle.ReasonDone); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestSetICEServers(t *testing.T) {
	p := openPeer(t, newEngine(t, Options{}), PeerOptions{})
	if err := p.SetICEServers([]ICEServer{{URLs: []string{"turn:example.net"}}}); err == nil {
		t.Error("a TURN server without credentials is taken")
	}
	if err := p.SetICEServers([]ICEServer{{URLs: []string{"turn:example.net"}, Username: "u", Credential: "c"}}); err != nil {
		t.Error(err)
	}
}
