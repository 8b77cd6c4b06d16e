package lifecycle

import (
	"context"
	"iter"
	"math"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"hawser/ring"
)

// LogLive as the start of Events asks for what comes from now on.
const LogLive = math.MaxUint64

// eventBatch is how many events an observer takes from the log under one lock.
const eventBatch = 32

// Log is the event log: a bounded ring of events and the connections that are there now. All methods may run at once; those of a nil Log do nothing, so a
// package that is used alone needs none.
type Log struct {
	events *ring.Ring[Event]
	serial atomic.Uint64

	mu    sync.Mutex
	conns map[*Conn]struct{}
}

// NewLog makes a log that keeps events within the limits (ring.Limits; its zero value keeps ring.DefaultCount events).
func NewLog(l ring.Limits) *Log {
	return &Log{events: ring.New[Event](0, 0, l), conns: make(map[*Conn]struct{})}
}

// Add appends an event and returns its place. It sets Seq, and Time when that is zero.
func (l *Log) Add(e Event) uint64 {
	if l == nil {
		return 0
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	return l.events.Append(e, 1, e.Time)
}

// Bounds returns the place of the oldest event kept and of the next one.
func (l *Log) Bounds() (tail, head uint64) {
	if l == nil {
		return 0, 0
	}
	return l.events.Bounds()
}

// Events yields the events from the place from on (0: all that are kept; LogLive: only new ones), in order, and waits for more until ctx ends. An
// observer that is slower than the log is told with one KindMissed event how many it lost.
func (l *Log) Events(ctx context.Context, from uint64) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		if l == nil {
			return
		}
		if from == LogLive {
			_, from = l.events.Bounds()
		}
		cursor := l.events.Cursor(from)
		defer cursor.Close()
		first := true
		batch := make([]ring.Item[Event], eventBatch)
		for {
			n, missed, err := cursor.Read(batch)
			if missed > 0 && !(first && from == 0) && !yield(Event{Kind: KindMissed, Missed: missed, Time: time.Now()}) {
				return
			}
			first = false
			for _, item := range batch[:n] {
				e := item.Value
				e.Seq = item.Seq
				if !yield(e) {
					return
				}
			}
			if err != nil || n == 0 && cursor.Wait(ctx) != nil {
				return
			}
		}
	}
}

// Recent returns the newest events kept, at most n, oldest first.
func (l *Log) Recent(n int) []Event {
	if l == nil || n <= 0 {
		return nil
	}
	tail, head := l.events.Bounds()
	from := max(tail, head-min(head, uint64(n)))
	cursor := l.events.Cursor(from)
	defer cursor.Close()
	batch := make([]ring.Item[Event], n)
	n, _, _ = cursor.Read(batch)
	events := make([]Event, n)
	for i, item := range batch[:n] {
		events[i] = item.Value
		events[i].Seq = item.Seq
	}
	return events
}

// Open registers a new connection, gives it an identity and logs KindOpen. On a nil Log it returns nil, whose methods do nothing.
func (l *Log) Open(protocol, side, remote string) *Conn {
	if l == nil {
		return nil
	}
	id := protocol + "-" + strconv.FormatUint(l.serial.Add(1), 10)
	c := &Conn{log: l, id: id, protocol: protocol, side: side, remote: remote, since: time.Now()}
	l.mu.Lock()
	l.conns[c] = struct{}{}
	l.mu.Unlock()
	c.Event(Event{Kind: KindOpen})
	return c
}

// Conns returns the connections that are there now, oldest first.
func (l *Log) Conns() []ConnInfo {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	list := make([]ConnInfo, 0, len(l.conns))
	for c := range l.conns {
		list = append(list, c.Info())
	}
	l.mu.Unlock()
	slices.SortFunc(list, func(a, b ConnInfo) int { return a.Since.Compare(b.Since) })
	return list
}
