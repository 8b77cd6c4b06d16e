package websocket

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
)

// Prepared is a message whose server frame was made once, to be written to many. Its compressed form is made once too, when the first connection needs it. It never changes; all methods may run at once.
type Prepared struct {
	plain preparedFrame
	typ   MessageType

	mu     sync.Mutex // held while a form is made
	packed [maxWindowBits - minWindowBits + 1]atomic.Pointer[preparedFrame]
}

// preparedFrame is a server's frame.
type preparedFrame struct {
	frame  []byte
	header int
}

func (f *preparedFrame) payload() []byte { return f.frame[f.header:] }

// Prepare makes the frame. The payload is copied.
func Prepare(typ MessageType, payload []byte) *Prepared {
	frame := AppendFrame(make([]byte, 0, maxHeader+len(payload)), true, byte(typ), payload)
	return &Prepared{typ: typ, plain: preparedFrame{frame, len(frame) - len(payload)}}
}

// Bytes returns the uncompressed frame as a server sends it, for Queue and for a source: any connection may get it. It must not be changed.
func (p *Prepared) Bytes() []byte { return p.plain.frame }

// For returns the frame as that connection, a server's, is best sent it, for Queue and for a source: compressed, if it has agreed on permessage-deflate, sends without context takeover, and the message is not below
// its threshold. Connections with the same settings share it. It must not be changed.
func (p *Prepared) For(c *Conn) []byte { return p.form(c).frame }

func (p *Prepared) form(c *Conn) *preparedFrame {
	if len(c.agreed.codecs) != 1 {
		return &p.plain
	}
	d, ok := c.agreed.codecs[0].(*deflateCodec)
	n := len(p.plain.payload())
	if !ok || n < d.threshold {
		return &p.plain
	}
	bits := d.bits
	if n <= 1<<bits {
		bits = maxWindowBits // nothing in it is further away
	}
	place := &p.packed[bits-minWindowBits]
	if f := place.Load(); f != nil {
		return f
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := place.Load(); f != nil {
		return f
	}
	f := p.pack(d, bits)
	place.Store(f)
	return f
}

// pack makes the compressed form; the plain one if that is not longer.
func (p *Prepared) pack(d *deflateCodec, bits int) *preparedFrame {
	c := deflateCodec{level: d.level, bits: bits}
	var room [maxHeader]byte
	f := frameBuffers.Get().(*[]byte)
	defer putFrame(f)
	b, changed, err := c.Encode(append((*f)[:0], room[:]...), p.typ, p.plain.payload())
	*f = b
	if err != nil || !changed {
		return &p.plain
	}
	n := len(b) - maxHeader
	frame := slices.Clone(finishFrame(b, byte(p.typ)|deflateBit, true))
	return &preparedFrame{frame, len(frame) - n}
}

// WritePrepared is Write of a prepared message. A client masks a copy (RFC 6455 section 5.1). Where an extension other than permessage-deflate was agreed on, the message is encoded anew. It
// returns when the system has taken the message, so a burst of them is a write each: to broadcast, use Queue or a source.
func (c *Conn) WritePrepared(ctx context.Context, p *Prepared) error {
	for _, codec := range c.agreed.codecs {
		if codec.Reserved() != deflateBit {
			return c.writeEncoded(ctx, p.typ, p.plain.payload())
		}
	}
	form := p.form(c)
	if err := c.beginSend(); err != nil {
		return err
	}
	defer c.endSend()
	if c.server {
		return c.sendError(c.gather.send(ctx, form.frame))
	}
	f := frameBuffers.Get().(*[]byte)
	defer putFrame(f)
	*f = appendMasked((*f)[:0], true, form.frame[0]&^finBit, form.payload())
	return c.sendError(c.gather.send(ctx, *f))
}
