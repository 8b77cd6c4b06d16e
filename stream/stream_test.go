package stream

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hawser/lifecycle"
	"hawser/media"
	"hawser/ring"
)

var (
	video = media.Track{ID: 1, Kind: media.Video, Codec: media.H264, Config: []byte{1}, Width: 640, Height: 360}
	audio = media.Track{ID: 2, Kind: media.Audio, Codec: media.AAC, Config: []byte{2}, SampleRate: 48000, Channels: 2}
)

// textFormat writes each frame as a letter and its DTS in milliseconds, with k for a keyframe, and changes as [status tracks].
var textFormat = Format{
	Name: "text",
	New:  func(*Stream, *State) Packer { return textPacker{} },
	Prelude: func(_ *Stream, at uint64, state *State, skipped uint64) []byte {
		return []byte("<" + state.Status.String() + " " + strconv.Itoa(len(state.Tracks)) + " skipped " + strconv.FormatUint(skipped, 10) + ">")
	},
}

type textPacker struct{}

func (textPacker) Pack(item ring.Item[Item]) Packet {
	it := &item.Value
	if it.Changed {
		return Packet{Data: []byte("[" + it.State.Status.String() + " " + strconv.Itoa(len(it.State.Tracks)) + "]"), End: it.State.Status == Ended}
	}
	kind := "v"
	switch {
	case it.Frame.Kind == media.Data:
		return Packet{Data: []byte("d" + strconv.FormatInt(it.Frame.DTS.Milliseconds(), 10) + string(it.Frame.Data))}
	case it.Frame.Kind == media.Audio:
		kind = "a"
	case it.Frame.Key:
		kind = "k"
	}
	return Packet{Data: []byte(kind + strconv.FormatInt(it.Frame.DTS.Milliseconds(), 10))}
}

// read returns all that a viewer has now.
func read(v *Viewer) []string {
	var bufs [][]byte
	for {
		before := len(bufs)
		bufs, _ = v.Fill(bufs, 1<<20)
		if len(bufs) == before {
			break
		}
	}
	var words []string
	for _, b := range bufs {
		words = append(words, string(b))
	}
	return words
}

func expect(t *testing.T, v *Viewer, want ...string) {
	t.Helper()
	if got := read(v); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func view(t *testing.T, h *Hub) *Viewer {
	t.Helper()
	v, err := h.View("/live/a", textFormat, "test-1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

func publish(t *testing.T, h *Hub) *Publisher {
	t.Helper()
	p, err := h.Publish("/live/a", "test-2")
	if err != nil {
		t.Fatal(err)
	}
	for _, track := range []media.Track{video, audio} {
		if err := p.SetTrack(track); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// picture writes a video frame at a time in milliseconds.
func picture(t *testing.T, p *Publisher, ms int, key bool) {
	t.Helper()
	at := time.Duration(ms) * time.Millisecond
	if err := p.Write(media.Frame{Track: 1, Kind: media.Video, Key: key, DTS: at, PTS: at, Data: make([]byte, 100)}); err != nil {
		t.Fatal(err)
	}
}

func TestLateViewerStartsAtTheLastKeyframe(t *testing.T) {
	h := NewHub(Options{})
	p := publish(t, h)
	for i, key := range []bool{true, false, true, false} {
		picture(t, p, i*40, key)
	}
	v := view(t, h)
	expect(t, v, "<live 2 skipped 0>", "k80", "v120")
	picture(t, p, 160, false)
	expect(t, v, "v160")
}

func TestViewerBeforeThePublisher(t *testing.T) {
	h := NewHub(Options{})
	v := view(t, h)
	expect(t, v, "<waiting 0 skipped 0>")
	p := publish(t, h)
	picture(t, p, 0, false) // nothing can be made of it without a keyframe
	picture(t, p, 40, true)
	expect(t, v, "[live 0]", "[live 2]", "k40")
}

func TestTakenAndOneHub(t *testing.T) {
	h := NewHub(Options{})
	p := publish(t, h)
	if _, err := h.Publish("/live/a", "other"); !errors.Is(err, lifecycle.ReasonTaken) {
		t.Errorf("second publisher: got %v, want taken", err)
	}
	p.Close(lifecycle.ReasonDone)
	second, err := h.Publish("/live/a", "other")
	if err != nil {
		t.Fatalf("after the first has left: %v", err)
	}
	second.Close(lifecycle.ReasonDone)
}

func TestPublisherComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHub(Options{})
		p := publish(t, h)
		v := view(t, h)
		picture(t, p, 5000, true)
		picture(t, p, 5040, false)
		read(v)
		p.Close(lifecycle.ReasonLost)
		expect(t, v, "[paused 2]")
		time.Sleep(DefaultGrace / 2)
		p = publish(t, h)
		picture(t, p, 0, true) // its own time begins anew; the stream's goes on
		picture(t, p, 40, false)
		expect(t, v, "[live 2]", "k5080", "v5120")
		p.Close(lifecycle.ReasonDone)
		time.Sleep(DefaultGrace + time.Second)
		synctest.Wait()
		expect(t, v, "[paused 2]", "[ended 2]")
		if !v.Ended() {
			t.Error("the viewer does not know that the stream has ended")
		}
		v.Close()
		if list := h.List(); len(list) != 0 {
			t.Errorf("streams that nobody holds are still there: %+v", list)
		}
	})
}

func TestTimestampsNeverGoBack(t *testing.T) {
	h := NewHub(Options{})
	p := publish(t, h)
	v := view(t, h)
	read(v)
	for _, ms := range []int{0, 40, 30, 80, 60000, 0, 40} {
		picture(t, p, ms, ms == 0)
	}
	got := read(v)
	last := int64(-1)
	for _, word := range got[1:] { // the first says which tracks there are
		ms, err := strconv.ParseInt(word[1:], 10, 64)
		if err != nil || ms < last {
			t.Fatalf("timestamps go back: %q", got)
		}
		last = ms
	}
	if last != 60000+2*40 {
		t.Errorf("the new time base ends at %d ms, want 60080: %q", last, got)
	}
}

// A viewer that reads nothing loses frames up to a keyframe and is told how many; one that reads loses none, and the ring stays within its bound.
func TestSlowViewer(t *testing.T) {
	const bound = 100 * 20
	log := lifecycle.NewLog(ring.Limits{})
	h := NewHub(Options{Limits: ring.Limits{Bytes: bound}, Log: log})
	p := publish(t, h)
	picture(t, p, 0, true)
	slow, good := view(t, h), view(t, h)
	read(slow)
	read(good)
	for i := 1; i <= 95; i++ {
		picture(t, p, i*40, i%10 == 0)
		word := "v"
		if i%10 == 0 {
			word = "k"
		}
		expect(t, good, word+strconv.Itoa(i*40))
	}
	if info, _ := h.Find("/live/a"); info.Held > bound {
		t.Errorf("the ring holds %d bytes, the bound is %d", info.Held, bound)
	}
	expect(t, slow, "<live 2 skipped 89>", "k3600", "v3640", "v3680", "v3720", "v3760", "v3800")
	var slows []lifecycle.Event
	for _, e := range log.Recent(100) {
		if e.Kind == KindSlow {
			slows = append(slows, e)
		}
	}
	if len(slows) != 1 || slows[0].Conn != "test-1" || slows[0].Reason.Code != lifecycle.ReasonSlow.Code {
		t.Errorf("slow events: %+v", slows)
	}
}

func TestLagIsBoundedByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHub(Options{MaxLag: 2 * time.Second})
		p := publish(t, h)
		picture(t, p, 0, true)
		v := view(t, h)
		read(v)
		for i := 1; i <= 100; i++ {
			time.Sleep(40 * time.Millisecond)
			picture(t, p, i*40, i%25 == 0)
		}
		got := read(v)
		if len(got) != 2 || got[1] != "k4000" {
			t.Errorf("got %q, want to go on at the last keyframe", got)
		}
	})
}

func TestEventsOfAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := lifecycle.NewLog(ring.Limits{})
		h := NewHub(Options{Log: log, Grace: time.Second})
		p := publish(t, h)
		picture(t, p, 0, true)
		p.Close(lifecycle.ReasonLost)
		time.Sleep(2 * time.Second)
		var got []string
		for _, e := range log.Recent(100) {
			got = append(got, e.Kind+" "+e.Light.String()+" "+e.Reason.Word)
		}
		want := []string{"publish green ", "tracks green ", "gone amber lost", "unpublish red lost"}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestWriteOfAnUnknownTrack(t *testing.T) {
	h := NewHub(Options{})
	p := publish(t, h)
	if err := p.Write(media.Frame{Track: 7, Kind: media.Video}); !errors.Is(err, lifecycle.ReasonBadRequest) {
		t.Errorf("got %v, want bad_request", err)
	}
	if err := p.SetTrack(media.Track{ID: MaxTracks + 1}); !errors.Is(err, lifecycle.ReasonLimit) {
		t.Errorf("got %v, want limit", err)
	}
}

// Viewers come and go, and publishers change, while frames flow.
func TestManyAtOnce(t *testing.T) {
	h := NewHub(Options{Grace: time.Nanosecond})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				v, err := h.View("/live/a", textFormat, "")
				if err != nil {
					t.Error(err)
					return
				}
				read(v)
				v.Close()
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for range 100 {
				p, err := h.Publish("/live/a", "")
				if err != nil {
					continue
				}
				p.SetTrack(video)
				for i := range 10 {
					p.Write(media.Frame{Track: 1, Kind: media.Video, Key: i == 0, DTS: time.Duration(i), Data: []byte{1}})
				}
				p.Close(lifecycle.ReasonDone)
			}
		})
	}
	wg.Wait()
}

type counter struct{ n int }

func (c *counter) Wake() { c.n++ }

// BenchmarkFanOut is one frame to 500 viewers: what a viewer costs besides its write.
func BenchmarkFanOut(b *testing.B) {
	h := NewHub(Options{Limits: ring.Limits{Count: 1000}})
	p, err := h.Publish("/live/a", "")
	if err != nil {
		b.Fatal(err)
	}
	p.SetTrack(video)
	f := media.Frame{Track: 1, Kind: media.Video, Key: true, Data: make([]byte, 10_000)}
	p.Write(f)
	const n = 500
	var viewers [n]*Viewer
	var woken counter
	for i := range viewers {
		viewers[i], _ = h.View("/live/a", textFormat, "")
	}
	dst := make([][]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		f.DTS += 40 * time.Millisecond
		p.Write(f)
		for _, v := range viewers {
			dst, _ = v.Fill(dst[:0], 1<<20)
			if !v.Arm(&woken) {
				b.Fatal("a viewer that has read everything has more")
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/viewer")
}

// Packets that lie behind each other in one array are one buffer, others are not.
func TestAppendPacket(t *testing.T) {
	slab := []byte("abcdefgh")
	var dst [][]byte
	for _, b := range [][]byte{slab[0:2], slab[2:5], slab[6:7], slab[7:8:8], []byte("x"), slab[0:1:1], slab[1:2]} {
		dst = appendPacket(dst, b)
	}
	if got := fmt.Sprintf("%s", dst); got != "[abcde gh x a b]" {
		t.Errorf("got %s", got)
	}
}
