package subject

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"hawser/lifecycle"
	"hawser/store"
)

const (
	// DefaultMaxWaiting bounds the updates that wait for the disk, in bytes, unless Durable says otherwise.
	DefaultMaxWaiting = 64 << 20
	// pendingOverhead is what an update that waits counts beside its bytes.
	pendingOverhead = 512
	// maxBatch is about how many bytes are put on disk at once.
	maxBatch = 4 << 20
)

// pending is an update on its way to disk, or the end of a subject, or nothing, when all that somebody wants is to know that what came before is on disk.
type pending struct {
	path    string
	subject *Subject // held by who publishes; nil for the one that is at the path by then
	kind    Kind
	update  Update
	ended   uint64 // the epoch that has ended; then there is no update
	done    func(epoch, offset uint64, err error)

	// Used by the journal's goroutine only.
	held   *Subject // between prepare and settle
	offset uint64
	err    error
}

func (p *pending) size() int64 { return int64(p.update.size()) + pendingOverhead }

// ahead is what a subject will have when the updates on their way to disk have arrived; in numbers that are too great rather than too small.
type ahead struct {
	count  uint64
	kind   Kind
	fields int
	bytes  int64
}

// journal puts updates on disk and shows them then: one write and one sync for all that came while the last ones ran. One goroutine does that, in the order in which they came.
type journal struct {
	hub  *Hub
	o    Durable
	log  *store.Log
	idle sync.WaitGroup // the goroutine, and a snapshot

	mu     sync.Mutex
	more   sync.Cond
	queue  []*pending
	bytes  int64 // of all that is not settled
	closed bool

	snapping atomic.Bool

	// Owned by run.
	batch   store.Batch
	scratch []byte
	failed  bool // what was last tried
}

func newJournal(h *Hub, o Durable, log *store.Log) *journal {
	j := &journal{hub: h, o: o, log: log}
	j.more.L = &j.mu
	return j
}

// put queues what is to go on disk. Its errors are reasons.
func (j *journal) put(p *pending) error {
	size := p.size()
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.closed:
		return lifecycle.ReasonShutdown
	case p.kind != None && j.bytes > 0 && j.bytes+size > j.o.MaxWaiting:
		return lifecycle.Reached("MaxWaiting", j.o.MaxWaiting)
	}
	j.bytes += size
	j.queue = append(j.queue, p)
	j.more.Signal()
	return nil
}

// wait is put that waits for the disk.
func (j *journal) wait(p *pending) (epoch, offset uint64, err error) {
	settled := make(chan struct{})
	p.done = func(e, o uint64, failure error) {
		epoch, offset, err = e, o, failure
		close(settled)
	}
	if err := j.put(p); err != nil {
		return 0, 0, publishError(p.path, err)
	}
	<-settled
	return epoch, offset, err
}

// run works until close was called and all is settled.
func (j *journal) run() {
	for {
		j.mu.Lock()
		for len(j.queue) == 0 && !j.closed {
			j.more.Wait()
		}
		todo := j.queue
		j.queue = nil
		j.mu.Unlock()
		if len(todo) == 0 {
			return
		}
		for len(todo) > 0 {
			n := j.fill(todo)
			j.settle(todo[:n], j.commit())
			todo = todo[n:]
		}
		if j.log.Due() {
			j.snapshot()
		}
	}
}

// fill puts the first updates into a batch and returns how many these are.
func (j *journal) fill(todo []*pending) (n int) {
	j.batch.Reset()
	for n < len(todo) && j.batch.Size() < maxBatch {
		p := todo[n]
		switch {
		case p.ended != 0:
			j.scratch = appendRemoved(j.scratch[:0], p.path, p.ended)
			j.batch.Add(j.scratch)
		case p.kind != None:
			full := j.prepare(p)
			if full {
				return n
			}
			if p.err == nil {
				j.scratch = appendUpdateEntry(j.scratch[:0], p.path, p.held.Epoch(), p.offset, p.kind, &p.update)
				j.batch.Add(j.scratch)
			}
		}
		n++
	}
	return n
}

// prepare gives an update its place, or says why it has none; full says that this can be told only when what is ahead of it is settled.
func (j *journal) prepare(p *pending) (full bool) {
	if p.update.At.IsZero() {
		p.update.At = j.hub.o.Now()
	}
	for {
		s := p.subject
		if s == nil {
			if s, p.err = j.hub.open(p.path); p.err != nil {
				return false
			}
		}
		p.offset, full, p.err = s.prepare(p.kind, &p.update)
		if !full && p.err == nil {
			p.held = s
			return false
		}
		if p.subject == nil {
			s.Close()
		}
		switch {
		case p.err != errRemoved:
			return full
		case p.subject != nil:
			p.err = errGone
			return false
		}
	}
}

// commit writes the batch, and tells the event log when that fails, or works again.
func (j *journal) commit() error {
	if j.batch.Size() == 0 {
		return nil
	}
	err := j.log.Commit(&j.batch)
	switch {
	case err == nil && j.failed:
		j.failed = false
		j.hub.o.Log.Add(lifecycle.Event{Kind: EventStore, Protocol: "subject", State: "working", Light: lifecycle.Green})
	case err != nil:
		why := diskReason(err)
		if !j.failed {
			j.hub.o.Log.Add(lifecycle.Event{Kind: EventStore, Protocol: "subject", State: "failed", Light: lifecycle.Red, Reason: why})
		}
		j.failed = true
		if errno, ok := errors.AsType[syscall.Errno](err); ok { // where it happened is the operator's
			why = diskReason(errno)
		}
		err = why
	}
	return err
}

// diskReason is limit when the disk is full, else internal.
func diskReason(err error) lifecycle.Reason {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return lifecycle.ReasonLimit.Because(err)
	}
	return lifecycle.ReasonInternal.Because(err)
}

// settle shows what is on disk now and tells those who published how that went, in order.
func (j *journal) settle(batch []*pending, err error) {
	var size int64
	for _, p := range batch {
		size += p.size()
		var epoch uint64
		if s := p.held; s != nil {
			epoch = s.Epoch()
			if p.err = err; err == nil {
				s.arrive(p.kind, &p.update)
			} else {
				s.retreat()
			}
			if p.subject == nil {
				s.Close()
			}
		} else if p.kind == None && p.err == nil {
			p.err = err
		}
		if p.done == nil {
			continue
		}
		if p.err != nil {
			p.done(0, 0, publishError(p.path, p.err))
		} else {
			p.done(epoch, p.offset, nil)
		}
	}
	j.mu.Lock()
	j.bytes -= size
	j.mu.Unlock()
}

// close waits until all is settled. What is published from here on is refused.
func (j *journal) close() error {
	j.mu.Lock()
	j.closed = true
	j.more.Signal()
	j.mu.Unlock()
	j.idle.Wait()
	if err := j.log.Close(); err != nil {
		return fmt.Errorf("subject: %w", err)
	}
	return nil
}

// prepare says where an update will stand behind those that are ahead of it. Its errors are reasons, or errRemoved. full says that it is not known whether there will be room for it.
func (s *Subject) prepare(kind Kind, u *Update) (offset uint64, full bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := &s.hub.o
	if s.ahead.count == 0 {
		err = s.checkLocked(kind, u)
	} else if s.removed {
		err = errRemoved
	} else if s.ahead.kind != kind {
		err = lifecycle.ReasonBadRequest.With("the subject is a %v, not a %v", s.ahead.kind, kind)
	}
	if err != nil {
		return 0, false, err
	}
	grows := int64(u.cost())
	for _, f := range u.Fields {
		grows += fieldSize(f.Name, f.Value)
	}
	if s.ahead.count > 0 {
		held := s.image.bytes
		if kind == JSON {
			held = int64(len(s.doc.whole) + s.doc.waiting)
		}
		if kind != Log && (held+s.ahead.bytes+grows > o.MaxImage || s.image.live+s.ahead.fields+len(u.Fields) > o.MaxFields) {
			return 0, true, nil
		}
	}
	offset = s.next + s.ahead.count
	s.ahead = ahead{s.ahead.count + 1, kind, s.ahead.fields + len(u.Fields), s.ahead.bytes + grows}
	return offset, false, nil
}

// arrive folds in and shows an update that is on disk now.
func (s *Subject) arrive(kind Kind, u *Update) {
	s.pubMu.Lock()
	defer s.pubMu.Unlock()
	now := s.hub.o.Now()
	s.mu.Lock()
	if s.ahead.count--; s.ahead.count == 0 {
		s.ahead = ahead{}
	}
	first := s.changeLocked(kind, u)
	s.armExpiryLocked(time.Now().Add(s.ttl))
	s.mu.Unlock()
	s.show(first, kind, u, now)
}

// retreat forgets the updates that did not get on disk.
func (s *Subject) retreat() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead = ahead{}
	if s.expiry != nil && !s.removed {
		s.armExpiryLocked(s.expires) // it may have waited for them
	}
}
