package websocket

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Kind is what an Event tells. A client's events come in this order: Connecting, then ConnectFail; or Connected, then Rejected or Ready, then messages, pings and pongs, then
// Closing, Closed where there is a close handshake, and Disconnected last, exactly once. A persistent Client goes on with BackOff and Connecting.
type Kind uint8

const (
	// None is the zero value; no event has it.
	None Kind = iota
	// Connecting: an attempt begins, before any network activity. As in all events of a Client, URL, without user and password, and Attempt, from 1, are set.
	Connecting
	// ConnectFail: the address could not be resolved or reached, or the TLS or proxy step failed. Err, a *ProxyError in it if it was the proxy, and Proxy are set. Disconnected does not follow.
	ConnectFail
	// Connected: the network connection stands, with TLS and through the proxy if there are any; the upgrade is still to come. Proxy, without user and password, is set if there is one.
	Connected
	// Rejected: the server answered the upgrade with anything but a valid acceptance, or not at all. Err, a *HandshakeError if there was an answer, and Response are set. Disconnected follows.
	Rejected
	// Ready: messages may be sent, to Conn. Response, Protocol and Extensions are set.
	Ready
	// Text: a whole text message, valid UTF-8. Data is the connection's and stays as it is until the loop goes on.
	Text
	// Binary: a whole binary message. Data as for Text.
	Binary
	// Ping: a ping arrived; its pong is already on its way. Data as for Text.
	Ping
	// Pong: a pong arrived. Data as for Text.
	Pong
	// Poll: the interval of the option Poll has passed.
	Poll
	// Unresponsive: no pong came within PongTimeout. Disconnected follows.
	Unresponsive
	// Closing: the peer began the close handshake; sending is still possible while this event is handled. Code and Reason are set.
	Closing
	// Closed: the close handshake is complete; nothing may be sent any more. Code and Reason, as received, are set. Disconnected follows.
	Closed
	// Disconnected: the connection is gone. Err, Code, Reason and Graceful are set. Err is a *CloseError, but what ended the attempt where there was no connection yet: after Rejected, or
	// when the context ended. Graceful tells a complete close handshake, or a Rejected, from a failure.
	Disconnected
	// BackOff: a persistent Client waits for Delay before it tries again. Attempt is the one that has ended.
	BackOff
	// ProtocolError: the peer broke the protocol. Err is a *Violation. A close frame that says so is sent and Disconnected follows; Critical says that even the close frame is impossible
	// because one was sent already.
	ProtocolError
	// UnknownMessage: a message of a reserved opcode arrived and the option Unknown is set. Opcode and Data, as for Text, are set.
	UnknownMessage
)

var kindWords = [...]string{"none", "connecting", "connect_fail", "connected", "rejected", "ready", "text", "binary", "ping", "pong", "poll", "unresponsive",
	"closing", "closed", "disconnected", "back_off", "protocol_error", "unknown_message"}

// String returns the kind in lower case, for example "connect_fail".
func (k Kind) String() string {
	if int(k) < len(kindWords) {
		return kindWords[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// MarshalText returns the word of String.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText takes one of the words of String.
func (k *Kind) UnmarshalText(b []byte) error {
	for i, w := range kindWords {
		if w == string(b) {
			*k = Kind(i)
			return nil
		}
	}
	return fmt.Errorf("websocket: event kind %q is not known", b)
}

// Event is one thing that happened to a connection. Each Kind says which fields it sets.
type Event struct {
	Kind     Kind
	Critical bool
	Graceful bool
	Opcode   byte
	// Conn is the connection, from Ready on.
	Conn *Conn
	Data []byte
	Code int
	// Reason is the text of a close frame, or what went wrong in words.
	Reason string
	Err    error

	URL        string
	Proxy      string
	Response   *http.Response
	Protocol   string
	Extensions string
	Delay      time.Duration
	Attempt    int
}

// JSON decodes the message into v.
func (e Event) JSON(v any) error {
	if err := json.Unmarshal(e.Data, v); err != nil {
		return fmt.Errorf("websocket: message: %w", err)
	}
	return nil
}
