package record

import (
	"testing"
	"time"

	"hawser/lifecycle"
	"hawser/media"
	"hawser/stream"
)

// BenchmarkRecord is what it costs to record a stream of 2.5 Mbps, with a keyframe every two seconds, for each frame: publishing alone, and with each format. disk is the
// part of a core that one such stream of 73 frames a second takes.
func BenchmarkRecord(b *testing.B) {
	for _, tc := range []struct {
		name string
		o    Options
	}{{"publish only", Options{}}, {"flv", Options{Patterns: []string{"/**"}}}, {"fmp4", Options{Patterns: []string{"/**"}, Formats: []Format{FMP4}}}} {
		b.Run(tc.name, func(b *testing.B) {
			r := newRig(b, tc.o, stream.Options{})
			defer r.Close()
			p := r.publish(live)
			const perSecond, bytesPerSecond = 73, 2_500_000 / 8
			picture, sound := make([]byte, (bytesPerSecond-43*370)/30), make([]byte, 370)
			b.SetBytes(bytesPerSecond / perSecond)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				at := time.Duration(n) * time.Second / perSecond
				f := media.Frame{Track: 2, Kind: media.Audio, Key: true, DTS: at, PTS: at, Data: sound}
				if n%5 < 2 {
					f = media.Frame{Track: 1, Kind: media.Video, Key: n%150 == 0, DTS: at, PTS: at, Data: picture}
				}
				if err := p.Write(f); err != nil {
					b.Fatal(err)
				}
				if n++; n%2000 == 0 && len(tc.o.Patterns) > 0 { // the ring must not overtake the disk
					r.caughtUp(p.Stream())
				}
			}
			if len(tc.o.Patterns) > 0 {
				r.caughtUp(p.Stream())
				b.ReportMetric(float64(b.Elapsed())/float64(n)*perSecond/float64(time.Second)*100, "%core/stream")
			}
			p.Close(lifecycle.ReasonDone)
		})
	}
}

// caughtUp waits until the recordings have read all that there is.
func (r *rig) caughtUp(s *stream.Stream) {
	for _, rec := range r.active {
		for rec.cursor.Lag() > 0 {
			wakeup(rec.woken).Wake()
			rec.timer.Reset(0)
			time.Sleep(100 * time.Microsecond)
		}
	}
}
