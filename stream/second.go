package stream

import (
	"fmt"
	"slices"

	"hawser/lifecycle"
	"hawser/media"
)

// Second says what becomes of a publisher whose path has one already.
type Second uint8

const (
	// SecondRefused: it is refused with lifecycle.ReasonTaken. An encoder whose connection died unnoticed cannot come back before the server has noticed too.
	SecondRefused Second = iota
	// SecondTakesOver: it takes over with its first keyframe; the other is closed with lifecycle.ReasonReplaced.
	SecondTakesOver
	// SecondStandsBy: it is accepted and held back. When the other goes it takes over at once, from its last keyframe on. There is one spare for a path; a third is refused.
	SecondStandsBy
)

var secondWords = [...]string{"refuse", "takeover", "standby"}

// String returns "refuse", "takeover" or "standby".
func (s Second) String() string {
	if int(s) < len(secondWords) {
		return secondWords[s]
	}
	return fmt.Sprintf("Second(%d)", uint8(s))
}

// MarshalText returns the word of String.
func (s Second) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes one of the words of String.
func (s *Second) UnmarshalText(b []byte) error {
	i := slices.Index(secondWords[:], string(b))
	if i < 0 {
		return fmt.Errorf("stream: second publisher %q: want refuse, takeover or standby", b)
	}
	*s = Second(i)
	return nil
}

// maxSpare bounds the frames that are held back of a spare, in bytes. Of a longer group of pictures nothing is held: the spare then takes over at its next keyframe.
const maxSpare = 8 << 20

// spare is what is held back of a publisher that stands by: its frames from the last keyframe on.
type spare struct {
	frames []media.Frame
	size   int
}

// hold keeps a frame; start says that a viewer may start there.
func (s *spare) hold(f media.Frame, start bool) {
	if start {
		s.drop()
	} else if len(s.frames) == 0 {
		return
	}
	if s.size += len(f.Data); s.size > maxSpare {
		s.drop()
		return
	}
	s.frames = append(s.frames, f)
}

func (s *spare) drop() {
	clear(s.frames)
	s.frames, s.size = s.frames[:0], 0
}

// waitLocked lets p wait for its turn, or says why it may not. It returns a publisher that waited before and may not any more.
func (s *Stream) waitLocked(p *Publisher) (replaced *Publisher, err error) {
	second := s.hub.opts.Second
	switch {
	case second == SecondRefused:
		return nil, lifecycle.ReasonTaken.With("stream is taken by %s", s.publisher.claim.By)
	case second == SecondStandsBy && s.waiting != nil:
		return nil, lifecycle.ReasonTaken.With("stream is taken by %s, and %s stands by", s.publisher.claim.By, s.waiting.claim.By)
	}
	replaced, s.waiting = s.waiting, p
	if replaced != nil {
		replaced.endLocked(lifecycle.ReasonReplaced.With("%s takes over", p.claim.By))
	}
	return replaced, nil
}

// heldBackLocked takes a frame of a publisher that waits. True says that it takes over with this frame.
func (p *Publisher) heldBackLocked(f media.Frame) bool {
	start := p.startsLocked(f)
	if p.stream.hub.opts.Second == SecondTakesOver {
		return start
	}
	p.held.hold(f, start)
	return false
}

// promoteLocked puts the waiting publisher in the place of the present one, which is to be told why, and hands out what was held back of it.
func (s *Stream) promoteLocked(why lifecycle.Reason) (events []lifecycle.Event) {
	p := s.waiting
	other := s.publisher
	s.publisher, s.waiting = p, nil
	events = s.tellLocked(nil, KindTakeover, why, p.claim.By+" for "+other.claim.By)
	now := s.hub.opts.Now()
	for _, f := range p.held.frames {
		events = p.writeLocked(events, f, now)
	}
	p.held = spare{}
	return events
}
