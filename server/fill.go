package server

import (
	"slices"

	"hawser/lifecycle"
	"hawser/session"
)

// slow logs that the client lost updates of a path.
func (c *sessionConn) slow(path string, missed uint64) {
	c.life.Event(lifecycle.Event{Kind: KindSlow, Path: path, Reason: lifecycle.ReasonSlow, Missed: missed})
}

// removed tells the client that a subject it follows is gone. Fill calls it; the rest is for run, which owns the subscriptions.
func (c *sessionConn) removed(dst [][]byte, f *feedState, why error) [][]byte {
	if f.closed.Swap(true) {
		return dst
	}
	c.hasEnded(f.path)
	return append(dst, textFrame(&session.Message{Type: session.TypeStatus, Path: f.path, Status: session.StatusRemoved, Reason: lifecycle.ReasonOf(why)}))
}

// hasEnded notes that a subscription or play was ended by the server.
func (c *sessionConn) hasEnded(path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = append(c.gone, path)
}

// forget gives up the subscriptions and plays that the server has ended, so that the client may ask anew. Only who receives may call it.
func (c *sessionConn) forget() {
	c.mu.Lock()
	gone := c.gone
	c.gone = nil
	c.mu.Unlock()
	for _, path := range gone {
		if f := c.subs[path]; f != nil && f.state().closed.Load() {
			c.setSub(path, nil)
			c.machine.Unsubscribed(path)
		}
		if f := c.plays[path]; f != nil && f.closed.Load() {
			c.setPlay(path, nil)
			c.machine.Stopped(path)
		}
	}
}

// Fill implements netio.Source: data before media, each feed in the order in which they had something. One that has more than there is room for goes on after the others of
// its sort. It sends by what it returns only: whoever calls it may hold locks of the connection.
func (c *sessionConn) Fill(dst [][]byte, max int) [][]byte {
	if c.paused.Load() {
		return dst
	}
	c.mu.Lock()
	data := len(c.readyData)
	c.taken = append(append(c.taken[:0], c.readyData...), c.readyMedia...)
	clear(c.readyData)
	clear(c.readyMedia)
	c.readyData, c.readyMedia = c.readyData[:0], c.readyMedia[:0]
	c.mu.Unlock()
	size := 0
	for i, f := range c.taken {
		st := f.state()
		st.queued.Store(false) // before it reads: what comes from here on wakes it again
		if !st.closed.Load() {
			var n int
			dst, n = f.fill(dst, max-size)
			size += n
		}
		if size >= max {
			c.putBack(f, c.taken[i+1:], data-i-1)
			break
		}
		if !st.closed.Load() && !f.arm() {
			st.wake(f)
		}
	}
	clear(c.taken)
	c.server.traffic.sessionOut.Add(uint64(size))
	return dst
}

// putBack queues the feeds that there was no room for before those that came meanwhile, and last the one that may have more; the first n of the others are data.
func (c *sessionConn) putBack(last feed, others []feed, n int) {
	n = max(n, 0)
	again := !last.state().queued.Swap(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readyData = slices.Insert(c.readyData, 0, others[:n]...)
	c.readyMedia = slices.Insert(c.readyMedia, 0, others[n:]...)
	switch {
	case !again: // it was woken meanwhile
	case last.state().media:
		c.readyMedia = append(c.readyMedia, last)
	default:
		c.readyData = append(c.readyData, last)
	}
}
