package stream

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hawser/lifecycle"
	"hawser/media"
)

// crowd is as many viewers as it takes for gathering, of which the first is looked at: it reads whenever it is woken.
type crowd struct {
	viewers []*Viewer
	woken   chan struct{}
}

func (c *crowd) Wake() {
	select {
	case c.woken <- struct{}{}:
	default:
	}
}

// writes returns what each write to the first viewer takes, with the time in milliseconds since start, until the test's steps are over.
func (c *crowd) writes(start time.Time, stop chan struct{}) (list []string) {
	v := c.viewers[0]
	read(v)
	for {
		if v.Arm(c) {
			select {
			case <-c.woken:
			case <-stop:
				return list
			}
		}
		if words := read(v); len(words) > 0 {
			list = append(list, time.Since(start).String()+": "+strings.Join(words, " "))
		}
	}
}

func TestGather(t *testing.T) {
	const most = 40 * time.Millisecond
	sound, all := Gather{Sound: most}, Gather{Sound: most, All: most}
	for _, tc := range []struct {
		name    string
		gather  Gather
		viewers int
		steps   string // a: sound, v: a picture, c: a change; one each 10 ms, or none for a dot
		want    string
	}{
		{"nothing waits", Gather{}, gatherFrom, "va.v", "0s: v0, 10ms: a10, 30ms: v30"},
		{"sound waits for the next picture", sound, gatherFrom, "va.avv", "0s: v0, 40ms: a10 a30 v40, 50ms: v50"},
		{"but not longer than it may", sound, gatherFrom, "va......v", "0s: v0, 50ms: a10, 80ms: v80"},
		{"a change does not wait", sound, gatherFrom, "vac", "0s: v0, 20ms: a10 [paused 2]"},
		{"all wait", all, gatherFrom, "va.a.vv", "40ms: v0 a10 a30, 90ms: v50 v60"},
		{"few viewers do not wait", all, gatherFrom - 1, "va.v", "0s: v0, 10ms: a10, 30ms: v30"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := NewHub(Options{})
				p := publish(t, h)
				picture(t, p, 0, true)
				format := textFormat
				format.Gather = tc.gather
				c := &crowd{woken: make(chan struct{}, 1)}
				for range tc.viewers {
					v, err := h.View("/live/a", format, "")
					if err != nil {
						t.Fatal(err)
					}
					defer v.Close()
					c.viewers = append(c.viewers, v)
				}
				stop := make(chan struct{})
				done := make(chan []string)
				start := time.Now()
				go func() { done <- c.writes(start, stop) }()
				synctest.Wait()
				for i, step := range tc.steps {
					f := media.Frame{Track: 1, Kind: media.Video, DTS: time.Duration(i) * 10 * time.Millisecond}
					switch step {
					case 'a':
						f.Track, f.Kind, f.Key = 2, media.Audio, true
						p.Write(f)
					case 'v':
						p.Write(f)
					case 'c':
						p.Close(lifecycle.ReasonLost)
					}
					synctest.Wait()
					time.Sleep(10 * time.Millisecond)
				}
				time.Sleep(2 * most)
				synctest.Wait()
				close(stop)
				if got := strings.Join(<-done, ", "); got != tc.want {
					t.Errorf("got  %s\nwant %s", got, tc.want)
				}
				p.Close(lifecycle.ReasonDone)
				time.Sleep(time.Minute)
			})
		})
	}
}
