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
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"hawser/lifecycle"
)

// rawServer answers opening handshakes by hand, and then does what then says; the connection is closed behind that. asked counts the requests.
func rawServer(t *testing.T, then func(p *peer)) (url string, asked *atomic.Int32) {
	t.Helper()
	asked = new(atomic.Int32)
	addr := listen(t, func(nc net.Conn) {
		p := newPeer(t, nc)
		req, err := http.ReadRequest(p.r)
		if err != nil {
			return // the client left before
		}
		asked.Add(1)
		io.WriteString(p, strings.Replace(goodAnswer, "KEY", acceptKey(req.Header.Get("Sec-WebSocket-Key")), 1))
		then(p)
	})
	return "ws://" + addr, asked
}

// sends returns a peer that sends frames, answers nothing, and lets go when the client closes.
func sends(list ...frame) func(*peer) {
	return func(p *peer) { p.exchange(frames(false, list...), true) }
}

// story runs the loop to its end and writes the events down; on looks at each.
func story(t *testing.T, cl *Client, on func(ev Event)) string {
	t.Helper()
	var list []string
	for ev := range cl.Events(testContext(t)) {
		list = append(list, eventWord(ev))
		if ev.URL != shownAddress(cl.URL) || ev.Attempt < 1 {
			t.Errorf("%v has URL %q, attempt %d", ev.Kind, ev.URL, ev.Attempt)
		}
		if ev.Conn == nil && ev.Kind >= Ready && ev.Kind != BackOff && ev.Kind != Disconnected {
			t.Errorf("%v has connection %v", ev.Kind, ev.Conn)
		}
		if on != nil {
			on(ev)
		}
	}
	return strings.Join(list, " ")
}

// nameServer is a DNS server to whose queries answer makes the answers; nil is silence.
func nameServer(t *testing.T, answer func(query []byte) []byte) *net.Resolver {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	go func() {
		b := make([]byte, 2000)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			if reply := answer(bytes.Clone(b[:n])); reply != nil {
				pc.WriteTo(reply, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", pc.LocalAddr().String())
	}}
}

// unknownName answers that there is no such name (RFC 1035 section 4.1.1).
func unknownName(query []byte) []byte {
	query[2] |= 0x80
	query[3] = query[3]&^0x0f | 3
	return query
}

// refusedAddress is where nobody listens.
func refusedAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestConnectFail(t *testing.T) {
	untrusted := httptest.NewUnstartedServer(nil)
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	untrusted.StartTLS()
	defer untrusted.Close()
	plain := listen(t, func(nc net.Conn) { io.WriteString(nc, "220 mail.test ready\r\n"); io.Copy(io.Discard, nc) })
	noNames := &net.Dialer{Resolver: nameServer(t, unknownName)}
	proxy := serveProxy(t, "http")
	tests := []struct {
		name, url string
		o         DialOptions
		is        func(error) bool
		reason    lifecycle.Reason
		proxy     string
	}{
		{"DNS", "ws://host.invalid", DialOptions{NetDial: noNames.DialContext}, func(err error) bool {
			var dns *net.DNSError
			return errors.As(err, &dns) && dns.IsNotFound
		}, lifecycle.ReasonLost, ""},
		{"refused", "ws://" + refusedAddress(t), DialOptions{}, func(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }, lifecycle.ReasonLost, ""},
		{"TLS that is not trusted", "wss://" + untrusted.Listener.Addr().String(), DialOptions{}, func(err error) bool {
			var certificate *tls.CertificateVerificationError
			return errors.As(err, &certificate)
		}, lifecycle.ReasonUnauthorized, ""},
		{"no TLS", "wss://" + plain, DialOptions{}, func(err error) bool { return strings.Contains(err.Error(), "TLS: ") }, lifecycle.ReasonProtocol, ""},
		{"proxy refused", "ws://host.invalid", DialOptions{Proxy: always(withoutUser(proxy.URL))}, func(err error) bool {
			var pe *ProxyError
			return errors.As(err, &pe) && pe.Status == http.StatusProxyAuthRequired
		}, lifecycle.ReasonUnauthorized, "http://" + proxy.Host},
		{"proxy cannot reach it", "ws://" + refusedAddress(t), DialOptions{Proxy: proxy.choose}, func(err error) bool {
			var pe *ProxyError
			return errors.As(err, &pe) && pe.Status == http.StatusBadGateway
		}, lifecycle.ReasonLost, "http://" + proxy.Host},
		{"TLS through a proxy", "wss://" + untrusted.Listener.Addr().String(), DialOptions{Proxy: proxy.choose}, func(err error) bool {
			var certificate *tls.CertificateVerificationError
			return errors.As(err, &certificate) && !errors.As(err, new(*ProxyError))
		}, lifecycle.ReasonUnauthorized, "http://" + proxy.Host},
		{"proxy refused to connect", "ws://host.invalid", DialOptions{Proxy: always(proxyAt(refusedAddress(t)))}, func(err error) bool {
			return errors.As(err, new(*ProxyError)) && errors.Is(err, syscall.ECONNREFUSED)
		}, lifecycle.ReasonLost, ""},
		{"no address", "ws://", DialOptions{}, func(err error) bool { return err.Error() == `websocket: dial "ws:": no host` }, lifecycle.ReasonInternal, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := story(t, &Client{URL: tt.url, DialOptions: tt.o}, func(ev Event) {
				if ev.Kind != ConnectFail {
					return
				}
				r := lifecycle.ReasonOf(ev.Err)
				if !tt.is(ev.Err) || ev.Reason != ev.Err.Error() || !r.Is(tt.reason) || tt.proxy != "" && ev.Proxy != tt.proxy {
					t.Errorf("got %v (%v) by %q, want %v by %q", ev.Err, r, ev.Proxy, tt.reason.Word, tt.proxy)
				}
			})
			if got != "connecting connect_fail" {
				t.Errorf("got %s", got)
			}
		})
	}
}

// Connecting comes before any network activity, Connected before the request, Ready with what was agreed.
func TestOpeningEvents(t *testing.T) {
	var asked atomic.Int32
	url := serve(t, &AcceptOptions{Subprotocols: []string{"b"}, Header: http.Header{"X-Server": {"s"}}}, func(c *Conn) { echo(c) })
	var dialed atomic.Int32
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		dialed.Add(1)
		nc, err := new(net.Dialer).DialContext(ctx, network, addr)
		return &countedWrites{nc, &asked}, err
	}
	cl := &Client{URL: url, DialOptions: DialOptions{Subprotocols: []string{"a", "b"}, NetDial: dial}}
	got := story(t, cl, func(ev Event) {
		switch ev.Kind {
		case Connecting:
			if dialed.Load() != 0 {
				t.Error("Connecting comes after dialing")
			}
		case Connected:
			if dialed.Load() != 1 || asked.Load() != 0 || ev.Proxy != "" {
				t.Errorf("at Connected: dialed %d times, written %d times, proxy %q", dialed.Load(), asked.Load(), ev.Proxy)
			}
		case Ready:
			if ev.Protocol != "b" || ev.Response.StatusCode != 101 || ev.Response.Header.Get("X-Server") != "s" || ev.Conn.State() != StateOpen {
				t.Errorf("Ready with %q, %v", ev.Protocol, ev.Response)
			}
			ev.Conn.Write(testContext(t), TextMessage, []byte(`{"n":7}`))
		case Text:
			var v struct{ N int }
			if err := ev.JSON(&v); err != nil || v.N != 7 {
				t.Errorf("JSON gives %v, %v", v, err)
			}
			ev.Conn.Write(testContext(t), BinaryMessage, []byte{0, 255})
		case Binary:
			ev.Conn.Close(CloseNormal, "")
		}
	})
	if want := `connecting connected ready text:"{\"n\":7}" binary:"\x00\xff" closed:1000 disconnected:graceful`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

type countedWrites struct {
	net.Conn
	n *atomic.Int32
}

func (c *countedWrites) Write(b []byte) (int, error) {
	c.n.Add(1)
	return c.Conn.Write(b)
}

// A refusal tells its status, its body, and in one word what it means.
func TestRejected(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var status int
		fmt.Sscanf(r.URL.Path, "/%d", &status)
		http.Error(w, "not you\nnor others", status)
	}))
	defer s.Close()
	for status, want := range map[int]lifecycle.Reason{
		200: lifecycle.ReasonUnsupported, 302: lifecycle.ReasonUnsupported, 400: lifecycle.ReasonBadRequest, 401: lifecycle.ReasonUnauthorized, 403: lifecycle.ReasonRefused,
		404: lifecycle.ReasonNotFound, 408: lifecycle.ReasonTimeout, 410: lifecycle.ReasonRefused, 413: lifecycle.ReasonTooBig, 426: lifecycle.ReasonUnsupported,
		429: lifecycle.ReasonLimit, 500: lifecycle.ReasonInternal, 502: lifecycle.ReasonInternal, 503: lifecycle.ReasonLimit,
	} {
		got := story(t, &Client{URL: fmt.Sprintf("ws%s/%d", strings.TrimPrefix(s.URL, "http"), status)}, func(ev Event) {
			if ev.Kind != Rejected {
				return
			}
			body, _ := io.ReadAll(ev.Response.Body)
			var h *HandshakeError
			if !errors.As(ev.Err, &h) || h.Status != status || ev.Response.StatusCode != status || string(body) != "not you\nnor others\n" {
				t.Errorf("%d: got %v, body %q", status, ev.Err, body)
			}
			if r := lifecycle.ReasonOf(ev.Err); !r.Is(want) || r.Retry != want.Retry || status >= 400 && !strings.HasSuffix(r.Text, `: "not you"`) {
				t.Errorf("%d: the reason is %+v, want %v", status, r, want.Word)
			}
		})
		if got != "connecting connected rejected disconnected:graceful" {
			t.Errorf("%d: got %s", status, got)
		}
	}
}

// Every kind that a peer's frames make.
func TestFrameEvents(t *testing.T) {
	pong := make(chan string, 1)
	url, _ := rawServer(t, func(p *peer) {
		p.Write(frames(false, text("a"), binary_("\xff"), frame{fin: true, op: OpPing, payload: "1"}))
		b := make([]byte, 7) // a pong for the ping, masked
		io.ReadFull(p, b)
		mask(b[6:], [4]byte(b[2:6]), 0)
		pong <- fmt.Sprintf("%x%s", b[0], b[6:])
		p.exchange(frames(false, frame{fin: true, op: OpPong, payload: "2"}, frame{fin: true, op: 3, payload: "3"}, closing(4001, "restart")), true)
	})
	polls := 0
	var words []string
	story(t, &Client{URL: url, DialOptions: DialOptions{Unknown: true, Poll: time.Millisecond}}, func(ev Event) {
		if ev.Kind == Poll {
			polls++
			return
		}
		words = append(words, eventWord(ev))
		switch ev.Kind {
		case Ping: // the pong is on its way already
			if got := <-pong; got != "8a1" {
				t.Errorf("the peer got %s", got)
			}
		case UnknownMessage:
			if ev.Opcode != 3 {
				t.Errorf("opcode %d", ev.Opcode)
			}
		}
	})
	want := `connecting connected ready text:"a" binary:"\xff" ping:"1" pong:"2" unknown_message:"3" closing:4001"restart" closed:4001"restart" disconnected:graceful`
	if got := strings.Join(words, " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPollEvent(t *testing.T) {
	url := serve(t, nil, echo)
	polls := 0
	got := story(t, &Client{URL: url, DialOptions: DialOptions{Poll: time.Millisecond}}, func(ev Event) {
		if ev.Kind == Poll {
			if polls++; polls == 5 {
				ev.Conn.Close(CloseNormal, "")
			}
		}
	})
	if want := "connecting connected ready poll poll poll poll poll"; !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "closed:1000 disconnected:graceful") {
		t.Errorf("got %s", got)
	}
}

func TestUnresponsive(t *testing.T) {
	url, _ := rawServer(t, sends())
	got := story(t, &Client{URL: url, DialOptions: DialOptions{Keepalive: 5 * time.Millisecond, PongTimeout: 5 * time.Millisecond}}, func(ev Event) {
		if ev.Kind == Disconnected && (!errors.Is(ev.Err, os.ErrDeadlineExceeded) || !lifecycle.ReasonOf(ev.Err).Is(lifecycle.ReasonTimeout)) {
			t.Errorf("ended with %v", ev.Err)
		}
	})
	if want := "connecting connected ready unresponsive disconnected:failed"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// While the peer's close is handled messages may be sent; once Closed is seen, no more.
func TestClosingEvents(t *testing.T) {
	got := make(chan []byte, 1)
	url, _ := rawServer(t, func(p *peer) { got <- p.exchange(closing(CloseGoingAway, "bye").bytes(false), true) })
	events := story(t, &Client{URL: url}, func(ev Event) {
		switch ev.Kind {
		case Closing:
			if err := ev.Conn.Write(testContext(t), TextMessage, []byte("last")); err != nil || ev.Code != CloseGoingAway || ev.Reason != "bye" {
				t.Errorf("Write returned %v; closing %d %q", err, ev.Code, ev.Reason)
			}
		case Closed:
			err := ev.Conn.Write(testContext(t), TextMessage, []byte("late"))
			if code, reason := ev.Conn.CloseReceived(); !errors.Is(err, net.ErrClosed) || code != CloseGoingAway || reason != "bye" {
				t.Errorf("Write returned %v; received %d %q", err, code, reason)
			}
		case Disconnected:
			if !ev.Graceful || !lifecycle.ReasonOf(ev.Err).Is(lifecycle.ReasonShutdown) {
				t.Errorf("ended with %v", ev.Err)
			}
		}
	})
	if want := `connecting connected ready closing:1001"bye" closed:1001"bye" disconnected:graceful`; events != want {
		t.Errorf("got %s, want %s", events, want)
	}
	b := <-got
	list, err := parse(true, b, len(b)+1)
	if err != nil || len(list) != 2 || list[0].payload != "last" || list[1].op != OpClose {
		t.Errorf("the peer got %v, %v", list, err)
	}
}

func TestDisconnectedNotGraceful(t *testing.T) {
	for name, end := range map[string]func(p *peer){
		"ended":        func(*peer) {},
		"reset":        func(p *peer) { p.SetLinger(0) },
		"half a frame": func(p *peer) { p.Write(text("half").bytes(false)[:3]) },
	} {
		url, _ := rawServer(t, func(p *peer) { end(p) })
		got := story(t, &Client{URL: url}, func(ev Event) {
			if ev.Kind == Disconnected && (ev.Code != CloseAbnormal || !errors.Is(ev.Err, net.ErrClosed) || !lifecycle.ReasonOf(ev.Err).Is(lifecycle.ReasonLost)) {
				t.Errorf("%s: ended with %v", name, ev.Err)
			}
		})
		if want := "connecting connected ready disconnected:failed"; got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

// A broken rule is answered with a close frame; where one was sent already, the connection is cut at once: critical.
func TestProtocolErrorEvents(t *testing.T) {
	bad := frame{fin: true, op: 5}
	for _, critical := range []bool{false, true} {
		got := make(chan []byte, 1)
		url, _ := rawServer(t, func(p *peer) {
			if !critical {
				got <- p.exchange(bad.bytes(false), true)
				return
			}
			b := make([]byte, 8) // the client's close frame
			io.ReadFull(p, b)
			p.Write(bad.bytes(false))
			rest, _ := io.ReadAll(p)
			got <- append(b, rest...)
		})
		events := story(t, &Client{URL: url}, func(ev Event) {
			switch {
			case ev.Kind == Ready && critical:
				ev.Conn.Close(CloseNormal, "")
			case ev.Kind == ProtocolError:
				var v *Violation
				if ev.Critical != critical || !errors.As(ev.Err, &v) || v.Section == "" {
					t.Errorf("critical %v, %v", ev.Critical, ev.Err)
				}
			}
		})
		if want := "connecting connected ready protocol_error:1002 disconnected:failed"; events != want {
			t.Errorf("got %s, want %s", events, want)
		}
		b := <-got
		list, err := parse(true, b, len(b)+1)
		want := map[bool]int{false: CloseProtocolError, true: CloseNormal}[critical]
		if err != nil || len(list) != 1 || list[0].op != OpClose {
			t.Fatalf("the peer got %v, %v", list, err)
		}
		if code, _, _ := parseClose([]byte(list[0].payload)); code != want {
			t.Errorf("the peer got close code %d, want %d", code, want)
		}
	}
}

// A persistent client goes through refusal, loss and a server's restart, on real sockets.
func TestPersistentClient(t *testing.T) {
	var n atomic.Int32
	url, _ := rawServer(t, func(p *peer) {
		if n.Add(1) < 3 {
			return // cut
		}
		sends(text("third"))(p)
	})
	cl := &Client{URL: url, Persist: true, MinBackOff: time.Millisecond, MaxBackOff: 2 * time.Millisecond}
	var list []string
	for ev := range cl.Events(testContext(t)) {
		list = append(list, fmt.Sprintf("%s/%d", eventWord(ev), ev.Attempt))
		if ev.Kind == BackOff && ev.Delay > 2*time.Millisecond {
			t.Errorf("a wait of %v", ev.Delay)
		}
		if ev.Kind == Text {
			break
		}
	}
	want := `connecting/1 connected/1 ready/1 disconnected:failed/1 back_off/1 connecting/2 connected/2 ready/2 disconnected:failed/2 back_off/2 connecting/3 connected/3 ready/3 text:"third"/3`
	if got := strings.Join(list, " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// The loop can be left at any event: it ends, and the connection with it.
func TestLeaveClientLoop(t *testing.T) {
	for _, at := range []Kind{Connecting, Connected, Rejected, Ready, Text, Closing, Closed, Disconnected, BackOff, ConnectFail} {
		t.Run(at.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := func(nc net.Conn) {
					answerOn(nc, goodAnswer, func(nc net.Conn) {
						got := collect(nc, true)
						nc.Write(frames(false, text("a"), closing(CloseNormal, "")))
						for range got {
						}
					})
				}
				switch at {
				case Rejected:
					server = refuses("HTTP/1.1 403 No")
				case ConnectFail:
					server = nil
				}
				cl := &Client{URL: "ws://host", Persist: true, DialOptions: DialOptions{NetDial: func(context.Context, string, string) (net.Conn, error) {
					if server == nil {
						return nil, errors.New("nobody there")
					}
					a, b := net.Pipe()
					go server(b)
					return a, nil
				}}}
				last := None
				for ev := range cl.Events(t.Context()) {
					if last = ev.Kind; last == at {
						break
					}
				}
				if last != at {
					t.Errorf("ended with %v", last)
				}
			})
		})
	}
}

// A name server that does not answer holds nobody up whose context ends.
func TestCancelResolving(t *testing.T) {
	ctx, cancel := context.WithCancel(testContext(t))
	silent := &net.Dialer{Resolver: nameServer(t, func([]byte) []byte {
		cancel()
		return nil
	})}
	start := time.Now()
	_, err := Dial(ctx, "ws://host.invalid", &DialOptions{NetDial: silent.DialContext})
	if took := time.Since(start); !errors.Is(ctx.Err(), context.Canceled) || err == nil || took > 4*time.Second { // the resolver would give up by itself later
		t.Errorf("Dial returned %v after %v", err, took)
	}
}
