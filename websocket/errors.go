package websocket

import (
	"errors"
	"fmt"
	"net"
	"net/http"

	"hawser/lifecycle"
)

// ErrReading is returned by Read when another Read, Events or Handle of the same connection is running.
var ErrReading = errors.New("websocket: somebody else is reading from this connection")

// The close codes of RFC 6455 section 7.4.1 and of the registry of IANA. 3000 to 3999 are for registered, 4000 to 4999 for private use.
const (
	CloseNormal         = 1000
	CloseGoingAway      = 1001
	CloseProtocolError  = 1002
	CloseUnsupported    = 1003
	CloseNoStatus       = 1005 // never sent: the close frame held no code
	CloseAbnormal       = 1006 // never sent: there was no close frame
	CloseInvalidData    = 1007
	ClosePolicy         = 1008
	CloseTooBig         = 1009
	CloseExtension      = 1010
	CloseInternalError  = 1011
	CloseServiceRestart = 1012
	CloseTryAgainLater  = 1013
	CloseBadGateway     = 1014
)

// validCode says whether a close frame may hold the code (RFC 6455 section 7.4).
func validCode(code int) bool {
	switch {
	case code >= 3000 && code <= 4999:
		return true
	case code < CloseNormal || code > CloseBadGateway:
		return false
	}
	return code != 1004 && code != CloseNoStatus && code != CloseAbnormal
}

// Side is one end of a connection.
type Side uint8

const (
	// Nobody: neither end; the network failed.
	Nobody Side = iota
	// Local: this end.
	Local
	// Remote: the peer.
	Remote
)

// String returns "nobody", "local" or "remote".
func (s Side) String() string {
	switch s {
	case Nobody:
		return "nobody"
	case Local:
		return "local"
	case Remote:
		return "remote"
	}
	return fmt.Sprintf("Side(%d)", uint8(s))
}

// CloseError says how a connection ended, or why nothing can be sent any more. It matches net.ErrClosed with errors.Is, and errors.As finds a lifecycle.Reason in it, whose
// Retry tells whether connecting again makes sense.
type CloseError struct {
	// Code is the close code: the one that was received, or sent when this side closed; CloseAbnormal without a close frame.
	Code int
	// Reason is the text that came with the code.
	Reason string
	// Side is the end that closed the connection; for errors, the one at fault.
	Side Side
	// Err is the cause, if it was more than a close: a *Violation, an error of the network.
	Err error
}

// Error returns for example `websocket: closed by the peer: 1001 "going away"`.
func (e *CloseError) Error() string {
	who := map[Side]string{Local: "closed by this side", Remote: "closed by the peer"}[e.Side]
	switch {
	case who == "":
		who = "connection lost"
	case errors.As(e.Err, new(*Violation)): // the peer is at fault, but it is this side that closed
		who = "closed by this side"
	}
	s := fmt.Sprintf("websocket: %s: %d", who, e.Code)
	if e.Reason != "" {
		s += fmt.Sprintf(" %q", e.Reason)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *CloseError) Unwrap() error { return e.Err }

// Is matches net.ErrClosed.
func (e *CloseError) Is(target error) bool { return target == net.ErrClosed }

// As gives the lifecycle.Reason that stands for the code.
func (e *CloseError) As(target any) bool {
	r, ok := target.(*lifecycle.Reason)
	if ok {
		*r = e.reason()
	}
	return ok
}

// codeReasons are the reasons for the codes of the protocol itself.
var codeReasons = map[int]lifecycle.Reason{
	CloseNormal: lifecycle.ReasonDone, CloseNoStatus: lifecycle.ReasonDone,
	CloseGoingAway: lifecycle.ReasonShutdown, CloseServiceRestart: lifecycle.ReasonShutdown,
	CloseProtocolError: lifecycle.ReasonProtocol, CloseInvalidData: lifecycle.ReasonProtocol, CloseExtension: lifecycle.ReasonProtocol,
	CloseUnsupported: lifecycle.ReasonUnsupported, ClosePolicy: lifecycle.ReasonRefused, CloseTooBig: lifecycle.ReasonTooBig,
	CloseInternalError: lifecycle.ReasonInternal, CloseTryAgainLater: lifecycle.ReasonLimit, CloseBadGateway: lifecycle.ReasonInternal,
}

// reason is the lifecycle's word for the code, with what is known as its text.
func (e *CloseError) reason() lifecycle.Reason {
	r, ok := codeReasons[e.Code]
	if !ok {
		r, ok = lifecycle.ReasonByCode(e.Code)
	}
	switch {
	case e.Code == CloseAbnormal && e.Err != nil:
		r = lifecycle.ReasonOf(e.Err)
	case !ok && e.Code == CloseAbnormal:
		r = lifecycle.ReasonLost
	case !ok:
		r = lifecycle.ReasonDone
	}
	if e.Reason != "" {
		r.Text = e.Reason
	} else if e.Err != nil {
		r.Text = e.Err.Error()
	}
	r.Err = e.Err
	return r
}

// Violation says what a peer sent against the protocol. It is the cause inside a CloseError, and the error of a ProtocolError event.
type Violation struct {
	// Code is the close code that answers it: CloseProtocolError, CloseInvalidData or CloseTooBig.
	Code int
	// Got and Want say what came and what the protocol or a limit allows.
	Got, Want string
	// RFC is the document's number; 0 means 6455.
	RFC int
	// Section is the section of it.
	Section string
}

// Error returns for example "got opcode 3, want a known opcode (RFC 6455 section 5.2)".
func (e *Violation) Error() string {
	rfc := e.RFC
	if rfc == 0 {
		rfc = 6455
	}
	return fmt.Sprintf("got %s, want %s (RFC %d section %s)", e.Got, e.Want, rfc, e.Section)
}

// asViolation is what an extension could not decode.
func asViolation(err error) error {
	var v *Violation
	if errors.As(err, &v) {
		return v
	}
	return &Violation{Code: CloseProtocolError, Got: fmt.Sprintf("a message that its extension cannot decode (%v)", err), Want: "one that it can", Section: "9"}
}

// HandshakeError says why there is no connection: a request that Accept refused, or an answer that Dial did not accept.
type HandshakeError struct {
	// Status is the HTTP status that was sent or received.
	Status int
	// Reason says what is wrong with the request or the answer.
	Reason string
	// Response is the answer that Dial got, its Body holding at most the first 4096 bytes; nil for Accept.
	Response *http.Response
}

// Error returns for example `websocket: handshake: status 403: origin "http://a" is not allowed`.
func (e *HandshakeError) Error() string {
	return fmt.Sprintf("websocket: handshake: status %d: %s", e.Status, e.Reason)
}

// As gives the lifecycle.Reason that stands for the status.
func (e *HandshakeError) As(target any) bool {
	r, ok := target.(*lifecycle.Reason)
	if ok {
		*r = statusReason(e.Status).With("%s", e.Reason)
		r.Err = e
	}
	return ok
}

// statusReason is what an HTTP status means where a WebSocket was wanted. Retry is set where another attempt, later, may succeed.
func statusReason(status int) lifecycle.Reason {
	switch status {
	case http.StatusSwitchingProtocols:
		return lifecycle.ReasonProtocol // but not as RFC 6455 says
	case http.StatusBadRequest:
		return lifecycle.ReasonBadRequest
	case http.StatusUnauthorized, http.StatusProxyAuthRequired:
		return lifecycle.ReasonUnauthorized
	case http.StatusNotFound:
		return lifecycle.ReasonNotFound
	case http.StatusRequestTimeout:
		return lifecycle.ReasonTimeout
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return lifecycle.ReasonLimit
	case http.StatusRequestEntityTooLarge, http.StatusRequestHeaderFieldsTooLarge:
		return lifecycle.ReasonTooBig
	case http.StatusMethodNotAllowed, http.StatusUpgradeRequired, http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return lifecycle.ReasonUnsupported
	}
	switch status / 100 {
	case 2, 3:
		return lifecycle.ReasonUnsupported // something else is at this address
	case 4:
		return lifecycle.ReasonRefused
	}
	return lifecycle.ReasonInternal
}
