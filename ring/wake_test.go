package ring

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// follower reads a ring whenever it is woken, in a goroutine of its own, and checks the order.
type follower struct {
	cursor *Cursor[uint64]
	wake   chan struct{} // full: woken
	read   uint64
	missed uint64
	bad    string
}

// Wake must never find an earlier call not yet seen: an armed cursor is woken once.
func (f *follower) Wake() {
	select {
	case f.wake <- struct{}{}:
	default:
		panic("woken twice")
	}
}

func (f *follower) run(batch int) {
	items := make([]Item[uint64], batch)
	next := f.cursor.Seq()
	for {
		n, missed, err := f.cursor.Read(items)
		f.read, f.missed, next = f.read+uint64(n), f.missed+missed, next+missed
		for _, it := range items[:n] {
			if it.Seq != next || it.Value != 3*next {
				f.bad = "out of order"
			}
			next++
		}
		if err != nil {
			return
		}
		if n == 0 && missed == 0 && f.cursor.Arm(f) {
			<-f.wake
		}
	}
}

// Each of many cursors either reads an item, in order, or is told that it missed it; none sleeps while there is something, or the test hangs.
func TestWakeUpsLoseNothing(t *testing.T) {
	const cursors, items = 40, 10000
	for _, count := range []int{8, items} {
		r := New[uint64](1, 0, Limits{Count: count})
		followers := make([]*follower, cursors)
		var all sync.WaitGroup
		for i := range followers {
			f := &follower{cursor: r.Cursor(0), wake: make(chan struct{}, 1)}
			followers[i] = f
			all.Go(func() { f.run(1 + i) })
		}
		for i := range uint64(items) {
			r.Append(3*i, 1, time.Time{})
		}
		r.Close(nil)
		all.Wait()
		for i, f := range followers {
			if f.bad != "" || f.read+f.missed != items || count == items && f.missed > 0 {
				t.Errorf("count %d: cursor %d read %d and missed %d of %d %s", count, i, f.read, f.missed, items, f.bad)
			}
		}
		if n := len(r.waiting); n != 0 {
			t.Errorf("%d cursors are left in the list of waiting ones", n)
		}
	}
}

// Cursors come, move, wait and go while several writers append.
func TestEverythingAtOnce(t *testing.T) {
	const writers, readers, items, lives = 3, 12, 3000, 30
	r := New[int](1, 0, Limits{Count: 64})
	var appending, reading sync.WaitGroup
	for range writers {
		appending.Go(func() {
			for i := range items {
				r.Append(i, 1, time.Time{})
			}
		})
	}
	for i := range readers {
		reading.Go(func() {
			batch := make([]Item[int], 16)
			for range lives {
				_, head := r.Bounds()
				c := r.Cursor(head)
				for range i {
					n, _, err := c.Read(batch)
					if err != nil || n == 0 && c.Wait(t.Context()) != nil {
						break
					}
					if i%3 == 0 {
						c.Seek(c.Seq() + 1)
					}
				}
				c.Arm(waker(func() {}))
				c.Close()
			}
		})
	}
	appending.Wait()
	r.Close(nil)
	reading.Wait()
	if s := r.Stats(); s.Cursors != 0 || len(r.waiting) != 0 {
		t.Errorf("%d cursors and %d waiting are left, want none", s.Cursors, len(r.waiting))
	}
	if _, head := r.Bounds(); head != writers*items {
		t.Errorf("head is %d, want %d", head, writers*items)
	}
}

// waker is a Waker that is a function.
type waker func()

func (w waker) Wake() { w() }

func TestWakeIsCalledWithoutLocks(t *testing.T) {
	r := New[int](1, 0, Limits{})
	c := r.Cursor(0)
	batch := make([]Item[int], 4)
	var got []int
	var wake waker
	wake = func() {
		n, _, _ := c.Read(batch)
		for _, it := range batch[:n] {
			got = append(got, it.Value)
		}
		if !c.Arm(wake) {
			t.Error("Arm found something after everything was read")
		}
	}
	c.Arm(wake)
	for i := range 3 {
		r.Append(i, 1, time.Time{})
	}
	if len(got) != 3 {
		t.Errorf("a waker that reads and arms again was given %v, want 0, 1 and 2", got)
	}
}

func TestArmAgainWakesTheNewer(t *testing.T) {
	r := New[int](1, 0, Limits{})
	c := r.Cursor(0)
	var older, newer int
	c.Arm(waker(func() { older++ }))
	c.Arm(waker(func() { newer++ }))
	r.Append(1, 1, time.Time{})
	r.Append(2, 1, time.Time{})
	if older != 0 || newer != 1 {
		t.Errorf("the older waker was called %d times, the newer %d times; want 0 and 1", older, newer)
	}
}

func TestWait(t *testing.T) {
	wait := func(c *Cursor[int], ctx context.Context) <-chan error {
		done := make(chan error, 1)
		go func() { done <- c.Wait(ctx) }()
		synctest.Wait()
		return done
	}
	for name, c := range map[string]struct {
		do   func(r *Ring[int], c *Cursor[int], cancel func())
		want error
	}{
		"an item":            {func(r *Ring[int], _ *Cursor[int], _ func()) { r.Append(1, 1, time.Time{}) }, nil},
		"the ring's end":     {func(r *Ring[int], _ *Cursor[int], _ func()) { r.Close(nil) }, nil},
		"the context's end":  {func(_ *Ring[int], _ *Cursor[int], cancel func()) { cancel() }, context.Canceled},
		"the cursor's close": {func(_ *Ring[int], c *Cursor[int], _ func()) { c.Close() }, net.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				r := New[int](1, 0, Limits{})
				cursor := r.Cursor(0)
				done := wait(cursor, ctx)
				select {
				case err := <-done:
					t.Fatalf("returned %v before anything happened", err)
				default:
				}
				c.do(r, cursor, cancel)
				if err := <-done; !errors.Is(err, c.want) {
					t.Errorf("got %v, want %v", err, c.want)
				}
				if len(r.waiting) != 0 {
					t.Error("the cursor is still armed")
				}
			})
		})
	}
}

// A reader that arms a closed cursor must rest: told that there is something, it would go round for ever.
func TestClosedCursorRests(t *testing.T) {
	r := New[int](1, 0, Limits{})
	c := r.Cursor(0)
	c.Close()
	c.Close()
	woken := 0
	if !c.Arm(waker(func() { woken++ })) {
		t.Error("Arm of a closed cursor says that there is something")
	}
	r.Append(1, 1, time.Time{})
	r.Close(nil)
	if woken != 0 {
		t.Error("a closed cursor was woken")
	}
}

// handOff is a reader without a goroutine: it reads and arms in Wake.
type handOff struct {
	cursor *Cursor[int]
	batch  [4]Item[int]
	got    uint64
}

func (h *handOff) Wake() {
	for {
		n, _, _ := h.cursor.Read(h.batch[:])
		h.got += uint64(n)
		if n == 0 && h.cursor.Arm(h) {
			return
		}
	}
}

func TestTenThousandCursors(t *testing.T) {
	const cursors, items = 10000, 20
	r := New[int](1, 0, Limits{})
	readers := make([]handOff, cursors)
	for i := range readers {
		readers[i].cursor = r.Cursor(0)
		readers[i].Wake()
	}
	for i := range items {
		r.Append(i, 1, time.Time{})
	}
	for i := range readers {
		if readers[i].got != items {
			t.Fatalf("cursor %d read %d items, want %d", i, readers[i].got, items)
		}
		readers[i].cursor.Close()
	}
	if s := r.Stats(); s.Cursors != 0 || len(r.waiting) != 0 {
		t.Errorf("%d cursors and %d waiting are left, want none", s.Cursors, len(r.waiting))
	}
}

func TestNothingIsAllocated(t *testing.T) {
	r := New[int](1, 0, Limits{Count: 100})
	readers := make([]handOff, 500)
	for i := range readers {
		readers[i].cursor = r.Cursor(0)
		readers[i].Wake()
	}
	future := r.Cursor(1 << 40)
	future.Arm(waker(func() {}))
	for range 300 { // the ring and its lists reach their size
		r.Append(1, 1, time.Time{})
	}
	if n := testing.AllocsPerRun(200, func() { r.Append(1, 1, time.Time{}) }); n != 0 {
		t.Errorf("Append with 500 cursors that read and arm: %v allocations, want 0", n)
	}
	c := r.Cursor(0)
	ctx := t.Context()
	batch := make([]Item[int], 8)
	if n := testing.AllocsPerRun(200, func() {
		r.Append(1, 1, time.Time{})
		c.Seek(0)
		if c.Wait(ctx) != nil {
			t.Error("Wait: the context has ended")
		}
		c.Read(batch)
	}); n > 0 {
		t.Errorf("Seek, Wait and Read: %v allocations, want 0", n)
	}
}

// A waiter that is woken and a context that ends at the same moment leave nothing behind that disturbs the next Wait.
func TestWaitAfterCancel(t *testing.T) {
	r := New[int](1, 0, Limits{})
	c := r.Cursor(0)
	var appended atomic.Uint64
	batch := make([]Item[int], 4)
	for range 2000 {
		ctx, cancel := context.WithCancel(t.Context())
		var both sync.WaitGroup
		both.Go(cancel)
		both.Go(func() { appended.Store(r.Append(1, 1, time.Time{}) + 1) })
		c.Wait(ctx)
		both.Wait()
		if err := c.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		for n := -1; n != 0; n, _, _ = c.Read(batch) {
		}
		if c.Seq() != appended.Load() {
			t.Fatalf("at %d, want %d", c.Seq(), appended.Load())
		}
	}
	r.Close(nil)
	if _, _, err := c.Read(batch); err != io.EOF {
		t.Errorf("end: %v, want io.EOF", err)
	}
}

// A list of wakers that were called, or moved on, keeps none of them alive.
func TestWakersAreLetGo(t *testing.T) {
	r := New[int](1, 0, Limits{})
	for i := range uint64(20) {
		r.Cursor(i % 3 * 10).Arm(waker(func() {}))
	}
	r.Append(1, 1, time.Time{})
	for i, w := range r.spare[:cap(r.spare)] {
		if w.waker != nil || w.cursor != nil {
			t.Errorf("place %d of the unused list holds a waker", i)
		}
	}
	if len(r.waiting) != 13 {
		t.Errorf("%d cursors wait for a later item, want 13", len(r.waiting))
	}
}

// Items that are held wake nobody until they are let go, and then everybody once who has not read them.
func TestHold(t *testing.T) {
	r := New[int](1, 0, Limits{})
	waiting, reader := r.Cursor(0), r.Cursor(0)
	first, second := 0, 0
	wakeFirst, wakeSecond := waker(func() { first++ }), waker(func() { second++ })
	r.Hold(true)
	if !waiting.Arm(wakeFirst) {
		t.Fatal("an empty ring has something")
	}
	r.Append(1, 1, time.Time{})
	r.Append(2, 1, time.Time{})
	if first != 0 {
		t.Error("a held item wakes")
	}
	items := make([]Item[int], 4)
	if n, _, _ := reader.Read(items); n != 2 {
		t.Errorf("%d held items can be read, want 2", n)
	}
	if !reader.Arm(wakeSecond) {
		t.Error("what was read counts as new")
	}
	r.Show()
	if first != 1 || second != 0 {
		t.Errorf("woken %d and %d times, want 1 and 0", first, second)
	}
	r.Append(3, 1, time.Time{})
	if second != 1 {
		t.Error("after that an item does not wake")
	}
	r.Hold(true)
	r.Append(4, 1, time.Time{})
	if reader.Read(items); !reader.Arm(wakeSecond) {
		t.Error("arming says that there is something")
	}
	r.Hold(false)
	if second != 1 {
		t.Error("what was held is shown without Show or an item")
	}
	r.Append(5, 1, time.Time{})
	if second != 2 {
		t.Error("the first item that is not held does not wake")
	}
	r.Hold(true)
	reader.Read(items)
	reader.Arm(wakeSecond)
	r.Close(nil)
	if second != 3 {
		t.Error("the end of a held ring wakes nobody")
	}
}
