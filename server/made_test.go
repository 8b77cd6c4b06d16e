package server

import (
	"testing"

	"hawser/client"
	"hawser/lifecycle"
	"hawser/session"
	"hawser/subject"
)

// login makes a client of the server.
func login(t *testing.T, r *rig, o client.Options) *client.Client {
	t.Helper()
	o.Servers = []string{"ws://" + r.http + "/session"}
	c, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Connect(soon(t)); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestHereAndList: who follows a path, and what lies below one, are records that anybody may follow and nobody else may publish.
func TestHereAndList(t *testing.T) {
	r := serve(t, Options{})
	r.publish("/fx/EURUSD", subject.Record, subject.Update{Fields: []subject.Field{{Name: "bid", Value: []byte("1")}}})
	r.publish("/fx/more/deep", subject.Log, subject.Update{Data: []byte("1")})
	watcher, guest := login(t, r, client.Options{}), login(t, r, client.Options{})
	image := func(path string, done func(map[string]string) bool) {
		t.Helper()
		sub, err := watcher.Subscribe(soon(t), path, nil)
		if err != nil {
			t.Fatal(err)
		}
		now := map[string]string{}
		for u := range sub.Updates(soon(t)) {
			fields, _ := session.ParseFields(nil, u.Fields)
			for _, f := range fields {
				if now[f.Name] = string(f.Value); f.Value == nil {
					delete(now, f.Name)
				}
			}
			if done(now) {
				sub.Close()
				return
			}
		}
		t.Errorf("%s ended as %v", path, now)
	}
	image("/fx/@list", func(now map[string]string) bool {
		return len(now) == 2 && now["EURUSD"] == `{"kind":"record"}` && now["more"] == `{"children":1}`
	})
	came := false
	follow, err := guest.Subscribe(soon(t), "/fx/EURUSD", nil)
	if err != nil {
		t.Fatal(err)
	}
	image("/fx/EURUSD/@here", func(now map[string]string) bool {
		if len(now) == 1 && !came {
			came = true
			follow.Close()
		}
		return came && len(now) == 0
	})
	if _, err := guest.Publish(soon(t), "/fx/@list", 1, nil); !lifecycle.ReasonOf(err).Is(lifecycle.ReasonRefused) {
		t.Errorf("published there: %v", err)
	}
}
