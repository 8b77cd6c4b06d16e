package record

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hawser/flv"
	"hawser/lifecycle"
	"hawser/media"
	"hawser/ring"
	"hawser/stream"
)

const live = "/live/a"

// rig is a hub with a recorder. Tests use it in a bubble of testing/synctest.
type rig struct {
	*Recorder
	t   testing.TB
	dir string
}

func newRig(t testing.TB, o Options, s stream.Options) *rig {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	r := &rig{t: t, dir: o.Dir}
	log := lifecycle.NewLog(ring.Limits{})
	s.Log = log
	s.OnChange = func(info stream.Info) { r.Changed(info) }
	hub := stream.NewHub(s)
	var err error
	if r.Recorder, err = New(o, hub, log); err != nil {
		t.Fatal(err)
	}
	return r
}

// clip is the first file of package flv's tests: pictures with B-frames and a keyframe each second, and sound.
func clip(t testing.TB) (tracks []media.Track, frames []media.Frame) {
	t.Helper()
	b, err := os.ReadFile("../flv/testdata/bframes.flv")
	if err != nil {
		t.Fatal(err)
	}
	return demux(t, b)
}

// demux reads an FLV file that must be whole.
func demux(t testing.TB, b []byte) (tracks []media.Track, frames []media.Frame) {
	t.Helper()
	r, d := flv.NewReader(bytes.NewReader(b)), flv.Demuxer{}
	for {
		tag, err := r.Next()
		if err == io.EOF {
			return d.Tracks(), frames
		}
		if err != nil {
			t.Fatal(err)
		}
		f, _, ok, err := d.Feed(tag.Type, tag.Timestamp, tag.Data)
		if err != nil {
			t.Fatal(err)
		}
		if ok && !f.Config {
			frames = append(frames, f)
		}
	}
}

// publisher publishes the clip, again and again.
type publisher struct {
	*stream.Publisher
	t      testing.TB
	tracks []media.Track
	frames []media.Frame
	next   int
}

func (r *rig) publish(p string) *publisher {
	r.t.Helper()
	pub, err := r.hub.Publish(p, "test-1")
	if err != nil {
		r.t.Fatal(err)
	}
	tracks, frames := clip(r.t)
	i := slices.IndexFunc(frames, func(f media.Frame) bool { return f.Kind == media.Video })
	for _, t := range tracks {
		if err := pub.SetTrack(t); err != nil {
			r.t.Fatal(err)
		}
	}
	return &publisher{Publisher: pub, t: r.t, tracks: tracks, frames: frames[i:]} // sound before the first picture is nobody's
}

// write publishes the next frames at once and returns them.
func (p *publisher) write(n int) (sent []media.Frame) {
	p.t.Helper()
	length := p.frames[len(p.frames)-1].DTS + 40*time.Millisecond
	for range n {
		f := p.frames[p.next%len(p.frames)]
		again := time.Duration(p.next/len(p.frames)) * length
		f.DTS, f.PTS = f.DTS+again, f.PTS+again
		if err := p.Write(f); err != nil {
			p.t.Fatal(err)
		}
		p.next++
		sent = append(sent, f)
	}
	return sent
}

// events waits until all is at rest and returns the events of recordings so far, each as its kind and reason.
func (r *rig) events() (words []string) {
	time.Sleep(2 * gather)
	synctest.Wait()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for e := range r.log.Events(ctx, 0) {
		if e.Protocol == "record" {
			words = append(words, strings.TrimSpace(e.Kind+" "+e.Reason.Word))
		}
	}
	return words
}

func (r *rig) wantEvents(want ...string) {
	r.t.Helper()
	if got := r.events(); !slices.Equal(got, want) {
		for _, e := range r.log.Recent(50) {
			r.t.Logf("%+v", e)
		}
		r.t.Errorf("events: got %q, want %q", got, want)
	}
}

// files are the recorded files with an ending, in order.
func (r *rig) files(ext string) (files [][]byte) {
	r.t.Helper()
	names, err := filepath.Glob(filepath.Join(r.dir, "live", "a", "*."+ext))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			r.t.Fatal(err)
		}
		files = append(files, b)
	}
	return files
}

// same compares what a file has with what was published, whose first frame is at the given time there.
func same(t testing.TB, got, want []media.Frame, from time.Duration) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("got %d frames, want %d", len(got), len(want))
	}
	for i, f := range got[:min(len(got), len(want))] {
		w := want[i]
		ahead := w.PTS - w.DTS
		w.DTS = max(w.DTS-want[0].DTS+from, 0)
		w.PTS = w.DTS + ahead
		if f.Kind != w.Kind || f.Key != w.Key || f.DTS != w.DTS || f.PTS != w.PTS || !bytes.Equal(f.Data, w.Data) {
			t.Fatalf("frame %d: got %v %v/%v of %d bytes, want %v %v/%v of %d", i, f.Kind, f.DTS, f.PTS, len(f.Data), w.Kind, w.DTS, w.PTS, len(w.Data))
		}
	}
}
