package websocket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

func request(change func(*http.Request)) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "http://example.com/path", nil)
	r.Header.Set("Connection", "keep-alive, upgrade")
	r.Header.Set("Upgrade", "WebSocket")
	r.Header.Set("Sec-WebSocket-Version", "13")
	r.Header.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
	if change != nil {
		change(r)
	}
	return r
}

// overHTTP2 makes a request one of HTTP/2, as net/http gives it to handlers.
func overHTTP2(method, protocol string) func(*http.Request) {
	return func(r *http.Request) {
		r.Method, r.Proto, r.ProtoMajor, r.ProtoMinor = method, "HTTP/2.0", 2, 0
		r.Header = http.Header{"Sec-Websocket-Version": {version}}
		if protocol != "" {
			r.Header[h2Protocol] = []string{protocol}
		}
	}
}

func TestAcceptRefuses(t *testing.T) {
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Del(name)
			if value != "" {
				r.Header.Set(name, value)
			}
		}
	}
	tests := []struct {
		name    string
		change  func(*http.Request)
		options *AcceptOptions
		status  int
		reason  string
	}{
		{"a plain request", func(r *http.Request) { r.Header = http.Header{} }, nil, 426, "no Connection: Upgrade"},
		{"no Connection", header("Connection", ""), nil, 426, "no Connection: Upgrade"},
		{"another protocol", header("Upgrade", "h2c"), nil, 426, "no Connection: Upgrade"},
		{"POST", func(r *http.Request) { r.Method = "POST" }, nil, 405, "not POST"},
		{"HTTP/1.0", func(r *http.Request) { r.ProtoMinor = 0; r.Proto = "HTTP/1.0" }, nil, 505, "HTTP/1.1, not HTTP/1.0"},
		{"a plain request over HTTP/2", overHTTP2("GET", ""), nil, 505, "GODEBUG=http2xconnect=1"},
		{"a tunnel over HTTP/2", overHTTP2("CONNECT", ""), nil, 505, "an extended CONNECT (RFC 8441), not CONNECT"},
		{"another protocol over HTTP/2", overHTTP2("CONNECT", "connect-udp"), nil, 501, `not ["connect-udp"]`},
		{"HTTP/2 where it is off", overHTTP2("CONNECT", "websocket"), nil, 501, "AcceptOptions.HTTP2 is not set"},
		{"an old version over HTTP/2", func(r *http.Request) {
			overHTTP2("CONNECT", "websocket")(r)
			r.Header.Set("Sec-WebSocket-Version", "8")
		}, &AcceptOptions{HTTP2: true}, 400, `version "8"`},
		{"an old version", header("Sec-WebSocket-Version", "8"), nil, 426, `version "8"`},
		{"no key", header("Sec-WebSocket-Key", ""), nil, 400, "16 bytes"},
		{"a short key", header("Sec-WebSocket-Key", "AAAA"), nil, 400, "16 bytes"},
		{"two keys", func(r *http.Request) { r.Header.Add("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==") }, nil, 400, "16 bytes"},
		{"another origin", header("Origin", "http://evil.test"), nil, 403, `origin "http://evil.test"`},
		{"no origin to speak of", header("Origin", "null"), nil, 403, `origin "null"`},
		{"no subprotocol", nil, &AcceptOptions{Subprotocols: []string{"a"}, RequireSubprotocol: true}, 400, "subprotocols"},
		{"a bad option", nil, &AcceptOptions{Subprotocols: []string{"a b"}}, 500, ""},
		{"a bad pattern", nil, &AcceptOptions{Origins: []string{"["}}, 500, ""},
		{"no way to take over", nil, nil, 500, "taken over"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			c, err := Accept(w, request(tt.change), tt.options)
			var h *HandshakeError
			if c != nil || err == nil || tt.reason != "" && (!errors.As(err, &h) || h.Status != tt.status || !strings.Contains(h.Reason, tt.reason)) {
				t.Errorf("Accept returned %v", err)
			}
			if w.Code != tt.status || tt.status == 426 && (w.Header().Get("Sec-WebSocket-Version") != "13" || w.Header().Get("Upgrade") != "websocket") {
				t.Errorf("answered %d %v", w.Code, w.Header())
			}
		})
	}
}

func TestOrigins(t *testing.T) {
	tests := []struct {
		origin   string
		patterns []string
		want     bool
	}{
		{"", nil, true},
		{"http://example.com:8080", nil, true},
		{"https://EXAMPLE.com:8080", nil, true},
		{"http://example.com", nil, false},
		{"http://example.com:8080.evil.test", nil, false},
		{"null", []string{"*"}, true},
		{"null", []string{"null"}, true},
		{"null", []string{"*.test"}, false},
		{"http://a.test", []string{"*.test"}, true},
		{"http://A.test", []string{"a.TEST"}, true},
		{"http://a.test:81", []string{"a.test"}, false},
		{"http://a.test:81", []string{"a.test:*"}, true},
		{"http://a.test", []string{"https://a.test"}, false},
		{"https://a.test", []string{"b.test", "https://*.test"}, true},
		{"%", []string{"a"}, false},
	}
	for _, tt := range tests {
		if got := originAllowed(tt.origin, "example.com:8080", tt.patterns); got != tt.want {
			t.Errorf("origin %q with patterns %q: %v", tt.origin, tt.patterns, got)
		}
	}
}

func serve(t testing.TB, o *AcceptOptions, handle func(*Conn)) string {
	t.Helper()
	return "ws://" + serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if c, err := Accept(w, r, o); err == nil {
			go func() {
				handle(c)
				c.Close(CloseNormal, "")
			}()
		}
	})
}

// serveHTTP serves with nobody else knowing the connections, unlike package httptest: Accept takes them over.
func serveHTTP(t testing.TB, handle http.HandlerFunc) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: handle}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return l.Addr().String()
}

func TestHandshakeAgrees(t *testing.T) {
	ctx := testContext(t)
	conns := make(chan *Conn, 1)
	url := serve(t, &AcceptOptions{Subprotocols: []string{"a", "b"}, Header: http.Header{"X-Server": {"s"}, "Upgrade": {"nothing"}}, Origins: []string{"page.test"}}, func(c *Conn) {
		conns <- c
		c.Read(ctx)
	})
	c, err := Dial(ctx, url+"/p?q=1", &DialOptions{Subprotocols: []string{"x", "b", "a"}, Origin: "http://page.test", Header: http.Header{"Cookie": {"k=v"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(CloseNormal, "")
	s := <-conns
	if c.Subprotocol() != "b" || s.Subprotocol() != "b" || c.Extensions() != "" || s.Origin() != "http://page.test" || s.URL().String() != "/p?q=1" || c.URL().Query().Get("q") != "1" {
		t.Errorf("client %q, server %q, origin %q, URL %v", c.Subprotocol(), s.Subprotocol(), s.Origin(), s.URL())
	}
	if c.Server() || !s.Server() || c.State() != StateOpen || c.RemoteAddr().String() != s.LocalAddr().String() {
		t.Errorf("client %v, server %v, state %v", c.Server(), s.Server(), c.State())
	}
}

func TestDialRefuses(t *testing.T) {
	const good = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\n"
	tests := []struct{ name, answer, want string }{
		{"not found", "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope", `status 404: the server answered "404 Not Found"`},
		{"no Upgrade", strings.Replace(good, "Upgrade: websocket\r\n", "", 1) + "\r\n", "Upgrade"},
		{"no Connection", strings.Replace(good, "Connection: Upgrade\r\n", "", 1) + "\r\n", "Connection"},
		{"no key", strings.Replace(good, "Sec-WebSocket-Accept: KEY\r\n", "", 1) + "\r\n", "Sec-WebSocket-Accept"},
		{"a wrong key", strings.Replace(good, "KEY", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", 1) + "\r\n", "Sec-WebSocket-Accept"},
		{"a subprotocol not offered", good + "Sec-WebSocket-Protocol: c\r\n\r\n", "subprotocol"},
		{"two subprotocols", good + "Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b\r\n\r\n", "subprotocol"},
		{"an extension not offered", good + "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n", "extensions"},
		{"not HTTP", "SSH-2.0-OpenSSH\r\n\r\n", "reading the answer"},
		{"nothing", "", "unexpected EOF"},
		{"a header without end", "HTTP/1.1 101 x\r\nX: " + strings.Repeat("x", maxResponse), "larger than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			url := answerWith(t, tt.answer)
			c, err := Dial(testContext(t), url, &DialOptions{Subprotocols: []string{"a", "b"}})
			if c != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("Dial returned %v, want %q", err, tt.want)
			}
			var h *HandshakeError
			if errors.As(err, &h) && h.Status == 404 {
				if body, _ := io.ReadAll(h.Response.Body); string(body) != "nope" {
					t.Errorf("the body is %q", body)
				}
			}
		})
	}
}

// answerWith answers one request with what it is given, KEY replaced by the right key.
func answerWith(t *testing.T, answer string) (url string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		p := newPeer(t, nc)
		req, err := http.ReadRequest(p.r)
		if err != nil {
			t.Errorf("the request: %v", err)
			return
		}
		io.WriteString(p, strings.Replace(answer, "KEY", acceptKey(req.Header.Get("Sec-WebSocket-Key")), 1))
		p.CloseWrite()
		io.Copy(io.Discard, p)
		p.Close()
	}()
	return "ws://" + l.Addr().String()
}

func TestDialAddress(t *testing.T) {
	for _, address := range []string{"http://localhost", "ws://", "ws://%zz", "localhost"} {
		if _, err := Dial(testContext(t), address, nil); err == nil {
			t.Errorf("Dial(%q) returned no error", address)
		}
	}
	if _, err := Dial(testContext(t), "ws://localhost", &DialOptions{Subprotocols: []string{"a,b"}}); err == nil {
		t.Error("a subprotocol that is no token is taken")
	}
}

// The context bounds the opening, and only that.
func TestDialContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(context.Background())
	_, err = Dial(ctx, "ws://"+l.Addr().String(), &DialOptions{NetDial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		defer cancel()
		return net.Dial(network, addr)
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Dial returned %v", err)
	}
	url := serve(t, nil, func(c *Conn) {
		c.Write(context.Background(), TextMessage, []byte("late"))
		c.Read(context.Background())
	})
	ctx, cancel = context.WithCancel(context.Background())
	c, err := Dial(ctx, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(CloseNormal, "")
	cancel()
	if _, b, err := c.Read(testContext(t)); string(b) != "late" {
		t.Errorf("Read returned %q, %v", b, err)
	}
}

// What either side sends right behind its handshake is not lost.
func TestEarlyBytes(t *testing.T) {
	url, _ := listenRaw(t, frames(false, text("one"), text("two")))
	c, err := Dial(testContext(t), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	got := make(chan string, 1)
	serverURL := serve(t, nil, func(s *Conn) { got <- readAll(t, s, 2) })
	nc, err := net.Dial("tcp", strings.TrimPrefix(serverURL, "ws://"))
	if err != nil {
		t.Fatal(err)
	}
	p := newPeer(t, nc)
	r := request(nil)
	r.RequestURI = ""
	var b bytes.Buffer
	r.Write(&b)
	p.Write(slices.Concat(b.Bytes(), frames(true, text("one"), text("two"))))
	if client, server := readAll(t, c, 2), <-got; client != "one two" || server != client {
		t.Errorf("the client got %q, the server %q", client, server)
	}
}

func readAll(t testing.TB, c *Conn, n int) string {
	var list []string
	for range n {
		_, b, err := c.Read(testContext(t))
		if err != nil {
			t.Errorf("Read: %v", err)
			break
		}
		list = append(list, string(b))
	}
	return strings.Join(list, " ")
}

func TestTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := Accept(w, r, nil); err == nil {
			go echo(c)
		}
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	config := s.Client().Transport.(*http.Transport).TLSClientConfig
	c, err := Dial(testContext(t), "wss"+strings.TrimPrefix(s.URL, "https"), &DialOptions{TLS: config})
	if err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("x", 300_000)
	for _, m := range []string{"a", big} {
		if err := c.Write(testContext(t), TextMessage, []byte(m)); err != nil {
			t.Fatal(err)
		}
		if _, b, err := c.Read(testContext(t)); err != nil || string(b) != m {
			t.Fatalf("%d bytes came back, %v", len(b), err)
		}
	}
	if err := c.Close(CloseNormal, "done"); err != nil {
		t.Error(err)
	}
	if _, err := Dial(testContext(t), "wss"+strings.TrimPrefix(s.URL, "https"), nil); err == nil {
		t.Error("an unknown certificate is taken")
	}
}

// echo answers every message with itself.
func echo(c *Conn) { forms[0].echo(c) }

func TestErrorTexts(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&CloseError{Code: 1001, Reason: "bye", Side: Remote}, `websocket: closed by the peer: 1001 "bye"`},
		{&CloseError{Code: 1000, Side: Local}, `websocket: closed by this side: 1000`},
		{&CloseError{Code: 1006, Err: io.ErrUnexpectedEOF}, `websocket: connection lost: 1006: unexpected EOF`},
		{violation("5.2", "a known opcode", "opcode %d", 3), `got opcode 3, want a known opcode (RFC 6455 section 5.2)`},
		{&HandshakeError{Status: 404, Reason: "x"}, `websocket: handshake: status 404: x`},
	} {
		if got := fmt.Sprint(tt.err); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}
