package stream

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"hawser/lifecycle"
	"hawser/media"
)

// videoWait is how long the sound of a publisher that follows one with pictures waits for its own, in media time; then it goes on without.
const videoWait = time.Second

// Claim is what a publisher says of itself.
type Claim struct {
	// By names it in the log, usually its connection's identity.
	By string
	// Replaced is called once, with no lock held, when another publisher has taken its place (SecondTakesOver). Its connection is to be closed with this reason.
	Replaced func(why lifecycle.Reason)
	// Unpublished is called once, with no lock held, when the stream ends, after the grace period; not for a publisher that another one followed.
	Unpublished func(why lifecycle.Reason)
	// WantKeyframe is called, with no lock held and maybe often, when a keyframe would help a viewer: it begins, or frames were left out for it, and the newest keyframe is old or gone. nil for a publisher that
	// cannot be asked.
	WantKeyframe func()
}

// Publisher is the one writer of a stream, or waits to become that. Its methods must not run at once with each other.
type Publisher struct {
	stream *Stream
	claim  Claim

	// guarded by stream.mu
	tracks   []media.Track // as the publisher has announced them
	metadata []byte
	fresh    bool // tracks or metadata may differ from the stream's
	closed   bool
	why      lifecycle.Reason // of closed
	started  bool             // a frame was let through
	waited   bool             // first is known
	first    time.Duration    // the publisher's time of its first frame
	retimer  retimer
	held     spare
}

// tellLocked appends an event of the stream with the present state; it is to be logged by tell when no lock is held.
func (s *Stream) tellLocked(list []lifecycle.Event, kind string, r lifecycle.Reason, detail string) []lifecycle.Event {
	st := s.state.Status
	return append(list, lifecycle.Event{Kind: kind, Protocol: "stream", Path: s.path, State: st.String(), Light: st.Light(), Reason: r, Detail: detail})
}

// tell logs events, and says that the stream has changed if there are any.
func (s *Stream) tell(list []lifecycle.Event) {
	for _, e := range list {
		s.hub.opts.Log.Add(e)
	}
	if len(list) > 0 {
		s.hub.changed(s)
	}
}

// claimed makes a publisher, of which the caller has taken a hold on the stream.
func (s *Stream) claimed(c Claim) (*Publisher, error) {
	p := &Publisher{stream: s, claim: c, fresh: true, retimer: newRetimer()}
	s.mu.Lock()
	if s.publisher != nil {
		replaced, err := s.waitLocked(p)
		if err != nil {
			s.mu.Unlock()
			return nil, err
		}
		events := s.tellLocked(nil, KindStandby, lifecycle.Reason{}, c.By)
		s.mu.Unlock()
		s.tell(events)
		replaced.replacedNow()
		return p, nil
	}
	if s.grace != nil {
		if s.grace.Stop() {
			defer s.hub.release(s) // the hold of the grace period
		}
		s.grace = nil
	}
	s.publisher = p
	st := *s.state
	st.Status, st.Reason = Live, lifecycle.Reason{}
	s.changeLocked(st, s.hub.opts.Now())
	events := s.tellLocked(nil, KindPublish, lifecycle.Reason{}, c.By)
	s.mu.Unlock()
	s.tell(events)
	return p, nil
}

// Stream returns the stream that is published.
func (p *Publisher) Stream() *Stream { return p.stream }

// SetTrack announces a track or its new codec parameters; they hold from the next frame on. More than MaxTracks are refused with lifecycle.ReasonLimit.
func (p *Publisher) SetTrack(t media.Track) error {
	if t.ID < 1 || t.ID > MaxTracks {
		return lifecycle.Reached("stream.MaxTracks", MaxTracks).With("stream: track %d: want 1 to %d", t.ID, MaxTracks)
	}
	p.stream.mu.Lock()
	defer p.stream.mu.Unlock()
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
	p.held.drop() // of the parameters before
	return nil
}

// SetMetadata says what else is known of the stream, in a form that this package does not look into; it holds from the next frame on and stands in State.Metadata. b must not
// change any more.
func (p *Publisher) SetMetadata(b []byte) {
	p.stream.mu.Lock()
	defer p.stream.mu.Unlock()
	if !bytes.Equal(p.metadata, b) {
		p.metadata, p.fresh = b, true
	}
}

func sameTrack(a, b media.Track) bool {
	return a.Codec == b.Codec && slices.Equal(a.Config, b.Config) && a.Width == b.Width && a.Height == b.Height && a.SampleRate == b.SampleRate && a.Channels == b.Channels && a.Color == b.Color
}

// Write adds a frame. Its Data must not change any more. Frames of a track that was not announced are refused. Timestamps are the publisher's own; where another
// publisher was before, they are moved so that they go on from where it stopped, beginning with a keyframe, and they never go back within a track. A publisher in whose place another
// one has come gets lifecycle.ReasonReplaced.
func (p *Publisher) Write(f media.Frame) error {
	s := p.stream
	now := s.hub.opts.Now()
	s.mu.Lock()
	var events []lifecycle.Event
	var replaced *Publisher
	err := p.writableLocked(f)
	switch {
	case err != nil:
	case p == s.publisher:
		events = p.writeLocked(events, f, now)
	case p.heldBackLocked(f):
		replaced = s.publisher
		replaced.endLocked(lifecycle.ReasonReplaced.With("%s has taken over", p.claim.By))
		events = p.writeLocked(s.promoteLocked(replaced.why), f, now)
	}
	s.mu.Unlock()
	s.tell(events)
	replaced.replacedNow()
	return err
}

// writableLocked says why a frame may not be written.
func (p *Publisher) writableLocked(f media.Frame) error {
	switch {
	case p.closed:
		return p.why.With("stream: publish %q: closed: %v", p.stream.path, p.why)
	case f.Track < 1 || f.Track > MaxTracks || !slices.ContainsFunc(p.tracks, func(t media.Track) bool { return t.ID == f.Track }):
		return lifecycle.ReasonBadRequest.With("stream: frame of track %d, which was not announced", f.Track)
	}
	return nil
}

// writeLocked lets a frame into the ring, with the change of tracks that it brings.
func (p *Publisher) writeLocked(list []lifecycle.Event, f media.Frame, now time.Time) []lifecycle.Event {
	s := p.stream
	if !p.started {
		if s.count > 0 {
			if !p.startsLocked(f) {
				return list
			}
			p.retimer.start(f.DTS, s.newest+usualStep)
			gap := now.Sub(s.received)
			list = s.tellLocked(list, KindGap, lifecycle.Reason{}, gap.Round(time.Millisecond).String())
			list[len(list)-1].Delay = gap
		}
		p.started = true
	}
	if p.fresh && p.announceLocked(now) {
		list = s.tellLocked(list, KindTracks, lifecycle.Reason{}, describe(p.tracks))
	}
	if p.retimer.time(&f, s.newest) {
		s.appendLocked(Item{Frame: f}, now)
	}
	return list
}

// startsLocked says whether the stream may go on with this frame of another publisher: with a keyframe; with any frame if there are no pictures, for which some
// time is waited where the stream had some.
func (p *Publisher) startsLocked(f media.Frame) bool {
	if !p.waited {
		p.waited, p.first = true, f.DTS
	}
	if f.Kind == media.Video {
		return f.Key
	}
	pictures := slices.ContainsFunc(p.tracks, func(t media.Track) bool { return t.Kind == media.Video })
	return f.Kind == media.Audio && !pictures && (!p.stream.state.Video() || f.DTS-p.first >= videoWait)
}

// WriteData adds a data message, which belongs to no track, with the publisher's time. It returns the stream's time for it, and false when the message was left out because
// the publisher waits or is closed. data must not change any more.
func (p *Publisher) WriteData(dts time.Duration, data []byte) (at time.Duration, ok bool) {
	s := p.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.closed || p != s.publisher {
		return 0, false
	}
	at = p.retimer.data(dts, s.newest)
	s.appendLocked(Item{Frame: media.Frame{Kind: media.Data, DTS: at, PTS: at, Data: data}}, s.hub.opts.Now())
	return at, true
}

// Time returns the stream's time for a time of the publisher's own, and false when it is not what is published now: it waits, or is closed.
func (p *Publisher) Time(dts time.Duration) (at time.Duration, ok bool) {
	p.stream.mu.Lock()
	defer p.stream.mu.Unlock()
	return p.retimer.data(dts, p.stream.newest), !p.closed && p == p.stream.publisher
}

// announceLocked makes the publisher's tracks and metadata those of the stream; false if they were that already.
func (p *Publisher) announceLocked(now time.Time) bool {
	p.fresh = false
	s := p.stream
	st := *s.state
	tracks := !slices.EqualFunc(st.Tracks, p.tracks, sameTrack)
	if !tracks && bytes.Equal(st.Metadata, p.metadata) {
		return false
	}
	if tracks {
		st.Tracks = slices.Clone(p.tracks)
	}
	st.Metadata = p.metadata
	s.changeLocked(st, now)
	return true
}

// endLocked takes a publisher's right to write.
func (p *Publisher) endLocked(why lifecycle.Reason) {
	p.closed, p.why = true, why
	p.held = spare{}
}

// replacedNow tells a publisher that another is in its place, and gives up its hold; p may be nil.
func (p *Publisher) replacedNow() {
	if p == nil {
		return
	}
	if p.claim.Replaced != nil {
		p.claim.Replaced(p.why)
	}
	p.stream.hub.release(p.stream)
}

// Close ends the publishing. If another publisher stands by, it takes over. Else the stream waits for the next one for the grace period; viewers stay.
func (p *Publisher) Close(r lifecycle.Reason) {
	s := p.stream
	s.mu.Lock()
	if p.closed {
		s.mu.Unlock()
		return
	}
	p.endLocked(r)
	var events []lifecycle.Event
	pause := 0
	switch {
	case s.waiting == p:
		s.waiting = nil
		events = s.tellLocked(nil, KindStandbyGone, r, p.claim.By)
	case s.waiting != nil:
		events = s.promoteLocked(r)
	default:
		pause = s.pauseLocked(p, r)
		events = s.tellLocked(nil, KindGone, r, p.claim.By)
	}
	s.mu.Unlock()
	s.tell(events)
	switch {
	case pause == 0:
		s.hub.release(s)
	case s.hub.opts.Grace <= 0:
		s.end(pause)
	}
}

// pauseLocked begins the grace period, to which the publisher's hold goes over, and returns its number.
func (s *Stream) pauseLocked(p *Publisher, r lifecycle.Reason) int {
	s.publisher, s.ending = nil, p.claim.Unpublished
	st := *s.state
	st.Status, st.Reason = Paused, r
	s.changeLocked(st, s.hub.opts.Now())
	s.pauses++
	pause := s.pauses
	if grace := s.hub.opts.Grace; grace > 0 {
		s.grace = time.AfterFunc(grace, func() { s.end(pause) })
	}
	return pause
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
	unpublished := s.ending
	s.ending = nil
	st := *s.state
	st.Status = Ended
	s.haveKey = false
	s.changeLocked(st, s.hub.opts.Now())
	events := s.tellLocked(nil, KindUnpublish, st.Reason, "")
	s.mu.Unlock()
	s.tell(events)
	if unpublished != nil {
		unpublished(st.Reason)
	}
}

// describe names tracks for people.
func describe(tracks []media.Track) string {
	var words []string
	for _, t := range tracks {
		words = append(words, t.Kind.String()+" "+t.Codec.String())
	}
	return strings.Join(words, ", ")
}
