//go:build linux

package main

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The parts of a frame header (RFC 6455 section 5.2).
const (
	finBit   = 0x80
	rsv1Bit  = 0x40 // a compressed message (RFC 7692 section 6)
	opBits   = 0x0f
	opBinary = 2
	opClose  = 8
	maskBit  = 0x80
	lenBits  = 0x7f
	len16    = 126
	len64    = 127
)

// maskKey masks all frames of the load generator. It is the same each time, so that a frame is made once.
var maskKey = [4]byte{0x37, 0xfa, 0x21, 0x3d}

// payload makes a message of that size: lines of JSON, which shrink as such text does.
func payload(size int) []byte {
	var b bytes.Buffer
	seed := uint32(1)
	for b.Len() < size {
		seed = seed*1664525 + 1013904223
		fmt.Fprintf(&b, `{"symbol":"EURUSD","bid":1.%05d,"ask":1.%05d,"time":%d}`+"\n", seed>>16, seed>>17, 1700000000000+uint64(seed>>8))
	}
	return b.Bytes()[:size]
}

// appendFrame appends a whole binary message in one frame, masked as clients send it or not as servers do.
func appendFrame(dst []byte, masked, compressed bool, data []byte) []byte {
	first := byte(finBit | opBinary)
	if compressed {
		first |= rsv1Bit
	}
	at := len(dst) + 1
	switch n := len(data); {
	case n < len16:
		dst = append(dst, first, byte(n))
	case n <= 0xffff:
		dst = binary.BigEndian.AppendUint16(append(dst, first, len16), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, first, len64), uint64(n))
	}
	if !masked {
		return append(dst, data...)
	}
	dst[at] |= maskBit
	dst = append(dst, maskKey[:]...)
	for i, c := range data {
		dst = append(dst, c^maskKey[i&3])
	}
	return dst
}

// deflateTail ends a flushed block; senders leave it out (RFC 7692 section 7.2.1).
var deflateTail = []byte{0, 0, 0xff, 0xff}

// compress makes a compressed message's payload.
func compress(data []byte) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestSpeed)
	if err != nil {
		panic(err) // the level is right
	}
	w.Write(data) // into memory
	w.Flush()
	return bytes.TrimSuffix(b.Bytes(), deflateTail)
}

// decompress is its reverse.
func decompress(data []byte) ([]byte, error) {
	r := flate.NewReader(io.MultiReader(bytes.NewReader(data), bytes.NewReader(deflateTail)))
	b, err := io.ReadAll(r)
	if errors.Is(err, io.ErrUnexpectedEOF) { // the tail is not a last block
		err = nil
	}
	return b, err
}

// counter counts the messages in the bytes that a server sends. It looks at headers only, but for the first message, which must be the expected one.
type counter struct {
	want       []byte // the payload of all messages
	compressed bool   // the first message must be compressed

	head    [10]byte
	nhead   int
	left    uint64 // payload bytes of the frame to come
	inFrame bool
	first   byte // of the frame
	size    int  // payload bytes of the message so far
	rsv     byte // of its first frame
	began   bool // a message has begun
	sure    bool // the first message was the right one
	kept    []byte
}

// feed takes bytes and returns how many messages end in them.
func (c *counter) feed(b []byte) (messages int, err error) {
	for len(b) > 0 {
		if !c.inFrame {
			n, err := c.header(b)
			if err != nil {
				return messages, err
			}
			b = b[n:]
			if !c.inFrame {
				return messages, nil
			}
		}
		n := int(min(uint64(len(b)), c.left))
		c.left -= uint64(n)
		if c.first&opBits < opClose {
			c.size += n
			if !c.sure {
				c.kept = append(c.kept, b[:n]...)
			}
		}
		b = b[n:]
		if c.left > 0 {
			return messages, nil
		}
		c.inFrame = false
		if c.first&opBits >= opClose || c.first&finBit == 0 {
			continue
		}
		if err := c.message(); err != nil {
			return messages, err
		}
		messages++
	}
	return messages, nil
}

// header takes bytes of a frame header and starts the frame when it is whole.
func (c *counter) header(b []byte) (taken int, err error) {
	for c.nhead < 2 || c.nhead < headerSize(c.head[1]) {
		if taken == len(b) {
			return taken, nil
		}
		c.head[c.nhead] = b[taken]
		c.nhead++
		taken++
	}
	if c.head[1]&maskBit != 0 {
		return taken, errors.New("the server masks its frames")
	}
	c.nhead, c.inFrame, c.first = 0, true, c.head[0]
	switch n := c.head[1] & lenBits; n {
	case len16:
		c.left = uint64(binary.BigEndian.Uint16(c.head[2:]))
	case len64:
		c.left = binary.BigEndian.Uint64(c.head[2:])
	default:
		c.left = uint64(n)
	}
	switch op := c.first & opBits; {
	case op == opClose:
		return taken, errors.New("the server closes the connection")
	case op < opClose && !c.began:
		c.began, c.rsv = true, c.first&rsv1Bit
		if op == 0 {
			return taken, errors.New("a continuation of nothing")
		}
	case op < opClose && op != 0:
		return taken, errors.New("a message within a message")
	}
	return taken, nil
}

// headerSize is the length of an unmasked frame's header.
func headerSize(second byte) int {
	switch second & lenBits {
	case len16:
		return 4
	case len64:
		return 10
	}
	return 2
}

// message checks a whole message.
func (c *counter) message() error {
	size, kept := c.size, c.kept
	c.size, c.kept, c.began = 0, nil, false
	if c.sure {
		if c.rsv == 0 && size != len(c.want) {
			return fmt.Errorf("a message of %d bytes, want %d", size, len(c.want))
		}
		return nil
	}
	c.sure = true
	if c.compressed != (c.rsv != 0) {
		return fmt.Errorf("compressed: %v, want %v", c.rsv != 0, c.compressed)
	}
	if c.rsv != 0 {
		var err error
		if kept, err = decompress(kept); err != nil {
			return fmt.Errorf("decompress: %w", err)
		}
	}
	if !bytes.Equal(kept, c.want) {
		return errors.New("the first message is not the one that was sent")
	}
	return nil
}
