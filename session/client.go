package session

import (
	"fmt"
	"slices"
	"time"

	"hawser/lifecycle"
)

// ClientOptions says who a client is.
type ClientOptions struct {
	// Name names the client's software in the hello, for example "hawser-go/0.1"; it may be empty.
	Name string
	// Token is the credential; empty for none.
	Token string
	// Strict makes a change of state that states.json does not allow a panic; otherwise it is not made. For tests.
	Strict bool
}

// Client is the client's machine: its state, its subscriptions with their positions, and what is to be sent. The driver (package client) says what happens
// to the connection (Opened, Failed, Retry, Closed, Broken, GiveUp, Unreachable) and what arrives (Receive, ReceiveMedia), the application what it wants; after each
// call the driver takes what is to be sent, whether to close, and the events (TakeMessages, TakeClose, TakeEvents). Subscriptions outlive the connection:
// after each login the machine asks for them again from where they stand. Its methods must not run at once.
type Client struct {
	o         ClientOptions
	state     State
	session   string
	heartbeat time.Duration

	subs    followers
	plays   followers
	pubs    []pending // in the order of their ids
	lastID  uint64
	lastPin uint64

	out     [][]byte
	events  []Event
	closing lifecycle.Reason
}

// pending is a publish without an answer.
type pending struct {
	id   uint64
	path string
}

// NewClient makes a machine in the state Disconnected.
func NewClient(o ClientOptions) *Client { return &Client{o: o} }

// State returns the state.
func (c *Client) State() State { return c.state }

// Session returns the name that the server gave the session; empty before the first welcome.
func (c *Client) Session() string { return c.session }

// Heartbeat returns the interval at which the server wants pings, as the last welcome said; 0 before that, or when it wants none.
func (c *Client) Heartbeat() time.Duration { return c.heartbeat }

// TakeMessages returns the text messages to be sent, in order, and forgets them.
func (c *Client) TakeMessages() [][]byte {
	out := c.out
	c.out = nil
	return out
}

// TakeEvents returns what happened since the last call. The slice is valid until the machine's next method.
func (c *Client) TakeEvents() []Event {
	events := c.events
	c.events = c.events[:0]
	return events
}

// TakeClose returns the reason for which the driver shall close the connection after sending what is to be sent, if it shall.
func (c *Client) TakeClose() (lifecycle.Reason, bool) {
	r := c.closing
	c.closing = lifecycle.Reason{}
	return r, !r.IsZero()
}

// set is the one place where the state changes.
func (c *Client) set(next State, r lifecycle.Reason) bool {
	if !c.state.May(next) {
		if c.o.Strict {
			panic(fmt.Sprintf("session: %s may not follow %s", next, c.state))
		}
		return false
	}
	c.events = append(c.events, Event{Kind: EventState, From: c.state, State: next, Reason: r})
	c.state = next
	return true
}

// send queues a message.
func (c *Client) send(m *Message) { c.out = append(c.out, Append(nil, m)) }

// Connect starts the first attempt. It does nothing unless the state is Disconnected.
func (c *Client) Connect() {
	if c.state == Disconnected {
		c.set(Connecting, lifecycle.Reason{})
	}
}

// Retry starts the next attempt, when the back-off is over or the network is back. It does nothing unless the state is Failed, Lost or Unreachable.
func (c *Client) Retry() {
	if c.state == Failed || c.state == Lost || c.state == Unreachable {
		c.set(Connecting, lifecycle.Reason{})
	}
}

// Opened says that the attempt succeeded: the WebSocket stands. The machine says hello. It does nothing unless the state is Connecting.
func (c *Client) Opened() {
	if c.state != Connecting {
		return
	}
	c.set(Connected, lifecycle.Reason{})
	c.send(&Message{Type: TypeHello, Hello: Hello{Version: Version, Client: c.o.Name, Token: c.o.Token, Session: c.session}})
}

// Failed says that the attempt failed. It does nothing unless the state is Connecting.
func (c *Client) Failed(r lifecycle.Reason) {
	if c.state == Connecting {
		c.set(Failed, r)
	}
}

// Unreachable says that the machine has no network. An attempt, a session or the waiting for an attempt ends.
func (c *Client) Unreachable() {
	if c.state == Connected {
		c.set(Lost, lifecycle.ReasonLost)
	}
	if c.state.May(Unreachable) {
		c.set(Unreachable, lifecycle.ReasonLost)
		c.dropped(lifecycle.ReasonLost)
	}
}

// Broken says that the connection is gone without a word of the server, or that the driver gives it up (lifecycle.ReasonTimeout): attempts follow.
func (c *Client) Broken(r lifecycle.Reason) {
	if c.state == Connecting {
		c.Failed(r)
	}
	if c.online() {
		c.lost(r)
	}
}

// GiveUp is Broken for a connection that still stands and is to be closed.
func (c *Client) GiveUp(r lifecycle.Reason) {
	if c.online() {
		c.closing = r
		c.lost(r)
	}
}

// Closed says that the server closed the connection with a reason of its own. A final one ends the session; another is like Broken.
func (c *Client) Closed(r lifecycle.Reason) {
	switch {
	case !c.online() || r.Retry:
		c.Broken(r)
	case c.state != LoggedIn:
		c.set(LoginFailed, r)
		c.disconnect(r)
	case r.Is(lifecycle.ReasonDone):
		c.disconnect(r)
	default:
		c.set(Ejected, r)
		c.disconnect(r)
	}
}

// Disconnect ends everything, as the application asked; subscriptions are removed.
func (c *Client) Disconnect() {
	if c.online() {
		c.send(&Message{Type: TypeBye})
		c.closing = lifecycle.ReasonDone
	}
	if c.state != Disconnected {
		c.disconnect(lifecycle.ReasonDone)
	}
}

// online says whether a connection stands.
func (c *Client) online() bool {
	switch c.state {
	case Connected, RetrievingCredentials, CredentialsRetrieved, Reconnected, LoggedIn:
		return true
	}
	return false
}

func (c *Client) disconnect(r lifecycle.Reason) {
	c.set(Disconnected, r)
	c.dropped(lifecycle.ReasonLost)
	c.subs, c.plays, c.session = followers{}, followers{}, ""
}

func (c *Client) lost(r lifecycle.Reason) {
	c.set(Lost, r)
	c.dropped(r)
}

// dropped tells of the publishes whose fate is unknown, and that subscriptions have no answer any more.
func (c *Client) dropped(lifecycle.Reason) {
	for _, p := range c.pubs {
		c.events = append(c.events, Event{Kind: EventError, ID: p.id, Path: p.path, Reason: lifecycle.ReasonLost})
	}
	c.pubs = nil
	c.subs.unanswered()
	c.plays.unanswered()
}

// loggedIn asks again for all that is followed.
func (c *Client) loggedIn() {
	c.set(LoggedIn, lifecycle.Reason{})
	for _, f := range c.subs.order {
		c.ask(TypeSubscribe, f)
	}
	for _, f := range c.plays.order {
		c.ask(TypePlay, f)
	}
}

// ask sends a subscribe or play: from where it stands, or as the application wanted at first.
func (c *Client) ask(t Type, f *follower) {
	m := Message{Type: t, Path: f.path, From: f.from, Epoch: f.epoch, Offset: f.next}
	if f.placed && f.resume {
		m.From = FromOffset
	}
	c.send(&m)
}

// SubscribeOptions says where a subscription starts; the zero value means from a snapshot.
type SubscribeOptions struct {
	// From is FromSnapshot (also when zero), FromLive or FromOffset.
	From From
	// Epoch and Offset are the next update wanted, with FromOffset.
	Epoch, Offset uint64
}

// Subscribe follows the data of a path, now or as soon as the client is logged in, and over reconnects. It fails when the path makes no sense or is followed already.
func (c *Client) Subscribe(path string, o SubscribeOptions) error {
	f := &follower{path: path, from: defaultFrom(o.From, FromSnapshot), resume: true}
	if f.from == FromOffset {
		f.epoch, f.next, f.placed = o.Epoch, o.Offset, true
	}
	if err := c.subs.add(f, TypeSubscribe); err != nil {
		return err
	}
	if c.state == LoggedIn {
		c.ask(TypeSubscribe, f)
	}
	return nil
}

// Unsubscribe ends a subscription; what is still on its way is not handed out. It does nothing when there is none.
func (c *Client) Unsubscribe(path string) {
	if c.subs.remove(path) && c.state == LoggedIn {
		c.send(&Message{Type: TypeUnsubscribe, Path: path})
	}
}

// PlayOptions says where a play starts; the zero value means at the newest keyframe, after each reconnect too.
type PlayOptions struct {
	// Resume asks after a reconnect for the next frame that was not received, where the server still has it, and not for the newest keyframe.
	Resume bool
}

// Play asks for the media of a path, now or as soon as the client is logged in, and over reconnects. It fails when the path makes no sense or is played already.
func (c *Client) Play(path string, o PlayOptions) error {
	f := &follower{path: path, from: FromKeyframe, resume: o.Resume}
	if err := c.plays.add(f, TypePlay); err != nil {
		return err
	}
	if c.state == LoggedIn {
		c.ask(TypePlay, f)
	}
	return nil
}

// Stop ends a play. It does nothing when there is none.
func (c *Client) Stop(path string) {
	if c.plays.remove(path) && c.state == LoggedIn {
		c.send(&Message{Type: TypeStop, Path: path})
	}
}

// Publish sends data and returns the id that the ack or error will have; p.ID is ignored. An empty p.Kind means KindRecord when there are Fields, else
// KindLog. It fails when the path or the JSON makes no sense, and with lifecycle.ReasonLost when the client is not logged in.
func (c *Client) Publish(p Publish) (id uint64, err error) {
	if err := CheckPath(p.Path); err != nil {
		return 0, err
	}
	if c.state != LoggedIn {
		return 0, &Error{Reason: lifecycle.ReasonLost.With("not logged in"), Path: p.Path}
	}
	if p.Kind == KindNone && p.Fields != nil {
		p.Kind = KindRecord
	}
	payload := p.Data
	if p.Kind == KindRecord {
		payload, p.Data = p.Fields, nil
	} else {
		p.Fields = nil
	}
	if err := checkJSON(payload, p.Kind == KindRecord); err != nil {
		err.Path = p.Path
		return 0, err
	}
	c.lastID++
	c.pubs = append(c.pubs, pending{c.lastID, p.Path})
	c.send(&Message{Type: TypePublish, ID: c.lastID, Path: p.Path, Kind: p.Kind, Data: p.Data, Fields: p.Fields, Time: p.Time, HasTime: p.HasTime})
	return c.lastID, nil
}

// Ping sends a ping and returns its id; 0 when the client is not logged in.
func (c *Client) Ping() (id uint64) {
	if c.state != LoggedIn {
		return 0
	}
	c.lastPin++
	c.send(&Message{Type: TypePing, ID: c.lastPin})
	return c.lastPin
}

// checkJSON says what is wrong with what an application wants to publish.
func checkJSON(b []byte, object bool) *Error {
	s := scanner{b: b}
	_, err := s.value(MaxDepth - 1)
	if err == nil {
		err = s.end()
	}
	if err != nil {
		return &Error{Reason: lifecycle.ReasonBadRequest.With("not JSON: %s", err.(*Error).Reason.Text)}
	}
	if (scanner{b: b}).first() != '{' && object {
		return &Error{Reason: lifecycle.ReasonBadRequest.With("fields: want a JSON object")}
	}
	return nil
}

func (s scanner) first() byte { return s.peek() }

// settle forgets a publish that was answered.
func (c *Client) settle(id uint64) bool {
	i, ok := slices.BinarySearchFunc(c.pubs, id, func(p pending, id uint64) int { return int(int64(p.id - id)) })
	switch {
	case !ok:
	case i == 0:
		c.pubs = c.pubs[1:]
	default:
		c.pubs = slices.Delete(c.pubs, i, i+1)
	}
	return ok
}
