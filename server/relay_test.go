package server

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"hawser/amf"
	"hawser/flv"
	"hawser/lifecycle"
	"hawser/relay"
	"hawser/rtmp"
	"hawser/stream"
)

// quick lets relays try again soon.
var quick = relay.Options{BackOff: rtmp.BackOff{Min: 10 * time.Millisecond, Max: 50 * time.Millisecond}}

// relayState waits for a relay to be in a state and returns it.
func (r *rig) relayState(path, state string) (info relay.Info) {
	r.t.Helper()
	until(r.t, path+" is "+state, func() bool {
		list := r.relays.List()
		i := slices.IndexFunc(list, func(i relay.Info) bool { return i.Path == path })
		if i >= 0 {
			info = list[i]
		}
		return i >= 0 && info.State == state
	})
	return info
}

// A stream goes from one server to another, by pull and by push: the same frames with the same times, metadata and data messages, and over a break.
func TestRelays(t *testing.T) {
	for _, kind := range []relay.Kind{relay.Pull, relay.Push} {
		t.Run(string(kind), func(t *testing.T) {
			from, to := serve(t, Options{Relay: quick}), serve(t, Options{Relay: quick})
			var at *rig
			spec := relay.Spec{Kind: kind, Path: "/live/a"}
			if kind == relay.Pull {
				at, spec.URL = to, "rtmp://user:pw@"+from.rtmp+"/live/a?data=1&key=s3cret"
			} else {
				at, spec.URL = from, "rtmp://user:pw@"+to.rtmp+"/live/a?key=s3cret"
			}
			if _, err := at.relays.Add(spec); err != nil {
				t.Fatal(err)
			}
			if kind == relay.Push {
				at.relayState("/live/a", relay.StateWaiting)
			} else {
				at.relayState("/live/a", relay.StateLive)
			}
			player := playing(t, to.player("/live/a?data=1"))
			p := from.publisher("/live/a")
			p.data(0, "onMetaData", amf.ECMAArray{{Name: "title", Value: "the title"}})
			sent := slices.Clone(p.write(p.frames[:1]...))
			for i := 1; i < 80; i++ {
				sent = append(sent, p.write(p.frames[i])...)
			}
			p.data(newestOf(sent), "onTextData", "hello")
			if _, values := player.script(); values[0] != "onMetaData" || amf.Members(values[1]).String("title") != "the title" {
				t.Errorf("metadata: got %v", values)
			}
			at.relayState("/live/a", relay.StateLive)
			until(t, "all is there, with its times", func() bool { newest, _ := to.Streams().MediaTime("/live/a"); return newest == newestOf(sent) })
			player = playing(t, to.player("/live/a"))
			key := lastKey(sent)
			player.want(sent[key:], 0)

			at.event("live", func(e *lifecycle.Event) bool {
				return e.Protocol == "relay" && e.State == relay.StateLive && e.Light == lifecycle.Green && e.Path == "/live/a"
			})
			for _, c := range at.rtmpConns(kind, from, to) { // the connection between the servers breaks
				c.Close(lifecycle.ReasonInternal)
			}
			at.event("back-off", func(e *lifecycle.Event) bool {
				return e.Protocol == "relay" && e.State == relay.StateBackOff && !e.Reason.IsZero()
			})
			at.relayState("/live/a", relay.StateLive)
			seenUntil := newestOf(sent)
			sent = p.write(p.frames[80:]...)
			for {
				f, err := player.frame()
				if err != nil {
					t.Fatal(err)
				}
				if f.DTS < seenUntil-time.Second {
					t.Fatalf("a time goes back to %v", f.DTS)
				}
				if string(f.Data) == string(sent[len(sent)-1].Data) {
					break
				}
			}
			for _, e := range at.Log().Recent(1000) {
				if text, _ := json.Marshal(e); strings.Contains(string(text), "s3cret") || strings.Contains(string(text), "pw") {
					t.Errorf("a secret is in %s", text)
				}
			}
		})
	}
}

// rtmpConns are the connections of a relay at the other end.
func (r *rig) rtmpConns(kind relay.Kind, from, to *rig) (list []*rtmp.Conn) {
	other := to
	if kind == relay.Pull {
		other = from
	}
	for _, c := range other.Server.rtmp.Conns() {
		if c.Object().String(relay.MemberRelay) == r.identity {
			list = append(list, c)
		}
	}
	if len(list) == 0 {
		r.t.Fatal("there is no connection of a relay")
	}
	return list
}

// A push ends its publish when the stream ends, and begins again with the next; a pattern pushes what fits.
func TestPushByPattern(t *testing.T) {
	to := serve(t, Options{Streams: stream.Options{Grace: 10 * time.Millisecond}})
	from := serve(t, Options{Relay: quick, Streams: stream.Options{Grace: 10 * time.Millisecond},
		Relays: []relay.Spec{{Kind: relay.Push, Path: "/live/*", URL: "rtmp://" + to.rtmp + "/copy/of-*"}}})
	from.publisher("/other/a")
	for range 2 {
		p := from.publisher("/live/a")
		p.write(p.frames[:5]...)
		to.received("/copy/of-a", 5)
		if i := from.relayState("/live/a", relay.StateLive); i.Rule == "" || i.Messages == 0 || i.Light != lifecycle.Green {
			t.Errorf("got %+v", i)
		}
		p.Close()
		until(t, "the copy ends", func() bool { _, there := to.Streams().Find("/copy/of-a"); return !there })
		until(t, "only the pattern is left", func() bool { return len(from.relays.List()) == 1 })
	}
	if list := to.Streams().List(); len(list) != 0 {
		t.Errorf("there are %+v", list)
	}
}

func TestPullOnDemand(t *testing.T) {
	from := serve(t, Options{})
	p := from.publisher("/live/a")
	sent := p.write(p.frames[:5]...)
	from.received("/live/a", 5)
	o := quick
	o.Linger = 50 * time.Millisecond
	to := serve(t, Options{Relay: o, Streams: stream.Options{Grace: 10 * time.Millisecond},
		Relays: []relay.Spec{{Kind: relay.Pull, Path: "/live/b", URL: "rtmp://" + from.rtmp + "/live/a", OnDemand: true}}})
	to.relayState("/live/b", relay.StateWaiting)
	for range 2 {
		resp := to.get("/live/b.flv")
		file(t, resp.Body).want(sent, 0)
		to.relayState("/live/b", relay.StateLive)
		resp.Body.Close()
		if i := to.relayState("/live/b", relay.StateWaiting); i.Reason.Code != lifecycle.ReasonDone.Code {
			t.Errorf("got %+v", i)
		}
		until(t, "the source has no player", func() bool { info, _ := from.Streams().Find("/live/a"); return info.Viewers == 0 })
		until(t, "the grace period is over", func() bool { _, there := to.Streams().Find("/live/b"); return !there }) // until then the time goes on
	}
}

func TestRelayLoop(t *testing.T) {
	r := serve(t, Options{Relay: quick})
	if _, err := r.relays.Add(relay.Spec{Kind: relay.Push, Path: "/live/**", URL: "rtmp://" + r.rtmp + "/live/again/*"}); err != nil {
		t.Fatal(err)
	}
	p := r.publisher("/live/a")
	p.write(p.frames[:5]...)
	if i := r.relayState("/live/a", relay.StateClosed); i.Reason.Code != lifecycle.ReasonRefused.Code || !strings.Contains(i.Reason.Text, "loop") || i.Light != lifecycle.Red {
		t.Errorf("got %+v", i)
	}
	if _, there := r.Streams().Find("/live/again/a"); there {
		t.Error("the stream goes in a circle")
	}
}

func TestRelayAPI(t *testing.T) {
	r := serve(t, Options{})
	do := func(method, path, body string, change func(*http.Request)) (int, string) {
		req, _ := http.NewRequest(method, "http://"+r.http+path, strings.NewReader(body))
		if change != nil {
			change(req)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var b strings.Builder
		resp.Write(&b)
		return resp.StatusCode, b.String()
	}
	good := `{"kind":"push","path":"/live/a","url":"rtmp://127.0.0.1:1/live/a?key=s3cret"}`
	foreign := func(req *http.Request) { req.Header.Set("Origin", "http://evil.example") }
	renamed := func(req *http.Request) { req.Host = "evil.example" }
	for _, tc := range []struct {
		method, path, body string
		change             func(*http.Request)
		status             int
		text               string
	}{
		{"POST", "", good, foreign, 403, "origin"},
		{"POST", "", good, renamed, 403, "this machine"},
		{"POST", "", `{"kind":"push","path":"/live/a","url":"http://h/a/b"}`, nil, 400, "rtmp://"},
		{"POST", "", `{"kind":"pull","path":"/live/*","url":"rtmp://h/a/*"}`, nil, 400, "pattern"},
		{"POST", "", `{"kind":"push","path":"/live/*","url":"rtmp://h/a/b"}`, nil, 400, "*"},
		{"POST", "", `{"kind":"push","path":"/live/a","url":"rtmp://h/a/b","on_demand":true}`, nil, 400, "demand"},
		{"POST", "", `{"kind":"move","path":"/live/a","url":"rtmp://h/a/b"}`, nil, 400, "kind"},
		{"POST", "", `{"nonsense":1}`, nil, 400, "nonsense"},
		{"POST", "", good, nil, 200, `"state":"waiting"`},
		{"POST", "", good, nil, 409, "already"},
		{"GET", "", "", nil, 200, `"url":"rtmp://127.0.0.1:1/live/a"`},
		{"DELETE", "/none", "", nil, 404, "no such relay"},
	} {
		status, text := do(tc.method, "/api/v1/relays"+tc.path, tc.body, tc.change)
		if status != tc.status || !strings.Contains(text, tc.text) || strings.Contains(text, "s3cret") {
			t.Errorf("%s %s %s: got %d %s", tc.method, tc.path, tc.body, status, text)
		}
	}
	id := r.relays.List()[0].ID
	if status, _ := do("DELETE", "/api/v1/relays/"+id, "", nil); status != 204 || len(r.relays.List()) != 0 {
		t.Errorf("delete: got %d, left %+v", status, r.relays.List())
	}
	r.event("removed", func(e *lifecycle.Event) bool {
		return e.Conn == id && e.Kind == lifecycle.KindClose && e.Reason.Code == lifecycle.ReasonDone.Code
	})
}

func BenchmarkPushTags(b *testing.B) {
	var tags []byte
	for range 30 {
		tags = flv.AppendTag(tags, flv.Tag{Type: flv.TypeVideo, Timestamp: 40, Data: make([]byte, 10_000)})
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := eachTag(tags, func(rtmp.Message) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
