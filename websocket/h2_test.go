package websocket

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"hawser/lifecycle"
)

const allowConnect = "http2xconnect=1" // in GODEBUG

// TestHTTP2 runs itself again in a process whose net/http allows WebSockets over HTTP/2, which it reads from the environment when it starts.
func TestHTTP2(t *testing.T) {
	if strings.Contains(os.Getenv("GODEBUG"), allowConnect) {
		t.Run("dialogue", testHTTP2Dialogue)
		t.Run("close", testHTTP2Close)
		t.Run("rules", testHTTP2Rules)
		t.Run("refused", testHTTP2Refused)
		t.Run("share", testHTTP2Share)
		t.Run("context", testHTTP2Context)
		t.Run("slow", testHTTP2Slow)
		t.Run("silent", testHTTP2Silent)
		t.Run("proxy", testHTTP2Proxy)
		t.Run("stress", testHTTP2Stress)
		t.Run("no hold", testHTTP2NoHold)
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHTTP2$", "-test.timeout=4m")
	cmd.Env = append(os.Environ(), "GODEBUG="+allowConnect)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// serveHTTP2 gives connections over HTTP/2 to handle, and ends when their handlers have.
func serveHTTP2(t testing.TB, secure bool, o AcceptOptions, handle func(*Conn)) (url string, trusts *tls.Config) {
	t.Helper()
	o.HTTP2 = true
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := Accept(w, r, &o); err == nil {
			go handle(c)
			c.Hold()
		}
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetHTTP2(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(s.Close)
	if !secure {
		s.Start()
		return "ws" + strings.TrimPrefix(s.URL, "http"), nil
	}
	s.EnableHTTP2 = true
	s.StartTLS()
	return "wss" + strings.TrimPrefix(s.URL, "https"), s.Client().Transport.(*http.Transport).TLSClientConfig
}

// bothHTTP2 is both over HTTP/2.
func bothHTTP2(t testing.TB, secure bool, so AcceptOptions, do DialOptions) (client, server *Conn) {
	t.Helper()
	conns := make(chan *Conn, 1)
	url, trusts := serveHTTP2(t, secure, so, func(c *Conn) { conns <- c })
	do.TLS, do.HTTP2 = trusts, new(HTTP2)
	client, err := Dial(testContext(t), url+"/path?q=1", &do)
	if err != nil {
		t.Fatal(err)
	}
	server = <-conns
	t.Cleanup(func() { client.CloseNow(); server.CloseNow() })
	return client, server
}

// Messages of all sizes go both ways, with and without TLS and compression, and both ends know what was agreed.
func testHTTP2Dialogue(t *testing.T) {
	for _, secure := range []bool{false, true} {
		for _, d := range []*Deflate{nil, {Threshold: -1}, {Threshold: -1, ServerTakeover: true, ClientTakeover: true}} {
			t.Run(fmt.Sprintf("tls=%v/deflate=%v", secure, d != nil), func(t *testing.T) {
				client, server := bothHTTP2(t, secure, AcceptOptions{Subprotocols: []string{"b"}, Origins: []string{"page.test"}, Compression: d},
					DialOptions{Subprotocols: []string{"a", "b"}, Origin: "http://page.test", Compression: d})
				if client.Subprotocol() != "b" || server.Subprotocol() != "b" || server.Origin() != "http://page.test" || server.URL().RequestURI() != "/path?q=1" {
					t.Errorf("subprotocols %q and %q, origin %q, URL %v", client.Subprotocol(), server.Subprotocol(), server.Origin(), server.URL())
				}
				if (d != nil) != strings.HasPrefix(client.Extensions(), "permessage-deflate") || client.Extensions() != server.Extensions() {
					t.Errorf("extensions %q and %q", client.Extensions(), server.Extensions())
				}
				if client.LocalAddr().String() != server.RemoteAddr().String() || client.RemoteAddr().String() != server.LocalAddr().String() {
					t.Errorf("addresses %v %v and %v %v", client.LocalAddr(), client.RemoteAddr(), server.RemoteAddr(), server.LocalAddr())
				}
				sizes := []int{0, 1, 125, 126, 16 << 10, 65535, 65536}
				if d == nil {
					sizes = append(sizes, 5<<20) // more than a window of flow control
				}
				for _, ends := range [][2]*Conn{{client, server}, {server, client}} {
					for _, n := range sizes {
						deliver(t, ends[0], ends[1], bytes.Repeat([]byte("é\x00"), n/3+1)[:n/3*3])
					}
				}
			})
		}
	}
}

// deliver sends a message from one end to the other.
func deliver(t *testing.T, from, to *Conn, want []byte) {
	t.Helper()
	sent := make(chan error, 1)
	b := bytes.Clone(want)
	go func() {
		sent <- from.Write(testContext(t), TextMessage, b)
		clear(b) // it is ours again
	}()
	typ, got, err := to.Read(testContext(t))
	if err2 := <-sent; err != nil || err2 != nil || typ != TextMessage || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes: got %v of %d, %v, %v", len(want), typ, len(got), err, err2)
	}
}

// Either end closes, and both know how; the events come in the order of any connection, and the handler ends.
func testHTTP2Close(t *testing.T) {
	for _, secure := range []bool{false, true} {
		for _, code := range []int{CloseNormal, 4000, 0} {
			for swap := range 2 {
				client, server := bothHTTP2(t, secure, AcceptOptions{}, DialOptions{})
				a, b := [2]*Conn{client, server}[swap], [2]*Conn{client, server}[1-swap]
				got := make(chan string, 1)
				go func() { got <- eventsOf(b, testContext(t)) }()
				if err := a.Close(code, ""); err != nil {
					t.Errorf("Close returned %v", err)
				}
				want := max(code, CloseNoStatus)
				if code == CloseNormal {
					want = code
				}
				if g, w := <-got, fmt.Sprintf("closing:%[1]d closed:%[1]d disconnected:graceful", want); g != w {
					t.Errorf("the other end got %s, want %s", g, w)
				}
				server.Hold()
			}
		}
	}
	url, trusts := serveHTTP2(t, true, AcceptOptions{}, func(c *Conn) {
		c.Write(context.Background(), TextMessage, []byte("hello"))
		c.Ping(context.Background(), []byte("p"))
		c.Close(4001, "bye")
	})
	cl := &Client{URL: url, DialOptions: DialOptions{TLS: trusts, HTTP2: new(HTTP2)}}
	var ready Event
	got := story(t, cl, func(ev Event) {
		if ev.Kind == Ready {
			ready = ev
		}
	})
	if want := `connecting connected ready text:"hello" ping:"p" closing:4001"bye" closed:4001"bye" disconnected:graceful`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if ready.Response == nil || ready.Response.StatusCode != http.StatusOK || ready.Response.ProtoMajor != 2 {
		t.Errorf("the answer is %+v", ready.Response)
	}
}

// A limit and a broken rule are answered with their codes.
func testHTTP2Rules(t *testing.T) {
	client, server := bothHTTP2(t, false, AcceptOptions{MaxMessage: 10}, DialOptions{})
	client.Write(testContext(t), TextMessage, make([]byte, 11))
	if got := eventsOf(server, testContext(t)); got != "protocol_error:1009 disconnected:failed" {
		t.Errorf("got %s", got)
	}
	if got := eventsOf(client, testContext(t)); !strings.HasPrefix(got, `closing:1009"`) || !strings.HasSuffix(got, "disconnected:graceful") {
		t.Errorf("the client got %s", got)
	}
	client, server = bothHTTP2(t, true, AcceptOptions{}, DialOptions{})
	server.Queue(frame{fin: true, rsv: 1, op: OpText}.bytes(false))
	heard := make(chan string, 1)
	go func() { heard <- eventsOf(server, testContext(t)) }()
	if got := eventsOf(client, testContext(t)); got != "protocol_error:1002 disconnected:failed" {
		t.Errorf("got %s", got)
	}
	if got := <-heard; !strings.HasPrefix(got, `closing:1002"`) {
		t.Errorf("the server got %s", got)
	}
	client, server = bothHTTP2(t, true, AcceptOptions{}, DialOptions{})
	client.CloseNow()
	if got := eventsOf(server, testContext(t)); got != "disconnected:failed" {
		t.Errorf("after CloseNow the server got %s", got)
	}
}

func testHTTP2Refused(t *testing.T) {
	url, trusts := serveHTTP2(t, true, AcceptOptions{}, func(c *Conn) { c.CloseNow() })
	var h *HandshakeError
	_, err := Dial(testContext(t), url, &DialOptions{TLS: trusts, HTTP2: new(HTTP2), Origin: "http://evil.test"})
	if !errors.As(err, &h) || h.Status != http.StatusForbidden || !strings.Contains(h.Reason, "evil.test") {
		t.Errorf("Dial with a wrong origin: %v", err)
	}
	off := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { Accept(w, r, nil) }))
	off.EnableHTTP2 = true
	off.StartTLS()
	defer off.Close()
	trusts = off.Client().Transport.(*http.Transport).TLSClientConfig
	_, err = Dial(testContext(t), "wss"+strings.TrimPrefix(off.URL, "https"), &DialOptions{TLS: trusts, HTTP2: new(HTTP2)})
	if !errors.As(err, &h) || h.Status != http.StatusNotImplemented || !strings.Contains(h.Reason, "AcceptOptions.HTTP2") {
		t.Errorf("Dial where the option is off: %v", err)
	}
	resp, err := off.Client().Get(off.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); resp.ProtoMajor != 2 || resp.StatusCode != http.StatusHTTPVersionNotSupported || !strings.Contains(string(b), "GODEBUG=http2xconnect=1") {
		t.Errorf("a plain request over %s got %d %s", resp.Proto, resp.StatusCode, b)
	}
}

// Connections that are dialed with one HTTP2 share a network connection, which ends with the last.
func testHTTP2Share(t *testing.T) {
	url, trusts := serveHTTP2(t, true, AcceptOptions{}, echo)
	shared := new(HTTP2)
	dial := func() *Conn {
		c, err := Dial(testContext(t), url, &DialOptions{TLS: trusts, HTTP2: shared})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.CloseNow)
		return c
	}
	a, b := dial(), dial()
	if a.LocalAddr().String() != b.LocalAddr().String() {
		t.Errorf("two network connections, %v and %v", a.LocalAddr(), b.LocalAddr())
	}
	a.CloseNow()
	if err := b.Write(testContext(t), TextMessage, []byte("still there")); err != nil {
		t.Fatal(err)
	}
	if _, got, err := b.Read(testContext(t)); err != nil || string(got) != "still there" {
		t.Errorf("got %q, %v", got, err)
	}
	if err := b.Close(CloseNormal, ""); err != nil {
		t.Error(err)
	}
	if len(shared.links) > 0 {
		t.Error("the network connection is kept")
	}
	if c := dial(); c.LocalAddr().String() == a.LocalAddr().String() {
		t.Error("a network connection without streams is used again")
	}
}

// The end of a context ends the waiting, not the connection.
func testHTTP2Context(t *testing.T) {
	client, server := bothHTTP2(t, true, AcceptOptions{}, DialOptions{})
	for _, ends := range [][2]*Conn{{client, server}, {server, client}} {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		if _, _, err := ends[0].Read(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Read returned %v", err)
		}
		cancel()
		deliver(t, ends[1], ends[0], []byte("later"))
	}
	silent := listen(t, func(nc net.Conn) { io.Copy(io.Discard, nc) })
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, "ws://"+silent, &DialOptions{HTTP2: new(HTTP2)}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Dial to a silent server: %v", err)
	}
}

// A peer that takes nothing is given up after WriteTimeout, and holds up nobody for longer than its context.
func testHTTP2Slow(t *testing.T) {
	const timeout = 2 * time.Second
	payload := make([]byte, 64<<10) // little enough to be masked long before its context ends, on a busy machine too
	for _, server := range []bool{true, false} {
		c, peer := bothHTTP2(t, true, AcceptOptions{WriteTimeout: timeout}, DialOptions{WriteTimeout: timeout})
		if server {
			c = peer
		}
		held := 0
		for c.Err() == nil { // flow control ends it
			ctx, cancel := context.WithTimeout(context.Background(), timeout/20)
			if err := c.Write(ctx, BinaryMessage, payload); errors.Is(err, context.DeadlineExceeded) {
				held++
			}
			cancel()
		}
		if held == 0 {
			t.Error("no context ended a Write")
		}
		if !lifecycle.ReasonOf(c.Err()).Is(lifecycle.ReasonSlow) {
			t.Errorf("it ended with %v", c.Err())
		}
	}
}

// Who answers no ping is given up.
func testHTTP2Silent(t *testing.T) {
	client, server := bothHTTP2(t, true, AcceptOptions{Keepalive: 10 * time.Millisecond, PongTimeout: 50 * time.Millisecond}, DialOptions{})
	if got := eventsOf(server, testContext(t)); got != "unresponsive disconnected:failed" {
		t.Errorf("got %s", got)
	}
	if got := eventsOf(client, testContext(t)); !strings.Contains(got, "disconnected") {
		t.Errorf("the client got %s", got)
	}
}

func testHTTP2Proxy(t *testing.T) {
	for _, scheme := range []string{"http", "socks5"} {
		for _, secure := range []bool{false, true} {
			p := serveProxy(t, scheme)
			url, trusts := serveHTTP2(t, secure, AcceptOptions{}, echo)
			c, err := Dial(testContext(t), url, &DialOptions{Proxy: p.choose, TLS: trusts, HTTP2: new(HTTP2)})
			if err != nil {
				t.Fatalf("%s, tls=%v: %v", scheme, secure, err)
			}
			c.Write(testContext(t), TextMessage, []byte("through"))
			if _, b, err := c.Read(testContext(t)); err != nil || string(b) != "through" {
				t.Errorf("%s, tls=%v: got %q, %v", scheme, secure, b, err)
			}
			c.Close(CloseNormal, "")
		}
	}
}

// Many goroutines send on many streams of one network connection, ping and close.
func testHTTP2Stress(t *testing.T) {
	url, trusts := serveHTTP2(t, true, AcceptOptions{}, echo)
	shared := new(HTTP2)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			c, err := Dial(testContext(t), url, &DialOptions{TLS: trusts, HTTP2: shared})
			if err != nil {
				t.Error(err)
				return
			}
			const senders, each = 4, 20
			for range senders {
				wg.Go(func() {
					for i := range each {
						if err := c.Write(testContext(t), BinaryMessage, make([]byte, i*1000)); err != nil {
							t.Error(err)
						}
						c.Ping(testContext(t), nil)
					}
				})
			}
			for range senders * each {
				if _, _, err := c.Read(testContext(t)); err != nil {
					t.Error(err)
					return
				}
			}
			if err := c.Close(CloseNormal, ""); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// A handler that returns too early ends the connection, and nothing else.
func testHTTP2NoHold(t *testing.T) {
	conns := make(chan *Conn, 1)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := Accept(w, r, &AcceptOptions{HTTP2: true})
		if err != nil {
			t.Error(err)
		}
		conns <- c
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	c, err := Dial(testContext(t), "wss"+strings.TrimPrefix(s.URL, "https"), &DialOptions{TLS: s.Client().Transport.(*http.Transport).TLSClientConfig, HTTP2: new(HTTP2)})
	if err != nil {
		t.Fatal(err)
	}
	if got := eventsOf(c, testContext(t)); got != "disconnected:failed" {
		t.Errorf("the client got %s", got)
	}
	server := <-conns
	if _, _, err := server.Read(testContext(t)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read returned %v", err)
	}
	if err := server.Write(testContext(t), TextMessage, nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write returned %v", err)
	}
}

// Servers that do not announce it, or do not speak HTTP/2 at all, are told apart.
func TestHTTP2NotAnnounced(t *testing.T) {
	s := httptest.NewUnstartedServer(nil)
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	options := DialOptions{TLS: s.Client().Transport.(*http.Transport).TLSClientConfig, HTTP2: new(HTTP2)}
	cl := &Client{URL: "wss" + strings.TrimPrefix(s.URL, "https"), DialOptions: options}
	got := story(t, cl, func(ev Event) {
		if ev.Kind == Rejected && (!lifecycle.ReasonOf(ev.Err).Is(lifecycle.ReasonUnsupported) || !strings.Contains(ev.Reason, "does not announce WebSockets over HTTP/2")) {
			t.Errorf("rejected because %v", ev.Err)
		}
	})
	if want := "connecting connected rejected disconnected:failed"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	old, trusts := serveEcho(t, true)
	cl = &Client{URL: old, DialOptions: DialOptions{TLS: trusts, HTTP2: new(HTTP2)}}
	if got, want := story(t, cl, nil), "connecting connect_fail"; got != want {
		t.Errorf("without HTTP/2: got %s, want %s", got, want)
	}
}

// BenchmarkHTTP2Echo sends messages over one stream and back: GODEBUG=http2xconnect=1 go test -bench HTTP2
func BenchmarkHTTP2Echo(b *testing.B) {
	if !strings.Contains(os.Getenv("GODEBUG"), allowConnect) {
		b.Skip("GODEBUG lacks " + allowConnect)
	}
	for _, n := range []int{512, 64 << 10} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			client, server := bothHTTP2(b, false, AcceptOptions{}, DialOptions{})
			go echo(server)
			payload, ctx := make([]byte, n), testContext(b)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				if err := client.Write(ctx, BinaryMessage, payload); err != nil {
					b.Fatal(err)
				}
				if _, _, err := client.Read(ctx); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
