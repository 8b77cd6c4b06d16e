package server

import (
	"context"
	"sync"
	"time"

	"hawser/lifecycle"
)

// sessions are the sessions that there are now.
type sessions struct {
	mu     sync.Mutex
	count  int // those too that are still being opened
	all    map[*sessionConn]struct{}
	closed bool
}

// enter makes room for one more; leave gives it back.
func (s *sessions) enter(most int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count >= most {
		return false
	}
	s.count++
	return true
}

func (s *sessions) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count--
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
		c.ws.CloseNow()
	}
}

// watch ends sessions whose client has been silent for 2.5 heartbeats, or has not said hello in time; one loop looks after all of them.
func (s *sessions) watch(ctx context.Context, heartbeat, hello time.Duration) {
	silence := heartbeat * 5 / 2
	tick := time.NewTicker(min(heartbeat, hello) / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for _, c := range s.list() {
				limit := silence
				if !c.loggedIn.Load() {
					limit = hello
				}
				if now.UnixNano()-c.seen.Load() > int64(limit) {
					c.end(lifecycle.ReasonTimeout)
				}
			}
		}
	}
}
