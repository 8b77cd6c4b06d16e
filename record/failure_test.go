package record

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"hawser/lifecycle"
	"hawser/media"
	"hawser/ring"
	"hawser/stream"
)

// faulty is a file whose disk is full after a number of bytes.
type faulty struct {
	file
	left int
}

func (f *faulty) WriteAt(b []byte, at int64) (int, error) {
	n := min(len(b), f.left)
	f.left -= n
	f.file.WriteAt(b[:n], at)
	if n < len(b) {
		return n, &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
	}
	return n, nil
}

func TestFailures(t *testing.T) {
	for _, tc := range []struct {
		name string
		word string
		wrap func(r *rig, f file) file
		do   func(r *rig)
	}{
		{"full disk", "limit", func(_ *rig, f file) file { return &faulty{f, 10_000} }, func(*rig) {}},
		{"vanished folder", "not_found", nil, func(r *rig) { os.RemoveAll(r.dir) }},
		{"moved folder", "not_found", nil, func(r *rig) { os.Rename(r.dir, r.dir+"2") }},
		{"another file in its place", "not_found", nil, func(r *rig) {
			names, _ := filepath.Glob(filepath.Join(r.dir, "live/a/*.flv"))
			os.Remove(names[0])
			os.WriteFile(names[0], nil, 0o600)
		}},
		{"closed file", "internal", func(_ *rig, f file) file { f.Close(); return f }, func(*rig) {}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Options{Dir: filepath.Join(t.TempDir(), "d"), Patterns: []string{live}}, stream.Options{})
				defer r.Close()
				os.Mkdir(r.dir, 0o755)
				if tc.wrap != nil {
					r.wrap = func(f *os.File) file { return tc.wrap(r, f) }
				}
				p := r.publish(live)
				viewer := p.Stream().Frames().Cursor(0)
				sent := p.write(20)
				r.events()
				tc.do(r)
				for range 8 {
					sent = append(sent, p.write(20)...)
					time.Sleep(500 * time.Millisecond)
				}
				r.wantEvents("record_start", "record_error "+tc.word, "record_stop "+tc.word)
				if n := viewer.Lag(); n < uint64(len(sent)) {
					t.Errorf("the stream has %d items, want %d and more", n, len(sent))
				}
				if b := r.files("flv"); tc.word == "limit" {
					if _, got := demux(t, b[0]); len(got) == 0 {
						t.Error("what was written before is lost")
					}
				}
				r.wrap = func(f *os.File) file { return f }
				os.MkdirAll(r.dir, 0o755)
				p.Close(lifecycle.ReasonDone)
				time.Sleep(time.Second)
				p = r.publish(live)
				p.write(20)
				p.Close(lifecycle.ReasonDone)
				time.Sleep(stream.DefaultGrace)
				events := r.events()
				if want := []string{"record_start", "record_stop done"}; len(events) != 5 || !slices.Equal(events[3:], want) {
					t.Errorf("the next publish: got %q, want %q", events[3:], want)
				}
			})
		})
	}
}

// torn keeps what a file looks like whenever a kill may come: writes end where a page does.
type torn struct {
	file
	now    []byte
	states [][]byte
}

func (f *torn) WriteAt(b []byte, at int64) (int, error) {
	n, err := f.file.WriteAt(b, at)
	for len(b) > 0 {
		part := min(len(b), 4096-int(at%4096))
		if grow := int(at) + part - len(f.now); grow > 0 {
			f.now = append(f.now, make([]byte, grow)...)
		}
		copy(f.now[at:], b[:part])
		f.states = append(f.states, bytes.Clone(f.now))
		b, at = b[part:], at+int64(part)
	}
	return n, err
}

// Whenever a kill comes, the boxes of a file are whole up to one that says that it goes to the end: ffmpeg refuses a file with a torn moof.
func TestTornWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Patterns: []string{live}, Formats: []Format{FMP4}}, stream.Options{})
		var f *torn
		r.wrap = func(of *os.File) file { f = &torn{file: of}; return f }
		p := r.publish(live)
		for range 20 {
			p.write(60)
			r.events()
		}
		r.Close()
		if len(f.states) < 60 {
			t.Fatalf("%d states", len(f.states))
		}
		for i, b := range f.states {
			for whole := len(b); len(b) > 0; {
				if len(b) < 8 {
					t.Fatalf("state %d: %d bytes at %d", i, len(b), whole-len(b))
				}
				n := int(binary.BigEndian.Uint32(b))
				if n == 0 && binary.BigEndian.Uint32(b[4:]) == 0 {
					break
				}
				if n < 8 || n > len(b) {
					t.Fatalf("state %d: box %q of %d bytes at %d of %d", i, b[4:8], n, whole-len(b), whole)
				}
				b = b[n:]
			}
		}
	})
}

// A folder that is not there is not made: it is a disk that is not mounted.
func TestNoFolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Dir: filepath.Join(t.TempDir(), "none"), Patterns: []string{live}}, stream.Options{})
		defer r.Close()
		r.publish(live).write(20)
		r.wantEvents("record_error not_found")
		if _, err := os.Stat(r.dir); err == nil {
			t.Error("the folder was made")
		}
	})
}

// slow is a file on a disk that waits.
type slow struct {
	file
	gate chan struct{}
}

func (f *slow) WriteAt(b []byte, at int64) (int, error) {
	<-f.gate
	return f.file.WriteAt(b, at)
}

// A disk that is slower than the stream for longer than the ring holds makes a gap, and holds up nobody.
func TestSlowDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{Patterns: []string{live}}, stream.Options{Limits: ring.Limits{Count: 100}})
		gate := make(chan struct{})
		r.wrap = func(f *os.File) file { return &slow{f, gate} }
		p := r.publish(live)
		p.write(50)
		time.Sleep(time.Second) // it waits with the file's header
		p.write(550)
		close(gate)
		r.wantEvents("record_start", "record_gap slow")
		var sent []media.Frame
		for range 6 {
			sent = append(sent, p.write(23)...)
			time.Sleep(time.Second)
		}
		r.Close()
		_, got := demux(t, r.files("flv")[0])
		same(t, got[len(got)-138:], sent, got[len(got)-138].DTS)
		var last time.Duration
		for i, f := range got {
			if f.Kind == media.Video && f.DTS-last > 400*time.Millisecond && !f.Key {
				t.Errorf("frame %d: goes on at %v without a keyframe", i, f.DTS)
			}
			if f.Kind == media.Video {
				last = f.DTS
			}
		}
	})
}
