package server

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"hawser/lifecycle"
	"hawser/media"
	"hawser/ring"
	"hawser/rtmp"
	"hawser/session"
	"hawser/stream"
	"hawser/subject"
	"hawser/websocket"
)

// tap is a connection that takes little in advance and, while it is shut, nothing.
type tap struct {
	net.Conn
	mu sync.RWMutex
}

func (c *tap) Read(b []byte) (int, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.Conn.Read(b)
}

func (c *tap) shut() { c.mu.Lock() }
func (c *tap) open() { c.mu.Unlock() }

// dial makes a connection and keeps it.
func (c *tap) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err == nil {
		nc.(*net.TCPConn).SetReadBuffer(64 << 10)
		c.Conn = nc
	}
	return c, err
}

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

var dialPlain dialFunc = new(net.Dialer).DialContext

// big is a picture of a size.
func big(n, size int, key bool) media.Frame {
	data := make([]byte, size)
	binary.BigEndian.PutUint32(data, uint32(size-4)) // one NAL unit
	data[4] = 0x41
	at := time.Duration(n) * 40 * time.Millisecond
	return media.Frame{Track: 1, Kind: media.Video, Key: key, DTS: at, PTS: at, Data: data}
}

// A viewer that stops reading takes no frame from another, and what the server holds stays within the bounds of the rings. When it reads again it goes on at a keyframe.
func TestViewerThatStopsReading(t *testing.T) {
	const (
		size   = 100_000
		frames = 600 // 60 MB
		bound  = 2 << 20
		most   = 24 << 20 // four rings, what is on its way, and the tests' own
	)
	for _, protocol := range []string{"rtmp", "flv", "session"} {
		t.Run(protocol, func(t *testing.T) {
			r := serve(t, Options{Streams: stream.Options{Limits: ring.Limits{Bytes: bound}}, WriteTimeout: time.Minute, Heartbeat: time.Minute})
			f := r.feed("/live/a")
			f.pub.Write(big(0, size, true))
			view := map[string]func(dialFunc) func() time.Duration{"rtmp": r.viewRTMP, "flv": r.viewFLV, "session": r.viewSession}[protocol]
			var line tap
			slow, good := view(line.dial), view(dialPlain)
			if a, b := slow(), good(); a != 0 || b != 0 {
				t.Errorf("the first frames are those of %v and %v", a, b)
			}
			shut := make(chan struct{})
			go func() { line.shut(); close(shut) }() // once it waits no more in a read
			before := heap()
			for i := 1; i < frames; i++ {
				frame := big(i, size, i%10 == 0)
				f.pub.Write(frame)
				if at := good(); at != frame.DTS {
					t.Fatalf("got the frame of %v, want that of %v", at, frame.DTS)
				}
			}
			if grown := int64(heap()) - int64(before); grown > most {
				t.Errorf("the heap has grown by %d bytes", grown)
			}
			if info, _ := r.Streams().Find("/live/a"); info.Held > bound {
				t.Errorf("the ring holds %d bytes", info.Held)
			}
			<-shut
			line.open()
			last, jump := time.Duration(0), time.Duration(0)
			for last < (frames-1)*40*time.Millisecond {
				at := slow()
				if at <= last {
					t.Fatalf("time goes back from %v to %v", last, at)
				}
				if at > last+40*time.Millisecond {
					jump = at - last
					if at%(400*time.Millisecond) != 0 {
						t.Errorf("it goes on at %v, want a keyframe", at)
					}
				}
				last = at
			}
			e := r.event("slow", func(e *lifecycle.Event) bool { return e.Kind == stream.KindSlow })
			if jump == 0 || e.Path != "/live/a" || e.Light != lifecycle.Amber || !strings.Contains(e.Detail, "frames left out") {
				t.Errorf("left out: %v, event %+v", jump, e)
			}
		})
	}
}

// heap is what is in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // the pools are empty now
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// viewRTMP, viewFLV and viewSession play /live/a on a connection that dial makes; the function returned reads up to the next frame and gives its time.
func (r *rig) viewRTMP(dial dialFunc) func() time.Duration {
	c, err := rtmp.Dial(soon(r.t), "rtmp://"+r.rtmp+"/live/a", &rtmp.DialOptions{Dial: dial})
	if err == nil {
		err = c.Play(soon(r.t))
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return playing(r.t, c).time
}

func (r *rig) viewFLV(dial dialFunc) func() time.Duration {
	transport := &http.Transport{DialContext: dial}
	req, err := http.NewRequestWithContext(soon(r.t), http.MethodGet, "http://"+r.http+"/live/a.flv", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { resp.Body.Close() })
	return file(r.t, resp.Body).time
}

func (r *rig) viewSession(dial dialFunc) func() time.Duration {
	w := r.loginOver(dial)
	w.say(`{"t":"play","path":"/live/a"}`)
	return func() time.Duration {
		for {
			if m := w.next(); m.head != nil && m.head.Flags&session.FlagInit == 0 {
				return m.head.DTS
			}
		}
	}
}

func (r *reader) time() time.Duration {
	f, err := r.frame()
	if err != nil {
		r.t.Fatal(err)
	}
	return f.DTS
}

// A client that takes nothing for WriteTimeout is closed as slow, whatever it follows.
func TestSlowClientIsClosed(t *testing.T) {
	for protocol, view := range map[string]func(r *rig, dial dialFunc) func() time.Duration{"rtmp": (*rig).viewRTMP, "http-flv": (*rig).viewFLV, "session": (*rig).viewSession} {
		t.Run(protocol, func(t *testing.T) {
			r := serve(t, Options{WriteTimeout: 100 * time.Millisecond, Heartbeat: time.Minute})
			f := r.feed("/live/a")
			f.pub.Write(big(0, 1000, true))
			var line tap
			view(r, line.dial)()
			shut := make(chan struct{})
			go func() { line.shut(); close(shut) }()
			for i := 1; i < 200; i++ {
				f.pub.Write(big(i, 100_000, i%10 == 0))
			}
			if why := r.ended(protocol); why.Code != lifecycle.ReasonSlow.Code {
				t.Errorf("got %v", why)
			}
			<-shut
			line.open()
			until(t, "it is no viewer any more", func() bool { info, _ := r.Streams().Find("/live/a"); return info.Viewers == 0 })
		})
	}
}

// loginOver is login on a connection that dial makes.
func (r *rig) loginOver(dial dialFunc) *wire {
	r.t.Helper()
	w := r.open(&websocket.DialOptions{NetDial: dial})
	w.say(`{"t":"hello","version":1}`)
	w.want(session.TypeWelcome)
	return w
}

// flood publishes n messages of a kilobyte.
func (r *rig) flood(path string, n int) {
	data := []byte(`"` + strings.Repeat("x", 1000) + `"`)
	for range n {
		r.publish(path, subject.Log, subject.Update{Data: data})
	}
}

// A log's subscriber that does not read is told exactly what it lost.
func TestSlowSubscriberOfALog(t *testing.T) {
	const n = 9000
	r := serve(t, Options{Subjects: subject.Options{Limits: ring.Limits{Count: 500}}, WriteTimeout: time.Minute, Heartbeat: time.Minute})
	w := r.loginOver(new(tap).dial) // who reads when it is told
	w.say(`{"t":"subscribe","path":"/log"}`)
	w.want(session.TypeSnapshot)
	r.flood("/log", n)
	lost := uint64(0)
	for next := uint64(0); next < n; {
		switch m := w.next(); {
		case m.Type == session.TypeUpdate && m.Offset == next:
			next++
		case m.Type == session.TypeGap && m.GapFrom == next && m.GapTo > next && m.Epoch != 0:
			lost += m.GapTo - m.GapFrom
			next = m.GapTo
		default:
			t.Fatalf("after %d: got %v %+v", next, m.Type, m.Message)
		}
	}
	if lost == 0 {
		t.Error("the network took everything")
	}
	told := uint64(0)
	for _, e := range r.Log().Recent(1000) {
		if e.Kind == KindSlow && e.Path == "/log" && e.Reason.Code == lifecycle.ReasonSlow.Code {
			told += e.Missed
		}
	}
	if told != lost {
		t.Errorf("the event log tells of %d lost, the client of %d", told, lost)
	}
}

// A record's subscriber that does not read gets in one change what it missed, and ends with the image.
func TestSlowSubscriberOfARecord(t *testing.T) {
	r := serve(t, Options{Subjects: subject.Options{RecordLimits: ring.Limits{Count: 100}}, WriteTimeout: time.Minute, Heartbeat: time.Minute})
	w := r.loginOver(new(tap).dial)
	w.say(`{"t":"subscribe","path":"/record"}`) // which is none yet
	w.want(session.TypeSnapshot)
	pad := strings.Repeat("x", 1000)
	const n = 9000
	for i := range n {
		value := ""
		if i%3 != 0 {
			value = fmt.Sprintf(`"%d%s"`, i, pad)
		}
		r.record("/record", fmt.Sprintf("f%d", i%50), value, "last", fmt.Sprint(i))
	}
	image := map[string]json.RawMessage{}
	updates := 0
	for next := uint64(0); next < n; updates++ {
		m := w.want(session.TypeUpdate)
		var changed map[string]json.RawMessage
		if err := json.Unmarshal(m.Fields, &changed); err != nil || m.Offset < next {
			t.Fatalf("after %d: got %d %v", next, m.Offset, err)
		}
		for name, value := range changed {
			if image[name] = value; string(value) == "null" {
				delete(image, name)
			}
		}
		next = m.Offset + 1
	}
	fields, _ := r.Subjects().Find("/record").Image()
	for _, f := range fields {
		if string(image[f.Name]) != string(f.Value) {
			t.Errorf("%s: got %.10s, want %.10s", f.Name, image[f.Name], f.Value)
		}
	}
	if len(image) != len(fields) {
		t.Errorf("got %d fields, want %d", len(image), len(fields))
	}
	if updates == n {
		t.Errorf("%d updates for %d changes: the network took everything", updates, n)
	}
	if held := r.Subjects().Find("/record").Ring().Stats().Items; held > 100 {
		t.Errorf("%d updates are kept", held)
	}
}

// A client that publishes and reads no answer is closed; what waits for it is bounded.
func TestAnswersThatNobodyReads(t *testing.T) {
	r := serve(t, Options{WriteTimeout: time.Minute, Heartbeat: time.Minute})
	w := r.loginOver(dialPlain)                                                   // a buffer that shrinks under way may bring TCP to a stand in both directions once it is full
	message := []byte(`{"t":"error","path":"/` + strings.Repeat("x", 200) + `"}`) // the answer repeats the path
	var err error
	for err == nil {
		err = w.ws.Write(soon(t), websocket.TextMessage, message)
	}
	if why := r.ended("session"); why.Code != lifecycle.ReasonSlow.Code {
		t.Errorf("got %v", why)
	}
}
