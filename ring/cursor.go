package ring

import (
	"context"
	"net"
)

const notArmed = -1

// Cursor is a position in a ring, made by its Cursor or Place. All methods may run at once with each other and with the ring's writer, but a position makes sense to one reader at a time.
type Cursor[T any] struct {
	ring *Ring[T]

	// guarded by ring.mu
	seq    uint64
	slot   int // place in ring.waiting, or notArmed
	closed bool
	notify notifier // nil until the first Wait
}

// notifier wakes a goroutine that waits in Cursor.Wait.
type notifier chan struct{}

// Wake lets one Wait go on.
func (n notifier) Wake() {
	select {
	case n <- struct{}{}:
	default:
	}
}

// Cursor opens a cursor whose next item is the one with the sequence number at: an older one than the ring holds is told as missed at the first Read, and one past
// the head waits for it.
func (r *Ring[T]) Cursor(at uint64) *Cursor[T] {
	c := new(Cursor[T])
	r.Place(c, at)
	return c
}

// Place opens a cursor as Cursor does, in a zero value that lies where the caller wants it: beside what else is needed at each read.
func (r *Ring[T]) Place(c *Cursor[T], at uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cursors++
	c.ring, c.seq, c.slot = r, at, notArmed
}

// Ring returns the ring that the cursor follows.
func (c *Cursor[T]) Ring() *Ring[T] { return c.ring }

// Seq returns the sequence number of the next item to be read.
func (c *Cursor[T]) Seq() uint64 {
	c.ring.mu.Lock()
	defer c.ring.mu.Unlock()
	return c.seq
}

// Seek moves the cursor: the next item read is the one with the sequence number seq. An armed cursor is no longer armed.
func (c *Cursor[T]) Seek(seq uint64) {
	c.ring.mu.Lock()
	defer c.ring.mu.Unlock()
	c.disarmLocked()
	c.seq = seq
}

// Lag returns how many items stand between the cursor and the head, those that it missed included.
func (c *Cursor[T]) Lag() uint64 {
	r := c.ring
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.seq >= r.head {
		return 0
	}
	return r.head - c.seq
}

// Read copies the next items into dst and moves past them. It never waits: n is 0 and err nil at the head. missed counts items that left the ring before
// they were read; the cursor then goes on at the oldest one held. Once the ring is closed and everything is read, err is the ring's cause.
func (c *Cursor[T]) Read(dst []Item[T]) (n int, missed uint64, err error) {
	r := c.ring
	r.mu.Lock()
	defer r.mu.Unlock()
	return c.readLocked(dst)
}

// ReadOrArm is Read that is followed by Arm if everything is read: with armed, w is woken by what comes next.
func (c *Cursor[T]) ReadOrArm(dst []Item[T], w Waker) (n int, missed uint64, armed bool, err error) {
	r := c.ring
	r.mu.Lock()
	defer r.mu.Unlock()
	n, missed, err = c.readLocked(dst)
	if err == nil && n < len(dst) {
		armed = c.armLocked(w)
	}
	return n, missed, armed, err
}

func (c *Cursor[T]) readLocked(dst []Item[T]) (n int, missed uint64, err error) {
	r := c.ring
	if c.seq < r.tail {
		missed = r.tail - c.seq
		c.seq = r.tail
	}
	mask := r.mask()
	for n < len(dst) && c.seq < r.head {
		dst[n] = r.items[c.seq&mask]
		c.seq++
		n++
	}
	if n == 0 && missed == 0 && r.closed && len(dst) > 0 {
		err = r.cause
	}
	return n, missed, err
}

// Arm asks for one call of w.Wake as soon as there is something to read, be it an item or the end of the ring. It returns false, and asks for nothing, when there is
// something now; what is held back (Ring.Hold) does not count. An armed cursor that is armed again wakes the newer w. For a closed cursor it returns true and wakes nobody, so that a reader that is overtaken by Close rests.
func (c *Cursor[T]) Arm(w Waker) bool {
	c.ring.mu.Lock()
	defer c.ring.mu.Unlock()
	return c.armLocked(w)
}

func (c *Cursor[T]) armLocked(w Waker) bool {
	r := c.ring
	if c.closed {
		return true
	}
	if c.seq < r.shown || r.closed {
		return false
	}
	if c.slot != notArmed {
		r.waiting[c.slot].waker = w
		return true
	}
	c.slot = len(r.waiting)
	r.waiting = append(r.waiting, waiting[T]{cursor: c, waker: w})
	return true
}

// disarmLocked takes the cursor out of the waiting list.
func (c *Cursor[T]) disarmLocked() {
	if c.slot == notArmed {
		return
	}
	r := c.ring
	last := len(r.waiting) - 1
	moved := r.waiting[last]
	r.waiting[c.slot] = moved
	moved.cursor.slot = c.slot
	r.waiting[last] = waiting[T]{}
	r.waiting = r.waiting[:last]
	c.slot = notArmed
}

// Wait returns when there is something to read (nil), when ctx ends (its error), or when the cursor is closed (net.ErrClosed).
func (c *Cursor[T]) Wait(ctx context.Context) error {
	r := c.ring
	for {
		r.mu.Lock()
		if c.notify == nil {
			c.notify = make(notifier, 1)
		}
		closed, armed := c.closed, c.armLocked(c.notify)
		r.mu.Unlock()
		switch {
		case closed:
			return net.ErrClosed
		case !armed:
			return nil
		}
		select {
		case <-c.notify:
		case <-ctx.Done():
			r.mu.Lock()
			c.disarmLocked()
			r.mu.Unlock()
			return ctx.Err()
		}
	}
}

// Close gives the cursor up; a Wait in progress returns. It may be called more than once.
func (c *Cursor[T]) Close() {
	r := c.ring
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	c.disarmLocked()
	r.cursors--
	if c.notify != nil {
		c.notify.Wake()
	}
}
