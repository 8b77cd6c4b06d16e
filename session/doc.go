// Package session is version 1 of the session protocol (docs/protocol.md): its messages, their JSON and binary forms, and the machines of both ends.
//
// Nothing here does I/O or reads a clock: bytes, and what happens to the connection, come in; bytes to send, requests and events come out. The server
// (package server) and the clients (package client, and js for browsers) bring the WebSocket and the time. The transcripts in testdata are replayed by all three.
//
//	s := session.NewServer(session.ServerOptions{})
//	req, err := s.Receive(message)
//	if e, ok := errors.AsType[*session.Error](err); ok {
//		reply = e.Append(reply) // and close when e.Fatal
//	}
//	switch r := req.(type) {
//	case session.Subscribe:
//		reply = session.Append(reply, &session.Message{Type: session.TypeSnapshot, Path: r.Path, Epoch: epoch, Offset: offset})
//	}
package session

// Version is the version of the protocol that this package speaks.
const Version = 1

// Subprotocol is the WebSocket subprotocol of version 1.
const Subprotocol = "hawser.v1"

const (
	// DefaultMaxMessage bounds a message from client to server, in bytes, unless ServerOptions.MaxMessage says otherwise.
	DefaultMaxMessage = 1 << 20
	// DefaultMaxSubscriptions bounds the subscriptions of a session, and by itself the plays, unless ServerOptions.MaxSubscriptions says otherwise.
	DefaultMaxSubscriptions = 1000
	// MaxWindow bounds the rows of a window.
	MaxWindow = 500
	// MaxFilters bounds the filters of a window.
	MaxFilters = 16
	// MaxNames bounds the fields that a subscription names.
	MaxNames = 1000
	// MinPublisher is the fewest bytes of a publisher's name: letters, digits, "-" and "_".
	MinPublisher = 16
	// MaxPublisher is the most.
	MaxPublisher = 64
	// MaxPath bounds a path, in bytes.
	MaxPath = 255
	// MaxDepth bounds how deep objects and arrays may stand within each other in a message.
	MaxDepth = 64
	// MaxNumber is the greatest id and offset: what a JavaScript number holds exactly.
	MaxNumber = 1<<53 - 1
)
