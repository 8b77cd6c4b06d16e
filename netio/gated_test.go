package netio

import (
	"net"
	"sync"
	"testing"
)

// gatedList is a list that its owner can keep shut.
type gatedList struct {
	list
	gate sync.Mutex
}

func (g *gatedList) Enter() bool { return g.gate.TryLock() }
func (g *gatedList) Leave()      { g.gate.Unlock() }

// What an owner queues before it opens the gate goes out before what the source gives then, however the turns of the writer fall.
func TestGatedSource(t *testing.T) {
	const rounds = 200
	forKinds(t, func(t *testing.T, near, far net.Conn) {
		w := NewWriter(near, WriterOptions{OnError: func(err error) { t.Error(err) }})
		defer w.Close()
		source := &gatedList{}
		w.SetSource(source)
		stop := make(chan struct{})
		woken := goes(func() {
			for {
				select {
				case <-stop:
					return
				default:
					w.Wake()
				}
			}
		})
		senders, err := []int(nil), error(nil)
		read := goes(func() { senders, err = receive(far, 2*rounds) })
		for i := range rounds {
			source.gate.Lock()
			w.Queue(message(1, i, 10))
			source.add(message(2, i, 10))
			source.gate.Unlock()
			w.Wake()
			if err := w.Flush(t.Context()); err != nil { // so that the next one is queued behind
				t.Fatal(err)
			}
		}
		within(t, "all is there", read)
		close(stop)
		<-woken
		if err != nil {
			t.Fatal(err)
		}
		var got [3]int
		for i, s := range senders {
			if got[s]++; got[2] > got[1] {
				t.Fatalf("message %d, of the source, overtook what was queued before it", i)
			}
		}
	})
}
