package client

import (
	"context"
	"errors"
	"sync"
	"syscall"
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

func (c *Client) dialWebSocket(ctx context.Context, server string) (wire, error) {
	o := &websocket.DialOptions{Subprotocols: []string{session.Subprotocol}, Header: c.o.Header, TLS: c.o.TLS, HandshakeTimeout: c.o.ConnectTimeout,
		CloseTimeout: c.o.CloseTimeout}
	conn, err := websocket.Dial(ctx, server, o)
	if err != nil {
		return nil, err // not a wire that holds a nil *Conn
	}
	return conn, nil
}

// run attempts until the client is disconnected, by ctx or by the server.
func (c *Client) run(ctx context.Context, done chan struct{}) {
	defer func() {
		c.mu.Lock()
		c.stop()
		c.stop, c.done = nil, nil
		c.mu.Unlock()
		close(done)
	}()
	for next := 0; ; {
		c.attempt(ctx)
		c.mu.Lock()
		state, delay := c.machine.State(), c.delay
		c.mu.Unlock()
		if state == session.Disconnected {
			return
		}
		if state != session.Lost {
			next++
		}
		if !sleep(ctx, delay) {
			return // Close has disconnected the machine
		}
		c.do(func(m *session.Client) {
			c.server = c.o.Servers[next%len(c.o.Servers)]
			m.Retry()
		})
	}
}

// sleep returns false when ctx ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}

// attempt connects to the server and, where that succeeds, serves the session until it ends.
func (c *Client) attempt(ctx context.Context) {
	c.mu.Lock()
	server := c.server
	c.out, c.closing, c.welcome = nil, lifecycle.Reason{}, make(chan struct{})
	c.mu.Unlock()
	dialing, cancel := context.WithTimeoutCause(ctx, c.o.ConnectTimeout, lifecycle.ReasonTimeout.With("no connection within %s", c.o.ConnectTimeout))
	w, err := c.dial(dialing, server)
	cancel()
	switch {
	case err == nil:
		c.serve(ctx, w)
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.ENETDOWN):
		c.do((*session.Client).Unreachable)
	default:
		c.do(func(m *session.Client) { m.Failed(failure(err)) })
	}
}

// failure is the reason of an attempt that failed. Whatever it is, the next one may succeed.
func failure(err error) lifecycle.Reason {
	switch known := lifecycle.ReasonOf(err); known.Code {
	case lifecycle.ReasonTimeout.Code, lifecycle.ReasonRefused.Code, lifecycle.ReasonUnauthorized.Code, lifecycle.ReasonNotFound.Code, lifecycle.ReasonLimit.Code:
		return known.Because(err)
	}
	return lifecycle.ReasonLost.Because(err)
}

// serve lives as long as the connection. It ends when reading does: after a break, a close of the server, or the close that send makes.
func (c *Client) serve(ctx context.Context, w wire) {
	defer w.Close(websocket.CloseNormal, "")
	reading, cancel := context.WithCancel(context.Background())
	defer cancel()
	c.do((*session.Client).Opened)
	if c.State() != session.Connected {
		return // closed meanwhile
	}
	var others sync.WaitGroup
	others.Go(func() { c.send(reading, w) })
	others.Go(func() { c.beat(reading) })
	others.Go(func() { c.hurry(ctx, reading, cancel) })
	err := c.receive(reading, w)
	c.do(func(m *session.Client) { ended(m, err) })
	cancel()
	others.Wait()
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

// receive gives the machine what comes, until the end.
func (c *Client) receive(ctx context.Context, w wire) error {
	for {
		t, b, err := w.Read(ctx)
		if err != nil {
			return err
		}
		c.received.Add(1)
		c.mu.Lock()
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
func (c *Client) send(ctx context.Context, w wire) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.outgo:
		}
		c.mu.Lock()
		out, closing := c.out, c.closing
		c.out = nil
		c.mu.Unlock()
		for _, b := range out {
			if w.Write(ctx, websocket.TextMessage, b) != nil {
				closing = lifecycle.ReasonLost // reading ends too, then
				break
			}
		}
		if !closing.IsZero() {
			w.Close(closing.Code, closing.Word)
			return
		}
	}
}

// beat gives the connection up when the welcome or, later, any message is late, and pings.
func (c *Client) beat(ctx context.Context) {
	c.mu.Lock()
	welcome := c.welcome
	c.mu.Unlock()
	login := time.NewTimer(c.o.LoginTimeout)
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
