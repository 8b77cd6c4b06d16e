package server

import (
	"bytes"
	"encoding/binary"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"hawser/lifecycle"
	"hawser/media"
	"hawser/rtc"
)

// withRTC are options for peers on this machine, with quick clocks.
func withRTC() Options {
	return Options{RTC: quickRTC("127.0.0.1:0")}
}

func quickRTC(udp string) *rtc.Options {
	return &rtc.Options{UDP: udp, Loopback: true, DisconnectedTimeout: 10 * time.Second, FailedTimeout: 10 * time.Second, KeepAlive: 100 * time.Millisecond, Settle: 200 * time.Millisecond}
}

// rtcClient is the other end of a peer.
type rtcClient struct {
	t      testing.TB
	engine *rtc.Engine
	peer   *rtc.Peer

	mu     sync.Mutex
	states []string
	frames []media.Frame
	tracks []media.Track
	source *groups
}

// newRTCClient makes a client that plays, or that publishes tracks.
func newRTCClient(t testing.TB, send ...media.Track) *rtcClient {
	t.Helper()
	engine, err := rtc.New(*quickRTC(""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { engine.Close() })
	c := &rtcClient{t: t, engine: engine, source: &groups{}}
	o := rtc.PeerOptions{Send: send, OnChange: func(ch rtc.Change) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.states = append(c.states, ch.To.String())
	}}
	if len(send) == 0 {
		o.OnFrame = c.take
	} else {
		o.Source = c.source
	}
	if c.peer, err = engine.Peer(o); err != nil {
		t.Fatal(err)
	}
	c.source.peer = c.peer
	return c
}

func (c *rtcClient) take(t *media.Track, f media.Frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.tracks); n == 0 || c.tracks[n-1].Codec != t.Codec {
		c.tracks = append(c.tracks, *t)
	}
	c.frames = append(c.frames, f)
}

// got waits until frames of a kind that pass have come.
func (c *rtcClient) got(n int, kind media.Kind) (got []media.Frame) {
	c.t.Helper()
	until(c.t, "frames of "+kind.String(), func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		got = got[:0]
		for _, f := range c.frames {
			if f.Kind == kind {
				got = append(got, f)
			}
		}
		return len(got) >= n
	})
	return got
}

// until waits until the client is in a state.
func (c *rtcClient) until(state string) {
	c.t.Helper()
	until(c.t, "client "+state, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.states) > 0 && c.states[len(c.states)-1] == state
	})
}

func (c *rtcClient) offer() string {
	c.t.Helper()
	offer, err := c.peer.Offer(soon(c.t))
	if err != nil {
		c.t.Fatal(err)
	}
	return offer
}

// groups is what a client sends.
type groups struct {
	peer *rtc.Peer

	mu    sync.Mutex
	ready [][]byte
}

// Fill implements rtc.Source.
func (g *groups) Fill(dst [][]byte, _ int) [][]byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	dst = append(dst, g.ready...)
	g.ready = nil
	return dst
}

func (g *groups) send(group []byte) {
	g.mu.Lock()
	g.ready = append(g.ready, group)
	g.mu.Unlock()
	g.peer.Wake()
}

// h264Clip gives twelve pictures of H264 in the order in which they are shown, a keyframe every six.
func h264Clip(t testing.TB) (media.Track, []media.Frame) {
	t.Helper()
	b, err := os.ReadFile("../rtc/testdata/plain.h264")
	if err != nil {
		t.Fatal(err)
	}
	var sps, pps []byte
	var frames []media.Frame
	for unit := range bytes.SplitSeq(bytes.ReplaceAll(b, []byte{0, 0, 0, 1}, []byte{0, 0, 1}), []byte{0, 0, 1}) {
		if len(unit) == 0 {
			continue
		}
		const idr, delimiter, spsType, ppsType = 5, 9, 7, 8
		switch kind := unit[0] & 31; kind {
		case delimiter:
			at := time.Duration(len(frames)) * time.Second / 30
			frames = append(frames, media.Frame{Track: 1, Kind: media.Video, DTS: at, PTS: at})
		case spsType:
			sps = unit
		case ppsType:
			pps = unit
		case 1, idr:
			f := &frames[len(frames)-1]
			f.Key = f.Key || kind == idr
			f.Data = append(binary.BigEndian.AppendUint32(f.Data, uint32(len(unit))), unit...)
		}
	}
	config := append([]byte{1, sps[1], sps[2], sps[3], 0xff, 0xe1}, byte(len(sps)>>8), byte(len(sps)))
	config = append(append(append(config, sps...), 1, byte(len(pps)>>8), byte(len(pps))), pps...)
	track, err := media.ParseAVCC(config)
	if err != nil {
		t.Fatal(err)
	}
	track.ID = 1
	return track, frames
}

// vp8Clip gives a keyframe and some pictures of VP8.
func vp8Clip(t testing.TB) (media.Track, []media.Frame) {
	t.Helper()
	b, err := os.ReadFile("../rtc/testdata/plain.vp8.ivf")
	if err != nil {
		t.Fatal(err)
	}
	const fileHeader, frameHeader = 32, 12
	var frames []media.Frame
	for b = b[fileHeader:]; len(b) > 0; {
		n := int(binary.LittleEndian.Uint32(b))
		frames = append(frames, media.Frame{Track: 1, Kind: media.Video, Key: b[frameHeader]&1 == 0, Data: b[frameHeader : frameHeader+n]})
		b = b[frameHeader+n:]
	}
	track, err := media.ParseVP8(frames[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	track.ID = 1
	return track, frames
}

// opusTrack and opusFrame are sound that nobody decodes: 20 ms each.
func opusTrack() media.Track {
	t := media.OpusTrack(2)
	t.ID = 2
	return t
}

func opusFrame(n int) media.Frame {
	at := time.Duration(n) * 20 * time.Millisecond
	return media.Frame{Track: 2, Kind: media.Audio, Key: true, DTS: at, PTS: at, Data: bytes.Repeat([]byte{0xfc, byte(n)}, 20)}
}

// feedPlain publishes h264Clip, and sound where it is wanted, inside the server, picture by picture in its own time.
func (r *rig) feedPlain(path string, sound bool) *feeder {
	r.t.Helper()
	pub, err := r.Streams().Publish(path, "test")
	if err != nil {
		r.t.Fatal(err)
	}
	track, frames := h264Clip(r.t)
	pub.SetTrack(track)
	f := &feeder{t: r.t, pub: pub, frames: frames}
	if sound {
		pub.SetTrack(opusTrack())
	}
	stop, done := make(chan struct{}), make(chan struct{})
	r.t.Cleanup(func() {
		close(stop)
		<-done
		pub.Close(lifecycle.ReasonDone)
	})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Second / 60)
		defer tick.Stop()
		for n := 0; ; n++ {
			frame := frames[n%len(frames)]
			at := time.Duration(n) * time.Second / 30
			frame.DTS, frame.PTS = at, at
			pub.Write(frame)
			if sound {
				pub.Write(opusFrame(n))
			}
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	}()
	return f
}

// request makes a request with a body and headers given as name, value, name, value.
func (r *rig) request(method, path, body string, headers ...string) (*http.Response, string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(soon(r.t), method, "http://"+r.http+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp, string(b)
}

// signOn offers and takes the answer; it returns the path of the session and its ETag.
func (r *rig) signOn(path string, c *rtcClient) (location, etag string) {
	r.t.Helper()
	resp, body := r.request(http.MethodPost, path, c.offer(), "Content-Type", sdpType)
	if resp.StatusCode != http.StatusCreated || resp.Header.Get("Content-Type") != sdpType {
		r.t.Fatalf("POST %s: %s %s", path, resp.Status, body)
	}
	if err := c.peer.SetAnswer(body); err != nil {
		r.t.Fatal(err)
	}
	return resp.Header.Get("Location"), resp.Header.Get("ETag")
}

// publishPlain sends h264Clip and sound from a client until the test ends.
func (c *rtcClient) publishPlain() {
	track, frames := h264Clip(c.t)
	video, err := rtc.NewPacketizer(track)
	if err != nil {
		c.t.Fatal(err)
	}
	audio, err := rtc.NewPacketizer(opusTrack())
	if err != nil {
		c.t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	c.t.Cleanup(func() {
		close(stop)
		<-done
	})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Second / 60)
		defer tick.Stop()
		for n := 0; ; n++ {
			f := frames[n%len(frames)]
			f.PTS = time.Duration(n) * time.Second / 60
			c.source.send(video.AppendGroup(nil, f))
			c.source.send(audio.AppendGroup(nil, opusFrame(n)))
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	}()
}

// WHEP: a stream with H264 and Opus arrives as it was published, with the states of all that is ICE in the log, and DELETE ends it.
func TestWHEP(t *testing.T) {
	r := serve(t, withRTC())
	r.feedPlain("/live/cam1", true)
	c := newRTCClient(t)
	location, _ := r.signOn("/live/cam1/whep", c)
	if !strings.HasPrefix(location, "/live/cam1/whep/") {
		t.Errorf("location %q", location)
	}
	video := c.got(20, media.Video)
	c.got(20, media.Audio)
	_, frames := h264Clip(t)
	at := -1
	for i, f := range frames {
		if bytes.Equal(f.Data, video[0].Data) {
			at = i
		}
	}
	if at < 0 || !frames[at].Key {
		t.Fatalf("it begins with a frame of %d bytes that is no keyframe of the stream", len(video[0].Data))
	}
	for i, f := range video {
		if want := frames[(at+i)%len(frames)]; !bytes.Equal(f.Data, want.Data) || f.Key != want.Key {
			t.Fatalf("picture %d: got %d bytes, key %v, want %d, %v", i, len(f.Data), f.Key, len(want.Data), want.Key)
		}
	}
	r.settled(1)
	conns := r.Log().Conns()
	found := false
	for _, conn := range conns {
		found = found || conn.Protocol == "rtc" && conn.Path == "/live/cam1" && conn.State == "completed"
	}
	if !found {
		t.Errorf("no such connection: %+v", conns)
	}
	if resp, body := r.request(http.MethodDelete, location, ""); resp.StatusCode != http.StatusOK {
		t.Errorf("DELETE: %s %s", resp.Status, body)
	}
	if why := r.ended("rtc"); why.Word != "done" {
		t.Errorf("ended with %v", why)
	}
	if resp, _ := r.request(http.MethodDelete, location, ""); resp.StatusCode != http.StatusNotFound {
		t.Errorf("DELETE again: %s", resp.Status)
	}
	c.until("closed")
}

// states are those that the log has of the connections of a protocol, in order.
func (r *rig) states(protocol string) string {
	var words []string
	for _, e := range r.Log().Recent(1000) {
		if e.Protocol == protocol && e.Kind == lifecycle.KindState {
			words = append(words, e.State)
		}
	}
	return strings.Join(words, " ")
}

// settled waits until ICE has begun so many times, restarts among them, and is completed. On a busy machine it may be disconnected in between.
func (r *rig) settled(times int) {
	r.t.Helper()
	r.t.Cleanup(func() {
		if r.t.Failed() {
			r.t.Log(r.states(overRTC))
		}
	})
	until(r.t, "ICE is completed", func() bool {
		states := r.states(overRTC)
		return strings.Count(states, "checking") == times && strings.HasSuffix(states, "completed")
	})
}

// WHIP: what a client publishes comes out over RTMP and sessions; when it goes, so does the stream.
func TestWHIP(t *testing.T) {
	r := serve(t, withRTC())
	track, _ := h264Clip(t)
	c := newRTCClient(t, track, opusTrack())
	location, _ := r.signOn("/live/cam1/whip", c)
	c.publishPlain()
	w := r.login()
	w.say(`{"t":"play","path":"/live/cam1"}`)
	kinds := map[byte]int{}
	for kinds[1] < 5 || kinds[2] < 5 {
		if g := w.next(); g.head != nil && len(g.payload) > 0 {
			kinds[g.head.Kind]++
		}
	}
	viewer := newRTCClient(t)
	r.signOn("/live/cam1/whep", viewer)
	viewer.got(10, media.Video)
	viewer.got(10, media.Audio)
	r.request(http.MethodDelete, location, "")
	r.event("gone", func(e *lifecycle.Event) bool {
		return e.Protocol == "stream" && e.Kind == "gone" && e.Reason.Word == "done"
	})
}
