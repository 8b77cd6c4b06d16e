package server

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hawser/lifecycle"
	"hawser/media"
	"hawser/session"
	"hawser/stream"
	"hawser/subject"
	"hawser/websocket"
)

// deaf carries nothing.
type deaf struct{}

func (deaf) Queue(...[]byte) error   { return nil }
func (deaf) Wake()                   {}
func (deaf) Close(int, string) error { return nil }
func (deaf) CloseNow()               {}

// unwritten is a session that a test asks itself for what there is to be written.
func unwritten(_ testing.TB, s *Server) *sessionConn {
	c := s.newSession("127.0.0.1:1")
	c.carrier = deaf{}
	return c
}

// messages takes the messages out of unmasked frames.
func messages(t testing.TB, bufs [][]byte) (list []got) {
	t.Helper()
	for b := slices.Concat(bufs...); len(b) > 0; {
		head, n := 2, int(b[1])
		switch n {
		case 126:
			head, n = 4, int(binary.BigEndian.Uint16(b[2:]))
		case 127:
			head, n = 10, int(binary.BigEndian.Uint64(b[2:]))
		}
		var g got
		var err error
		if b[0]&15 == websocket.OpBinary {
			var h session.MediaHeader
			h, g.payload, err = session.ParseMedia(b[head : head+n])
			g.head, g.Path = &h, h.Path
		} else {
			err = session.Parse(b[head:head+n], &g.Message)
		}
		if err != nil {
			t.Fatal(err)
		}
		list, b = append(list, g), b[head+n:]
	}
	return list
}

// words are the paths of messages, with "media" before those of media.
func words(t testing.TB, bufs [][]byte) (list []string) {
	t.Helper()
	for _, g := range messages(t, bufs) {
		if g.head != nil {
			g.Path = "media " + g.Path
		}
		list = append(list, g.Path)
	}
	return list
}

const fillSize = 64 << 10

func TestDataGoBeforeMedia(t *testing.T) {
	s := New(Options{})
	r := &rig{Server: s, t: t}
	f := r.feed("/live")
	f.write(1)
	c := unwritten(t, s)
	c.play(session.Play{Path: "/live"})
	for _, path := range []string{"/a", "/b", "/c"} {
		c.subscribe(session.Subscribe{Path: path})
	}
	c.Fill(nil, fillSize)
	f.write(2)
	r.log("/c", 0, 2)
	r.log("/a", 0, 1)
	if got, want := words(t, c.Fill(nil, fillSize)), []string{"/c", "/c", "/a", "media /live", "media /live"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := c.Fill(nil, fillSize); len(got) != 0 {
		t.Errorf("and then: got %q", words(t, got))
	}
}

// What one write takes is bounded by its size and one message, however long the messages are, and feeds take turns.
func TestFillIsBoundedAndFair(t *testing.T) {
	s := New(Options{})
	r := &rig{Server: s, t: t}
	f := r.feed("/live")
	c := unwritten(t, s)
	c.play(session.Play{Path: "/live"})
	for _, path := range []string{"/a", "/b"} {
		c.subscribe(session.Subscribe{Path: path})
	}
	c.Fill(nil, fillSize)
	const n, size = 20, 100_000
	for _, path := range []string{"/a", "/b"} {
		for range n {
			r.publish(path, subject.Log, subject.Update{Data: []byte(`"` + strings.Repeat("x", size) + `"`)})
		}
	}
	for i := range n {
		f.pub.Write(big(i, size, i == 0))
	}
	var got []string
	for {
		bufs := c.Fill(nil, fillSize)
		if len(bufs) == 0 {
			break
		}
		if list := words(t, bufs); len(bufs) == 1 { // the changes of the stream are short
			got = append(got, list...)
		} else if len(bufs) > 3 {
			t.Errorf("one write takes %q", list)
		}
	}
	for i := range 2 * n {
		if want := []string{"/a", "/b"}[i%2]; got[i] != want {
			t.Fatalf("write %d is of %s, want %s: %q", i, got[i], want, got)
		}
	}
	if len(got) < 3*n-2 {
		t.Errorf("%d writes, want one for each message", len(got))
	}
}

// Nothing of a subscription that has ended comes behind the start of the next one on its path.
func TestEndedFeedIsSilent(t *testing.T) {
	s := New(Options{})
	r := &rig{Server: s, t: t}
	c := unwritten(t, s)
	c.subscribe(session.Subscribe{Path: "/a"})
	c.Fill(nil, fillSize)
	r.log("/a", 0, 5) // on its way
	c.receive([]byte(`{"t":"hello","version":1}`))
	c.subs["/a"].close()
	c.subscribe(session.Subscribe{Path: "/a", From: session.FromOffset, Epoch: s.Subjects().Find("/a").Epoch()})
	got := messages(t, c.Fill(nil, fillSize))
	if len(got) != 6 || got[0].Type != session.TypeSnapshot {
		t.Errorf("got %+v, want a snapshot and five updates", got)
	}
}

// Sessions come, follow, and go in every way, while publishers write and come and go, and subjects are removed.
func TestManyAtOnce(t *testing.T) {
	r := serve(t, Options{Streams: stream.Options{Grace: time.Millisecond}})
	stop := make(chan struct{})
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	var writer sync.WaitGroup
	writer.Go(func() {
		f := r.feed("/live")
		for i := 1; ; i++ {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			for p := range 5 {
				r.publish(fmt.Sprintf("/log/%d", p), subject.Log, subject.Update{Data: []byte("1")})
			}
			f.write(3)
			if i%30 == 0 {
				r.Subjects().Remove("/log/0", lifecycle.ReasonGone)
				f.pub.Close(lifecycle.ReasonDone)
				f = r.feed("/live")
			}
		}
	})
	var clients sync.WaitGroup
	for i := range 6 {
		clients.Go(func() {
			for round := range 10 {
				comeAndGo(t, r, i+round)
			}
		})
	}
	clients.Wait()
	close(stop)
	writer.Wait()
	until(t, "all is given up", func() bool {
		for _, info := range r.Subjects().List() {
			if info.Open != 0 {
				return false
			}
		}
		info, _ := r.Streams().Find("/live")
		return info.Viewers == 0 && len(r.Log().Conns()) == 0
	})
}

// comeAndGo is one session of TestManyAtOnce.
func comeAndGo(t *testing.T, r *rig, way int) {
	ws, err := websocket.Dial(soon(t), "ws://"+r.http+"/session", &websocket.DialOptions{Subprotocols: []string{session.Subprotocol}})
	if err != nil {
		t.Error(err)
		return
	}
	defer ws.CloseNow()
	say := func(s string) { ws.Write(soon(t), websocket.TextMessage, []byte(s)) }
	say(`{"t":"hello","version":1}`)
	for i := range 100 {
		if _, _, err := ws.Read(soon(t)); err != nil {
			t.Errorf("after %d messages: %v", i, err)
			return
		}
		switch {
		case i == 0:
			say(`{"t":"play","path":"/live"}`)
			for p := range 5 {
				say(fmt.Sprintf(`{"t":"subscribe","path":"/log/%d"}`, p))
			}
		case i%20 == 0:
			say(`{"t":"unsubscribe","path":"/log/0"}`)
			say(`{"t":"stop","path":"/live"}`)
			say(`{"t":"subscribe","path":"/log/0"}`)
			say(`{"t":"play","path":"/live"}`)
		}
	}
	switch way % 3 {
	case 0:
		say(`{"t":"bye"}`)
		for err == nil {
			_, _, err = ws.Read(soon(t))
		}
	case 1:
		ws.Close(websocket.CloseNormal, "")
	}
}

func benchFill(b *testing.B, c *sessionConn, publish func()) {
	dst := make([][]byte, 0, 256)
	for c.Fill(dst, fillSize) != nil && len(c.readyData)+len(c.readyMedia) > 0 {
	}
	publish()
	c.Fill(dst, fillSize)
	b.ReportAllocs()
	buffers := 0
	for b.Loop() {
		b.StopTimer()
		publish()
		b.StartTimer()
		buffers += len(c.Fill(dst[:0], fillSize))
	}
	b.ReportMetric(float64(buffers)/float64(b.N), "buffers/op")
}

// BenchmarkFillMedia is what a session pays to take a frame that is there.
func BenchmarkFillMedia(b *testing.B) {
	s := New(Options{})
	f := (&rig{Server: s, t: b}).feed("/live")
	c := unwritten(b, s)
	c.play(session.Play{Path: "/live"})
	n := 0
	benchFill(b, c, func() {
		f.pub.Write(big(n, 10_000, n%25 == 0))
		n++
	})
}

// BenchmarkFillData is what a session pays to take an update of each of 50 subjects.
func BenchmarkFillData(b *testing.B) {
	s := New(Options{})
	r := &rig{Server: s, t: b}
	c := unwritten(b, s)
	paths := make([]string, 50)
	for i := range paths {
		paths[i] = fmt.Sprintf("/log/%d", i)
		c.subscribe(session.Subscribe{Path: paths[i]})
	}
	data := []byte(`{"bid":1.0843,"ask":1.0845}`)
	benchFill(b, c, func() {
		for _, path := range paths {
			r.publish(path, subject.Log, subject.Update{Data: data})
		}
	})
}

// BenchmarkPackSession is what a frame costs once for all the sessions that play it.
func BenchmarkPackSession(b *testing.B) {
	s := New(Options{})
	f := (&rig{Server: s, t: b}).feed("/live")
	f.write(1)
	viewer, err := s.streams.View("/live", s.formats.session, "")
	if err != nil {
		b.Fatal(err)
	}
	defer viewer.Close()
	frame := media.Frame{Track: 1, Kind: media.Video, Data: make([]byte, 10_000)}
	b.ReportAllocs()
	b.SetBytes(int64(len(frame.Data)))
	for b.Loop() {
		frame.DTS += 40 * time.Millisecond
		f.pub.Write(frame)
	}
}

// BenchmarkMarket is what an update of one of many subjects costs, of which 50 clients take it: the publish of a client, its answer, and each follower's turn.
func BenchmarkMarket(b *testing.B) {
	s := New(Options{})
	const clients, subjects, each = 200, 200, 50
	conns := make([]*sessionConn, clients)
	for i := range conns {
		conns[i] = unwritten(b, s)
		for k := range each {
			conns[i].subscribe(session.Subscribe{Path: fmt.Sprint("/log/", (i+4*k)%subjects)})
		}
	}
	pub := unwritten(b, s)
	pub.receive([]byte(`{"t":"hello","version":1}`))
	dst := make([][]byte, 0, 256)
	id := 0
	publish := func() {
		id++
		pub.receive(fmt.Appendf(nil, `{"t":"publish","id":%d,"path":"/log/%d","data":"%s"}`, id, id*17%subjects, strings.Repeat("x", 128)))
		for _, c := range conns {
			if len(c.readyData) > 0 {
				c.Fill(dst, fillSize)
			}
		}
	}
	for range 2 * subjects {
		publish()
	}
	b.ReportAllocs()
	for b.Loop() {
		publish()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/each, "ns/delivery")
}
