package netio

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// cut divides a buffer into random parts, some of them empty.
func cut(r *rand.Rand, b []byte) (parts [][]byte) {
	for len(b) > 0 {
		n := r.IntN(len(b) + 1)
		if r.IntN(3) == 0 {
			n = len(b)
		}
		parts = append(parts, b[:n])
		b = b[n:]
	}
	return append(parts, b)
}

// Many send at once, each in its own way: every message arrives whole, and those of one sender in order.
func TestManySenders(t *testing.T) {
	const writers, queuers, sources, each = 4, 3, 3, 150
	forKinds(t, func(t *testing.T, near, far net.Conn) {
		w := NewWriter(near, WriterOptions{QueueLimit: 20000, OnError: func(err error) { t.Error(err) }})
		source := &list{}
		w.SetSource(source)
		var all sync.WaitGroup
		for i := range writers {
			all.Go(func() {
				r := rand.New(rand.NewPCG(1, uint64(i)))
				for n := range each {
					m := message(i, n, r.IntN(6000))
					if err := w.Write(t.Context(), cut(r, m)...); err != nil {
						t.Error(err)
					}
					clear(m) // the caller's again
				}
			})
		}
		for i := range queuers {
			all.Go(func() {
				r := rand.New(rand.NewPCG(2, uint64(i)))
				for n := range each {
					m := cut(r, message(writers+i, n, r.IntN(6000)))
					for errors.Is(w.Queue(m...), ErrSlow) {
						if err := w.Flush(t.Context()); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		all.Go(func() {
			r := rand.New(rand.NewPCG(3, 3))
			for n := range each {
				for i := range sources {
					source.add(message(writers+queuers+i, n, r.IntN(60000)))
					w.Wake()
				}
			}
		})
		senders, err := receive(far, (writers+queuers+sources)*each)
		if err != nil {
			t.Error(err, senders)
			far.Close()
		}
		all.Wait()
		eventually(t, "the writer is idle", func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return !w.held && !w.listed && w.queued == 0
		})
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
}

// While a write waits for the peer, what is queued then goes before what the source has, whichever came first.
func TestQueueGoesBeforeTheSource(t *testing.T) {
	forKinds(t, func(t *testing.T, near, far net.Conn) {
		w := NewWriter(near, WriterOptions{QueueLimit: 16 << 20})
		defer w.Close()
		source := &list{}
		w.SetSource(source)
		w.Queue(message(1, 0, 8<<20))
		stuck(t, w)
		source.add(message(3, 0, 10), message(3, 1, 100000))
		w.Wake()
		queued := w.Queue(message(2, 0, 10), message(2, 1, 10))
		w.Wake()
		if err := errors.Join(queued, w.Queue(message(2, 2, 10))); err != nil {
			t.Fatal(err)
		}
		senders, err := receive(far, 6)
		if want := []int{1, 2, 2, 2, 3, 3}; err != nil || !slices.Equal(senders, want) {
			t.Errorf("arrived: %v, %v; want %v", senders, err, want)
		}
	})
}

// A source that has more than one fill is pulled to its end after a single Wake, however slowly the peer takes it.
func TestSourceIsPulledToItsEnd(t *testing.T) {
	const messages = 300
	forKinds(t, func(t *testing.T, near, far net.Conn) {
		w := NewWriter(near, WriterOptions{})
		defer w.Close()
		source := &list{}
		for n := range messages {
			source.add(message(0, n, 20000))
		}
		w.SetSource(source)
		w.Wake()
		stuck(t, w) // then the peer begins to read
		if senders, err := receive(far, messages); err != nil {
			t.Errorf("after %d messages: %v", len(senders), err)
		}
		if sent, _ := w.Stats(); sent != messages*20012 {
			eventually(t, "all bytes are counted", func() bool { sent, _ = w.Stats(); return sent == messages*20012 })
		}
	})
}

func TestManyTinyBuffers(t *testing.T) {
	const count = 5 * maxBuffers
	forKinds(t, func(t *testing.T, near, far net.Conn) {
		w := NewWriter(near, WriterOptions{})
		defer w.Close()
		data := make([]byte, 3*count)
		for i := range data {
			data[i] = byte(i * 7)
		}
		tiny := func(part int) (bufs [][]byte) {
			for i := range count {
				bufs = append(bufs, data[part*count+i:][:1], nil)
			}
			return bufs
		}
		source := &list{pending: tiny(2)}
		w.SetSource(source)
		wrote := make(chan error, 1)
		go func() {
			err := w.Write(t.Context(), tiny(0)...)
			if err == nil {
				err = w.Queue(tiny(1)...)
			}
			w.Wake()
			wrote <- err
		}()
		got := make([]byte, len(data))
		if n, err := io.ReadFull(far, got); err != nil || !bytes.Equal(got, data) {
			t.Errorf("got %d of %d bytes, %v; equal: %v", n, len(data), err, bytes.Equal(got, data))
		}
		if err := <-wrote; err != nil {
			t.Error(err)
		}
	})
}

// A writer goes idle and is woken again and again. A wake-up that is lost stops the test.
func TestIdleAndBack(t *testing.T) {
	rounds := 20000
	if raceEnabled || testing.Short() {
		rounds = 4000
	}
	forKinds(t, func(t *testing.T, near, far net.Conn) {
		w := NewWriter(near, WriterOptions{Pool: NewPool(2), OnError: func(err error) { t.Error(err) }})
		defer w.Close()
		source := &list{}
		w.SetSource(source)
		one := []byte{1}
		got := make([]byte, 64)
		for i := range rounds {
			burst := 1 + i%3
			switch i % 4 {
			case 0: // alone
				for range burst {
					source.add(one)
				}
				w.Wake()
			case 1: // a Wake for each, from a second goroutine
				go func() {
					for range burst {
						source.add(one)
						w.Wake()
					}
				}()
			case 2: // while Queue is flushing
				go func() {
					source.add(one)
					w.Wake()
				}()
				for range burst - 1 {
					w.Queue(one)
				}
			default: // while Write is flushing
				go func() {
					source.add(one)
					w.Wake()
				}()
				for range burst - 1 {
					go w.Write(t.Context(), one)
				}
			}
			if _, err := io.ReadFull(far, got[:burst]); err != nil {
				t.Fatalf("round %d: %v", i, err)
			}
		}
	})
}

func TestFlush(t *testing.T) {
	forKinds(t, func(t *testing.T, near, far net.Conn) {
		w := NewWriter(near, WriterOptions{})
		defer w.Close()
		if err := w.Flush(t.Context()); err != nil {
			t.Errorf("with nothing queued: %v", err)
		}
		if err := w.Queue(message(0, 0, 5<<20)); err != nil {
			t.Fatal("an empty queue takes a buffer of any size: ", err)
		}
		flushed := make(chan error, 1)
		go func() { flushed <- w.Flush(t.Context()) }()
		stuck(t, w)
		select {
		case err := <-flushed:
			t.Errorf("returned %v before the peer had read anything", err)
		default:
		}
		if _, err := receive(far, 1); err != nil {
			t.Error(err)
		}
		if err := <-flushed; err != nil {
			t.Error(err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := w.Flush(ended); err != context.Canceled {
			t.Errorf("with an ended context: %v", err)
		}
	})
}

// grudge is a source and an OnError that need a lock which the callers of Queue and Write hold.
type grudge struct {
	mu    sync.Mutex
	fills int
	err   error
}

// Fill implements Source.
func (g *grudge) Fill(dst [][]byte, _ int) [][]byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fills++
	return append(dst, []byte{1})
}

func (g *grudge) failed(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = err
}

// Callers may hold their own locks: neither Fill nor OnError runs in their goroutine.
func TestCallersMayHoldLocks(t *testing.T) {
	forKinds(t, func(t *testing.T, near, far net.Conn) {
		g := &grudge{}
		w := NewWriter(near, WriterOptions{OnError: g.failed})
		w.SetSource(g)
		drained := goes(func() { io.Copy(io.Discard, far) })
		var all sync.WaitGroup
		var round atomic.Int64
		const rounds = 300
		all.Go(func() {
			for i := range int64(rounds) {
				for spins := 0; round.Load() <= i; spins++ { // to wake at the same moment as Queue
					if spins > 100 {
						runtime.Gosched()
					}
				}
				w.Wake()
			}
		})
		all.Go(func() {
			for range rounds {
				for busy := true; busy; {
					w.mu.Lock()
					busy = w.held || w.listed
					w.mu.Unlock()
					runtime.Gosched()
				}
				g.mu.Lock()
				round.Add(1)
				w.Queue([]byte{2})
				g.mu.Unlock()
			}
			far.Close()
			for {
				g.mu.Lock()
				err := w.Queue([]byte{3})
				g.mu.Unlock()
				if err != nil && !errors.Is(err, ErrSlow) {
					break
				}
			}
		})
		within(t, "Queue under a lock that Fill and OnError need", goes(all.Wait))
		eventually(t, "OnError is called", func() bool {
			g.mu.Lock()
			defer g.mu.Unlock()
			return g.err != nil
		})
		<-drained
	})
}

// What a loop queues for many connections goes out in a few writes, in order.
func TestQueueInALoop(t *testing.T) {
	const conns, each, size = 20, 200, 1000
	pool := NewPool(1)
	writers, read := make([]*Writer, conns), make(chan error, conns)
	for i := range writers {
		near, far := dial(t, "tcp", "127.0.0.1:0")
		t.Cleanup(func() { near.Close(); far.Close() })
		writers[i] = NewWriter(near, WriterOptions{Pool: pool})
		go func() {
			_, err := receive(far, each)
			read <- err
		}()
	}
	for n := range each {
		for _, w := range writers {
			if err := w.Queue(message(0, n, size-12)); err != nil {
				t.Fatalf("message %d: %v", n, err)
			}
		}
	}
	total := uint64(0)
	for _, w := range writers {
		if err := w.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-read; err != nil {
			t.Error(err)
		}
		_, writes := w.Stats()
		total += writes
	}
	if total > conns*each/2 && !raceEnabled {
		t.Errorf("%d messages went out in %d writes", conns*each, total)
	}
}

// stopped is a source that holds up who asks it.
type stopped chan struct{}

// Fill implements Source.
func (s stopped) Fill(dst [][]byte, _ int) [][]byte {
	s <- struct{}{}
	<-s
	return dst
}

// A loop writes by itself what the pool does not come to: only the peer can make a queue full.
func TestQueueWithABusyPool(t *testing.T) {
	const limit, each, size = 100_000, 160, 1000
	pool, busy := NewPool(1), make(stopped)
	other, _ := pair(t, "tcp")
	blocker := NewWriter(other, WriterOptions{Pool: pool})
	blocker.SetSource(busy)
	blocker.Wake()
	<-busy
	near, far := dial(t, "tcp", "127.0.0.1:0")
	t.Cleanup(func() { near.Close(); far.Close() })
	near.(*net.TCPConn).SetWriteBuffer(1 << 20) // takes all
	w := NewWriter(near, WriterOptions{Pool: pool, QueueLimit: limit})
	defer w.Close()
	for n := range each {
		if err := w.Queue(message(0, n, size-12)); err != nil {
			t.Fatalf("message %d: %v", n, err)
		}
	}
	if err := w.Write(t.Context(), message(1, 0, 10)); err != nil {
		t.Error(err)
	}
	if senders, err := receive(far, each+1); err != nil || senders[each] != 1 {
		t.Errorf("received %v, %v", senders, err)
	}
	busy <- struct{}{}
}

// A call by itself is written when it returns, and so is QueueNow always.
func TestQueueWritesAtOnce(t *testing.T) {
	near, far := pair(t, "tcp")
	w := NewWriter(near, WriterOptions{Pool: NewPool(1)})
	defer w.Close()
	if err := w.Queue([]byte("a")); err != nil || !w.empty() {
		t.Errorf("Queue: %v, written: %v", err, w.empty())
	}
	for range 100 {
		if done, err := w.QueueNow([]byte("b"), []byte("c")); !done || err != nil {
			t.Fatalf("QueueNow: %v, %v", done, err)
		}
	}
	w.Queue([]byte("d")) // perhaps left to the pool
	if _, err := w.QueueNow([]byte("e")); err != nil {
		t.Error(err)
	}
	got := make([]byte, 203)
	if _, err := io.ReadFull(far, got); err != nil || string(got) != "a"+strings.Repeat("bc", 100)+"de" {
		t.Errorf("arrived: %q, %v", got, err)
	}
}
