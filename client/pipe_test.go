package client

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hawser/lifecycle"
	"hawser/session"
	"hawser/websocket"
)

// pipe is a wire without a network: what the client writes goes to handle, what handle and the test say goes to the client.
type pipe struct {
	in   chan []byte
	gone chan struct{}
	once sync.Once
	err  error

	handle func(p *pipe, m session.Message)
}

func newPipe(handle func(p *pipe, m session.Message)) *pipe {
	return &pipe{in: make(chan []byte, 1000), gone: make(chan struct{}), handle: handle}
}

func (p *pipe) Read(ctx context.Context) (websocket.MessageType, []byte, error) {
	select {
	case b := <-p.in:
		return websocket.TextMessage, b, nil
	case <-p.gone:
		return 0, nil, p.err
	case <-ctx.Done():
		return 0, nil, ctx.Err()
	}
}

func (p *pipe) Write(_ context.Context, _ websocket.MessageType, b []byte) error {
	var m session.Message
	if err := session.Parse(b, &m); err != nil {
		return err
	}
	select {
	case <-p.gone:
		return p.err
	default:
		p.handle(p, m)
		return nil
	}
}

func (p *pipe) Close(code int, reason string) error {
	p.end(&websocket.CloseError{Code: code, Reason: reason, Side: websocket.Local})
	return nil
}

func (p *pipe) end(err error) { p.once.Do(func() { p.err = err; close(p.gone) }) }

func (p *pipe) say(m session.Message) { p.in <- session.Append(nil, &m) }

func (p *pipe) welcome(heartbeat time.Duration) {
	m := session.Message{Type: session.TypeWelcome, At: time.Now().UnixMilli()}
	m.Version, m.Session, m.Heartbeat = session.Version, "s-1", heartbeat
	p.say(m)
}

// piped makes a client whose attempts give what dial gives.
func piped(t *testing.T, o Options, dial func(attempt int, server string) (*pipe, error)) *Client {
	t.Helper()
	if o.Servers == nil {
		o.Servers = []string{"ws://a/session"}
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	attempt := 0
	c.dial = func(ctx context.Context, server string) (wire, string, error) {
		attempt++
		p, err := dial(attempt, server)
		if err != nil {
			return nil, "", err
		}
		return p, WebSocket, nil
	}
	return c
}

// course returns the states gone through, with their reasons.
func course(c *Client) string {
	var s []string
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for sc := range c.States(ctx) {
		s = append(s, strings.TrimSpace(sc.To.String()+" "+sc.Reason.Word))
	}
	return strings.Join(s, ", ")
}

func TestBackOffDoublesAndStartsAnewAfterAStand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		half := func() float64 { return 0.5 }
		o := Options{Servers: []string{"ws://a/s", "ws://b/s"}, BackOff: BackOff{Base: time.Second, Max: 5 * time.Second, Stand: time.Minute, Random: half}}
		var pipes []*pipe
		c := piped(t, o, func(n int, _ string) (*pipe, error) {
			if n <= 4 {
				return nil, io.EOF
			}
			p := newPipe(func(p *pipe, m session.Message) {
				if m.Type == session.TypeHello {
					p.welcome(0)
				}
			})
			pipes = append(pipes, p)
			return p, nil
		})
		if err := c.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // in the bubble: too short a stand
		pipes[0].end(io.EOF)
		synctest.Wait()
		if err := c.Await(t.Context(), session.LoggedIn); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		pipes[1].end(io.EOF)
		synctest.Wait()
		var delays []time.Duration
		var servers []string
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for sc := range c.States(ctx) {
			switch sc.To {
			case session.Failed, session.Lost:
				delays = append(delays, sc.Delay)
			case session.Connecting:
				servers = append(servers, sc.Server[5:6])
			}
		}
		want := []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 2500 * time.Millisecond, 2500 * time.Millisecond, 500 * time.Millisecond}
		if !slices.Equal(delays, want) {
			t.Errorf("delays %v, want %v", delays, want)
		}
		if got := strings.Join(servers, ""); got != "ababaa" { // the next one after a failure, the same one after a break
			t.Errorf("servers %s", got)
		}
		c.Close()
	})
}

func TestLoginTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := piped(t, Options{BackOff: BackOff{Base: time.Hour, Max: time.Hour, Random: func() float64 { return 1 }}}, func(int, string) (*pipe, error) {
			return newPipe(func(*pipe, session.Message) {}), nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		if err := c.Connect(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if got := course(c); got != "connecting, connected, lost timeout" || time.Since(start) != time.Minute {
			t.Errorf("%s after %s", got, time.Since(start))
		}
		c.Close()
		if got := course(c); got != "connecting, connected, lost timeout, disconnected done" {
			t.Error(got)
		}
	})
}

func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const delay, ahead = 40 * time.Millisecond, 7 * time.Second
		var silent atomic.Bool
		c := piped(t, Options{BackOff: BackOff{Random: func() float64 { return 1 }}}, func(int, string) (*pipe, error) {
			return newPipe(func(p *pipe, m session.Message) {
				switch {
				case m.Type == session.TypeHello:
					p.welcome(time.Second)
				case m.Type == session.TypePing && !silent.Load():
					at := time.Now().Add(delay/2 + ahead).UnixMilli()
					time.AfterFunc(delay, func() { p.say(session.Message{Type: session.TypePong, ID: m.ID, At: at}) })
				}
			}), nil
		})
		if err := c.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		if got, want := c.Clock(), (Clock{delay, delay, ahead, 10}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if c.State() != session.LoggedIn {
			t.Errorf("state %s", c.State())
		}
		silent.Store(true)
		start := time.Now()
		if err := c.Await(t.Context(), session.Lost); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < 2*time.Second || took > 3*time.Second {
			t.Errorf("silence was noticed after %s, want about 2.5 heartbeats", took)
		}
		c.Close()
	})
}

func TestConnectSaysWhyTheLoginFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := piped(t, Options{}, func(int, string) (*pipe, error) {
			return newPipe(func(p *pipe, m session.Message) {
				p.say(session.Message{Type: session.TypeError, Reason: lifecycle.ReasonUnauthorized})
			}), nil
		})
		err := c.Connect(t.Context())
		if !errors.Is(err, lifecycle.ReasonUnauthorized) || err.Error() != "client: connect: unauthorized: the credentials were not accepted" {
			t.Error(err)
		}
		synctest.Wait()
		if got := course(c); got != "connecting, connected, login_failed unauthorized, disconnected unauthorized" {
			t.Error(got)
		}
		if _, err := c.Subscribe(t.Context(), "/a", nil); !errors.Is(err, lifecycle.ReasonUnauthorized) {
			t.Error(err)
		}
		if _, err := c.Publish(t.Context(), "/a", 1, nil); err == nil || err.Error() != `client: publish "/a": lost: not connected` {
			t.Error(err)
		}
		c.Close()
	})
}

func TestStatesTellsALateObserverWhatItMissed(t *testing.T) {
	h := newHistory(3)
	c := &Client{states: h}
	for range 5 {
		h.add(StateChange{To: session.Lost})
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var seqs []uint64
	for sc := range c.States(ctx) {
		seqs = append(seqs, sc.Seq)
		switch {
		case len(seqs) == 1: // while it looks at the first, more happen than are kept
			for range 6 {
				h.add(StateChange{To: session.Failed})
			}
		case len(seqs) == 2 && sc.Missed != 5:
			t.Errorf("missed %d, want 5", sc.Missed)
		case sc.Seq == 10:
			cancel()
		}
	}
	if want := []uint64{2, 7, 8, 9, 10}; !slices.Equal(seqs, want) {
		t.Errorf("got %v, want %v", seqs, want)
	}
}

func TestOptionsSayAllThatIsWrong(t *testing.T) {
	_, err := New(Options{LoginTimeout: -1, Servers: []string{"http://x", "ws://ok/session"}, History: -1})
	for _, want := range []string{`server "http://x": want ws://HOST/PATH or wss://HOST/PATH`, "LoginTimeout is negative", "History is negative"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if _, err := New(Options{}); err == nil || err.Error() != "client: options: want at least one server" {
		t.Error(err)
	}
}
