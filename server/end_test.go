package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"hawser/client"
	"hawser/lifecycle"
	"hawser/rtmp"
	"hawser/session"
	"hawser/websocket"
)

// wantEnd reads to the end: an error, if there is to be one, a bye, and a close with the code of the reason.
func (w *wire) wantEnd(why lifecycle.Reason, says ...session.Type) {
	w.t.Helper()
	code, before := w.closed()
	before = slices.DeleteFunc(before, func(m got) bool { return m.Type == session.TypePing }) // a silent client is asked before
	if code != why.Code {
		w.t.Errorf("close code %d, want %d", code, why.Code)
	}
	if len(before) != len(says) {
		w.t.Fatalf("before the close: got %+v, want %v", before, says)
	}
	for i, m := range before {
		if m.Type != says[i] || m.Reason.Code != why.Code || m.Reason.Text == "" {
			w.t.Errorf("got %v %v, want %v %s", m.Type, m.Reason, says[i], why.Word)
		}
	}
}

func TestRulesOfASession(t *testing.T) {
	const hello = `{"t":"hello","version":1}`
	for _, tc := range []struct {
		name   string
		hello  bool
		binary bool
		say    string
		why    lifecycle.Reason
	}{
		{"no hello", false, false, `{"t":"ping","id":1}`, lifecycle.ReasonProtocol},
		{"garbage for a hello", false, false, "GET / HTTP/1.1", lifecycle.ReasonProtocol},
		{"another version", false, false, `{"t":"hello","version":2}`, lifecycle.ReasonUnsupported},
		{"hello twice", true, false, hello, lifecycle.ReasonProtocol},
		{"garbage", true, false, `{"t":"publish","id":1,"path":"/a","data":}`, lifecycle.ReasonProtocol},
		{"not an object", true, false, `[]`, lifecycle.ReasonProtocol},
		{"too deep", true, false, `{"t":"publish","id":1,"path":"/a","data":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, lifecycle.ReasonProtocol},
		{"binary", true, true, "\x01\x02", lifecycle.ReasonUnsupported},
		{"too big", true, false, `{"t":"publish","id":1,"path":"/a","data":"` + strings.Repeat("x", session.DefaultMaxMessage) + `"}`, lifecycle.ReasonTooBig},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := serve(t, Options{})
			w := r.open(nil)
			if tc.hello {
				w.say(hello)
				w.want(session.TypeWelcome)
			}
			typ := websocket.TextMessage
			if tc.binary {
				typ = websocket.BinaryMessage
			}
			if err := w.ws.Write(soon(t), typ, []byte(tc.say)); err != nil {
				t.Fatal(err)
			}
			w.ws.Write(soon(t), websocket.TextMessage, []byte(`{"t":"publish","id":9,"path":"/after","data":1}`))
			w.wantEnd(tc.why, session.TypeError, session.TypeBye)
			if why := r.ended("session"); why.Code != tc.why.Code {
				t.Errorf("the event log says %v", why)
			}
			r.event("protocol_error", func(e *lifecycle.Event) bool {
				return e.Kind == kindProtocolError && e.Protocol == "session" && e.Reason.Code == tc.why.Code
			})
			if r.Subjects().Find("/after") != nil {
				t.Error("what came after the end was done")
			}
			if n := len(r.Log().Conns()); n != 0 {
				t.Errorf("%d connections are still listed", n)
			}
		})
	}
}

// What breaks the WebSocket's own protocol is answered with the code of RFC 6455.
func TestBrokenFrames(t *testing.T) {
	r := serve(t, Options{})
	nc, err := net.Dial("tcp", r.http)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	io.WriteString(nc, "GET /session HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x83\x80\x00\x00\x00\x00")
	answer, _ := io.ReadAll(nc)
	nc.Close()
	if !bytes.Contains(answer, []byte("101 Switching Protocols")) || !bytes.Contains(answer, []byte("\x03\xea")) { // 1002
		t.Errorf("got %q", answer)
	}
	if why := r.ended("session"); why.Code != lifecycle.ReasonProtocol.Code || !strings.Contains(why.Text, "opcode 3") {
		t.Errorf("the event log says %v", why)
	}
}

func TestClientSaysBye(t *testing.T) {
	r := serve(t, Options{})
	w := r.login()
	w.say(`{"t":"bye"}`)
	w.wantEnd(lifecycle.ReasonDone, session.TypeBye)
	if why := r.ended("session"); why.Code != lifecycle.ReasonDone.Code {
		t.Errorf("the event log says %v", why)
	}
}

// A client that closes with a code whose reason may be tried again gives the connection up, not the session; any other close ends it.
func TestCloseCodeSaysWhetherTheSessionGoesOn(t *testing.T) {
	for code, resumed := range map[int]bool{lifecycle.ReasonTimeout.Code: true, lifecycle.ReasonDone.Code: false, websocket.CloseNormal: false} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			r := serve(t, Options{})
			w := r.open(nil)
			w.say(`{"t":"hello","version":1}`)
			name := w.want(session.TypeWelcome).Message.Session
			w.ws.Close(code, "")
			r.ended("session")
			w = r.open(nil)
			w.say(`{"t":"hello","version":1,"session":%q}`, name)
			if m := w.want(session.TypeWelcome); m.Resumed != resumed {
				t.Errorf("closed with %d: resumed is %v", code, m.Resumed)
			}
		})
	}
}

func TestClientIsGone(t *testing.T) {
	r := serve(t, Options{})
	f := r.feed("/live/a")
	f.write(1)
	w := r.login()
	w.say(`{"t":"subscribe","path":"/a"}`)
	w.say(`{"t":"play","path":"/live/a"}`)
	w.want(session.TypeSnapshot)
	w.want(session.TypeMedia)
	w.ws.CloseNow()
	if why := r.ended("session"); why.Code != lifecycle.ReasonLost.Code {
		t.Errorf("the event log says %v", why)
	}
	until(t, "all is given up", func() bool {
		info, _ := r.Streams().Find("/live/a")
		return r.Subjects().Find("/a") == nil && info.Viewers == 0 && len(r.Log().Conns()) == 0
	})
}

func TestSilentClientIsClosed(t *testing.T) {
	r := serve(t, Options{Heartbeat: 30 * time.Millisecond})
	w := r.login()
	w.wantEnd(lifecycle.ReasonTimeout, session.TypeBye)
	if why := r.ended("session"); why.Code != lifecycle.ReasonTimeout.Code {
		t.Errorf("the event log says %v", why)
	}
	mute := r.open(nil) // who does not even say hello
	mute.wantEnd(lifecycle.ReasonTimeout, session.TypeBye)
}

// A client that pings, and does nothing else, stays.
func TestClientThatPings(t *testing.T) {
	t.Parallel()
	const heartbeat = 2 * time.Second
	r := serve(t, Options{Heartbeat: heartbeat})
	w := r.login()
	tick := time.NewTicker(heartbeat / 3)
	defer tick.Stop()
	for i := range 10 { // for longer than a silent one would
		<-tick.C
		w.say(`{"t":"ping","id":%d}`, i+1)
		if m := w.want(session.TypePong); m.ID != uint64(i+1) || m.At == 0 {
			t.Errorf("got %+v", m.Message)
		}
	}
}

// status makes the opening handshake and returns the status with which it was refused.
func (r *rig) status(origin string) int {
	r.t.Helper()
	ws, err := websocket.Dial(soon(r.t), "ws://"+r.http+"/session", &websocket.DialOptions{Origin: origin, Subprotocols: []string{session.Subprotocol}})
	if err == nil {
		ws.CloseNow()
		return http.StatusSwitchingProtocols
	}
	var refused *websocket.HandshakeError
	if !errors.As(err, &refused) {
		r.t.Fatal(err)
	}
	return refused.Status
}

func TestMaxSessions(t *testing.T) {
	r := serve(t, Options{MaxSessions: 2})
	w := r.login()
	r.login()
	if status := r.status(""); status != http.StatusServiceUnavailable {
		t.Errorf("the third: got status %d", status)
	}
	w.ws.CloseNow()
	until(t, "there is room again", func() bool { return r.status("") == http.StatusSwitchingProtocols })
}

func TestOrigins(t *testing.T) {
	r := serve(t, Options{Origins: []string{"https://good.example"}})
	for origin, want := range map[string]int{"": 101, "http://" + r.http: 101, "https://good.example": 101, "https://evil.example": 403, "null": 403,
		"https://good.example.evil.example": 403, "http://" + r.http + ".evil.example": 403} {
		if got := r.status(origin); got != want {
			t.Errorf("origin %q: got status %d, want %d", origin, got, want)
		}
	}
}

func TestAllOrigins(t *testing.T) {
	if got := serve(t, Options{Origins: []string{"*"}}).status("https://evil.example"); got != 101 {
		t.Errorf("got status %d", got)
	}
}

func TestShutdown(t *testing.T) {
	r := serve(t, Options{})
	f := r.feed("/live/a")
	f.write(5)
	w := r.login()
	w.say(`{"t":"subscribe","path":"/a"}`)
	w.want(session.TypeSnapshot)
	player := r.player("/live/a")
	flv := r.get("/live/a.flv")
	events := r.get("/api/v1/events?follow=1")
	r.halt()
	w.wantEnd(lifecycle.ReasonShutdown, session.TypeBye)
	for _, err := range player.Messages(soon(t)) { // the stream ends with the server, and may be seen to end first
		if err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, rtmp.ErrStreamEnded) {
			t.Errorf("the player is told %v", err)
		}
	}
	for name, body := range map[string]io.Reader{"flv": flv.Body, "events": events.Body} {
		if _, err := io.Copy(io.Discard, body); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.stop()
	if conns := r.Log().Conns(); len(conns) != 0 {
		t.Errorf("connections that outlive the server: %+v", conns)
	}
	for protocol, word := range map[string]string{"session": "shutdown", "rtmp": "shutdown", "http-flv": "shutdown"} {
		if why := r.ended(protocol); why.Word != word {
			t.Errorf("%s: ended with %v", protocol, why)
		}
	}
}

// Clients that do not answer, or never send anything, hold up a stop no longer than StopTimeout.
func TestShutdownDoesNotWaitForTheDead(t *testing.T) {
	r := serve(t, Options{StopTimeout: 50 * time.Millisecond})
	w := r.login()
	w.say(`{"t":"subscribe","path":"/a"}`)
	w.want(session.TypeSnapshot)
	for _, addr := range []string{r.http, r.http, r.rtmp} {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		io.WriteString(nc, "G")
	}
	r.event("the RTMP connection is there", func(e *lifecycle.Event) bool { return e.Protocol == "rtmp" })
	start := time.Now()
	r.stop() // w does not read, so it does not answer the close
	if took := time.Since(start); took > patience/3 {
		t.Errorf("the stop took %v", took)
	}
}

// The end of a context that has a cause, as that of a signal has, is a stop like any other.
func TestStopWithACause(t *testing.T) {
	s := New(Options{})
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("interrupt"))
	if err := s.Serve(ctx, listen(t), listen(t)); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestListenerFails(t *testing.T) {
	for _, name := range []string{"http", "rtmp"} {
		web, control := listen(t), listen(t)
		map[string]net.Listener{"http": web, "rtmp": control}[name].Close()
		err := New(Options{}).Serve(soon(t), web, control)
		if !errors.Is(err, net.ErrClosed) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// proxy is another way to the server's HTTP: its address, and the connections that are made to it, which a test may break.
func (r *rig) proxy() (address string, conns <-chan net.Conn) {
	r.t.Helper()
	made := make(chan net.Conn, 16)
	proxy := listen(r.t)
	r.t.Cleanup(func() { proxy.Close() })
	go func() {
		for {
			c, err := proxy.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", r.http)
			if err != nil {
				c.Close()
				return
			}
			go func() { io.Copy(up, c); up.Close() }()
			go func() { io.Copy(c, up); c.Close() }()
			made <- c
		}
	}()
	return proxy.Addr().String(), made
}

// The Go client finds its place again when its connection breaks, and gets every message once.
func TestClientComesBack(t *testing.T) {
	r := serve(t, Options{})
	proxy, nc := r.proxy()
	c, err := client.New(client.Options{Servers: []string{"ws://" + proxy + "/session"}, Transports: []string{client.WebSocket}, BackOff: client.BackOff{Base: time.Millisecond}})
	if err == nil {
		err = c.Connect(soon(t))
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	other := r.login() // who keeps the ready frames
	other.say(`{"t":"subscribe","path":"/chat"}`)
	sub, err := c.Subscribe(soon(t), "/chat", nil)
	if err != nil {
		t.Fatal(err)
	}
	const n = 3000
	go r.log("/chat", 0, n)
	next := uint64(0)
	for u := range sub.Updates(soon(t)) {
		switch u.Kind {
		case session.EventUpdate:
			if u.Offset != next {
				t.Fatalf("got %d, want %d", u.Offset, next)
			}
			next++
		case session.EventGap:
			t.Fatalf("lost %d to %d", u.Offset, u.To)
		}
		if next%500 == 0 && u.Kind == session.EventUpdate && next < n {
			(<-nc).Close()
		}
		if next == n {
			break
		}
	}
	if next != n {
		t.Errorf("got %d of %d", next, n)
	}
}

// A client that is silent, but answers when it is asked, stays: a page in the background, whose timers hardly run, is one.
func TestClientThatAnswers(t *testing.T) {
	t.Parallel()
	r := serve(t, Options{Heartbeat: 2 * time.Second})
	w := r.login()
	for range 2 { // for longer than a silent one would
		m := w.want(session.TypePing)
		w.say(`{"t":"pong","id":%d}`, m.ID)
	}
}
