package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
	"unicode/utf8"

	"hawser/lifecycle"
)

// FuzzMessage: whatever comes, the parser agrees with encoding/json about what is JSON, what it accepts is encoded to something that means the same, and
// neither machine fails.
func FuzzMessage(f *testing.F) {
	for _, c := range messages {
		f.Add([]byte(c.json))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m Message
		err := Parse(b, &m)
		if valid := json.Valid(b) && utf8.Valid(b); !valid && !errors.Is(err, lifecycle.ReasonProtocol) {
			t.Fatalf("not JSON, but: %v", err)
		}
		if err == nil {
			checkAgain(t, &m)
		}
		s := NewServer(ServerOptions{})
		_, _ = s.Receive([]byte(`{"t":"hello","version":1}`))
		if _, err := s.Receive(b); err != nil {
			if answer := err.(*Error).Append(nil); Parse(answer, &m) != nil || !json.Valid(answer) {
				t.Fatalf("answer %s", answer)
			}
		}
		receiveAll(b)
	})
}

// checkAgain encodes a message, parses that and encodes it again.
func checkAgain(t *testing.T, m *Message) {
	once := Append(nil, m)
	if m.Type == TypeUnknown {
		return
	}
	var again Message
	if err := Parse(once, &again); err != nil {
		t.Fatalf("%s: %v", once, err)
	}
	if twice := Append(nil, &again); !bytes.Equal(once, twice) {
		t.Fatalf("%s became %s", once, twice)
	}
}

// receiveAll gives a message to a client before and after its login, as text and as media.
func receiveAll(b []byte) {
	c := NewClient(ClientOptions{Strict: true})
	c.Connect()
	c.Opened()
	c.Receive(b)
	c = NewClient(ClientOptions{Strict: true})
	_ = c.Subscribe("/a", SubscribeOptions{})
	_ = c.Play("/a", PlayOptions{Resume: true})
	c.Connect()
	c.Opened()
	c.Receive([]byte(welcome))
	c.Receive(b)
	c.ReceiveMedia(b)
	c.Broken(lifecycle.ReasonLost)
}

// FuzzMediaHeader: what is accepted is encoded to the same bytes.
func FuzzMediaHeader(f *testing.F) {
	f.Add(AppendMediaHeader(nil, MediaHeader{Flags: FlagInit, Path: "/live/cam1", Epoch: 1, Offset: 2, DTS: 3}))
	f.Add([]byte{1, 0, 0, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, payload, err := ParseMedia(b)
		if err != nil {
			return
		}
		again := append(AppendMediaHeader(nil, h), payload...)
		if h2, _, err := ParseMedia(again); err != nil || h2 != h || len(again) != len(b) {
			t.Fatalf("%x became %x (%v)", b, again, err)
		}
	})
}
