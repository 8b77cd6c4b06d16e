package server

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hawser/lifecycle"
	"hawser/media"
)

// feedAAC publishes h264Clip, and sound in AAC, in their own time.
func (r *rig) feedAAC(path string) {
	r.t.Helper()
	f := r.feedPlain(path, false)
	tracks, frames := clip(r.t)
	i := slices.IndexFunc(tracks, func(t media.Track) bool { return t.Codec == media.AAC })
	aac := tracks[i]
	frames = slices.DeleteFunc(frames, func(f media.Frame) bool { return f.Track != aac.ID })
	aac.ID = 2
	f.pub.SetTrack(aac)
	step := time.Duration(aac.FrameSamples) * time.Second / time.Duration(aac.SampleRate)
	stop, done := make(chan struct{}), make(chan struct{})
	r.t.Cleanup(func() { close(stop); <-done })
	go func() {
		defer close(done)
		tick := time.NewTicker(step)
		defer tick.Stop()
		for n := 0; ; n++ {
			frame := frames[n%len(frames)]
			frame.Track, frame.DTS = 2, time.Duration(n)*step
			frame.PTS = frame.DTS
			f.pub.Write(frame)
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	}()
}

// Sound in AAC is made Opus, once for two viewers, while there are any.
func TestRTCOpus(t *testing.T) {
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		t.Skip("ffmpeg is not installed")
	}
	o := withRTC()
	o.RTCOpus = "ffmpeg"
	r := serve(t, o)
	r.feedAAC("/live/cam1")
	until(t, "two tracks", func() bool { info, _ := r.Streams().Find("/live/cam1"); return len(info.Tracks) == 2 })
	var locations []string
	for range 2 {
		c := newRTCClient(t)
		location, _ := r.signOn("/live/cam1/whep", c)
		c.got(3, media.Video)
		sound := c.got(50, media.Audio)
		for i := 1; i < len(sound); i++ {
			if step := sound[i].PTS - sound[i-1].PTS; step < 19*time.Millisecond || step > 21*time.Millisecond {
				t.Fatalf("packet %d is %v after the one before", i, step)
			}
		}
		locations = append(locations, location)
	}
	made := 0
	for _, e := range r.Log().Recent(1000) {
		switch e.Kind {
		case KindOpus:
			made++
		case KindOpusFailed, KindWithout:
			t.Errorf("%+v", e)
		}
	}
	if made != 1 {
		t.Errorf("the program was started %d times, want once", made)
	}
	for _, location := range locations {
		r.request("DELETE", location, "")
	}
	until(t, "no Opus is made", func() bool { r.opus.mu.Lock(); defer r.opus.mu.Unlock(); return len(r.opus.feeds) == 0 })
	until(t, "nobody views", func() bool { info, _ := r.Streams().Find("/live/cam1"); return info.Viewers == 0 })
}

// Where the program is not there, or fails, the pictures come without sound, and an event says why.
func TestRTCOpusFails(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, []byte("#!/bin/sh\necho out of order >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for program, want := range map[string]string{filepath.Join(t.TempDir(), "nothing"): "no such file", broken: "out of order"} {
		o := withRTC()
		o.RTCOpus = program
		r := serve(t, o)
		r.feedAAC("/live/cam1")
		until(t, "two tracks", func() bool { info, _ := r.Streams().Find("/live/cam1"); return len(info.Tracks) == 2 })
		c := newRTCClient(t)
		r.signOn("/live/cam1/whep", c)
		c.got(10, media.Video)
		if e := r.event("failed", func(e *lifecycle.Event) bool { return e.Kind == KindOpusFailed }); !strings.Contains(e.Reason.Text, want) {
			t.Errorf("%s: %+v", program, e)
		}
	}
}
