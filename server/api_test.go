package server

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"hawser/lifecycle"
	"hawser/session"
	"hawser/subject"
)

// ask makes a request of a handler as if it came from an address.
func (r *rig) ask(method, target, body, from, host, origin string) (status int, header http.Header, answer string) {
	r.t.Helper()
	req := httptest.NewRequestWithContext(soon(r.t), method, target, strings.NewReader(body))
	req.RemoteAddr, req.Host = from, host
	if origin != "" {
		req.Header.Set("Origin", origin)
	}
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, req)
	return w.Code, w.Header(), w.Body.String()
}

const (
	local     = "127.0.0.1:5000"
	elsewhere = "192.0.2.7:5000"
)

func body(t testing.TB, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: status %d, %v", resp.Request.URL, resp.StatusCode, err)
	}
	return string(b)
}

func TestHealth(t *testing.T) {
	if got := body(t, serve(t, Options{}).get("/healthz")); got != "ok\n" {
		t.Errorf("got %q", got)
	}
}

func TestLists(t *testing.T) {
	r := serve(t, Options{})
	r.feed("/live/a").write(3)
	r.log("/chat", 0, 2)
	w := r.login()
	w.say(`{"t":"subscribe","path":"/chat"}`)
	w.want(session.TypeSnapshot)
	var streams []struct {
		Path, Status, Light string
		Viewers, Frames     int
	}
	if err := json.Unmarshal([]byte(body(t, r.get("/api/v1/streams"))), &streams); err != nil || len(streams) != 1 {
		t.Fatalf("streams: %v %v", streams, err)
	}
	if s := streams[0]; s.Path != "/live/a" || s.Status != "live" || s.Light != "green" || s.Frames != 3 {
		t.Errorf("got %+v", s)
	}
	var subjects []struct {
		Path, Kind, Epoch string
		Offset, Open      int
	}
	if err := json.Unmarshal([]byte(body(t, r.get("/api/v1/subjects"))), &subjects); err != nil {
		t.Fatal(err)
	}
	for _, s := range subjects {
		if s.Path == "/chat" && (s.Kind != "log" || s.Offset != 2 || s.Open != 1 || s.Epoch != epochText(r.Subjects().Find("/chat").Epoch())) {
			t.Errorf("got %+v", s)
		}
	}
	var conns []lifecycle.ConnInfo
	if err := json.Unmarshal([]byte(body(t, r.get("/api/v1/connections"))), &conns); err != nil || len(conns) != 1 {
		t.Fatalf("connections: %+v %v", conns, err)
	}
	if c := conns[0]; c.Protocol != "session" || c.State != "logged_in" || c.Light != lifecycle.Green {
		t.Errorf("got %+v", c)
	}
}

func TestPost(t *testing.T) {
	r := serve(t, Options{})
	w := r.login()
	for _, path := range []string{"/chat/room 1", "/fx"} {
		w.say(`{"t":"subscribe","path":"%s"}`, path)
		w.want(session.TypeSnapshot)
	}
	post := func(target, body string) (status int, word string) {
		t.Helper()
		resp, err := http.Post("http://"+r.http+"/api/v1/subjects"+target, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var answer struct {
			Path, Epoch string
			Offset      uint64
			Error       lifecycle.Reason
		}
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode == http.StatusOK && (len(answer.Epoch) != 16 || answer.Path == "") {
			t.Errorf("%s: got %+v", target, answer)
		}
		return resp.StatusCode, answer.Error.Word
	}
	for _, tc := range []struct {
		target, body string
		status       int
		word         string
	}{
		{"/chat/room%201", `{"text":"hello"}`, 200, ""},
		{"/fx?kind=record&time=1500.25", `{"bid":1,"ask":2}`, 200, ""},
		{"/fx?kind=record", `{"ask":null}`, 200, ""},
		{"/fx", `1`, 400, "bad_request"},
		{"/fx?kind=record", `[1]`, 400, "bad_request"},
		{"/fx?kind=tree", `{}`, 400, "bad_request"},
		{"/fx?kind=none", `{}`, 400, "bad_request"},
		{"/chat/room%201", `{"text":`, 400, "bad_request"},
		{"/chat/room%201", ``, 400, "bad_request"},
		{"/chat/room%201?time=soon", `1`, 400, "bad_request"},
		{"/chat/room%201?time=NaN", `1`, 400, "bad_request"},
		{"/chat/", `1`, 400, "bad_request"},
		{"/sys/live?kind=record", `{"/a":1}`, 403, "refused"},
		{"/fx/@list", `1`, 403, "refused"},
		{"/@here", `1`, 403, "refused"},
		{"/doc?kind=json", `{"a":1,"b":{"c":2}}`, 200, ""},
		{"/doc?kind=json&patch=1", `{"a":null,"b":{"d":3}}`, 200, ""},
		{"/doc?kind=json&patch=1", `[1]`, 400, "bad_request"},
		{"/fx?kind=record&patch=1", `{"bid":1}`, 400, "bad_request"},
		{"/chat/room%201", `"` + strings.Repeat("x", 1<<20) + `"`, 413, "too_big"},
	} {
		if status, word := post(tc.target, tc.body); status != tc.status || word != tc.word {
			t.Errorf("%s %.20s: got %d %s, want %d %s", tc.target, tc.body, status, word, tc.status, tc.word)
		}
	}
	if m := w.want(session.TypeUpdate); m.Path != "/chat/room 1" || string(m.Data) != `{"text":"hello"}` || m.HasTime {
		t.Errorf("got %+v", m.Message)
	}
	if m := w.wantRecord(session.TypeUpdate, 0, `{"bid":1,"ask":2}`); m.Time != 1500250*time.Microsecond {
		t.Errorf("got %+v", m.Message)
	}
	w.wantRecord(session.TypeUpdate, 1, `{"ask":null}`)
	w.say(`{"t":"subscribe","path":"/doc"}`)
	if m := w.want(session.TypeSnapshot); string(m.Data) != `{"b":{"c":2,"d":3}}` {
		t.Errorf("got %+v", m.Message)
	}
}

func TestPostFromOtherPages(t *testing.T) {
	r := serve(t, Options{Origins: []string{"https://good.example"}})
	for origin, want := range map[string]int{"": 200, "http://hawser.example": 200, "https://good.example": 200, "https://evil.example": 403, "null": 403} {
		got, header, answer := r.ask("POST", "/api/v1/subjects/a", "1", elsewhere, "hawser.example", origin)
		if may := header.Get("Access-Control-Allow-Origin"); got != want || want == 200 && may != origin || want != 200 && may != "" {
			t.Errorf("origin %q: got %d %s, readable for %q, want %d", origin, got, answer, may, want)
		}
		req := httptest.NewRequestWithContext(soon(t), "OPTIONS", "/api/v1/subjects/a", nil)
		req.Host = "hawser.example"
		req.Header.Set("Origin", origin)
		req.Header.Set("Access-Control-Request-Method", "POST")
		w := httptest.NewRecorder()
		r.Handler().ServeHTTP(w, req)
		if asked := w.Header().Get("Access-Control-Allow-Headers"); origin != "" && (strings.Contains(asked, "Authorization") != (want == 200)) {
			t.Errorf("origin %q asks before: got %d, %q", origin, w.Code, asked)
		}
	}
}

// What shows connections is for this machine, and not for a page whose name was made to point here.
func TestAdmin(t *testing.T) {
	r := serve(t, Options{})
	for _, tc := range []struct {
		from, host string
		want       int
	}{
		{local, "localhost:8080", 200}, {local, "127.0.0.1", 200}, {"[::1]:5000", "[::1]:8080", 200}, {"[::ffff:127.0.0.1]:5000", "127.1.2.3:80", 200},
		{elsewhere, "localhost:8080", 403}, {local, "evil.example", 403}, {local, "192.0.2.7:8080", 403}, {local, "", 403}, {"@", "localhost", 403},
		{local, "localhost.evil.example", 403},
	} {
		for _, target := range []string{"/api/v1/connections", "/api/v1/events"} {
			if got, _, answer := r.ask("GET", target, "", tc.from, tc.host, ""); got != tc.want {
				t.Errorf("%s from %s to %s: got %d %s, want %d", target, tc.from, tc.host, got, answer, tc.want)
			}
		}
	}
}

// What comes by a proxy on this machine does not come from this machine.
func TestAdminByProxy(t *testing.T) {
	r := serve(t, Options{})
	for _, tc := range []struct {
		header      string
		minor, want int
	}{{"", 1, 200}, {"", 0, 403}, {"Forwarded", 1, 403}, {"X-Forwarded-For", 1, 403}, {"X-Forwarded-Proto", 1, 403}, {"X-Real-IP", 1, 403}, {"Via", 1, 403}} {
		req := httptest.NewRequestWithContext(soon(t), "GET", "/api/v1/connections", nil)
		req.RemoteAddr, req.Host, req.ProtoMinor = local, "localhost:8080", tc.minor
		if tc.header != "" {
			req.Header.Set(tc.header, "192.0.2.7")
		}
		w := httptest.NewRecorder()
		if r.Handler().ServeHTTP(w, req); w.Code != tc.want {
			t.Errorf("%q over HTTP/1.%d: got %d, want %d", tc.header, tc.minor, w.Code, tc.want)
		}
	}
}

// A page of others in a browser on this machine does not operate the server, also where it may publish.
func TestOperateFromOtherPages(t *testing.T) {
	r := serve(t, Options{Origins: []string{"*"}})
	for origin, want := range map[string]int{"": 204, "http://localhost:8080": 204, "http://localhost:3000": 403, "https://evil.example": 403, "null": 403} {
		if got, _, answer := r.ask("POST", "/api/v1/drain?within=1000", "", local, "localhost:8080", origin); got != want {
			t.Errorf("origin %q: got %d %s, want %d", origin, got, answer, want)
		}
	}
}

func TestEvents(t *testing.T) {
	r := serve(t, Options{})
	w := r.login()
	w.ws.CloseNow()
	r.ended("session")
	events := func(query string) (list []lifecycle.Event) {
		t.Helper()
		lines := json.NewDecoder(strings.NewReader(body(t, r.get("/api/v1/events"+query))))
		for {
			var e lifecycle.Event
			if err := lines.Decode(&e); err == io.EOF {
				return list
			} else if err != nil {
				t.Fatal(err)
			}
			list = append(list, e)
		}
	}
	all := events("")
	if len(all) < 3 || all[len(all)-1].Kind != lifecycle.KindClose {
		t.Fatalf("got %+v", all)
	}
	for i, e := range all {
		if e.Seq != uint64(i) || e.Time.IsZero() || e.Kind == "" {
			t.Errorf("event %d: got %+v", i, e)
		}
	}
	if some := events("?from=2"); len(some) != len(all)-2 || some[0].Seq != 2 {
		t.Errorf("from 2: got %+v", some)
	}
	if none := events("?from=1000"); len(none) != 0 {
		t.Errorf("from the future: got %+v", none)
	}
	if status := r.get("/api/v1/events?from=x").StatusCode; status != http.StatusBadRequest {
		t.Errorf("from x: got status %d", status)
	}
	follow := r.get("/api/v1/events?follow=1&from=1000") // answers before there is anything to tell
	r.log("/new", 0, 1)
	line, err := bufio.NewReader(follow.Body).ReadBytes('\n')
	if err != nil || !bytes.Contains(line, []byte(`"path":"/new"`)) || !bytes.Contains(line, []byte(subject.EventPublished)) {
		t.Errorf("got %s %v", line, err)
	}
}

func TestPages(t *testing.T) {
	files := func(names ...string) fstest.MapFS {
		m := fstest.MapFS{}
		for _, name := range names {
			m[name] = &fstest.MapFile{Data: []byte("this is " + name)}
		}
		return m
	}
	r := serve(t, Options{Console: files("index.html", "app.js"), JS: files("player.js"), ConsolePolicy: "default-src 'self'"})
	for path, want := range map[string]string{"/": "index.html", "/app.js": "app.js", "/js/player.js": "player.js"} {
		status, header, answer := r.ask("GET", path, "", elsewhere, "a", "")
		if status != http.StatusOK || answer != "this is "+want {
			t.Errorf("%s: got %d %q", path, status, answer)
		}
		policy := "default-src 'self'"
		if strings.HasPrefix(path, "/js/") {
			policy = ""
		}
		if header.Get("Cache-Control") != "no-cache" || header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Referrer-Policy") != "no-referrer" ||
			header.Get("Content-Security-Policy") != policy {
			t.Errorf("%s: got %v", path, header)
		}
	}
	for path, want := range map[string]int{"/nothing": 404, "/js/nothing.js": 404, "/api/v1/nothing": 404} {
		if status, _, _ := r.ask("GET", path, "", elsewhere, "a", ""); status != want {
			t.Errorf("%s: got %d", path, status)
		}
	}
	if status, _, _ := r.ask("DELETE", "/api/v1/streams", "", elsewhere, "a", ""); status != http.StatusMethodNotAllowed {
		t.Errorf("DELETE: got %d", status)
	}
}

func TestNoPages(t *testing.T) {
	r := serve(t, Options{})
	for _, path := range []string{"/", "/js/player.js"} {
		if status, _, _ := r.ask("GET", path, "", elsewhere, "a", ""); status != http.StatusNotFound {
			t.Errorf("%s: got %d", path, status)
		}
	}
}
