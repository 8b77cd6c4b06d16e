package rtmp

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"hawser/lifecycle"
)

// unhex turns "03 000000 ..." into bytes; "xx*n" repeats a byte.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	var out []byte
	for field := range strings.FieldsSeq(s) {
		field, times, many := strings.Cut(field, "*")
		n := 1
		if many {
			fmt.Sscan(times, &n)
		}
		b, err := hex.DecodeString(field)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, bytes.Repeat(b, n)...)
	}
	return out
}

// chunkTable is used both ways: the messages written are these bytes, the bytes read are these messages.
var chunkTable = []struct {
	name  string
	size  int
	m     Message
	bytes string
}{
	{"empty", 128, Message{Type: TypeVideo, StreamID: 1, ChunkStream: 6}, "06 000000 000000 09 01000000"},
	{"one chunk", 128, Message{Type: TypeAudio, StreamID: 1, ChunkStream: 4, Timestamp: 0x010203, Payload: []byte{1, 2, 3}},
		"04 010203 000003 08 01000000 010203"},
	{"exactly one chunk", 4, Message{Type: TypeData, StreamID: 0x01020304, ChunkStream: 63, Payload: []byte{1, 2, 3, 4}},
		"3f 000000 000004 12 04030201 01020304"},
	{"two chunks", 4, Message{Type: TypeVideo, StreamID: 1, ChunkStream: 6, Timestamp: 40, Payload: []byte{1, 2, 3, 4, 5}},
		"06 000028 000005 09 01000000 01020304 c6 05"},
	{"chunk size 1", 1, Message{Type: TypeVideo, StreamID: 1, ChunkStream: 3, Payload: []byte{1, 2, 3}},
		"03 000000 000003 09 01000000 01 c3 02 c3 03"},
	{"chunk stream 64", 4, Message{Type: TypeVideo, ChunkStream: 64, Payload: []byte{1, 2, 3, 4, 5}},
		"00 00 000000 000005 09 00000000 01020304 c000 05"},
	{"chunk stream 319", 128, Message{Type: TypeVideo, ChunkStream: 319, Payload: []byte{1}}, "00 ff 000000 000001 09 00000000 01"},
	{"chunk stream 320", 1, Message{Type: TypeVideo, ChunkStream: 320, Payload: []byte{1, 2}},
		"01 0001 000000 000002 09 00000000 01 c1 0001 02"},
	{"chunk stream 65599", 128, Message{Type: TypeVideo, ChunkStream: 65599, Payload: []byte{1}}, "01 ffff 000000 000001 09 00000000 01"},
	{"last short timestamp", 128, Message{Type: TypeVideo, ChunkStream: 6, Timestamp: 0xfffffe, Payload: []byte{1}},
		"06 fffffe 000001 09 00000000 01"},
	{"first extended timestamp", 128, Message{Type: TypeVideo, ChunkStream: 6, Timestamp: 0xffffff, Payload: []byte{1}},
		"06 ffffff 000001 09 00000000 00ffffff 01"},
	{"extended timestamp in every chunk", 2, Message{Type: TypeVideo, ChunkStream: 6, Timestamp: 0xfffffffe, Payload: []byte{1, 2, 3}},
		"06 ffffff 000003 09 00000000 fffffffe 0102 c6 fffffffe 03"},
	{"chunk size 65536", 65536, Message{Type: TypeVideo, StreamID: 1, ChunkStream: 6, Payload: bytes.Repeat([]byte{7}, 65537)},
		"06 000000 010001 09 01000000 07*65536 c6 07"},
}

func TestChunks(t *testing.T) {
	for _, test := range chunkTable {
		t.Run(test.name, func(t *testing.T) {
			want := unhex(t, test.bytes)
			if got := AppendMessage([]byte{0xaa}, test.size, test.m)[1:]; !bytes.Equal(got, want) {
				t.Errorf("written % x\nwant    % x", trim(got), trim(want))
			}
			for _, step := range []int{len(want), 1, 2, 3, 5, 13} {
				got, r, err := readChunks(want, test.size, step)
				if err != nil || len(got) != 1 || !sameMessage(got[0], test.m) {
					t.Errorf("read by %d: %d messages, %v, first %+v", step, len(got), err, got)
				}
				if r.Offset() != uint64(len(want)) || r.Unfinished() != 0 {
					t.Errorf("read by %d: at byte %d, holding %d", step, r.Offset(), r.Unfinished())
				}
			}
		})
	}
}

func trim(b []byte) []byte { return b[:min(len(b), 64)] }

func sameMessage(a, b Message) bool {
	return a.Type == b.Type && a.StreamID == b.StreamID && a.ChunkStream == b.ChunkStream && a.Timestamp == b.Timestamp && bytes.Equal(a.Payload, b.Payload)
}

func readChunks(b []byte, size, step int) ([]Message, *ChunkReader, error) {
	r := NewChunkReader(Limits{})
	r.SetChunkSize(size)
	var got []Message
	for len(b) > 0 {
		n := min(step, len(b))
		if err := r.Feed(b[:n], func(m Message) error { got = append(got, m); return nil }); err != nil {
			return got, r, err
		}
		b = b[n:]
	}
	return got, r, nil
}

// TestChunkReader reads what this package does not write itself: compressed headers, interleaving, control messages.
func TestChunkReader(t *testing.T) {
	video := func(cs, at uint32, payload string) Message {
		return Message{Type: TypeVideo, StreamID: 1, ChunkStream: cs, Timestamp: at, Payload: unhex(t, payload)}
	}
	for _, test := range []struct {
		name, bytes string
		want        []Message
	}{
		{"header type 1", "06 000064 000001 09 01000000 aa  46 000028 000002 09 bbcc", []Message{video(6, 100, "aa"), video(6, 140, "bbcc")}},
		{"header type 2", "06 000064 000001 09 01000000 aa  86 000028 bb", []Message{video(6, 100, "aa"), video(6, 140, "bb")}},
		{"header type 3 repeats the delta", "06 000064 000001 09 01000000 aa  86 000028 bb c6 cc c6 dd",
			[]Message{video(6, 100, "aa"), video(6, 140, "bb"), video(6, 180, "cc"), video(6, 220, "dd")}},
		{"header type 3 after type 0 takes the timestamp as delta", "06 000064 000001 09 01000000 aa c6 bb",
			[]Message{video(6, 100, "aa"), video(6, 200, "bb")}},
		{"the timestamp wraps", "06 ffffff 000001 09 01000000 fffffff0 aa 86 000020 bb",
			[]Message{video(6, 0xfffffff0, "aa"), video(6, 0x10, "bb")}},
		{"extended delta", "06 000001 000001 09 01000000 aa 86 ffffff 01000000 bb c6 01000000 cc",
			[]Message{video(6, 1, "aa"), video(6, 0x01000001, "bb"), video(6, 0x02000001, "cc")}},
		{"extended timestamp left out in type 3", "02 000000 000004 01 00000000 00000006 06 ffffff 000008 09 01000000 01020304 010203040506 c6 0708",
			[]Message{{Type: TypeSetChunkSize, ChunkStream: 2, Payload: unhex(t, "00000006")}, video(6, 0x01020304, "0102030405060708")}},
		{"extended timestamp left out, and payload that begins like it", "06 ffffff 000082 09 01000000 01020304 aa*128 c6 0105 c6 01020304 bb*128 c6 bbbb",
			[]Message{video(6, 0x01020304, "aa*128 0105"), video(6, 0x02040608, "bb*130")}},
		{"interleaved", "06 000000 000082 09 01000000 aa*128 04 000005 000001 08 01000000 bb c6 aaaa",
			[]Message{{Type: TypeAudio, StreamID: 1, ChunkStream: 4, Timestamp: 5, Payload: []byte{0xbb}}, video(6, 0, "aa*130")}},
		{"set chunk size", "02 000000 000004 01 00000000 00000002 06 000000 000003 09 01000000 aaaa c6 aa",
			[]Message{{Type: TypeSetChunkSize, ChunkStream: 2, Payload: unhex(t, "00000002")}, video(6, 0, "aaaaaa")}},
		{"set chunk size to the largest", "02 000000 000004 01 00000000 7fffffff 06 000000 000090 09 01000000 aa*144",
			[]Message{{Type: TypeSetChunkSize, ChunkStream: 2, Payload: unhex(t, "7fffffff")}, video(6, 0, "aa*144")}},
		{"set chunk size inside a message", "06 000000 000084 09 01000000 aa*128 02 000000 000004 01 00000000 00000002 c6 aaaa c6 aaaa",
			[]Message{{Type: TypeSetChunkSize, ChunkStream: 2, Payload: unhex(t, "00000002")}, video(6, 0, "aa*132")}},
		{"abort", "06 000000 000084 09 01000000 aa*128 02 000000 000004 02 00000000 00000006 06 000000 000001 09 01000000 bb",
			[]Message{{Type: TypeAbort, ChunkStream: 2, Payload: unhex(t, "00000006")}, video(6, 0, "bb")}},
		{"librtmp begins a chunk stream with type 1", "42 000000 000004 03 00000010",
			[]Message{{Type: TypeAck, ChunkStream: 2, Payload: unhex(t, "00000010")}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := unhex(t, test.bytes)
			for step := 1; step <= len(b); step++ {
				got, r, err := readChunks(b, DefaultChunkSize, step)
				if err != nil || !reflect.DeepEqual(got, test.want) {
					t.Fatalf("by %d bytes: %+v, %v", step, got, err)
				}
				if r.Unfinished() != 0 {
					t.Errorf("holds %d bytes", r.Unfinished())
				}
			}
		})
	}
}

// TestChunkReaderHostile breaks the protocol and the limits: each with its own error that says where.
func TestChunkReaderHostile(t *testing.T) {
	limits := Limits{MaxMessage: 1000, MaxUnfinished: 1500, MaxChunkStreams: 4}
	unfinished := ""
	for i := range 4 {
		unfinished += fmt.Sprintf("%02x 000000 000300 09 01000000 aa*128 %02x aa*128 %[2]x aa*128 %[2]x aa*128 ", i+3, 0xc0|i+3)
	}
	for _, test := range []struct {
		name, bytes string
		reason      lifecycle.Reason
		text        string
	}{
		{"giant message", "06 000000 ffffff 09 01000000 aa", lifecycle.ReasonTooBig,
			"rtmp: got a video message of 16777215 bytes, want at most 1000 (MaxMessage), at byte 0"},
		{"giant message later", "06 000000 000001 09 01000000 aa 46 000000 0003e9 09", lifecycle.ReasonTooBig,
			"rtmp: got a video message of 1001 bytes, want at most 1000 (MaxMessage), at byte 13"},
		{"unfinished messages", unfinished, lifecycle.ReasonLimit, "bytes of unfinished messages, want at most 1500 (MaxUnfinished)"},
		{"chunk streams", "03 000000 000000 09 01000000 04 000000 000000 09 01000000 05 000000 000000 09 01000000 06 000000 000000 09 01000000 07 000000 000000 09 01000000",
			lifecycle.ReasonLimit, "rtmp: got chunk stream 7 after 4 others, want at most 4 (MaxChunkStreams), at byte 48"},
		{"header type 2 first", "86 000000", lifecycle.ReasonProtocol, "header type 2 first on chunk stream 6"},
		{"header type 3 first", "c6", lifecycle.ReasonProtocol, "header type 3 first on chunk stream 6"},
		{"new message inside a message", "06 000000 000100 09 01000000 aa*128 06 000000 000001 09 01000000", lifecycle.ReasonProtocol,
			"rtmp: got a new message on chunk stream 6 after 128 of 256 bytes, want the rest of the message (header type 3) or an abort, at byte 140"},
		{"chunk size 0", "02 000000 000004 01 00000000 00000000", lifecycle.ReasonProtocol, "got chunk size 0, want 1 to 2147483647"},
		{"chunk size with the first bit", "02 000000 000004 01 00000000 80000001", lifecycle.ReasonProtocol, "chunk size 2147483649"},
		{"short set chunk size", "02 000000 000003 01 00000000 000000", lifecycle.ReasonProtocol, "set chunk size of 3 bytes"},
		{"empty abort", "02 000000 000000 02 00000000", lifecycle.ReasonProtocol, "abort of 0 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := NewChunkReader(limits)
			b := unhex(t, test.bytes)
			emit := func(Message) error { return nil }
			err := r.Feed(b, emit)
			var broken *ProtocolError
			if !errors.As(err, &broken) || !errors.Is(err, test.reason) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got error %v", err)
			}
			if r.Unfinished() > limits.MaxUnfinished {
				t.Errorf("holds %d bytes", r.Unfinished())
			}
			if again := r.Feed([]byte{3}, emit); again != err {
				t.Errorf("goes on after the error: %v", again)
			}
		})
	}
}

// TestChunkReaderMemory claims large messages and sends little: memory follows the bytes, not the claims.
func TestChunkReaderMemory(t *testing.T) {
	r := NewChunkReader(Limits{})
	var claims []byte
	for i := range 60 {
		claims = append(claims, unhex(t, fmt.Sprintf("%02x 000000 7fffff 09 01000000 aa*128", i+3))...)
	}
	if err := r.Feed(claims, func(Message) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if held := r.Unfinished(); held > 60*trustFirst {
		t.Errorf("holds %d bytes for %d sent", held, len(claims))
	}
	var err error
	for i := 0; err == nil; i++ {
		err = r.Feed(append(appendBasic(nil, 3, uint32(i%60)+3), make([]byte, DefaultChunkSize)...), func(Message) error { return nil })
		if held := r.Unfinished(); held > 2*defaultMaxMessage {
			t.Fatalf("holds %d bytes", held)
		}
	}
	if !errors.Is(err, lifecycle.ReasonLimit) {
		t.Errorf("ends with %v", err)
	}
}

// TestChunkReaderKeeps checks that payloads stay as they were handed out.
func TestChunkReaderKeeps(t *testing.T) {
	r := NewChunkReader(Limits{})
	var wire []byte
	for i := range 2000 {
		wire = AppendMessage(wire, DefaultChunkSize, Message{Type: TypeAudio, Payload: bytes.Repeat([]byte{byte(i)}, i)})
	}
	var got []Message
	for chunk := range bytes.Lines(wire) {
		if err := r.Feed(chunk, func(m Message) error { got = append(got, m); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if len(got) != 2000 {
		t.Fatalf("got %d messages", len(got))
	}
	for i, m := range got {
		if !bytes.Equal(m.Payload, bytes.Repeat([]byte{byte(i)}, i)) || cap(m.Payload) != len(m.Payload) {
			t.Fatalf("message %d has changed", i)
		}
	}
}

func TestChunkReaderStops(t *testing.T) {
	stop := errors.New("stop")
	r := NewChunkReader(Limits{})
	if err := r.Feed(unhex(t, "06 000000 000000 09 01000000"), func(Message) error { return stop }); err != stop {
		t.Errorf("got %v", err)
	}
}

func TestAggregate(t *testing.T) {
	body := unhex(t, "08 000001 000064 00 000000 aa 0000000c  09 000002 000078 00 000000 bbcc 0000000d")
	var got []Message
	err := splitAggregate(Message{Type: TypeAggregate, StreamID: 1, ChunkStream: 5, Timestamp: 1000, Payload: body},
		func(m Message) error { got = append(got, m); return nil })
	want := []Message{{Type: TypeAudio, StreamID: 1, ChunkStream: 5, Timestamp: 1000, Payload: []byte{0xaa}},
		{Type: TypeVideo, StreamID: 1, ChunkStream: 5, Timestamp: 1020, Payload: []byte{0xbb, 0xcc}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	for n := range body {
		if n == 16 || n == 0 {
			continue
		}
		if splitAggregate(Message{Payload: body[:n]}, func(Message) error { return nil }) == nil {
			t.Errorf("%d bytes of it are accepted", n)
		}
	}
}

func FuzzChunkReader(f *testing.F) {
	for _, test := range chunkTable {
		f.Add(unhex(f, test.bytes), byte(7))
	}
	f.Add(unhex(f, "02 000000 000004 01 00000000 00000001 06 ffffff 000003 09 01000000 01020304 aa c6 01020304 aa c6 aa"), byte(1))
	f.Add(unhex(f, "06 000000 000084 09 01000000 aa*128 02 000000 000004 02 00000000 00000006 c6 aa*128 c6 aa*4"), byte(3))
	f.Fuzz(func(t *testing.T, b []byte, step byte) {
		limits := Limits{MaxMessage: 1 << 16, MaxUnfinished: 1 << 17, MaxChunkStreams: 8}
		whole, _ := fuzzRead(t, limits, b, len(b))
		parts, err := fuzzRead(t, limits, b, int(step)+1)
		if !reflect.DeepEqual(whole, parts) {
			t.Errorf("read at once %+v\nin parts %+v", whole, parts)
		}
		var broken *ProtocolError
		if err != nil && (!errors.As(err, &broken) || broken.Offset > uint64(len(b))) {
			t.Errorf("got error %v", err)
		}
		var wire []byte
		for _, m := range whole {
			wire = AppendMessage(wire, 100, m)
		}
		r := NewChunkReader(limits)
		r.SetChunkSize(100)
		i := 0
		err = r.Feed(wire, func(m Message) error {
			if !sameMessage(m, whole[i]) {
				t.Errorf("wrote %+v, read %+v", whole[i], m)
			}
			i++
			r.SetChunkSize(100)
			return nil
		})
		if err != nil && i < len(whole) && !errors.Is(err, lifecycle.ReasonLimit) {
			t.Errorf("what was written is not read: %v", err)
		}
	})
}

func fuzzRead(t *testing.T, l Limits, b []byte, step int) (got []Message, err error) {
	r := NewChunkReader(l)
	for len(b) > 0 && err == nil {
		n := min(step, len(b))
		err = r.Feed(b[:n], func(m Message) error { got = append(got, m); return nil })
		if r.Unfinished() > l.MaxUnfinished || len(r.streams) > l.MaxChunkStreams {
			t.Fatalf("holds %d bytes, %d chunk streams", r.Unfinished(), len(r.streams))
		}
		b = b[n:]
	}
	return got, err
}

func BenchmarkChunkReader(b *testing.B) {
	for _, bench := range []struct {
		name               string
		video, audio, size int
	}{{"2.5Mbps", 10000, 370, OwnChunkSize}, {"2.5Mbps/chunk128", 10000, 370, 128}, {"2.5Mbps/chunk4096", 10000, 370, 4096}} {
		b.Run(bench.name, func(b *testing.B) {
			var wire []byte
			for range 15 {
				wire = AppendMessage(wire, bench.size, Message{Type: TypeVideo, StreamID: 1, Payload: make([]byte, bench.video)})
				wire = AppendMessage(wire, bench.size, Message{Type: TypeAudio, StreamID: 1, Payload: make([]byte, bench.audio)})
			}
			r := NewChunkReader(Limits{})
			r.SetChunkSize(bench.size)
			n := 0
			emit := func(Message) error { n++; return nil }
			b.ReportAllocs()
			b.SetBytes(int64(len(wire) / 30))
			for n < b.N { // an operation is a message
				for rest := wire; len(rest) > 0; {
					k := min(16384, len(rest))
					if err := r.Feed(rest[:k], emit); err != nil {
						b.Fatal(err)
					}
					rest = rest[k:]
				}
			}
		})
	}
}

func BenchmarkAppendMessage(b *testing.B) {
	for _, size := range []int{370, 10000, 100000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			m := Message{Type: TypeVideo, StreamID: 1, Payload: make([]byte, size)}
			b.ReportAllocs()
			b.SetBytes(int64(size))
			var dst []byte
			for b.Loop() {
				dst = AppendMessage(dst[:0], OwnChunkSize, m)
			}
		})
	}
}
