package client

import (
	"context"
	"fmt"
	"iter"
	"sync"

	"hawser/lifecycle"
	"hawser/session"
)

// Update is what a subscription hands out: session.EventSnapshot, EventUpdate, EventGap, EventWindow, EventStatus or EventError; each kind's comment says which fields it
// sets. Data and Fields are the application's to keep but not to change.
type Update = session.Event

// SubscribeOptions says how a subscription starts.
type SubscribeOptions struct {
	// From is session.FromSnapshot (also when zero), FromLive, FromOffset or FromHistory.
	From session.From
	// Epoch and Offset are the next update wanted, with session.FromOffset.
	Epoch, Offset uint64
	// Want says what of it is wanted: history, rate, fields, window.
	session.Want
	// NoWait returns at once and leaves the first answer, also a refusal, to Updates.
	NoWait bool
}

// Subscription follows the data of one path, over reconnects. Its methods may run at once, but for loops over Updates, of which one may run at a time.
type Subscription struct {
	c        *Client
	path     string
	want     session.Want
	queue    *queue
	answered chan struct{}
	once     sync.Once
}

// Subscribe follows the data of a path until Close. It waits for the server's answer, be it over reconnects, unless o.NoWait; nil options are the zero
// ones. It fails when the server refuses (with its reason), when ctx ends, when the client is Disconnected, and when the path is invalid or is followed already.
func (c *Client) Subscribe(ctx context.Context, path string, o *SubscribeOptions) (*Subscription, error) {
	if o == nil {
		o = &SubscribeOptions{}
	}
	s := &Subscription{c: c, path: path, want: o.Want, answered: make(chan struct{})}
	s.queue = newQueue(&c.o, s.shrink)
	err := c.follow(func(m *session.Client) error {
		if err := m.Subscribe(path, session.SubscribeOptions{From: o.From, Epoch: o.Epoch, Offset: o.Offset, Want: o.Want}); err != nil {
			return err
		}
		c.subs[path] = s
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("client: subscribe %q: %w", path, bare(err))
	}
	if o.NoWait {
		return s, nil
	}
	if err := wait(ctx, s.answered, s.queue); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("client: subscribe %q: %w", path, err)
	}
	return s, nil
}

// follow lets f ask the machine for something, unless the client is disconnected.
func (c *Client) follow(f func(m *session.Client) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.machine.State() == session.Disconnected {
		return c.states.offline()
	}
	err := f(c.machine)
	c.settleLocked()
	return err
}

// bare returns the reason of the machine's error, which is told with the path already.
func bare(err error) error {
	if e, ok := err.(*session.Error); ok {
		return e.Reason
	}
	return err
}

// wait waits for the first answer.
func wait(ctx context.Context, answered <-chan struct{}, q *queue) error {
	select {
	case <-answered:
		return q.err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// take is called with what the machine says of the path, under the client's lock.
func (s *Subscription) take(ev session.Event) {
	s.queue.push(ev)
	if ev.Kind == session.EventStatus && (ev.Status == session.StatusRefused || ev.Status == session.StatusRemoved) {
		delete(s.c.subs, s.path)
		s.queue.end(ev.Reason)
	}
	if ev.Kind == session.EventSnapshot || ev.Kind == session.EventStatus || ev.Kind == session.EventWindow {
		s.settle()
	}
}

// settle says that there is an answer.
func (s *Subscription) settle() { s.once.Do(func() { close(s.answered) }) }

// Path returns the path.
func (s *Subscription) Path() string { return s.path }

// Updates yields what the subscription says, in order, until ctx ends or the subscription is over; Err says why it is. A later loop goes on where this one stopped.
func (s *Subscription) Updates(ctx context.Context) iter.Seq[Update] { return s.queue.all(ctx) }

// Err returns why the subscription is over: the reason of the server, or of the end of the session. nil while it goes on, and after Close.
func (s *Subscription) Err() error { return s.queue.err() }

// Throttle changes the greatest rate, in updates a second: what comes in between is folded together. 0 stops the updates; Unthrottle ends it.
func (s *Subscription) Throttle(rate float64) {
	s.c.do(func(m *session.Client) { m.Throttle(s.path, rate, true) })
}

// Unthrottle lets every update come.
func (s *Subscription) Unthrottle() {
	s.c.do(func(m *session.Client) { m.Throttle(s.path, 0, false) })
}

// Close ends the subscription. It returns nil.
func (s *Subscription) Close() error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	s.queue.end(lifecycle.ReasonDone)
	s.settle()
	if c.subs[s.path] == s {
		delete(c.subs, s.path)
		c.machine.Unsubscribe(s.path)
		c.settleLocked()
	}
	return nil
}
