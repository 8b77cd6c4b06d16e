package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"

	"hawser/lifecycle"
	"hawser/session"
)

// Signals are the signals about a path: what the server says of WebRTC, and what is said to it (docs/protocol.md, "WebRTC"). By them a peer of package rtc, or of any other stack, plays or publishes the path as part
// of this session, and outlives its connections; the example shows how. They are not kept for later: what is said while there is no connection fails, and what the server has said before it broke may be missing
// after it. A resume brings the server's state of each peer again.
//
// Its methods may run at once, but for loops over Messages, of which one may run at a time.
type Signals struct {
	c     *Client
	path  string
	queue *queue
}

// Signals hears the signals about a path until Close; any number of them may hear the same path. It fails when the client is Disconnected or the path is invalid.
func (c *Client) Signals(path string) (*Signals, error) {
	s := &Signals{c: c, path: path, queue: newQueue(&c.o, func(events []session.Event) []session.Event { return events[1:] })}
	err := c.follow(func(*session.Client) error {
		if err := session.CheckPath(path); err != nil {
			return err
		}
		c.signals[s] = struct{}{}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("client: signals %q: %w", path, bare(err))
	}
	return s, nil
}

// Path returns the path.
func (s *Signals) Path() string { return s.path }

// Send says something to the server, such as map[string]any{"offer": sdp, "as": "play"}; data is encoded as by Client.Send. It fails with lifecycle.ReasonLost while there is no connection, or after Close.
func (s *Signals) Send(data any) error {
	err := s.send(data)
	if err != nil {
		return fmt.Errorf("client: signal %q: %w", s.path, bare(err))
	}
	return nil
}

func (s *Signals) send(data any) error {
	raw, err := encode(data)
	if err != nil {
		return lifecycle.ReasonBadRequest.Because(err)
	}
	if size := len(raw) + len(s.path) + publishOverhead; size > s.c.o.MaxMessage {
		return lifecycle.ReasonTooBig.With("got %d bytes, want at most %d", size, s.c.o.MaxMessage)
	}
	return s.c.follow(func(m *session.Client) error {
		if _, open := s.c.signals[s]; !open {
			return lifecycle.ReasonLost.With("it is closed")
		}
		return m.Signal(s.path, raw)
	})
}

// Messages yields the data of what the server says of the path, in order, until ctx ends or it is over; Err says why it is. Signals of peers that publish have "as":"publish". A later loop goes on where this one
// stopped; an application that leaves too many unread (Options.QueueCount, QueueBytes) loses the oldest. The bytes are the
// application's to keep but not to change.
func (s *Signals) Messages(ctx context.Context) iter.Seq[json.RawMessage] {
	return func(yield func(json.RawMessage) bool) {
		for ev := range s.queue.all(ctx) {
			if !yield(ev.Data) {
				return
			}
		}
	}
}

// Err returns why it is over: the reason of the end of the session. nil while it goes on, and after Close.
func (s *Signals) Err() error { return s.queue.err() }

// Close hears nothing more. Peers at the server stay until they are closed by a signal, or the session ends. It returns nil.
func (s *Signals) Close() error {
	s.c.mu.Lock()
	delete(s.c.signals, s)
	s.c.mu.Unlock()
	s.queue.end(lifecycle.ReasonDone)
	return nil
}

// signalLocked hands out a signal to all who hear its path.
func (c *Client) signalLocked(ev session.Event) {
	for s := range c.signals {
		if s.path == ev.Path {
			s.queue.push(ev)
		}
	}
}
