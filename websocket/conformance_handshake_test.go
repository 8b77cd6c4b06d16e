package websocket

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// opening is a handshake as lines, to be changed: a line replaces those of the same name, and one without a value takes them away.
type opening []string

func (o opening) with(lines ...string) opening {
	o = slices.Clone(o)
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ":")
		i := slices.IndexFunc(o, func(have string) bool { n, _, _ := strings.Cut(have, ":"); return strings.EqualFold(n, name) })
		switch {
		case i < 0:
			o = append(o, l)
		case value == "":
			o = slices.Delete(o, i, i+1)
		default:
			o[i] = l
		}
	}
	return o
}

func (o opening) and(lines ...string) opening { return append(slices.Clone(o), lines...) }
func (o opening) first(line string) opening   { return append(opening{line}, o[1:]...) }
func (o opening) String() string              { return strings.Join(o, "\r\n") + "\r\n\r\n" }

// asked is a client's opening, that of RFC 6455 section 1.3.
var asked = opening{"GET /chat?x=1 HTTP/1.1", "Host: server.example.com", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"}

// answered is a server's.
var answered = opening{"HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: KEY"}

// RFC 6455 section 4.2.1: what a server takes and what it refuses. A first message comes right behind the request, in the same packet.
func TestConformanceServerHandshake(t *testing.T) {
	options := &AcceptOptions{Subprotocols: []string{"chat", "Super.Chat"}, Origins: []string{"friend.example.com"}}
	strict := &AcceptOptions{Subprotocols: []string{"chat"}, RequireSubprotocol: true}
	tests := []struct {
		name    string
		ask     opening
		options *AcceptOptions
		status  int
		chosen  string // subprotocol
	}{
		{"the example", asked, options, 101, ""},
		{"names in lower case", opening{asked[0], strings.ToLower(asked[1]), strings.ToLower(asked[2]), "connection: upgrade", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-version: 13"}, options, 101, ""},
		{"values in upper case", asked.with("Upgrade: WEBSOCKET", "Connection: UPGRADE"), options, 101, ""},
		{"Connection is a list", asked.with("Connection: keep-alive, Upgrade"), options, 101, ""},
		{"Connection is a list without spaces", asked.with("Connection: upgrade,keep-alive"), options, 101, ""},
		{"two Connections", asked.and("Connection: keep-alive"), options, 101, ""},
		{"Upgrade is a list", asked.with("Upgrade: h2c, websocket"), options, 101, ""},
		{"no space behind the colon", asked.with("Upgrade:websocket", "Sec-WebSocket-Version:13", "Sec-WebSocket-Key:dGhlIHNhbXBsZSBub25jZQ=="), options, 101, ""},
		{"spaces around values", asked.with("Upgrade: \t websocket \t", "Sec-WebSocket-Version:  13 ", "Sec-WebSocket-Key:  dGhlIHNhbXBsZSBub25jZQ== "), options, 101, ""},
		{"whole URL", asked.first("GET ws://server.example.com/chat HTTP/1.1"), options, 101, ""},
		{"other headers", asked.and("Cookie: a=b; c=d", "User-Agent: x", "Authorization: Basic eDp5", "X-Long: "+strings.Repeat("x", 8000)), options, 101, ""},
		{"its own origin", asked.and("Origin: http://server.example.com"), options, 101, ""},
		{"a friend's origin", asked.and("Origin: https://friend.example.com"), options, 101, ""},
		{"an extension nobody knows", asked.and(`Sec-WebSocket-Extensions: x-unknown; a="b"; d, y-unknown`), options, 101, ""},
		{"a subprotocol", asked.and("Sec-WebSocket-Protocol: chat"), options, 101, "chat"},
		{"the first that is known", asked.and("Sec-WebSocket-Protocol: x, Super.Chat, chat"), options, 101, "Super.Chat"},
		{"subprotocols in two lines", asked.and("Sec-WebSocket-Protocol: x", "Sec-WebSocket-Protocol: chat"), options, 101, "chat"},
		{"subprotocols have case", asked.and("Sec-WebSocket-Protocol: CHAT"), options, 101, ""},
		{"no known subprotocol", asked.and("Sec-WebSocket-Protocol: x, y"), options, 101, ""},
		{"the subprotocol that must be", asked.and("Sec-WebSocket-Protocol: chat"), strict, 101, "chat"},
		{"not the subprotocol that must be", asked.and("Sec-WebSocket-Protocol: x"), strict, 400, ""},
		{"POST", asked.first("POST /chat HTTP/1.1"), options, 405, ""},
		{"HEAD", asked.first("HEAD /chat HTTP/1.1"), options, 405, ""},
		{"HTTP/1.0", asked.first("GET /chat HTTP/1.0"), options, 505, ""},
		{"no Host", asked.with("Host:"), options, 400, ""},
		{"no Upgrade", asked.with("Upgrade:"), options, 426, ""},
		{"another Upgrade", asked.with("Upgrade: websockets"), options, 426, ""},
		{"no Connection", asked.with("Connection:"), options, 426, ""},
		{"another Connection", asked.with("Connection: keep-alive"), options, 426, ""},
		{"a body", asked.and("Content-Length: 5"), options, 400, ""},
		{"a body in chunks", asked.and("Transfer-Encoding: chunked"), options, 400, ""},
		{"an empty body", asked.and("Content-Length: 0"), options, 101, ""},
		{"two versions", asked.and("Sec-WebSocket-Version: 8"), options, 400, ""},
		{"two origins", asked.and("Origin: http://server.example.com", "Origin: http://evil.example.com"), options, 400, ""},
		{"no version", asked.with("Sec-WebSocket-Version:"), options, 426, ""},
		{"version 0", asked.with("Sec-WebSocket-Version: 0"), options, 426, ""},
		{"version 8", asked.with("Sec-WebSocket-Version: 8"), options, 426, ""},
		{"version 14", asked.with("Sec-WebSocket-Version: 14"), options, 426, ""},
		{"version 013", asked.with("Sec-WebSocket-Version: 013"), options, 426, ""},
		{"no key", asked.with("Sec-WebSocket-Key:"), options, 400, ""},
		{"key of 15 bytes", asked.with("Sec-WebSocket-Key: " + base64.StdEncoding.EncodeToString(make([]byte, 15))), options, 400, ""},
		{"key of 17 bytes", asked.with("Sec-WebSocket-Key: " + base64.StdEncoding.EncodeToString(make([]byte, 17))), options, 400, ""},
		{"key without padding", asked.with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"), options, 400, ""},
		{"key not in base64", asked.with("Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!=="), options, 400, ""},
		{"two keys", asked.and("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), options, 400, ""},
		{"a stranger's origin", asked.and("Origin: http://evil.example.com"), options, 403, ""},
		{"origin null", asked.and("Origin: null"), options, 403, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, chops := range []bool{false, true} {
				p := knock(t, tt.options, append([]byte(tt.ask.String()), text("first").bytes(true)...), chops)
				resp, err := http.ReadResponse(p.r, &http.Request{Method: "GET"})
				if err != nil || resp.StatusCode != tt.status {
					t.Fatalf("answered %v, %v, want %d", resp, err, tt.status)
				}
				if tt.status == http.StatusUpgradeRequired && (resp.Header.Get("Sec-WebSocket-Version") != "13" || resp.Header.Get("Upgrade") != "websocket") {
					t.Errorf("the answer 426 has %v", resp.Header)
				}
				if tt.status == http.StatusMethodNotAllowed && resp.Header.Get("Allow") != "GET" {
					t.Errorf("the answer 405 has %v", resp.Header)
				}
				if tt.status == http.StatusSwitchingProtocols {
					checkAcceptance(t, p, resp, tt.chosen)
				}
			}
		})
	}
}

// checkAcceptance looks at what RFC 6455 section 4.2.2 demands of the answer, and at the echo of the message that came with the request.
func checkAcceptance(t *testing.T, p *peer, resp *http.Response, chosen string) {
	t.Helper()
	h := resp.Header
	if resp.Proto != "HTTP/1.1" || !strings.EqualFold(h.Get("Upgrade"), "websocket") || !strings.EqualFold(h.Get("Connection"), "upgrade") || h.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Errorf("the answer is %s %v", resp.Proto, h)
	}
	if got := h.Values("Sec-WebSocket-Protocol"); strings.Join(got, "|") != chosen {
		t.Errorf("chose subprotocol %q, want %q", got, chosen)
	}
	for _, not := range []string{"Sec-WebSocket-Extensions", "Content-Length", "Transfer-Encoding"} {
		if len(h.Values(not)) > 0 {
			t.Errorf("the answer has %s: %q", not, h.Get(not))
		}
	}
	if f, err := readFrame(p.r, false); err != nil || f != text("first") {
		t.Errorf("heard %v, %v", f.short(), err)
	}
}

// knock sends b to an echoing server, whole or chopped.
func knock(t *testing.T, o *AcceptOptions, b []byte, chops bool) *peer {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := Accept(w, r, o); err == nil {
			go echo(c)
		}
	}))
	t.Cleanup(s.Close)
	nc, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	p := newPeer(t, nc)
	go p.say(b, chops)
	return p
}

func (p *peer) say(b []byte, chops bool) {
	parts := [][]byte{b}
	if chops {
		parts = chopped(b)
	}
	for _, part := range parts {
		if _, err := p.Write(part); err != nil {
			return
		}
	}
}

// RFC 6455 section 4.1: which answers a client takes. A first message comes right behind the answer, in the same packet.
func TestConformanceClientHandshake(t *testing.T) {
	tests := []struct {
		name   string
		answer opening
		chosen string
		fault  string // part of the error; empty: accepted
	}{
		{"the example", answered, "", ""},
		{"names in lower case", opening{answered[0], "upgrade: websocket", "connection: upgrade", "sec-websocket-accept: KEY"}, "", ""},
		{"values in upper case", answered.with("Upgrade: WEBSOCKET", "Connection: UPGRADE"), "", ""},
		{"Connection is a list", answered.with("Connection: keep-alive, Upgrade"), "", ""},
		{"no reason phrase", answered.first("HTTP/1.1 101 "), "", ""},
		{"another reason phrase", answered.first("HTTP/1.1 101 Web Socket Protocol Handshake"), "", ""},
		{"spaces around values", answered.with("Upgrade:   websocket  ", "Sec-WebSocket-Accept:  KEY  "), "", ""},
		{"other headers", answered.and("Server: x", "Date: Mon, 01 Jan 2024 00:00:00 GMT", "Set-Cookie: a=b", "Set-Cookie: c=d", "X-Long: "+strings.Repeat("x", 20000)), "", ""},
		{"a subprotocol", answered.and("Sec-WebSocket-Protocol: chat"), "chat", ""},
		{"the other subprotocol", answered.and("sec-websocket-protocol:  superchat "), "superchat", ""},
		{"200", answered.first("HTTP/1.1 200 OK").and("Content-Length: 0"), "", "200"},
		{"301", answered.first("HTTP/1.1 301 Moved").and("Location: /there", "Content-Length: 0"), "", "301"},
		{"400", opening{"HTTP/1.1 400 Bad Request", "Content-Length: 0"}, "", "400"},
		{"401", opening{"HTTP/1.1 401 Unauthorized", "WWW-Authenticate: Basic", "Content-Length: 0"}, "", "401"},
		{"426", opening{"HTTP/1.1 426 Upgrade Required", "Sec-WebSocket-Version: 8", "Content-Length: 0"}, "", "426"},
		{"503", opening{"HTTP/1.1 503 Service Unavailable", "Retry-After: 1", "Content-Length: 0"}, "", "503"},
		{"HTTP/1.0", answered.first("HTTP/1.0 101 Switching Protocols"), "", "in HTTP/1.0, want HTTP/1.1"},
		{"no Upgrade", answered.with("Upgrade:"), "", "Upgrade"},
		{"another Upgrade", answered.with("Upgrade: h2c"), "", "Upgrade"},
		{"no Connection", answered.with("Connection:"), "", "Connection"},
		{"another Connection", answered.with("Connection: keep-alive"), "", "Connection"},
		{"no key", answered.with("Sec-WebSocket-Accept:"), "", "Sec-WebSocket-Accept"},
		{"another key", answered.with("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "", "Sec-WebSocket-Accept"},
		{"the key sent back", answered.with("Sec-WebSocket-Accept: ASKED"), "", "Sec-WebSocket-Accept"},
		{"two keys", answered.and("Sec-WebSocket-Accept: KEY"), "", "Sec-WebSocket-Accept"},
		{"a subprotocol not offered", answered.and("Sec-WebSocket-Protocol: x"), "", "subprotocol"},
		{"a subprotocol in another case", answered.and("Sec-WebSocket-Protocol: CHAT"), "", "subprotocol"},
		{"two subprotocols", answered.and("Sec-WebSocket-Protocol: chat, superchat"), "", "subprotocol"},
		{"two lines of subprotocols", answered.and("Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: superchat"), "", "subprotocol"},
		{"an empty subprotocol", answered.and("Sec-WebSocket-Protocol: "), "", "subprotocol"},
		{"an extension not offered", answered.and("Sec-WebSocket-Extensions: x-unknown"), "", "extension"},
		{"not HTTP", opening{"SSH-2.0-OpenSSH_9"}, "", "reading the answer"},
		{"a line that is no header", answered.and("nonsense"), "", "reading the answer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, chops := range []bool{false, true} {
				c, err := Dial(testContext(t), open(t, tt.answer, chops), &DialOptions{Subprotocols: []string{"chat", "superchat"}})
				switch {
				case tt.fault != "":
					if err == nil || !strings.Contains(err.Error(), tt.fault) {
						t.Errorf("Dial returned %v, want an error that names %q", err, tt.fault)
					}
				case err != nil:
					t.Errorf("Dial returned %v", err)
				default:
					if _, b, err := c.Read(testContext(t)); err != nil || string(b) != "first" || c.Subprotocol() != tt.chosen || c.Extensions() != "" {
						t.Errorf("got %q, %v, subprotocol %q, extensions %q", b, err, c.Subprotocol(), c.Extensions())
					}
				}
				if c != nil {
					c.CloseNow()
				}
			}
		})
	}
}

// open answers one client, with a message behind the answer, whole or chopped, and ends its side when it was refused.
func open(t *testing.T, answer opening, chops bool) (url string) {
	t.Helper()
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
		key := req.Header.Get("Sec-WebSocket-Key")
		b := strings.NewReplacer("KEY", acceptKey(key), "ASKED", key).Replace(answer.String())
		if strings.Contains(answer[0], " 101 ") {
			b += string(text("first").bytes(false))
		}
		p.say([]byte(b), chops)
		p.CloseWrite()
		io.Copy(io.Discard, p)
		p.Close()
	}()
	return "ws://" + l.Addr().String()
}

// RFC 6455 section 4.1: what a client asks, to the letter.
func TestConformanceRequest(t *testing.T) {
	keys := map[string]bool{}
	for _, tt := range []struct {
		path    string
		options *DialOptions
		first   string
		headers map[string]string
	}{
		{"", nil, "GET / HTTP/1.1", nil},
		{"/chat?a=b&c=%20#part", nil, "GET /chat?a=b&c=%20 HTTP/1.1", nil},
		{"?a=b", nil, "GET /?a=b HTTP/1.1", nil},
		{"/x", &DialOptions{Subprotocols: []string{"a", "b"}, Origin: "http://page.test", Header: http.Header{"Cookie": {"k=v"}, "Host": {"other.test"}, "Sec-Websocket-Key": {"mine"}, "Upgrade": {"x"}}}, "GET /x HTTP/1.1",
			map[string]string{"Sec-WebSocket-Protocol": "a, b", "Origin": "http://page.test", "Cookie": "k=v", "Host": "other.test"}},
	} {
		asked := make(chan string, 1)
		url := listenOnce(t, asked)
		if c, err := Dial(testContext(t), url+tt.path, tt.options); err == nil {
			t.Error("Dial takes silence as an answer")
			c.CloseNow()
		}
		text := <-asked
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
		if err != nil {
			t.Fatalf("the request is %q: %v", text, err)
		}
		want := map[string]string{"Host": strings.TrimPrefix(url, "ws://"), "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Origin": "", "Sec-WebSocket-Protocol": ""}
		for name, value := range tt.headers {
			want[name] = value
		}
		req.Header.Set("Host", req.Host)
		for name, value := range want {
			if got := req.Header.Get(name); !strings.EqualFold(got, value) || len(req.Header.Values(name)) > 1 {
				t.Errorf("%q: %s is %q, want %q", tt.path, name, req.Header.Values(name), value)
			}
		}
		key := req.Header.Get("Sec-WebSocket-Key")
		if b, err := base64.StdEncoding.DecodeString(key); err != nil || len(b) != 16 || keys[key] || len(req.Header.Values("Sec-WebSocket-Key")) != 1 {
			t.Errorf("the key is %q, after %v", key, keys)
		}
		keys[key] = true
		if line, _, _ := strings.Cut(text, "\r\n"); line != tt.first || req.ContentLength > 0 || len(req.TransferEncoding) > 0 {
			t.Errorf("asked %q, want %q, without a body", line, tt.first)
		}
		if strings.Contains(text, "Sec-Websocket") { // there are servers that know only the form of the RFC
			t.Errorf("asked %q", text)
		}
	}
}

// listenOnce gives what the first client says up to the empty line, and then hangs up.
func listenOnce(t *testing.T, asked chan<- string) (url string) {
	t.Helper()
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
		defer nc.Close()
		var all strings.Builder
		for r := bufio.NewReader(nc); ; {
			line, err := r.ReadString('\n')
			all.WriteString(line)
			if err != nil || line == "\r\n" {
				asked <- all.String()
				return
			}
		}
	}()
	return fmt.Sprint("ws://", l.Addr())
}
