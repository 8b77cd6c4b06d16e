package websocket

import (
	"bufio"
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
	"time"

	"hawser/lifecycle"
)

const (
	maxResponse = 64 << 10 // the header of the server's answer, in bytes
	maxBody     = 4096     // how much of a refusal's body is kept
)

// dialer is one attempt to connect.
type dialer struct {
	url  *url.URL
	opts DialOptions
	set  settings
	life *lifecycle.Conn
}

// Dial opens a connection to a ws or wss URL (RFC 6455 section 4.1); options may be nil. ctx bounds the opening only. When the server answers with anything but an acceptance
// the error is a *HandshakeError.
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
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return nil, fmt.Errorf("websocket: dial: %w", err)
	case u.Scheme != "ws" && u.Scheme != "wss":
		return nil, fmt.Errorf("websocket: dial %q: the scheme is neither ws nor wss", address)
	case u.Hostname() == "":
		return nil, fmt.Errorf("websocket: dial %q: no host", address)
	}
	u.Fragment = "" // RFC 6455 section 3
	d := &dialer{url: u, opts: o, set: s, life: s.log.Open(protocolName, lifecycle.Client, u.Host)}
	d.life.SetPath(u.Path)
	d.life.Set(StateConnecting.String(), lifecycle.Amber, lifecycle.Reason{})
	return d, nil
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
	var h *HandshakeError
	if errors.As(err, &h) {
		r = lifecycle.ReasonRefused.Because(err)
	}
	d.life.Close(r)
	if h != nil {
		return h
	}
	return fmt.Errorf("websocket: dial %q: %w", d.url.Redacted(), err)
}

// connect makes the network connection, with TLS for wss.
func (d *dialer) connect(ctx context.Context) (net.Conn, error) {
	port := d.url.Port()
	if port == "" {
		port = map[string]string{"ws": "80", "wss": "443"}[d.url.Scheme]
	}
	nc, err := d.opts.NetDial(ctx, "tcp", net.JoinHostPort(d.url.Hostname(), port))
	if err != nil || d.url.Scheme == "ws" {
		return nc, err
	}
	config := d.opts.TLS.Clone()
	if config == nil {
		config = &tls.Config{}
	}
	if config.ServerName == "" {
		config.ServerName = d.url.Hostname()
	}
	config.NextProtos = []string{"http/1.1"}
	tc := tls.Client(nc, config)
	if err := tc.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, err
	}
	return tc, nil
}

// upgrade makes a WebSocket of a network connection, which it closes if that fails. The response is what the server has answered, if it has.
func (d *dialer) upgrade(ctx context.Context, nc net.Conn) (c *Conn, resp *http.Response, err error) {
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	resp, left, agreed, err := d.shake(nc)
	if !stop() && err == nil || err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		nc.Close()
		return nil, resp, err
	}
	c = newConn(nc, left, agreed, d.set, connInfo{url: d.url, origin: d.opts.Origin, life: d.life})
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
	var b bytes.Buffer
	if err := req.Write(&b); err != nil {
		return nil, nil, agreed, err
	}
	if _, err := nc.Write(b.Bytes()); err != nil {
		return nil, nil, agreed, err
	}
	limited := &io.LimitedReader{R: nc, N: maxResponse}
	r := bufio.NewReaderSize(limited, maxBody)
	resp, err = http.ReadResponse(r, req)
	if err != nil {
		if limited.N == 0 {
			err = fmt.Errorf("the answer's header is larger than %d bytes", maxResponse)
		}
		return nil, nil, agreed, fmt.Errorf("reading the answer: %w", err)
	}
	agreed, reason := d.judge(resp, key)
	if reason != "" {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxBody))
		resp.Body = io.NopCloser(bytes.NewReader(body))
		return resp, nil, agreed, &HandshakeError{Status: resp.StatusCode, Reason: reason, Response: resp}
	}
	if n := r.Buffered(); n > 0 {
		left, err = r.Peek(n)
	}
	return resp, slices.Clone(left), agreed, err
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
	if d.opts.Origin != "" {
		req.Header.Set("Origin", d.opts.Origin)
	}
	return req, nil
}

// judge says what the server has agreed to, or why its answer is no acceptance (RFC 6455 section 4.1).
func (d *dialer) judge(resp *http.Response, key string) (agreed agreement, reason string) {
	h := resp.Header
	protocols := h.Values("Sec-WebSocket-Protocol")
	agreed.subprotocol = strings.Trim(h.Get("Sec-WebSocket-Protocol"), " \t")
	switch {
	case resp.StatusCode != http.StatusSwitchingProtocols:
		return agreed, fmt.Sprintf("the server answered %q, want 101", resp.Status)
	case !hasToken(h, "Upgrade", "websocket"):
		return agreed, fmt.Sprintf("the answer's Upgrade is %q, want websocket", h.Get("Upgrade"))
	case !hasToken(h, "Connection", "Upgrade"):
		return agreed, fmt.Sprintf("the answer's Connection is %q, want Upgrade", h.Get("Connection"))
	case len(h.Values("Sec-WebSocket-Accept")) != 1 || strings.TrimSpace(h.Get("Sec-WebSocket-Accept")) != acceptKey(key):
		return agreed, fmt.Sprintf("the answer's Sec-WebSocket-Accept is %q, want %q", h.Get("Sec-WebSocket-Accept"), acceptKey(key))
	case len(protocols) > 1 || len(protocols) == 1 && !slices.Contains(d.opts.Subprotocols, agreed.subprotocol):
		return agreed, fmt.Sprintf("the server chose subprotocol %q, offered were %q", protocols, d.opts.Subprotocols)
	case len(listed(h, "Sec-WebSocket-Extensions")) > 0:
		return agreed, fmt.Sprintf("the server chose extensions %q, offered were none", h.Get("Sec-WebSocket-Extensions"))
	}
	return agreed, ""
}
