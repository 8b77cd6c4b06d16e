package websocket

import (
	"context"
	"errors"
	"sync"
	"time"

	"hawser/netio"
)

const (
	// gatherLimit is how many bytes are gathered before they are written.
	gatherLimit = 64 << 10
	// gatherFrame is the longest frame that is copied to be gathered.
	gatherFrame = 16 << 10
)

// gatherBuffers are the borrowed buffers in which frames are gathered.
var gatherBuffers = sync.Pool{New: func() any { return &gatherBuffer{b: make([]byte, 0, gatherLimit)} }}

type gatherBuffer struct{ b []byte }

func (b *gatherBuffer) free() {
	b.b = b.b[:0]
	gatherBuffers.Put(b)
}

// gather joins what is sent while messages that came together are handled, so that it goes out in one write. It stands in front of the writer and keeps the order of
// what passes it.
type gather struct {
	c *Conn

	mu    sync.Mutex
	on    bool
	out   *gatherBuffer // nil: nothing is gathered
	timer *time.Timer
}

// start begins to gather.
func (g *gather) start() {
	if g.c.set.gather < 0 {
		return
	}
	g.mu.Lock()
	g.on = true
	g.mu.Unlock()
}

// stop lets what is sent from now on pass, behind what is gathered.
func (g *gather) stop() {
	g.mu.Lock()
	g.on = false
	g.mu.Unlock()
}

// limit is how much may be gathered: not more than the queue takes.
func (g *gather) limit() int { return min(gatherLimit, g.c.set.queueLimit) }

// send writes a frame, or gathers it. The bytes are the caller's again when it returns.
func (g *gather) send(ctx context.Context, head, payload []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	size := len(head) + len(payload)
	for {
		g.mu.Lock()
		if g.takesLocked(size) {
			g.addLocked(head, payload)
			if g.on {
				g.mu.Unlock()
				return nil
			}
			return g.flushLocked(ctx)
		}
		if g.out == nil {
			g.mu.Unlock()
			if payload == nil {
				return g.c.w.Write(ctx, head)
			}
			return g.c.w.Write(ctx, head, payload)
		}
		if err := g.flushLocked(ctx); err != nil {
			return err
		}
	}
}

// queue is send of immutable frames, without waiting.
func (g *gather) queue(frames ...[]byte) error {
	size := 0
	for _, f := range frames {
		size += len(f)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.on && g.takesLocked(size) {
		g.addLocked(frames...)
		return nil
	}
	if err := g.pushLocked(); err != nil {
		return err
	}
	return g.c.w.Queue(frames...)
}

// takesLocked says whether a frame may join what is gathered.
func (g *gather) takesLocked(size int) bool {
	have := 0
	if g.out != nil {
		have = len(g.out.b)
	}
	return (g.on || have > 0) && size <= gatherFrame && have+size <= g.limit()
}

func (g *gather) addLocked(frames ...[]byte) {
	if g.out == nil {
		g.out = gatherBuffers.Get().(*gatherBuffer)
		if g.timer == nil {
			g.timer = time.AfterFunc(g.c.set.gather, g.expire)
		} else {
			g.timer.Reset(g.c.set.gather)
		}
	}
	for _, f := range frames {
		g.out.b = append(g.out.b, f...)
	}
}

// pushLocked hands what is gathered to the writer, whose the buffer is until it is idle.
func (g *gather) pushLocked() error {
	if g.out == nil {
		return nil
	}
	if err := g.c.w.Queue(g.out.b); err != nil {
		return err
	}
	g.timer.Stop()
	if g.c.w.Idle() {
		g.out.free()
	}
	g.out = nil
	return nil
}

// push writes what is gathered without waiting. Nothing is gathered any more.
func (g *gather) push() {
	g.stop()
	g.expire()
}

// expire writes what has been gathered for long enough, because the handling of a batch takes its time. What the queue does not take is tried again.
func (g *gather) expire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if errors.Is(g.pushLocked(), netio.ErrSlow) {
		g.timer.Reset(g.c.set.gather)
	}
}

// flush is push, but returns when the system has taken it all.
func (g *gather) flush(ctx context.Context) error {
	g.mu.Lock()
	g.on = false
	return g.flushLocked(ctx)
}

// flushLocked unlocks. While the writer's queue is full it waits for it and tries again.
func (g *gather) flushLocked(ctx context.Context) error {
	for {
		err := g.pushLocked()
		g.mu.Unlock()
		if err != nil && !errors.Is(err, netio.ErrSlow) {
			return err
		}
		if err2 := g.c.w.Flush(ctx); err2 != nil || err == nil {
			return err2
		}
		g.mu.Lock()
	}
}
