package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"hawser/rtmp"
)

// closeTimeout is how long the server may take to hang up on a peer that breaks its protocol. It waits 5 s for a WebSocket's side of the close.
const closeTimeout = time.Minute

// garbage is the same nonsense every time.
func garbage(n int) []byte {
	b := make([]byte, n)
	rand.New(rand.NewSource(1)).Read(b)
	return b
}

// dial connects to an address for as long as the test runs.
func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// hungUp reads until the server closes the connection, and returns what it said before.
func hungUp(t *testing.T, c net.Conn, limit time.Duration) []byte {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(limit))
	said, err := io.ReadAll(c)
	if os.IsTimeout(err) {
		t.Errorf("the server still holds the connection after %v; it said %q", limit, said)
	}
	return said
}

// shake is a client's whole side of the RTMP handshake.
func shake() []byte { return append([]byte{3}, make([]byte, 1536*2)...) }

func TestGarbageOverRTMP(t *testing.T) {
	t.Parallel()
	s := serve(t)
	header := func(length int, typ byte) []byte {
		return []byte{4, 0, 0, 0, byte(length >> 16), byte(length >> 8), byte(length), typ, 0, 0, 0, 0}
	}
	for _, c := range []struct {
		name  string
		bytes []byte
		want  string // the reason's word
	}{
		{"another protocol", []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), "protocol"},
		{"random bytes", append([]byte{0xee}, garbage(8000)...), "protocol"},
		{"continuation of nothing", append(shake(), 0xc5, 1, 2, 3, 4), "protocol"},
		{"message beyond the limit", append(shake(), header(0xfffff0, rtmp.TypeVideo)...), "too_big"},
		{"broken command", append(append(shake(), header(4, rtmp.TypeCommand)...), 0xff, 0xff, 0xff, 0xff), "protocol"},
		{"chunk size zero", append(append(shake(), 2, 0, 0, 0, 0, 0, 4, rtmp.TypeSetChunkSize, 0, 0, 0, 0), 0, 0, 0, 0), "protocol"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			conn := dial(t, s.rtmp)
			conn.Write(c.bytes)
			hungUp(t, conn, closeTimeout)
			e := s.awaitClose(conn.LocalAddr().String())
			if e.Reason.Word != c.want || e.Reason.Text == "" || e.Protocol != "rtmp" {
				t.Errorf("closed with %+v, want the reason %s with a text", e, c.want)
			}
			s.healthy()
		})
	}
}

// upgrade opens a WebSocket by hand and returns what follows the server's answer.
func upgrade(t *testing.T, s *server) (net.Conn, *bufio.Reader) {
	t.Helper()
	c := dial(t, s.http)
	fmt.Fprintf(c, "GET /session HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: hawser.v1\r\n\r\n", s.http)
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade: %v, %v", resp, err)
	}
	return c, r
}

// masked is a client's frame; the mask is zero.
func masked(first byte, payload string) []byte {
	return append([]byte{first, 0x80 | byte(len(payload)), 0, 0, 0, 0}, payload...)
}

func TestGarbageOverHTTP(t *testing.T) {
	t.Parallel()
	s := serve(t)
	t.Run("not HTTP", func(t *testing.T) {
		c := dial(t, s.http)
		c.Write(append(garbage(2000), "\r\n\r\n"...))
		if said := hungUp(t, c, closeTimeout); !bytes.HasPrefix(said, []byte("HTTP/1.1 400")) {
			t.Errorf("the server said %q, want a 400", said)
		}
		s.awaitEvent("protocol_error of that connection", func(e event) bool { return e.Kind == "protocol_error" && e.Remote == c.LocalAddr().String() })
	})
	for name, request := range map[string]string{
		"no upgrade":    "GET /session HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
		"wrong version": "GET /session HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 7\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, s.http)
			io.WriteString(c, request)
			if said := hungUp(t, c, closeTimeout); !bytes.HasPrefix(said, []byte("HTTP/1.1 4")) {
				t.Errorf("the server said %q, want a 4xx", said)
			}
		})
	}
	for _, c := range []struct {
		name  string
		bytes []byte
		want  string // the reason's word
	}{
		{"reserved bits", masked(0xf1, "{}"), "protocol"},
		{"unmasked frame", []byte{0x81, 2, '{', '}'}, "protocol"},
		{"not UTF-8", masked(0x81, "\xff\xfe"), "protocol"},
		{"not JSON", masked(0x81, "hello there"), "protocol"},
		{"unknown message", masked(0x81, `{"t":"nonsense"}`), "protocol"},
		{"binary message", masked(0x82, "\x01\x02\x03"), "unsupported"},
	} {
		t.Run("session: "+c.name, func(t *testing.T) {
			t.Parallel()
			s := s.in(t)
			conn, r := upgrade(t, s)
			conn.Write(c.bytes)
			conn.SetReadDeadline(time.Now().Add(closeTimeout))
			said, err := io.ReadAll(r)
			if os.IsTimeout(err) {
				t.Errorf("the server still holds the connection; it said %q", said)
			}
			if bytes.IndexByte(said, 0x88) < 0 {
				t.Errorf("the server said %q, want a close frame in it", said)
			}
			if e := s.awaitClose(conn.LocalAddr().String()); e.Reason.Word != c.want || e.Reason.Text == "" {
				t.Errorf("closed with %+v, want the reason %s with a text", e, c.want)
			}
		})
	}
}

// TestHalfOpen connects and says nothing, or half of something.
func TestHalfOpen(t *testing.T) {
	t.Parallel()
	s := serve(t)
	const patience = time.Minute            // the server's own limits are 10 s
	const sessionPatience = 2 * time.Minute // that of a session is 2.5 heartbeats, and 5 s for the close
	for name, half := range map[string][]byte{"nothing": nil, "half a handshake": shake()[:2000], "no connect": shake()} {
		t.Run("rtmp: "+name, func(t *testing.T) {
			t.Parallel()
			s := s.in(t)
			c := dial(t, s.rtmp)
			c.Write(half)
			hungUp(t, c, patience)
			if e := s.awaitClose(c.LocalAddr().String()); e.Reason.Word != "timeout" {
				t.Errorf("closed with %+v, want timeout", e)
			}
		})
	}
	t.Run("http: half a request", func(t *testing.T) {
		t.Parallel()
		c := dial(t, s.http)
		io.WriteString(c, "GET /live/cam1.flv HTTP/1.1\r\nHost: ")
		hungUp(t, c, patience)
	})
	t.Run("session: no hello", func(t *testing.T) {
		t.Parallel()
		s := s.in(t)
		c, r := upgrade(t, s)
		c.SetReadDeadline(time.Now().Add(sessionPatience))
		if said, err := io.ReadAll(r); os.IsTimeout(err) {
			t.Errorf("the server still holds the connection; it said %q", said)
		}
		if e := s.awaitClose(c.LocalAddr().String()); e.Reason.Word != "timeout" {
			t.Errorf("closed with %+v, want timeout", e)
		}
	})
}

// TestPublisherKilled kills ffmpeg while it publishes. The viewer stays, the next publisher goes on where the first one stopped.
func TestPublisherKilled(t *testing.T) {
	t.Parallel()
	s := serve(t)
	const path = "/live/killed"
	file := clip(t, seconds)
	viewer := probe(t, s.rtmpURL(path))
	s.awaitStream(path, "viewed", func(l liveStream) bool { return l.Viewers == 1 })
	first := publish(t, s, file, path)
	s.awaitStream(path, "under way", func(l liveStream) bool { return l.Frames > 60 })
	first.kill()
	gone := s.awaitEvent("publisher gone", func(e event) bool { return e.Kind == "gone" && e.Path == path })
	if gone.Reason.Word != "lost" || gone.Light != "amber" {
		t.Errorf("publisher gone: %+v, want the reason lost and amber", gone)
	}
	before, _ := s.stream(path)
	publish(t, s, file, path).wait()
	got := viewer.packets() // checks that no timestamp goes back
	again, whole := count(got, "video")-int(before.Frames)/3, clipSeconds*30
	if again < whole/2 {
		t.Errorf("the viewer got %d pictures, of which about %d from the second publisher, who sent %d", count(got, "video"), again, whole)
	}
}

// TestCutInMidFrame breaks a publisher's connection inside a message, with a reset. Nothing of that message comes out.
func TestCutInMidFrame(t *testing.T) {
	t.Parallel()
	s := serve(t)
	const path = "/live/cut"
	file := clip(t, seconds)
	var raw net.Conn
	p, err := rtmp.Dial(t.Context(), s.rtmpURL(path), &rtmp.DialOptions{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		raw = c
		return c, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	tags := readTags(t, file)
	for _, tag := range tags[:40] {
		if err := p.WriteMessage(t.Context(), rtmp.Message{Type: tag.Type, Timestamp: tag.Timestamp, Payload: tag.Data}); err != nil {
			t.Fatal(err)
		}
	}
	s.awaitStream(path, "fed", func(l liveStream) bool { return l.Status == "live" && l.Frames >= 30 })
	before, _ := s.stream(path)
	whole := rtmp.AppendMessage(nil, rtmp.OwnChunkSize, rtmp.Message{Type: rtmp.TypeVideo, StreamID: 1, Timestamp: 5000, Payload: make([]byte, 20000)})
	raw.Write(whole[:len(whole)/2])
	raw.(*net.TCPConn).SetLinger(0)
	raw.Close()
	if e := s.awaitClose(raw.LocalAddr().String()); e.Reason.Word != "lost" {
		t.Errorf("closed with %+v, want lost", e)
	}
	if gone := s.awaitEvent("publisher gone", func(e event) bool { return e.Kind == "gone" && e.Path == path }); gone.Reason.Word != "lost" {
		t.Errorf("publisher gone: %+v, want the reason lost", gone)
	}
	if after, _ := s.stream(path); after.Frames != before.Frames {
		t.Errorf("%d frames before the cut, %d after it", before.Frames, after.Frames)
	}
	publish(t, s, file, path).wait() // the path is free again
}

// TestPathIsTaken lets a second ffmpeg publish where one already does: it is refused by name, the first is not disturbed.
func TestPathIsTaken(t *testing.T) {
	t.Parallel()
	s := serve(t)
	const path = "/live/taken"
	file := clip(t, seconds)
	viewer := probe(t, s.rtmpURL(path))
	s.awaitStream(path, "viewed", func(l liveStream) bool { return l.Viewers == 1 })
	first := publish(t, s, file, path)
	s.awaitLive(path)
	second := start(t, "ffmpeg", "-v", "verbose", "-re", "-i", file, "-c", "copy", "-f", "flv", s.rtmpURL(path))
	if err := second.waitErr(closeTimeout); err == nil {
		t.Errorf("the second publisher ended well:\n%s", second.out)
	}
	if said := second.out.String(); !strings.Contains(said, "taken") {
		t.Errorf("ffmpeg does not say that the path is taken:\n%s", said)
	}
	s.awaitEvent("refusal", func(e event) bool { return e.Reason.Word == "taken" && e.Protocol == "rtmp" })
	first.wait()
	if got := count(viewer.packets(), "video"); got != clipSeconds*30 {
		t.Errorf("the viewer of the first publisher got %d pictures of %d", got, clipSeconds*30)
	}
}
