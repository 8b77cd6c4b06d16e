package websocket

import (
	"fmt"
	"os"
	"sync"
	"time"
)

// lookAgain is how long a reader must have waited in vain before a pong that is late counts as missing.
const lookAgain = 20 * time.Millisecond

// keeper sends pings at an interval and ends the connection when no pong comes. It holds no goroutine.
type keeper struct {
	c     *Conn
	timer *time.Timer

	mu       sync.Mutex
	nextPing time.Time
	pongBy   time.Time // zero: none is awaited
	progress uint32    // of the connection, when last looked at
	turns    uint32    // likewise
	looks    int       // how often the pong was late while the reader waited
}

func newKeeper(c *Conn) *keeper {
	k := &keeper{c: c, nextPing: time.Now().Add(c.set.keepalive)}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.timer = time.AfterFunc(c.set.keepalive, k.tick)
	return k
}

// stop ends it; that of a nil keeper does nothing.
func (k *keeper) stop() {
	if k != nil {
		k.timer.Stop()
	}
}

// tick does what is due.
func (k *keeper) tick() {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	if !k.pongBy.IsZero() && !k.answered(now) {
		k.c.unresponsiveNow()
		return
	}
	if !now.Before(k.nextPing) {
		k.nextPing = now.Add(k.c.set.keepalive)
		if k.pongBy.IsZero() && k.c.set.pongTimeout > 0 {
			k.pongBy = now.Add(k.c.set.pongTimeout)
			k.c.pong.Store(false)
			k.progress = k.c.progress.Load()
		}
		k.c.queueControl(OpPing, nil)
	}
	next := k.nextPing
	if !k.pongBy.IsZero() && k.pongBy.Before(next) {
		next = k.pongBy
	}
	if k.c.Err() == nil {
		k.timer.Reset(next.Sub(now))
	}
}

// answered says whether the pong came, or may still come: not while this side does not read, and not while the peer is busy sending one long frame, behind which the pong waits.
func (k *keeper) answered(now time.Time) bool {
	progress, turns := k.c.progress.Load(), k.c.turns.Load()
	switch {
	case k.c.pong.Load():
		k.pongBy, k.looks = time.Time{}, 0
	case now.Before(k.pongBy):
	case turns%2 == 0 || progress != k.progress:
		k.progress, k.pongBy, k.looks = progress, now.Add(k.c.set.pongTimeout), 0
	case k.looks > 0 && turns == k.turns, time.Duration(k.looks)*lookAgain > k.c.set.pongTimeout:
		return false
	default: // the reader may just have come back, and find the pong
		k.turns, k.pongBy = turns, now.Add(lookAgain)
		k.looks++
	}
	return true
}

// unresponsiveNow ends the connection; the reader tells.
func (c *Conn) unresponsiveNow() {
	e := &CloseError{Code: CloseAbnormal, Side: Remote, Err: fmt.Errorf("no pong came within %v: %w", c.set.pongTimeout, os.ErrDeadlineExceeded)}
	c.mu.Lock()
	if c.err == nil {
		c.partLocked().unresponsive = e
	}
	c.mu.Unlock()
	c.startClose(&CloseError{Code: ClosePolicy, Reason: "no pong", Side: Local, Err: e.Err})
	c.finish(e, false)
}
