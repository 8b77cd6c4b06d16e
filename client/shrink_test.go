package client

import (
	"fmt"
	"strings"
	"testing"

	"hawser/session"
)

func logUpdate(offset uint64) session.Event {
	return session.Event{Kind: session.EventUpdate, Path: "/a", Subject: session.KindLog, Epoch: 1, Offset: offset, Data: []byte("1")}
}

// told describes events in short.
func told(events []session.Event) string {
	var s []string
	for _, ev := range events {
		switch ev.Kind {
		case session.EventGap:
			s = append(s, fmt.Sprintf("gap %d-%d", ev.Offset, ev.To))
		case session.EventFragment:
			s = append(s, fmt.Sprintf("fragment %d/%d", ev.Offset, ev.Flags))
		case session.EventMedia:
			s = append(s, fmt.Sprintf("media %d skipped %d", ev.Offset, ev.Media.Skipped))
		default:
			s = append(s, strings.TrimSpace(fmt.Sprintf("%s %d %s", ev.Kind, ev.Offset, ev.Fields)))
		}
	}
	return strings.Join(s, ", ")
}

func TestASlowReaderOfALogIsToldWhatItLost(t *testing.T) {
	c, _ := New(Options{Servers: []string{"ws://a"}, QueueCount: 5})
	q := newQueue(&c.o, shrinkData)
	q.push(session.Event{Kind: session.EventSnapshot, Subject: session.KindLog, Epoch: 1})
	for i := range uint64(12) {
		q.push(logUpdate(i))
	}
	q.push(session.Event{Kind: session.EventStatus, Status: session.StatusOK})
	want, lost := uint64(0), uint64(0)
	for {
		ev, ok, _ := q.pop()
		if !ok {
			break
		}
		switch ev.Kind {
		case session.EventGap:
			if ev.Offset != want {
				t.Errorf("gap from %d, want from %d", ev.Offset, want)
			}
			lost += ev.To - ev.Offset
			want = ev.To
		case session.EventUpdate:
			if ev.Offset != want {
				t.Errorf("got %d, want %d", ev.Offset, want)
			}
			want++
		}
	}
	if want != 12 || lost == 0 || lost > 11 {
		t.Errorf("next %d, lost %d", want, lost)
	}
}

func TestGapsOfUnknownLengthAreNotMerged(t *testing.T) {
	got := told(shedLog([]session.Event{logUpdate(3), {Kind: session.EventGap, Path: "/a", Epoch: 1, Offset: 4},
		{Kind: session.EventUpdate, Epoch: 2, Offset: 0}, logUpdate(9), logUpdate(10), logUpdate(11)}))
	if got != "gap 3-0, gap 0-1, update 9, update 10, update 11" {
		t.Error(got)
	}
}

func TestASlowReaderOfARecordGetsOneUpdate(t *testing.T) {
	record := func(kind session.EventKind, offset uint64, fields string) session.Event {
		ev := session.Event{Kind: kind, Subject: session.KindRecord, Epoch: 1, Offset: offset}
		if fields != "" {
			ev.Fields = []byte(fields)
		}
		return ev
	}
	const snap, upd = session.EventSnapshot, session.EventUpdate
	for want, events := range map[string][]session.Event{
		`update 7 {"a":3,"b":null,"c":1}`: {record(upd, 4, `{"a":1,"b":1}`), record(upd, 6, `{"b":null,"c":1}`), record(upd, 7, `{"a":3}`)},
		`snapshot 8 {"a":3,"c":1}`:        {record(upd, 2, `{"x":1}`), record(snap, 6, `{"a":1,"b":2}`), record(upd, 6, `{"b":null,"c":1}`), record(upd, 7, `{"a":3}`)},
		`update 9 {"a":1,"b":2}`:          {record(upd, 4, `{"a":1}`), record(snap, 5, ""), record(upd, 9, `{"b":2}`)},
		`snapshot 5`:                      {record(snap, 5, "")},
		`snapshot 5 {}`:                   {record(snap, 5, "{}")},
	} {
		if got := told(foldRecord(events)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestASlowPlayGoesOnAtAKeyframe(t *testing.T) {
	c, _ := New(Options{Servers: []string{"ws://a"}, QueueCount: 4})
	p := &Play{c: c, path: "/v", answered: make(chan struct{})}
	p.queue = newQueue(&c.o, p.shrinkMedia)
	about := session.Event{Kind: session.EventMedia, Status: session.StatusLive}
	about.Media.Tracks = []session.Track{{Kind: "video"}, {Kind: "audio"}}
	p.take(about)
	fragment := func(offset uint64, flags, kind byte) {
		p.take(session.Event{Kind: session.EventFragment, Offset: offset, Flags: flags, MediaKind: kind})
	}
	fragment(1, session.FlagInit, session.MediaAll)
	fragment(1, session.FlagKeyframe, session.MediaVideo)
	fragment(2, 0, session.MediaVideo)
	fragment(3, 0, session.MediaVideo) // one too many
	fragment(4, session.FlagKeyframe, session.MediaAudio)
	fragment(5, session.FlagKeyframe, session.MediaVideo)
	var got []session.Event
	for ev, ok, _ := p.queue.pop(); ok; ev, ok, _ = p.queue.pop() {
		got = append(got, ev)
	}
	if want := "media 0 skipped 0, fragment 1/1, media 5 skipped 4, fragment 5/6"; told(got) != want {
		t.Errorf("got %s, want %s", told(got), want)
	}
}
