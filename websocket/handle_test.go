package websocket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hawser/netio"
)

// form is a way to get a connection's events. Its function returns when f has left or has got the last one.
type form struct {
	name string
	run  func(c *Conn, f func(Event) bool)
}

// forms are what every rule about events is tested with.
var forms = []form{
	{"Events", func(c *Conn, f func(Event) bool) { c.Events(context.Background())(f) }},
	{"Handle", func(c *Conn, f func(Event) bool) {
		over := make(chan struct{})
		c.Handle(func(ev Event) bool {
			goOn := f(ev)
			if !goOn || ev.Kind == Disconnected {
				close(over)
			}
			return goOn
		})
		<-over
	}},
}

// forForms runs a test with each form.
func forForms(t *testing.T, test func(t *testing.T, by form)) {
	for _, by := range forms {
		t.Run(by.name, func(t *testing.T) { test(t, by) })
	}
}

// events writes down what a connection gives until its end; on looks at each event.
func (by form) events(c *Conn, on func(Event)) string {
	var list []string
	by.run(c, func(ev Event) bool {
		if ev.Conn != c {
			list = append(list, "of another connection:")
		}
		list = append(list, eventWord(ev))
		if on != nil {
			on(ev)
		}
		return true
	})
	return strings.Join(list, " ")
}

// echo answers every message with itself.
func (by form) echo(c *Conn) { by.run(c, func(ev Event) bool { return answerMessage(c, ev) }) }

// answerMessage is what a handler does that echoes.
func answerMessage(c *Conn, ev Event) bool {
	switch ev.Kind {
	case Text:
		c.Write(context.Background(), TextMessage, ev.Data)
	case Binary:
		c.Write(context.Background(), BinaryMessage, ev.Data)
	}
	return true
}

// Every kind of event that a connection gives, at the moment that its comment says, in both forms and on both sides.
func TestEventKinds(t *testing.T) {
	forForms(t, func(t *testing.T, by form) {
		for _, server := range []bool{true, false} {
			c, p := connect(t, server, &AcceptOptions{Unknown: true, Poll: 5 * time.Millisecond})
			got := make(chan []byte, 1)
			polled := make(chan struct{})
			go func() {
				<-polled
				got <- p.exchange(frames(server, text("a"), binary_("\xff"), ping("1"), pong("2"), frame{fin: true, op: 3, payload: "3"}, closing(4001, "restart")), !server)
			}()
			polls := 0
			words := by.events(c, func(ev Event) {
				switch ev.Kind {
				case Poll:
					if polls++; polls == 3 {
						close(polled)
					}
				case Closing:
					if err := c.Write(testContext(t), TextMessage, []byte("last")); err != nil || c.State() != StateClosing {
						t.Errorf("while closing: %v, %v", err, c.State())
					}
				case Closed:
					if err := c.Write(testContext(t), TextMessage, nil); !errors.Is(err, net.ErrClosed) {
						t.Errorf("once closed: %v", err)
					}
				case Disconnected:
					if c.State() != StateClosed || !ev.Graceful {
						t.Errorf("at the end: %v, %v", c.State(), ev.Err)
					}
				}
			})
			words = strings.Join(strings.Fields(strings.ReplaceAll(words, "poll", "")), " ")
			if want := `text:"a" binary:"\xff" ping:"1" pong:"2" unknown_message:"3" closing:4001"restart" closed:4001"restart" disconnected:graceful`; words != want {
				t.Errorf("server %v: got %s, want %s", server, words, want)
			}
			b := <-got
			list, err := parse(!server, b, len(b)+1)
			if err != nil || len(list) != 3 || list[0].op != OpPong || list[1].payload != "last" || list[2].op != OpClose {
				t.Errorf("server %v: the peer got %v, %v", server, list, err)
			}
		}
	})
}

// How a connection can end that does not end well.
func TestFailedEnds(t *testing.T) {
	forForms(t, func(t *testing.T, by form) {
		for _, tt := range []struct {
			name    string
			options AcceptOptions
			do      func(c *Conn, p *peer, server bool)
			want    string
			is      error
		}{
			{"half a frame", AcceptOptions{}, func(_ *Conn, p *peer, server bool) { p.Write(text("half").bytes(server)[:3]); p.Close() }, "disconnected:failed", nil},
			{"a message and the end", AcceptOptions{}, func(_ *Conn, p *peer, server bool) { p.Write(text("a").bytes(server)); p.CloseWrite() }, `text:"a" disconnected:failed`, nil},
			{"reset", AcceptOptions{}, func(_ *Conn, p *peer, _ bool) { p.SetLinger(0); p.Close() }, "disconnected:failed", nil},
			{"no pong", AcceptOptions{Keepalive: 5 * time.Millisecond, PongTimeout: 5 * time.Millisecond}, func(*Conn, *peer, bool) {}, "unresponsive disconnected:failed", os.ErrDeadlineExceeded},
			{"CloseNow", AcceptOptions{}, func(c *Conn, _ *peer, _ bool) { c.CloseNow() }, "disconnected:failed", nil},
			{"no answer to Close", AcceptOptions{CloseTimeout: 5 * time.Millisecond}, func(c *Conn, _ *peer, _ bool) { c.Close(CloseNormal, "") }, "disconnected:failed", os.ErrDeadlineExceeded},
			{"a broken rule", AcceptOptions{}, func(_ *Conn, p *peer, server bool) { p.exchange(frame{fin: true, op: 5}.bytes(server), !server) }, "protocol_error:1002 disconnected:failed", nil},
			{"a broken rule, and no end", AcceptOptions{CloseTimeout: 5 * time.Millisecond}, func(_ *Conn, p *peer, server bool) { p.Write(frame{fin: true, op: 5}.bytes(server)) },
				"protocol_error:1002 disconnected:failed", nil},
		} {
			for _, server := range []bool{true, false} {
				c, p := connect(t, server, &tt.options)
				begun := make(chan struct{})
				c.Ping(testContext(t), nil)
				go func() { <-begun; tt.do(c, p, server) }()
				over := make(chan string)
				go func() { over <- by.events(c, nil) }()
				for !c.reading.Load() {
					runtime.Gosched()
				}
				close(begun)
				if got := <-over; got != tt.want {
					t.Errorf("%s, server %v: got %s, want %s", tt.name, server, got, tt.want)
				}
				if tt.is != nil && !errors.Is(c.Err(), tt.is) {
					t.Errorf("%s: ended with %v", tt.name, c.Err())
				}
				if got := by.events(c, nil); got != "disconnected:failed" {
					t.Errorf("%s: afterwards got %s", tt.name, got)
				}
			}
		}
	})
}

// A rule that is broken behind our close frame is critical.
func TestCriticalEvent(t *testing.T) {
	forForms(t, func(t *testing.T, by form) {
		c, p := connect(t, true, nil)
		p.Write(frames(true, text("a"), frame{fin: true, op: 5}))
		got := by.events(c, func(ev Event) {
			if ev.Kind == Text {
				c.Close(CloseNormal, "")
			}
			if ev.Kind == ProtocolError && !ev.Critical {
				t.Error("not critical")
			}
		})
		if want := `text:"a" protocol_error:1002 disconnected:failed`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

// Leaving keeps what is already read, for whichever form comes next.
func TestLeaveHandle(t *testing.T) {
	c, p := connect(t, true, nil)
	const n = 300
	go func() {
		for i := range n {
			p.Write(text(fmt.Sprint(i)).bytes(true))
		}
	}()
	for i := range n {
		if i%3 == 2 {
			if _, b, err := c.Read(testContext(t)); err != nil || string(b) != fmt.Sprint(i) {
				t.Fatalf("message %d is %q, %v", i, b, err)
			}
			continue
		}
		forms[i%3].run(c, func(ev Event) bool {
			if string(ev.Data) != fmt.Sprint(i) {
				t.Errorf("message %d is %v %q", i, ev.Kind, ev.Data)
			}
			return false
		})
		for c.reading.Load() { // Handle lets go after f has returned
			runtime.Gosched()
		}
	}
}

func TestOneReaderHandle(t *testing.T) {
	c, p := connect(t, true, nil)
	over := make(chan struct{})
	c.Handle(func(ev Event) bool {
		if _, _, err := c.Read(testContext(t)); err != ErrReading {
			t.Errorf("Read within the handler returned %v", err)
		}
		close(over)
		return false
	})
	func() {
		defer func() {
			if recover() != ErrReading {
				t.Error("a second Handle does not panic")
			}
		}()
		c.Handle(func(Event) bool { return true })
	}()
	p.Write(text("a").bytes(true))
	<-over
}

// A handler that blocks holds up its own connection only, however many do.
func TestHandlersBlock(t *testing.T) {
	const blocked = 50
	free := make(chan struct{})
	var done sync.WaitGroup
	done.Add(blocked)
	url := serve(t, nil, func(c *Conn) {
		forms[1].run(c, func(ev Event) bool {
			if ev.Kind == Text && string(ev.Data) == "block" {
				<-free
				done.Done()
			}
			return answerMessage(c, ev)
		})
	})
	for range blocked {
		c, err := Dial(testContext(t), url, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow()
		c.Write(testContext(t), TextMessage, []byte("block"))
	}
	c, err := Dial(testContext(t), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	for i := range 100 {
		c.Write(testContext(t), TextMessage, fmt.Append(nil, i))
		if _, b, err := c.Read(testContext(t)); err != nil || string(b) != fmt.Sprint(i) {
			t.Fatalf("answer %d is %q, %v", i, b, err)
		}
	}
	close(free)
	done.Wait()
}

// A handler may end its goroutine, as t.Fatal does. Others read on, this connection's next reader among them.
func TestHandlerEndsGoroutine(t *testing.T) {
	c, p := connect(t, true, nil)
	c.Handle(func(ev Event) bool { runtime.Goexit(); return true })
	p.Write(text("a").bytes(true))
	for c.reading.Load() {
		runtime.Gosched()
	}
	p.Write(text("b").bytes(true))
	forms[1].run(c, func(ev Event) bool {
		if string(ev.Data) != "b" {
			t.Errorf("got %q", ev.Data)
		}
		return false
	})
}

// While nothing comes there is no goroutine, before messages and after.
func TestHandleHoldsNoGoroutine(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux")
	}
	const n, most = 200, 50
	addr := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if c, err := Accept(w, r, nil); err == nil {
			c.Handle(func(ev Event) bool { return answerMessage(c, ev) })
		}
	})
	before := runtime.NumGoroutine()
	for range n {
		c, err := Dial(testContext(t), "ws://"+addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow()
		c.Write(testContext(t), TextMessage, []byte("a"))
		if got := readAll(t, c, 1); got != "a" {
			t.Fatalf("got %q", got)
		}
	}
	for end := time.Now().Add(patience); runtime.NumGoroutine() > before+most; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines for %d connections", runtime.NumGoroutine()-before, n)
		}
	}
}

// Connections come and go, by all ways to end and from both sides, while descriptors are used again and again: each gives its own messages, and one end.
func TestHandleChurn(t *testing.T) {
	var open atomic.Int64
	url := serve(t, &AcceptOptions{Poll: 3 * time.Millisecond, Keepalive: 2 * time.Millisecond}, func(c *Conn) {
		open.Add(1)
		ended := 0
		forms[1].run(c, func(ev Event) bool {
			switch {
			case ev.Kind == Text && string(ev.Data) == "close":
				c.Close(CloseNormal, "")
			case ev.Kind == Text && string(ev.Data) == "cut":
				go c.CloseNow()
			case ev.Kind == Disconnected:
				if ended++; ended > 1 {
					t.Error("two ends")
				}
			}
			return answerMessage(c, ev)
		})
		open.Add(-1)
	})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 25 {
				c, err := Dial(testContext(t), url, nil)
				if err != nil {
					t.Error(err)
					return
				}
				for j := range 3 {
					want := fmt.Sprintf("%d %d %d", g, i, j)
					c.Write(testContext(t), TextMessage, []byte(want))
					if _, b, err := c.Read(testContext(t)); err != nil || string(b) != want {
						t.Errorf("got %q, %v, want %s", b, err, want)
					}
				}
				switch i % 4 {
				case 0:
					c.Write(testContext(t), TextMessage, []byte("close"))
				case 1:
					c.Write(testContext(t), TextMessage, []byte("cut"))
				case 2:
					c.CloseNow()
				}
				if i%4 == 3 {
					go c.Close(CloseNormal, "")
				}
				forms[g%2].events(c, nil)
			}
		})
	}
	wg.Wait()
	for end := time.Now().Add(patience); open.Load() > 0; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d connections have not ended", open.Load())
		}
	}
}

// A server that keeps an eye on its connections may go on to close them; where nobody does, they are taken over. Handle works with both.
func TestAcceptTakesOver(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux")
	}
	for _, tracked := range []bool{true, false} {
		conns, ended := make(chan *Conn, 1), make(chan error, 1)
		s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if c, err := Accept(w, r, nil); err == nil {
				conns <- c
				c.Handle(func(ev Event) bool {
					if ev.Kind == Disconnected {
						ended <- ev.Err
					}
					return answerMessage(c, ev)
				})
			}
		})}
		known := make(chan net.Conn, 1)
		if tracked {
			s.ConnContext = func(ctx context.Context, c net.Conn) context.Context { known <- c; return ctx }
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go s.Serve(l)
		defer s.Close()
		client, err := Dial(testContext(t), "ws://"+l.Addr().String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer client.CloseNow()
		client.Write(testContext(t), TextMessage, []byte("a"))
		if got := readAll(t, client, 1); got != "a" {
			t.Errorf("got %q", got)
		}
		c := <-conns
		if _, taken := c.nc.(*netio.Socket); taken == tracked {
			t.Errorf("tracked %v: the connection is a %T", tracked, c.nc)
		}
		if tracked {
			(<-known).Close()
		} else {
			client.CloseNow()
		}
		<-ended
	}
}
