package subject

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"hawser/lifecycle"
	"hawser/ring"
)

// The limits that hold where [Options] name none.
const (
	DefaultCount       = 10_000  // updates that a log keeps
	DefaultBytes       = 8 << 20 // bytes of updates that a log keeps
	DefaultRecordCount = 1024    // updates that a record keeps; its image needs none
	DefaultRecordBytes = 1 << 20 // bytes of updates that a record keeps
	DefaultMaxSubjects = 100_000 // subjects of a hub
	DefaultMaxMessage  = 1 << 20 // bytes of one update
	DefaultMaxFields   = 1000    // fields of a record
	DefaultMaxImage    = 4 << 20 // bytes of a record's image
	DefaultMaxDepth    = 64      // arrays and objects inside each other
	MaxName            = 255     // bytes of a field's name
	MaxPath            = 255     // bytes of a path
)

// The kinds of event that a hub writes to its log; Path is the subject.
const (
	// EventPublished: a subject has its first update. State is the kind's word.
	EventPublished = "published"
	// EventRemoved: a subject that had been published is gone, with the Reason.
	EventRemoved = "removed"
)

// Options are the limits and the surroundings of a [Hub]. Zero values mean the defaults.
type Options struct {
	// Limits bounds the history of each log; default DefaultCount updates and DefaultBytes bytes, any age.
	Limits ring.Limits
	// RecordLimits bounds the updates kept of each record for followers that lag; default DefaultRecordCount and
	// DefaultRecordBytes. A follower that falls behind further takes ChangedSince.
	RecordLimits ring.Limits
	// MaxSubjects bounds the subjects, those included that are only followed so far; default DefaultMaxSubjects.
	MaxSubjects int
	// MaxMessage bounds one update in bytes of JSON and field names; default DefaultMaxMessage.
	MaxMessage int
	// MaxDepth bounds how deep arrays and objects may lie in each other; default DefaultMaxDepth.
	MaxDepth int
	// MaxFields bounds the fields of a record; default DefaultMaxFields. As many removed ones are remembered.
	MaxFields int
	// MaxImage bounds the image of a record, or a document, in bytes; default DefaultMaxImage.
	MaxImage int64
	// Log takes the events; nil for none.
	Log *lifecycle.Log
	// Now is the clock; default time.Now.
	Now func() time.Time
}

func (o Options) filled() Options {
	if o.Limits == (ring.Limits{}) {
		o.Limits = ring.Limits{Count: DefaultCount, Bytes: DefaultBytes}
	}
	if o.RecordLimits == (ring.Limits{}) {
		o.RecordLimits = ring.Limits{Count: DefaultRecordCount, Bytes: DefaultRecordBytes}
	}
	o.MaxSubjects = cmp.Or(max(o.MaxSubjects, 0), DefaultMaxSubjects)
	o.MaxMessage = cmp.Or(max(o.MaxMessage, 0), DefaultMaxMessage)
	o.MaxDepth = cmp.Or(max(o.MaxDepth, 0), DefaultMaxDepth)
	o.MaxFields = cmp.Or(max(o.MaxFields, 0), DefaultMaxFields)
	o.MaxImage = cmp.Or(max(o.MaxImage, 0), DefaultMaxImage)
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Hub is all subjects of a server. All methods may run at once.
type Hub struct {
	o       Options
	journal *journal // nil: nothing is kept on disk; set by Persist, before anything is published

	mu       sync.RWMutex // taken before a subject's
	subjects map[string]*Subject
	closed   bool
}

// NewHub makes a hub without subjects.
func NewHub(o Options) *Hub {
	return &Hub{o: o.filled(), subjects: make(map[string]*Subject)}
}

// Publish adds an update to the subject at a path, making it if need be, and returns where the update stands. The first
// update decides the kind. A log takes u.Data, a record u.Fields, a document u.Data or u.Patch; the caller must not change them afterwards. What is refused
// changes nothing and wraps a lifecycle.Reason: bad_request (no such path, kind, or JSON), too_big, limit or shutdown.
func (h *Hub) Publish(path string, kind Kind, u Update) (epoch, offset uint64, err error) {
	if err := h.check(kind, &u); err != nil {
		return 0, 0, publishError(path, err)
	}
	if h.Durable(path) {
		return h.journal.wait(&pending{path: path, kind: kind, update: u})
	}
	return h.publish(path, kind, &u)
}

// PublishThen is Publish that does not wait for the disk: done is called with what Publish would return, at once for what is not durable, else by the goroutine that writes, when it is on disk. It must
// not block. Publishes of one goroutine, to durable paths, are done in their order.
func (h *Hub) PublishThen(path string, kind Kind, u Update, done func(epoch, offset uint64, err error)) {
	if err := h.check(kind, &u); err != nil {
		done(0, 0, publishError(path, err))
		return
	}
	if !h.Durable(path) {
		done(h.publish(path, kind, &u))
		return
	}
	if err := h.journal.put(&pending{path: path, kind: kind, update: u, done: done}); err != nil {
		done(0, 0, publishError(path, err))
	}
}

// publish takes an update that was checked.
func (h *Hub) publish(path string, kind Kind, u *Update) (epoch, offset uint64, err error) {
	for {
		s := h.Find(path)
		held := s == nil
		if held {
			if s, err = h.open(path); err != nil {
				return 0, 0, publishError(path, err)
			}
		}
		epoch, offset, err = s.publish(kind, u)
		if held {
			s.Close()
		}
		switch err {
		case nil:
			return epoch, offset, nil
		case errRemoved:
		default:
			return 0, 0, publishError(path, err)
		}
	}
}

func publishError(path string, err error) error {
	return fmt.Errorf("subject: publish %q: %w", path, err)
}

// Open returns the subject at a path, which need not have been published yet, and holds it until its Close is called, once for
// each Open. The error wraps a lifecycle.Reason: bad_request, limit or shutdown.
func (h *Hub) Open(path string) (*Subject, error) {
	s, err := h.open(path)
	if err != nil {
		return nil, fmt.Errorf("subject: open %q: %w", path, err)
	}
	return s, nil
}

func (h *Hub) open(path string) (*Subject, error) {
	h.mu.RLock()
	s := h.subjects[path]
	if s != nil {
		s.hold()
	}
	h.mu.RUnlock()
	if s != nil {
		return s, nil
	}
	if err := checkPath(path); err != nil {
		return nil, lifecycle.ReasonBadRequest.Because(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if s = h.subjects[path]; s == nil {
		switch {
		case h.closed:
			return nil, lifecycle.ReasonShutdown
		case len(h.subjects) >= h.o.MaxSubjects:
			return nil, lifecycle.Reached("MaxSubjects", h.o.MaxSubjects)
		}
		path = strings.Clone(path)
		s = newSubject(h, path)
		h.subjects[path] = s
	}
	s.hold()
	return s, nil
}

// hold is called with the hub's lock, so the subject is in the table.
func (s *Subject) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refs++
}

// Find returns the subject at a path without holding it, nil when there is none. It may be removed at any time.
func (h *Hub) Find(path string) *Subject {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.subjects[path]
}

// List returns all subjects in the order of their paths, those too that are followed but were never published.
func (h *Hub) List() []Info {
	h.mu.RLock()
	all := make([]*Subject, 0, len(h.subjects))
	for _, s := range h.subjects {
		all = append(all, s)
	}
	h.mu.RUnlock()
	list := make([]Info, len(all))
	for i, s := range all {
		list[i] = s.Info()
	}
	slices.SortFunc(list, func(a, b Info) int { return cmp.Compare(a.Path, b.Path) })
	return list
}

// Remove takes a subject away, published or not, and ends its ring with the reason; false when there is none. Those who still
// hold it open must close it. A later publish to the path begins anew, under another epoch.
func (h *Hub) Remove(path string, reason lifecycle.Reason) bool {
	h.mu.Lock()
	s := h.subjects[path]
	h.mu.Unlock()
	return s != nil && h.removeSubject(s, reason)
}

// removeSubject is Remove of one life of a subject.
func (h *Hub) removeSubject(s *Subject, reason lifecycle.Reason) bool {
	h.mu.Lock()
	gone := h.unlistLocked(s, false)
	h.mu.Unlock()
	if gone {
		s.end(reason)
		if s.durable {
			h.journal.put(&pending{path: s.path, ended: s.Epoch()})
		}
	}
	return gone
}

func (h *Hub) removeIdle(s *Subject) {
	h.mu.Lock()
	gone := h.unlistLocked(s, true)
	h.mu.Unlock()
	if gone {
		s.end(lifecycle.ReasonDone)
	}
}

// unlistLocked takes s out of the table, with onlyIdle unless somebody has opened or published it meanwhile; publishes to it
// are refused from here on.
func (h *Hub) unlistLocked(s *Subject, onlyIdle bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.removed || onlyIdle && !s.idleLocked() {
		return false
	}
	s.removed = true
	if s.expiry != nil {
		s.expiry.Stop()
	}
	delete(h.subjects, s.path)
	return true
}

// end closes the ring of a subject that is out of the table, after a publish that may be under way.
func (s *Subject) end(reason lifecycle.Reason) {
	s.pubMu.Lock()
	s.ring.Close(reason)
	s.pubMu.Unlock()
	if kind := s.Kind(); kind != None {
		s.hub.o.Log.Add(lifecycle.Event{Kind: EventRemoved, Protocol: "subject", Path: s.path, State: kind.String(), Reason: reason})
	}
}

// Close removes all subjects with the reason; nothing can be published or opened any more.
func (h *Hub) Close(reason lifecycle.Reason) {
	h.mu.Lock()
	all := make([]*Subject, 0, len(h.subjects))
	for _, s := range h.subjects {
		all = append(all, s)
		h.unlistLocked(s, false)
	}
	h.closed = true
	h.mu.Unlock()
	for _, s := range all {
		s.end(reason)
	}
}

// check refuses what no subject may take. Its errors are reasons.
func (h *Hub) check(kind Kind, u *Update) error {
	if n := u.size(); n > h.o.MaxMessage {
		lifecycle.CountReached("subject.MaxMessage")
		return lifecycle.ReasonTooBig.With("%d bytes, at most %d are allowed", n, h.o.MaxMessage)
	}
	var err error
	switch {
	case kind == Log && u.Fields == nil && u.Patch == nil, kind == JSON && u.Fields == nil && u.Patch == nil:
		err = checkJSON(u.Data, h.o.MaxDepth)
	case kind == JSON && u.Fields == nil && u.Data == nil:
		if err = checkJSON(u.Patch, h.o.MaxDepth); err == nil && bytes.TrimSpace(u.Patch)[0] != '{' {
			err = errPatch
		}
	case kind == Record && u.Data == nil && u.Patch == nil:
		err = h.checkFields(u.Fields)
	case kind == Log || kind == Record || kind == JSON:
		err = fmt.Errorf("a %v takes no such update", kind)
	default:
		err = fmt.Errorf("kind %v cannot be published", kind)
	}
	if err != nil {
		return lifecycle.ReasonBadRequest.Because(err)
	}
	return nil
}

var (
	errPatch    = errors.New("a patch is a JSON object")
	errNoFields = errors.New("a record's update without fields")
	errName     = fmt.Errorf("a field's name is empty, not UTF-8 or longer than %d bytes", MaxName)
	errPath     = fmt.Errorf(`a path begins with "/", has no empty or ".." segment, is UTF-8 and at most %d bytes long`, MaxPath)
)

func (h *Hub) checkFields(fields []Field) error {
	if len(fields) == 0 {
		return errNoFields
	}
	for _, f := range fields {
		if f.Name == "" || len(f.Name) > MaxName || !utf8.ValidString(f.Name) {
			return errName
		}
		if f.Value == nil {
			continue
		}
		if err := checkJSON(f.Value, h.o.MaxDepth); err != nil {
			return fmt.Errorf("field %q: %w", f.Name, err)
		}
	}
	return nil
}

func checkPath(path string) error {
	if len(path) > MaxPath || !strings.HasPrefix(path, "/") || !utf8.ValidString(path) {
		return errPath
	}
	for segment := range strings.SplitSeq(path[1:], "/") {
		if segment == "" || segment == ".." {
			return errPath
		}
	}
	return nil
}
