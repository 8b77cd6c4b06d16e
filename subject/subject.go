package subject

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"
	"unsafe"

	"hawser/lifecycle"
	"hawser/ring"
)

// ErrOffset says that what changed since an offset cannot be told: it lies ahead of the subject, or removals after it are
// forgotten already. The answer to give is the whole image.
var ErrOffset = errors.New("offset is not held")

// errRemoved tells the hub that the subject left the table between look-up and use.
var errRemoved = errors.New("removed")

// Kind is what a subject carries; the first publish decides it.
type Kind uint8

const (
	// None: nothing was published yet. May become Log or Record.
	None Kind = iota
	// Log: messages, each whole and for itself; a follower is given every one that is still held. Final.
	Log
	// Record: named fields; a follower needs the present image and may be given changes conflated. Final.
	Record
	// JSON: a document; updates replace it or are merge patches (RFC 7396). Final.
	JSON
)

var kindWords = [...]string{"none", "log", "record", "json"}

// String returns "none", "log", "record" or "json".
func (k Kind) String() string {
	if int(k) < len(kindWords) {
		return kindWords[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// MarshalText returns the word of String.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText takes one of the words of String.
func (k *Kind) UnmarshalText(b []byte) (err error) {
	*k, err = ParseKind(string(b))
	return err
}

// ParseKind returns the kind with the given word.
func ParseKind(word string) (Kind, error) {
	for i, w := range kindWords {
		if w == word {
			return Kind(i), nil
		}
	}
	return None, fmt.Errorf("subject: kind %q: want log, record or json", word)
}

// Update is one message of a log or one change of a record. Its offset is the ring's sequence number. It is immutable from the
// moment it is published: the publisher gives up Data, Fields and the values.
type Update struct {
	// At is the wall clock at publishing; Publish sets it where it is zero.
	At time.Time
	// Media is the media time that the update belongs to, valid if HasMedia.
	Media    time.Duration
	HasMedia bool
	// Data is the JSON text of a log message or of a whole document; nil for records.
	Data []byte
	// Fields are the fields of a record that changed, in the publisher's order; nil for others.
	Fields []Field
	// Patch is a merge patch of a document, a JSON object; nil for others.
	Patch []byte
	// TTL removes the subject when nothing was published on it for so long; 0 leaves it as an earlier update said.
	TTL time.Duration
	// Publisher and ID name the request, so that it can be told after a restart that it was done; both are kept of durable subjects only. Empty: nobody will ask.
	Publisher string
	ID        uint64

	lost uint64 // see Lost
}

// Lost says that the update at this offset, and all up to before next, were damaged on disk: they stand in a log's history so that what is before them is not lost too.
func (u *Update) Lost() (next uint64, is bool) { return u.lost, u.lost > 0 }

// Field is a named value of a record.
type Field struct {
	// Name is not empty, UTF-8, at most MaxName bytes.
	Name string
	// Value is JSON text; nil (or null) means that the field is removed.
	Value []byte
}

func (f Field) removed() bool { return f.Value == nil || isNull(f.Value) }

func (u *Update) size() int {
	n := len(u.Data) + len(u.Patch)
	for _, f := range u.Fields {
		n += len(f.Name) + len(f.Value)
	}
	return n
}

// Subject is the live data at one path. All methods may run at once.
type Subject struct {
	hub     *Hub
	path    string
	ring    *ring.Ring[Update]
	durable bool // what is published is on disk before anybody is told of it

	// Wires are the derived rings of ready frames, by the name of their wire format, alive while somebody reads them.
	Wires ring.Outputs[Update, []byte]

	// pubMu gives publishers one order for the image and the ring. It is held while followers are woken; mu is not.
	pubMu sync.Mutex

	mu      sync.Mutex
	kind    Kind
	image   image
	doc     document
	next    uint64 // offset of the next update
	media   time.Duration
	stamped bool      // media holds the time of the last update that had one
	updated time.Time // of the last update
	cached  []Field   // image.all() as of cachedAt, if not nil
	refs    int       // Open without Close
	removed bool      // no longer in the hub's table
	ttl     time.Duration
	expiry  *time.Timer // nil without a ttl
	expires time.Time
	ahead   ahead // updates on their way to disk
}

// newSubject draws the epoch below 2^63, so that it also fits the signed integers of other languages.
func newSubject(h *Hub, path string) *Subject {
	epoch := rand.Uint64N(math.MaxInt64) + 1
	return &Subject{hub: h, path: path, ring: ring.New[Update](epoch, 0, h.o.Limits), durable: h.keeps(path)}
}

// Path returns where the subject is.
func (s *Subject) Path() string { return s.path }

// Epoch names this life of the subject, so that a follower that comes back can tell a restart from a gap.
func (s *Subject) Epoch() uint64 { return s.ring.Epoch() }

// Ring returns the ring of updates. A subject that is removed closes it.
func (s *Subject) Ring() *ring.Ring[Update] { return s.ring }

// Kind returns what the subject carries, None before the first publish.
func (s *Subject) Kind() Kind {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kind
}

// Snapshot is a subject as it stands at one moment.
type Snapshot struct {
	// Kind is None before the first publish.
	Kind Kind
	// Epoch and Offset are where to go on: Offset is that of the next update.
	Epoch, Offset uint64
	// Fields is the image of a record, nil for others. It is shared: do not change it.
	Fields []Field
	// Data is the present document of a JSON subject, nil for others. It is shared: do not change it.
	Data []byte
	// Media is the media time of the last update that had one, valid if HasMedia.
	Media    time.Duration
	HasMedia bool
}

// Snapshot returns the subject as it stands. The update before Offset may still be on its way into the ring; a cursor
// opened at Offset is right in any case.
func (s *Subject) Snapshot() Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	snap := Snapshot{Kind: s.kind, Epoch: s.ring.Epoch(), Offset: s.next, Fields: s.imageLocked(), Media: s.media, HasMedia: s.stamped}
	if s.kind == JSON {
		snap.Data = s.doc.now()
	}
	return snap
}

// Image returns the present fields of a record, nil for other kinds, and the offset of the next update. The fields are shared
// by all who ask until the next publish: do not change them.
func (s *Subject) Image() (fields []Field, offset uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.imageLocked(), s.next
}

func (s *Subject) imageLocked() []Field {
	if s.cached == nil && s.kind == Record {
		s.cached = s.image.all()
	}
	return s.cached
}

// ChangedSince returns each field of a record that changed in the update at offset or a later one, with its present value
// (nil: removed), and the offset of the next update. Applied to the image as it was before the update at offset, it gives the
// present image, however long ago that was. It returns [ErrOffset] when it cannot.
func (s *Subject) ChangedSince(offset uint64) (fields []Field, now uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ok := offset <= s.next
	if ok {
		fields, ok = s.image.since(offset)
	}
	if !ok {
		return nil, s.next, fmt.Errorf("subject: changes of %q since %d: %w", s.path, offset, ErrOffset)
	}
	return fields, s.next, nil
}

// Publish is [Hub.Publish] for a subject that is held open. It must not be called from a Wake of the subject's own followers.
func (s *Subject) Publish(kind Kind, u Update) (epoch, offset uint64, err error) {
	if err := s.hub.check(kind, &u); err != nil {
		return 0, 0, publishError(s.path, err)
	}
	if s.durable {
		return s.hub.journal.wait(&pending{path: s.path, subject: s, kind: kind, update: u})
	}
	epoch, offset, err = s.publish(kind, &u)
	if err == errRemoved {
		err = errGone
	}
	if err != nil {
		return 0, 0, publishError(s.path, err)
	}
	return epoch, offset, nil
}

// errGone is what a publish to a subject that is held open, but was removed, fails with.
var errGone = lifecycle.ReasonGone.With("the subject was removed")

// publish takes an update that was checked. Its errors are reasons, or errRemoved.
func (s *Subject) publish(kind Kind, u *Update) (epoch, offset uint64, err error) {
	s.pubMu.Lock()
	defer s.pubMu.Unlock()
	now := s.hub.o.Now()
	if u.At.IsZero() {
		u.At = now
	}
	first, err := s.fold(kind, u)
	if err != nil {
		return 0, 0, err
	}
	return s.ring.Epoch(), s.show(first, kind, u, now), nil
}

// show gives an update that is folded in to the followers.
func (s *Subject) show(first bool, kind Kind, u *Update, now time.Time) (offset uint64) {
	if first {
		s.begin(kind)
	}
	return s.ring.Append(*u, u.cost(), now)
}

// updateOverhead is what an update is counted with beside its bytes: its place in a ring.
const updateOverhead = int(unsafe.Sizeof(ring.Item[Update]{}))

// cost is what an update counts in a ring.
func (u *Update) cost() int { return u.size() + updateOverhead + fieldOverhead*len(u.Fields) }

// fold puts the update into the state that mu guards, or refuses it and changes nothing.
func (s *Subject) fold(kind Kind, u *Update) (first bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkLocked(kind, u); err != nil {
		return false, err
	}
	first = s.changeLocked(kind, u)
	s.armExpiryLocked(time.Now().Add(s.ttl))
	return first, nil
}

// checkLocked says why an update cannot be folded in.
func (s *Subject) checkLocked(kind Kind, u *Update) error {
	o := &s.hub.o
	var why lifecycle.Reason
	switch {
	case s.removed:
		return errRemoved
	case s.kind != None && s.kind != kind:
		return lifecycle.ReasonBadRequest.With("the subject is a %v, not a %v", s.kind, kind)
	case kind == JSON:
		why = s.doc.check(u, o.MaxImage)
	case kind == Record:
		why = s.image.check(u.Fields, o.MaxFields, o.MaxImage)
	}
	if !why.IsZero() {
		return why
	}
	return nil
}

// changeLocked folds an update that was checked into the state.
func (s *Subject) changeLocked(kind Kind, u *Update) (first bool) {
	switch kind {
	case JSON:
		s.doc.fold(u)
	case Record:
		s.image.fold(u.Fields, s.next, s.hub.o.MaxFields)
		s.cached = nil
	}
	first = s.kind == None
	s.kind = kind
	s.next++
	s.updated = u.At
	if u.HasMedia {
		s.media, s.stamped = u.Media, true
	}
	s.ttl = cmp.Or(u.TTL, s.ttl)
	return first
}

// armExpiryLocked sets the end of a subject that has a time to live.
func (s *Subject) armExpiryLocked(at time.Time) {
	s.expires = at
	switch {
	case s.ttl <= 0 || s.removed:
	case s.expiry == nil:
		s.expiry = time.AfterFunc(time.Until(at), s.expire)
	default:
		s.expiry.Reset(time.Until(at))
	}
}

// expire removes the subject when nothing was published for its time to live.
func (s *Subject) expire() {
	s.mu.Lock()
	early, ttl := time.Now().Before(s.expires) || s.ahead.count > 0, s.ttl
	s.mu.Unlock()
	if early {
		return // a publish has just set the timer anew, or is about to
	}
	s.hub.removeSubject(s, lifecycle.ReasonGone.With("nothing was published for %s", ttl))
}

// begin is what the first publish does beside the rest.
func (s *Subject) begin(kind Kind) {
	if kind != Log {
		s.ring.SetLimits(s.hub.o.RecordLimits)
	}
	s.hub.o.Log.Add(lifecycle.Event{Kind: EventPublished, Protocol: "subject", Path: s.path, State: kind.String(), Light: lifecycle.Green})
}

// Close gives up what one [Hub.Open] gave. With the last one a subject that was never published leaves the hub.
func (s *Subject) Close() {
	s.mu.Lock()
	s.refs--
	idle := s.idleLocked()
	s.mu.Unlock()
	if idle {
		s.hub.removeIdle(s)
	}
}

func (s *Subject) idleLocked() bool { return s.refs <= 0 && s.kind == None && !s.removed }

// Info is a subject as a list shows it.
type Info struct {
	Path    string    `json:"path"`
	Kind    Kind      `json:"kind"`
	Epoch   uint64    `json:"-"`                // "epoch" in JSON, see MarshalJSON
	Oldest  uint64    `json:"oldest"`           // offset of the oldest update held
	Offset  uint64    `json:"offset"`           // of the next update, so also the number of updates so far
	Items   int       `json:"items"`            // updates held
	Bytes   int64     `json:"bytes"`            // what they count
	Fields  int       `json:"fields,omitempty"` // of a record now
	Open    int       `json:"open"`             // how many hold it open
	Updated time.Time `json:"updated,omitzero"` // when the last update came
}

// MarshalJSON writes the epoch as the session protocol does, 16 hexadecimal digits: as a number it could be above 2^53.
func (i Info) MarshalJSON() ([]byte, error) {
	type fields Info
	return json.Marshal(struct {
		fields
		Epoch string `json:"epoch"`
	}{fields(i), fmt.Sprintf("%016x", i.Epoch)})
}

// Info returns the subject as a list shows it.
func (s *Subject) Info() Info {
	stats := s.ring.Stats()
	oldest, _ := s.ring.Bounds()
	s.mu.Lock()
	defer s.mu.Unlock()
	return Info{
		Path: s.path, Kind: s.kind, Epoch: s.ring.Epoch(), Oldest: oldest, Offset: s.next,
		Items: stats.Items, Bytes: stats.Bytes, Fields: s.image.live, Open: s.refs, Updated: s.updated,
	}
}
