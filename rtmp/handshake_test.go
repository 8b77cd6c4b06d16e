package rtmp

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hawser/lifecycle"
)

// shake gives a machine bytes in pieces and returns what it sends and what it leaves.
func shake(h *handshake, in []byte, step int) (out, rest []byte, err error) {
	for b := range slices.Chunk(in, step) {
		if h.part == 3 {
			rest = append(rest, b...)
			continue
		}
		reply, more, done, err := h.feed(b)
		out = append(out, reply...)
		if err != nil {
			return out, nil, err
		}
		if done {
			rest = append(rest, more...)
		}
	}
	return out, rest, nil
}

// TestSimpleHandshake has the server echo what carries no digest, even if it claims a version that signs.
func TestSimpleHandshake(t *testing.T) {
	for _, claim := range [][4]byte{{}, {9, 0, 124, 2}, {0xff, 0xff, 0xff, 0xff}} {
		c1 := newHandshake(true).first()
		copy(c1[5:9], claim[:])
		in := append(slices.Clone(c1), make([]byte, handshakePart)...)
		in = append(in, "chunks"...)
		for _, step := range []int{1, 7, 1537, len(in)} {
			h := newHandshake(false)
			out, rest, err := shake(h, in, step)
			if err != nil || string(rest) != "chunks" || h.signed {
				t.Fatalf("by %d: rest %q, signed %v, %v", step, rest, h.signed, err)
			}
			if len(out) != handshakeBytes || out[0] != 3 || !bytes.Equal(out[5:9], make([]byte, 4)) || !bytes.Equal(out[1+handshakePart:], c1[1:]) {
				t.Errorf("by %d: answer of %d bytes is not S0, S1, S2 with C1 echoed", step, len(out))
			}
		}
	}
}

// TestDigestHandshake has both machines agree on digests, in both schemes, and the client find a wrong one.
func TestDigestHandshake(t *testing.T) {
	for scheme := range 2 {
		for _, step := range []int{1, 1000, handshakeBytes} {
			client, server := newHandshake(true), newHandshake(false)
			client.digest, client.scheme = true, scheme
			answer, _, err := shake(server, client.first(), step)
			if err != nil || !server.signed || len(answer) != handshakeBytes {
				t.Fatalf("scheme %d: server signed %v, answers %d bytes, %v", scheme, server.signed, len(answer), err)
			}
			if _, got, ok := digestOf(answer[1:1+handshakePart], serverKey[:serverKeyShort]); !ok || got != scheme {
				t.Errorf("scheme %d: the server answers in scheme %d, %v", scheme, got, ok)
			}
			c2, rest, err := shake(client, append(answer, "chunks"...), step)
			if err != nil || !client.signed || string(rest) != "chunks" || len(c2) != handshakePart {
				t.Fatalf("scheme %d: client signed %v, rest %q, %v", scheme, client.signed, rest, err)
			}
			if _, rest, err := shake(server, append(c2, "chunks"...), step); err != nil || string(rest) != "chunks" {
				t.Errorf("scheme %d: server's rest %q, %v", scheme, rest, err)
			}
		}
	}

	client, server := newHandshake(true), newHandshake(false)
	client.digest = true
	answer, _, _ := shake(server, client.first(), handshakeBytes)
	answer[len(answer)-1] ^= 1
	_, _, err := shake(client, answer, handshakeBytes)
	if !errors.Is(err, lifecycle.ReasonProtocol) || !strings.HasSuffix(err.Error(), "at byte 1537") {
		t.Errorf("a wrong S2: %v", err)
	}

	client = newHandshake(true)
	client.digest = true
	c1 := client.first()
	answer = append(slices.Clone(newHandshake(true).first()), c1[1:]...) // of a server without digests
	if c2, _, err := shake(client, answer, handshakeBytes); err != nil || client.signed || !bytes.Equal(c2, answer[1:1+handshakePart]) {
		t.Errorf("with a simple server: signed %v, %v", client.signed, err)
	}
}

// TestDigestsOfOthers finds the digests in C0 and C1 as ffmpeg and librtmp sent them.
func TestDigestsOfOthers(t *testing.T) {
	for _, name := range []string{"ffmpeg", "librtmp"} {
		b, err := os.ReadFile(filepath.Join("testdata", "handshakes", name+".bin"))
		if err != nil {
			t.Fatal(err)
		}
		h := newHandshake(false)
		if out, _, err := shake(h, b, len(b)); err != nil || !h.signed || len(out) != handshakeBytes {
			t.Errorf("%s: signed %v, %d bytes, %v", name, h.signed, len(out), err)
		}
		b[1000] ^= 1
		h = newHandshake(false)
		if _, _, err := shake(h, b, len(b)); err != nil || h.signed {
			t.Errorf("%s, changed: signed %v, %v", name, h.signed, err)
		}
	}
}

// TestDigestClient dials with digests, to a server that knows them.
func TestDigestClient(t *testing.T) {
	r := newRelay(t, nil)
	c := dial(t, r.url("/live/cam1"), &DialOptions{Digest: true})
	if err := c.Publish(t.Context()); err != nil {
		t.Error(err)
	}
}

func FuzzHandshake(f *testing.F) {
	simple, signed := newHandshake(true).first(), newHandshake(true)
	signed.digest = true
	f.Add(append(simple, simple[1:]...), byte(7), false)
	f.Add(append(signed.first(), make([]byte, handshakePart+5)...), byte(255), false)
	server := newHandshake(false)
	answer, _, _ := shake(server, signed.first(), handshakeBytes)
	f.Add(answer, byte(100), true)
	f.Add([]byte("GET / HTTP/1.1\r\n"), byte(0), true)
	f.Fuzz(func(t *testing.T, b []byte, step byte, client bool) {
		if len(b) == 0 {
			return
		}
		run := func(step int) (out, rest []byte, broken bool) {
			h := newHandshake(client)
			h.random = func([]byte) {}
			if h.digest = client; client {
				h.first()
			}
			out, rest, err := shake(h, b, step)
			if cap(h.got) > 2*handshakePart {
				t.Errorf("holds %d bytes", cap(h.got))
			}
			var e *ProtocolError
			if err != nil && (!errors.As(err, &e) || e.Offset > uint64(len(b))) {
				t.Errorf("got error %v", err)
			}
			return out, rest, err != nil
		}
		out, rest, broken := run(len(b))
		out2, rest2, broken2 := run(int(step) + 1)
		if !bytes.Equal(out, out2) && !broken || !bytes.Equal(rest, rest2) || broken != broken2 {
			t.Errorf("at once: %d bytes out, %d left, %v; in parts: %d, %d, %v", len(out), len(rest), broken, len(out2), len(rest2), broken2)
		}
	})
}
