package websocket

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"hawser/lifecycle"
	"hawser/netio"
)

const (
	maxResponse = 64 << 10 // the header of the server's answer, in bytes
	maxBody     = 4096     // how much of a refusal's body is kept
)

// dialer is one attempt to connect.
type dialer struct {
	url   *url.URL
	proxy *url.URL // nil: none; known once connect has begun
	opts  DialOptions
	set   *settings
	own   bool // nobody else can have the network connection
	life  *lifecycle.Conn
}

// Dial opens a connection to a ws or wss URL (RFC 6455 section 4.1); options may be nil. ctx bounds the opening only. When the server answers with anything but an acceptance
// the error is a *HandshakeError; when a proxy stands in the way, there is a *ProxyError in it. errors.As finds a lifecycle.Reason in these, whose Retry tells whether another attempt makes sense.
func Dial(ctx context.Context, url string, options *DialOptions) (*Conn, error) {
	d, err := newDialer(url, options)
	if err != nil {
		return nil, err
	}
	ctx, cancel := d.bound(ctx)
	defer cancel()
	nc, err := d.connect(ctx)
	if err != nil {
		return nil, d.failed(err)
	}
	c, _, err := d.upgrade(ctx, nc)
	if err != nil {
		return nil, d.failed(err)
	}
	return c, nil
}

func newDialer(address string, options *DialOptions) (*dialer, error) {
	o, s, err := options.fill()
	if err != nil {
		return nil, err
	}
	u, err := parseAddress(address)
	if err != nil {
		return nil, fmt.Errorf("websocket: dial %q: %w", shownAddress(address), err)
	}
	d := &dialer{url: u, opts: o, set: s, own: options == nil || options.NetDial == nil, life: s.log.Open(protocolName, lifecycle.Client, u.Host)}
	d.life.SetPath(u.Path)
	d.life.Set(StateConnecting.String(), lifecycle.Amber, lifecycle.Reason{})
	return d, nil
}

func parseAddress(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	var parsing *url.Error
	switch {
	case errors.As(err, &parsing) && !strings.Contains(address, "@"):
		return nil, parsing.Err
	case err != nil: // which may quote a password
		return nil, errors.New("this is no URL")
	case u.Scheme != "ws" && u.Scheme != "wss":
		return nil, errors.New("the scheme is neither ws nor wss")
	case u.Hostname() == "":
		return nil, errors.New("no host")
	}
	u.Fragment = "" // RFC 6455 section 3
	return u, nil
}

// shownAddress is an address without user and password.
func shownAddress(address string) string {
	if u, err := url.Parse(address); err == nil {
		return withoutUser(u).String()
	}
	if i := strings.LastIndexByte(address, '@'); i >= 0 {
		return "…" + address[i:]
	}
	return address
}

// hostPort is where a URL points to.
func hostPort(u *url.URL, port string) string {
	if p := u.Port(); p != "" {
		port = p
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// bound applies the handshake timeout.
func (d *dialer) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if d.opts.HandshakeTimeout < 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d.opts.HandshakeTimeout)
}

// failed ends the attempt.
func (d *dialer) failed(err error) error {
	r := lifecycle.ReasonOf(err)
	if errors.Is(err, context.Canceled) {
		r = lifecycle.ReasonDone.Because(err)
	}
	d.life.Close(r)
	var h *HandshakeError
	if errors.As(err, &h) {
		return h
	}
	return fmt.Errorf("websocket: dial %q: %w", withoutUser(d.url), err)
}

// connect makes the network connection, through a proxy if there is one, and with TLS for wss.
func (d *dialer) connect(ctx context.Context) (nc net.Conn, err error) {
	if d.proxy, err = d.opts.Proxy(withoutUser(d.url)); err != nil {
		return nil, fmt.Errorf("choosing a proxy: %w", err)
	}
	if d.opts.HTTP2 != nil {
		return d.opts.HTTP2.connect(ctx, d)
	}
	return d.network(ctx, "http/1.1")
}

// network is connect once the proxy is chosen; TLS speaks the protocol (RFC 7301).
func (d *dialer) network(ctx context.Context, protocol string) (nc net.Conn, err error) {
	port := map[string]string{"ws": "80", "wss": "443"}[d.url.Scheme]
	if d.proxy == nil {
		nc, err = d.opts.NetDial(ctx, "tcp", hostPort(d.url, port))
	} else {
		nc, err = d.throughProxy(ctx, hostPort(d.url, port))
	}
	if err != nil || d.url.Scheme == "ws" {
		return nc, err
	}
	return secure(ctx, nc, d.opts.TLS, d.url.Hostname(), protocol)
}

// secure puts TLS on a connection, which it closes if that fails.
func secure(ctx context.Context, nc net.Conn, config *tls.Config, name, protocol string) (net.Conn, error) {
	config = config.Clone()
	if config == nil {
		config = &tls.Config{}
	}
	if config.ServerName == "" {
		config.ServerName = name
	}
	config.NextProtos = []string{protocol}
	tc := tls.Client(nc, config)
	if err := tc.HandshakeContext(ctx); err != nil {
		cutOff(nc)
		return nil, &tlsError{err}
	}
	return tc, nil
}

// cutOff closes a connection without the farewell of TLS, which would wait for a peer that takes nothing.
func cutOff(nc net.Conn) {
	for {
		inside, ok := nc.(*tls.Conn)
		if !ok {
			nc.Close()
			return
		}
		nc = inside.NetConn()
	}
}

// tlsError is a TLS handshake that failed.
type tlsError struct{ err error }

func (e *tlsError) Error() string { return "TLS: " + strings.TrimPrefix(e.err.Error(), "tls: ") }
func (e *tlsError) Unwrap() error { return e.err }

// As gives the lifecycle.Reason, where the cause has none of its own: a certificate that is not trusted, or a peer that does not speak TLS.
func (e *tlsError) As(target any) bool {
	r, ok := target.(*lifecycle.Reason)
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	switch {
	case ok && errors.As(e.err, &certificate):
		*r = lifecycle.ReasonUnauthorized.Because(e)
	case ok && errors.As(e.err, &record):
		*r = lifecycle.ReasonProtocol.Because(e)
	default:
		return false
	}
	return true
}

// guard runs a step of the opening on a connection, which the end of ctx interrupts. What the peer has refused by then stays the error.
func guard(ctx context.Context, nc net.Conn, step func() error) error {
	stop := context.AfterFunc(ctx, func() {
		if nc.SetDeadline(longAgo) != nil {
			nc.Close()
		}
	})
	err := step()
	var h *HandshakeError
	var p *ProxyError
	if !stop() && err == nil || err != nil && ctx.Err() != nil && !errors.As(err, &h) && !errors.As(err, &p) {
		return ctx.Err()
	}
	return err
}

// upgrade makes a WebSocket of a network connection, which it closes if that fails. The response is what the server has answered, if it has.
func (d *dialer) upgrade(ctx context.Context, nc net.Conn) (c *Conn, resp *http.Response, err error) {
	var left []byte
	var agreed agreement
	if s, ok := nc.(*h2Client); ok {
		resp, agreed, err = d.shakeHTTP2(ctx, s)
	} else {
		err = guard(ctx, nc, func() (err error) {
			resp, left, agreed, err = d.shake(nc)
			return err
		})
	}
	if err != nil {
		cutOff(nc)
		return nil, resp, err
	}
	if d.own {
		nc = netio.Own(nc)
	}
	c = newConn(nc, left, agreed, d.set, connInfo{address: d.url.String(), origin: d.opts.Origin, life: d.life})
	c.open()
	return c, resp, nil
}

// shake sends the request and judges the answer; left is what the server has sent behind it.
func (d *dialer) shake(nc net.Conn) (resp *http.Response, left []byte, agreed agreement, err error) {
	key := newKey()
	req, err := d.request(key)
	if err != nil {
		return nil, nil, agreed, err
	}
	spell(req.Header)
	resp, r, err := exchange(nc, req)
	if err != nil {
		return nil, nil, agreed, err
	}
	agreed, reason := d.judge(resp, key)
	if reason != "" {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxBody))
		resp.Body = io.NopCloser(bytes.NewReader(body))
		return resp, nil, agreed, &HandshakeError{Status: resp.StatusCode, Reason: reason + firstLine(resp, body), Response: resp}
	}
	if n := r.Buffered(); n > 0 {
		left, err = r.Peek(n)
	}
	return resp, slices.Clone(left), agreed, err
}

// firstLine is what a refusal says in plain text.
func firstLine(resp *http.Response, body []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	if kind := resp.Header.Get("Content-Type"); resp.StatusCode < http.StatusBadRequest || !strings.HasPrefix(kind, "text/plain") || line == "" {
		return ""
	}
	return fmt.Sprintf(": %q", cutReason(line))
}

func newKey() string {
	var b [keySize]byte
	rand.Read(b[:])
	return base64.StdEncoding.EncodeToString(b[:])
}

// request is the client's part of the handshake.
func (d *dialer) request(key string) (*http.Request, error) {
	u := *d.url
	u.Scheme = map[string]string{"ws": "http", "wss": "https"}[u.Scheme]
	user := u.User
	u.User = nil
	req, err := http.NewRequest(http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	for name, values := range d.opts.Header {
		if !ownHeaders[http.CanonicalHeaderKey(name)] {
			req.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	if host := d.opts.Header.Get("Host"); host != "" {
		req.Host = host
	}
	if password, ok := user.Password(); user != nil && req.Header.Get("Authorization") == "" && (ok || user.Username() != "") {
		req.SetBasicAuth(user.Username(), password)
	}
	req.Header.Set("Upgrade", "websocket")
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Sec-WebSocket-Version", version)
	req.Header.Set("Sec-WebSocket-Key", key)
	if len(d.opts.Subprotocols) > 0 {
		req.Header.Set("Sec-WebSocket-Protocol", strings.Join(d.opts.Subprotocols, ", "))
	}
	if offer := offerOf(d.opts.extensions()); offer != "" {
		req.Header.Set(extensionHeader, offer)
	}
	if d.opts.Origin != "" {
		req.Header.Set("Origin", d.opts.Origin)
	}
	return req, nil
}

// judge says what the server has agreed to, or why its answer is no acceptance (RFC 6455 section 4.1).
func (d *dialer) judge(resp *http.Response, key string) (agreed agreement, reason string) {
	h := resp.Header
	switch {
	case !resp.ProtoAtLeast(1, 1):
		return agreed, fmt.Sprintf("the server answered %q in %s, want HTTP/1.1", resp.Status, resp.Proto)
	case resp.StatusCode != http.StatusSwitchingProtocols:
		return agreed, fmt.Sprintf("the server answered %q, want 101", resp.Status)
	case !hasToken(h, "Upgrade", "websocket"):
		return agreed, fmt.Sprintf("the answer's Upgrade is %q, want websocket", h.Get("Upgrade"))
	case !hasToken(h, "Connection", "Upgrade"):
		return agreed, fmt.Sprintf("the answer's Connection is %q, want Upgrade", h.Get("Connection"))
	case len(h.Values("Sec-WebSocket-Accept")) > 1:
		return agreed, "the answer's Sec-WebSocket-Accept is there more than once"
	case strings.TrimSpace(h.Get("Sec-WebSocket-Accept")) != acceptKey(key):
		return agreed, fmt.Sprintf("the answer's Sec-WebSocket-Accept is %q, want %q", h.Get("Sec-WebSocket-Accept"), acceptKey(key))
	}
	return d.judgeChoice(h)
}

// judgeChoice says what the server has chosen of what it was offered, or why it may not.
func (d *dialer) judgeChoice(h http.Header) (agreed agreement, reason string) {
	protocols := h.Values("Sec-WebSocket-Protocol")
	agreed.subprotocol = strings.Trim(h.Get("Sec-WebSocket-Protocol"), " \t")
	if len(protocols) > 1 || len(protocols) == 1 && !slices.Contains(d.opts.Subprotocols, agreed.subprotocol) {
		return agreed, fmt.Sprintf("the server chose subprotocol %q, offered were %q", protocols, d.opts.Subprotocols)
	}
	extensions, err := parseExtensions(h)
	if err == nil {
		err = agreed.confirm(extensions, d.opts.extensions())
	}
	if err != nil {
		return agreed, err.Error()
	}
	return agreed, ""
}
