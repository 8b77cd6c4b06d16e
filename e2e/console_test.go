package e2e

import (
	"net/http"
	"strings"
	"testing"
)

// TestConsoleData looks at data on a phone: a document with a patch, a log that began before, and a stream over WebRTC, whose table of both ends is wide.
func TestConsoleData(t *testing.T) {
	s := serve(t, anyRTC...)
	for path, body := range map[string]string{"/lot/7?kind=json": `{"price":11,"note":"new","size":{"wide":1}}`, "/chat": `{"text":"before"}`} {
		r, err := http.Post(s.httpURL("/api/v1/subjects"+path), "application/json", strings.NewReader(body))
		if err != nil || r.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v %v", path, r, err)
		}
		r.Body.Close()
	}
	publish(t, s, sample, "/live/wide", "-stream_loop", "-1", "-an")
	var a struct {
		Seen map[string]struct {
			Text  string
			Wider int
		}
		Errors []string
	}
	browse(t, s, "data", map[string]any{"width": 390, "height": 844, "pages": []map[string]string{
		{"path": "/lot/7", "post": "/api/v1/subjects/lot/7?kind=json&patch=1", "body": `{"price":12,"note":null}`, "until": "1 update"},
		{"path": "/chat", "until": "1 message was published here before"},
		{"path": "/live/wide", "until": "published", "shown": "#ends"},
	}}).answer(&a)
	for path, seen := range a.Seen {
		if seen.Wider > 0 {
			t.Errorf("%s: the page is %d pixels wider than the phone", path, seen.Wider)
		}
	}
	if text := a.Seen["/lot/7"].Text; !strings.Contains(text, "12") || !strings.Contains(text, `{"wide":1}`) || strings.Contains(text, "note") {
		t.Errorf("the document: got %q", text)
	}
	if len(a.Seen) != 3 || len(a.Errors) > 0 {
		t.Errorf("got %+v", a)
	}
}
