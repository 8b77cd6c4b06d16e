package websocket

import (
	"fmt"
	"strings"
	"testing"
)

const megabyte = 1 << 20

// RFC 6455 section 5.4 and 10.4: large messages, in one frame, in fragments and in chops of every size.
func TestConformanceLarge(t *testing.T) {
	var list []dialogue
	for _, f := range []frame{binary_(strings.Repeat("\x00\xfe", 5*megabyte)), text(strings.Repeat("日本語のテキスト ", megabyte/25)), text(strings.Repeat("BAsd7&jh23", megabyte/10))} {
		whole := len(f.payload) > megabyte
		list = append(list, dialogue{name: fmt.Sprintf("opcode %d, %d in one", f.op, len(f.payload)), turns: []turn{{say: []frame{f}, hear: []frame{f}}}, whole: whole})
		for size := 64; size <= 65536; size *= 4 {
			if (whole || raceEnabled) && size > 64 && size < 65536 {
				continue
			}
			list = append(list, dialogue{name: fmt.Sprintf("opcode %d, %d in fragments of %d", f.op, len(f.payload), size), turns: []turn{{say: cut(f.op, f.payload, size), hear: []frame{f}}}, whole: whole})
		}
	}
	for _, n := range []int{65536, 256 << 10, 4 * megabyte} {
		f := text(strings.Repeat("*", n))
		list = append(list, dialogue{name: fmt.Sprintf("text of %d", n), turns: []turn{{say: []frame{f}, hear: []frame{f}}}, whole: n > megabyte})
	}
	f := text(strings.Repeat("*", 65536))
	list = append(list, talk("65536 in fragments of 1300", cut(OpText, f.payload, 1300), f))
	converse(t, list)
}

// Section 10.4: limits of messages and frames, whichever way the bytes come.
func TestConformanceLimits(t *testing.T) {
	with := func(d dialogue, max, frame int64) dialogue {
		d.name = fmt.Sprintf("%s, limits %d and %d", d.name, max, frame)
		for _, f := range d.turns[0].say {
			d.whole = d.whole || len(f.payload) > megabyte
		}
		d.options = AcceptOptions{MaxMessage: max, MaxFrame: frame}
		return d
	}
	at, over := strings.Repeat("a", 1000), strings.Repeat("a", 1001)
	huge := func(masked bool) []byte { return rawFor(masked, "\x82\x7f\x00\x00\x01\x00\x00\x00\x00\x00") }
	bad := fails(CloseTooBig)
	converse(t, []dialogue{
		with(talk("at", []frame{text(at)}, text(at)), 1000, 0),
		with(talk("over", []frame{text("before"), text(over)}, text("before"), bad), 1000, 0),
		with(talk("at, in fragments", cut(OpBinary, at, 100), binary_(at)), 1000, 100),
		with(talk("over, in fragments", cut(OpBinary, over, 100), bad), 1000, 100),
		with(talk("over, before its bytes are there", nil, bad), 0, 0).saying(huge),
		with(talk("frame over", []frame{text(at)}, bad), 0, 999),
		with(talk("frame over, of fragments", cut(OpText, at, 500), bad), 0, 499),
		with(talk("messages do not add up", []frame{text(at), text(at), binary_(at)}, text(at), text(at), binary_(at)), 1000, 1000),
		with(talk("pings do not count", []frame{start(OpText, "12345"), ping("123456789"), last("67890")}, pong("123456789"), text("1234567890")), 10, 5),
		with(talk("no limit", []frame{text(strings.Repeat(at, 17000))}, text(strings.Repeat(at, 17000))), -1, 0),
		with(talk("the default", []frame{text(strings.Repeat("*", DefaultMaxMessage))}, text(strings.Repeat("*", DefaultMaxMessage))), 0, 0),
		with(talk("the default and one", []frame{text(strings.Repeat("*", DefaultMaxMessage+1))}, bad), 0, 0),
	})
}

func (d dialogue) saying(raw func(bool) []byte) dialogue {
	d.turns[0].raw = raw
	return d
}

// A thousand messages of each size, each sent when the one before has come back.
func TestConformanceRoundTrips(t *testing.T) {
	const messages = 1000
	for _, server := range []bool{true, false} {
		for _, n := range []int{0, 16, 64, 256, 1024, 4096} {
			for _, by := range forms {
				t.Run(fmt.Sprintf("%d/server=%v/%s", n, server, by.name), func(t *testing.T) {
					t.Parallel()
					c, p := connect(t, server, nil)
					go by.echo(c)
					f := frame{fin: true, op: OpText + byte(n/16%2), payload: strings.Repeat("*", n)}
					for i := range messages {
						p.Write(f.bytes(server))
						if got, err := readFrame(p.r, !server); err != nil || got != f {
							t.Fatalf("message %d: %v, %v", i, got.short(), err)
						}
					}
					c.CloseNow()
				})
			}
		}
	}
}
