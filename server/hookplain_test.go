package server

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"hawser/hook"
	"hawser/lifecycle"
	"hawser/session"
)

// TestHooksBeyondRTMP lets hooks answer what sessions and HTTP ask: who watches, and what data is published.
func TestHooksBeyondRTMP(t *testing.T) {
	for name, form := range forms {
		if name == "value" { // its functions are about RTMP's streams
			continue
		}
		with := func(t *testing.T, event string, a rule) (*rig, *seen) {
			s, rules := &seen{}, map[string]rule{}
			if event != "" {
				rules[event] = a
			}
			r := serve(t, form(t, s, rules))
			r.feed("/live/a").write(10)
			return r, s
		}
		told := func(t *testing.T, s *seen, want ...string) {
			t.Helper()
			until(t, strings.Join(want, ", "), func() bool {
				lines := s.lines()
				return !slices.ContainsFunc(want, func(w string) bool { return !slices.Contains(lines, w) })
			})
		}
		refusedBy := func(t *testing.T, r *rig, protocol, detail, text string) {
			t.Helper()
			e := r.event("refuse", func(e *lifecycle.Event) bool { return e.Protocol == protocol && e.Kind == "refuse" })
			if e.Reason.Text != text || e.Detail != detail || !strings.HasPrefix(e.Path, "/") {
				t.Errorf("the event: got %+v", e)
			}
			if e := r.event("of the hook", func(e *lifecycle.Event) bool { return e.Kind == hook.KindRefused }); e.Reason.Text != text || e.Conn == "" {
				t.Errorf("the hook's event: got %+v", e)
			}
		}
		for what, test := range map[string]func(t *testing.T){
			"watched": func(t *testing.T) {
				r, s := with(t, "", rule{})
				resp := r.get("/live/a.flv")
				file(t, resp.Body).frame()
				resp.Body.Close()
				told(t, s, "play /live/a", "stop /live/a")
				w := r.login()
				w.say(`{"t":"play","path":"/live/a"}`)
				w.want(session.TypeMedia)
				w.say(`{"t":"stop","path":"/live/a"}`)
				w.say(`{"t":"play","path":"/live/a"}`)
				until(t, "both plays and their stop", func() bool {
					count := make(map[string]int)
					for _, line := range s.lines() {
						count[line]++
					}
					return count["play /live/a"] == 3 && count["stop /live/a"] == 2
				})
				w.ws.CloseNow()
				until(t, "the last stop", func() bool {
					return len(slices.DeleteFunc(s.lines(), func(line string) bool { return line != "stop /live/a" })) == 3
				})
			},
			"HTTP-FLV refused": func(t *testing.T) {
				r, _ := with(t, "play", rule{refuse: "members only"})
				resp := r.get("/live/a.flv")
				body, _ := io.ReadAll(resp.Body)
				if resp.StatusCode != http.StatusForbidden || !strings.Contains(string(body), "members only") {
					t.Errorf("got %s %s", resp.Status, body)
				}
				refusedBy(t, r, "http-flv", "play", "members only")
			},
			"HTTP-FLV renamed": func(t *testing.T) {
				r, s := with(t, "play", rule{path: "/live/a"})
				resp := r.get("/live/other.flv")
				if _, err := file(t, resp.Body).frame(); err != nil {
					t.Error(err)
				}
				resp.Body.Close()
				told(t, s, "play /live/other", "stop /live/a")
			},
			"session refused": func(t *testing.T) {
				r, _ := with(t, "play", rule{refuse: "members only"})
				w := r.login()
				w.say(`{"t":"play","path":"/live/a"}`)
				if m := w.want(session.TypeMedia); m.Status != session.StatusGone || m.Reason.Text != "members only" {
					t.Errorf("got %+v", m.Message)
				}
				refusedBy(t, r, "session", "play", "members only")
			},
			"session renamed": func(t *testing.T) {
				r, _ := with(t, "play", rule{path: "/live/other"})
				w := r.login()
				w.say(`{"t":"play","path":"/live/a"}`)
				if m := w.want(session.TypeMedia); m.Status != session.StatusGone || m.Reason.Code != lifecycle.ReasonRefused.Code {
					t.Errorf("got %+v", m.Message)
				}
				r.event("failed", func(e *lifecycle.Event) bool { return e.Kind == hook.KindFailed && e.Path == "/live/a" })
			},
			"data altered": func(t *testing.T) {
				r, s := with(t, "publish_data", rule{values: `[{"text":"altered"}]`})
				w := r.login()
				w.say(`{"t":"publish","id":1,"path":"/chat","data":{"text":"original"}}`)
				w.want(session.TypeAck)
				w.say(`{"t":"publish","id":2,"path":"/table","kind":"record","fields":{"text":"original"}}`)
				w.want(session.TypeAck)
				if status, _, answer := r.ask("POST", "/api/v1/subjects/chat", `{"text":"original"}`, "127.0.0.1", "", ""); status != http.StatusOK {
					t.Errorf("got %d %s", status, answer)
				}
				w.say(`{"t":"subscribe","path":"/chat","from":"history"}`)
				w.want(session.TypeSnapshot)
				for range 2 {
					if m := w.want(session.TypeUpdate); string(m.Data) != `{"text":"altered"}` {
						t.Errorf("got %s", m.Data)
					}
				}
				w.say(`{"t":"subscribe","path":"/table"}`)
				w.wantRecord(session.TypeSnapshot, 1, `{"text":"altered"}`)
				told(t, s, "publish_data")
			},
			"data dropped": func(t *testing.T) {
				r, _ := with(t, "publish_data", rule{drop: true})
				w := r.login()
				w.say(`{"t":"publish","id":1,"path":"/chat","data":1}`)
				if m := w.want(session.TypeError); m.ID != 1 || m.Reason.Code != lifecycle.ReasonRefused.Code || m.Reason.Text != "left out by a hook" {
					t.Errorf("got %+v", m.Message)
				}
			},
			"data refused": func(t *testing.T) {
				r, _ := with(t, "publish_data", rule{refuse: "not that word"})
				w := r.login()
				w.say(`{"t":"publish","id":1,"path":"/chat","data":1}`)
				if m := w.want(session.TypeError); m.ID != 1 || m.Reason.Text != "not that word" {
					t.Errorf("got %+v", m.Message)
				}
				refusedBy(t, r, "session", "publish_data", "not that word")
				if status, _, answer := r.ask("POST", "/api/v1/subjects/chat", `1`, "127.0.0.1", "", ""); status != http.StatusForbidden || !strings.Contains(answer, "not that word") {
					t.Errorf("got %d %s", status, answer)
				}
				if sub := r.Subjects().Find("/chat"); sub != nil && sub.Snapshot().Offset != 0 {
					t.Error("it was published")
				}
			},
			"data that makes no sense": func(t *testing.T) {
				r, _ := with(t, "publish_data", rule{values: `[1,2]`})
				w := r.login()
				w.say(`{"t":"publish","id":1,"path":"/chat","data":1}`)
				if m := w.want(session.TypeError); m.Reason.Code != lifecycle.ReasonProtocol.Code {
					t.Errorf("got %+v", m.Message)
				}
				r.event("failed", func(e *lifecycle.Event) bool { return e.Kind == hook.KindFailed && e.Path == "/chat" })
			},
		} {
			t.Run(name+"/"+what, test)
		}
	}
}

// Whoever is refused because a hook is down may try again: it is a fault of the server.
func TestDataHookIsDown(t *testing.T) {
	r := serve(t, Options{Hooks: hook.Options{Hooks: []hook.Hook{{Event: hook.PublishData, URL: "http://127.0.0.1:1/"}}}})
	if status, _, answer := r.ask("POST", "/api/v1/subjects/chat", `1`, local, "localhost", ""); status != 500 || !strings.Contains(answer, `"word":"internal"`) || !strings.Contains(answer, `"retry":true`) {
		t.Errorf("got %d %s", status, answer)
	}
	w := r.login()
	w.say(`{"t":"publish","id":1,"path":"/chat","data":1}`)
	if m := w.want(session.TypeError); !m.Reason.Retry || m.Reason.Word != "internal" {
		t.Errorf("got %+v", m.Message)
	}
}
