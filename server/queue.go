package server

import (
	"sync"

	"hawser/netio"
)

// queueLimit bounds what a frameQueue holds, in bytes.
const queueLimit = netio.DefaultQueueLimit

// waker is woken by what it waits for.
type waker chan struct{}

// Wake implements ring.Waker.
func (w waker) Wake() {
	select {
	case w <- struct{}{}:
	default:
	}
}

// frameQueue is what waits to be sent on a connection that is no stream of bytes, and the close behind it.
type frameQueue struct {
	wake waker // holds a token when there may be something to send

	mu     sync.Mutex
	frames [][]byte
	size   int
	code   int // of the close, once closed is set
	reason string
	closed bool
}

func newFrameQueue() frameQueue { return frameQueue{wake: make(waker, 1)} }

// Queue implements carrier.
func (q *frameQueue) Queue(frames ...[]byte) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	size := 0
	for _, f := range frames {
		size += len(f)
	}
	switch {
	case q.closed:
		return nil
	case q.size > 0 && q.size+size > queueLimit:
		return netio.ErrSlow
	}
	q.frames = append(q.frames, frames...)
	q.size += size
	q.Wake()
	return nil
}

// Wake implements carrier.
func (q *frameQueue) Wake() { q.wake.Wake() }

// shut takes nothing more; what is queued still goes out, then the close. False means that it was shut before.
func (q *frameQueue) shut(code int, reason string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.closed, q.code, q.reason = true, code, reason
	q.Wake()
	return true
}

// takeAll takes all that is queued; closed says that the close follows it, or has gone out.
func (q *frameQueue) takeAll() (frames [][]byte, closed bool, code int, reason string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	frames, q.frames, q.size = q.frames, nil, 0
	return frames, q.closed, q.code, q.reason
}
