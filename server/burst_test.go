package server

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"hawser/websocket"
)

// TestBurst: frames of a burst become one buffer, with the same bytes; those that stand alone hold no memory that they do not need.
func TestBurst(t *testing.T) {
	now := time.Now()
	var b burst
	var want []byte
	var joined [][]byte
	for i := range 1000 {
		text := fmt.Appendf(nil, `{"n":%d,"fill":"%0200d"}`, i, i)
		frame := b.frame(text, now)
		alone := websocket.AppendFrame(nil, true, websocket.OpText, text)
		if !bytes.Equal(frame, alone) {
			t.Fatalf("got %q, want %q", frame, alone)
		}
		want = append(want, alone...)
		joined = join(joined, frame)
	}
	if got := bytes.Join(joined, nil); !bytes.Equal(got, want) {
		t.Error("joined they say something else")
	}
	if most := len(want)/burstBytes*2 + 8; len(joined) > most {
		t.Errorf("%d buffers, want at most %d", len(joined), most)
	}
	var apart burst
	for i := range 3 {
		frame := apart.frame([]byte(`{"t":"update"}`), now.Add(time.Duration(i)*time.Minute))
		if cap(frame)-len(frame) >= frameHead {
			t.Errorf("a frame of %d bytes holds %d", len(frame), cap(frame))
		}
	}
	if two := join(join(nil, []byte("ab")[:1]), []byte("b")); len(two) != 2 {
		t.Error("what does not lie behind was joined")
	}
}

func BenchmarkBurst(b *testing.B) {
	b.ReportAllocs()
	var f burst
	text := make([]byte, 200)
	now := time.Now()
	dst := make([][]byte, 0, 64)
	for i := 0; b.Loop(); i++ {
		if i%64 == 0 {
			dst = dst[:0]
		}
		dst = join(dst, f.frame(text, now))
	}
}
