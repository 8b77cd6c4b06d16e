package rtc

import (
	"fmt"
	"slices"

	"hawser/lifecycle"
	"hawser/media"
)

// MaxFrame is the most that a received frame may have, in bytes; a larger one is taken for broken.
const MaxFrame = 8 << 20

// Unit is a frame that a Depacketizer put together.
type Unit struct {
	Track     *media.Track // its parameters; another pointer than before when they changed. Its ID is 0
	Timestamp uint32       // RTP
	Key       bool
	Data      []byte // in the form of media.Codec; nobody else has it
}

// Depacketizer turns the payloads of one track's packets into frames. It must be given them in order, and told where some are missing. It must not be used by several goroutines at once.
//
// Frames of video begin with a keyframe: what comes before it, or behind a loss, is dropped until there is one.
type Depacketizer struct {
	codec  media.Codec
	emit   func(Unit)
	format payloadFormat
	track  *media.Track

	frame     []byte
	timestamp uint32
	open      bool // a frame is being put together
	broken    bool // its rest is passed over
	joined    bool // the next packet follows one that was seen
	waiting   bool // for a keyframe
	lost      bool // frames were dropped since the last time that KeyframeWanted was called
}

// payloadFormat is what differs from codec to codec.
type payloadFormat interface {
	// starts says that a frame may begin with a payload.
	starts(payload []byte) bool
	// add appends what a payload holds to the frame of which it is the next part.
	add(frame, payload []byte) ([]byte, error)
	// finish ends a frame: its data, whether a decoder may start at it, and new parameters if it brings some.
	finish(frame []byte) (data []byte, key bool, t *media.Track, err error)
	// reset forgets a frame that was not finished.
	reset()
}

// NewDepacketizer makes the depacketizer of a codec; emit takes the frames, within Push. The error is lifecycle.ReasonUnsupported for a codec that WebRTC does not carry.
func NewDepacketizer(c media.Codec, emit func(Unit)) (*Depacketizer, error) {
	d := &Depacketizer{codec: c, emit: emit, waiting: true}
	switch c {
	case media.H264:
		d.format = &h264Format{}
	case media.VP8:
		d.format = vp8Format{}
	case media.VP9:
		d.format = &vp9Format{}
	case media.AV1:
		d.format = &av1Format{}
	case media.Opus:
		d.waiting = false
		d.SetTrack(media.OpusTrack(2))
	default:
		return nil, fmt.Errorf("rtc: depacketize: %w", lifecycle.ReasonUnsupported.With("%s is not carried by WebRTC", c))
	}
	return d, nil
}

// SetTrack tells what is known of the track beforehand, such as the channels of Opus.
func (d *Depacketizer) SetTrack(t media.Track) { d.track = &t }

// KeyframeWanted says, once for each time, that frames were dropped because a keyframe is needed.
func (d *Depacketizer) KeyframeWanted() bool {
	was := d.lost
	d.lost = false
	return was
}

// Waiting says that nothing can be shown before a keyframe.
func (d *Depacketizer) Waiting() bool { return d.waiting }

// Lost says that packets are missing before the next.
func (d *Depacketizer) Lost() {
	d.drop()
	d.joined = false
	if d.codec != media.Opus {
		d.waiting, d.lost = true, true
	}
}

// drop gives the open frame up.
func (d *Depacketizer) drop() {
	if d.open {
		d.open, d.broken = false, false
		d.format.reset()
	}
}

// Push takes the next packet: its payload, which it does not keep, its timestamp and its marker. A payload of no bytes is passed over.
func (d *Depacketizer) Push(payload []byte, timestamp uint32, marker bool) {
	if len(payload) == 0 {
		return
	}
	if d.codec == media.Opus {
		d.emit(Unit{Track: d.track, Timestamp: timestamp, Key: true, Data: slices.Clone(payload)})
		return
	}
	if d.open && timestamp != d.timestamp { // the marker was left out
		d.end()
	}
	if !d.open {
		d.open, d.timestamp, d.frame = true, timestamp, nil
		// Behind a frame's end, another begins. Where that is not known, the payload tells.
		if d.broken = !d.format.starts(payload); d.broken && d.joined {
			d.breaks()
		}
	}
	d.joined = true
	if !d.broken {
		var err error
		if d.frame, err = d.format.add(d.frame, payload); err != nil || len(d.frame) > MaxFrame {
			d.breaks()
		}
	}
	if marker {
		d.end()
	}
}

// breaks marks the open frame as broken.
func (d *Depacketizer) breaks() {
	d.broken, d.waiting, d.lost = true, true, true
	d.frame = nil
	d.format.reset()
}

// end ends the open frame and emits it, unless a keyframe is waited for.
func (d *Depacketizer) end() {
	frame, broken := d.frame, d.broken
	d.open, d.broken, d.frame = false, false, nil
	if broken {
		d.lost = d.lost || d.waiting
		return
	}
	data, key, t, err := d.format.finish(frame)
	if err != nil {
		d.waiting, d.lost = true, true
		d.format.reset()
		return
	}
	if len(data) == 0 {
		return
	}
	if t != nil && (d.track == nil || !sameTrack(*d.track, *t)) {
		d.track = t
	}
	if d.waiting && (!key || d.track == nil) {
		d.lost = true
		return
	}
	d.waiting = false
	d.emit(Unit{Track: d.track, Timestamp: d.timestamp, Key: key, Data: data})
}

// sameTrack says that a decoder needs no news.
func sameTrack(a, b media.Track) bool {
	return a.Width == b.Width && a.Height == b.Height && slices.Equal(a.Config, b.Config)
}
