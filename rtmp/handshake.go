package rtmp

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
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
// come out. There are two forms. In the simple one each side echoes the other's random bytes exactly, which librtmp and GStreamer check. In
// the digest one, which is Flash's and in no specification, C1 and S1 carry an HMAC-SHA256 of themselves and C2 and S2
// one of the other side's. The server answers in the form that the client uses; the client says which it wants.
type handshake struct {
	client bool
	digest bool // a client's: offer the digest form
	scheme int  // where a client puts its digest, 0 or 1

	got    []byte // of the part that is not whole yet
	part   int    // 0: version, 1: C1 or S1, 2: C2 or S2, 3: done
	count  uint64
	random func([]byte)
	own    []byte // a client's digest
	signed bool   // S1 or C1 carried a digest
}

func newHandshake(client bool) *handshake {
	return &handshake{client: client, random: func(b []byte) { rand.Read(b) }}
}

// first returns what a client sends first: C0 and C1.
func (h *handshake) first() []byte {
	b := make([]byte, 1+handshakePart)
	b[0] = version
	h.random(b[9:])
	if h.digest {
		copy(b[5:], playerVersion[:])
		h.own = sign(b[1:], h.scheme, playerKey[:playerKeyShort])
	}
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
		} else if err := h.last(); err != nil {
			return nil, nil, false, err
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
		if h.digest {
			if theirs, _, ok := digestOf(h.got, serverKey[:serverKeyShort]); ok {
				h.signed = true
				return h.response(theirs, playerKey[:])
			}
		}
		return bytes.Clone(h.got)
	}
	b := make([]byte, 1+handshakePart, handshakeBytes)
	b[0] = version
	h.random(b[9:])
	if [4]byte(h.got[4:8]) != [4]byte{} { // a client's version; without one there is no digest
		if theirs, scheme, ok := digestOf(h.got, playerKey[:playerKeyShort]); ok {
			h.signed = true
			copy(b[5:], serverVersion[:])
			sign(b[1:], scheme, serverKey[:serverKeyShort])
			return append(b, h.response(theirs, serverKey[:])...)
		}
	}
	return append(b, h.got...) // S1's version stays 0, so that ffmpeg looks for no digest
}

// response returns C2 or S2 of the digest form: random bytes, and at their end what proves that the other side's digest was read.
func (h *handshake) response(theirs, key []byte) []byte {
	b := make([]byte, handshakePart)
	h.random(b[:handshakePart-sha256.Size])
	copy(b[handshakePart-sha256.Size:], proof(theirs, key, b))
	return b
}

// last looks at C2 or S2. Only a client that has agreed on digests checks it: what clients send as C2 differs, and servers do not look.
func (h *handshake) last() error {
	if !h.client || !h.signed || hmac.Equal(h.got[handshakePart-sha256.Size:], proof(h.own, serverKey[:], h.got)) {
		return nil
	}
	return h.broken("S2 with a digest of something else", "the digest of C1's", h.count-handshakePart)
}

func (h *handshake) wrongVersion(b []byte) error {
	got := fmt.Sprintf("version %d", b[0])
	switch {
	case b[0] == 6 || b[0] == 8:
		got += " (RTMPE, which is encrypted in a way that protects nothing)"
	case b[0] == 0x16:
		got = "a TLS record (rtmps)"
	case b[0] >= ' ' && b[0] < 0x7f:
		got = fmt.Sprintf("%q", b[:min(len(b), 16)])
	}
	return h.broken(got, fmt.Sprintf("version %d", version), h.count)
}

func (h *handshake) broken(got, want string, offset uint64) error {
	e := &ProtocolError{Got: got, Want: want, Offset: offset}
	e.Reason = lifecycle.ReasonProtocol.With("got %s, want %s, at byte %d", got, want, offset)
	return e
}

// The keys of the digest form, which every client and server knows: the name of the program that Adobe made, and 32 bytes. C1 and S1
// are signed with the name alone.
var (
	playerKey = withSecret("Genuine Adobe Flash Player 001")
	serverKey = withSecret("Genuine Adobe Flash Media Server 001")
)

const (
	playerKeyShort = len("Genuine Adobe Flash Player 001")
	serverKeyShort = len("Genuine Adobe Flash Media Server 001")
)

var (
	playerVersion = [4]byte{9, 0, 124, 2} // from 9.0.115 on Flash signs; this is what ffmpeg says
	serverVersion = [4]byte{3, 5, 1, 1}   // from 3 on the server's digest is looked for
)

func withSecret(name string) []byte {
	return append([]byte(name), 0xf0, 0xee, 0xc2, 0x4a, 0x80, 0x68, 0xbe, 0xe8, 0x2e, 0x00, 0xd0, 0xd1, 0x02, 0x9e, 0x7e, 0x57,
		0x6e, 0xec, 0x5d, 0x2d, 0x29, 0x80, 0x6f, 0xab, 0x93, 0xb8, 0xe6, 0x36, 0xcf, 0xeb, 0x31, 0xae)
}

// digestAt returns where the digest stands in C1 or S1: in one of the two halves, at a place that four bytes at its start choose.
func digestAt(b []byte, scheme int) int {
	const around = 4 + sha256.Size
	half := 8
	if scheme == 1 {
		half += (handshakePart - 8) / 2
	}
	n := int(b[half]) + int(b[half+1]) + int(b[half+2]) + int(b[half+3])
	return half + 4 + n%((handshakePart-8)/2-around)
}

// digestOver computes the digest of all of b but the place of the digest itself.
func digestOver(b []byte, at int, key []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(b[:at])
	m.Write(b[at+sha256.Size:])
	return m.Sum(nil)
}

// sign puts a digest into C1 or S1 and returns it.
func sign(b []byte, scheme int, key []byte) []byte {
	at := digestAt(b, scheme)
	digest := digestOver(b, at, key)
	copy(b[at:], digest)
	return digest
}

// digestOf finds the digest in C1 or S1.
func digestOf(b, key []byte) (digest []byte, scheme int, ok bool) {
	for scheme := range 2 {
		at := digestAt(b, scheme)
		if digest := b[at : at+sha256.Size]; hmac.Equal(digest, digestOver(b, at, key)) {
			return bytes.Clone(digest), scheme, true
		}
	}
	return nil, 0, false
}

// proof computes what C2 and S2 end with.
func proof(theirs, key, b []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(theirs)
	m = hmac.New(sha256.New, m.Sum(nil))
	m.Write(b[:handshakePart-sha256.Size])
	return m.Sum(nil)
}
