package websocket

import (
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"time"

	"hawser/lifecycle"
)

const (
	// DefaultMinBackOff is what the waits of a persistent Client start from.
	DefaultMinBackOff = 500 * time.Millisecond
	// DefaultMaxBackOff is the longest wait of a persistent Client. A connection that stood for so long makes the next waits short again.
	DefaultMaxBackOff = 30 * time.Second
)

// Client is a connection as a loop over events, from the first attempt to the end. Its fields must not be changed while a loop runs; several loops, each with a connection of its own, may.
type Client struct {
	// URL is the address, ws or wss.
	URL string
	DialOptions
	// Persist connects again, for ever, whenever there is no connection, until the loop is left or its context ends.
	Persist bool
	// MinBackOff and MaxBackOff bound the waits in between: a random time up to MinBackOff, twice that after each attempt that failed, up to MaxBackOff. 0 means DefaultMinBackOff and DefaultMaxBackOff.
	MinBackOff, MaxBackOff time.Duration
}

// Events connects and yields what happens; see Kind for the order. Leaving the loop, or the end of ctx, closes the connection with CloseGoingAway, which takes at most the close timeout; after the end of
// ctx Disconnected still comes.
func (cl *Client) Events(ctx context.Context) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		failures := 0
		for attempt := 1; ; attempt++ {
			began := time.Now()
			if !cl.attempt(ctx, attempt, yield) || !cl.Persist || ctx.Err() != nil {
				return
			}
			if time.Since(began) >= cl.maxBackOff() {
				failures = 0
			}
			delay := cl.backOff(failures)
			failures++
			if !yield(Event{Kind: BackOff, URL: cl.URL, Attempt: attempt, Delay: delay}) {
				return
			}
			select {
			case <-time.After(delay):
			case <-ctx.Done():
				return
			}
		}
	}
}

func (cl *Client) maxBackOff() time.Duration {
	if cl.MaxBackOff > 0 {
		return cl.MaxBackOff
	}
	return DefaultMaxBackOff
}

// backOff is a random wait after so many failures in a row ("full jitter").
func (cl *Client) backOff(failures int) time.Duration {
	d := cl.MinBackOff
	if d <= 0 {
		d = DefaultMinBackOff
	}
	for ; failures > 0 && d < cl.maxBackOff(); failures-- {
		d *= 2
	}
	return time.Duration(rand.Int64N(int64(min(d, cl.maxBackOff())) + 1))
}

// attempt is one connection; false means that the loop was left.
func (cl *Client) attempt(ctx context.Context, n int, yield func(Event) bool) bool {
	if !yield(Event{Kind: Connecting, URL: cl.URL, Attempt: n}) {
		return false
	}
	d, err := newDialer(cl.URL, &cl.DialOptions)
	if err != nil {
		return yield(Event{Kind: ConnectFail, URL: cl.URL, Attempt: n, Err: err, Reason: err.Error()})
	}
	dctx, cancel := d.bound(ctx)
	defer cancel()
	nc, err := d.connect(dctx)
	if err != nil {
		err = d.failed(err)
		return yield(Event{Kind: ConnectFail, URL: cl.URL, Attempt: n, Err: err, Reason: err.Error()})
	}
	if !yield(Event{Kind: Connected, URL: cl.URL, Attempt: n}) {
		nc.Close()
		d.life.Close(lifecycle.ReasonDone)
		return false
	}
	c, resp, err := d.upgrade(dctx, nc)
	if err != nil {
		err = d.failed(err)
		var refused *HandshakeError
		return yield(Event{Kind: Rejected, URL: cl.URL, Attempt: n, Err: err, Reason: err.Error(), Response: resp}) &&
			yield(Event{Kind: Disconnected, URL: cl.URL, Attempt: n, Err: err, Reason: err.Error(), Code: CloseAbnormal, Graceful: errors.As(err, &refused)})
	}
	cancel()
	ready := Event{Kind: Ready, URL: cl.URL, Attempt: n, Conn: c, Response: resp, Protocol: c.Subprotocol(), Extensions: c.Extensions()}
	return cl.follow(ctx, c, ready, yield)
}

// follow yields the events of an open connection and sees to its end.
func (cl *Client) follow(ctx context.Context, c *Conn, ready Event, yield func(Event) bool) (goOn bool) {
	defer func() {
		if !goOn {
			c.Close(CloseGoingAway, "")
		}
	}()
	if !yield(ready) {
		return false
	}
	for ev := range c.Events(ctx) {
		if !yield(ev) {
			return false
		}
	}
	if c.Err() != nil {
		return true // Disconnected was the last
	}
	err := c.Close(CloseGoingAway, "") // ctx has ended
	return yield(Event{Kind: Disconnected, Conn: c, Err: context.Cause(ctx), Reason: "the context has ended", Code: CloseGoingAway, Graceful: err == nil})
}
