package server

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"hawser/auth"
	"hawser/lifecycle"
	"hawser/netio"
	"hawser/session"
	"hawser/subject"
	"hawser/websocket"
)

// The states of a session in the event log.
const (
	stateConnected = "connected" // amber: the connection is open, hello has not come
	stateLoggedIn  = "logged_in" // green
)

// kindProtocolError is the event of a client that broke a rule of its protocol; the connection's end follows.
const kindProtocolError = "protocol_error"

// KindSlow is the event of a session that is slower than the history of what it follows.
const KindSlow = "slow"

// carrier is what carries a session: a WebSocket, or requests of plain HTTP. It takes what it sends, beside what is queued, from the session's Fill. All methods may run at once.
type carrier interface {
	// Queue sends whole ready-made WebSocket frames without waiting; netio.ErrSlow means that too much waits already.
	Queue(frames ...[]byte) error
	// Wake says that Fill may have something.
	Wake()
	// Close ends the connection after what is queued, with a code and a word.
	Close(code int, reason string) error
	// CloseNow ends it at once.
	CloseNow()
}

// sessionConn is one session on one connection: the requests of its client in, and out of one source all that it follows.
type sessionConn struct {
	server   *Server
	carrier  carrier
	life     *lifecycle.Conn
	remote   netip.Addr
	peer     string          // the same with its port
	machine  *session.Server // used by who receives only
	loggedIn atomic.Bool     // hello was said
	paused   atomic.Bool
	seen     atomic.Int64 // when the client last sent something, in nanoseconds
	asked    atomic.Int64 // when it was last asked for a sign of life
	since    time.Time
	token    string // credentials that came with the request of the connection, until hello

	// Used by who receives only; subs and plays are changed under mu, for others that read them.
	subs  map[string]subscription
	plays map[string]*mediaFeed

	// Set by the hello, and read by others once loggedIn is.
	id        string // names the session; a secret between it and its client
	client    string
	publisher *requester // nil: the client has named none
	resumed   bool       // the session was kept, or taken over

	mu         sync.Mutex
	identity   auth.Identity // nil: there is no authentication
	expiry     *time.Timer   // of the credentials
	readyData  []feed        // feeds that have something to send
	readyMedia []feed
	joined     int      // how many feeds found others on those lists since the session was last woken
	gone       []string // paths whose subscription or play the server ended; who receives has yet to forget them
	calls      map[uint64]context.CancelFunc
	ended      bool
	reason     lifecycle.Reason // why the session ended, once ended
	replaced   bool             // another connection has taken the session over

	taken []feed // what Fill works on; owned by Fill
	uses  sharer // of the server's shares, and guarded by their lock
}

// newSession makes the session of a connection that has just opened; its carrier is set before anything is received.
func (s *Server) newSession(remote string) *sessionConn {
	c := &sessionConn{server: s, machine: session.NewServer(session.ServerOptions{}), subs: make(map[string]subscription), plays: make(map[string]*mediaFeed), since: time.Now(), peer: remote}
	if peer, err := netip.ParseAddrPort(remote); err == nil {
		c.remote = peer.Addr().Unmap()
	}
	c.heard()
	c.life = s.log.Open("session", lifecycle.Server, remote)
	c.life.Set(stateConnected, lifecycle.Amber, lifecycle.Reason{})
	return c
}

// heard notes that the client has sent something.
func (c *sessionConn) heard() { c.seen.Store(time.Now().UnixNano()) }

// begin lists the session; what carries it calls over when the connection has ended.
func (c *sessionConn) begin() {
	if !c.server.sessions.add(c) {
		c.end(lifecycle.ReasonShutdown)
	}
}

// finish gives everything up; why is what ended the connection, when nobody here did.
func (c *sessionConn) finish(why lifecycle.Reason) {
	c.server.sessions.remove(c)
	for path := range c.subs {
		c.setSub(path, nil)
	}
	c.mu.Lock()
	if c.ended {
		why = c.reason
	}
	c.ended, c.reason = true, why
	c.server.shares.leave(&c.uses)
	c.mu.Unlock()
	for path := range c.plays {
		c.setPlay(path, nil)
	}
	c.mu.Lock()
	c.readyData, c.readyMedia = nil, nil
	if c.expiry != nil {
		c.expiry.Stop()
	}
	replaced := c.replaced
	kept := !replaced && why.Retry && (c.loggedIn.Load() || c.resumed)
	var calls []context.CancelFunc
	if c.publisher == nil || !kept && !replaced { // otherwise the result is remembered
		for _, cancel := range c.calls {
			calls = append(calls, cancel)
		}
	}
	c.mu.Unlock()
	for _, cancel := range calls {
		cancel()
	}
	c.server.left(c, kept, replaced, why)
	c.life.Close(why)
	c.server.sessions.leave(c.remote)
}

// end closes the session with a reason. Only the first call counts.
func (c *sessionConn) end(why lifecycle.Reason) { c.endBy(session.TypeBye, why) }

// eject throws the client out: it makes no further attempt.
func (c *sessionConn) eject(why lifecycle.Reason) { c.endBy(session.TypeEjected, why) }

func (c *sessionConn) endBy(t session.Type, why lifecycle.Reason) {
	if c.setEnd(why) {
		c.send(&session.Message{Type: t, Reason: why})
		c.carrier.Close(why.Code, why.Word)
	}
}

// setEnd notes why the session ends, and gives back what it is counted in: it may go on, on another connection, at once. False if it has ended before.
func (c *sessionConn) setEnd(why lifecycle.Reason) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	c.ended, c.reason = true, why
	c.server.shares.leave(&c.uses)
	return true
}

func (c *sessionConn) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// send queues a message for this client alone.
func (c *sessionConn) send(m *session.Message) { c.queue(textFrame(m)) }

// queue queues a frame. A client that does not take its answers is cut: it would not take a goodbye either.
func (c *sessionConn) queue(frame []byte) {
	c.server.traffic.sessionOut.Add(uint64(len(frame)))
	if errors.Is(c.carrier.Queue(frame), netio.ErrSlow) {
		c.setEnd(lifecycle.ReasonSlow.With("took no answers"))
		c.carrier.CloseNow()
	}
}

// fail answers a message that breaks a rule.
func (c *sessionConn) fail(e *session.Error) {
	c.queue(websocket.AppendFrame(nil, true, websocket.OpText, e.Append(nil)))
	if e.Fatal {
		c.life.Event(lifecycle.Event{Kind: kindProtocolError, Reason: e.Reason, Path: e.Path})
		c.end(e.Reason)
	}
}

// receive does what one message asks. What it holds is valid until it returns.
func (c *sessionConn) receive(b []byte) {
	if c.over() {
		return // what comes after the end does not count
	}
	c.server.traffic.sessionIn.Add(uint64(len(b)))
	c.forget()
	req, err := c.machine.Receive(b)
	c.act(req, err)
	if _, ok := req.(session.Hello); ok {
		for !c.over() {
			req, err := c.machine.Next()
			if req == nil && err == nil {
				return
			}
			c.act(req, err)
		}
	}
}

// act does what one request asks, or answers a message that breaks a rule.
func (c *sessionConn) act(req session.Request, err error) {
	if err != nil {
		var e *session.Error
		if errors.As(err, &e) {
			c.fail(e)
		}
		return
	}
	switch r := req.(type) {
	case session.Hello:
		c.hello(r)
	case session.Subscribe:
		c.subscribe(r)
	case session.Unsubscribe:
		c.unsubscribe(r.Path)
	case session.Throttle:
		c.throttle(r)
	case session.Publish:
		c.publish(r)
	case session.Play:
		c.play(r)
	case session.Stop:
		c.stop(r.Path)
	case session.Call:
		c.call(r)
	case session.Cancel:
		c.cancel(r.ID)
	case session.Token:
		c.renew(r)
	case session.Pause:
		c.paused.Store(true)
	case session.Resume:
		c.paused.Store(false)
		c.carrier.Wake()
	case session.Source:
		c.source(r)
	case session.Signal:
		c.signal(r)
	case session.Ping:
		c.send(&session.Message{Type: session.TypePong, ID: r.ID, At: time.Now().UnixMilli()})
	case session.Bye:
		c.end(lifecycle.ReasonDone)
	}
}

// subscribe answers with where the subscription starts, and follows the subject from there.
func (c *sessionConn) subscribe(r session.Subscribe) {
	f, err := c.follow(r)
	if err != nil {
		c.machine.Unsubscribed(r.Path)
		c.send(&session.Message{Type: session.TypeStatus, Path: r.Path, Status: session.StatusRefused, Reason: lifecycle.ReasonOf(err)})
		return
	}
	c.setSub(r.Path, f)
	c.life.Event(lifecycle.Event{Kind: "subscribe", Path: r.Path})
	c.bar(f, auth.Subscribe) // the rules may have changed since follow looked
	f.Wake()
}

func (c *sessionConn) follow(r session.Subscribe) (subscription, error) {
	if err := c.may(auth.Subscribe, r.Path); err != nil {
		return nil, err
	}
	if err := c.server.shares.subscribe(&c.uses); err != nil {
		return nil, err
	}
	sub, err := c.server.subjects.Open(r.Path)
	if err != nil {
		c.server.shares.unsubscribe(&c.uses)
		return nil, err
	}
	if r.Window != nil {
		return newWindowFeed(c, sub, r.Want), nil
	}
	return newDataFeed(c, sub, startOf(sub, r), r.Want), nil
}

func (c *sessionConn) unsubscribe(path string) {
	if c.subs[path] != nil {
		c.setSub(path, nil)
	}
}

// setSub is the one place where a subscription begins or, with nil, ends.
func (c *sessionConn) setSub(path string, f subscription) {
	old := c.subs[path]
	c.mu.Lock()
	if f == nil {
		delete(c.subs, path)
	} else {
		c.subs[path] = f
	}
	c.mu.Unlock()
	if f != nil {
		c.server.traffic.subscriptions.Add(1)
		c.server.sources.follow(path)
		c.server.made.follow(path)
		c.server.made.came(c, path)
		return
	}
	old.close()
	c.server.shares.unsubscribe(&c.uses)
	c.server.traffic.subscriptions.Add(-1)
	c.server.sources.unfollow(path)
	c.server.made.unfollow(path)
	c.server.made.left(c, path)
}

func (c *sessionConn) throttle(r session.Throttle) {
	if f := c.subs[r.Path]; f != nil {
		f.throttle(r.Rate, r.HasRate)
		f.Wake()
	}
}

// publish does what a client asks, unless that was done before, and says how that went when it is done: on a durable path that is later, when it is on disk. The bytes are the connection's, so they
// are copied.
func (c *sessionConn) publish(r session.Publish) {
	frame, do := c.publisher.beginPublish(r.ID)
	if !do {
		if frame != nil {
			c.queue(frame)
		}
		return
	}
	defer c.publisher.placed()
	u := subject.Update{Data: bytes.Clone(r.Data), Patch: bytes.Clone(r.Patch), Media: r.Time, HasMedia: r.HasTime, TTL: r.TTL}
	err := c.mayPublish(r.Path, len(r.Data)+len(r.Fields)+len(r.Patch))
	if r.Kind == session.KindRecord && err == nil {
		u.Data = nil
		u.Fields, err = subject.ParseFields(bytes.Clone(r.Fields))
	}
	id, path := r.ID, r.Path
	if err == nil {
		err = c.askData(path, &u)
	}
	if err != nil {
		c.published(id, path, 0, 0, err)
		return
	}
	if c.publisher != nil {
		u.Publisher, u.ID = c.publisher.name, id
	}
	c.server.publishThen(path, subject.Kind(r.Kind), u, func(epoch, offset uint64, err error) { c.published(id, path, epoch, offset, err) })
}

// published answers a publish.
func (c *sessionConn) published(id uint64, path string, epoch, offset uint64, err error) {
	if err != nil {
		c.answer(id, textFrame(&session.Message{Type: session.TypeError, ID: id, Path: path, Reason: lifecycle.ReasonOf(err)}), nil)
		return
	}
	ack := subject.Published{ID: id, Path: path, Epoch: epoch, Offset: offset}
	frame := ackFrame(&ack)
	if c.publisher == nil || !c.server.subjects.Durable(path) {
		c.answer(id, frame, nil)
		return
	}
	ack.Publisher = c.publisher.name
	c.answer(id, frame, &ack)
}

// mayPublish says why the client may not publish so many bytes on a path now.
func (c *sessionConn) mayPublish(path string, size int) error {
	if err := reserved(path); err != nil {
		return err
	}
	if err := c.may(auth.Publish, path); err != nil {
		return err
	}
	if c.publisher.crowded() {
		return lifecycle.Reached("MaxInFlight", session.MaxInFlight)
	}
	return c.server.shares.publish(&c.uses, size)
}

// reserved refuses paths that belong to the server.
func reserved(path string) error {
	if strings.HasPrefix(path, sysPrefix) || strings.Contains(path, "/@") {
		return lifecycle.ReasonRefused.With("%s belongs to the server", path)
	}
	return nil
}
