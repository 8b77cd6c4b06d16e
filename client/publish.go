package client

import (
	"context"
	"encoding/json"
	"errors"
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
	// Document says that the data is a whole JSON document, Patch that it is a merge patch of one (RFC 7396).
	Document, Patch bool
	// TTL removes the subject when nothing was published on it for so long; 0 means never.
	TTL time.Duration
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

// Send publishes data and does not wait for the acknowledgement. Sends of one goroutine arrive in their order, and once, also over reconnects. data is JSON when it is a []byte or
// json.RawMessage, the fields of a record when it is a []session.Field, and is encoded by encoding/json otherwise; nil options are the zero ones.
// While the client is not logged in the message waits; while Options.MaxPending requests wait, Send does. It fails when ctx ends, when the client is Disconnected, and when path or data
// are invalid or too big.
func (c *Client) Send(ctx context.Context, path string, data any, o *PublishOptions) (*Receipt, error) {
	p, err := c.publication(path, data, o)
	var r *Receipt
	if err == nil {
		err = c.request(ctx, func(m *session.Client) error {
			id, err := m.Publish(p)
			if err == nil {
				r = &Receipt{path: p.Path, done: make(chan struct{})}
				c.waiting[id] = r
			}
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("client: publish %q: %w", path, bare(err))
	}
	return r, nil
}

// request asks the machine for something that waits for an answer, as soon as there is room for one more.
func (c *Client) request(ctx context.Context, f func(m *session.Client) error) error {
	for {
		c.mu.Lock()
		room := c.room
		err := f(c.machine)
		c.settleLocked()
		c.mu.Unlock()
		if !errors.Is(err, lifecycle.ReasonLimit) {
			return err
		}
		select {
		case <-room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// roomLocked says that one request fewer waits.
func (c *Client) roomLocked() {
	close(c.room)
	c.room = make(chan struct{})
}

// publication makes the request.
func (c *Client) publication(path string, data any, o *PublishOptions) (session.Publish, error) {
	if o == nil {
		o = &PublishOptions{}
	}
	p := session.Publish{Path: path, Kind: session.KindLog, Time: o.Time, HasTime: o.HasTime, TTL: o.TTL}
	raw, err := encode(data)
	if err != nil {
		return p, lifecycle.ReasonBadRequest.Because(err)
	}
	if size := len(raw) + len(path) + publishOverhead; size > c.o.MaxMessage {
		return p, lifecycle.ReasonTooBig.With("got %d bytes, want at most %d", size, c.o.MaxMessage)
	}
	_, fields := data.([]session.Field)
	switch {
	case o.Record || fields:
		p.Kind, p.Fields = session.KindRecord, raw
	case o.Patch:
		p.Kind, p.Patch = session.KindJSON, raw
	case o.Document:
		p.Kind, p.Data = session.KindJSON, raw
	default:
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

// answerLocked settles the publish with the id of an ack or an error.
func (c *Client) answerLocked(ev session.Event) {
	r := c.waiting[ev.ID]
	if r == nil {
		return
	}
	delete(c.waiting, ev.ID)
	c.roomLocked()
	r.ack = Ack{ev.Epoch, ev.Offset}
	if ev.Kind == session.EventError {
		r.ack, r.err = Ack{}, fmt.Errorf("client: publish %q: %w", r.path, ev.Reason)
	}
	close(r.done)
}

// Wait returns where the message stands once the server has accepted it, be it after reconnects. The error wraps the server's reason when it refused, and lifecycle.ReasonLost when the
// client was disconnected before the answer: then it may have been published or not. When ctx ends, the receipt stays good for another Wait.
func (r *Receipt) Wait(ctx context.Context) (Ack, error) {
	select {
	case <-r.done:
		return r.ack, r.err
	case <-ctx.Done():
		return Ack{}, fmt.Errorf("client: publish %q: no answer: %w", r.path, context.Cause(ctx))
	}
}
