package websocket

import (
	"context"
	"errors"
	"iter"
	"time"

	"hawser/lifecycle"
)

// Client is a connection as a loop over events, from the first attempt to the end. Its fields must not be changed while a loop runs; several loops, each with a connection of its own, may.
type Client struct {
	// URL is the address, ws or wss. User and password in it are sent as Basic credentials, and shown nowhere.
	URL string
	DialOptions
	// Persist connects again, for ever, whenever there is no connection, until the loop is left or its context ends. Whether that makes sense is for the loop to judge:
	// lifecycle.ReasonOf(ev.Err).Retry is false after a 403, for example.
	Persist bool
	// MinBackOff and MaxBackOff bound the waits in between: a random time up to MinBackOff, twice that after each attempt that failed, up to MaxBackOff. 0 means DefaultMinBackOff and DefaultMaxBackOff.
	MinBackOff, MaxBackOff time.Duration
	// ResetAfter is how long a connection must have stood, from Ready on, for the next wait to be up to MinBackOff again. A server that accepts and soon drops everybody is so not hammered.
	// 0 means DefaultResetAfter, negative that Ready is enough.
	ResetAfter time.Duration
	// MaxRetryAfter bounds what a server may ask for with Retry-After when it answers 429 or 503; the random wait comes on top. 0 means DefaultMaxRetryAfter, negative that Retry-After does not count.
	MaxRetryAfter time.Duration

	random func(max time.Duration) time.Duration // for tests; nil means evenly between 0 and max
}

// Events connects and yields what happens; see Kind for the order. Leaving the loop, or the end of ctx, closes the connection with CloseGoingAway, which takes at most the close timeout; after the end of
// ctx Disconnected still comes. While there is no connection either ends the loop at once.
func (cl *Client) Events(ctx context.Context) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		w := cl.waits()
		for n := 1; ; n++ {
			a := attempt{cl: cl, n: n, url: shownAddress(cl.URL), stood: -1, yield: yield}
			if !a.run(ctx) || !cl.Persist || ctx.Err() != nil {
				return
			}
			w.stood(a.stood)
			delay := w.next(retryAfter(a.err, time.Now()))
			if !a.give(Event{Kind: BackOff, Delay: delay}) || !pause(ctx, delay) {
				return
			}
		}
	}
}

// pause returns false when ctx ended before.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// attempt is one connection of a Client.
type attempt struct {
	cl    *Client
	n     int
	url   string
	yield func(Event) bool
	err   error         // why there is no connection
	stood time.Duration // how long it was Ready; negative: never
}

// give yields an event.
func (a *attempt) give(ev Event) bool {
	ev.URL, ev.Attempt = a.url, a.n
	return a.yield(ev)
}

// fail yields an event that tells an error.
func (a *attempt) fail(ev Event, err error) bool {
	a.err = err
	ev.Err, ev.Reason = err, err.Error()
	return a.give(ev)
}

// run is the attempt from Connecting to its end; false means that the loop was left.
func (a *attempt) run(ctx context.Context) bool {
	if !a.give(Event{Kind: Connecting}) {
		return false
	}
	d, err := newDialer(a.cl.URL, &a.cl.DialOptions)
	if err != nil {
		return a.fail(Event{Kind: ConnectFail}, err)
	}
	dialing, cancel := d.bound(ctx)
	defer cancel()
	nc, err := d.connect(dialing)
	proxy := ""
	if d.proxy != nil {
		proxy = withoutUser(d.proxy).String()
	}
	if err != nil {
		return a.fail(Event{Kind: ConnectFail, Proxy: proxy}, d.failed(err))
	}
	if !a.give(Event{Kind: Connected, Proxy: proxy}) {
		cutOff(nc)
		d.life.Close(lifecycle.ReasonDone)
		return false
	}
	c, resp, err := d.upgrade(dialing, nc)
	if err != nil {
		err = d.failed(err)
		var refused *HandshakeError
		gone := Event{Kind: Disconnected, Code: CloseAbnormal, Graceful: errors.As(err, &refused)}
		return (ctx.Err() != nil || a.fail(Event{Kind: Rejected, Response: resp}, err)) && a.fail(gone, err)
	}
	cancel()
	return a.follow(ctx, c, Event{Kind: Ready, Conn: c, Response: resp, Protocol: c.Subprotocol(), Extensions: c.Extensions()})
}

// follow yields the events of an open connection and sees to its end.
func (a *attempt) follow(ctx context.Context, c *Conn, ready Event) (goOn bool) {
	since := time.Now()
	defer func() {
		if !goOn {
			c.Close(CloseGoingAway, "")
		}
	}()
	for ev := range c.eventsFrom(ctx, ready) {
		if ev.Kind == Disconnected {
			a.stood = time.Since(since)
		}
		if !a.give(ev) {
			return false
		}
	}
	if c.Err() != nil {
		return true // Disconnected was the last
	}
	err := c.Close(CloseGoingAway, "") // ctx has ended
	return a.give(Event{Kind: Disconnected, Conn: c, Err: context.Cause(ctx), Reason: "the context has ended", Code: CloseGoingAway, Graceful: err == nil})
}

// eventsFrom is Events behind a first event, at which the connection already counts as being read: Close does not wait then.
func (c *Conn) eventsFrom(ctx context.Context, first Event) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		if !c.startEvents(ctx, yield) {
			return
		}
		defer c.endEvents()
		if yield(first) {
			c.loop(ctx)
		}
	}
}
