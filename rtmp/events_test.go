package rtmp

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"hawser/amf"
)

// TestEvents follows a stream as `hawser watch` does.
func TestEvents(t *testing.T) {
	r := newRelay(t, nil)
	p := publish(t, r.url("/live/cam1"))
	asc, frame := []byte{0xaf, 0, 0x12, 0x10}, []byte{0xaf, 1, 0x21, 0}
	for _, m := range []Message{{Type: TypeData, Payload: amf.Append(nil, "onMetaData", amf.ECMAArray{{Name: "title", Value: "x"}})},
		{Type: TypeAudio, Payload: asc}, {Type: TypeAudio, Payload: frame, Timestamp: 23}} {
		if err := p.WriteMessage(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	p.Close()
	r.await("close /live/cam1 done")
	f := r.feed("/live/cam1")
	f.over()
	var got []string
	for e := range Events(t.Context(), r.url("/live/cam1"), nil) {
		words := []string{e.Kind.String(), e.Light.String()}
		if e.Status != nil {
			words = append(words, e.Status.Code)
		}
		if e.Track != nil {
			words = append(words, e.Track.MIME())
		}
		words = append(words, e.Name, e.Reason.Word)
		got = append(got, strings.Join(slices.DeleteFunc(words, func(s string) bool { return s == "" }), " "))
		if _, err := json.Marshal(e); err != nil {
			t.Error(err)
		}
	}
	want := []string{"connecting amber", "connected amber", "handshake amber", "connect_result amber NetConnection.Connect.Success",
		"status amber NetStream.Play.Reset", "status green NetStream.Play.Start", "metadata green onMetaData", "track green mp4a.40.2", "first green",
		"control green", "status green NetStream.Play.UnpublishNotify", "closed red gone"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}

	for _, bad := range []struct{ url, word string }{{"http://x/", "bad_request"}, {"rtmp://" + unusedAddr(t) + "/live/a", "lost"}} {
		var last Event
		for e := range Events(t.Context(), bad.url, nil) {
			last = e
		}
		if last.Kind != EventClosed || last.Reason.Word != bad.word {
			t.Errorf("%s: got %+v", bad.url, last)
		}
	}
}

func TestEventKinds(t *testing.T) {
	for k := EventNone; k <= EventBackOff; k++ {
		if strings.Contains(k.String(), "(") {
			t.Errorf("kind %d has no word", k)
		}
	}
	if got := EventKind(99).String(); got != "EventKind(99)" {
		t.Errorf("got %q", got)
	}
}
