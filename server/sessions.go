package server

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"hawser/lifecycle"
	"hawser/session"
)

// sessions are the sessions that there are now.
type sessions struct {
	most, perAddress, perUser int  // limits; 0 means none, but for most
	replace                   bool // a login above perUser ejects the user's oldest session

	mu      sync.Mutex
	count   int // those too that are still being opened
	from    map[netip.Addr]int
	all     map[*sessionConn]struct{}
	users   map[string][]*sessionConn // logged in, the oldest first
	drained []byte                    // what clients are told, as a frame, once the server drains; else nil
	closed  bool
}

// enter makes room for one more, or says why there is none; leave gives it back.
func (s *sessions) enter(from netip.Addr) lifecycle.Reason {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.drained != nil:
		return lifecycle.ReasonShutdown.With("this server takes no more sessions")
	case s.count >= s.most:
		return lifecycle.Reached("MaxSessions", s.most)
	case s.perAddress > 0 && s.from[from] >= s.perAddress:
		return lifecycle.Reached("MaxSessionsPerAddress", s.perAddress)
	}
	s.count++
	if s.perAddress > 0 {
		if s.from == nil {
			s.from = make(map[netip.Addr]int)
		}
		s.from[from]++
	}
	return lifecycle.Reason{}
}

func (s *sessions) leave(from netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count--
	if s.from[from] > 1 {
		s.from[from]--
	} else {
		delete(s.from, from)
	}
}

// admit counts a session to its user, or says why it may not log in.
func (s *sessions) admit(c *sessionConn) lifecycle.Reason {
	user := c.user()
	if user == "" {
		return lifecycle.Reason{}
	}
	s.mu.Lock()
	if s.users == nil {
		s.users = make(map[string][]*sessionConn)
	}
	var oldest *sessionConn
	s.users[user] = slices.DeleteFunc(s.users[user], (*sessionConn).over) // a connection whose session has moved to this one among them
	if s.perUser > 0 && len(s.users[user]) >= s.perUser {
		if !s.replace {
			s.mu.Unlock()
			return lifecycle.Reached("MaxSessionsPerUser", s.perUser)
		}
		oldest = s.users[user][0]
		s.users[user] = slices.Delete(s.users[user], 0, 1)
	}
	s.users[user] = append(s.users[user], c)
	s.mu.Unlock()
	if oldest != nil {
		oldest.eject(lifecycle.ReasonReplaced.With("a newer login of %s took its place", user))
	}
	return lifecycle.Reason{}
}

// add lists a session; false when the server is stopping and the session is to end.
func (s *sessions) add(c *sessionConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = make(map[*sessionConn]struct{})
	}
	s.all[c] = struct{}{}
	return !s.closed
}

func (s *sessions) remove(c *sessionConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, c)
	user := c.user()
	if list := slices.DeleteFunc(s.users[user], func(o *sessionConn) bool { return o == c }); len(list) > 0 {
		s.users[user] = list
	} else {
		delete(s.users, user)
	}
}

// find returns the session with an identity of the event log, such as "session-12".
func (s *sessions) find(id string) *sessionConn {
	for _, c := range s.list() {
		if c.life.ID() == id {
			return c
		}
	}
	return nil
}

// drain takes no more sessions and asks all that are here to move to another server, each at a random moment within so long.
func (s *sessions) drain(within time.Duration, why lifecycle.Reason) {
	frame := textFrame(&session.Message{Type: session.TypeDrain, Reason: why, Command: session.Command{Within: within}})
	var told []*sessionConn
	s.mu.Lock()
	s.drained = frame
	for c := range s.all {
		if c.loggedIn.Load() {
			told = append(told, c)
		}
	}
	s.mu.Unlock()
	for _, c := range told {
		c.queue(frame)
	}
}

// welcomed notes that a session is logged in, and returns what is to be told to it when the server has begun to drain meanwhile.
func (s *sessions) welcomed(c *sessionConn) (drain []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.loggedIn.Store(true)
	return s.drained
}

func (s *sessions) list() []*sessionConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*sessionConn, 0, len(s.all))
	for c := range s.all {
		list = append(list, c)
	}
	return list
}

// closeAll ends all sessions and takes no more.
func (s *sessions) closeAll(why lifecycle.Reason) {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	for _, c := range s.list() {
		c.end(why)
	}
}

// cutAll closes the network connections of those whose clients have not let go in time.
func (s *sessions) cutAll() {
	for _, c := range s.list() {
		c.carrier.CloseNow()
	}
}

// askAgain sends a ping, once for each silence.
func (c *sessionConn) askAgain(now time.Time) {
	if c.asked.Load() < c.seen.Load() {
		c.asked.Store(now.UnixNano())
		c.send(&session.Message{Type: session.TypePing, ID: 1, At: now.UnixMilli()})
	}
}

// watch ends sessions whose client has been silent for 2.5 heartbeats, or has not said hello in time, and asks one that has been silent for 1.5: a page in the background, whose timers hardly run, answers
// that. One loop looks after all of them.
func (s *sessions) watch(ctx context.Context, heartbeat, hello time.Duration, sweep func(time.Time)) {
	silence := heartbeat * 5 / 2
	tick := time.NewTicker(min(heartbeat, hello) / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			sweep(now)
			for _, c := range s.list() {
				limit := silence
				if !c.loggedIn.Load() {
					limit = hello
				}
				silent := now.UnixNano() - c.seen.Load()
				switch {
				case silent > int64(limit):
					c.end(lifecycle.ReasonTimeout)
				case limit == silence && silent > int64(heartbeat*3/2):
					c.askAgain(now)
				}
			}
		}
	}
}
