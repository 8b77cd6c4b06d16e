package websocket

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"hawser/netio"
)

// Accept makes a WebSocket connection of a request (RFC 6455 section 4.2); options may be nil. When the request cannot become one, Accept answers it with the fitting HTTP
// status and returns a *HandshakeError; the handler has nothing more to do than to return.
//
// Over HTTP/1.1 the connection outlives the handler. net/http keeps two buffers of 4 KB and a goroutine for it until the handler returns, so a handler should call Conn.Handle, or go on in a goroutine of its own, and
// return. Where http.Server has neither ConnState nor ConnContext, or AcceptOptions.TakeOver says that they do not matter, nobody else knows the connection, and Accept takes its descriptor over from package net (netio.Own), so that Handle needs
// no goroutine: what a listener of one's own has returned is then closed.
// The request's context ends with the handler, so it is not one to read and write with afterwards. Over HTTP/2, which AcceptOptions.HTTP2 allows, the connection ends with the handler: one that calls Conn.Hold last
// is right for both.
func Accept(w http.ResponseWriter, r *http.Request, options *AcceptOptions) (*Conn, error) {
	o, s, err := options.fill()
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return nil, err
	}
	agreed, herr := checkRequest(r, &o)
	if herr != nil {
		refuse(w, r, herr)
		return nil, herr
	}
	var nc net.Conn
	var left []byte
	if r.ProtoMajor == 2 {
		nc, err = acceptHTTP2(w, r, &o, agreed)
	} else {
		nc, left, err = hijack(w, r, answer(r, &o, agreed), s.write, o.TakeOver)
	}
	var cannot *HandshakeError
	switch {
	case errors.As(err, &cannot):
		refuse(w, r, cannot)
		return nil, cannot
	case err != nil:
		return nil, fmt.Errorf("websocket: accept: %w", err)
	}
	c := newConn(nc, left, agreed, s, connInfo{server: true, address: r.URL.String(), origin: r.Header.Get("Origin"), life: s.log.Open(protocolName, lifecycleServer, r.RemoteAddr)})
	c.life.SetPath(r.URL.Path)
	c.open()
	return c, nil
}

// refuse answers a request that does not become a WebSocket.
func refuse(w http.ResponseWriter, r *http.Request, e *HandshakeError) {
	if r.ContentLength != 0 && r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close") // instead of waiting for the body
	}
	switch e.Status {
	case http.StatusUpgradeRequired:
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Sec-WebSocket-Version", version)
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodGet)
	}
	http.Error(w, e.Reason, e.Status)
}

// hijack takes the request's connection over and sends the answer.
func hijack(w http.ResponseWriter, r *http.Request, answer []byte, timeout time.Duration, own bool) (nc net.Conn, left []byte, err error) {
	nc, brw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, &HandshakeError{Status: http.StatusInternalServerError, Reason: "the connection cannot be taken over: " + err.Error()}
	}
	if left, err = takeOver(nc, brw.Reader, answer, timeout); err != nil {
		nc.Close()
		return nil, nil, err
	}
	s, ok := r.Context().Value(http.ServerContextKey).(*http.Server)
	if own || ok && s.ConnState == nil && s.ConnContext == nil { // nobody else knows it
		nc = netio.Own(nc)
	}
	return nc, left, nil
}

// takeOver sends the answer on a hijacked connection and returns what the client has already sent behind its request.
func takeOver(nc net.Conn, r *bufio.Reader, answer []byte, timeout time.Duration) (left []byte, err error) {
	if n := r.Buffered(); n > 0 {
		peek, err := r.Peek(n)
		if err != nil {
			return nil, err
		}
		left = slices.Clone(peek)
	}
	if err := nc.SetDeadline(time.Time{}); err != nil { // those of http.Server
		return nil, err
	}
	if timeout > 0 {
		nc.SetWriteDeadline(time.Now().Add(timeout))
		defer nc.SetWriteDeadline(time.Time{})
	}
	_, err = nc.Write(answer)
	return left, err
}

// checkRequest says what is agreed with the client, or what is wrong with its request.
func checkRequest(r *http.Request, o *AcceptOptions) (agreement, *HandshakeError) {
	check := checkUpgrade
	if r.ProtoMajor == 2 {
		check = checkHTTP2
	}
	if herr := check(r, o); herr != nil {
		return agreement{}, herr
	}
	bad := func(status int, format string, args ...any) (agreement, *HandshakeError) {
		return agreement{}, noUpgrade(status, format, args...)
	}
	if origins := r.Header.Values("Origin"); len(origins) > 1 {
		return bad(http.StatusBadRequest, "Origin is there more than once (RFC 6454 section 7.3)")
	}
	if origin := r.Header.Get("Origin"); !originAllowed(origin, r.Host, o.Origins) {
		return bad(http.StatusForbidden, "origin %q is not allowed", origin)
	}
	offered := listed(r.Header, "Sec-WebSocket-Protocol")
	agreed := agreement{subprotocol: chooseSubprotocol(offered, o.Subprotocols)}
	if agreed.subprotocol == "" && o.RequireSubprotocol {
		return bad(http.StatusBadRequest, "subprotocols %q are not known here, only %q", offered, o.Subprotocols)
	}
	extensions, err := parseExtensions(r.Header)
	if err != nil {
		return bad(http.StatusBadRequest, "%v", err)
	}
	agreed.accept(extensions, o.extensions())
	return agreed, nil
}

// noUpgrade is a request that does not become a WebSocket.
func noUpgrade(status int, format string, args ...any) *HandshakeError {
	return &HandshakeError{Status: status, Reason: fmt.Sprintf(format, args...)}
}

// checkUpgrade says what is wrong with a request of HTTP/1 as one for a WebSocket (RFC 6455 section 4.2.1), or nil.
func checkUpgrade(r *http.Request, _ *AcceptOptions) *HandshakeError {
	switch {
	case r.ProtoMajor != 1 || !r.ProtoAtLeast(1, 1):
		return noUpgrade(http.StatusHTTPVersionNotSupported, "a WebSocket needs HTTP/1.1, not %s", r.Proto)
	case !hasToken(r.Header, "Connection", "Upgrade") || !hasToken(r.Header, "Upgrade", "websocket"):
		return noUpgrade(http.StatusUpgradeRequired, "this address speaks WebSocket: the request has no Connection: Upgrade and Upgrade: websocket")
	case r.Method != http.MethodGet:
		return noUpgrade(http.StatusMethodNotAllowed, "a WebSocket starts with GET, not %s", r.Method)
	case r.ContentLength != 0: // what follows would be the body, and not frames
		return noUpgrade(http.StatusBadRequest, "a request for a WebSocket has no body (RFC 9110 section 7.8)")
	case len(r.Header.Values("Sec-WebSocket-Version")) > 1:
		return noUpgrade(http.StatusBadRequest, "Sec-WebSocket-Version is there more than once (RFC 6455 section 11.3.5)")
	case r.Header.Get("Sec-WebSocket-Version") != version:
		return noUpgrade(http.StatusUpgradeRequired, "version %q of WebSocket is not known, only %s is", r.Header.Get("Sec-WebSocket-Version"), version)
	case len(r.Header.Values("Sec-WebSocket-Key")) != 1 || !validKey(r.Header.Get("Sec-WebSocket-Key")):
		return noUpgrade(http.StatusBadRequest, "the Sec-WebSocket-Key %q is not 16 bytes in base64", r.Header.Get("Sec-WebSocket-Key"))
	}
	return nil
}

// chooseSubprotocol returns the first of the client's that the server has.
func chooseSubprotocol(offered, have []string) string {
	for _, name := range offered {
		if slices.Contains(have, name) {
			return name
		}
	}
	return ""
}

// originAllowed says whether a page of that origin may connect to host (RFC 6455 section 10.2).
func originAllowed(origin, host string, patterns []string) bool {
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	if err == nil && u.Host != "" && strings.EqualFold(u.Host, host) {
		return true
	}
	for _, pattern := range patterns {
		if pattern == "*" || matchOrigin(strings.ToLower(pattern), strings.ToLower(origin)) {
			return true
		}
	}
	return false
}

func matchOrigin(pattern, origin string) bool {
	scheme, host, ok := strings.Cut(origin, "://")
	want := "*"
	if s, h, found := strings.Cut(pattern, "://"); found {
		want, pattern = s, h
	}
	if !ok { // "null"
		return want == "*" && pattern == origin
	}
	schemeOK, err1 := path.Match(want, scheme)
	hostOK, err2 := path.Match(pattern, host)
	return errors.Join(err1, err2) == nil && schemeOK && hostOK
}

// answer is the response that opens the connection.
func answer(r *http.Request, o *AcceptOptions, agreed agreement) []byte {
	var b strings.Builder
	b.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ")
	b.WriteString(acceptKey(r.Header.Get("Sec-WebSocket-Key")))
	b.WriteString("\r\n")
	if agreed.subprotocol != "" {
		b.WriteString("Sec-WebSocket-Protocol: " + agreed.subprotocol + "\r\n")
	}
	if agreed.extensions != "" {
		b.WriteString("Sec-WebSocket-Extensions: " + agreed.extensions + "\r\n")
	}
	o.Header.WriteSubset(&b, ownHeaders)
	b.WriteString("\r\n")
	return []byte(b.String())
}

// ownHeaders are those that the handshake itself sets.
var ownHeaders = map[string]bool{
	"Host": true, "Upgrade": true, "Connection": true, "Content-Length": true, "Transfer-Encoding": true,
	"Sec-Websocket-Accept": true, "Sec-Websocket-Protocol": true, "Sec-Websocket-Extensions": true, "Sec-Websocket-Version": true, "Sec-Websocket-Key": true,
}
