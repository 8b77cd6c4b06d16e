package websocket

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

// frame is what a peer may send, legal or not.
type frame struct {
	fin     bool
	rsv     byte // 0 to 7
	op      byte
	payload string
}

var testKey = [4]byte{0x37, 0xfa, 0x21, 0x3d} // that of RFC 6455 section 5.7

// bytes makes the frame as a client (masked) or a server sends it.
func (f frame) bytes(masked bool) []byte {
	var b []byte
	if masked {
		b = appendMaskedWith(nil, f.fin, f.op, testKey, []byte(f.payload))
	} else {
		b = AppendFrame(nil, f.fin, f.op, []byte(f.payload))
	}
	b[0] |= f.rsv << 4
	return b
}

func frames(masked bool, list ...frame) []byte {
	var b []byte
	for _, f := range list {
		b = append(b, f.bytes(masked)...)
	}
	return b
}

func text(s string) frame    { return frame{fin: true, op: OpText, payload: s} }
func binary_(s string) frame { return frame{fin: true, op: OpBinary, payload: s} }

// frameTable is used both ways. The first rows are the examples of RFC 6455 section 5.7.
var frameTable = []struct {
	name   string
	frame  frame
	masked bool
	header string // in hexadecimal; the payload follows as it is, or masked
	bytes  string // all of it, if it is short
}{
	{name: "unmasked text", frame: text("Hello"), bytes: "810548656c6c6f"},
	{name: "masked text", frame: text("Hello"), masked: true, bytes: "818537fa213d7f9f4d5158"},
	{name: "fragment", frame: frame{op: OpText, payload: "Hel"}, bytes: "010348656c"},
	{name: "last fragment", frame: frame{fin: true, op: OpContinuation, payload: "lo"}, bytes: "80026c6f"},
	{name: "ping", frame: frame{fin: true, op: OpPing, payload: "Hello"}, bytes: "890548656c6c6f"},
	{name: "masked pong", frame: frame{fin: true, op: OpPong, payload: "Hello"}, masked: true, bytes: "8a8537fa213d7f9f4d5158"},
	{name: "close", frame: frame{fin: true, op: OpClose, payload: "\x03\xe8"}, bytes: "880203e8"},
	{name: "empty", frame: binary_(""), bytes: "8200"},
	{name: "empty masked", frame: binary_(""), masked: true, bytes: "828037fa213d"},
	{name: "125", frame: binary_(strings.Repeat("*", 125)), header: "827d"},
	{name: "126", frame: binary_(strings.Repeat("*", 126)), header: "827e007e"},
	{name: "256", frame: binary_(strings.Repeat("*", 256)), header: "827e0100"},
	{name: "65535", frame: binary_(strings.Repeat("*", 65535)), header: "827effff"},
	{name: "65536", frame: binary_(strings.Repeat("*", 65536)), header: "827f0000000000010000"},
}

func TestFrameTable(t *testing.T) {
	for _, tt := range frameTable {
		t.Run(tt.name, func(t *testing.T) {
			want, _ := hex.DecodeString(tt.bytes)
			if tt.header != "" {
				want, _ = hex.DecodeString(tt.header)
				want = append(want, tt.frame.payload...)
			}
			if got := tt.frame.bytes(tt.masked); !bytes.Equal(got, want) {
				t.Errorf("encoded\n%x, want\n%x", got, want)
			}
			if tt.frame.op == OpContinuation {
				want = append(frame{op: OpBinary}.bytes(tt.masked), want...)
			}
			if !tt.frame.fin {
				want = append(want, frame{fin: true}.bytes(tt.masked)...)
			}
			got, err := parse(tt.masked, want, len(want))
			if err != nil || len(got) != 1 || got[0].payload != tt.frame.payload {
				t.Errorf("decoded %d frames, error %v", len(got), err)
			}
		})
	}
}

// parse feeds b in parts of n bytes and returns the messages and control frames.
func parse(masked bool, b []byte, n int, set ...func(*parser)) ([]frame, error) {
	var got []frame
	p := parser{masked: masked}
	p.emit = func(op, rsv byte, payload []byte, _ bool) error {
		got = append(got, frame{fin: true, rsv: rsv >> 4, op: op, payload: string(payload)})
		if op == OpClose {
			_, _, err := parseClose(payload)
			return err
		}
		return nil
	}
	for _, f := range set {
		f(&p)
	}
	b = bytes.Clone(b)
	for len(b) > 0 {
		part := b[:min(n, len(b))]
		k, err := p.feed(part)
		if err != nil {
			return got, err
		}
		if k != len(part) {
			return got, fmt.Errorf("took %d of %d bytes without an error", k, len(part))
		}
		b = b[k:]
	}
	return got, nil
}

func TestParserParts(t *testing.T) {
	stream := frames(true, text("one"), frame{op: OpText, payload: "größer "}, frame{fin: true, op: OpPing, payload: "p"}, frame{op: OpContinuation, payload: "日本語"},
		frame{fin: true, op: OpContinuation}, binary_(strings.Repeat("x", 70000)), frame{fin: true, op: OpClose, payload: "\x03\xe9bye"})
	want, err := parse(true, stream, len(stream))
	if err != nil || len(want) != 5 || want[2].payload != "größer 日本語" {
		t.Fatalf("got %d, %v", len(want), err)
	}
	for n := 1; n < 200; n += 1 + n/10 {
		got, err := parse(true, stream, n)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("in parts of %d bytes: %d messages, %v", n, len(got), err)
		}
	}
}

// The places that extensions will use.
func TestParserReservedBits(t *testing.T) {
	stream := frames(false, frame{fin: false, rsv: 4, op: OpText, payload: "\xff"}, frame{fin: true, op: OpContinuation, payload: "\xfe"})
	got, err := parse(false, stream, 3, func(p *parser) { p.rsv = 0x40 })
	if err != nil || len(got) != 1 || got[0].rsv != 4 || got[0].payload != "\xff\xfe" {
		t.Errorf("got %v, %v", got, err)
	}
	for _, f := range []frame{{fin: true, rsv: 2, op: OpText}, {fin: true, rsv: 4, op: OpPing}} {
		if _, err := parse(false, f.bytes(false), 1, func(p *parser) { p.rsv = 0x40 }); err == nil {
			t.Errorf("%v is taken", f)
		}
	}
	again := frames(false, frame{op: OpText}, frame{fin: true, rsv: 4, op: OpContinuation})
	if _, err := parse(false, again, 1, func(p *parser) { p.rsv = 0x40 }); err == nil {
		t.Error("reserved bits on a continuation are taken")
	}
}

func TestParserStops(t *testing.T) {
	stop := errors.New("enough")
	p := parser{emit: func(_, _ byte, payload []byte, more bool) error {
		if more != (string(payload) == "a") {
			t.Errorf("%q: more is %v", payload, more)
		}
		return stop
	}}
	b := frames(false, text("a"), text("b"))
	n, err := p.feed(b)
	if n != 3 || err != stop {
		t.Fatalf("feed returned %d, %v", n, err)
	}
	if n, err = p.feed(b[n:]); n != 3 || err != stop {
		t.Fatalf("feed returned %d, %v", n, err)
	}
}

func TestMask(t *testing.T) {
	for n := range 300 {
		for pos := range 5 {
			b := make([]byte, n)
			want := make([]byte, n)
			for i := range b {
				b[i] = byte(rand.Uint32())
				want[i] = b[i] ^ testKey[(i+pos)%4]
			}
			if mask(b, testKey, pos); !bytes.Equal(b, want) {
				t.Fatalf("%d bytes at %d: got %x, want %x", n, pos, b, want)
			}
		}
	}
}

// utf8Pieces are the interesting sequences: valid at every boundary of RFC 3629, and invalid in every way.
var utf8Pieces = []string{"", "a", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "\x00", "\x7f", "é", "\u0080", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\uffff", "日本語日本語日本語",
	"Привет, мир", "\U00010000", "\U0010ffff", "κόσμε", "😀😀", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x80\x80\x80", "\xf4\x90\x80\x80",
	"\xf5", "\xff", "\x80", "\xc3", "\xe2\x82", "\xf0\x9f\x98", "\xc3\xc3", "\xe2\x82\x41", "\xf8\x88\x80\x80\x80", "\xfe"}

func TestValidUTF8(t *testing.T) {
	for range 20_000 {
		s := strings.Repeat("日本語", rand.IntN(9))
		for range rand.IntN(4) {
			s += utf8Pieces[rand.IntN(len(utf8Pieces))] + strings.Repeat("漢字", rand.IntN(9))
		}
		if got := validUTF8([]byte(s)); got != utf8.ValidString(s) {
			t.Fatalf("%q: %v", s, got)
		}
	}
	for lead := range 0x20 { // all that can be said in a lead byte and the two after it
		for next := range 1 << 16 {
			s := string([]byte{byte(0xe0 + lead), byte(next), byte(next >> 8), 0x80, 'x', 'x', 'x', 'x', 'x'})
			if got := validUTF8([]byte(s)); got != utf8.ValidString(s) {
				t.Fatalf("%q: %v", s, got)
			}
		}
	}
	for _, a := range utf8Pieces {
		for _, b := range utf8Pieces {
			for pad := range 9 {
				s := strings.Repeat("x", pad) + a + b + "日本語xxxxxxxxx"
				if got := validUTF8([]byte(s)); got != utf8.ValidString(s) {
					t.Fatalf("%q: %v", s, got)
				}
			}
		}
	}
}

// What cannot become valid is refused at the byte that makes it so, in parts of any size.
func TestUTF8FailsFast(t *testing.T) {
	for _, a := range utf8Pieces {
		for _, b := range utf8Pieces {
			s := a + b
			for n := 1; n <= 4; n++ {
				var u utf8Check
				ok, at := true, 0
				for at < len(s) && ok {
					ok = u.add([]byte(s[at:min(at+n, len(s))]))
					at = min(at+n, len(s))
				}
				if bad := firstBad(s); ok != (bad < 0) || !ok && (bad < at-n || bad >= at) {
					t.Fatalf("%q in parts of %d: %v after %d bytes, the first bad one is %d", s, n, ok, at, bad)
				}
				if ok && u.end() != utf8.ValidString(s) {
					t.Fatalf("%q: wrong at the end", s)
				}
			}
		}
	}
}

// firstBad is the slow truth: the first byte up to which no continuation makes s valid, or -1.
func firstBad(s string) int {
	for i := 1; i <= len(s); i++ {
		if !mayBecomeValid(s[:i]) {
			return i - 1
		}
	}
	return -1
}

func mayBecomeValid(s string) bool {
	for _, tail := range []string{"", "\x80", "\x9f", "\xbf", "\xa0", "\x80\x80", "\x90\x80", "\xa0\x80", "\xbf\x80", "\x80\x80\x80", "\x90\x80\x80", "\x8f\xbf\xbf"} {
		if utf8.ValidString(s + tail) {
			return true
		}
	}
	return false
}

func TestCloseCodes(t *testing.T) {
	good := map[int]bool{}
	for _, c := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014} {
		good[c] = true
	}
	for code := range 1 << 16 {
		want := good[code] || code >= 3000 && code <= 4999
		_, reason, err := parseClose([]byte{byte(code >> 8), byte(code), 'x'})
		if (err == nil) != want || want && reason != "x" {
			t.Errorf("code %d: %v", code, err)
		}
	}
}

// FuzzFrameReader checks on both sides, with and without an extension, that no bytes make the parser panic or go past its limits, and that it makes no difference in which parts they arrive.
func FuzzFrameReader(f *testing.F) {
	for _, tt := range frameTable {
		if len(tt.frame.payload) < 200 {
			f.Add(tt.frame.bytes(false), uint8(1), uint8(0))
			f.Add(tt.frame.bytes(true), uint8(3), uint8(1))
		}
	}
	for _, r := range rules {
		f.Add(frames(false, r.send...), uint8(2), uint8(0))
		f.Add(append(frames(true, r.send...), r.raw...), uint8(7), uint8(2))
	}
	f.Fuzz(func(t *testing.T, b []byte, size, flags uint8) {
		for _, masked := range []bool{false, true} {
			limits := func(p *parser) {
				p.maxMessage, p.maxFrame, p.unknown = 200, 150, flags&1 != 0
				if flags&2 != 0 {
					p.rsv = deflateBit
				}
			}
			whole, err1 := parse(masked, b, len(b)+1, limits)
			parts, err2 := parse(masked, b, int(size)+1, limits)
			if fmt.Sprint(err1) != fmt.Sprint(err2) || fmt.Sprint(whole) != fmt.Sprint(parts) {
				t.Fatalf("whole: %v, %v; in parts of %d: %v, %v", whole, err1, size+1, parts, err2)
			}
			var v *Violation
			if err1 != nil && (!errors.As(err1, &v) || v.Got == "" || v.Want == "" || v.Section == "" || !validCode(v.Code)) {
				t.Fatalf("error %v", err1)
			}
			for _, m := range whole {
				most := 200
				if m.rsv != 0 {
					most += most>>3 + encodedSlack
				}
				if len(m.payload) > most || m.op == OpText && m.rsv == 0 && !utf8.ValidString(m.payload) {
					t.Fatalf("message %v", m)
				}
			}
		}
	})
}
