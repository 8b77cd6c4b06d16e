package server

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hawser/amf"
	"hawser/flv"
	"hawser/lifecycle"
	"hawser/media"
	"hawser/record"
	"hawser/rtmp"
	"hawser/stream"
)

// plain is an RTMP client that says just what a test wants it to, on message stream 1.
type plain struct {
	t      testing.TB
	nc     net.Conn
	chunks *rtmp.ChunkReader
	in     []rtmp.Message
}

// connect connects to an application and makes a stream object.
func (r *rig) connect(app string) *plain {
	r.t.Helper()
	nc, err := net.Dial("tcp", r.rtmp)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(patience))
	c := &plain{t: r.t, nc: nc, chunks: rtmp.NewChunkReader(rtmp.Limits{})}
	const part = 1536
	nc.Write(append([]byte{3}, make([]byte, part)...))
	answer := make([]byte, 1+2*part)
	if _, err := io.ReadFull(nc, answer); err != nil {
		r.t.Fatal(err)
	}
	nc.Write(answer[1:][:part])
	c.send(0, "connect", 1.0, amf.Object{{Name: "app", Value: app}})
	c.send(0, "createStream", 2.0, nil)
	return c
}

func (c *plain) send(id uint32, values ...amf.Value) {
	c.message(rtmp.Message{Type: rtmp.TypeCommand, StreamID: id, Payload: amf.Append(nil, values...)})
}

func (c *plain) message(m rtmp.Message) {
	c.t.Helper()
	if _, err := c.nc.Write(rtmp.AppendMessage(nil, rtmp.DefaultChunkSize, m)); err != nil {
		c.t.Fatal(err)
	}
}

// next is the next message from the server.
func (c *plain) next() rtmp.Message {
	c.t.Helper()
	b := make([]byte, 64<<10)
	for len(c.in) == 0 {
		n, err := c.nc.Read(b)
		if err != nil {
			c.t.Fatal(err)
		}
		err = c.chunks.Feed(b[:n], func(m rtmp.Message) error { c.in = append(c.in, m); return nil })
		if err != nil {
			c.t.Fatal(err)
		}
	}
	m := c.in[0]
	c.in = c.in[1:]
	return m
}

// code is the code of a status, "" for other messages.
func code(m rtmp.Message) string {
	if m.Type != rtmp.TypeCommand {
		return ""
	}
	values, _ := amf.Decode(m.Payload)
	if len(values) < 4 || values[0] != "onStatus" {
		return ""
	}
	return amf.Members(values[3]).String("code")
}

// until reads up to a status and returns the audio and video messages before it.
func (c *plain) until(want string) (bodies []rtmp.Message) {
	c.t.Helper()
	for {
		m := c.next()
		got := code(m)
		switch {
		case got == want:
			return bodies
		case strings.Contains(got, "Failed") || strings.Contains(got, "NotFound"):
			c.t.Fatalf("got %s, want %s", got, want)
		case m.Type == rtmp.TypeAudio || m.Type == rtmp.TypeVideo:
			bodies = append(bodies, m)
		}
	}
}

// publish publishes frames of the clip in a mode and goes.
func (r *rig) publishAs(app, name string, mode rtmp.Mode, frames int) (sent []media.Frame) {
	r.t.Helper()
	c := r.connect(app)
	c.send(1, "publish", 0.0, nil, name, string(mode))
	c.until("NetStream.Publish.Start")
	tracks, all := clip(r.t)
	all = all[slices.IndexFunc(all, func(f media.Frame) bool { return f.Kind == media.Video }):]
	write := func(t media.Track, f media.Frame) {
		typ, body := flv.AppendFrame(nil, t, f)
		c.message(rtmp.Message{Type: typ, StreamID: 1, Timestamp: millis(f.DTS), Payload: body})
	}
	for _, t := range tracks {
		write(t, media.Frame{Track: t.ID, Kind: t.Kind, Config: true, Data: t.Config})
	}
	for _, f := range all[:frames] {
		write(tracks[slices.IndexFunc(tracks, func(t media.Track) bool { return t.ID == f.Track })], f)
	}
	r.received("/"+app+"/"+name, frames)
	c.send(0, "deleteStream", 0.0, nil, 1.0)
	c.nc.Close()
	r.event("the end of the recording", func(e *lifecycle.Event) bool {
		return e.Kind == record.KindStop && e.Path == "/"+app+"/"+name && (e.Conn != "") == (mode != rtmp.ModeLive)
	})
	return all[:frames]
}

// recording is a server that records what is published, without a grace period.
func recording(t testing.TB, o record.Options) *rig {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	return serve(t, Options{Record: o, Streams: stream.Options{Grace: -1}})
}

// files asks for the list of recorded files.
func (r *rig) files(query string) (list fileList) {
	r.t.Helper()
	if err := json.Unmarshal([]byte(body(r.t, r.get("/api/v1/recordings"+query))), &list); err != nil {
		r.t.Fatal(err)
	}
	return list
}

// The publisher's mode decides what is recorded, and what is recorded can be had as a file.
func TestRecordModes(t *testing.T) {
	r := recording(t, record.Options{})
	sent := r.publishAs("live", "a", rtmp.ModeRecord, 60)
	got := r.files("")
	if len(got.Files) != 1 || got.Files[0].Recording || got.Files[0].Bytes == 0 || !strings.HasPrefix(got.Files[0].URL, "/recordings/live/a/") {
		t.Fatalf("files: %+v", got)
	}
	resp := r.get(got.Files[0].URL)
	if typ := resp.Header.Get("Content-Type"); typ != "video/x-flv" || resp.ContentLength != got.Files[0].Bytes {
		t.Errorf("%s of %d bytes", typ, resp.ContentLength)
	}
	file(t, resp.Body).want(sent, 0)
	mark := len(r.Log().Recent(1000))
	c := r.connect("live")
	c.send(1, "publish", 0.0, nil, "b", "live")
	c.until("NetStream.Publish.Start")
	c.nc.Close()
	r.event("gone", func(e *lifecycle.Event) bool { return e.Kind == stream.KindUnpublish && e.Path == "/live/b" })
	for _, e := range r.Log().Recent(1000)[mark:] {
		if e.Protocol == "record" {
			t.Errorf("live is recorded: %+v", e)
		}
	}
}

func TestAppendOverRTMP(t *testing.T) {
	r := recording(t, record.Options{})
	first := r.publishAs("live", "a", rtmp.ModeAppend, 60)
	head := len(r.Log().Recent(10_000))
	second := r.publishAs("live", "a", rtmp.ModeAppend, 60)
	until(t, "the second is complete", func() bool {
		return slices.ContainsFunc(r.Log().Recent(10_000)[head:], func(e lifecycle.Event) bool { return e.Kind == record.KindStop })
	})
	list := r.files("?path=/live/a")
	if len(list.Files) != 1 {
		t.Fatalf("files: %+v", list)
	}
	in := file(t, r.get(list.Files[0].URL).Body)
	in.want(first, 0)
	f, err := in.frame()
	if err != nil || !f.Key || f.DTS <= first[59].DTS {
		t.Fatalf("the appended part begins with %v at %v, %v", f.Kind, f.DTS, err)
	}
	in.want(second[1:], f.DTS)
}

// What play asks for: live, recorded, or whichever there is.
func TestPlayWhat(t *testing.T) {
	r := recording(t, record.Options{Patterns: []string{"/live/a"}})
	sent := r.publishAs("live", "a", rtmp.ModeLive, 138)
	for _, tc := range []struct {
		name       string
		start, len float64
		from, to   int // frames of sent
	}{
		{"a", -2000, -1, 0, 138},
		{"a", -2, -1, 0, 138},
		{"a", 0, -1, 0, 138},
		{"a.flv", 0, -1, 0, 138},
		{"flv:a", 0, -1, 0, 138},
		{"a", 1500, -1, lastKey(sent), 138},
		{"a", 0, 400, 0, slices.IndexFunc(sent, func(f media.Frame) bool { return f.DTS > 400*time.Millisecond })},
	} {
		name := tc.name
		if strings.HasSuffix(name, ".flv") {
			name = "a/" + filepath.Base(r.files("").Files[0].Name)
		}
		t.Run(fmt.Sprint(name, tc.start, tc.len), func(t *testing.T) {
			c := r.connect("live")
			c.t = t
			c.message(rtmp.Message{Type: rtmp.TypeUserControl, Payload: []byte{0, 3, 0, 0, 0, 1, 0, 0, 0x27, 0x10}}) // a buffer of 10 s
			c.send(1, "play", 0.0, nil, name, tc.start, tc.len)
			c.until("NetStream.Play.Start")
			same(t, c.until("NetStream.Play.Stop"), sent[tc.from:tc.to])
		})
	}
	c := r.connect("live")
	c.send(1, "play", 0.0, nil, "none", 0.0)
	for {
		if got := code(c.next()); got == "NetStream.Play.StreamNotFound" {
			break
		} else if got == "NetStream.Play.Start" {
			t.Fatal("plays what was not recorded")
		}
	}
	f := r.feed("/live/a")
	wire := r.connect("live")
	wire.send(1, "play", 0.0, nil, "a", -2.0)
	wire.until("NetStream.Play.Start")
	f.write(20)
	for m := wire.next(); m.Type != rtmp.TypeVideo; m = wire.next() {
	}
	if info, _ := r.Streams().Find("/live/a"); info.Viewers != 1 {
		t.Error("a stream that is live is played from its file")
	}
}

// same compares what was played with the frames, sequence headers left out.
func same(t testing.TB, got []rtmp.Message, want []media.Frame) {
	t.Helper()
	sameWithin(t, got, want, 0)
}

// sameWithin is same for times that may be off by as much: MP4 counts sound in samples, which the whole milliseconds of RTMP only come near to.
func sameWithin(t testing.TB, got []rtmp.Message, want []media.Frame, off time.Duration) {
	t.Helper()
	var d flv.Demuxer
	i := 0
	for _, m := range got {
		f, _, ok, err := d.Feed(m.Type, m.Timestamp, m.Payload)
		if err != nil {
			t.Fatal(err)
		}
		if !ok || f.Config {
			continue
		}
		if i < len(want) && ((f.DTS-want[i].DTS).Abs() > off || (f.PTS-want[i].PTS).Abs() > off || string(f.Data) != string(want[i].Data)) {
			t.Fatalf("frame %d: got %v %v, want %v %v", i, f.Kind, f.DTS, want[i].Kind, want[i].DTS)
		}
		i++
	}
	if i != len(want) {
		t.Errorf("%d frames, want %d", i, len(want))
	}
}

// A recording is played in real time: what is behind the player's buffer comes later.
func TestPlayIsPaced(t *testing.T) {
	r := recording(t, record.Options{Patterns: []string{"/**"}})
	r.publishAs("live", "a", rtmp.ModeLive, 138)
	c := r.connect("live")
	began := time.Now()
	c.send(1, "play", 0.0, nil, "a", 0.0)
	c.until("NetStream.Play.Start")
	got := c.until("NetStream.Play.Stop")
	last := time.Duration(got[len(got)-1].Timestamp) * time.Millisecond
	if took := time.Since(began); took < last-defaultLead-100*time.Millisecond {
		t.Errorf("%v of media came in %v", last, took)
	}
}

func TestFilesOverHTTP(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secret.txt"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	inside := filepath.Join(dir, "in")
	for name, text := range map[string]string{"a b.flv": "0123456789", "c/d.mp4": "mp4", "other.txt": "no"} {
		os.MkdirAll(filepath.Dir(filepath.Join(inside, name)), 0o755)
		if err := os.WriteFile(filepath.Join(inside, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	os.Symlink("../secret.txt", filepath.Join(inside, "link.flv"))
	os.Symlink("..", filepath.Join(inside, "up"))
	os.Rename(filepath.Join(dir, "secret.txt"), filepath.Join(dir, "secret.flv"))
	r := serve(t, Options{Record: record.Options{Dir: inside}, Origins: []string{"https://good.example"}})
	var names []string
	for _, f := range r.files("").Files {
		names = append(names, f.Name)
	}
	if want := []string{"a b.flv", "c/d.mp4"}; !slices.Equal(names, want) {
		t.Errorf("files: got %q, want %q", names, want)
	}
	if page := r.files("?limit=1"); len(page.Files) != 1 || !page.More || page.Files[0].URL != "/recordings/a%20b.flv" {
		t.Errorf("a page: %+v", page)
	}
	if page := r.files("?after=" + url.QueryEscape("a b.flv")); len(page.Files) != 1 || page.More || page.Files[0].Name != "c/d.mp4" {
		t.Errorf("the next page: %+v", page)
	}
	for _, tc := range []struct {
		method, target, origin, ranged string
		status                         int
		typ, body                      string
	}{
		{"GET", "/recordings/a%20b.flv", "", "", 200, "video/x-flv", "0123456789"},
		{"HEAD", "/recordings/a%20b.flv", "", "", 200, "video/x-flv", ""},
		{"GET", "/recordings/a%20b.flv", "", "bytes=2-4", 206, "video/x-flv", "234"},
		{"GET", "/recordings/a%20b.flv", "", "bytes=-3", 206, "video/x-flv", "789"},
		{"GET", "/recordings/a%20b.flv", "", "bytes=100-", 416, "", ""},
		{"GET", "/recordings/c/d.mp4", "https://good.example", "", 200, "video/mp4", "mp4"},
		{"GET", "/recordings/c/d.mp4", "https://evil.example", "", 403, "", ""},
		{"GET", "/api/v1/recordings", "https://evil.example", "", 403, "", ""},
		{"GET", "/recordings/other.txt", "", "", 404, "", ""},
		{"GET", "/recordings/link.flv", "", "", 404, "", ""},
		{"GET", "/recordings/up/secret.flv", "", "", 404, "", ""},
		{"GET", "/recordings/..%2fsecret.flv", "", "", 404, "", ""},
		{"GET", "/recordings/a%00.flv", "", "", 404, "", ""},
		{"GET", "/recordings/c", "", "", 404, "", ""},
		{"GET", "/recordings/", "", "", 404, "", ""},
		{"GET", "/api/v1/recordings?limit=0", "", "", 400, "", ""},
		{"POST", "/recordings/a%20b.flv", "", "", 405, "", ""},
	} {
		req, err := http.NewRequestWithContext(soon(t), tc.method, "http://"+r.http+tc.target, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{"Origin": tc.origin, "Range": tc.ranged} {
			if value != "" {
				req.Header.Set(name, value)
			}
		}
		resp, err := new(http.Transport).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != tc.status || tc.typ != "" && (resp.Header.Get("Content-Type") != tc.typ || string(b) != tc.body) {
			t.Errorf("%s %s: got %d %s %q", tc.method, tc.target, resp.StatusCode, resp.Header.Get("Content-Type"), b)
		}
		if got := resp.Header.Get("Access-Control-Allow-Origin"); tc.status < 300 && got != tc.origin {
			t.Errorf("%s: allowed origin %q", tc.target, got)
		}
	}
}

// A file that is being written can be had, up to where it is.
func TestFileThatIsWritten(t *testing.T) {
	r := recording(t, record.Options{Patterns: []string{"/**"}, Formats: []record.Format{record.FLV, record.FMP4}})
	f := r.feed("/live/a")
	sent := f.write(100)
	sent = sent[slices.IndexFunc(sent, func(f media.Frame) bool { return f.Kind == media.Video }):]
	most := 11 * len(sent) // the headers of the tags
	for _, f := range sent {
		most += len(f.Data)
	}
	until(t, "all is written", func() bool {
		list := r.files("").Files
		return len(list) == 2 && list[0].Recording && list[1].Recording && min(list[0].Bytes, list[1].Bytes) > int64(most)
	})
	list := r.files("").Files
	i := slices.IndexFunc(list, func(f listedFile) bool { return strings.HasSuffix(f.Name, ".flv") })
	file(t, r.get(list[i].URL).Body).want(sent, 0)
}

// Of a file that is being written nobody gets more than is whole: the bytes behind that may still change.
func TestOnlyWhatIsWhole(t *testing.T) {
	r := recording(t, record.Options{Patterns: []string{"/**"}, Formats: []record.Format{record.FMP4}})
	r.feed("/live/a").write(100)
	until(t, "something is written", func() bool { list := r.files("").Files; return len(list) == 1 && list[0].Bytes > 9000 })
	f := r.files("").Files[0]
	out, err := os.OpenFile(filepath.Join(r.opts.Record.Dir, f.Name), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	out.Write(make([]byte, 100))
	if got := body(t, r.get(f.URL)); len(got) != int(f.Bytes) {
		t.Errorf("got %d bytes, want %d", len(got), f.Bytes)
	}
}

// Options that make no sense are told by Serve.
func TestBrokenRecordOptions(t *testing.T) {
	s := New(Options{Record: record.Options{Dir: t.TempDir(), Patterns: []string{"live"}}})
	if err := s.Serve(t.Context(), nil, nil); err == nil || !strings.Contains(err.Error(), `pattern "live"`) {
		t.Errorf("got %v", err)
	}
}

// A large file goes out whole although it takes many deadlines, and a client that takes nothing does not keep its connection.
func TestLargeFile(t *testing.T) {
	dir := t.TempDir()
	data := make([]byte, 20<<20)
	for i := range data {
		data[i] = byte(i >> 12)
	}
	if err := os.WriteFile(filepath.Join(dir, "a.mp4"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	r := serve(t, Options{Record: record.Options{Dir: dir}})
	if got := body(t, r.get("/recordings/a.mp4")); got != string(data) {
		t.Errorf("got %d bytes", len(got))
	}
	r = serve(t, Options{Record: record.Options{Dir: dir}, WriteTimeout: 300 * time.Millisecond})
	nc, err := net.Dial("tcp", r.http)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	fmt.Fprintf(nc, "GET /recordings/a.mp4 HTTP/1.1\r\nHost: a\r\n\r\n")
	until(t, "the request is over", func() bool { return !strings.Contains(stacks(), "serveFile") })
}
