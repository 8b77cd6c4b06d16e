package netio

import (
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

const (
	// loopEvents is how many events a loop takes at once.
	loopEvents = 256
	// loopPatience is how long a turn may take before the other connections of its loop go on without it: so long at least, twice so long at most.
	loopPatience = time.Millisecond
	// watchEvents is what a loop asks the system for.
	watchEvents = syscall.EPOLLIN | syscall.EPOLLRDHUP | epollEdge
	epollEdge   = 1 << 31 // syscall.EPOLLET has another sign on each architecture
	// endEvents tell that a read will find the end.
	endEvents = syscall.EPOLLRDHUP | syscall.EPOLLHUP | syscall.EPOLLERR
)

// loopSet is all loops of the process, at most one for each processor that Go may use. A loop lives while it has watches.
type loopSet struct {
	mu      sync.Mutex
	all     []*loop
	serial  uint32
	watches atomic.Pointer[[]atomic.Pointer[Watch]] // by descriptor
}

var loops loopSet

// add registers a watch with the loop that has fewest.
func (s *loopSet) add(w *Watch) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.chooseLocked()
	if l == nil {
		return false
	}
	if !w.socket.use() {
		s.dropLocked(l)
		return false
	}
	defer w.socket.free()
	fd := w.socket.fd
	s.serial++
	w.loop, w.serial = l, s.serial
	s.placeLocked(int(fd)).Store(w)
	ev := syscall.EpollEvent{Events: watchEvents, Fd: fd, Pad: int32(w.serial)}
	if syscall.EpollCtl(l.ep, syscall.EPOLL_CTL_ADD, int(fd), &ev) != nil {
		s.placeLocked(int(fd)).Store(nil)
		w.loop = nil
		s.dropLocked(l)
		return false
	}
	l.watches++
	w.socket.held(true)
	return true
}

// placeLocked is where the watch of a descriptor stands.
func (s *loopSet) placeLocked(fd int) *atomic.Pointer[Watch] {
	var have []atomic.Pointer[Watch]
	if p := s.watches.Load(); p != nil {
		have = *p
	}
	if fd >= len(have) {
		more := make([]atomic.Pointer[Watch], max(2*len(have), fd+1, loopEvents))
		for i := range have {
			more[i].Store(have[i].Load())
		}
		s.watches.Store(&more)
		have = more
	}
	return &have[fd]
}

// find returns the watch that an event is for, nil if that is gone.
func (s *loopSet) find(ev *syscall.EpollEvent) *Watch {
	w := (*s.watches.Load())[ev.Fd].Load()
	if w == nil || w.serial != uint32(ev.Pad) {
		return nil
	}
	return w
}

// remove takes a watch out. The descriptor may have been closed, and be another connection's by now.
func (s *loopSet) remove(w *Watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := w.loop
	if l == nil {
		return
	}
	if w.socket.use() {
		syscall.EpollCtl(l.ep, syscall.EPOLL_CTL_DEL, int(w.socket.fd), nil)
		w.socket.held(false)
		w.socket.free()
	}
	s.placeLocked(int(w.socket.fd)).CompareAndSwap(w, nil)
	l.watches--
	s.dropLocked(l)
}

// chooseLocked returns the loop with the fewest watches, a new one if there may be more of them; nil if the system does not give one.
func (s *loopSet) chooseLocked() *loop {
	if len(s.all) < runtime.GOMAXPROCS(0) {
		if l := newLoop(); l != nil {
			s.all = append(s.all, l)
			return l
		}
	}
	var best *loop
	for _, l := range s.all {
		if best == nil || l.watches < best.watches {
			best = l
		}
	}
	return best
}

// dropLocked ends a loop without watches.
func (s *loopSet) dropLocked(l *loop) {
	if l.watches > 0 {
		return
	}
	for i := range s.all {
		if s.all[i] == l {
			s.all = append(s.all[:i:i], s.all[i+1:]...)
			break
		}
	}
	l.file.Close()
}

// loop is an epoll instance, which stands in the runtime's poller as one descriptor among others, and the worker that waits for it.
type loop struct {
	ep      int
	file    *os.File
	raw     syscall.RawConn
	watches int                    // guarded by the set's mu
	worker  atomic.Pointer[worker] // who waits; others only finish what they have begun
	guard   *time.Timer            // looks after the worker while that gives turns
	guarded atomic.Bool            // guard is set

	// What the guard saw when it last looked.
	seen *worker
	pos  batchPos
}

func newLoop() *loop {
	ep, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil
	}
	if err := syscall.SetNonblock(ep, true); err != nil { // for os.NewFile
		syscall.Close(ep)
		return nil
	}
	l := &loop{ep: ep, file: os.NewFile(uintptr(ep), "epoll")}
	if l.raw, err = l.file.SyscallConn(); err != nil {
		l.file.Close()
		return nil
	}
	w := &worker{l: l}
	l.worker.Store(w)
	l.guarded.Store(true)
	l.guard = time.AfterFunc(loopPatience, l.look)
	go w.run()
	return l
}

// busy makes sure that the guard looks.
func (l *loop) busy() {
	if !l.guarded.Load() && l.guarded.CompareAndSwap(false, true) {
		l.guard.Reset(loopPatience)
	}
}

// look is the guard: it puts another worker in the place of one that has not got further since the last look.
func (l *loop) look() {
	w := l.worker.Load()
	pos := w.position()
	switch {
	case !pos.inTurn():
		l.seen = nil
		l.guarded.Store(false)
		if w.position().inTurn() { // since then
			l.busy()
		}
		return
	case w == l.seen && pos == l.pos && w.replace(pos):
		l.seen = nil
	default:
		l.seen, l.pos = w, pos
	}
	l.guard.Reset(loopPatience)
}

// worker waits for the events of a loop and gives the watches their turns, until it is replaced.
type worker struct {
	l      *loop
	pos    atomic.Uint64 // a batchPos
	n      int
	events [loopEvents]syscall.EpollEvent
}

// batchPos is where a worker is: the number of the batch of events, how many events that has, and how many of these are begun: 32, 16 and 16 bits.
type batchPos uint64

// batchGone is how many events are begun when others do the rest.
const batchGone = 1 << 15

func (p batchPos) events() int { return int(p >> 16 & 0xffff) }
func (p batchPos) begun() int  { return int(p & 0xffff) }

// inTurn says whether a handler is being called.
func (p batchPos) inTurn() bool { return p.begun() > 0 && p.begun() <= p.events() }

func (w *worker) position() batchPos { return batchPos(w.pos.Load()) }

func (w *worker) run() {
	t := newTurn()
	defer func() {
		t.free()
		if p := w.position(); p.inTurn() { // the handler has ended this goroutine
			w.replace(p)
		}
	}()
	poll := w.poll
	for batch := uint64(1); w.l.raw.Read(poll) == nil; batch++ { // else the loop has ended
		w.pos.Store(batch<<32 | uint64(w.n)<<16)
		p := batchPos(w.pos.Add(1))
		w.l.busy()
		for ; p.inTurn(); p = batchPos(w.pos.Add(1)) {
			if watch := w.claim(p.begun()); watch != nil {
				watch.run(t)
			}
		}
		if p.begun() > batchGone {
			return // replaced
		}
		runtime.Gosched() // to what is ready, timers among it
	}
}

// poll takes the events that are there.
func (w *worker) poll(ep uintptr) bool {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, ep, uintptr(unsafe.Pointer(&w.events)), loopEvents, 0, 0, 0)
		if errno == syscall.EINTR {
			continue
		}
		w.n = int(n)
		return errno == 0 && n > 0
	}
}

// claim takes the i-th event, from 1. It returns the watch if its turn is for the caller to give.
func (w *worker) claim(i int) *Watch {
	ev := &w.events[i-1]
	watch := loops.find(ev)
	if watch == nil {
		return nil
	}
	bits := uint32(0)
	if ev.Events&endEvents != 0 {
		bits = watchEnd
	}
	switch {
	case !watch.claim(bits):
		return nil
	case watch.apart.Load() > 0:
		watch.apart.Add(-1)
		go watch.runApart()
		return nil
	}
	return watch
}

// replace puts another worker in the place of one that is held up by a turn, and gives the turns that it has not begun. It returns false if the worker is not at p any more.
func (w *worker) replace(p batchPos) bool {
	if !w.pos.CompareAndSwap(uint64(p), uint64(p)&^0xffff|batchGone) {
		return false
	}
	next := &worker{l: w.l}
	w.l.worker.Store(next)
	go next.run()
	if watch := loops.find(&w.events[p.begun()-1]); watch != nil {
		watch.apart.Store(apartTurns)
	}
	for i := p.begun() + 1; i <= p.events(); i++ {
		if watch := w.claim(i); watch != nil {
			go watch.runApart()
		}
	}
	return true
}
