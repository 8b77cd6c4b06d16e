package server

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hawser/client"
	"hawser/lifecycle"
	"hawser/session"
)

// nowhere is an address of which the system says that there is no way to it: TCP has no broadcasts (ENETUNREACH).
const nowhere = "ws://255.255.255.255:9/session"

// TestFourteenStates takes a client through all its states on real connections. Three observers, one of them slow and one late, see the same changes in the same order.
func TestFourteenStates(t *testing.T) {
	r := serve(t, Options{Auth: &people{of: map[string]person{"good": {name: "ann"}}}})
	closed := listen(t)
	closed.Close()
	if _, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(nowhere, "ws://"), "/session")); err == nil || !strings.Contains(err.Error(), "unreachable") {
		t.Skipf("this system's broadcast address says %v", err)
	}
	var mu sync.Mutex
	answers := []string{"", "good", "good", "bad"} // of the provider; empty: it fails
	c, err := client.New(client.Options{
		Servers: []string{nowhere, "ws://" + closed.Addr().String() + "/session", "ws://" + r.http + "/session"},
		BackOff: client.BackOff{Random: func() float64 { return 0 }},
		Credentials: func(context.Context, client.CredentialsRequest) (string, error) {
			mu.Lock()
			defer mu.Unlock()
			token := answers[0]
			answers = answers[1:]
			if token == "" {
				return "", errors.New("the provider is not there yet")
			}
			return token, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(soon(t))
	defer cancel()
	var prompt, slow []client.StateChange
	hold, over := make(chan struct{}), make(chan struct{}, 2)
	observe := func(list *[]client.StateChange, wait <-chan struct{}) {
		for sc := range c.States(ctx) {
			if *list = append(*list, sc); wait != nil && len(*list) == 3 {
				<-wait
			}
			if sc.Reason.Is(lifecycle.ReasonUnauthorized) && sc.To == session.Disconnected {
				break
			}
		}
		over <- struct{}{}
	}
	go observe(&prompt, nil)
	go observe(&slow, hold)

	if err := c.Connect(soon(t)); err != nil {
		t.Fatal(err)
	}
	if err := c.Pause(); err != nil {
		t.Error(err)
	}
	c.Resume()
	until(t, "the connection without credentials is gone", func() bool { return len(r.Sessions()) == 1 })
	r.sessions.list()[0].carrier.CloseNow()
	logins := 0 // the first one, after the pause, and after the break
	for sc := range c.States(soon(t)) {
		if sc.To == session.LoggedIn {
			logins++
		}
		if logins == 3 {
			break
		}
	}
	until(t, "the session is listed", func() bool { return len(r.Sessions()) == 1 })
	r.Eject(r.Sessions()[0].ID, lifecycle.ReasonEjected.With("enough"))
	until(t, "it is thrown out", func() bool { return c.State() == session.Disconnected })
	if err := c.Connect(soon(t)); !errors.Is(err, lifecycle.ReasonUnauthorized) {
		t.Errorf("got %v", err)
	}
	close(hold)
	for range 2 {
		select {
		case <-over:
		case <-time.After(patience):
			t.Fatal("an observer has not seen the end")
		}
	}
	var late []client.StateChange
	observe(&late, nil)
	const toServer = "connecting unreachable connecting failed connecting connected retrieving_credentials "
	want := toServer + "credentials_retrieval_failed " + toServer + "credentials_retrieved logged_in paused logged_in lost " +
		"connecting connected retrieving_credentials credentials_retrieved reconnected logged_in ejected disconnected " +
		toServer + "credentials_retrieved login_failed disconnected"
	seen := map[session.State]bool{}
	for name, list := range map[string][]client.StateChange{"prompt": prompt, "slow": slow, "late": late} {
		var words []string
		for i, sc := range list {
			words = append(words, sc.To.String())
			seen[sc.To] = true
			if sc.Seq != uint64(i) || sc.Missed != 0 || !sc.From.May(sc.To) || i > 0 && sc.From != list[i-1].To || sc.Time.IsZero() {
				t.Errorf("%s: change %d is %+v", name, i, sc)
			}
		}
		if got := strings.Join(words, " "); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, want)
		}
	}
	if !slices.Equal(prompt, late) || !slices.Equal(prompt, slow) {
		t.Error("the observers differ")
	}
	if len(seen) != 14 {
		t.Errorf("%d states of 14", len(seen))
	}
}
