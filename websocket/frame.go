package websocket

import (
	"encoding/binary"
	"math/rand/v2"
)

// The opcodes of frames (RFC 6455 section 5.2). 3 to 7 and 11 to 15 are reserved.
const (
	OpContinuation byte = 0
	OpText         byte = 1
	OpBinary       byte = 2
	OpClose        byte = 8
	OpPing         byte = 9
	OpPong         byte = 10
)

const (
	finBit  = 0x80
	rsvBits = 0x70
	opBits  = 0x0f
	maskBit = 0x80
	lenBits = 0x7f

	len16 = 126 // the length follows in 2 bytes
	len64 = 127 // the length follows in 8 bytes

	maxHeader  = 14  // the longest frame header
	maxControl = 125 // the longest payload of a control frame (RFC 6455 section 5.5)
)

// AppendFrame appends an unmasked frame, as servers send them, and returns the extended buffer. The reserved bits are zero; whether the frame is legal (a control frame of more than
// 125 bytes is not) is the caller's business.
func AppendFrame(dst []byte, fin bool, opcode byte, payload []byte) []byte {
	return append(appendHeader(dst, fin, opcode, len(payload)), payload...)
}

// appendHeader appends the header of an unmasked frame.
func appendHeader(dst []byte, fin bool, opcode byte, n int) []byte {
	if fin {
		opcode |= finBit
	}
	switch {
	case n < len16:
		return append(dst, opcode, byte(n))
	case n <= 0xffff:
		return append(dst, opcode, len16, byte(n>>8), byte(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, opcode, len64), uint64(n))
}

// appendMasked appends a frame masked with a fresh key, as clients send them (RFC 6455 section 5.3).
func appendMasked(dst []byte, fin bool, opcode byte, payload []byte) []byte {
	return appendMaskedWith(dst, fin, opcode, newMask(), payload)
}

func newMask() (key [4]byte) {
	binary.LittleEndian.PutUint32(key[:], rand.Uint32()) // ChaCha8, seeded by the system
	return key
}

func appendMaskedWith(dst []byte, fin bool, opcode byte, key [4]byte, payload []byte) []byte {
	at := len(dst) + 1
	dst = appendHeader(dst, fin, opcode, len(payload))
	dst[at] |= maskBit
	dst = append(dst, key[:]...)
	start := len(dst)
	dst = append(dst, payload...)
	mask(dst[start:], key, 0)
	return dst
}

// appendOwn appends a frame as the given side sends it.
func appendOwn(dst []byte, server, fin bool, opcode byte, payload []byte) []byte {
	if server {
		return AppendFrame(dst, fin, opcode, payload)
	}
	return appendMasked(dst, fin, opcode, payload)
}

// finishFrame makes the frame of a payload that stands behind room for the longest header, where it is. op has the reserved bits in it.
func finishFrame(b []byte, op byte, server bool) []byte {
	var room [maxHeader]byte
	payload := b[maxHeader:]
	head := appendHeader(room[:0], true, op, len(payload))
	if !server {
		key := newMask()
		head[1] |= maskBit
		head = append(head, key[:]...)
		mask(payload, key, 0)
	}
	b = b[maxHeader-len(head):]
	copy(b, head)
	return b
}
