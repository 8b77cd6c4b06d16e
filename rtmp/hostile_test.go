package rtmp

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"hawser/amf"
	"hawser/lifecycle"
	"hawser/ring"
)

// endlessUnfinished begins a message on every chunk stream there is and ends none.
func endlessUnfinished() []byte {
	b := opening()
	for i := range 130000 {
		id := uint32(i%60) + 3
		if i < 60 {
			b = appendBasic(b, 0, id)
			b = append(b, 0, 0, 0, 0x7f, 0xff, 0xff, TypeVideo, 1, 0, 0, 0)
		} else {
			b = appendBasic(b, 3, id)
		}
		b = append(b, make([]byte, DefaultChunkSize)...)
	}
	return b
}

// hostileInput is what a client sends, and how the connection ends: with this reason, and this text in the event; with an empty text, somehow.
type hostileInput struct {
	name   string
	send   []byte
	reason lifecycle.Reason
	text   string
}

func hostileInputs(t *testing.T) []hostileInput {
	garbage := make([]byte, 1<<20)
	rand.Read(garbage)
	shaken := append(newHandshake(true).first(), make([]byte, handshakePart)...)
	raw := func(s string) []byte { return append(opening(), unhex(t, s)...) }
	return []hostileInput{
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), lifecycle.ReasonProtocol, `got "GET / HTTP/1.1\r\n", want version 3, at byte 0`},
		{"RTMPE", []byte{6}, lifecycle.ReasonProtocol, "got version 6 (RTMPE, which is encrypted in a way that protects nothing), want version 3, at byte 0"},
		{"TLS", []byte{0x16, 3, 1}, lifecycle.ReasonProtocol, "got a TLS record (rtmps), want version 3, at byte 0"},
		{"garbage after the handshake", append(slices.Clone(shaken), garbage...), lifecycle.Reason{}, ""},
		{"garbage after connect", append(opening(), garbage...), lifecycle.Reason{}, ""},
		{"garbage after publish", append(publishing(), garbage...), lifecycle.Reason{}, ""},
		{"giant message", raw("06 000000 ffffff 09 01000000 aa"), lifecycle.ReasonTooBig, "16777215 bytes, want at most 8388608 (MaxMessage)"},
		{"chunk size 2^31-1 and a giant", raw("02 000000 000004 01 00000000 7fffffff 06 000000 ffffff 14 01000000 aa"), lifecycle.ReasonTooBig, "a command message of 16777215 bytes"},
		{"chunk size 2^31", raw("02 000000 000004 01 00000000 80000000"), lifecycle.ReasonProtocol, "got chunk size 2147483648, want 1 to 2147483647, at byte"},
		{"chunk size 0", raw("02 000000 000004 01 00000000 00000000"), lifecycle.ReasonProtocol, "got chunk size 0, want 1 to 2147483647, at byte"},
		{"chunk size 1 and a giant", raw("02 000000 000004 01 00000000 00000001 06 000000 ffffff 09 01000000 aa"), lifecycle.ReasonTooBig, "a video message of 16777215 bytes"},
		{"too many chunk streams", chunkStreams(), lifecycle.ReasonLimit, "want at most 64 (MaxChunkStreams), at byte"},
		{"AMF 10,000 deep", AppendMessage(opening(), 0, Message{Type: TypeCommand, Payload: append(amf.Append(nil, "x", 1.0), bytes.Repeat([]byte{3, 0, 1, 'a'}, 10000)...)}),
			lifecycle.ReasonProtocol, "nested more than 64 deep"},
		{"arrays 10,000 deep in type 17", AppendMessage(opening(), 0, Message{Type: TypeCommandAMF3, Payload: append(amf.Append([]byte{0}, "x", 1.0), bytes.Repeat([]byte{10, 0, 0, 0, 1}, 10000)...)}),
			lifecycle.ReasonProtocol, "nested more than 64 deep"},
		{"publish twice", AppendMessage(publishing(), 0, command(1, "publish", 0, nil, "cam1", "live")), lifecycle.ReasonProtocol, "publish on message stream 1, which publishes already"},
		{"a second handshake", append(opening(), newHandshake(true).first()...), lifecycle.Reason{}, ""},
		{"abort of 3 bytes", raw("02 000000 000003 02 00000000 000000"), lifecycle.ReasonProtocol, "abort of 3 bytes"},
		{"unfinished messages", endlessUnfinished(), lifecycle.ReasonLimit, "(MaxUnfinished)"},
		{"two connects", append(opening(), AppendMessage(nil, 0, command(0, "connect", 1, amf.Object{}))...), lifecycle.ReasonProtocol, "a second connect"},
		{"publish without connect", AppendMessage(slices.Clone(shaken), 0, command(1, "publish", 0, nil, "x")), lifecycle.ReasonProtocol, `got command "publish", want connect first`},
		{"media without connect", AppendMessage(slices.Clone(shaken), 0, Message{Type: TypeAudio, StreamID: 1}), lifecycle.ReasonProtocol, "got audio message, want connect first"},
		{"publish without createStream", AppendMessage(opening(), 0, command(9, "publish", 0, nil, "x")), lifecycle.ReasonProtocol, "publish on message stream 9"},
		{"play without createStream", AppendMessage(opening(), 0, command(9, "play", 0, nil, "x")), lifecycle.ReasonProtocol, "play on message stream 9"},
		{"connect without object", AppendMessage(slices.Clone(shaken), 0, command(0, "connect", 1, nil)), lifecycle.ReasonProtocol, "connect without an object"},
		{"broken AMF", AppendMessage(opening(), 0, Message{Type: TypeCommand, Payload: []byte{2, 0xff}}), lifecycle.ReasonProtocol, "a command with"},
		{"AMF without a name", AppendMessage(opening(), 0, Message{Type: TypeCommand, Payload: amf.Append(nil, 1.0)}), lifecycle.ReasonProtocol, "a name of type float64"},
		{"empty command", AppendMessage(opening(), 0, Message{Type: TypeCommand}), lifecycle.ReasonProtocol, "a command with no value"},
		{"short acknowledgement", AppendMessage(opening(), 0, Message{Type: TypeAck, Payload: []byte{1}}), lifecycle.ReasonProtocol, "acknowledgement of 1 bytes"},
		{"short user control", AppendMessage(opening(), 0, Message{Type: TypeUserControl, Payload: []byte{1}}), lifecycle.ReasonProtocol, "user control of 1 bytes"},
		{"broken aggregate", AppendMessage(publishing(), 0, Message{Type: TypeAggregate, StreamID: 1, Payload: make([]byte, 12)}), lifecycle.ReasonProtocol, "aggregate"},
	}
}

// TestHostile sends what breaks the protocol or a limit: the connection ends with its own reason and event, and
// others go on. TestHostileMemory and TestChunkReaderHostile look at the memory.
func TestHostile(t *testing.T) {
	for _, test := range hostileInputs(t) {
		t.Run(test.name, func(t *testing.T) {
			r := newRelay(t, nil)
			nc := r.connect()
			go io.Copy(io.Discard, nc)
			nc.Write(test.send) // may fail half-way when the server has enough
			if test.text == "" {
				nc.Close() // in case the garbage was a message's beginning
			}
			ev := r.logged(lifecycle.KindClose)
			if test.text != "" {
				ev = r.logged(KindProtocolError)
			}
			if !test.reason.IsZero() && !errors.Is(ev.Reason, test.reason) || !strings.Contains(ev.Detail, test.text) {
				t.Errorf("got reason %v, detail %q", ev.Reason, ev.Detail)
			}
			publish(t, r.url("/live/other")) // the server goes on
		})
	}
}

// TestLimitsAreCounted reaches the limits of a connection: each is counted under its name, and Bounds says what it allows.
func TestLimitsAreCounted(t *testing.T) {
	inputs := hostileInputs(t)
	bounds := new(Server).Bounds()
	long := strings.Repeat("x", MaxPath+1)
	for _, test := range []struct {
		limit, input string
		then         []Message // in place of an input
	}{
		{limit: "rtmp.MaxMessage", input: "giant message"},
		{limit: "rtmp.MaxChunkStreams", input: "too many chunk streams"},
		{limit: "rtmp.MaxUnfinished", input: "unfinished messages"},
		{limit: "amf.MaxDepth", input: "AMF 10,000 deep"},
		{limit: "rtmp.MaxStreams", then: slices.Repeat([]Message{command(0, "createStream", 2, nil)}, DefaultMaxStreams+1)},
		{limit: "rtmp.MaxPath", then: []Message{command(0, "createStream", 2, nil), command(1, "play", 0, nil, long)}},
		{limit: "rtmp.MaxNotes", then: slices.Repeat([]Message{command(0, "dance", 0, nil)}, MaxNotes+2)},
	} {
		b := appendMessages(opening(), 0, test.then...)
		if i := slices.IndexFunc(inputs, func(h hostileInput) bool { return h.name == test.input }); i >= 0 {
			b = inputs[i].send
		}
		before := lifecycle.LimitsReached()[test.limit]
		r := newRelay(t, nil)
		nc := r.connect()
		go io.Copy(io.Discard, nc)
		nc.Write(b) // may fail half-way
		if test.input == "" {
			nc.(*net.TCPConn).CloseWrite()
		}
		r.logged(lifecycle.KindClose)
		if n := lifecycle.LimitsReached()[test.limit] - before; n != 1 || bounds[test.limit] <= 0 {
			t.Errorf("%s, which is %d, was counted %d times, want once", test.limit, bounds[test.limit], n)
		}
	}
}

// chunkStreams begins an empty message on more chunk streams than there may be.
func chunkStreams() []byte {
	b := opening()
	for i := range defaultMaxChunkStreams + 1 {
		b = AppendMessage(b, 0, Message{Type: TypeVideo, StreamID: 1, ChunkStream: uint32(i) + 100})
	}
	return b
}

// TestRefusedForEver publishes, and asks for what is refused again and again: that ends.
func TestRefusedForEver(t *testing.T) {
	r := newRelay(t, nil)
	nc := r.connect()
	go io.Copy(io.Discard, nc)
	nc.Write(appendMessages(opening(), 0, append([]Message{command(0, "createStream", 2, nil), command(0, "createStream", 3, nil), command(1, "publish", 0, nil, "cam1", "live")},
		slices.Repeat([]Message{command(2, "play", 0, nil, "..")}, MaxNotes+1)...)...))
	if why := r.logged(lifecycle.KindClose).Reason; !errors.Is(why, lifecycle.ReasonBadRequest) {
		t.Errorf("closed with %v", why)
	}
}

// TestHostileMemory begins messages on every chunk stream there is and ends none: what the connection holds stays under its limit.
func TestHostileMemory(t *testing.T) {
	const most = 3 << 20
	held := make(chan [2]int, 1)
	r := newRelay(t, func(s *Server) {
		s.Limits = Limits{MaxMessage: 1 << 20, MaxUnfinished: most}
		s.Handler.OnDisconnect = func(c *Conn, _ lifecycle.Reason) {
			sum := 0
			for _, cs := range c.in.chunks.streams {
				sum += cap(cs.buf)
			}
			held <- [2]int{c.in.chunks.Unfinished(), sum}
		}
	})
	b := opening()
	for i := range 60 * 800 {
		if i < 60 {
			b = append(b, byte(i+3), 0, 0, 0, 0x0f, 0xff, 0xff, TypeVideo, 1, 0, 0, 0)
		} else {
			b = appendBasic(b, 3, uint32(i%60)+3)
		}
		b = append(b, make([]byte, DefaultChunkSize)...)
	}
	r.connect().Write(b) // may fail half-way
	if got := <-held; got[0] > most || got[1] != got[0] || got[0] < most/4 {
		t.Errorf("holds %d bytes, counts %d, want at most %d", got[1], got[0], most)
	}
	if why := r.logged(lifecycle.KindClose).Reason; !errors.Is(why, lifecycle.ReasonLimit) {
		t.Errorf("closed with %v", why)
	}
}

// TestUnknownStreams says things about stream objects that do not exist, and of the wrong kind: nothing comes of it.
func TestUnknownStreams(t *testing.T) {
	r := newRelay(t, nil)
	c := publish(t, r.url("/live/cam1"))
	c.queue(command(7, "pause", 0, nil, true, 1.0), command(1, "seek", 0, nil, 1.0), command(7, "closeStream", 0, nil), command(0, "deleteStream", 0, nil, 7.0),
		command(0, "deleteStream", 0, nil, -1e300), command(7, "receiveVideo", 0, nil, false), userControl(ControlSetBufferLength, 7, 1), userControl(99, 7),
		Message{Type: TypeVideo, StreamID: 7, Payload: []byte{1}}, Message{Type: TypeShared, StreamID: 7, Payload: []byte{1}}, Message{Type: 99, StreamID: 1},
		command(0, "FCUnpublish", 0, nil, "other"), control(TypeAbort, 77))
	if _, err := c.Call(t.Context(), "_checkbw"); err != nil {
		t.Error(err)
	}
	if err := c.WriteMessage(t.Context(), Message{Type: TypeVideo, Payload: []byte{1}}); err != nil {
		t.Error(err)
	}
	c.Close()
	r.await("close /live/cam1 done")
	if n := r.feed("/live/cam1").count[TypeVideo]; n != 1 {
		t.Errorf("got %d messages", n)
	}
}

// TestFlood asks for answers and reads none: the queue of answers is bounded.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := lifecycle.LimitsReached()["rtmp.QueueLimit"]
		log := lifecycle.NewLog(ring.Limits{})
		nc := piped(t, log)
		go io.CopyN(io.Discard, nc, handshakeBytes)
		nc.Write(opening())
		for range 1000 {
			if _, err := nc.Write(bytes.Repeat(AppendMessage(nil, 0, userControl(ControlPingRequest, 1)), 100)); err != nil {
				break
			}
		}
		synctest.Wait()
		if why := closeReason(log); !errors.Is(why, lifecycle.ReasonSlow) || why.Text != "replies exceed the queue limit" {
			t.Errorf("closed with %v", why)
		}
		if lifecycle.LimitsReached()["rtmp.QueueLimit"] == before {
			t.Error("QueueLimit was not counted")
		}
	})
}
