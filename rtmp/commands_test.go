package rtmp

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"hawser/amf"
	"hawser/lifecycle"
)

// TestCommands calls in both directions.
func TestCommands(t *testing.T) {
	var results, statuses []string
	r := newRelay(t, func(s *Server) {
		s.MaxStreams = 2
		s.Handler.Length = func(_ *Conn, path string) time.Duration { return time.Duration(len(path)) * time.Second }
		s.Handler.OnCommand = func(_ context.Context, c *Conn, cmd *Command) ([]amf.Value, error) {
			switch cmd.Name {
			case "sum":
				return []amf.Value{cmd.Number(0, 0) + cmd.Number(1, 0)}, nil
			case "later", "laterNot":
				go func() {
					var err error
					if cmd.Name == "laterNot" {
						err = errors.New("too late")
					}
					c.Answer(cmd, []amf.Value{cmd.String(0), "later"}, err)
				}()
				return nil, ErrLater
			case "ask":
				go func() {
					values, err := c.Call(context.Background(), "name", "your")
					c.Notify("noted", fmt.Sprint(values, err))
				}()
				return nil, nil
			}
			return nil, lifecycle.ReasonNotFound.With("no %s here", cmd.Name)
		}
		s.Handler.OnResult = func(c *Conn, cmd *Command) { results = append(results, cmd.Name) }
		s.Handler.OnStatus = func(c *Conn, cmd *Command) { statuses = append(statuses, cmd.info().String("code")) }
	})
	noted := make(chan string, 1)
	c := dial(t, r.url("/live/cam1"), &DialOptions{OnCall: func(cmd *Command) ([]amf.Value, error) {
		if cmd.Name == "noted" {
			noted <- cmd.String(0)
		}
		return []amf.Value{cmd.String(0) + " name"}, nil
	}})
	for _, test := range []struct {
		name string
		args []amf.Value
		want string
	}{
		{"sum", []amf.Value{1.0, 2.0}, "[3] <nil>"},
		{"getStreamLength", []amf.Value{"cam1"}, "[10] <nil>"},
		{"getStreamLength", []amf.Value{".."}, "[0] <nil>"},
		{"FCUnpublish", []amf.Value{"cam1"}, "[] <nil>"},
		{"FCUnsubscribe", []amf.Value{"cam1"}, "[] <nil>"},
		{"getStats", nil, "[] <nil>"},
		{"_checkbw", nil, "[] <nil>"},
		{"releaseStream", []amf.Value{"cam1"}, "[] <nil>"},
		{"FCPublish", []amf.Value{"cam1"}, "[] <nil>"},
		{"FCSubscribe", []amf.Value{"cam1"}, "[] <nil>"},
		{"later", []amf.Value{"x"}, "[x later] <nil>"},
		{"laterNot", nil, "[] rtmp: call \"laterNot\": rtmp: refused: too late (NetConnection.Call.Failed)"},
		{"dance", nil, "[] rtmp: call \"dance\": rtmp: refused: no dance here (NetConnection.Call.Failed)"},
		{"createStream", nil, "[1] <nil>"},
		{"createStream", nil, "[2] <nil>"},
		{"createStream", nil, "[] rtmp: call \"createStream\": rtmp: refused: more than 2 streams (MaxStreams) (NetConnection.Call.Failed)"},
		{"ask", nil, "[] <nil>"},
	} {
		values, err := c.Call(t.Context(), test.name, test.args...)
		if got := fmt.Sprint(values, err); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
	if got := <-noted; got != "[your name] <nil>" {
		t.Errorf("the server's call got %s", got)
	}
	c.queue(status(0, "status", "NetStream.Some.Thing", "x"))
	c.Close()
	r.await("disconnect live done")
	if len(results) != 1 || len(statuses) != 1 || statuses[0] != "NetStream.Some.Thing" {
		t.Errorf("results %q, statuses %q", results, statuses)
	}
}

// TestCallTimeout calls a client that never answers.
func TestCallTimeout(t *testing.T) {
	got := make(chan error, 2)
	r := newRelay(t, func(s *Server) {
		s.CallTimeout = 10 * time.Millisecond
		s.Handler.OnCommand = func(_ context.Context, c *Conn, cmd *Command) ([]amf.Value, error) {
			go func() {
				_, err := c.Call(context.Background(), "silence")
				got <- err
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				_, err = c.Call(ctx, "silence")
				got <- err
			}()
			return nil, nil
		}
	})
	r.connect().Write(AppendMessage(opening(), 0, command(0, "go", 0, nil)))
	if err := <-got; !errors.Is(err, lifecycle.ReasonTimeout) || err.Error() != `rtmp: call "silence": timeout: no answer within 10ms (CallTimeout)` {
		t.Errorf("got %v", err)
	}
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
