package session

import (
	"math/bits"
	"strings"
	"unicode/utf8"

	"hawser/lifecycle"
)

// maxWord is how much of an unknown "t" is kept.
const maxWord = 64

// key is a key that version 1 knows; others are passed over.
type key uint8

const (
	keyNone key = iota
	keyT
	keyID
	keyPath
	keyKind
	keyFrom
	keyTo
	keyEpoch
	keyOffset
	keyAt
	keyTime
	keyData
	keyFields
	keyStatus
	keyReason
	keyVersion
	keyClient
	keyToken
	keySession
	keyServer
	keyHeartbeat
	keyResumed
	keyMIME
	keyTracks
	keySkipped
	keyPatch
	keyPublisher
	keySubscribe
	keyPlay
	keyUser
	keyExpires
	keyCount
	keyAge
	keyRate
	keyWindow
	keyName
	keyTimeout
	keyTTL
	keyOn
	keyRequired
	keyPriority
	keyWithin
	keyTotal
	keyStart
	keyRows
)

var keyWords = [...]string{"", "t", "id", "path", "kind", "from", "to", "epoch", "offset", "at", "time", "data", "fields", "status", "reason",
	"version", "client", "token", "session", "server", "heartbeat", "resumed", "mime", "tracks", "skipped",
	"patch", "publisher", "subscribe", "play", "user", "expires", "count", "age", "rate", "window", "name", "timeout", "ttl", "on",
	"required", "priority", "within", "total", "start", "rows"}

func keyOf(raw []byte) key {
	for k := keyT; int(k) < len(keyWords); k++ {
		if string(raw) == keyWords[k] {
			return k
		}
	}
	return keyNone
}

// required are the keys that a message of each type must have.
var required = [...]uint64{
	TypeHello: 1 << keyVersion, TypeSubscribe: 1 << keyPath, TypeUnsubscribe: 1 << keyPath,
	TypePublish: 1<<keyPath | 1<<keyID, TypePlay: 1 << keyPath, TypeStop: 1 << keyPath, TypePing: 1 << keyID, TypePong: 1 << keyID, TypeSignal: 1<<keyPath | 1<<keyData,
	TypeWelcome:  1<<keyVersion | 1<<keySession | 1<<keyHeartbeat,
	TypeSnapshot: 1<<keyPath | 1<<keyKind | 1<<keyEpoch | 1<<keyOffset,
	TypeUpdate:   1<<keyPath | 1<<keyEpoch | 1<<keyOffset,
	TypeGap:      1<<keyPath | 1<<keyEpoch | 1<<keyFrom | 1<<keyTo,
	TypeStatus:   1<<keyPath | 1<<keyStatus,
	TypeAck:      1<<keyID | 1<<keyPath | 1<<keyEpoch | 1<<keyOffset,
	TypeMedia:    1<<keyPath | 1<<keyEpoch | 1<<keyOffset | 1<<keyStatus,
	TypeError:    1 << keyReason, TypeEjected: 1 << keyReason, TypeDrain: 1 << keyReason,
	TypeThrottle: 1 << keyPath, TypeCall: 1<<keyID | 1<<keyName, TypeCancel: 1 << keyID, TypeToken: 1<<keyID | 1<<keyToken,
	TypeSource: 1<<keyPath | 1<<keyOn, TypeResult: 1 << keyID, TypeWanted: 1<<keyPath | 1<<keyOn,
	TypeWindow: 1<<keyPath | 1<<keyEpoch | 1<<keyOffset | 1<<keyTotal | 1<<keyStart | 1<<keyRows,
}

// Parse reads one text message into m, of either direction. Unknown keys are passed over; a type that version 1 does not know gives TypeUnknown and no
// error. An *Error with lifecycle.ReasonProtocol (Fatal) means that b is not one JSON object in UTF-8; with lifecycle.ReasonBadRequest, that a field has the
// wrong type, is missing or appears twice. Data and Fields of m alias b.
func Parse(b []byte, m *Message) error {
	var p parser
	err := p.parse(b)
	*m = p.m
	m.Path = string(p.path)
	return err
}

// parser reads one Message. Its zero value is ready.
type parser struct {
	scanner
	m    Message // without its Path
	has  uint64  // the keys that were there
	bad  string  // the first field that makes no sense
	path []byte  // the path, without allocation where nothing is escaped
}

func (p *parser) parse(b []byte) error {
	p.scanner = scanner{b: b}
	if !utf8.Valid(b) {
		return &Error{Reason: lifecycle.ReasonProtocol.With("not UTF-8"), Fatal: true}
	}
	if p.peek() != '{' {
		return p.fault("{")
	}
	if err := p.object(); err != nil {
		return err
	}
	if err := p.end(); err != nil {
		return err
	}
	return p.check()
}

// object reads the members of the message.
func (p *parser) object() error {
	more, err := p.open('}')
	for more && err == nil {
		raw, escaped, kerr := p.key()
		if kerr != nil {
			return kerr
		}
		if escaped {
			raw = unescape(raw)
		}
		if err = p.member(keyOf(raw)); err == nil {
			more, err = p.more('}')
		}
	}
	return err
}

// member reads the value of one member. null is the same as nothing, but for data.
func (p *parser) member(k key) error {
	c := p.peek()
	raw, err := p.value(MaxDepth - 1)
	if err != nil || k == keyNone || c == 'n' && k != keyData {
		return err
	}
	if p.has&(1<<k) != 0 {
		p.fail(k, "stands twice")
		return nil
	}
	p.has |= 1 << k
	p.assign(k, value{raw: raw, first: c})
	return nil
}

// assign puts a value where it belongs.
func (p *parser) assign(k key, v value) {
	m, want := &p.m, ""
	switch k {
	case keyT:
		want = p.typ(v)
	case keyID:
		want = v.number(&m.ID)
	case keyPath:
		p.path, want = v.bytes()
	case keyKind:
		want = enum(kindWords, v, &m.Kind)
	case keyFrom:
		if v.first == '"' {
			want = enum(fromWords, v, &m.From)
		} else {
			want = v.number(&m.GapFrom)
		}
	case keyTo:
		want = v.number(&m.GapTo)
	case keyEpoch:
		want = v.epoch(&m.Epoch)
	case keyOffset:
		want = v.number(&m.Offset)
	case keyAt:
		want = v.integer(&m.At)
	case keyTime:
		m.HasTime, want = true, v.millis(&m.Time)
	case keyData:
		m.Data = v.raw
	case keyFields:
		if v.first == '[' && m.Type != TypePublish {
			want = v.names(&m.Names)
		} else {
			m.Fields, want = v.object()
		}
	case keyPatch:
		m.Patch, want = v.object()
	case keyStatus:
		want = enum(statusWords, v, &m.Status)
	case keyReason:
		want = v.reason(&m.Reason)
	default:
		want = p.assignRare(k, v)
	}
	if want != "" {
		p.fail(k, "got "+v.name()+", want "+want)
	}
}

// assignRare is assign for what seldom stands in a message.
func (p *parser) assignRare(k key, v value) string {
	m := &p.m
	switch k {
	case keyVersion:
		return v.small(&m.Version)
	case keyClient:
		return v.text(&m.Client)
	case keyToken:
		return v.text(&m.Token)
	case keySession:
		return v.text(&m.Session)
	case keyServer:
		return v.text(&m.Server)
	case keyHeartbeat:
		if text := v.millis(&m.Heartbeat); text != "" || m.Heartbeat < 0 {
			return "milliseconds, 0 or more"
		}
	case keyResumed:
		return v.boolean(&m.Resumed)
	case keyMIME:
		return v.text(&m.MIME)
	case keyTracks:
		return v.tracks(&m.Tracks)
	case keySkipped:
		return v.number(&m.Skipped)
	case keyPublisher:
		return v.text(&m.Publisher)
	case keySubscribe:
		return v.entries(TypeSubscribe, &m.Subscribe)
	case keyPlay:
		return v.entries(TypePlay, &m.Play)
	case keyUser:
		return v.text(&m.User)
	case keyExpires:
		return v.integer(&m.Expires)
	}
	return p.assignWant(k, v)
}

// typ reads "t".
func (p *parser) typ(v value) string {
	b, want := v.bytes()
	if want != "" {
		return want
	}
	t, ok := find[Type](typeWords, b)
	if p.m.Type = t; !ok {
		p.m.Word = strings.ToValidUTF8(string(b[:min(len(b), maxWord)]), "")
	}
	return ""
}

// fail remembers the first field that makes no sense.
func (p *parser) fail(k key, text string) {
	if p.bad == "" || k == keyT {
		p.bad = keyWords[k] + ": " + text
	}
}

// check says what is wrong with a message that is good JSON.
func (p *parser) check() error {
	m := &p.m
	switch {
	case p.has&(1<<keyT) == 0:
		return p.badRequest("want t")
	case m.Type == TypeUnknown && m.Word != "":
		return nil // its fields may mean something else
	case p.bad != "":
		return p.badRequest(p.bad)
	case m.Type == TypeUnknown:
		return nil
	}
	if missing := required[int(m.Type)%len(required)] &^ p.has; missing != 0 && int(m.Type) < len(required) {
		return p.missing(keyWords[bits.TrailingZeros64(missing)])
	}
	switch m.Type {
	case TypePublish, TypePing, TypePong, TypeAck, TypeCall, TypeCancel, TypeToken, TypeResult:
		if m.ID == 0 {
			return p.badRequest("id: got 0, want 1 or more")
		}
	}
	return p.checkPayload()
}

// checkPayload checks what depends on other fields.
func (p *parser) checkPayload() error {
	m := &p.m
	fields, patch := m.Fields != nil, p.has&(1<<keyPatch) != 0
	data := p.has&(1<<keyData) != 0
	position := uint64(1<<keyEpoch | 1<<keyOffset)
	switch {
	case m.Type == TypePublish && m.Kind == KindRecord && !fields:
		return p.missing("fields")
	case m.Type == TypePublish && m.Kind == KindJSON && data == patch:
		return p.missing("data or patch")
	case m.Type == TypePublish && m.Kind != KindRecord && m.Kind != KindJSON && !data:
		return p.missing("data")
	case m.Type == TypeUpdate && !one(data, fields, patch):
		return p.missing("data, fields or patch")
	case m.Type == TypeSubscribe && m.From == FromKeyframe, m.Type == TypePlay && m.From != FromDefault && m.From != FromOffset && m.From != FromKeyframe:
		return p.badRequest("from: " + m.From.String() + " is not for " + m.Type.String())
	case m.From == FromOffset && p.has&position != position:
		return p.missing("epoch and offset")
	}
	return nil
}

// one says whether exactly one of three things is true.
func one(a, b, c bool) bool { return a && !b && !c || b && !a && !c || c && !a && !b }

func (p *parser) missing(what string) error {
	return p.badRequest(p.m.Type.String() + ": want " + what)
}

func (p *parser) badRequest(text string) error {
	return &Error{Reason: lifecycle.ReasonBadRequest.With("%s", text), ID: p.m.ID, Path: string(p.path)}
}

// ParseFields appends the members of a JSON object, the form of Message.Fields, to dst, in their order. Values alias raw; a null becomes a nil Value. A name
// that stands twice comes twice: the later one counts.
func ParseFields(dst []Field, raw []byte) ([]Field, error) {
	s := scanner{b: raw}
	if s.peek() != '{' {
		return dst, s.fault("{")
	}
	more, err := s.open('}')
	for more && err == nil {
		name, escaped, kerr := s.key()
		if kerr != nil {
			return dst, kerr
		}
		if escaped {
			name = unescape(name)
		}
		s.peek()
		v, verr := s.value(MaxDepth - 2)
		if verr != nil {
			return dst, verr
		}
		if string(v) == "null" {
			v = nil
		}
		dst = append(dst, Field{Name: string(name), Value: v})
		more, err = s.more('}')
	}
	if err == nil {
		err = s.end()
	}
	return dst, err
}
