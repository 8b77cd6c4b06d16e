package rtmp

import (
	"crypto/rand"
	"fmt"

	"hawser/lifecycle"
)

const (
	version       = 3
	handshakePart = 1536 // C1, S1, C2 and S2 (RTMP 1.0 section 5.2)

	// handshakeBytes is what each side sends before its first chunk.
	handshakeBytes = 1 + 2*handshakePart
)

// handshake is either side of the handshake (RTMP 1.0 section 5.2), as a machine: bytes come in, bytes to be sent
// come out. The server echoes the client's C1 exactly, which librtmp and GStreamer check. S1 says version 0, so
// that clients which offer the digest form (ffmpeg, Flash) stay with the simple one.
type handshake struct {
	client bool
	got    []byte // of the part that is not whole yet
	part   int    // 0: version, 1: C1 or S1, 2: C2 or S2, 3: done
	count  uint64
	random func([]byte)
	// digest tells that the client's C1 carried a version, so it would take the digest form.
	digest bool
}

func newHandshake(client bool) *handshake {
	return &handshake{client: client, random: func(b []byte) { rand.Read(b) }}
}

// first returns what a client sends first: C0 and C1.
func (h *handshake) first() []byte {
	b := make([]byte, 1+handshakePart)
	b[0] = version
	h.random(b[9:])
	return b
}

// feed takes bytes of the peer and returns what is to be sent, the bytes that come after the handshake, and whether it is done.
func (h *handshake) feed(b []byte) (reply, rest []byte, done bool, err error) {
	for len(b) > 0 && h.part < 3 {
		if h.part == 0 {
			if b[0] != version {
				return nil, nil, false, h.wrongVersion(b)
			}
			h.part, b = 1, b[1:]
			h.count++
			continue
		}
		n := min(len(b), handshakePart-len(h.got))
		h.got = append(h.got, b[:n]...)
		h.count += uint64(n)
		b = b[n:]
		if len(h.got) < handshakePart {
			break
		}
		if h.part++; h.part == 2 {
			reply = h.answer()
		}
		h.got = h.got[:0]
	}
	if h.part == 3 {
		h.got = nil
	}
	return reply, b, h.part == 3, nil
}

// answer returns S0, S1 and S2 for C1, or C2 for S1.
func (h *handshake) answer() []byte {
	if h.client {
		return append([]byte(nil), h.got...)
	}
	h.digest = [4]byte(h.got[4:8]) != [4]byte{}
	b := make([]byte, 1+handshakePart, handshakeBytes)
	b[0] = version
	h.random(b[9:])
	return append(b, h.got...)
}

func (h *handshake) wrongVersion(b []byte) error {
	got := fmt.Sprintf("version %d", b[0])
	if b[0] >= ' ' && b[0] < 0x7f {
		got = fmt.Sprintf("%q", b[:min(len(b), 16)])
	}
	e := &ProtocolError{Got: got, Want: fmt.Sprintf("version %d", version), Offset: h.count}
	e.Reason = lifecycle.ReasonProtocol.With("got %s, want version %d, at byte %d", got, version, h.count)
	return e
}
