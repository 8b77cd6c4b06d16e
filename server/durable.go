package server

import (
	"fmt"
	"path"
	"strings"
	"time"

	"hawser/session"
	"hawser/subject"
)

// Durable says which paths have a history that outlives the process.
type Durable struct {
	// Dir is the folder that it is kept in; it belongs to one server at a time.
	Dir string
	// Paths are patterns of path.Match; one that ends in "/**" takes all below. The server's own paths are never durable.
	Paths []string
	// MaxWaiting bounds the updates that wait for the disk, in bytes (reason limit); 0 means subject.DefaultMaxWaiting.
	MaxWaiting int64
}

// KeepDurable restores what is on disk and keeps what is published on the given paths there. It is called before Serve, once; Serve closes the folder when it returns. It fails for a bad pattern, and
// when the folder cannot be used.
func (s *Server) KeepDurable(d Durable) error {
	for _, p := range d.Paths {
		above := strings.TrimSuffix(p, "/**")
		if _, err := path.Match(above, ""); err != nil || !strings.HasPrefix(p, "/") || strings.Contains(above, "**") {
			return fmt.Errorf(`server: durable path %q: want a pattern that begins with "/", with ** at its end at most`, p)
		}
	}
	return s.subjects.Persist(subject.Durable{
		Dir: d.Dir, MaxWaiting: d.MaxWaiting, Published: s.memory.restore, Remembered: s.memory.acks,
		Match: func(p string) bool { return reserved(p) == nil && matches(d.Paths, p) },
	})
}

// matches says whether one of the patterns is for a path.
func matches(patterns []string, p string) bool {
	for _, pattern := range patterns {
		above, all := strings.CutSuffix(pattern, "/**")
		if !all {
			if ok, _ := path.Match(pattern, p); ok {
				return true
			}
			continue
		}
		head := p
		for range strings.Count(p, "/") - strings.Count(above, "/") {
			head = head[:strings.LastIndexByte(head, '/')]
		}
		if ok, _ := path.Match(above, head); ok && head != p {
			return true
		}
	}
	return false
}

// ackFrame is the answer to a publish that was accepted.
func ackFrame(p *subject.Published) []byte {
	return textFrame(&session.Message{Type: session.TypeAck, ID: p.ID, Path: p.Path, Epoch: p.Epoch, Offset: p.Offset})
}

// restore remembers a publish that is on disk; its publisher has as long to ask for it as if it had just gone.
func (m *memory) restore(p subject.Published) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.publisherLocked(p.Publisher)
	r.gone = time.Now()
	r.rememberLocked(answer{id: p.ID, ack: &p})
}

// acks yields what was acknowledged on durable paths and may be asked for again.
func (m *memory) acks(yield func(*subject.Published) bool) {
	m.mu.Lock()
	all := make([]*requester, 0, len(m.publishers))
	for _, r := range m.publishers {
		all = append(all, r)
	}
	m.mu.Unlock()
	var acks []*subject.Published
	for _, r := range all {
		acks = acks[:0]
		r.mu.Lock()
		for i := range r.answers {
			if a := r.answers[i].ack; a != nil {
				acks = append(acks, a)
			}
		}
		r.mu.Unlock()
		for _, a := range acks {
			if !yield(a) {
				return
			}
		}
	}
}
