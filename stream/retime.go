package stream

import (
	"math"
	"time"

	"hawser/media"
)

const (
	// usualStep is the time between the last frame of one publisher and the first of the next.
	usualStep = 40 * time.Millisecond
	// maxBack is how far a timestamp may go back before it is taken for a new time base; less is corrected to the newest.
	maxBack = time.Second
	// maxAhead is how far a late frame of the time base before may seem to be ahead before it is given its own time again.
	maxAhead = 5 * time.Second
	// MaxTracks bounds the tracks of one stream.
	MaxTracks = 32
)

// retimer moves one publisher's timestamps onto the stream's time. All tracks are moved together, so that what belonged together still does; within a track
// no timestamp goes back.
type retimer struct {
	shift, before time.Duration // added to the publisher's timestamps now, and in the time base before
	base          time.Duration // where the present time base begins; sound of an earlier time is left out
	last          [MaxTracks + 1]time.Duration
}

// newRetimer makes one for a stream that has no frames yet.
func newRetimer() retimer {
	r := retimer{base: math.MinInt64, before: math.MinInt64}
	for i := range r.last {
		r.last[i] = -1
	}
	return r
}

// start gives the frame with the publisher's time dts the stream's time at.
func (r *retimer) start(dts, at time.Duration) { r.shift, r.base = at-dts, at }

// time gives a frame the stream's time; newest is the newest of any track. It returns false for a frame that is to be left out: sound from before the first picture would
// have to go back, or wait.
func (r *retimer) time(f *media.Frame, newest time.Duration) bool {
	shift, last := r.shift, r.last[f.Track]
	at := f.DTS + shift
	late := at > newest+maxAhead && r.ofBefore(f.DTS, newest)
	switch {
	case late: // the other tracks have begun anew already
		shift = r.before
		at = f.DTS + shift
	case last >= 0 && at < last-maxBack:
		r.before = shift
		r.start(f.DTS, newest+usualStep)
		shift, at = r.shift, r.base
	case at < r.base && f.Kind == media.Audio:
		return false
	}
	if late && at < last {
		return false
	}
	level := f.PTS == f.DTS
	f.PTS = max(f.PTS+shift, 0)
	f.DTS = max(at, last, 0)
	if level {
		f.PTS = f.DTS
	}
	r.last[f.Track] = f.DTS
	return true
}

// ofBefore says whether a time is one of the time base before, which has just ended.
func (r *retimer) ofBefore(dts, newest time.Duration) bool {
	if r.before == math.MinInt64 || newest > r.base+maxAhead {
		return false
	}
	return (dts + r.before - newest).Abs() <= maxAhead
}

// data gives a data message the stream's time: its own where that is about now, else the newest; many programs write 0.
func (r *retimer) data(dts, newest time.Duration) time.Duration {
	at := dts + r.shift
	if at < newest-maxBack || at > newest+maxBack {
		at = newest
	}
	at = max(at, r.last[0], 0)
	r.last[0] = at
	return at
}
