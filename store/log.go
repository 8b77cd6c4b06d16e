package store

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// DefaultSnapshotBytes is how many bytes are committed before a snapshot is due, at least.
const DefaultSnapshotBytes = 64 << 20

// ErrLocked says that another process, or another Log, has the folder open.
var ErrLocked = errors.New("store: the folder is in use by another server")

// ErrVanished says that the file that is written to is not where it was: the folder was moved, removed, or another one was put in its place.
var ErrVanished = errors.New("the data folder is gone; put it back as it was, or start the server anew")

// The names in a folder: a segment or a snapshot by its number in hexadecimal, a snapshot that is being written, and the lock.
const (
	segmentSuffix   = ".log"
	snapshotSuffix  = ".snap"
	temporarySuffix = ".tmp"
	lockName        = "lock"
)

// Options are the surroundings of a Log. Zero values mean the defaults.
type Options struct {
	// FS is the file system; default System. The lock and the folder itself are always the system's.
	FS FS
	// SnapshotBytes is how many bytes are committed before a snapshot is due, at least; default DefaultSnapshotBytes.
	SnapshotBytes int64
}

// Log is a folder that entries are committed to. All methods may run at once.
type Log struct {
	dir  string
	o    Options
	lock *os.File

	mu       sync.Mutex // held while a batch is written
	number   uint64     // of the segment that is written
	file     File       // nil when none could be opened
	end      int64      // what of it is on disk
	dirty    bool       // there may be more in it, of a commit that failed
	since    int64      // bytes committed since the last snapshot
	snapshot int64      // size of that
	closed   bool
}

// Open opens a folder, making it if it is not there, and gives every entry that it holds to restore, in order: those of the newest snapshot, then those committed since. The bytes are good until
// restore returns; an error of it ends Open. Entries that are damaged are left out and told in the report. It fails with ErrLocked when the folder is in use.
func Open(dir string, o Options, restore func(entry []byte) error) (*Log, Report, error) {
	l := &Log{dir: dir, o: o}
	if l.o.FS == nil {
		l.o.FS = System{}
	}
	l.o.SnapshotBytes = cmp.Or(max(l.o.SnapshotBytes, 0), DefaultSnapshotBytes)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, Report{}, fmt.Errorf("store: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, fileMode)
	if err != nil {
		return nil, Report{}, fmt.Errorf("store: %w", err)
	}
	l.lock = lock
	if lockFile(lock) != nil {
		lock.Close()
		return nil, Report{}, fmt.Errorf("%w: %s", ErrLocked, dir)
	}
	report, err := l.load(restore)
	if err == nil {
		err = l.beginSegment()
	}
	if err != nil {
		lock.Close()
		return nil, report, fmt.Errorf("store: %w", err)
	}
	return l, report, nil
}

func (l *Log) name(number uint64, suffix string) string {
	return filepath.Join(l.dir, fmt.Sprintf("%016x", number)+suffix)
}

// numbered lists the files with a suffix by their numbers, in order.
func numbered(names []string, suffix string) (numbers []uint64) {
	for _, name := range names {
		text, ok := strings.CutSuffix(name, suffix)
		if n, err := strconv.ParseUint(text, 16, 64); ok && err == nil && len(text) == 16 {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers
}

// beginSegment makes the next segment, which what is committed goes to from here on.
func (l *Log) beginSegment() error {
	f, err := l.o.FS.Create(l.name(l.number+1, segmentSuffix))
	if err != nil {
		return err
	}
	if err := l.o.FS.SyncDir(l.dir); err != nil {
		f.Close()
		return err
	}
	if l.file != nil {
		l.file.Close()
	}
	l.file, l.end = f, 0
	l.number++
	return nil
}

// Commit writes a batch; it is on disk as a whole when Commit returns nil. Otherwise nothing of it counts, and the next Commit tries to put right what is wrong first. The error wraps that of the
// system, or ErrVanished.
func (l *Log) Commit(b *Batch) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b.Size() == 0 {
		return nil
	}
	err := l.mendLocked()
	if err == nil {
		l.dirty = true
		err = l.writeLocked(b.b)
	}
	if err != nil {
		return fmt.Errorf("store: commit: %w", err)
	}
	l.dirty = false
	l.end += int64(b.Size())
	l.since += int64(b.Size())
	return nil
}

func (l *Log) writeLocked(b []byte) error {
	if _, err := l.file.WriteAt(b, l.end); err != nil {
		return err
	}
	if err := l.file.Sync(); err != nil {
		return err
	}
	return l.checkLocked() // a file without a name takes everything, and all is lost with its last user
}

func (l *Log) checkLocked() error {
	if err := l.o.FS.Check(l.name(l.number, segmentSuffix), l.file); err != nil {
		return fmt.Errorf("%w (%w)", ErrVanished, err)
	}
	return nil
}

// mendLocked takes back what a failed commit has left, and goes on in a new segment: what the system still holds of the old one's last pages is not to be trusted once a sync has failed.
func (l *Log) mendLocked() error {
	switch {
	case l.closed:
		return os.ErrClosed
	case !l.dirty:
		return nil
	}
	if err := l.checkLocked(); err != nil {
		return err
	}
	if err := l.file.Truncate(l.end); err != nil {
		return err
	}
	if err := l.file.Sync(); err != nil {
		return err
	}
	if err := l.beginSegment(); err != nil {
		return err
	}
	l.dirty = false
	return nil
}

// Due says that a snapshot is worth its while: as much was committed since the last one as that has, and SnapshotBytes at least. So the disk holds about three times what is alive, at most.
func (l *Log) Due() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.since >= max(l.o.SnapshotBytes, l.snapshot)
}

// Close gives the folder up. What was committed is on disk already.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	var err error
	if l.dirty && l.checkLocked() == nil {
		err = errors.Join(l.file.Truncate(l.end), l.file.Sync()) // nobody was told that it is published
	}
	return errors.Join(err, l.file.Close(), l.lock.Close())
}
