package ring

import (
	"sync"
	"sync/atomic"
)

// deriveBatch is how many items a derived ring takes from its source under one lock: as a rule there is one, and each ring holds room for so many.
const deriveBatch = 4

// derived makes the items of one ring out of another's.
type derived[S, T any] struct {
	src    *Cursor[S]
	dst    *Ring[T]
	closed atomic.Bool

	mu    sync.Mutex // one maker at a time
	make  func(Item[S]) (T, int)
	batch [deriveBatch]Item[S]
}

// Wake makes what is new; it runs in the goroutine of the source's writer.
func (d *derived[S, T]) Wake() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for !d.closed.Load() {
		n, _, err := d.src.Read(d.batch[:])
		for i := range n {
			v, size := d.make(d.batch[i])
			d.dst.appendAt(Item[T]{Seq: d.batch[i].Seq, Time: d.batch[i].Time, Size: size, Value: v})
		}
		clear(d.batch[:n])
		if err != nil {
			d.dst.Close(err)
			return
		}
		if n == 0 && d.src.Arm(d) {
			return
		}
	}
}

// close ends the derived ring. It takes no lock of Wake's, so a reader may give up its hold while it is being woken.
func (d *derived[S, T]) close() {
	d.closed.Store(true)
	d.src.Close()
	d.dst.Close(nil)
}

// Outputs is a set of rings that are derived from one source, each made once for all its readers and alive while somebody reads it. An item has the
// same sequence number as the one it was made from. The zero value is ready; all methods may run at once.
type Outputs[S, T any] struct {
	mu   sync.Mutex
	open map[string]*shared[S, T]
}

type shared[S, T any] struct {
	outputs *Outputs[S, T]
	name    string
	derived *derived[S, T]
	readers int
}

// Output is one reader's hold on a derived ring.
type Output[T any] struct {
	// Ring is the derived ring.
	Ring   *Ring[T]
	of     interface{ release() }
	closed atomic.Bool
}

// Close gives up the hold; with the last one the derived ring ends (io.EOF). It may be called more than once.
func (o *Output[T]) Close() {
	if !o.closed.Swap(true) {
		o.of.release()
	}
}

// Open returns the derived ring called name, making it if nobody reads it yet: it then begins with the source's item from. newMaker is called for a
// new ring only and returns the function that makes an item and its size; that function is called for one item after the other, in order, in the
// goroutine of the source's writer (for what the source holds already, of Open's caller), so it may keep state. Neither may call Outputs or the derived ring.
func (o *Outputs[S, T]) Open(name string, src *Ring[S], from uint64, l Limits, newMaker func() func(Item[S]) (T, int)) *Output[T] {
	o.mu.Lock()
	s := o.open[name]
	if s == nil {
		if tail, _ := src.Bounds(); from < tail {
			from = tail
		}
		s = &shared[S, T]{outputs: o, name: name, derived: &derived[S, T]{src: src.Cursor(from), dst: New[T](src.Epoch(), from, l), make: newMaker()}}
		if o.open == nil {
			o.open = make(map[string]*shared[S, T])
		}
		o.open[name] = s
	}
	s.readers++
	fresh := s.readers == 1
	o.mu.Unlock()
	if fresh {
		s.derived.Wake()
	}
	return &Output[T]{Ring: s.derived.dst, of: s}
}

func (s *shared[S, T]) release() {
	o := s.outputs
	o.mu.Lock()
	s.readers--
	last := s.readers == 0
	if last && o.open[s.name] == s {
		delete(o.open, s.name)
	}
	o.mu.Unlock()
	if last {
		s.derived.close()
	}
}
