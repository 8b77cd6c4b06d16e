package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"hawser/lifecycle"
	"hawser/media"
	"hawser/ring"
	"hawser/rtmp"
	"hawser/session"
	"hawser/stream"
	"hawser/websocket"
)

// goesOn reads frames that must be these, the first at some time after the given one and the others as long after it as they were.
func (r *reader) goesOn(frames []media.Frame, after time.Duration) (newest time.Duration) {
	r.t.Helper()
	f, err := r.frame()
	if err != nil {
		r.t.Fatal(err)
	}
	if !f.Key || f.Kind != media.Video || f.DTS <= after || f.DTS > after+time.Second || string(f.Data) != string(frames[0].Data) {
		r.t.Fatalf("got %v at %v of %d bytes, want the keyframe of %d bytes soon after %v", f.Kind, f.DTS, len(f.Data), len(frames[0].Data), after)
	}
	shift := f.DTS - frames[0].DTS
	r.want(frames[1:], shift)
	for _, f := range frames {
		newest = max(newest, f.DTS+shift)
	}
	return newest
}

// fromKey is the frames from the first picture on without the sound from before it.
func fromKey(frames []media.Frame) (list []media.Frame) {
	for _, f := range frames {
		if len(list) == 0 && (f.Kind != media.Video || !f.Key) || len(list) > 0 && f.Kind == media.Audio && f.DTS < list[0].DTS {
			continue
		}
		list = append(list, f)
	}
	return list
}

func newestOf(frames []media.Frame) (newest time.Duration) {
	for _, f := range frames {
		newest = max(newest, f.DTS)
	}
	return newest
}

// onAir waits until a stream is in a state.
func (r *rig) onAir(path string, status stream.Status) {
	r.t.Helper()
	until(r.t, "it is "+status.String(), func() bool { info, _ := r.Streams().Find(path); return info.Status == status })
}

// Two publishers, one after the other, each way that there is; the viewers of all protocols see one stream whose time goes on.
func TestNextPublisher(t *testing.T) {
	for _, tc := range []struct {
		name   string
		second stream.Second
		play   func(r *rig, first, second *publisher) (sent []media.Frame)
	}{
		{"after a gap", stream.SecondRefused, func(r *rig, first, _ *publisher) []media.Frame {
			first.Close()
			r.onAir("/live/a", stream.Paused)
			p := r.publisher("/live/a")
			return p.write(p.frames[:60]...)
		}},
		{"takeover", stream.SecondTakesOver, func(r *rig, _, second *publisher) []media.Frame {
			return second.write(second.frames[:60]...)
		}},
		{"standby", stream.SecondStandsBy, func(r *rig, first, second *publisher) []media.Frame {
			sent := second.write(second.frames[:30]...)
			r.taken(second)
			first.Close()
			r.event("takeover", func(e *lifecycle.Event) bool { return e.Kind == stream.KindTakeover })
			return append(sent, second.write(second.frames[30:60]...)...)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := serve(t, Options{Streams: stream.Options{Second: tc.second}})
			first := r.publisher("/live/a")
			sent := first.write(first.frames[:40]...)
			r.received("/live/a", 40)
			viewers := []*reader{playing(t, r.player("/live/a")), file(t, r.get("/live/a.flv").Body)}
			w := r.login()
			w.say(`{"t":"play","path":"/live/a"}`)
			m := w.wantMedia(session.StatusLive, 2)
			w.wantInit(m.Offset)
			w.wantFrames(m.Offset, sent[lastKey(sent):])
			for _, v := range viewers {
				v.want(sent[lastKey(sent):], 0)
			}
			var second *publisher
			if tc.second != stream.SecondRefused {
				second = r.publisher("/live/a")
			}
			next := fromKey(tc.play(r, first, second))
			for _, v := range viewers {
				v.goesOn(next, newestOf(sent))
				if v.config != 2 {
					t.Errorf("parameters that are the same came %d times", v.config)
				}
			}
			for seen := 0; seen < len(next); {
				m := w.next()
				if m.head == nil || m.head.Flags&session.FlagInit != 0 {
					continue
				}
				if want := next[seen]; m.head.DTS <= newestOf(sent) || !bytes.HasSuffix(m.payload, want.Data) {
					t.Fatalf("the session: got frame %d at %v of %d bytes, want %d bytes after %v", seen, m.head.DTS, len(m.payload), len(want.Data), newestOf(sent))
				}
				seen++
			}
			e := r.event("gap", func(e *lifecycle.Event) bool { return e.Kind == stream.KindGap })
			if e.Delay <= 0 || e.Delay > patience || e.Path != "/live/a" {
				t.Errorf("the gap: got %+v", e)
			}
			if tc.second == stream.SecondTakesOver {
				why := r.event("end", func(e *lifecycle.Event) bool { return e.Protocol == "rtmp" && e.Kind == lifecycle.KindClose }).Reason
				if why.Code != lifecycle.ReasonReplaced.Code {
					t.Errorf("the first publisher was closed with %v", why)
				}
			}
		})
	}
}

// taken waits until the server has taken all that a publisher wrote: it answers what came after it.
func (r *rig) taken(p *publisher) {
	r.t.Helper()
	var refused *rtmp.Refusal
	if _, err := p.Call(soon(r.t), "hawserTest"); err != nil && !errors.As(err, &refused) {
		r.t.Fatal(err)
	}
}

// OnUnpublish is called once, when the grace period is over, however many publishers there were.
func TestOnUnpublishAfterTheGrace(t *testing.T) {
	t.Parallel()
	const grace = 2 * time.Second // in which the next publisher must come
	r := serve(t, Options{Streams: stream.Options{Grace: grace}})
	var mu sync.Mutex
	var got []string
	r.Server.rtmp.Handler.OnUnpublish = func(path string, why lifecycle.Reason) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, path+" "+why.Word)
	}
	first := r.publisher("/live/a")
	first.write(first.frames[:5]...)
	first.Close()
	r.onAir("/live/a", stream.Paused)
	second := r.publisher("/live/a")
	second.write(second.frames[:5]...)
	second.Close()
	r.event("unpublish", func(e *lifecycle.Event) bool { return e.Kind == stream.KindUnpublish })
	until(t, "it is told", func() bool { mu.Lock(); defer mu.Unlock(); return len(got) > 0 })
	mu.Lock()
	defer mu.Unlock()
	if len(got) != 1 || got[0] != "/live/a lost" && got[0] != "/live/a done" {
		t.Errorf("got %q", got)
	}
}

// A server that stops does not leave OnUnpublish for later.
func TestOnUnpublishWhenTheServerStops(t *testing.T) {
	r := serve(t, Options{})
	var got []string
	r.Server.rtmp.Handler.OnUnpublish = func(path string, why lifecycle.Reason) { got = append(got, path+" "+why.Word) }
	p := r.publisher("/live/a")
	p.write(p.frames[:5]...)
	r.received("/live/a", 5)
	r.stop()
	if len(got) != 1 || got[0] != "/live/a shutdown" {
		t.Errorf("got %q", got)
	}
}

// drain reads and forgets what comes to a raw player, until the connection ends.
func (r *rig) drain(dial dialFunc, protocol string) (gone chan struct{}) {
	r.t.Helper()
	var conn net.Conn
	addr := r.http
	if protocol == "rtmp" {
		addr = r.rtmp
	}
	conn, err := dial(soon(r.t), "tcp", addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	if protocol == "rtmp" {
		r.playRaw(conn, "a")
	} else if _, err := io.WriteString(conn, "GET /live/a.flv HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		r.t.Fatal(err)
	}
	gone = make(chan struct{})
	go func() {
		defer close(gone)
		io.Copy(io.Discard, struct{ io.Reader }{conn}) // not by splicing, which would pass the tap by
	}()
	return gone
}

// sessionDrain does so for a session, which stays when the play has ended.
func (r *rig) sessionDrain(dial dialFunc) (gone chan struct{}, reason *lifecycle.Reason) {
	w := r.loginOver(dial)
	w.say(`{"t":"play","path":"/live/a"}`)
	gone, reason = make(chan struct{}), new(lifecycle.Reason)
	go func() {
		defer close(gone)
		for {
			m, err := w.read()
			if err != nil {
				return
			}
			if m.Type == session.TypeMedia && m.Status == session.StatusGone {
				*reason = m.Reason
				w.ws.Write(context.Background(), websocket.TextMessage, []byte(`{"t":"bye"}`))
				return
			}
		}
	}()
	return gone, reason
}

// A viewer that is slow again and again is closed with that reason, and nobody else is.
func TestSlowTooOften(t *testing.T) {
	for _, protocol := range []string{"rtmp", "http-flv", "session"} {
		t.Run(protocol, func(t *testing.T) {
			r := serve(t, Options{Streams: stream.Options{Limits: ring.Limits{Bytes: 1 << 20}, MaxSkips: 2}, WriteTimeout: time.Minute, Heartbeat: time.Minute})
			f := r.feed("/live/a")
			f.pub.Write(big(0, 100_000, true))
			good := r.viewRTMP(dialPlain)
			good()
			var line tap
			var gone chan struct{}
			reason := &lifecycle.Reason{Code: lifecycle.ReasonSlow.Code}
			if protocol == "session" {
				gone, reason = r.sessionDrain(line.dial)
			} else {
				gone = r.drain(line.dial, protocol)
			}
			n := 0
			write := func(count int) {
				for range count {
					n++
					f.pub.Write(big(n, 100_000, n%10 == 0))
					good()
				}
			}
			for round := 1; round <= 3; round++ {
				shut := make(chan struct{})
				go func() { line.shut(); close(shut) }()
				write(120)
				<-shut
				line.open()
				until(t, "it has fallen behind", func() bool {
					skips := 0
					for _, e := range r.Log().Recent(1000) {
						if e.Kind == stream.KindSlow {
							skips++
						}
					}
					return skips >= round
				})
			}
			select {
			case <-gone:
			case <-time.After(patience):
				t.Fatal("it is still there")
			}
			if protocol == "session" && reason.Code != lifecycle.ReasonSlow.Code {
				t.Errorf("the play ended with %v", *reason)
			}
			if protocol != "session" {
				if why := r.ended(protocol); why.Code != lifecycle.ReasonSlow.Code {
					t.Errorf("closed with %v", why)
				}
			}
			write(10)
		})
	}
}

// A player that comes late in a long group of pictures gets its keyframe at once and goes on at the next one.
func TestBoundedStart(t *testing.T) {
	r := serve(t, Options{Streams: stream.Options{MaxStart: 300_000}})
	f := r.feed("/live/a")
	for i := range 10 {
		f.pub.Write(big(i, 100_000, i == 0))
	}
	for name, view := range map[string]func(dialFunc) func() time.Duration{"rtmp": r.viewRTMP, "flv": r.viewFLV, "session": r.viewSession} {
		if at := view(dialPlain)(); at != 0 {
			t.Errorf("%s: the first frame is that of %v", name, at)
		}
	}
	next := r.viewRTMP(dialPlain)
	next()
	for i := 10; i < 22; i++ {
		f.pub.Write(big(i, 100_000, i == 20))
	}
	if at := next(); at != 800*time.Millisecond {
		t.Errorf("it goes on at %v, want the next keyframe at 800ms", at)
	}
}
