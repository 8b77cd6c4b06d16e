package websocket

import (
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// h2Protocol is what an extended CONNECT asks for, where net/http tells it (RFC 8441 section 4).
const h2Protocol = ":protocol"

// h2Server is the stream of a request as a connection. Nothing of the request may be touched once its handler has returned, so Hold waits for released.
type h2Server struct {
	h2Stream
	w  http.ResponseWriter
	rc *http.ResponseController

	mu       sync.Mutex
	writing  bool          // a write is in progress
	cut      bool          // and was told to end
	shut     bool          // no more writes
	released chan struct{} // closed when nothing of the request is used any more
}

// acceptHTTP2 is Accept for a request of HTTP/2 that has been checked.
func acceptHTTP2(w http.ResponseWriter, r *http.Request, o *AcceptOptions, agreed agreement) (net.Conn, error) {
	h := w.Header()
	for name, values := range o.Header {
		if name = http.CanonicalHeaderKey(name); !ownHeaders[name] {
			h[name] = values
		}
	}
	if agreed.subprotocol != "" {
		h.Set("Sec-WebSocket-Protocol", agreed.subprotocol)
	}
	if agreed.extensions != "" {
		h.Set(extensionHeader, agreed.extensions)
	}
	s := &h2Server{w: w, rc: http.NewResponseController(w), released: make(chan struct{})}
	s.init()
	s.local, _ = r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	s.remote = remoteAddr(r.RemoteAddr)
	s.write.onPass = s.interruptWrite
	s.rc.SetReadDeadline(time.Time{}) // those of http.Server
	s.rc.SetWriteDeadline(time.Time{})
	w.WriteHeader(http.StatusOK)
	if err := s.rc.Flush(); err != nil {
		return nil, err
	}
	s.start(r.Body)
	return s, nil
}

// remoteAddr is the address that net/http knows as text.
type remoteAddr string

// Network implements net.Addr.
func (a remoteAddr) Network() string { return "tcp" }

// String implements net.Addr.
func (a remoteAddr) String() string { return string(a) }

// Write implements net.Conn. It returns when the frames of HTTP/2 are with the network. One goroutine at a time may call it.
func (s *h2Server) Write(p []byte) (n int, err error) {
	s.mu.Lock()
	if s.shut {
		s.mu.Unlock()
		return 0, net.ErrClosed
	}
	s.writing = true
	s.mu.Unlock()
	defer func() {
		if recover() != nil { // the handler has returned; net/http panics then
			n, err = 0, net.ErrClosed
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.writing = false
		if s.cut {
			n, err = 0, os.ErrDeadlineExceeded
		}
		if s.shut {
			close(s.released)
		}
	}()
	select {
	case <-s.write.wait():
		return 0, os.ErrDeadlineExceeded
	default:
	}
	if n, err = s.w.Write(p); err == nil {
		err = s.rc.Flush()
	}
	return n, err
}

// interruptWrite ends a write in progress, and the stream with it.
func (s *h2Server) interruptWrite() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.interruptLocked()
}

func (s *h2Server) interruptLocked() {
	if s.writing && !s.cut {
		s.cut = true
		s.rc.SetWriteDeadline(longAgo)
	}
}

// Close implements net.Conn. The stream ends when the handler returns.
func (s *h2Server) Close() error {
	s.closeOnce.Do(func() {
		close(s.closed)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.shut = true
		s.interruptLocked()
		if !s.writing {
			close(s.released)
		}
	})
	return nil
}

// Hold returns when the handler of the request that became the connection may return: at once over HTTP/1.1; over HTTP/2 (AcceptOptions.HTTP2), where the connection is a part of the request, when it has ended. It may be
// called from any goroutine. For a client's end it returns at once.
func (c *Conn) Hold() {
	if s, ok := c.nc.(*h2Server); ok {
		<-s.released
	}
}

// checkHTTP2 says what is wrong with a request of HTTP/2 (RFC 8441 section 5), or nil.
func checkHTTP2(r *http.Request, o *AcceptOptions) *HandshakeError {
	protocol, extended := r.Header[h2Protocol]
	switch {
	case r.Method != http.MethodConnect || !extended:
		return noUpgrade(http.StatusHTTPVersionNotSupported, "this address speaks WebSocket: it needs HTTP/1.1 or, over %s, an extended CONNECT (RFC 8441), not %s; "+
			"net/http announces that only with GODEBUG=http2xconnect=1 in the server's environment", r.Proto, r.Method)
	case len(protocol) != 1 || !strings.EqualFold(protocol[0], "websocket"):
		return noUpgrade(http.StatusNotImplemented, "this address speaks WebSocket, not %q", protocol)
	case !o.HTTP2:
		return noUpgrade(http.StatusNotImplemented, "this address speaks WebSocket over HTTP/1.1 only: AcceptOptions.HTTP2 is not set")
	case r.Header.Get("Sec-WebSocket-Version") != version:
		return noUpgrade(http.StatusBadRequest, "version %q of WebSocket is not known, only %s is", r.Header.Get("Sec-WebSocket-Version"), version)
	}
	return nil
}
