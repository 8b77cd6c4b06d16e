package server

import (
	"bytes"
	"encoding/binary"
	"sync/atomic"
	"time"

	"hawser/lifecycle"
	"hawser/media"
	"hawser/ring"
	"hawser/rtc"
	"hawser/stream"
)

const (
	// What a viewer is sent at once when it begins, and how soon the next part follows: a receiver whose line is not that fast has queues that hold some of it.
	startChunk = 32 << 10
	startPause = 10 * time.Millisecond
	// A picture that is behind the newest one when a viewer begins is to be shown at once: its time is moved so near to the newest that all of them together last for no more than this part of what they did.
	startSqueeze = 256
	// soundBehind is how far behind the newest picture sound may be when a viewer begins; older sound is left out.
	soundBehind = 100 * time.Millisecond
)

// rtcSource hands out what a peer sends. A viewer begins at the newest keyframe, which is maybe seconds old: what is between that and now is sent as fast as the line may take it and to be shown at
// once, so that the picture is there without delay and the viewer is at the live edge nevertheless. A receiver would stay behind for as long as the beginning was old.
type rtcSource struct {
	peer   *rtcPeer
	wake   ring.Waker // is called when Fill has more
	viewer *stream.Viewer
	takes  *offered
	send   []media.Track
	told   rtcAbout

	strained atomic.Bool // the receiver cannot take the rate
	sound    *opusFeed   // Opus that is made for WebRTC; nil when the stream has its own, or none
	cursor   *ring.Cursor[[]byte]
	begun    bool
	behind   bool          // what is handed out is older than edge
	edge     time.Duration // the newest time of the stream when the viewer began, or began again
	next     time.Time     // when more may be handed out while behind
}

// Fill implements rtc.Source.
func (v *rtcSource) Fill(dst [][]byte, max int) [][]byte {
	if !v.begun {
		v.begun = true
		v.start()
		v.changed() // since the answer was made
	}
	if v.strained.Swap(false) {
		v.viewer.LeaveOut()
	}
	for {
		if v.behind {
			now := time.Now()
			if wait := v.next.Sub(now); wait > 0 {
				time.AfterFunc(wait, v.wake.Wake)
				return dst
			}
			v.next = now.Add(startPause)
			max = min(max, startChunk)
		}
		from, size := len(dst), 0
		dst, size = v.viewer.Fill(dst, max)
		dst = v.pass(dst, from)
		dst = v.hear(dst)
		switch {
		case v.viewer.Ended() && len(dst) > 0:
			v.wake.Wake() // to come here again when that is sent
			return dst
		case v.viewer.Ended():
			v.peer.close(v.viewer.Why())
			return dst
		case v.behind && size >= max:
			time.AfterFunc(startPause, v.wake.Wake)
			return dst
		case size >= max:
			v.wake.Wake() // max may be less than what the peer comes again after by itself
			return dst
		case v.viewer.Arm(v.wake) && (v.cursor == nil || v.cursor.Arm(v.wake)):
			return dst
		}
		max -= size
	}
}

// hear appends the sound that was made of the stream's.
func (v *rtcSource) hear(dst [][]byte) [][]byte {
	if v.cursor == nil {
		return dst
	}
	var batch [16]ring.Item[[]byte]
	for {
		n, _, err := v.cursor.Read(batch[:])
		for _, item := range batch[:n] {
			dst = append(dst, item.Value)
		}
		if n < len(batch) || err != nil {
			return dst
		}
	}
}

// close gives up what the source follows.
func (v *rtcSource) close() {
	v.viewer.Close()
	if v.sound != nil {
		v.cursor.Close()
		v.sound.release()
	}
}

// start notes where the live edge is.
func (v *rtcSource) start() { v.edge, v.behind = v.viewer.Stream().MediaTime() }

// pass takes the marks out from a place on, and does what they say. What is behind is squeezed.
func (v *rtcSource) pass(dst [][]byte, from int) [][]byte {
	kept := dst[:from]
	for _, b := range dst[from:] {
		switch {
		case len(b) > 1 && v.behind:
			if b = v.squeeze(b); b != nil {
				kept = append(kept, b)
			}
		case len(b) > 1:
			kept = append(kept, b)
		case b[0] == markChanged[0]:
			v.changed()
		case b[0] == markSkipped[0]:
			v.start()
		case b[0] == markReordered[0]:
			v.peer.close(lifecycle.ReasonUnsupported.With("video: %s", reordered))
		}
	}
	return kept
}

// squeeze moves the time of a group that is behind near to the live edge, or leaves it out; the first one that is not behind ends that.
func (v *rtcSource) squeeze(b []byte) []byte {
	g := rtc.Group(b)
	clock := int64(rtc.ClockRate(g.Slot()))
	behind := int64(int32(uint32(ticksOf(v.edge, clock)) - g.Timestamp()))
	switch {
	case g.Slot() == rtc.SlotAudio && behind > ticksOf(soundBehind, clock):
		return nil
	case g.Slot() == rtc.SlotAudio:
		return b
	case behind <= 0:
		v.behind = false
		return b
	}
	b = bytes.Clone(b) // the others' is not to be touched
	binary.BigEndian.PutUint32(b[2:], g.Timestamp()+uint32(behind-behind/startSqueeze))
	return b
}

// ticksOf is a time in ticks of a clock.
func ticksOf(t time.Duration, clock int64) int64 {
	return int64(t/time.Second)*clock + int64(t%time.Second)*clock/int64(time.Second)
}

// changed tells what the stream is now, and ends a peer that was not agreed upon for that.
func (v *rtcSource) changed() {
	info := v.viewer.Stream().Info()
	if info.Status == stream.Ended {
		return
	}
	c := carriage{about: rtcAbout{Status: mediaStatus(info.Status).String()}}
	c = v.peer.server.carriageOf(c, v.viewer.Stream(), info.Tracks, v.takes)
	if c.about != v.told {
		v.told = c.about
		v.peer.tell(signalOut{"about": c.about})
	}
	for _, t := range c.send {
		if !sends(v.send, t) {
			v.peer.close(lifecycle.ReasonGone.With("the stream has %s now: another offer is wanted", t.Codec))
			return
		}
	}
	if !c.about.Possible && len(info.Tracks) > 0 {
		v.peer.close(c.why)
	}
}

// sends says whether a peer was made for a track like this one.
func sends(tracks []media.Track, t media.Track) bool {
	for i := range tracks {
		if tracks[i].Codec == t.Codec {
			return true
		}
	}
	return false
}
