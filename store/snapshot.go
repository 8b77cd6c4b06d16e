package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

// snapshotChunk is how many bytes of a snapshot are written at once.
const snapshotChunk = 256 << 10

// Snapshot is the owner's whole state, on its way to disk. Its methods may not run at once with each other; commits go on beside it.
type Snapshot struct {
	log    *Log
	number uint64
	name   string // while it is written
	file   File
	size   int64
	count  uint64
	buf    []byte
	err    error
}

// Begin begins a snapshot: it is to hold all that is committed by now, and may hold what is committed while it is made, which is restored after it once more. Finish or Discard must follow. Only one
// can be made at a time.
func (l *Log) Begin() (*Snapshot, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.mendLocked()
	if err == nil && l.end > 0 {
		err = l.beginSegment()
	}
	if err != nil {
		return nil, fmt.Errorf("store: snapshot: %w", err)
	}
	l.since = 0
	s := &Snapshot{log: l, number: l.number, name: l.name(l.number, snapshotSuffix) + temporarySuffix}
	if s.file, err = l.o.FS.Create(s.name); err != nil {
		return nil, fmt.Errorf("store: snapshot: %w", err)
	}
	return s, nil
}

// Add puts one more entry, of less than 1 GiB, into the snapshot; the bytes are copied. What goes wrong is told by Finish.
func (s *Snapshot) Add(payload []byte) {
	s.buf = appendEntry(s.buf, payload, 0)
	s.count++
	if len(s.buf) >= snapshotChunk {
		s.flush()
	}
}

func (s *Snapshot) flush() {
	if s.err == nil {
		_, s.err = s.file.WriteAt(s.buf, s.size)
		s.size += int64(len(s.buf))
	}
	s.buf = s.buf[:0]
}

// Finish puts the snapshot in the place of all that was committed before Begin. When it fails, that stays as it is.
func (s *Snapshot) Finish() error {
	l := s.log
	s.buf = appendEntry(s.buf, binary.LittleEndian.AppendUint64(nil, s.count), flagEnd)
	s.flush()
	if s.err == nil {
		s.err = s.file.Sync()
	}
	if err := s.file.Close(); s.err == nil {
		s.err = err
	}
	if s.err == nil {
		s.err = l.o.FS.Rename(s.name, l.name(s.number, snapshotSuffix))
	}
	if s.err == nil {
		s.err = l.o.FS.SyncDir(l.dir)
	}
	if s.err != nil {
		l.o.FS.Remove(s.name)
		return fmt.Errorf("store: snapshot: %w", s.err)
	}
	l.mu.Lock()
	l.snapshot = s.size
	l.mu.Unlock()
	if names, err := l.o.FS.Names(l.dir); err == nil {
		l.clean(names, s.number)
	}
	return nil
}

// Discard gives the snapshot up.
func (s *Snapshot) Discard() error {
	err := errors.Join(s.file.Close(), s.log.o.FS.Remove(s.name))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
