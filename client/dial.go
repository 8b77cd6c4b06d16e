package client

import (
	"context"
	"errors"
	"net"
	"time"

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

// remembered is how long the transport that worked is tried first.
const remembered = 10 * time.Minute

// works is the transport that last worked with a server.
type works struct {
	transport string
	at        time.Time
}

// connect opens a connection by the first transport that works. That of the last time comes first, except that the WebSocket is tried again in the background.
func (c *Client) connect(ctx context.Context, server string) (wire, string, error) {
	var errs []error
	for i, transport := range c.order(server) {
		if ctx.Err() != nil {
			break
		}
		last := i == len(c.o.Transports)-1
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
	known := c.worked[server]
	if time.Since(known.at) > remembered {
		return c.o.Transports
	}
	list := []string{known.transport}
	for _, t := range c.o.Transports {
		if t != known.transport {
			list = append(list, t)
		}
	}
	return list
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
