package server

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"hawser/lifecycle"
	"hawser/ring"
	"hawser/session"
	"hawser/subject"
)

// pacer keeps a feed to a rate. set and stop may run at once with the rest, which whoever fills calls. The zero value knows no bound, and costs a feed that has none no more than a pointer.
type pacer struct{ bound atomic.Pointer[pace] }

// pace is a rate and where a feed stands in it.
type pace struct {
	mu    sync.Mutex
	has   bool
	rate  float64 // a second; 0 means never
	next  time.Time
	timer *time.Timer // runs while the feed rests
	rests bool
}

func (p *pacer) set(rate float64, has bool) {
	b := p.bound.Load()
	if b == nil {
		if !has {
			return
		}
		p.bound.CompareAndSwap(nil, new(pace))
		b = p.bound.Load()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.has, b.rate, b.rests = has, rate, false
	b.next = time.Time{}
}

func (p *pacer) bounded() bool {
	b := p.bound.Load()
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.has
}

// turn says whether the feed may send now; otherwise it rests, until wake is called when its time has come, or for good.
func (p *pacer) turn(now time.Time, wake func()) bool {
	b := p.bound.Load()
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rests = b.has && (b.rate <= 0 || now.Before(b.next))
	switch {
	case !b.rests:
		return true
	case b.rate <= 0:
	case b.timer == nil:
		b.timer = time.AfterFunc(b.next.Sub(now), wake)
	default:
		b.timer.Reset(b.next.Sub(now))
	}
	return false
}

// sent notes that the feed has sent something.
func (p *pacer) sent(now time.Time) {
	b := p.bound.Load()
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.has && b.rate > 0 {
		b.next = now.Add(time.Duration(float64(time.Second) / b.rate))
	}
}

// resting says that the feed needs no wake from its ring.
func (p *pacer) resting() bool {
	b := p.bound.Load()
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rests
}

func (p *pacer) stop() {
	b := p.bound.Load()
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.has, b.rate = true, 0
	if b.timer != nil {
		b.timer.Stop()
	}
}

// own says that the feed cannot send what all share.
func (f *dataFeed) own() bool { return f.names != nil || f.pacer.bounded() }

// wanted is those of the fields that the client wants.
func (f *dataFeed) wanted(fields []subject.Field) []subject.Field {
	if f.names == nil {
		return fields
	}
	var some []subject.Field
	for _, field := range fields {
		if slices.Contains(f.names, field.Name) {
			some = append(some, field)
		}
	}
	return some
}

// fillOwn sends what has changed since the last time, in one message.
func (f *dataFeed) fillOwn(dst [][]byte, size int) ([][]byte, int) {
	now := time.Now()
	if !f.pacer.turn(now, f.Wake) {
		return dst, size
	}
	if f.subject.Kind() == subject.Log {
		return f.conn.refused(dst, &f.feedState, lifecycle.ReasonBadRequest.With("a log cannot be folded: it takes no rate but 0, and no fields")), size
	}
	from := f.cursor.Seq()
	var one [1]ring.Item[[]byte]
	n, missed, err := f.cursor.Read(one[:])
	switch {
	case err != nil:
		return f.conn.removed(dst, &f.feedState, err), size
	case n == 0 && missed == 0:
		return dst, size
	}
	b := f.conflated(from)
	if b == nil {
		return dst, size
	}
	f.pacer.sent(now)
	return append(dst, b), size + len(b)
}

// refused tells the client that a subscription cannot be as it was asked for. Fill calls it.
func (c *sessionConn) refused(dst [][]byte, f *feedState, why lifecycle.Reason) [][]byte {
	if f.closed.Swap(true) {
		return dst
	}
	c.hasEnded(f.path)
	return append(dst, textFrame(&session.Message{Type: session.TypeStatus, Path: f.path, Status: session.StatusRefused, Reason: why}))
}
