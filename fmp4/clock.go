package fmp4

import (
	"time"

	"hawser/media"
)

// sample is what a fragment says of its frame, in the track's timescale.
type sample struct {
	at       int64 // decoding time
	duration uint32
	offset   int32 // of the presentation time from the decoding time
	key      bool
}

// track is one track's clock. All times are in its timescale.
type track struct {
	id        uint32
	timescale int64
	codec     media.Track
	samples   int64 // in the last frame; 0 for pictures, and where it is not known
	begun     bool
	time      int64 // the last frame's own decoding time
	at        int64 // its decoding time as the fragment said it
	duration  int64 // and its duration
}

func newTrack(t media.Track) track {
	c := track{id: uint32(t.ID), timescale: videoTimescale, codec: t}
	if t.Kind == media.Audio {
		c.timescale = int64(t.SampleRate)
	}
	c.duration = max(scale(firstDuration, c.timescale), 1)
	return c
}

// next places the track's next frame.
func (c *track) next(f media.Frame) sample {
	dts := scale(f.DTS, c.timescale)
	ahead := scale(f.PTS, c.timescale) - dts
	now := c.frameTime(dts)
	samples := int64(c.codec.Samples(f.Data))
	at, duration := c.decodeAt(now), c.frameDuration(now, samples)
	c.begun, c.time, c.at, c.duration, c.samples = true, now, at, duration, samples
	return sample{at: at, duration: uint32(duration), offset: clamp32(ahead + now - at), key: f.Key}
}

// frameTime gives the decoding time of a frame that came with dts: where sound's count of samples leads, while that agrees.
func (c *track) frameTime(dts int64) int64 {
	if !c.begun {
		return max(dts, 0)
	}
	due := c.time + c.samples
	if c.samples > 0 && 2*abs(dts-due) <= 3*c.samples {
		return due
	}
	return max(dts, c.time+1)
}

// frameDuration guesses how long a frame lasts: its samples, or the time since the frame before. A guess
// at most doubles, so that one pause does not make a player believe in a picture that is yet to come.
func (c *track) frameDuration(now, samples int64) int64 {
	switch {
	case samples > 0:
		return samples
	case !c.begun || now-c.time < scale(minDuration, c.timescale):
		return c.duration
	}
	return min(now-c.time, 2*c.duration, c.timescale)
}

// decodeAt gives the decoding time that the fragment says. A player takes a step of more than twice the last duration for a break:
// it drops the pictures up to the next keyframe, and leaves a hole at which it stands still (Media Source Extensions, coded frame
// processing, step 6). So after a pause, in sound as well as in pictures, the decoding time walks behind and
// catches up, and the composition offset makes up for it.
func (c *track) decodeAt(now int64) int64 {
	if !c.begun {
		return now
	}
	step := max(2*c.duration-c.duration/8, 1) // a little less than twice, for players that round
	return min(max(now, c.at+1), c.at+step)
}

// scale converts a time to a timescale, rounding down.
func scale(d time.Duration, timescale int64) int64 {
	s, rest := int64(d/time.Second), int64(d%time.Second)
	if rest < 0 {
		s, rest = s-1, rest+int64(time.Second)
	}
	return s*timescale + rest*timescale/int64(time.Second)
}

func abs(v int64) int64 { return max(v, -v) }

func clamp32(v int64) int32 { return int32(min(max(v, -1<<31), 1<<31-1)) }
