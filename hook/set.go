package hook

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"hawser/lifecycle"
)

// Set is a server's hooks. All methods may run at once; those of a nil Set find no hooks.
type Set struct {
	o      Options
	client *http.Client
	asking chan struct{} // holds one for each call that asks
	seq    atomic.Uint64

	ctx    context.Context // ends when Close has waited enough
	cancel context.CancelFunc

	mu      sync.Mutex
	lanes   map[string]*lane // what waits to be told, by connection
	ready   []*lane          // those that nobody works on
	queued  int              // events in all lanes
	dropped int              // since the last that was queued
	workers int
	closed  bool
	idle    chan struct{} // closed when there is no worker and the set is closed
}

// New makes a Set, or says what is wrong with the options.
func New(o Options) (*Set, error) {
	o, err := o.filled()
	if err != nil {
		return nil, err
	}
	s := &Set{o: o, asking: make(chan struct{}, o.MaxCalls), lanes: make(map[string]*lane), idle: make(chan struct{})}
	s.client = newClient(&o)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// Bounds returns what the limits allow, by the names under which lifecycle counts how often each is reached; nothing without hooks.
func (s *Set) Bounds() map[string]int {
	if s == nil {
		return nil
	}
	return map[string]int{"hook.MaxCalls": s.o.MaxCalls, "hook.MaxQueue": s.o.MaxQueue, "hook.MaxAnswer": int(s.o.MaxAnswer)}
}

// Has says whether there is a hook for an event; for packets, whether there is one for data messages at least.
func (s *Set) Has(event string) bool { return s.has(event, false) }

// HasMedia says whether there is a hook for the audio and video packets of a packet event.
func (s *Set) HasMedia(event string) bool { return s.has(event, true) }

func (s *Set) has(event string, media bool) bool {
	return s != nil && slices.ContainsFunc(s.o.Hooks, func(h Hook) bool { return h.hears(event, media) })
}

// Ask calls the hooks of an event, one after the other, and returns what they say. A refusal, or a failure unless Options.AcceptOnFailure says otherwise, is a *Refusal.
// Seq, and Time when it is zero, are set here.
func (s *Set) Ask(ctx context.Context, e Event) (Answer, error) {
	var all Answer
	if !s.has(e.Event, e.media()) {
		return all, nil
	}
	s.number(&e)
	for i := range s.o.Hooks {
		h := &s.o.Hooks[i]
		if !h.hears(e.Event, e.media()) {
			continue
		}
		r, err := s.askOne(ctx, h, &e)
		if err != nil {
			why := s.failed(h, &e, err)
			if s.o.AcceptOnFailure {
				continue
			}
			return all, &Refusal{Hook: h.name(), Reason: lifecycle.ReasonInternal.With("a hook failed: %s", why.Word)} // the client need not know more, but that it may try again
		}
		if r.refused {
			why := lifecycle.ReasonRefused.With("%s", r.text)
			s.log(KindRefused, h, &e, why)
			return all, &Refusal{Hook: h.name(), Redirect: r.redirect, Reason: why}
		}
		if r.Path != "" {
			e.Path, all.Path = r.Path, r.Path
		}
		if r.Values != nil {
			all.Values = r.Values
		}
		if r.Drop {
			all.Drop = true
			return all, nil
		}
	}
	return all, nil
}

// askOne calls one hook when it is its turn, within Timeout.
func (s *Set) askOne(ctx context.Context, h *Hook, e *Event) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	select {
	case s.asking <- struct{}{}:
		defer func() { <-s.asking }()
	case <-ctx.Done():
		return reply{}, lifecycle.Reached("hook.MaxCalls", s.o.MaxCalls).With("no turn within %v: %d calls at one time (MaxCalls)", s.o.Timeout, s.o.MaxCalls)
	}
	return s.call(ctx, h, e)
}

// call calls one hook.
func (s *Set) call(ctx context.Context, h *Hook, e *Event) (r reply, err error) {
	if h.URL != "" {
		r, err = s.post(ctx, h.URL, e)
	} else {
		r, err = s.run(ctx, h.Command, e)
	}
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = lifecycle.ReasonTimeout.With("no answer within %v", s.o.Timeout)
	}
	return r, err
}

func (s *Set) number(e *Event) {
	e.Seq = s.seq.Add(1)
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
}

// failed logs a failure and returns why.
func (s *Set) failed(h *Hook, e *Event, err error) lifecycle.Reason {
	why := lifecycle.ReasonOf(err)
	s.log(KindFailed, h, e, why)
	return why
}

// log logs what became of a call. What a hook or the network says may repeat a secret.
func (s *Set) log(kind string, h *Hook, e *Event, why lifecycle.Reason) {
	for _, key := range s.o.SecretKeys {
		for _, secret := range e.Query[key] {
			if secret != "" {
				why.Text = strings.ReplaceAll(why.Text, secret, "***")
			}
		}
	}
	s.o.Log.Add(lifecycle.Event{Kind: kind, Conn: e.Conn, Remote: e.Remote, Path: e.Path, Protocol: "hook", Side: lifecycle.Client, Light: lifecycle.Amber,
		Detail: e.Event + ": " + h.name(), Reason: why})
}
