package netio

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A peer that stops reading gets everything once it goes on, and the other writers of its pool, of one worker, do not feel it.
func TestSlowReaderHoldsUpNobody(t *testing.T) {
	const messages, others = 100, 5
	forKinds(t, func(t *testing.T, near, far net.Conn) {
		pool := NewPool(1)
		slow := NewWriter(near, WriterOptions{Pool: pool, OnError: func(err error) { t.Error(err) }})
		defer slow.Close()
		source := &list{}
		slow.SetSource(source)
		source.add(message(0, 0, 4<<20))
		slow.Wake()
		stuck(t, slow)
		var all sync.WaitGroup
		for range others {
			near, far := pair(t, "tcp")
			w := NewWriter(near, WriterOptions{Pool: pool})
			defer w.Close()
			theirs := &list{}
			w.SetSource(theirs)
			all.Go(func() {
				for n := range messages {
					theirs.add(message(0, n, 10000))
					w.Wake()
					slow.Wake()
				}
				if _, err := receive(far, messages); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		for n := 1; n < messages; n++ {
			source.add(message(0, n, 1000))
			slow.Wake()
		}
		if senders, err := receive(far, messages); err != nil {
			t.Errorf("after %d messages: %v", len(senders), err)
		}
	})
}

// A peer that takes nothing within the timeout is told of once, to OnError and to everybody who waits.
func TestTimeout(t *testing.T) {
	const waiting = 4
	forKinds(t, func(t *testing.T, near, far net.Conn) {
		failed := make(chan error, 10)
		w := NewWriter(near, WriterOptions{Timeout: 50 * time.Millisecond, OnError: func(err error) { failed <- err }})
		w.SetSource(&list{})
		wrote := make(chan error, waiting)
		for i := range waiting {
			go func() { wrote <- w.Write(t.Context(), message(i, 0, 5<<20)) }()
		}
		err := <-failed
		var ne net.Error
		if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
			t.Errorf("OnError: %v, want a timeout", err)
		}
		for range waiting {
			if got := <-wrote; !errors.Is(got, os.ErrDeadlineExceeded) {
				t.Errorf("Write: %v, want the timeout", got)
			}
		}
		w.Wake()
		if q, wr, f := w.Queue([]byte{1}), w.Write(t.Context(), []byte{1}), w.Flush(t.Context()); q != err || wr != err || f != err {
			t.Errorf("afterwards: Queue %v, Write %v, Flush %v; want %v", q, wr, f, err)
		}
		w.Close()
		if w.Queue([]byte{1}) != err || len(failed) != 0 {
			t.Errorf("Close after the failure: Queue %v, %d more calls of OnError", w.Queue([]byte{1}), len(failed))
		}
	})
}

// A peer that takes something again and again is never too slow, however long it takes for all.
func TestTimeoutIsForEachStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		w := NewWriter(near, WriterOptions{Timeout: 10 * time.Second, OnError: func(err error) { t.Error(err) }})
		defer w.Close()
		w.Queue(make([]byte, 10*pieceBytes))
		buf := make([]byte, pieceBytes)
		for range 10 {
			<-time.After(9 * time.Second)
			if _, err := io.ReadFull(far, buf); err != nil {
				t.Fatal(err)
			}
		}
		w.Queue([]byte("no deadline is left behind"))
		<-time.After(time.Minute / 10)
		if n, err := far.Read(buf); err != nil || n != 26 {
			t.Errorf("read %d, %v", n, err)
		}
		synctest.Wait()
		near.Close()
		far.Close()
	})
}

func TestTimeoutIsForEachStepOfASocket(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 5 s")
	}
	t.Parallel()
	const steps = 50
	near, far := pair(t, "unix")
	w := NewWriter(near, WriterOptions{Timeout: 4 * time.Second, OnError: func(err error) { t.Error(err) }})
	defer w.Close()
	w.Queue(make([]byte, steps*pieceBytes))
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	buf := make([]byte, pieceBytes)
	for range steps {
		<-tick.C
		if _, err := io.ReadFull(far, buf); err != nil {
			t.Fatal(err)
		}
	}
}

// The deadline of a write that had to wait does not outlive it.
func TestNoDeadlineIsLeftBehind(t *testing.T) {
	const timeout = 2 * time.Second
	forKinds(t, func(t *testing.T, near, far net.Conn) {
		w := NewWriter(near, WriterOptions{Timeout: timeout, OnError: func(err error) { t.Error(err) }})
		defer w.Close()
		w.Queue(message(0, 0, 2<<20))
		stuck(t, w)
		if _, err := receive(far, 1); err != nil {
			t.Fatal(err)
		}
		<-time.After(timeout + timeout/10)
		for range 2 { // by the next writer, whoever that is
			if err := w.Queue(message(0, 0, 100)); err != nil {
				t.Fatal(err)
			}
			if _, err := receive(far, 1); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A Write whose context ends returns although the peer reads nothing. Its caller may change the bytes, and the peer gets either all of them as they were, or none.
func TestWriteIsCancelled(t *testing.T) {
	forKinds(t, func(t *testing.T, near, far net.Conn) {
		w := NewWriter(near, WriterOptions{OnError: func(err error) { t.Error(err) }})
		defer w.Close()
		begun, waiting := message(1, 0, 6<<20), message(2, 0, 100)
		ctx, cancel := context.WithCancel(t.Context())
		wrote := make(chan error, 2)
		go func() { wrote <- w.Write(ctx, begun[:5], begun[5:]) }()
		stuck(t, w)
		go func() { wrote <- w.Write(ctx, waiting[:50], waiting[50:]) }()
		eventually(t, "the second Write is queued", func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.queue != nil && len(w.queue.list) == 2
		})
		w.Queue(message(3, 0, 10))
		cancel()
		for range 2 {
			if err := <-wrote; err != context.Canceled {
				t.Errorf("Write: %v, want context.Canceled", err)
			}
		}
		clear(begun)
		clear(waiting)
		if err := w.Write(ctx, []byte{1}); err != context.Canceled {
			t.Errorf("Write with an ended context: %v", err)
		}
		go func() { wrote <- w.Write(t.Context(), message(2, 0, 10)) }()
		if senders, err := receive(far, 3); err != nil {
			t.Error(senders, err)
		}
		if err := <-wrote; err != nil {
			t.Error(err)
		}
	})
}

// Writes are cancelled at any moment while the peer reads now and then: the stream stays whole.
func TestWritesCancelledAtAnyMoment(t *testing.T) {
	const senders, each = 6, 150
	forKinds(t, func(t *testing.T, near, far net.Conn) {
		w := NewWriter(near, WriterOptions{OnError: func(err error) { t.Error(err) }})
		defer w.Close()
		var all sync.WaitGroup
		var bad atomic.Bool
		for i := range senders {
			all.Go(func() {
				for range each {
					ctx, cancel := context.WithCancel(t.Context())
					m := bytes.Repeat([]byte{byte(i)}, 3000)
					go cancel()
					if err := w.Write(ctx, m[:7], m[7:2000], m[2000:]); err != nil && err != context.Canceled {
						t.Error(err)
					}
					for j := range m {
						m[j] = 0xff
					}
					cancel()
				}
			})
		}
		read := goes(func() {
			m := make([]byte, 3000)
			for {
				_, err := io.ReadFull(far, m)
				if err != nil || m[0] == 100 {
					return
				}
				if m[0] >= senders || !bytes.Equal(m, bytes.Repeat(m[:1], len(m))) {
					bad.Store(true)
				}
			}
		})
		all.Wait()
		if err := w.Write(t.Context(), bytes.Repeat([]byte{100}, 3000)); err != nil {
			t.Error(err)
		}
		within(t, "the peer reads to the end", read)
		if bad.Load() {
			t.Error("the peer got a message that is not whole, or that its sender changed after Write returned")
		}
	})
}

// What Queue takes is bounded by what the peer has not read, even if it reads on in small steps, and what is refused is not sent.
func TestQueueLimit(t *testing.T) {
	const limit, size = 50000, 988 // 1,000 bytes with the message's head
	forKinds(t, func(t *testing.T, near, far net.Conn) {
		w := NewWriter(near, WriterOptions{QueueLimit: limit})
		defer w.Close()
		took, read := 0, 0
		fill := func() {
			for {
				err := w.Queue(message(0, took, size))
				if errors.Is(err, ErrSlow) {
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				took++
			}
		}
		eventually(t, "the peer's buffers are full", func() bool {
			fill()
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.waiting && w.queued > limit-2000
		})
		fill()
		first := took
		if held := took * (1000 + queuedOverhead); near.LocalAddr().Network() == "pipe" && held > limit+2*pieceBytes {
			t.Errorf("holds %d bytes, limit %d", held, limit)
		}
		pipe := far.LocalAddr().Network() == "pipe"
		m := make([]byte, 1000)
		for range 500 {
			if _, err := io.ReadFull(far, m); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(m, message(0, read, size)) {
				t.Fatalf("message %d is not whole", read)
			}
			read++
			fill()
			if over := took - read; pipe && over > (limit+2*pieceBytes)/1000 || over > 2*first+1000 {
				t.Fatalf("after %d messages read, %d more were taken; %d at first", read, over, first)
			}
		}
		go func() {
			if err := w.Flush(t.Context()); err != nil {
				t.Error(err)
			}
			w.Queue([]byte("end"))
		}()
		for ; read < took; read++ {
			if _, err := io.ReadFull(far, m); err != nil || !bytes.Equal(m, message(0, read, size)) {
				t.Fatalf("message %d of %d: %v", read, took, err)
			}
		}
		if _, err := io.ReadFull(far, m[:3]); err != nil || string(m[:3]) != "end" {
			t.Errorf("at the end: %q, %v", m[:3], err)
		}
	})
}

// Very short buffers are bounded too.
func TestQueueLimitCountsShortBuffers(t *testing.T) {
	near, _ := pair(t, "pipe")
	w := NewWriter(near, WriterOptions{QueueLimit: 6400})
	defer w.Close()
	n := 0
	for ; w.Queue([]byte{1}) == nil; n++ {
		if n > 1000 {
			t.Fatal("takes 1,000 buffers of one byte")
		}
	}
	for range 1000 {
		w.Queue(nil, []byte{})
	}
	eventually(t, "the first is taken", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.waiting
	})
	got := 0
	for _, e := range []*entries{w.queue, w.rest} {
		if e != nil {
			got += len(e.list)
		}
	}
	if got > 100 {
		t.Errorf("holds %d buffers, want at most 100", got)
	}
}

// Close ends those who wait, at once and without OnError, and leaves no deadline on the connection.
func TestCloseWhileWritersWait(t *testing.T) {
	const waiting = 5
	for name, timeout := range map[string]time.Duration{"with a timeout": time.Hour, "without": -1} {
		t.Run(name, func(t *testing.T) {
			forKinds(t, func(t *testing.T, near, far net.Conn) {
				w := NewWriter(near, WriterOptions{Timeout: timeout, OnError: func(err error) { t.Error("OnError: ", err) }})
				wrote := make(chan error, waiting)
				for i := range waiting {
					go func() { wrote <- w.Write(t.Context(), message(i, 0, 4<<20)) }()
				}
				stuck(t, w)
				w.Close()
				for range waiting {
					if err := <-wrote; !errors.Is(err, net.ErrClosed) {
						t.Errorf("Write: %v, want net.ErrClosed", err)
					}
				}
				w.Wake()
				if q, f := w.Queue([]byte{1}), w.Flush(t.Context()); !errors.Is(q, net.ErrClosed) || !errors.Is(f, net.ErrClosed) {
					t.Errorf("afterwards: Queue %v, Flush %v; want net.ErrClosed", q, f)
				}
				eventually(t, "nobody waits", func() bool {
					w.mu.Lock()
					defer w.mu.Unlock()
					return !w.waiting
				})
				if _, ok := near.(interface{ NetConn() net.Conn }); ok {
					return // TLS does not go on after a write that was cut off
				}
				go io.Copy(io.Discard, far)
				if _, err := near.Write(make([]byte, 1<<20)); err != nil {
					t.Error("a write of the connection's own: ", err)
				}
			})
		})
	}
}

// Writers close, write, queue and are woken all at once, while the connection breaks.
func TestCloseAtAnyMoment(t *testing.T) {
	forKinds(t, func(t *testing.T, near, far net.Conn) {
		go io.Copy(io.Discard, far)
		kind := near.LocalAddr().Network()
		for i := range 200 {
			var calls atomic.Int32
			w := NewWriter(near, WriterOptions{OnError: func(error) { calls.Add(1) }})
			w.SetSource(&list{pending: [][]byte{make([]byte, 100)}})
			var all sync.WaitGroup
			for _, f := range []func(){
				func() { w.Write(t.Context(), make([]byte, 50000), make([]byte, 5)) },
				func() { w.Write(t.Context(), []byte{1}) },
				func() { w.Queue(make([]byte, 1000)) },
				w.Wake,
				func() { w.Flush(t.Context()) },
				func() { w.Close() },
			} {
				all.Go(f)
			}
			if i == 199 {
				all.Go(func() { near.Close() })
			}
			within(t, "calls of a writer that is closed", goes(all.Wait))
			if n := calls.Load(); n > 1 || n > 0 && i < 199 && kind != "tcp" {
				t.Fatalf("round %d: OnError was called %d times", i, n)
			}
			eventually(t, "the writer lets go", func() bool {
				w.mu.Lock()
				defer w.mu.Unlock()
				return !w.waiting
			})
		}
	})
}

// A connection that breaks ends the writer with the system's word for it.
func TestBrokenConnection(t *testing.T) {
	forKinds(t, func(t *testing.T, near, far net.Conn) {
		failed := make(chan error, 10)
		w := NewWriter(near, WriterOptions{OnError: func(err error) { failed <- err }})
		w.SetSource(&list{})
		far.Close()
		var err error
		for err == nil {
			if err = w.Write(t.Context(), make([]byte, 100000)); errors.Is(err, ErrSlow) {
				err = nil
			}
		}
		if told := <-failed; told != err {
			t.Errorf("Write says %v, OnError %v", err, told)
		}
		var op *net.OpError
		if near.LocalAddr().Network() != "pipe" && (!errors.As(err, &op) || op.Op != "write") {
			t.Errorf("%v is not a net.OpError of a write", err)
		}
		if len(failed) > 0 {
			t.Error("OnError is called twice")
		}
	})
}
