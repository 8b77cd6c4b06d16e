package websocket

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sync"
)

const (
	// keepMessage is the largest buffer for unfinished messages that is kept for the next one, in bytes.
	keepMessage = 1 << 20
	// minAhead and aheadTimes say how much of a frame's announced length is believed before its bytes are there: this many bytes, or so many times what came.
	minAhead   = 4 << 10
	aheadTimes = 3
	// encodedSlack is, beside an eighth, how much larger than maxMessage a message may come from an extension: what does not compress grows. The extension then holds it to the limit.
	encodedSlack = 64
)

// messageBuffers are the borrowed buffers for messages that come in parts.
var messageBuffers = sync.Pool{New: func() any { return new([]byte) }}

// parser takes bytes as they arrive and gives whole messages and control frames (RFC 6455 section 5). It does no I/O. Between two calls it holds
// only what an unfinished message needs.
type parser struct {
	// Set before the first feed.
	maxMessage int64 // 0: no limit
	maxFrame   int64 // 0: no limit
	// emit gets a message (the opcode and reserved bits of its first frame) or a control frame. The payload is its own until it returns. When it returns an error, feed stops behind
	// the frame; more says that bytes are left behind it.
	emit    func(op, rsv byte, payload []byte, more bool) error
	masked  bool // the peer must mask its frames: this is the server
	unknown bool // reserved data opcodes are messages, not violations
	rsv     byte // the reserved bits that extensions have claimed

	// The message that is arriving; op 0: none.
	op, msgRSV byte
	text       utf8Check

	// The frame whose payload is arriving.
	first   byte // its first byte
	inFrame bool
	key     [4]byte
	pos     int64 // payload bytes taken
	left    int64 // payload bytes to come

	part *parted // of the frame that is arriving, if its header or a control frame comes in parts
	msg  *[]byte // of the message that is arriving, if that comes in parts
}

// parted holds the beginning of a header, and then of a control frame's payload.
type parted struct {
	head  [maxHeader]byte
	nhead int
	ctl   []byte
}

// feed takes bytes, which it unmasks in place, and returns how many it has taken: all of them unless there is an error.
func (p *parser) feed(b []byte) (int, error) {
	n := 0
	for {
		if !p.inFrame {
			if n == len(b) {
				return n, nil
			}
			if payload, k := p.whole(b[n:]); k > 0 {
				op := b[n] & opBits
				n += k
				if op == OpText && !validUTF8(payload) {
					return n, errUTF8
				}
				if err := p.emit(op, 0, payload, n < len(b)); err != nil {
					return n, err
				}
				continue
			}
			k, err := p.header(b[n:])
			n += k
			if err != nil || !p.inFrame {
				return n, err
			}
		}
		k := int(min(int64(len(b)-n), p.left))
		part := b[n : n+k : n+k]
		n += k
		if err := p.payload(part, n < len(b)); err != nil || p.inFrame {
			return n, err
		}
	}
}

// whole takes a message that is one frame with nothing to say about it, when all of it is there: what nearly every message is, without the steps that others need. size 0 means that the frame is
// to be taken step by step.
func (p *parser) whole(b []byte) (payload []byte, size int) {
	if len(b) < 2+4 || p.op != 0 || p.part != nil || p.masked != (b[1]&maskBit != 0) {
		return nil, 0
	}
	op, head, length := b[0]^finBit, 2, int(b[1]&lenBits)
	if length == len16 {
		head, length = 4, int(binary.BigEndian.Uint16(b[2:]))
	}
	body := head
	if p.masked {
		body += 4
	}
	size = body + length
	switch {
	case op != OpText && op != OpBinary, b[1]&lenBits == len64, head == 4 && length < len16, len(b) < size,
		p.maxFrame > 0 && int64(length) > p.maxFrame, p.maxMessage > 0 && int64(length) > p.maxMessage:
		return nil, 0
	}
	payload = b[body:size:size]
	if p.masked {
		mask(payload, [4]byte(b[head:body]), 0)
	}
	return payload, size
}

// header takes bytes of a frame header and starts the frame when the header is whole.
func (p *parser) header(b []byte) (int, error) {
	if p.part == nil {
		if size := headerSize(b); size > 0 && len(b) >= size {
			return size, p.start(b[:size])
		}
		p.part = new(parted)
	}
	n, part := 0, p.part
	for n < len(b) {
		part.head[part.nhead] = b[n]
		part.nhead++
		n++
		h := part.head[:part.nhead]
		if len(h) == 2 {
			if err := p.check(h[0], h[1]); err != nil { // before its length is there
				return n, err
			}
		}
		if size := headerSize(h); size == len(h) {
			p.part = nil
			return n, p.start(h)
		}
	}
	return n, nil
}

// headerSize returns how long the header is that starts with b, or 0 if b does not tell yet.
func headerSize(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	size := 2
	switch b[1] & lenBits {
	case len16:
		size += 2
	case len64:
		size += 8
	}
	if b[1]&maskBit != 0 {
		size += 4
	}
	return size
}

// start begins the frame of a whole header.
func (p *parser) start(h []byte) error {
	if err := p.check(h[0], h[1]); err != nil {
		return err
	}
	length, rest := uint64(h[1]&lenBits), h[2:]
	switch length {
	case len16:
		length, rest = uint64(binary.BigEndian.Uint16(rest)), rest[2:]
		if length < len16 {
			return violation("5.2", "the shortest form", "length %d in 16 bits", length)
		}
	case len64:
		length, rest = binary.BigEndian.Uint64(rest), rest[8:]
		if length > math.MaxInt64 {
			return violation("5.2", "at most 63 bits", "length %d", length)
		}
		if length <= math.MaxUint16 {
			return violation("5.2", "the shortest form", "length %d in 64 bits", length)
		}
	}
	if p.masked {
		copy(p.key[:], rest)
	}
	p.inFrame, p.first, p.pos, p.left = true, h[0], 0, int64(length)
	op := h[0] & opBits
	if op >= OpClose {
		return nil
	}
	if op != OpContinuation {
		p.op, p.msgRSV = op, h[0]&rsvBits
	}
	return p.fits()
}

// fits checks the limits before anything is kept.
func (p *parser) fits() error {
	if p.maxFrame > 0 && p.left > p.maxFrame {
		return tooBig("frame", p.left, p.maxFrame)
	}
	limit := p.maxMessage
	if p.msgRSV != 0 && limit < math.MaxInt64/2 {
		limit += limit>>3 + encodedSlack
	}
	if have := int64(p.have()); p.maxMessage > 0 && p.left > limit-have {
		return tooBig("message", have+p.left, limit)
	}
	return nil
}

// have returns how many bytes of the message are there.
func (p *parser) have() int {
	if p.msg == nil {
		return 0
	}
	return len(*p.msg)
}

// check looks at the first two bytes of a frame, which tell most of what can be wrong with it.
func (p *parser) check(b0, b1 byte) error {
	op, fin := b0&opBits, b0&finBit != 0
	if rsv := b0 & rsvBits &^ p.rsv; rsv != 0 {
		return violation("5.2", "0: no extension uses them", "reserved bits %03b", rsv>>4)
	}
	if p.masked != (b1&maskBit != 0) {
		if p.masked {
			return violation("5.1", "a masked frame from a client", "an unmasked frame")
		}
		return violation("5.1", "an unmasked frame from a server", "a masked frame")
	}
	switch {
	case op > OpPong, op > OpBinary && op < OpClose && !p.unknown:
		return violation("5.2", "a known opcode", "opcode %d", op)
	case op >= OpClose && !fin:
		return violation("5.5", "control frames in one piece", "a fragment of a control frame (opcode %d)", op)
	case op >= OpClose && b1&lenBits > maxControl:
		return violation("5.5", "at most 125", "a control frame (opcode %d) of more than 125 bytes", op)
	case op >= OpClose && b0&rsvBits != 0:
		return violation("5.5", "0: they are for messages", "reserved bits %03b on a control frame", b0&rsvBits>>4)
	case op == OpContinuation && p.op == 0:
		return violation("5.4", "the start of a message", "a continuation frame")
	case op == OpContinuation && b0&rsvBits != 0:
		return violation("5.4", "0: they are for a message's first frame", "reserved bits %03b on a continuation frame", b0&rsvBits>>4)
	case op != OpContinuation && op < OpClose && p.op != 0:
		return violation("5.4", "a continuation of the one before", "a new message (opcode %d)", op)
	}
	return nil
}

// payload takes the next bytes of the frame's payload.
func (p *parser) payload(b []byte, more bool) error {
	if p.masked {
		mask(b, p.key, int(p.pos&3))
	}
	p.pos += int64(len(b))
	p.left -= int64(len(b))
	p.inFrame = p.left > 0
	if p.first&opBits >= OpClose {
		return p.control(b, more)
	}
	end := !p.inFrame && p.first&finBit != 0
	check := p.op == OpText && p.msgRSV == 0 // an extension's payload is not the text yet
	if end && p.msg == nil {
		if check && !validUTF8(b) {
			return errUTF8
		}
		return p.message(b, more)
	}
	if check && (!p.text.add(b) || end && !p.text.end()) {
		return errUTF8
	}
	p.keep(b)
	if !end {
		return nil
	}
	err := p.message(*p.msg, more)
	p.drop()
	return err
}

// control collects a control frame, which hardly ever comes in parts.
func (p *parser) control(b []byte, more bool) error {
	if p.inFrame {
		if p.part == nil {
			p.part = new(parted)
		}
		p.part.ctl = append(p.part.ctl, b...)
		return nil
	}
	if p.part != nil {
		b = append(p.part.ctl, b...)
		p.part = nil
	}
	return p.emit(p.first&opBits, 0, b, more)
}

// message gives a whole message.
func (p *parser) message(b []byte, more bool) error {
	op := p.op
	p.op = 0
	return p.emit(op, p.msgRSV, b, more)
}

// keep adds a part to the message. Memory grows with the bytes that have come, not with those that are announced.
func (p *parser) keep(b []byte) {
	if p.msg == nil {
		p.msg = messageBuffers.Get().(*[]byte)
	}
	m := *p.msg
	if have := len(m) + len(b); have > cap(m) {
		m = slices.Grow(m, len(b)+int(min(p.left, int64(max(minAhead, aheadTimes*have)))))
	}
	*p.msg = append(m, b...)
}

// drop gives the message's buffer back.
func (p *parser) drop() {
	if p.msg == nil {
		return
	}
	if cap(*p.msg) <= keepMessage {
		*p.msg = (*p.msg)[:0]
		messageBuffers.Put(p.msg)
	}
	p.msg = nil
}

// take hands the message's buffer, which is b, over to the caller of Read; false means that b is not its own, or too small a part of it.
func (p *parser) take(b []byte) bool {
	if p.msg == nil || len(b) == 0 || &(*p.msg)[0] != &b[0] || cap(*p.msg) > 2*len(b) {
		return false
	}
	p.msg = new([]byte)
	return true
}

var errUTF8 = &Violation{Code: CloseInvalidData, Got: "text that is not UTF-8", Want: "UTF-8", Section: "8.1"}

// violation makes the error of a broken rule; the format is of what was got.
func violation(section, want, got string, args ...any) *Violation {
	return &Violation{Code: CloseProtocolError, Got: fmt.Sprintf(got, args...), Want: want, Section: section}
}

func tooBig(what string, n, limit int64) *Violation {
	return &Violation{Code: CloseTooBig, Got: fmt.Sprintf("a %s of %d bytes", what, n), Want: fmt.Sprintf("at most %d", limit), Section: "10.4"}
}

// parseClose takes a close frame's payload apart; an empty one is CloseNoStatus (RFC 6455 section 5.5.1).
func parseClose(b []byte) (code int, reason string, err error) {
	switch len(b) {
	case 0:
		return CloseNoStatus, "", nil
	case 1:
		return 0, "", violation("5.5.1", "none or at least 2", "a close frame of 1 byte")
	}
	code = int(binary.BigEndian.Uint16(b))
	if !validCode(code) {
		return 0, "", violation("7.4", "one that may be sent", "close code %d", code)
	}
	if !validUTF8(b[2:]) {
		return 0, "", &Violation{Code: CloseInvalidData, Got: "a close reason that is not UTF-8", Want: "UTF-8", Section: "8.1"}
	}
	return code, string(b[2:]), nil
}
