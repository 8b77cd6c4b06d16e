package server

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hawser/amf"
	"hawser/auth"
	"hawser/lifecycle"
	"hawser/rtmp"
	"hawser/session"
	"hawser/subject"
)

const authSecret = "a secret of this test, long enough for HS256"

// guarded is a server with a file of rules.
type guarded struct {
	*rig
	file *auth.File
	path string
}

func serveGuarded(t testing.TB, rules string) *guarded {
	t.Helper()
	return serveGuardedWith(t, Options{}, rules)
}

func serveGuardedWith(t testing.TB, o Options, rules string) *guarded {
	t.Helper()
	g := &guarded{path: filepath.Join(t.TempDir(), "auth.yaml")}
	g.write(t, rules)
	file, err := auth.Open(g.path)
	if err != nil {
		t.Fatal(err)
	}
	o.Auth = file
	g.file, g.rig = file, serve(t, o)
	return g
}

func (g *guarded) write(t testing.TB, rules string) {
	t.Helper()
	if err := os.WriteFile(g.path, []byte("tokens:\n  leeway: 0s\n  keys:\n    - secret: "+authSecret+"\n"+rules), 0o600); err != nil {
		t.Fatal(err)
	}
}

// change changes the rules, as a server does while it runs.
func (g *guarded) change(rules string) {
	g.t.Helper()
	g.write(g.t, rules)
	if err := g.file.Reload(); err != nil {
		g.t.Fatal(err)
	}
	g.Recheck()
}

// token makes one for a user, with rules of its own where there are any.
func (g *guarded) token(user string, lifetime time.Duration, allow ...string) string {
	g.t.Helper()
	o := auth.TokenOptions{User: user, Lifetime: lifetime}
	if allow != nil {
		o.Grant = &auth.Grant{Allow: allow}
	}
	token, err := g.file.NewToken(o)
	if err != nil {
		g.t.Fatal(err)
	}
	return token
}

// hello logs a session in with a token.
func (g *guarded) hello(token string) *wire {
	g.t.Helper()
	w := g.open(nil)
	w.say(`{"t":"hello","version":1,"client":"test","token":%q}`, token)
	return w
}

// keyEntry is an API key of a file of rules.
func keyEntry(name, key string, allow ...string) string {
	sum := sha256.Sum256([]byte(key))
	text := "  " + name + ":\n    sha256: " + hex.EncodeToString(sum[:]) + "\n    allow:\n"
	for _, a := range allow {
		text += "      - \"" + a + "\"\n"
	}
	return text
}

func TestHelloIsRefused(t *testing.T) {
	g := serveGuarded(t, "")
	for _, token := range []string{"", "wrong credentials", "alice:wrong credentials", g.token("a", time.Hour, "play /a") + "x"} {
		w := g.hello(token)
		if m := w.want(session.TypeError); m.Reason.Word != "unauthorized" {
			t.Errorf("got %v, want unauthorized", m.Reason)
		}
		if code, _ := w.closed(); code != lifecycle.ReasonUnauthorized.Code {
			t.Errorf("closed with %d", code)
		}
	}
	e := g.event("a login was refused", func(e *lifecycle.Event) bool { return e.Kind == "refuse" })
	if e.Reason.Word != "unauthorized" {
		t.Errorf("event: got %+v", e)
	}
	for _, e := range g.Log().Recent(1000) {
		if text := fmt.Sprintf("%+v", e); strings.Contains(text, "wrong credentials") {
			t.Errorf("an event shows credentials: %s", text)
		}
	}
}

func TestWhatASessionMay(t *testing.T) {
	g := serveGuarded(t, "")
	w := g.hello(g.token("alice", time.Hour, "subscribe /a/**", "publish /u/{user}/*"))
	if m := w.want(session.TypeWelcome); m.Welcome.User != "alice" || m.Welcome.Expires == 0 {
		t.Errorf("welcome: got %+v", m.Welcome)
	}
	w.say(`{"t":"subscribe","path":"/a/b"}`)
	w.want(session.TypeSnapshot)
	w.say(`{"t":"subscribe","path":"/b"}`)
	if m := w.want(session.TypeStatus); m.Status != session.StatusRefused || m.Reason.Word != "refused" || m.Reason.Text != "alice may not subscribe /b" {
		t.Errorf("got %+v", m.Message)
	}
	w.say(`{"t":"publish","id":1,"path":"/u/alice/x","data":1}`)
	w.want(session.TypeAck)
	w.say(`{"t":"publish","id":2,"path":"/u/bob/x","data":1}`)
	if m := w.want(session.TypeError); m.Reason.Word != "refused" {
		t.Errorf("got %+v", m.Message)
	}
	w.say(`{"t":"play","path":"/a/b"}`)
	if m := w.want(session.TypeMedia); m.Status != session.StatusGone || m.Reason.Word != "refused" {
		t.Errorf("got %+v", m.Message)
	}
	g.event("a subscription was refused", func(e *lifecycle.Event) bool { return e.Kind == "refuse" && e.Path == "/b" && e.Detail == "subscribe" })
}

// TestTokenOfTheRequest logs in by what came with the WebSocket's request.
func TestTokenOfTheRequest(t *testing.T) {
	g := serveGuarded(t, "keys:\n"+keyEntry("k", "hk_key", "subscribe /a"))
	w := g.openAt("?token=hk_key", nil)
	w.say(`{"t":"hello","version":1,"client":"test"}`)
	if m := w.want(session.TypeWelcome); m.Welcome.User != "k" {
		t.Errorf("got %+v", m.Welcome)
	}
}

// TestCredentialsEnd lets a token run out.
func TestCredentialsEnd(t *testing.T) {
	t.Parallel()
	g := serveGuarded(t, "")
	w := g.hello(g.token("alice", 5*time.Second, "subscribe /a"))
	w.want(session.TypeWelcome)
	code, said := w.closed()
	if len(said) == 0 || said[len(said)-1].Type != session.TypeEjected || code != lifecycle.ReasonUnauthorized.Code {
		t.Errorf("got %d after %+v, want an ejection", code, said)
	}
}

// TestRenewal renews a token before its end, and follows a log over it without a gap.
func TestRenewal(t *testing.T) {
	t.Parallel()
	g := serveGuarded(t, "")
	w := g.hello(g.token("alice", 5*time.Second, "subscribe /a"))
	first := w.want(session.TypeWelcome).Welcome.Expires
	w.say(`{"t":"subscribe","path":"/a"}`)
	w.want(session.TypeSnapshot)
	g.log("/a", 0, 1)
	w.wantLog("/a", 0, 1)
	w.say(`{"t":"token","id":1,"token":%q}`, g.token("bob", time.Hour, "subscribe /a"))
	if m := w.want(session.TypeResult); m.Reason.Word != "unauthorized" {
		t.Errorf("the token of somebody else: got %+v", m.Message)
	}
	w.say(`{"t":"token","id":2,"token":%q}`, g.token("alice", time.Hour, "subscribe /a"))
	if m := w.want(session.TypeResult); !m.Reason.IsZero() || m.Expires <= first {
		t.Errorf("got %+v", m.Message)
	}
	until(t, "the first token has ended", func() bool { return time.Now().UnixMilli() > first })
	g.log("/a", 1, 2)
	w.wantLog("/a", 1, 2)
}

// TestRulesChange ends what a session may no longer do and nothing else, without a message from its client.
func TestRulesChange(t *testing.T) {
	rules := func(paths ...string) string {
		text := "users:\n  alice:\n    allow:\n      - play /live/**\n"
		for _, p := range paths {
			text += "      - subscribe " + p + "\n"
		}
		return text
	}
	g := serveGuarded(t, rules("/a", "/b"))
	f := g.feed("/live/cam1")
	f.write(3)
	w := g.hello(g.token("alice", time.Hour))
	w.want(session.TypeWelcome)
	for _, path := range []string{"/a", "/b"} {
		w.say(`{"t":"subscribe","path":%q}`, path)
		w.want(session.TypeSnapshot)
	}
	g.change(rules("/b"))
	if m := w.want(session.TypeStatus); m.Path != "/a" || m.Status != session.StatusRefused || m.Reason.Word != "refused" {
		t.Errorf("got %+v", m.Message)
	}
	g.publish("/a", subject.Log, subject.Update{Data: []byte("1")})
	g.log("/b", 0, 1)
	w.wantLog("/b", 0, 1) // and nothing of /a before
	w.say(`{"t":"subscribe","path":"/a"}`)
	if m := w.want(session.TypeStatus); m.Status != session.StatusRefused {
		t.Errorf("got %+v", m.Message)
	}
	g.change(rules("/a", "/b"))
	w.say(`{"t":"subscribe","path":"/a"}`)
	w.want(session.TypeSnapshot)
	w.say(`{"t":"play","path":"/live/cam1"}`)
	w.want(session.TypeMedia)
	g.change(strings.Replace(rules("/a", "/b"), "/live/**", "/live/x", 1))
	for {
		m := w.next()
		if m.head == nil && m.Type == session.TypeMedia && m.Status == session.StatusGone {
			if m.Reason.Word != "refused" {
				t.Errorf("got %+v", m.Message)
			}
			break
		}
	}
	w.say(`{"t":"ping","id":9}`)
	for w.next().Type != session.TypePong {
	}
	until(t, "the viewer has gone", func() bool { info, _ := g.Streams().Find("/live/cam1"); return info.Viewers == 0 })
}

// TestSessionOfARevokedKey is thrown out as soon as its key is gone from the file.
func TestSessionOfARevokedKey(t *testing.T) {
	g := serveGuarded(t, "keys:\n"+keyEntry("k", "hk_key", "subscribe /a")+keyEntry("l", "hk_other", "subscribe /a"))
	w, other := g.hello("hk_key"), g.hello("hk_other")
	w.want(session.TypeWelcome)
	other.want(session.TypeWelcome)
	g.change("keys:\n" + keyEntry("l", "hk_other", "subscribe /a"))
	if m := w.want(session.TypeEjected); m.Reason.Word != "unauthorized" {
		t.Errorf("got %+v", m.Message)
	}
	other.say(`{"t":"ping","id":1}`)
	other.want(session.TypePong)
}

// request makes an HTTP request and returns the status.
func (g *guarded) request(method, path, credentials, host string) int {
	g.t.Helper()
	req, err := http.NewRequestWithContext(soon(g.t), method, "http://"+g.http+path, strings.NewReader("1"))
	if err != nil {
		g.t.Fatal(err)
	}
	req.Host = host
	if credentials != "" {
		req.Header.Set("Authorization", credentials)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

func TestHTTPCredentials(t *testing.T) {
	g := serveGuarded(t, "keys:\n"+keyEntry("k", "hk_key", "publish /a", "play /live/**")+keyEntry("boss", "hk_boss", "admin /**"))
	g.feed("/live/cam1").write(3)
	for _, c := range []struct {
		method, path, credentials, host string
		want                            int
	}{
		{"POST", "/api/v1/subjects/a", "", "", 401},
		{"POST", "/api/v1/subjects/a", "Bearer hk_other", "", 401},
		{"POST", "/api/v1/subjects/a", "Bearer hk_key", "", 200},
		{"POST", "/api/v1/subjects/b", "Bearer hk_key", "", 403},
		{"POST", "/api/v1/subjects/a?token=hk_key", "", "", 200},
		{"POST", "/api/v1/subjects/a", "Basic azpoa19rZXk=", "", 401},
		{"HEAD", "/live/cam1.flv", "", "", 401},
		{"HEAD", "/live/cam1.flv?token=hk_key", "", "", 200},
		{"HEAD", "/live/cam1.flv", "bearer hk_key", "", 200},
		{"HEAD", "/live/cam1.flv", "Bearer hk_boss", "", 403},
		{"GET", "/api/v1/streams", "", "", 401},
		{"GET", "/recordings/live/cam1.flv", "", "", 401},
		{"GET", "/recordings/live/cam1.flv", "Bearer hk_key", "", 403},
		{"GET", "/api/v1/recordings", "", "", 401},
		{"GET", "/api/v1/recordings", "Bearer hk_key", "", 200},
		{"GET", "/api/v1/events", "", "", 200}, // this machine
		{"GET", "/api/v1/events", "", "example.org", 401},
		{"GET", "/api/v1/events", "Bearer hk_key", "example.org", 403},
		{"GET", "/api/v1/events", "Bearer hk_boss", "example.org", 200},
		{"GET", "/healthz", "", "", 200},
	} {
		if got := g.request(c.method, c.path, c.credentials, c.host); got != c.want {
			t.Errorf("%s %s with %q to %q: got %d, want %d", c.method, c.path, c.credentials, c.host, got, c.want)
		}
	}
	for token, want := range map[string]int{"hk_key": 1, "hk_boss": 0} {
		res := g.get("/api/v1/streams?token=" + token)
		body, _ := io.ReadAll(res.Body)
		if got := strings.Count(string(body), `"/live/cam1"`); got != want {
			t.Errorf("%s sees %s", token, body)
		}
	}
}

// TestFLVViewerEnds ends a viewer whose rule goes, and not the other one.
func TestFLVViewerEnds(t *testing.T) {
	g := serveGuarded(t, "keys:\n"+keyEntry("k", "hk_key", "play /live/**")+keyEntry("l", "hk_other", "play /live/**"))
	f := g.feed("/live/cam1")
	f.write(3)
	gone, stays := g.get("/live/cam1.flv?token=hk_key"), g.get("/live/cam1.flv?token=hk_other")
	g.change("keys:\n" + keyEntry("k", "hk_key", "play /other") + keyEntry("l", "hk_other", "play /live/cam1"))
	if why := g.ended("http-flv"); why.Word != "refused" {
		t.Errorf("got %v", why)
	}
	io.Copy(io.Discard, gone.Body)
	info, _ := g.Streams().Find("/live/cam1")
	until(t, "one viewer is left", func() bool { info, _ = g.Streams().Find("/live/cam1"); return info.Viewers == 1 })
	stays.Body.Close()
	until(t, "no guard is left", func() bool { g.guards.mu.Lock(); defer g.guards.mu.Unlock(); return len(g.guards.all) == 0 })
}

// TestRTMPCredentials publishes and plays by ffmpeg.
func TestRTMPCredentials(t *testing.T) {
	ffmpeg, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Skip("needs ffmpeg")
	}
	g := serveGuarded(t, "keys:\n"+keyEntry("cam", "hk_cam", "stream /live/cam1"))
	publish := func(query string) *exec.Cmd {
		c := exec.CommandContext(soon(t), ffmpeg, "-v", "error", "-re", "-f", "lavfi", "-i", "testsrc=size=64x64:rate=10", "-c:v", "flv1", "-t", "60", "-f", "flv", "rtmp://"+g.rtmp+"/live/cam1"+query)
		c.WaitDelay = time.Second
		return c
	}
	for _, query := range []string{"", "?token=hk_other", "?token=" + g.token("eve", time.Hour, "stream /live/cam2")} {
		if out, err := publish(query).CombinedOutput(); err == nil {
			t.Errorf("%q: ffmpeg may publish: %s", query, out)
		}
	}
	for _, query := range []string{"?key=hk_cam", "?token=" + g.token("eve", time.Hour, "stream /live/cam1")} {
		c := publish(query)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		until(t, "ffmpeg publishes", func() bool { return len(g.conns("publishing")) == 1 })
		g.change("") // ends who came with the key; the token says itself what it may
		if strings.HasPrefix(query, "?key") {
			if err := c.Wait(); err == nil {
				t.Error("ffmpeg was not ended")
			}
			if why := g.event("end of the publisher", func(e *lifecycle.Event) bool { return e.Kind == rtmp.KindPublishClose }).Reason; why.Word != "unauthorized" {
				t.Errorf("ended because of %v", why)
			}
			until(t, "nobody publishes", func() bool { return len(g.conns("publishing")) == 0 })
			continue
		}
		if len(g.conns("publishing")) != 1 {
			t.Error("what is still allowed was ended")
		}
		c.Process.Kill()
		c.Wait()
	}
	for _, e := range g.Log().Recent(1000) {
		if text := fmt.Sprintf("%+v", e); strings.Contains(text, "hk_") || strings.Contains(text, "eyJ") {
			t.Errorf("an event shows credentials: %s", text)
		}
	}
	until(t, "no guard is left", func() bool {
		g.guards.mu.Lock()
		defer g.guards.mu.Unlock()
		return len(g.guards.all) == 0 && len(g.rtmpGuards) == 0
	})
}

// conns are the RTMP connections in a state.
func (g *guarded) conns(state string) (list []string) {
	for _, c := range g.Log().Conns() {
		if c.Protocol == "rtmp" && c.State == state {
			list = append(list, c.ID)
		}
	}
	return list
}

func TestRTMPPlayer(t *testing.T) {
	g := serveGuarded(t, "keys:\n"+keyEntry("k", "hk_key", "play /live/**"))
	g.feed("/live/cam1").write(3)
	g.player("/live/cam1?token=hk_key")
	g.change("keys:\n" + keyEntry("k", "hk_key", "play /other"))
	if why := g.ended("rtmp"); why.Word != "refused" {
		t.Errorf("got %v", why)
	}
}

// Credentials in the application's URL that are not good end the connection at once; good ones are looked at once and hold for its streams, whose names may bring others.
func TestRTMPConnectCredentials(t *testing.T) {
	g := serveGuarded(t, "keys:\n"+keyEntry("cam", "hk_cam", "play /live/**"))
	g.feed("/live/cam1").write(3)
	for _, tc := range []struct {
		app, name string
		connected bool
		played    string
	}{
		{"live?token=hk_other", "cam1", false, ""},
		{"live?token=hk_cam", "cam1", true, "NetStream.Play.Start"},
		{"live", "cam1?token=hk_cam", true, "NetStream.Play.Start"},
		{"live?token=hk_cam", "cam1?token=hk_other", true, "NetStream.Play.Failed"},
		{"live", "cam1", true, "NetStream.Play.Failed"},
	} {
		c := g.connect(tc.app)
		answer := ""
		for answer != "_result" && answer != "_error" {
			if m := c.next(); m.Type == rtmp.TypeCommand {
				values, _ := amf.Decode(m.Payload)
				answer, _ = values[0].(string)
			}
		}
		if (answer == "_result") != tc.connected {
			t.Errorf("%+v: connect is answered by %s", tc, answer)
		}
		if tc.connected {
			c.send(1, "play", 0.0, nil, tc.name)
			got := ""
			for !strings.HasSuffix(got, ".Start") && !strings.HasSuffix(got, ".Failed") {
				got = code(c.next())
			}
			if got != tc.played {
				t.Errorf("%+v: play is answered by %s", tc, got)
			}
		}
		c.nc.Close()
	}
	until(t, "nobody is known any more", func() bool {
		g.guards.mu.Lock()
		defer g.guards.mu.Unlock()
		return len(g.rtmpKnown) == 0
	})
}
