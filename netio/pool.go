package netio

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// closely is how soon after another a call of Queue counts as one of many: a loop takes less to come to the next connection, a program that answers what it has read takes more.
const closely = 2 * time.Microsecond

// epoch is where the pools' clocks start.
var epoch = time.Now()

// Pool is a few workers that flush the writers which were woken, in the order of their waking. A worker lives only while there is work, so an idle pool holds no goroutine
// and needs no closing. All methods may run at once.
type Pool struct {
	workers int
	worker  func() // work; kept, so that starting it allocates nothing

	queued atomic.Int64 // when Queue was last called

	mu         sync.Mutex
	head, tail *Writer
	running    int
}

var defaultPool = NewPool(0)

// NewPool makes a pool of at most the given number of workers; 0 means one for each processor that Go may use.
func NewPool(workers int) *Pool {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	p := &Pool{workers: workers}
	p.worker = p.work
	return p
}

// push queues a writer whose busy flag the caller has just set.
func (p *Pool) push(w *Writer) {
	p.mu.Lock()
	if p.tail == nil {
		p.head = w
	} else {
		p.tail.next = w
	}
	p.tail = w
	start := p.running < p.workers
	if start {
		p.running++
	}
	p.mu.Unlock()
	if start {
		go p.worker()
	}
}

// pop takes the next writer, or counts the worker out.
func (p *Pool) pop() *Writer {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.head
	if w == nil {
		p.running--
		return nil
	}
	p.head, w.next = w.next, nil
	if p.head == nil {
		p.tail = nil
	}
	return w
}

func (p *Pool) work() {
	s := scratchPool.Get().(*scratch)
	for w := p.pop(); w != nil; w = p.pop() {
		w.turn(s)
	}
	scratchPool.Put(s)
}

// alone says whether the call of Queue in progress is not one of many.
func (p *Pool) alone() bool {
	now := int64(time.Since(epoch))
	last := p.queued.Load()
	p.queued.Store(now)
	return now-last > int64(closely)
}

// noteQueue notes when a call of Queue has ended that has written.
func (p *Pool) noteQueue() { p.queued.Store(int64(time.Since(epoch))) }
