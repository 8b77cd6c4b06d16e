package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"hawser/lifecycle"
	"hawser/session"
	"hawser/websocket"
)

// silence is how many half heartbeats may pass without a message before the connection is given up. They are counted, not measured, so that a process that was
// stopped for a while reads what came meanwhile before it judges.
const silence = 5

// wire is a connection that stands.
type wire interface {
	Read(ctx context.Context) (websocket.MessageType, []byte, error)
	Write(ctx context.Context, t websocket.MessageType, b []byte) error
	Close(code int, reason string) error
}

// link is a connection of the session.
type link struct {
	w         wire
	server    string
	transport string
	since     time.Time
	heard     time.Time // when the last message came; guarded by Client.mu
}

func newLink(w wire, server, transport string) *link {
	now := time.Now()
	return &link{w, server, transport, now, now}
}

// open tells the machine of a connection; nil when the client was closed meanwhile.
func (c *Client) open(w wire, server, transport string) *link {
	l := newLink(w, server, transport)
	c.mu.Lock()
	c.link = l
	c.machine.Opened()
	c.settleLocked()
	state := c.machine.State()
	c.mu.Unlock()
	if state == session.Connected || state == session.RetrievingCredentials {
		return l
	}
	w.Close(websocket.CloseNormal, "")
	return nil
}

// serve lives as long as a connection, and returns the one that the session has moved to, if it has. It ends when reading does: after a break, a close of the server, or the close that
// send makes.
func (c *Client) serve(ctx context.Context, l *link) *link {
	defer l.w.Close(websocket.CloseNormal, "")
	reading, cancel := context.WithCancel(context.Background())
	defer cancel()
	var others sync.WaitGroup
	others.Go(func() { c.send(reading, l) })
	others.Go(func() { c.beat(reading) })
	others.Go(func() { c.hurry(ctx, reading, cancel) })
	others.Go(func() { c.login(reading) })
	if l.transport != WebSocket {
		others.Go(func() { c.upgrade(reading, l) })
	}
	err := c.receive(reading, l)
	c.mu.Lock()
	if c.link == l {
		ended(c.machine, err)
		c.settleLocked()
	}
	moving := c.moving
	c.mu.Unlock()
	cancel()
	others.Wait()
	if moving != nil {
		<-moving // it may have found another connection
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link == l {
		c.link = nil
		return nil
	}
	return c.link
}

// hurry ends reading some time after the client was closed: the server has that long to take the bye and to close.
func (c *Client) hurry(ctx, reading context.Context, cancel context.CancelFunc) {
	select {
	case <-reading.Done():
	case <-ctx.Done():
		if sleep(reading, 2*c.o.CloseTimeout) {
			cancel()
		}
	}
}

// receive gives the machine what comes, until the end, or until the session has moved on.
func (c *Client) receive(ctx context.Context, l *link) error {
	for {
		t, b, err := l.w.Read(ctx)
		if err != nil {
			return err
		}
		c.received.Add(1)
		c.mu.Lock()
		if c.link != l {
			c.mu.Unlock()
			return lifecycle.ReasonReplaced
		}
		l.heard = time.Now()
		if t == websocket.TextMessage {
			c.machine.Receive(b)
		} else {
			c.machine.ReceiveMedia(b)
		}
		c.settleLocked()
		c.mu.Unlock()
	}
}

// ended tells the machine why the connection ended: by the server's word, or broken.
func ended(m *session.Client, err error) {
	var ce *websocket.CloseError
	if errors.As(err, &ce) && ce.Side == websocket.Remote {
		if r, ok := lifecycle.ReasonByCode(ce.Code); ok {
			if ce.Reason != "" && ce.Reason != r.Word {
				r.Text = ce.Reason
			}
			m.Closed(r)
			return
		}
	}
	m.Broken(failure(err))
}

// send writes what the machine wants to be sent, and closes the connection when the machine wants that.
func (c *Client) send(ctx context.Context, l *link) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.outgo:
		}
		c.mu.Lock()
		if c.link != l {
			c.wakeLocked() // it is for the next one
			c.mu.Unlock()
			return
		}
		out, closing := c.out, c.closing
		c.out, c.closing = nil, lifecycle.Reason{}
		c.mu.Unlock()
		if writeAll(ctx, l.w, out) != nil {
			closing = lifecycle.ReasonLost // reading ends too, then
		}
		if !closing.IsZero() {
			l.w.Close(closing.Code, closing.Word)
			return
		}
	}
}

// writeAll writes messages, in one request where the connection can.
func writeAll(ctx context.Context, w wire, out [][]byte) error {
	if many, ok := w.(interface {
		WriteAll(ctx context.Context, out [][]byte) error
	}); ok && len(out) > 0 {
		return many.WriteAll(ctx, out)
	}
	for _, b := range out {
		if err := w.Write(ctx, websocket.TextMessage, b); err != nil {
			return err
		}
	}
	return nil
}

// beat gives the connection up when the welcome or, later, any message is late, and pings.
func (c *Client) beat(ctx context.Context) {
	c.mu.Lock()
	welcome := c.welcome
	c.mu.Unlock()
	login := time.NewTimer(c.o.LoginTimeout + c.o.CredentialsTimeout)
	if c.o.Credentials == nil {
		login.Reset(c.o.LoginTimeout)
	}
	defer login.Stop()
	select {
	case <-ctx.Done():
		return
	case <-login.C:
		c.giveUp(lifecycle.ReasonTimeout.With("no welcome within %s", c.o.LoginTimeout))
		return
	case <-welcome:
	}
	interval := c.o.Heartbeat
	if interval == 0 {
		c.mu.Lock()
		interval = c.machine.Heartbeat()
		c.mu.Unlock()
	}
	if interval > 0 {
		c.pings(ctx, interval)
	}
}

func (c *Client) giveUp(r lifecycle.Reason) {
	c.do(func(m *session.Client) { m.GiveUp(r) })
}

// pings sends one at each interval, the first at once, and looks twice as often whether the server is silent.
func (c *Client) pings(ctx context.Context, interval time.Duration) {
	tick := time.NewTicker(max(interval/2, 1))
	defer tick.Stop()
	last, quiet := c.received.Load(), 0
	for turn := 0; ; turn++ {
		if turn%2 == 0 {
			c.ping()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		quiet++
		if now := c.received.Load(); now != last {
			last, quiet = now, 0
		}
		if quiet == silence {
			c.giveUp(lifecycle.ReasonTimeout.With("the server was silent for %s", silence*interval/2))
			return
		}
	}
}

func (c *Client) ping() {
	c.do(func(m *session.Client) {
		if id := m.Ping(); id != 0 {
			c.clock.ping(id, time.Now())
		}
	})
}

// upgrade tries to move a session from a fallback back to a WebSocket, at growing intervals.
func (c *Client) upgrade(ctx context.Context, l *link) {
	if !slices.Contains(c.o.Transports, WebSocket) {
		return
	}
	c.mu.Lock()
	wait := c.o.UpgradeBase
	if !c.holdsLocked(way{l.server, WebSocket}) {
		wait = c.o.UpgradeMax
	}
	c.mu.Unlock()
	for ; sleep(ctx, time.Duration((0.5+rand.Float64()/2)*float64(wait))); wait = min(2*wait, c.o.UpgradeMax) {
		dialing, cancel := context.WithTimeout(ctx, c.o.FallbackAfter)
		w, err := c.dialWebSocket(dialing, l.server)
		cancel()
		if err == nil && c.move(ctx, w, l.server, WebSocket) {
			return
		}
	}
}

// drain moves the session to another server at a random moment within so long: the server that it is on is about to stop.
func (c *Client) drain(ctx context.Context, within time.Duration) {
	if !sleep(ctx, time.Duration(rand.Float64()*float64(within))) {
		return
	}
	c.mu.Lock()
	c.draining = true // the next attempt, too, goes elsewhere
	tries := c.servers.count()
	c.mu.Unlock()
	for range tries {
		c.mu.Lock()
		server, here := c.servers.next(), c.server
		c.mu.Unlock()
		if server == here && tries > 1 {
			continue
		}
		dialing, cancel := context.WithTimeout(ctx, c.o.ConnectTimeout)
		w, transport, err := c.dial(dialing, server)
		cancel()
		if err == nil && c.move(ctx, w, server, transport) {
			return
		}
	}
}

// move takes the session to a second connection without a break. It returns false when the server does not take it, or the session is not in a state to move.
func (c *Client) move(ctx context.Context, w wire, server, transport string) bool {
	token, err := c.o.Token, error(nil)
	if c.o.Credentials != nil {
		token, err = c.credentials(ctx, false)
	}
	c.mu.Lock()
	var hello []byte
	if err == nil && c.moving == nil {
		hello = c.machine.Switch(token)
	}
	if hello == nil {
		c.mu.Unlock()
		w.Close(websocket.CloseNormal, "")
		return false
	}
	moving := make(chan struct{})
	c.moving = moving
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.moving = nil
		c.mu.Unlock()
		close(moving)
	}()
	waiting, cancel := context.WithTimeout(context.Background(), c.o.LoginTimeout) // the first connection may end meanwhile
	defer cancel()
	err = w.Write(waiting, websocket.TextMessage, hello)
	for err == nil {
		var b []byte
		if _, b, err = w.Read(waiting); err == nil {
			var done bool
			if done, err = c.switched(b, w, server, transport); done {
				return true
			}
		}
	}
	c.do((*session.Client).SwitchFailed)
	w.Close(websocket.CloseNormal, "")
	return false
}

// switched gives the machine a message of the second connection; done means that this is the session's now.
func (c *Client) switched(b []byte, w wire, server, transport string) (done bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if done, err = c.machine.Switched(b); !done {
		return false, err
	}
	old := c.link
	c.link = newLink(w, server, transport)
	c.out = nil
	if server != c.server {
		c.life.Event(lifecycle.Event{Kind: KindMoved, Server: server, Transport: transport, From: c.server})
	}
	if transport != c.transport {
		c.life.Event(lifecycle.Event{Kind: KindTransport, Server: server, From: c.transport, Transport: transport})
	}
	c.server, c.transport, c.draining = server, transport, false
	c.worked[server] = works{transport, time.Now()}
	c.settleLocked()
	go old.w.Close(websocket.CloseNormal, "") // it may wait for its peer
	return true, nil
}
