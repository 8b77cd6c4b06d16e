package e2e

import (
	"context"
	"fmt"
	"image"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// sessionPage is the page of an application: its own host, and the light.
const sessionPage = `<!doctype html><html lang="en"><title>a session</title><body style="font: 20px sans-serif; margin: 40px"><hawser-light id="light"></hawser-light></body></html>`

// pageOf serves sessionPage.
func pageOf(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		if r.URL.Path == "/favicon.ico" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		fmt.Fprint(w, sessionPage)
	}))
	t.Cleanup(s.Close)
	return named("page", s.Listener.Addr().String(), "http", "/")
}

// named is the address of a server under a name that only the browser knows.
func named(name, addr, scheme, path string) string {
	return scheme + "://" + name + ".hawser.test" + addr[strings.LastIndexByte(addr, ':'):] + path
}

// sessionSeen is what session.mjs answers.
type sessionSeen struct {
	States, Lights, Transports []string
	Got                        []int
	Gaps, Next, Nap            int
	Ticks                      []int
	Server, Transport, State   string
	Light, Green, Amber        string
	Offset                     *int
	First                      string
	Again                      struct {
		Transport string
		Took      float64
	}
	Box  struct{ X, Y, Width, Height float64 }
	Shot string
}

// browseSession starts the browser on a page with a client of the servers.
func browseSession(t *testing.T, s *server, does string, servers []string, options, more map[string]any) *program {
	t.Helper()
	o := map[string]any{"url": pageOf(t), "modules": named("a", s.http, "http", "/js"), "servers": servers, "options": options, "path": "/log", "gone": true}
	for k, v := range more {
		o[k] = v
	}
	return browse(t, s, does, o)
}

// check checks what is true at the end of each test: the session stands, the light is green, and all that was published came, once and in order.
func (a *sessionSeen) check(t *testing.T) {
	t.Helper()
	t.Logf("states %s; transport %s", strings.Join(a.States, ", "), a.Transport)
	if a.State != "logged_in" || a.Light != "green, logged in, green: logged in" {
		t.Errorf("the client is %s, the light says %q", a.State, a.Light)
	}
	for i, state := range a.States {
		want := "amber"
		if state == "logged_in" {
			want = "green"
		}
		if a.Lights[i] != want {
			t.Errorf("the light of %s is %s, want %s", state, a.Lights[i], want)
		}
	}
	for i, n := range a.Got {
		if n != i {
			t.Fatalf("message %d is %d: %v", i, n, a.Got)
		}
	}
	b := a.Box
	if n := colours(t, a.Shot, image.Rect(int(b.X), int(b.Y), int(b.X+b.Width), int(b.Y+b.Height))); n < 5 {
		t.Errorf("%d colours in the screenshot's light: it is blank", n)
	}
}

// course says whether the states contain these, in this order, from a place on.
func course(states []string, want ...string) bool {
	for _, s := range states {
		if len(want) > 0 && s == want[0] {
			want = want[1:]
		}
	}
	return len(want) == 0
}

func TestBrowserOffline(t *testing.T) {
	t.Parallel()
	s := serve(t, "--origin", "*")
	var a sessionSeen
	browseSession(t, s, "offline", []string{named("a", s.http, "ws", "/session")}, nil, nil).answer(&a)
	a.check(t)
	tries := a.Amber == "amber, connecting, amber: connecting" // it does so now and then
	if a.Green != "green, logged in, green: logged in" || a.Amber != "amber, unreachable, amber: unreachable" && !tries {
		t.Errorf("the lights said %q and %q", a.Green, a.Amber)
	}
	if !course(a.States, "connecting", "connected", "logged_in", "unreachable", "connecting", "connected", "reconnected", "logged_in") || slices.Contains(a.States, "lost") {
		t.Errorf("states %v", a.States)
	}
	if a.Offset == nil || *a.Offset != 1 || a.Gaps != 0 {
		t.Errorf("what was published without a network has offset %v, with %d gaps", a.Offset, a.Gaps)
	}
}

func TestBrowserFailover(t *testing.T) {
	t.Parallel()
	s := serve(t, "--origin", "*")
	doomed := start(t, executable, "serve", "--http", "127.0.0.1:0", "--rtmp", "", "--rtc", "", "--origin", "*")
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	m, err := doomed.out.await(ctx, httpLine)
	if err != nil {
		t.Fatal(err)
	}
	servers := []string{named("b", m[1], "ws", "/session"), named("a", s.http, "ws", "/session")}
	page := browseSession(t, s, "failover", servers, nil, nil)
	if _, err := page.out.await(t.Context(), ready); err != nil {
		t.Fatal(err)
	}
	doomed.cmd.Process.Signal(syscall.SIGKILL)
	var a sessionSeen
	page.answer(&a)
	a.check(t)
	if a.Server != servers[1] || !course(a.States, "logged_in", "lost", "connecting", "failed", "connecting", "connected", "logged_in") {
		t.Errorf("on %s, states %v", a.Server, a.States)
	}
	if a.Gaps != 1 { // nobody knows what the killed server had
		t.Errorf("%d gaps were told, want 1", a.Gaps)
	}
}

// between is a proxy that lets no WebSocket through until /through is asked for, and streams of events only if flush says so.
func between(t *testing.T, s *server, flush bool) (addr string, upgrades *atomic.Int32) {
	t.Helper()
	upgrades = new(atomic.Int32)
	var through atomic.Bool
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: s.http})
	proxy.FlushInterval = -1
	p := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/through":
			through.Store(true)
			w.Header().Set("Access-Control-Allow-Origin", "*")
		case r.Header.Get("Upgrade") != "" && !through.Load():
			upgrades.Add(1)
			http.Error(w, "no upgrades here", http.StatusBadRequest)
		case !flush && strings.HasSuffix(r.URL.Path, "/events"):
			<-r.Context().Done() // it waits for the end of the answer
		default:
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(p.Close)
	return p.Listener.Addr().String(), upgrades
}

func TestBrowserOverPlainHTTP(t *testing.T) {
	for transport, flush := range map[string]bool{"events": true, "poll": false} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			s := serve(t, "--origin", "*")
			addr, upgrades := between(t, s, flush)
			var a sessionSeen
			browseSession(t, s, "plain", []string{named("proxy", addr, "ws", "/session")}, map[string]any{"upgradeBase": 1000, "fallbackAfter": 5000},
				map[string]any{"letThrough": named("proxy", addr, "http", "/through")}).answer(&a)
			a.check(t)
			if a.First != transport || a.Again.Transport != transport || a.Again.Took > 4500 {
				t.Errorf("carried by %s first; the next client by %s after %.0f ms, want %s at once", a.First, a.Again.Transport, a.Again.Took, transport)
			}
			if want := transport + " to websocket"; !slices.Equal(a.Transports, []string{want}) || len(a.States) != 3 {
				t.Errorf("moves %v, want %s; states %v", a.Transports, want, a.States)
			}
			if a.Gaps != 0 || len(a.Got) != a.Next || a.Next < 100 {
				t.Errorf("%d of %d messages, %d gaps", len(a.Got), a.Next, a.Gaps)
			}
			if upgrades.Load() == 0 {
				t.Error("no WebSocket was tried")
			}
		})
	}
}

// The page pings each half second and is frozen first for longer than it waits for a server, then for longer than the server waits for it.
func TestBrowserFrozen(t *testing.T) {
	t.Parallel()
	const messages = 200
	s := serve(t, "--origin", "*")
	page := browseSession(t, s, "frozen", []string{named("a", s.http, "ws", "/session")}, map[string]any{"heartbeat": 500},
		map[string]any{"messages": messages, "nap": 5000, "sleep": 32_000})
	c := connect(t, s)
	for i, nap := range []string{"5000", "32000"} {
		if _, err := page.out.await(t.Context(), regexp.MustCompile(`"frozen":`+nap+`\b`)); err != nil {
			t.Fatal(err)
		}
		for n := range messages {
			if _, err := c.Send(t.Context(), "/log", i*messages+n, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	var a sessionSeen
	page.answer(&a)
	a.check(t)
	if len(a.Ticks) != 2 || a.Ticks[0] > 10 || a.Ticks[1] > 10 {
		t.Errorf("the page's timers ran %v times while it was frozen", a.Ticks)
	}
	if a.Nap != 3 {
		t.Errorf("the nap cost the session: %v", a.States)
	}
	if !course(a.States, "logged_in", "lost", "connecting", "connected", "reconnected", "logged_in") || len(a.States) != 8 {
		t.Errorf("states %v", a.States)
	}
	if a.Gaps != 0 || len(a.Got) != 2*messages {
		t.Errorf("%d of %d messages, %d gaps", len(a.Got), 2*messages, a.Gaps)
	}
}
