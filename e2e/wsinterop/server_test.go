package wsinterop

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"hawser/websocket"
)

// TestTheirServer lets our client connect to each program.
func TestTheirServer(t *testing.T) {
	each(t, true, func(t *testing.T, p program, c compression, args map[string]any) {
		r := p.start(t, args)
		var at struct{ Port int }
		r.hear(&at)
		options := &websocket.DialOptions{Subprotocols: []string{"other", "interop"}, Compression: c.ours, Proxy: websocket.NoProxy}
		connect := func() *websocket.Conn {
			conn, err := websocket.Dial(testContext(t), fmt.Sprintf("ws://127.0.0.1:%d/", at.Port), options)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(conn.CloseNow)
			return conn
		}
		dial := func() *talk { return newTalk(t, connect()) }
		k := dial()
		if k.c.Subprotocol() != "interop" || (c.ours != nil) != strings.HasPrefix(k.c.Extensions(), "permessage-deflate") {
			t.Errorf("subprotocol %q, extensions %q", k.c.Subprotocol(), k.c.Extensions())
		}
		t.Logf("extensions %q", k.c.Extensions())
		for _, n := range sizes {
			k.echo(websocket.TextMessage, strings.Repeat("日", n/3)+strings.Repeat("x", n%3))
			k.echo(websocket.BinaryMessage, strings.Repeat("\x00\xfe", n/2)+strings.Repeat("x", n%2))
		}
		k.send(websocket.TextMessage, "ping me")
		k.await(websocket.Ping)
		k.hear(websocket.Text, "ponged")
		if err := k.c.Ping(k.ctx, []byte("to them")); err != nil {
			t.Error(err)
		}
		k.hear(websocket.Pong, "to them")
		if !p.noFragments {
			k.send(websocket.TextMessage, "fragments")
			k.hear(websocket.Text, "fragments")
		}
		k.c.Close(4001, "bye ü")
		k.ends("closed:4001", "graceful:true")
		checkClosed(t, r, 4001, "bye ü")

		k = dial()
		k.send(websocket.TextMessage, "close me")
		k.ends(`closing:4003 as asked ü`, "closed:4003", "graceful:true")
		checkClosed(t, r, 4003, "")
		if !p.noSilentClose {
			k = dial()
			k.send(websocket.TextMessage, "close without a code")
			k.ends("closing:1005", "closed:1005", "graceful:true")
			checkClosed(t, r, 1005, "")
		}
		if err := connect().Close(0, ""); err != nil {
			t.Error(err)
		}
		checkClosed(t, r, 1005, "")
	})
}

// checkClosed hears how a connection ended for the program; an empty reason may be anything.
func checkClosed(t *testing.T, r *process, code int, reason string) {
	t.Helper()
	var got closed
	if r.hear(&got); got.Code != code || reason != "" && got.Reason != reason {
		t.Errorf("the program's connection ended with %d %q, want %d %q", got.Code, got.Reason, code, reason)
	}
}

// talk is a connection of our client whose events are read one at a time.
type talk struct {
	t      *testing.T
	c      *websocket.Conn
	ctx    context.Context
	events chan websocket.Event
}

func newTalk(t *testing.T, c *websocket.Conn) *talk {
	k := &talk{t: t, c: c, ctx: testContext(t), events: make(chan websocket.Event, 100)}
	go func() {
		defer close(k.events)
		for ev := range c.Events(k.ctx) {
			ev.Data = bytes.Clone(ev.Data)
			k.events <- ev
		}
	}()
	return k
}

func (k *talk) send(typ websocket.MessageType, s string) {
	k.t.Helper()
	if err := k.c.Write(k.ctx, typ, []byte(s)); err != nil {
		k.t.Fatal(err)
	}
}

// await returns the next event, which must be of a kind; pings in between are the program's keepalive.
func (k *talk) await(kind websocket.Kind) websocket.Event {
	k.t.Helper()
	for ev := range k.events {
		if ev.Kind == kind {
			return ev
		}
		if ev.Kind != websocket.Ping {
			k.t.Fatalf("got %v %.100q %v, want %v", ev.Kind, ev.Data, ev.Err, kind)
		}
	}
	k.t.Fatalf("the events end, want %v", kind)
	return websocket.Event{}
}

func (k *talk) hear(kind websocket.Kind, want string) {
	k.t.Helper()
	if ev := k.await(kind); string(ev.Data) != want {
		k.t.Fatalf("got %v of %d bytes %.100q, want %d bytes %.100q", kind, len(ev.Data), ev.Data, len(want), want)
	}
}

func (k *talk) echo(typ websocket.MessageType, s string) {
	k.t.Helper()
	k.send(typ, s)
	k.hear(map[websocket.MessageType]websocket.Kind{websocket.TextMessage: websocket.Text, websocket.BinaryMessage: websocket.Binary}[typ], s)
}

// ends reads the rest of the events; what they say must begin as wanted.
func (k *talk) ends(want ...string) {
	k.t.Helper()
	var got []string
	for ev := range k.events {
		switch ev.Kind {
		case websocket.Ping:
		case websocket.Disconnected:
			got = append(got, fmt.Sprintf("graceful:%v", ev.Graceful))
		default:
			got = append(got, fmt.Sprintf("%v:%d %s", ev.Kind, ev.Code, ev.Reason))
		}
	}
	ok := len(got) == len(want)
	for i := range min(len(got), len(want)) {
		ok = ok && strings.HasPrefix(got[i], want[i])
	}
	if !ok {
		k.t.Errorf("the end is %q, want %q", got, want)
	}
}
