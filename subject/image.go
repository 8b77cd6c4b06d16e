package subject

import (
	"bytes"
	"slices"
	"strings"

	"hawser/lifecycle"
)

// smallMessage is the size in bytes up to which the image may hold on to the whole message that a value came in.
const smallMessage = 4096

// fieldOverhead is what a field is counted with beside its bytes: about what its slices and its place in the image take.
const fieldOverhead = 64

// image is the present state of a record. Each field keeps the offset of its last change, a removed one too, so that
// what changed since any offset can be said exactly without a history. The subject's lock guards it.
type image struct {
	entries []entry
	index   map[string]int // by name, into entries
	live    int            // entries that have a value
	bytes   int64          // names, values and overhead of the live ones
	floor   uint64         // since answers from here on: removals before it are forgotten
	checks  uint64         // counts the calls of check
}

type entry struct {
	name  string
	value []byte // nil: removed
	at    uint64 // offset of the last change

	checked uint64 // the last call of check that met it
}

func fieldSize(name string, value []byte) int64 {
	return int64(len(name) + len(value) + fieldOverhead)
}

// check says why fields cannot be folded in within the limits, "" when they can. A name that stands twice in fields counts twice.
func (m *image) check(fields []Field, maxFields int, maxBytes int64) lifecycle.Reason {
	m.checks++
	live, size := m.live, m.bytes
	for _, f := range fields {
		if k, known := m.index[f.Name]; known && m.entries[k].value != nil && m.entries[k].checked != m.checks {
			m.entries[k].checked = m.checks
			size -= fieldSize(f.Name, m.entries[k].value)
			live--
		}
		if !f.removed() {
			size += fieldSize(f.Name, f.Value)
			live++
		}
	}
	if live > maxFields {
		return lifecycle.Reached("MaxFields", maxFields).With("%d fields, at most %d are allowed", live, maxFields)
	}
	if size > maxBytes {
		return lifecycle.Reached("MaxImage", maxBytes).With("an image of %d bytes, at most %d are allowed", size, maxBytes)
	}
	return lifecycle.Reason{}
}

// fold puts the fields of the update at an offset into the image; at most maxRemoved removals are remembered after it.
func (m *image) fold(fields []Field, at uint64, maxRemoved int) {
	if m.index == nil {
		m.index = make(map[string]int, len(fields))
	}
	total := 0
	for _, f := range fields {
		total += len(f.Name) + len(f.Value)
	}
	for _, f := range fields {
		m.set(f, total, at)
	}
	if len(m.entries)-m.live > maxRemoved {
		m.forget()
	}
}

func (m *image) set(f Field, total int, at uint64) {
	k, known := m.index[f.Name]
	if f.removed() {
		if known && m.entries[k].value != nil {
			m.bytes -= fieldSize(f.Name, m.entries[k].value)
			m.live--
			m.entries[k].value, m.entries[k].at = nil, at
		}
		return
	}
	if !known {
		k = len(m.entries)
		name := strings.Clone(f.Name)
		m.entries = append(m.entries, entry{name: name})
		m.index[name] = k
	}
	e := &m.entries[k]
	if e.value == nil {
		m.live++
	} else {
		m.bytes -= fieldSize(e.name, e.value)
	}
	e.value, e.at = own(f.Value, total), at
	m.bytes += fieldSize(e.name, e.value)
}

// own keeps a small value from holding the whole of a large message in memory.
func own(value []byte, total int) []byte {
	if total > smallMessage && len(value) < total/4 {
		return bytes.Clone(value)
	}
	return value
}

// forget drops the older half of the removals and raises the floor above them.
func (m *image) forget() {
	var at []uint64
	for _, e := range m.entries {
		if e.value == nil {
			at = append(at, e.at)
		}
	}
	slices.Sort(at)
	m.floor = max(m.floor, at[len(at)/2]+1)
	m.entries = slices.DeleteFunc(m.entries, func(e entry) bool { return e.value == nil && e.at < m.floor })
	clear(m.index)
	for k, e := range m.entries {
		m.index[e.name] = k
	}
}

// all is every field that has a value, in the order in which they first appeared.
func (m *image) all() []Field {
	fields := make([]Field, 0, m.live)
	for _, e := range m.entries {
		if e.value != nil {
			fields = append(fields, Field{Name: e.name, Value: e.value})
		}
	}
	return fields
}

// since is every field that changed at an offset or later, removed ones with a nil value; false below the floor.
func (m *image) since(offset uint64) ([]Field, bool) {
	if offset < m.floor {
		return nil, false
	}
	var fields []Field
	for _, e := range m.entries {
		if e.at >= offset {
			fields = append(fields, Field{Name: e.name, Value: e.value})
		}
	}
	return fields, true
}
