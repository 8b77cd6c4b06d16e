package rtc

import "time"

// commonClock is the least clock in which ticks of video (8 of it) and of Opus (15) are whole: 720000 Hz. Counted in it, timestamps of both tracks of a stream can be compared whatever wraps each has
// behind it: a timestamp is the stream's time at its own clock modulo 2^32, so a multiple of it is the stream's time at the common clock modulo 2^32.
const commonClock = 720_000

// commonTicks is how many ticks of the common clock one of a slot's is.
var commonTicks = [2]uint32{SlotVideo: commonClock / 90000, SlotAudio: commonClock / 48000}

// ntpEpoch is 1900, from which NTP counts, in seconds before 1970.
const ntpEpoch = 2_208_988_800

// ntpTime is a time as NTP counts it (RFC 3550 section 4): seconds in the upper 32 bits, fractions in the lower.
func ntpTime(t time.Time) uint64 {
	return uint64(t.Unix()+ntpEpoch)<<32 | uint64(t.Nanosecond())<<32/uint64(time.Second)
}

// maxDrift is how far the newest media may be from what the clock says before the mapping is made anew: after a pause of the stream, not for a viewer that was sent a few seconds at once.
const maxDrift = 10 * time.Second

// wallClock maps the time of day to the media's, in ticks of the common clock. Both tracks share it; where it lies matters less than that it stays.
type wallClock struct {
	base time.Time
	zero uint32 // the media's time at base
}

// at gives the media's time now; newest is that of the newest group.
func (c *wallClock) at(now time.Time, newest uint32) uint32 {
	at := c.zero + uint32(ticks(now.Sub(c.base), commonClock))
	if drift := int64(int32(newest - at)); c.base.IsZero() || max(drift, -drift) > int64(maxDrift/time.Second)*commonClock {
		c.base, c.zero = now, newest
		return newest
	}
	return at
}

// timestamp is the RTP timestamp of a slot at a media time that is not far from that of its last one.
func timestamp(slot int, last, at uint32) uint32 {
	each := int32(commonTicks[slot])
	return last + uint32(int32(at-last*uint32(each))/each)
}

// duration is a number of ticks of a clock as a time.
func duration(ticks, clock int64) time.Duration {
	return time.Duration(ticks/clock)*time.Second + time.Duration(ticks%clock)*time.Second/time.Duration(clock)
}
