package stream

import (
	"sync"
	"time"

	"hawser/media"
	"hawser/ring"
)

// gatherFrom is from how many viewers of a format on anything waits: what a write costs for fewer is nothing, and they have everything at once.
const gatherFrom = 16

// Gather says how long what is ready for viewers may wait for what comes after it, so that one write takes both: the write call is what a viewer costs. It is the most that is added to the
// latency of a frame. Under so much load that a round of writes is not done before the next frame, that frame joins the next round in any case.
type Gather struct {
	// Sound is how long sound and data may wait for the next picture, which goes out at once and takes them with it; a stream without pictures does not wait. 0 is not at all.
	Sound time.Duration
	// All is how long anything waits, sound and pictures, in place of Sound; 0 is not at all.
	All time.Duration
}

// gate holds back the waking of one format's viewers.
type gate struct {
	gather Gather

	mu    sync.Mutex
	ring  *ring.Ring[Packet] // nil until the format's ring is made
	timer *time.Timer        // runs while items are held
	held  bool
}

// open lets the gate work on a ring.
func (g *gate) open(r *ring.Ring[Packet]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ring = r
}

// before is called before an item is appended to the ring: it is held, or wakes all and takes with it what was held.
func (g *gate) before(item *Item) {
	wait := g.wait(item)
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.ring == nil:
	case wait > 0 && g.held: // the timer runs
	case wait > 0 && g.ring.Stats().Cursors >= gatherFrom:
		g.held = true
		g.ring.Hold(true)
		if g.timer == nil {
			g.timer = time.AfterFunc(wait, g.release)
		} else {
			g.timer.Reset(wait)
		}
	case g.held:
		g.held = false
		g.timer.Stop()
		g.ring.Hold(false) // the item wakes for all
	}
}

// wait is how long an item may wait.
func (g *gate) wait(item *Item) time.Duration {
	switch {
	case item.Changed:
		return 0
	case g.gather.All > 0:
		return g.gather.All
	case item.Frame.Kind == media.Video || !item.State.Video():
		return 0
	}
	return g.gather.Sound
}

// release is the end of a wait.
func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held {
		g.held = false
		g.ring.Show()
	}
}
