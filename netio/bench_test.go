//go:build unix

package netio

import (
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	// viewers is to how many connections the benchmarks send.
	viewers = 500
	// frameBytes is about one video frame of a 2.5 Mbps stream at 25 frames a second.
	frameBytes = 12 << 10
)

// audience is many connections whose peers read and count.
type audience struct {
	conns []net.Conn
	bytes atomic.Int64
	want  atomic.Int64
	all   chan struct{}
}

func newAudience(b *testing.B, n int) *audience {
	a := &audience{all: make(chan struct{}, 1)}
	for range n {
		near, far := dial(b, "tcp", "127.0.0.1:0")
		b.Cleanup(func() { near.Close(); far.Close() })
		a.conns = append(a.conns, near)
		go a.read(far)
	}
	return a
}

func (a *audience) read(c net.Conn) {
	r := NewReader(c, 0)
	count := func(b []byte) error {
		if a.bytes.Add(int64(len(b))) == a.want.Load() {
			a.all <- struct{}{}
		}
		return nil
	}
	for r.Next(count) == nil {
	}
}

// expect says how many bytes more are to arrive; arrived waits for them.
func (a *audience) expect(n int) { a.want.Add(int64(n)) }
func (a *audience) arrived()     { <-a.all }

// pulse gives the same frame whenever it is told.
type pulse struct {
	frame []byte
	due   atomic.Int64
}

// Fill implements Source.
func (p *pulse) Fill(dst [][]byte, _ int) [][]byte {
	for ; p.due.Load() > 0; p.due.Add(-1) {
		dst = append(dst, p.frame)
	}
	return dst
}

// cpu is what the process has used so far, the system's part included.
func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkFanOut sends one frame to 500 loopback connections, in turn by Wake and the pool and by a bare loop of conn.Write, to the same peers. An operation is both. The time and the
// processor time of each, receivers included, are reported, and their ratios: how far the writer is from the machine's own cost.
func BenchmarkFanOut(b *testing.B) {
	a := newAudience(b, viewers)
	frame := make([]byte, frameBytes)
	writers, sources := make([]*Writer, viewers), make([]pulse, viewers)
	for i, c := range a.conns {
		writers[i] = NewWriter(c, WriterOptions{})
		sources[i].frame = frame
		writers[i].SetSource(&sources[i])
	}
	var took, used [2]time.Duration
	measure := func(which int, send func()) {
		a.expect(viewers * frameBytes)
		began, before := time.Now(), cpu()
		send()
		a.arrived()
		took[which] += time.Since(began)
		used[which] += cpu() - before
	}
	bare := func() {
		for _, c := range a.conns {
			if _, err := c.Write(frame); err != nil {
				b.Error(err)
			}
		}
	}
	wake := func() {
		for i, w := range writers {
			sources[i].due.Add(1)
			w.Wake()
		}
	}
	measure(0, bare)
	measure(1, wake)
	took, used = [2]time.Duration{}, [2]time.Duration{}
	for b.Loop() {
		measure(0, bare)
		measure(1, wake)
	}
	each := float64(b.N) * viewers
	b.ReportMetric(float64(used[0])/each, "bare-cpu-ns/write")
	b.ReportMetric(float64(used[1])/each, "cpu-ns/write")
	b.ReportMetric(float64(used[1])/float64(used[0]), "cpu-ratio")
	b.ReportMetric(float64(took[1])/float64(took[0]), "time-ratio")
}

// BenchmarkFlush is one Wake with one small buffer to one connection and the peer's read of it.
func BenchmarkFlush(b *testing.B) {
	for _, kind := range kinds {
		b.Run(kind, func(b *testing.B) {
			b.ReportAllocs()
			near, far := pair(b, kind)
			w := NewWriter(near, WriterOptions{})
			defer w.Close()
			source := &pulse{frame: make([]byte, 100)}
			w.SetSource(source)
			got := make([]byte, 100)
			for b.Loop() {
				source.due.Add(1)
				w.Wake()
				if _, err := io.ReadFull(far, got); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkQueue(b *testing.B) {
	b.ReportAllocs()
	near, far := pair(b, "tcp")
	w := NewWriter(near, WriterOptions{})
	defer w.Close()
	reply, got := make([]byte, 100), make([]byte, 100)
	for b.Loop() {
		if err := w.Queue(reply); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(far, got); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWrite is Write of one buffer, which returns when the system has it; the bare conn.Write is the limit.
func BenchmarkWrite(b *testing.B) {
	for _, bare := range []bool{false, true} {
		name := map[bool]string{false: "writer", true: "bare"}[bare]
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			near, far := pair(b, "tcp")
			go io.Copy(io.Discard, far)
			w := NewWriter(near, WriterOptions{})
			defer w.Close()
			buf := make([]byte, 1000)
			b.SetBytes(1000)
			for b.Loop() {
				var err error
				if bare {
					_, err = near.Write(buf)
				} else {
					err = w.Write(b.Context(), buf)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkReader(b *testing.B) {
	b.ReportAllocs()
	near, far := pair(b, "tcp")
	r := NewReader(far, 0)
	buf := make([]byte, 1000)
	count := func([]byte) error { return nil }
	b.SetBytes(1000)
	for b.Loop() {
		near.Write(buf)
		if err := r.Next(count); err != nil {
			b.Fatal(err)
		}
	}
}
