package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hawser/client"
	"hawser/lifecycle"
	"hawser/ring"
	"hawser/session"
)

// TestTransports: a session does the same over every transport: a hundred messages, acknowledged, come back in order and once, and a call has its result.
func TestTransports(t *testing.T) {
	for _, transport := range []string{client.WebSocket, client.Events, client.Poll, client.WebRTC} {
		t.Run(transport, func(t *testing.T) {
			r := serve(t, withRTC())
			c, err := client.New(client.Options{Servers: []string{"ws://" + r.http + "/session"}, Transports: []string{transport}, RTC: *quickRTC("")})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			ctx := soon(t)
			if err := c.Connect(ctx); err != nil {
				t.Fatal(err)
			}
			if got := c.Transport(); got != transport {
				t.Errorf("carried by %s", got)
			}
			sub, err := c.Subscribe(ctx, "/log", nil)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 100 {
				if _, err := c.Send(ctx, "/log", i, nil); err != nil {
					t.Fatal(err)
				}
			}
			next := 0
			for u := range sub.Updates(ctx) {
				if u.Kind != session.EventUpdate {
					continue
				}
				if string(u.Data) != fmt.Sprint(next) {
					t.Fatalf("got %s, want %d", u.Data, next)
				}
				if next++; next == 100 {
					break
				}
			}
			r.HandleCall("/double", double)
			if got, err := c.Call(ctx, "/double", 21, nil); err != nil || string(got) != "42" {
				t.Errorf("%s, %v", got, err)
			}
		})
	}
}

// TestTransportThatDoesNotHold has between client and server what lets a WebSocket begin, and then nothing through, or cuts it soon, each time: the session goes on over plain HTTP, and loses nothing.
func TestTransportThatDoesNotHold(t *testing.T) {
	for name, pass := range map[string]int64{"deaf": 0, "cut": 2000} {
		t.Run(name, func(t *testing.T) {
			r := serve(t, Options{})
			log := lifecycle.NewLog(ring.Limits{})
			c, err := client.New(client.Options{Servers: []string{"ws://" + middlebox(t, r.http, pass) + "/session"}, Log: log, LoginTimeout: 500 * time.Millisecond,
				BackOff: client.BackOff{Base: time.Millisecond, Max: time.Millisecond, Stand: time.Minute}})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			ctx := soon(t)
			if err := c.Connect(ctx); err != nil {
				t.Fatal(err)
			}
			sub, err := c.Subscribe(ctx, "/log", nil)
			if err != nil {
				t.Fatal(err)
			}
			const n = 1000
			go r.log("/log", 0, n)
			next := uint64(0)
			for u := range sub.Updates(ctx) {
				switch {
				case u.Kind == session.EventGap:
					t.Fatalf("lost %d to %d", u.Offset, u.To)
				case u.Kind == session.EventUpdate && u.Offset != next:
					t.Fatalf("got %d, want %d", u.Offset, next)
				case u.Kind == session.EventUpdate:
					next++
				}
				if next == n {
					break
				}
			}
			if got := c.Transport(); next != n || got != client.Events {
				t.Errorf("got %d of %d, carried by %s", next, n, got)
			}
			if !slices.ContainsFunc(log.Recent(1000), func(e lifecycle.Event) bool {
				return e.Kind == client.KindTransport && e.From == client.WebSocket && e.Transport == client.Events && !e.Reason.IsZero()
			}) {
				t.Error("no event says that the WebSocket does not hold")
			}
		})
	}
}

// TestNetworkThatAnswersItself has a network whose own page answers everything, until somebody has signed in there.
func TestNetworkThatAnswersItself(t *testing.T) {
	r := serve(t, Options{})
	signedIn := false
	var mu sync.Mutex
	back := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: r.http})
	asked := make(chan string, 1000)
	network := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if signedIn {
			mu.Unlock()
			defer mu.Lock()
			back.ServeHTTP(w, req)
			return
		}
		asked <- req.URL.Path
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<h1>Sign in</h1>")
	}))
	t.Cleanup(network.Close)
	c, err := client.New(client.Options{Servers: []string{"ws" + strings.TrimPrefix(network.URL, "http") + "/session"}, BackOff: client.BackOff{Base: time.Millisecond, Max: time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	connected := make(chan error, 1)
	go func() { connected <- c.Connect(soon(t)) }()
	for _, want := range []string{"/session", "/session/events", "/session/poll", "/session"} { // each once an attempt
		if got := <-asked; got != want {
			t.Errorf("asked for %s, want %s", got, want)
		}
	}
	mu.Lock()
	signedIn = true
	mu.Unlock()
	if err := <-connected; err != nil {
		t.Error(err)
	}
}

// middlebox is in the way to a server. Of what the server sends on a WebSocket only so many bytes get through after the handshake; with none it stays open, else it is cut then.
func middlebox(t *testing.T, to string, pass int64) string {
	l := listen(t)
	var wait sync.WaitGroup
	t.Cleanup(func() { l.Close(); wait.Wait() })
	wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wait.Go(func() {
				defer c.Close()
				up, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer up.Close()
				wait.Go(func() { io.Copy(up, c); up.Close() })
				from := bufio.NewReader(up)
				head := new(bytes.Buffer)
				for { // the head of the first answer
					line, err := from.ReadBytes('\n')
					if head.Write(line); err != nil || len(line) <= 2 {
						break
					}
				}
				c.Write(head.Bytes())
				switch upgraded := bytes.HasPrefix(head.Bytes(), []byte("HTTP/1.1 101 ")); {
				case !upgraded:
					io.Copy(c, from)
				case pass > 0:
					io.CopyN(c, from, pass)
				default:
					io.Copy(io.Discard, from)
				}
			})
		}
	})
	return l.Addr().String()
}

func decode(b []byte) (n int) {
	json.Unmarshal(b, &n)
	return n
}

func double(_ context.Context, c *Call) ([]byte, error) {
	return json.Marshal(2 * decode(c.Data))
}
