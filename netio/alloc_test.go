//go:build !race

package netio

import (
	"io"
	"testing"
)

// steady is a source that gives the same buffer whenever it is pulled after a Wake.
type steady []byte

// Fill implements Source.
func (s steady) Fill(dst [][]byte, _ int) [][]byte { return append(dst, s) }

func TestFlushAllocatesNothing(t *testing.T) {
	near, far := pair(t, "tcp")
	w := NewWriter(near, WriterOptions{})
	defer w.Close()
	w.SetSource(steady(make([]byte, 1000)))
	reply := make([]byte, 1000)
	got := make([]byte, 3000)
	if n := testing.AllocsPerRun(1000, func() {
		w.Wake()
		w.Queue(reply)
		if err := w.Write(t.Context(), reply); err != nil {
			t.Error(err)
		}
		io.ReadFull(far, got)
	}); n > 0 {
		t.Errorf("Wake, Queue and Write of a peer that keeps up: %v allocations, want 0", n)
	}
}
