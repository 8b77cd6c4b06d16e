// Package client is the Go client of the session protocol (docs/protocol.md): one session with one server out of a list, which outlives the network.
//
// It connects, logs in, pings, and after a break connects again under a back-off with full jitter and asks for what is next on every subscription, by epoch and
// offset: an update is handed out once and in order, and what was lost is told as a gap, never silently. It holds no media player: it hands out
// fragmented MP4 as it comes, and carries the signals of peers of package rtc.
//
//	c, err := client.New(client.Options{Servers: []string{"ws://localhost:8080/session"}})
//	if err != nil { ... }
//	defer c.Close()
//	if err := c.Connect(ctx); err != nil { ... }
//	sub, err := c.Subscribe(ctx, "/fx/EURUSD", nil)
//	if err != nil { ... }
//	for u := range sub.Updates(ctx) {
//		fmt.Println(u.Kind, u.Offset, string(u.Fields))
//	}
package client
