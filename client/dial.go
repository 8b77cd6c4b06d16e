package client

import (
	"context"
	"errors"
	"net"
	"slices"
	"time"

	"hawser/lifecycle"
	"hawser/session"
	"hawser/websocket"
)

// The transports of a session, in the order in which they are tried.
const (
	// WebSocket is RFC 6455.
	WebSocket = "websocket"
	// Events is server-sent events down and POST up.
	Events = "events"
	// Poll is long polling down and POST up.
	Poll = "poll"
	// WebRTC is a data channel. It is tried where Options.Transports names it.
	WebRTC = "webrtc"
)

const (
	// remembered is how long the transport that worked is tried first, and one that does not hold last.
	remembered = 10 * time.Minute
	// maxBreaks is after how many connections in a row that broke soon a transport is taken not to hold.
	maxBreaks = 3
)

// works is the transport that last worked with a server.
type works struct {
	transport string
	at        time.Time
}

// way is a transport to a server.
type way struct{ server, transport string }

// breaks is how many connections by a way broke in a row before they had stood for BackOff.Stand, and when the last did. Something between may let a transport begin and then nothing through, or
// cut it after seconds, where another one holds.
type breaks struct {
	n  int
	at time.Time
}

// connect opens a connection by the first transport that works. That of the last time comes first, except that the WebSocket is tried again in the background; one that does not hold comes last.
func (c *Client) connect(ctx context.Context, server string) (wire, string, error) {
	var errs []error
	order := c.order(server)
	for i, transport := range order {
		if ctx.Err() != nil {
			break
		}
		last := i == len(order)-1
		w, err := c.dialBy(ctx, server, transport, last)
		if err == nil {
			c.mu.Lock()
			c.worked[server] = works{transport, time.Now()}
			c.mu.Unlock()
			return w, transport, nil
		}
		errs = append(errs, err)
		if unreachable(err) {
			break // nor does another transport reach it
		}
	}
	if len(errs) == 0 {
		return nil, "", context.Cause(ctx)
	}
	return nil, "", errors.Join(errs...)
}

// order is the transports in the order in which they are to be tried.
func (c *Client) order(server string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.orderLocked(server)
}

func (c *Client) orderLocked(server string) []string {
	list := slices.Clone(c.o.Transports)
	rank := func(transport string) int {
		known := c.worked[server]
		switch {
		case !c.holdsLocked(way{server, transport}):
			return 2
		case transport == known.transport && time.Since(known.at) <= remembered:
			return 0
		}
		return 1
	}
	slices.SortStableFunc(list, func(a, b string) int { return rank(a) - rank(b) })
	return list
}

// holdsLocked says whether a way is as good as any, as far as is known.
func (c *Client) holdsLocked(w way) bool {
	b := c.breaks[w]
	return b.n < maxBreaks || time.Since(b.at) > remembered
}

// brokeLocked notes that the connection broke, and why. One without a welcome says as much as several that broke later.
func (c *Client) brokeLocked(why lifecycle.Reason, now time.Time) {
	l := c.link
	if l == nil {
		return
	}
	w, stood := way{l.server, l.transport}, now.Sub(l.since)
	if why.Is(lifecycle.ReasonTimeout) { // it was given up some time after it had broken
		stood = l.heard.Sub(l.since)
	}
	if stood >= c.o.BackOff.Stand {
		delete(c.breaks, w)
		return
	}
	if !why.Is(lifecycle.ReasonLost) && !why.Is(lifecycle.ReasonTimeout) {
		return // the server's word
	}
	b, held := c.breaks[w], c.holdsLocked(w)
	if b.n++; c.since.IsZero() {
		b.n = maxBreaks
	}
	b.at = now
	if c.breaks[w] = b; !held || c.holdsLocked(w) {
		return
	}
	if next := c.orderLocked(l.server)[0]; next != l.transport {
		c.life.Event(lifecycle.Event{Kind: KindTransport, Server: l.server, From: l.transport, Transport: next, Reason: why, Detail: l.transport + " does not hold"})
	}
}

// dialBy opens a connection by one transport. One that is not the last has only so long.
func (c *Client) dialBy(ctx context.Context, server, transport string, last bool) (wire, error) {
	if !last {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.o.FallbackAfter)
		defer cancel()
	}
	switch transport {
	case Events:
		return dialEvents(ctx, &c.o, server)
	case Poll:
		return dialPoll(ctx, &c.o, server)
	case WebRTC:
		return dialWebRTC(ctx, &c.o, server)
	}
	return c.dialWebSocket(ctx, server)
}

// unreachable says that the network, not something between, keeps the client from the server.
func unreachable(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	return errors.As(err, &dns) || errors.As(err, &op) && op.Op == "dial" && !op.Timeout()
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
