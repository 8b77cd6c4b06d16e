package subject

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"

	"hawser/lifecycle"
	"hawser/ring"
)

// restorer makes subjects of what is on disk: a snapshot, which may be newer than the updates that follow it, and these.
type restorer struct {
	hub        *Hub
	told       func(Published)
	subjects   map[string]*Subject
	publishers map[string]string // each name once
	holes      []hole
}

// hole is what a subject lacks.
type hole struct {
	subject  *Subject
	from, to uint64
}

// restore takes one entry.
func (r *restorer) restore(entry []byte) error {
	d := decoder{b: bytes.Clone(entry)}
	switch d.byte() {
	case entryUpdate:
		h := d.head()
		u, publisher := d.update(&h)
		if d.bad {
			return errEntry
		}
		if len(publisher) > 0 {
			u.Publisher = r.publisher(publisher)
		}
		r.update(&h, &u)
	case entryState:
		h := d.head()
		if d.bad {
			return errEntry
		}
		return r.state(&h, &d)
	case entryRemoved:
		path, epoch := d.text(), d.fixed()
		if s := r.subjects[string(path)]; s != nil && s.Epoch() == epoch {
			delete(r.subjects, s.path)
		}
	case entryPublished:
		p := Published{Publisher: r.publisher(d.text()), ID: d.number(), Path: string(d.text()), Epoch: d.fixed(), Offset: d.number()}
		if !d.bad && r.told != nil {
			r.told(p)
		}
	default:
		return errEntry
	}
	if d.bad {
		return errEntry
	}
	return nil
}

func (r *restorer) publisher(name []byte) string {
	known, ok := r.publishers[string(name)]
	if !ok {
		known = string(name)
		r.publishers[known] = known
	}
	return known
}

// begin makes a subject whose next update is the one at an offset.
func (r *restorer) begin(h *entryHead) *Subject {
	s := &Subject{hub: r.hub, path: string(h.path), durable: true}
	s.startAt(h)
	r.subjects[s.path] = s
	return s
}

func (s *Subject) startAt(h *entryHead) {
	limits := s.hub.o.Limits
	if h.kind != Log {
		limits = s.hub.o.RecordLimits
	}
	s.ring, s.next = ring.New[Update](h.epoch, h.offset, limits), h.offset
}

// state takes a subject as it stood in a snapshot.
func (r *restorer) state(h *entryHead, d *decoder) error {
	s := r.begin(h)
	s.kind, s.updated, s.ttl = h.kind, h.at, h.ttl
	if h.flags&hasMedia != 0 {
		s.media, s.stamped = h.media, true
	}
	switch h.kind {
	case Record:
		s.image.decode(d)
		if d.bad {
			return errEntry
		}
	case JSON:
		s.doc.whole = d.b
	}
	return nil
}

// update takes a publish, unless the snapshot has it, or it is of a life of its subject that the snapshot has left behind.
func (r *restorer) update(h *entryHead, u *Update) {
	if u.Publisher != "" && r.told != nil {
		r.told(Published{u.Publisher, u.ID, string(h.path), h.epoch, h.offset})
	}
	s := r.subjects[string(h.path)]
	switch {
	case s == nil || h.offset == 0 && s.Epoch() != h.epoch:
		s = r.begin(h)
		r.lost(s, 0, h.offset)
	case s.Epoch() != h.epoch || h.offset < s.next:
		return
	case h.offset > s.next:
		r.lost(s, s.next, h.offset)
		s.skip(h)
	}
	s.changeLocked(h.kind, u)
	s.ring.Append(*u, u.cost(), u.At)
}

// skip goes over what is lost before an update. A log keeps what it has before that, as far as its bound reaches.
func (s *Subject) skip(h *entryHead) {
	if s.kind != Log || h.kind != Log || h.offset-s.next >= uint64(cmp.Or(s.hub.o.Limits.Count, DefaultCount)) {
		s.startAt(h)
		return
	}
	for ; s.next < h.offset; s.next++ {
		u := Update{At: h.at, lost: h.offset}
		s.ring.Append(u, u.cost(), u.At)
	}
}

func (r *restorer) lost(s *Subject, from, to uint64) {
	if from < to {
		r.holes = append(r.holes, hole{s, from, to})
	}
}

// finish puts the subjects into the hub, but for those whose time has run out.
func (r *restorer) finish() {
	h := r.hub
	now := h.o.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	for path, s := range r.subjects {
		if s.kind == None {
			continue
		}
		s.mu.Lock()
		end := s.updated.Add(s.ttl)
		alive := s.ttl <= 0 || now.Before(end)
		if alive {
			h.subjects[path] = s
			s.armExpiryLocked(end)
		}
		s.mu.Unlock()
	}
	for _, l := range r.holes {
		if h.subjects[l.subject.path] == l.subject { // otherwise it was removed later, and a snapshot knew that
			h.o.Log.Add(lifecycle.Event{Kind: EventDamaged, Protocol: "subject", Path: l.subject.path, Light: lifecycle.Amber,
				Detail: fmt.Sprintf("the offsets %d to %d are lost", l.from, l.to-1)})
		}
	}
}

// appendTo appends the image as it stands on disk.
func (m *image) appendTo(dst []byte) []byte {
	dst = binary.AppendUvarint(binary.AppendUvarint(dst, m.floor), uint64(len(m.entries)))
	for i := range m.entries {
		e := &m.entries[i]
		dst = appendValue(binary.AppendUvarint(appendText(dst, e.name), e.at), e.value)
	}
	return dst
}

// decode is the other way of appendTo, into an empty image.
func (m *image) decode(d *decoder) {
	m.floor = d.number()
	d.number()
	m.index = make(map[string]int)
	for len(d.b) > 0 && !d.bad {
		e := entry{name: string(d.text()), at: d.number(), value: d.value()}
		if _, twice := m.index[e.name]; twice {
			d.bad = true
			return
		}
		m.index[e.name] = len(m.entries)
		m.entries = append(m.entries, e)
		if e.value != nil {
			m.live++
			m.bytes += fieldSize(e.name, e.value)
		}
	}
}
