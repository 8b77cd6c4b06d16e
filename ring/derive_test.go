package ring

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// textMaker makes "<how many it has made> <value>", and counts the makers.
func textMaker(makers *int) func() func(Item[int]) (string, int) {
	return func() func(Item[int]) (string, int) {
		*makers++
		made := 0
		return func(it Item[int]) (string, int) {
			made++
			s := fmt.Sprint(made, " ", it.Value)
			return s, len(s)
		}
	}
}

// take reads what is there now.
func take[T any](c *Cursor[T]) (values []T, seqs []uint64, missed uint64, err error) {
	batch := make([]Item[T], 5)
	for {
		n, m, err := c.Read(batch)
		missed += m
		for _, it := range batch[:n] {
			values, seqs = append(values, it.Value), append(seqs, it.Seq)
		}
		if n == 0 && m == 0 {
			return values, seqs, missed, err
		}
	}
}

func TestOutputIsMadeOnceForAll(t *testing.T) {
	src := New[int](9, 100, Limits{})
	stamp := time.Unix(77, 0)
	src.Append(0, 1, stamp)
	src.Append(1, 1, stamp)
	var outputs Outputs[int, string]
	makers := 0
	a := outputs.Open("text", src, 101, Limits{}, textMaker(&makers))
	early := a.Ring.Cursor(101)
	src.Append(2, 1, stamp)
	b := outputs.Open("text", src, 102, Limits{}, textMaker(&makers))
	late := b.Ring.Cursor(102)
	src.Append(3, 1, stamp)
	if a.Ring != b.Ring || makers != 1 {
		t.Fatalf("two readers of one output have %d makers", makers)
	}
	if got := a.Ring.Epoch(); got != 9 {
		t.Errorf("epoch %d, want the source's", got)
	}
	values, seqs, missed, err := take(early)
	if fmt.Sprint(values, seqs, missed, err) != "[1 1 2 2 3 3] [101 102 103] 0 <nil>" {
		t.Errorf("the early reader got %v at %v, %d missed, %v", values, seqs, missed, err)
	}
	values, seqs, _, _ = take(late)
	if fmt.Sprint(values, seqs) != "[2 2 3 3] [102 103]" {
		t.Errorf("the late reader got %v at %v", values, seqs)
	}
	if it, _ := a.Ring.At(102); it.Time != stamp || it.Size != 3 {
		t.Errorf("the item is %+v, want the source's time and the size given", it)
	}
	other := outputs.Open("other", src, 103, Limits{}, textMaker(&makers))
	if values, _, _, _ := take(other.Ring.Cursor(103)); fmt.Sprint(values) != "[1 3]" || makers != 2 {
		t.Errorf("another output has %v and %d makers, want its own", values, makers)
	}
}

func TestOutputEndsWithItsLastReader(t *testing.T) {
	src := New[int](1, 0, Limits{})
	var outputs Outputs[int, string]
	makers := 0
	a := outputs.Open("text", src, 0, Limits{}, textMaker(&makers))
	b := outputs.Open("text", src, 0, Limits{}, textMaker(&makers))
	forgotten := b.Ring.Cursor(0)
	woken := 0
	forgotten.Arm(waker(func() { woken++ }))
	a.Close()
	a.Close()
	src.Append(5, 1, time.Time{})
	if values, _, _, err := take(forgotten); fmt.Sprint(values, err) != "[1 5] <nil>" || woken != 1 {
		t.Errorf("after one of two holds is given up: %v, %v, woken %d times", values, err, woken)
	}
	b.Close()
	if s := src.Stats(); s.Cursors != 0 {
		t.Errorf("the source still has %d cursors", s.Cursors)
	}
	src.Append(6, 1, time.Time{})
	if values, _, _, err := take(forgotten); len(values) != 0 || err != io.EOF {
		t.Errorf("after the last hold: %v, %v; want io.EOF", values, err)
	}
	again := outputs.Open("text", src, 0, Limits{}, textMaker(&makers))
	defer again.Close()
	if values, _, _, _ := take(again.Ring.Cursor(0)); fmt.Sprint(values) != "[1 5 2 6]" || makers != 2 {
		t.Errorf("opened again: %v by maker %d, want a new one from the start", values, makers)
	}
}

func TestOutputEndsWithItsSource(t *testing.T) {
	src := New[int](1, 0, Limits{})
	var outputs Outputs[int, string]
	makers := 0
	out := outputs.Open("text", src, 0, Limits{}, textMaker(&makers))
	defer out.Close()
	src.Append(1, 1, time.Time{})
	src.Close(errEnd)
	if values, _, _, err := take(out.Ring.Cursor(0)); fmt.Sprint(values) != "[1 1]" || err != errEnd {
		t.Errorf("got %v, %v; want what was made and the source's cause", values, err)
	}
	late := outputs.Open("late", src, 0, Limits{}, textMaker(&makers))
	defer late.Close()
	if values, _, _, err := take(late.Ring.Cursor(0)); fmt.Sprint(values) != "[1 1]" || err != errEnd {
		t.Errorf("of an ended source: %v, %v; want what it holds and its cause", values, err)
	}
}

// What the source no longer holds is missed in the output under the same numbers.
func TestOutputBeginsWhereTheSourceDoes(t *testing.T) {
	src := New[int](1, 0, Limits{Count: 3})
	for i := range 10 {
		src.Append(i, 1, time.Time{})
	}
	var outputs Outputs[int, string]
	makers := 0
	out := outputs.Open("text", src, 2, Limits{Count: 2}, textMaker(&makers))
	defer out.Close()
	values, seqs, missed, _ := take(out.Ring.Cursor(2))
	if fmt.Sprint(values, seqs, missed) != "[2 8 3 9] [8 9] 6" {
		t.Errorf("got %v at %v, %d missed; want the newest two and 6 missed", values, seqs, missed)
	}
	ahead := outputs.Open("ahead", src, 12, Limits{}, textMaker(&makers))
	defer ahead.Close()
	for i := 10; i < 14; i++ {
		src.Append(i, 1, time.Time{})
	}
	if values, seqs, _, _ := take(ahead.Ring.Cursor(12)); fmt.Sprint(values, seqs) != "[1 12 2 13] [12 13]" {
		t.Errorf("an output that begins ahead of its source has %v at %v", values, seqs)
	}
}

// An item that the maker's ring was too late for leaves a gap in the numbers, never other items under its number.
func TestGapInASourceIsAGapInTheOutput(t *testing.T) {
	r := New[string](1, 0, Limits{})
	c := r.Cursor(0)
	r.appendAt(Item[string]{Seq: 0, Value: "a"})
	take(c)
	woken := 0
	c.Arm(waker(func() { woken++ }))
	r.appendAt(Item[string]{Seq: 4, Value: "b"})
	r.appendAt(Item[string]{Seq: 3, Value: "too late"})
	values, seqs, missed, _ := take(c)
	if fmt.Sprint(values, seqs, missed, woken) != "[b] [4] 3 1" {
		t.Errorf("got %v at %v, %d missed, woken %d times", values, seqs, missed, woken)
	}
}

// A reader may give up its hold while it is being woken.
func TestOutputClosedByItsWaker(t *testing.T) {
	src := New[int](1, 0, Limits{})
	var outputs Outputs[int, string]
	makers := 0
	out := outputs.Open("text", src, 0, Limits{}, textMaker(&makers))
	out.Ring.Cursor(0).Arm(waker(out.Close))
	src.Append(1, 1, time.Time{})
	if s := src.Stats(); s.Cursors != 0 {
		t.Errorf("the source still has %d cursors", s.Cursors)
	}
}

// Readers open, read and close outputs while several writers append: one maker at a time, items in order, each once.
func TestOutputsAtOnce(t *testing.T) {
	const writers, items, readers, lives = 2, 4000, 8, 60
	src := New[int](1, 0, Limits{Count: 128})
	var outputs Outputs[int, uint64]
	maker := func() func(Item[int]) (uint64, int) {
		var busy atomic.Int32
		var last uint64
		return func(it Item[int]) (uint64, int) {
			if busy.Add(1) != 1 {
				t.Error("a maker is called twice at once")
			}
			if last != 0 && it.Seq <= last {
				t.Errorf("made %d after %d", it.Seq, last)
			}
			last = it.Seq
			busy.Add(-1)
			return it.Seq, 8
		}
	}
	var appending, reading sync.WaitGroup
	for range writers {
		appending.Go(func() {
			for i := range items {
				src.Append(i, 1, time.Time{})
			}
		})
	}
	for i := range readers {
		reading.Go(func() {
			batch := make([]Item[uint64], 1+i)
			for range lives {
				_, at := src.Bounds()
				out := outputs.Open("name", src, at, Limits{Count: 64}, maker)
				c := out.Ring.Cursor(at)
				next := at
				for range 10 {
					n, missed, err := c.Read(batch)
					next += missed
					for _, it := range batch[:n] {
						if it.Seq != next || it.Value != next {
							t.Errorf("read %d at %d, want %d", it.Value, it.Seq, next)
						}
						next++
					}
					if err != nil || n == 0 && c.Wait(t.Context()) != nil {
						break
					}
				}
				c.Close()
				out.Close()
			}
		})
	}
	appending.Wait()
	src.Close(nil)
	reading.Wait()
	if s := src.Stats(); s.Cursors != 0 {
		t.Errorf("the source still has %d cursors", s.Cursors)
	}
}
