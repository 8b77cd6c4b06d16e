// Package lifecycle is the life of connections as it can be watched: lights, reasons, and one event record in one log for every protocol.
//
// It is not a logger and knows no protocol: each protocol names its own states and says which light each has; this package keeps them in order and loses none.
// An observer that falls behind is told how many events it missed.
//
//	log := lifecycle.NewLog(ring.Limits{})
//	conn := log.Open("rtmp", lifecycle.Server, "127.0.0.1:4711")
//	conn.Set("connected", lifecycle.Green, lifecycle.Reason{})
//	for ev := range log.Events(ctx, 0) {
//		fmt.Println(ev.Time, ev.Conn, ev.State, ev.Light)
//	}
package lifecycle

import "time"

// Which end of a connection this process is.
const (
	Server = "server"
	Client = "client"
)

// The kinds of event that every protocol has. Protocols add their own words (publish, play, ...).
const (
	// KindOpen: a connection exists. Conn, Protocol, Side and Remote are set.
	KindOpen = "open"
	// KindState: the state changed. From, State, Light and, when there is one, Reason are set.
	KindState = "state"
	// KindClose: the connection is gone; Reason says why. Nothing follows for this Conn.
	KindClose = "close"
	// KindMissed: the observer fell behind; Missed events up to and including Seq are lost to it.
	KindMissed = "missed"
)

// Event is what happened to a connection, a stream or a subject: one flat record for all protocols. Fields that do not apply are empty.
type Event struct {
	// Seq is the event's place in its log.
	Seq uint64 `json:"seq"`
	// Time is when it happened.
	Time time.Time `json:"time"`
	// Kind is what happened, in one word.
	Kind string `json:"kind"`
	// Conn is the connection's identity, for example "rtmp-12".
	Conn string `json:"conn,omitempty"`
	// Protocol is "rtmp", "websocket", "session", "http" and so on; "stream" and "subject" for events of a path itself.
	Protocol string `json:"protocol,omitempty"`
	// Side is Server or Client: which end this process is.
	Side string `json:"side,omitempty"`
	// Remote is the peer's address.
	Remote string `json:"remote,omitempty"`
	// Path is the stream or subject concerned.
	Path string `json:"path,omitempty"`
	// From and State are the protocol's own words for the state before and after.
	From  string `json:"from,omitempty"`
	State string `json:"state,omitempty"`
	// Light is the light after the event.
	Light Health `json:"light"`
	// Reason says why, where there is something to say.
	Reason Reason `json:"reason,omitzero"`
	// Detail is anything else, for people.
	Detail string `json:"detail,omitempty"`
	// Missed is how many events a KindMissed stands for.
	Missed uint64 `json:"missed,omitempty"`
	// Server is the address of the server, Transport what carries the connection, Attempt counts attempts from 1 and Delay is the wait before the next; clients set them.
	Server    string        `json:"server,omitempty"`
	Transport string        `json:"transport,omitempty"`
	Attempt   int           `json:"attempt,omitempty"`
	Delay     time.Duration `json:"delay,omitempty"`
}
