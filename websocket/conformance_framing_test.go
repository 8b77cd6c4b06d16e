package websocket

import (
	"fmt"
	"strings"
	"testing"
)

// RFC 6455 section 5.2: messages in one frame, with every form of the length.
func TestConformanceFraming(t *testing.T) {
	var list []dialogue
	for op, char := range map[byte]string{OpText: "*", OpBinary: "\xfe"} {
		for _, n := range []int{0, 1, 124, 125, 126, 127, 128, 65534, 65535, 65536, 65537, 1 << 18} {
			f := frame{fin: true, op: op, payload: strings.Repeat(char, n)}
			list = append(list, talk(fmt.Sprintf("%v of %d", MessageType(op), n), []frame{f}, f))
		}
	}
	many := make([]frame, 300)
	for i := range many {
		many[i] = frame{fin: true, op: OpText + byte(i%2), payload: fmt.Sprint(i)}
	}
	list = append(list,
		talk("300 messages", many, many...),
		talk("text with NUL", []frame{text("\x00a\x00")}, text("\x00a\x00")),
		talk("text then empty binary", []frame{text(""), binary_(""), text("")}, text(""), binary_(""), text("")))
	converse(t, list)
}

// What is not in its shortest form, or has the highest bit of the 64 set (section 5.2).
func TestConformanceLengths(t *testing.T) {
	var list []dialogue
	for name, header := range map[string]string{
		"0 in 16 bits": "\x82\x7e\x00\x00", "125 in 16 bits": "\x82\x7e\x00\x7d", "0 in 64 bits": "\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x00",
		"126 in 64 bits": "\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x7e", "65535 in 64 bits": "\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff",
		"highest bit": "\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00", "all bits": "\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff",
		"ping in 16 bits": "\x89\x7e\x00\x05",
	} {
		list = append(list, dialogue{name: name, turns: []turn{{raw: func(masked bool) []byte { return rawFor(masked, header) }, hear: []frame{fails(CloseProtocolError)}}}})
	}
	converse(t, list)
}

// Section 5.3 and 5.1: a client masks all, a server nothing, and whoever finds it otherwise ends the connection.
func TestConformanceMasking(t *testing.T) {
	wrong := func(f frame) func(bool) []byte { return func(masked bool) []byte { return f.bytes(!masked) } }
	keys := func(masked bool) (b []byte) {
		for i, key := range [][4]byte{{}, {0xff, 0xff, 0xff, 0xff}, {0, 0, 0, 1}, {'a', 'b', 'c', 'd'}} {
			f := frame{fin: i == 3, payload: "abcdefghi"}
			if i == 0 {
				f.op = OpText
			}
			if masked {
				b = appendMaskedWith(b, f.fin, f.op, key, []byte(f.payload))
			} else {
				b = append(b, f.bytes(false)...)
			}
		}
		return b
	}
	bad := []frame{fails(CloseProtocolError)}
	converse(t, []dialogue{
		{name: "text", turns: []turn{{say: []frame{text("a")}, raw: wrong(text("b")), hear: append([]frame{text("a")}, bad...)}}},
		{name: "empty", turns: []turn{{raw: wrong(binary_("")), hear: bad}}},
		{name: "ping", turns: []turn{{raw: wrong(ping("p")), hear: bad}}},
		{name: "close", turns: []turn{{raw: wrong(closing(1000, "")), hear: bad}}},
		{name: "continuation", turns: []turn{{say: []frame{start(OpText, "a")}, raw: wrong(last("b")), hear: bad}}},
		{name: "keys of all kinds", turns: []turn{{raw: keys, hear: []frame{text(strings.Repeat("abcdefghi", 4))}}}},
	})
}

// Each frame of a client has a key of its own that cannot be foretold (section 5.3).
func TestConformanceKeys(t *testing.T) {
	c, p := connect(t, false, nil)
	const n = 200
	go func() {
		for range n {
			c.Write(testContext(t), BinaryMessage, make([]byte, 4))
		}
	}()
	seen := map[string]bool{}
	for range n {
		b, err := p.r.Peek(10) // the payload is zeros: masked, it is the key
		if err != nil || b[0] != 0x82 || b[1] != 0x84 || string(b[2:6]) != string(b[6:10]) {
			t.Fatalf("got %x, %v", b, err)
		}
		seen[string(b[2:6])] = true
		p.r.Discard(10)
	}
	if len(seen) < n-1 { // two of 200 may be alike by chance
		t.Errorf("%d frames have %d keys", n, len(seen))
	}
}

// Sections 5.5.2 and 5.5.3.
func TestConformancePings(t *testing.T) {
	var list []dialogue
	for _, s := range []string{"", "Hello, world!", "\x00\xff\xfe\xfd\xfc\xfb\x00\xff", strings.Repeat("\xfe", 124), strings.Repeat("\xfe", 125)} {
		list = append(list, talk(fmt.Sprintf("ping of %d", len(s)), []frame{ping(s)}, pong(s)))
	}
	var pings, pongs []frame
	for i := range 10 {
		pings, pongs = append(pings, ping(fmt.Sprintf("payload-%d", i))), append(pongs, pong(fmt.Sprintf("payload-%d", i)))
	}
	long := strings.Repeat("\xfe", 126)
	list = append(list,
		talk("ping of 126", []frame{ping(long)}, fails(CloseProtocolError)),
		talk("pong of 126", []frame{pong(long)}, fails(CloseProtocolError)),
		talk("ping of 65536", []frame{ping(strings.Repeat("p", 65536))}, fails(CloseProtocolError)),
		talk("pong that nobody asked for", []frame{pong("")}),
		talk("pong with a payload", []frame{pong("unsolicited pong payload")}),
		talk("pong, then ping", []frame{pong("unsolicited pong payload"), ping("ping payload")}, pong("ping payload")),
		talk("10 pings", pings, pongs...),
		dialogue{name: "10 pings, one at a time", turns: turns(pings, pongs)},
		talk("pings between messages", []frame{text("a"), ping("1"), text("b"), ping("2")}, text("a"), pong("1"), text("b"), pong("2")))
	converse(t, list)
}

func turns(say, hear []frame) []turn {
	var list []turn
	for i := range say {
		list = append(list, turn{say: say[i : i+1], hear: hear[i : i+1]})
	}
	return list
}

// Section 5.2, RSV1 to RSV3: without an extension they are zero, on every kind of frame.
func TestConformanceReservedBits(t *testing.T) {
	var list []dialogue
	for rsv := byte(1); rsv <= 7; rsv++ {
		for name, f := range map[string]frame{"text": text("Hello, world!"), "binary": binary_("\x00\xff\xfe\xfd\xfc\xfb\x00\xff"), "ping": ping("Hello, world!"), "pong": pong(""),
			"close": closing(1000, ""), "fragment": start(OpText, "Hel")} {
			say := []frame{text("before"), reserved(f, rsv), ping("")}
			list = append(list, talk(fmt.Sprintf("%03b on %s", rsv, name), say, text("before"), fails(CloseProtocolError)))
		}
		list = append(list, talk(fmt.Sprintf("%03b on continuation", rsv), []frame{start(OpText, "a"), reserved(last("b"), rsv), ping("")}, fails(CloseProtocolError)))
	}
	converse(t, list)
}

// Section 5.2: the opcodes that mean nothing yet.
func TestConformanceOpcodes(t *testing.T) {
	var list []dialogue
	for _, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		for _, s := range []string{"", "Hello, world!"} {
			for _, fin := range []bool{true, false} {
				f := frame{fin: fin, op: op, payload: s}
				list = append(list, talk(fmt.Sprintf("%d of %d, fin %v", op, len(s), fin), []frame{text("before"), f, ping("")}, text("before"), fails(CloseProtocolError)))
			}
		}
		list = append(list, talk(fmt.Sprintf("%d within a message", op), []frame{start(OpText, "a"), {fin: true, op: op}, last("b")}, fails(CloseProtocolError)))
	}
	converse(t, list)
}

// Section 5.4.
func TestConformanceFragments(t *testing.T) {
	bad := fails(CloseProtocolError)
	const hello = "Hello, world!"
	five := cut(OpText, "fragment1fragment2fragment3fragment4fragment5", 9)
	list := []dialogue{
		talk("text in 2", cut(OpText, "fragment1fragment2", 9), text("fragment1fragment2")),
		talk("binary in 2", cut(OpBinary, "fragment1fragment2", 9), binary_("fragment1fragment2")),
		talk("all empty", fragments(OpText, "", "", ""), text("")),
		talk("only the middle not empty", fragments(OpText, "", "middle frame payload", ""), text("middle frame payload")),
		talk("only the last not empty", fragments(OpBinary, "", "", "x"), binary_("x")),
		talk("1000 of 1", cut(OpText, strings.Repeat("é", 500), 1), text(strings.Repeat("é", 500))),
		talk("two messages", append(cut(OpText, "abcd", 2), cut(OpBinary, "efgh", 2)...), text("abcd"), binary_("efgh")),
		talk("ping between", []frame{start(OpText, "fragment1"), ping("ping payload"), last("fragment2")}, pong("ping payload"), text("fragment1fragment2")),
		talk("pong between", []frame{start(OpText, "fragment1"), pong("x"), last("fragment2")}, text("fragment1fragment2")),
		talk("pings everywhere", []frame{five[0], five[1], ping("pongme 1!"), five[2], five[3], ping("pongme 2!"), five[4]}, pong("pongme 1!"), pong("pongme 2!"),
			text("fragment1fragment2fragment3fragment4fragment5")),
		{name: "ping answered before the message ends", turns: []turn{
			{say: []frame{five[0], five[1], ping("pongme 1!")}, hear: []frame{pong("pongme 1!")}},
			{say: []frame{five[2], five[3], ping("pongme 2!")}, hear: []frame{pong("pongme 2!")}},
			{say: five[4:], hear: []frame{text("fragment1fragment2fragment3fragment4fragment5")}}}},
		talk("ping in fragments", []frame{start(OpPing, "fragment1"), last("fragment2")}, bad),
		talk("pong in fragments", []frame{start(OpPong, "fragment1"), last("fragment2")}, bad),
		talk("close in fragments", []frame{start(OpClose, "\x03\xe8"), last("bye")}, bad),
		talk("continuation of nothing", []frame{last("non-continuation payload"), text(hello)}, bad),
		talk("continuation of nothing that goes on", []frame{middle("non-continuation payload"), text(hello)}, bad),
		talk("empty continuation of nothing", []frame{last("")}, bad),
		talk("continuation of what has ended", append(cut(OpText, "fragment1fragment2", 9), middle("fragment3"), text("fragment4")), text("fragment1fragment2"), bad),
		talk("continuation before a message", []frame{middle("fragment1"), start(OpText, "fragment2"), last("fragment3"), middle("fragment1")}, bad),
		talk("last continuation before a message", []frame{last("fragment1"), start(OpText, "fragment2"), last("fragment3"), last("fragment1")}, bad),
		talk("text within a message", []frame{start(OpText, "fragment1"), text("fragment2")}, bad),
		talk("start within a message", []frame{start(OpText, "fragment1"), start(OpText, "fragment2"), last("")}, bad),
		talk("binary within text", []frame{start(OpText, "fragment1"), binary_("fragment2")}, bad),
	}
	converse(t, list)
}
