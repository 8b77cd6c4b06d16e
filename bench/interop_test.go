//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"hawser/websocket"
)

// peer is another library: its end of a connection, server or client, answers as replies says until the connection ends.
type peer struct {
	name string
	// serve returns a server's address; nil: it is not tried.
	serve func(t *testing.T, deflate bool, ends chan<- end) (url string)
	// dial returns when the connection is over; nil: it is not tried.
	dial func(ctx context.Context, url string, deflate bool, ends chan<- end) error
	// noEmpty: it hands out no empty message.
	noEmpty bool
}

// end is the close frame that a library has received.
type end struct {
	code   int
	reason string
}

var peers = []peer{
	{name: "gorilla", serve: serveGorilla, dial: dialGorilla},
	{name: "coder", serve: serveCoder, dial: dialCoder},
	{name: "gobwas", serve: serveGobwas, dial: dialGobwas},
	{name: "gws", serve: serveGWS, dial: dialGWS},
	{name: "nbio", serve: serveNbio, noEmpty: true},
}

const (
	interopPatience = time.Minute
	closeCode       = 4001
	closeReason     = "bye ü"
	theirCode       = 4003
	theirReason     = "as asked ü"
)

// fragmented is what comes back in fragments, as many as the library makes of it.
var fragmented = bytes.Repeat([]byte("fragment "), 40_000)

// replier is what a library's end does when it is asked.
type replier interface {
	write(text bool, data []byte) error
	fragments(data []byte) error // as one text message
	ping(data []byte) error
	close(code int, reason string) error
}

// reply answers a message: most come back as they are.
func reply(r replier, text bool, data []byte) error {
	switch string(data) {
	case "fragments":
		return r.fragments(fragmented)
	case "ping me":
		return r.ping([]byte("to hawser"))
	case "close me":
		return r.close(theirCode, theirReason)
	}
	return r.write(text, data)
}

// replies reads messages until the end.
func replies(r replier, read func() (text bool, data []byte, err error)) error {
	for {
		text, data, err := read()
		if err == nil {
			err = reply(r, text, data)
		}
		if err != nil {
			return err
		}
	}
}

// serveTheirs gives each request to a library.
func serveTheirs(t *testing.T, handle http.HandlerFunc) (url string) {
	s := httptest.NewServer(handle)
	t.Cleanup(s.Close)
	return "ws" + strings.TrimPrefix(s.URL, "http")
}

var interopCompressions = []struct {
	name string
	ours *websocket.Deflate
}{
	{"plain", nil},
	{"deflate", &websocket.Deflate{Threshold: -1}},
	{"takeover", &websocket.Deflate{Threshold: -1, ServerTakeover: true, ClientTakeover: true}},
}

// TestInterop lets each library talk with ours in both directions, with and without compression.
func TestInterop(t *testing.T) {
	for _, p := range peers {
		for _, c := range interopCompressions {
			if p.serve != nil {
				t.Run(p.name+"/their server/"+c.name, func(t *testing.T) { theirServer(t, p, c.ours) })
			}
			if p.dial != nil {
				t.Run(p.name+"/their client/"+c.name, func(t *testing.T) { theirClient(t, p, c.ours) })
			}
		}
	}
}

func theirServer(t *testing.T, p peer, deflate *websocket.Deflate) {
	ends := make(chan end, 10)
	url := p.serve(t, deflate != nil, ends)
	dial := func() *websocket.Conn {
		c, err := websocket.Dial(interopContext(t), url, &websocket.DialOptions{Compression: deflate, Proxy: websocket.NoProxy})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	converse(t, dial(), p, deflate != nil, ends)
	hangUp(t, dial(), ends)
}

func theirClient(t *testing.T, p peer, deflate *websocket.Deflate) {
	ends, conns := make(chan end, 10), make(chan *websocket.Conn, 1)
	url := serveTheirs(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Compression: deflate})
		if err != nil {
			t.Error(err)
			return
		}
		conns <- c
	})
	for _, talk := range []func(c *websocket.Conn){
		func(c *websocket.Conn) { converse(t, c, p, deflate != nil, ends) },
		func(c *websocket.Conn) { hangUp(t, c, ends) },
	} {
		dialed := make(chan error, 1)
		go func() { dialed <- p.dial(interopContext(t), url, deflate != nil, ends) }()
		select {
		case c := <-conns:
			talk(c)
			<-dialed
		case err := <-dialed:
			t.Fatal(err)
		}
	}
}

// converse goes through what a connection can do, and closes it.
func converse(t *testing.T, c *websocket.Conn, p peer, deflate bool, ends <-chan end) {
	t.Helper()
	ctx := interopContext(t)
	defer c.CloseNow()
	if deflate != strings.HasPrefix(c.Extensions(), "permessage-deflate") {
		t.Errorf("the extensions are %q", c.Extensions())
	}
	next, stop := iter.Pull(c.Events(ctx))
	defer stop()
	hear := func(kind websocket.Kind, want []byte) {
		t.Helper()
		if ev, ok := next(); !ok || ev.Kind != kind || !bytes.Equal(ev.Data, want) {
			t.Fatalf("got %v of %d bytes %.50q %v, want %v of %d", ev.Kind, len(ev.Data), ev.Data, ev.Err, kind, len(want))
		}
	}
	send := func(typ websocket.MessageType, data []byte) {
		t.Helper()
		if err := c.Write(ctx, typ, data); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []int{0, 1, 125, 126, 127, 600, 65535, 65536, 1 << 20} {
		if n == 0 && p.noEmpty {
			continue
		}
		text, binary := []byte(strings.Repeat("日", n/3)+strings.Repeat("x", n%3)), bytes.Repeat([]byte{0, 0xfe}, n/2+1)[:n]
		send(websocket.TextMessage, text)
		hear(websocket.Text, text)
		send(websocket.BinaryMessage, binary)
		hear(websocket.Binary, binary)
	}
	send(websocket.TextMessage, []byte("fragments"))
	hear(websocket.Text, fragmented)
	if c.Server() { // with a ping between; uncompressed, as a message may always be
		c.Queue(websocket.AppendFrame(nil, false, websocket.OpText, []byte("from ")), websocket.AppendFrame(nil, true, websocket.OpPing, []byte("between")),
			websocket.AppendFrame(nil, false, websocket.OpContinuation, nil), websocket.AppendFrame(nil, true, websocket.OpContinuation, []byte("hawser")))
		hear(websocket.Pong, []byte("between"))
		hear(websocket.Text, []byte("from hawser"))
	}
	if err := c.Ping(ctx, []byte("to them")); err != nil {
		t.Error(err)
	}
	hear(websocket.Pong, []byte("to them"))
	send(websocket.TextMessage, []byte("ping me"))
	ev, _ := next()
	if ev.Kind != websocket.Ping {
		t.Fatalf("got %v %v, want a ping", ev.Kind, ev.Err)
	}
	c.Close(closeCode, closeReason)
	if ev, _ := next(); ev.Kind != websocket.Closed || ev.Code != closeCode {
		t.Errorf("got %v %d %v, want closed with %d", ev.Kind, ev.Code, ev.Err, closeCode)
	}
	if ev, _ := next(); ev.Kind != websocket.Disconnected || !ev.Graceful {
		t.Errorf("got %v %v, want a graceful end", ev.Kind, ev.Err)
	}
	heardEnd(t, ends, end{closeCode, closeReason})
}

// hangUp lets the library close.
func hangUp(t *testing.T, c *websocket.Conn, ends <-chan end) {
	t.Helper()
	ctx := interopContext(t)
	defer c.CloseNow()
	if err := c.Write(ctx, websocket.TextMessage, []byte("close me")); err != nil {
		t.Fatal(err)
	}
	var got []string
	for ev := range c.Events(ctx) {
		got = append(got, fmt.Sprint(ev.Kind, " ", ev.Code, " ", ev.Reason, " ", ev.Graceful))
	}
	want := []string{fmt.Sprintf("closing %d %s false", theirCode, theirReason), fmt.Sprintf("closed %d %s false", theirCode, theirReason), fmt.Sprintf("disconnected %d %s true", theirCode, theirReason)}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q, want %q", got, want)
	}
	select { // what we have answered, where the library tells
	case e := <-ends:
		if e.code != theirCode {
			t.Errorf("the library heard %d", e.code)
		}
	default:
	}
}

func heardEnd(t *testing.T, ends <-chan end, want end) {
	t.Helper()
	select {
	case got := <-ends:
		if got != want {
			t.Errorf("the library heard %d %q, want %d %q", got.code, got.reason, want.code, want.reason)
		}
	case <-time.After(interopPatience):
		t.Error("the library has heard no close frame")
	}
}

func interopContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), interopPatience)
	t.Cleanup(cancel)
	return ctx
}
