package server

import (
	"sync"
	"time"

	"hawser/auth"
	"hawser/lifecycle"
)

// Recheck looks again at what all clients do, after rules or credentials have changed. What is no longer allowed ends: a subscription or play with the reason refused, a session, a publisher or a viewer
// whose credentials are good no more with unauthorized. The rest is not touched.
func (s *Server) Recheck() {
	for _, c := range s.sessions.list() {
		c.recheck()
	}
	s.guards.recheck()
}

// guards watch over what goes on outside of sessions: RTMP and HTTP-FLV.
type guards struct {
	mu  sync.Mutex
	all map[*guard]struct{}
}

// guard ends one thing that somebody does when it is no longer allowed.
type guard struct {
	who    auth.Identity
	action auth.Action
	path   string
	cut    func(lifecycle.Reason)
	expiry *time.Timer
}

// watch calls cut when somebody may no longer do something on a path, maybe at once; never after release. Nobody in particular, nil, may always.
func (g *guards) watch(who auth.Identity, a auth.Action, path string, cut func(lifecycle.Reason)) (release func()) {
	if who == nil {
		return func() {}
	}
	w := &guard{who: who, action: a, path: path, cut: cut}
	g.mu.Lock()
	if g.all == nil {
		g.all = make(map[*guard]struct{})
	}
	g.all[w] = struct{}{}
	if end := who.Expires(); !end.IsZero() {
		w.expiry = time.AfterFunc(time.Until(end), func() {
			if g.remove(w) {
				cut(lifecycle.ReasonUnauthorized.With("the credentials have ended"))
			}
		})
	}
	g.mu.Unlock()
	g.look(w) // the rules may have changed since it was allowed
	return func() { g.remove(w) }
}

// remove forgets a guard; false if that was done before.
func (g *guards) remove(w *guard) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, there := g.all[w]
	delete(g.all, w)
	if w.expiry != nil {
		w.expiry.Stop()
	}
	return there
}

func (g *guards) look(w *guard) {
	if err := permit(w.who, w.action, w.path); err != nil && g.remove(w) {
		w.cut(lifecycle.ReasonOf(err))
	}
}

func (g *guards) recheck() {
	g.mu.Lock()
	list := make([]*guard, 0, len(g.all))
	for w := range g.all {
		list = append(list, w)
	}
	g.mu.Unlock()
	for _, w := range list {
		g.look(w)
	}
}

// permit says why somebody may not do something; nil, nobody in particular, may everything.
func permit(who auth.Identity, a auth.Action, path string) error {
	if who == nil {
		return nil
	}
	if err := who.Check(); err != nil {
		return err
	}
	if !who.May(a, path) {
		return lifecycle.ReasonRefused.With("%s may not %s %s", nameOf(who), a, path)
	}
	return nil
}
