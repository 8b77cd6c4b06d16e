package session

import (
	"time"

	"hawser/lifecycle"
)

// EventKind is what an Event says.
type EventKind uint8

const (
	// EventNone is no event.
	EventNone EventKind = iota
	// EventState: the client's state changed. From, State, Reason.
	EventState
	// EventSnapshot: where a subscription starts. Path, Subject, Epoch, Offset (the next update's), Time; Fields, where not nil, replace the image of a record.
	EventSnapshot
	// EventUpdate: an update, in order, never one that was handed out before. Path, Subject, Epoch, Offset, At, Time; Data of a log or Fields of a record.
	EventUpdate
	// EventGap: updates of a log that will not come. Path, Epoch; Offset to To-1 are lost. To is 0 where the subject began a new life (another epoch follows) and
	// how many were lost is not known.
	EventGap
	// EventStatus: Path, Status, Reason. After StatusRefused and StatusRemoved the subscription is over.
	EventStatus
	// EventAck: a publish was accepted. ID, Path, Epoch, Offset.
	EventAck
	// EventError: a publish failed (ID), or something about Path. Reason; with lifecycle.ReasonLost, which the client's end gives, it may have been published nevertheless.
	EventError
	// EventMedia: what is played, and when that changes. Path, Epoch, Offset, Status, Media, Time, Reason. After StatusGone the play is over.
	EventMedia
	// EventFragment: a binary media message. Path, Flags, MediaKind, Epoch, Offset, Time (its DTS); Data is the payload.
	EventFragment
	// EventPong: the answer to a ping. ID; At is the server's clock.
	EventPong
	// EventDrain: the server asks this client to move to another server at a random moment of the time Within. Reason.
	EventDrain
	// EventWindow: what the window of a subscription shows now. Path, Epoch, Offset, View.
	EventWindow
	// EventResult: the answer to a call. ID; Data, or Reason: with lifecycle.ReasonLost the connection broke before the answer.
	EventResult
	// EventRenewed: the answer to Renew. ID; At is when the credentials end, as in Welcome.Expires, or Reason says why the old ones still hold.
	EventRenewed
	// EventWanted: a path that this client feeds is followed by somebody, or by nobody any more. Path, On.
	EventWanted
	// EventSignal: the server's word about the WebRTC peer of Path; Data.
	EventSignal
)

var eventWords = []string{"none", "state", "snapshot", "update", "gap", "status", "ack", "error", "media", "fragment", "pong", "drain",
	"window", "result", "renewed", "wanted", "signal"}

// String returns the kind in one word.
func (k EventKind) String() string { return word(eventWords, k, "EventKind") }

// MarshalText returns the word of String.
func (k EventKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Event is what the client's machine tells the application: one flat record of which each kind uses the fields that its comment names. Data and Fields
// alias the message that was received.
type Event struct {
	Kind EventKind
	// Path is the subscription or play concerned.
	Path string
	// ID is that of the publish or ping that is answered.
	ID uint64
	// From and State are the states before and after.
	From, State State
	// Subject is the kind of the subject.
	Subject Kind
	// Epoch and Offset are the place of an update, snapshot or frame; To ends a gap.
	Epoch, Offset, To uint64
	// At is the server's wall clock in milliseconds since 1970.
	At int64
	// Time is media time, where HasTime says so.
	Time    time.Duration
	HasTime bool
	// Data is the JSON of an update, a result or a signal, or the payload of a fragment.
	Data []byte
	// Fields is a JSON object; see ParseFields.
	Fields []byte
	// Patch is a merge patch of a JSON document.
	Patch []byte
	// View is what a window shows.
	View View
	// On says whether a path is wanted.
	On bool
	// Within is the time of a drain.
	Within time.Duration
	// Status is that of a subscription or a play.
	Status Status
	// Flags and MediaKind are as in MediaHeader.
	Flags, MediaKind byte
	// Media says what is played.
	Media Media
	// Reason says why.
	Reason lifecycle.Reason
}
