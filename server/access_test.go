package server

import (
	"context"
	"encoding/json"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"hawser/auth"
	"hawser/lifecycle"
	"hawser/session"
)

// person is who a token stands for.
type person struct {
	name string
	ends time.Time
	not  string // "action path" that it may not
}

func (p person) User() string       { return p.name }
func (p person) Expires() time.Time { return p.ends }
func (p person) Check() error       { return nil }
func (p person) May(a auth.Action, path string) bool {
	return !strings.Contains(p.not, string(a)+" "+path+";")
}

// people is an authenticator.
type people struct {
	mu sync.Mutex
	of map[string]person // by token
}

func (p *people) Authenticate(_ context.Context, token string, _ netip.Addr) (auth.Identity, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	who, ok := p.of[token]
	if !ok {
		return nil, lifecycle.ReasonUnauthorized.With("no such token")
	}
	return who, nil
}

// loginAs opens a session with a token, or with more members of the hello.
func (r *rig) loginAs(token string, more ...string) (*wire, got) {
	r.t.Helper()
	w := r.open(nil)
	w.say(`{"t":"hello","version":1,"token":"%s"%s}`, token, strings.Join(more, ""))
	return w, w.want(session.TypeWelcome)
}

func TestEveryActionIsChecked(t *testing.T) {
	never := "subscribe /secret;publish /secret;play /secret;call /secret;source /secret;"
	r := serve(t, Options{Auth: &people{of: map[string]person{"a": {name: "ann", not: never}}}})
	r.HandleCall("/secret", func(context.Context, *Call) ([]byte, error) { t.Error("it was called"); return nil, nil })
	w, welcome := r.loginAs("a")
	if welcome.User != "ann" || welcome.Expires != 0 {
		t.Errorf("welcome: %+v", welcome.Message)
	}
	for _, tc := range []struct {
		say    string
		answer session.Type
	}{
		{`{"t":"subscribe","path":"/secret"}`, session.TypeStatus},
		{`{"t":"publish","id":1,"path":"/secret","data":1}`, session.TypeError},
		{`{"t":"play","path":"/secret"}`, session.TypeMedia},
		{`{"t":"call","id":2,"name":"/secret"}`, session.TypeResult},
		{`{"t":"source","path":"/secret","on":true}`, session.TypeError},
	} {
		w.say("%s", tc.say)
		m := w.want(tc.answer)
		if !m.Reason.Is(lifecycle.ReasonRefused) || !strings.Contains(m.Reason.Text, "ann may not") {
			t.Errorf("%s: got %+v", tc.say, m.Message)
		}
	}
	if r.Subjects().Find("/secret") != nil {
		t.Error("it was published, or followed")
	}
	for _, path := range []string{"/a/@here", "/a/@x/b", "/sys/x"} { // the server's own
		w.say(`{"t":"publish","id":9,"path":"%s","data":1}`, path)
		if m := w.want(session.TypeError); !m.Reason.Is(lifecycle.ReasonRefused) {
			t.Errorf("%s: got %+v", path, m.Message)
		}
	}
}

func TestBadCredentials(t *testing.T) {
	r := serve(t, Options{Auth: &people{}})
	w := r.open(nil)
	w.say(`{"t":"hello","version":1,"token":"wrong"}`)
	w.wantEnd(lifecycle.ReasonUnauthorized, session.TypeError)
	until(t, "nothing is left", func() bool { return len(r.Sessions()) == 0 })
}

// TestRenewalOfAll: new credentials are checked against all that the session follows and feeds; bad ones, and those of others, change nothing.
func TestRenewalOfAll(t *testing.T) {
	soonOver := time.Now().Add(time.Hour)
	all := &people{of: map[string]person{"old": {name: "ann"}, "new": {name: "ann", ends: soonOver, not: "subscribe /a;play /live/a;source /fx;"}, "bob": {name: "bob"}}}
	r := serve(t, Options{Auth: all})
	f := r.feed("/live/a")
	f.write(1)
	w, _ := r.loginAs("old")
	w.say(`{"t":"subscribe","path":"/a"}`)
	w.want(session.TypeSnapshot)
	w.say(`{"t":"subscribe","path":"/b"}`)
	w.want(session.TypeSnapshot)
	w.say(`{"t":"source","path":"/fx","on":true}`)
	w.say(`{"t":"play","path":"/live/a"}`)
	w.want(session.TypeMedia)
	for w.next().head.Flags&session.FlagInit != 0 { // and the first frame
	}
	for _, token := range []string{"wrong", "bob"} {
		w.say(`{"t":"token","id":1,"token":"%s"}`, token)
		if m := w.want(session.TypeResult); m.ID != 1 || !m.Reason.Is(lifecycle.ReasonUnauthorized) {
			t.Errorf("%s: got %+v", token, m.Message)
		}
	}
	w.say(`{"t":"token","id":2,"token":"new"}`)
	if m := w.want(session.TypeResult); m.ID != 2 || !m.Reason.IsZero() || m.Expires != soonOver.UnixMilli() || m.At == 0 {
		t.Errorf("got %+v", m.Message)
	}
	if m := w.want(session.TypeStatus); m.Path != "/a" || m.Status != session.StatusRefused {
		t.Errorf("got %+v", m.Message)
	}
	if m := w.want(session.TypeMedia); m.Path != "/live/a" || m.Status != session.StatusGone {
		t.Errorf("got %+v", m.Message)
	}
	if m := w.want(session.TypeError); m.Path != "/fx" || !m.Reason.Is(lifecycle.ReasonRefused) {
		t.Errorf("got %+v", m.Message)
	}
	r.log("/b", 0, 1)
	w.wantLog("/b", 0, 1) // goes on
	w.say(`{"t":"subscribe","path":"/a"}`)
	if m := w.want(session.TypeStatus); m.Status != session.StatusRefused {
		t.Errorf("again: got %+v", m.Message)
	}
}

func TestEndOfCredentials(t *testing.T) {
	t.Parallel()
	const lifetime = 3 * time.Second
	r := serve(t, Options{Auth: &people{of: map[string]person{"a": {name: "ann", ends: time.Now().Add(lifetime)}, "b": {name: "ann", ends: time.Now().Add(time.Hour)}}}})
	w, welcome := r.loginAs("a")
	kept, _ := r.loginAs("a")
	kept.say(`{"t":"token","id":1,"token":"b"}`)
	kept.want(session.TypeResult)
	if left := welcome.Expires - welcome.At; left <= 0 || left > lifetime.Milliseconds() {
		t.Errorf("they end in %d ms", left)
	}
	w.wantEnd(lifecycle.ReasonUnauthorized, session.TypeEjected)
	kept.say(`{"t":"ping","id":1}`)
	kept.want(session.TypePong)
}

func TestSessionsOfAUser(t *testing.T) {
	all := &people{of: map[string]person{"a": {name: "ann"}, "b": {name: "bob"}}}
	r := serve(t, Options{Auth: all, MaxSessionsPerUser: 2})
	first, welcome := r.loginAs("a")
	r.loginAs("a")
	r.loginAs("b")
	third := r.open(nil)
	third.say(`{"t":"hello","version":1,"token":"a"}`)
	third.wantEnd(lifecycle.ReasonLimit, session.TypeError)
	if _, again := r.loginAs("a", `,"session":"`+welcome.Message.Session+`"`); !again.Resumed { // the same one, on another connection
		t.Error("it was not taken over")
	}
	first.wantEnd(lifecycle.ReasonReplaced, session.TypeBye)
}

func TestNewerLogin(t *testing.T) {
	r := serve(t, Options{Auth: &people{of: map[string]person{"a": {name: "ann"}}}, MaxSessionsPerUser: 2, ReplaceSessions: true})
	first, _ := r.loginAs("a")
	second, _ := r.loginAs("a")
	r.loginAs("a")
	first.wantEnd(lifecycle.ReasonReplaced, session.TypeEjected)
	second.say(`{"t":"ping","id":1}`)
	second.want(session.TypePong)
}

func TestSessionsOfAnAddress(t *testing.T) {
	r := serve(t, Options{MaxSessionsPerAddress: 1})
	w := r.login()
	if status := r.status(""); status != 503 {
		t.Errorf("the second: got status %d", status)
	}
	if code, _ := r.plainGet("/session/poll?n=0&c=" + plainKey(t)); code != 503 {
		t.Errorf("the second, over plain HTTP: got status %d", code)
	}
	w.ws.CloseNow()
	until(t, "there is room again", func() bool { return r.status("") == 101 })
}

func TestPublishRate(t *testing.T) {
	r := serve(t, Options{MaxPublishRate: 5})
	w := r.login()
	limited := 0
	began := time.Now()
	for i := range 20 {
		w.say(`{"t":"publish","id":%d,"path":"/a","data":%d}`, i+1, i)
		if m := w.next(); m.Type == session.TypeError && m.Reason.Is(lifecycle.ReasonLimit) {
			limited++
		} else if m.Type != session.TypeAck {
			t.Fatalf("got %+v", m.Message)
		}
	}
	due := 5 + int(5*time.Since(began).Seconds()) // on a busy machine that may be all
	if limited < 20-due-1 || limited > 15 {
		t.Errorf("%d of 20 were too many for 5 a second, of which %d were due", limited, due)
	}
}

func TestCalls(t *testing.T) {
	r := serve(t, Options{CallTimeout: patience, MaxCalls: 2})
	ended := make(chan error, 10)
	wait := func(ctx context.Context, _ *Call) ([]byte, error) {
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	}
	r.HandleCall("/wait", wait)
	r.HandleCall("/echo", func(_ context.Context, c *Call) ([]byte, error) { return c.Data, nil })
	r.HandleCall("/fault", func(context.Context, *Call) ([]byte, error) { panic("oh") })
	r.HandleCall("/text", func(context.Context, *Call) ([]byte, error) { return []byte("no JSON"), nil })
	r.HandleCall("/no", func(context.Context, *Call) ([]byte, error) { return nil, lifecycle.ReasonNotFound.With("no such lot") })
	w := r.login()
	for i, tc := range []struct {
		name, data, want string
		why              lifecycle.Reason
	}{
		{"/echo", `{"a":1}`, `{"a":1}`, lifecycle.Reason{}},
		{"/fault", `1`, "", lifecycle.ReasonInternal},
		{"/text", `1`, "", lifecycle.ReasonInternal},
		{"/no", `1`, "", lifecycle.ReasonNotFound},
		{"/nobody", `1`, "", lifecycle.ReasonNotFound},
	} {
		w.say(`{"t":"call","id":%d,"name":"%s","data":%s}`, i+1, tc.name, tc.data)
		m := w.want(session.TypeResult)
		if m.ID != uint64(i+1) || string(m.Data) != tc.want || m.Reason.Code != tc.why.Code {
			t.Errorf("%s: got %+v", tc.name, m.Message)
		}
	}
	w.say(`{"t":"call","id":20,"name":"/wait","timeout":30}`)
	if m := w.want(session.TypeResult); m.ID != 20 || !m.Reason.Is(lifecycle.ReasonTimeout) {
		t.Errorf("late: got %+v", m.Message)
	}
	w.say(`{"t":"call","id":21,"name":"/wait"}`)
	w.say(`{"t":"cancel","id":21}`)
	if m := w.want(session.TypeResult); m.ID != 21 || !m.Reason.Is(lifecycle.ReasonDone) {
		t.Errorf("called off: got %+v", m.Message)
	}
	w.say(`{"t":"call","id":22,"name":"/wait"}`)
	w.say(`{"t":"call","id":23,"name":"/wait"}`)
	w.say(`{"t":"call","id":24,"name":"/echo","data":1}`)
	if m := w.want(session.TypeResult); m.ID != 24 || !m.Reason.Is(lifecycle.ReasonLimit) {
		t.Errorf("one too many: got %+v", m.Message)
	}
	impatient := serve(t, Options{CallTimeout: 30 * time.Millisecond})
	impatient.HandleCall("/wait", wait)
	other := impatient.login()
	other.say(`{"t":"call","id":1,"name":"/wait"}`)
	if m := other.want(session.TypeResult); !m.Reason.Is(lifecycle.ReasonTimeout) {
		t.Errorf("late, by the server's time: got %+v", m.Message)
	}
	w.ws.CloseNow() // nobody is there to be told, and no publisher to remember it
	for range 5 {
		select {
		case <-ended:
		case <-time.After(patience):
			t.Fatal("a call goes on without its client")
		}
	}
}

// TestCallOutlivesTheConnection: one that is sent again is done once, its result goes where the client is now, and it can be called off from there.
func TestCallOutlivesTheConnection(t *testing.T) {
	r := serve(t, Options{})
	begun, goOn := make(chan string, 10), make(chan bool)
	r.HandleCall("/work", func(ctx context.Context, c *Call) ([]byte, error) {
		begun <- string(c.Data)
		select {
		case <-goOn:
			return json.RawMessage(`"done"`), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	const hello = `{"t":"hello","version":1,"publisher":"0123456789abcdef"}`
	const call = `{"t":"call","id":1,"name":"/work","data":1}`
	open := func() *wire {
		w := r.open(nil)
		w.say(hello)
		w.want(session.TypeWelcome)
		return w
	}
	w := open()
	w.say(call)
	<-begun
	w.ws.CloseNow()
	w = open()
	w.say(call)
	goOn <- true
	if m := w.want(session.TypeResult); m.ID != 1 || string(m.Data) != `"done"` {
		t.Errorf("got %+v", m.Message)
	}
	w.say(call)
	if m := w.want(session.TypeResult); m.ID != 1 || string(m.Data) != `"done"` {
		t.Errorf("again: got %+v", m.Message)
	}
	w.say(`{"t":"call","id":2,"name":"/work","data":2}`)
	if data := <-begun; data != "2" {
		t.Errorf("%s was done twice", data)
	}
	w.ws.CloseNow()
	w = open()
	w.say(`{"t":"cancel","id":2}`)
	if m := w.want(session.TypeResult); m.ID != 2 || !m.Reason.Is(lifecycle.ReasonDone) {
		t.Errorf("called off: got %+v", m.Message)
	}
}
