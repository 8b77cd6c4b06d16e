package stream

import (
	"slices"
	"strings"
	"time"

	"hawser/lifecycle"
	"hawser/media"
)

const (
	// usualStep is the time between the last frame of one publisher and the first of the next.
	usualStep = 40 * time.Millisecond
	// maxBack is how far a timestamp may go back before it is taken for a new time base; less is corrected to the newest.
	maxBack = time.Second
	// maxTracks bounds the tracks of one stream.
	maxTracks = 32
)

// Publisher is the one writer of a stream. Its methods must not run at once with each other.
type Publisher struct {
	stream *Stream
	by     string
	tracks []media.Track // as the publisher has announced them
	fresh  bool          // tracks differ from the stream's
	closed bool

	shift   time.Duration // added to the publisher's timestamps
	shifted bool          // shift is known
	last    [maxTracks + 1]time.Duration
}

func (s *Stream) takePublisher(by string) (*Publisher, error) {
	s.mu.Lock()
	if s.publisher != nil {
		other := s.publisher.by
		s.mu.Unlock()
		return nil, lifecycle.ReasonTaken.With("stream is taken by %s", other)
	}
	if s.grace != nil {
		if s.grace.Stop() {
			defer s.hub.release(s) // the hold of the grace period
		}
		s.grace = nil
	}
	p := &Publisher{stream: s, by: by, fresh: true, tracks: nil}
	for i := range p.last {
		p.last[i] = -1
	}
	s.publisher = p
	st := *s.state
	st.Status, st.Reason = Live, lifecycle.Reason{}
	s.changeLocked(st, s.hub.opts.Now())
	s.mu.Unlock()
	s.event(KindPublish, lifecycle.Reason{}, by)
	s.hub.changed(s)
	return p, nil
}

// Stream returns the stream that is published.
func (p *Publisher) Stream() *Stream { return p.stream }

// SetTrack announces a track or its new codec parameters; they hold from the next frame on. More than 32 tracks are refused with lifecycle.ReasonLimit.
func (p *Publisher) SetTrack(t media.Track) error {
	if t.ID < 1 || t.ID > maxTracks {
		return lifecycle.ReasonLimit.With("stream: track %d: want 1 to %d", t.ID, maxTracks)
	}
	i := slices.IndexFunc(p.tracks, func(old media.Track) bool { return old.ID == t.ID })
	switch {
	case i < 0:
		p.tracks = append(p.tracks, t)
		slices.SortFunc(p.tracks, func(a, b media.Track) int { return a.ID - b.ID })
	case sameTrack(p.tracks[i], t):
		return nil
	default:
		p.tracks[i] = t
	}
	p.fresh = true
	return nil
}

func sameTrack(a, b media.Track) bool {
	return a.Codec == b.Codec && slices.Equal(a.Config, b.Config) && a.Width == b.Width && a.Height == b.Height && a.SampleRate == b.SampleRate && a.Channels == b.Channels && a.Color == b.Color
}

// Write adds a frame. Its Data must not change any more. Frames of a track that was not announced are refused. Timestamps are the publisher's own; where another
// publisher was before, they are moved so that they go on from where it stopped, and they never go back within a track.
func (p *Publisher) Write(f media.Frame) error {
	s := p.stream
	if f.Track < 1 || f.Track > maxTracks || !slices.ContainsFunc(p.tracks, func(t media.Track) bool { return t.ID == f.Track }) {
		return lifecycle.ReasonBadRequest.With("stream: frame of track %d, which was not announced", f.Track)
	}
	if p.closed {
		return lifecycle.ReasonGone.With("stream: publish %q: closed", s.path)
	}
	now := s.hub.opts.Now()
	s.mu.Lock()
	announce := p.fresh && p.announceLocked(now)
	p.retimeLocked(&f)
	s.appendLocked(Item{Frame: f}, now)
	s.mu.Unlock()
	if announce {
		s.event(KindTracks, lifecycle.Reason{}, describe(p.tracks))
		s.hub.changed(s)
	}
	return nil
}

// announceLocked makes the publisher's tracks those of the stream; false if they were that already.
func (p *Publisher) announceLocked(now time.Time) bool {
	p.fresh = false
	s := p.stream
	if slices.EqualFunc(s.state.Tracks, p.tracks, sameTrack) {
		return false
	}
	st := *s.state
	st.Tracks = slices.Clone(p.tracks)
	s.changeLocked(st, now)
	return true
}

// retimeLocked moves the frame's timestamps onto the stream's time.
func (p *Publisher) retimeLocked(f *media.Frame) {
	s := p.stream
	ahead := f.PTS - f.DTS
	last := p.last[f.Track]
	switch {
	case !p.shifted:
		p.shifted = true
		if s.count > 0 {
			p.shift = s.newest + usualStep - f.DTS
		}
	case last >= 0 && f.DTS+p.shift < last-maxBack:
		p.shift = s.newest + usualStep - f.DTS
	}
	f.DTS = max(f.DTS+p.shift, last, 0)
	f.PTS = f.DTS + max(ahead, 0)
	p.last[f.Track] = f.DTS
}

// Close ends the publishing. The stream waits for the next publisher for the grace period; viewers stay.
func (p *Publisher) Close(r lifecycle.Reason) {
	s := p.stream
	s.mu.Lock()
	if p.closed {
		s.mu.Unlock()
		return
	}
	p.closed = true
	s.publisher = nil
	st := *s.state
	st.Status, st.Reason = Paused, r
	now := s.hub.opts.Now()
	s.changeLocked(st, now)
	grace := s.hub.opts.Grace
	s.pauses++
	pause := s.pauses
	if grace > 0 {
		s.grace = time.AfterFunc(grace, func() { s.end(pause) }) // the publisher's hold goes over to it
	}
	s.mu.Unlock()
	s.event(KindGone, r, p.by)
	s.hub.changed(s)
	if grace <= 0 {
		s.end(pause)
	}
}

// end is the end of the grace period.
func (s *Stream) end(pause int) {
	defer s.hub.release(s)
	s.mu.Lock()
	if s.pauses != pause || s.publisher != nil {
		s.mu.Unlock() // a publisher came in the last moment
		return
	}
	s.grace = nil
	st := *s.state
	st.Status = Ended
	s.haveKey = false
	s.changeLocked(st, s.hub.opts.Now())
	s.mu.Unlock()
	s.event(KindUnpublish, st.Reason, "")
	s.hub.changed(s)
}

// describe names tracks for people.
func describe(tracks []media.Track) string {
	var words []string
	for _, t := range tracks {
		words = append(words, t.Kind.String()+" "+t.Codec.String())
	}
	return strings.Join(words, ", ")
}
