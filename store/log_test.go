package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// open opens a folder and returns what it held.
func open(t testing.TB, dir string, o Options) (l *Log, got []string, r Report) {
	t.Helper()
	l, r, err := Open(dir, o, func(b []byte) error {
		got = append(got, string(b))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, got, r
}

func commit(l *Log, entries ...string) error {
	var b Batch
	for _, e := range entries {
		b.Add([]byte(e))
	}
	return l.Commit(&b)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t testing.TB, got []string, entries ...string) {
	t.Helper()
	if !slices.Equal(got, entries) {
		t.Errorf("restored %q, want %q", got, entries)
	}
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	l, got, _ := open(t, dir, Options{})
	want(t, got)
	must(t, commit(l, "a", "", "b"))
	must(t, commit(l, strings.Repeat("x", 3<<20)))
	if _, _, err := Open(dir, Options{}, nil); !errors.Is(err, ErrLocked) {
		t.Errorf("a second server on the folder: %v, want ErrLocked", err)
	}
	must(t, l.Close())
	if err := commit(l, "late"); !errors.Is(err, os.ErrClosed) {
		t.Errorf("commit after Close: %v", err)
	}
	for range 3 { // the number of restarts does not matter
		l, got, r := open(t, dir, Options{})
		want(t, got, "a", "", "b", strings.Repeat("x", 3<<20))
		if r.Entries != 4 || r.Torn != 0 || r.Damaged != 0 {
			t.Errorf("report %+v", r)
		}
		must(t, l.Close())
	}
	if names, _ := os.ReadDir(dir); len(names) > 3 {
		t.Errorf("restarts leave files behind: %v", names)
	}
}

func TestSnapshot(t *testing.T) {
	dir := t.TempDir()
	l, _, _ := open(t, dir, Options{SnapshotBytes: 40})
	if l.Due() {
		t.Error("due before anything was committed")
	}
	must(t, commit(l, "one", "two", "three"))
	if !l.Due() {
		t.Error("not due")
	}
	s, err := l.Begin()
	must(t, err)
	must(t, commit(l, "four"))
	s.Add([]byte("one to three"))
	must(t, s.Finish())
	must(t, commit(l, "five"))
	dropped, err := l.Begin()
	must(t, err)
	dropped.Add([]byte("half a state"))
	must(t, dropped.Discard())
	must(t, commit(l, "six"))
	must(t, l.Close())
	os.WriteFile(filepath.Join(dir, "00000000000000ff.snap.tmp"), []byte("killed in the middle"), 0o600)
	_, got, r := open(t, dir, Options{})
	want(t, got, "one to three", "four", "five", "six")
	if r.Damaged > 0 {
		t.Errorf("report %+v", r)
	}
	if left, _ := filepath.Glob(dir + "/*.tmp"); left != nil {
		t.Errorf("%v is left", left)
	}
}

// A crash cuts the last write short at any byte: what was committed before is there, of the rest a beginning at most, and what is committed afterwards follows.
func TestTornTail(t *testing.T) {
	whole := func() ([]byte, int) {
		dir := t.TempDir()
		l, _, _ := open(t, dir, Options{})
		must(t, commit(l, "a", "b"))
		first := int(l.end)
		must(t, commit(l, "c", "d", "e"))
		must(t, l.Close())
		b, err := os.ReadFile(l.name(1, segmentSuffix))
		must(t, err)
		return b, first
	}
	b, first := whole()
	all := []string{"a", "b", "c", "d", "e"}
	for cut := first; cut <= len(b); cut++ {
		for _, filling := range []string{"", "\x00\x00\x00\x00\x00", "Hw\x01\x00 garbage"} {
			dir := t.TempDir()
			must(t, os.WriteFile(filepath.Join(dir, "0000000000000001.log"), append(bytes.Clone(b[:cut]), filling...), 0o600))
			l, got, r := open(t, dir, Options{})
			if n := len(got); n < 2 || !slices.Equal(got, all[:n]) || r.Damaged > 0 || (cut == len(b)) != (n == 5) {
				t.Fatalf("cut at %d: %q, %+v", cut, got, r)
			}
			must(t, commit(l, "next"))
			must(t, l.Close())
			_, again, _ := open(t, dir, Options{})
			want(t, again, append(got, "next")...)
		}
	}
}

// A bit that flips in what was acknowledged costs that entry, and is told.
func TestBitFlip(t *testing.T) {
	dir := t.TempDir()
	l, _, _ := open(t, dir, Options{})
	for i := range 5 {
		must(t, commit(l, fmt.Sprint("entry ", i)))
	}
	must(t, l.Close())
	name := l.name(1, segmentSuffix)
	b, err := os.ReadFile(name)
	must(t, err)
	size := len(b) / 5
	for at := range 4 * size {
		bad := bytes.Clone(b)
		bad[at] ^= 0x10
		must(t, os.WriteFile(name, bad, 0o600))
		l, got, r := open(t, dir, Options{})
		must(t, l.Close())
		var left []string
		for i := range 5 {
			if i != at/size {
				left = append(left, fmt.Sprint("entry ", i))
			}
		}
		if !slices.Equal(got, left) || r.Damaged != int64(size) || len(r.Damage) != 1 {
			t.Fatalf("bit at %d: %q, %+v", at, got, r)
		}
	}
}

// faulty is a file system that fails when it is told to.
type faulty struct {
	System
	write, sync, truncate, create, rename, syncDir error
	short                                          int // bytes that a write that fails gets through
}

type faultyFile struct {
	File
	fs *faulty
}

func (f *faulty) Create(name string) (File, error) {
	if f.create != nil {
		return nil, f.create
	}
	file, err := f.System.Create(name)
	return &faultyFile{file, f}, err
}

func (f *faulty) Rename(from, to string) error {
	if f.rename != nil {
		return f.rename
	}
	return f.System.Rename(from, to)
}

func (f *faulty) SyncDir(dir string) error {
	if f.syncDir != nil {
		return f.syncDir
	}
	return f.System.SyncDir(dir)
}

func (f *faulty) Check(name string, file File) error {
	return f.System.Check(name, file.(*faultyFile).File)
}

func (f *faultyFile) WriteAt(b []byte, at int64) (int, error) {
	if f.fs.write != nil {
		n, _ := f.File.WriteAt(b[:min(f.fs.short, len(b))], at)
		return n, f.fs.write
	}
	return f.File.WriteAt(b, at)
}

func (f *faultyFile) Sync() error {
	if f.fs.sync != nil {
		return f.fs.sync
	}
	return f.File.Sync()
}

func (f *faultyFile) Truncate(size int64) error {
	if f.fs.truncate != nil {
		return f.fs.truncate
	}
	return f.File.Truncate(size)
}

// What a disk does to a commit: it fails with that error, again while the fault lasts, and nothing of it is there later; when the fault is over commits work.
func TestFailingDisk(t *testing.T) {
	for name, fault := range map[string]faulty{
		"full":                        {write: syscall.ENOSPC},
		"full after a few bytes":      {write: syscall.ENOSPC, short: 20},
		"full, all is written":        {write: syscall.ENOSPC, short: 1 << 20},
		"sync fails":                  {sync: syscall.EIO},
		"cannot be taken back":        {write: syscall.EIO, short: 1 << 20, truncate: syscall.EIO},
		"no new file":                 {write: syscall.EIO, short: 1 << 20, create: syscall.EACCES},
		"the folder cannot be synced": {sync: syscall.EIO, syncDir: syscall.EIO},
	} {
		t.Run(name, func(t *testing.T) {
			fs, dir := &faulty{}, t.TempDir()
			l, _, _ := open(t, dir, Options{FS: fs})
			must(t, commit(l, "before"))
			*fs = fault
			for range 3 {
				if err := commit(l, "lost", "lost too"); !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EIO) && !errors.Is(err, syscall.EACCES) {
					t.Errorf("commit: %v", err)
				}
			}
			*fs = faulty{}
			must(t, commit(l, "after"))
			must(t, l.Close())
			_, got, r := open(t, dir, Options{})
			want(t, got, "before", "after")
			if r.Damaged+r.Torn > 0 {
				t.Errorf("report %+v", r)
			}
		})
	}
}

// A snapshot that fails leaves all as it was.
func TestFailingSnapshot(t *testing.T) {
	for name, fault := range map[string]faulty{"write": {write: syscall.ENOSPC}, "sync": {sync: syscall.EIO}, "rename": {rename: syscall.EACCES}} {
		fs, dir := &faulty{}, t.TempDir()
		l, _, _ := open(t, dir, Options{FS: fs})
		must(t, commit(l, "one"))
		s, err := l.Begin()
		must(t, err)
		s.Add([]byte("state"))
		*fs = fault
		if err := s.Finish(); err == nil {
			t.Errorf("%s: the snapshot has not failed", name)
		}
		*fs = faulty{}
		must(t, commit(l, "two"))
		must(t, l.Close())
		_, got, _ := open(t, dir, Options{})
		want(t, got, "one", "two")
	}
}

// A file without a name takes whatever is written: that must not count.
func TestFolderVanishes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	l, _, _ := open(t, dir, Options{})
	must(t, commit(l, "before"))
	must(t, os.Rename(dir, dir+"2"))
	for range 2 {
		if err := commit(l, "lost"); !errors.Is(err, ErrVanished) {
			t.Errorf("commit: %v, want ErrVanished", err)
		}
	}
	must(t, os.Rename(dir+"2", dir))
	must(t, commit(l, "after"))
	must(t, l.Close())
	_, got, _ := open(t, dir, Options{})
	want(t, got, "before", "after")
}

func TestOpenFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	if _, _, err := Open(file, Options{}, nil); err == nil {
		t.Error("a file is no folder")
	}
	dir := t.TempDir()
	if _, _, err := Open(dir, Options{FS: &faulty{create: syscall.EACCES}}, nil); !errors.Is(err, syscall.EACCES) {
		t.Errorf("no permission: %v", err)
	}
	open(t, dir, Options{}) // the lock is free again
}

// FuzzReader gives the reader any bytes: what it finds are entries as they are written, and it never stands still.
func FuzzReader(f *testing.F) {
	b := appendEntry(appendEntry(nil, []byte("one"), flagFirst), nil, 0)
	f.Add(b)
	f.Add(b[:len(b)-3])
	f.Add(append(bytes.Repeat([]byte("Hw\x01"), 7), b...))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := reader{file: bytes.NewReader(b), size: int64(len(b))}
		for {
			at := r.at
			e, skipped, err := r.next()
			if err != nil {
				if r.at != r.size {
					t.Fatalf("ended at %d of %d: %v", r.at, r.size, err)
				}
				return
			}
			from := at + skipped
			if again := appendEntry(nil, e.payload, e.flags); !bytes.Equal(again, b[from:r.at]) {
				t.Fatalf("the entry at %d is %x, written it is %x", from, b[from:r.at], again)
			}
			if _, err := r.batchAfter(from); err != nil {
				t.Fatal(err)
			}
		}
	})
}
