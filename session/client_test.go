package session

import (
	"errors"
	"strings"
	"testing"

	"hawser/lifecycle"
)

const welcome = `{"t":"welcome","version":1,"session":"s-1","server":"x","heartbeat":1000,"resumed":false,"at":1}`

// loggedIn makes a machine that is logged in, with nothing left to take.
func loggedIn(t *testing.T) *Client {
	t.Helper()
	c := NewClient(ClientOptions{Strict: true})
	c.Connect()
	c.Opened()
	c.Receive([]byte(welcome))
	if c.State() != LoggedIn {
		t.Fatalf("state is %s", c.State())
	}
	c.TakeEvents()
	c.TakeMessages()
	return c
}

// course returns the states that the events went through, with their reasons.
func course(events []Event) string {
	var s []string
	for _, ev := range events {
		if ev.Kind == EventState {
			s = append(s, strings.TrimSpace(ev.State.String()+" "+ev.Reason.Word))
		}
	}
	return strings.Join(s, ", ")
}

func TestClientStatesAfterEnds(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(c *Client)
		want string
	}{
		{"closed for now", func(c *Client) { c.Closed(lifecycle.ReasonShutdown) }, "lost shutdown"},
		{"closed for good", func(c *Client) { c.Closed(lifecycle.ReasonReplaced) }, "ejected replaced, disconnected replaced"},
		{"closed as asked", func(c *Client) { c.Closed(lifecycle.ReasonDone) }, "disconnected done"},
		{"broken with a final reason", func(c *Client) { c.Broken(lifecycle.ReasonProtocol) }, "lost protocol"},
		{"garbage", func(c *Client) { c.Receive([]byte("garbage")) }, "lost protocol"},
		{"garbage media", func(c *Client) { c.ReceiveMedia([]byte{1, 2}) }, "lost protocol"},
		{"no network", func(c *Client) { c.Unreachable(); c.Retry() }, "unreachable lost, connecting"},
		{"disconnect while lost", func(c *Client) { c.Broken(lifecycle.ReasonLost); c.Disconnect() }, "lost lost, disconnected done"},
		{"what does not apply is ignored", func(c *Client) { c.Connect(); c.Retry(); c.Opened(); c.Failed(lifecycle.ReasonLost) }, ""},
	} {
		m := loggedIn(t)
		c.do(m)
		if got := course(m.TakeEvents()); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestClientOfAnotherVersion(t *testing.T) {
	c := NewClient(ClientOptions{Strict: true})
	c.Connect()
	c.Opened()
	c.Receive([]byte(strings.Replace(welcome, `"version":1`, `"version":2`, 1)))
	if got := course(c.TakeEvents()); got != "connecting, connected, lost unsupported" {
		t.Error(got)
	}
	if r, ok := c.TakeClose(); !ok || !r.Is(lifecycle.ReasonUnsupported) {
		t.Error(r)
	}
}

func TestClientRefusesNonsense(t *testing.T) {
	c := loggedIn(t)
	if err := c.Subscribe("/a", SubscribeOptions{}); err != nil {
		t.Fatal(err)
	}
	for want, err := range map[string]error{
		`session: "/a": bad_request: already subscribed`:                      c.Subscribe("/a", SubscribeOptions{}),
		`session: "a": bad_request: path: want "/" first`:                     c.Subscribe("a", SubscribeOptions{}),
		`session: "/b/": bad_request: path: empty segment`:                    c.Play("/b/", PlayOptions{}),
		`session: "/a": bad_request: not JSON: offset 0: got end, want value`: second(c.Publish(Publish{Path: "/a"})),
		`session: "/a": bad_request: not JSON: offset 1: got '2', want end`:   second(c.Publish(Publish{Path: "/a", Data: []byte("02")})),
		`session: "/a": bad_request: fields: want a JSON object`:              second(c.Publish(Publish{Path: "/a", Fields: []byte("[]")})),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	c.Broken(lifecycle.ReasonLost)
	if _, err := c.Publish(Publish{Path: "/a", Data: []byte("1")}); err != nil {
		t.Error("a publish does not wait for the next connection:", err)
	}
	c.Disconnect()
	if _, err := c.Publish(Publish{Path: "/a", Data: []byte("1")}); !errors.Is(err, lifecycle.ReasonLost) {
		t.Error(err)
	}
	if c.Ping() != 0 {
		t.Error("a ping without a session")
	}
}

func second[A any](_ A, err error) error { return err }

func TestClientSettlesPublishesInAnyOrder(t *testing.T) {
	c := loggedIn(t)
	for range 4 {
		if _, err := c.Publish(Publish{Path: "/a", Data: []byte("1")}); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"3", "1", "1", "99"} {
		c.Receive([]byte(`{"t":"ack","id":` + id + `,"path":"/a","epoch":"0000000000000001","offset":1}`))
	}
	c.Broken(lifecycle.ReasonLost)
	c.Disconnect()
	var acks, lost []uint64
	for _, ev := range c.TakeEvents() {
		switch ev.Kind {
		case EventAck:
			acks = append(acks, ev.ID)
		case EventError:
			lost = append(lost, ev.ID)
		}
	}
	if len(acks) != 2 || acks[0] != 3 || acks[1] != 1 || len(lost) != 2 || lost[0] != 2 || lost[1] != 4 {
		t.Errorf("acks %v, lost %v", acks, lost)
	}
}

func TestClientSubscribesAnewFromZero(t *testing.T) {
	c := loggedIn(t)
	_ = c.Subscribe("/a", SubscribeOptions{})
	c.Receive([]byte(`{"t":"snapshot","path":"/a","kind":"log","epoch":"0000000000000001","offset":5}`))
	c.Unsubscribe("/a")
	c.Unsubscribe("/a")
	_ = c.Subscribe("/a", SubscribeOptions{From: FromOffset, Epoch: 1, Offset: 2})
	c.TakeEvents()
	// an update that was on its way for the first subscription must not count for the second
	c.Receive([]byte(`{"t":"update","path":"/a","epoch":"0000000000000001","offset":5,"at":1,"data":5}`))
	if events := c.TakeEvents(); len(events) != 0 {
		t.Errorf("%+v", events)
	}
	want := `{"t":"subscribe","path":"/a","from":"offset","epoch":"0000000000000001","offset":2}`
	if out := c.TakeMessages(); len(out) != 3 || string(out[2]) != want {
		t.Errorf("%s", out)
	}
	for range 2 {
		c.Receive([]byte(`{"t":"status","path":"/a","status":"refused","reason":{"code":4007,"word":"refused","text":"no","retry":false}}`))
	}
	if events := c.TakeEvents(); len(events) != 1 || events[0].Status != StatusRefused {
		t.Errorf("%+v", events)
	}
	if err := c.Subscribe("/a", SubscribeOptions{}); err != nil {
		t.Error(err)
	}
}
