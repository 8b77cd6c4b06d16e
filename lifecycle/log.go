package lifecycle

import (
	"cmp"
	"context"
	"iter"
	"maps"
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

// Log is the event log: a bounded ring of events and the connections that are there now; NewLog makes one. All methods may run at once; those of a nil Log do nothing, so a
// package that is used alone needs none.
type Log struct {
	events *ring.Ring[Event]
	serial atomic.Uint64

	mu    sync.Mutex
	conns map[*Conn]struct{}

	countMu sync.Mutex
	counts  map[Count]uint64
}

// Count is what events are counted by: they have come so often, those too that the log does not hold any more.
type Count struct {
	Protocol, Kind string
	Reason         string // its word; empty without one
}

// Counts returns how many events of each sort there were so far.
func (l *Log) Counts() map[Count]uint64 {
	if l == nil {
		return nil
	}
	l.countMu.Lock()
	defer l.countMu.Unlock()
	return maps.Clone(l.counts)
}

// NewLog makes a log that keeps events within the limits (ring.Limits; its zero value keeps ring.DefaultCount events).
func NewLog(l ring.Limits) *Log {
	return &Log{events: ring.New[Event](0, 0, l), conns: make(map[*Conn]struct{}), counts: make(map[Count]uint64)}
}

// Add appends an event and returns its place. It sets Seq, and Time when that is zero.
func (l *Log) Add(e Event) uint64 {
	if l == nil {
		return 0
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	l.countMu.Lock()
	l.counts[Count{e.Protocol, e.Kind, e.Reason.Word}]++
	l.countMu.Unlock()
	return l.events.Append(e, 1, e.Time)
}

// Bounds returns the place of the oldest event kept and of the next one.
func (l *Log) Bounds() (tail, head uint64) {
	if l == nil {
		return 0, 0
	}
	return l.events.Bounds()
}

// Events yields the events from the place from on (0: all that are kept; LogLive, or any place past the newest: those after the call), in order, and waits for more until ctx ends; what was there
// by then is still yielded. An observer that is slower than the log is told with one KindMissed event how many it lost.
func (l *Log) Events(ctx context.Context, from uint64) iter.Seq[Event] {
	if l == nil {
		return func(func(Event) bool) {}
	}
	tail, head := l.events.Bounds()
	if from == 0 {
		from = tail
	}
	from = min(from, head)
	return func(yield func(Event) bool) {
		cursor := l.events.Cursor(from)
		defer cursor.Close()
		follow(ctx, cursor, yield)
	}
}

// follow yields what the cursor reads, until yield has enough or ctx has ended.
func follow(ctx context.Context, cursor *ring.Cursor[Event], yield func(Event) bool) {
	batch := make([]ring.Item[Event], eventBatch)
	end := uint64(math.MaxUint64)
	for {
		if end == math.MaxUint64 && ctx.Err() != nil {
			_, end = cursor.Ring().Bounds()
		}
		n, missed, err := cursor.Read(batch)
		next := cursor.Seq()
		if missed > 0 && !yield(Event{Seq: next - uint64(n) - 1, Kind: KindMissed, Missed: missed, Time: time.Now()}) {
			return
		}
		for _, item := range batch[:n] {
			item.Value.Seq = item.Seq
			if !yield(item.Value) {
				return
			}
		}
		clear(batch[:n])
		if err != nil || next >= end || n == 0 && cursor.Wait(ctx) != nil && ctx.Err() == nil {
			return
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
	batch := make([]ring.Item[Event], head-from)
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
	serial := l.serial.Add(1)
	id := protocol + "-" + strconv.FormatUint(serial, 10)
	c := &Conn{log: l, serial: serial, id: id, protocol: protocol, side: side, remote: remote, since: time.Now()}
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
	conns := slices.Collect(maps.Keys(l.conns))
	l.mu.Unlock()
	slices.SortFunc(conns, func(a, b *Conn) int { return cmp.Compare(a.serial, b.serial) })
	list := make([]ConnInfo, 0, len(conns))
	for _, c := range conns {
		if info, ok := c.present(); ok {
			list = append(list, info)
		}
	}
	return list
}
