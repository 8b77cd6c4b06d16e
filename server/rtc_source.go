package server

import (
	"hawser/lifecycle"
	"hawser/media"
	"hawser/stream"
)

// rtcSource hands out what a peer sends.
type rtcSource struct {
	peer   *rtcPeer
	viewer *stream.Viewer
	takes  *offered
	send   []media.Track
	told   rtcAbout
}

// Fill implements rtc.Source.
func (v *rtcSource) Fill(dst [][]byte, max int) [][]byte {
	for {
		from, size := len(dst), 0
		dst, size = v.viewer.Fill(dst, max)
		dst = v.unmark(dst, from)
		switch {
		case size >= max:
			return dst
		case v.viewer.Ended() && len(dst) > 0:
			v.peer.peer.Wake() // to come here again when that is sent
			return dst
		case v.viewer.Ended():
			v.peer.close(v.viewer.Why())
			return dst
		case v.viewer.Arm(v.peer.peer):
			return dst
		}
		max -= size
	}
}

// unmark takes the marks out from a place on, and does what they say.
func (v *rtcSource) unmark(dst [][]byte, from int) [][]byte {
	kept := dst[:from]
	for _, b := range dst[from:] {
		if len(b) > 1 {
			kept = append(kept, b)
			continue
		}
		switch b[0] {
		case markChanged[0]:
			v.changed()
		case markReordered[0]:
			v.peer.close(lifecycle.ReasonUnsupported.With("video: %s", reordered))
		}
	}
	return kept
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
