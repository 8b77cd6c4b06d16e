package rtmp

import (
	"context"
	"errors"
	"net"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hawser/amf"
	"hawser/lifecycle"
)

// TestRedirect has a client go where connect's refusal points, keep its stream's name and query, and give up in a circle.
func TestRedirect(t *testing.T) {
	there := newRelay(t, nil)
	here := newRelay(t, func(s *Server) {
		s.Handler.OnConnect = func(_ context.Context, c *Conn) error {
			switch c.App() {
			case "there":
				return &Refusal{Redirect: "rtmp://" + there.addr + "/elsewhere", Description: "moved"}
			case "circle":
				return &Refusal{Redirect: "/circle"}
			}
			return &Refusal{Redirect: "http://" + there.addr}
		}
	})
	p := dial(t, here.url("/there/cam1?token=x"), nil)
	if err := p.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	there.await("publish /elsewhere/cam1 live")
	if ev := here.logged(KindRefuse); ev.Detail != "connect, sent to rtmp://"+there.addr+"/elsewhere" {
		t.Errorf("logged %+v", ev)
	}
	for _, c := range there.server.Conns() {
		if got := c.Streams()[0].Query().Get("token"); got != "x" {
			t.Errorf("the query is lost: %q", got)
		}
	}
	var refused *Refusal
	if _, err := Dial(t.Context(), here.url("/circle/cam1"), nil); !errors.As(err, &refused) || !strings.Contains(err.Error(), "after 5 redirects (MaxRedirects)") {
		t.Errorf("a circle: %v", err)
	}
	if _, err := Dial(t.Context(), here.url("/http/cam1"), nil); !errors.Is(err, lifecycle.ReasonUnsupported) {
		t.Errorf("to HTTP: %v", err)
	}
	kinds := ""
	for ev := range Events(t.Context(), here.url("/there/cam1"), nil) {
		if kinds += ev.Kind.String() + " "; ev.Kind == EventStatus {
			break
		}
	}
	if want := "connecting connected handshake redirect connecting connected handshake connect_result status "; kinds != want {
		t.Errorf("events %q, want %q", kinds, want)
	}
}

func TestRedirected(t *testing.T) {
	for _, test := range []struct{ from, to, want string }{
		{"rtmp://a/live/cam1", "rtmp://b:1936/other", "rtmp://b:1936/other/cam1"},
		{"rtmp://a/live/cam1?x=1", "//b/other/app", "rtmp://b/other/app/cam1?x=1"},
		{"rtmp://a/live/cam1?x=1", "/other?y=2", "rtmp://a/other/cam1?y=2&x=1"},
		{"rtmp://a:1/live/cam1", "rtmp://b", "rtmp://b/live/cam1"},
		{"rtmp://a/live/cam1", "", "rtmp://a/live/cam1"},
		{"rtmp://a/live", "/other", "rtmp://a/other"},
		{"rtmp://a/live/a%20b", "rtmps://b/", "rtmps://b/live/a%20b"},
		{"rtmps://a/live/cam1", "rtmp://b/live", ""},
		{"rtmp://a/live/cam1", "https://b/live", ""},
		{"rtmp://a/live/cam1", "rtmp:///live", ""},
		{"rtmp://a/live/cam1", "rtmp://b:x/live", ""},
	} {
		u, err := url.Parse(test.from)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := redirected(u, test.to); got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%s to %s: got %s, %v, want %s", test.from, test.to, got, err, test.want)
		}
	}
}

// TestReconnectRequest has a server ask those who know it to reconnect; both a player and a publisher learn of it and may go on.
func TestReconnectRequest(t *testing.T) {
	r := newRelay(t, nil)
	p, v := publish(t, r.url("/live/cam1")), play(t, r.url("/live/cam1"))
	old := dial(t, r.url("/live/cam1"), &DialOptions{Capabilities: &Capabilities{}})
	if err := old.Play(t.Context()); err != nil {
		t.Fatal(err)
	}
	asked := 0
	for _, c := range r.server.Conns() {
		if c.RequestReconnect("rtmp://other/live", "soon") {
			asked++
		}
	}
	if asked != 2 {
		t.Errorf("%d clients were asked", asked)
	}
	want := &Refusal{Code: codeReconnect, Description: "soon", Redirect: "rtmp://other/live"}
	check := func(err error) {
		t.Helper()
		var got *Refusal
		if !errors.As(err, &got) || got.Code != want.Code || got.Description != want.Description || got.Redirect != want.Redirect || !errors.Is(err, lifecycle.ReasonShutdown) {
			t.Errorf("got %v", err)
		}
	}
	for _, err := range v.Messages(t.Context()) {
		check(err)
	}
	for _, err := range p.Messages(t.Context()) { // a publisher may wait for it too
		check(err)
	}
	check(p.WriteMessage(t.Context(), Message{Type: TypeVideo, Payload: []byte{1}}))
	r.feed("/live/cam1").add(Message{Type: TypeVideo, Payload: []byte{2}})
	for m, err := range v.Messages(t.Context()) {
		if err != nil || m.Payload[0] != 2 {
			t.Errorf("after it: %v, %v", m.Payload, err)
		}
		break
	}
	for m, err := range old.Messages(t.Context()) {
		if err != nil || m.Payload[0] != 2 {
			t.Errorf("who does not know it: %v, %v", m.Payload, err)
		}
		break
	}
	if ev := r.logged(KindReconnect); ev.Detail != "rtmp://other/live" {
		t.Errorf("logged %+v", ev)
	}
}

// TestCapabilities exchanges them in connect, in both directions.
func TestCapabilities(t *testing.T) {
	got := make(chan Capabilities, 3)
	server := &Capabilities{Video: map[string]CodecUse{"hvc1": CanForward, "av01": CanForward | CanDecode}, Extensions: ExtModEx}
	r := newRelay(t, func(s *Server) {
		s.Capabilities = server
		s.Handler.OnConnect = func(_ context.Context, c *Conn) error { got <- c.Capabilities(); return nil }
	})
	c := dial(t, r.url("/live/cam1"), nil)
	if !reflect.DeepEqual(c.Capabilities(), *server) {
		t.Errorf("the client got %+v", c.Capabilities())
	}
	if caps := <-got; !reflect.DeepEqual(caps, *DefaultCapabilities()) {
		t.Errorf("the server got %+v", caps)
	}
	mine := &Capabilities{FourCC: []string{"hvc1", "Opus"}, Audio: map[string]CodecUse{"Opus": CanEncode}, Extensions: ExtReconnect | ExtMultitrack}
	dial(t, r.url("/live/cam1"), &DialOptions{Capabilities: mine})
	caps := <-got
	if !reflect.DeepEqual(caps, *mine) {
		t.Errorf("the server got %+v", caps)
	}
	if caps.Use("Opus") != CanEncode|CanDecode || caps.Use("hvc1") != CanDecode || caps.Use("av01") != 0 || DefaultCapabilities().Use("x") != CanForward|CanDecode {
		t.Error("Use is wrong")
	}
	dial(t, r.url("/live/cam1"), &DialOptions{Capabilities: &Capabilities{}, Object: amf.Object{
		{Name: "fourCcList", Value: amf.ECMAArray{{Name: "0", Value: "vp09"}, {Name: "1", Value: 3.0}}}, {Name: "videoFourCcInfoMap", Value: "nonsense"}, {Name: "capsEx", Value: -1.0}}})
	if caps := <-got; !reflect.DeepEqual(caps, Capabilities{FourCC: []string{"vp09"}}) {
		t.Errorf("the server got %+v", caps)
	}
}

// TestClientIdle has a server fall silent under a client that wants to know.
func TestClientIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := make(chan struct{})
		c, err := Dial(t.Context(), "rtmp://x/live/cam1", &DialOptions{IdleTimeout: time.Minute, Dial: func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			s := &Server{IdleTimeout: time.Hour}
			go s.ServeConn(t.Context(), &hush{Conn: far, silent: silent})
			return near, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if _, err := c.Call(t.Context(), "_checkbw"); err != nil {
			t.Fatalf("gone although the server answers pings: %v", err)
		}
		close(silent)
		began := time.Now()
		<-c.ended
		if took := time.Since(began); took < time.Minute/2 || took > 2*time.Minute {
			t.Errorf("noticed after %v", took)
		}
		if err := c.Close(); !errors.Is(err, lifecycle.ReasonTimeout) || !strings.Contains(err.Error(), "(IdleTimeout)") {
			t.Errorf("got %v", err)
		}
	})
}

// hush is a connection whose far end gets nothing any more.
type hush struct {
	net.Conn
	silent chan struct{}
}

func (h *hush) Write(b []byte) (int, error) {
	select {
	case <-h.silent:
		return len(b), nil
	default:
		return h.Conn.Write(b)
	}
}
