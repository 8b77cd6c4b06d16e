package rtmp

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"hawser/amf"
)

// once is a source that gives the same bytes at every call.
type once struct{ b []byte }

func (o once) Fill(dst [][]byte, _ int) [][]byte { return append(dst, o.b) }

// nowhere is a connection that takes everything and gives nothing.
type nowhere struct{ net.Conn }

func (nowhere) Write(b []byte) (int, error)      { return len(b), nil }
func (nowhere) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (nowhere) SetReadDeadline(time.Time) error  { return nil }
func (nowhere) SetWriteDeadline(time.Time) error { return nil }

// FuzzCommands gives a server what follows a handshake: whatever comes, it answers, or ends with an error that says where, and holds
// no more than its limits.
func FuzzCommands(f *testing.F) {
	openings, err := filepath.Glob(filepath.Join("testdata", "openings", "*.bin"))
	if err != nil || len(openings) == 0 {
		f.Fatal("no openings", err)
	}
	for _, file := range openings {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add(appendMessages(opening()[handshakeBytes:], DefaultChunkSize, command(0, "createStream", 2, nil), command(1, "play", 0, nil, "cam1"),
		command(1, "pause", 0, nil, true, 40.0), command(1, "seek", 0, nil, 400.0), command(1, "receiveAudio", 0, nil, false),
		command(1, "play2", 0, nil, amf.Object{{Name: "streamName", Value: "x"}, {Name: "start", Value: 1.0}}), userControl(ControlSetBufferLength, 1, 3000),
		userControl(ControlPingRequest, 1), command(0, "getStreamLength", 3, nil, "cam1"), command(0, "deleteStream", 0, nil, 1.0)))
	f.Add(appendMessages(publishing()[handshakeBytes:], DefaultChunkSize, Message{Type: TypeAggregate, StreamID: 1, Payload: append(make([]byte, 11), 0, 0, 0, 11)},
		Message{Type: TypeDataAMF3, StreamID: 1, Payload: []byte{0, 2, 0, 1, 'x'}}, command(0, "FCUnpublish", 5, nil, "cam1"), command(0, "_result", 1, nil),
		control(TypeWindowAckSize, 1), setPeerBandwidth(7), control(TypeSetChunkSize, 1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		server := &Server{Limits: Limits{MaxMessage: 1 << 16}, Handler: &Handler{OnPlay: func(_ context.Context, s *Stream) error {
			s.SetSource(&tape{stream: s, length: 20})
			return nil
		}}}
		server.fill.Do(server.filled)
		c := newConn(server, nowhere{})
		c.in.hs = nil
		err := c.in.feed(b)
		var broken *ProtocolError
		if err != nil && !errors.As(err, &broken) && !errors.Is(err, ErrClosed) {
			t.Errorf("got error %v", err)
		}
		if held := c.in.chunks.Unfinished(); held > c.server.Limits.MaxUnfinished || len(c.streams) > c.server.MaxStreams {
			t.Errorf("holds %d bytes, %d streams", held, len(c.streams))
		}
		c.verdict(err)
		c.w.Close()
	})
}
