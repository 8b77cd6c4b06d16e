package wsinterop

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"hawser/websocket"
)

// withConnect runs a test again in a process whose net/http allows WebSockets over HTTP/2, which it reads from the environment when it starts; true in that process.
func withConnect(t *testing.T) bool {
	const allow = "http2xconnect=1"
	if strings.Contains(os.Getenv("GODEBUG"), allow) {
		return true
	}
	cmd := exec.CommandContext(testContext(t), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "GODEBUG="+allow)
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	} else if strings.Contains(string(out), "--- SKIP") {
		t.Skip("see above")
	}
	return false
}

// TestBrowserHTTP2 lets a browser come over HTTP/2: it does when it has a connection of it whose server announces that it may (RFC 8441 section 3).
func TestBrowserHTTP2(t *testing.T) {
	p := programs[len(programs)-1]
	args := map[string]any{"sizes": sizes}
	p.need(t, args)
	if !withConnect(t) {
		return
	}
	for _, c := range compressions {
		if c.bits != 0 {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			ours := &ourServer{options: websocket.AcceptOptions{HTTP2: true, Subprotocols: []string{"interop"}, Compression: c.ours}, seen: make(chan seen, 10), ctx: testContext(t)}
			protocols := make(chan string, 100)
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				protocols <- r.Method + " " + r.Proto
				ours.ServeHTTP(w, r)
			}))
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			s.EnableHTTP2 = true
			s.StartTLS()
			t.Cleanup(s.Close)
			args["url"] = "wss" + strings.TrimPrefix(s.URL, "https")
			checkAnswers(t, p.start(t, args), c)
			checkEnds(t, ours, p, c)
			count := map[string]int{}
			for len(protocols) > 0 {
				count[<-protocols]++
			}
			if count["GET HTTP/2.0"] != 1 || count["CONNECT HTTP/2.0"] != 4 || len(count) != 2 {
				t.Errorf("the requests are %v, want a page and four connections, all over HTTP/2", count)
			}
		})
	}
}

// selfSigned returns the key and certificate that httptest has.
func selfSigned(t *testing.T) (key, certificate string) {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	c := s.TLS.Certificates[0]
	b, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	return encode("PRIVATE KEY", b), encode("CERTIFICATE", c.Certificate[0])
}

// TestNodeHTTP2 lets our client connect to npm's ws on a stream of Node's HTTP/2, with and without TLS.
func TestNodeHTTP2(t *testing.T) {
	p := programs[0]
	p.command = []string{"node", "http2.mjs"}
	p.need(t, nil)
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", secure), func(t *testing.T) {
			args := map[string]any{}
			scheme, options := "ws", &websocket.DialOptions{Subprotocols: []string{"interop"}, HTTP2: new(websocket.HTTP2), Proxy: websocket.NoProxy}
			if secure {
				args["key"], args["cert"] = selfSigned(t)
				scheme, options.TLS = "wss", &tls.Config{InsecureSkipVerify: true}
			}
			r := p.start(t, args)
			var at struct{ Port int }
			r.hear(&at)
			dial := func() *talk {
				c, err := websocket.Dial(testContext(t), fmt.Sprintf("%s://127.0.0.1:%d/path", scheme, at.Port), options)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(c.CloseNow)
				return newTalk(t, c)
			}
			k, other := dial(), dial()
			if k.c.Subprotocol() != "interop" || k.c.LocalAddr().String() != other.c.LocalAddr().String() {
				t.Errorf("subprotocol %q, network connections %v and %v", k.c.Subprotocol(), k.c.LocalAddr(), other.c.LocalAddr())
			}
			for _, n := range sizes {
				k.echo(websocket.TextMessage, strings.Repeat("日", n/3)+strings.Repeat("x", n%3))
				k.echo(websocket.BinaryMessage, strings.Repeat("\x00\xfe", n/2)+strings.Repeat("x", n%2))
			}
			k.send(websocket.TextMessage, "ping me")
			k.await(websocket.Ping)
			k.hear(websocket.Text, "ponged")
			k.send(websocket.TextMessage, "fragments")
			k.hear(websocket.Text, "fragments")
			k.c.Close(4001, "bye ü")
			k.ends("closed:4001", "graceful:true")
			checkClosed(t, r, 4001, "bye ü")
			other.send(websocket.TextMessage, "close me")
			other.ends(`closing:4003 as asked ü`, "closed:4003", "graceful:true")
			checkClosed(t, r, 4003, "")
		})
	}
}
