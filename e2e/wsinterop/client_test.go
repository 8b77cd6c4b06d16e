package wsinterop

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"hawser/websocket"
)

// seen is what our end knows of a connection when it is over.
type seen struct {
	path, extensions, end string
}

// ourServer echoes at /echo, and closes at /close and /nostatus; it tells how each connection ended. Anything else is an empty page.
type ourServer struct {
	options websocket.AcceptOptions
	seen    chan seen
	ctx     context.Context
}

func (s *ourServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") == "" && r.Method != http.MethodConnect {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<!doctype html><link rel="icon" href="data:,">`)
		return
	}
	c, err := websocket.Accept(w, r, &s.options)
	if err != nil {
		s.seen <- seen{r.URL.Path, "", err.Error()}
		return
	}
	go s.follow(c)
	c.Hold()
}

func (s *ourServer) follow(c *websocket.Conn) {
	switch c.URL().Path {
	case "/close":
		c.Close(4002, "go away ü")
	case "/nostatus":
		c.Close(0, "")
	}
	end := ""
	for ev := range c.Events(s.ctx) {
		switch ev.Kind {
		case websocket.Text, websocket.Binary:
			s.answer(c, ev)
		case websocket.Pong:
			if string(ev.Data) == "from hawser" {
				c.Write(s.ctx, websocket.TextMessage, []byte("ponged"))
			}
		case websocket.Closing, websocket.Closed, websocket.ProtocolError:
			end += fmt.Sprintf("%v:%d %s,", ev.Kind, ev.Code, ev.Reason)
		case websocket.Disconnected:
			end += fmt.Sprintf("graceful:%v", ev.Graceful)
		}
	}
	s.seen <- seen{c.URL().Path, c.Extensions(), end}
}

func (s *ourServer) answer(c *websocket.Conn, ev websocket.Event) {
	switch string(ev.Data) {
	case "ping me":
		c.Ping(s.ctx, []byte("from hawser"))
	case "fragments": // with a ping between; uncompressed, as a message may always be
		c.Queue(websocket.AppendFrame(nil, false, websocket.OpText, []byte("frag")), websocket.AppendFrame(nil, true, websocket.OpPing, []byte("between")),
			websocket.AppendFrame(nil, false, websocket.OpContinuation, []byte("ment")), websocket.AppendFrame(nil, true, websocket.OpContinuation, []byte("s")))
	default:
		typ := websocket.BinaryMessage
		if ev.Kind == websocket.Text {
			typ = websocket.TextMessage
		}
		c.Write(s.ctx, typ, ev.Data)
	}
}

// closed is what a program knows of the end of a connection.
type closed struct {
	Code   int
	Reason string
}

// TestTheirClient lets each program connect to our server.
func TestTheirClient(t *testing.T) {
	each(t, false, func(t *testing.T, p program, c compression, args map[string]any) {
		ours := &ourServer{options: websocket.AcceptOptions{Subprotocols: []string{"interop"}, Compression: c.ours}, seen: make(chan seen, 10), ctx: testContext(t)}
		s := httptest.NewServer(ours)
		t.Cleanup(s.Close)
		args["url"] = "ws" + strings.TrimPrefix(s.URL, "http")
		checkAnswers(t, p.start(t, args), c)
		checkEnds(t, ours, p, c)
	})
}

// checkAnswers hears what a program says of its connections.
func checkAnswers(t *testing.T, r *process, c compression) {
	t.Helper()
	var a struct {
		Protocol, Extensions, Fragments, Pong, Pinged, Joined string
		Wrong                                                 []string
		Closed, Other, Silent                                 closed
	}
	r.hear(&a)
	if len(a.Wrong) > 0 || a.Protocol != "interop" || a.Fragments != "in fragments" || a.Pong != "to hawser" || a.Pinged != "ponged" || a.Joined != "fragments" {
		t.Errorf("the program says %+v", a)
	}
	if (c.ours != nil) != strings.Contains(a.Extensions, "permessage-deflate") {
		t.Errorf("the program says that the extensions are %q", a.Extensions)
	}
	if a.Closed.Code != 4001 || a.Other != (closed{4002, "go away ü"}) || a.Silent.Code != websocket.CloseNoStatus {
		t.Errorf("the ends are %+v, %+v and %+v", a.Closed, a.Other, a.Silent)
	}
}

// checkEnds compares what our end knows of the four connections of a program. They may end in another order than they begin: a server that closes waits for the client to let go.
func checkEnds(t *testing.T, ours *ourServer, p program, c compression) {
	t.Helper()
	want := []string{"/echo closing:4001 bye ü,closed:4001 bye ü,graceful:true", "/close graceful:true", "/nostatus graceful:true", "/echo closing:1005 ,closed:1005 ,graceful:true"}
	if p.noSilentClose {
		want = want[:3]
	}
	var ends []string
	for range want {
		select {
		case got := <-ours.seen:
			ends = append(ends, got.path+" "+got.end)
			if (c.ours != nil) != strings.HasPrefix(got.extensions, "permessage-deflate") {
				t.Errorf("our end has extensions %q", got.extensions)
			}
			t.Logf("%s: extensions %q", got.path, got.extensions)
		case <-time.After(patience):
			t.Fatalf("our end saw %q, and then nothing more", ends)
		}
	}
	slices.Sort(want)
	slices.Sort(ends)
	if !slices.Equal(ends, want) {
		t.Errorf("our end saw %q, want %q", ends, want)
	}
}
