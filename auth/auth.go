// Package auth says who may do what on which path: identities from tokens, keys, users with passwords and an authority outside, and rules. It knows no protocol of media or data; what it
// opens are requests for public keys (jwks.go) and to the authority (authority.go).
//
//	file, err := auth.Open("auth.yaml", auth.Options{})
//	identity, err := file.Authenticate(ctx, token, remote)
//	if err == nil && identity.May(auth.Publish, "/live/cam1") {
//		...
//	}
//
// The file's form, and how rules are read, is in docs/auth.md.
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
	// Admin operates the server from another machine; the path is that of the API, such as "/api/v1/sessions". The word "*" of a rule does not mean it.
	Admin Action = "admin"
)

// Identity is who somebody is, and what that one may do. All methods may run at once.
type Identity interface {
	// User names who it is; empty for nobody in particular.
	User() string
	// Expires says until when this holds; the zero time means for ever.
	Expires() time.Time
	// May says whether it may act on a path, by the rules that are in force now.
	May(a Action, path string) bool
	// Check returns nil while the credentials are still known, by the file that is in force now; else an error that wraps lifecycle.ReasonUnauthorized. It does not look at Expires.
	Check() error
}

// Authenticator turns credentials into an identity. Authenticate may run at once with itself; it may ask elsewhere, and gives up when ctx ends. An error wraps the lifecycle.Reason that the client
// is told: unauthorized for bad credentials, another for a fault. It never has the credentials in its text.
type Authenticator interface {
	Authenticate(ctx context.Context, token string, remote netip.Addr) (Identity, error)
}
