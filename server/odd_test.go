package server

import (
	"testing"
	"time"

	"hawser/lifecycle"
	"hawser/media"
	"hawser/rtmp"
)

// oddTimes are what some encoders make of the times of frames.
var oddTimes = []struct {
	name   string
	change func(i int, f media.Frame) media.Frame
}{
	{"times that are all 0", func(_ int, f media.Frame) media.Frame { f.DTS, f.PTS = 0, 0; return f }},
	{"times that go back a little", func(i int, f media.Frame) media.Frame {
		if i%7 == 0 {
			f.DTS, f.PTS = max(f.DTS-300*time.Millisecond, 0), max(f.DTS-300*time.Millisecond, 0)
		}
		return f
	}},
	{"times that begin anew", func(i int, f media.Frame) media.Frame {
		if i < 40 {
			f.DTS, f.PTS = f.DTS+time.Hour, f.PTS+time.Hour
		}
		return f
	}},
	{"times that leap by a month", func(i int, f media.Frame) media.Frame {
		if i >= 40 {
			f.DTS, f.PTS = f.DTS+30*24*time.Hour, f.PTS+30*24*time.Hour
		}
		return f
	}},
}

// TestOddTimes publishes with strange times: viewers get all pictures and all sound, and no time goes back.
func TestOddTimes(t *testing.T) {
	for _, odd := range oddTimes {
		t.Run(odd.name, func(t *testing.T) {
			r := serve(t, Options{})
			viewer := playing(t, r.player("/live/a"))
			p := r.publisher("/live/a")
			flvViewer := file(t, r.get("/live/a.flv").Body)
			var sent []media.Frame
			for i, f := range p.frames[:80] {
				sent = append(sent, odd.change(i, f))
			}
			viewers := map[string]*reader{"rtmp": viewer, "http-flv": flvViewer}
			last := map[string]map[media.Kind]time.Duration{"rtmp": {}, "http-flv": {}}
			arrives := func(i int) {
				for name, v := range viewers {
					f, err := v.frame()
					if err != nil {
						t.Fatalf("%s: frame %d: %v", name, i, err)
					}
					if want := sent[i]; f.Kind != want.Kind || string(f.Data) != string(want.Data) {
						t.Fatalf("%s: frame %d is %v of %d bytes, want %v of %d", name, i, f.Kind, len(f.Data), want.Kind, len(want.Data))
					}
					if before := last[name][f.Kind]; f.DTS < before {
						t.Errorf("%s: frame %d: %v goes back from %v to %v", name, i, f.Kind, before, f.DTS)
					}
					last[name][f.Kind] = f.DTS
				}
			}
			p.write(sent[0]) // a viewer begins at the newest keyframe
			arrives(0)
			p.write(sent[1:]...)
			for i := 1; i < len(sent); i++ {
				arrives(i)
			}
		})
	}
}

// TestOddBodies publishes bodies that have no frame, or one that is not carried, between those that do: the rest arrives, and the publisher stays.
func TestOddBodies(t *testing.T) {
	r := serve(t, Options{})
	viewer := playing(t, r.player("/live/a"))
	c, err := rtmp.Dial(soon(t), "rtmp://"+r.rtmp+"/live/a", nil)
	if err == nil {
		err = c.Publish(soon(t))
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tracks, frames := clip(t)
	p := &publisher{Client: c, t: t, tracks: tracks, frames: frames}
	odd := []rtmp.Message{
		{Type: rtmp.TypeVideo}, {Type: rtmp.TypeAudio}, // nothing, as when a microphone is off
		{Type: rtmp.TypeVideo, Payload: []byte{0x17, 2, 0, 0, 0}},             // the end of a sequence
		{Type: rtmp.TypeVideo, Payload: []byte{0x57, 0}},                      // a command for the player
		{Type: rtmp.TypeVideo, Payload: []byte{0x22, 1, 2, 3}},                // Sorenson
		{Type: rtmp.TypeAudio, Payload: []byte{0xb2, 1, 2, 3}},                // Speex
		{Type: rtmp.TypeVideo, Payload: []byte{0x17, 1, 0, 0, 0}},             // a picture of no bytes
		{Type: rtmp.TypeAudio, Payload: []byte{0xaf, 1}},                      // sound of no bytes
		{Type: rtmp.TypeVideo, Payload: []byte{0x17, 1, 0, 0, 0, 0, 0, 0, 0}}, // a NAL unit of no bytes
		{Type: rtmp.TypeData, Payload: []byte{2, 0, 3, 'a', 'b'}},             // AMF that breaks off
		{Type: rtmp.TypeData},
	}
	send := func() {
		for _, m := range odd {
			if err := c.WriteMessage(soon(t), m); err != nil {
				t.Fatal(err)
			}
		}
	}
	send()
	p.write(frames[0], frames[1], frames[2]) // before their parameters
	for _, track := range tracks {
		p.write(media.Frame{Track: track.ID, Kind: track.Kind, Config: true, Data: track.Config})
	}
	send()
	for _, f := range frames[:20] {
		p.write(f)
		send()
	}
	viewer.want(frames[:20], 0)
	if info, _ := r.Streams().Find("/live/a"); info.Status.String() != "live" || info.Frames != 20 {
		t.Errorf("the stream is %v with %d frames, want live with 20", info.Status, info.Frames)
	}
	until(t, "what is not carried is told", func() bool {
		told := 0
		for _, e := range r.Log().Recent(1000) {
			if e.Kind == KindUnsupported && e.Reason.Is(lifecycle.ReasonUnsupported) {
				told++
			}
		}
		return told == 2
	})
}
