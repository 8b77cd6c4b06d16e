package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"hawser/hook"
	"hawser/lifecycle"
	"hawser/session"
	"hawser/subject"
)

// Hooks on what is not RTMP, in the same words. Whoever watches a stream over a session or HTTP-FLV is asked about by play and told by stop; data that a session or a POST publishes is asked about by
// publish_data, as an RTMP publisher's is. There is no publish about data: nothing begins or ends, each message stands for itself. Nor is there connect: who may log in is a question
// of authentication (Options.Auth), whose authority may be outside too. Recorded files over HTTP are not asked about, as one viewing of them is any number of requests.

// The words of hook.Event.Protocol.
const (
	overRTMP    = "rtmp"
	overSession = "session"
	overFLV     = "http-flv"
	overHTTP    = "http"
)

// refusedBy is a hook's refusal for whoever is no RTMP client.
func refusedBy(err error) error {
	var r *hook.Refusal
	if errors.As(err, &r) {
		return r.Reason
	}
	return err
}

// askPlay asks about e, a wish to watch a live stream, and returns its path, which an answer may have changed.
func (s *Server) askPlay(ctx context.Context, e hook.Event) (path string, err error) {
	e.What = "live"
	return s.askPath(ctx, hook.Play, e)
}

// askPublish asks about e, a wish to publish a live stream, and returns its path, which an answer may have changed.
func (s *Server) askPublish(ctx context.Context, e hook.Event) (path string, err error) {
	return s.askPath(ctx, hook.Publish, e)
}

func (s *Server) askPath(ctx context.Context, name string, e hook.Event) (path string, err error) {
	if !s.hooks.Has(name) {
		return e.Path, nil
	}
	e.Event = name
	answer, err := s.hooks.Ask(ctx, e)
	switch {
	case err != nil:
		return "", refusedBy(err)
	case answer.Path == "":
		return e.Path, nil
	case session.CheckPath(answer.Path) != nil:
		return "", s.senseless(&e, lifecycle.ReasonBadRequest.With("a hook's new path: %v", session.CheckPath(answer.Path)))
	}
	return answer.Path, nil
}

// tellStop tells that what askPlay asked about has ended.
func (s *Server) tellStop(e hook.Event, began time.Time, why lifecycle.Reason) {
	s.tellOver(hook.Stop, e, began, why)
}

// tellOver tells that a play or publish has ended.
func (s *Server) tellOver(name string, e hook.Event, began time.Time, why lifecycle.Reason) {
	if s.hooks.Has(name) {
		e.Event, e.Duration = name, time.Since(began).Seconds()
		s.hooks.Tell(because(e, why))
	}
}

// senseless logs an answer that makes no sense, and returns why.
func (s *Server) senseless(e *hook.Event, why lifecycle.Reason) error {
	s.log.Add(lifecycle.Event{Kind: hook.KindFailed, Protocol: "hook", Side: lifecycle.Client, Conn: e.Conn, Remote: e.Remote, Path: e.Path, Light: lifecycle.Amber, Detail: e.Event, Reason: why})
	return why
}

// askData asks about an update before it is published, and alters it as the answer says. One that is to be left out is refused: its publisher waits to hear where it is.
func (s *Server) askData(ctx context.Context, e hook.Event, u *subject.Update) error {
	if !s.hooks.Has(hook.PublishData) {
		return nil
	}
	text := u.Data
	switch {
	case u.Patch != nil:
		text = u.Patch
	case u.Fields != nil:
		text = fieldsJSON(u.Fields)
	}
	e.Event, e.Type, e.Size, e.Timestamp = hook.PublishData, "data", len(text), uint32(u.Media.Milliseconds())
	e.Values = bytes.Join([][]byte{{'['}, text, {']'}}, nil)
	answer, err := s.hooks.Ask(ctx, e)
	switch {
	case err != nil:
		return refusedBy(err)
	case answer.Drop:
		return lifecycle.ReasonRefused.With("left out by a hook")
	case answer.Values == nil:
		return nil
	}
	var values []json.RawMessage
	if err := json.Unmarshal(answer.Values, &values); err != nil || len(values) != 1 {
		return s.senseless(&e, lifecycle.ReasonProtocol.With("a hook's values: want an array of one"))
	}
	switch {
	case u.Patch != nil:
		u.Patch = values[0]
	case u.Fields != nil:
		if u.Fields, err = subject.ParseFields(values[0]); err != nil {
			return s.senseless(&e, lifecycle.ReasonProtocol.With("a hook's values: %s", strings.TrimPrefix(err.Error(), "subject: ")))
		}
	default:
		u.Data = values[0]
	}
	return nil
}

// fieldsJSON is the fields of a record as an object.
func fieldsJSON(fields []subject.Field) []byte {
	b := []byte{'{'}
	for i, f := range fields {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(session.AppendString(b, f.Name), ':')
		if f.Value == nil {
			b = append(b, "null"...)
		}
		b = append(b, f.Value...)
	}
	return append(b, '}')
}

// hookEvent is an event of the session about a path.
func (c *sessionConn) hookEvent(path string) hook.Event {
	return hook.Event{Protocol: overSession, Conn: c.life.ID(), Remote: c.peer, Client: c.client, Path: path}
}

// askPlay asks about a play. What a session is sent names the path that it asked for, so that there is no other.
func (c *sessionConn) askPlay(path string) error {
	e := c.hookEvent(path)
	to, err := c.server.askPlay(c.server.ctx, e)
	if err == nil && to != path {
		e.Event = hook.Play
		err = c.server.senseless(&e, lifecycle.ReasonRefused.With("a hook's new path: a session plays what it asked for"))
	}
	if err != nil {
		c.life.Event(lifecycle.Event{Kind: "refuse", Path: path, Detail: hook.Play, Reason: lifecycle.ReasonOf(err)})
	}
	return err
}

// askData asks about an update.
func (c *sessionConn) askData(path string, u *subject.Update) error {
	err := c.server.askData(c.server.ctx, c.hookEvent(path), u)
	if err != nil {
		c.life.Event(lifecycle.Event{Kind: "refuse", Path: path, Detail: hook.PublishData, Reason: lifecycle.ReasonOf(err)})
	}
	return err
}
