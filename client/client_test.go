package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"hawser/lifecycle"
	"hawser/session"
)

// patience bounds what a test waits for; nothing waits that long when all is well.
const patience = time.Minute

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// connected makes a client of the server that is logged in and comes back at once after a break.
func connected(t *testing.T, s *testServer, o Options) *Client {
	t.Helper()
	o.Servers = []string{s.url}
	o.BackOff.Random = func() float64 { return 0 }
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Connect(testContext(t)); err != nil {
		t.Fatal(err)
	}
	return c
}

// newLog makes a log with the default limits.
func newLog[L any](make func(L) *lifecycle.Log) *lifecycle.Log {
	var limits L
	return make(limits)
}

func TestSessionCourse(t *testing.T) {
	s := newTestServer(t)
	log := newLog(lifecycle.NewLog)
	c := connected(t, s, Options{Token: "secret", Log: log})
	if hello := asked[session.Hello](s); len(hello) != 1 || hello[0].Token != "secret" || hello[0].Client != "hawser-go/0.1" {
		t.Errorf("%+v", hello)
	}
	if n := len(log.Conns()); n != 1 {
		t.Errorf("%d connections in the log", n)
	}
	s.cut()
	logins := 0
	for sc := range c.States(testContext(t)) {
		if sc.To == session.LoggedIn {
			logins++
		}
		if logins == 2 {
			break
		}
	}
	c.Close()
	want := "connecting, connected, logged_in, lost lost, connecting, connected, reconnected, logged_in, disconnected done"
	if got := course(c); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var kinds []string
	for _, ev := range log.Recent(100) {
		kinds = append(kinds, ev.Kind+" "+ev.State)
	}
	for _, want := range []string{"open ", "attempt connecting", "state logged_in", "back_off lost", "close closed"} {
		if !slices.Contains(kinds, want) {
			t.Errorf("no %q in the log: %q", want, kinds)
		}
	}
	if len(log.Conns()) != 0 {
		t.Error("the connection is still in the log")
	}
	if err := c.Connect(testContext(t)); err != nil {
		t.Errorf("again: %v", err)
	}
}

func TestUpdatesSurviveBreaksWithoutLossOrDoubles(t *testing.T) {
	const n, every = 3000, 300
	s := newTestServer(t)
	c := connected(t, s, Options{})
	sub, err := c.Subscribe(testContext(t), "/log", nil)
	if err != nil {
		t.Fatal(err)
	}
	<-s.follows
	go func() {
		for i := range n {
			s.publish("/log", fmt.Sprint(i))
			switch i % every {
			case every / 2:
				s.cut()
			case every - 1: // half of the updates came while the client was away, or about to notice
				<-s.follows
			}
		}
	}()
	want := 0
	for u := range sub.Updates(testContext(t)) {
		switch u.Kind {
		case session.EventUpdate:
			if string(u.Data) != fmt.Sprint(want) || u.Offset != uint64(want) {
				t.Fatalf("got %s at %d, want %d", u.Data, u.Offset, want)
			}
			want++
		case session.EventGap:
			t.Fatalf("gap %d-%d", u.Offset, u.To)
		}
		if want == n {
			break
		}
	}
	if want != n {
		t.Fatalf("%d of %d came", want, n)
	}
	got := asked[session.Subscribe](s)
	if len(got) < n/every {
		t.Errorf("only %d subscribes", len(got))
	}
	for i, r := range got[1:] {
		if r.From != session.FromOffset || r.Offset < got[i].Offset {
			t.Errorf("%+v after %+v", r, got[i])
		}
	}
}

func TestLossIsTold(t *testing.T) {
	s := newTestServer(t)
	s.keep = 2
	c := connected(t, s, Options{})
	s.publish("/log", "0")
	sub, err := c.Subscribe(testContext(t), "/log", nil)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock() // nobody subscribes again before all is published
	for ts := range s.sessions {
		ts.subs = map[string]bool{}
	}
	for range 5 {
		s.publishLocked(session.Publish{Path: "/log", Kind: session.KindLog, Data: []byte("1")})
	}
	s.mu.Unlock()
	s.cut()
	var got []string
	for u := range sub.Updates(testContext(t)) {
		got = append(got, fmt.Sprintf("%s %d %d", u.Kind, u.Offset, u.To))
		if u.Offset == 5 {
			s.restart()
			s.publish("/log", "9")
		}
		if u.Kind == session.EventUpdate && string(u.Data) == "9" {
			break
		}
	}
	want := "snapshot 1 0, gap 1 4, snapshot 4 0, update 4 0, update 5 0, gap 6 0, "
	if all := strings.Join(got, ", "); !strings.HasPrefix(all, want) || !strings.HasSuffix(all, "update 0 0") {
		t.Errorf("got  %s\nwant %s…", all, want)
	}
}

func TestPublish(t *testing.T) {
	s := newTestServer(t)
	s.refuse["/no"] = lifecycle.ReasonRefused.With("nobody publishes here")
	c := connected(t, s, Options{MaxMessage: 1000})
	ctx := testContext(t)
	sub, err := c.Subscribe(ctx, "/fx", &SubscribeOptions{NoWait: true})
	if err != nil {
		t.Fatal(err)
	}
	at, err := c.Publish(ctx, "/fx", map[string]any{"bid": 1.5, "ask": nil}, &PublishOptions{Record: true, Time: time.Second, HasTime: true})
	if err != nil || at.Offset != 0 || at.Epoch == 0 {
		t.Errorf("%+v, %v", at, err)
	}
	if at, err = c.Publish(ctx, "/fx", []session.Field{{Name: "bid", Value: []byte("2")}}, nil); err != nil || at.Offset != 1 {
		t.Errorf("%+v, %v", at, err)
	}
	for u := range sub.Updates(ctx) {
		if u.Kind == session.EventUpdate && u.Offset == 0 && (string(u.Fields) != `{"ask":null,"bid":1.5}` || u.Time != time.Second) {
			t.Errorf("%s at %s", u.Fields, u.Time)
		}
		if u.Offset == 1 {
			break
		}
	}
	for want, publish := range map[string]func() (Ack, error){
		`client: publish "/no": refused: nobody publishes here`:                      func() (Ack, error) { return c.Publish(ctx, "/no", 1, nil) },
		`client: publish "bad": bad_request: path: want "/" first`:                   func() (Ack, error) { return c.Publish(ctx, "bad", 1, nil) },
		`client: publish "/a": bad_request: not JSON: offset 0: got 'x', want value`: func() (Ack, error) { return c.Publish(ctx, "/a", []byte("x"), nil) },
		`client: publish "/a": bad_request: json: unsupported type: chan int`:        func() (Ack, error) { return c.Publish(ctx, "/a", make(chan int), nil) },
		`client: publish "/a": too_big: got 2132 bytes, want at most 1000`:           func() (Ack, error) { return c.Publish(ctx, "/a", strings.Repeat("x", 2000), nil) },
		`client: publish "/a": bad_request: fields: want a JSON object`:              func() (Ack, error) { return c.Publish(ctx, "/a", 1, &PublishOptions{Record: true}) },
	} {
		if _, err := publish(); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

func TestPublishesOfALostConnection(t *testing.T) {
	s := newTestServer(t)
	s.mute = true
	c := connected(t, s, Options{})
	ctx := testContext(t)
	r, err := c.Send(ctx, "/log", json.RawMessage(`"first"`), nil)
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	if _, err := r.Wait(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	for len(asked[session.Publish](s)) == 0 && ctx.Err() == nil {
		runtime.Gosched()
	}
	s.mu.Lock()
	s.mute = false
	s.mu.Unlock()
	s.cut()
	// the next one waits for the login, and goes out behind the first
	if _, err := c.Publish(ctx, "/log", "second", nil); err != nil {
		t.Error(err)
	}
	if _, err := r.Wait(ctx); err != nil {
		t.Error(err)
	}
	var ids []uint64
	for _, p := range asked[session.Publish](s) {
		ids = append(ids, p.ID)
	}
	if !slices.Equal(ids, []uint64{1, 1, 2}) {
		t.Errorf("publishes %d, want the first again under its id", ids)
	}
	s.mu.Lock()
	s.mute = true
	s.mu.Unlock()
	if r, err = c.Send(ctx, "/log", "unanswered", nil); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := r.Wait(ctx); !errors.Is(err, lifecycle.ReasonLost) {
		t.Error(err)
	}
	if _, err := c.Send(ctx, "/log", "third", nil); !errors.Is(err, lifecycle.ReasonLost) {
		t.Error(err)
	}
}

func TestTenThousandPublishesInOrder(t *testing.T) {
	const n = 10000
	s := newTestServer(t)
	c := connected(t, s, Options{})
	ctx := testContext(t)
	sub, err := c.Subscribe(ctx, "/log", nil)
	if err != nil {
		t.Fatal(err)
	}
	var receipts []*Receipt
	for i := range n {
		r, err := c.Send(ctx, "/log", i, nil)
		if err != nil {
			t.Fatal(err)
		}
		receipts = append(receipts, r)
	}
	for i, r := range receipts {
		if at, err := r.Wait(ctx); err != nil || at.Offset != uint64(i) {
			t.Fatalf("%d: %+v, %v", i, at, err)
		}
	}
	want := 0
	for u := range sub.Updates(ctx) {
		if u.Kind == session.EventUpdate {
			if string(u.Data) != fmt.Sprint(want) {
				t.Fatalf("got %s, want %d", u.Data, want)
			}
			if want++; want == n {
				break
			}
		}
	}
}

func TestSubscribeRefused(t *testing.T) {
	s := newTestServer(t)
	s.refuse["/no"] = lifecycle.ReasonUnauthorized
	c := connected(t, s, Options{})
	ctx := testContext(t)
	_, err := c.Subscribe(ctx, "/no", nil)
	if !errors.Is(err, lifecycle.ReasonUnauthorized) || err.Error() != `client: subscribe "/no": unauthorized: the credentials were not accepted` {
		t.Error(err)
	}
	sub, err := c.Subscribe(ctx, "/no", &SubscribeOptions{NoWait: true})
	if err != nil {
		t.Fatal(err)
	}
	var got []session.Status
	for u := range sub.Updates(ctx) {
		got = append(got, u.Status)
	}
	if !slices.Equal(got, []session.Status{session.StatusRefused}) || !errors.Is(sub.Err(), lifecycle.ReasonUnauthorized) {
		t.Errorf("%v, %v", got, sub.Err())
	}
	sub, err = c.Subscribe(ctx, "/yes", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = c.Subscribe(ctx, "/yes", nil); err == nil || err.Error() != `client: subscribe "/yes": bad_request: already subscribed` {
		t.Error(err)
	}
	if sub.Close(); sub.Err() != nil {
		t.Error(sub.Err())
	}
	if _, err = c.Subscribe(ctx, "/yes", nil); err != nil {
		t.Errorf("after Close: %v", err)
	}
}

func TestPlay(t *testing.T) {
	s := newTestServer(t)
	about := session.Message{Type: session.TypeMedia, Path: "/live", Epoch: 7, Offset: 40, Status: session.StatusLive}
	about.Media = session.Media{MIME: `video/mp4; codecs="avc1.42c01e"`, Tracks: []session.Track{{ID: 1, Kind: "video", Codec: "avc1.42c01e"}}}
	s.onPlay = func(ts *testSession, r session.Play) {
		if r.Path == "/gone" {
			ts.m.Stopped(r.Path)
			ts.say(session.Message{Type: session.TypeMedia, Path: r.Path, Status: session.StatusGone, Reason: lifecycle.ReasonRefused})
			return
		}
		about := about
		if r.From == session.FromOffset {
			about.Offset = r.Offset
		}
		ts.say(about)
		h := session.MediaHeader{Flags: session.FlagInit, Path: r.Path, Epoch: 7, Offset: about.Offset}
		ts.send(true, append(session.AppendMediaHeader(nil, h), "init"...))
		for range 3 {
			h.Flags, h.Kind, h.DTS = session.FlagKeyframe, session.MediaVideo, time.Duration(h.Offset)*time.Millisecond
			ts.send(true, append(session.AppendMediaHeader(nil, h), "frame"...))
			h.Offset++
		}
	}
	c := connected(t, s, Options{})
	ctx := testContext(t)
	if _, err := c.Play(ctx, "/gone", nil); !errors.Is(err, lifecycle.ReasonRefused) {
		t.Error(err)
	}
	p, err := c.Play(ctx, "/live", &PlayOptions{Resume: true})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for m := range p.Media(ctx) {
		got = append(got, fmt.Sprintf("%s %d %s", m.Kind, m.Offset, m.Data))
		if m.Kind == session.EventMedia && m.Media.MIME != about.MIME {
			t.Errorf("%+v", m.Media)
		}
		if m.Offset == 42 && m.Time == 42*time.Millisecond {
			s.cut()
		}
		if m.Offset == 45 {
			break
		}
	}
	want := "media 40 , fragment 40 init, fragment 40 frame, fragment 41 frame, fragment 42 frame, " +
		"media 43 , fragment 43 init, fragment 43 frame, fragment 44 frame, fragment 45 frame"
	if all := strings.Join(got, ", "); all != want {
		t.Errorf("got  %s\nwant %s", all, want)
	}
	p.Close()
	for range p.Media(ctx) {
		t.Error("media after Close")
	}
}

func TestEjectedAndClosedByTheServer(t *testing.T) {
	s := newTestServer(t)
	c := connected(t, s, Options{})
	sub, err := c.Subscribe(testContext(t), "/log", nil)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	for ts := range s.sessions {
		ts.say(session.Message{Type: session.TypeEjected, Reason: lifecycle.ReasonEjected.With("by an operator")})
	}
	s.mu.Unlock()
	for range sub.Updates(testContext(t)) {
	}
	if err := sub.Err(); !errors.Is(err, lifecycle.ReasonEjected) || err.Error() != "ejected: by an operator" {
		t.Error(err)
	}
	for sc := range c.States(testContext(t)) {
		if sc.To == session.Disconnected {
			break
		}
	}
	if got := course(c); !strings.HasSuffix(got, "logged_in, ejected ejected, disconnected ejected") {
		t.Error(got)
	}
}

func TestHeartbeatOnARealConnection(t *testing.T) {
	s := newTestServer(t)
	s.beat = 50 * time.Millisecond
	c := connected(t, s, Options{})
	ctx := testContext(t)
	k := c.Clock()
	for ; k.Exchanges < 3 && ctx.Err() == nil; k = c.Clock() {
		_, _ = c.Publish(ctx, "/tick", 1, nil)
	}
	if k.Best <= 0 || k.Best > k.RoundTrip && k.Exchanges == 1 || k.Offset.Abs() > time.Second {
		t.Errorf("%+v", k)
	}
}

func TestNoServer(t *testing.T) {
	c, err := New(Options{Servers: []string{"ws://127.0.0.1:1/session"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(testContext(t))
	go func() {
		for sc := range c.States(ctx) {
			if sc.To == session.Failed {
				cancel()
			}
		}
	}()
	if err := c.Connect(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	c.Close()
	if got := course(c); !strings.HasPrefix(got, "connecting, failed lost") || !strings.HasSuffix(got, "disconnected done") {
		t.Error(got)
	}
}
