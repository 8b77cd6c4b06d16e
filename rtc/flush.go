package rtc

import (
	"runtime"
	"sync"
	"time"
)

// fillBytes is about how much a peer sends before others have their turn.
const fillBytes = 256 << 10

// flusher sends for all peers of an engine with few goroutines. A peer that has something is in the queue once.
type flusher struct {
	mu    sync.Mutex
	some  sync.Cond
	queue []*Peer
	stop  bool
	done  sync.WaitGroup
}

func newFlusher() *flusher {
	f := &flusher{}
	f.some.L = &f.mu
	for range runtime.GOMAXPROCS(0) {
		f.done.Go(f.work)
	}
	return f
}

// States of a peer towards the flusher.
const (
	resting int32 = iota
	queued
	working
	workingAgain // woken while it was worked for
)

// wake puts a peer into the queue unless it is there.
func (f *flusher) wake(p *Peer) {
	for {
		switch state := p.work.Load(); {
		case state == queued || state == workingAgain:
			return
		case state == working:
			if p.work.CompareAndSwap(working, workingAgain) {
				return
			}
		case p.work.CompareAndSwap(resting, queued):
			f.push(p)
			return
		}
	}
}

func (f *flusher) push(p *Peer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queue = append(f.queue, p)
	f.some.Signal()
}

// work is one worker. What it gathers leaves when it has enough, or nobody else waits for it.
func (f *flusher) work() {
	var b batch
	var groups [][]byte
	var mine []*Peer
	for {
		f.mu.Lock()
		for len(f.queue) == 0 && !f.stop {
			f.some.Wait()
		}
		if f.stop {
			f.mu.Unlock()
			return
		}
		n := min(len(f.queue), max(1, len(f.queue)/2), batchGroups)
		mine = append(mine[:0], f.queue[:n]...)
		rest := copy(f.queue, f.queue[n:])
		clear(f.queue[rest:])
		f.queue = f.queue[:rest]
		f.mu.Unlock()
		for _, p := range mine {
			p.work.Store(working)
			groups = p.flush(&b, groups)
			if !p.work.CompareAndSwap(working, resting) {
				p.work.Store(queued)
				f.push(p)
			}
		}
		b.flush()
		clear(mine)
	}
}

// close ends the workers and waits for them.
func (f *flusher) close() {
	f.mu.Lock()
	f.stop = true
	f.some.Broadcast()
	f.mu.Unlock()
	f.done.Wait()
}

// flush sends what the source has, through the batch.
func (p *Peer) flush(b *batch, groups [][]byte) [][]byte {
	s := p.sender.Load()
	if s == nil || p.opts.Source == nil || p.gone.Load() {
		return groups
	}
	b.hold(p.line.Load())
	groups = p.opts.Source.Fill(groups[:0], fillBytes)
	size := 0
	for _, g := range groups {
		size += len(g)
		s.write(g)
	}
	if reports := s.reports(time.Now()); reports != nil {
		p.pc.WriteRTCP(reports) // they leave with the group
	}
	b.hold(nil)
	clear(groups)
	if size >= fillBytes { // there may be more
		p.work.CompareAndSwap(working, workingAgain)
	}
	return groups
}
