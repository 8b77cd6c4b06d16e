// Package auth says who may do what on which path: identities from tokens, users and rules. It knows no protocol and opens no connection.
//
//	identity, err := authenticator.Authenticate(ctx, token, remote)
//	if err == nil && identity.May(auth.Publish, "/live/cam1") {
//		...
//	}
package auth

import (
	"context"
	"net/netip"
	"time"
)

// Action is what somebody does on a path.
type Action string

// The actions.
const (
	// Subscribe follows data.
	Subscribe Action = "subscribe"
	// Publish publishes data.
	Publish Action = "publish"
	// Play watches media.
	Play Action = "play"
	// Stream publishes media.
	Stream Action = "stream"
	// Call calls a function of the server's application.
	Call Action = "call"
	// Source feeds a path and all below it on demand.
	Source Action = "source"
)

// Identity is who somebody is, and what that one may do. All methods may run at once.
type Identity interface {
	// User names who it is; empty for nobody in particular.
	User() string
	// Expires says until when this holds; the zero time means for ever.
	Expires() time.Time
	// May says whether it may act on a path.
	May(a Action, path string) bool
}

// Authenticator turns credentials into an identity. Authenticate may run at once with itself; it may ask elsewhere, and gives up when ctx ends. An error wraps the lifecycle.Reason that the client
// is told: unauthorized for bad credentials, another for a fault.
type Authenticator interface {
	Authenticate(ctx context.Context, token string, remote netip.Addr) (Identity, error)
}
