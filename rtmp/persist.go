package rtmp

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/url"
	"time"

	"hawser/lifecycle"
)

// Defaults of BackOff.
const (
	DefaultMinBackOff = 500 * time.Millisecond
	DefaultMaxBackOff = 30 * time.Second
	DefaultResetAfter = 10 * time.Second
)

// KindBackOff is the event of a client that waits before it connects again: Attempt has ended, Reason says why, Delay is the wait.
const KindBackOff = "back_off"

// BackOff is how long to wait before connecting again: a random time up to Min, up to twice that after the next failure, and so on up to Max, so
// that the clients of a server that comes back do not come at once. Zero fields mean the defaults.
type BackOff struct {
	Min, Max time.Duration
	// ResetAfter is how long a connection must have stood for the next wait to be up to Min again.
	ResetAfter time.Duration
}

// waits works out the waits of one persistent client.
type waits struct {
	BackOff
	failures int // in a row
}

func newWaits(b BackOff) *waits {
	return &waits{BackOff: BackOff{Min: orDefault(b.Min, DefaultMinBackOff), Max: orDefault(b.Max, DefaultMaxBackOff),
		ResetAfter: orDefault(b.ResetAfter, DefaultResetAfter)}}
}

// bound is the longest wait after an attempt whose connection stood for so long.
func (w *waits) bound(stood time.Duration) time.Duration {
	if stood >= w.ResetAfter {
		w.failures = 0
	}
	bound := w.Min
	for n := w.failures; n > 0 && bound < w.Max; n-- {
		bound *= 2
	}
	w.failures++
	return min(bound, w.Max)
}

// PersistOptions are the settings of Persist; nil and the zero value are good.
type PersistOptions struct {
	// Dial is how to connect. Its Log gets KindBackOff beside the events of each connection. A relay wants an IdleTimeout.
	Dial *DialOptions
	// BackOff is how long to wait between attempts.
	BackOff BackOff
	// OnEvent is told what happens, from the goroutine that called Persist: EventConnecting, EventConnected, EventHandshake, EventRedirect,
	// EventConnectResult, EventStatus (what Publish and Play were told), EventClosed and EventBackOff. Its Light is green from
	// the status that starts a publish or play on.
	OnEvent func(Event)
}

// Persist connects to a server and calls do with the connection, which publishes or plays; it closes the connection when do returns, waits, and begins
// again, whatever the error was, until ctx ends (it returns its cause), do returns nil (so does it), or the URL is no RTMP URL. A *Refusal
// from do by which the server asks to reconnect is followed at once and to where it points; should that fail, the URL counts again.
//
//	err := rtmp.Persist(ctx, url, nil, func(ctx context.Context, c *rtmp.Client) error {
//		if err := c.Play(ctx); err != nil {
//			return err
//		}
//		for m, err := range c.Messages(ctx) {
//			if err != nil {
//				return err
//			}
//			handle(m)
//		}
//		return nil
//	})
func Persist(ctx context.Context, rawURL string, o *PersistOptions, do func(ctx context.Context, c *Client) error) error {
	if o == nil {
		o = &PersistOptions{}
	}
	p := &persistence{url: rawURL, dial: o.Dial, waits: newWaits(o.BackOff), tell: o.OnEvent, do: do}
	return p.run(ctx)
}

// persistence is one run of Persist or Events.
type persistence struct {
	url   string
	dial  *DialOptions
	waits *waits // nil: one attempt only
	tell  func(Event)
	do    func(ctx context.Context, c *Client) error
	light lifecycle.Health
}

// emit tells of an event, and derives the light.
func (p *persistence) emit(e Event) {
	switch e.Kind {
	case EventConnecting, EventBackOff:
		p.light = lifecycle.Amber
	case EventClosed:
		p.light = lifecycle.Red
	case EventStatus:
		if e.Status.Code == codePlaying || e.Status.Code == codePublishing {
			p.light = lifecycle.Green
		}
	}
	if e.Time, e.Light = time.Now(), p.light; p.tell != nil {
		p.tell(e)
	}
}

func (p *persistence) run(ctx context.Context) error {
	if _, err := newClient(p.url, nil, nil); err != nil {
		err = lifecycle.ReasonBadRequest.Because(err)
		p.emit(Event{Kind: EventClosed, Reason: closedReason(err)})
		return err
	}
	next := p.url
	for attempt := 1; ; attempt++ {
		stood, at, err := p.attempt(ctx, next)
		why := closedReason(err)
		if ctx.Err() == context.Canceled {
			why = lifecycle.ReasonDone
		}
		p.emit(Event{Kind: EventClosed, Reason: why})
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil, p.waits == nil:
			return err
		}
		bound := p.waits.bound(stood)
		next = p.url
		var refused *Refusal
		if errors.As(err, &refused) && refused.Code == codeReconnect {
			if to, err := redirected(at, refused.Redirect); err == nil {
				next = to
			}
			if stood >= p.waits.ResetAfter {
				continue
			}
		}
		if err := p.wait(ctx, attempt, rand.N(bound+1), why); err != nil {
			return err
		}
	}
}

// attempt makes one connection and returns how long it stood and where.
func (p *persistence) attempt(ctx context.Context, rawURL string) (stood time.Duration, at *url.URL, err error) {
	c, err := dialURL(ctx, rawURL, p.dial, p.emit)
	if err != nil {
		return 0, nil, err
	}
	defer c.Close()
	began := time.Now()
	err = p.do(ctx, c)
	return time.Since(began), c.url, err
}

// wait waits between attempts.
func (p *persistence) wait(ctx context.Context, attempt int, delay time.Duration, why lifecycle.Reason) error {
	p.emit(Event{Kind: EventBackOff, Attempt: attempt, Delay: delay, Reason: why})
	if p.dial != nil {
		p.dial.Log.Add(lifecycle.Event{Kind: KindBackOff, Protocol: "rtmp", Side: lifecycle.Client, Server: shown(p.url), Light: lifecycle.Amber,
			Attempt: attempt, Delay: delay, Reason: why})
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
