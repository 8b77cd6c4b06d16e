package rtc

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"slices"
	"sync"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/prf"
	"github.com/pion/dtls/v3/pkg/protocol/extension"
	"github.com/pion/dtls/v3/pkg/protocol/handshake"
	"github.com/pion/rtp"
)

// A peer that sends writes its media itself: one pass of AES-GCM (RFC 7714) from the shared group into the bytes that leave, where the stack would copy each packet three times on its way through eight layers.
// It needs the keys that DTLS has agreed on (RFC 5764 section 4.2), the address of the pair that ICE has chosen, and the engine's UDP port. Where one of these is lacking (another cipher, the role of DTLS
// client, TCP, a relay) media goes through the stack.

// handshakeKeys collects what the keys are made of while DTLS shakes hands: with the role of server, the random of both sides, the master secret, and what was agreed on.
type handshakeKeys struct {
	mu     sync.Mutex
	server [handshake.RandomLength]byte
	suite  uint16
	srtp   []dtls.SRTPProtectionProfile
	client []byte
	master []byte
}

// The suites of DTLS 1.2 whose pseudorandom function is made of SHA-256, and that peers agree on.
const (
	ecdsaAES128GCM = 0xc02b
	rsaAES128GCM   = 0xc02f
)

// hello takes our ServerHello, and leaves it as it is.
func (k *handshakeKeys) hello(m handshake.MessageServerHello) handshake.Message {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.server = m.Random.MarshalFixed()
	if m.CipherSuiteID != nil {
		k.suite = *m.CipherSuiteID
	}
	for _, e := range m.Extensions {
		if use, ok := e.(*extension.UseSRTP); ok {
			k.srtp = use.ProtectionProfiles
		}
	}
	return &m
}

// Write takes a line of a key log: "CLIENT_RANDOM", the client's random and the master secret.
func (k *handshakeKeys) Write(b []byte) (int, error) {
	words := bytes.Fields(b)
	if len(words) != 3 || string(words[0]) != "CLIENT_RANDOM" {
		return len(b), nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.client, _ = hex.AppendDecode(nil, words[1])
	k.master, _ = hex.AppendDecode(nil, words[2])
	return len(b), nil
}

// sealer returns what encrypts our media, nil if the handshake had another outcome than it knows. The secret is forgotten.
func (k *handshakeKeys) sealer() *sealer {
	k.mu.Lock()
	defer k.mu.Unlock()
	master := k.master
	k.master = nil
	if master == nil || k.suite != ecdsaAES128GCM && k.suite != rsaAES128GCM || !slices.Equal(k.srtp, []dtls.SRTPProtectionProfile{dtls.SRTP_AEAD_AES_128_GCM}) {
		return nil
	}
	const key, salt = 16, 12
	seed := slices.Concat([]byte("EXTRACTOR-dtls_srtp"), k.client, k.server[:])
	b, err := prf.PHash(master, seed, 2*key+2*salt, sha256.New) // client's key, server's key, client's salt, server's salt
	if err != nil {
		return nil
	}
	s, err := newSealer(b[key:2*key], b[2*key+salt:])
	if err != nil {
		return nil
	}
	return s
}

// sealer encrypts the RTP of one peer.
type sealer struct {
	gcm  cipher.AEAD
	salt [12]byte

	mu      sync.Mutex
	streams [2]packetIndex
}

// packetIndex is the greatest index of a stream so far: its sequence number over its wraps (RFC 3711 section 3.3.1).
type packetIndex struct {
	ssrc  uint32
	index uint64
	known bool
}

func newSealer(masterKey, masterSalt []byte) (*sealer, error) {
	block, err := aes.NewCipher(masterKey)
	if err != nil {
		return nil, err
	}
	// RFC 3711 section 4.3.1 with the key derivation rate 0: what is asked for is the key stream that belongs to the label.
	derive := func(label byte) (out [16]byte) {
		var in [16]byte
		copy(in[:], masterSalt)
		in[7] ^= label
		block.Encrypt(out[:], in[:])
		return out
	}
	const labelKey, labelSalt = 0, 2
	key, salt := derive(labelKey), derive(labelSalt)
	if block, err = aes.NewCipher(key[:]); err != nil {
		return nil, err
	}
	s := &sealer{}
	copy(s.salt[:], salt[:])
	s.gcm, err = cipher.NewGCM(block)
	return s, err
}

// rollover returns how often a stream's sequence number has wrapped by a packet of it. It is false for a third stream.
func (s *sealer) rollover(ssrc uint32, seq uint16) (uint32, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.streams {
		p := &s.streams[i]
		if p.known && p.ssrc != ssrc {
			continue
		}
		if !p.known {
			*p = packetIndex{ssrc: ssrc, index: uint64(seq), known: true}
		}
		index := p.index + uint64(int64(int16(seq-uint16(p.index))))
		p.index = max(p.index, index)
		return uint32(index >> 16), true
	}
	return 0, false
}

// seal writes a packet into dst, which has room for it: header, encrypted payload, tag. nonce is for its use, and the caller's so that it need not be made for each packet.
func (s *sealer) seal(dst []byte, nonce *[12]byte, h *rtp.Header, rollover uint32, payload []byte) (int, error) {
	n, err := h.MarshalTo(dst)
	if err != nil {
		return 0, err
	}
	*nonce = s.salt // RFC 7714 section 8.1
	binary.BigEndian.PutUint32(nonce[2:], binary.BigEndian.Uint32(nonce[2:])^h.SSRC)
	binary.BigEndian.PutUint32(nonce[6:], binary.BigEndian.Uint32(nonce[6:])^rollover)
	binary.BigEndian.PutUint16(nonce[10:], binary.BigEndian.Uint16(nonce[10:])^h.SequenceNumber)
	return n + len(s.gcm.Seal(dst[n:n], nonce[:], payload, dst[:n])), nil
}

// way is where a peer's media goes.
type way struct {
	conn *muxConn
	to   netip.AddrPort
}

// directWriter is the rtpWriter of a peer.
type directWriter struct {
	peer   *Peer
	sealer *sealer
	stack  rtpWriter
}

const tagSize = 16

// stackInterval is after how many packets one goes through the stack all the same: it must have seen each wrap of the sequence numbers to go on from there, when the pair becomes one over TCP. Where both
// encrypt a packet they make the same bytes of it.
const stackInterval = 1 << 13

// WriteRTP implements rtpWriter.
func (w *directWriter) WriteRTP(h *rtp.Header, payload []byte) (int, error) {
	rollover, ok := w.sealer.rollover(h.SSRC, h.SequenceNumber)
	to, size := w.peer.way.Load(), h.MarshalSize()+len(payload)+tagSize
	if !ok || to == nil || h.SequenceNumber%stackInterval == 0 || size > receiveMTU {
		return w.stack.WriteRTP(h, payload)
	}
	if b := to.conn.line.batch.Load(); b != nil && b.seal(to, size, w.sealer, h, rollover, payload) {
		return size, nil
	}
	p := packetPool.Get().(*packet)
	defer packetPool.Put(p)
	n, err := w.sealer.seal(p.data[:], &p.nonce, h, rollover, payload)
	if err != nil {
		return 0, err
	}
	s, err := to.conn.route(to.to)
	if err != nil {
		return 0, nil // the way has just ended
	}
	s.conn.WriteToUDPAddrPort(p.data[:n], to.to)
	return n, nil
}
