package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"hawser/flv"
	"hawser/rtmp"
	"hawser/websocket"
)

// readTags reads an FLV file.
func readTags(t *testing.T, path string) (tags []flv.Tag) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := flv.NewReader(bytes.NewReader(b))
	for {
		tag, err := r.Next()
		if err == io.EOF {
			return tags
		}
		if err != nil {
			t.Fatal(err)
		}
		tag.Data = slices.Clone(tag.Data)
		tags = append(tags, tag)
	}
}

// padded makes a picture bigger by a filler NAL unit (H264 section 7.3.2.7), which decoders skip.
func padded(tag flv.Tag, size int) flv.Tag {
	if n := size - len(tag.Data) - 4; tag.Type == rtmp.TypeVideo && tag.Data[1] == 1 && n > 2 {
		filler := bytes.Repeat([]byte{0xff}, n)
		filler[0], filler[n-1] = 12, 0x80
		tag.Data = append(binary.BigEndian.AppendUint32(slices.Clone(tag.Data), uint32(n)), filler...)
	}
	return tag
}

// source publishes a clip again and again over RTMP and remembers when it sent each picture.
type source struct {
	t      *testing.T
	client *rtmp.Client
	tags   []flv.Tag
	base   uint32 // milliseconds of the rounds before

	mu   sync.Mutex
	sent map[uint32]time.Time // by timestamp
}

func newSource(t *testing.T, s *server, path string, size int) *source {
	t.Helper()
	src := &source{t: t, sent: map[uint32]time.Time{}}
	for i, tag := range readTags(t, clip(t, seconds)) {
		if header := tag.Type != rtmp.TypeData && tag.Data[1] == 0; i < 8 || !header {
			src.tags = append(src.tags, padded(tag, size))
		}
	}
	c, err := rtmp.Dial(t.Context(), s.rtmpURL(path), nil)
	if err == nil {
		err = c.Publish(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	src.client = c
	return src
}

// run plays the clip for a number of rounds, so many times as fast as it is; 0 is as fast as the server takes it.
func (s *source) run(rounds, speed int) (pictures int) {
	began := time.Now()
	first := s.base
	for range rounds {
		for _, tag := range s.tags {
			if tag.Timestamp >= clipSeconds*1000 {
				break
			}
			at := s.base + tag.Timestamp
			if speed > 0 {
				time.Sleep(time.Until(began.Add(time.Duration(at-first) * time.Millisecond / time.Duration(speed))))
			}
			if tag.Type == rtmp.TypeVideo && tag.Data[1] == 1 {
				pictures++
				s.mu.Lock()
				s.sent[at] = time.Now()
				s.mu.Unlock()
			}
			if err := s.client.WriteMessage(s.t.Context(), rtmp.Message{Type: tag.Type, Timestamp: at, Payload: tag.Data}); err != nil {
				s.t.Errorf("publish: %v", err)
				return pictures
			}
		}
		s.base += clipSeconds * 1000
	}
	return pictures
}

// watcher reads a stream over HTTP-FLV and measures how long each picture took to come.
type watcher struct {
	mu    sync.Mutex
	delay []time.Duration
}

func watch(t *testing.T, s *server, path string, src *source) *watcher {
	t.Helper()
	r, err := http.Get(s.flvURL(path))
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %v, %v", path, r, err)
	}
	t.Cleanup(func() { r.Body.Close() })
	w := &watcher{}
	go func() {
		for tags := flv.NewReader(r.Body); ; {
			tag, err := tags.Next()
			if err != nil {
				return
			}
			now := time.Now()
			if tag.Type != rtmp.TypeVideo || tag.Data[1] != 1 {
				continue
			}
			src.mu.Lock()
			sent, ok := src.sent[tag.Timestamp]
			src.mu.Unlock()
			if ok {
				w.mu.Lock()
				w.delay = append(w.delay, now.Sub(sent))
				w.mu.Unlock()
			}
		}
	}()
	return w
}

// take returns the delays since the last call when there are at least n of them, sorted.
func (w *watcher) take(t *testing.T, n int) []time.Duration {
	t.Helper()
	for deadline := time.Now().Add(eventTimeout); ; time.Sleep(pollInterval) {
		w.mu.Lock()
		if len(w.delay) >= n || time.Now().After(deadline) {
			list := w.delay
			w.delay = nil
			w.mu.Unlock()
			slices.Sort(list)
			return list
		}
		w.mu.Unlock()
	}
}

// stalledConn stops reading after its first bytes, for ever.
type stalledConn struct {
	net.Conn
	left int
	over <-chan struct{}
}

func (c *stalledConn) Read(b []byte) (int, error) {
	if c.left <= 0 {
		<-c.over
		return 0, io.EOF
	}
	n, err := c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}

// stall opens viewers of each kind that stop reading soon; they are what the server sees as connections from the addresses returned.
func stall(t *testing.T, s *server, path string, each int) (addrs []string) {
	t.Helper()
	for range each {
		c := dial(t, s.http)
		c.(*net.TCPConn).SetReadBuffer(4096)
		io.WriteString(c, "GET "+path+".flv HTTP/1.1\r\nHost: localhost\r\n\r\n")
		addrs = append(addrs, c.LocalAddr().String())

		player, err := rtmp.Dial(t.Context(), s.rtmpURL(path), &rtmp.DialOptions{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			c.(*net.TCPConn).SetReadBuffer(4096)
			addrs = append(addrs, c.LocalAddr().String())
			return &stalledConn{Conn: c, left: 8192, over: t.Context().Done()}, nil
		}})
		if err == nil {
			err = player.Play(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { player.Close() })

		session, err := websocket.Dial(t.Context(), s.sessionURL(), &websocket.DialOptions{Subprotocols: []string{"hawser.v1"}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { session.Close(1000, "") })
		session.Write(t.Context(), websocket.TextMessage, []byte(`{"t":"hello","version":1,"client":"e2e"}`))
		session.Write(t.Context(), websocket.TextMessage, []byte(`{"t":"play","path":"`+path+`"}`))
	}
	return addrs
}

// TestStalledViewers measures what one viewer gets while others have stopped reading, and at the same time what a viewer gets of
// a server where nobody has, so that whatever else the machine does is in both.
func TestStalledViewers(t *testing.T) {
	const (
		path      = "/live/stalled"
		each      = 5
		rounds    = 3
		oneFrame  = time.Second / 30
		frameSize = 40_000 // 10 Mbps
	)
	begin := func() (*server, *source, *watcher) {
		s := serve(t)
		src := newSource(t, s, path, frameSize)
		src.run(1, 0) // something to join
		s.awaitStream(path, "fed", func(l liveStream) bool { return l.Frames >= 300 })
		viewer := watch(t, s, path, src)
		viewer.take(t, 30)
		return s, src, viewer
	}
	_, quietSource, quietViewer := begin()
	s, src, viewer := begin()
	addrs := stall(t, s, path, each)
	var both sync.WaitGroup
	both.Go(func() { quietSource.run(rounds, 1) })
	pictures := src.run(rounds, 1)
	both.Wait()
	quiet, beside := quietViewer.take(t, pictures), viewer.take(t, pictures)
	if len(beside) != pictures || len(quiet) != pictures {
		t.Fatalf("the viewer got %d pictures of %d, and %d beside nobody", len(beside), pictures, len(quiet))
	}
	at := func(d []time.Duration, percent int) time.Duration { return d[(len(d)-1)*percent/100] }
	t.Logf("a picture comes after (median, 99 %%, most): %v %v %v beside nobody, %v %v %v beside %d stalled viewers",
		at(quiet, 50), at(quiet, 99), at(quiet, 100), at(beside, 50), at(beside, 99), at(beside, 100), 3*each)
	if late := at(beside, 50) - at(quiet, 50); late > oneFrame {
		t.Errorf("half of the pictures are %v later or more beside stalled viewers, a frame takes %v", late, oneFrame)
	}
	if late := at(beside, 99) - at(quiet, 99); late > 10*oneFrame { // a busy machine may hold up one server and not the other
		t.Errorf("one picture in a hundred is %v later or more beside stalled viewers, a frame takes %v", late, oneFrame)
	}
	for _, addr := range addrs {
		if e := s.awaitClose(addr); e.Reason.Word != "slow" {
			t.Errorf("a viewer that stopped reading was closed with %+v, want slow", e)
		}
	}
}

// TestMemory publishes many times what a stream may keep, beside viewers of each kind, most of which take nothing.
func TestMemory(t *testing.T) {
	const (
		path      = "/live/flood"
		frameSize = 200_000
		speed     = 10       // times real time: 60 MB a second
		rounds    = 12       // 360 MB
		bound     = 16 << 20 // of each ring
		rings     = 4        // frames, and their bytes for RTMP, HTTP-FLV and sessions
		process   = 64 << 20 // all else that a server needs
	)
	s := serve(t, "--stream-bytes", strconv.Itoa(bound))
	src := newSource(t, s, path, frameSize)
	src.run(1, 0)
	s.awaitLive(path)
	before := s.memory()
	viewer := watch(t, s, path, src)
	stall(t, s, path, 5)
	var most int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			most = max(most, s.memory())
			select {
			case <-stop:
				return
			case <-time.After(pollInterval):
			}
		}
	}()
	pictures := src.run(rounds, speed)
	watched := len(viewer.take(t, pictures*9/10))
	close(stop)
	<-done
	l, _ := s.stream(path)
	t.Logf("%d MB published, %d pictures watched of %d and those before them; the stream holds %d MB; resident memory was %d MB, then at most %d MB",
		pictures*frameSize>>20, watched, pictures, l.Held>>20, before>>20, most>>20)
	if l.Held > bound {
		t.Errorf("the stream holds %d bytes, the bound is %d", l.Held, bound)
	}
	// The collector lets garbage grow to as much as is live (GOGC=100).
	if limit := int64(2*rings*bound + process); most > limit {
		t.Errorf("resident memory was %d bytes, the rings' bounds allow %d", most, limit)
	}
}
