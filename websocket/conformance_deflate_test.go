package websocket

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/flate"
)

// compressed is the bare peer of a connection with permessage-deflate; it compresses and decompresses by itself.
type compressed struct {
	*peer
	masked        bool // what it hears
	sends, hears  bool // with takeover
	bits          int  // of both windows
	w             *flate.Writer
	out           bytes.Buffer
	heard         []byte // the window of what was heard
	uncompressed  int    // long messages that came so
	sentFragments int    // bytes of each; 0: no fragments
}

func (p *compressed) deflate(s string) string {
	p.out.Reset()
	if p.w == nil {
		p.w, _ = flate.NewWriterWindow(&p.out, 1<<p.bits)
	} else if !p.sends {
		p.w.Reset(&p.out)
	}
	io.WriteString(p.w, s)
	p.w.Flush()
	return strings.TrimSuffix(p.out.String(), "\x00\x00\xff\xff")
}

func (p *compressed) inflate(s string) (string, error) {
	r := flate.NewReaderDict(strings.NewReader(s+"\x00\x00\xff\xff\x01\x00\x00\xff\xff"), p.heard)
	b, err := io.ReadAll(r)
	if p.hears {
		p.heard = append(p.heard, b...)
		p.heard = bytes.Clone(p.heard[max(0, len(p.heard)-1<<p.bits):])
	}
	return string(b), err
}

// echo sends a message and hears it again.
func (p *compressed) echo(op byte, s string) error {
	list := []frame{{fin: true, op: op, payload: p.deflate(s)}}
	if p.sentFragments > 0 {
		list = cut(op, list[0].payload, p.sentFragments)
	}
	list[0].rsv = 4
	go p.Write(frames(!p.masked, list...))
	got, err := readMessage(p.r, p.masked)
	switch {
	case err != nil:
		return err
	case got.rsv == 4:
		if got.payload, err = p.inflate(got.payload); err != nil {
			return fmt.Errorf("inflating: %w", err)
		}
	case len(s) > 200: // what is short may not become shorter
		p.uncompressed++
	}
	if got.op != op || got.rsv&^4 != 0 || got.payload != s {
		return fmt.Errorf("heard %s, want %s", got.short(), frame{fin: true, op: op, payload: s}.short())
	}
	return nil
}

// compressing connects with the parameters of RFC 7692 section 7.1, agreed on in a handshake over a real socket.
func compressing(t *testing.T, server, serverTakeover, clientTakeover bool, bits int) *compressed {
	t.Helper()
	params := []string{deflateName, fmt.Sprintf("%s=%d", serverWindow, bits), fmt.Sprintf("%s=%d", clientWindow, bits)}
	if !serverTakeover {
		params = append(params, serverNoTakeover)
	}
	if !clientTakeover {
		params = append(params, clientNoTakeover)
	}
	header := strings.Join(params, "; ")
	p := &compressed{masked: !server, sends: clientTakeover, hears: serverTakeover, bits: bits}
	if server {
		p.peer = knock(t, &AcceptOptions{Compression: &Deflate{Threshold: -1, ServerTakeover: true, ClientTakeover: true}}, []byte(asked.and("Sec-WebSocket-Extensions: "+header).String()), false)
		resp, err := http.ReadResponse(p.r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := sorted(resp.Header.Get("Sec-WebSocket-Extensions")); got != sorted(header) {
			t.Fatalf("asked for %q, got %q", sorted(header), got)
		}
		return p
	}
	p.sends, p.hears = serverTakeover, clientTakeover
	url, peers := listenWith(t, "Sec-WebSocket-Extensions: "+header)
	c, err := Dial(testContext(t), url, &DialOptions{Compression: &Deflate{Threshold: -1, ServerTakeover: serverTakeover, ClientTakeover: clientTakeover, ServerWindowBits: bits, ClientWindowBits: bits}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseNow)
	go forms[1].echo(c) // the server above has the other form
	p.peer = <-peers
	return p
}

func sorted(header string) string {
	list := strings.Split(header, ";")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	slices.Sort(list)
	return strings.Join(list, "; ")
}

// alike is text as programs send it: similar, but not the same.
func alike(n int) string {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	var b strings.Builder
	for b.Len() < n {
		fmt.Fprintf(&b, `{"id":%d,"name":"größe %d","price":%.4f,"tags":["a","b"],"ok":%v},`, r.IntN(1e6), r.IntN(50), r.Float64()*100, r.IntN(2) == 0)
	}
	return strings.ToValidUTF8(b.String()[:n], "?")
}

// RFC 7692 section 7.1: every window and every takeover setting.
func TestConformanceDeflateParameters(t *testing.T) {
	for _, server := range []bool{true, false} {
		for bits := minWindowBits; bits <= maxWindowBits; bits++ {
			for i := range 4 {
				serverTakeover, clientTakeover := i&1 != 0, i&2 != 0
				t.Run(fmt.Sprintf("server=%v/%d bits, takeover %v %v", server, bits, serverTakeover, clientTakeover), func(t *testing.T) {
					t.Parallel()
					p := compressing(t, server, serverTakeover, clientTakeover, bits)
					for j, n := range []int{0, 1, 16, 300, 300, 5000, 64, 40000, 300, 0, 20} {
						if err := p.echo(OpText+byte(j%2), alike(n)); err != nil {
							t.Fatalf("message %d of %d bytes: %v", j, n, err)
						}
					}
					p.ends(t)
				})
			}
		}
	}
}

// ends closes, and hears that.
func (p *compressed) ends(t *testing.T) {
	t.Helper()
	p.Write(closing(CloseNormal, "").bytes(!p.masked))
	if f, err := readFrame(p.r, p.masked); err != nil || !f.matches(closing(CloseNormal, "")) {
		t.Errorf("heard %v, %v", f.short(), err)
	}
	if p.uncompressed > 0 {
		t.Errorf("%d messages came uncompressed", p.uncompressed)
	}
}

// Many messages of each size, in one frame and in fragments (section 6), with and without takeover.
func TestConformanceDeflateSizes(t *testing.T) {
	const messages = 8
	for _, server := range []bool{true, false} {
		for _, takeover := range []bool{true, false} {
			for _, size := range [][2]int{{16, 0}, {64, 0}, {256, 0}, {1024, 0}, {4096, 0}, {8192, 0}, {16384, 0}, {32768, 0}, {65536, 0}, {131072, 0}, {8192, 256}, {16384, 256}, {32768, 256},
				{65536, 256}, {131072, 256}, {131072, 1024}, {131072, 4096}, {131072, 32768}} {
				t.Run(fmt.Sprintf("server=%v/takeover=%v/%d in %d", server, takeover, size[0], size[1]), func(t *testing.T) {
					t.Parallel()
					p := compressing(t, server, takeover, takeover, maxWindowBits)
					p.sentFragments = size[1]
					all := alike(2 * size[0])
					for i := range messages {
						at := i * size[0] / messages
						if err := p.echo(OpBinary, all[at:at+size[0]]); err != nil {
							t.Fatalf("message %d: %v", i, err)
						}
					}
					p.ends(t)
				})
			}
		}
	}
}

// listenWith is listenRaw with a line more in the answer.
func listenWith(t *testing.T, line string) (url string, peers <-chan *peer) {
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
		io.WriteString(p, strings.Replace(answered.and(line).String(), "KEY", acceptKey(req.Header.Get("Sec-WebSocket-Key")), 1))
		list <- p
	}()
	return "ws://" + l.Addr().String(), list
}
