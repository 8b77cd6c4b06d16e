package websocket

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path"
	"sync/atomic"
	"time"

	"hawser/lifecycle"
	"hawser/netio"
)

const (
	// DefaultMaxMessage bounds an incoming message, in bytes.
	DefaultMaxMessage = 16 << 20
	// DefaultCloseTimeout is how long a close waits for the peer.
	DefaultCloseTimeout = 5 * time.Second
	// DefaultPongTimeout is how long an answer to a keepalive ping may take.
	DefaultPongTimeout = 10 * time.Second
	// DefaultHandshakeTimeout bounds Dial.
	DefaultHandshakeTimeout = 10 * time.Second
	// DefaultGather is how long answers to messages that came together may wait for each other: about what the write of each by itself would take.
	DefaultGather = 100 * time.Microsecond
)

// AcceptOptions are the settings of Accept; nil and the zero value are good.
type AcceptOptions struct {
	// Subprotocols are those that this server speaks. The first of the client's that is among them is chosen; without one there is none.
	Subprotocols []string
	// RequireSubprotocol refuses clients that offer none of Subprotocols.
	RequireSubprotocol bool
	// Origins are further origins whose pages may connect; the server's own host always may, and so may programs, which send no Origin. A pattern is that of path.Match, and is matched
	// against the origin's host and port ("*.example.com") or, if it holds "://", against the whole origin ("https://*.example.com"). "*" allows all.
	Origins []string
	// Header is added to the answer.
	Header http.Header
	// HTTP2 accepts WebSockets over HTTP/2 too (RFC 8441), on servers of net/http that announce it: those with GODEBUG=http2xconnect=1 in the environment that the program is started with, to which browsers then come this way
	// when they have a connection of HTTP/2. Such a connection is a part of its request, so the handler must not return before its end: it calls Conn.Hold last.
	HTTP2 bool
	// TakeOver lets Accept take the descriptor over from package net where http.Server has ConnState or ConnContext too (see Accept): these do not use the connection once it is a WebSocket.
	TakeOver bool

	// Compression is permessage-deflate (RFC 7692); nil means that nothing is compressed.
	Compression *Deflate
	// Extensions are further extensions that this end knows.
	Extensions []Extension

	// MaxMessage bounds an incoming message in bytes: 0 means DefaultMaxMessage, negative no limit. A breach closes with CloseTooBig.
	MaxMessage int64
	// MaxFrame bounds the payload of one incoming frame in bytes; 0 means that only MaxMessage does.
	MaxFrame int64
	// Unknown delivers messages of the reserved opcodes 3 to 7 as UnknownMessage events; else they break the protocol. Read skips them.
	Unknown bool
	// Keepalive is how often the peer is sent a ping; 0 means never.
	Keepalive time.Duration
	// PongTimeout is how long the pong for a keepalive ping may take before the peer counts as Unresponsive; 0 means DefaultPongTimeout, negative that it is not awaited.
	PongTimeout time.Duration
	// Poll is how often Events and Handle give a Poll; 0 means never.
	Poll time.Duration
	// CloseTimeout bounds what a close waits for the peer; 0 means DefaultCloseTimeout.
	CloseTimeout time.Duration
	// WriteTimeout is how long the peer may take nothing of what waits to be written before the connection is given up; 0 means netio.DefaultTimeout, negative for ever.
	WriteTimeout time.Duration
	// QueueLimit bounds what Queue holds, in bytes; 0 means netio.DefaultQueueLimit.
	QueueLimit int
	// Gather bounds how long what is sent while messages that came together are handled waits, to go out in one write. It goes out when the last of them is handled, or sent with its answer, whatever the bound: that
	// is only for handlers that are slow, and is so short by default that even then nothing is later than it would be behind the writes that it saves. A larger one trades delay for fewer writes. 0 means
	// DefaultGather, negative that nothing waits. Messages that came together are those of one read from the network; with Read, the next call of Read says that one of them is handled.
	Gather time.Duration
	// Pool flushes the connection; nil means netio's own.
	Pool *netio.Pool
	// Log gets the connection's identity and states; nil means that nothing is logged.
	Log *lifecycle.Log
}

// DialOptions are the settings of Dial; nil and the zero value are good.
type DialOptions struct {
	// Subprotocols are offered to the server, the preferred one first.
	Subprotocols []string
	// Header is added to the request. Host replaces the URL's host.
	Header http.Header
	// Origin is sent as the Origin, as browsers do; empty means none.
	Origin string
	// TLS is used for wss; nil means the system's roots and the URL's host name.
	TLS *tls.Config
	// NetDial replaces the way to the address of the server, or of the proxy, as for unix sockets; nil means a net.Dialer. It must return when ctx ends.
	NetDial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Proxy chooses the proxy for the server's URL, which it gets without user and password: an http or https URL for one that knows CONNECT, a socks5 or socks5h URL for SOCKS version 5, which in both cases resolves
	// the server's name itself. User and password in the URL are used. A nil URL is none. nil means ProxyFromEnvironment, or NoProxy if NetDial is set.
	Proxy func(*url.URL) (*url.URL, error)
	// ProxyHeader is added to the CONNECT request.
	ProxyHeader http.Header
	// ProxyTLS is used for https proxies; nil means the system's roots and the proxy's host name.
	ProxyTLS *tls.Config
	// HTTP2 makes the connection a stream of HTTP/2 (RFC 8441), of a network connection that it may share with others; nil means HTTP/1.1. The server must announce that it can: there is no second attempt with HTTP/1.1. With ws the
	// server must know HTTP/2 without TLS, by prior knowledge.
	HTTP2 *HTTP2
	// HandshakeTimeout bounds all until the connection is open; 0 means DefaultHandshakeTimeout, negative that only the context does.
	HandshakeTimeout time.Duration

	// Compression and all that follow are as in AcceptOptions.
	Compression  *Deflate
	Extensions   []Extension
	MaxMessage   int64
	MaxFrame     int64
	Unknown      bool
	Keepalive    time.Duration
	PongTimeout  time.Duration
	Poll         time.Duration
	CloseTimeout time.Duration
	WriteTimeout time.Duration
	QueueLimit   int
	Gather       time.Duration
	Pool         *netio.Pool
	Log          *lifecycle.Log
}

// settings are the options that a connection keeps, filled in.
type settings struct {
	maxMessage, maxFrame         int64
	unknown                      bool
	keepalive, pongTimeout, poll time.Duration
	closeTimeout, write, gather  time.Duration
	queueLimit                   int
	pool                         *netio.Pool
	log                          *lifecycle.Log
}

// fill puts the defaults in.
func (s settings) fill() *settings {
	def := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	def(&s.closeTimeout, DefaultCloseTimeout)
	def(&s.pongTimeout, DefaultPongTimeout)
	def(&s.gather, DefaultGather)
	if s.queueLimit <= 0 {
		s.queueLimit = netio.DefaultQueueLimit
	}
	switch {
	case s.maxMessage == 0:
		s.maxMessage = DefaultMaxMessage
	case s.maxMessage < 0:
		s.maxMessage = 0
	}
	if last := lastSettings.Load(); last != nil && *last == s {
		return last
	}
	lastSettings.Store(&s)
	return &s
}

// lastSettings are shared by the connections that are made one after the other with the same options, as those of a server are. They never change.
var lastSettings atomic.Pointer[settings]

func (s settings) validate() error {
	var errs []error
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"Keepalive", s.keepalive}, {"Poll", s.poll}, {"CloseTimeout", s.closeTimeout}} {
		if d.value < 0 {
			errs = append(errs, fmt.Errorf("websocket: option %s is %v, want 0 or more", d.name, d.value))
		}
	}
	if s.maxFrame < 0 {
		errs = append(errs, fmt.Errorf("websocket: option MaxFrame is %d, want 0 or more", s.maxFrame))
	}
	return errors.Join(errs...)
}

// fill checks the options and puts the defaults in; o may be nil.
func (o *AcceptOptions) fill() (AcceptOptions, *settings, error) {
	if o == nil {
		o = &AcceptOptions{}
	}
	s := settings{maxMessage: o.MaxMessage, maxFrame: o.MaxFrame, unknown: o.Unknown, keepalive: o.Keepalive, pongTimeout: o.PongTimeout, poll: o.Poll,
		closeTimeout: o.CloseTimeout, write: o.WriteTimeout, gather: o.Gather, queueLimit: o.QueueLimit, pool: o.Pool, log: o.Log}
	errs := []error{s.validate(), checkTokens(o.Subprotocols), o.Compression.validate()}
	for _, p := range o.Origins {
		if _, err := path.Match(p, ""); err != nil {
			errs = append(errs, fmt.Errorf("websocket: option Origins: pattern %q: %w", p, err))
		}
	}
	return *o, s.fill(), errors.Join(errs...)
}

// fill checks the options and puts the defaults in; o may be nil.
func (o *DialOptions) fill() (DialOptions, *settings, error) {
	if o == nil {
		o = &DialOptions{}
	}
	s := settings{maxMessage: o.MaxMessage, maxFrame: o.MaxFrame, unknown: o.Unknown, keepalive: o.Keepalive, pongTimeout: o.PongTimeout, poll: o.Poll,
		closeTimeout: o.CloseTimeout, write: o.WriteTimeout, gather: o.Gather, queueLimit: o.QueueLimit, pool: o.Pool, log: o.Log}
	c := *o
	switch {
	case c.Proxy == nil && c.NetDial == nil:
		c.Proxy = ProxyFromEnvironment
	case c.Proxy == nil:
		c.Proxy = NoProxy
	}
	if c.NetDial == nil {
		c.NetDial = new(net.Dialer).DialContext
	}
	if c.HandshakeTimeout == 0 {
		c.HandshakeTimeout = DefaultHandshakeTimeout
	}
	return c, s.fill(), errors.Join(s.validate(), checkTokens(o.Subprotocols), o.Compression.validate())
}

func (o *AcceptOptions) extensions() []Extension { return withDeflate(o.Compression, o.Extensions) }
func (o *DialOptions) extensions() []Extension   { return withDeflate(o.Compression, o.Extensions) }

// withDeflate puts compression behind the other extensions: what they change is compressed, and not the reverse.
func withDeflate(d *Deflate, others []Extension) []Extension {
	if d == nil {
		return others
	}
	return append(others[:len(others):len(others)], d)
}

func checkTokens(names []string) error {
	for _, name := range names {
		if !isToken(name) {
			return fmt.Errorf("websocket: option Subprotocols: %q is not a token (RFC 9110 section 5.6.2)", name)
		}
	}
	return nil
}
