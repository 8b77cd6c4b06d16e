package rtc

import (
	"fmt"
	"slices"
	"time"

	"hawser/lifecycle"
)

// ICEState is the state of a peer's ICE connection (RFC 8445; the words are those of the W3C's RTCIceConnectionState). All seven are reported, in order.
type ICEState uint8

const (
	// StateNew: addresses are gathered, or the other side's candidates are waited for. May be followed by StateChecking, StateFailed, StateClosed.
	StateNew ICEState = iota
	// StateChecking: a candidate of the other side is known, and pairs are checked. May be followed by StateConnected, StateFailed, StateClosed.
	StateChecking
	// StateConnected: a pair works; gathering and checks may go on. May be followed by StateCompleted, StateDisconnected, StateChecking (after a restart), StateFailed, StateClosed.
	StateConnected
	// StateCompleted: gathering is over on both sides, and the pair that is used has not changed for Options.Settle. May be followed by StateConnected (another pair), StateDisconnected, StateChecking (after a restart),
	// StateFailed, StateClosed. Stacks do not tell it; it is derived.
	StateCompleted
	// StateFailed: no pair works. May be followed by StateChecking (after a restart), StateClosed.
	StateFailed
	// StateDisconnected: nothing came over the pair for a while; it may heal by itself. May be followed by StateConnected, StateChecking (after a restart), StateFailed, StateClosed.
	StateDisconnected
	// StateClosed: the peer was shut down. Final.
	StateClosed
)

var iceWords = [...]string{"new", "checking", "connected", "completed", "failed", "disconnected", "closed"}

// String returns the state's word: new, checking, connected, completed, failed, disconnected or closed.
func (s ICEState) String() string {
	if int(s) < len(iceWords) {
		return iceWords[s]
	}
	return fmt.Sprintf("ICEState(%d)", uint8(s))
}

// MarshalText returns the word of String.
func (s ICEState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes one of the words of String.
func (s *ICEState) UnmarshalText(b []byte) (err error) {
	*s, err = ParseICEState(string(b))
	return err
}

// ParseICEState returns the state with the given word.
func ParseICEState(word string) (ICEState, error) {
	if i := slices.Index(iceWords[:], word); i >= 0 {
		return ICEState(i), nil
	}
	return StateNew, fmt.Errorf("rtc: ICE state %q: want one of %q", word, iceWords)
}

// Light returns the state's light: green for StateConnected and StateCompleted, red for StateFailed and StateClosed, amber otherwise.
func (s ICEState) Light() lifecycle.Health {
	switch s {
	case StateConnected, StateCompleted:
		return lifecycle.Green
	case StateFailed, StateClosed:
		return lifecycle.Red
	}
	return lifecycle.Amber
}

// Change is a change of the ICE state. The first of a peer has StateNew twice.
type Change struct {
	From, To ICEState
	Time     time.Time
	// Pair is the pair of candidates that is used, or was used last; its zero value when there was none since the peer began or was restarted.
	Pair Pair
	// Reason says what was seen, for StateDisconnected, StateFailed and StateClosed.
	Reason lifecycle.Reason
}

// Pair is a pair of candidates.
type Pair struct {
	Local, Remote Candidate
	// RoundTrip is that of the last check that was answered; 0 means none was.
	RoundTrip time.Duration
}

// IsZero says that there is no pair.
func (p Pair) IsZero() bool { return p.Local.Address == "" }

// same says that packets go the same way; types may change as more becomes known.
func (p Pair) same(q Pair) bool {
	return p.Local.Protocol == q.Local.Protocol && p.Local.Address == q.Local.Address && p.Remote.Address == q.Remote.Address
}

// String returns for example "udp host 10.0.0.1:8189 - srflx 192.0.2.7:50123", "" for no pair.
func (p Pair) String() string {
	if p.IsZero() {
		return ""
	}
	return fmt.Sprintf("%s %s %s - %s %s", p.Local.Protocol, p.Local.Type, p.Local.Address, p.Remote.Type, p.Remote.Address)
}

// Candidate is one end of a pair.
type Candidate struct {
	// Type is host, srflx, prflx or relay (RFC 8445 section 5.1.1).
	Type string
	// Protocol is udp or tcp; a relayed one has the protocol towards the relay.
	Protocol string
	// Address is host:port.
	Address string
}
