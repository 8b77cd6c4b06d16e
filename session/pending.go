package session

import (
	"slices"
	"time"

	"hawser/lifecycle"
)

// The bounds of what waits for an answer.
const (
	// DefaultMaxPending and DefaultMaxPendingBytes bound the publishes and calls that wait, unless ClientOptions say otherwise.
	DefaultMaxPending      = 16384
	DefaultMaxPendingBytes = 16 << 20
	// MaxInFlight is how many requests with an id a client may have on the way without an answer: as many as a server remembers of a publisher.
	MaxInFlight = 4096
	// queuedOverhead is what a message that is kept counts beside its bytes.
	queuedOverhead = 64
)

// pending is a publish or a call without an answer.
type pending struct {
	id   uint64
	path string
	msg  []byte
	call bool // else a publish
	once bool // not to be sent again
	sent bool // on the connection that stands
}

// pendings are the requests that wait, in the order of their ids.
type pendings struct {
	list     []pending
	lastID   uint64
	sent     int
	size     int
	max      int
	maxBytes int
}

func newPendings(most, mostBytes int) pendings {
	if most <= 0 {
		most = DefaultMaxPending
	}
	if mostBytes <= 0 {
		mostBytes = DefaultMaxPendingBytes
	}
	return pendings{max: most, maxBytes: mostBytes}
}

// full says why no more may wait.
func (p *pendings) full() *Error {
	if len(p.list) < p.max && p.size < p.maxBytes {
		return nil
	}
	return &Error{Reason: lifecycle.ReasonLimit.With("%d requests wait for an answer", len(p.list))}
}

func (p *pendings) nextID() uint64 {
	p.lastID++
	return p.lastID
}

func (p *pendings) add(r pending) {
	p.list = append(p.list, r)
	p.size += len(r.msg) + queuedOverhead
}

// settle forgets a request, answered or called off.
func (p *pendings) settle(id uint64, call bool) (r pending, ok bool) {
	i, ok := slices.BinarySearchFunc(p.list, id, func(r pending, id uint64) int { return int(int64(r.id - id)) })
	if !ok || p.list[i].call != call {
		return r, false
	}
	r = p.list[i]
	p.size -= len(r.msg) + queuedOverhead
	if r.sent {
		p.sent--
	}
	if i == 0 {
		p.list[0] = pending{}
		p.list = p.list[1:]
	} else {
		p.list = slices.Delete(p.list, i, i+1)
	}
	return r, true
}

// dropped is the end of the connection: what was sent and is not to be sent again is forgotten and returned.
func (p *pendings) dropped() (forgotten []pending) {
	p.list = slices.DeleteFunc(p.list, func(r pending) bool {
		if !r.sent || !r.once {
			return false
		}
		forgotten = append(forgotten, r)
		p.size -= len(r.msg) + queuedOverhead
		return true
	})
	p.again()
	return forgotten
}

// again lets all of it be sent, once more.
func (p *pendings) again() {
	p.sent = 0
	for i := range p.list {
		p.list[i].sent = false
	}
}

func (p *pendings) takeAll() []pending {
	list := p.list
	p.list, p.sent, p.size = nil, 0, 0
	return list
}

// sendPending sends what waits, as far as it may.
func (c *Client) sendPending() {
	p := &c.pending
	for i := p.sent; i < len(p.list) && c.linked && p.sent < MaxInFlight; i++ {
		if r := &p.list[i]; !r.sent {
			r.sent = true
			p.sent++
			c.out = append(c.out, r.msg)
		}
	}
}

// Publish sends data and returns the id that the ack or error will have; p.ID is ignored. An empty p.Kind means KindRecord when there are Fields, KindJSON when there is a Patch, else
// KindLog. While the client is not logged in the publish waits; after a break it is sent again under the same id. It fails when the path or the JSON makes no sense, with lifecycle.ReasonLimit
// when too much waits, and with lifecycle.ReasonLost when the client is Disconnected.
func (c *Client) Publish(p Publish) (id uint64, err error) {
	if err := c.mayAsk(p.Path); err != nil {
		return 0, err
	}
	m := Message{Type: TypePublish, Path: p.Path, Kind: p.Kind, Data: p.Data, Time: p.Time, HasTime: p.HasTime, Command: Command{TTL: p.TTL}}
	switch {
	case p.Kind == KindNone && p.Fields != nil:
		m.Kind = KindRecord
	case p.Kind == KindNone && p.Patch != nil:
		m.Kind = KindJSON
	}
	payload, name := p.Data, ""
	switch {
	case m.Kind == KindRecord:
		payload, name, m.Fields, m.Data = p.Fields, "fields", p.Fields, nil
	case m.Kind == KindJSON && p.Patch != nil:
		payload, name, m.Patch, m.Data = p.Patch, "patch", p.Patch, nil
	}
	if err := checkJSON(payload, name); err != nil {
		err.Path = p.Path
		return 0, err
	}
	m.ID = c.pending.nextID()
	c.pending.add(pending{id: m.ID, path: p.Path, msg: Append(nil, &m)})
	c.sendPending()
	return m.ID, nil
}

// mayAsk says why no request about a path can be taken.
func (c *Client) mayAsk(path string) error {
	if err := CheckPath(path); err != nil {
		return err
	}
	if c.state == Disconnected {
		return &Error{Reason: lifecycle.ReasonLost.With("not connected"), Path: path}
	}
	if err := c.pending.full(); err != nil {
		err.Path = path
		return err
	}
	return nil
}

// CallOptions says how a call is to be done; the zero value is good.
type CallOptions struct {
	// Timeout is what the server is told; the driver keeps it. 0 means no bound.
	Timeout time.Duration
	// Resend sends the call again under the same id when the connection broke before the result; else it has failed with lifecycle.ReasonLost then.
	Resend bool
}

// Call asks the server to do something and returns the id that the EventResult will have. data is JSON, nil for none. It waits and fails as Publish does.
func (c *Client) Call(name string, data []byte, o CallOptions) (id uint64, err error) {
	if err := c.mayAsk(name); err != nil {
		return 0, err
	}
	if data != nil {
		if err := checkJSON(data, ""); err != nil {
			err.Path = name
			return 0, err
		}
	}
	id = c.pending.nextID()
	m := Message{Type: TypeCall, ID: id, Data: data, Command: Command{Name: name, Timeout: o.Timeout}}
	c.pending.add(pending{id: id, path: name, msg: Append(nil, &m), call: true, once: !o.Resend})
	c.sendPending()
	return id, nil
}

// Cancel calls a call off; no EventResult comes any more. It does nothing when the result has come.
func (c *Client) Cancel(id uint64) {
	if r, ok := c.pending.settle(id, true); ok && r.sent {
		c.request(Message{Type: TypeCancel, ID: id})
		c.sendPending()
	}
}

// Renew sends new credentials before the old ones end, and returns the id of the EventRenewed; 0 when no welcome came on a connection that stands.
func (c *Client) Renew(token string) (id uint64) {
	if !c.linked {
		return 0
	}
	id = c.pending.nextID()
	c.renewal = id
	c.send(&Message{Type: TypeToken, ID: id, Hello: Hello{Token: token}})
	return id
}

// checkJSON says what is wrong with what an application wants to publish; name is that of an object.
func checkJSON(b []byte, name string) *Error {
	s := scanner{b: b}
	_, err := s.value(MaxDepth - 1)
	if err == nil {
		err = s.end()
	}
	if err != nil {
		return &Error{Reason: lifecycle.ReasonBadRequest.With("not JSON: %s", err.(*Error).Reason.Text)}
	}
	if name != "" && (&scanner{b: b}).peek() != '{' {
		return &Error{Reason: lifecycle.ReasonBadRequest.With("%s: want a JSON object", name)}
	}
	return nil
}

// lifetime is how long credentials hold, by the server's clock; 0 when they have no end, and never less than nothing.
func lifetime(expires, at int64) time.Duration {
	if expires == 0 {
		return 0
	}
	return max(time.Duration(expires-at)*time.Millisecond, time.Millisecond)
}
