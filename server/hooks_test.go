package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hawser/amf"
	"hawser/hook"
	"hawser/lifecycle"
	"hawser/media"
	"hawser/rtmp"
	"hawser/stream"
)

// rule is what a hook answers.
type rule struct {
	refuse, path, redirect, values string
	drop                           bool
}

// seen is what the hooks of a test were told, one line an event: the name, the path and the name of what it is about.
type seen struct {
	mu   sync.Mutex
	list []string
	file string // of commands
}

func (s *seen) add(event, path, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, strings.Join(strings.Fields(event+" "+path+" "+name), " "))
}

func (s *seen) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.Clone(s.list)
	b, _ := os.ReadFile(s.file)
	for line := range strings.Lines(string(b)) {
		list = append(list, strings.Join(strings.Fields(line), " "))
	}
	return list
}

// forms are the three forms of a handler, made of the same rules.
var forms = map[string]func(t *testing.T, s *seen, rules map[string]rule) Options{"value": asValue, "webhook": asWebhook, "command": asCommand}

func asValue(_ *testing.T, s *seen, rules map[string]rule) Options {
	ask := func(event string, st *rtmp.Stream) error {
		s.add(event, st.Path(), "")
		switch r := rules[event]; {
		case r.refuse != "":
			return errors.New(r.refuse)
		case r.path != "":
			return st.SetPath(r.path)
		}
		return nil
	}
	packet := func(event string, m *rtmp.Message) bool {
		if m.Type != rtmp.TypeData {
			return true
		}
		values, _ := amf.Decode(m.Payload)
		s.add(event, "", fmt.Sprint(values[0]))
		r := rules[event]
		if r.values != "" {
			list, _ := valuesOf(json.RawMessage(r.values))
			m.Payload = amf.Append(amf.Append(nil, values[0]), list...)
		}
		return !r.drop
	}
	return Options{RTMPHandler: &rtmp.Handler{
		OnConnect: func(_ context.Context, c *rtmp.Conn) error {
			s.add("connect", "", "")
			if r := rules["connect"]; r.refuse != "" || r.redirect != "" {
				return &rtmp.Refusal{Description: r.refuse, Redirect: r.redirect}
			}
			return nil
		},
		OnDisconnect: func(*rtmp.Conn, lifecycle.Reason) { s.add("disconnect", "", "") },
		OnPublish:    func(_ context.Context, st *rtmp.Stream) error { return ask("publish", st) },
		OnClose:      func(st *rtmp.Stream, _ lifecycle.Reason) { s.add("publish_close", st.Path(), "") },
		OnPlay:       func(_ context.Context, st *rtmp.Stream) error { return ask("play", st) },
		OnStop:       func(st *rtmp.Stream, _ lifecycle.Reason) { s.add("stop", st.Path(), "") },
		OnUnpublish:  func(path string, _ lifecycle.Reason) { s.add("unpublish", path, "") },
		OnDelete:     func(st *rtmp.Stream) { s.add("delete", st.Path(), "") },
		OnStatus:     func(_ *rtmp.Conn, cmd *rtmp.Command) { s.add("status", "", cmd.Name) },
		OnResult:     func(_ *rtmp.Conn, cmd *rtmp.Command) { s.add("result", "", cmd.Name) },
		OnCommand: func(_ context.Context, _ *rtmp.Conn, cmd *rtmp.Command) ([]amf.Value, error) {
			s.add("command", "", cmd.Name)
			r := rules["command"]
			if r.refuse != "" {
				return nil, errors.New(r.refuse)
			}
			return valuesOf(json.RawMessage(r.values))
		},
		OnPublishData: func(_ *rtmp.Stream, m *rtmp.Message) bool { return packet("publish_data", m) },
		OnPlayData:    func(_ *rtmp.Stream, m *rtmp.Message) bool { return packet("play_data", m) },
	}}
}

func asWebhook(t *testing.T, s *seen, rules map[string]rule) Options {
	secret := []byte("between us")
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var e hook.Event
		if err := json.Unmarshal(body, &e); err != nil || !hook.Verify(secret, body, r.Header.Get(hook.SignatureHeader)) {
			t.Errorf("got %s with %v (%v)", body, r.Header, err)
		}
		s.add(e.Event, pathOf(&e), e.Name)
		answer := map[string]any{"ok": true}
		switch a := rules[e.Event]; {
		case a.redirect != "":
			answer["redirect"] = a.redirect
		case a.refuse != "" && e.Event == hook.Publish: // one of the two ways to refuse
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, a.refuse+"\nand more that is nobody's business")
			return
		case a.refuse != "":
			answer = map[string]any{"refuse": a.refuse}
		case a.path != "":
			answer["path"] = a.path
		case a.drop:
			answer["drop"] = true
		case a.values != "":
			answer["values"] = json.RawMessage(a.values)
		}
		json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(web.Close)
	return Options{Hooks: hook.Options{Secret: secret, Hooks: []hook.Hook{{URL: web.URL}, {Event: hook.PublishData, URL: web.URL}, {Event: hook.PlayData, URL: web.URL}}}}
}

// pathOf leaves out the path where the value form has none.
func pathOf(e *hook.Event) string {
	if e.Event == hook.PublishData || e.Event == hook.PlayData {
		return ""
	}
	return e.Path
}

func asCommand(t *testing.T, s *seen, rules map[string]rule) Options {
	s.file = filepath.Join(t.TempDir(), "seen")
	script := filepath.Join(t.TempDir(), "hook.sh")
	text := "#!/bin/sh\ncase $HAWSER_EVENT in\n*_data) HAWSER_PATH= ;;\nesac\n" +
		`echo "$HAWSER_EVENT $HAWSER_PATH $HAWSER_NAME" >> ` + s.file + "\ncase $HAWSER_EVENT in\n"
	for event, r := range rules {
		text += event + ") "
		switch {
		case r.redirect != "":
			text += "echo 'redirect=" + r.redirect + "'"
		case r.refuse != "":
			text += "echo not this >&2; echo '" + r.refuse + "' >&2; exit 3"
		case r.path != "":
			text += "echo thinking; echo 'path=" + r.path + "'"
		case r.drop:
			text += "echo drop"
		default:
			text += "echo 'values=" + r.values + "'"
		}
		text += " ;;\n"
	}
	if err := os.WriteFile(script, []byte(text+"esac\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	run := []string{"/bin/sh", script}
	return Options{Hooks: hook.Options{Timeout: patience, Hooks: []hook.Hook{{Command: run}, {Event: hook.PublishData, Command: run}, {Event: hook.PlayData, Command: run}}}}
}

// TestEveryEvent lets a publisher and a player do all that there is an event for.
func TestEveryEvent(t *testing.T) {
	for name, form := range forms {
		t.Run(name, func(t *testing.T) {
			s := &seen{}
			o := form(t, s, map[string]rule{"command": {values: `["yes",1]`}})
			o.Streams = stream.Options{Grace: 10 * time.Millisecond}
			r := serve(t, o)
			p := r.publisher("/live/a")
			at := newestOf(p.write(p.frames[:5]...))
			p.data(at, "onTextData", "hello")
			player := r.player("/live/a?data=1")
			if _, values := playing(t, player).script(); values[0] != "onMetaData" {
				t.Errorf("got %v", values)
			}
			if values, err := p.Call(soon(t), "whatIsThis", "x"); err != nil || len(values) != 2 || values[0] != "yes" || values[1] != 1.0 {
				t.Errorf("the answer to a command: got %v %v", values, err)
			}
			status := amf.Append(nil, "onStatus", 0.0, nil, amf.Object{{Name: "code", Value: "Client.Says"}})
			if err := p.WriteMessage(soon(t), rtmp.Message{Type: rtmp.TypeCommand, Payload: status}); err != nil {
				t.Fatal(err)
			}
			if c := r.Server.rtmp.Conns()[0]; c != nil {
				c.Call(soon(t), "areYouThere") // refused, as the client knows no calls; that is a result
			}
			player.Close()
			p.Close()
			want := []string{"connect", "publish /live/a", "publish_data onTextData", "play /live/a", "play_data onMetaData", "command whatIsThis", "status onStatus", "result _error",
				"stop /live/a", "delete /live/a", "publish_close /live/a", "unpublish /live/a", "disconnect"}
			until(t, "all events are seen", func() bool {
				lines := s.lines()
				return !slices.ContainsFunc(want, func(w string) bool { return !slices.Contains(lines, w) })
			})
		})
	}
}

// TestFormsOfAnswers lets each form of a handler give each form of answer.
func TestFormsOfAnswers(t *testing.T) {
	elsewhere := serve(t, Options{})
	for name, form := range forms {
		with := func(t *testing.T, event string, a rule) *rig {
			return serve(t, form(t, &seen{}, map[string]rule{event: a}))
		}
		fails := func(t *testing.T, r *rig, err error, code, text string) {
			t.Helper()
			var refused *rtmp.Refusal
			if !errors.As(err, &refused) || !strings.HasPrefix(refused.Code, code) || refused.Description != text {
				t.Errorf("got %v, want %s %q", err, code, text)
			}
			e := r.event("refuse", func(e *lifecycle.Event) bool { return e.Kind == rtmp.KindRefuse })
			if e.Reason.Text != text {
				t.Errorf("the event: got %+v", e)
			}
			if name != "value" {
				if e := r.event("of the hook", func(e *lifecycle.Event) bool { return e.Kind == hook.KindRefused }); e.Reason.Text != text || e.Conn == "" {
					t.Errorf("the hook's event: got %+v", e)
				}
			}
		}
		dial := func(t *testing.T, r *rig) *rtmp.Client {
			c, err := rtmp.Dial(soon(t), "rtmp://"+r.rtmp+"/live/a?key=s3cret", nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			return c
		}
		for what, test := range map[string]func(t *testing.T){
			"connect refused": func(t *testing.T) {
				r := with(t, "connect", rule{refuse: "not today"})
				_, err := rtmp.Dial(soon(t), "rtmp://"+r.rtmp+"/live/a", nil)
				fails(t, r, err, "NetConnection.Connect.Rejected", "not today")
			},
			"connect redirected": func(t *testing.T) {
				r := with(t, "connect", rule{redirect: "rtmp://" + elsewhere.rtmp + "/live"})
				if err := dial(t, r).Publish(soon(t)); err != nil {
					t.Fatal(err)
				}
				if _, ok := elsewhere.Streams().Find("/live/a"); !ok {
					t.Error("the client did not go where it was sent")
				}
			},
			"publish refused": func(t *testing.T) {
				r := with(t, "publish", rule{refuse: "wrong key"})
				fails(t, r, dial(t, r).Publish(soon(t)), "NetStream.Publish.", "wrong key")
			},
			"publish renamed": func(t *testing.T) {
				r := with(t, "publish", rule{path: "/live/other"})
				r.publisher("/live/a")
				if _, ok := r.Streams().Find("/live/other"); !ok {
					t.Errorf("there are %+v", r.Streams().List())
				}
			},
			"play refused": func(t *testing.T) {
				r := with(t, "play", rule{refuse: "members only"})
				fails(t, r, dial(t, r).Play(soon(t)), "NetStream.Play.", "members only")
			},
			"play renamed": func(t *testing.T) {
				r := with(t, "play", rule{path: "/live/other"})
				p := r.publisher("/live/other")
				sent := p.write(p.frames[:5]...)
				playing(t, r.player("/live/a")).want(sent, 0)
			},
			"command refused": func(t *testing.T) {
				r := with(t, "command", rule{refuse: "no such thing"})
				if _, err := dial(t, r).Call(soon(t), "x"); err == nil || !strings.Contains(err.Error(), "no such thing") {
					t.Errorf("got %v", err)
				}
			},
		} {
			t.Run(name+"/"+what, test)
		}
		for _, event := range []string{"publish_data", "play_data"} {
			t.Run(name+"/"+event, func(t *testing.T) {
				r := with(t, event, rule{values: `[{"text":"altered"}]`})
				p := r.publisher("/live/a")
				at := newestOf(p.write(p.frames[:5]...))
				r.received("/live/a", 5)
				player := playing(t, r.player("/live/a?data=1"))
				player.script() // onMetaData
				p.data(at, "onTextData", amf.Object{{Name: "text", Value: "original"}})
				if m, values := player.script(); values[0] != "onTextData" || amf.Members(values[1]).String("text") != "altered" || m.Timestamp != millis(at) {
					t.Errorf("got %v at %d", values, m.Timestamp)
				}
			})
			t.Run(name+"/"+event+" dropped", func(t *testing.T) {
				r := with(t, event, rule{drop: true})
				p := r.publisher("/live/a")
				player := playing(t, r.player("/live/a?data=1"))
				next, scripts := player.next, 0
				player.next = func() (byte, uint32, []byte, error) {
					typ, at, body, err := next()
					if typ == rtmp.TypeData && strings.Contains(string(body), "onTextData") {
						scripts++
					}
					return typ, at, body, err
				}
				sent := p.write(p.frames[:5]...)
				p.data(newestOf(sent), "onTextData", "x")
				player.want(append(sent, p.write(p.frames[5:20]...)...), 0)
				if scripts != 0 {
					t.Errorf("%d data messages came", scripts)
				}
			})
		}
	}
}

// A value drops and alters media packets too; what it leaves alone arrives.
func TestHandlerOnMedia(t *testing.T) {
	r := serve(t, Options{RTMPHandler: &rtmp.Handler{
		OnPublishData: func(_ *rtmp.Stream, m *rtmp.Message) bool { m.Timestamp += 1000; return true },
		OnPlayData:    func(_ *rtmp.Stream, m *rtmp.Message) bool { return m.Type == rtmp.TypeVideo },
	}})
	p := r.publisher("/live/a")
	player := playing(t, r.player("/live/a"))
	sent := slices.DeleteFunc(p.write(p.frames[:30]...), func(f media.Frame) bool { return f.Kind != media.Video })
	player.want(sent, time.Second)
}

// Hooks that are down, or too slow, refuse or accept as the options say; what a client's secret was is in no event.
func TestHooksThatFail(t *testing.T) {
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	defer slow.Close()
	down := httptest.NewServer(http.NotFoundHandler())
	down.Close()
	for name, tc := range map[string]struct {
		url     string
		timeout time.Duration
		accept  bool
		word    string
	}{
		"slow": {slow.URL, 100 * time.Millisecond, false, "timeout"}, "slow, accepted": {slow.URL, 100 * time.Millisecond, true, "timeout"},
		"down": {down.URL, patience, false, "lost"}, "down, accepted": {down.URL, patience, true, "lost"},
	} {
		t.Run(name, func(t *testing.T) {
			r := serve(t, Options{Hooks: hook.Options{Timeout: tc.timeout, AcceptOnFailure: tc.accept, Hooks: []hook.Hook{{Event: hook.Publish, URL: tc.url + "/?token=s3cret"}}}})
			c, err := rtmp.Dial(soon(t), "rtmp://"+r.rtmp+"/live/a?key=s3cret", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.Publish(soon(t)); (err == nil) != tc.accept {
				t.Errorf("publish: got %v", err)
			}
			e := r.event("failed", func(e *lifecycle.Event) bool { return e.Kind == hook.KindFailed })
			if e.Reason.Word != tc.word || e.Path != "/live/a" || e.Conn == "" || !strings.HasPrefix(e.Detail, "publish: webhook http://127.0.0.1") {
				t.Errorf("got %+v", e)
			}
			for _, e := range r.Log().Recent(1000) {
				if text, _ := json.Marshal(e); strings.Contains(string(text), "s3cret") {
					t.Errorf("a secret is in %s", text)
				}
			}
		})
	}
}

// A flood of events does not hold anybody up: what is too much is left out and told.
func TestHookFlood(t *testing.T) {
	hold := make(chan struct{})
	web := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		<-hold
	}))
	defer web.Close()
	r := serve(t, Options{Hooks: hook.Options{MaxQueue: 10, Timeout: patience, Hooks: []hook.Hook{{Event: hook.Status, URL: web.URL}}}})
	p := r.publisher("/live/a")
	status := rtmp.Message{Type: rtmp.TypeCommand, Payload: amf.Append(nil, "onStatus", 0.0, nil, amf.Object{{Name: "code", Value: "x"}})}
	for range 100 {
		if err := p.WriteMessage(soon(t), status); err != nil {
			t.Fatal(err)
		}
	}
	p.write(p.frames[:10]...)
	r.received("/live/a", 10) // while no hook has answered
	r.event("dropped", func(e *lifecycle.Event) bool {
		return e.Kind == hook.KindDropped && e.Reason.Code == lifecycle.ReasonSlow.Code
	})
	close(hold)
}

func TestWrongHooks(t *testing.T) {
	for _, h := range []hook.Hook{{Event: "x", URL: "http://h"}, {Event: "publish:all", URL: "http://h"}, {}, {URL: "ftp://h"}, {URL: "http://h", Command: []string{"x"}}} {
		if err := New(Options{Hooks: hook.Options{Hooks: []hook.Hook{h}}}).Serve(soon(t), nil, nil); err == nil || !strings.Contains(err.Error(), "hook: ") {
			t.Errorf("%+v: got %v", h, err)
		}
	}
}

// A hook for all events is none for packets: their functions stay nil, so that they cost nothing.
func TestHooksUnset(t *testing.T) {
	h := New(Options{Hooks: hook.Options{Hooks: []hook.Hook{{URL: "http://127.0.0.1:1"}}}}).rtmp.Handler
	if h.OnPublishData != nil || h.OnPlayData != nil || h.OnConnect == nil {
		t.Errorf("got %+v", h)
	}
}
