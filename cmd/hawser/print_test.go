package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"hawser/lifecycle"
)

func ptr[T any](v T) *T { return &v }

var printTime = time.Date(2026, 11, 21, 12, 4, 5, 123e6, time.Local)

var printed = []struct {
	record watchRecord
	want   string
}{
	{
		watchRecord{Event: lifecycle.Event{Kind: "state", From: "connecting", State: "logged_in", Light: lifecycle.Green, Server: "ws://localhost/session", Attempt: 3}},
		"12:04:05.123 green state     connecting -> logged_in ws://localhost/session, attempt 3",
	},
	{
		watchRecord{Event: lifecycle.Event{Kind: "state", From: "logged_in", State: "lost", Light: lifecycle.Amber, Delay: 1500 * time.Millisecond,
			Reason: lifecycle.ReasonLost.With("connection reset")}},
		"12:04:05.123 amber state     logged_in -> lost in 1.5s lost (4004): connection reset",
	},
	{
		watchRecord{Event: lifecycle.Event{Kind: kindUpdate, Path: "/chat", Light: lifecycle.Green}, Offset: ptr(uint64(17)), MediaTime: ptr(1234.5),
			Data: json.RawMessage(`{"text":"hello"}`)},
		`12:04:05.123 green update    /chat 17 @1.234s {"text":"hello"}`,
	},
	{
		watchRecord{Event: lifecycle.Event{Kind: kindGap, Path: "/chat", Light: lifecycle.Green}, Offset: ptr(uint64(5)), To: ptr(uint64(9))},
		"12:04:05.123 green gap       /chat offsets 5 to 8 are lost",
	},
	{
		watchRecord{Event: lifecycle.Event{Kind: kindMedia, Path: "/live/a", Light: lifecycle.Green},
			Media: &mediaTotals{Frames: 72, Keyframes: 1, Kbps: 2499.6, Last: 8033}},
		"12:04:05.123 green media     /live/a 72 frames, 1 keyframes, 2500 kbps, at 8.033s",
	},
	{
		watchRecord{Event: lifecycle.Event{Kind: "binary", Light: lifecycle.Green}, Size: ptr(3), Hex: "010203"},
		"12:04:05.123 green binary    3 bytes 010203",
	},
	{
		watchRecord{Event: lifecycle.Event{Kind: "disconnected", Reason: lifecycle.Reason{Code: 1006}}},
		"12:04:05.123 red   disconnected (1006)",
	},
	{
		watchRecord{Event: lifecycle.Event{Kind: "text", Light: lifecycle.Green}, Text: ptr("a\x1b[31m\r\nb\u009bc Größe \u202e")},
		`12:04:05.123 green text      a\x1b[31m\r\nb\u009bc Größe \u202e`,
	},
}

func TestPrintText(t *testing.T) {
	for _, c := range printed {
		var b bytes.Buffer
		c.record.Time = printTime
		if err := newPrinter(&b, false).print(c.record); err != nil {
			t.Fatal(err)
		}
		if got := b.String(); got != c.want+"\n" {
			t.Errorf("got  %swant %s", got, c.want)
		}
	}
}

func TestPrintColorsOnlyTheLight(t *testing.T) {
	var b bytes.Buffer
	p := &printer{w: &b, color: true}
	if err := p.print(watchRecord{Event: lifecycle.Event{Kind: "ready", Time: printTime, Light: lifecycle.Green}}); err != nil {
		t.Fatal(err)
	}
	if want := "12:04:05.123 \x1b[32mgreen\x1b[0m ready\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

// Every line of --json is one object whose events have the names of the event log and whose data are JSON, not strings.
func TestPrintJSON(t *testing.T) {
	var b bytes.Buffer
	p := newPrinter(&b, true)
	for _, c := range printed {
		c.record.Time = printTime
		if err := p.print(c.record); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if len(lines) != len(printed) {
		t.Fatalf("%d lines for %d records", len(lines), len(printed))
	}
	for i, line := range lines {
		var back watchRecord
		if err := json.Unmarshal([]byte(line), &back); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if back.Seq != uint64(i) || back.Light != printed[i].record.Light || back.Kind != printed[i].record.Kind || !back.Time.Equal(printTime) {
			t.Errorf("%s came back as %+v", line, back.Event)
		}
	}
	var update struct {
		Path   string
		Offset int
		Data   struct{ Text string }
	}
	if err := json.Unmarshal([]byte(lines[2]), &update); err != nil || update.Data.Text != "hello" || update.Offset != 17 {
		t.Errorf("%s: %+v, %v", lines[2], update, err)
	}
}

func TestMeter(t *testing.T) {
	start := time.Unix(0, 0)
	m := mediaMeter{since: start}
	if m.take(start.Add(time.Second)) != nil {
		t.Error("a total of nothing")
	}
	for i := range 30 {
		m.frame(i == 0, 1000, time.Duration(i)*time.Second/30)
	}
	got := m.take(start.Add(3 * time.Second))
	if want := (mediaTotals{Frames: 30, Keyframes: 1, Bytes: 30_000, Kbps: 120, Last: milliseconds(29 * time.Second / 30)}); got == nil || *got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
