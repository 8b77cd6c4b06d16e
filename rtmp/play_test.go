package rtmp

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"hawser/amf"
)

// TestTimeBase has a player ask for times from 0: audio, video and data share the base, and others see no change.
func TestTimeBase(t *testing.T) {
	r := newRelay(t, nil)
	f := r.feed("/live/cam1")
	const start = 1<<32 - 100 // it wraps on the way
	for _, m := range []Message{
		{Type: TypeData, Timestamp: 0, Payload: []byte{2}},
		{Type: TypeVideo, Timestamp: 0, Payload: []byte{0x17, 0, 0}}, // parameters
		{Type: TypeAudio, Timestamp: 7, Payload: []byte{0xaf, 0}},
		{Type: TypeVideo, Timestamp: 0, Payload: []byte{0x90, 'h', 'v', 'c', '1'}},
		{Type: TypeVideo, Timestamp: start, Payload: []byte{0x17, 1, 0}},
		{Type: TypeAudio, Timestamp: start - 20, Payload: []byte{0xaf, 1}},
		{Type: TypeAudio, Timestamp: start + 20, Payload: []byte{0xaf, 1}},
		{Type: TypeVideo, Timestamp: (start + 140) % (1 << 32), Payload: []byte{0x27, 1, 0}},
		{Type: TypeData, Timestamp: (start + 140) % (1 << 32), Payload: []byte{2}},
	} {
		f.add(m)
	}
	f.over()
	for query, want := range map[string][]uint32{
		"?timebase=zero": {0, 0, 0, 0, 0, 0, 20, 140, 140},
		"":               {0, 0, 7, 0, start, start - 20, start + 20, 40, 40},
	} {
		var got []uint32
		for m, err := range play(t, r.url("/live/cam1"+query)).Messages(t.Context()) {
			if err == nil {
				got = append(got, m.Timestamp)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: got %d, want %d", query, got, want)
		}
	}
}

// TestPlayRename plays another path than the client asked for.
func TestPlayRename(t *testing.T) {
	r := newRelay(t, func(s *Server) {
		on := s.Handler.OnPlay
		s.Handler.OnPlay = func(ctx context.Context, s *Stream) error {
			if err := s.SetPath("/renamed" + s.Path()); err != nil {
				t.Error(err)
			}
			return on(ctx, s)
		}
	})
	r.feed("/renamed/live/cam1").add(Message{Type: TypeVideo, Payload: []byte{9}})
	for m, err := range play(t, r.url("/live/cam1")).Messages(t.Context()) {
		if err != nil || m.Payload[0] != 9 {
			t.Errorf("got %v, %v", m.Payload, err)
		}
		break
	}
	if ev := r.logged(KindPlay); ev.Path != "/renamed/live/cam1" {
		t.Errorf("logged %q", ev.Path)
	}
}

// TestPlay2 changes to another stream in the middle, and refuses what would need a playlist.
func TestPlay2(t *testing.T) {
	r := newRelay(t, nil)
	v := play(t, r.url("/live/cam1"))
	play2 := func(transition, name string) {
		v.ask("play2", amf.Object{{Name: "streamName", Value: name}, {Name: "transition", Value: transition}, {Name: "start", Value: -2.0}, {Name: "len", Value: -1.0}})
	}
	play2("switch", "cam2")
	wantSeen(t, v, "control 0", "Play.Transition", "Play.Start")
	r.await("stop /live/cam1 done")
	r.await("play /live/cam2")
	r.feed("/live/cam2").add(Message{Type: TypeVideo, Timestamp: 5, Payload: []byte{1}})
	wantSeen(t, v, "5")
	play2("append", "cam3")
	wantSeen(t, v, "Play.Failed")
	play2("stop", "cam2")
	wantSeen(t, v, "Play.Stop")
	r.await("stop /live/cam2 done")
}

// TestOldStream publishes and plays around the places where timestamps need 32 bits and where they wrap, in chunks, with the extended
// timestamp in every chunk (as ffmpeg and this package write it) and in the first alone.
func TestOldStream(t *testing.T) {
	for _, every := range []bool{true, false} {
		r := newRelay(t, nil)
		nc := r.connect()
		go io.Copy(io.Discard, nc)
		b := publishing()
		var want []string
		for _, at := range []uint32{0xfffffe, 0xffffff, 0x1000000, 1<<31 - 1, 1 << 31, 1<<32 - 1, 0, 40} {
			m := Message{Type: TypeVideo, StreamID: 1, Timestamp: at, Payload: []byte(strings.Repeat(string(byte(at)), 300))}
			want = append(want, fmt.Sprint(at, " ", len(m.Payload)))
			chunks := AppendMessage(nil, DefaultChunkSize, m)
			if !every && at >= extendedTimestamp {
				first := 12 + 4 + DefaultChunkSize
				b = append(b, chunks[:first]...)
				for rest := chunks[first:]; len(rest) > 0; {
					n := min(len(rest), 5+DefaultChunkSize)
					b = append(append(b, rest[0]), rest[5:n]...)
					rest = rest[n:]
				}
				continue
			}
			b = append(b, chunks...)
		}
		if _, err := nc.Write(b); err != nil {
			t.Fatal(err)
		}
		r.await("publish /live/cam1 live")
		v := play(t, r.url("/live/cam1"))
		var got []string
		for m, err := range v.Messages(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, fmt.Sprint(m.Timestamp, " ", len(m.Payload))); len(got) == len(want) {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("extended in every chunk %v: got %q, want %q", every, got, want)
		}
	}
}

// TestPeerBandwidth has a client limit what the server has under way: a window that changes is announced, by each limit type's rule.
func TestPeerBandwidth(t *testing.T) {
	limit := func(v uint32, kind ...byte) Message {
		m := control(TypeSetPeerBandwidth, v)
		m.Payload = append(m.Payload, kind...)
		return m
	}
	r := newRelay(t, nil)
	nc := r.connect()
	nc.Write(appendMessages(opening(), 0, limit(100, limitDynamic), limit(9_000_000, limitSoft), limit(1000, limitSoft), limit(2000, limitDynamic),
		limit(3000, limitHard), limit(3000, limitHard), limit(4000, limitDynamic), limit(5000), limit(0, limitHard), command(0, "_checkbw", 9, nil)))
	io.CopyN(io.Discard, nc, handshakeBytes)
	var got []uint32
	reader, b := NewChunkReader(Limits{}), make([]byte, 4096)
	for done := false; !done; {
		n, err := nc.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		reader.Feed(b[:n], func(m Message) error {
			switch m.Type {
			case TypeWindowAckSize:
				got = append(got, binary.BigEndian.Uint32(m.Payload))
			case TypeCommand:
				cmd, _ := parseCommand(m)
				done = cmd.Transaction == 9
			}
			return nil
		})
	}
	if want := []uint32{DefaultWindow, 1000, 3000, 4000, 5000}; !slices.Equal(got, want) {
		t.Errorf("windows announced: %d, want %d", got, want)
	}
}

// TestAMF3Messages publishes with the message types 15 and 17, as a client that asked for AMF3 does; its values are still AMF0.
func TestAMF3Messages(t *testing.T) {
	r := newRelay(t, nil)
	wrap := func(m Message) Message {
		m.Payload = append([]byte{0}, m.Payload...)
		m.Type = map[byte]byte{TypeCommand: TypeCommandAMF3, TypeData: TypeDataAMF3}[m.Type]
		return m
	}
	nc := r.connect()
	go io.Copy(io.Discard, nc)
	body := amf.Append(nil, "onTextData", amf.Object{{Name: "text", Value: "hello"}})
	nc.Write(appendMessages(opening(), 0, wrap(command(0, "createStream", 2, nil)), wrap(command(1, "publish", 0, nil, "cam1", "live")),
		wrap(Message{Type: TypeData, StreamID: 1, Payload: append(slices.Clone(setDataFrame), body...)})))
	r.await("publish /live/cam1 live")
	for m, err := range play(t, r.url("/live/cam1")).Messages(t.Context()) {
		if err != nil || m.Type != TypeData || string(m.Payload) != string(body) {
			t.Errorf("got type %d, %q, %v", m.Type, m.Payload, err)
		}
		break
	}
}

// BenchmarkPublishData takes a publisher's packets from its chunks to its sink. Without OnPublishData it must cost nothing more.
func BenchmarkPublishData(b *testing.B) {
	for _, set := range []bool{false, true} {
		b.Run(fmt.Sprint("OnPublishData ", set), func(b *testing.B) {
			c := &Conn{server: &Server{}, h: &Handler{}}
			if set {
				c.h.OnPublishData = func(_ *Stream, m *Message) bool { m.Timestamp++; return true }
			}
			got := 0
			c.streams = []*Stream{{conn: c, id: 1, state: streamPublishing, sink: func(m Message) error { got += len(m.Payload); return nil }}}
			c.in.init(c, false, Limits{}, 1<<31)
			c.in.hs = nil
			c.in.chunks.SetChunkSize(OwnChunkSize)
			wire := AppendMessage(nil, OwnChunkSize, Message{Type: TypeAudio, StreamID: 1, Payload: make([]byte, 400)})
			b.ReportAllocs()
			b.SetBytes(int64(len(wire)))
			for b.Loop() {
				if err := c.in.feed(wire); err != nil {
					b.Fatal(err)
				}
			}
			if got == 0 {
				b.Error("nothing arrived")
			}
		})
	}
}

// BenchmarkPlayData asks for a player's bytes. Without OnPlayData they are those that everybody gets.
func BenchmarkPlayData(b *testing.B) {
	for _, test := range []struct {
		name, query string
		set         bool
	}{{"unset", "", false}, {"set", "", true}, {"timebase zero", "timebase=zero", false}} {
		b.Run(test.name, func(b *testing.B) {
			h := &Handler{}
			if test.set {
				h.OnPlayData = func(*Stream, *Message) bool { return true }
			}
			c := newConn(&Server{Handler: h, ChunkSize: OwnChunkSize}, nowhere{})
			c.w.Close() // only this goroutine shall fill
			s := &Stream{conn: c, id: MediaStreamID}
			s.asked.Store(&asked{query: joinQuery("?" + test.query)})
			s.SetSource(once{AppendMessage(nil, OwnChunkSize, Message{Type: TypeVideo, StreamID: MediaStreamID, Payload: make([]byte, 5000)})})
			c.playing.Store(s)
			dst := make([][]byte, 0, 4)
			b.ReportAllocs()
			for b.Loop() {
				if dst = (*outlet)(c).Fill(dst[:0], 64<<10); len(dst) != 1 {
					b.Fatal("no bytes")
				}
			}
		})
	}
}

// TestAskedFor has the server hear what the client wants of a publish and a play.
func TestAskedFor(t *testing.T) {
	asked := make(chan PlayRequest, 1)
	r := newRelay(t, func(s *Server) {
		on := s.Handler.OnPlay
		s.Handler.OnPlay = func(ctx context.Context, s *Stream) error {
			asked <- s.Request()
			return on(ctx, s)
		}
	})
	for _, mode := range []Mode{ModeLive, ModeRecord, ModeAppend} {
		if err := dial(t, r.url("/live/"+string(mode)), nil).PublishAs(t.Context(), mode); err != nil {
			t.Fatal(err)
		}
		r.await("publish /live/" + string(mode) + " " + string(mode))
	}
	for _, want := range []PlayRequest{{Reset: true}, {What: PlayLive, Reset: true}, {What: PlayRecorded, Reset: true}, {What: PlayRecorded, Start: 1500 * time.Millisecond, Duration: 2 * time.Second},
		{What: PlayRecorded, Start: time.Second, Reset: true}} {
		if err := dial(t, r.url("/live/cam1"), nil).PlayAs(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		if got := <-asked; got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}
