package subject

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hawser/lifecycle"
	"hawser/ring"
	"hawser/store"
)

// everything is durable.
func everything(string) bool { return true }

// persist opens a hub on a folder; the test's end closes it.
func persist(t testing.TB, o Options, d Durable) *Hub {
	t.Helper()
	h := NewHub(o)
	if d.Match == nil {
		d.Match = everything
	}
	if err := h.Persist(d); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.CloseStore() })
	return h
}

func closeStore(t testing.TB, h *Hub) {
	t.Helper()
	if err := h.CloseStore(); err != nil {
		t.Fatal(err)
	}
}

// standing is all that a subject shows of itself.
type standing struct {
	Snapshot Snapshot
	Since    []string
	History  []string
}

func standingOf(t testing.TB, h *Hub, path string) (s standing) {
	t.Helper()
	sub := h.Find(path)
	if sub == nil {
		t.Fatalf("%s is not there", path)
	}
	s.Snapshot = sub.Snapshot()
	for offset := range s.Snapshot.Offset + 1 {
		fields, _, err := sub.ChangedSince(offset)
		s.Since = append(s.Since, fmt.Sprintf("%s %v", fields, errors.Is(err, ErrOffset)))
	}
	if s.Snapshot.Kind == Log {
		tail, head := sub.Ring().Bounds()
		for at := tail; at < head; at++ {
			item, _ := sub.Ring().At(at)
			u := item.Value
			s.History = append(s.History, fmt.Sprint(at, string(u.Data), u.At.UnixNano(), u.Media, u.HasMedia, u.Publisher, u.ID))
		}
	}
	return s
}

// A restart restores each kind exactly, out of updates, out of a snapshot, and out of a snapshot with updates behind it.
func TestDurableRestart(t *testing.T) {
	o := Options{Limits: ring.Limits{Count: 5}, MaxFields: 4}
	publishAll := func(t *testing.T, h *Hub, round int) {
		for i := range 9 {
			mustPublish(t, h, "/log", fmt.Sprint(round*9+i))
			for _, p := range []struct {
				path string
				kind Kind
				u    Update
			}{
				{"/record", Record, Update{Fields: []Field{{Name: fmt.Sprint("f", i%4), Value: fmt.Append(nil, i)}, {Name: fmt.Sprint("f", (i+1)%4)}, {Name: "x", Value: []byte(`""`)}}}},
				{"/doc", JSON, Update{Patch: fmt.Appendf(nil, `{"k%d":{"v":%d},"k%d":null}`, i%3, i, (i+1)%3), Media: time.Second, HasMedia: true}},
				{"/named", Log, Update{Data: []byte(`1`), Publisher: "ann\x00abc", ID: uint64(i + 1)}},
			} {
				if _, _, err := h.Publish(p.path, p.kind, p.u); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for name, steps := range map[string]struct{ before, after bool }{"updates": {after: true}, "snapshot": {before: true}, "both": {true, true}} {
		t.Run(name, func(t *testing.T) {
			d := Durable{Dir: t.TempDir()}
			h := persist(t, o, d)
			if steps.before {
				publishAll(t, h, 0)
				h.journal.snapshot()
				for h.journal.snapping.Load() {
					mustPublish(t, h, "/log", `"while the snapshot is made"`)
				}
			}
			if steps.after {
				publishAll(t, h, 1)
			}
			closeStore(t, h)
			if snaps, _ := filepath.Glob(d.Dir + "/*.snap"); steps.before != (len(snaps) == 1) {
				t.Fatalf("snapshots: %v", snaps)
			}
			again := persist(t, o, d)
			for _, path := range []string{"/log", "/record", "/doc", "/named"} {
				got, want := standingOf(t, again, path), standingOf(t, h, path)
				if !reflect.DeepEqual(got, want) {
					t.Errorf("%s: got\n%+v, want\n%+v", path, got, want)
				}
			}
			_, next, err := again.Publish("/log", Log, Update{Data: []byte(`"next"`)})
			if want := h.Find("/log").Snapshot().Offset; err != nil || next != want {
				t.Errorf("the next update: %d, %v; want %d", next, err, want)
			}
		})
	}
}

// What was removed, or has outlived its time, is not there again; what lives is, under its own epoch, and ends when its time is over.
func TestDurableEnd(t *testing.T) {
	d := Durable{Dir: t.TempDir(), Match: func(path string) bool { return !strings.HasPrefix(path, "/not") }}
	clock := time.Now()
	o := Options{Now: func() time.Time { return clock }}
	h := persist(t, o, d)
	for _, path := range []string{"/removed", "/anew", "/kept", "/not/durable"} {
		mustPublish(t, h, path, "1")
	}
	for _, path := range []string{"/short", "/long"} {
		ttl := map[string]time.Duration{"/short": time.Minute, "/long": time.Hour}[path]
		if _, _, err := h.Publish(path, Log, Update{Data: []byte("1"), TTL: ttl}); err != nil {
			t.Fatal(err)
		}
	}
	h.Remove("/removed", lifecycle.ReasonDone)
	h.Remove("/anew", lifecycle.ReasonDone)
	epoch, _ := mustPublish(t, h, "/anew", "2")
	closeStore(t, h)
	if _, _, err := h.Publish("/kept", Log, Update{Data: []byte("1")}); !errors.Is(err, lifecycle.ReasonShutdown) {
		t.Errorf("publish after CloseStore: %v", err)
	}
	clock = clock.Add(10 * time.Minute)
	again := persist(t, o, d)
	var paths []string
	for _, info := range again.List() {
		paths = append(paths, info.Path)
	}
	if !slices.Equal(paths, []string{"/anew", "/kept", "/long"}) {
		t.Errorf("restored %v", paths)
	}
	if s := again.Find("/anew"); s.Epoch() != epoch || s.Snapshot().Offset != 1 {
		t.Errorf("/anew: %+v, want epoch %x", s.Info(), epoch)
	}
	s := again.Find("/long")
	s.mu.Lock()
	armed := s.expiry != nil
	s.mu.Unlock()
	if !armed {
		t.Error("/long would live for ever")
	}
}

// badDisk fails to sync while err is set.
type badDisk struct {
	store.System
	mu   sync.Mutex
	err  error
	gate chan struct{} // a sync waits until it is closed
}

type badFile struct {
	store.File
	disk *badDisk
}

func (d *badDisk) Create(name string) (store.File, error) {
	f, err := d.System.Create(name)
	return &badFile{f, d}, err
}

func (d *badDisk) Check(name string, f store.File) error {
	return d.System.Check(name, f.(*badFile).File)
}

func (d *badDisk) set(err error, gate chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err, d.gate = err, gate
}

func (f *badFile) Sync() error {
	f.disk.mu.Lock()
	err, gate := f.disk.err, f.disk.gate
	f.disk.mu.Unlock()
	if gate != nil {
		<-gate
	}
	if err != nil {
		return err
	}
	return f.File.Sync()
}

// While the disk fails publishes do, with a reason that says so, and change nothing; what is there can be read; one event says that it fails, one that it works again.
func TestDurableBadDisk(t *testing.T) {
	disk, log := &badDisk{}, lifecycle.NewLog(ring.Limits{})
	d := Durable{Dir: t.TempDir(), Store: store.Options{FS: disk}, Match: func(path string) bool { return path != "/other" }}
	h := persist(t, Options{Log: log}, d)
	mustPublish(t, h, "/log", "1")
	before := standingOf(t, h, "/log")
	for _, fault := range []struct {
		err  error
		want lifecycle.Reason
	}{{syscall.ENOSPC, lifecycle.ReasonLimit}, {syscall.EIO, lifecycle.ReasonInternal}} {
		disk.set(fault.err, nil)
		for range 2 {
			_, _, err := h.Publish("/log", Log, Update{Data: []byte("2")})
			if !errors.Is(err, fault.want) || !strings.Contains(err.Error(), fault.err.Error()) {
				t.Errorf("%v: %v", fault.err, err)
			}
		}
		mustPublish(t, h, "/other", "1")
		if got := standingOf(t, h, "/log"); !reflect.DeepEqual(got, before) {
			t.Errorf("%v has changed %+v to %+v", fault.err, before, got)
		}
		disk.set(nil, nil)
		mustPublish(t, h, "/log", "3")
		before = standingOf(t, h, "/log")
	}
	var states []string
	for _, e := range log.Recent(100) {
		if e.Kind == EventStore {
			states = append(states, e.State+" "+e.Reason.Word)
		}
	}
	if !slices.Equal(states, []string{"failed limit", "working ", "failed internal", "working "}) {
		t.Errorf("events: %q", states)
	}
	closeStore(t, h)
	if got := standingOf(t, persist(t, Options{}, d), "/log"); !reflect.DeepEqual(got, before) {
		t.Errorf("after a restart %+v, want %+v", got, before)
	}
}

// While a sync runs: nobody is told of what waits for it, other paths go on, all that comes is answered in its order with the next sync, and no more waits than may.
func TestDurableGroup(t *testing.T) {
	disk := &badDisk{}
	d := Durable{Dir: t.TempDir(), Store: store.Options{FS: disk}, MaxWaiting: 20 * (pendingOverhead + 10), Match: func(path string) bool { return path != "/other" }}
	h := persist(t, Options{MaxImage: 200 + fieldOverhead, MaxFields: 3}, d)
	mustPublish(t, h, "/log", "0")
	gate := make(chan struct{})
	disk.set(nil, gate)
	answers := make(chan string, 100)
	publish := func(path string, kind Kind, u Update) {
		h.PublishThen(path, kind, u, func(_, offset uint64, err error) {
			if err == nil {
				answers <- fmt.Sprint(path, offset)
			} else {
				answers <- lifecycle.ReasonOf(err).Word
			}
		})
	}
	var want []string
	for i := range 10 {
		publish("/log", Log, Update{Data: []byte("1")})
		want = append(want, fmt.Sprint("/log", i+1))
	}
	for i := range 4 { // one field too many, which is known only when the others are there
		publish("/record", Record, Update{Fields: []Field{{Name: fmt.Sprint(i), Value: []byte("1")}}})
		want = append(want, []string{"/record0", "/record1", "/record2", "limit"}[i])
	}
	publish("/record", Log, Update{Data: []byte("1")})
	want = append(want, "bad_request")
	if snap := h.Find("/log").Snapshot(); snap.Offset != 1 || len(answers) > 0 {
		t.Errorf("told of what is not on disk: offset %d, %d answers", snap.Offset, len(answers))
	}
	mustPublish(t, h, "/other", "1")
	for range 100 {
		publish("/log", Log, Update{Data: []byte("1234567890")})
		if len(answers) > 0 {
			break
		}
	}
	if got := <-answers; got != "limit" {
		t.Errorf("too much waits: got %s, want limit", got)
	}
	close(gate)
	for i, w := range want {
		if got := <-answers; got != w {
			t.Errorf("answer %d: got %s, want %s", i, got, w)
		}
	}
}

// FuzzEntry gives the restorer any entry: it is refused, or makes a subject that stands.
func FuzzEntry(f *testing.F) {
	u := Update{At: time.Unix(1, 2), Data: []byte("{}"), Publisher: "p", ID: 3}
	f.Add(appendUpdateEntry(nil, "/a", 1, 2, Log, &u))
	f.Add(appendUpdateEntry(nil, "/a", 1, 0, Record, &Update{At: u.At, Fields: []Field{{"a", []byte("1")}, {"b", nil}}}))
	f.Add(appendRemoved(nil, "/a", 1))
	f.Add(appendPublished(nil, &Published{"p", 1, "/a", 2, 3}))
	m := image{}
	m.fold([]Field{{"a", []byte("1")}, {"b", nil}}, 4, 10)
	f.Add(m.appendTo(appendHead(nil, entryState, "/a", 1, 5, Record, 0, u.At, 0, 0)))
	f.Fuzz(func(t *testing.T, entry []byte) {
		h := NewHub(Options{})
		r := restorer{hub: h, subjects: map[string]*Subject{}, publishers: map[string]string{}}
		before := bytes.Clone(entry)
		r.restore(entry)
		if !bytes.Equal(before, entry) {
			t.Fatal("the entry was changed")
		}
		for _, s := range r.subjects {
			s.Snapshot()
			s.state(nil, nil)
		}
	})
}

// BenchmarkDurable is 64 publishers of 128 bytes, each of which waits for its answer, beside a bare loop that appends and syncs as much as one publish at a time.
func BenchmarkDurable(b *testing.B) {
	message := []byte(`"` + strings.Repeat("x", 126) + `"`)
	b.Run("hub", func(b *testing.B) {
		h := persist(b, Options{}, Durable{Dir: b.TempDir()})
		b.ReportAllocs()
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				mustPublish(b, h, "/log", string(message))
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "publishes/s")
	})
	b.Run("in-flight", func(b *testing.B) { // nobody waits, as a client that sends many
		h := persist(b, Options{}, Durable{Dir: b.TempDir()})
		b.ReportAllocs()
		slots := make(chan struct{}, 4096)
		for range b.N {
			slots <- struct{}{}
			h.PublishThen("/log", Log, Update{Data: message}, func(_, _ uint64, err error) {
				if err != nil {
					b.Error(err)
				}
				<-slots
			})
		}
		for range cap(slots) {
			slots <- struct{}{}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "publishes/s")
	})
	b.Run("bare", func(b *testing.B) {
		f, err := os.Create(filepath.Join(b.TempDir(), "bare"))
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		for range b.N {
			f.Write(message)
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "publishes/s")
	})
}
