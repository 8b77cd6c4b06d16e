package stream

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hawser/lifecycle"
	"hawser/media"
	"hawser/ring"
)

// stage plays a script of publishers. A step is a publisher's letter, ":" and what it does: k, v, a or d and a time in milliseconds for a keyframe, another picture, sound or data; "new" for other
// codec parameters; "sound" for a publisher without pictures; "close". "wait 2s" lets time pass.
type stage struct {
	t    *testing.T
	hub  *Hub
	pubs map[string]*Publisher
	told []string // who was told what by the stream
}

func newStage(t *testing.T, o Options) *stage {
	return &stage{t: t, hub: NewHub(o), pubs: make(map[string]*Publisher)}
}

func (s *stage) play(steps string) {
	s.t.Helper()
	for step := range strings.FieldsSeq(steps) {
		if d, err := time.ParseDuration(step); err == nil {
			time.Sleep(d)
			synctest.Wait()
			continue
		}
		who, what, _ := strings.Cut(step, ":")
		if what == "close" {
			s.pubs[who].Close(lifecycle.ReasonLost)
			continue
		}
		p := s.pubs[who]
		if p == nil || what == "sound" {
			p = s.claim(who, what)
		}
		if what != "sound" && what != "here" {
			s.write(p, what)
		}
	}
}

func (s *stage) claim(who, what string) *Publisher {
	s.t.Helper()
	tell := func(kind string) func(lifecycle.Reason) {
		return func(why lifecycle.Reason) { s.told = append(s.told, who+" "+kind+" "+why.Word) }
	}
	p, err := s.hub.Claim("/live/a", Claim{By: who, Replaced: tell("replaced"), Unpublished: tell("unpublished")})
	if err != nil {
		s.told = append(s.told, who+" refused "+lifecycle.ReasonOf(err).Word)
		return nil
	}
	if what != "sound" {
		p.SetTrack(video)
	}
	p.SetTrack(audio)
	s.pubs[who] = p
	return p
}

func (s *stage) write(p *Publisher, what string) {
	s.t.Helper()
	if what == "new" {
		other := video
		other.Config = []byte{9}
		p.SetTrack(other)
		return
	}
	ms, err := strconv.Atoi(what[1:])
	if err != nil {
		s.t.Fatal(err)
	}
	at := time.Duration(ms) * time.Millisecond
	f := media.Frame{Track: 1, Kind: media.Video, Key: what[0] == 'k', DTS: at, PTS: at, Data: make([]byte, 100)}
	switch what[0] {
	case 'd':
		p.WriteData(at, nil)
		return
	case 'a':
		f.Track, f.Kind, f.Key = 2, media.Audio, true
	}
	if err := p.Write(f); err != nil && !errors.Is(err, lifecycle.ReasonReplaced) {
		s.t.Error(err)
	}
}

func TestContinuity(t *testing.T) {
	for _, tc := range []struct {
		name   string
		second Second
		steps  string
		want   string // what a viewer sees that was there from the start
		told   string
	}{
		{"the first publisher's frames are all kept", SecondRefused, "A:v0 A:k40 A:a50 A:v80", "[live 2] k40 a50 v80", ""},
		{"the next goes on with its first keyframe and no sound from before", SecondRefused,
			"A:k5000 A:a5100 A:v5040 A:close 2s B:a990 B:v960 B:k1000 B:a990 B:a1010 B:v1040",
			"[live 2] k5000 a5100 v5040 [paused 2] [live 2] k5140 a5150 v5180", ""},
		{"all tracks are shifted alike", SecondRefused, "A:k0 A:a0 A:close 1s B:k70000 B:a70015 B:v70040",
			"[live 2] k0 a0 [paused 2] [live 2] k40 a55 v80", ""},
		{"other parameters are told before their keyframe", SecondRefused, "A:k0 A:close 1s B:new B:v0 B:k0",
			"[live 2] k0 [paused 2] [live 2] [live 2] k40", ""},
		{"a publisher without pictures is waited for a second", SecondRefused, "A:k0 A:close 1s B:sound B:a0 B:a900 B:a1000 B:a1020",
			"[live 2] k0 [paused 2] [live 2] [live 1] a40 a60", ""},
		{"sound of the old time base does not run ahead", SecondRefused, "A:k60000 A:a60000 A:v60040 A:k0 A:a60060 A:v40 A:a20 A:a40",
			"[live 2] k60000 a60000 v60040 k60080 a60060 v60120 a60100 a60120", ""},
		{"a leap ahead is the publisher's own, also after a new time base", SecondRefused, "A:k60000 A:a60000 A:k0 A:v40 A:v20000 A:a20000 A:v20040",
			"[live 2] k60000 a60000 k60040 v60080 v80040 a80040 v80080", ""},
		{"a frame a little late gets the newest time", SecondRefused, "A:k0 A:v40 A:v30 A:v80", "[live 2] k0 v40 v40 v80", ""},
		{"data are stamped near the newest time", SecondRefused, "A:k5000 A:d0 A:v5040 A:d5030 A:close 1s B:d0 B:k0 B:d10",
			"[live 2] k5000 d5000 v5040 d5030 [paused 2] [live 2] d5040 k5080 d5090", ""},
		{"after the grace the owner is told, once", SecondRefused, "A:k0 A:close 5s B:k0 B:close 20s",
			"[live 2] k0 [paused 2] [live 2] k40 [paused 2] [ended 2]", "B unpublished lost"},
		{"a second is refused", SecondRefused, "A:k0 B:here A:v40", "[live 2] k0 v40", "B refused taken"},
		{"a second takes over with its first keyframe", SecondTakesOver, "A:k0 A:v40 B:v0 A:v80 B:a10 B:k20 A:v120 B:v60 A:close 20s B:v100",
			"[live 2] k0 v40 v80 k120 v160 v200", "A replaced replaced"},
		{"a third comes in the place of a second that waits", SecondTakesOver, "A:k0 B:v0 C:v0 A:v40 C:k40", "[live 2] k0 v40 k80", "B replaced replaced, A replaced replaced"},
		{"a second that waits goes on when the first goes", SecondTakesOver, "A:k0 B:v0 A:close B:v40 B:k80", "[live 2] k0 k40", ""},
		{"a spare shows nothing", SecondStandsBy, "A:k0 B:k0 B:v40 A:v40 C:here B:close A:v80", "[live 2] k0 v40 v80", "C refused taken"},
		{"a spare goes on from its last keyframe at once", SecondStandsBy, "A:k0 A:v40 B:k7000 B:v7040 B:k7080 B:a7070 B:a7090 B:v7120 A:close B:v7160 20s B:close 20s",
			"[live 2] k0 v40 k80 a90 v120 v160 [paused 2] [ended 2]", "B unpublished lost"},
		{"a spare that had no keyframe goes on with its next", SecondStandsBy, "A:k0 B:v0 A:close B:v40 B:a50 B:k80", "[live 2] k0 k40", ""},
		{"a spare's frames of other parameters are not mixed", SecondStandsBy, "A:k0 B:k0 B:new A:close B:v40 B:k80", "[live 2] k0 [live 2] k40", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, Options{Second: tc.second})
				v := view(t, s.hub)
				expect(t, v, "<waiting 0 skipped 0>")
				s.play(tc.steps)
				got := read(v)
				if len(got) < 2 || got[0] != "[live 0]" {
					t.Fatalf("got %q", got)
				}
				if words := strings.Join(got[1:], " "); words != tc.want {
					t.Errorf("got  %s\nwant %s", words, tc.want)
				}
				if told := strings.Join(s.told, ", "); told != tc.told {
					t.Errorf("told %q, want %q", told, tc.told)
				}
				for _, p := range s.pubs {
					p.Close(lifecycle.ReasonDone)
				}
				v.Close()
				time.Sleep(time.Minute)
				synctest.Wait()
				if list := s.hub.List(); len(list) != 0 {
					t.Errorf("streams that nobody holds are still there: %+v", list)
				}
			})
		})
	}
}

func TestInfoNamesPublishers(t *testing.T) {
	s := newStage(t, Options{Second: SecondStandsBy})
	for _, tc := range []struct{ steps, publisher, standby string }{{"A:k0", "A", ""}, {"B:k0", "A", "B"}, {"A:close", "B", ""}} {
		s.play(tc.steps)
		if info, _ := s.hub.Find("/live/a"); info.Publisher != tc.publisher || info.Standby != tc.standby {
			t.Errorf("after %s: got %q and %q, want %q and %q", tc.steps, info.Publisher, info.Standby, tc.publisher, tc.standby)
		}
	}
}

func TestEventsOfContinuity(t *testing.T) {
	for _, tc := range []struct {
		name   string
		second Second
		steps  string
		want   string
	}{
		{"a gap", SecondRefused, "A:k0 A:close 2500ms B:here 500ms B:k0", "publish A, tracks video h264, audio aac, gone A lost, publish B, gap 3s 3s"},
		{"a takeover", SecondTakesOver, "A:k0 B:here 40ms B:k0", "publish A, tracks video h264, audio aac, standby B, takeover B for A replaced, gap 40ms 40ms"},
		{"a spare", SecondStandsBy, "A:k0 B:k0 1s A:close", "publish A, tracks video h264, audio aac, standby B, takeover B for A lost, gap 1s 1s"},
		{"a spare that goes", SecondStandsBy, "A:k0 B:here B:close", "publish A, tracks video h264, audio aac, standby B, standby_gone B lost"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := lifecycle.NewLog(ring.Limits{})
				s := newStage(t, Options{Second: tc.second, Log: log})
				s.play(tc.steps)
				var got []string
				for _, e := range log.Recent(100) {
					words := []string{e.Kind, e.Detail}
					if !e.Reason.IsZero() {
						words = append(words, e.Reason.Word)
					}
					if e.Delay > 0 {
						words = append(words, fmt.Sprint(e.Delay))
					}
					got = append(got, strings.Join(words, " "))
				}
				if words := strings.Join(got, ", "); words != tc.want {
					t.Errorf("got  %s\nwant %s", words, tc.want)
				}
				for _, p := range s.pubs {
					p.Close(lifecycle.ReasonDone)
				}
				time.Sleep(time.Minute)
			})
		})
	}
}

// Pictures that are shown before the time of their decoding, which some encoders write, keep their offset; so do those whose order was corrected.
func TestCompositionOffsets(t *testing.T) {
	h := NewHub(Options{})
	p := publish(t, h)
	var got []time.Duration
	for i, pts := range []int{0, 20, 100, 90} {
		at := time.Duration(i) * 40 * time.Millisecond
		if err := p.Write(media.Frame{Track: 1, Kind: media.Video, Key: i == 0, DTS: at, PTS: time.Duration(pts) * time.Millisecond}); err != nil {
			t.Fatal(err)
		}
		_, head := p.Stream().Frames().Bounds()
		item, _ := p.Stream().Frames().At(head - 1)
		got = append(got, (item.Value.Frame.PTS-item.Value.Frame.DTS)/time.Millisecond)
	}
	if want := []time.Duration{0, -20, 20, -30}; !slices.Equal(got, want) {
		t.Errorf("got offsets %d, want %d", got, want)
	}
}

// What is held back of a spare is bounded: of a longer group of pictures nothing is kept.
func TestSpareIsBounded(t *testing.T) {
	var s spare
	f := media.Frame{Data: make([]byte, maxSpare/4)}
	s.hold(f, false)
	if len(s.frames) != 0 {
		t.Error("it holds frames before a keyframe")
	}
	for range 4 {
		s.hold(f, len(s.frames) == 0)
	}
	if len(s.frames) != 4 {
		t.Errorf("it holds %d frames, want 4", len(s.frames))
	}
	s.hold(f, false)
	s.hold(f, false)
	if len(s.frames) != 0 || s.size != 0 {
		t.Errorf("it holds %d frames of %d bytes", len(s.frames), s.size)
	}
	s.hold(f, true)
	if len(s.frames) != 1 {
		t.Error("it does not begin again at the next keyframe")
	}
}

func TestSecondWords(t *testing.T) {
	for _, want := range []Second{SecondRefused, SecondTakesOver, SecondStandsBy} {
		text, err := want.MarshalText()
		var got Second
		if err != nil || got.UnmarshalText(text) != nil || got != want {
			t.Errorf("%v: got %v from %q", want, got, text)
		}
	}
	if err := new(Second).UnmarshalText([]byte("fight")); err == nil {
		t.Error("a word that is none is taken")
	}
}

// A viewer for which frames are left out again and again is ended; one for which that happens now and then is not.
func TestViewerThatIsSlowTooOften(t *testing.T) {
	for _, tc := range []struct {
		pause time.Duration // between the skips
		ends  bool
	}{{5 * time.Second, true}, {SkipWindow / 2, false}} {
		synctest.Test(t, func(t *testing.T) {
			h := NewHub(Options{MaxLag: time.Second, MaxSkips: 3})
			p := publish(t, h)
			picture(t, p, 0, true)
			v := view(t, h)
			other := view(t, h)
			for i := range 6 {
				read(v)
				at := (i + 1) * 10000
				picture(t, p, at, false)
				read(other)
				time.Sleep(tc.pause)
				picture(t, p, at+5000, true)
				read(other)
			}
			read(v)
			if v.Ended() != tc.ends || tc.ends && v.Why().Code != lifecycle.ReasonSlow.Code {
				t.Errorf("skips %v apart: ended %v with %v", tc.pause, v.Ended(), v.Why())
			}
			if other.Ended() {
				t.Error("a viewer that keeps up is ended")
			}
			p.Close(lifecycle.ReasonDone)
			time.Sleep(DefaultGrace + time.Second)
		})
	}
}

// A viewer that comes late in a long group of pictures gets the keyframe at once, no more than it may, and goes on at the next.
func TestStartIsBounded(t *testing.T) {
	h := NewHub(Options{MaxStart: 500})
	p := publish(t, h)
	for i := range 5 {
		picture(t, p, i*40, i == 0)
	}
	v := view(t, h)
	expect(t, v, "<live 2 skipped 0>", "k0", "v40", "v80", "v120", "v160") // 500 bytes
	picture(t, p, 200, false)
	late := view(t, h)
	expect(t, late, "<live 2 skipped 0>", "k0")
	picture(t, p, 240, false)
	expect(t, late)
	picture(t, p, 280, true)
	picture(t, p, 320, false)
	expect(t, late, "<live 2 skipped 6>", "k280", "v320")
	expect(t, v, "v200", "v240", "k280", "v320")
}
