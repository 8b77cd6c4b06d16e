package server

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"hawser/session"
	"hawser/subject"
)

// Who follows a log whose history was damaged on disk gets all that is intact, and is told the gap exactly, wherever it begins.
func TestFollowDamagedHistory(t *testing.T) {
	d := Durable{Dir: t.TempDir(), Paths: []string{"/log"}}
	open := func() *Server {
		s := New(Options{})
		if err := s.KeepDurable(d); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Subjects().CloseStore() })
		return s
	}
	s := open()
	for i := range 8 {
		if _, _, err := s.Publish("/log", subject.Log, subject.Update{Data: fmt.Appendf(nil, `"message %d"`, i)}); err != nil {
			t.Fatal(err)
		}
	}
	s.Subjects().CloseStore()
	names, _ := filepath.Glob(d.Dir + "/*.log")
	for _, name := range names {
		b, _ := os.ReadFile(name)
		for _, word := range []string{"message 2", "message 3", "message 5"} {
			if i := bytes.Index(b, []byte(word)); i >= 0 {
				b[i] ^= 1
			}
		}
		os.WriteFile(name, b, 0o600)
	}
	s = open()
	epoch := s.Subjects().Find("/log").Epoch()
	for _, tc := range []struct {
		ask  session.Subscribe
		want []string
	}{
		{session.Subscribe{From: session.FromHistory}, []string{"snapshot 0", "0", "1", "gap 2 4", "4", "gap 5 6", "6", "7"}},
		{session.Subscribe{From: session.FromOffset, Epoch: epoch, Offset: 3}, []string{"snapshot 3", "gap 3 4", "4", "gap 5 6", "6", "7"}},
		{session.Subscribe{From: session.FromOffset, Epoch: epoch, Offset: 1}, []string{"snapshot 1", "1", "gap 2 4", "4", "gap 5 6", "6", "7"}},
		{session.Subscribe{From: session.FromOffset, Epoch: epoch, Offset: 5}, []string{"snapshot 5", "gap 5 6", "6", "7"}},
		{session.Subscribe{From: session.FromHistory, Want: session.Want{Count: 3}}, []string{"snapshot 5", "gap 5 6", "6", "7"}},
	} {
		for _, others := range []bool{false, true} { // whether the ready frames begin at the head, because somebody follows from there
			first := unwritten(t, s)
			if others {
				first.subscribe(session.Subscribe{Path: "/log"})
				first.Fill(nil, fillSize)
			}
			tc.ask.Path = "/log"
			c := unwritten(t, s)
			c.subscribe(tc.ask)
			var got []string
			for range 3 {
				for _, m := range messages(t, c.Fill(nil, fillSize)) {
					switch m.Type {
					case session.TypeGap:
						got = append(got, fmt.Sprintf("gap %d %d", m.GapFrom, m.GapTo))
					case session.TypeSnapshot:
						got = append(got, fmt.Sprint("snapshot ", m.Offset))
					default:
						got = append(got, fmt.Sprint(m.Offset))
					}
				}
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("%+v, others %v: got %q, want %q", tc.ask, others, got, tc.want)
			}
			c.unsubscribe("/log")
			if others {
				first.unsubscribe("/log")
			}
		}
	}
}
