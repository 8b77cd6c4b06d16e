package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"hawser/amf"
	"hawser/lifecycle"
	"hawser/server"
	"hawser/subject"
	"hawser/websocket"
)

// testServer is a server in this process.
type testServer struct {
	*server.Server
	http, rtmp string // host and port
}

func startServer(t *testing.T) testServer { return startServerWith(t, server.Options{}) }

func startServerWith(t *testing.T, o server.Options) testServer {
	t.Helper()
	s := testServer{Server: server.New(o)}
	var l [2]net.Listener
	for i := range l {
		var err error
		if l[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	s.http, s.rtmp = l[0].Addr().String(), l[1].Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l[0], l[1]) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return s
}

// execute runs a command line with the given standard input and returns its standard output.
func execute(ctx context.Context, in io.Reader, args ...string) (string, error) {
	var out bytes.Buffer
	err := executeTo(ctx, &out, in, args...)
	return out.String(), err
}

func executeTo(ctx context.Context, out io.Writer, in io.Reader, args ...string) error {
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(io.Discard)
	root.SetIn(in)
	return root.ExecuteContext(ctx)
}

// following runs `hawser watch --json` and gives each line to each, in the command's own goroutine.
func following(ctx context.Context, t *testing.T, each func(watchRecord), args ...string) (all []watchRecord, err error) {
	t.Helper()
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := executeTo(ctx, w, nil, append([]string{"watch", "--json"}, args...)...)
		w.Close()
		ended <- err
	}()
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var record watchRecord
		if err := json.Unmarshal(lines.Bytes(), &record); err != nil {
			t.Fatalf("%s: %v", lines.Bytes(), err)
		}
		all = append(all, record)
		if each != nil {
			each(record)
		}
	}
	return all, <-ended
}

func ofKind(all []watchRecord, kind string) (some []watchRecord) {
	for _, r := range all {
		if r.Kind == kind {
			some = append(some, r)
		}
	}
	return some
}

func kindsOf(all []watchRecord) (kinds []string) {
	for _, r := range all {
		kinds = append(kinds, r.Kind)
	}
	return kinds
}

func TestParseTarget(t *testing.T) {
	const server = "https://example.com:8443"
	for _, c := range []struct {
		arg  string
		want target
	}{
		{"/fx/EURUSD", target{protocolSession, "wss://example.com:8443/session", "/fx/EURUSD"}},
		{"http://host:1/live/cam1", target{protocolSession, "ws://host:1/session", "/live/cam1"}},
		{"http://host/session", target{protocolSession, "ws://host/session", ""}},
		{"https://host", target{protocolSession, "wss://host/session", ""}},
		{"https://host/", target{protocolSession, "wss://host/session", ""}},
		{"ws://host/session", target{protocolWebSocket, "ws://host/session", ""}},
		{"wss://host/a?b=c", target{protocolWebSocket, "wss://host/a?b=c", ""}},
		{"rtmp://host/live/cam1", target{protocolRTMP, "rtmp://host/live/cam1", ""}},
		{"rtmps://host/live/cam1", target{protocolRTMP, "rtmps://host/live/cam1", ""}},
	} {
		if got, err := parseTarget(c.arg, server); err != nil || got != c.want {
			t.Errorf("%s: got %+v, %v, want %+v", c.arg, got, err, c.want)
		}
	}
	for _, bad := range []string{"", "live/cam1", "ftp://host/a", "http://", "http://host/a//b", "/../a", "http://host:x/a", "//"} {
		if got, err := parseTarget(bad, server); err == nil {
			t.Errorf("%q was taken as %+v", bad, got)
		}
	}
	for _, bad := range []string{"http://host/elsewhere", "rtmp://host"} {
		if got, err := parseTarget("/a", bad); err == nil {
			t.Errorf("server %q was taken as %+v", bad, got)
		}
	}
}

func TestWatchLog(t *testing.T) {
	s := startServer(t)
	publish := func(data string) {
		if _, _, err := s.Publish("/chat", subject.Log, subject.Update{Data: []byte(data), HasMedia: true, Media: 1500e6}); err != nil {
			t.Error(err)
		}
	}
	publish(`"before"`)
	all, err := following(t.Context(), t, func(r watchRecord) {
		if r.Kind == kindSnapshot {
			for _, data := range []string{`{"text": "a"}`, `2`, `3`, `4`} {
				publish(data)
			}
		}
	}, "--server", s.http, "--no-media", "--count", "3", "/chat")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"state", "state", "state", "snapshot", "update", "update", "update", "state"}
	if got := kindsOf(all); !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	if first := all[4]; *first.Offset != 1 || string(first.Data) != `{"text":"a"}` || *first.MediaTime != 1500 || first.Path != "/chat" || first.Light != lifecycle.Green ||
		first.Epoch != all[3].Epoch || len(first.Epoch) != 16 || first.At == nil {
		t.Errorf("the first update is %+v", first)
	}
	if last := all[7]; last.State != "disconnected" || last.Light != lifecycle.Red || last.Reason.Word != "done" {
		t.Errorf("the last event is %+v", last)
	}
}

func TestWatchRecord(t *testing.T) {
	s := startServer(t)
	publish := func(value string) {
		if _, _, err := s.Publish("/fx", subject.Record, subject.Update{Fields: []subject.Field{{Name: "bid", Value: []byte(value)}}}); err != nil {
			t.Error(err)
		}
	}
	publish("1.5")
	all, err := following(t.Context(), t, func(r watchRecord) {
		if r.Kind == kindSnapshot {
			publish("null")
		}
	}, "--no-media", "--count", "1", "http://"+s.http+"/fx")
	if err != nil {
		t.Fatal(err)
	}
	if snap := ofKind(all, kindSnapshot); len(snap) != 1 || string(snap[0].Fields) != `{"bid":1.5}` || snap[0].Subject != "record" || *snap[0].Offset != 1 {
		t.Errorf("snapshot %+v", snap)
	}
	if update := ofKind(all, kindUpdate); len(update) != 1 || string(update[0].Fields) != `{"bid":null}` || *update[0].Offset != 1 {
		t.Errorf("update %+v", update)
	}
}

func TestWatchFailures(t *testing.T) {
	s := startServer(t)
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	for _, c := range []struct{ name, want, url string }{
		{"no server for a session", "lost", "http://" + nobody.Addr().String() + "/a"},
		{"no server for a WebSocket", "refused", "ws://" + nobody.Addr().String() + "/a"},
		{"no server for RTMP", "lost", "rtmp://" + nobody.Addr().String() + "/a/b"},
		{"no WebSocket there", "404", "ws://" + s.http + "/nothing"},
		{"no such scheme", "want", "ftp://" + s.http + "/a"},
	} {
		out, err := execute(t.Context(), nil, "watch", c.url)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got error %v, want one about %q; output:\n%s", c.name, err, c.want, out)
		}
	}
}

func TestWatchForATime(t *testing.T) {
	s := startServer(t)
	watch := func(args ...string) (out string, err error) {
		for wait := time.Second; wait < time.Minute; wait *= 2 { // a busy machine may need more than a second to connect
			out, err = execute(t.Context(), nil, append([]string{"watch", "--server", s.http, "--no-media", "--for", wait.String(), "/quiet"}, args...)...)
			if err == nil || !strings.Contains(err.Error(), "no connection") {
				break
			}
		}
		return out, err
	}
	if out, err := watch(); err != nil || !strings.Contains(out, "logged_in") {
		t.Errorf("%v; output:\n%s", err, out)
	}
	_, err := watch("--count", "1")
	if err == nil || !strings.Contains(err.Error(), "0 of 1 updates") {
		t.Errorf("got %v, want an error about updates that did not come", err)
	}
}

func TestWatchInterrupted(t *testing.T) {
	s := startServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	err := executeTo(ctx, writerFunc(func(b []byte) (int, error) {
		if strings.Contains(string(b), kindSnapshot) {
			cancel()
		}
		return out.Write(b)
	}), nil, "watch", "--server", s.http, "/quiet")
	if err != nil || !strings.Contains(out.String(), "logged_in -> disconnected") {
		t.Errorf("%v; output:\n%s", err, out.String())
	}
}

type writerFunc func(b []byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestWatchEndsWhenItCannotWrite(t *testing.T) {
	s := startServer(t)
	full := errors.New("disk full")
	err := executeTo(t.Context(), writerFunc(func([]byte) (int, error) { return 0, full }), nil, "watch", "--server", s.http, "/a")
	if !errors.Is(err, full) {
		t.Errorf("got %v, want %v", err, full)
	}
}

func TestWatchWebSocket(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"test.v1"}})
		if err != nil {
			t.Error(err)
			return
		}
		ctx := context.Background()
		for _, err := range []error{
			c.Write(ctx, websocket.TextMessage, []byte(r.Header.Get("X-Test")+" \x1b")),
			c.Write(ctx, websocket.BinaryMessage, []byte{1, 2, 3}),
			c.Close(lifecycle.ReasonShutdown.Code, "bye"),
		} {
			if err != nil {
				t.Error(err)
			}
		}
	}))
	defer web.Close()
	url := "ws" + strings.TrimPrefix(web.URL, "http")
	all, err := following(t.Context(), t, nil, "--subprotocol", "test.v1", "--header", "X-Test: hello", url)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"connecting", "connected", "ready", "text", "binary", "closing", "closed", "disconnected"}
	if got := kindsOf(all); !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	if all[2].Detail != "subprotocol test.v1" || *all[3].Text != "hello \x1b" || all[4].Hex != "010203" || *all[4].Size != 3 {
		t.Errorf("ready %+v, text %q, binary %+v", all[2], *all[3].Text, all[4])
	}
	if r := all[6].Reason; r.Code != lifecycle.ReasonShutdown.Code || r.Text != "bye" || r.Word != "shutdown" {
		t.Errorf("closed with %+v", r)
	}
	if all[0].Light != lifecycle.Amber || all[3].Light != lifecycle.Green || all[7].Light != lifecycle.Red {
		t.Error("the lights are not amber, green, red")
	}
}

// The same stream is watched over RTMP and over a session while the publish command pushes the sample.
func TestWatchMedia(t *testing.T) {
	s := startServer(t)
	publishing, stopPublishing := context.WithCancel(t.Context())
	watching, stopWatching := context.WithCancel(t.Context())
	published := make(chan error, 1)
	go func() {
		published <- executeTo(publishing, io.Discard, nil, "publish", "--loop", "--rtmp", s.rtmp, "/live/cam1", "sample/sample.flv")
	}()
	var total mediaTotals
	play, err := following(watching, t, func(r watchRecord) {
		switch {
		case r.Kind == kindMedia:
			total.Frames += r.Media.Frames
			total.Keyframes += r.Media.Keyframes
			total.Bytes += r.Media.Bytes
			if total.Frames > 50 {
				stopPublishing()
			}
		case r.Kind == kindTracks && r.Status != "live" && publishing.Err() != nil:
			stopWatching()
		}
	}, "--server", s.http, "/live/cam1")
	if err != nil {
		t.Fatal(err)
	}
	if err := <-published; err != nil {
		t.Errorf("publish: %v", err)
	}
	tracks := ofKind(play, kindTracks)
	var mimes []string
	for _, r := range tracks {
		mimes = append(mimes, r.MIME)
	}
	if !slices.Contains(mimes, `video/mp4; codecs="avc1.64001e,mp4a.40.2"`) {
		t.Errorf("types %q", mimes)
	}
	if last := tracks[len(tracks)-1]; last.Light != lifecycle.Amber || last.Status == "live" {
		t.Errorf("after the publisher left: %+v", last)
	}
	if last := ofKind(play, kindMedia); total.Keyframes == 0 || total.Bytes == 0 || last[len(last)-1].Media.Last == 0 {
		t.Errorf("media %+v, the last line %+v", total, last)
	}
}

func TestWatchRTMP(t *testing.T) {
	s := startServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	published := make(chan error, 1)
	go func() {
		published <- executeTo(ctx, io.Discard, nil, "publish", "--loop", "--rtmp", s.rtmp, "/live/cam1", "sample/sample.flv")
	}()
	all, err := following(t.Context(), t, nil, "--count", "1", "rtmp://"+s.rtmp+"/live/cam1")
	cancel()
	if err != nil {
		t.Errorf("watch: %v", err)
	}
	if err := <-published; err != nil {
		t.Errorf("publish: %v", err)
	}
	if tracks := ofKind(all, "track"); len(tracks) != 2 || tracks[0].Tracks[0].Codec != "avc1.64001e" || tracks[1].Tracks[0].SampleRate != 48000 {
		t.Errorf("tracks %+v", tracks)
	}
	if m := all[len(all)-1]; m.Kind != kindMedia || m.Media.Messages == 0 || m.Media.Kbps == 0 {
		t.Errorf("the last line is %+v", m)
	}
}

func TestAMFAsJSON(t *testing.T) {
	v := amf.StrictArray{nil, amf.Undefined{}, true, 1.5, "a\"b", amf.Object{{Name: "z", Value: 1.0}, {Name: "a", Value: amf.ECMAArray{{Name: "n", Value: amf.StrictArray{}}}}}}
	const want = `[null,null,true,1.5,"a\"b",{"z":1,"a":{"n":[]}}]`
	if got := string(amfJSON(v)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "bench" { // what TestBenchWebRTC starts
		main()
		return
	}
	os.Setenv("NO_COLOR", "1")
	os.Exit(m.Run())
}
