package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// watched is a line of `hawser watch --json`.
type watched struct {
	Kind, Light, Path, State string
	Reason                   struct{ Word string }
	Data                     json.RawMessage
	Fields                   json.RawMessage
	Media                    *struct{ Frames, Messages int } // of a session, of RTMP
}

// lines waits for the program's end and reads what it printed.
func (p *program) lines() (list []watched) {
	p.t.Helper()
	for line := range strings.Lines(p.wait()) {
		var w watched
		if err := json.Unmarshal([]byte(line), &w); err != nil {
			p.t.Fatalf("%s prints %q: %v", p.name, line, err)
		}
		list = append(list, w)
	}
	return list
}

// TestPublishAndWatchData pipes lines into `hawser publish` and reads them from `hawser watch`.
func TestPublishAndWatchData(t *testing.T) {
	t.Parallel()
	s := serve(t)
	watch := start(t, executable, "watch", "--json", "--count", "4", s.httpURL("/chat"))
	s.awaitEvent("session", func(e event) bool { return e.Protocol == "session" && e.Light == "green" })
	s.awaitSubscribers("/chat", 1)
	publisher := exec.Command(executable, "publish", "--server", s.httpURL(""), "/chat")
	publisher.Stdin = strings.NewReader("{\"text\":\"one\"}\nplain words\n3\n[4]\n")
	if said := startCmd(t, publisher).wait(); !strings.Contains(said, "4") {
		t.Errorf("hawser publish says %q, want how many messages it published", said)
	}
	var got, lights []string
	for _, w := range watch.lines() {
		if w.Kind == "update" {
			got = append(got, string(w.Data))
		}
		if w.Kind == "state" {
			lights = append(lights, w.State+" "+w.Light)
		}
	}
	if want := []string{`{"text":"one"}`, `"plain words"`, `3`, `[4]`}; !slices.Equal(got, want) {
		t.Errorf("watched %q, want %q", got, want)
	}
	if i := slices.Index(lights, "logged_in green"); i < 1 {
		t.Errorf("watched the states %q, want logged_in with green among them, not first", lights)
	}
}

// awaitSubscribers waits until so many follow a subject.
func (s *server) awaitSubscribers(path string, n int) {
	s.t.Helper()
	var last string
	for deadline := time.Now().Add(eventTimeout); time.Now().Before(deadline); time.Sleep(pollInterval) {
		body, err := s.get("/api/v1/subjects")
		if err != nil {
			s.t.Fatal(err)
		}
		var list []struct {
			Path string
			Open int
		}
		if err := json.Unmarshal(body, &list); err != nil {
			s.t.Fatalf("subjects: %v in %s", err, body)
		}
		for _, subject := range list {
			if subject.Path == path && subject.Open >= n {
				return
			}
		}
		last = string(body)
	}
	s.t.Fatalf("%s has no %d followers: %s", path, n, last)
}

// TestPublishAndWatchMedia pushes a file with `hawser publish` and follows it with `hawser watch` over RTMP and over a session.
func TestPublishAndWatchMedia(t *testing.T) {
	t.Parallel()
	s := serve(t)
	const path = "/live/push"
	push := start(t, executable, "publish", "--loop", "--rtmp", "rtmp://"+s.rtmp, path, clip(t, seconds))
	s.awaitLive(path)
	over := map[string]*program{
		"rtmp":    start(t, executable, "watch", "--json", "--count", "4", s.rtmpURL(path)),
		"session": start(t, executable, "watch", "--json", "--for", "10s", s.httpURL(path)),
	}
	for name, w := range over {
		t.Run(name, func(t *testing.T) {
			w.t = t
			n := 0
			for _, line := range w.lines() {
				if line.Media != nil {
					n += line.Media.Frames + line.Media.Messages
				}
			}
			if n < 100 { // a second is 77
				t.Errorf("watched %d frames in at least four seconds", n)
			}
		})
	}
	push.cmd.Process.Signal(os.Interrupt)
	push.wait()
}
