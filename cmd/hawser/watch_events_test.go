package main

import (
	"bytes"
	"strings"
	"testing"

	"hawser/lifecycle"
	"hawser/server"
)

// The events of a server in one order: its own view of a WebRTC connection, and the client's beside it.
func TestWatchEvents(t *testing.T) {
	s := startServer(t)
	c := s.Log().Open("rtc", lifecycle.Server, "192.0.2.7:50123")
	c.SetPath("/live/cam1")
	c.Set("checking", lifecycle.Amber, lifecycle.Reason{})
	c.SetDetail("connected", lifecycle.Green, lifecycle.Reason{}, "udp host 192.0.2.1:8189 - host 192.0.2.7:50123")
	c.Event(lifecycle.Event{Kind: server.KindView, State: "checking", Detail: "connection connecting"})
	c.Event(lifecycle.Event{Kind: server.KindSwitch, Transport: "webrtc", Detail: "decoded steadily for 2 s"})
	s.Log().Open("rtc", lifecycle.Server, "").SetPath("/elsewhere")
	var out bytes.Buffer
	if err := executeTo(t.Context(), &out, nil, "watch", "--events", "--count", "4", "http://"+s.http+"/live/cam1"); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"amber rtc-1       state     checking /live/cam1",
		"green rtc-1       state     checking -> connected /live/cam1 udp host 192.0.2.1:8189 - host 192.0.2.7:50123",
		"green rtc-1       view      checking /live/cam1 connection connecting",
		"green rtc-1       switch    to webrtc /live/cam1 decoded steadily for 2 s",
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != len(want) {
		t.Fatalf("got %d lines: %s", len(lines), out.String())
	}
	for i, line := range lines {
		if _, line, _ = strings.Cut(line, " "); line != want[i] {
			t.Errorf("got  %s\nwant %s", line, want[i])
		}
	}
}
