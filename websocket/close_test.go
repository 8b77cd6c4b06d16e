package websocket

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"hawser/lifecycle"
)

// Close from many goroutines while others send: each call returns, one close frame goes out, and nothing behind it.
func TestCloseWhileSending(t *testing.T) {
	for range 5 {
		c, peer := connect(t, true, nil)
		answer := make(chan []byte, 1)
		go func() { answer <- peer.exchange(nil, false) }()
		go func() {
			for range c.Events(testContext(t)) {
			}
		}()
		c.SetSource(&fountain{frame: text("from the source").bytes(false)})
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for j := 0; ; j++ {
					c.Wake()
					if c.Ping(testContext(t), nil) != nil || c.Queue(text("x").bytes(false)) != nil || c.Write(testContext(t), TextMessage, make([]byte, 10_000)) != nil {
						return
					}
					if i < 4 && j == 5 {
						c.Close(4000+i, "")
					}
				}
			})
		}
		wg.Wait()
		go peer.Write(closing(CloseNormal, "").bytes(true))
		b := <-answer
		got, err := parse(false, b, len(b)+1)
		for i, f := range got {
			if (f.op == OpClose) != (i == len(got)-1) {
				t.Fatalf("frame %d of %d is %v", i, len(got), f.op)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// What the peer said before it went away is heard although writing to it already fails.
func TestCloseFrameBehindWriteError(t *testing.T) {
	c, peer := connect(t, true, nil)
	peer.Write(closing(4001, "restart").bytes(true))
	peer.Close()
	for c.Write(testContext(t), TextMessage, make([]byte, 1000)) == nil {
	}
	_, _, err := c.Read(testContext(t))
	var e *CloseError
	if !errors.As(err, &e) || e.Code != 4001 || e.Reason != "restart" || e.Side != Remote {
		t.Errorf("Read returned %v", err)
	}
}

// Whoever ends the network connection lets the peer hear why, however much of what it sent is unread, and waits for it neither long nor for CloseTimeout.
func TestCutBehindCloseFrame(t *testing.T) {
	for _, tt := range []struct {
		name   string
		server bool
		say    frame
		code   int
	}{
		{"a violation/server", true, frame{fin: true, op: 3}, CloseProtocolError},
		{"a violation/client", false, frame{fin: true, op: 3}, CloseProtocolError},
		{"too big/server", true, text(strings.Repeat("x", 101)), CloseTooBig},
		{"a close/server", true, closing(4001, ""), 4001},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, p := connect(t, tt.server, &AcceptOptions{MaxMessage: 100, CloseTimeout: 10 * patience})
			go p.Write(append(tt.say.bytes(tt.server), make([]byte, 1<<20)...))
			go eventsOf(c, testContext(t))
			heard, err := io.ReadAll(p.r)
			list, _ := parse(!tt.server, heard, len(heard)+1)
			if err != nil || len(list) != 1 || list[0].op != OpClose || !strings.HasPrefix(list[0].payload, closing(tt.code, "").payload) {
				t.Errorf("heard %v, %v", list, err)
			}
			select { // although the peer keeps its side
			case <-c.Done():
			case <-time.After(patience):
				t.Error("the connection is kept")
			}
		})
	}
}

func TestLost(t *testing.T) {
	for _, server := range []bool{true, false} {
		c, peer := connect(t, server, nil)
		peer.Write(text("half").bytes(server)[:3])
		peer.Close()
		got := eventsOf(c, testContext(t))
		code, _ := c.CloseReceived()
		if got != "disconnected:failed" || code != CloseAbnormal || !lifecycle.ReasonOf(c.Err()).Is(lifecycle.ReasonLost) || !errors.Is(c.Err(), net.ErrClosed) {
			t.Errorf("got %s; %v", got, c.Err())
		}
		if again := eventsOf(c, testContext(t)); again != got {
			t.Errorf("a later loop got %s", again)
		}
	}
}

func TestClose(t *testing.T) {
	for _, tt := range []struct {
		name   string
		code   int
		reason string
		want   int
		text   string
	}{
		{"normal", CloseNormal, "bye", CloseNormal, "bye"},
		{"no status", 0, "", CloseNoStatus, ""},
		{"long", 4000, strings.Repeat("é", 100), 4000, strings.Repeat("é", 61)},
		{"not UTF-8", 4000, "a\xff", 4000, "a\uFFFD"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for i := range 4 {
				client, server := both(t, nil, nil)
				ends := [2]*Conn{client, server}
				a, b := ends[i%2], ends[1-i%2]
				got := make(chan string, 1)
				go func() { got <- forms[i/2].events(b, nil) }()
				if err := a.Close(tt.code, tt.reason); err != nil {
					t.Errorf("Close returned %v", err)
				}
				word := fmt.Sprint(tt.want)
				if tt.text != "" {
					word += fmt.Sprintf("%q", tt.text)
				}
				if g, want := <-got, fmt.Sprintf("closing:%[1]s closed:%[1]s disconnected:graceful", word); g != want {
					t.Errorf("the other end got %s, want %s", g, want)
				}
				var ae, be *CloseError
				if !errors.As(a.Err(), &ae) || !errors.As(b.Err(), &be) || ae.Side != Local || be.Side != Remote || ae.Code != tt.want || be.Code != tt.want {
					t.Errorf("ended with %v and %v", a.Err(), b.Err())
				}
				if code, _ := a.CloseReceived(); code != tt.want {
					t.Errorf("received code %d", code)
				}
				if err := a.Close(CloseNormal, ""); err != nil {
					t.Errorf("a second Close returned %v", err)
				}
			}
		})
	}
	c, _ := connect(t, true, nil)
	if err := c.Close(1005, ""); err == nil || c.State() != StateOpen {
		t.Error("code 1005 is sent")
	}
}

// While the peer's close is handled, sending is still possible; after ours, messages still come.
func TestCloseInLoop(t *testing.T) {
	client, server := both(t, nil, nil)
	last := make(chan string, 1)
	go func() {
		var words []string
		for ev := range client.Events(testContext(t)) {
			words = append(words, eventWord(ev))
			if ev.Kind == Text {
				if err := client.Close(CloseGoingAway, ""); err != nil {
					t.Error(err)
				}
				if err := client.Write(testContext(t), TextMessage, nil); !errors.Is(err, net.ErrClosed) {
					t.Errorf("Write after Close returned %v", err)
				}
			}
		}
		last <- strings.Join(words, " ")
	}()
	server.Write(testContext(t), TextMessage, []byte("go"))
	for ev := range server.Events(testContext(t)) {
		if ev.Kind == Closing {
			if err := server.Write(testContext(t), BinaryMessage, []byte("last words")); err != nil {
				t.Errorf("Write while closing returned %v", err)
			}
		}
		if ev.Kind == Closed && server.Write(testContext(t), BinaryMessage, nil) == nil {
			t.Error("Write after closed")
		}
	}
	if got, want := <-last, `text:"go" binary:"last words" closed:1001 disconnected:graceful`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
