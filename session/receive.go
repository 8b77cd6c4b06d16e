package session

import (
	"errors"

	"hawser/lifecycle"
)

// Receive takes a text message of the server. One that breaks the protocol makes the machine give the connection up. Messages of types that version 1 does not
// know are ignored.
func (c *Client) Receive(b []byte) {
	if c.online() {
		c.take(b)
	}
}

func (c *Client) take(b []byte) {
	var p parser
	if err := p.parse(b); err != nil {
		e := err.(*Error)
		c.GiveUp(lifecycle.ReasonProtocol.With("%s", e.Reason.Text))
		return
	}
	if c.state == Paused && p.m.Type.waits() {
		c.hold(b)
		return
	}
	p.m.Path = c.pathString(p.path)
	if c.state == Connected || c.state == RetrievingCredentials || c.state == CredentialsRetrieved {
		c.receiveLogin(&p.m)
	} else {
		c.receive(&p.m)
	}
}

// waits says whether a message is kept during a pause: all that the application would get for what it follows.
func (t Type) waits() bool {
	switch t {
	case TypeSnapshot, TypeUpdate, TypeGap, TypeStatus, TypeMedia, TypeWindow, TypeWanted, TypeDrain:
		return true
	}
	return false
}

// pathString returns the path as the subscription or play holds it, so that an update allocates nothing.
func (c *Client) pathString(path []byte) string {
	if f := c.subs.byPath[string(path)]; f != nil {
		return f.path
	}
	if f := c.plays.byPath[string(path)]; f != nil {
		return f.path
	}
	return string(path)
}

// receiveLogin takes the answer to the hello.
func (c *Client) receiveLogin(m *Message) {
	switch m.Type {
	case TypeWelcome:
		if !c.greeting {
			return // to nothing that was said
		}
		if m.Version != Version {
			c.GiveUp(lifecycle.ReasonUnsupported.With("version %d: this client speaks %d", m.Version, Version))
			return
		}
		if m.Resumed {
			c.set(Reconnected, lifecycle.Reason{})
		}
		c.set(LoggedIn, lifecycle.Reason{})
		c.welcomed(m)
	case TypeError, TypeEjected, TypeBye:
		c.closedByWord(m)
	case TypePing:
		c.send(&Message{Type: TypePong, ID: m.ID})
	}
}

// closedByWord is Closed for a server that says so in a message: the connection is closed from this side too.
func (c *Client) closedByWord(m *Message) {
	r := m.Reason
	if r.IsZero() {
		r = lifecycle.ReasonShutdown
	}
	if !c.moving {
		c.closing = lifecycle.ReasonDone
	}
	c.Closed(r)
}

// receive takes a message of a session that stands.
func (c *Client) receive(m *Message) {
	switch m.Type {
	case TypeSnapshot:
		c.snapshot(m)
	case TypeUpdate:
		c.update(m)
	case TypeGap:
		c.gap(m)
	case TypeWindow:
		c.window(m)
	case TypeStatus:
		c.status(m)
	case TypeMedia:
		c.media(m)
	case TypeAck, TypeError, TypeResult:
		c.answer(m)
	case TypePing:
		c.send(&Message{Type: TypePong, ID: m.ID})
	case TypePong:
		c.emit(EventPong, m)
	case TypeDrain:
		c.emit(EventDrain, m)
	case TypeWanted:
		c.emit(EventWanted, m)
	case TypeSignal:
		c.emit(EventSignal, m)
	case TypeEjected, TypeBye:
		c.closedByWord(m)
	}
}

// answer takes what a request with an id gets; more may be sent then.
func (c *Client) answer(m *Message) {
	if m.Type == TypeError && m.ID == 0 {
		c.emit(EventError, m)
		return
	}
	_, call := c.pending.settle(m.ID, true)
	publish := false
	if !call {
		_, publish = c.pending.settle(m.ID, false)
	}
	switch {
	case call: // an error, too, is its result
		c.emit(EventResult, m)
	case publish && m.Type == TypeAck:
		c.emit(EventAck, m)
	case publish:
		c.emit(EventError, m)
	case m.Type == TypeResult && m.ID <= c.pending.lastID && m.ID == c.renewal:
		c.renewed(m)
	}
	c.sendPending()
}

// renewed takes the answer to Renew.
func (c *Client) renewed(m *Message) {
	c.renewal = 0
	if m.Reason.IsZero() {
		c.lifetime = lifetime(m.Expires, m.At)
	}
	c.events = append(c.events, Event{Kind: EventRenewed, ID: m.ID, At: m.Expires, Reason: m.Reason})
}

// emit makes an event of a message.
func (c *Client) emit(k EventKind, m *Message) {
	c.events = append(c.events, Event{Kind: k, Path: m.Path, ID: m.ID, Subject: m.Kind, Epoch: m.Epoch, Offset: m.Offset, At: m.At,
		Time: m.Time, HasTime: m.HasTime, Data: m.Data, Fields: m.Fields, Patch: m.Patch, Status: m.Status, Media: m.Media, View: m.View, On: m.On, Within: m.Within, Reason: m.Reason})
}

// lose tells of the offsets from to to-1; to 0 means that the number is not known.
func (c *Client) lose(f *follower, to uint64) {
	c.events = append(c.events, Event{Kind: EventGap, Path: f.path, Epoch: f.epoch, Offset: f.next, To: to})
}

// snapshot is where a subscription starts, or starts again: what a log lost since is told.
func (c *Client) snapshot(m *Message) {
	f := c.subs.byPath[m.Path]
	if f == nil {
		return
	}
	next, isLog := m.Offset, m.Kind == KindLog || f.kind == KindLog
	whole := m.Fields != nil || m.Data != nil
	switch {
	case !f.placed:
	case !isLog:
		if f.seen(m.Epoch, m.Offset) && !whole {
			next = f.next // what stands here came on the connection before
		}
	case m.Epoch != f.epoch:
		c.lose(f, 0)
	case m.Offset > f.next:
		c.lose(f, m.Offset)
	default:
		next = f.next // a replay of what was handed out already is dropped
	}
	f.kind = m.Kind
	f.place(m.Epoch, next)
	c.emit(EventSnapshot, m)
}

// update hands out what is new and drops what is not.
func (c *Client) update(m *Message) {
	f := c.subs.byPath[m.Path]
	if f == nil || !f.answered {
		return
	}
	switch {
	case m.Fields != nil:
		f.kind = KindRecord
	case m.Kind != KindJSON:
		f.kind = KindLog
	default:
		f.kind = KindJSON
	}
	switch {
	case m.Epoch != f.epoch:
		c.lose(f, 0)
	case m.Offset < f.next:
		return
	case m.Offset > f.next && f.kind == KindLog: // others may be conflated
		c.lose(f, m.Offset)
	}
	f.place(m.Epoch, m.Offset+1)
	m.Kind = f.kind
	c.emit(EventUpdate, m)
}

// window hands out what a window shows.
func (c *Client) window(m *Message) {
	f := c.subs.byPath[m.Path]
	if f == nil || f.want.Window == nil {
		return
	}
	f.kind = KindRecord
	f.place(m.Epoch, m.Offset)
	c.emit(EventWindow, m)
}

func (c *Client) gap(m *Message) {
	f := c.subs.byPath[m.Path]
	if f == nil || !f.answered || m.Epoch != f.epoch || m.GapTo <= f.next {
		return
	}
	c.lose(f, m.GapTo)
	f.next = m.GapTo
}

func (c *Client) status(m *Message) {
	if c.subs.byPath[m.Path] == nil {
		return
	}
	if m.Status == StatusRefused || m.Status == StatusRemoved {
		c.subs.remove(m.Path)
	}
	c.emit(EventStatus, m)
}

func (c *Client) media(m *Message) {
	f := c.plays.byPath[m.Path]
	if f == nil {
		return
	}
	if m.Status == StatusGone {
		c.plays.remove(m.Path)
	}
	next := m.Offset
	if f.seen(m.Epoch, next) {
		next = f.next
	}
	f.place(m.Epoch, next)
	c.emit(EventMedia, m)
}

// ReceiveMedia takes a binary message of the server. Binary messages of another kind, and media of paths that are not played, are ignored.
func (c *Client) ReceiveMedia(b []byte) {
	switch {
	case !c.linked || len(b) == 0:
	case c.state == Paused && b[0] == mediaType:
		c.hold(b)
	default:
		c.takeMedia(b)
	}
}

func (c *Client) takeMedia(b []byte) {
	h, path, payload, err := parseMedia(b)
	if errors.Is(err, lifecycle.ReasonUnsupported) {
		return
	}
	if err != nil {
		c.GiveUp(err.(*Error).Reason)
		return
	}
	f := c.plays.byPath[string(path)]
	if f == nil || !f.answered {
		return
	}
	switch {
	case h.Flags&FlagInit == 0 && f.seen(h.Epoch, h.Offset):
		return // it came on the connection before
	case h.Flags&FlagInit == 0:
		f.place(h.Epoch, h.Offset+1)
	case !f.seen(h.Epoch, h.Offset):
		f.place(h.Epoch, h.Offset)
	}
	c.events = append(c.events, Event{Kind: EventFragment, Path: f.path, Flags: h.Flags, MediaKind: h.Kind, Epoch: h.Epoch, Offset: h.Offset,
		Time: h.DTS, HasTime: true, Data: payload})
}
