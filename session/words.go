package session

import (
	"fmt"
	"slices"
)

// Type is the type of a message, its "t".
type Type uint8

const (
	// TypeUnknown is a type that version 1 does not have. A server answers it with an error "unsupported"; a client ignores it.
	TypeUnknown Type = iota

	// From client to server.

	// TypeHello is the first message of a client. Version; Client, Token, Session, Publisher, Subscribe and Play where there are such.
	TypeHello
	// TypeSubscribe asks to follow the data of a path. Path, From; Epoch and Offset with FromOffset, Count and Age with FromHistory; Rate, Names, Window.
	TypeSubscribe
	// TypeUnsubscribe ends a subscription. Path.
	TypeUnsubscribe
	// TypePublish publishes data. ID, Path, Kind; Data for a log, Fields for a record, Data or Patch for a JSON document; Time, TTL.
	TypePublish
	// TypePlay asks for the media of a path. Path, From; Epoch and Offset with FromOffset.
	TypePlay
	// TypeStop ends a play. Path.
	TypeStop
	// TypeThrottle changes the rate of a subscription. Path; Rate.
	TypeThrottle
	// TypeCall asks the server to do something. ID, Name; Data, Timeout.
	TypeCall
	// TypeCancel calls a call off. ID.
	TypeCancel
	// TypeToken renews the credentials. ID, Token.
	TypeToken
	// TypePause asks the server to send no updates and no media until TypeResume.
	TypePause
	// TypeResume ends a pause.
	TypeResume
	// TypeSource says that this session feeds a path and all below it, or no longer does. Path, On; Required, Priority.
	TypeSource

	// Both ways.

	// TypePing asks for a sign of life. ID; At from a server.
	TypePing
	// TypePong answers a ping with its ID; At from a server.
	TypePong
	// TypeSignal is about the WebRTC peer of a path: an offer, an answer, a candidate, a view of the connection. Path; Data, one of the forms that docs/protocol.md lists.
	TypeSignal
	// TypeBye says that the sender is about to close. Reason from a server.
	TypeBye

	// From server to client.

	// TypeWelcome answers a hello that is accepted. Version, Session, Server, Heartbeat, Resumed, At; User, Expires.
	TypeWelcome
	// TypeSnapshot is the first answer to a subscribe: where it starts. Path, Kind, Epoch, Offset (the next update's); Fields for a record, Data for a JSON document; Time.
	TypeSnapshot
	// TypeUpdate is a change. Path, Epoch, Offset, At; Data for a log, Fields for a record, Kind and Data or Patch for a JSON document; Time.
	TypeUpdate
	// TypeGap says that the offsets From to To-1 of a log are lost to this subscriber. Path, Epoch, GapFrom, GapTo.
	TypeGap
	// TypeStatus is the status of a subscription. Path, Status; Reason.
	TypeStatus
	// TypeAck says that a publish was accepted. ID, Path, Epoch, Offset.
	TypeAck
	// TypeMedia says what is played, and when that changes. Path, Epoch, Offset, Status; MIME, Tracks, Time, Skipped, Reason.
	TypeMedia
	// TypeError says that a request failed: a publish (ID), what concerns a Path, or the session itself. Reason.
	TypeError
	// TypeEjected says that the server throws this client out. Reason.
	TypeEjected
	// TypeDrain asks the client to move to another server soon. Reason; Within.
	TypeDrain
	// TypeResult answers a call or a token. ID; Data or Reason; Expires of a token.
	TypeResult
	// TypeWindow is what the window of a subscription shows. Path, Epoch, Offset (the next update's), Total, Start, Rows.
	TypeWindow
	// TypeWanted tells a source that somebody follows a path that it feeds, or that nobody does any more. Path, On.
	TypeWanted
)

var typeWords = []string{"unknown", "hello", "subscribe", "unsubscribe", "publish", "play", "stop",
	"throttle", "call", "cancel", "token", "pause", "resume", "source", "ping", "pong", "signal", "bye",
	"welcome", "snapshot", "update", "gap", "status", "ack", "media", "error", "ejected", "drain", "result", "window", "wanted"}

// String returns the word of "t".
func (t Type) String() string { return word(typeWords, t, "Type") }

// MarshalText returns the word of String.
func (t Type) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText takes one of the words of String.
func (t *Type) UnmarshalText(b []byte) error { return unmarshalWord(typeWords, b, t, "type") }

// toServer says whether a client may send this type.
func (t Type) toServer() bool { return t >= TypeHello && t <= TypeBye }

// From is where a subscription or a play starts.
type From uint8

const (
	// FromDefault is FromSnapshot for a subscribe and FromKeyframe for a play.
	FromDefault From = iota
	// FromLive: only what comes from now on.
	FromLive
	// FromSnapshot: the image of a record first; for a log the same as FromLive.
	FromSnapshot
	// FromOffset: what comes from an epoch and offset on.
	FromOffset
	// FromKeyframe: the newest keyframe.
	FromKeyframe
	// FromHistory: so many messages of a log, or those of so much time, before what comes from now on.
	FromHistory
)

var fromWords = []string{"default", "live", "snapshot", "offset", "keyframe", "history"}

// String returns the word in messages.
func (f From) String() string { return word(fromWords, f, "From") }

// MarshalText returns the word of String.
func (f From) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText takes one of the words of String.
func (f *From) UnmarshalText(b []byte) error { return unmarshalWord(fromWords, b, f, "from") }

// Kind is the kind of a subject.
type Kind uint8

const (
	// KindNone: nothing was published on the path so far.
	KindNone Kind = iota
	// KindLog: messages, each of which counts; never conflated.
	KindLog
	// KindRecord: named fields with a value each; updates carry those that changed.
	KindRecord
	// KindJSON: a JSON document; updates are the whole of it or a merge patch (RFC 7396).
	KindJSON
)

var kindWords = []string{"none", "log", "record", "json"}

// String returns the word in messages.
func (k Kind) String() string { return word(kindWords, k, "Kind") }

// MarshalText returns the word of String.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText takes one of the words of String.
func (k *Kind) UnmarshalText(b []byte) error { return unmarshalWord(kindWords, b, k, "kind") }

// Status is the status of a subscription (StatusOK to StatusRefused) or of a play (StatusLive to StatusGone).
type Status uint8

const (
	// StatusNone: nothing was said so far.
	StatusNone Status = iota
	// StatusOK: what is shown is current.
	StatusOK
	// StatusStale: a required source is down; what is shown may be old.
	StatusStale
	// StatusLimited: an optional source is down.
	StatusLimited
	// StatusRemoved: the subject is gone and the subscription with it. Final.
	StatusRemoved
	// StatusRefused: the subscription was not accepted. Final.
	StatusRefused
	// StatusLive: media flows, or is about to.
	StatusLive
	// StatusWaiting: nobody publishes now; the play goes on when somebody does.
	StatusWaiting
	// StatusGone: the play was refused or is over. Final.
	StatusGone
)

var statusWords = []string{"none", "ok", "stale", "limited", "removed", "refused", "live", "waiting", "gone"}

// String returns the word in messages.
func (s Status) String() string { return word(statusWords, s, "Status") }

// MarshalText returns the word of String.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes one of the words of String.
func (s *Status) UnmarshalText(b []byte) error { return unmarshalWord(statusWords, b, s, "status") }

// word returns the word of an enum's value, or for example "Kind(9)" for a stranger.
func word[E ~uint8](words []string, e E, name string) string {
	if int(e) < len(words) {
		return words[e]
	}
	return fmt.Sprintf("%s(%d)", name, uint8(e))
}

// find returns the value that has the word; the zero value and false for a stranger or the zero value's own word.
func find[E ~uint8](words []string, b []byte) (E, bool) {
	for i := 1; i < len(words); i++ {
		if string(b) == words[i] {
			return E(i), true
		}
	}
	return 0, false
}

func unmarshalWord[E ~uint8](words []string, b []byte, e *E, name string) error {
	i := slices.Index(words, string(b))
	if i < 0 {
		return fmt.Errorf("session: %s %q: want one of %q", name, b, words)
	}
	*e = E(i)
	return nil
}
