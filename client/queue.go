package client

import (
	"context"
	"iter"
	"sync"

	"hawser/lifecycle"
	"hawser/session"
)

// eventCost is what an event counts besides its payload, in bytes.
const eventCost = 128

// queue holds what waits for the application. push and end are called by the client, pop by one reader at a time.
type queue struct {
	count, bytes int
	// shrink makes the waiting events fewer when there are too many.
	shrink func(events []session.Event) []session.Event

	mu     sync.Mutex
	events []session.Event
	head   int // events before it are gone
	size   int
	ended  bool
	reason lifecycle.Reason
	ready  chan struct{} // holds one token when something changed
}

func newQueue(o *Options, shrink func([]session.Event) []session.Event) *queue {
	return &queue{count: o.QueueCount, bytes: o.QueueBytes, shrink: shrink, ready: make(chan struct{}, 1)}
}

func cost(ev *session.Event) int {
	return eventCost + len(ev.Data) + len(ev.Fields) + len(ev.Patch) + len(ev.View.Rows)
}

func (q *queue) push(ev session.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended {
		return
	}
	q.events = append(q.events, ev)
	q.size += cost(&ev)
	if len(q.events)-q.head > q.count || q.size > q.bytes {
		q.shrinkLocked()
	}
	q.wake()
}

func (q *queue) shrinkLocked() {
	q.events = q.shrink(q.events[q.head:])
	q.head, q.size = 0, 0
	for i := range q.events {
		q.size += cost(&q.events[i])
	}
}

// end lets readers finish what waits and then end with a reason. Only the first call counts.
func (q *queue) end(r lifecycle.Reason) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.ended {
		q.ended, q.reason = true, r
		q.wake()
	}
}

func (q *queue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// pop takes the oldest event.
func (q *queue) pop() (ev session.Event, ok, ended bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.head == len(q.events) {
		return ev, false, q.ended
	}
	ev = q.events[q.head]
	q.events[q.head] = session.Event{}
	q.size -= cost(&ev)
	if q.head++; q.head == len(q.events) {
		q.events, q.head = q.events[:0], 0
	}
	return ev, true, false
}

// all yields the events until the end or until ctx ends; the next call goes on where this one stopped.
func (q *queue) all(ctx context.Context) iter.Seq[session.Event] {
	return func(yield func(session.Event) bool) {
		for ctx.Err() == nil {
			ev, ok, ended := q.pop()
			switch {
			case ok && !yield(ev):
				return
			case ok:
				continue
			case ended:
				q.wake() // another reader must find the end too
				return
			}
			select {
			case <-q.ready:
			case <-ctx.Done():
				return
			}
		}
	}
}

// err returns why it ended; nil while it goes on or when it was ended as asked.
func (q *queue) err() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.ended || q.reason.Is(lifecycle.ReasonDone) {
		return nil
	}
	return q.reason
}
