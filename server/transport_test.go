package server

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"hawser/client"
	"hawser/session"
)

// TestTransports: a session does the same over every transport: a hundred messages, acknowledged, come back in order and once, and a call has its result.
func TestTransports(t *testing.T) {
	for _, transport := range []string{client.WebSocket, client.Events, client.Poll, client.WebRTC} {
		t.Run(transport, func(t *testing.T) {
			r := serve(t, withRTC())
			c, err := client.New(client.Options{Servers: []string{"ws://" + r.http + "/session"}, Transports: []string{transport}, RTC: *quickRTC("")})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			ctx := soon(t)
			if err := c.Connect(ctx); err != nil {
				t.Fatal(err)
			}
			if got := c.Transport(); got != transport {
				t.Errorf("carried by %s", got)
			}
			sub, err := c.Subscribe(ctx, "/log", nil)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 100 {
				if _, err := c.Send(ctx, "/log", i, nil); err != nil {
					t.Fatal(err)
				}
			}
			next := 0
			for u := range sub.Updates(ctx) {
				if u.Kind != session.EventUpdate {
					continue
				}
				if string(u.Data) != fmt.Sprint(next) {
					t.Fatalf("got %s, want %d", u.Data, next)
				}
				if next++; next == 100 {
					break
				}
			}
			r.HandleCall("/double", double)
			if got, err := c.Call(ctx, "/double", 21, nil); err != nil || string(got) != "42" {
				t.Errorf("%s, %v", got, err)
			}
		})
	}
}

func decode(b []byte) (n int) {
	json.Unmarshal(b, &n)
	return n
}

func double(_ context.Context, c *Call) ([]byte, error) {
	return json.Marshal(2 * decode(c.Data))
}
