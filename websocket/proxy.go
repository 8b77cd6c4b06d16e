package websocket

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"hawser/lifecycle"
)

// proxyPorts are the kinds of proxies and where they listen unless the URL says otherwise.
var proxyPorts = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}

// ProxyError says that a proxy could not be reached, or did not do what it was asked for. errors.As finds a lifecycle.Reason in it.
type ProxyError struct {
	// Proxy is the proxy's URL without its credentials.
	Proxy string
	// Status is the HTTP status with which the proxy refused, for example 407; 0 if it was not that.
	Status int
	// Reason says what the proxy answered; empty if Err says it all.
	Reason string
	// Err is the cause, if there is one: an error of the network, of TLS.
	Err error

	reason lifecycle.Reason
}

// Error returns for example `proxy http://proxy:3128: status 407: it answered "407 Proxy Authentication Required"`.
func (e *ProxyError) Error() string {
	s := "proxy " + e.Proxy
	if e.Status != 0 {
		s += fmt.Sprintf(": status %d", e.Status)
	}
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *ProxyError) Unwrap() error { return e.Err }

// As gives the lifecycle.Reason that stands for the refusal; for a failure of the network, that of its cause.
func (e *ProxyError) As(target any) bool {
	r, ok := target.(*lifecycle.Reason)
	if !ok || e.reason.IsZero() {
		return false
	}
	*r = e.reason.Because(e)
	return true
}

// withoutUser is a URL as it may be shown: user names are often tokens, so not even they stay.
func withoutUser(u *url.URL) *url.URL {
	v := *u
	v.User = nil
	return &v
}

// throughProxy makes a connection to the target by way of the proxy.
func (d *dialer) throughProxy(ctx context.Context, target string) (net.Conn, error) {
	failed := &ProxyError{Proxy: withoutUser(d.proxy).String()}
	port, known := proxyPorts[d.proxy.Scheme]
	switch {
	case !known:
		failed.Reason, failed.reason = fmt.Sprintf("the scheme %q is none of http, https, socks5 and socks5h", d.proxy.Scheme), lifecycle.ReasonUnsupported
		return nil, failed
	case d.proxy.Hostname() == "":
		failed.Reason, failed.reason = "no host", lifecycle.ReasonBadRequest
		return nil, failed
	}
	nc, err := d.opts.NetDial(ctx, "tcp", hostPort(d.proxy, port))
	if err == nil && d.proxy.Scheme == "https" {
		nc, err = secure(ctx, nc, d.opts.ProxyTLS, d.proxy.Hostname(), "http/1.1")
	}
	if err != nil {
		failed.Err = err
		return nil, failed
	}
	err = guard(ctx, nc, func() error {
		if d.proxy.Scheme == "socks5" || d.proxy.Scheme == "socks5h" {
			return socksConnect(nc, d.proxy.User, target, failed)
		}
		return d.httpConnect(nc, target, failed)
	})
	switch {
	case err == nil:
		return nc, nil
	case err != failed:
		failed.Err = err
	}
	cutOff(nc)
	return nil, failed
}

// httpConnect asks an HTTP proxy for a tunnel (RFC 9110 section 9.3.6). What the proxy answers goes into refused, which is returned then.
func (d *dialer) httpConnect(nc net.Conn, target string, refused *ProxyError) error {
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: target}, Host: target, Header: d.opts.ProxyHeader.Clone()}
	if req.Header == nil {
		req.Header = http.Header{}
	}
	if user := d.proxy.User; user != nil {
		password, _ := user.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	resp, r, err := exchange(nc, req)
	switch {
	case err != nil:
		return err
	case resp.StatusCode/100 != 2:
		refused.Status, refused.Reason, refused.reason = resp.StatusCode, fmt.Sprintf("it answered %q", resp.Status), connectReason(resp.StatusCode)
		return refused
	case r.Buffered() > 0: // both TLS and WebSocket begin with what the client says
		refused.Reason, refused.reason = fmt.Sprintf("it sent %d bytes behind its answer, want none", r.Buffered()), lifecycle.ReasonProtocol
		return refused
	}
	return nil
}

// connectReason is what the status of a proxy's refusal means: it speaks of the way to the server, not of the server.
func connectReason(status int) lifecycle.Reason {
	switch status {
	case http.StatusBadGateway, http.StatusGatewayTimeout, http.StatusNotFound:
		return lifecycle.ReasonLost
	}
	return statusReason(status)
}

// exchange sends a request and reads the header of its answer; what else has come is in r.
func exchange(nc net.Conn, req *http.Request) (resp *http.Response, r *bufio.Reader, err error) {
	var b bytes.Buffer
	if err := req.Write(&b); err != nil {
		return nil, nil, err
	}
	if _, err := nc.Write(b.Bytes()); err != nil {
		return nil, nil, err
	}
	limited := &io.LimitedReader{R: nc, N: maxResponse}
	r = bufio.NewReaderSize(limited, maxBody)
	for {
		resp, err = http.ReadResponse(r, req)
		switch {
		case err != nil && limited.N == 0:
			return nil, nil, fmt.Errorf("reading the answer: the header is larger than %d bytes", maxResponse)
		case err != nil:
			return nil, nil, fmt.Errorf("reading the answer: %w", err)
		case resp.StatusCode/100 != 1 || resp.StatusCode == http.StatusSwitchingProtocols:
			return resp, r, nil
		} // else there is more to come (RFC 9110 section 15.2)
	}
}
