package rtc

import (
	"fmt"
	"time"

	"hawser/lifecycle"
)

// input is what the machine is told.
type input uint8

const (
	inTime      input = iota // nothing but the time
	inRemote                 // a candidate of the other side is known
	inRemoteEnd              // no more of them follow
	inGathered               // our own addresses are all known
	inRestart                // new credentials are in force, all is found afresh
	inChecking               // the agent checks
	inConnected              // the agent has a pair that works: pair
	inPair                   // the agent uses another pair: pair
	inSilence                // nothing came over the pair for machine.patience
	inFailed                 // the agent has given up
	inClose                  // the peer is closed: reason
)

// pairPause is how soon after another pair was told the next one is: those in between are told as one.
const pairPause = 10 * time.Second

// machine derives the seven states of ICE from what an agent tells. It does no I/O and reads no clock: inputs with their times come in, changes come out.
// It knows what agents leave out: StateCompleted, and StateNew for as long as no candidate of the other side is known.
type machine struct {
	settle   time.Duration // Options.Settle
	patience time.Duration // Options.DisconnectedTimeout
	giveUp   time.Duration // patience and Options.FailedTimeout

	state ICEState
	pair  Pair
	// since is when the pair was taken, remoteAt when the last remote candidate came (or when checking began).
	since, remoteAt time.Time
	remotes         int  // remote candidates of this generation
	gathered, ended bool // all local, all remote candidates are known
	connected       bool // there was a pair since the last restart
	stale           bool // after a restart: what comes before the agent's own checking is of the time before

	flips     int       // changes of the pair while the state stayed, that switched has not told
	flippedTo Pair      // the last of them
	flipsTold time.Time // when it told some
}

// step takes one input and appends the changes that follow from it, in order.
func (m *machine) step(dst []Change, now time.Time, in input, pair Pair, reason lifecycle.Reason) []Change {
	if m.state == StateClosed {
		return dst
	}
	to := func(s ICEState, why lifecycle.Reason) {
		dst = append(dst, Change{From: m.state, To: s, Time: now, Pair: m.pair, Reason: why})
		m.state = s
	}
	if (m.stale || m.state == StateFailed) && (in == inConnected || in == inPair || in == inSilence || in == inFailed) {
		return dst
	}
	switch in {
	case inRemote:
		m.remotes++
		m.remoteAt = now
		if m.state == StateNew {
			to(StateChecking, lifecycle.Reason{})
		}
	case inRemoteEnd:
		m.ended = true
	case inGathered:
		m.gathered = true
	case inRestart:
		m.stale = m.connected || m.state == StateFailed
		m.gathered, m.ended, m.connected, m.remotes, m.pair, m.remoteAt = false, false, false, 0, Pair{}, now
		if m.state != StateNew && m.state != StateChecking {
			to(StateChecking, lifecycle.Reason{})
		}
	case inChecking:
		m.stale = false
		m.remoteAt = now
	case inConnected, inPair:
		dst = m.paired(dst, now, in, pair)
	case inSilence:
		if m.state == StateConnected || m.state == StateCompleted {
			to(StateDisconnected, lifecycle.ReasonTimeout.With("nothing came over %s for %v", m.pair, m.patience))
		}
	case inFailed:
		to(StateFailed, m.whyFailed())
	case inClose:
		to(StateClosed, reason)
	}
	if at := m.deadline(); !at.IsZero() && !now.Before(at) {
		to(StateCompleted, lifecycle.Reason{})
	}
	return dst
}

// paired is a pair that works, the first or another one.
func (m *machine) paired(dst []Change, now time.Time, in input, pair Pair) []Change {
	to := func(s ICEState) {
		dst = append(dst, Change{From: m.state, To: s, Time: now, Pair: m.pair})
		m.state = s
	}
	another := !pair.IsZero() && !pair.same(m.pair)
	if another {
		m.since = now
	}
	if !pair.IsZero() {
		m.pair = pair
	}
	switch {
	case m.state == StateCompleted && another:
		to(StateConnected)
	case another && (m.state == StateConnected || m.state == StateDisconnected && in == inPair):
		m.flips, m.flippedTo = m.flips+1, pair
	case m.state == StateConnected || m.state == StateCompleted:
	case in == inConnected:
		if m.state == StateNew { // the other side's check came before its candidates
			to(StateChecking)
		}
		m.connected, m.since = true, now
		to(StateConnected)
	}
	return dst
}

// deadline is when StateCompleted is reached if nothing comes before; zero for never.
func (m *machine) deadline() time.Time {
	if m.state != StateConnected || !m.gathered {
		return time.Time{}
	}
	at := m.since.Add(m.settle)
	if last := m.remoteAt.Add(m.settle); !m.ended && last.After(at) {
		at = last
	}
	return at
}

// switched says how often the pair has changed while the state stayed, and to which, when it is time to tell; 0 otherwise. Two pairs that work equally well may alternate with every check.
func (m *machine) switched(now time.Time) (times int, to Pair) {
	if at := m.flipsAt(); at.IsZero() || now.Before(at) {
		return 0, Pair{}
	}
	times, m.flips, m.flipsTold = m.flips, 0, now
	return times, m.flippedTo
}

// flipsAt is when changes of the pair are to be told; zero for never.
func (m *machine) flipsAt() time.Time {
	switch {
	case m.flips == 0:
		return time.Time{}
	case m.state == StateConnected || m.state == StateCompleted || m.state == StateDisconnected:
		return m.flipsTold.Add(pairPause)
	}
	return m.since // no more of them can follow
}

// next is when the machine is to be asked again if nothing comes before; zero for never.
func (m *machine) next() time.Time {
	at, flips := m.deadline(), m.flipsAt()
	if at.IsZero() || !flips.IsZero() && flips.Before(at) {
		at = flips
	}
	return at
}

func (m *machine) whyFailed() lifecycle.Reason {
	switch {
	case m.connected:
		return lifecycle.ReasonTimeout.With("nothing came over %s for %v", m.pair, m.giveUp)
	case m.remotes == 0:
		return lifecycle.ReasonTimeout.With("no candidate of the other side was told, and none of its checks came, for %v", m.giveUp)
	}
	return lifecycle.ReasonTimeout.With("no check was answered for %v: %s of the other side", m.giveUp, count(m.remotes, "candidate"))
}

// count returns for example "1 candidate" and "2 candidates".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
