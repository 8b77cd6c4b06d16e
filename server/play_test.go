package server

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"hawser/lifecycle"
	"hawser/media"
	"hawser/session"
	"hawser/stream"
	"hawser/subject"
)

// wantMedia reads a media message.
func (w *wire) wantMedia(status session.Status, tracks int) got {
	w.t.Helper()
	m := w.want(session.TypeMedia)
	if m.Status != status || len(m.Tracks) != tracks {
		w.t.Fatalf("got %v with %d tracks, %v, want %v with %d", m.Status, len(m.Tracks), m.Reason, status, tracks)
	}
	return m
}

// wantInit reads an init segment.
func (w *wire) wantInit(offset uint64) {
	w.t.Helper()
	m := w.next()
	if m.head == nil || m.head.Flags&session.FlagInit == 0 || m.head.Kind != session.MediaAll || m.head.Offset != offset || !bytes.Contains(m.payload[:12], []byte("ftyp")) {
		w.t.Fatalf("got %v %+v, want an init segment at %d", m.Type, m.head, offset)
	}
}

// wantFrames reads one fragment for each frame and returns the offset behind them.
func (w *wire) wantFrames(offset uint64, frames []media.Frame) uint64 {
	w.t.Helper()
	for _, f := range frames {
		m := w.next()
		if m.head == nil {
			w.t.Fatalf("got %v %+v, want a frame", m.Type, m.Message)
		}
		kind := byte(session.MediaVideo)
		if f.Kind == media.Audio {
			kind = session.MediaAudio
		}
		if m.head.Offset != offset || m.head.DTS != f.DTS || m.head.Kind != kind || m.head.Flags&session.FlagKeyframe != 0 != f.Key || !bytes.HasSuffix(m.payload, f.Data) {
			w.t.Fatalf("got %+v and %d bytes, want offset %d and %v (key: %v)", m.head, len(m.payload), offset, f.DTS, f.Key)
		}
		offset++
	}
	return offset
}

// lastKey is the index of the last picture that a viewer may start at.
func lastKey(frames []media.Frame) int {
	for i, f := range slices.Backward(frames) {
		if f.Kind == media.Video && f.Key {
			return i
		}
	}
	return -1
}

func TestPlayFromTheLastKeyframe(t *testing.T) {
	r := serve(t, Options{})
	f := r.feed("/live/a")
	written := f.write(100)
	written = written[lastKey(written):]
	w := r.login()
	w.say(`{"t":"play","path":"/live/a"}`)
	m := w.wantMedia(session.StatusLive, 2)
	if !strings.HasPrefix(m.MIME, `video/mp4; codecs="avc1.`) || m.Time != written[0].DTS || m.Epoch == 0 || m.Skipped != 0 {
		t.Errorf("got %+v", m.Message)
	}
	video, audio := m.Tracks[0], m.Tracks[1]
	if video.Kind != "video" || video.Width == 0 || video.Height == 0 || audio.Kind != "audio" || audio.SampleRate == 0 || audio.Channels == 0 {
		t.Errorf("tracks: got %+v", m.Tracks)
	}
	w.wantInit(m.Offset)
	next := w.wantFrames(m.Offset, written)
	w.wantFrames(next, f.write(200))
	w.say(`{"t":"play","path":"/live/a"}`)
	if m := w.want(session.TypeError); m.Path != "/live/a" || m.Reason.Word != "bad_request" {
		t.Errorf("played twice: got %+v", m.Message)
	}
}

func TestPlayBeforeThePublisher(t *testing.T) {
	r := serve(t, Options{Streams: stream.Options{Grace: time.Millisecond}})
	w := r.login()
	w.say(`{"t":"play","path":"/live/a"}`)
	w.wantMedia(session.StatusWaiting, 0)
	f := r.feed("/live/a")
	w.wantMedia(session.StatusLive, 0) // nothing is known of the tracks yet
	written := f.write(50)
	m := w.wantMedia(session.StatusLive, 2)
	w.wantInit(m.Offset)
	next := w.wantFrames(m.Offset+1, written)
	f.pub.Close(lifecycle.ReasonLost)
	for range 2 { // at once, and when the grace period is over
		if m := w.wantMedia(session.StatusWaiting, 2); m.Reason.Word != "lost" || m.Offset != next {
			t.Errorf("the publisher is gone: got %+v", m.Message)
		}
		w.wantInit(next)
		next++
	}
	f = r.feed("/live/a")
	w.wantMedia(session.StatusLive, 2)
	w.wantInit(next)
	again := f.write(10)
	if m := w.next(); m.head == nil || m.head.Offset != next+1 || m.head.DTS <= written[49].DTS {
		t.Errorf("the next publisher's first frame: got %+v, want its time to go on after %v; %v", m.head, written[49].DTS, again[0].DTS)
	}
}

func TestPlayFromOffset(t *testing.T) {
	r := serve(t, Options{})
	f := r.feed("/live/a")
	written := f.write(100)
	stay := r.login()
	stay.say(`{"t":"play","path":"/live/a"}`)
	start := stay.wantMedia(session.StatusLive, 2)
	key := int(start.Offset)
	written = append(written, f.write(60)...)
	first := uint64(2) // the offset of the first frame, after two changes
	for _, tc := range []struct{ epoch, offset, want uint64 }{
		{start.Epoch, start.Offset + 5, start.Offset + 5},
		{start.Epoch, first + 160, first + 160}, // the next frame
		{start.Epoch, first + 500, 0},           // not made yet
		{start.Epoch, 3, 0},                     // nobody has its bytes
		{start.Epoch + 1, start.Offset + 5, 0},  // of another life
	} {
		w := r.login()
		w.say(`{"t":"play","path":"/live/a","from":"offset","epoch":"%s","offset":%d}`, epochText(tc.epoch), tc.offset)
		m := w.wantMedia(session.StatusLive, 2)
		if tc.want == 0 {
			tc.want = first + uint64(lastKey(written))
		}
		if m.Offset != tc.want {
			t.Errorf("from %d: got %d, want %d (the first keyframe was %d)", tc.offset, m.Offset, tc.want, key)
		}
		w.wantInit(tc.want)
		w.wantFrames(tc.want, written[tc.want-first:])
	}
}

func TestStopAndPlayAgain(t *testing.T) {
	r := serve(t, Options{})
	f := r.feed("/live/a")
	f.write(30)
	w := r.login()
	for range 20 {
		w.say(`{"t":"play","path":"/live/a"}`)
		for w.want(session.TypeMedia); ; {
			if m := w.next(); m.head.Flags&session.FlagKeyframe != 0 {
				break
			}
		}
		w.say(`{"t":"stop","path":"/live/a"}`)
		w.say(`{"t":"stop","path":"/live/a"}`) // which does nothing
		w.say(`{"t":"ping","id":1}`)
		for w.next().Type != session.TypePong { // media that were on their way
		}
		f.write(7)
	}
	w.say(`{"t":"ping","id":2}`)
	w.want(session.TypePong)
	if info, _ := r.Streams().Find("/live/a"); info.Viewers != 0 {
		t.Errorf("%d viewers of what nobody plays", info.Viewers)
	}
}

func TestRefusedPlay(t *testing.T) {
	r := serve(t, Options{Streams: stream.Options{MaxStreams: 1}})
	r.feed("/live/a").write(1)
	w := r.login()
	for range 2 { // after a refusal the path is free for another attempt
		w.say(`{"t":"play","path":"/live/b"}`)
		if m := w.wantMedia(session.StatusGone, 0); m.Reason.Word != "limit" {
			t.Errorf("got %v", m.Reason)
		}
	}
}

// Two plays and ten subscriptions share one session; each is complete and in order, and of what is pending at one time data go first.
func TestDataAndMediaInOneSession(t *testing.T) {
	r := serve(t, Options{})
	feeds := []*feeder{r.feed("/live/0"), r.feed("/live/1")}
	var first [][]media.Frame
	for _, f := range feeds {
		first = append(first, f.write(1))
	}
	w := r.login()
	next := map[string]uint64{}
	for i := range 10 {
		w.say(`{"t":"subscribe","path":"/log/%d"}`, i)
		next[w.want(session.TypeSnapshot).Path] = 0
	}
	for i := range 2 {
		w.say(`{"t":"play","path":"/live/%d"}`, i)
		m := w.wantMedia(session.StatusLive, 2)
		w.wantInit(m.Offset)
		next[m.Path] = w.wantFrames(m.Offset, first[i])
	}
	const rounds = 300
	go func() {
		for n := range rounds {
			for _, f := range feeds {
				f.write(1)
			}
			for i := range 10 {
				r.log(fmt.Sprintf("/log/%d", i), n, n+1)
			}
		}
	}()
	for seen := 0; seen < rounds*(10+2); seen++ {
		m := w.next()
		offset := m.Offset
		if m.head != nil {
			offset = m.head.Offset
		} else if m.Type != session.TypeUpdate {
			t.Fatalf("got %v %+v", m.Type, m.Message)
		}
		if offset != next[m.Path] {
			t.Fatalf("%s: got %d, want %d", m.Path, offset, next[m.Path])
		}
		next[m.Path]++
	}
}

// What is published at the path of a stream carries the stream's time.
func TestDataHaveTheTimeOfTheStream(t *testing.T) {
	r := serve(t, Options{})
	frames := r.feed("/live/a").write(90)
	newest := time.Duration(0)
	for _, f := range frames {
		newest = max(newest, f.DTS)
	}
	w := r.login()
	w.say(`{"t":"subscribe","path":"/live/a"}`)
	w.want(session.TypeSnapshot)
	w.say(`{"t":"publish","id":1,"path":"/live/a","data":1}`)
	w.say(`{"t":"publish","id":2,"path":"/live/a","data":2,"time":77}`)
	var times []time.Duration
	for len(times) < 2 {
		if m := w.next(); m.Type == session.TypeUpdate && m.HasTime {
			times = append(times, m.Time)
		}
	}
	if !slices.Equal(times, []time.Duration{newest, 77 * time.Millisecond}) {
		t.Errorf("got %v, want %v and what was given", times, newest)
	}
}

func TestLiveRecord(t *testing.T) {
	r := serve(t, Options{Streams: stream.Options{Grace: time.Millisecond}})
	w := r.login()
	w.say(`{"t":"subscribe","path":"/sys/live"}`)
	w.want(session.TypeSnapshot)
	// shows waits for an update that shows something of the stream.
	shows := func(what string) {
		t.Helper()
		for {
			if m := w.want(session.TypeUpdate); strings.Contains(string(m.Fields), what) {
				return
			}
		}
	}
	f := r.feed("/live/a")
	shows(`"/live/a":{"status":"live","light":"green"`)
	f.write(5)
	shows(`"codec":"avc1.`)
	viewer := r.login()
	viewer.say(`{"t":"play","path":"/live/a"}`)
	shows(`"viewers":1`)
	f.pub.Close(lifecycle.ReasonDone)
	shows(`"/live/a":null`)
	if fields, _ := r.Subjects().Find(LivePath).Image(); len(fields) != 0 {
		t.Errorf("still listed: %+v", fields)
	}
}

// More streams than a record may have fields: those that there is room for are listed, and another when one goes.
func TestLiveRecordIsFull(t *testing.T) {
	r := serve(t, Options{Streams: stream.Options{Grace: -1}, Subjects: subject.Options{MaxFields: 2}})
	r.feed("/live/a")
	b := r.feed("/live/b")
	listed := func() (paths []string) {
		if s := r.Subjects().Find(LivePath); s != nil {
			fields, _ := s.Image()
			for _, f := range fields {
				paths = append(paths, f.Name)
			}
		}
		slices.Sort(paths)
		return paths
	}
	until(t, "two are listed", func() bool { return slices.Equal(listed(), []string{"/live/a", "/live/b"}) })
	r.feed("/live/c")
	b.pub.Close(lifecycle.ReasonDone)
	until(t, "the third takes the place of the second", func() bool { return slices.Equal(listed(), []string{"/live/a", "/live/c"}) })
}
