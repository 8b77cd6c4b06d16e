//lint:file-ignore SA1019 the client of net/http, which is to replace that of x/net, refuses :protocol

package websocket

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"hawser/lifecycle"
)

// h2EndTimeout is how long a stream that both sides have ended may take to be over before it is reset.
const h2EndTimeout = time.Second

// HTTP2 carries connections as streams of HTTP/2 (RFC 8441), for DialOptions.HTTP2. Connections that are dialed with the same HTTP2 to the same scheme and host, through the same proxy, share one network connection
// as far as the server takes more streams; it is opened with the options of the first and closed with the last of them. The zero value is ready. It must not be copied; all uses may be at once.
type HTTP2 struct {
	transport http2.Transport

	mu    sync.Mutex
	links map[string]*h2Link // those that may take more streams
}

// h2Link is a connection of HTTP/2.
type h2Link struct {
	pool    *HTTP2
	key     string
	nc      net.Conn
	cc      *http2.ClientConn
	streams int // guarded by pool.mu
}

// connect finds a connection that takes one more stream, or makes one.
func (h *HTTP2) connect(ctx context.Context, d *dialer) (net.Conn, error) {
	key := d.url.Scheme + " " + d.url.Host
	if d.proxy != nil {
		key += " " + d.proxy.String()
	}
	if link := h.reuse(key); link != nil {
		return newH2Client(link), nil
	}
	nc, err := d.network(ctx, http2.NextProtoTLS)
	if err != nil {
		return nil, err
	}
	if tc, ok := nc.(*tls.Conn); ok && tc.ConnectionState().NegotiatedProtocol != http2.NextProtoTLS {
		cutOff(nc)
		return nil, &tlsError{lifecycle.ReasonUnsupported.With("the server does not speak HTTP/2, which option HTTP2 asks for")}
	}
	link := &h2Link{pool: h, key: key, nc: nc, streams: 1}
	err = guard(ctx, nc, func() (err error) {
		link.cc, err = h.transport.NewClientConn(nc)
		return err
	})
	if err != nil {
		cutOff(nc)
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.links == nil {
		h.links = map[string]*h2Link{}
	}
	h.links[key] = link
	return newH2Client(link), nil
}

func (h *HTTP2) reuse(key string) *h2Link {
	h.mu.Lock()
	defer h.mu.Unlock()
	link := h.links[key]
	if link == nil || !link.cc.CanTakeNewRequest() || uint32(link.streams) >= link.cc.State().MaxConcurrentStreams {
		return nil
	}
	link.streams++
	return link
}

// release says that a stream has ended. With the last one the connection is closed.
func (l *h2Link) release() {
	l.pool.mu.Lock()
	l.streams--
	last := l.streams == 0
	if last && l.pool.links[l.key] == l {
		delete(l.pool.links, l.key)
	}
	l.pool.mu.Unlock()
	if !last {
		return
	}
	l.cc.SetDoNotReuse() // it closes itself behind its last stream
	if l.cc.State().StreamsActive == 0 {
		l.cc.Close()
	}
}

// h2Client is a stream as a connection. Until the server has accepted it can only be closed.
type h2Client struct {
	h2Stream
	link   *h2Link
	ctx    context.Context // of the stream
	cancel context.CancelFunc

	// The request's body is what is written.
	offers   chan []byte
	sent     chan struct{} // what was offered is with the network
	shut     chan struct{} // closed by CloseWrite
	shutOnce sync.Once
	ended    chan struct{} // closed when the transport takes no more
	endOnce  sync.Once

	bodyMu sync.Mutex // guards what is left of an offer, which is the writer's again when Write returns
	left   []byte
	taking bool // owned by the transport: the last offer is not yet answered
}

func newH2Client(link *h2Link) *h2Client {
	s := &h2Client{link: link, offers: make(chan []byte), sent: make(chan struct{}, 1), shut: make(chan struct{}), ended: make(chan struct{})}
	s.init()
	s.local, s.remote = link.nc.LocalAddr(), link.nc.RemoteAddr()
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// shakeHTTP2 is shake for a stream of HTTP/2 (RFC 8441 section 5).
func (d *dialer) shakeHTTP2(ctx context.Context, s *h2Client) (resp *http.Response, agreed agreement, err error) {
	req, err := d.request("")
	if err != nil {
		return nil, agreed, err
	}
	extendedConnect(req)
	req.Body, req.ContentLength = (*h2Body)(s), -1
	stop := context.AfterFunc(ctx, s.cancel)
	resp, err = s.link.cc.RoundTrip(req.WithContext(s.ctx))
	if err == nil {
		var reason string
		if agreed, reason = d.judgeHTTP2(resp); reason != "" {
			body, _ := io.ReadAll(io.LimitReader(resp.Body, maxBody))
			resp.Body.Close()
			resp.Body = io.NopCloser(bytes.NewReader(body))
			err = &HandshakeError{Status: resp.StatusCode, Reason: reason + firstLine(resp, body), Response: resp}
		}
	}
	var refused *HandshakeError
	switch {
	case !stop() && !errors.As(err, &refused):
		err = ctx.Err()
		s.link.cc.SetDoNotReuse() // it may be dead
	case err != nil && strings.Contains(err.Error(), "extended connect not supported"):
		err = lifecycle.ReasonUnsupported.With("the server does not announce WebSockets over HTTP/2 (RFC 8441 section 3)")
	}
	if err != nil {
		return resp, agreed, err
	}
	s.start(resp.Body)
	return resp, agreed, nil
}

// extendedConnect makes the client's request one for HTTP/2.
func extendedConnect(req *http.Request) {
	req.Method = http.MethodConnect
	req.Header[h2Protocol] = []string{"websocket"}
	for _, name := range []string{"Upgrade", "Connection", "Sec-WebSocket-Key"} {
		req.Header.Del(name)
	}
}

// judgeHTTP2 is judge for an answer in HTTP/2.
func (d *dialer) judgeHTTP2(resp *http.Response) (agreed agreement, reason string) {
	if resp.StatusCode/100 != 2 {
		return agreed, fmt.Sprintf("the server answered %q, want 200", resp.Status)
	}
	return d.judgeChoice(resp.Header)
}

// Write implements net.Conn. It returns when the bytes are with the network. One goroutine at a time may call it.
func (s *h2Client) Write(p []byte) (int, error) {
	passed := s.write.wait()
	select {
	case <-passed:
		return 0, os.ErrDeadlineExceeded
	case <-s.shut:
		return 0, net.ErrClosed
	default:
	}
	var err error
	select {
	case s.offers <- p:
		select {
		case <-s.sent:
			return len(p), nil
		case <-s.ended:
		case <-passed:
			err = os.ErrDeadlineExceeded
		}
	case <-s.ended:
	case <-passed:
		err = os.ErrDeadlineExceeded
	}
	s.cancel() // a part may be missing
	s.bodyMu.Lock()
	s.left = nil
	s.bodyMu.Unlock()
	if err == nil {
		err = errH2Ended
	}
	return 0, err
}

var errH2Ended = errors.New("websocket: the stream of HTTP/2 has ended")

// CloseWrite ends the writing half, as a TCP connection's does (RFC 8441 section 5).
func (s *h2Client) CloseWrite() error {
	s.shutOnce.Do(func() { close(s.shut) })
	return nil
}

// Close implements net.Conn. Unless the server has ended its half, the stream is reset.
func (s *h2Client) Close() error {
	s.closeOnce.Do(func() {
		close(s.closed)
		s.CloseWrite()
		defer s.link.release()
		select {
		case <-s.over:
			if s.err == io.EOF {
				time.AfterFunc(h2EndTimeout, s.cancel)
				return
			}
		default:
		}
		s.cancel()
	})
	return nil
}

// h2Body is an h2Client as the body of its request.
type h2Body h2Client

// Read implements io.Reader. The transport calls it again when what it got before is with the network.
func (b *h2Body) Read(p []byte) (int, error) {
	for {
		b.bodyMu.Lock()
		n := copy(p, b.left)
		b.left = b.left[n:]
		b.bodyMu.Unlock()
		if n > 0 {
			return n, nil
		}
		if b.taking {
			b.taking = false
			b.sent <- struct{}{}
		}
		select {
		case offer := <-b.offers:
			b.bodyMu.Lock()
			b.left, b.taking = offer, true
			b.bodyMu.Unlock()
		case <-b.shut:
			return 0, io.EOF
		case <-b.ended:
			return 0, net.ErrClosed
		}
	}
}

// Close implements io.Closer.
func (b *h2Body) Close() error {
	b.endOnce.Do(func() { close(b.ended) })
	return nil
}
