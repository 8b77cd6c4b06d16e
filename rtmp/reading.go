package rtmp

import (
	"os"
	"time"

	"hawser/netio"
)

// turnReads is how many reads from the network a connection may have before others get their turn.
const turnReads = 8

// read reads until the connection ends, and ends it. It is the way of connections that no watch can have, TLS for instance.
func (c *Conn) read() {
	r := netio.NewReader(c.nc, 0)
	feed := c.in.feed
	var err error
	for err == nil {
		err = r.Next(feed)
	}
	c.end(err)
}

// startWatch leaves the reading to a watch, so that no goroutine waits for the client; false means that it cannot have one.
func (c *Conn) startWatch() bool {
	w := netio.NewWatch(c.nc, (*watched)(c))
	if w == nil {
		return false
	}
	c.watch.Store(w)
	if c.stopped.Load() { // before there was a watch to be told
		w.Wake()
	}
	if w.Start() {
		return true
	}
	c.watch.Store(nil)
	if c.stopped.Load() {
		c.stopReading()
	}
	return false
}

// stopReading makes whoever reads find the end.
func (c *Conn) stopReading() {
	c.stopped.Store(true)
	if w := c.watch.Load(); w != nil {
		w.Wake()
		return
	}
	c.nc.SetReadDeadline(time.Unix(1, 0))
}

// watched is a Conn that a watch reads.
type watched Conn

// Turn implements netio.Handler.
func (h *watched) Turn(t *netio.Turn) {
	c := (*Conn)(h)
	err := ErrClosed // stays if a handler function ends the goroutine
	defer func() {
		if err != nil {
			c.watch.Load().Stop()
			go c.end(err) // it may take its time
		}
	}()
	err = c.take(t)
}

// take reads what has arrived.
func (c *Conn) take(t *netio.Turn) error {
	for range turnReads {
		if c.stopped.Load() {
			return os.ErrDeadlineExceeded
		}
		b, more, err := t.Read()
		if len(b) > 0 {
			err = c.in.feed(b)
		}
		if err != nil || !more {
			return err
		}
	}
	t.More()
	return nil
}
