package client

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"hawser/lifecycle"
	"hawser/session"
)

// publishOverhead is what a publish message takes besides path and payload, in bytes, at most.
const publishOverhead = 128

// Ack is where a publish that was accepted stands.
type Ack struct{ Epoch, Offset uint64 }

// PublishOptions says what is published; the zero value means a message of a log without media time.
type PublishOptions struct {
	// Record says that the data is an object of the fields of a record that change; null removes a field.
	Record bool
	// Time is media time, where HasTime says so.
	Time    time.Duration
	HasTime bool
}

// Receipt is a publish that waits for its answer.
type Receipt struct {
	path string
	done chan struct{}
	ack  Ack
	err  error
}

// Publish publishes data and waits for the acknowledgement; see Send and Receipt.Wait.
func (c *Client) Publish(ctx context.Context, path string, data any, o *PublishOptions) (Ack, error) {
	r, err := c.Send(ctx, path, data, o)
	if err != nil {
		return Ack{}, err
	}
	return r.Wait(ctx)
}

// Send publishes data and does not wait for the acknowledgement. Sends of one goroutine arrive in their order. data is JSON when it is a []byte or
// json.RawMessage, the fields of a record when it is a []session.Field, and is encoded by encoding/json otherwise; nil options are the zero ones.
// While the client is not logged in, Send waits for that. It fails when ctx ends, when the client is Disconnected, and when path or data are invalid or too big.
func (c *Client) Send(ctx context.Context, path string, data any, o *PublishOptions) (*Receipt, error) {
	p, err := c.publication(path, data, o)
	for err == nil {
		var r *Receipt
		if r, err = c.trySend(p); r != nil {
			return r, nil
		}
		state, _, changed := c.states.now()
		if state == session.LoggedIn {
			continue
		}
		if err == nil {
			select {
			case <-changed:
			case <-ctx.Done():
				err = context.Cause(ctx)
			}
		}
	}
	return nil, fmt.Errorf("client: publish %q: %w", path, bare(err))
}

// publication makes the request.
func (c *Client) publication(path string, data any, o *PublishOptions) (session.Publish, error) {
	if o == nil {
		o = &PublishOptions{}
	}
	p := session.Publish{Path: path, Kind: session.KindLog, Time: o.Time, HasTime: o.HasTime}
	raw, err := encode(data)
	if err != nil {
		return p, lifecycle.ReasonBadRequest.Because(err)
	}
	if size := len(raw) + len(path) + publishOverhead; size > c.o.MaxMessage {
		return p, lifecycle.ReasonTooBig.With("got %d bytes, want at most %d", size, c.o.MaxMessage)
	}
	if _, fields := data.([]session.Field); o.Record || fields {
		p.Kind, p.Fields = session.KindRecord, raw
	} else {
		p.Data = raw
	}
	return p, nil
}

func encode(data any) ([]byte, error) {
	switch d := data.(type) {
	case []byte:
		return d, nil
	case json.RawMessage:
		return d, nil
	case []session.Field:
		return session.AppendFields(nil, d), nil
	}
	return json.Marshal(data)
}

// trySend returns nil and no error while the client is neither logged in nor disconnected.
func (c *Client) trySend(p session.Publish) (*Receipt, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.machine.State() {
	case session.LoggedIn:
	case session.Disconnected:
		return nil, lifecycle.ReasonLost.With("not connected")
	default:
		return nil, nil
	}
	id, err := c.machine.Publish(p)
	if err != nil {
		return nil, err
	}
	r := &Receipt{path: p.Path, done: make(chan struct{})}
	c.waiting[id] = r
	c.settleLocked()
	return r, nil
}

// answerLocked settles the publish with the id of an ack or an error.
func (c *Client) answerLocked(ev session.Event) {
	r := c.waiting[ev.ID]
	if r == nil {
		return
	}
	delete(c.waiting, ev.ID)
	r.ack = Ack{ev.Epoch, ev.Offset}
	if ev.Kind == session.EventError {
		r.ack, r.err = Ack{}, fmt.Errorf("client: publish %q: %w", r.path, ev.Reason)
	}
	close(r.done)
}

// Wait returns where the message stands once the server has accepted it. The error wraps the server's reason when it refused, and lifecycle.ReasonLost when the
// connection broke before the answer: then it may have been published or not. When ctx ends, the receipt stays good for another Wait.
func (r *Receipt) Wait(ctx context.Context) (Ack, error) {
	select {
	case <-r.done:
		return r.ack, r.err
	case <-ctx.Done():
		return Ack{}, fmt.Errorf("client: publish %q: no answer: %w", r.path, context.Cause(ctx))
	}
}
