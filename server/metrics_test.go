package server

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"hawser/hook"
	"hawser/lifecycle"
	"hawser/media"
	"hawser/session"
	"hawser/subject"
	"hawser/websocket"
)

var (
	metricLine = regexp.MustCompile(`^([a-z_]+)(\{[a-z]+="(?:[^"\\\n]|\\.)*"(?:,[a-z]+="(?:[^"\\\n]|\\.)*")*\})? ([0-9.e+-]+)$`)
	metaLine   = regexp.MustCompile(`^# (HELP|TYPE) ([a-z_]+) (.+)$`)
)

// scrape reads /metrics and checks its form: each family once, with help and type before its samples, and no sample twice.
func (r *rig) scrape() map[string]float64 {
	r.t.Helper()
	resp, err := http.Get("http://" + r.http + "/metrics")
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	if got := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || got != metricsType {
		r.t.Fatalf("got %s, %q: %s", resp.Status, got, b)
	}
	values, seen, family := make(map[string]float64), make(map[string]bool), ""
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(line, "\n")
		if m := metaLine.FindStringSubmatch(line); m != nil {
			if m[1] == "HELP" {
				if seen[m[2]] {
					r.t.Errorf("%s comes twice", m[2])
				}
				family, seen[m[2]] = m[2], true
			} else if m[2] != family || m[3] != "gauge" && m[3] != "counter" || m[3] == "counter" != strings.HasSuffix(family, "_total") {
				r.t.Errorf("%q behind the help of %s", line, family)
			}
			continue
		}
		m := metricLine.FindStringSubmatch(line)
		if m == nil || m[1] != family {
			r.t.Errorf("%q in the family %s", line, family)
			continue
		}
		if _, twice := values[m[1]+m[2]]; twice {
			r.t.Errorf("%s%s comes twice", m[1], m[2])
		}
		values[m[1]+m[2]], err = strconv.ParseFloat(m[3], 64)
		if err != nil {
			r.t.Error(err)
		}
	}
	return values
}

func TestMetrics(t *testing.T) {
	r := serve(t, Options{MaxSessions: 2, Hooks: hook.Options{Hooks: []hook.Hook{{Event: hook.Delete, Command: []string{"true"}}}}})
	before := r.scrape()
	f := r.feed("/live")
	f.write(3)
	r.log("/chat", 0, 3)
	r.record("/fx", "bid", "1")
	a := r.login()
	a.say(`{"t":"subscribe","path":"/chat","from":"history"}`)
	for range 4 {
		a.next()
	}
	player := r.player("/live")
	b := r.login()
	if ws, err := websocket.Dial(soon(t), "ws://"+r.http+"/session", &websocket.DialOptions{Subprotocols: []string{session.Subprotocol}}); err == nil {
		ws.CloseNow()
		t.Fatal("a third session is let in")
	}
	b.say(`{"t":"bye"}`)
	if why := r.ended("session"); why.Word != "done" {
		t.Fatalf("the second session ended: %v", why)
	}
	if _, _, err := r.Subjects().Publish("/chat", subject.Log, subject.Update{Data: []byte(`"` + strings.Repeat("x", subject.DefaultMaxMessage) + `"`)}); err == nil {
		t.Error("a message that is too big is taken")
	}
	got := r.scrape()
	for name, want := range map[string]float64{
		`hawser_connections{protocol="session"}`: 1, `hawser_connections{protocol="rtmp"}`: 1, `hawser_sessions{state="logged_in"}`: 1, `hawser_subscriptions`: 1,
		`hawser_streams{light="green"}`: 1, `hawser_viewers`: 1, `hawser_subjects{kind="log"}`: 1, `hawser_closes_total{protocol="session",reason="done"}`: 1,
		`hawser_opens_total{protocol="session"}`: 2, `hawser_limit{name="MaxSessions"}`: 2, `hawser_events_total{protocol="session",kind="subscribe",reason=""}`: 1,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	for _, name := range []string{"MaxConnections", "rtmp.MaxMessage", "rtmp.MaxUnfinished", "rtmp.MaxChunkStreams", "rtmp.MaxStreams", "rtmp.QueueLimit", "amf.MaxDepth", "hook.MaxCalls", "hook.MaxQueue",
		"hook.MaxAnswer", "auth.MaxCredentials", "auth.MaxPassword", "auth.MaxHashing", "auth.MaxAsking", "MaxData", "MaxHeldData", "MaxSources", "session.MaxMessage", "subject.MaxMessage"} {
		limit, here := got[fmt.Sprintf(`hawser_limit{name=%q}`, name)]
		if _, counted := got[fmt.Sprintf(`hawser_limit_reached_total{name=%q}`, name)]; !here || !counted || limit <= 0 && name != "MaxConnections" {
			t.Errorf("the limit %s is %v; it is told: %t, counted: %t", name, limit, here, counted)
		}
	}
	for _, limit := range []string{"MaxSessions", "subject.MaxMessage"} {
		name := fmt.Sprintf(`hawser_limit_reached_total{name=%q}`, limit)
		if n := got[name] - before[name]; n != 1 {
			t.Errorf("%s was reached %v times, want once", limit, n)
		}
	}
	for _, name := range []string{`hawser_sent_bytes_total{protocol="session"}`, `hawser_received_bytes_total{protocol="session"}`, `hawser_sent_bytes_total{protocol="rtmp"}`,
		`hawser_received_bytes_total{protocol="rtmp"}`, `hawser_stream_held_bytes`, `hawser_subject_held_bytes`, `hawser_goroutines`} {
		if got[name] <= 0 {
			t.Errorf("%s is %v", name, got[name])
		}
	}
	sent := got[`hawser_sent_bytes_total{protocol="rtmp"}`]
	player.Close()
	until(t, "the player's bytes still count", func() bool {
		now := r.scrape()
		return now[`hawser_connections{protocol="rtmp"}`] == 0 && now[`hawser_sent_bytes_total{protocol="rtmp"}`] >= sent
	})
}

// What /metrics shows is not for everybody; whether the server is there and takes clients is.
func TestMetricsAreForOperators(t *testing.T) {
	r := serve(t, Options{})
	if status, _, answer := r.ask("GET", "/metrics", "", "192.0.2.1:5000", "example.org", ""); status != http.StatusForbidden {
		t.Errorf("from elsewhere: %d %s", status, answer)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if status, _, answer := r.ask("GET", path, "", "192.0.2.1:5000", "example.org", ""); status != http.StatusOK || answer != "ok\n" {
			t.Errorf("%s: %d %q", path, status, answer)
		}
	}
	r.Drain(time.Second)
	if status, _, _ := r.ask("GET", "/readyz", "", "192.0.2.1:5000", "example.org", ""); status != http.StatusServiceUnavailable {
		t.Errorf("while it drains: %d", status)
	}
	if status, _, _ := r.ask("GET", "/healthz", "", "192.0.2.1:5000", "example.org", ""); status != http.StatusOK {
		t.Errorf("healthz while it drains: %d", status)
	}
}

func TestReached(t *testing.T) {
	const name = "MaxOfATest"
	why := lifecycle.Reached(name, 3)
	if n := lifecycle.LimitsReached()[name]; n != 1 || why.Word != "limit" || why.Text != "MaxOfATest is 3" {
		t.Errorf("%d times, %v", n, why)
	}
}

// What goes over WebRTC counts, also when its peer has ended.
func TestRTCTraffic(t *testing.T) {
	r := serve(t, withRTC())
	r.feedPlain("/live/cam1", true)
	c := newRTCClient(t)
	r.signOn("/live/cam1/whep", c)
	c.got(5, media.Video)
	sent := r.scrape()[`hawser_sent_bytes_total{protocol="rtc"}`]
	if sent == 0 {
		t.Error("nothing was counted")
	}
	c.peer.Close(lifecycle.ReasonDone)
	until(t, "the peer's end", func() bool { return r.scrape()[`hawser_connections{protocol="rtc"}`] == 0 })
	if after := r.scrape()[`hawser_sent_bytes_total{protocol="rtc"}`]; after < sent {
		t.Errorf("got %v after %v", after, sent)
	}
}
