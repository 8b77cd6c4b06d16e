package server

import (
	"io"
	"testing"
	"time"

	"hawser/lifecycle"
)

// TestFLVHeader looks at what the header promises: a player waits for it. Of a young stream the other kind may still come.
func TestFLVHeader(t *testing.T) {
	r := serve(t, Options{})
	track, frames := h264Clip(t)
	pub, err := r.Streams().Publish("/live/a", "test")
	if err != nil {
		t.Fatal(err)
	}
	defer pub.Close(lifecycle.ReasonDone)
	write := func(n int) {
		frame := frames[n%len(frames)]
		frame.DTS = time.Duration(n) * time.Second / 30
		frame.PTS = frame.DTS
		if err := pub.Write(frame); err != nil {
			t.Fatal(err)
		}
	}
	promises := func(want byte) {
		t.Helper()
		head := make([]byte, 5)
		if _, err := io.ReadFull(r.get("/live/a.flv").Body, head); err != nil || head[4] != want {
			t.Errorf("the header is %x, %v; want %d at its end", head, err, want)
		}
	}
	pub.SetTrack(track)
	write(0)
	promises(5)
	for n := range fewFrames {
		write(1 + n)
	}
	promises(1)
	pub.SetTrack(opusTrack())
	if err := pub.Write(opusFrame(0)); err != nil {
		t.Fatal(err)
	}
	promises(5)
}
