package ring

import (
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// model is a ring as simply as it can be written, with the cursors that follow it.
type model struct {
	limits  Limits
	items   []Item[int]
	tail    uint64
	head    uint64
	evicted uint64
	closed  bool
	cursors []*modelCursor
}

type modelCursor struct {
	real   *Cursor[int]
	seq    uint64
	armed  bool
	closed bool
	woken  int // by the real ring
	want   int
}

// Wake counts.
func (c *modelCursor) Wake() { c.woken++ }

func (m *model) append(v, size int, now time.Time) {
	if m.closed {
		return
	}
	m.items = append(m.items, Item[int]{Seq: m.head, Time: now, Size: size, Value: v})
	m.head++
	m.trim()
	m.wake()
}

// trim drops the oldest item while a bound is passed and another is left.
func (m *model) trim() {
	for len(m.items) > 1 && m.over() {
		m.items = m.items[1:]
		m.tail++
		m.evicted++
	}
}

func (m *model) over() bool {
	age := m.items[len(m.items)-1].Time.Sub(m.items[0].Time)
	return len(m.items) > m.limits.Count || m.limits.Bytes > 0 && m.bytes() > m.limits.Bytes || m.limits.Age > 0 && age > m.limits.Age
}

func (m *model) bytes() (sum int64) {
	for _, it := range m.items {
		sum += int64(it.Size)
	}
	return sum
}

func (m *model) wake() {
	for _, c := range m.cursors {
		if c.armed && (c.seq < m.head || m.closed) {
			c.armed = false
			c.want++
		}
	}
}

func (m *model) read(c *modelCursor, n int) (items []Item[int], missed uint64, end bool) {
	if c.seq < m.tail {
		missed = m.tail - c.seq
		c.seq = m.tail
	}
	for len(items) < n && c.seq < m.head {
		items = append(items, m.items[c.seq-m.tail])
		c.seq++
	}
	return items, missed, len(items) == 0 && missed == 0 && m.closed && n > 0
}

// steps turns bytes into choices.
type steps []byte

func (s *steps) next(n int) int {
	if len(*s) == 0 {
		return 0
	}
	b := (*s)[0]
	*s = (*s)[1:]
	return int(b) % n
}

func (s *steps) limits() Limits {
	l := Limits{Count: 1 + s.next(40)}
	if s.next(2) == 1 {
		l.Bytes = int64(1 + s.next(100))
	}
	if s.next(2) == 1 {
		l.Age = time.Duration(1+s.next(50)) * time.Millisecond
	}
	return l
}

var errEnd = errors.New("the end")

// runModel does what the steps say with a ring and with its model, and compares them after each step.
func runModel(t *testing.T, s steps) {
	first := uint64(s.next(20))
	limits := s.limits()
	r := New[int](7, first, limits)
	m := &model{limits: limits, tail: first, head: first}
	now := time.Unix(1000, 0)
	for i := 0; len(s) > 0; i++ {
		op := s.next(16)
		switch {
		case op < 6:
			now = now.Add(time.Duration(s.next(20)) * time.Millisecond)
			size := s.next(30)
			if seq := r.Append(i, size, now); seq != m.head {
				t.Fatalf("step %d: Append gave %d, want %d", i, seq, m.head)
			}
			m.append(i, size, now)
		case op < 7:
			c := &modelCursor{seq: uint64(s.next(60))}
			c.real = r.Cursor(c.seq)
			m.cursors = append(m.cursors, c)
		case op == 7 && s.next(8) == 0:
			r.Close(errEnd)
			m.closed = true
			m.wake()
		case op == 8:
			m.limits = s.limits()
			r.SetLimits(m.limits)
			m.trim()
		case len(m.cursors) > 0:
			stepCursor(t, i, op, &s, m)
		}
		compare(t, i, r, m)
	}
}

func stepCursor(t *testing.T, i, op int, s *steps, m *model) {
	c := m.cursors[s.next(len(m.cursors))]
	switch {
	case op < 12:
		dst := make([]Item[int], s.next(8))
		n, missed, err := c.real.Read(dst)
		items, wantMissed, end := m.read(c, len(dst))
		if !slices.Equal(dst[:n], items) || missed != wantMissed || end != (err != nil) || end && err != errEnd {
			t.Fatalf("step %d: Read gave %v, %d missed, %v; want %v, %d missed, end %v", i, dst[:n], missed, err, items, wantMissed, end)
		}
	case op < 14:
		there := !c.closed && (c.seq < m.head || m.closed)
		if got := c.real.Arm(c); got == there {
			t.Fatalf("step %d: Arm gave %v at %d of %d, ring closed %v, cursor closed %v", i, got, c.seq, m.head, m.closed, c.closed)
		}
		c.armed = !there && !c.closed
	case op == 14:
		c.seq, c.armed = uint64(s.next(80)), false
		c.real.Seek(c.seq)
	default:
		c.real.Close()
		c.closed, c.armed = true, false
	}
}

func compare(t *testing.T, i int, r *Ring[int], m *model) {
	t.Helper()
	open := 0
	for j, c := range m.cursors {
		lag := uint64(0)
		if m.head > c.seq {
			lag = m.head - c.seq
		}
		if c.woken != c.want || c.real.Seq() != c.seq || c.real.Lag() != lag {
			t.Fatalf("step %d: cursor %d is at %d with lag %d and was woken %d times; want %d, %d, %d", i, j, c.real.Seq(), c.real.Lag(), c.woken, c.seq, lag, c.want)
		}
		if !c.closed {
			open++
		}
	}
	want := Stats{Items: len(m.items), Bytes: m.bytes(), Cursors: open, Evicted: m.evicted}
	if got := r.Stats(); got != want {
		t.Fatalf("step %d: %+v, want %+v", i, got, want)
	}
	if tail, head := r.Bounds(); tail != m.tail || head != m.head {
		t.Fatalf("step %d: bounds %d, %d; want %d, %d", i, tail, head, m.tail, m.head)
	}
	for seq := m.tail; seq < m.head; seq++ {
		if it, ok := r.At(seq); !ok || it != m.items[seq-m.tail] {
			t.Fatalf("step %d: At(%d) is %v, %v; want %v", i, seq, it, ok, m.items[seq-m.tail])
		}
	}
	for _, seq := range []uint64{m.tail - 1, m.head} {
		if it, ok := r.At(seq); ok {
			t.Fatalf("step %d: At(%d) is %v, want none", i, seq, it)
		}
	}
}

func TestRingIsItsModel(t *testing.T) {
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 1))
		s := make(steps, 1500)
		for i := range s {
			s[i] = byte(random.IntN(256))
		}
		runModel(t, s)
	}
}

func FuzzRing(f *testing.F) {
	f.Add([]byte{0, 3, 0, 0, 6, 0, 0, 1, 1, 0, 1, 1, 12, 0, 0, 1, 1, 9, 0, 4})
	f.Add([]byte{5, 1, 1, 9, 1, 3, 6, 9, 12, 0, 0, 19, 29, 0, 19, 29, 9, 0, 7, 7, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		runModel(t, b[:min(len(b), 4000)])
	})
}

func TestBounds(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(50, 0).Add(time.Duration(ms) * time.Millisecond) }
	for name, c := range map[string]struct {
		limits Limits
		sizes  []int
		times  []int
		tail   uint64
	}{
		"count":                     {Limits{Count: 3}, []int{1, 1, 1, 1, 1}, []int{0, 0, 0, 0, 0}, 2},
		"count by default":          {Limits{}, slices.Repeat([]int{1}, DefaultCount+5), make([]int, DefaultCount+5), 5},
		"bytes":                     {Limits{Bytes: 10}, []int{4, 4, 4}, []int{0, 0, 0}, 1},
		"bytes exactly":             {Limits{Bytes: 12}, []int{4, 4, 4}, []int{0, 0, 0}, 0},
		"the newest always stays":   {Limits{Bytes: 10}, []int{4, 4, 400}, []int{0, 0, 0}, 2},
		"age":                       {Limits{Age: time.Second}, []int{1, 1, 1}, []int{0, 1000, 1001}, 1},
		"a clock that goes back":    {Limits{Age: time.Second}, []int{1, 1, 1}, []int{5000, 0, 5000}, 0},
		"whichever bound is passed": {Limits{Count: 9, Bytes: 9, Age: time.Second}, []int{1, 1, 9}, []int{0, 0, 0}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			r := New[int](1, 0, c.limits)
			for i, size := range c.sizes {
				r.Append(i, size, at(c.times[i]))
			}
			if tail, head := r.Bounds(); tail != c.tail || head != uint64(len(c.sizes)) {
				t.Errorf("holds %d to %d, want %d to %d", tail, head, c.tail, len(c.sizes))
			}
		})
	}
}

func TestClose(t *testing.T) {
	for _, c := range []struct{ cause, want error }{{nil, io.EOF}, {errEnd, errEnd}} {
		r := New[string](1, 0, Limits{Count: 2})
		cursor := r.Cursor(0)
		for _, v := range []string{"a", "b", "c"} {
			r.Append(v, 1, time.Time{})
		}
		r.Close(c.cause)
		r.Close(errors.New("a later cause"))
		if seq := r.Append("d", 1, time.Time{}); seq != 3 {
			t.Errorf("Append after Close: place %d, want 3", seq)
		}
		items := make([]Item[string], 5)
		n, missed, err := cursor.Read(items)
		if n != 2 || missed != 1 || err != nil || items[0].Value != "b" || items[1].Value != "c" {
			t.Errorf("after Close: %v, %d missed, %v; want what is held", items[:n], missed, err)
		}
		if n, _, err := cursor.Read(items); n != 0 || err != c.want {
			t.Errorf("at the end: %d items, %v; want %v", n, err, c.want)
		}
		if n, _, err := r.Cursor(9).Read(items); n != 0 || err != c.want {
			t.Errorf("past the end: %d items, %v; want %v", n, err, c.want)
		}
	}
}

func TestEvictedValuesAreLetGo(t *testing.T) {
	r := New[*int](1, 0, Limits{Count: 4})
	for range 100 {
		r.Append(new(int), 1, time.Time{})
	}
	held := 0
	for _, it := range r.items {
		if it.Value != nil {
			held++
		}
	}
	if held != 4 {
		t.Errorf("the ring keeps %d values alive, want 4", held)
	}
}
