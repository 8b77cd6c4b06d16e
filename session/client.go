package session

import (
	"fmt"
	"time"

	"hawser/lifecycle"
)

// DefaultMaxHeld bounds what arrives while the client is paused and is kept for Resume, in bytes, unless ClientOptions.MaxHeld says otherwise. Beyond it the connection is given up,
// which loses nothing that the server keeps.
const DefaultMaxHeld = 8 << 20

// ClientOptions says who a client is.
type ClientOptions struct {
	// Name names the client's software in the hello, for example "hawser-go/0.1"; it may be empty.
	Name string
	// Token is the credential; empty for none.
	Token string
	// Provider says that credentials are asked for at each login: RetrievingCredentials follows Connected, and the driver calls Credentials or CredentialsFailed.
	Provider bool
	// Publisher names this client object: MinPublisher to MaxPublisher random letters, digits, "-" and "_". Empty means that requests which are sent again after a break may be done twice.
	Publisher string
	// MaxPending and MaxPendingBytes bound the publishes and calls that wait for an answer, or to be sent. 0 means DefaultMaxPending and DefaultMaxPendingBytes.
	MaxPending, MaxPendingBytes int
	// MaxHeld bounds what arrives during a pause; 0 means DefaultMaxHeld.
	MaxHeld int
	// Strict makes a change of state that states.json does not allow a panic; otherwise it is not made. For tests.
	Strict bool
}

// Client is the client's machine: its state, its subscriptions with their positions, and what is to be sent. The driver (package client) says what happens
// to the connection (Opened, Failed, Retry, Closed, Broken, GiveUp, Unreachable) and what arrives (Receive, ReceiveMedia), the application what it wants; after each
// call the driver takes what is to be sent, whether to close, and the events (TakeMessages, TakeClose, TakeEvents). Subscriptions outlive the connection:
// the hello of the next one asks for them again from where they stand. Its methods must not run at once.
type Client struct {
	o         ClientOptions
	state     State
	session   string
	user      string
	heartbeat time.Duration
	lifetime  time.Duration // of the credentials, from the welcome on; 0 means no end

	greeting bool // a hello was said that has no answer yet
	linked   bool // a welcome came on the connection that stands
	moving   bool // the hello was said on a second connection
	moveEnd  lifecycle.Reason
	late     []Message // what is asked while greeting; sent after the welcome

	held     [][]byte // what came during a pause; text begins with "{"
	heldSize int
	heldEnd  lifecycle.Reason // the server ended the session during a pause

	subs    followers
	plays   followers
	sources []Message
	pending pendings
	lastPin uint64
	renewal uint64 // the id of the Renew that has no answer yet

	out     [][]byte
	events  []Event
	closing lifecycle.Reason
}

// NewClient makes a machine in the state Disconnected.
func NewClient(o ClientOptions) *Client {
	if o.MaxHeld <= 0 {
		o.MaxHeld = DefaultMaxHeld
	}
	return &Client{o: o, pending: newPendings(o.MaxPending, o.MaxPendingBytes)}
}

// State returns the state.
func (c *Client) State() State { return c.state }

// Session returns the name that the server gave the session; empty before the first welcome.
func (c *Client) Session() string { return c.session }

// User returns who the server says this client is; empty before the first welcome and without authentication.
func (c *Client) User() string { return c.user }

// Linked says whether a welcome came on the connection that stands: in LoggedIn always, in Paused unless the connection broke.
func (c *Client) Linked() bool { return c.linked }

// Heartbeat returns the interval at which the server wants pings, as the last welcome said; 0 before that, or when it wants none.
func (c *Client) Heartbeat() time.Duration { return c.heartbeat }

// Lifetime returns how long after the last login, or the last EventRenewed without a reason, the credentials end; 0 when they do not.
func (c *Client) Lifetime() time.Duration { return c.lifetime }

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

// request sends a message on the connection that stands, and again after the welcome on one that is greeted. Without either it is nothing: the next hello tells it.
func (c *Client) request(m Message) {
	if c.linked {
		c.send(&m)
	}
	if c.greeting {
		c.late = append(c.late, m)
	}
}

// Connect starts the first attempt. It does nothing unless the state is Disconnected.
func (c *Client) Connect() {
	if c.state == Disconnected {
		c.set(Connecting, lifecycle.Reason{})
	}
}

// Retry starts the next attempt, when the back-off is over or the network is back. It does nothing unless the state is Failed, Lost, Unreachable or CredentialsRetrievalFailed.
func (c *Client) Retry() {
	switch c.state {
	case Failed, Lost, Unreachable, CredentialsRetrievalFailed:
		c.set(Connecting, lifecycle.Reason{})
	}
}

// Opened says that the attempt succeeded: the connection stands. The machine says hello, or waits for Credentials. It does nothing unless the state is Connecting.
func (c *Client) Opened() {
	if c.state != Connecting {
		return
	}
	c.set(Connected, lifecycle.Reason{})
	if c.o.Provider {
		c.set(RetrievingCredentials, lifecycle.Reason{})
		return
	}
	c.greet(c.o.Token)
}

// Credentials says what the provider has given for this login. It does nothing unless the state is RetrievingCredentials.
func (c *Client) Credentials(token string) {
	if c.state == RetrievingCredentials {
		c.set(CredentialsRetrieved, lifecycle.Reason{})
		c.greet(token)
	}
}

// CredentialsFailed says that the provider has failed. The connection is closed; with r.Retry the driver calls Retry after a back-off, otherwise everything ends.
func (c *Client) CredentialsFailed(r lifecycle.Reason) {
	if c.state != RetrievingCredentials {
		return
	}
	c.closing = lifecycle.ReasonDone
	c.set(CredentialsRetrievalFailed, r)
	if !r.Retry {
		c.disconnect(r)
	}
}

// greet says hello on the connection that was opened.
func (c *Client) greet(token string) { c.out = append(c.out, c.hello(token, false)) }

// Failed says that the attempt failed. It does nothing unless the state is Connecting.
func (c *Client) Failed(r lifecycle.Reason) {
	if c.state == Connecting {
		c.set(Failed, r)
	}
}

// Unreachable says that the machine has no network. An attempt, a session or the waiting for an attempt ends.
func (c *Client) Unreachable() {
	switch c.state {
	case Connected, RetrievingCredentials, CredentialsRetrieved, Paused:
		c.Broken(lifecycle.ReasonLost)
	}
	if c.state.May(Unreachable) {
		c.set(Unreachable, lifecycle.ReasonLost)
		c.dropped()
	}
}

// Broken says that the connection is gone without a word of the server, or that the driver gives it up (lifecycle.ReasonTimeout): attempts follow, after a pause when that is over.
func (c *Client) Broken(r lifecycle.Reason) {
	switch {
	case c.moving:
		c.moveEnd = r // the other connection may still take over
	case c.state == Connecting:
		c.Failed(r)
	case c.state == Paused:
		c.dropped()
		c.held, c.heldSize = nil, 0 // the server is asked for it again
	case c.online():
		c.lost(r)
	}
}

// GiveUp is Broken for a connection that still stands and is to be closed.
func (c *Client) GiveUp(r lifecycle.Reason) {
	if c.online() && !c.moving {
		c.closing = r
	}
	if c.online() {
		c.Broken(r)
	}
}

// Closed says that the server closed the connection with a reason of its own. A final one ends the session; another is like Broken.
func (c *Client) Closed(r lifecycle.Reason) {
	switch {
	case c.moving, !c.online(), r.Retry:
		c.Broken(r)
	case c.state == Paused:
		c.heldEnd, c.linked = r, false // Resume tells, after what is held
	case c.state != LoggedIn:
		c.refused(r)
	case r.Is(lifecycle.ReasonDone):
		c.disconnect(r)
	default:
		c.set(Ejected, r)
		c.disconnect(r)
	}
}

// refused is the end of a login.
func (c *Client) refused(r lifecycle.Reason) {
	if c.state == RetrievingCredentials { // the server did not wait for them
		c.set(CredentialsRetrieved, lifecycle.Reason{})
	}
	c.set(LoginFailed, r)
	c.disconnect(r)
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
	return c.linked
}

func (c *Client) disconnect(r lifecycle.Reason) {
	c.set(Disconnected, r)
	c.dropped()
	for _, p := range c.pending.takeAll() {
		c.unanswered(p)
	}
	c.subs, c.plays, c.sources, c.session, c.user = followers{}, followers{}, nil, "", ""
	c.held, c.heldSize, c.heldEnd = nil, 0, lifecycle.Reason{}
}

func (c *Client) lost(r lifecycle.Reason) {
	c.set(Lost, r)
	c.dropped()
}

// dropped is what the end of a connection does: calls that are not to be sent again have failed, and nothing has an answer any more.
func (c *Client) dropped() {
	c.linked, c.greeting, c.moving, c.moveEnd, c.late, c.lifetime = false, false, false, lifecycle.Reason{}, nil, 0
	for _, p := range c.pending.dropped() {
		c.unanswered(p)
	}
	c.subs.unanswered()
	c.plays.unanswered()
}

// unanswered tells of a request whose fate is not known.
func (c *Client) unanswered(p pending) {
	kind := EventError
	if p.call {
		kind = EventResult
	}
	c.events = append(c.events, Event{Kind: kind, ID: p.id, Path: p.path, Reason: lifecycle.ReasonLost})
}

// Signal says something about the WebRTC peer of a path: on the connection that stands, and again on the one that the session moves to, if it is about to, because the first may be closed before
// it is read; an offer that comes twice gets the same answer twice. It fails when the path makes no sense, and with lifecycle.ReasonLost without a connection: what was to be said is old by the next one.
func (c *Client) Signal(path string, data []byte) error {
	if err := CheckPath(path); err != nil {
		return err
	}
	if !c.linked && !c.greeting {
		return &Error{Reason: lifecycle.ReasonLost, Path: path}
	}
	c.request(Message{Type: TypeSignal, Path: path, Data: data})
	return nil
}

// Ping sends a ping and returns its id; 0 when no welcome came on a connection that stands.
func (c *Client) Ping() (id uint64) {
	if !c.linked {
		return 0
	}
	c.lastPin++
	c.send(&Message{Type: TypePing, ID: c.lastPin})
	return c.lastPin
}
