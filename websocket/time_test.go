package websocket

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hawser/lifecycle"
)

// piped gives one end of a connection over a pipe, and the bare other end, so that time can be that of a synctest bubble.
func piped(server bool, o *AcceptOptions) (*Conn, net.Conn) {
	_, s, err := o.fill()
	if err != nil {
		panic(err)
	}
	a, b := net.Pipe()
	c := newConn(a, nil, agreement{}, s, connInfo{server: server})
	c.open()
	return c, b
}

// collect reads frames in the background and gives them with the time since start.
func collect(nc net.Conn, masked bool) <-chan string {
	got := make(chan string, 100)
	start := time.Now()
	go func() {
		defer close(got)
		p := parser{masked: masked, emit: func(op, _ byte, b []byte, _ bool) error {
			got <- fmt.Sprintf("%v:%d%q", time.Since(start).Round(time.Millisecond), op, b)
			return nil
		}}
		buf := make([]byte, 1000)
		for {
			n, err := nc.Read(buf)
			p.feed(buf[:n])
			if err != nil {
				return
			}
		}
	}()
	return got
}

// timed runs the loop to its end and writes down the events and when they came.
func timed(c *Conn, ctx context.Context) string {
	start := time.Now()
	var list []string
	for ev := range c.Events(ctx) {
		list = append(list, fmt.Sprintf("%v:%s", time.Since(start).Round(time.Millisecond), eventWord(ev)))
	}
	return strings.Join(list, " ")
}

func TestKeepalive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer := piped(true, &AcceptOptions{Keepalive: 20 * time.Second, PongTimeout: 7 * time.Second})
		got := collect(peer, false)
		go func() {
			for range 2 {
				if g := <-got; !strings.HasSuffix(g, `:9""`) {
					t.Errorf("the peer got %s", g)
				}
				peer.Write(frame{fin: true, op: OpPong}.bytes(true))
			}
			if g := <-got; g != `1m0s:9""` {
				t.Errorf("the peer got %s", g)
			}
		}()
		if got, want := timed(c, t.Context()), `20s:pong:"" 40s:pong:"" 1m7.02s:unresponsive 1m7.02s:disconnected:failed`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		var e *CloseError
		if !errors.As(c.Err(), &e) || e.Side != Remote || !errors.Is(e, os.ErrDeadlineExceeded) || !lifecycle.ReasonOf(e).Is(lifecycle.ReasonTimeout) {
			t.Errorf("ended with %v", c.Err())
		}
	})
}

// Keepalive is no judge of a peer whose pong we have not looked at, or that is in the middle of a long frame.
func TestKeepaliveBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer := piped(true, &AcceptOptions{Keepalive: 10 * time.Second, PongTimeout: 2 * time.Second})
		collect(peer, false)
		go peer.Write(text("work").bytes(true))
		for ev := range c.Events(t.Context()) {
			if ev.Kind == Text {
				time.Sleep(time.Minute) // handled here, while pings wait for their pongs
				break
			}
		}
		long := binary_(strings.Repeat("x", 60)).bytes(true)
		go func() {
			for i := range long {
				peer.Write(long[i : i+1])
				time.Sleep(time.Second)
			}
			peer.Write(frame{fin: true, op: OpPong}.bytes(true))
		}()
		if _, b, err := c.Read(t.Context()); err != nil || len(b) != 60 {
			t.Errorf("Read returned %d bytes, %v", len(b), err)
		}
		if got := eventsOf(c, t.Context()); got != `pong:"" unresponsive disconnected:failed` {
			t.Errorf("got %s", got)
		}
		peer.Close()
	})
}

// Without a pong timeout pings go on whatever comes.
func TestKeepaliveWithoutTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer := piped(false, &AcceptOptions{Keepalive: time.Second, PongTimeout: -1})
		got := collect(peer, true)
		ctx, cancel := context.WithTimeout(t.Context(), 5500*time.Millisecond)
		defer cancel()
		for ev := range c.Events(ctx) {
			t.Errorf("event %v", ev.Kind)
		}
		for i := range 5 {
			if g, want := <-got, fmt.Sprintf(`%ds:9""`, i+1); g != want {
				t.Errorf("the peer got %s, want %s", g, want)
			}
		}
		c.CloseNow()
	})
}

func TestPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer := piped(true, &AcceptOptions{Poll: time.Second})
		go func() {
			time.Sleep(1500 * time.Millisecond)
			peer.Write(text("a").bytes(true))
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
		defer cancel()
		if got, want := timed(c, ctx), `1s:poll 1.5s:text:"a" 2s:poll 3s:poll`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		c.CloseNow()
		peer.Close()
	})
}

// A peer that does not answer a close holds nobody up for longer than the close timeout.
func TestCloseTimeout(t *testing.T) {
	for _, loop := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c, peer := piped(true, &AcceptOptions{CloseTimeout: 3 * time.Second})
			collect(peer, false)
			start := time.Now()
			if loop {
				go func() {
					synctest.Wait()
					c.Close(CloseNormal, "")
				}()
				if got, want := timed(c, t.Context()), "3s:disconnected:failed"; got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			} else if err := c.Close(CloseNormal, ""); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Close returned %v", err)
			}
			if d := time.Since(start); d != 3*time.Second {
				t.Errorf("it took %v", d)
			}
			peer.Close()
		})
	}
}

// The client leaves closing the network connection to the server, but not for ever.
func TestClientWaitsForEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer := piped(false, nil)
		got := collect(peer, true)
		go peer.Write(closing(CloseNormal, "").bytes(false))
		if got, want := timed(c, t.Context()), "0s:closing:1000 0s:closed:1000 5s:disconnected:graceful"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if g := <-got; g != `0s:8"\x03\xe8"` {
			t.Errorf("the peer got %s", g)
		}
		peer.Close()
	})
}

// A write waits for a slow peer as long as its context, the connection as long as the write timeout.
func TestWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer := piped(true, &AcceptOptions{WriteTimeout: 4 * time.Second})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := c.Write(ctx, TextMessage, []byte("a")); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("Write returned %v after %v", err, time.Since(start))
		}
		err := c.Write(t.Context(), TextMessage, []byte("b"))
		if !errors.Is(err, net.ErrClosed) || !lifecycle.ReasonOf(err).Is(lifecycle.ReasonSlow) || time.Since(start) != 4*time.Second {
			t.Errorf("Write returned %v after %v", err, time.Since(start))
		}
		if got := eventsOf(c, t.Context()); got != "disconnected:failed" {
			t.Errorf("got %s", got)
		}
		peer.Close()
	})
}

// answerOn plays a server's part of the handshake on a pipe, and then what then says.
func answerOn(nc net.Conn, answer string, then func(nc net.Conn)) {
	req, err := http.ReadRequest(bufio.NewReader(nc))
	if err != nil {
		nc.Close()
		return
	}
	io.WriteString(nc, strings.Replace(answer, "KEY", acceptKey(req.Header.Get("Sec-WebSocket-Key")), 1))
	then(nc)
	nc.Close()
}

const goodAnswer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: KEY\r\n\r\n"

// clientEvents runs a Client against one function an attempt and writes down the events and when they came.
func clientEvents(ctx context.Context, cl *Client, attempts ...func(net.Conn)) string {
	n := 0
	cl.URL = "ws://host/path"
	cl.NetDial = func(context.Context, string, string) (net.Conn, error) {
		n++
		if n > len(attempts) || attempts[n-1] == nil {
			return nil, errors.New("nobody there")
		}
		a, b := net.Pipe()
		go attempts[n-1](b)
		return a, nil
	}
	var list []string
	for ev := range cl.Events(ctx) {
		list = append(list, eventWord(ev))
		if ev.Kind == Ready {
			ev.Conn.Write(ctx, TextMessage, []byte("hello"))
		}
	}
	return strings.Join(list, " ")
}

func TestClientEvents(t *testing.T) {
	serve := func(answer string, frames ...frame) func(net.Conn) {
		return func(nc net.Conn) {
			answerOn(nc, answer, func(nc net.Conn) {
				got := collect(nc, true)
				for _, f := range frames {
					nc.Write(f.bytes(false))
				}
				if len(frames) > 0 {
					for g := range got {
						if strings.Contains(g, "s:8") {
							return
						}
					}
				}
			})
		}
	}
	tests := []struct {
		name   string
		server func(net.Conn)
		want   string
	}{
		{"no address", nil, "connecting connect_fail"},
		{"refused", serve("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"), "connecting connected rejected disconnected:graceful"},
		{"cut within the handshake", serve("HTTP/1.1 101"), "connecting connected rejected disconnected:failed"},
		{"a good life", serve(goodAnswer, text("a"), frame{fin: true, op: OpPing}, closing(1001, "bye")),
			`connecting connected ready text:"a" ping:"" closing:1001"bye" closed:1001"bye" disconnected:graceful`},
		{"cut", serve(goodAnswer), "connecting connected ready disconnected:failed"},
		{"a broken rule", serve(goodAnswer, frame{fin: true, op: 5}), "connecting connected ready protocol_error:1002 disconnected:failed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if got := clientEvents(t.Context(), &Client{}, tt.server); got != tt.want {
					t.Errorf("got %s, want %s", got, tt.want)
				}
			})
		})
	}
}

func TestClientPersists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cut := func(nc net.Conn) { answerOn(nc, goodAnswer, func(net.Conn) {}) }
		ctx, cancel := context.WithCancel(t.Context())
		stays := func(nc net.Conn) {
			answerOn(nc, goodAnswer, func(nc net.Conn) {
				got := collect(nc, true)
				<-got
				cancel()
				if g := <-got; !strings.HasSuffix(g, `:8"\x03\xe9"`) {
					t.Errorf("the server got %s", g)
				}
				nc.Write(closing(CloseGoingAway, "").bytes(false))
			})
		}
		got := clientEvents(ctx, &Client{Persist: true}, nil, cut, nil, stays)
		want := "connecting connect_fail back_off connecting connected ready disconnected:failed back_off connecting connect_fail back_off connecting connected ready disconnected:graceful"
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

func TestClientLeavesBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start, attempts := time.Now(), 0
		for ev := range (&Client{URL: "ws://host", Persist: true, DialOptions: DialOptions{NetDial: func(context.Context, string, string) (net.Conn, error) {
			attempts++
			return nil, errors.New("nobody there")
		}}}).Events(ctx) {
			if ev.Kind == BackOff && (ev.Delay < 0 || ev.Delay > DefaultMaxBackOff || ev.Attempt == 1 && ev.Delay > DefaultMinBackOff) {
				t.Errorf("attempt %d: back-off %v", ev.Attempt, ev.Delay)
			}
		}
		if time.Since(start) != time.Minute || attempts < 5 || attempts > 100 {
			t.Errorf("%d attempts in %v", attempts, time.Since(start))
		}
	})
}

// A server that accepts the connection and then says nothing is not waited for beyond the handshake timeout.
func TestHandshakeTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		a, b := net.Pipe()
		go io.Copy(io.Discard, b)
		_, err := Dial(t.Context(), "ws://host", &DialOptions{NetDial: func(context.Context, string, string) (net.Conn, error) { return a, nil }})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != DefaultHandshakeTimeout {
			t.Errorf("Dial returned %v after %v", err, time.Since(start))
		}
	})
}
