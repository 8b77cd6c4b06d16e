package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"time"

	"hawser/lifecycle"
	"hawser/rtc"
	"hawser/session"
)

// Version is the version of this client, in the hello.
const Version = "0.1"

// The defaults of Options and BackOff.
const (
	DefaultConnectTimeout = 10 * time.Second
	DefaultLoginTimeout   = 10 * time.Second
	DefaultCloseTimeout   = time.Second
	DefaultQueueCount     = 16384
	DefaultQueueBytes     = 16 << 20
	DefaultHistory        = 1024
	DefaultBase           = 500 * time.Millisecond
	DefaultMax            = 30 * time.Second
	DefaultStand          = 10 * time.Second

	DefaultCredentialsTimeout = 30 * time.Second
	DefaultFallbackAfter      = 3 * time.Second
	DefaultUpgradeBase        = 30 * time.Second
	DefaultUpgradeMax         = 10 * time.Minute
)

// CredentialsRequest is what a provider of credentials is told.
type CredentialsRequest struct {
	// User is who the server said that this client is, at the last login; empty before.
	User string
	// Renewal says that the session stands and its credentials are about to end.
	Renewal bool
}

// Options are a client's settings. Zero values mean the defaults.
type Options struct {
	// Servers are the addresses of the session endpoints (ws or wss), tried in this order. After a failed attempt the next one is tried, after a broken session the same one first.
	Servers []string
	// Groups are further such addresses, tried after Servers: those of a group in a random order, so that clients spread over them, and the next group only when none of
	// the one before could be had. At least one address is needed in all.
	Groups [][]string
	// Transports are what may carry the session, in the order in which they are tried; nil means WebSocket, Events, Poll. What worked is remembered for ten minutes,
	// and as long comes last what began three times in a row and broke before it had stood for BackOff.Stand, or had no welcome.
	Transports []string
	// RTC are the settings of WebRTC, such as its STUN and TURN servers.
	RTC rtc.Options
	// FallbackAfter is how long a transport may take before the next one is tried; 0 means DefaultFallbackAfter.
	FallbackAfter time.Duration
	// UpgradeBase is about how long after a session began on a fallback the WebSocket is tried again in the background; the time doubles up to UpgradeMax. 0 means
	// DefaultUpgradeBase and DefaultUpgradeMax.
	UpgradeBase, UpgradeMax time.Duration
	// Credentials is asked for a credential at each login, and before one ends that the server says has an end. When its error wraps a lifecycle.Reason that is final, such
	// as lifecycle.ReasonUnauthorized, the client is Disconnected; otherwise it is asked again after a back-off. nil means Token. It may be called at once with itself.
	Credentials func(ctx context.Context, r CredentialsRequest) (token string, err error)
	// CredentialsTimeout bounds the wait for Credentials; 0 means DefaultCredentialsTimeout.
	CredentialsTimeout time.Duration
	// Token is the credential where there is no Credentials; empty for none.
	Token string
	// MaxPending and MaxPendingBytes bound the publishes and calls that wait for an answer. 0 means session.DefaultMaxPending and session.DefaultMaxPendingBytes.
	MaxPending, MaxPendingBytes int
	// Name names the software in the hello; empty means "hawser-go/" and Version.
	Name string
	// Header is sent with the WebSocket handshake.
	Header http.Header
	// TLS is for wss; nil means the defaults of crypto/tls.
	TLS *tls.Config
	// Log gets the client's life as events; nil means none.
	Log *lifecycle.Log
	// BackOff is how long to wait between attempts.
	BackOff BackOff
	// ConnectTimeout bounds an attempt: resolving, connecting, TLS, WebSocket handshake. 0 means DefaultConnectTimeout.
	ConnectTimeout time.Duration
	// LoginTimeout bounds the wait for the answer to the hello. 0 means DefaultLoginTimeout.
	LoginTimeout time.Duration
	// CloseTimeout is how long the server may take for its part of a close. 0 means DefaultCloseTimeout.
	CloseTimeout time.Duration
	// Heartbeat is the interval of pings; 0 means what the server asks for, negative none. Without a message for 2.5 times as long the connection is given up.
	Heartbeat time.Duration
	// QueueCount and QueueBytes bound what waits for the application on each subscription and each play, in events and bytes. 0 means DefaultQueueCount and
	// DefaultQueueBytes. Beyond them the oldest updates of a log are dropped and told as a gap, those of a record folded into one, and a play goes on at a keyframe.
	QueueCount, QueueBytes int
	// MaxMessage bounds what is published, in bytes, so that the server does not end the session for it. 0 means session.DefaultMaxMessage.
	MaxMessage int
	// History is how many state changes are kept for States. 0 means DefaultHistory.
	History int

	reachable func() bool // whether the machine has a network
}

// BackOff is the wait between attempts: a random time between zero and a bound (full jitter), so that the clients of a server that comes back do not come at once.
type BackOff struct {
	// Base is the bound before the first new attempt; it doubles with each. 0 means DefaultBase.
	Base time.Duration
	// Max is the greatest bound. 0 means DefaultMax.
	Max time.Duration
	// Stand is how long a session must have stood for the bound to start at Base again. 0 means DefaultStand.
	Stand time.Duration
	// Random returns a number in [0, 1). nil means math/rand/v2.
	Random func() float64
}

// filled returns the options with the defaults in place, or all that is wrong with them.
func (o Options) filled() (Options, error) {
	o.Servers, o.Groups, o.Transports = slices.Clone(o.Servers), slices.Clone(o.Groups), slices.Clone(o.Transports)
	if o.Transports == nil {
		o.Transports = []string{WebSocket, Events, Poll}
	}
	if o.reachable == nil {
		o.reachable = haveRoute
	}
	if o.Name == "" {
		o.Name = "hawser-go/" + Version
	}
	for d, fallback := range map[*time.Duration]time.Duration{&o.ConnectTimeout: DefaultConnectTimeout, &o.LoginTimeout: DefaultLoginTimeout,
		&o.CloseTimeout: DefaultCloseTimeout, &o.BackOff.Base: DefaultBase, &o.BackOff.Max: DefaultMax, &o.BackOff.Stand: DefaultStand,
		&o.CredentialsTimeout: DefaultCredentialsTimeout, &o.FallbackAfter: DefaultFallbackAfter, &o.UpgradeBase: DefaultUpgradeBase, &o.UpgradeMax: DefaultUpgradeMax} {
		*d = or(*d, fallback)
	}
	o.QueueCount = or(o.QueueCount, DefaultQueueCount)
	o.QueueBytes = or(o.QueueBytes, DefaultQueueBytes)
	o.MaxMessage = or(o.MaxMessage, session.DefaultMaxMessage)
	o.History = or(o.History, DefaultHistory)
	if o.BackOff.Random == nil {
		o.BackOff.Random = rand.Float64
	}
	return o, o.check()
}

func or[T int | time.Duration](v, fallback T) T {
	if v == 0 {
		return fallback
	}
	return v
}

func (o *Options) check() error {
	var errs []error
	all := slices.Concat(o.Servers, slices.Concat(o.Groups...))
	if len(all) == 0 {
		errs = append(errs, errors.New("client: options: want at least one server"))
	}
	for _, t := range o.Transports {
		if t != WebSocket && t != Events && t != Poll && t != WebRTC {
			errs = append(errs, fmt.Errorf("client: options: transport %q: want websocket, events, poll or webrtc", t))
		}
	}
	for _, s := range all {
		if u, err := url.Parse(s); err != nil || u.Host == "" || u.Scheme != "ws" && u.Scheme != "wss" {
			errs = append(errs, fmt.Errorf("client: options: server %q: want ws://HOST/PATH or wss://HOST/PATH", s))
		}
	}
	for name, negative := range map[string]bool{"ConnectTimeout": o.ConnectTimeout < 0, "LoginTimeout": o.LoginTimeout < 0, "CloseTimeout": o.CloseTimeout < 0,
		"BackOff.Base": o.BackOff.Base < 0, "BackOff.Max": o.BackOff.Max < 0, "BackOff.Stand": o.BackOff.Stand < 0,
		"QueueCount": o.QueueCount < 0, "QueueBytes": o.QueueBytes < 0, "MaxMessage": o.MaxMessage < 0, "History": o.History < 0,
		"CredentialsTimeout": o.CredentialsTimeout < 0, "FallbackAfter": o.FallbackAfter < 0, "UpgradeBase": o.UpgradeBase < 0, "UpgradeMax": o.UpgradeMax < 0,
		"MaxPending": o.MaxPending < 0, "MaxPendingBytes": o.MaxPendingBytes < 0} {
		if negative {
			errs = append(errs, fmt.Errorf("client: options: %s is negative", name))
		}
	}
	return errors.Join(errs...)
}

// groups is all addresses in the groups in which they are tried.
func (o *Options) groups() (list [][]string) {
	for _, s := range o.Servers {
		list = append(list, []string{s})
	}
	for _, g := range o.Groups {
		if len(g) > 0 {
			list = append(list, g)
		}
	}
	return list
}

// delay returns the wait before the next attempt after so many others.
func (b *BackOff) delay(attempts int) time.Duration {
	bound := b.Base
	for range attempts {
		if bound >= b.Max/2 {
			bound = b.Max
			break
		}
		bound *= 2
	}
	return time.Duration(b.Random() * float64(min(bound, b.Max)))
}
