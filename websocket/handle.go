package websocket

import (
	"context"
	"time"

	"hawser/netio"
)

// turnReads is how many reads from the network a connection may have before others get their turn.
const turnReads = 8

// Handle is Events with a function instead of a loop: f gets the same events, in the same order, at the same moments. Handle returns at once, and f is called from other goroutines, one event at a time, until it
// returns false, which leaves the reading and not the connection, or has got Disconnected. While nothing comes, a connection over plain TCP or a Unix socket holds no goroutine on Linux if it was
// taken over (see Accept; Dial does so without NetDial); elsewhere, with TLS for instance, one goroutine runs Events.
//
// f may do what may be done within the loop: block, write, close. Others are then held up for a millisecond or two, and after that not at all. What an event holds is valid until f returns. A panic in f ends the
// program, as in any goroutine: f recovers where that is not wanted. Handle panics if somebody else is reading.
func (c *Conn) Handle(f func(Event) bool) {
	if c.reading.CompareAndSwap(false, true) {
		c.ignore()
		c.yield, c.stopped, c.wantMsg = f, false, false
		if c.Err() == nil && c.startHandling() {
			return
		}
		c.reading.Store(false)
	} else if !c.ending() {
		panic(ErrReading)
	}
	go c.Events(context.Background())(f)
}

// startHandling leaves the reading to a watch, if the connection can have one.
func (c *Conn) startHandling() bool {
	w := netio.NewWatch(c.nc, (*handling)(c))
	if w == nil {
		return false
	}
	if len(c.left) > 0 {
		w.Wake()
	}
	c.turns.Add(1) // it waits
	c.watcher.Store(w)
	c.startPoll()
	if w.Start() {
		return true
	}
	c.watcher.Store(nil)
	c.turns.Add(1)
	c.endPoll()
	return false
}

// handling is a Conn whose events Handle gives.
type handling Conn

// Turn implements netio.Handler.
func (h *handling) Turn(t *netio.Turn) {
	c := (*Conn)(h)
	c.turns.Add(1)
	over := false
	defer func() {
		if !over { // f has ended the goroutine
			c.endHandling()
		}
	}()
	err := c.handle(t)
	over = true
	switch {
	case err == nil:
		c.turns.Add(1)
	case err == errStop && !c.closing():
		c.endHandling()
	default: // the end may take its time
		c.watcher.Swap(nil).Stop()
		go func() {
			defer c.endEvents()
			c.leave(context.Background(), err)
		}()
	}
}

// endHandling lets others read.
func (c *Conn) endHandling() {
	c.watcher.Swap(nil).Stop()
	c.endEvents()
}

// handle gives what is due and what has arrived.
func (c *Conn) handle(t *netio.Turn) error {
	if c.poller != nil && c.pollDue() {
		if err := c.givePoll(); err != nil {
			return err
		}
	}
	if err := c.feedLeft(); err != nil {
		return err
	}
	for range turnReads {
		b, more, err := t.Read()
		if len(b) > 0 {
			err = c.feed(b)
			c.note()
			c.push()
		}
		if err != nil || !more {
			return err
		}
	}
	t.More()
	return nil
}

// startPoll begins the interval of the option Poll.
func (c *Conn) startPoll() {
	if c.set.poll > 0 {
		c.poller = time.AfterFunc(c.set.poll, c.poll)
	}
}

func (c *Conn) endPoll() {
	if c.poller != nil {
		c.poller.Stop()
		c.poller = nil
	}
}

// pollDue says whether the interval has passed.
func (c *Conn) pollDue() bool {
	c.wakeMu.Lock()
	defer c.wakeMu.Unlock()
	due := c.polled
	c.polled = false
	return due
}
