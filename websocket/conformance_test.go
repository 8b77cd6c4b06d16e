package websocket

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"
	"unicode/utf8"
)

// The conformance suite: dialogues between a bare peer, whose every byte is the test's, and an end that echoes messages, over real sockets, on both sides, by Events and by Handle, with the same bytes
// cut in different ways. Each file is a chapter of RFC 6455 or RFC 7692.

// turn is what the peer says, and the frames that it must hear before it goes on.
type turn struct {
	say  []frame
	raw  func(masked bool) []byte // bytes behind the frames
	hear []frame
}

// dialogue is a sequence of turns. Unless the last thing heard is a close frame, the peer then closes with 1000 and must hear that.
type dialogue struct {
	name    string
	turns   []turn
	options AcceptOptions
	whole   bool // delivered at once only, because it is long
}

// talk is a dialogue of one turn.
func talk(name string, say []frame, hear ...frame) dialogue {
	return dialogue{name: name, turns: []turn{{say: say, hear: hear}}}
}

func ping(s string) frame                  { return frame{fin: true, op: OpPing, payload: s} }
func pong(s string) frame                  { return frame{fin: true, op: OpPong, payload: s} }
func start(op byte, s string) frame        { return frame{op: op, payload: s} }
func middle(s string) frame                { return frame{payload: s} }
func last(s string) frame                  { return frame{fin: true, payload: s} }
func reserved(f frame, rsv byte) frame     { f.rsv = rsv; return f }
func fails(code int) frame                 { return closing(code, "") }
func cut(op byte, s string, n int) []frame { return fragments(op, pieces(s, n)...) }

// pieces cuts s into pieces of n bytes.
func pieces(s string, n int) []string {
	var list []string
	for ; len(s) > n; s = s[n:] {
		list = append(list, s[:n])
	}
	return append(list, s)
}

const atOnce = "at once"

// deliveries are the ways to cut what the peer says.
var deliveries = map[string]func(t turn, masked bool) [][]byte{
	atOnce:           func(t turn, masked bool) [][]byte { return [][]byte{t.bytes(masked)} },
	"byte by byte":   func(t turn, masked bool) [][]byte { return chopped(t.bytes(masked)) },
	"frame by frame": func(t turn, masked bool) [][]byte { return joined(t.frames(masked)) },
}

func (u turn) bytes(masked bool) []byte { return slices.Concat(u.frames(masked)...) }

func (u turn) frames(masked bool) [][]byte {
	var list [][]byte
	for _, f := range u.say {
		list = append(list, f.bytes(masked))
	}
	if u.raw != nil {
		list = append(list, u.raw(masked))
	}
	return list
}

// maxChops is how many pieces a long turn is cut into, at most.
const maxChops = 1000

func chopped(b []byte) [][]byte { return slices.Collect(slices.Chunk(b, 1+len(b)/maxChops)) }

func joined(list [][]byte) [][]byte {
	if len(list) < maxChops {
		return list
	}
	var fewer [][]byte
	for few := range slices.Chunk(list, 1+len(list)/maxChops) {
		fewer = append(fewer, slices.Concat(few...))
	}
	return fewer
}

// converse runs dialogues on both sides.
func converse(t *testing.T, list []dialogue) {
	for _, d := range list {
		for _, server := range []bool{true, false} {
			for _, by := range forms {
				t.Run(d.name+map[bool]string{true: "/server/", false: "/client/"}[server]+by.name, func(t *testing.T) {
					t.Parallel()
					for how, cut := range deliveries {
						if d.whole && how != atOnce {
							continue
						}
						if err := d.run(t, server, by, cut); err != nil {
							t.Errorf("%s: %v", how, err)
						}
					}
				})
			}
		}
	}
}

func (d dialogue) run(t *testing.T, server bool, by form, cut func(turn, bool) [][]byte) error {
	d.options.CloseTimeout = 10 * patience // what waits for it is too late
	c, p := connect(t, server, &d.options)
	if d.whole {
		p.SetDeadline(time.Now().Add(2 * patience))
	}
	ended := make(chan struct{})
	go func() { defer close(ended); by.echo(c) }()
	closed := false
	for i, u := range d.turns {
		if i == len(d.turns)-1 && (len(u.hear) == 0 || u.hear[len(u.hear)-1].op != OpClose) {
			u.hear = slices.Clone(u.hear)
			if err := p.take(u, cut(u, server), !server); err != nil {
				return err
			}
			u = turn{say: []frame{closing(CloseNormal, "")}, hear: []frame{closing(CloseNormal, "")}}
		}
		if err := p.take(u, cut(u, server), !server); err != nil {
			return fmt.Errorf("turn %d: %w", i+1, err)
		}
		closed = i == len(d.turns)-1
	}
	if !closed {
		return errors.New("a dialogue without turns")
	}
	if !server {
		p.CloseWrite() // it is for the server to end the network connection (RFC 6455 section 7.1.1)
	}
	if f, err := readFrame(p.r, !server); err != io.EOF {
		return fmt.Errorf("heard %v, %v after the end, want EOF", f.short(), err)
	}
	p.Close()
	<-ended
	return nil
}

// take says and hears one turn.
func (p *peer) take(u turn, parts [][]byte, masked bool) error {
	said := make(chan error, 1)
	go func() {
		for _, b := range parts {
			if _, err := p.Write(b); err != nil {
				said <- err
				return
			}
		}
		said <- nil
	}()
	for i, want := range u.hear {
		got, err := readMessage(p.r, masked)
		if err != nil {
			return fmt.Errorf("frame %d, want %v: %w", i+1, want.short(), err)
		}
		if !got.matches(want) {
			return fmt.Errorf("frame %d is %v, want %v", i+1, got.short(), want.short())
		}
	}
	if err := <-said; err != nil && (len(u.hear) == 0 || u.hear[len(u.hear)-1].op != OpClose) {
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}

// matches compares frames; of a close frame the code, since its text is free.
func (f frame) matches(want frame) bool {
	if f.op == OpClose && want.op == OpClose {
		fc, _, err1 := parseClose([]byte(f.payload))
		wc, _, err2 := parseClose([]byte(want.payload))
		return err1 == nil && err2 == nil && fc == wc
	}
	return f == want
}

func (f frame) short() string {
	const most = 40
	s := fmt.Sprintf("opcode %d, fin %v, rsv %d, %d bytes ", f.op, f.fin, f.rsv, len(f.payload))
	if len(f.payload) > most {
		return s + fmt.Sprintf("%q…", f.payload[:most])
	}
	return s + fmt.Sprintf("%q", f.payload)
}

// readFrame reads one frame, strictly and without the code under test: the mask must be there or not, the length in its shortest form.
func readFrame(r *bufio.Reader, masked bool) (frame, error) {
	var h [8]byte
	if _, err := io.ReadFull(r, h[:2]); err != nil {
		return frame{}, err
	}
	f := frame{fin: h[0]&0x80 != 0, rsv: h[0] >> 4 & 7, op: h[0] & 15}
	if masked != (h[1]&0x80 != 0) {
		return f, fmt.Errorf("a frame whose mask bit is %d", h[1]>>7)
	}
	n, least := uint64(h[1]&0x7f), uint64(0)
	switch n {
	case 126:
		io.ReadFull(r, h[:2])
		n, least = uint64(binary.BigEndian.Uint16(h[:])), 126
	case 127:
		io.ReadFull(r, h[:8])
		n, least = binary.BigEndian.Uint64(h[:]), 65536
	}
	if n < least || n > 1<<30 {
		return f, fmt.Errorf("a frame whose length is %d in a form for %d and more", n, least)
	}
	var key [4]byte
	if masked {
		io.ReadFull(r, key[:])
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	if masked {
		for i := range b {
			b[i] ^= key[i%4]
		}
	}
	f.payload = string(b)
	if err == nil && f.op >= OpClose && (!f.fin || n > maxControl) {
		err = errors.New("a control frame in fragments or too long")
	}
	return f, err
}

// readMessage is readFrame, with fragments joined and text checked.
func readMessage(r *bufio.Reader, masked bool) (frame, error) {
	f, err := readFrame(r, masked)
	for err == nil && !f.fin {
		var next frame
		if next, err = readFrame(r, masked); next.op != OpContinuation {
			return f, fmt.Errorf("opcode %d within a message", next.op)
		}
		f.fin, f.payload = next.fin, f.payload+next.payload
	}
	if err == nil && f.op == OpText && f.rsv == 0 && !utf8.ValidString(f.payload) {
		err = errors.New("text that is not UTF-8")
	}
	return f, err
}
