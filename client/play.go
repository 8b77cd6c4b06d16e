package client

import (
	"context"
	"fmt"
	"iter"
	"sync"

	"hawser/lifecycle"
	"hawser/session"
)

// Media is what a play hands out: session.EventMedia (what is played, and when that changes), EventFragment (an init segment or a frame as fragmented MP4) or EventError.
type Media = session.Event

// PlayOptions says how a play starts.
type PlayOptions struct {
	// Resume asks after a reconnect for the next frame, where the server still has it, and not for the newest keyframe.
	Resume bool
	// NoWait returns at once and leaves the first answer, also a refusal, to Media.
	NoWait bool
}

// Play follows the media of one path, over reconnects. Its methods may run at once, but for loops over Media, of which one may run at a time.
type Play struct {
	c        *Client
	path     string
	queue    *queue
	answered chan struct{}
	once     sync.Once

	// Guarded by c.mu.
	last    session.Event // what was said of the stream
	seeking bool          // the application was too slow: fragments are left out up to a keyframe
	skipped uint64
}

// Play follows the media of a path until Close. It waits for the server's answer, be it over reconnects, unless o.NoWait; nil options are the zero ones.
// A path on which nobody publishes yet is no error: its status is session.StatusWaiting. It fails as Subscribe does.
func (c *Client) Play(ctx context.Context, path string, o *PlayOptions) (*Play, error) {
	if o == nil {
		o = &PlayOptions{}
	}
	p := &Play{c: c, path: path, answered: make(chan struct{})}
	p.queue = newQueue(&c.o, p.shrinkMedia)
	err := c.follow(func(m *session.Client) error {
		if err := m.Play(path, session.PlayOptions{Resume: o.Resume}); err != nil {
			return err
		}
		c.plays[path] = p
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("client: play %q: %w", path, bare(err))
	}
	if o.NoWait {
		return p, nil
	}
	if err := wait(ctx, p.answered, p.queue); err != nil {
		_ = p.Close()
		return nil, fmt.Errorf("client: play %q: %w", path, err)
	}
	return p, nil
}

// take is called with what the machine says of the path, under the client's lock.
func (p *Play) take(ev session.Event) {
	if ev.Kind == session.EventFragment {
		if p.admit(&ev) {
			p.queue.push(ev)
		}
		return
	}
	p.last = ev
	p.queue.push(ev)
	if ev.Status == session.StatusGone {
		delete(p.c.plays, p.path)
		p.queue.end(ev.Reason)
	}
	p.settle()
}

// settle says that there is an answer.
func (p *Play) settle() { p.once.Do(func() { close(p.answered) }) }

// Path returns the path.
func (p *Play) Path() string { return p.path }

// Media yields what comes, in order, until ctx ends or the play is over; Err says why it is. A later loop goes on where this one stopped. An application
// that is too slow for Options.QueueBytes gets an EventMedia with Skipped, and then goes on at a keyframe.
func (p *Play) Media(ctx context.Context) iter.Seq[Media] { return p.queue.all(ctx) }

// Err returns why the play is over: the reason of the server, or of the end of the session. nil while it goes on, and after Close.
func (p *Play) Err() error { return p.queue.err() }

// Close ends the play. It returns nil.
func (p *Play) Close() error {
	c := p.c
	c.mu.Lock()
	defer c.mu.Unlock()
	p.queue.end(lifecycle.ReasonDone)
	p.settle()
	if c.plays[p.path] == p {
		delete(c.plays, p.path)
		c.machine.Stop(p.path)
		c.settleLocked()
	}
	return nil
}
