package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hawser/client"
	"hawser/flv"
	"hawser/lifecycle"
	"hawser/subject"
)

func TestLineJSON(t *testing.T) {
	for line, want := range map[string]string{
		`{"a": 1}`: `{"a": 1}`, ` 12 `: `12`, `null`: `null`, `"quoted"`: `"quoted"`,
		`plain text`: `"plain text"`, ``: `""`, `{"a":`: `"{\"a\":"`, "Größe\t1": `"Größe\t1"`, `01`: `"01"`,
	} {
		got, err := lineJSON([]byte(line))
		if err != nil || string(got) != want {
			t.Errorf("%q: got %s, %v, want %s", line, got, err, want)
		}
	}
	got, err := lineJSON([]byte("\"\xff\""))
	if want := "\"\\\"\ufffd\\\"\""; err != nil || string(got) != want {
		t.Errorf("not UTF-8: got %s, %v, want %s", got, err, want)
	}
}

func TestRecordFields(t *testing.T) {
	got, err := recordFields([]string{"bid=1.5", "name=a=b", "gone=null", "list=[1,2]", "empty=", `we"ird=1`})
	const want = `{"bid":1.5,"name":"a=b","gone":null,"list":[1,2],"empty":"","we\"ird":1}`
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	for _, bad := range []string{"bid", "=1", ""} {
		if _, err := recordFields([]string{bad}); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestRTMPTarget(t *testing.T) {
	for server, want := range map[string]string{
		"rtmp://localhost": "rtmp://localhost/live/a", "localhost:1936": "rtmp://localhost:1936/live/a", "rtmps://h/": "rtmps://h/live/a",
		"http://h": "", "rtmp://h/app": "", "rtmp://": "",
	} {
		if got, err := rtmpTarget(server, "/live/a"); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %q, %v, want %q", server, got, err, want)
		}
	}
}

// fakeServer acknowledges what is sent, but one.
type fakeServer struct {
	refuse int // the message that is refused, from 1
	sent   int
}

type fakeReceipt struct {
	s *fakeServer
	n int
}

func (s *fakeServer) send(context.Context, []byte) (receipt, error) {
	s.sent++
	return fakeReceipt{s, s.sent}, nil
}

func (r fakeReceipt) Wait(context.Context) (client.Ack, error) {
	if r.n == r.s.refuse {
		return client.Ack{}, lifecycle.ReasonTooBig
	}
	return client.Ack{Epoch: 7, Offset: uint64(r.n)}, nil
}

func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintln(&b, i)
	}
	return b.String()
}

func TestPumpStopsAtARefusal(t *testing.T) {
	s := &fakeServer{refuse: 10}
	p := dataPump{window: 4, encode: lineJSON, send: s.send}
	err := p.run(t.Context(), strings.NewReader(numbered(1000)))
	if !errors.Is(err, lifecycle.ReasonTooBig) || !strings.Contains(err.Error(), "message 10") {
		t.Errorf("got %v, want too_big for message 10", err)
	}
	if p.acked != p.sent-1 || p.sent > 10+2*4 || p.first.Offset != 1 {
		t.Errorf("%v: want all that was sent acknowledged but one, and little sent after it", &p)
	}
}

// stuckReceipt is never answered.
type stuckReceipt struct{}

func (stuckReceipt) Wait(ctx context.Context) (client.Ack, error) {
	<-ctx.Done()
	return client.Ack{}, context.Cause(ctx)
}

func TestPumpKeepsItsWindow(t *testing.T) {
	for _, window := range []int{1, 3} {
		ctx, cancel := context.WithCancel(t.Context())
		sent := make(chan struct{}, 100)
		p := dataPump{window: window, encode: lineJSON, send: func(context.Context, []byte) (receipt, error) {
			sent <- struct{}{}
			return stuckReceipt{}, nil
		}}
		ended := make(chan error, 1)
		go func() { ended <- p.run(ctx, strings.NewReader(numbered(100))) }()
		for range window {
			<-sent
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want canceled", err)
		}
		if p.sent != window || p.acked != 0 {
			t.Errorf("window %d: %v", window, &p)
		}
	}
}

func TestPumpBadLines(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"{\"a\":1}\n[]\n", "line 2"},
		{strings.Repeat("x", maxData+10), "longer than"},
		{`{"a":"` + strings.Repeat("x", maxData-20) + `"}`, ""},
	} {
		s := &fakeServer{}
		p := dataPump{window: 4, encode: lineObject, send: s.send}
		err := p.run(t.Context(), strings.NewReader(c.in))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.20q: got %v, want an error about %q", c.in, err, c.want)
		}
	}
}

func TestPublishLines(t *testing.T) {
	s := startServer(t)
	out, err := execute(t.Context(), strings.NewReader("{\"text\":\"a\"}\nplain\n"+numbered(998)), "publish", "--server", s.http, "/chat")
	if err != nil || !strings.HasPrefix(out, "1000 of 1000 messages acknowledged, offsets 0 to 999 of epoch ") {
		t.Fatalf("%v; output: %s", err, out)
	}
	r := s.Subjects().Find("/chat").Ring()
	for offset, want := range []string{`{"text":"a"}`, `"plain"`, `0`} {
		if item, ok := r.At(uint64(offset)); !ok || string(item.Value.Data) != want {
			t.Errorf("offset %d: %s, want %s", offset, item.Value.Data, want)
		}
	}
	if last, _ := r.At(999); string(last.Value.Data) != "997" {
		t.Errorf("the last is %s", last.Value.Data)
	}
}

func TestPublishRecord(t *testing.T) {
	s := startServer(t)
	for _, c := range []struct {
		in   string
		args []string
	}{
		{"", []string{"bid=1.5", "ask=2", "name=x"}},
		{"{\"bid\":1.6}\n{\"name\":null}\n", nil},
	} {
		if out, err := execute(t.Context(), strings.NewReader(c.in), append([]string{"publish", "--server", s.http, "--record", "/fx"}, c.args...)...); err != nil {
			t.Fatalf("%v; output: %s", err, out)
		}
	}
	fields, offset := s.Subjects().Find("/fx").Image()
	if want := []subject.Field{{Name: "bid", Value: []byte("1.6")}, {Name: "ask", Value: []byte("2")}}; fmt.Sprintf("%s", fields) != fmt.Sprintf("%s", want) || offset != 3 {
		t.Errorf("image %s at %d, want %s at 3", fields, offset, want)
	}
}

func TestPublishRefused(t *testing.T) {
	s := startServer(t)
	if _, err := execute(t.Context(), strings.NewReader(""), "publish", "--server", s.http, "--record", "/fx", "a=1"); err != nil {
		t.Fatal(err)
	}
	out, err := execute(t.Context(), strings.NewReader("1\n2\n"), "publish", "--server", s.http, "/fx")
	if !errors.Is(err, lifecycle.ReasonBadRequest) || !strings.HasPrefix(out, "0 of ") {
		t.Errorf("%v; output: %s", err, out)
	}
	for _, args := range [][]string{
		{"fx"}, {"/a/../b"}, {"--loop", "/a"}, {"/a", "missing.flv"}, {"/a", "b", "c"}, {"--record", "/a", "b"}, {"--server", "ftp://x", "/a"}, {"--server", "http://127.0.0.1:1", "/a"},
	} {
		if out, err := execute(t.Context(), strings.NewReader(""), append([]string{"publish"}, args...)...); err == nil {
			t.Errorf("%q was accepted: %s", args, out)
		}
	}
}

// beginning is a file's tags before a time in milliseconds.
func beginning(t *testing.T, file []byte, before uint32) []byte {
	t.Helper()
	r := flv.NewReader(bytes.NewReader(file))
	var tags []flv.Tag
	for {
		tag, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if tag.Timestamp >= before {
			return smallFile(tags...)
		}
		tags = append(tags, tag)
	}
}

// The beginning of the sample is pushed once: the stream is published, gets both tracks, and is unpublished when the file ends. What happens is printed.
func TestPublishFile(t *testing.T) {
	sample, err := os.ReadFile("sample/sample.flv")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "clip.flv")
	if err := os.WriteFile(file, beginning(t, sample, 300), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startServer(t)
	out, err := execute(t.Context(), nil, "publish", "--json", "--rtmp", "rtmp://"+s.rtmp+"?key=s3cret", "/live/clip", file)
	if err != nil || strings.Contains(out, "s3cret") {
		t.Fatalf("%v; output: %s", err, out)
	}
	var kinds []string
	var last watchRecord
	for line := range strings.Lines(out) {
		last = watchRecord{}
		if err := json.Unmarshal([]byte(line), &last); err != nil {
			t.Fatalf("%v; line %s", err, line)
		}
		if kind := last.Kind + " " + last.Light.String(); last.Kind != kindMedia || !slices.Contains(kinds, kind) { // on a busy machine the file takes more than a second
			kinds = append(kinds, kind)
		}
		if last.Kind == kindMedia && (last.Media.Messages == 0 || last.Media.Kbps == 0) {
			t.Errorf("media %+v", last.Media)
		}
	}
	want := "connecting amber, connected amber, handshake amber, connect_result amber, status green, media green, closed red"
	if got := strings.Join(kinds, ", "); got != want || last.Reason.Code != lifecycle.ReasonDone.Code {
		t.Errorf("events %s, closed with %v, want %s", got, last.Reason, want)
	}
	var seen []string
	for e := range s.Log().Events(t.Context(), 0) {
		if e.Path == "/live/clip" {
			seen = append(seen, e.Protocol+" "+e.Kind)
		}
		if e.Protocol == "rtmp" && e.Kind == lifecycle.KindClose {
			break
		}
	}
	if all := strings.Join(seen, ", "); !strings.Contains(all, "rtmp publish") {
		t.Errorf("events %s", all)
	}
}

// A publisher that is refused, and one that finds no server, end with the reason and say it.
func TestPublishFileFails(t *testing.T) {
	s := startServer(t)
	pub, err := s.Streams().Publish("/live/taken", "test")
	if err != nil {
		t.Fatal(err)
	}
	defer pub.Close(lifecycle.ReasonDone)
	for server, want := range map[string]string{s.rtmp: "taken", "127.0.0.1:1": "connection refused"} {
		out, err := execute(t.Context(), nil, "publish", "--rtmp", server, "/live/taken", "sample/sample.flv")
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(out, "red   closed") || strings.Contains(out, "media") {
			t.Errorf("%s: %v, want %s; output: %s", server, err, want, out)
		}
	}
}
