package rtmp

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"hawser/amf"
	"hawser/lifecycle"
	"hawser/ring"
)

func (r *relay) url(path string) string { return "rtmp://" + r.addr + path }

func dial(t testing.TB, url string, o *DialOptions) *Client {
	t.Helper()
	c, err := Dial(t.Context(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func publish(t testing.TB, url string) *Client {
	t.Helper()
	c := dial(t, url, nil)
	if err := c.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

func play(t testing.TB, url string) *Client {
	t.Helper()
	c := dial(t, url, nil)
	if err := c.Play(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// packetsOf makes n messages of all three kinds and all sizes up to beyond the chunk size.
func packetsOf(n int) []Message {
	var ms []Message
	for i := range n {
		payload := make([]byte, i*i*3+i)
		rand.Read(payload)
		ms = append(ms, Message{Type: []byte{TypeAudio, TypeVideo}[i%2], Timestamp: uint32(i) * 20, Payload: payload})
	}
	return append(ms, Message{Type: TypeData, Timestamp: 1000, Payload: amf.Append(nil, "onMetaData", amf.ECMAArray{{Name: "width", Value: 640.0}})},
		Message{Type: TypeVideo, Timestamp: 0x01020304, Payload: make([]byte, 3*OwnChunkSize+1)},
		Message{Type: TypeVideo, Timestamp: 0xffffffff, Payload: []byte{}})
}

func TestPublishAndPlay(t *testing.T) {
	for _, size := range []int{0, 1 << 20, 128, 1} {
		t.Run(fmt.Sprint("chunks of ", size), func(t *testing.T) {
			r := newRelay(t, nil)
			want := packetsOf(60)
			if size == 1 {
				want = want[:20]
			}
			p := dial(t, r.url("/live/cam1"), &DialOptions{ChunkSize: size})
			if err := p.Publish(t.Context()); err != nil {
				t.Fatal(err)
			}
			v := play(t, r.url("/live/cam1"))
			go func() {
				for _, m := range want {
					if err := p.WriteMessage(t.Context(), m); err != nil {
						t.Error(err)
					}
				}
				if err := p.Close(); err != nil {
					t.Error(err)
				}
				r.await("close /live/cam1 done")
				r.feed("/live/cam1").over()
			}()
			var got []Message
			for m, err := range v.Messages(t.Context()) {
				if err != nil {
					if !errors.Is(err, ErrStreamEnded) {
						t.Error(err)
					}
					break
				}
				got = append(got, m)
			}
			if len(got) != len(want) {
				t.Fatalf("got %d messages, want %d", len(got), len(want))
			}
			for i := range got {
				if w := want[i]; got[i].Type != w.Type || got[i].Timestamp != w.Timestamp || string(got[i].Payload) != string(w.Payload) {
					t.Errorf("message %d: got type %d at %d of %d bytes, want type %d at %d of %d bytes", i,
						got[i].Type, got[i].Timestamp, len(got[i].Payload), w.Type, w.Timestamp, len(w.Payload))
				}
			}
			if err := v.Close(); err != nil {
				t.Error(err)
			}
			r.await("disconnect live done")
		})
	}
}

// TestEventOrder has every event of a publisher and a player, in order, in the handler and in the log.
func TestEventOrder(t *testing.T) {
	r := newRelay(t, nil)
	publish(t, r.url("/live/cam1?a=b")).Close()
	r.await("disconnect live done")
	want := []string{"connect live", "publish /live/cam1 live", "close /live/cam1 done", "unpublish /live/cam1 done", "delete /live/cam1", "disconnect live done"}
	if got := r.noted(); !slices.Equal(got, want) {
		t.Errorf("publisher:\ngot  %q\nwant %q", got, want)
	}
	wantLog := []string{"open red", "state handshake amber", "state connected amber", "connect /live connected amber", "state /live/cam1 publishing green",
		"publish /live/cam1 publishing green", "publish_close /live/cam1 publishing green done", "state /live/cam1 connected amber", "delete /live/cam1 connected amber",
		"disconnect /live/cam1 connected amber done", "state /live/cam1 closed red done", "close /live/cam1 closed red done"}
	r.logged(lifecycle.KindClose)
	if got := logWords(r.log); !slices.Equal(got, wantLog) {
		t.Errorf("log:\ngot  %q\nwant %q", got, wantLog)
	}

	r = newRelay(t, nil)
	play(t, r.url("/live/cam1")).Close()
	r.await("disconnect live done")
	want = []string{"connect live", "play /live/cam1", "stop /live/cam1 done", "delete /live/cam1", "disconnect live done"}
	if got := r.noted(); !slices.Equal(got, want) {
		t.Errorf("player:\ngot  %q\nwant %q", got, want)
	}
}

func logWords(l *lifecycle.Log) (words []string) {
	for _, e := range l.Recent(100) {
		fields := []string{e.Kind, e.Path, e.State, e.Light.String(), e.Reason.Word}
		words = append(words, strings.Join(slices.DeleteFunc(fields, func(s string) bool { return s == "" }), " "))
	}
	return words
}

func TestRefusals(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Handler)
		do     func(*Client, context.Context) error
		want   Refusal
		reason lifecycle.Reason
	}{
		{"connect", func(h *Handler) {
			h.OnConnect = func(context.Context, *Conn) error { return &Refusal{Description: "not today"} }
		}, nil, Refusal{Code: "NetConnection.Connect.Rejected", Description: "not today"}, lifecycle.ReasonRefused},
		{"redirect", func(h *Handler) {
			h.OnConnect = func(context.Context, *Conn) error {
				return &Refusal{Redirect: "rtmp://other/live", Description: "moved"}
			}
		}, nil, Refusal{Code: "NetConnection.Connect.Rejected", Description: "moved", Redirect: "rtmp://other/live"}, lifecycle.ReasonRefused},
		{"publish, taken", func(h *Handler) {
			h.OnPublish = func(context.Context, *Stream) error { return lifecycle.ReasonTaken.With("somebody is on") }
		}, (*Client).Publish, Refusal{Code: "NetStream.Publish.BadName", Description: "somebody is on"}, lifecycle.ReasonTaken},
		{"publish, unauthorized", func(h *Handler) {
			h.OnPublish = func(context.Context, *Stream) error {
				return fmt.Errorf("who: %w", lifecycle.ReasonUnauthorized.With("no token"))
			}
		}, (*Client).Publish, Refusal{Code: "NetStream.Publish.Denied", Description: "no token"}, lifecycle.ReasonUnauthorized},
		{"play, own code", func(h *Handler) {
			h.OnPlay = func(context.Context, *Stream) error {
				return &Refusal{Code: "NetStream.Play.Secret", Description: "x", Reason: lifecycle.ReasonUnauthorized}
			}
		}, (*Client).Play, Refusal{Code: "NetStream.Play.Secret", Description: "x"}, lifecycle.ReasonUnauthorized},
		{"play, any error", func(h *Handler) {
			h.OnPlay = func(context.Context, *Stream) error { return errors.New("disk on fire") }
		}, (*Client).Play, Refusal{Code: "NetStream.Play.Failed", Description: "disk on fire"}, lifecycle.ReasonRefused},
		{"play, not found", func(h *Handler) {
			h.OnPlay = func(context.Context, *Stream) error { return lifecycle.ReasonNotFound }
		}, (*Client).Play, Refusal{Code: "NetStream.Play.StreamNotFound", Description: lifecycle.ReasonNotFound.Text}, lifecycle.ReasonNotFound},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRelay(t, func(s *Server) { test.change(s.Handler) })
			c, err := Dial(t.Context(), r.url("/live/cam1"), &DialOptions{MaxRedirects: -1})
			if test.do != nil {
				if err != nil {
					t.Fatal(err)
				}
				err = test.do(c, t.Context())
				defer c.Close()
			}
			var got *Refusal
			if !errors.As(err, &got) || *got != test.want {
				t.Fatalf("got %v", err)
			}
			if ev := r.logged(KindRefuse); !errors.Is(ev.Reason, test.reason) {
				t.Errorf("logged %+v", ev)
			}
			if ev := r.logged(lifecycle.KindClose); !errors.Is(ev.Reason, test.reason) {
				t.Errorf("closed with %v", ev.Reason)
			}
		})
	}
}

// TestTaken has a second publisher on a path refused without harm to the first.
func TestTaken(t *testing.T) {
	r := newRelay(t, nil)
	first := publish(t, r.url("/live/cam1"))
	second := dial(t, r.url("/live/cam1"), nil)
	if err := second.Publish(t.Context()); err == nil || !strings.Contains(err.Error(), `rtmp: publish "/live/cam1": rtmp: refused: /live/cam1 is taken`) {
		t.Errorf("got %v", err)
	}
	if err := first.WriteMessage(t.Context(), Message{Type: TypeAudio, Payload: []byte{1}}); err != nil {
		t.Error(err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	r.await("close /live/cam1 done")
	if n := r.feed("/live/cam1").count[TypeAudio]; n != 1 {
		t.Errorf("got %d messages", n)
	}
}

func TestBadNames(t *testing.T) {
	for _, path := range []string{"/", "/live/..", "/live//a/b", "/live/a%01b", "/live/" + strings.Repeat("x", 250)} {
		r := newRelay(t, nil)
		c, err := Dial(t.Context(), r.url(path), nil)
		if err != nil {
			t.Fatal(err)
		}
		var refused *Refusal
		if err := c.Publish(t.Context()); !errors.As(err, &refused) || refused.Code != "NetStream.Publish.BadName" {
			t.Errorf("%q: got %v", path, err)
		}
		c.Close()
	}
}

// TestCutOff has a publisher vanish in the middle of a message.
func TestCutOff(t *testing.T) {
	r := newRelay(t, nil)
	c := publish(t, r.url("/live/cam1"))
	c.write(AppendMessage(nil, OwnChunkSize, Message{Type: TypeVideo, StreamID: 1, Payload: make([]byte, 1000)})[:500])
	c.w.Flush(t.Context())
	c.nc.Close()
	r.await("close /live/cam1 lost")
	r.await("unpublish /live/cam1 lost")
	r.await("disconnect live lost")
	publish(t, r.url("/live/cam1"))
}

func TestRename(t *testing.T) {
	r := newRelay(t, func(s *Server) {
		on := s.Handler.OnPublish
		s.Handler.OnPublish = func(ctx context.Context, s *Stream) error {
			if err := s.SetPath("relative"); err == nil {
				t.Error("a path without a slash is accepted")
			}
			if err := s.SetPath("/renamed" + s.Path()); err != nil {
				t.Error(err)
			}
			return on(ctx, s)
		}
	})
	publish(t, r.url("/live/cam1"))
	r.await("publish /renamed/live/cam1 live")
	if ev := r.logged(KindPublish); ev.Path != "/renamed/live/cam1" {
		t.Errorf("logged %q", ev.Path)
	}
}

// TestGrace has a stream's owner keep it for a while after its broadcast.
func TestGrace(t *testing.T) {
	over := make(chan func(lifecycle.Reason), 1)
	r := newRelay(t, func(s *Server) {
		on := s.Handler.OnPublish
		s.Handler.OnPublish = func(ctx context.Context, s *Stream) error {
			over <- s.DeferUnpublish()
			return on(ctx, s)
		}
	})
	publish(t, r.url("/live/cam1")).Close()
	r.await("disconnect live done")
	if got := r.noted(); slices.Contains(got, "unpublish /live/cam1 done") {
		t.Errorf("unpublished at once: %q", got)
	}
	(<-over)(lifecycle.ReasonGone)
	r.await("unpublish /live/cam1 gone")
}

// TestPackets drops and alters packets on their way in and out, and plays on another message stream id.
func TestPackets(t *testing.T) {
	r := newRelay(t, func(s *Server) {
		s.Handler.OnPublishData = func(s *Stream, m *Message) bool { m.Timestamp += 1000; return m.Type != TypeData }
		s.Handler.OnPlayData = func(s *Stream, m *Message) bool {
			if s.ID() != 2 {
				t.Errorf("plays on %d", s.ID())
			}
			m.Payload = append([]byte{0xff}, m.Payload...)
			return m.Type != TypeAudio
		}
	})
	p := publish(t, r.url("/live/cam1"))
	for i, typ := range []byte{TypeData, TypeAudio, TypeVideo} {
		if err := p.WriteMessage(t.Context(), Message{Type: typ, Timestamp: uint32(i), Payload: []byte{byte(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	v := dial(t, r.url("/live/cam1"), nil)
	if _, err := v.Call(t.Context(), "createStream"); err != nil { // so that play gets stream 2
		t.Fatal(err)
	}
	if err := v.Play(t.Context()); err != nil {
		t.Fatal(err)
	}
	for m, err := range v.Messages(t.Context()) {
		want := Message{Type: TypeVideo, StreamID: 2, ChunkStream: chunkVideo, Timestamp: 1002, Payload: []byte{0xff, 2}}
		if err != nil || !reflect.DeepEqual(m, want) {
			t.Errorf("got %+v, %v", m, err)
		}
		break
	}
}

// TestPause has a paused player get nothing and a resumed one everything.
func TestPause(t *testing.T) {
	r := newRelay(t, nil)
	v := play(t, r.url("/live/cam1"))
	pause := func(on bool, code string) {
		t.Helper()
		v.queue(command(v.stream, "pause", 0, nil, on, 0.0))
		for {
			it, err := v.next(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if it.cmd == nil {
				t.Fatalf("got a message of type %d", it.m.Type)
			}
			if it.cmd.info().String("code") == code {
				return
			}
		}
	}
	pause(true, "NetStream.Pause.Notify")
	r.feed("/live/cam1").add(Message{Type: TypeVideo, Payload: []byte{1}})
	pause(false, "NetStream.Unpause.Notify")
	for m, err := range v.Messages(t.Context()) {
		if err != nil || m.Type != TypeVideo {
			t.Errorf("got %+v, %v", m, err)
		}
		break
	}
}

// unusedAddr is an address that nobody listens on.
func unusedAddr(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// TestClientStops has contexts, closing and a server that goes away end what waits.
func TestClientStops(t *testing.T) {
	r := newRelay(t, nil)
	v := play(t, r.url("/live/cam1"))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	for _, err := range v.Messages(ctx) {
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	}
	for _, c := range r.server.Conns() {
		c.Close(lifecycle.ReasonEjected.With("enough"))
	}
	for _, err := range v.Messages(t.Context()) {
		var refused *Refusal
		if !errors.As(err, &refused) || refused.Code != "NetConnection.Connect.Closed" || !strings.Contains(refused.Description, "enough") {
			t.Errorf("got %v", err)
		}
	}
	for _, err := range v.Messages(t.Context()) {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
	if err := v.Close(); !errors.Is(err, ErrClosed) || !errors.Is(err, net.ErrClosed) {
		t.Errorf("Close: %v", err)
	}
	r.await("disconnect live ejected")
}

// TestClientLog has the client's own events in its log.
func TestClientLog(t *testing.T) {
	r := newRelay(t, nil)
	log := lifecycle.NewLog(ring.Limits{})
	c, err := Dial(t.Context(), r.url("/live/cam1"), &DialOptions{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.Close()
	want := []string{"open red", "state handshake amber", "state connected amber", "connect /live connected amber", "state /live/cam1 publishing green",
		"state /live/cam1 closed red done", "close /live/cam1 closed red done"}
	if got := logWords(log); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestRTMPS goes over TLS, where neither side can use the plain socket's ways.
func TestRTMPS(t *testing.T) {
	certified := httptest.NewTLSServer(nil)
	defer certified.Close()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", certified.TLS)
	if err != nil {
		t.Fatal(err)
	}
	r := newRelay(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.server.Serve(ctx, ln) }()
	roots := certified.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	o := &DialOptions{TLS: &tls.Config{RootCAs: roots}}
	p := dial(t, "rtmps://"+ln.Addr().String()+"/live/cam1", o)
	if err := p.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.WriteMessage(t.Context(), Message{Type: TypeVideo, Payload: make([]byte, 200000)}); err != nil {
		t.Fatal(err)
	}
	v := dial(t, "rtmps://"+ln.Addr().String()+"/live/cam1", o)
	if err := v.Play(t.Context()); err != nil {
		t.Fatal(err)
	}
	for m, err := range v.Messages(t.Context()) {
		if err != nil || len(m.Payload) != 200000 {
			t.Errorf("got %d bytes, %v", len(m.Payload), err)
		}
		break
	}
	plain, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	plain.Write(opening())
	if ev := r.logged(KindProtocolError); !errors.Is(ev.Reason, lifecycle.ReasonProtocol) || !strings.Contains(ev.Detail, "tls: first record does not look like a TLS handshake") {
		t.Errorf("without TLS: %+v", ev)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := Dial(t.Context(), "rtmps://"+r.addr+"/live/cam1", o); err == nil {
		t.Error("a server without TLS is accepted")
	}
}
