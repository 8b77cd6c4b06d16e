package stream

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"hawser/lifecycle"
	"hawser/media"
	"hawser/ring"
)

// Status says whether a stream has a publisher.
type Status uint8

const (
	// Waiting: no publisher has come yet.
	Waiting Status = iota
	// Live: a publisher is here.
	Live
	// Paused: the publisher has left and may come back within the grace period.
	Paused
	// Ended: the grace period is over. A publisher that comes now goes on in the same stream, if anybody still holds it.
	Ended
)

var statusWords = [...]string{"waiting", "live", "paused", "ended"}

// String returns "waiting", "live", "paused" or "ended".
func (s Status) String() string {
	if int(s) < len(statusWords) {
		return statusWords[s]
	}
	return fmt.Sprintf("Status(%d)", uint8(s))
}

// MarshalText returns the word of String.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes one of the words of String.
func (s *Status) UnmarshalText(b []byte) error {
	i := slices.Index(statusWords[:], string(b))
	if i < 0 {
		return fmt.Errorf("stream: status %q is not known", b)
	}
	*s = Status(i)
	return nil
}

// Light returns the status's light: green for Live, amber for Paused, red otherwise.
func (s Status) Light() lifecycle.Health {
	switch s {
	case Live:
		return lifecycle.Green
	case Paused:
		return lifecycle.Amber
	}
	return lifecycle.Red
}

// State is what holds at a position of a stream. It never changes; a change makes a new one.
type State struct {
	Status Status
	// Tracks are the tracks and their codec parameters, by ID.
	Tracks []media.Track
	// Metadata is what else the publisher said of the stream (Publisher.SetMetadata); nil for nothing.
	Metadata []byte
	// Reason says why the publisher left.
	Reason lifecycle.Reason
	// Time is the media time at which the state began to hold.
	Time time.Duration
}

// Track returns the track with the given ID, nil if there is none.
func (s *State) Track(id int) *media.Track {
	for i := range s.Tracks {
		if s.Tracks[i].ID == id {
			return &s.Tracks[i]
		}
	}
	return nil
}

// Video says whether there is a video track.
func (s *State) Video() bool {
	return slices.ContainsFunc(s.Tracks, func(t media.Track) bool { return t.Kind == media.Video })
}

// lead is the ID of the track at whose keyframes viewers start: the first of video, else the first; 0 if there is none.
func (s *State) lead() int {
	for _, t := range s.Tracks {
		if t.Kind == media.Video {
			return t.ID
		}
	}
	if len(s.Tracks) > 0 {
		return s.Tracks[0].ID
	}
	return 0
}

// Item is one entry of a stream's ring: a frame, or a change of the state.
type Item struct {
	// Frame is the frame; its Kind is media.KindNone when this is a change.
	Frame media.Frame
	// State holds from this item on.
	State *State
	// Changed says that this item is a change: State is new.
	Changed bool
	// Start says that a viewer may start here: a keyframe, or any frame of a stream that is only sound.
	Start bool
}

// Stream is the live media of one path. All methods may run at once.
type Stream struct {
	hub     *Hub
	path    string
	since   time.Time
	frames  *ring.Ring[Item]
	outputs ring.Outputs[Item, Packet]
	holders int // guarded by hub.mu

	mu        sync.Mutex
	publisher *Publisher
	waiting   *Publisher                 // the second publisher
	grace     *time.Timer                // runs while Paused, else nil
	pauses    int                        // counts the grace periods
	ending    func(why lifecycle.Reason) // to be called when the grace period ends; may be nil
	state     *State                     // as of the newest item
	key       uint64                     // the newest place where a viewer may start
	haveKey   bool
	start     int64         // bytes of frames from key on
	newest    time.Duration // the newest timestamp of any frame
	received  time.Time     // when the newest frame came
	viewers   int
	count     uint64
	bytes     uint64
}

// Path returns the path.
func (s *Stream) Path() string { return s.path }

// Epoch returns the name of this life of the stream; offsets of another life mean nothing here.
func (s *Stream) Epoch() uint64 { return s.frames.Epoch() }

// Frames returns the ring of frames and changes.
func (s *Stream) Frames() *ring.Ring[Item] { return s.frames }

// Close gives the stream up; call it once for each Open.
func (s *Stream) Close() { s.hub.release(s) }

// Info returns the stream as it stands.
func (s *Stream) Info() Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	info := Info{Path: s.path, Status: s.state.Status, Light: s.state.Status.Light(), Tracks: s.state.Tracks, Viewers: s.viewers,
		Since: s.since, Frames: s.count, Bytes: s.bytes, Held: s.frames.Stats().Bytes}
	if s.publisher != nil {
		info.Publisher = s.publisher.claim.By
	}
	if s.waiting != nil {
		info.Standby = s.waiting.claim.By
	}
	return info
}

// MediaTime returns the newest timestamp while a publisher is here.
func (s *Stream) MediaTime() (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newest, s.state.Status == Live && s.count > 0
}

// Start returns the place where a new viewer begins, which is the last keyframe if it is still kept, and what holds there. ok is false when the viewer has to
// wait for the next keyframe; the place is then the head.
func (s *Stream) Start() (at uint64, state *State, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.haveKey {
		if item, held := s.frames.At(s.key); held {
			return s.key, item.Value.State, true
		}
	}
	_, head := s.frames.Bounds()
	return head, s.state, false
}

// keyframeOld is how old the newest keyframe may be before a viewer that begins makes the publisher be asked for another.
const keyframeOld = 2 * time.Second

// WantKeyframe asks the publisher for a keyframe, if there is one that can be asked (Claim.WantKeyframe).
func (s *Stream) WantKeyframe() {
	s.mu.Lock()
	var ask func()
	if s.publisher != nil {
		ask = s.publisher.claim.WantKeyframe
	}
	s.mu.Unlock()
	if ask != nil {
		ask()
	}
}

// freshKey says whether a viewer that begins now has a keyframe that is not old.
func (s *Stream) freshKey() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.haveKey {
		return false
	}
	item, held := s.frames.At(s.key)
	return held && s.hub.opts.Now().Sub(item.Time) < keyframeOld
}

// sinceKey returns how many bytes of frames a viewer who begins now is sent at once.
func (s *Stream) sinceKey() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.start
}

// stateAt returns what holds at a place, or nil if that is not kept, or not yet made.
func (s *Stream) stateAt(seq uint64) *State {
	s.mu.Lock()
	defer s.mu.Unlock()
	if item, held := s.frames.At(seq); held {
		return item.Value.State
	}
	if _, head := s.frames.Bounds(); seq == head {
		return s.state
	}
	return nil
}

// appendLocked adds an item to the ring.
func (s *Stream) appendLocked(item Item, now time.Time) {
	item.State = s.state
	f := &item.Frame
	item.Start = f.Key && f.Kind != media.Data && f.Track == s.state.lead()
	seq := s.frames.Append(item, len(item.Frame.Data), now)
	if item.Changed {
		return
	}
	s.bytes += uint64(len(f.Data))
	s.start += int64(len(f.Data))
	if f.Kind == media.Data {
		return
	}
	s.count++
	s.newest, s.received = max(s.newest, f.DTS), now
	if item.Start {
		s.key, s.haveKey, s.start = seq, true, int64(len(f.Data))
	}
}

// changeLocked makes a new state hold and tells the viewers by an item of its own.
func (s *Stream) changeLocked(st State, now time.Time) {
	st.Time = s.newest
	s.state = &st
	s.appendLocked(Item{Changed: true}, now)
}
