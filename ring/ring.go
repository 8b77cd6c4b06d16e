// Package ring is the bounded log that everything live in Hawser is made of, and the cursors that follow it.
//
// A [Ring] holds immutable items under growing sequence numbers. One writer appends; any number of [Cursor]s read, each at its own position, without a queue of
// its own. The oldest items leave when a bound of [Limits] is passed; a cursor that stood on them is told how many it missed. A ring does no I/O, reads no clock and
// knows nothing of what it carries.
//
//	r := ring.New[string](1, 0, ring.Limits{Count: 100})
//	c := r.Cursor(0)
//	r.Append("hello", 5, time.Now())
//	items := make([]ring.Item[string], 16)
//	n, missed, err := c.Read(items) // 1, 0, nil
package ring

import (
	"io"
	"sync"
	"time"
)

// DefaultCount is the greatest number of items of a ring whose Limits name none.
const DefaultCount = 4096

// minCapacity is the number of slots a ring starts with; it grows by doubling up to its count limit.
const minCapacity = 4

// Limits bounds a ring. The newest item always stays, whatever its size.
type Limits struct {
	// Count is the greatest number of items; 0 means DefaultCount.
	Count int
	// Bytes bounds the sum of the items' sizes; 0 means no bound.
	Bytes int64
	// Age bounds how much older than the newest item the oldest may be; 0 means no bound.
	Age time.Duration
}

// Item is one entry of a ring. It never changes once it is appended.
type Item[T any] struct {
	// Seq is the item's sequence number, its offset.
	Seq uint64
	// Time is when it was appended, as the writer said.
	Time time.Time
	// Size is what it counts against Limits.Bytes.
	Size int
	// Value is what it carries.
	Value T
}

// Stats says how much a ring holds.
type Stats struct {
	Items   int    // held now
	Bytes   int64  // the sum of their sizes
	Cursors int    // open cursors
	Evicted uint64 // items that left since the start
}

// Waker is told once that an armed cursor has something to read. Wake is called from the writer's goroutine, never under a lock of the ring; it must not block.
// It may be called once more after the cursor was moved or closed.
type Waker interface{ Wake() }

// waiting is an armed cursor, and whom it wakes.
type waiting[T any] struct {
	cursor *Cursor[T]
	waker  Waker
}

// Ring is a bounded log of immutable items, made by New. All methods may run at once.
type Ring[T any] struct {
	epoch uint64

	mu      sync.Mutex
	limits  Limits
	items   []Item[T] // a circle; its length is a power of two
	tail    uint64    // oldest held
	head    uint64    // next to be written
	shown   uint64    // armed cursors are woken for what is before it: the head, unless appends are held
	held    bool      // see Hold
	bytes   int64
	evicted uint64
	cursors int
	waiting []waiting[T]
	spare   []waiting[T] // the list's other half, so that waking allocates nothing
	closed  bool
	cause   error
}

// New makes an empty ring whose first item will have the sequence number first. The epoch names this life of the ring: a reader that
// comes back with another epoch knows that its position is of an earlier life.
func New[T any](epoch, first uint64, l Limits) *Ring[T] {
	if l.Count <= 0 {
		l.Count = DefaultCount
	}
	return &Ring[T]{epoch: epoch, limits: l, tail: first, head: first, shown: first, items: make([]Item[T], minCapacity)}
}

// Epoch returns the name of this life of the ring.
func (r *Ring[T]) Epoch() uint64 { return r.epoch }

// Bounds returns the sequence number of the oldest item held and of the next to be written; they are equal when the ring is empty.
func (r *Ring[T]) Bounds() (tail, head uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tail, r.head
}

// At returns the item with the given sequence number if it is still held.
func (r *Ring[T]) At(seq uint64) (Item[T], bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if seq < r.tail || seq >= r.head {
		return Item[T]{}, false
	}
	return r.items[seq&r.mask()], true
}

// Stats returns how much the ring holds.
func (r *Ring[T]) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Stats{Items: int(r.head - r.tail), Bytes: r.bytes, Cursors: r.cursors, Evicted: r.evicted}
}

// Append adds an item and returns its sequence number. Items appended by several goroutines are in one order; a closed ring takes nothing more.
func (r *Ring[T]) Append(v T, size int, now time.Time) uint64 {
	r.mu.Lock()
	seq := r.head
	if r.closed {
		r.mu.Unlock()
		return seq
	}
	r.appendLocked(Item[T]{Seq: seq, Time: now, Size: size, Value: v})
	list := r.showLocked()
	r.mu.Unlock()
	r.wake(list)
	return seq
}

// appendAt is Append under a given sequence number; what lies between the head and it was never made, so all that is held leaves.
func (r *Ring[T]) appendAt(item Item[T]) {
	r.mu.Lock()
	if r.closed || item.Seq < r.head {
		r.mu.Unlock()
		return
	}
	if item.Seq > r.head {
		for r.tail < r.head {
			r.evictLocked()
		}
		r.tail, r.head = item.Seq, item.Seq
	}
	r.appendLocked(item)
	list := r.showLocked()
	r.mu.Unlock()
	r.wake(list)
}

// Hold says whether items that are appended from now on wake nobody, so that readers are woken once for several. They can be read all the same. After Hold(false) the next item wakes
// for all of them, or Show does.
func (r *Ring[T]) Hold(held bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = held
}

// Show ends a Hold and wakes those who wait for what was appended meanwhile.
func (r *Ring[T]) Show() {
	r.mu.Lock()
	r.held = false
	list := r.showLocked()
	r.mu.Unlock()
	r.wake(list)
}

// showLocked disarms the cursors that have something to read now, unless appends are held, and returns them.
func (r *Ring[T]) showLocked() []waiting[T] {
	if r.held || r.shown == r.head {
		return nil
	}
	r.shown = r.head
	return r.takeWaitingLocked()
}

func (r *Ring[T]) appendLocked(item Item[T]) {
	if int(r.head-r.tail) == r.limits.Count {
		r.evictLocked()
	}
	if int(r.head-r.tail) == len(r.items) {
		r.growLocked()
	}
	r.items[r.head&r.mask()] = item
	r.head++
	r.bytes += int64(item.Size)
	for r.head-r.tail > 1 && r.overLocked(item.Time) {
		r.evictLocked()
	}
}

func (r *Ring[T]) overLocked(now time.Time) bool {
	if r.limits.Bytes > 0 && r.bytes > r.limits.Bytes {
		return true
	}
	return r.limits.Age > 0 && now.Sub(r.items[r.tail&r.mask()].Time) > r.limits.Age
}

func (r *Ring[T]) evictLocked() {
	slot := &r.items[r.tail&r.mask()]
	r.bytes -= int64(slot.Size)
	*slot = Item[T]{}
	r.tail++
	r.evicted++
}

func (r *Ring[T]) growLocked() {
	old, oldMask := r.items, r.mask()
	r.items = make([]Item[T], 2*len(old))
	for seq := r.tail; seq < r.head; seq++ {
		r.items[seq&r.mask()] = old[seq&oldMask]
	}
}

func (r *Ring[T]) mask() uint64 { return uint64(len(r.items) - 1) }

// Close ends the ring: cursors read what is held and then get the cause; nil means io.EOF. The first cause stays.
func (r *Ring[T]) Close(cause error) {
	if cause == nil {
		cause = io.EOF
	}
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return
	}
	r.closed, r.cause, r.shown = true, cause, r.head
	list := r.takeWaitingLocked()
	r.mu.Unlock()
	r.wake(list)
}

// takeWaitingLocked disarms the cursors that have something to read now and returns them. Those that wait for a later item stay.
func (r *Ring[T]) takeWaitingLocked() []waiting[T] {
	list := r.waiting
	if len(list) == 0 {
		return nil
	}
	r.waiting, r.spare = r.spare, nil
	ready := list[:0]
	for _, w := range list {
		slot := notArmed
		if w.cursor.seq < r.shown || r.closed {
			ready = append(ready, w)
		} else {
			slot = len(r.waiting)
			r.waiting = append(r.waiting, w)
		}
		w.cursor.slot = slot
	}
	clear(list[len(ready):])
	return ready
}

// wake calls the wakers and gives the list back.
func (r *Ring[T]) wake(list []waiting[T]) {
	if cap(list) == 0 {
		return
	}
	for i := range list {
		list[i].waker.Wake()
	}
	clear(list)
	r.mu.Lock()
	if cap(list) > cap(r.spare) {
		r.spare = list[:0]
	}
	r.mu.Unlock()
}
