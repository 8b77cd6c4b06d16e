package relay

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"hawser/amf"
	"hawser/lifecycle"
	"hawser/rtmp"
)

// demandInterval is how often a pull on demand looks whether somebody still plays.
const demandInterval = time.Second

// errEnded ends a push when its stream does, errUnwanted a pull on demand that nobody plays any more.
var (
	errEnded    = lifecycle.ReasonGone.With("the stream has ended")
	errUnwanted = lifecycle.ReasonDone.With("nobody plays any more")
)

// relay is one relay.
type relay struct {
	set    *Relays
	spec   Spec
	rule   *relay
	id     string
	log    *lifecycle.Conn
	ctx    context.Context
	cancel context.CancelCauseFunc

	messages, bytes atomic.Uint64

	mu       sync.Mutex
	state    string
	light    lifecycle.Health
	since    time.Time
	reason   lifecycle.Reason
	attempts int
	delay    time.Duration
}

var lights = map[string]lifecycle.Health{StateWaiting: lifecycle.Amber, StateConnecting: lifecycle.Amber, StateConnected: lifecycle.Amber, StateLive: lifecycle.Green,
	StateBackOff: lifecycle.Amber, StateClosed: lifecycle.Red}

// set0 changes the state without a reason.
func (y *relay) set0(state string) { y.setState(state, lifecycle.Reason{}) }

func (y *relay) setState(state string, why lifecycle.Reason) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.state != state {
		y.state, y.light, y.since = state, lights[state], time.Now()
	}
	if !why.IsZero() {
		y.reason = why
	}
	y.log.Set(state, lights[state], why)
}

func (y *relay) info() Info {
	y.mu.Lock()
	defer y.mu.Unlock()
	i := Info{ID: y.id, Spec: y.spec, State: y.state, Light: y.light, Since: y.since, Reason: y.reason, Attempts: y.attempts, Delay: y.delay,
		Messages: y.messages.Load(), Bytes: y.bytes.Load()}
	if i.URL = shown(y.spec.URL); y.rule != nil {
		i.Rule = y.rule.id
	}
	return i
}

// run relays until the relay is ended.
func (y *relay) run() {
	switch {
	case y.spec.Kind == Pull:
		y.runPull()
	case strings.Contains(y.spec.Path, "*"):
		y.runRule()
	default:
		y.runPush()
	}
	why := lifecycle.ReasonShutdown
	if cause := context.Cause(y.ctx); !errors.Is(cause, context.Canceled) {
		why = lifecycle.ReasonOf(cause)
	}
	y.setState(StateClosed, why)
	y.log.Close(why)
}

// until waits for a condition that may come true when something changes or, when every is not 0, so much later; false when ctx ends first.
func (y *relay) until(ctx context.Context, every time.Duration, ok func() bool) bool {
	for ctx.Err() == nil {
		changed := y.set.change()
		if ok() {
			return true
		}
		var tick <-chan time.Time
		if every > 0 {
			tick = time.After(every)
		}
		select {
		case <-changed:
		case <-tick:
		case <-ctx.Done():
		}
	}
	return false
}

func (y *relay) live() bool { return slices.Contains(y.set.o.Local.Live(), y.spec.Path) }

// runRule pushes each stream that fits while it is there.
func (y *relay) runRule() {
	y.until(y.ctx, 0, func() bool {
		for _, path := range y.set.o.Local.Live() {
			if text, ok := match(y.spec.Path, path); ok {
				y.set.add(Spec{Kind: Push, Path: path, URL: fill(y.spec.URL, text)}, y) // an error says that there is one, or too many
			}
		}
		return false
	})
}

// runPush pushes the stream whenever it is there.
func (y *relay) runPush() {
	for y.until(y.ctx, 0, y.live) {
		ctx, end := context.WithCancelCause(y.ctx)
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			if y.until(ctx, 0, func() bool { return !y.live() }) {
				end(errEnded)
			}
		}()
		y.persist(ctx, y.push)
		end(nil)
		<-watched
		if y.rule != nil && y.ctx.Err() == nil { // the pattern begins another
			y.cancel(errEnded)
			y.set.mu.Lock()
			y.set.removeLocked(y)
			y.set.mu.Unlock()
			return
		}
		if y.ctx.Err() == nil {
			y.set0(StateWaiting)
		}
	}
}

// push sends one connection's worth.
func (y *relay) push(ctx context.Context, c *rtmp.Client) error {
	if err := c.Publish(ctx); err != nil {
		return err
	}
	source, err := y.set.o.Local.Play(y.spec.Path, y.id, c.Capabilities().Extensions&rtmp.ExtMultitrack != 0)
	if err != nil {
		return err
	}
	defer source.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	heard := make(chan struct{})
	defer func() {
		cancel(nil)
		<-heard
	}()
	go func() { // the stream may have nothing to send for long: hear when the connection ends, or the server says no
		defer close(heard)
		for _, err := range c.Messages(ctx) {
			if err != nil {
				cancel(err)
			}
		}
	}()
	send := func(m rtmp.Message) error {
		y.count(&m)
		return c.WriteMessage(ctx, m)
	}
	for {
		switch err := source.Next(ctx, send); {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

func (y *relay) count(m *rtmp.Message) {
	y.messages.Add(1)
	y.bytes.Add(uint64(len(m.Payload)))
}

// runPull pulls always, or while somebody plays.
func (y *relay) runPull() {
	if !y.spec.OnDemand {
		y.persist(y.ctx, y.pull)
		return
	}
	wanted := func() bool { return y.set.o.Local.Wanted(y.spec.Path) }
	for y.until(y.ctx, demandInterval, wanted) {
		ctx, end := context.WithCancelCause(y.ctx)
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			last := time.Now()
			if y.until(ctx, demandInterval, func() bool {
				if wanted() {
					last = time.Now()
				}
				return time.Since(last) >= y.set.o.Linger
			}) {
				end(errUnwanted)
			}
		}()
		y.persist(ctx, y.pull)
		end(nil)
		<-watched
		if y.ctx.Err() == nil {
			y.setState(StateWaiting, errUnwanted)
		}
	}
}

// pull takes one connection's worth. The path is claimed when the first message is there.
func (y *relay) pull(ctx context.Context, c *rtmp.Client) (err error) {
	if err := c.Play(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var sink Sink
	defer func() {
		if sink != nil {
			why := lifecycle.ReasonDone
			if !errors.Is(err, context.Canceled) {
				why = lifecycle.ReasonOf(err)
			}
			sink.Close(why)
		}
	}()
	for m, err := range c.Messages(ctx) {
		if err != nil {
			return err
		}
		if sink == nil {
			if sink, err = y.set.o.Local.Publish(y.spec.Path, y.id, func(why lifecycle.Reason) { cancel(why) }); err != nil {
				return err
			}
		}
		y.count(&m)
		if err := sink.Take(m); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// persist keeps a connection until ctx ends, do returns nil, or the other end is this server.
func (y *relay) persist(ctx context.Context, do func(ctx context.Context, c *rtmp.Client) error) {
	dial := y.set.o.Dial
	dial.Log = y.set.o.Log
	if y.set.o.Identity != "" {
		dial.Object = append(slices.Clip(dial.Object), amf.Member{Name: MemberRelay, Value: y.set.o.Identity})
	}
	rtmp.Persist(ctx, y.spec.URL, &rtmp.PersistOptions{Dial: &dial, BackOff: y.set.o.BackOff, OnEvent: y.event}, do)
}

// event follows the states of the connection.
func (y *relay) event(e rtmp.Event) {
	switch e.Kind {
	case rtmp.EventConnecting:
		y.mu.Lock()
		y.attempts++
		y.delay = 0
		y.mu.Unlock()
		y.set0(StateConnecting)
	case rtmp.EventConnectResult:
		y.set0(StateConnected)
	case rtmp.EventStatus:
		if e.Light == lifecycle.Green {
			y.mu.Lock()
			y.attempts = 0
			y.mu.Unlock()
			y.set0(StateLive)
		}
	case rtmp.EventClosed:
		var refused *rtmp.Refusal
		if errors.As(e.Reason, &refused) && refused.Code == CodeLoop {
			y.cancel(lifecycle.ReasonRefused.With("a loop: the other end is this server"))
		}
	case rtmp.EventBackOff:
		y.mu.Lock()
		y.delay = e.Delay
		y.mu.Unlock()
		y.setState(StateBackOff, e.Reason)
	}
}
