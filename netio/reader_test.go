package netio

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"
)

func TestReaderLosesNothing(t *testing.T) {
	for _, size := range []int{0, 1, 1000, 1 << 30} {
		forKinds(t, func(t *testing.T, near, far net.Conn) {
			random := rand.New(rand.NewPCG(9, uint64(size)))
			total := 2 << 20
			if size == 1 {
				total = 5000
			}
			data := make([]byte, total)
			for i := range data {
				data[i] = byte(random.Uint32())
			}
			go func() {
				for rest := data; len(rest) > 0; {
					n := min(len(rest), 1+random.IntN(1<<random.IntN(18)))
					if _, err := near.Write(rest[:n]); err != nil {
						t.Error(err)
						return
					}
					rest = rest[n:]
				}
				near.Close()
			}()
			r := NewReader(far, size)
			var got []byte
			var err error
			for err == nil {
				err = r.Next(func(b []byte) error {
					if len(b) == 0 || len(b) > DefaultReadSize || size > 0 && len(b) > size {
						t.Errorf("%d bytes at once, size %d", len(b), size)
					}
					got = append(got, b...)
					return nil
				})
			}
			if err != io.EOF || !bytes.Equal(got, data) {
				t.Errorf("got %d of %d bytes, %v; equal: %v", len(got), len(data), err, bytes.Equal(got, data))
			}
			if err := r.Next(nil); err != io.EOF {
				t.Errorf("after the end: %v, want io.EOF", err)
			}
		})
	}
}

var errParse = errors.New("not a message")

func TestReaderStopsAndGoesOn(t *testing.T) {
	forKinds(t, func(t *testing.T, near, far net.Conn) {
		r := NewReader(far, 0)
		want := func(what, text string, give, err error) {
			t.Helper()
			got := ""
			if e := r.Next(func(b []byte) error { got = string(b); return give }); !errors.Is(e, err) || got != text {
				t.Errorf("%s: got %q, %v; want %q, %v", what, got, e, text, err)
			}
		}
		far.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		want("nothing in time", "", nil, os.ErrDeadlineExceeded)
		want("the deadline has passed", "", nil, os.ErrDeadlineExceeded)
		far.SetReadDeadline(time.Now().Add(patience))
		go near.Write([]byte("one"))
		want("bytes after a deadline", "one", nil, nil)
		go near.Write([]byte("two"))
		want("an error of the parser", "two", errParse, errParse)
		go near.Write([]byte("three"))
		want("bytes after an error", "three", nil, nil)
		deadline := goes(func() { want("a deadline that is set while it waits", "", nil, os.ErrDeadlineExceeded) })
		far.SetReadDeadline(past)
		within(t, "Next with a deadline in the past", deadline)
	})
}

// A parser may close the connection, and so may anybody else while it works.
func TestReaderIsClosedByItsParser(t *testing.T) {
	forKinds(t, func(t *testing.T, near, far net.Conn) {
		go near.Write([]byte("bye"))
		r := NewReader(far, 0)
		within(t, "Close within Next", goes(func() {
			if err := r.Next(func([]byte) error { return far.Close() }); err != nil {
				t.Errorf("Next: %v", err)
			}
		}))
		if err := r.Next(nil); !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("after Close: %v, want net.ErrClosed", err)
		}
	})
}

func TestReaderIsClosedWhileItWaits(t *testing.T) {
	forKinds(t, func(t *testing.T, near, far net.Conn) {
		ended := make(chan error, 1)
		go func() { ended <- NewReader(far, 0).Next(nil) }()
		far.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("got %v, want net.ErrClosed", err)
		}
	})
}

func TestReaderOfAReset(t *testing.T) {
	near, far := pair(t, "tcp")
	near.(*net.TCPConn).SetLinger(0)
	near.Close()
	var op *net.OpError
	err := NewReader(far, 0).Next(nil)
	if !errors.As(err, &op) || op.Op != "read" || err == io.EOF || op.Addr == nil {
		t.Errorf("got %v, want a net.OpError of a read", err)
	}
}

// A half-closed connection is at its end for the reader and still writable.
func TestReaderOfAHalf(t *testing.T) {
	near, far := pair(t, "tcp")
	near.(*net.TCPConn).CloseWrite()
	if err := NewReader(far, 0).Next(nil); err != io.EOF {
		t.Errorf("got %v, want io.EOF", err)
	}
	w := NewWriter(far, WriterOptions{})
	defer w.Close()
	if err := w.Write(t.Context(), []byte("still here")); err != nil {
		t.Error(err)
	}
	got := make([]byte, 10)
	if _, err := io.ReadFull(near, got); err != nil || string(got) != "still here" {
		t.Errorf("got %q, %v", got, err)
	}
}

// An idle plain socket holds no buffer; reading allocates nothing.
func TestReaderHoldsNothing(t *testing.T) {
	near, far := pair(t, "tcp")
	r := NewReader(far, 0)
	one := []byte{1}
	got := 0
	count := func(b []byte) error { got += len(b); return nil }
	if n := testing.AllocsPerRun(500, func() {
		near.Write(one)
		if err := r.Next(count); err != nil {
			t.Fatal(err)
		}
	}); n > 0 && !raceEnabled {
		t.Errorf("%v allocations a read, want 0", n)
	}
	if r.buf != nil || r.got != nil {
		t.Error("holds a buffer after Next")
	}
	if got != 501 {
		t.Errorf("read %d bytes, want 501", got)
	}
}
