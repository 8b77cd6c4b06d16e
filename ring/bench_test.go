package ring

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkAppend is Append with armed cursors that arm again when they are woken, as writers of connections do; a cursor's reading is part of it.
func BenchmarkAppend(b *testing.B) {
	for _, cursors := range []int{0, 1, 1000, 10000} {
		b.Run(fmt.Sprint("cursors=", cursors), func(b *testing.B) {
			b.ReportAllocs()
			r := New[int](1, 0, Limits{})
			readers := make([]handOff, cursors)
			for i := range readers {
				readers[i].cursor = r.Cursor(0)
				readers[i].Wake()
			}
			r.Append(1, 1, time.Time{})
			r.Append(1, 1, time.Time{})
			now := time.Now()
			b.ResetTimer()
			for b.Loop() {
				r.Append(1, 100, now)
			}
			if cursors > 0 {
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(cursors), "ns/cursor")
			}
		})
	}
}

func BenchmarkRead(b *testing.B) {
	for _, batch := range []int{1, 32, 256} {
		b.Run(fmt.Sprint("batch=", batch), func(b *testing.B) {
			b.ReportAllocs()
			r := New[[3]uint64](1, 0, Limits{Count: 1024})
			for range 1024 {
				r.Append([3]uint64{}, 1, time.Time{})
			}
			c := r.Cursor(0)
			items := make([]Item[[3]uint64], batch)
			for b.Loop() {
				if n, _, _ := c.Read(items); n < batch {
					c.Seek(0)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(batch), "ns/item")
		})
	}
}

// BenchmarkReadAtOnce is many cursors that read one ring in several goroutines.
func BenchmarkReadAtOnce(b *testing.B) {
	b.ReportAllocs()
	r := New[int](1, 0, Limits{Count: 1024})
	for range 1024 {
		r.Append(1, 1, time.Time{})
	}
	b.RunParallel(func(pb *testing.PB) {
		c := r.Cursor(0)
		items := make([]Item[int], 32)
		for pb.Next() {
			if n, _, _ := c.Read(items); n < len(items) {
				c.Seek(0)
			}
		}
	})
}

// BenchmarkOutput is Append to a ring from which one output is made.
func BenchmarkOutput(b *testing.B) {
	b.ReportAllocs()
	src := New[int](1, 0, Limits{})
	var outputs Outputs[int, []byte]
	frame := make([]byte, 100)
	out := outputs.Open("frames", src, 0, Limits{}, func() func(Item[int]) ([]byte, int) {
		return func(Item[int]) ([]byte, int) { return frame, len(frame) }
	})
	defer out.Close()
	now := time.Now()
	for b.Loop() {
		src.Append(1, 1, now)
	}
}
