package websocket

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
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

	on    atomic.Bool // set by who reads
	mu    sync.Mutex
	out   *gatherBuffer // nil: nothing is gathered
	timer *time.Timer
}

// start begins to gather.
func (g *gather) start() {
	if g.c.set.gather < 0 {
		return
	}
	g.on.Store(true)
}

// stop lets what is sent from now on pass, behind what is gathered.
func (g *gather) stop() { g.on.Store(false) }

// limit is how much may be gathered: not more than the queue takes.
func (g *gather) limit() int { return min(gatherLimit, g.c.set.queueLimit) }

// join gathers a frame behind others; false means that the caller must send it the long way. The caller need not be counted in Conn.sends: who sees here that the connection does not close joins
// before the close frame can.
func (g *gather) join(op byte, payload []byte) bool {
	if !g.on.Load() {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.out == nil || !g.on.Load() || !g.takesLocked(maxHeader+len(payload)) || g.c.sends.Load() >= noSend {
		return false
	}
	g.out.b = appendOwn(g.out.b, g.c.server, true, op, payload)
	return true
}

// frame gathers a frame of a payload, made where it is gathered. false means that it is not gathered, and that nothing is that must go out before it.
func (g *gather) frame(ctx context.Context, op byte, payload []byte) (bool, error) {
	if err := ctx.Err(); err != nil {
		return true, err
	}
	for {
		g.mu.Lock()
		if g.takesLocked(maxHeader + len(payload)) {
			g.openLocked()
			g.out.b = appendOwn(g.out.b, g.c.server, true, op, payload)
			return true, g.addedLocked(ctx)
		}
		if g.out == nil {
			g.mu.Unlock()
			return false, nil
		}
		if err := g.flushLocked(ctx); err != nil {
			return true, err
		}
	}
}

// send writes a ready-made frame, or gathers it. The bytes are the caller's again when it returns.
func (g *gather) send(ctx context.Context, frame []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for {
		g.mu.Lock()
		if g.takesLocked(len(frame)) {
			g.openLocked()
			g.out.b = append(g.out.b, frame...)
			return g.addedLocked(ctx)
		}
		if g.out == nil {
			g.mu.Unlock()
			return g.c.w.Write(ctx, frame)
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
	if g.takesLocked(size) {
		g.openLocked()
		for _, f := range frames {
			g.out.b = append(g.out.b, f...)
		}
		if g.on.Load() {
			return nil
		}
		_, err := g.pushLocked()
		if err != nil {
			g.out.b = g.out.b[:len(g.out.b)-size] // as if it had not been taken
		}
		return err
	}
	if _, err := g.pushLocked(); err != nil {
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
	return (g.on.Load() || have > 0) && size <= gatherFrame && have+size <= g.limit()
}

// openLocked makes sure that there is a buffer to gather in.
func (g *gather) openLocked() {
	if g.out != nil {
		return
	}
	g.out = gatherBuffers.Get().(*gatherBuffer)
	if g.timer == nil {
		g.timer = time.AfterFunc(g.c.set.gather, g.expire)
	} else {
		g.timer.Reset(g.c.set.gather)
	}
}

// addedLocked unlocks after a frame was gathered. If that was the last one it goes out now.
func (g *gather) addedLocked(ctx context.Context) error {
	if g.on.Load() {
		g.mu.Unlock()
		return nil
	}
	return g.flushLocked(ctx)
}

// pushLocked hands what is gathered to the writer. done says that the system has taken it all, and all before it.
func (g *gather) pushLocked() (done bool, err error) {
	if g.out == nil {
		return false, nil
	}
	done, err = g.c.w.QueueNow(g.out.b)
	if err != nil {
		return false, err
	}
	g.timer.Stop()
	if done {
		g.out.free()
	} // else it is the writer's until it is written, and nobody's then
	g.out = nil
	return done, nil
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
	if _, err := g.pushLocked(); errors.Is(err, netio.ErrSlow) {
		g.timer.Reset(g.c.set.gather)
	}
}

// flush is push, but returns when the system has taken it all.
func (g *gather) flush(ctx context.Context) error {
	g.stop()
	g.mu.Lock()
	return g.flushLocked(ctx)
}

// flushLocked unlocks. While the writer's queue is full it waits for it and tries again.
func (g *gather) flushLocked(ctx context.Context) error {
	for {
		done, err := g.pushLocked()
		g.mu.Unlock()
		if done || err != nil && !errors.Is(err, netio.ErrSlow) {
			return err
		}
		if err2 := g.c.w.Flush(ctx); err2 != nil || err == nil {
			return err2
		}
		g.mu.Lock()
	}
}
