package js_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"hawser/auth"
	"hawser/lifecycle"
	"hawser/server"
)

// identity may do everything, without end.
type identity struct{}

func (identity) Check() error                 { return nil }
func (identity) User() string                 { return "ann" }
func (identity) Expires() time.Time           { return time.Time{} }
func (identity) May(auth.Action, string) bool { return true }

// authenticator knows one token.
type authenticator struct{}

func (authenticator) Authenticate(_ context.Context, token string, _ netip.Addr) (auth.Identity, error) {
	if token != "good" {
		return nil, lifecycle.ReasonUnauthorized.With("unknown token")
	}
	return identity{}, nil
}

// relay passes connections on to a server, and breaks them.
type relay struct {
	to string

	mu    sync.Mutex
	down  bool
	conns []net.Conn
}

func (r *relay) serve(l net.Listener) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		out, err := net.Dial("tcp", r.to)
		if err != nil || r.down {
			in.Close()
			if err == nil {
				out.Close()
			}
			r.mu.Unlock()
			continue
		}
		r.conns = append(r.conns, in, out)
		r.mu.Unlock()
		for _, c := range [][2]net.Conn{{in, out}, {out, in}} {
			go func() {
				io.Copy(c[0], c[1])
				c[0].Close()
				c[1].Close()
			}()
		}
	}
}

// cut breaks all connections; down accepts no more.
func (r *relay) cut(down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = down
	for _, c := range r.conns {
		c.Close()
	}
	r.conns = nil
}

// TestClientWithARealServer runs testdata/real.mjs: the client over each transport, and all of its states, with the real server.
func TestClientWithARealServer(t *testing.T) {
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("node is not installed")
	}
	ctx, stop := context.WithCancel(context.Background())
	running, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	s := server.New(server.Options{Auth: authenticator{}})
	s.HandleCall("/double", func(_ context.Context, c *server.Call) ([]byte, error) {
		var n int
		err := json.Unmarshal(c.Data, &n)
		return fmt.Append(nil, 2*n), err
	})
	web, front := listen(t), listen(t)
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, web, nil) }()
	r := &relay{to: web.Addr().String()}
	go r.serve(front)
	control := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch req.URL.Path {
		case "/cut", "/down", "/up":
			r.cut(req.URL.Path == "/down")
		case "/eject":
			for _, c := range s.Sessions() {
				s.Eject(c.ID, lifecycle.ReasonEjected)
			}
		}
	}))
	t.Cleanup(func() {
		control.Close()
		front.Close()
		r.cut(true)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	_, port, _ := net.SplitHostPort(front.Addr().String())
	about, _ := json.Marshal(map[string]string{
		"server":  "ws://0.0.0.0:" + port + "/session", // not a name of this machine: such a server needs no network
		"control": control.URL,
	})
	out, err := exec.CommandContext(running, "node", "--experimental-websocket", "testdata/real.mjs", string(about)).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "all is well") {
		t.Errorf("%v\n%s", err, out)
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}
