package session

import (
	"strconv"
	"strings"
	"time"

	"hawser/lifecycle"
)

// Message is one text message of the protocol, of any type: a flat record of which each type uses the fields that its comment names. Parse fills it and
// Append writes it. In a message that Parse filled, Data, Fields, Patch and Rows alias the bytes that were parsed.
type Message struct {
	// Type is the message's "t".
	Type Type
	// Word is "t" itself where Type is TypeUnknown, cut after 64 bytes.
	Word string
	// ID ties an answer to its request: 1 to MaxNumber; 0 means none.
	ID uint64
	// Path is what the message is about.
	Path string
	// Kind is the kind of the subject; an empty one in a publish means KindLog.
	Kind Kind
	// From is where to start.
	From From
	// Epoch names the life of the ring that Offset counts in.
	Epoch uint64
	// Offset is a position in the ring.
	Offset uint64
	// GapFrom and GapTo bound what is lost: from GapFrom to GapTo-1.
	GapFrom, GapTo uint64
	// At is the wall clock of the sender in milliseconds since 1970.
	At int64
	// Time is media time, where HasTime says so.
	Time    time.Duration
	HasTime bool
	// Data is the JSON value that was published.
	Data []byte
	// Fields is the JSON object of the fields that were published or changed; see ParseFields and AppendFields.
	Fields []byte
	// Patch is the merge patch of a JSON document.
	Patch []byte
	// Status is what a subscription or a play is like.
	Status Status
	// Reason says why.
	Reason lifecycle.Reason

	Hello
	Welcome
	Media
	Want
	Command
	View
}

// Hello is what a client says of itself, first of all.
type Hello struct {
	// Version is the protocol's version that the client speaks.
	Version int
	// Client names the client's software, for example "hawser-go/0.1".
	Client string
	// Token is the credential; empty for none.
	Token string
	// Session is the session to resume; empty for a new one. In a welcome it is the session that was given.
	Session string
	// Publisher names the client object for its whole life, so that requests which it sends again are not done twice; empty for none.
	Publisher string
	// Subscribe and Play are what the client follows, as if it asked right after the welcome.
	Subscribe, Play []Message
}

// Welcome is what a server says of itself and the session.
type Welcome struct {
	// Server names the server's software.
	Server string
	// Heartbeat is the interval at which the client pings. The server drops a client after 2.5 times as long without a message.
	Heartbeat time.Duration
	// Resumed says that the session named in the hello goes on, and that nothing of what it follows is lost.
	Resumed bool
	// User is who the credentials say that the client is; empty without authentication.
	User string
	// Expires is when the credentials end, in milliseconds since 1970 by the server's clock; 0 for never.
	Expires int64
}

// Want is what a subscribe or throttle asks for.
type Want struct {
	// Count and Age bound what FromHistory gives: so many messages, none older than so much. 0 means no bound.
	Count uint64
	Age   time.Duration
	// Rate is the most updates a second, where HasRate says so; 0 stops them.
	Rate    float64
	HasRate bool
	// Names are the fields of a record that are wanted; none means all.
	Names []string
	// Window asks for a part of a record as a list; nil for none.
	Window *Window
}

// Window is a list that the server makes of a record: its fields, filtered and in order.
type Window struct {
	// Start and Count are which rows are wanted; at most MaxWindow.
	Start, Count uint64
	// Order is "name", a member of the value, or "." for the value itself; "-" before it turns the order around. Empty means "name".
	Order string
	// Filter holds what all rows must meet.
	Filter []Filter
}

// Filter is a condition on a row: the member of its value (or "." for the value itself, "name" for its name), one of FilterOps, and a JSON value.
type Filter struct {
	Member, Op string
	Value      []byte
}

// FilterOps are the operators of a Filter.
var FilterOps = []string{"=", "!=", "<", "<=", ">", ">=", "prefix", "contains"}

// Command is what a call, its result, a source and a drain say, and how long a publish counts.
type Command struct {
	// Name is what is called, a path.
	Name string
	// Timeout is how long the client waits for the result; 0 means no bound.
	Timeout time.Duration
	// TTL removes the subject when nothing was published on it for so long; 0 means never.
	TTL time.Duration
	// On says that a source is here, or that a path is wanted.
	On bool
	// Optional says that what a source feeds is limited rather than stale without it ("required":false).
	Optional bool
	// Priority chooses between sources: the greatest is asked.
	Priority int
	// Within is the time in which clients are to have moved, each at a random moment of it.
	Within time.Duration
}

// View is what a window shows.
type View struct {
	// Total is how many rows there are, First the number of the first one shown.
	Total, First uint64
	// Rows is the JSON array of the rows, each an array of name and value.
	Rows []byte
}

// Media is what a stream is made of.
type Media struct {
	// MIME is the type for a media source, for example `video/mp4; codecs="avc1.42c01e,mp4a.40.2"`.
	MIME string
	// Tracks are the tracks of the init segment that follows.
	Tracks []Track
	// Skipped is how many frames were left out since the last one because this viewer was slow.
	Skipped uint64
}

// Track is one track of a stream.
type Track struct {
	// ID is the track's number in the init segment.
	ID int
	// Kind is "video" or "audio".
	Kind string
	// Codec is as in the codecs parameter of RFC 6381, for example "avc1.42c01e".
	Codec string
	// Width and Height are in pixels, of a video track.
	Width, Height int
	// SampleRate is in Hz, of an audio track.
	SampleRate int
	// Channels is the number of channels of an audio track.
	Channels int
}

// Field is one field of a record.
type Field struct {
	// Name is the field's name.
	Name string
	// Value is its JSON value; nil means that the field is removed.
	Value []byte
}

// Error is what is wrong with a message, or with what it asks. It is always the sender's fault. As an error it unwraps to its Reason.
type Error struct {
	// Reason is what the sender is told: protocol, bad_request, unsupported, too_big, limit.
	Reason lifecycle.Reason
	// ID and Path are those of the request, where it had such.
	ID   uint64
	Path string
	// Fatal says that the connection ends with this reason.
	Fatal bool

	refuses Type // TypeStatus or TypeMedia where that is the answer, not TypeError
}

// Error returns for example `session: "/a": bad_request: want data`.
func (e *Error) Error() string {
	if e.Path != "" {
		return "session: " + strconv.Quote(e.Path) + ": " + e.Reason.Error()
	}
	return "session: " + e.Reason.Error()
}

// Unwrap returns the reason, so that errors.Is(err, lifecycle.ReasonProtocol) works.
func (e *Error) Unwrap() error { return e.Reason }

// Append appends the message that answers the sender: an error, the refusal of a subscription (a status) or of a play (a media).
func (e *Error) Append(dst []byte) []byte {
	m := Message{Type: TypeError, ID: e.ID, Path: e.Path, Reason: e.Reason}
	switch e.refuses {
	case TypeStatus:
		m.Type, m.Status = TypeStatus, StatusRefused
	case TypeMedia:
		m.Type, m.Status = TypeMedia, StatusGone
	}
	return Append(dst, &m)
}

// CheckPath says what is wrong with a path: it begins with "/", has at most MaxPath bytes of UTF-8, and no segment is empty or "..".
// The error is an *Error with lifecycle.ReasonBadRequest.
func CheckPath(path string) error {
	if text := pathFault(path); text != "" {
		return &Error{Reason: lifecycle.ReasonBadRequest.With("path: %s", text), Path: path}
	}
	return nil
}

func pathFault(path string) string {
	switch {
	case len(path) > MaxPath:
		return "more than 255 bytes"
	case !strings.HasPrefix(path, "/"):
		return `want "/" first`
	case strings.Contains(path, "//") || strings.HasSuffix(path, "/"):
		return "empty segment"
	case strings.Contains(path, "/../") || strings.HasSuffix(path, "/.."):
		return `".." segment`
	case strings.ToValidUTF8(path, "") != path:
		return "not UTF-8"
	}
	return ""
}
