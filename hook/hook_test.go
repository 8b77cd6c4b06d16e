package hook

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"hawser/lifecycle"
	"hawser/ring"
)

const patience = time.Minute

func newSet(t *testing.T, o Options) (*Set, *lifecycle.Log) {
	t.Helper()
	o.Log = lifecycle.NewLog(ring.Limits{})
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.Close(ctx)
	})
	return s, o.Log
}

func web(t *testing.T, f http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s.URL
}

// What webhooks answer, and what that means: the path, "refuse: " and the text, or "fail: " and the reason's word.
func TestWebAnswers(t *testing.T) {
	for _, tc := range []struct {
		status     int
		body, want string
	}{
		{200, ``, ""}, {204, ``, ""}, {200, `{"ok":true}`, ""}, {200, `{}`, ""}, {200, `fine`, ""}, {200, ` {"path":"/x","else":1} `, "/x"},
		{200, `{"ok":false}`, "refuse: refused by a hook"}, {200, `{"refuse":"no"}`, "refuse: no"}, {200, `{"refuse":""}`, "refuse: refused by a hook"},
		{200, `{"redirect":"rtmp://h/a"}`, "refuse: sent elsewhere rtmp://h/a"},
		{403, ``, "refuse: Forbidden"}, {403, "no\nnever", "refuse: no"}, {404, `{"refuse":"who?"}`, "refuse: who?"}, {400, `{"x":1}`, "refuse: Bad Request"},
		{403, strings.Repeat("ä", maxText), "refuse: " + strings.Repeat("ä", maxText/2)},
		{200, `{"ok"`, "fail: protocol"}, {200, `{"path":1}`, "fail: protocol"}, {200, `{"values":1}`, "fail: protocol"}, {302, ``, "fail: protocol"},
		{500, ``, "fail: internal"}, {503, `{"ok":true}`, "fail: internal"}, {429, ``, "fail: limit"}, {200, strings.Repeat(" ", DefaultMaxAnswer+1), "fail: too_big"},
	} {
		followed := false
		url := web(t, func(w http.ResponseWriter, r *http.Request) {
			if followed = r.Method == http.MethodGet; tc.status == 302 {
				w.Header().Set("Location", "/elsewhere")
			}
			w.WriteHeader(tc.status)
			io.WriteString(w, tc.body)
		})
		s, log := newSet(t, Options{Hooks: []Hook{{Event: Publish, URL: url}}})
		checkAnswer(t, s, log, tc.want, strconv.Itoa(tc.status)+" "+tc.body[:min(len(tc.body), 40)])
		if followed {
			t.Error("a redirect was followed")
		}
	}
}

// checkAnswer asks and compares what comes with what is wanted.
func checkAnswer(t *testing.T, s *Set, log *lifecycle.Log, want, what string) {
	t.Helper()
	a, err := s.Ask(t.Context(), Event{Event: Publish, Path: "/live/a", Conn: "rtmp-1"})
	got := a.Path
	events := log.Recent(10)
	var r *Refusal
	switch {
	case err == nil && len(events) > 0:
		t.Errorf("%s: events %+v", what, events)
	case err == nil:
	case !errors.As(err, &r) || len(events) != 1 || events[0].Conn != "rtmp-1" || events[0].Path != "/live/a":
		t.Fatalf("%s: got %v and events %+v", what, err, events)
	case events[0].Kind == KindFailed:
		got = "fail: " + events[0].Reason.Word
	default:
		got = strings.TrimSpace("refuse: " + r.Reason.Text + " " + r.Redirect)
	}
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func TestCommandAnswers(t *testing.T) {
	for script, want := range map[string]string{
		`exit 0`: "", `echo hello; echo path=/x; echo more`: "/x", `echo first >&2; echo last >&2; exit 1`: "refuse: last", `exit 7`: "refuse: exit status 7",
		`echo refuse=no`: "refuse: no", `echo redirect=rtmp://h/a`: "refuse: sent elsewhere rtmp://h/a", `echo 'values={}'`: "fail: protocol", `echo values=`: "fail: protocol",
		`kill -9 $$`: "fail: internal", `head -c 70000 /dev/zero`: "fail: too_big", `head -c 9000000 /dev/zero >&2; echo >&2; echo end >&2; exit 1`: "refuse: end",
		`[ "$HAWSER_PATH" = /live/a ] && [ "$HAWSER_EVENT" = publish ] && [ -z "$HAWSER_MODE" ]`: "",
	} {
		t.Setenv("HAWSER_MODE", "not the event's")
		s, log := newSet(t, Options{Hooks: []Hook{{Event: Publish, Command: []string{"/bin/sh", "-c", script}}}})
		checkAnswer(t, s, log, want, script)
	}
	s, log := newSet(t, Options{Hooks: []Hook{{Event: Publish, Command: []string{"/nowhere/to/be/found"}}}})
	checkAnswer(t, s, log, "fail: internal", "no such program")
}

// What a client says is data for a command, not part of it.
func TestNoShell(t *testing.T) {
	file := filepath.Join(t.TempDir(), "out")
	s, _ := newSet(t, Options{Hooks: []Hook{{Command: []string{"/bin/sh", "-c", `printf %s "$HAWSER_PATH|$HAWSER_NAME" > ` + file}}}})
	s.Ask(t.Context(), Event{Event: Publish, Path: "/live/$(touch /tmp/x)`id`", Name: "a\x00b\n'\""})
	if b, _ := os.ReadFile(file); string(b) != "/live/$(touch /tmp/x)`id`|ab\n'\"" {
		t.Errorf("got %q", b)
	}
}

// A command that does not end is killed with all that it has started.
func TestCommandGroup(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("no /proc")
	}
	file := filepath.Join(t.TempDir(), "pid")
	s, log := newSet(t, Options{Timeout: 3 * time.Second, Hooks: []Hook{{Event: Publish, Command: []string{"/bin/sh", "-c", "sleep 1000 & echo $! > " + file + "; wait"}}}})
	checkAnswer(t, s, log, "fail: timeout", "endless")
	b, _ := os.ReadFile(file)
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	until(t, "what it started is gone", func() bool {
		state, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		return err != nil || bytes.Contains(state, []byte(") Z"))
	})
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited for %v: %s", patience, what)
		}
	}
}

// Several hooks: a new path is what the next one sees, the first refusal is the last word.
func TestHooksInOrder(t *testing.T) {
	var mu sync.Mutex
	var paths []string
	note := func(answer string) string {
		return web(t, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			mu.Lock()
			_, path, _ := strings.Cut(string(b), `"path":"`)
			path, _, _ = strings.Cut(path, `"`)
			paths = append(paths, path)
			mu.Unlock()
			io.WriteString(w, answer)
		})
	}
	s, _ := newSet(t, Options{Hooks: []Hook{{URL: note(`{"path":"/b"}`)}, {Event: Play, URL: note("")}, {Event: Publish, URL: note(`{"refuse":"no"}`)}, {URL: note("")}}})
	if _, err := s.Ask(t.Context(), Event{Event: Publish, Path: "/a"}); !errors.Is(err, lifecycle.ReasonRefused) || !slices.Equal(paths, []string{"/a", "/b"}) {
		t.Errorf("got %v, asked about %q", err, paths)
	}
}

// What is told comes in order, and again when the endpoint was down.
func TestTellInOrder(t *testing.T) {
	var mu sync.Mutex
	got := map[string][]string{}
	down := 3
	url := web(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, conn, _ := strings.Cut(string(b), `"conn":"`)
		conn, _, _ = strings.Cut(conn, `"`)
		_, name, _ := strings.Cut(string(b), `"name":"`)
		name, _, _ = strings.Cut(name, `"`)
		mu.Lock()
		defer mu.Unlock()
		if down--; down >= 0 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		got[conn] = append(got[conn], name)
	})
	s, log := newSet(t, Options{RetryDelay: time.Millisecond, MaxCalls: 4, Hooks: []Hook{{Event: Status, URL: url}}})
	var want []string
	for i := range 50 {
		want = append(want, strconv.Itoa(i))
		for _, conn := range []string{"a", "b"} {
			if !s.Tell(Event{Event: Status, Conn: conn, Name: strconv.Itoa(i)}) {
				t.Fatal("left out")
			}
		}
	}
	s.Close(t.Context())
	if !slices.Equal(got["a"], want) || !slices.Equal(got["b"], want) {
		t.Errorf("got %v", got)
	}
	if events := log.Recent(10); len(events) != 0 {
		t.Errorf("events %+v", events)
	}
}

// More than the queue holds is left out, and told with a count; what cannot be told before the end is told so, too.
func TestQueueIsFull(t *testing.T) {
	free := make(chan struct{})
	url := web(t, func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		select {
		case <-free:
		case <-r.Context().Done():
		}
	})
	s, log := newSet(t, Options{MaxQueue: 5, MaxCalls: 1, Timeout: patience, Hooks: []Hook{{Event: Status, URL: url}}})
	before := lifecycle.LimitsReached()["hook.MaxQueue"]
	dropped := 0
	for range 12 {
		if !s.Tell(Event{Event: Status, Conn: "a"}) {
			dropped++
		}
	}
	if n := lifecycle.LimitsReached()["hook.MaxQueue"] - before; n != 7 {
		t.Errorf("MaxQueue was counted %d times, want 7", n)
	}
	if events := log.Recent(10); dropped != 7 || len(events) != 1 || events[0].Kind != KindDropped {
		t.Errorf("%d were left out, events %+v", dropped, events)
	}
	free <- struct{}{}
	until(t, "there is room", func() bool { return s.Tell(Event{Event: Status, Conn: "a"}) })
	if events := log.Recent(10); !strings.Contains(events[1].Detail, "events were left out") {
		t.Errorf("events %+v", events)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Close(ctx)
	events := log.Recent(10)
	if !slices.ContainsFunc(events, func(e lifecycle.Event) bool {
		return e.Detail == "4 events were left out" && e.Reason.Code == lifecycle.ReasonShutdown.Code
	}) {
		t.Errorf("events %+v", events)
	}
}

// At most MaxCalls ask at one time; the others wait, and not for longer than Timeout.
func TestMaxCalls(t *testing.T) {
	asked, free := make(chan struct{}, 10), make(chan struct{})
	url := web(t, func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		asked <- struct{}{}
		<-free
	})
	s, log := newSet(t, Options{MaxCalls: 1, Timeout: patience, Hooks: []Hook{{Event: Publish, URL: url}}})
	before := lifecycle.LimitsReached()["hook.MaxCalls"]
	first := make(chan error, 1)
	go func() {
		_, err := s.Ask(context.Background(), Event{Event: Publish})
		first <- err
	}()
	<-asked
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := s.Ask(ctx, Event{Event: Publish})
	close(free)
	<-first
	if n := lifecycle.LimitsReached()["hook.MaxCalls"] - before; n != 1 {
		t.Errorf("MaxCalls was counted %d times, want once", n)
	}
	if err == nil || len(asked) != 0 || !slices.ContainsFunc(log.Recent(5), func(e lifecycle.Event) bool { return e.Reason.Code == lifecycle.ReasonLimit.Code }) {
		t.Errorf("got %v, %d more calls", err, len(asked))
	}
}

func TestUnset(t *testing.T) {
	var none *Set
	if none.Has(Publish) || none.HasMedia(PlayData) {
		t.Error("nil has hooks")
	}
	s, _ := newSet(t, Options{Hooks: []Hook{{URL: "http://h"}, {Event: PlayData, URL: "http://h"}, {Event: PublishData + AllPackets, URL: "http://h"}}})
	if !s.Has(Publish) || !s.Has(PlayData) || s.HasMedia(PlayData) || !s.Has(PublishData) || !s.HasMedia(PublishData) {
		t.Error("the wrong events have hooks")
	}
	if !Verify([]byte("k"), []byte("body"), Sign([]byte("k"), []byte("body"))) || Verify([]byte("k"), []byte("Body"), Sign([]byte("k"), []byte("body"))) {
		t.Error("signatures")
	}
}
