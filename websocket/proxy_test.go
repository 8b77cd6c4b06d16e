package websocket

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"hawser/lifecycle"
	"hawser/ring"
)

const secretUser, secretPassword = "token-4711", "geheim@:/?"

// testProxy tells what was asked of a proxy.
type testProxy struct {
	*url.URL
	TLS   *tls.Config // that trusts it
	asked chan string // what each request was for
}

func (p *testProxy) choose(*url.URL) (*url.URL, error) { return p.URL, nil }

// relay copies both ways until both sides have ended.
func relay(a, b net.Conn) {
	var both sync.WaitGroup
	for _, pair := range [][2]net.Conn{{a, b}, {b, a}} {
		both.Go(func() {
			io.Copy(pair[0], pair[1])
			if half, ok := pair[0].(interface{ CloseWrite() error }); ok {
				half.CloseWrite()
			}
		})
	}
	both.Wait()
	a.Close()
	b.Close()
}

// serveProxy runs a proxy of a kind that lets those in who know the password.
func serveProxy(t *testing.T, scheme string) *testProxy {
	t.Helper()
	p := &testProxy{asked: make(chan string, 10)}
	var addr string
	if scheme == "http" || scheme == "https" {
		s := httptest.NewUnstartedServer(http.HandlerFunc(p.connect))
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		if scheme == "https" {
			s.StartTLS()
			p.TLS = s.Client().Transport.(*http.Transport).TLSClientConfig
		} else {
			s.Start()
		}
		t.Cleanup(s.Close)
		addr = s.Listener.Addr().String()
	} else {
		addr = listen(t, p.socks)
	}
	p.URL = &url.URL{Scheme: scheme, Host: addr, User: url.UserPassword(secretUser, secretPassword)}
	return p
}

// listen gives each connection to handle.
func listen(t testing.TB, handle func(net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				handle(nc)
				nc.Close()
			}()
		}
	}()
	return l.Addr().String()
}

func (p *testProxy) connect(w http.ResponseWriter, r *http.Request) {
	p.asked <- r.Method + " " + r.Host + " " + r.Header.Get("X-Via")
	check := &http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}
	if user, password, ok := check.BasicAuth(); !ok || user != secretUser || password != secretPassword {
		http.Error(w, "who are you?", http.StatusProxyAuthRequired)
		return
	}
	to, err := net.Dial("tcp", r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	from, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	io.WriteString(from, "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 Connection established\r\n\r\n")
	relay(from, to)
}

// socks is a server for SOCKS5 with user and password.
func (p *testProxy) socks(nc net.Conn) {
	r := bufio.NewReader(nc)
	take := func(n int) []byte {
		b := make([]byte, n)
		io.ReadFull(r, b)
		return b
	}
	text := func() string { return string(take(int(take(1)[0]))) }
	take(1)
	if !strings.Contains(text(), "\x02") {
		nc.Write([]byte{5, 0xff})
		return
	}
	nc.Write([]byte{5, 2})
	take(1)
	if user, password := text(), text(); user != secretUser || password != secretPassword {
		nc.Write([]byte{1, 1})
		return
	}
	nc.Write([]byte{1, 0})
	take(3)
	var host string
	switch take(1)[0] {
	case 1:
		host = net.IP(take(4)).String()
	case 3:
		host = text()
	case 4:
		host = net.IP(take(16)).String()
	}
	target := net.JoinHostPort(host, fmt.Sprint(binary.BigEndian.Uint16(take(2))))
	p.asked <- "socks " + target
	to, err := net.Dial("tcp", target)
	if err != nil {
		nc.Write([]byte{5, 5})
		return
	}
	nc.Write([]byte("\x05\x00\x00\x03\x09localhost\x12\x34"))
	relay(nc, to)
}

// serveEcho is a server, which a client with the TLS settings trusts.
func serveEcho(t *testing.T, secure bool) (addr string, trusts *tls.Config) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := Accept(w, r, nil); err == nil {
			go echo(c)
		}
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(s.Close)
	if !secure {
		s.Start()
		return "ws://" + s.Listener.Addr().String(), nil
	}
	s.StartTLS()
	return "wss://" + s.Listener.Addr().String(), s.Client().Transport.(*http.Transport).TLSClientConfig
}

// Every kind of proxy carries ws and wss, gets its credentials, and they are shown nowhere.
func TestProxies(t *testing.T) {
	for _, scheme := range []string{"http", "https", "socks5", "socks5h"} {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/tls=%v", scheme, secure), func(t *testing.T) {
				p := serveProxy(t, scheme)
				addr, trusts := serveEcho(t, secure)
				log := lifecycle.NewLog(ring.Limits{})
				cl := Client{URL: strings.Replace(addr, "://", "://me:pass-0815@", 1), DialOptions: DialOptions{Proxy: p.choose, ProxyTLS: p.TLS, ProxyHeader: http.Header{"X-Via": {"v"}}, TLS: trusts, Log: log}}
				var got, shown string
				for ev := range cl.Events(testContext(t)) {
					got += eventWord(ev) + " "
					shown += fmt.Sprintf("%v %v %v %v\n", ev.URL, ev.Proxy, ev.Err, ev.Reason)
					switch ev.Kind {
					case Connected:
						if want := scheme + "://" + p.Host; ev.Proxy != want || ev.URL != addr || ev.Attempt != 1 {
							t.Errorf("proxy %q, want %q; URL %q, attempt %d", ev.Proxy, want, ev.URL, ev.Attempt)
						}
					case Ready:
						ev.Conn.Write(testContext(t), TextMessage, []byte("through"))
					case Text:
						ev.Conn.Close(CloseNormal, "")
					}
				}
				if want := `connecting connected ready text:"through" closed:1000 disconnected:graceful `; got != want {
					t.Errorf("got %s, want %s", got, want)
				}
				if asked, target := <-p.asked, strings.TrimLeft(addr, "ws:/"); asked != "CONNECT "+target+" v" && asked != "socks "+target {
					t.Errorf("the proxy was asked for %q", asked)
				}
				checkSecrets(t, shown+fmt.Sprint(log.Recent(100)))
			})
		}
	}
}

func checkSecrets(t *testing.T, s string) {
	t.Helper()
	for _, secret := range []string{secretUser, secretPassword, url.QueryEscape(secretPassword), url.PathEscape(secretPassword), "pass-0815"} {
		if strings.Contains(s, secret) {
			t.Errorf("%q is shown: %s", secret, s)
		}
	}
}

// refusal is what a proxy does, and what that means.
type refusal struct {
	name, scheme string
	proxy        func(net.Conn)
	want         string
	status       int
	reason       lifecycle.Reason
}

func refusals() []refusal {
	web := func(answer string) func(net.Conn) {
		return func(nc net.Conn) {
			http.ReadRequest(bufio.NewReader(nc))
			io.WriteString(nc, answer)
		}
	}
	socks := func(steps ...string) func(net.Conn) {
		return func(nc net.Conn) {
			b := make([]byte, 600)
			for _, s := range steps {
				nc.Read(b)
				io.WriteString(nc, s)
			}
		}
	}
	return []refusal{
		{"no credentials", "http", web("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"), `status 407: it answered "407 Proxy Authentication Required"`, 407, lifecycle.ReasonUnauthorized},
		{"forbidden", "http", web("HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\n"), "status 403", 403, lifecycle.ReasonRefused},
		{"no way", "http", web("HTTP/1.1 502 Bad Gateway\r\n\r\n"), "status 502", 502, lifecycle.ReasonLost},
		{"busy", "http", web("HTTP/1.1 503 Busy\r\n\r\n"), "status 503", 503, lifecycle.ReasonLimit},
		{"more than an answer", "http", web("HTTP/1.1 200 OK\r\n\r\nhello"), "5 bytes behind its answer", 0, lifecycle.ReasonProtocol},
		{"not HTTP", "http", web("SSH-2.0-OpenSSH\r\n"), "malformed HTTP", 0, lifecycle.ReasonInternal},
		{"gone", "http", web(""), "unexpected EOF", 0, lifecycle.ReasonLost},
		{"no TLS", "https", web("HTTP/1.1 400 Bad Request\r\n\r\n"), "TLS: first record does not look like a TLS handshake", 0, lifecycle.ReasonProtocol},
		{"no login of ours", "socks5", socks("\x05\xff"), "another login", 0, lifecycle.ReasonUnauthorized},
		{"a login not offered", "socks5", socks("\x05\x01"), "login method 1", 0, lifecycle.ReasonProtocol},
		{"bad password", "socks5", socks("\x05\x02", "\x01\x01"), "does not accept the user", 0, lifecycle.ReasonUnauthorized},
		{"not SOCKS", "socks5", socks("HTTP"), "got version 72", 0, lifecycle.ReasonProtocol},
		{"not SOCKS later", "socks5", socks("\x05\x00", "\x04\x00"), "got version 4", 0, lifecycle.ReasonProtocol},
		{"not allowed", "socks5", socks("\x05\x00", "\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00"), "not allowed by its rules", 0, lifecycle.ReasonRefused},
		{"refused there", "socks5h", socks("\x05\x00", "\x05\x05"), "connection refused", 0, lifecycle.ReasonLost},
		{"a new reply", "socks5h", socks("\x05\x00", "\x05\x63"), "reply 99", 0, lifecycle.ReasonInternal},
		{"an unknown address", "socks5h", socks("\x05\x00", "\x05\x00\x00\x09\x00"), "kind of address 9", 0, lifecycle.ReasonProtocol},
		{"gone in between", "socks5", socks("\x05\x00", "\x05\x00\x00\x01"), "EOF", 0, lifecycle.ReasonLost},
		{"another scheme", "ftp", socks(), `the scheme "ftp"`, 0, lifecycle.ReasonUnsupported},
	}
}

// What a proxy refuses is a ConnectFail that says why, and whether another attempt makes sense.
func TestProxyRefuses(t *testing.T) {
	for _, tt := range refusals() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			proxy := &url.URL{Scheme: tt.scheme, Host: listen(t, tt.proxy), User: url.UserPassword(secretUser, secretPassword)}
			var kinds []Kind
			for ev := range (&Client{URL: "ws://host.test", DialOptions: DialOptions{Proxy: always(proxy)}}).Events(testContext(t)) {
				if kinds = append(kinds, ev.Kind); ev.Kind != ConnectFail {
					continue
				}
				var pe *ProxyError
				if !errors.As(ev.Err, &pe) || pe.Status != tt.status || !strings.Contains(ev.Reason, tt.want) || ev.Proxy != tt.scheme+"://"+proxy.Host {
					t.Errorf("got %v by %q, want %q", ev.Err, ev.Proxy, tt.want)
				}
				if r := lifecycle.ReasonOf(ev.Err); !r.Is(tt.reason) || r.Retry != tt.reason.Retry || r.Text == "" {
					t.Errorf("the reason is %v, want %v", r, tt.reason)
				}
				checkSecrets(t, fmt.Sprint(ev.Err, ev.Reason))
			}
			if fmt.Sprint(kinds) != "[connecting connect_fail]" {
				t.Errorf("events %v", kinds)
			}
		})
	}
}

// always always chooses the one proxy.
func always(proxy *url.URL) func(*url.URL) (*url.URL, error) {
	return func(*url.URL) (*url.URL, error) { return proxy, nil }
}

func TestProxyWithoutLogin(t *testing.T) {
	got := make(chan string, 1)
	addr := listen(t, func(nc net.Conn) {
		b := make([]byte, 3)
		io.ReadFull(nc, b)
		got <- fmt.Sprintf("%x", b)
	})
	_, err := Dial(testContext(t), "ws://host.test", &DialOptions{Proxy: always(&url.URL{Scheme: "socks5", Host: addr})})
	if g := <-got; err == nil || g != "050100" {
		t.Errorf("the proxy got %s; Dial returned %v", g, err)
	}
}

func TestSocksRequest(t *testing.T) {
	for target, want := range map[string]string{
		"127.0.0.1:80":           "050100017f0000010050",
		"[::1]:443":              "0501000400000000000000000000000000000001" + "01bb",
		"a.test:65535":           "0501000306" + "612e74657374" + "ffff",
		"a.test:65536":           `the port "65536" is no number below 65536`,
		"a":                      "address a: missing port in address",
		longHost(256) + ":80":    "a host name of 256 bytes, at most 255 are allowed",
		longHost(255) + ":80":    fmt.Sprintf("05010003ff%x0050", longHost(255)),
		"[fe80::1%25eth0]:12345": fmt.Sprintf("05010003%02x%x3039", len("fe80::1%25eth0"), "fe80::1%25eth0"),
	} {
		b, err := socksRequest(target)
		if got := fmt.Sprintf("%x", b); err == nil && got != want || err != nil && err.Error() != want {
			t.Errorf("%s: got %s, %v, want %s", target, got, err, want)
		}
	}
	for _, user := range []*url.Userinfo{url.UserPassword("", "x"), url.User(longHost(256)), url.UserPassword("a", longHost(256))} {
		if _, err := socksLogin(user); err == nil || strings.Contains(err.Error(), "xx") {
			t.Errorf("user and password of %d bytes: %v", len(user.String()), err)
		}
	}
}

func longHost(n int) string { return strings.Repeat("x", n) }

// environments are settings, an address and the proxy for it.
func environments() [][3]string {
	const a, b, c = "http://proxy-a:1", "https://u:p@proxy-b:2", "socks5://proxy-c:3"
	return [][3]string{
		{"", "ws://a.test", ""},
		{"HTTP_PROXY=" + a, "ws://a.test", a},
		{"HTTP_PROXY=" + a, "wss://a.test", ""},
		{"HTTPS_PROXY=" + b, "wss://a.test", b},
		{"https_proxy=" + b + " HTTPS_PROXY=" + a, "wss://a.test", b},
		{"ALL_PROXY=" + c, "ws://a.test", c},
		{"all_proxy=" + c + " HTTP_PROXY=" + a, "wss://a.test", c},
		{"all_proxy=" + c + " HTTP_PROXY=" + a, "ws://a.test", a},
		{"HTTP_PROXY=proxy-a:1", "ws://a.test", a},
		{"HTTP_PROXY=proxy-a", "ws://a.test", "http://proxy-a"},
		{"HTTP_PROXY=http://%zz:geheim@x", "ws://a.test", "HTTP_PROXY is not the URL of a proxy"},
		{"HTTP_PROXY=" + a + " REQUEST_METHOD=GET", "ws://a.test", "HTTP_PROXY is not used in a CGI program, where the request's Proxy header may have set it"},
		{"HTTPS_PROXY=" + a + " REQUEST_METHOD=GET", "wss://a.test", a},
		{"HTTP_PROXY=" + a, "ws://localhost:8080", ""},
		{"HTTP_PROXY=" + a, "ws://127.1.2.3", ""},
		{"HTTP_PROXY=" + a, "ws://[::1]:80", ""},
		{"HTTP_PROXY=" + a, "ws://[::ffff:127.0.0.1]", ""},
		{"HTTP_PROXY=" + a + " NO_PROXY=*", "ws://a.test", ""},
		{"HTTP_PROXY=" + a + " no_proxy=b.test,a.TEST", "ws://A.test", ""},
		{"HTTP_PROXY=" + a + " NO_PROXY=test", "ws://a.test.", ""},
		{"HTTP_PROXY=" + a + " NO_PROXY=.test,*.test2", "ws://a.test2", ""},
		{"HTTP_PROXY=" + a + " NO_PROXY=.a.test", "ws://a.test", a},
		{"HTTP_PROXY=" + a + " NO_PROXY=a.test", "ws://aa.test", a},
		{"HTTP_PROXY=" + a + " NO_PROXY=a.test:81", "ws://a.test", a},
		{"HTTP_PROXY=" + a + " NO_PROXY=a.test:80", "ws://a.test", ""},
		{"HTTPS_PROXY=" + a + " NO_PROXY=a.test:443", "wss://a.test", ""},
		{"HTTP_PROXY=" + a + " NO_PROXY=10.0.0.0/8", "ws://10.1.2.3", ""},
		{"HTTP_PROXY=" + a + " NO_PROXY=10.0.0.0/8", "ws://11.1.2.3", a},
		{"HTTP_PROXY=" + a + " NO_PROXY=11.1.2.3", "ws://11.1.2.3", ""},
		{"HTTP_PROXY=" + a + " NO_PROXY=11.1.2.3:81,[2001:db8::1]:80,,", "ws://11.1.2.3", a},
		{"HTTP_PROXY=" + a + " NO_PROXY=11.1.2.3:81,[2001:db8::1]:80,,", "ws://[2001:db8::1]", ""},
		{"HTTP_PROXY=" + a + " NO_PROXY=2001:db8::1", "ws://[2001:db8::1]", ""},
	}
}

func TestProxyFromEnvironment(t *testing.T) {
	for _, tt := range environments() {
		env, address, want := tt[0], tt[1], tt[2]
		t.Run(env+" "+address, func(t *testing.T) {
			for _, name := range []string{"http_proxy", "https_proxy", "all_proxy", "no_proxy", "request_method"} {
				t.Setenv(name, "")
				t.Setenv(strings.ToUpper(name), "")
			}
			for setting := range strings.FieldsSeq(env) {
				name, value, _ := strings.Cut(setting, "=")
				t.Setenv(name, value)
			}
			u, err := url.Parse(address)
			if err != nil {
				t.Fatal(err)
			}
			p, err := ProxyFromEnvironment(u)
			got := ""
			switch {
			case err != nil:
				got = err.Error()
			case p != nil:
				got = p.String()
			}
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// Without options Dial asks the environment, with a dialer of its own it does not, and NoProxy silences it.
func TestProxyDefault(t *testing.T) {
	proxy := serveProxy(t, "http")
	t.Setenv("http_proxy", proxy.URL.String())
	t.Setenv("no_proxy", "")
	if _, err := Dial(testContext(t), "ws://host.invalid:1", nil); !errors.As(err, new(*ProxyError)) {
		t.Errorf("Dial returned %v", err)
	}
	if got := <-proxy.asked; got != "CONNECT host.invalid:1 " {
		t.Errorf("the proxy was asked for %q", got)
	}
	for _, o := range []*DialOptions{{Proxy: NoProxy, NetDial: nobody}, {NetDial: nobody}} {
		if _, err := Dial(testContext(t), "ws://host.invalid:1", o); err == nil || errors.As(err, new(*ProxyError)) {
			t.Errorf("Dial returned %v", err)
		}
	}
	choosing := errors.New("no idea")
	_, err := Dial(testContext(t), "ws://u:p@host.test/", &DialOptions{Proxy: func(u *url.URL) (*url.URL, error) { return nil, fmt.Errorf("%w of %v", choosing, u) }})
	if !errors.Is(err, choosing) || err.Error() != `websocket: dial "ws://host.test/": choosing a proxy: no idea of ws://host.test/` {
		t.Errorf("Dial returned %v", err)
	}
}

func nobody(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("nobody there")
}

// An address that cannot be used is quoted without its credentials.
func TestAddressSecrets(t *testing.T) {
	for _, address := range []string{"ws://me:pass-0815@", "http://me:pass-0815@host", "ws://me:pass-0815@%zz", "ws://me:pass-0815/x@host", "ws://me:%zzpass-0815@host", ":me:pass-0815@host"} {
		for ev := range (&Client{URL: address}).Events(testContext(t)) {
			checkSecrets(t, fmt.Sprint(ev.URL, ev.Err, ev.Reason))
		}
	}
}

func proxyAt(addr string) *url.URL { return &url.URL{Scheme: "http", Host: addr} }

// script is a connection of which the peer's part is known before.
type script struct {
	net.Conn
	io.Reader
}

func (s script) Read(b []byte) (int, error)  { return s.Reader.Read(b) }
func (s script) Write(b []byte) (int, error) { return len(b), nil }

// Whatever a SOCKS proxy says, either it has agreed, or there is an error; what comes behind its agreement stays unread.
func FuzzSocks(f *testing.F) {
	f.Add([]byte("\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50rest"), false)
	f.Add([]byte("\x05\x02\x01\x00\x05\x00\x00\x03\x01a\x00\x50rest"), true)
	f.Add([]byte("\x05\xff"), true)
	f.Add([]byte("\x05\x00\x05\x05"), false)
	f.Fuzz(func(t *testing.T, b []byte, login bool) {
		var user *url.Userinfo
		if login {
			user = url.UserPassword("u", "p")
		}
		r, refused := strings.NewReader(string(b)), &ProxyError{}
		err := socksConnect(script{Reader: r}, user, "host:80", refused)
		switch read := b[:len(b)-r.Len()]; {
		case err == refused && (refused.Reason == "" || refused.reason.IsZero()):
			t.Errorf("%x: a refusal without a reason", b)
		case err == nil && (len(read) < 2+2+5 || len(read) > 4+5+255+2 || read[0] != socksVersion):
			t.Errorf("%x: read %x", b, read)
		}
	})
}
