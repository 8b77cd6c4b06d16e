package websocket

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hawser/lifecycle"
	"hawser/ring"
)

// testCertificate is a server's side of TLS, and what a client needs to trust it.
func testCertificate(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	client = s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	client.ServerName = "example.com"
	return &tls.Config{Certificates: s.TLS.Certificates}, client
}

// dialStep is a moment of a dial: what the peer does until then, and nothing after.
type dialStep struct {
	name    string
	proxy   *url.URL
	address string
	peer    func(net.Conn) // nil: there is not even a connection
}

func dialSteps(server *tls.Config) []dialStep {
	silent := func(nc net.Conn) { io.Copy(io.Discard, nc) }
	deaf := func(net.Conn) { time.Sleep(2 * time.Second) }
	connected := func(then func(net.Conn)) func(net.Conn) {
		return func(nc net.Conn) {
			http.ReadRequest(bufio.NewReader(nc))
			io.WriteString(nc, "HTTP/1.1 200 OK\r\n\r\n")
			then(nc)
		}
	}
	secured := func(then func(net.Conn)) func(net.Conn) {
		return func(nc net.Conn) {
			tc := tls.Server(nc, server)
			if tc.Handshake() == nil {
				then(tc)
			}
		}
	}
	socks := func(steps ...string) func(net.Conn) {
		return func(nc net.Conn) {
			b := make([]byte, 600)
			for _, s := range steps {
				nc.Read(b)
				io.WriteString(nc, s)
			}
			silent(nc)
		}
	}
	web, secureWeb, socksURL := &url.URL{Scheme: "http", Host: "p"}, &url.URL{Scheme: "https", Host: "p"}, &url.URL{Scheme: "socks5", Host: "p", User: url.UserPassword("u", "p")}
	return []dialStep{
		{"connect", nil, "ws://host", nil},
		{"connect to the proxy", web, "ws://host", nil},
		{"CONNECT", web, "ws://host", silent},
		{"CONNECT that is not read", web, "ws://host", deaf},
		{"SOCKS greeting", socksURL, "ws://host", socks()},
		{"SOCKS login", socksURL, "ws://host", socks("\x05\x02")},
		{"SOCKS request", socksURL, "ws://host", socks("\x05\x02", "\x01\x00")},
		{"SOCKS address", socksURL, "ws://host", socks("\x05\x02", "\x01\x00", "\x05\x00\x00\x01")},
		{"TLS with the proxy", secureWeb, "ws://host", silent},
		{"CONNECT within TLS", secureWeb, "ws://host", secured(silent)},
		{"CONNECT within TLS that is not read", secureWeb, "ws://host", secured(deaf)},
		{"TLS through the proxy", secureWeb, "wss://host", secured(connected(silent))},
		{"TLS", nil, "wss://host", silent},
		{"TLS that is not read", nil, "wss://host", deaf},
		{"upgrade", nil, "ws://host", silent},
		{"upgrade that is not read", nil, "ws://host", deaf},
		{"upgrade within TLS", nil, "wss://host", secured(silent)},
		{"upgrade within TLS that is not read", nil, "wss://host", secured(deaf)},
		{"upgrade through everything", secureWeb, "wss://host", secured(connected(secured(silent)))},
	}
}

// Wherever an opening stands when its context ends, it returns at once, the connection is closed, and nothing is left behind: the bubble of synctest waits for every goroutine.
func TestDialCancel(t *testing.T) {
	server, trusts := testCertificate(t)
	for _, tt := range dialSteps(server) {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dialUntilCancelled(t, tt, trusts)
			})
		})
	}
}

func dialUntilCancelled(t *testing.T, at dialStep, trusts *tls.Config) {
	log := lifecycle.NewLog(ring.Limits{})
	closed := make(chan struct{})
	var peers sync.WaitGroup
	defer peers.Wait()
	o := &DialOptions{TLS: trusts, ProxyTLS: trusts, Log: log, HandshakeTimeout: -1, Proxy: always(at.proxy), NetDial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		if at.peer == nil {
			close(closed)
			<-ctx.Done()
			return nil, ctx.Err()
		}
		a, b := net.Pipe()
		peers.Go(func() {
			at.peer(b)
			b.Close()
		})
		return &closeTold{Conn: a, closed: closed}, nil
	}}
	ctx, cancel := context.WithCancel(t.Context())
	start := time.Now()
	time.AfterFunc(time.Second, cancel)
	c, err := Dial(ctx, at.address, o)
	if c != nil || !errors.Is(err, context.Canceled) || time.Since(start) != time.Second {
		t.Errorf("Dial returned %v after %v", err, time.Since(start))
	}
	if r := lifecycle.ReasonOf(err); len(log.Conns()) != 0 {
		t.Errorf("%v, and still there: %v", r, log.Conns())
	}
	select {
	case <-closed:
	default:
		t.Error("the connection is left open")
	}
}

// closeTold tells when it is closed.
type closeTold struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *closeTold) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
