package client

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"time"

	"hawser/lifecycle"
	"hawser/session"
)

// StateChange is one change of a client's state.
type StateChange struct {
	// Seq counts the changes of a client from 0.
	Seq uint64
	// From and To are the states before and after; To's light is To.Light().
	From, To session.State
	// Time is when it happened.
	Time time.Time
	// Server is the address concerned; empty when Disconnected.
	Server string
	// Transport is what carries the session: "websocket".
	Transport string
	// Attempt counts the attempts since the last login, from 1.
	Attempt int
	// Delay is the wait before the next attempt, after Failed, Lost and Unreachable.
	Delay time.Duration
	// Reason says why, where there is something to say.
	Reason lifecycle.Reason
	// Missed is how many changes an observer lost because it was slower than Options.History allows; all else is empty then.
	Missed uint64
}

// history keeps the recent changes, for any number of observers.
type history struct {
	limit int

	mu      sync.Mutex
	kept    []StateChange
	next    uint64        // the Seq of the next change
	state   session.State // the present one
	changed chan struct{} // closed at the next change
}

func newHistory(limit int) *history {
	return &history{limit: limit, changed: make(chan struct{})}
}

func (h *history) add(sc StateChange) {
	h.mu.Lock()
	defer h.mu.Unlock()
	sc.Seq = h.next
	h.next++
	h.state = sc.To
	if len(h.kept) == h.limit {
		h.kept = append(h.kept[:0], h.kept[1:]...)
	}
	h.kept = append(h.kept, sc)
	close(h.changed)
	h.changed = make(chan struct{})
}

// read returns the change with the sequence number seq or, when it has left, how many up to the oldest kept; wait is closed when there is more.
func (h *history) read(seq uint64) (sc StateChange, ok bool, wait <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	oldest := h.next - uint64(len(h.kept))
	switch {
	case seq >= h.next:
		return sc, false, h.changed
	case seq < oldest:
		return StateChange{Seq: oldest - 1, Missed: oldest - seq}, true, nil
	}
	return h.kept[seq-oldest], true, nil
}

// now returns the present state, the sequence number of the next change and what is closed then.
func (h *history) now() (session.State, uint64, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state, h.next, h.changed
}

// offline is why the client is Disconnected: what the server has refused it for, or that it never tried or was closed.
func (h *history) offline() lifecycle.Reason {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.kept); n > 0 {
		if last := h.kept[n-1]; last.To == session.Disconnected && !last.Reason.IsZero() && !last.Reason.Is(lifecycle.ReasonDone) {
			return last.Reason
		}
	}
	return lifecycle.ReasonLost.With("not connected")
}

// State returns the present state.
func (c *Client) State() session.State {
	state, _, _ := c.states.now()
	return state
}

// States yields the changes of state from the first on (as far as they are kept: Options.History), in order, and waits for more until ctx ends. An
// observer that is slower than that gets one change with Missed. Any number of observers may run at once.
func (c *Client) States(ctx context.Context) iter.Seq[StateChange] {
	return func(yield func(StateChange) bool) {
		for seq := uint64(0); ; {
			sc, ok, wait := c.states.read(seq)
			if ok {
				late := seq == 0 && sc.Missed > 0 // what happened before it looked is not lost to it
				if seq = sc.Seq + 1; !late && !yield(sc) {
					return
				}
				continue
			}
			select {
			case <-wait:
			case <-ctx.Done():
				return
			}
		}
	}
}

// Await returns nil as soon as the client is in the state. It fails when ctx ends, or when the client is or becomes Disconnected, with the reason.
func (c *Client) Await(ctx context.Context, want session.State) error {
	state, seq, _ := c.states.now()
	err := error(c.states.offline())
	if state == want {
		return nil
	}
	if state != session.Disconnected {
		err = c.await(ctx, want, seq)
	}
	if err != nil {
		return fmt.Errorf("client: await %s: %w", want, err)
	}
	return nil
}

// await looks at the changes from seq on.
func (c *Client) await(ctx context.Context, want session.State, seq uint64) error {
	for {
		sc, ok, wait := c.states.read(seq)
		switch {
		case ok && sc.Missed == 0 && sc.To == want:
			return nil
		case ok && sc.Missed == 0 && sc.To == session.Disconnected:
			return sc.Reason
		case ok:
			seq = sc.Seq + 1
			continue
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
