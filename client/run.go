package client

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"hawser/lifecycle"
	"hawser/session"
)

// networkLook is how often a client without a network looks whether there is one again.
const networkLook = 500 * time.Millisecond

// run attempts until the client is disconnected, by ctx or by the server.
func (c *Client) run(ctx context.Context, done chan struct{}) {
	defer func() {
		c.mu.Lock()
		c.stop()
		c.mu.Unlock()
		c.jobs.Wait()
		c.mu.Lock()
		c.stop, c.done = nil, nil
		c.mu.Unlock()
		close(done)
	}()
	for {
		c.attempt(ctx)
		c.mu.Lock()
		state, delay, back := c.machine.State(), c.delay, false
		c.mu.Unlock()
		switch state {
		case session.Disconnected:
			return
		case session.Connecting: // a pause has ended, during which the connection broke
			continue
		case session.Paused:
			if !c.unpaused(ctx) {
				return
			}
			continue
		case session.Unreachable:
			back, delay = c.network(ctx, delay)
		}
		if !sleep(ctx, delay) {
			return // Close has disconnected the machine
		}
		c.do(func(m *session.Client) {
			if c.draining || state != session.Lost && !back { // only where it was can the session resume
				c.server = c.servers.next()
			}
			c.draining = false
			m.Retry()
		})
	}
}

// unpaused waits for the end of a pause during which the connection broke; false when the client is closed.
func (c *Client) unpaused(ctx context.Context) bool {
	for {
		state, _, changed := c.states.now()
		switch state {
		case session.Connecting:
			return true
		case session.Paused:
		default:
			return false
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// network waits until the machine has a network again, or for so long, and returns what is left to wait. back says that it had none and has one now; where it has one all along there is
// only no way to that server.
func (c *Client) network(ctx context.Context, delay time.Duration) (back bool, left time.Duration) {
	if c.o.reachable() {
		return false, delay
	}
	ctx, cancel := context.WithTimeout(ctx, delay)
	defer cancel()
	for sleep(ctx, networkLook) {
		if c.o.reachable() {
			return true, 0
		}
	}
	return false, 0
}

// haveRoute asks the system for a route to the world; nothing is sent.
func haveRoute() bool {
	for _, addr := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} { // RFC 5737, RFC 3849: nobody's
		if conn, err := net.Dial("udp", addr); err == nil {
			conn.Close()
			return true
		}
	}
	return false
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

// attempt connects to the server and, where that succeeds, serves the session until it ends, over all connections that it moves to.
func (c *Client) attempt(ctx context.Context) {
	c.mu.Lock()
	server := c.server
	c.out, c.closing, c.welcome = nil, lifecycle.Reason{}, make(chan struct{})
	c.mu.Unlock()
	dialing, cancel := context.WithTimeoutCause(ctx, c.o.ConnectTimeout, lifecycle.ReasonTimeout.With("no connection within %s", c.o.ConnectTimeout))
	w, transport, err := c.dial(dialing, server)
	cancel()
	switch {
	case err == nil:
		for l := c.open(w, server, transport); l != nil; {
			l = c.serve(ctx, l)
		}
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.ENETDOWN):
		c.do((*session.Client).Unreachable)
	default:
		c.do(func(m *session.Client) { m.Failed(failure(err)) })
	}
}

// failure is the reason of an attempt that failed. Whatever it is, the next one may succeed.
func failure(err error) lifecycle.Reason {
	switch known := lifecycle.ReasonOf(err); known.Code {
	case lifecycle.ReasonTimeout.Code, lifecycle.ReasonRefused.Code, lifecycle.ReasonUnauthorized.Code, lifecycle.ReasonNotFound.Code, lifecycle.ReasonLimit.Code,
		lifecycle.ReasonShutdown.Code:
		return known.Because(err)
	}
	return lifecycle.ReasonLost.Because(err)
}
