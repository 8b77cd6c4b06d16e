package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"hawser/auth"
	"hawser/lifecycle"
	"hawser/session"
)

const (
	// DefaultMaxCalls bounds the calls of one session that are being done.
	DefaultMaxCalls = 64
	// DefaultCallTimeout is how long a call may take whose client names no time.
	DefaultCallTimeout = 30 * time.Second
)

// Call is what a client asks a function of the application to do.
type Call struct {
	// Name is what was called.
	Name string
	// Data is the JSON that came with it; nil for none. It is the function's.
	Data []byte
	// User is who called; empty without authentication.
	User string
	// Conn is the caller's identity in the event log.
	Conn string
}

// CallFunc does what a client asks and returns the result, JSON or nil. An error that wraps a lifecycle.Reason tells the client that; any other is told as internal. ctx ends when the client calls
// off, its time is over, or the server stops. Calls run at once.
type CallFunc func(ctx context.Context, c *Call) (result []byte, err error)

// HandleCall makes a function answer the calls of a name, which is a path such as "/auction/bid"; nil takes it away. The newest counts.
func (s *Server) HandleCall(name string, f CallFunc) {
	s.callMu.Lock()
	defer s.callMu.Unlock()
	if f == nil {
		delete(s.calls, name)
		return
	}
	if s.calls == nil {
		s.calls = make(map[string]CallFunc)
	}
	s.calls[name] = f
}

func (s *Server) callFunc(name string) CallFunc {
	s.callMu.Lock()
	defer s.callMu.Unlock()
	return s.calls[name]
}

// call starts what a client asks for, unless that was done before.
func (c *sessionConn) call(r session.Call) {
	frame, do := c.publisher.begin(r.ID, true)
	if frame != nil {
		c.queue(frame)
	}
	if !do {
		return
	}
	f, err := c.callable(r)
	if err != nil {
		c.result(r.ID, nil, err)
		return
	}
	timeout := c.server.opts.CallTimeout
	if r.Timeout > 0 {
		timeout = min(timeout, r.Timeout)
	}
	ctx, cancel := context.WithTimeoutCause(c.server.ctx, timeout, lifecycle.ReasonTimeout.With("the call took longer than %s", timeout))
	call := &Call{Name: r.Name, Data: bytes.Clone(r.Data), User: c.user(), Conn: c.life.ID()}
	c.mu.Lock()
	if c.calls == nil {
		c.calls = make(map[uint64]context.CancelFunc)
	}
	c.calls[r.ID] = cancel
	c.mu.Unlock()
	c.publisher.cancelWith(r.ID, cancel)
	c.server.wait.Go(func() {
		defer cancel()
		data, err := doCall(ctx, f, call)
		c.mu.Lock()
		delete(c.calls, r.ID)
		c.mu.Unlock()
		c.result(r.ID, data, err)
	})
}

// callable says what does a call, or why it is not done.
func (c *sessionConn) callable(r session.Call) (CallFunc, error) {
	if err := c.may(auth.Call, r.Name); err != nil {
		return nil, err
	}
	f := c.server.callFunc(r.Name)
	if f == nil {
		return nil, lifecycle.ReasonNotFound.With("nothing answers calls of %s", r.Name)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if max(len(c.calls), c.publisher.underCall()-1) >= c.server.opts.MaxCalls {
		return nil, lifecycle.Reached("MaxCalls", c.server.opts.MaxCalls)
	}
	return f, nil
}

// doCall runs the application's function; one that panics has failed.
func doCall(ctx context.Context, f CallFunc, call *Call) (data []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = lifecycle.ReasonInternal.Because(fmt.Errorf("call %s: panic: %v", call.Name, r))
		}
	}()
	data, err = f(ctx, call)
	if err == nil && data != nil && !json.Valid(data) {
		return nil, lifecycle.ReasonInternal.With("the result of %s is not JSON", call.Name)
	}
	if err != nil && errors.Is(err, ctx.Err()) {
		err = context.Cause(ctx)
	}
	return data, err
}

// result answers a call, on the connection that the client has now.
func (c *sessionConn) result(id uint64, data []byte, err error) {
	m := session.Message{Type: session.TypeResult, ID: id, Data: data}
	switch {
	case errors.Is(err, context.Canceled):
		m.Data, m.Reason = nil, lifecycle.ReasonDone.With("cancelled")
	case err != nil:
		m.Data, m.Reason = nil, lifecycle.ReasonOf(err)
	}
	c.answer(id, textFrame(&m), nil)
}

// cancel calls a call off.
func (c *sessionConn) cancel(id uint64) {
	c.mu.Lock()
	cancel := c.calls[id]
	c.mu.Unlock()
	if cancel != nil {
		cancel()
		return
	}
	c.publisher.cancel(id) // it may have begun on an earlier connection
}
