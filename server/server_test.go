package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"hawser/flv"
	"hawser/lifecycle"
	"hawser/media"
	"hawser/rtmp"
	"hawser/session"
	"hawser/stream"
	"hawser/websocket"
)

// patience is how long a test waits for what must happen.
const patience = time.Minute

// rig is a server that listens on ports of the system's choice.
type rig struct {
	*Server
	t          testing.TB
	http, rtmp string
	halt       context.CancelFunc
	done       chan error
}

// serving counts the servers that run.
var serving atomic.Int32

// serve starts a server; the test's end stops it and looks whether it is gone altogether.
func serve(t testing.TB, o Options) *rig {
	t.Helper()
	return serveIt(t, New(o))
}

// serveIt is serve for a server that is made already.
func serveIt(t testing.TB, s *Server) *rig {
	t.Helper()
	web, control := listen(t), listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	r := &rig{Server: s, t: t, http: web.Addr().String(), rtmp: control.Addr().String(), halt: cancel, done: make(chan error, 1)}
	serving.Add(1)
	go func() { r.done <- r.Serve(ctx, web, control) }()
	t.Cleanup(r.stop)
	return r
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// stop stops the server, once, and waits for all of it.
func (r *rig) stop() {
	r.halt()
	select {
	case err, first := <-r.done:
		if first && err != nil {
			r.t.Errorf("Serve: %v", err)
		}
		if first {
			close(r.done)
			serving.Add(-1)
		}
	case <-time.After(patience):
		r.t.Fatalf("Serve does not return:\n%s", stacks())
	}
	until(r.t, "no goroutine of the server is left", func() bool {
		return serving.Load() > 0 || !strings.Contains(strings.ReplaceAll(stacks(), "hawser/server.(*rig)", ""), "hawser/server.(*") // servers and tests beside this one have theirs
	})
}

func stacks() string {
	b := make([]byte, 1<<20)
	b = b[:runtime.Stack(b, true)]
	_, others, _ := bytes.Cut(b, []byte("\n\n")) // the first one is the caller's
	return string(others)
}

// until waits for a condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited for %v: %s\n%s", patience, what, stacks())
		}
	}
}

// soon is a context for what must not take long.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// event waits for an event and returns it.
func (r *rig) event(what string, ok func(e *lifecycle.Event) bool) lifecycle.Event {
	r.t.Helper()
	for e := range r.Log().Events(soon(r.t), 0) {
		if ok(&e) {
			return e
		}
	}
	r.t.Fatalf("no event: %s; there are %+v", what, r.Log().Recent(20))
	return lifecycle.Event{}
}

// ended waits for the end of a connection of a protocol and returns why it ended.
func (r *rig) ended(protocol string) lifecycle.Reason {
	r.t.Helper()
	return r.event("end of "+protocol, func(e *lifecycle.Event) bool { return e.Protocol == protocol && e.Kind == lifecycle.KindClose }).Reason
}

// got is one message that a session's client received: text, or media.
type got struct {
	session.Message
	head    *session.MediaHeader // of a binary message
	payload []byte
}

// wire is a session whose messages a test writes and reads itself.
type wire struct {
	t   testing.TB
	ws  *websocket.Conn
	ice []rtcState // that signals told, as far as they were read
}

// open makes a WebSocket to the server and says nothing.
func (r *rig) open(o *websocket.DialOptions) *wire {
	r.t.Helper()
	return r.openAt("", o)
}

// openAt is open with a query.
func (r *rig) openAt(query string, o *websocket.DialOptions) *wire {
	r.t.Helper()
	if o == nil {
		o = &websocket.DialOptions{}
	}
	o.Subprotocols = []string{session.Subprotocol}
	ws, err := websocket.Dial(soon(r.t), "ws://"+r.http+"/session"+query, o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(ws.CloseNow)
	return &wire{t: r.t, ws: ws}
}

// login opens a session.
func (r *rig) login() *wire {
	r.t.Helper()
	w := r.open(nil)
	w.say(`{"t":"hello","version":1,"client":"test"}`)
	if m := w.want(session.TypeWelcome); m.Version != 1 || m.Message.Session == "" || m.Resumed {
		r.t.Errorf("welcome: got %+v", m.Message)
	}
	return w
}

func (w *wire) say(format string, args ...any) {
	w.t.Helper()
	if err := w.ws.Write(soon(w.t), websocket.TextMessage, fmt.Appendf(nil, format, args...)); err != nil {
		w.t.Fatal(err)
	}
}

// read returns the next message.
func (w *wire) read() (got, error) {
	typ, b, err := w.ws.Read(soon(w.t))
	if err != nil {
		return got{}, err
	}
	var g got
	if typ == websocket.BinaryMessage {
		h, payload, err := session.ParseMedia(b)
		g.head, g.payload, g.Path = &h, payload, h.Path
		return g, err
	}
	return g, session.Parse(b, &g.Message)
}

func (w *wire) next() got {
	w.t.Helper()
	g, err := w.read()
	if err != nil {
		w.t.Fatal(err)
	}
	return g
}

// want returns the next message, which must be of a type.
func (w *wire) want(typ session.Type) got {
	w.t.Helper()
	g := w.next()
	if g.Type != typ {
		w.t.Fatalf("got %v %+v, want %v", g.Type, g.Message, typ)
	}
	return g
}

// closed reads to the end of the connection and returns the close code and the messages before.
func (w *wire) closed() (code int, before []got) {
	w.t.Helper()
	for {
		g, err := w.read()
		var e *websocket.CloseError
		if errors.As(err, &e) {
			return e.Code, before
		}
		if err != nil {
			w.t.Fatal(err)
		}
		before = append(before, g)
	}
}

// clip gives the tracks and frames of two seconds of H264 with B-frames, and AAC.
func clip(t testing.TB) (tracks []media.Track, frames []media.Frame) {
	t.Helper()
	b, err := os.ReadFile("../flv/testdata/bframes.flv")
	if err != nil {
		t.Fatal(err)
	}
	r, d := flv.NewReader(bytes.NewReader(b)), flv.Demuxer{}
	for {
		tag, err := r.Next()
		if err == io.EOF {
			return d.Tracks(), frames
		}
		f, _, ok, err2 := d.Feed(tag.Type, tag.Timestamp, tag.Data)
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		if ok && !f.Config {
			frames = append(frames, f)
		}
	}
}

// feeder publishes a clip inside the server, round after round.
type feeder struct {
	t      testing.TB
	pub    *stream.Publisher
	frames []media.Frame
	n      int
}

func (r *rig) feed(path string) *feeder {
	r.t.Helper()
	pub, err := r.Streams().Publish(path, "test")
	if err != nil {
		r.t.Fatal(err)
	}
	tracks, frames := clip(r.t)
	for _, track := range tracks {
		if err := pub.SetTrack(track); err != nil {
			r.t.Fatal(err)
		}
	}
	r.t.Cleanup(func() { pub.Close(lifecycle.ReasonDone) })
	return &feeder{t: r.t, pub: pub, frames: frames}
}

// write publishes the next n frames of the clip and returns them, with the times that they have in the stream.
func (f *feeder) write(n int) (written []media.Frame) {
	f.t.Helper()
	for range n {
		frame := f.frames[f.n%len(f.frames)]
		round := time.Duration(f.n/len(f.frames)) * 3 * time.Second
		frame.DTS, frame.PTS = frame.DTS+round, frame.PTS+round
		f.n++
		if err := f.pub.Write(frame); err != nil {
			f.t.Fatal(err)
		}
		written = append(written, frame)
	}
	return written
}

// player is an RTMP client that plays.
func (r *rig) player(path string) *rtmp.Client {
	r.t.Helper()
	c, err := rtmp.Dial(soon(r.t), "rtmp://"+r.rtmp+path, nil)
	if err == nil {
		err = c.Play(soon(r.t))
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return c
}

func (r *rig) get(path string) *http.Response {
	r.t.Helper()
	req, err := http.NewRequestWithContext(soon(r.t), http.MethodGet, "http://"+r.http+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	resp, err := new(http.Transport).RoundTrip(req)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { resp.Body.Close() })
	return resp
}
