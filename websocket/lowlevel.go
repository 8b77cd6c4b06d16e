package websocket

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"

	"hawser/lifecycle"
	"hawser/netio"
)

// Handshake is an opening handshake that two ends have agreed on, for those who bring their own connection and carry the request and the answer themselves; others use Dial and Accept. A client makes the request with
// PrepareRequest and gets the Handshake of the answer from VerifyResponse; a server gets that of the request from ProcessRequest and sends Answer. NewConn then makes the Conn.
type Handshake struct {
	agreed agreement
	set    *settings // nil: it has its connection
	info   connInfo
	answer []byte
	remote string
}

// PrepareRequest makes the request that opens a connection to a ws or wss URL (RFC 6455 section 4.1). Of the options, Header, Origin, Subprotocols, Compression and Extensions matter; nil is good.
func PrepareRequest(url string, options *DialOptions) (*http.Request, error) {
	o, _, err := options.fill()
	if err != nil {
		return nil, err
	}
	u, err := parseAddress(url)
	if err != nil {
		return nil, fmt.Errorf("websocket: prepare request to %q: %w", shownAddress(url), err)
	}
	return (&dialer{url: u, opts: o}).request(newKey())
}

// VerifyResponse judges the answer to a request of PrepareRequest; the options must be the same. The error is a *HandshakeError if the answer is no acceptance.
func VerifyResponse(req *http.Request, resp *http.Response, options *DialOptions) (*Handshake, error) {
	o, s, err := options.fill()
	if err != nil {
		return nil, err
	}
	u := *req.URL
	u.Scheme = map[string]string{"http": "ws", "https": "wss"}[u.Scheme]
	agreed, reason := (&dialer{url: &u, opts: o}).judge(resp, req.Header.Get("Sec-WebSocket-Key"))
	if reason != "" {
		return nil, &HandshakeError{Status: resp.StatusCode, Reason: reason, Response: resp}
	}
	return &Handshake{agreed: agreed, set: s, info: connInfo{address: u.String(), origin: o.Origin}, remote: u.Host}, nil
}

// ProcessRequest checks a request of HTTP/1.1 as Accept does. The error is a *HandshakeError, whose Status is what to answer, if the request does not become a WebSocket. The Handler's part, that is to send Answer or a refusal, is the caller's.
func ProcessRequest(r *http.Request, options *AcceptOptions) (*Handshake, error) {
	o, s, err := options.fill()
	if err != nil {
		return nil, err
	}
	if r.ProtoMajor != 1 {
		return nil, noUpgrade(http.StatusHTTPVersionNotSupported, "this handshake needs HTTP/1.1, not %s", r.Proto)
	}
	agreed, herr := checkRequest(r, &o)
	if herr != nil {
		return nil, herr
	}
	info := connInfo{server: true, address: r.URL.String(), origin: r.Header.Get("Origin")}
	return &Handshake{agreed: agreed, set: s, info: info, answer: answer(r, &o, agreed), remote: r.RemoteAddr}, nil
}

// Answer returns what a server sends to accept, status line and header; nil for a client.
func (h *Handshake) Answer() []byte { return h.answer }

// Header returns the header of Answer by itself; nil for a client.
func (h *Handshake) Header() http.Header {
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(h.answer)), nil)
	if err != nil {
		return nil
	}
	return resp.Header
}

// Subprotocol returns the subprotocol agreed on; empty if there is none.
func (h *Handshake) Subprotocol() string { return h.agreed.subprotocol }

// Extensions returns the extensions agreed on, as in the server's answer; empty if there are none.
func (h *Handshake) Extensions() string { return h.agreed.extensions }

// NewConn makes a connection of nc, behind the handshake; left is what was read from nc beyond that. It can be called once. The connection then owns nc; a plain socket it takes over (netio.Own).
func (h *Handshake) NewConn(nc net.Conn, left []byte) (*Conn, error) {
	if h.set == nil {
		return nil, errors.New("websocket: new connection: this handshake has its connection already, or was not agreed on")
	}
	info, side := h.info, lifecycle.Client
	if info.server {
		side = lifecycleServer
	}
	info.life = h.set.log.Open(protocolName, side, h.remote)
	c := newConn(netio.Own(nc), bytes.Clone(left), h.agreed, h.set, info)
	c.life.SetPath(c.URL().Path)
	*h = Handshake{}
	c.open()
	return c, nil
}
