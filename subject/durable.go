package subject

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"hawser/lifecycle"
	"hawser/ring"
	"hawser/store"
)

// The kinds of event of a hub with durable subjects.
const (
	// EventStore: the disk does not take what is published (State "failed", with the Reason), or does so again ("working"); or a snapshot could not be made ("snapshot_failed"), which is tried again later.
	EventStore = "store"
	// EventRestored: what was on disk is there again; Detail says how much. With a Reason something of it was damaged.
	EventRestored = "restored"
	// EventDamaged: offsets of the subject at Path are lost on disk; Detail says which. A log has them as Update.Lost.
	EventDamaged = "damaged"
)

// Durable says what is kept on disk, and where.
type Durable struct {
	// Dir is the folder. It belongs to one server at a time.
	Dir string
	// Match says which paths are durable, as far as they do not exist yet. A subject that was restored is durable whatever Match says.
	Match func(path string) bool
	// MaxWaiting bounds the updates that wait for the disk, in bytes with 512 for each (reason limit); default DefaultMaxWaiting.
	MaxWaiting int64
	// Store holds the options of the store.
	Store store.Options
	// Published is told, at the start, of the publishes on disk that name a publisher, in order; nil when nobody wants to know.
	Published func(Published)
	// Remembered yields the publishes that may be asked for again, so that a snapshot keeps them; nil for none.
	Remembered func(yield func(*Published) bool)
}

// Published is a publish to a durable subject that was acknowledged, and where it stands.
type Published struct {
	Publisher     string
	ID            uint64
	Path          string
	Epoch, Offset uint64
}

// Persist restores the subjects that are on disk and makes those durable whose path matches: a publish to them is answered, and shown to followers, when it is on disk. It is called once, before
// anything is published; CloseStore must follow. It fails when the folder cannot be read or written, or is in use (store.ErrLocked).
func (h *Hub) Persist(d Durable) error {
	began := time.Now()
	d.MaxWaiting = cmp.Or(max(d.MaxWaiting, 0), DefaultMaxWaiting)
	r := restorer{hub: h, told: d.Published, subjects: make(map[string]*Subject), publishers: make(map[string]string)}
	log, report, err := store.Open(d.Dir, d.Store, r.restore)
	if err != nil {
		return fmt.Errorf("subject: restore: %w", err)
	}
	h.journal = newJournal(h, d, log)
	r.finish()
	ev := lifecycle.Event{Kind: EventRestored, Protocol: "subject", Light: lifecycle.Green,
		Detail: fmt.Sprintf("%d subjects from %d entries, %d bytes, in %s; %d bytes of a batch that was cut short were dropped", len(h.subjects), report.Entries, report.Bytes,
			time.Since(began).Round(time.Millisecond), report.Torn)}
	if report.Damaged > 0 || len(report.Damage) > 0 {
		ev.Light, ev.Reason = lifecycle.Amber, lifecycle.ReasonInternal.With("%d bytes are damaged: %v", report.Damaged, report.Damage)
	}
	h.o.Log.Add(ev)
	h.journal.idle.Go(h.journal.run)
	return nil
}

// CloseStore waits until what was published is on disk and gives the folder up; nothing can be published on durable paths any more. Without Persist it does nothing.
func (h *Hub) CloseStore() error {
	if h.journal == nil {
		return nil
	}
	return h.journal.close()
}

// keeps says whether a subject that is made at a path is durable.
func (h *Hub) keeps(path string) bool {
	return h.journal != nil && h.journal.o.Match != nil && h.journal.o.Match(path)
}

// Durable says whether what is published at a path now is kept on disk.
func (h *Hub) Durable(path string) bool {
	if h.journal == nil {
		return false
	}
	if s := h.Find(path); s != nil {
		return s.durable
	}
	return h.keeps(path)
}

// snapshot begins a snapshot, between two commits, and has it made beside them. One at a time.
func (j *journal) snapshot() {
	if !j.snapping.CompareAndSwap(false, true) {
		return
	}
	snap, err := j.log.Begin()
	if err != nil {
		j.snapshotFailed(err)
		j.snapping.Store(false)
		return
	}
	j.idle.Go(func() {
		defer j.snapping.Store(false)
		j.write(snap)
		// What was published or removed while the snapshot was made may be in it; all of that is to be on disk before it counts.
		settled := make(chan error, 1)
		if j.put(&pending{done: func(_, _ uint64, err error) { settled <- err }}) != nil || <-settled != nil {
			snap.Discard()
			return
		}
		if err := snap.Finish(); err != nil {
			j.snapshotFailed(err)
		}
	})
}

func (j *journal) snapshotFailed(err error) {
	j.hub.o.Log.Add(lifecycle.Event{Kind: EventStore, Protocol: "subject", State: "snapshot_failed", Light: lifecycle.Amber, Reason: diskReason(err)})
}

// write puts all durable subjects into a snapshot, and what must be remembered.
func (j *journal) write(snap *store.Snapshot) {
	j.hub.mu.RLock()
	all := slices.Collect(maps.Values(j.hub.subjects))
	j.hub.mu.RUnlock()
	var b []byte
	var items []ring.Item[Update]
	for _, s := range all {
		if !s.durable {
			continue
		}
		b, items = s.state(b[:0], items)
		if len(b) == 0 {
			continue
		}
		snap.Add(b)
		for i := range items {
			if _, lost := items[i].Value.Lost(); lost {
				continue // its offset is missing on disk, as it was
			}
			b = appendUpdateEntry(b[:0], s.path, s.Epoch(), items[i].Seq, Log, &items[i].Value)
			snap.Add(b)
		}
		clear(items)
	}
	if j.o.Remembered == nil {
		return
	}
	j.o.Remembered(func(p *Published) bool {
		b = appendPublished(b[:0], p)
		snap.Add(b)
		return true
	})
}

// state appends a subject as it stands, and returns the updates of a log that it holds; nothing when there is none, or no more.
func (s *Subject) state(dst []byte, items []ring.Item[Update]) ([]byte, []ring.Item[Update]) {
	s.pubMu.Lock() // no update is between state and ring
	defer s.pubMu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	items = items[:0]
	if s.kind == None || s.removed {
		return dst, items
	}
	offset := s.next
	if s.kind == Log {
		tail, head := s.ring.Bounds()
		offset = tail
		items = slices.Grow(items, int(head-tail))[:head-tail]
		c := s.ring.Cursor(tail)
		c.Read(items)
		c.Close()
	}
	var flags byte
	if s.stamped {
		flags |= hasMedia
	}
	dst = appendHead(dst, entryState, s.path, s.ring.Epoch(), offset, s.kind, flags, s.updated, s.media, s.ttl)
	switch s.kind {
	case Record:
		dst = s.image.appendTo(dst)
	case JSON:
		dst = append(dst, s.doc.now()...)
	}
	return dst, items
}
