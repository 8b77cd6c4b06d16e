package websocket

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/flate"
)

// squeeze compresses with a flush at the end, as it is sent: the four bytes of the tail are cut off.
func squeeze(parts ...string) string {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, 6)
	for _, p := range parts {
		w.Write([]byte(p))
		w.Flush()
	}
	return strings.TrimSuffix(b.String(), string(flushTail))
}

// final compresses with a last block at the end.
func final(s string) string {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, 6)
	w.Write([]byte(s))
	w.Close()
	return b.String()
}

// stored is an uncompressed block.
func stored(last byte, s string) string {
	return string([]byte{last, byte(len(s)), byte(len(s) >> 8), ^byte(len(s)), ^byte(len(s) >> 8)}) + s
}

func packed(op byte, s string) frame { return frame{fin: true, rsv: 4, op: op, payload: s} }

// inParts makes a compressed message of fragments of n bytes.
func inParts(op byte, s string, n int) []frame {
	list := []frame{{rsv: 4, op: op, payload: s[:n]}}
	for s = s[n:]; len(s) > n; s = s[n:] {
		list = append(list, frame{payload: s[:n]})
	}
	return append(list, frame{fin: true, payload: s})
}

func makeDeflateRules() []rule {
	long := strings.Repeat("größer ", 3000)
	ping := frame{fin: true, op: OpPing, payload: "p"}
	between := inParts(OpText, squeeze("Hello, Hello, Hello"), 5)
	between = append([]frame{between[0], ping}, between[1:]...)
	list := []rule{
		// The examples of RFC 7692 section 7.2.3.
		{name: "one block", send: []frame{packed(OpText, "\xf2\x48\xcd\xc9\xc9\x07\x00")}, want: `text:"Hello"`},
		{name: "two fragments", send: []frame{{rsv: 4, op: OpText, payload: "\xf2\x48\xcd"}, {fin: true, payload: "\xc9\xc9\x07\x00"}}, want: `text:"Hello"`},
		{name: "a stored block", send: []frame{packed(OpText, "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00")}, want: `text:"Hello"`},
		{name: "a last block", send: []frame{packed(OpText, "\xf3\x48\xcd\xc9\xc9\x07\x00\x00")}, want: `text:"Hello"`},
		{name: "two blocks", send: []frame{packed(OpText, "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00")}, want: `text:"Hello"`},
		{name: "an empty message", send: []frame{packed(OpText, "\x00")}, want: `text:""`},
		{name: "the context", send: []frame{packed(OpText, "\xf2\x48\xcd\xc9\xc9\x07\x00"), packed(OpText, "\xf2\x00\x11\x00\x00")}, want: `text:"Hello" text:"Hello"`},

		{name: "an uncompressed message", send: []frame{text("plain"), packed(OpText, squeeze("a"))}, want: `text:"plain" text:"a"`},
		{name: "an uncompressed message in fragments", send: fragments(OpText, "pl", "ain"), want: `text:"plain"`},
		{name: "long text", send: []frame{packed(OpText, squeeze(long))}, want: fmt.Sprintf("text:%q", long)},
		{name: "bytes one by one", send: inParts(OpText, squeeze(long), 1), want: fmt.Sprintf("text:%q", long)},
		{name: "a ping between", send: between, want: `ping:"p" text:"Hello, Hello, Hello"`},
		{name: "an empty last fragment", send: []frame{{rsv: 4, op: OpBinary, payload: squeeze("x")}, {fin: true}}, want: `binary:"x"`},
		{name: "an empty first fragment", send: []frame{{rsv: 4, op: OpBinary}, {fin: true, payload: squeeze("x")}}, want: `binary:"x"`},
		{name: "no byte at all", send: []frame{packed(OpBinary, "")}, want: `binary:""`},
		{name: "many blocks", send: []frame{packed(OpText, squeeze("a", "b", "", "c", "a"))}, want: `text:"abca"`},
		{name: "a last block without padding behind it", send: []frame{packed(OpText, final("Hello"))}, want: `text:"Hello"`},
		{name: "blocks behind a last block", send: []frame{packed(OpText, final("Hello, ")+final("Hello")+squeeze("!"))}, want: `text:"Hello, Hello!"`},
		{name: "stored blocks, one of them last", send: []frame{packed(OpText, stored(1, "a")+stored(0, "b")+"\x00")}, want: `text:"ab"`},
		{name: "as large as allowed", max: 1000, send: []frame{packed(OpText, squeeze(strings.Repeat("x", 1000)))}, want: fmt.Sprintf("text:%q", strings.Repeat("x", 1000))},
		{name: "as large as allowed, and grown", max: 1000, send: []frame{packed(OpBinary, stored(0, strings.Repeat("x", 1000))+"\x00")}, want: fmt.Sprintf("binary:%q", strings.Repeat("x", 1000))},
		{name: "a reserved opcode", opened: true, send: []frame{packed(5, squeeze("x"))}, want: `unknown_message:"x"`},

		{name: "larger than allowed", max: 1000, send: []frame{packed(OpText, squeeze(strings.Repeat("x", 1001)))}, code: CloseTooBig},
		{name: "compressed larger than allowed", max: 1000, send: []frame{packed(OpText, strings.Repeat("x", 1200))}, code: CloseTooBig},
		{name: "not UTF-8", send: []frame{packed(OpText, squeeze("ab\xff"))}, code: CloseInvalidData},
		{name: "half a character", send: []frame{packed(OpText, squeeze("é\xc3"))}, code: CloseInvalidData},
		{name: "a reserved block type", send: []frame{packed(OpText, "\x07")}, code: CloseProtocolError},
		{name: "a reserved block type behind text", send: []frame{packed(OpText, squeeze("abc")+"\x00\x00\xff\xff\x07")}, code: CloseProtocolError},
		{name: "a reference before the start", send: []frame{packed(OpText, "\xf2\x00\x11\x00\x00")}, code: CloseProtocolError},
		{name: "a block that does not end", send: []frame{packed(OpText, squeeze(long)[:20])}, code: CloseProtocolError},
		{name: "a stored block that does not end", send: []frame{packed(OpText, stored(0, "Hello")[:7])}, code: CloseProtocolError},
		{name: "a stored block with a wrong length", send: []frame{packed(OpText, "\x00\x05\x00\xfa\xfeHello\x00")}, code: CloseProtocolError},
		{name: "not compressed", send: []frame{packed(OpText, "\xffHello")}, code: CloseProtocolError},
		{name: "bytes behind the end", send: []frame{packed(OpText, final("Hello")+"\xff")}, code: CloseProtocolError},
		{name: "RSV1 on a continuation", send: []frame{{rsv: 4, op: OpText, payload: "\x00"}, {fin: true, rsv: 4, payload: "\x00"}}, code: CloseProtocolError},
		{name: "RSV1 on a continuation only", send: []frame{{op: OpText}, {fin: true, rsv: 4, payload: "\x00"}}, code: CloseProtocolError},
		{name: "RSV2", send: []frame{{fin: true, rsv: 2, op: OpText}}, code: CloseProtocolError},
		{name: "RSV1 and RSV3", send: []frame{{fin: true, rsv: 5, op: OpText, payload: "\x00"}}, code: CloseProtocolError},
	}
	for _, op := range []byte{OpPing, OpPong, OpClose} {
		list = append(list, rule{name: fmt.Sprintf("RSV1 on a control frame %d", op), send: []frame{{fin: true, rsv: 4, op: op}}, code: CloseProtocolError})
	}
	return list
}

func TestDeflateRulesServer(t *testing.T) { testDeflateRules(t, true) }
func TestDeflateRulesClient(t *testing.T) { testDeflateRules(t, false) }

// What RFC 7692 demands of those who receive, with takeover and, where the message does not need it, without.
func testDeflateRules(t *testing.T, server bool) {
	for _, r := range makeDeflateRules() {
		for _, takeover := range []bool{true, false} {
			t.Run(fmt.Sprint(r.name, " ", takeover), func(t *testing.T) {
				t.Parallel()
				r := r
				if r.name == "the context" && !takeover {
					r.want, r.code = `text:"Hello"`, CloseProtocolError
				}
				c, peer := deflated(t, server, deflateParams{serverNoTakeover: !takeover, clientNoTakeover: !takeover}, &AcceptOptions{MaxMessage: r.max, Unknown: r.opened})
				out := frames(server, r.send...)
				if r.code == 0 {
					out = append(out, closing(CloseNormal, "").bytes(server)...)
				}
				answer := make(chan []byte, 1)
				go func() { answer <- peer.exchange(out, !server) }()
				got, want := eventsOf(c, testContext(t)), r.want+" closing:1000 closed:1000 disconnected:graceful"
				if r.code != 0 {
					want = strings.TrimSpace(fmt.Sprintf("%s protocol_error:%d disconnected:failed", r.want, r.code))
				}
				if got != want {
					t.Errorf("got events\n%.300s, want\n%.300s", got, want)
				}
				checkDeflateAnswer(t, <-answer, !server, r.code)
				if r.code != 0 {
					checkEnd(t, c, r.code)
				}
			})
		}
	}
}

// checkDeflateAnswer finds the close frame with the code at the end of what the peer was sent.
func checkDeflateAnswer(t *testing.T, b []byte, masked bool, code int) {
	t.Helper()
	got, err := parse(masked, b, len(b)+1)
	if err != nil || len(got) == 0 || got[len(got)-1].op != OpClose {
		t.Fatalf("the peer got %v, %v", got, err)
	}
	if sent, _, _ := parseClose([]byte(got[len(got)-1].payload)); sent != max(code, CloseNormal) {
		t.Errorf("answered with close code %d, want %d", sent, code)
	}
}

// The error names the document.
func TestDeflateViolation(t *testing.T) {
	_, err := appendInflated(nil, []byte("\x07"), nil, 0)
	var v *Violation
	if !errors.As(err, &v) || !strings.HasSuffix(err.Error(), "(RFC 7692 section 7.2.2)") {
		t.Errorf("the error is %v", err)
	}
}

// A bomb ends at the limit, and memory with it.
func TestDeflateBomb(t *testing.T) {
	const limit = 1 << 20
	bomb := squeeze(strings.Repeat("\x00", 16<<20))
	for _, server := range []bool{true, false} {
		c, peer := deflated(t, server, deflateParams{}, &AcceptOptions{MaxMessage: limit})
		answer := make(chan []byte, 1)
		go func() { answer <- peer.exchange(packed(OpBinary, bomb).bytes(server), !server) }()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if got := eventsOf(c, testContext(t)); got != "protocol_error:1009 disconnected:failed" {
			t.Errorf("got events %s", got)
		}
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 4*limit {
			t.Errorf("%d bytes were allocated, the limit is %d", grown, limit)
		}
		checkDeflateAnswer(t, <-answer, !server, CloseTooBig)
	}
	for _, limit := range []int64{1, 511, 512, 513, 100_000} {
		if b, err := appendInflated(nil, []byte(bomb), nil, limit); err == nil || int64(len(b)) > limit || int64(cap(b)) > 2*limit+minInflate {
			t.Errorf("limit %d: %d bytes in a buffer of %d, %v", limit, len(b), cap(b), err)
		}
	}
}

// slowInflate decompresses by the book (RFC 1951 section 3.2). It says how far back the furthest reference goes, and whether one goes into what came before.
func slowInflate(t testing.TB, b, before []byte) (out []byte, far int, outside bool) {
	t.Helper()
	s := slowBits{b: append(bytes.Clone(b), flushTail...)}
	all := bytes.Clone(before)
	for s.pos/8 < len(s.b) {
		s.take(1)
		var lit, dist map[uint32]int
		switch s.take(2) {
		case 0:
			s.pos = (s.pos + 7) &^ 7
			n := int(binary.LittleEndian.Uint16(s.b[s.pos/8:]))
			all = append(all, s.b[s.pos/8+4:s.pos/8+4+n]...)
			s.pos += 8 * (4 + n)
			continue
		case 1:
			lens := bytes.Repeat([]byte{8}, 288)
			copy(lens[144:], bytes.Repeat([]byte{9}, 112))
			copy(lens[256:], bytes.Repeat([]byte{7}, 24))
			lit, dist = slowCode(lens), slowCode(bytes.Repeat([]byte{5}, 30))
		case 2:
			lit, dist = s.codes()
		default:
			t.Fatal("a reserved block type")
		}
		for {
			sym := s.symbol(lit)
			if sym == 256 {
				break
			}
			if sym < 256 {
				all = append(all, byte(sym))
				continue
			}
			n, d := s.value(sym-257, 4, 3), 0
			if sym == 285 {
				n = 258
			}
			d = s.value(s.symbol(dist), 2, 1)
			far = max(far, d)
			outside = outside || d > len(all)-len(before)
			for range n {
				all = append(all, all[len(all)-d])
			}
		}
	}
	return all[len(before):], far, outside
}

type slowBits struct {
	b   []byte
	pos int
}

func (s *slowBits) take(n int) (v int) {
	for i := range n {
		v |= int(s.b[s.pos/8]>>(s.pos%8)&1) << i
		s.pos++
	}
	return v
}

// value reads a length or a distance; step codes share a number of extra bits.
func (s *slowBits) value(code, step, least int) int {
	if code < 2*step {
		return code + least
	}
	if code == 28 && step == 4 {
		return 258
	}
	extra := code/step - 1
	return least + (step+code%step)<<extra + s.take(extra)
}

func (s *slowBits) symbol(code map[uint32]int) int {
	v := uint32(1)
	for {
		v = v<<1 | uint32(s.take(1))
		if sym, ok := code[v]; ok {
			return sym
		}
	}
}

func (s *slowBits) codes() (lit, dist map[uint32]int) {
	nlit, ndist, n := s.take(5)+257, s.take(5)+1, s.take(4)+4
	lens := make([]byte, 19)
	for i := range n {
		lens[[]int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}[i]] = byte(s.take(3))
	}
	code := slowCode(lens)
	var all []byte
	for len(all) < nlit+ndist {
		switch sym := s.symbol(code); sym {
		case 16:
			all = append(all, bytes.Repeat(all[len(all)-1:], 3+s.take(2))...)
		case 17:
			all = append(all, make([]byte, 3+s.take(3))...)
		case 18:
			all = append(all, make([]byte, 11+s.take(7))...)
		default:
			all = append(all, byte(sym))
		}
	}
	return slowCode(all[:nlit]), slowCode(all[nlit:])
}

// slowCode gives each code, with a 1 before it, its symbol.
func slowCode(lens []byte) map[uint32]int {
	code, next := map[uint32]int{}, uint32(0)
	for n := byte(1); n < 16; n++ {
		next <<= 1
		for sym, l := range lens {
			if l == n {
				code[1<<n|next] = sym
				next++
			}
		}
	}
	return code
}
