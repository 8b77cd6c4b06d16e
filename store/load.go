package store

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// Report is what Open has found.
type Report struct {
	// Entries and Bytes count what was restored, the bytes as on disk.
	Entries int
	Bytes   int64
	// Torn is the bytes of a batch that a crash has cut short: it was never acknowledged.
	Torn int64
	// Damaged is the bytes of entries that had been on disk and cannot be read any more; Damage says where, in order, and of the first few only.
	Damaged int64
	Damage  []string
}

// damageTold is how many places of damage a report names.
const damageTold = 16

func (r *Report) damage(name string, at, size int64, why string) {
	r.Damaged += size
	if len(r.Damage) < damageTold {
		r.Damage = append(r.Damage, fmt.Sprintf("%s: %d bytes at %d %s", name, size, at, why))
	}
}

// errStop ends the reading of a segment.
var errStop = errors.New("stop")

// load restores what the folder holds and removes what is of no use any more.
func (l *Log) load(restore func([]byte) error) (r Report, err error) {
	names, err := l.o.FS.Names(l.dir)
	if err != nil {
		return r, err
	}
	for _, name := range names {
		if strings.HasSuffix(name, temporarySuffix) {
			l.o.FS.Remove(filepath.Join(l.dir, name))
		}
	}
	var from uint64
	if snapshots := numbered(names, snapshotSuffix); len(snapshots) > 0 {
		from = snapshots[len(snapshots)-1]
		if l.snapshot, err = l.loadFile(l.name(from, snapshotSuffix), true, &r, restore); err != nil {
			return r, err
		}
		l.number = from
	}
	for _, n := range numbered(names, segmentSuffix) {
		name := l.name(n, segmentSuffix)
		l.number = max(l.number, n)
		if n < from {
			continue
		}
		size, err := l.loadFile(name, false, &r, restore)
		if err != nil {
			return r, err
		}
		l.since += size
		if size == 0 {
			l.o.FS.Remove(name)
		}
	}
	l.clean(names, from)
	return r, nil
}

// clean removes what a snapshot stands for.
func (l *Log) clean(names []string, from uint64) {
	for _, suffix := range []string{segmentSuffix, snapshotSuffix} {
		for _, n := range numbered(names, suffix) {
			if n < from {
				l.o.FS.Remove(l.name(n, suffix))
			}
		}
	}
}

// loadFile restores the entries of a file and returns its size.
func (l *Log) loadFile(name string, snapshot bool, report *Report, restore func([]byte) error) (size int64, err error) {
	f, err := l.o.FS.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	r := reader{file: f, size: info.Size()}
	ended := false
	for {
		at := r.at
		e, skipped, err := r.next()
		if skipped > 0 {
			if stop := report.skipped(name, &r, at, skipped, snapshot); stop != nil {
				if stop == errStop {
					return r.size, nil
				}
				return r.size, fmt.Errorf("%s: %w", name, stop)
			}
		}
		if err == io.EOF {
			if snapshot && !ended {
				report.damage(name, r.size, 0, "and all after that are missing")
			}
			return r.size, nil
		}
		if err != nil {
			return r.size, fmt.Errorf("%s: %w", name, err)
		}
		if ended = e.flags&flagEnd != 0; ended {
			continue
		}
		if err := restore(e.payload); err != nil {
			return r.size, fmt.Errorf("%s at %d: %w", name, at, err)
		}
		report.Entries++
		report.Bytes += headerSize + int64(len(e.payload))
	}
}

// skipped counts bytes that are no entry. In the last batch of a segment they are what a crash has left of a write that nobody was told of: errStop, nothing after them counts.
func (r *Report) skipped(name string, from *reader, at, size int64, snapshot bool) error {
	if !snapshot {
		later, err := from.batchAfter(at)
		if err != nil {
			return err
		}
		if !later {
			r.Torn += from.size - at
			return errStop
		}
	}
	r.damage(name, at, size, "cannot be read")
	return nil
}
