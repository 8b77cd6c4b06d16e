package record

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hawser/fmp4"
	"hawser/lifecycle"
	"hawser/media"
	"hawser/stream"
)

var all = Options{Patterns: []string{"/live/*"}, Formats: []Format{FMP4, FLV}}

// samples are the bytes of the fragments of a fragmented MP4 file, in order, as it has them.
func samples(b []byte) [][]byte { return boxes(b, "mdat") }

func sameSamples(t *testing.T, b []byte, want []media.Frame) {
	t.Helper()
	got := samples(b)
	if len(got) != len(want) {
		t.Errorf("got %d fragments, want %d", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if !bytes.Equal(got[i], want[i].Data) {
			t.Fatalf("fragment %d has other bytes than the frame", i)
		}
	}
}

func TestRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, all, stream.Options{})
		defer r.Close()
		p := r.publish(live)
		sent := p.write(300)
		r.wantEvents("record_start", "record_start")
		_, half := demux(t, r.files("flv")[0]) // whole while it is being written
		same(t, half, sent, 0)
		sent = append(sent, p.write(100)...)
		p.Close(lifecycle.ReasonDone)
		time.Sleep(stream.DefaultGrace)
		r.wantEvents("record_start", "record_start", "record_stop done", "record_stop done")
		file := r.files("flv")[0]
		tracks, got := demux(t, file)
		same(t, got, sent, 0)
		if len(tracks) != 2 {
			t.Errorf("got %d tracks", len(tracks))
		}
		x, err := scan(bytes.NewReader(file), int64(len(file)), 100)
		if err != nil {
			t.Fatal(err)
		}
		if seconds := binary.BigEndian.Uint64(file[x.duration:]); seconds == 0 {
			t.Error("the duration was not written")
		}
		sameSamples(t, r.files("mp4")[0], sent)
		if list := r.hub.List(); len(list) != 0 {
			t.Errorf("the recording still holds %+v", list)
		}
	})
}

// What the publisher asks for: append goes on in the newest file, also behind a torn tag; record begins another.
func TestModes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Formats: all.Formats}, stream.Options{Grace: -1})
		defer r.Close()
		var sent []media.Frame
		take := func(q Request, tail string) (from time.Duration) {
			p := r.publish(live)
			r.Start(live, q)
			sent = p.write(150)
			time.Sleep(time.Second)
			p.Close(lifecycle.ReasonDone)
			time.Sleep(2 * time.Second)
			names, _ := filepath.Glob(filepath.Join(r.dir, "live/a/*"))
			for _, name := range names {
				f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
				if err != nil {
					t.Fatal(err)
				}
				f.WriteString(tail)
				f.Close()
			}
			return
		}
		take(Request{Mode: Append}, "\x09\x00\x10\x00") // the header of a tag that a kill has torn
		first := sent
		_, got := demux(t, r.files("flv")[0][:len(r.files("flv")[0])-4])
		next := newestOf(got) + usualStep
		take(Request{Mode: Append}, "")
		if n := len(r.files("flv")) + len(r.files("mp4")); n != 2 {
			t.Fatalf("%d files, want 2", n)
		}
		_, got = demux(t, r.files("flv")[0])
		same(t, got[:150], first, 0)
		same(t, got[150:], sent, next)
		sameSamples(t, r.files("mp4")[0], slices.Concat(first, sent))
		take(Request{}, "")
		if a, b := len(r.files("flv")), len(r.files("mp4")); a != 2 || b != 2 {
			t.Errorf("%d and %d files, want 2 of each", a, b)
		}
		_, got = demux(t, r.files("flv")[1])
		same(t, got, sent, 0)
	})
}

func newestOf(frames []media.Frame) (newest time.Duration) {
	for _, f := range frames {
		newest = max(newest, f.DTS)
	}
	return newest
}

// Appended fragments go on where the file's time stood.
func TestAppendedFragmentsGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Formats: []Format{FMP4}}, stream.Options{Grace: -1})
		defer r.Close()
		var ends []time.Duration
		for range 2 {
			p := r.publish(live)
			r.Start(live, Request{Mode: Append})
			p.write(138)
			time.Sleep(time.Second)
			p.Close(lifecycle.ReasonDone)
			time.Sleep(time.Second)
			b := r.files("mp4")[0]
			scales, err := timescales(b)
			if err != nil {
				t.Fatal(err)
			}
			_, end, err := fragments(bytes.NewReader(b), 0, int64(len(b)), scales)
			if err != nil {
				t.Fatal(err)
			}
			ends = append(ends, end)
		}
		if ends[0] < 2000*time.Millisecond || ends[0] > 2200*time.Millisecond || ends[1] < 2*ends[0]-50*time.Millisecond || ends[1] > 2*ends[0]+50*time.Millisecond {
			t.Errorf("the file ends at %v, then at %v", ends[0], ends[1])
		}
	})
}

func TestRotation(t *testing.T) {
	for name, o := range map[string]Options{"time": {Segment: 1500 * time.Millisecond}, "size": {Size: 15_000}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o.Patterns = []string{"/**"}
				r := newRig(t, o, stream.Options{})
				p := r.publish(live)
				sent := p.write(600)
				r.Close()
				files := r.files("flv")
				if len(files) != 5 { // each of about two seconds
					t.Fatalf("%d files", len(files))
				}
				for i, b := range files {
					tracks, got := demux(t, b)
					if len(tracks) != 2 || !got[0].Key || got[0].Kind != media.Video || got[0].DTS != 0 || len(got) > len(sent) {
						t.Fatalf("file %d: %d tracks, begins with %v at %v, %d frames", i, len(tracks), got[0].Kind, got[0].DTS, len(got))
					}
					same(t, got, sent[:len(got)], 0)
					sent = sent[len(got):]
				}
				if len(sent) > 0 {
					t.Errorf("%d frames are missing", len(sent))
				}
			})
		})
	}
}

// A codec that changes begins a new file; parameters that change do so in fMP4 only.
func TestTracksChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, all, stream.Options{})
		p := r.publish(live)
		p.write(138)
		other := p.tracks[0]
		other.Width++
		p.SetTrack(other)
		p.write(138)
		mp3 := media.Track{ID: p.tracks[1].ID, Kind: media.Audio, Codec: media.MP3, SampleRate: 44100, Channels: 2, FrameSamples: 1152}
		p.SetTrack(mp3)
		p.write(138)
		r.Close()
		if n := len(r.files("flv")); n != 2 {
			t.Errorf("%d FLV files, want 2", n)
		}
		files := r.files("mp4")
		if len(files) != 3 {
			t.Fatalf("%d MP4 files, want 3", len(files))
		}
		want := 1
		if fmp4.Supports(mp3) {
			want = 2
		}
		if n := len(boxes(files[2], "moov", "trak")); n != want {
			t.Errorf("the last file has %d tracks, want %d", n, want)
		}
	})
}

func TestMaxRecordings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Patterns: []string{"/live/*"}, MaxRecordings: 1}, stream.Options{Grace: -1})
		defer r.Close()
		a, b := r.publish("/live/a"), r.publish("/live/b")
		a.write(10)
		b.write(10)
		r.wantEvents("record_error limit", "record_start")
		a.Close(lifecycle.ReasonDone)
		r.events()
		b.Close(lifecycle.ReasonDone)
		r.publish("/live/b").write(10)
		r.wantEvents("record_error limit", "record_start", "record_stop done", "record_start")
	})
}

// A publisher that comes back within the grace period goes on in the same file.
func TestPublisherComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Patterns: []string{live}}, stream.Options{})
		p := r.publish(live)
		first := p.write(100)
		p.Close(lifecycle.ReasonLost)
		time.Sleep(3 * time.Second)
		second := r.publish(live).write(100)
		r.Close()
		r.wantEvents("record_start", "record_stop shutdown")
		_, got := demux(t, r.files("flv")[0])
		if len(got) != 200 {
			t.Fatalf("%d frames", len(got))
		}
		same(t, got[:100], first, 0)
		same(t, got[100:], second, got[100].DTS)
		if got[100].DTS <= newestOf(got[:100]) {
			t.Errorf("goes back to %v", got[100].DTS)
		}
	})
}

// A publisher that comes when its predecessor's recording is about to end is recorded too.
func TestNextPublisherAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{}, stream.Options{Grace: -1})
		defer r.Close()
		for range 3 {
			p := r.publish(live)
			r.Start(live, Request{By: "test-1"})
			p.write(50)
			p.Close(lifecycle.ReasonDone)
		}
		r.wantEvents("record_start", "record_stop done", "record_start", "record_stop done", "record_start", "record_stop done")
		if files := r.files("flv"); len(files) != 3 {
			t.Errorf("%d files", len(files))
		}
	})
}

func TestOptions(t *testing.T) {
	for _, tc := range []struct {
		o    Options
		want string
	}{
		{Options{Patterns: []string{"live"}}, `begins with "/"`},
		{Options{Patterns: []string{"/a["}}, "syntax error in pattern"},
		{Options{Name: "{time}.{ext}"}, "{path}"},
		{Options{Name: "{time}/{path}.{ext}"}, "behind the last slash"},
		{Options{Name: "{path}/{time}"}, ".{ext} at the end"},
		{Options{Name: "../{path}.{ext}"}, `".."`},
		{Options{Name: "a//{path}.{ext}"}, "empty parts"},
		{Options{Name: "{path}/{when}.{ext}"}, "other braces"},
		{Options{Name: "{path}/\x00.{ext}"}, "backslash"},
		{Options{Formats: []Format{7}}, "format 7"},
	} {
		if _, err := New(tc.o, stream.NewHub(stream.Options{}), nil); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: got %v, want %q", tc.o, err, tc.want)
		}
	}
	for _, name := range []string{"", "{path}.{ext}", "{path}-{time}.{ext}", "a/{path}/b-{time}.{ext}"} {
		if _, err := New(Options{Name: name}, stream.NewHub(stream.Options{}), nil); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestPatterns(t *testing.T) {
	for _, tc := range []struct {
		pattern, path string
		want          bool
	}{
		{"/live/*", "/live/a", true}, {"/live/*", "/live/a/b", false}, {"/live/*", "/other/a", false}, {"/live/**", "/live/a/b", true},
		{"/live/**", "/live", false}, {"/live/**", "/lives/a", false}, {"/**", "/a", true}, {"/*/x/**", "/a/x/y/z", true}, {"/*/x/**", "/a/z/y", false}, {"/a", "/a", true},
	} {
		if got := matches([]string{tc.pattern}, tc.path); got != tc.want {
			t.Errorf("%s, %s: got %v", tc.pattern, tc.path, got)
		}
	}
}

func TestWords(t *testing.T) {
	for _, f := range []Format{FLV, FMP4} {
		b, _ := f.MarshalText()
		var back Format
		if err := back.UnmarshalText(b); err != nil || back != f {
			t.Errorf("%v: got %v, %v", f, back, err)
		}
	}
	var f Format
	if err := f.UnmarshalText([]byte("avi")); err == nil || fmt.Sprint(Format(9)) != "Format(9)" {
		t.Error("a stranger has a word")
	}
}

// Only what is asked for is recorded, also when publishers follow each other faster than the recording looks.
func TestUnwanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{}, stream.Options{Grace: -1})
		defer r.Close()
		var wanted []media.Frame
		for i := range 3 {
			p := r.publish(live)
			if i != 1 {
				r.Start(live, Request{By: "test-1"})
			}
			sent := p.write(50)
			if i != 1 {
				wanted = append(wanted, sent...)
			} else {
				r.events()
			}
			p.Close(lifecycle.ReasonDone)
		}
		r.wantEvents("record_start", "record_stop done", "record_start", "record_stop done")
		files := r.files("flv")
		if len(files) != 2 {
			t.Fatalf("%d files", len(files))
		}
		for i, b := range files {
			_, got := demux(t, b)
			same(t, got, wanted[i*50:][:50], 0)
		}
	})
}
