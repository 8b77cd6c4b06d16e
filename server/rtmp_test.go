package server

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"hawser/flv"
	"hawser/lifecycle"
	"hawser/media"
	"hawser/rtmp"
	"hawser/stream"
)

// publisher is an RTMP client that publishes the clip.
type publisher struct {
	*rtmp.Client
	t      testing.TB
	tracks []media.Track
	frames []media.Frame
}

func (r *rig) publisher(path string) *publisher {
	r.t.Helper()
	c, err := rtmp.Dial(soon(r.t), "rtmp://"+r.rtmp+path, nil)
	if err == nil {
		err = c.Publish(soon(r.t))
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	p := &publisher{Client: c, t: r.t}
	p.tracks, p.frames = clip(r.t)
	for _, track := range p.tracks {
		p.write(media.Frame{Track: track.ID, Kind: track.Kind, Config: true, Data: track.Config})
	}
	return p
}

// write sends frames and returns them.
func (p *publisher) write(frames ...media.Frame) []media.Frame {
	p.t.Helper()
	for _, f := range frames {
		i := slices.IndexFunc(p.tracks, func(t media.Track) bool { return t.ID == f.Track })
		if err := p.WriteFrame(soon(p.t), p.tracks[i], f); err != nil {
			p.t.Fatal(err)
		}
	}
	return frames
}

// reader turns what a viewer gets into frames.
type reader struct {
	t      testing.TB
	demux  flv.Demuxer
	next   func() (typ byte, timestamp uint32, body []byte, err error)
	config int // how often parameters came that are new
}

// playing reads what an RTMP client plays.
func playing(t testing.TB, c *rtmp.Client) *reader {
	return &reader{t: t, next: func() (byte, uint32, []byte, error) {
		for m, err := range c.Messages(soon(t)) {
			return m.Type, m.Timestamp, m.Payload, err
		}
		return 0, 0, nil, io.EOF
	}}
}

// file reads FLV.
func file(t testing.TB, body io.Reader) *reader {
	tags := flv.NewReader(body)
	return &reader{t: t, next: func() (byte, uint32, []byte, error) {
		tag, err := tags.Next()
		return tag.Type, tag.Timestamp, tag.Data, err
	}}
}

// frame returns the next frame.
func (r *reader) frame() (media.Frame, error) {
	r.t.Helper()
	for {
		typ, timestamp, body, err := r.next()
		if err != nil {
			return media.Frame{}, err
		}
		f, _, ok, err := r.demux.Feed(typ, timestamp, body)
		if err != nil {
			r.t.Fatal(err)
		}
		if ok && f.Config {
			r.config++
		} else if ok {
			return f, nil
		}
	}
}

// want reads frames that must be these; their times are shifted by the given time.
func (r *reader) want(frames []media.Frame, shift time.Duration) {
	r.t.Helper()
	for i, want := range frames {
		f, err := r.frame()
		if err != nil {
			r.t.Fatalf("frame %d: %v", i, err)
		}
		want.DTS, want.PTS = want.DTS+shift, want.PTS+shift
		if f.Kind != want.Kind || f.Key != want.Key || f.DTS != want.DTS || f.PTS != want.PTS || string(f.Data) != string(want.Data) {
			r.t.Fatalf("frame %d: got %v %v of %d bytes, want %v %v of %d", i, f.Kind, f.DTS, len(f.Data), want.Kind, want.DTS, len(want.Data))
		}
	}
}

// received waits until the server has so many frames of a stream.
func (r *rig) received(path string, n int) {
	r.t.Helper()
	until(r.t, "the frames are there", func() bool { info, _ := r.Streams().Find(path); return info.Frames >= uint64(n) })
}

func TestRTMPToAll(t *testing.T) {
	r := serve(t, Options{})
	early := playing(t, r.player("/live/a"))
	p := r.publisher("/live/a")
	sent := p.write(p.frames[:80]...)
	r.received("/live/a", 80)
	key := lastKey(sent)
	if key <= 0 {
		t.Fatal("the clip has one keyframe only")
	}
	late := playing(t, r.player("/live/a"))
	flvLate := file(t, r.get("/live/a.flv").Body)
	early.want(sent, 0)
	late.want(sent[key:], 0)
	flvLate.want(sent[key:], 0)
	for _, f := range p.frames[80:] {
		p.write(f)
		for _, viewer := range []*reader{early, late, flvLate} {
			viewer.want([]media.Frame{f}, 0)
		}
	}
	for i, viewer := range []*reader{early, late, flvLate} {
		if viewer.config != 2 || len(viewer.demux.Tracks()) != 2 {
			t.Errorf("viewer %d: parameters came %d times", i, viewer.config)
		}
	}
}

func TestSecondPublisherIsRefused(t *testing.T) {
	r := serve(t, Options{})
	first := r.publisher("/live/a")
	c, err := rtmp.Dial(soon(t), "rtmp://"+r.rtmp+"/live/a", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var refused *rtmp.Refusal
	if err := c.Publish(soon(t)); !errors.As(err, &refused) || refused.Code != "NetStream.Publish.BadName" || !strings.Contains(refused.Description, "taken") {
		t.Errorf("got %v", err)
	}
	e := r.event("refuse", func(e *lifecycle.Event) bool { return e.Kind == rtmp.KindRefuse })
	if e.Reason.Code != lifecycle.ReasonTaken.Code || e.Path != "/live/a" {
		t.Errorf("the event: %+v", e)
	}
	player := playing(t, r.player("/live/a"))
	player.want(first.write(first.frames[:10]...), 0) // the first is not disturbed
	first.Close()
	until(t, "the path is free", func() bool { info, _ := r.Streams().Find("/live/a"); return info.Status == stream.Paused })
	second := r.publisher("/live/a")
	second.write(second.frames[:10]...)
	newest := first.frames[0].DTS
	for _, f := range first.frames[:10] {
		newest = max(newest, f.DTS)
	}
	f, err := player.frame()
	if err != nil || !f.Key || f.DTS <= newest {
		t.Errorf("the next publisher's first frame: got %v %v, want one after %v", f.DTS, err, newest)
	}
}

func TestPublisherIsGone(t *testing.T) {
	const grace = 300 * time.Millisecond
	r := serve(t, Options{Streams: stream.Options{Grace: grace}})
	p := r.publisher("/live/a")
	sent := p.write(p.frames[:20]...)
	player := playing(t, r.player("/live/a"))
	file := file(t, r.get("/live/a.flv").Body)
	player.want(sent, 0)
	file.want(sent, 0)
	start := time.Now()
	p.Close()
	r.event("gone", func(e *lifecycle.Event) bool { return e.Kind == stream.KindGone && e.Light == lifecycle.Amber })
	if f, err := player.frame(); !errors.Is(err, rtmp.ErrStreamEnded) {
		t.Errorf("the player: got %v %v, want UnpublishNotify", f.DTS, err)
	}
	if stayed := time.Since(start); stayed < grace {
		t.Errorf("the player was told after %v, the grace period is %v", stayed, grace)
	}
	if f, err := file.frame(); err != io.EOF {
		t.Errorf("HTTP-FLV: got %v %v, want the end", f.DTS, err)
	}
	if why := r.ended("http-flv"); why.Code != lifecycle.ReasonGone.Code {
		t.Errorf("HTTP-FLV: ended with %v", why)
	}
	r.event("unpublish", func(e *lifecycle.Event) bool { return e.Kind == stream.KindUnpublish })
	if resp := r.get("/live/a.flv"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("after the end: got status %d", resp.StatusCode)
	}
}

// A publisher whose connection breaks in the middle of a frame leaves whole frames only.
func TestBrokenPublisher(t *testing.T) {
	r := serve(t, Options{})
	p := r.publisher("/live/a")
	player := playing(t, r.player("/live/a"))
	player.want(p.write(p.frames[:5]...), 0)
	if err := p.WriteMessage(soon(t), rtmp.Message{Type: rtmp.TypeVideo, Payload: []byte{0x17, 1, 0, 0, 0, 0, 0, 1, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	why := r.event("protocol_error", func(e *lifecycle.Event) bool { return e.Kind == rtmp.KindProtocolError }).Reason
	if why.Code != lifecycle.ReasonProtocol.Code || !strings.Contains(why.Text, "NAL unit of 256 bytes") {
		t.Errorf("got %v", why)
	}
	r.event("gone", func(e *lifecycle.Event) bool { return e.Kind == stream.KindGone })
	again := r.publisher("/live/a")
	sent := again.write(again.frames[:5]...)
	if f, err := player.frame(); err != nil || string(f.Data) != string(sent[0].Data) {
		t.Errorf("got a frame of %d bytes, %v", len(f.Data), err)
	}
}

// Codecs that are not carried are left out and told once; what is carried goes on.
func TestUnsupportedCodecs(t *testing.T) {
	r := serve(t, Options{})
	p := r.publisher("/live/a")
	player := playing(t, r.player("/live/a"))
	for range 3 {
		for _, m := range []rtmp.Message{
			{Type: rtmp.TypeVideo, Payload: []byte("\x91vvc1\x00\x00\x00")}, // Enhanced RTMP: VVC
			{Type: rtmp.TypeAudio, Payload: []byte("\xb2speex")},
		} {
			if err := p.WriteMessage(soon(t), m); err != nil {
				t.Fatal(err)
			}
		}
	}
	player.want(p.write(p.frames[:10]...), 0)
	told := 0
	for _, e := range r.Log().Recent(1000) {
		if e.Kind == KindUnsupported && e.Reason.Code == lifecycle.ReasonUnsupported.Code && e.Path == "/live/a" {
			told++
		}
	}
	if told != 2 {
		t.Errorf("told %d times, want twice", told)
	}
}

func TestFLV(t *testing.T) {
	r := serve(t, Options{})
	for _, path := range []string{"/live/a.flv", "/.flv", "/a//b.flv", "/" + strings.Repeat("x", 300) + ".flv"} {
		if resp := r.get(path); resp.StatusCode != http.StatusNotFound && resp.StatusCode != http.StatusTemporaryRedirect && resp.StatusCode != http.StatusMovedPermanently {
			t.Errorf("%s: got status %d", path, resp.StatusCode)
		}
	}
	r.player("/live/a") // waits there; nobody publishes
	if resp := r.get("/live/a.flv"); resp.StatusCode != http.StatusNotFound || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("without a publisher: got %d %v", resp.StatusCode, resp.Header)
	}
	f := r.feed("/live/a")
	written := f.write(10)
	head, err := http.Head("http://" + r.http + "/live/a.flv")
	if err != nil || head.StatusCode != http.StatusOK || head.Header.Get("Content-Type") != "video/x-flv" {
		t.Errorf("HEAD: got %v %v", head, err)
	}
	resp := r.get("/live/a.flv")
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "video/x-flv" || resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("got %d %v", resp.StatusCode, resp.Header)
	}
	file(t, resp.Body).want(written, 0)
	until(t, "it counts as a viewer", func() bool { info, _ := r.Streams().Find("/live/a"); return info.Viewers == 2 })
	resp.Body.Close()
	r.event("the viewer left", func(e *lifecycle.Event) bool {
		return e.Protocol == "http-flv" && e.Kind == lifecycle.KindClose && e.Reason.Code == lifecycle.ReasonDone.Code
	})
	until(t, "and no more", func() bool { info, _ := r.Streams().Find("/live/a"); return info.Viewers == 1 })
}

// TestPlayForSoLong asks for some of what is live: it ends that long after its first media, not after the request, and others go on.
func TestPlayForSoLong(t *testing.T) {
	const length = 100 * time.Millisecond
	r := serve(t, Options{})
	c, err := rtmp.Dial(soon(t), "rtmp://"+r.rtmp+"/live/a", nil)
	if err == nil {
		err = c.PlayAs(soon(t), rtmp.PlayRequest{What: rtmp.PlayLive, Duration: length})
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	other := playing(t, r.player("/live/a"))
	begun := time.Now()
	p := r.publisher("/live/a")
	sent := p.write(p.frames[:10]...)
	some := playing(t, c)
	some.want(sent, 0)
	if _, err := some.frame(); !errors.Is(err, rtmp.ErrStreamEnded) {
		t.Errorf("got %v, want the end", err)
	}
	if lasted := time.Since(begun); lasted < length {
		t.Errorf("it ended after %v, want at least %v", lasted, length)
	}
	other.want(sent, 0)
	other.want(p.write(p.frames[10:20]...), 0)
}
