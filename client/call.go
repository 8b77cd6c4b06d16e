package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"hawser/lifecycle"
	"hawser/session"
)

// CallOptions says how a call is done; nil and the zero value are good.
type CallOptions struct {
	// Timeout bounds the wait for the result; 0 means no bound but that of the context.
	Timeout time.Duration
	// Resend sends the call again when the connection broke before the result; the server does it once. Otherwise the call fails with lifecycle.ReasonLost then.
	Resend bool
}

// Call asks the server's application to do something and waits for the result. data is encoded as by Send; nil for none. The error wraps the server's reason, lifecycle.ReasonTimeout after
// o.Timeout, or the cause of ctx; in the last two cases the server is told to stop.
func (c *Client) Call(ctx context.Context, name string, data any, o *CallOptions) (json.RawMessage, error) {
	if o == nil {
		o = &CallOptions{}
	}
	if o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, o.Timeout, lifecycle.ReasonTimeout.With("no result within %s", o.Timeout))
		defer cancel()
	}
	result, err := c.callFor(ctx, name, data, o)
	if err != nil {
		return nil, fmt.Errorf("client: call %q: %w", name, bare(err))
	}
	return result, nil
}

func (c *Client) callFor(ctx context.Context, name string, data any, o *CallOptions) (json.RawMessage, error) {
	var raw []byte
	if data != nil {
		var err error
		if raw, err = encode(data); err != nil {
			return nil, lifecycle.ReasonBadRequest.Because(err)
		}
	}
	if size := len(raw) + len(name) + publishOverhead; size > c.o.MaxMessage {
		return nil, lifecycle.ReasonTooBig.With("got %d bytes, want at most %d", size, c.o.MaxMessage)
	}
	var id uint64
	results := make(chan session.Event, 1)
	err := c.request(ctx, func(m *session.Client) (err error) {
		if id, err = m.Call(name, raw, session.CallOptions{Timeout: o.Timeout, Resend: o.Resend}); err == nil {
			c.calls[id] = results
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	select {
	case ev := <-results:
		if !ev.Reason.IsZero() {
			return nil, ev.Reason
		}
		return ev.Data, nil
	case <-ctx.Done():
		c.do(func(m *session.Client) {
			delete(c.calls, id)
			m.Cancel(id)
			c.roomLocked()
		})
		return nil, context.Cause(ctx)
	}
}

// resultLocked hands a result to who waits for it.
func (c *Client) resultLocked(ev session.Event) {
	if results := c.calls[ev.ID]; results != nil {
		delete(c.calls, ev.ID)
		c.roomLocked()
		results <- ev
	}
}

// SourceOptions says what a source is; nil and the zero value mean a required one with priority 0.
type SourceOptions = session.SourceOptions

// Source says that this client feeds a path and all below it: the server tells it what is wanted there, and marks what it fed as stale when it has gone. Its methods may run at once, but for
// loops over Wanted, of which one may run at a time.
type Source struct {
	c     *Client
	path  string
	queue *queue
}

// Source declares this client a source, over reconnects, until Close. It fails when the client is Disconnected, the path is invalid, or this client feeds it already.
func (c *Client) Source(path string, o *SourceOptions) (*Source, error) {
	if o == nil {
		o = &SourceOptions{}
	}
	s := &Source{c: c, path: path, queue: newQueue(&c.o, func(events []session.Event) []session.Event { return events[1:] })}
	err := c.follow(func(m *session.Client) error {
		if c.sources[path] != nil {
			return lifecycle.ReasonBadRequest.With("this client is a source of it already")
		}
		if err := m.Source(path, *o); err != nil {
			return err
		}
		c.sources[path] = s
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("client: source %q: %w", path, bare(err))
	}
	return s, nil
}

// Wanted yields the paths that somebody begins (true) or, for half a minute, nobody continues (false) to follow, until ctx ends or the source is closed. After a reconnect what is wanted is told again.
func (s *Source) Wanted(ctx context.Context) iter.Seq2[string, bool] {
	return func(yield func(string, bool) bool) {
		for ev := range s.queue.all(ctx) {
			if !yield(ev.Path, ev.On) {
				return
			}
		}
	}
}

// Close ends it. It returns nil.
func (s *Source) Close() error {
	s.c.do(func(m *session.Client) {
		if s.c.sources[s.path] == s {
			delete(s.c.sources, s.path)
			m.SourceEnded(s.path)
		}
	})
	s.queue.end(lifecycle.ReasonDone)
	return nil
}

// wantedLocked tells the sources that feed a path.
func (c *Client) wantedLocked(ev session.Event) {
	for path, s := range c.sources {
		if ev.Path == path || len(ev.Path) > len(path) && ev.Path[:len(path)] == path && ev.Path[len(path)] == '/' {
			s.queue.push(ev)
		}
	}
}
