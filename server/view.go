package server

import (
	"slices"
	"sync"
	"time"

	"hawser/lifecycle"
	"hawser/ring"
	"hawser/session"
	"hawser/subject"
)

// pacer keeps a feed to a rate. set and stop may run at once with the rest, which whoever fills calls. The zero value knows no bound.
type pacer struct {
	mu    sync.Mutex
	has   bool
	rate  float64 // a second; 0 means never
	next  time.Time
	timer *time.Timer // runs while the feed rests
	rests bool
}

func (p *pacer) set(rate float64, has bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.has, p.rate, p.rests = has, rate, false
	p.next = time.Time{}
}

func (p *pacer) bounded() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.has
}

// turn says whether the feed may send now; otherwise it rests, until wake is called when its time has come, or for good.
func (p *pacer) turn(now time.Time, wake func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rests = p.has && (p.rate <= 0 || now.Before(p.next))
	switch {
	case !p.rests:
		return true
	case p.rate <= 0:
	case p.timer == nil:
		p.timer = time.AfterFunc(p.next.Sub(now), wake)
	default:
		p.timer.Reset(p.next.Sub(now))
	}
	return false
}

// sent notes that the feed has sent something.
func (p *pacer) sent(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.has && p.rate > 0 {
		p.next = now.Add(time.Duration(float64(time.Second) / p.rate))
	}
}

// resting says that the feed needs no wake from its ring.
func (p *pacer) resting() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rests
}

func (p *pacer) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.has, p.rate = true, 0
	if p.timer != nil {
		p.timer.Stop()
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
