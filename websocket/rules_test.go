package websocket

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// patience is how long a test waits for what must come.
const patience = time.Minute

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// rule is one row of what RFC 6455 demands.
type rule struct {
	name   string
	send   []frame // by the peer
	raw    string  // bytes behind them, as they are
	max    int64   // MaxMessage
	frame  int64   // MaxFrame
	want   string  // the events, one word each
	code   int     // of the close frame that answers; 0: none, the peer closes normally after its frames
	opened bool    // Unknown
}

func fragments(op byte, parts ...string) []frame {
	var list []frame
	for i, p := range parts {
		f := frame{fin: i == len(parts)-1, payload: p}
		if i == 0 {
			f.op = op
		}
		list = append(list, f)
	}
	return list
}

func closing(code int, reason string) frame {
	return frame{fin: true, op: OpClose, payload: string([]byte{byte(code >> 8), byte(code)}) + reason}
}

// rules are checked on both sides over real sockets.
var rules = makeRules()

func makeRules() []rule {
	list := []rule{
		{name: "text", send: []frame{text("a\x00é")}, want: `text:"a\x00é"`},
		{name: "empty", send: []frame{text(""), binary_("")}, want: `text:"" binary:""`},
		{name: "binary", send: []frame{binary_("\xff")}, want: `binary:"\xff"`},
		{name: "fragments", send: fragments(OpText, "a", "", "b"), want: `text:"ab"`},
		{name: "character across fragments", send: fragments(OpText, "\xe6", "\x97", "\xa5"), want: `text:"日"`},
		{name: "ping between fragments", send: []frame{{op: OpText, payload: "a"}, {fin: true, op: OpPing, payload: "p"}, {fin: true, payload: "b"}}, want: `ping:"p" text:"ab"`},
		{name: "pong nobody asked for", send: []frame{{fin: true, op: OpPong, payload: "p"}}, want: `pong:"p"`},
		{name: "ping of 125", send: []frame{{fin: true, op: OpPing, payload: strings.Repeat("p", 125)}}, want: fmt.Sprintf("ping:%q", strings.Repeat("p", 125))},
		{name: "ping of 126", send: []frame{{fin: true, op: OpPing, payload: strings.Repeat("p", 126)}}, code: CloseProtocolError},
		{name: "ping in fragments", send: []frame{{op: OpPing}}, code: CloseProtocolError},
		{name: "close in fragments", send: []frame{{op: OpClose}}, code: CloseProtocolError},
		{name: "continuation of nothing", send: []frame{{fin: true, payload: "a"}}, code: CloseProtocolError},
		{name: "continuation after the end", send: append(fragments(OpText, "a", "b"), frame{fin: true}), want: `text:"ab"`, code: CloseProtocolError},
		{name: "message within a message", send: []frame{{op: OpText}, text("a")}, code: CloseProtocolError},
		{name: "length of 16 bits not needed", raw: "\x82\x7e\x00\x01a", code: CloseProtocolError},
		{name: "length of 64 bits not needed", raw: "\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x01a", code: CloseProtocolError},
		{name: "length of 64 bits negative", raw: "\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x01a", max: -1, code: CloseProtocolError},
		{name: "text not UTF-8", send: []frame{text("a\xff")}, code: CloseInvalidData},
		{name: "text of half a character", send: []frame{text("a\xe6\x97")}, code: CloseInvalidData},
		{name: "surrogate", send: []frame{text("\xed\xa0\x80")}, code: CloseInvalidData},
		{name: "not UTF-8 in an early fragment", send: []frame{{op: OpText, payload: "a\xff"}}, code: CloseInvalidData},
		{name: "not UTF-8 across fragments", send: []frame{{op: OpText, payload: "\xf4"}, {payload: "\x90"}}, code: CloseInvalidData},
		{name: "not UTF-8 in the first part of a frame", raw: "\x81\x7e\x10\x00abc\xff", code: CloseInvalidData},
		{name: "binary not UTF-8 in fragments", send: fragments(OpBinary, "\xff", "\xfe"), want: `binary:"\xff\xfe"`},
		{name: "message at the limit", send: []frame{binary_("12345678")}, max: 8, want: `binary:"12345678"`},
		{name: "message over the limit", send: []frame{binary_("123456789")}, max: 8, code: CloseTooBig},
		{name: "message over the limit in fragments", send: fragments(OpBinary, "12345", "6789"), max: 8, code: CloseTooBig},
		{name: "limit known from the header", raw: "\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", code: CloseTooBig},
		{name: "limit known with what came before", send: []frame{{op: OpBinary, payload: "1"}}, raw: "\x80\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", code: CloseTooBig},
		{name: "frame over the limit", send: []frame{binary_("12345")}, frame: 4, code: CloseTooBig},
		{name: "frames at the limit", send: fragments(OpBinary, "1234", "5678"), frame: 4, want: `binary:"12345678"`},
		{name: "unknown opcode as a message", send: []frame{{fin: true, op: 3, payload: "\xff"}}, opened: true, want: `unknown_message:"\xff"`},
		{name: "close without a code", send: []frame{{fin: true, op: OpClose}}, want: "closing:1005 closed:1005"},
		{name: "close of 1 byte", send: []frame{{fin: true, op: OpClose, payload: "x"}}, code: CloseProtocolError},
		{name: "close with a reason", send: []frame{closing(4002, "slow é")}, want: `closing:4002"slow é" closed:4002"slow é"`},
		{name: "close with the longest reason", send: []frame{closing(1001, strings.Repeat("r", 123))}, want: fmt.Sprintf("closing:1001%[1]q closed:1001%[1]q", strings.Repeat("r", 123))},
		{name: "close too long", send: []frame{closing(1001, strings.Repeat("r", 124))}, code: CloseProtocolError},
		{name: "close reason not UTF-8", send: []frame{closing(1000, "\xff")}, code: CloseInvalidData},
		{name: "nothing after a close", send: []frame{closing(1000, ""), text("late"), {fin: true, op: OpPing}}, want: "closing:1000 closed:1000"},
	}
	for op := range byte(16) {
		if op > OpBinary && op < OpClose || op > OpPong {
			list = append(list, rule{name: fmt.Sprintf("opcode %d", op), send: []frame{{fin: true, op: op}}, code: CloseProtocolError})
		}
	}
	for rsv := byte(1); rsv < 8; rsv++ {
		list = append(list, rule{name: fmt.Sprintf("reserved bits %03b", rsv), send: []frame{{fin: true, rsv: rsv, op: OpText}}, code: CloseProtocolError})
	}
	for _, code := range []int{0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		list = append(list, rule{name: fmt.Sprintf("close code %d", code), send: []frame{closing(code, "")}, code: CloseProtocolError})
	}
	for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		list = append(list, rule{name: fmt.Sprintf("close code %d", code), send: []frame{closing(code, "")}, want: fmt.Sprintf("closing:%[1]d closed:%[1]d", code)})
	}
	return list
}

func TestRulesServer(t *testing.T) { testRules(t, true) }
func TestRulesClient(t *testing.T) { testRules(t, false) }

func testRules(t *testing.T, server bool) {
	for _, r := range rules {
		for _, by := range forms {
			t.Run(r.name+"/"+by.name, func(t *testing.T) {
				t.Parallel()
				r.test(t, server, by)
			})
		}
	}
}

func (r rule) test(t *testing.T, server bool, by form) {
	c, peer := connect(t, server, &AcceptOptions{MaxMessage: r.max, MaxFrame: r.frame, Unknown: r.opened})
	closes := slices.ContainsFunc(r.send, func(f frame) bool { return f.op == OpClose })
	out := append(frames(server, r.send...), rawFor(server, r.raw)...)
	if r.code == 0 && !closes {
		out = append(out, closing(CloseNormal, "").bytes(server)...)
		r.want += " closing:1000 closed:1000"
	}
	answer := make(chan []byte, 1)
	go func() { answer <- peer.exchange(out, !server) }()
	got := by.events(c, nil)
	want := strings.TrimSpace(r.want) + " disconnected:graceful"
	if r.code != 0 {
		want = fmt.Sprintf("%s protocol_error:%d disconnected:failed", r.want, r.code)
	}
	if got != strings.TrimSpace(want) {
		t.Errorf("got events\n%s, want\n%s", got, want)
	}
	checkAnswer(t, <-answer, server, r)
	checkEnd(t, c, r.code)
}

// rawFor masks the one raw frame of a rule as far as its header goes.
func rawFor(masked bool, raw string) []byte {
	b := []byte(raw)
	if !masked || len(b) == 0 {
		return b
	}
	b[1] |= maskBit
	size := headerSize(b) - len(testKey)
	payload := b[size:]
	mask(payload, testKey, 0)
	return slices.Concat(b[:size], testKey[:], payload)
}

// checkAnswer looks at what the peer was sent: pongs, then one close frame, then nothing.
func checkAnswer(t *testing.T, b []byte, server bool, r rule) {
	t.Helper()
	got, err := parse(!server, b, len(b)+1)
	if err != nil {
		t.Errorf("the peer gets %q: %v", b, err)
	}
	for _, f := range r.send {
		if f.op == OpPing && r.code == 0 && f.fin && len(got) > 1 {
			if got[0].op != OpPong || got[0].payload != f.payload {
				t.Errorf("got %v, want the pong for %q", got[0], f.payload)
			}
			got = got[1:]
		}
	}
	if len(got) != 1 || got[0].op != OpClose {
		t.Fatalf("the peer got %v, want a close frame", got)
	}
	code, _, _ := parseClose([]byte(got[0].payload))
	want := r.code
	if want == 0 {
		want = CloseNormal
		if len(r.send) > 0 && r.send[0].op == OpClose {
			want, _, _ = parseClose([]byte(r.send[0].payload))
		}
	}
	if code != want {
		t.Errorf("answered with close code %d, want %d", code, want)
	}
}

// checkEnd looks at what is left of a connection.
func checkEnd(t *testing.T, c *Conn, code int) {
	t.Helper()
	err := c.Err()
	var closed *CloseError
	var v *Violation
	if !errors.Is(err, net.ErrClosed) || !errors.As(err, &closed) || closed.Side != Remote || (code != 0) != errors.As(err, &v) || code != 0 && closed.Code != code {
		t.Errorf("ended with %v", err)
	}
	if c.State() != StateClosed {
		t.Errorf("state %v", c.State())
	}
	if err := c.Write(context.Background(), TextMessage, nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Write: %v", err)
	}
	if _, _, err := c.Read(context.Background()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read: %v", err)
	}
}

// eventsOf runs the loop to its end and writes down what it gives.
func eventsOf(c *Conn, ctx context.Context) string {
	var list []string
	for ev := range c.Events(ctx) {
		list = append(list, eventWord(ev))
	}
	return strings.Join(list, " ")
}

func eventWord(ev Event) string {
	switch ev.Kind {
	case Text, Binary, Ping, Pong, UnknownMessage:
		return fmt.Sprintf("%v:%q", ev.Kind, ev.Data)
	case Closing, Closed:
		if ev.Reason == "" {
			return fmt.Sprintf("%v:%d", ev.Kind, ev.Code)
		}
		return fmt.Sprintf("%v:%d%q", ev.Kind, ev.Code, ev.Reason)
	case ProtocolError:
		return fmt.Sprintf("%v:%d", ev.Kind, ev.Code)
	case Disconnected:
		return fmt.Sprintf("%v:%s", ev.Kind, map[bool]string{true: "graceful", false: "failed"}[ev.Graceful])
	}
	return ev.Kind.String()
}

// peer is the other end of a connection: bare TCP behind the handshake.
type peer struct {
	*net.TCPConn
	r *bufio.Reader
}

func (p *peer) Read(b []byte) (int, error) { return p.r.Read(b) }

// exchange sends b and returns all that comes; it ends its side when it has got a close frame.
func (p *peer) exchange(b []byte, masked bool) []byte {
	go p.Write(b)
	var all []byte
	reader := parser{masked: masked, emit: func(op, _ byte, _ []byte, _ bool) error {
		if op == OpClose {
			p.CloseWrite()
		}
		return nil
	}}
	part := make([]byte, 64<<10)
	for {
		n, err := p.Read(part)
		all = append(all, part[:n]...)
		reader.feed(part[:n])
		if err != nil {
			return all
		}
	}
}

// connect gives one end of a connection over a real socket, and the bare other end, which closes its side once the first end does.
func connect(t testing.TB, server bool, o *AcceptOptions) (*Conn, *peer) {
	t.Helper()
	if server {
		return connectServer(t, o)
	}
	return connectClient(t, o)
}

func connectServer(t testing.TB, o *AcceptOptions) (*Conn, *peer) {
	t.Helper()
	conns := make(chan *Conn, 1)
	addr := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := Accept(w, r, o)
		if err != nil {
			t.Errorf("Accept: %v", err)
		}
		conns <- c
	})
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	p := newPeer(t, nc)
	fmt.Fprintf(p, "GET /path HTTP/1.1\r\nHost: %s\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		addr)
	resp, err := http.ReadResponse(p.r, nil)
	if err != nil || resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" { // RFC 6455 section 1.3
		t.Fatalf("the answer is %v, %v", resp, err)
	}
	c := <-conns
	t.Cleanup(c.CloseNow)
	return c, p
}

func newPeer(t testing.TB, nc net.Conn) *peer {
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(patience))
	return &peer{TCPConn: nc.(*net.TCPConn), r: bufio.NewReader(nc)}
}

// listenRaw answers one opening handshake by hand; more goes out right behind the answer.
func listenRaw(t testing.TB, more []byte) (url string, peers <-chan *peer) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	list := make(chan *peer, 1)
	go func() {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		p := newPeer(t, nc)
		req, err := http.ReadRequest(p.r)
		if err != nil {
			t.Errorf("the request: %v", err)
			return
		}
		fmt.Fprintf(p, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n%s",
			acceptKey(req.Header.Get("Sec-WebSocket-Key")), more)
		list <- p
	}()
	return "ws://" + l.Addr().String() + "/path", list
}

func connectClient(t testing.TB, o *AcceptOptions) (*Conn, *peer) {
	t.Helper()
	url, peers := listenRaw(t, nil)
	c, err := Dial(testContext(t), url, dialOptions(o))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseNow)
	p := <-peers
	return c, p
}

func dialOptions(o *AcceptOptions) *DialOptions {
	if o == nil {
		return nil
	}
	return &DialOptions{MaxMessage: o.MaxMessage, MaxFrame: o.MaxFrame, Unknown: o.Unknown, Keepalive: o.Keepalive, PongTimeout: o.PongTimeout, Poll: o.Poll, CloseTimeout: o.CloseTimeout,
		WriteTimeout: o.WriteTimeout, QueueLimit: o.QueueLimit, Gather: o.Gather, Pool: o.Pool, Log: o.Log}
}
