package rtmp

import (
	"errors"
	"fmt"
	"net"

	"hawser/lifecycle"
)

// ErrClosed is returned by what is called on a connection that has ended, together with the lifecycle.Reason. It is a net.ErrClosed.
var ErrClosed error = closedError{}

// ErrLater is returned by OnCommand when Conn.Answer will answer.
var ErrLater = errors.New("rtmp: answered later")

type closedError struct{}

func (closedError) Error() string { return "rtmp: connection is closed" }

func (closedError) Unwrap() error { return net.ErrClosed }

// ProtocolError says how a peer broke the protocol or a named limit. It ends the connection.
// errors.Is(err, lifecycle.ReasonProtocol), ReasonTooBig or ReasonLimit tells which.
type ProtocolError struct {
	// Got and Want say what arrived and what would have been right.
	Got, Want string
	// Offset counts the bytes that the peer had sent before the offending part, handshake included.
	Offset uint64
	// Reason is the class: protocol, too_big or limit.
	Reason lifecycle.Reason
}

// Error returns "rtmp: got ..., want ..., at byte N".
func (e *ProtocolError) Error() string {
	return fmt.Sprintf("rtmp: got %s, want %s, at byte %d", e.Got, e.Want, e.Offset)
}

// Unwrap returns the class of the error.
func (e *ProtocolError) Unwrap() error { return e.Reason }

// Refusal refuses a connect, publish or play, on either side: a server's handler returns it, and a client that was
// refused gets it.
type Refusal struct {
	// Code is the status code, for example "NetStream.Publish.BadName"; empty means the usual one for what is refused.
	Code string
	// Description is for people; clients show it.
	Description string
	// Redirect is where a refused connect should go instead (ex.redirect with ex.code 302 in connect's _error), and where a
	// client should go that is asked to reconnect (Conn.RequestReconnect). Like tcUrl it is "rtmp://host[:port]/app", or a part of that
	// relative to the present one; the stream's name stays.
	Redirect string
	// Reason goes to the event log; zero means lifecycle.ReasonRefused.
	Reason lifecycle.Reason
}

// Error returns the description and the code.
func (r *Refusal) Error() string {
	switch {
	case r.Description == "":
		return "rtmp: refused: " + r.Code
	case r.Code == "":
		return "rtmp: refused: " + r.Description
	}
	return fmt.Sprintf("rtmp: refused: %s (%s)", r.Description, r.Code)
}

// Unwrap returns the reason.
func (r *Refusal) Unwrap() error { return r.reason() }

func (r *Refusal) reason() lifecycle.Reason {
	if !r.Reason.IsZero() {
		return r.Reason
	}
	return lifecycle.ReasonRefused.With("%s", r.Description)
}

// asRefusal turns any error of a handler into a refusal: a *Refusal stays, a lifecycle.Reason chooses the code by
// the table given, anything else is refused without telling the peer more than its text.
func asRefusal(err error, usual string, codes map[int]string) *Refusal {
	var r Refusal
	var given *Refusal
	if errors.As(err, &given) {
		r = *given
	} else {
		r.Reason = lifecycle.ReasonRefused.Because(err)
		var reason lifecycle.Reason
		if errors.As(err, &reason) {
			r.Reason = reason
		}
		if r.Description = r.Reason.Text; r.Description == "" {
			r.Description = err.Error()
		}
	}
	if r.Code == "" {
		r.Code = codes[r.reason().Code]
	}
	if r.Code == "" {
		r.Code = usual
	}
	return &r
}
