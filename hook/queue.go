package hook

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"hawser/lifecycle"
)

// lane is what waits to be told about one connection: one after the other.
type lane struct {
	name   string
	events []Event
}

// Tell queues an event for its hooks and returns at once. The events of one connection, or of one path when there is no connection, are told in order; a webhook that is down is called
// again. When too many wait the event is left out and false is returned.
func (s *Set) Tell(e Event) bool {
	if !s.has(e.Event, e.media()) {
		return true
	}
	s.number(&e)
	s.mu.Lock()
	if s.closed || s.queued >= s.o.MaxQueue {
		s.dropped++
		first, full := s.dropped == 1, !s.closed
		s.mu.Unlock()
		if full {
			lifecycle.CountReached("hook.MaxQueue")
		}
		if first {
			s.tellDropped(&e, fmt.Sprintf("the queue is full with %d events (MaxQueue)", s.o.MaxQueue))
		}
		return false
	}
	dropped := s.dropped
	s.dropped = 0
	name := e.Conn
	if name == "" {
		name = e.Path
	}
	l := s.lanes[name]
	if l == nil {
		l = &lane{name: name}
		s.lanes[name] = l
		s.ready = append(s.ready, l)
		if s.workers < s.o.MaxCalls {
			s.workers++
			go s.work()
		}
	}
	l.events = append(l.events, e)
	s.queued++
	s.mu.Unlock()
	if dropped > 0 {
		s.tellDropped(&e, fmt.Sprintf("%d events were left out", dropped))
	}
	return true
}

func (s *Set) tellDropped(e *Event, detail string) {
	s.o.Log.Add(lifecycle.Event{Kind: KindDropped, Protocol: "hook", Side: lifecycle.Client, Conn: e.Conn, Path: e.Path, Light: lifecycle.Amber, Detail: detail,
		Reason: lifecycle.ReasonSlow})
}

// work tells what waits until there is nothing more.
func (s *Set) work() {
	s.mu.Lock()
	for len(s.ready) > 0 {
		l := s.ready[0]
		s.ready = s.ready[1:]
		e := l.events[0]
		s.mu.Unlock()
		s.tell(&e)
		s.mu.Lock()
		s.queued--
		if l.events = l.events[1:]; len(l.events) > 0 {
			s.ready = append(s.ready, l)
		} else {
			delete(s.lanes, l.name)
		}
	}
	s.workers--
	if s.closed && s.workers == 0 {
		close(s.idle)
	}
	s.mu.Unlock()
}

// tell calls the hooks of an event.
func (s *Set) tell(e *Event) {
	for i := range s.o.Hooks {
		h := &s.o.Hooks[i]
		if !h.hears(e.Event, e.media()) {
			continue
		}
		r, err := s.tellOne(h, e)
		switch {
		case err != nil:
			s.failed(h, e, err)
		case r.refused:
			s.log(KindRefused, h, e, lifecycle.ReasonRefused.With("%s", r.text))
		}
	}
}

// tellOne calls a hook, again and again while it is down.
func (s *Set) tellOne(h *Hook, e *Event) (reply, error) {
	for attempt := 0; ; attempt++ {
		ctx, cancel := context.WithTimeout(s.ctx, s.o.Timeout)
		r, err := s.call(ctx, h, e)
		cancel()
		if err == nil || attempt >= s.o.Retries || h.URL == "" || !lifecycle.ReasonOf(err).Retry {
			return r, err
		}
		bound := s.o.RetryDelay << min(attempt, 16)
		timer := time.NewTimer(rand.N(bound + 1)) // full jitter, as everywhere
		select {
		case <-timer.C:
		case <-s.ctx.Done():
			timer.Stop()
			return r, err
		}
	}
}

// Close tells what still waits, until ctx ends; then it gives up what is left. Nothing may be asked or told after it.
func (s *Set) Close(ctx context.Context) {
	if s == nil {
		return
	}
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		if s.workers == 0 {
			close(s.idle)
		}
	}
	s.mu.Unlock()
	select {
	case <-s.idle:
	case <-ctx.Done():
		s.mu.Lock()
		s.drainLocked()
		s.mu.Unlock()
	}
	s.cancel()
	<-s.idle
	s.client.CloseIdleConnections()
}

// drainLocked gives up what waits and is not being told now.
func (s *Set) drainLocked() {
	left := 0
	for _, l := range s.ready {
		left += len(l.events)
		delete(s.lanes, l.name)
	}
	for _, l := range s.lanes { // being told: the first stays
		left += len(l.events) - 1
		l.events = l.events[:1]
	}
	s.ready = nil
	if s.queued -= left; left > 0 {
		s.o.Log.Add(lifecycle.Event{Kind: KindDropped, Protocol: "hook", Side: lifecycle.Client, Light: lifecycle.Amber,
			Detail: fmt.Sprintf("%d events were left out", left), Reason: lifecycle.ReasonShutdown})
	}
}
