package netio

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

type handlerFunc func(t *Turn)

func (f handlerFunc) Turn(t *Turn) { f(t) }

// collector reads all that comes; over gets the error that ends it.
type collector struct {
	w    *Watch
	got  bytes.Buffer
	over chan error
	in   atomic.Int32 // turns that are in progress
	t    *testing.T
}

func (c *collector) Turn(t *Turn) {
	if c.in.Add(1) != 1 {
		c.t.Error("two turns at once")
	}
	defer c.in.Add(-1)
	for range 3 {
		b, more, err := t.Read()
		c.got.Write(b)
		if err != nil {
			c.w.Stop()
			c.over <- err
			return
		}
		if !more {
			return
		}
	}
	t.More()
}

// watch collects what comes on one end of a new connection, and returns the other.
func watch(t *testing.T, network string) (*collector, net.Conn) {
	t.Helper()
	near, far := pair(t, "own "+network)
	c := &collector{t: t, over: make(chan error, 1)}
	c.w = NewWatch(near, c)
	if !c.w.Start() {
		t.Fatal("the watch does not start")
	}
	t.Cleanup(c.w.Stop)
	return c, far
}

// Whatever the pieces in which bytes come, and the moment of the end, all of it is read once, by one turn at a time.
func TestWatchLosesNothing(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		var all sync.WaitGroup
		for i := range 20 {
			c, far := watch(t, network)
			data := make([]byte, rand.IntN(4<<20>>i)+1)
			for i := range data {
				data[i] = byte(rand.Uint32())
			}
			all.Go(func() {
				for rest := data; len(rest) > 0; {
					n := min(rand.IntN(64<<10)+1, len(rest))
					far.Write(rest[:n])
					rest = rest[n:]
					if rand.IntN(4) == 0 {
						c.w.Wake()
					}
				}
				far.Close()
				if err := <-c.over; err != io.EOF || !bytes.Equal(c.got.Bytes(), data) {
					t.Errorf("%s: got %d of %d bytes, %v", network, c.got.Len(), len(data), err)
				}
			})
		}
		all.Wait()
	}
}

func TestWatchOfAReset(t *testing.T) {
	c, far := watch(t, "tcp")
	far.(*net.TCPConn).SetLinger(0)
	far.Close()
	var op *net.OpError
	if err := <-c.over; !errors.Is(err, syscall.ECONNRESET) || !errors.As(err, &op) || op.Op != "read" || op.Addr == nil {
		t.Errorf("got %v", err)
	}
}

// A watch whose connection was closed gets a turn when it is woken, and sees it.
func TestWatchOfAClosed(t *testing.T) {
	c, _ := watch(t, "tcp")
	c.w.socket.Close()
	c.w.Wake()
	if err := <-c.over; !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if w := NewWatch(c.w.socket, c); w.Start() {
		t.Error("a closed connection is watched")
	}
	near, _ := pair(t, "tcp")
	if NewWatch(near, c) != nil {
		t.Error("a connection of package net is watched")
	}
}

// No turn begins after Stop, and another reader goes on where the watch has stopped.
func TestWatchStops(t *testing.T) {
	near, far := pair(t, "own tcp")
	got := make(chan string, 1)
	var w *Watch
	w = NewWatch(near, handlerFunc(func(turn *Turn) {
		if b, _, _ := turn.Read(); len(b) > 0 {
			w.Stop()
			got <- string(b)
		}
	}))
	w.Start()
	far.Write([]byte("a"))
	if s := <-got; s != "a" {
		t.Errorf("got %q", s)
	}
	far.Write([]byte("b"))
	w.Wake()
	b := make([]byte, 9)
	if n, err := near.Read(b); err != nil || string(b[:n]) != "b" {
		t.Errorf("got %q, %v", b[:n], err)
	}
}

// Turns that block hold up nobody else, in whatever order they and others come.
func TestWatchTurnsThatBlock(t *testing.T) {
	free := make(chan struct{})
	var stuck, done sync.WaitGroup
	for range 20 {
		near, far := pair(t, "own tcp")
		stuck.Add(1)
		done.Add(1)
		var once sync.Once
		w := NewWatch(near, handlerFunc(func(turn *Turn) {
			if b, _, _ := turn.Read(); len(b) > 0 {
				once.Do(stuck.Done)
				<-free
				done.Done()
			}
		}))
		w.Start()
		t.Cleanup(w.Stop)
		far.Write([]byte("x"))
	}
	stuck.Wait() // all of them at once
	c, far := watch(t, "tcp")
	far.Write([]byte("y"))
	far.Close()
	if err := <-c.over; err != io.EOF || c.got.String() != "y" {
		t.Errorf("got %q, %v", c.got.String(), err)
	}
	close(free)
	done.Wait()
}

// A descriptor that is closed and used again for another connection confuses nobody.
func TestWatchDescriptorsUsedAgain(t *testing.T) {
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 50 {
				near, far := dial(t, "tcp", "127.0.0.1:0")
				near = Own(near)
				c := &collector{t: t, over: make(chan error, 1)}
				c.w = NewWatch(near, c)
				c.w.Start()
				far.Write([]byte("mine"))
				if rand.IntN(2) == 0 {
					near.Close() // and only then Stop
					c.w.Stop()
				} else {
					far.Close()
					if err := <-c.over; err != io.EOF || c.got.String() != "mine" {
						t.Errorf("got %q, %v", c.got.String(), err)
					}
					near.Close()
				}
				far.Close()
			}
		})
	}
	all.Wait()
}

// Without watches there is neither an epoll descriptor nor a goroutine.
func TestLoopsEnd(t *testing.T) {
	c, far := watch(t, "tcp")
	loops.mu.Lock()
	l := c.w.loop
	alive := slices.Contains(loops.all, l)
	loops.mu.Unlock()
	if !alive {
		t.Fatal("no loop")
	}
	far.Close()
	<-c.over
	eventually(t, "the loop ends", func() bool {
		loops.mu.Lock()
		defer loops.mu.Unlock()
		return len(loops.all) == 0 && l.watches == 0
	})
	if _, err := l.file.Stat(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("its descriptor: %v", err)
	}
}

// A socket that nobody has closed is closed by the garbage collector, as those of package net are.
func TestSocketIsCollected(t *testing.T) {
	near, far := dial(t, "tcp", "127.0.0.1:0")
	defer far.Close()
	near = Own(near)
	near.Write([]byte("x"))
	near = nil
	ended := goes(func() { io.Copy(io.Discard, far) })
	eventually(t, "the other end sees the end", func() bool {
		runtime.GC()
		select {
		case <-ended:
			return true
		default:
			return false
		}
	})
}

// A socket has the addresses, the deadlines and the errors of package net.
func TestSocketIsAConn(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		plain, _ := pair(t, network)
		local, remote := plain.LocalAddr().String(), plain.RemoteAddr().String()
		near := Own(plain)
		if near.LocalAddr().String() != local || near.RemoteAddr().String() != remote || near.LocalAddr().Network() != network {
			t.Errorf("%s: %v and %v, want %s and %s", network, near.LocalAddr(), near.RemoteAddr(), local, remote)
		}
		if _, err := plain.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the connection that was taken over: %v", err)
		}
		near.SetDeadline(time.Now().Add(-1))
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a read under a passed deadline: %v", err)
		}
		near.SetDeadline(time.Time{})
		read := make(chan error, 1)
		go func() {
			_, err := near.Read(make([]byte, 1))
			read <- err
		}()
		near.Close()
		var op *net.OpError
		if err := <-read; !errors.Is(err, net.ErrClosed) || !errors.As(err, &op) {
			t.Errorf("a read of a closed socket: %v", err)
		}
		if _, err := near.Write([]byte("x")); !errors.Is(err, net.ErrClosed) || near.SetDeadline(time.Now()) == nil || near.Close() == nil || near.(*Socket).CloseWrite() == nil {
			t.Errorf("a closed socket still works: %v", err)
		}
		if near.RemoteAddr().String() != remote {
			t.Errorf("a closed socket's remote address is %v", near.RemoteAddr())
		}
	}
}

// Readers, writers and closers of one socket, all at once.
func TestSocketManyUsers(t *testing.T) {
	for range 100 {
		near, far := dial(t, "tcp", "127.0.0.1:0")
		near = Own(near)
		go io.Copy(io.Discard, far)
		var all sync.WaitGroup
		for i := range 6 {
			all.Go(func() {
				for err := error(nil); err == nil; {
					switch i {
					case 0:
						_, err = near.Read(make([]byte, 1))
					case 1:
						_, err = near.Write([]byte("x"))
					case 2:
						err = near.SetReadDeadline(time.Now().Add(time.Hour))
					default:
						raw, _ := near.(*Socket).SyscallConn()
						err = raw.Control(func(uintptr) {})
					}
					if err != nil && !errors.Is(err, net.ErrClosed) {
						t.Error(err)
					}
				}
			})
		}
		runtime.Gosched()
		near.Close()
		all.Wait()
		far.Close()
	}
}
