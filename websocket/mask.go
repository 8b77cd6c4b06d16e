package websocket

import (
	"encoding/binary"
	"math/bits"
)

// mask masks or unmasks b in place (RFC 6455 section 5.3). pos is the place of b[0] in the frame's payload.
func mask(b []byte, key [4]byte, pos int) {
	k32 := bits.RotateLeft32(binary.LittleEndian.Uint32(key[:]), -8*(pos&3))
	k := uint64(k32)<<32 | uint64(k32)
	for len(b) >= 64 {
		c := b[:64:64]
		binary.LittleEndian.PutUint64(c[0:], binary.LittleEndian.Uint64(c[0:])^k)
		binary.LittleEndian.PutUint64(c[8:], binary.LittleEndian.Uint64(c[8:])^k)
		binary.LittleEndian.PutUint64(c[16:], binary.LittleEndian.Uint64(c[16:])^k)
		binary.LittleEndian.PutUint64(c[24:], binary.LittleEndian.Uint64(c[24:])^k)
		binary.LittleEndian.PutUint64(c[32:], binary.LittleEndian.Uint64(c[32:])^k)
		binary.LittleEndian.PutUint64(c[40:], binary.LittleEndian.Uint64(c[40:])^k)
		binary.LittleEndian.PutUint64(c[48:], binary.LittleEndian.Uint64(c[48:])^k)
		binary.LittleEndian.PutUint64(c[56:], binary.LittleEndian.Uint64(c[56:])^k)
		b = b[64:]
	}
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^k)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= byte(k)
		k >>= 8
	}
}
