package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"hawser/client"
	"hawser/lifecycle"
	"hawser/session"
)

// mediaInterval is the time between two lines about media, and the wait before a play that has ended is asked for again.
const mediaInterval = time.Second

// sessionWatch follows a session: its states, and the data and media of a path. What the three tell is handled by the
// goroutine of run, one after the other.
type sessionWatch struct {
	*watcher
	client *client.Client
	target target
	media  bool
	retry  bool
	tell   chan func()
	ctx    context.Context // of those that tell
	wg     sync.WaitGroup

	// Owned by run.
	light     lifecycle.Health
	meter     mediaMeter
	following bool
	ending    bool // only states are shown
	over      bool
	end       error
	held      []func() // what came before the state that it belongs to
}

// session follows a path, or a server when there is no path, until it ends for good.
func (w *watcher) session(ctx context.Context, t target, o *watchOptions) error {
	c, err := client.New(client.Options{Servers: []string{t.url}, Name: "hawser-watch/" + client.Version, Token: o.credentials.session(o.address)})
	if err != nil {
		return err
	}
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &sessionWatch{watcher: w, client: c, target: t, media: !o.noMedia, retry: o.retry, tell: make(chan func()), ctx: inner,
		meter: mediaMeter{since: time.Now()}}
	defer s.wg.Wait()
	defer cancel()
	return s.run(ctx)
}

func (s *sessionWatch) run(ctx context.Context) error {
	s.wg.Go(s.followStates)
	s.wg.Go(func() { _ = s.client.Connect(s.ctx) }) // the states say how that goes
	tick := time.NewTicker(mediaInterval)
	defer tick.Stop()
	done := ctx.Done()
	for !s.over && s.failed == nil {
		select {
		case do := <-s.tell:
			do()
		case now := <-tick.C:
			s.total(now)
		case <-done:
			done = nil
			s.stop(nil)
		}
	}
	_ = s.client.Close()
	return s.end
}

// stop begins the end; run goes on until the client says that it is disconnected.
func (s *sessionWatch) stop(err error) {
	if s.ending {
		return
	}
	s.ending, s.end = true, err
	s.wg.Go(func() { _ = s.client.Close() })
}

// say hands something to run; false when run is over.
func (s *sessionWatch) say(do func()) bool {
	select {
	case s.tell <- do:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// print shows what the path tells, unless it is too late.
func (s *sessionWatch) print(r watchRecord, show func(watchRecord) bool) {
	if s.ending {
		return
	}
	if s.light == lifecycle.Amber { // the login that it came with is told first
		s.held = append(s.held, func() { s.print(r, show) })
		return
	}
	r.Path = s.target.path
	r.Light = min(r.Light, s.light)
	if !show(r) {
		s.stop(nil)
	}
}

func (s *sessionWatch) followStates() {
	for change := range s.client.States(s.ctx) {
		if !s.say(func() { s.state(change) }) {
			return
		}
	}
}

func (s *sessionWatch) state(c client.StateChange) {
	if c.Missed > 0 {
		s.show(watchRecord{Event: lifecycle.Event{Kind: lifecycle.KindMissed, Missed: c.Missed, Light: s.light}})
		return
	}
	s.light = c.To.Light()
	s.show(watchRecord{Event: lifecycle.Event{Kind: lifecycle.KindState, Time: c.Time, From: c.From.String(), State: c.To.String(), Light: s.light,
		Server: c.Server, Transport: c.Transport, Attempt: c.Attempt, Delay: c.Delay, Reason: c.Reason}})
	if s.light != lifecycle.Amber {
		held := s.held
		s.held = nil
		for _, show := range held {
			show()
		}
	}
	switch {
	case c.To == session.Disconnected:
		if s.over = true; !s.ending {
			s.end = errorOf(c.Reason)
		}
	case c.To == session.Failed && !s.stood && !s.retry:
		s.stop(errorOf(c.Reason))
	case c.To == session.Connecting && !s.following && s.target.path != "":
		s.following = true
		s.wg.Go(s.followData)
		if s.media {
			s.wg.Go(s.followMedia)
		}
	}
}

// errorOf is a reason as an error, nil for an end as asked.
func errorOf(r lifecycle.Reason) error {
	if r.IsZero() || r.Is(lifecycle.ReasonDone) {
		return nil
	}
	return r
}

// followData follows the data of the path; its end by the server ends the watching.
func (s *sessionWatch) followData() {
	sub, err := s.client.Subscribe(s.ctx, s.target.path, &client.SubscribeOptions{NoWait: true})
	if err == nil {
		for u := range sub.Updates(s.ctx) {
			show := s.show
			if u.Kind == session.EventUpdate {
				show = s.update
			}
			r := dataRecord(&u)
			if !s.say(func() { s.print(r, show) }) {
				return
			}
		}
		err = sub.Err()
	}
	if err != nil {
		s.say(func() { s.stop(err) })
	}
}

// followMedia plays the path, and again when the publisher has gone for good.
func (s *sessionWatch) followMedia() {
	for s.ctx.Err() == nil {
		p, err := s.client.Play(s.ctx, s.target.path, &client.PlayOptions{NoWait: true})
		if err != nil {
			return // the states say why
		}
		for m := range p.Media(s.ctx) {
			if !s.say(func() { s.played(&m) }) {
				return
			}
		}
		if reason := lifecycle.ReasonOf(p.Err()); !reason.Retry {
			return
		}
		select {
		case <-time.After(mediaInterval):
		case <-s.ctx.Done():
		}
	}
}

func (s *sessionWatch) played(m *client.Media) {
	switch {
	case m.Kind != session.EventFragment:
		if m.Status != session.StatusLive {
			s.total(time.Now())
		}
		s.print(mediaRecord(m), s.show)
	case m.Flags&session.FlagInit == 0:
		s.meter.frame(m.MediaKind == session.MediaVideo && m.Flags&session.FlagKeyframe != 0, len(m.Data), m.Time)
	}
}

// total shows what was played since the last time.
func (s *sessionWatch) total(now time.Time) {
	if t := s.meter.take(now); t != nil {
		s.print(watchRecord{Event: lifecycle.Event{Kind: kindMedia, Light: lifecycle.Green}, Media: t}, s.show)
	}
}

// statusLights are the lights of what a path says of itself; the session's own light may be worse.
var statusLights = map[session.Status]lifecycle.Health{
	session.StatusOK: lifecycle.Green, session.StatusLive: lifecycle.Green,
	session.StatusStale: lifecycle.Amber, session.StatusLimited: lifecycle.Amber, session.StatusWaiting: lifecycle.Amber,
}

func dataRecord(u *client.Update) watchRecord {
	r := watchRecord{Event: lifecycle.Event{Light: lifecycle.Green, Reason: u.Reason}}
	if u.HasTime {
		t := milliseconds(u.Time)
		r.MediaTime = &t
	}
	switch u.Kind {
	case session.EventSnapshot:
		r.Kind, r.Subject = kindSnapshot, u.Subject.String()
		r.setPlace(u)
		r.Fields = u.Fields
	case session.EventUpdate:
		r.Kind = kindUpdate
		r.setPlace(u)
		r.Data, r.Fields = u.Data, u.Fields
		at := time.UnixMilli(u.At)
		r.At = &at
	case session.EventGap:
		r.Kind = kindGap
		r.setPlace(u)
		if r.To = &u.To; u.To == 0 {
			r.To, r.Detail = nil, "the subject began a new life; how much was lost is not known"
		}
	case session.EventStatus:
		r.Kind, r.Status, r.Light = kindStatus, u.Status.String(), statusLights[u.Status]
	default:
		r.Kind, r.Light = kindError, lifecycle.Amber
	}
	return r
}

func (r *watchRecord) setPlace(u *session.Event) {
	r.Epoch = fmt.Sprintf("%016x", u.Epoch)
	r.Offset = &u.Offset
}

func mediaRecord(m *client.Media) watchRecord {
	r := watchRecord{Event: lifecycle.Event{Kind: kindTracks, Light: statusLights[m.Status], Reason: m.Reason, Missed: m.Media.Skipped}}
	if m.Kind == session.EventError {
		r.Kind, r.Light = kindError, lifecycle.Amber
		return r
	}
	r.Status, r.MIME = m.Status.String(), m.Media.MIME
	for _, t := range m.Media.Tracks {
		r.Tracks = append(r.Tracks, watchTrack(t))
	}
	if m.HasTime && m.Status == session.StatusLive {
		t := milliseconds(m.Time)
		r.MediaTime = &t
	}
	return r
}
