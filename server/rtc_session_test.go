package server

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"hawser/lifecycle"
	"hawser/rtc"
	"hawser/session"
	"hawser/subject"
)

// channelWire is a session over a data channel whose messages a test writes and reads itself.
type channelWire struct {
	t        testing.TB
	peer     *rtc.Peer
	channel  *rtc.Channel
	in       chan string // texts, and "close …"
	part     []byte
	location string
}

func (r *rig) openChannel(label string) *channelWire {
	r.t.Helper()
	engine, err := rtc.New(*quickRTC(""))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { engine.Close() })
	w := &channelWire{t: r.t, in: make(chan string, 1000)}
	if w.peer, err = engine.Peer(rtc.PeerOptions{}); err != nil {
		r.t.Fatal(err)
	}
	open := make(chan struct{})
	w.channel, err = w.peer.Open(label, rtc.ChannelOptions{OnOpen: func() { close(open) }, OnMessage: w.take, OnClose: func() { w.in <- "over" }})
	if err != nil {
		r.t.Fatal(err)
	}
	offer, err := w.peer.Offer(soon(r.t))
	if err != nil {
		r.t.Fatal(err)
	}
	resp, body := r.request(http.MethodPost, sessionPath, offer, "Content-Type", sdpType)
	if resp.StatusCode != http.StatusCreated {
		r.t.Fatalf("%s %s", resp.Status, body)
	}
	w.location = resp.Header.Get("Location")
	if err := w.peer.SetAnswer(body); err != nil {
		r.t.Fatal(err)
	}
	<-open
	return w
}

func (w *channelWire) take(text bool, b []byte) {
	switch {
	case text:
		w.in <- string(b)
	case b[0] == textPart:
		w.part = append(w.part, b[1:]...)
	case b[0] == textLast:
		w.in <- string(append(w.part, b[1:]...))
		w.part = nil
	case b[0] == channelClose:
		w.in <- "close " + string(b[1:])
	}
}

func (w *channelWire) say(format string, args ...any) {
	w.t.Helper()
	if err := w.channel.Send(true, fmt.Appendf(nil, format, args...)); err != nil {
		w.t.Fatal(err)
	}
}

// want reads the next message, which must have a beginning.
func (w *channelWire) want(prefix string) string {
	w.t.Helper()
	select {
	case m := <-w.in:
		if !strings.HasPrefix(m, prefix) {
			w.t.Fatalf("got %.200s, want %s", m, prefix)
		}
		return m
	case <-soon(w.t).Done():
		w.t.Fatalf("waited for %s", prefix)
	}
	return ""
}

// A session over a data channel: messages of any length both ways, and its end by either side.
func TestChannelSession(t *testing.T) {
	r := serve(t, withRTC())
	w := r.openChannel(session.Subprotocol)
	w.say(`{"t":"hello","version":1}`)
	w.want(`{"t":"welcome"`)
	w.say(`{"t":"subscribe","path":"/log"}`)
	w.want(`{"t":"snapshot"`)
	long := `"` + strings.Repeat("x", 100_000) + `"`
	message := []byte(`{"t":"publish","id":1,"path":"/log","data":` + long + `}`)
	for first := range slices.Chunk(message[:len(message)-10], maxChannelPart-1) {
		if err := w.channel.Send(false, append([]byte{textPart}, first...)); err != nil {
			t.Fatal(err)
		}
	}
	w.channel.Send(false, append([]byte{textLast}, message[len(message)-10:]...))
	got := w.want("{") + w.want("{") // ack and update, in either order
	if !strings.Contains(got, `"t":"ack"`) || !strings.Contains(got, long) {
		t.Errorf("got %.300s", got)
	}
	for i := range 2000 { // more than the channel holds at once
		r.publish("/log", subject.Log, subject.Update{Data: fmt.Appendf(nil, `"%d%s"`, i, strings.Repeat("y", 1000))})
	}
	for i := range 2000 {
		if m := w.want(`{"t":"update"`); !strings.Contains(m, fmt.Sprintf(`"%dy`, i)) {
			t.Fatalf("got %.200s, want number %d", m, i)
		}
	}
	conns := map[string]string{}
	for _, c := range r.Log().Conns() {
		conns[c.Protocol] = c.State
	}
	if conns["session"] != stateLoggedIn || conns[overRTC] == "" {
		t.Errorf("connections: %v", conns)
	}
	w.say(`{"t":"bye"}`)
	w.want(`{"t":"bye"`)
	w.want("close 4000 done")
	w.channel.Send(false, []byte("\x054000 done"))
	if why := r.ended("session"); why.Word != "done" {
		t.Errorf("the session: %v", why)
	}

	w = r.openChannel(session.Subprotocol)
	w.say(`{"t":"hello","version":1}`)
	w.want(`{"t":"welcome"`)
	w.channel.Send(false, []byte{channelBinary, 1})
	w.want(`{"t":"error"`)
	w.want(`{"t":"bye"`)
	w.want("close 4014 unsupported")
	w.peer.Close(lifecycle.ReasonDone)
	w.want("over")

	w = r.openChannel(session.Subprotocol)
	if resp, _ := r.request(http.MethodDelete, w.location, ""); resp.StatusCode != 200 {
		t.Errorf("DELETE: %s", resp.Status)
	}
	w.want("over")
	w = r.openChannel("another")
	w.want("over") // nothing but a session is carried
}
