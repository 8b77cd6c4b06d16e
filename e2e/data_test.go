package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"hawser/client"
	"hawser/session"
)

// connect makes a Go client with a session that stands.
func connect(t *testing.T, s *server) *client.Client {
	t.Helper()
	c, err := client.New(client.Options{Servers: []string{s.sessionURL()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	if err := c.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	return c
}

// received is what a follower of messages {"i":0}, {"i":1} ... has got.
type received struct{ Updates, Gaps, Disorder int }

func (r received) check(t *testing.T, messages int) {
	t.Helper()
	if want := (received{Updates: messages}); r != want {
		t.Errorf("got %+v, want %+v", r, want)
	}
}

// TestTenThousandMessages publishes through one session while a Go client and a browser follow.
func TestTenThousandMessages(t *testing.T) {
	const path, messages = "/fx/EURUSD", 10_000
	s := serve(t)
	ctx, cancel := context.WithTimeout(t.Context(), programTimeout)
	defer cancel()
	sub, err := connect(t, s).Subscribe(ctx, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	inGo := make(chan received, 1)
	go func() {
		var got received
		var next int
		var offset uint64
		for u := range sub.Updates(ctx) {
			switch u.Kind {
			case session.EventGap:
				got.Gaps++
			case session.EventUpdate:
				var m struct{ I int }
				if json.Unmarshal(u.Data, &m) != nil || m.I != next || got.Updates > 0 && u.Offset != offset+1 {
					got.Disorder++
				}
				next, offset = m.I+1, u.Offset
				got.Updates++
			}
			if got.Updates+got.Gaps == messages {
				break
			}
		}
		inGo <- got
	}()
	published := false
	t.Run("browser", func(t *testing.T) {
		page := browse(t, s, "follow", map[string]any{"path": path, "messages": messages})
		if _, err := page.out.await(ctx, ready); err != nil {
			t.Fatalf("%v: %s", err, page.out)
		}
		publishMessages(t, ctx, s, path, messages)
		published = true
		var got received
		page.answer(&got)
		got.check(t, messages)
	})
	t.Run("Go", func(t *testing.T) {
		if !published { // there is no browser here
			publishMessages(t, ctx, s, path, messages)
		}
		(<-inGo).check(t, messages)
	})
}

func publishMessages(t *testing.T, ctx context.Context, s *server, path string, messages int) {
	t.Helper()
	c := connect(t, s)
	began := time.Now()
	var last *client.Receipt
	for i := range messages {
		r, err := c.Send(ctx, path, fmt.Appendf(nil, `{"i":%d}`, i), nil)
		if err != nil {
			t.Fatal(err)
		}
		last = r
	}
	ack, err := last.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d messages published in %v, the last at offset %d", messages, time.Since(began).Round(time.Millisecond), ack.Offset)
}

// TestPublishOverHTTP publishes by POST, to a log and to a record, and what is refused is refused by name.
func TestPublishOverHTTP(t *testing.T) {
	t.Parallel()
	s := serve(t)
	post := func(path, body string) (int, string) {
		r, err := http.Post(s.httpURL("/api/v1/subjects"+path), "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		var answer struct{ Error struct{ Word string } }
		json.NewDecoder(r.Body).Decode(&answer)
		return r.StatusCode, answer.Error.Word
	}
	for _, c := range []struct {
		path, body, want string
		status           int
	}{
		{"/news", `{"title":"one"}`, "", 200},
		{"/news", `"two"`, "", 200},
		{"/quote?kind=record", `{"bid":1.1,"ask":1.2}`, "", 200},
		{"/quote?kind=record", `{"bid":1.15}`, "", 200},
		{"/quote", `"a log entry in a record"`, "bad_request", 400},
		{"/news", `{"title":`, "bad_request", 400},
		{"/news?kind=picture", `1`, "bad_request", 400},
		{"/sys/live?kind=record", `{"x":1}`, "refused", 403},
		{"/news", `"` + strings.Repeat("x", 2<<20) + `"`, "too_big", 413},
	} {
		if status, word := post(c.path, c.body); status != c.status || word != c.want {
			t.Errorf("POST %s %.40s: %d %s, want %d %s", c.path, c.body, status, word, c.status, c.want)
		}
	}
	sub, err := connect(t, s).Subscribe(t.Context(), "/quote", nil)
	if err != nil {
		t.Fatal(err)
	}
	for u := range sub.Updates(t.Context()) {
		if u.Kind == session.EventSnapshot {
			if got := string(u.Fields); got != `{"ask":1.2,"bid":1.15}` && got != `{"bid":1.15,"ask":1.2}` {
				t.Errorf("the record's image is %s", got)
			}
			break
		}
	}
}
