package server

import (
	"bufio"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"hawser/lifecycle"
	"hawser/session"
)

func plainKey(testing.TB) string { return rand.Text() }

// plainGet makes a GET and returns status and body.
func (r *rig) plainGet(path string) (int, string) {
	r.t.Helper()
	resp := r.get(path)
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func (r *rig) post(key string, n int, lines ...string) int {
	r.t.Helper()
	resp, err := http.Post(fmt.Sprintf("http://%s/session/send?c=%s&n=%d", r.http, key, n), "text/plain", strings.NewReader(strings.Join(lines, "\n")))
	if err != nil {
		r.t.Error(err)
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

// texts takes server-sent events apart.
func texts(t testing.TB, body string) (list []session.Message) {
	t.Helper()
	for _, ev := range strings.Split(body, "\n\n") {
		data, ok := strings.CutPrefix(ev, "data: ")
		if !ok {
			continue
		}
		var m session.Message
		if err := session.Parse([]byte(strings.ReplaceAll(data, "\ndata: ", "\n")), &m); err != nil {
			t.Fatalf("%v in %q", err, ev)
		}
		list = append(list, m)
	}
	return list
}

const plainHello = `{"t":"hello","version":1}`

// TestPostsInOrder: what comes in POSTs counts in the order of their numbers, and once.
func TestPostsInOrder(t *testing.T) {
	r := serve(t, Options{})
	key := plainKey(t)
	r.plainGet("/session/poll?n=0&c=" + key)
	third := make(chan int, 1)
	go func() { third <- r.post(key, 2, `{"t":"publish","id":2,"path":"/a","data":2}`) }()
	second := make(chan int, 1)
	go func() { second <- r.post(key, 1, `{"t":"publish","id":1,"path":"/a","data":1}`) }()
	until(t, "both wait", func() bool {
		h := r.findPlain(key)
		h.posts.Lock()
		defer h.posts.Unlock()
		return h.early == 2
	})
	if got := r.post(key, 0, plainHello, ""); got != 204 {
		t.Errorf("hello: got %d", got)
	}
	if a, b, c := <-second, <-third, r.post(key, 1, `{"t":"publish","id":1,"path":"/a","data":1}`); a != 204 || b != 204 || c != 204 {
		t.Errorf("got %d, %d, and again %d", a, b, c)
	}
	_, body := r.plainGet("/session/poll?n=1&c=" + key)
	list := texts(t, body)
	if len(list) != 3 || list[0].Type != session.TypeWelcome || list[1].ID != 1 || list[1].Offset != 0 || list[2].ID != 2 || list[2].Offset != 1 {
		t.Errorf("got %+v", list)
	}
	if info := r.Subjects().Find("/a").Info(); info.Offset != 2 {
		t.Errorf("%d messages were published", info.Offset)
	}
}

// TestPolls: the same number gets the same answer; another is told what is wanted; a stream of events has no polls.
func TestPolls(t *testing.T) {
	r := serve(t, Options{})
	key := plainKey(t)
	if code, body := r.plainGet("/session/poll?n=0&c=" + key); code != 200 || body != "" {
		t.Errorf("the first: %d %q", code, body)
	}
	r.post(key, 0, plainHello, `{"t":"subscribe","path":"/a"}`)
	_, first := r.plainGet("/session/poll?n=1&c=" + key)
	if _, again := r.plainGet("/session/poll?n=1&c=" + key); again != first || len(texts(t, first)) == 0 {
		t.Errorf("again: got %q, want %q", again, first)
	}
	n := 2
	for got := len(texts(t, first)); got < 2; n++ {
		_, body := r.plainGet(fmt.Sprintf("/session/poll?n=%d&c=%s", n, key))
		got += len(texts(t, body))
	}
	for _, bad := range []int{0, n + 1} {
		if code, body := r.plainGet(fmt.Sprintf("/session/poll?n=%d&c=%s", bad, key)); code != 400 || !strings.Contains(body, fmt.Sprint("want ", n)) {
			t.Errorf("number %d: got %d %s", bad, code, body)
		}
	}
	waits := make(chan string, 1)
	go func() {
		_, body := r.plainGet(fmt.Sprintf("/session/poll?n=%d&c=%s", n, key))
		waits <- body
	}()
	r.log("/a", 0, 1)
	if list := texts(t, <-waits); len(list) != 1 || list[0].Type != session.TypeUpdate {
		t.Errorf("got %+v", list)
	}

	stream := plainKey(t)
	resp := r.get("/session/events?c=" + stream)
	if code, _ := r.plainGet("/session/poll?n=0&c=" + stream); code != http.StatusConflict {
		t.Errorf("a poll beside a stream of events: got %d", code)
	}
	if code, _ := r.plainGet("/session/events?c=" + stream); code != http.StatusConflict {
		t.Errorf("a second stream: got %d", code)
	}
	resp.Body.Close()
	until(t, "the connection has ended", func() bool { return r.post(stream, 0, plainHello) == 404 })
}

func TestPlainRequestsThatAreWrong(t *testing.T) {
	r := serve(t, Options{Origins: []string{"https://good.example"}})
	for path, want := range map[string]int{"/session/poll?n=0&c=short": 400, "/session/events": 400, "/session/poll?n=x&c=" + plainKey(t): 400, "/session/poll?n=3&c=" + plainKey(t): 404,
		"/session/poll?n=0&c=" + strings.Repeat("a", 65): 400, "/session/poll?n=0&c=" + strings.Repeat("%2f", 30): 400} {
		if code, body := r.plainGet(path); code != want {
			t.Errorf("%s: got %d %s, want %d", path, code, body, want)
		}
	}
	key := plainKey(t)
	r.plainGet("/session/poll?n=0&c=" + key)
	if code := r.post(key, 0, strings.Repeat("x", session.DefaultMaxMessage+10)); code != 413 {
		t.Errorf("too big: got %d", code)
	}
	for origin, want := range map[string]int{"https://good.example": 200, "https://evil.example": 403} {
		req, _ := http.NewRequest(http.MethodGet, "http://"+r.http+"/session/poll?n=0&c="+plainKey(t), nil)
		req.Header.Set("Origin", origin)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if allowed := resp.Header.Get("Access-Control-Allow-Origin"); resp.StatusCode != want || (allowed == origin) != (want == 200) {
			t.Errorf("%s: got %d, allowed %q", origin, resp.StatusCode, allowed)
		}
	}
}

// TestEventsSayTheEnd: a stream of events carries the session to its end, with the reason.
func TestEventsSayTheEnd(t *testing.T) {
	r := serve(t, Options{Heartbeat: 50 * time.Millisecond})
	key := plainKey(t)
	resp := r.get("/session/events?c=" + key)
	if kind := resp.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Errorf("got %s", kind)
	}
	r.post(key, 0, plainHello)
	body, err := io.ReadAll(resp.Body) // the client is silent from here on
	if err != nil {
		t.Fatal(err)
	}
	list := texts(t, strings.TrimPrefix(string(body), ": open\n\n"))
	list = slices.DeleteFunc(list, func(m session.Message) bool { return m.Type == session.TypePing }) // a silent client is asked before
	if len(list) != 2 || list[0].Type != session.TypeWelcome || list[1].Type != session.TypeBye || !strings.HasSuffix(string(body), "event: close\ndata: 4003 timeout\n\n") {
		t.Errorf("got %q", body)
	}
	if why := r.ended("session"); !why.Is(lifecycle.ReasonTimeout) {
		t.Errorf("the event log says %v", why)
	}
}

// TestPlainClientIsGone: nothing is left of a client that goes without a word.
func TestPlainClientIsGone(t *testing.T) {
	r := serve(t, Options{})
	key := plainKey(t)
	resp := r.get("/session/events?c=" + key)
	lines := bufio.NewReader(resp.Body)
	r.post(key, 0, plainHello, `{"t":"subscribe","path":"/a"}`)
	for line := ""; !strings.Contains(line, "snapshot"); line, _ = lines.ReadString('\n') {
	}
	resp.Body.Close()
	until(t, "all is given up", func() bool {
		return r.Subjects().Find("/a") == nil && len(r.Sessions()) == 0 && r.findPlain(key) == nil && len(r.Log().Conns()) == 0
	})
}

// TestPlainClientThatReadsNothing is cut when too many answers wait for it.
func TestPlainClientThatReadsNothing(t *testing.T) {
	r := serve(t, Options{})
	key := plainKey(t)
	r.plainGet("/session/poll?n=0&c=" + key)
	r.post(key, 0, plainHello)
	ping := strings.TrimSuffix(strings.Repeat(`{"t":"ping","id":1}`+"\n", 20_000), "\n")
	code := 204
	for n := 1; code == 204 && n < 20; n++ {
		code = r.post(key, n, ping)
	}
	if code != 404 {
		t.Errorf("got %d", code)
	}
	if why := r.ended("session"); !why.Is(lifecycle.ReasonSlow) {
		t.Errorf("the event log says %v", why)
	}
}
