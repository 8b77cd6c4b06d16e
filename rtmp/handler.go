package rtmp

import (
	"context"
	"time"

	"hawser/amf"
	"hawser/lifecycle"
)

// Handler is what a server's owner wants to know and decide: a value with optional functions, one for each event.
// Those of one connection are called one after the other by the goroutine that reads it, except OnPlayData, which is
// called by whoever writes; a function that takes long holds up only its own connection. A context that they get ends when
// the connection is to be closed.
//
// OnConnect, OnPublish and OnPlay refuse by returning an error: a [*Refusal] chooses code and text, a lifecycle.Reason
// such as lifecycle.ReasonTaken chooses the code that fits, and any other error is refused with its text. A
// Refusal of OnConnect may also redirect.
type Handler struct {
	// OnConnect: a client sent connect. App, Query, Args and Object tell with what. It may set Conn.Data.
	OnConnect func(ctx context.Context, c *Conn) error
	// OnDisconnect: the client is gone; called once for every connection whose OnConnect was called.
	OnDisconnect func(c *Conn, why lifecycle.Reason)
	// OnPublish: a client starts to broadcast. It may rename with SetPath, and gives the packets a place to go with SetSink.
	OnPublish func(ctx context.Context, s *Stream) error
	// OnClose: the client ended its broadcast, or its connection ended; why is done in the first case.
	OnClose func(s *Stream, why lifecycle.Reason)
	// OnUnpublish: the stream of that path stops being published. It follows OnClose at once, unless somebody took it on with
	// Stream.DeferUnpublish for a grace period.
	OnUnpublish func(path string, why lifecycle.Reason)
	// OnPlay: a client starts to play. It may rename with SetPath, and says what to send with SetSource, now or later.
	OnPlay func(ctx context.Context, s *Stream) error
	// OnStop: the client ended its play, or its connection ended.
	OnStop func(s *Stream, why lifecycle.Reason)
	// OnCommand: a command arrived that the server does not know. What it returns becomes the answer: the values
	// after the command object, or an error. ErrLater leaves the answer to Conn.Answer. Without it the answer is an error.
	OnCommand func(ctx context.Context, c *Conn, cmd *Command) ([]amf.Value, error)
	// OnStatus: an onStatus command came from the client.
	OnStatus func(c *Conn, cmd *Command)
	// OnResult: the client answered a call (Conn.Call); the command's name is _result or _error.
	OnResult func(c *Conn, cmd *Command)
	// OnPublishData: a packet from a publisher, before it goes to the sink. It may alter the message, but not the bytes of its
	// payload in place, or return false to drop it.
	OnPublishData func(s *Stream, m *Message) (keep bool)
	// OnPlayData: a packet on its way to one player (Fill's bytes, not those of Send), to alter or drop in the same way. When it is set, that player's packets are
	// taken apart and put together again; without it all players get the same bytes.
	OnPlayData func(s *Stream, m *Message) (keep bool)
	// OnDelete: a client deletes its stream object (deleteStream); not called when the connection ends.
	OnDelete func(s *Stream)
	// Length is no event: it says how long the recording at a path is, for clients that ask (getStreamLength); 0 for what is live, or nil.
	Length func(c *Conn, path string) time.Duration
}

// The kinds of event that go to the event log beside those of package lifecycle. Path is set where a stream is meant.
const (
	// KindConnect: a client's connect was accepted; Path is "/" and the application, Detail the client's version.
	KindConnect = "connect"
	// KindDisconnect: the client is gone; Reason says why.
	KindDisconnect = "disconnect"
	// KindPublish: a publish was accepted; Detail is the mode.
	KindPublish = "publish"
	// KindPublishClose: the broadcast ended (OnClose; lifecycle.KindClose is the connection's end); Reason says why.
	KindPublishClose = "publish_close"
	// KindPlay: a play was accepted.
	KindPlay = "play"
	// KindStop: the play ended; Reason says why.
	KindStop = "stop"
	// KindCommand: an unknown command came; Detail is its name.
	KindCommand = "command"
	// KindStatus: the client sent a status; Detail is its code.
	KindStatus = "status"
	// KindResult: the client answered a call; Detail is its name.
	KindResult = "result"
	// KindDelete: the client deleted its stream object.
	KindDelete = "delete"
	// KindRefuse: a connect, publish or play was refused; Detail says which, and where a connect was redirected to; Reason says why.
	KindRefuse = "refuse"
	// KindReconnect: the client was asked to reconnect; Detail is where to, if elsewhere.
	KindReconnect = "reconnect"
	// KindProtocolError: the peer broke the protocol; Detail says what was got and wanted at which byte. The connection's end follows.
	KindProtocolError = "protocol_error"
)

// The states of a connection in the event log, and their lights.
const (
	StateHandshake  = "handshake"  // amber: until connect is accepted; closed may follow at any time
	StateConnected  = "connected"  // amber: nothing is published or played
	StatePublishing = "publishing" // green
	StatePlaying    = "playing"    // green
	StateClosed     = "closed"     // red, final
)

var lights = map[string]lifecycle.Health{
	StateHandshake: lifecycle.Amber, StateConnected: lifecycle.Amber, StatePublishing: lifecycle.Green,
	StatePlaying: lifecycle.Green, StateClosed: lifecycle.Red,
}

// Command is a command message (RTMP 1.0 section 7.1.1).
type Command struct {
	// Name is the procedure, for example "publish".
	Name string
	// Transaction is answered with the same number; 0 wants no answer.
	Transaction float64
	// Object is the command object, often nil.
	Object amf.Value
	// Args are the values after it.
	Args []amf.Value
	// StreamID is the message stream that it came on.
	StreamID uint32
}

// String returns the argument at i when it is a string, else "".
func (c *Command) String(i int) string {
	if i < len(c.Args) {
		s, _ := c.Args[i].(string)
		return s
	}
	return ""
}

// Number returns the argument at i when it is a number, else otherwise.
func (c *Command) Number(i int, otherwise float64) float64 {
	if i < len(c.Args) {
		if v, ok := c.Args[i].(float64); ok {
			return v
		}
	}
	return otherwise
}

// Bool returns the argument at i when it is a boolean, else otherwise.
func (c *Command) Bool(i int, otherwise bool) bool {
	if i < len(c.Args) {
		if v, ok := c.Args[i].(bool); ok {
			return v
		}
	}
	return otherwise
}
