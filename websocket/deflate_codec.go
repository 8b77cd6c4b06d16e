package websocket

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/flate"
)

const (
	// takeoverHistory is how much of what was sent before a connection with takeover remembers, in bytes.
	takeoverHistory = 8 << 10
	// shortMessage and shortHistory: the compressors do not look for what was there before in messages below this length (bytes), so they go another way, which looks at so much of what was before.
	shortMessage = 128
	shortHistory = 2 << 10
	// deflateBit is the reserved bit of a compressed message (RFC 7692 section 6).
	deflateBit = 0x40
	// firstGuess is how many times longer a message is taken to be than its compressed form, at first.
	firstGuess = 4
	// minInflate is the least buffer a message is decompressed into, in bytes.
	minInflate = 512
)

var (
	// flushTail ends what a compressor flushes; it is not sent (RFC 7692 section 7.2.1).
	flushTail = []byte{0, 0, 0xff, 0xff}
	// readTail replaces it on the other side, with an empty last block behind it.
	readTail = []byte{0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff}
)

// deflateCodec compresses each message by itself. It holds no more than what was agreed on and, with the peer's takeover, the peer's window.
type deflateCodec struct {
	level, threshold int
	bits             int    // of the window of what is sent
	keeps            int    // how much of what came before the peer's messages may refer to
	window           []byte // that
}

// takeoverCodec compresses messages that refer to those before.
type takeoverCodec struct {
	deflateCodec
	history []byte
}

// Reserved implements Codec.
func (c *deflateCodec) Reserved() byte { return deflateBit }

// Encode implements Codec.
func (c *deflateCodec) Encode(dst []byte, _ MessageType, payload []byte) ([]byte, bool, error) {
	if len(payload) < c.threshold || len(payload) == 0 {
		return dst, false, nil
	}
	start := len(dst)
	dst, err := appendDeflated(dst, payload, nil, c.level, c.bits)
	return dst, err == nil && len(dst)-start < len(payload), err
}

// Encode implements Codec. A message that grows is sent compressed all the same where others need it to refer to: only what was compressed is remembered.
func (c *takeoverCodec) Encode(dst []byte, _ MessageType, payload []byte) ([]byte, bool, error) {
	if len(payload) < c.threshold || len(payload) == 0 {
		return dst, false, nil
	}
	start := len(dst)
	var err error
	if len(payload) < shortMessage && len(c.history) > 0 {
		dst, err = appendShort(dst, payload, c.history[max(0, len(c.history)-min(shortHistory, 1<<c.bits-len(payload))):])
	} else {
		dst, err = appendDeflated(dst, payload, c.history, c.level, c.bits)
	}
	if needed := c.threshold < 0 || len(c.history) == 0; err != nil || !needed && len(dst)-start >= len(payload) {
		return dst, false, err
	}
	c.history = keepTail(c.history, payload, min(takeoverHistory, 1<<c.bits))
	return dst, true, nil
}

// Forget implements OrderedCodec.
func (c *takeoverCodec) Forget() { c.history = c.history[:0] }

// Decode implements Codec.
func (c *deflateCodec) Decode(dst []byte, _ MessageType, payload []byte, limit int64) ([]byte, error) {
	start := len(dst)
	dst, err := appendInflated(dst, payload, c.window, limit)
	if err == nil && c.keeps > 0 {
		c.window = keepTail(c.window, dst[start:], c.keeps)
	}
	return dst, err
}

// keepTail returns the last n bytes of a and b in the buffer of a.
func keepTail(a, b []byte, n int) []byte {
	if over := len(b) - n; over > 0 {
		b = b[over:]
	}
	if over := len(a) + len(b) - n; over > 0 {
		a = a[:copy(a, a[over:])]
	}
	if need := len(a) + len(b); need > cap(a) {
		a = append(make([]byte, 0, min(n, max(need, 2*cap(a)))), a...)
	}
	return append(a, b...)
}

// The borrowed compressors, by level and, where a small window needs it, by the bits of that.
var (
	deflaters       [maxLevel + 1]sync.Pool
	windowDeflaters [maxWindowBits + 1]sync.Pool
)

// deflater is a compressor that appends to out.
type deflater struct {
	w    *flate.Writer
	out  []byte
	pool *sync.Pool
}

// Write implements io.Writer.
func (d *deflater) Write(b []byte) (int, error) {
	d.out = append(d.out, b...)
	return len(b), nil
}

// borrowDeflater returns a compressor that never refers further back than 1<<bits of size bytes.
func borrowDeflater(level, bits, size int) (*deflater, error) {
	small := bits < maxWindowBits && size > 1<<bits
	pool := &deflaters[level]
	if small {
		pool = &windowDeflaters[bits]
	}
	if d, ok := pool.Get().(*deflater); ok {
		return d, nil
	}
	d := &deflater{pool: pool}
	var err error
	if small {
		d.w, err = flate.NewWriterWindow(nil, 1<<bits)
	} else {
		d.w, err = flate.NewWriter(nil, level)
	}
	return d, err
}

// appendDeflated appends the compressed payload, which may refer to history.
func appendDeflated(dst, payload, history []byte, level, bits int) ([]byte, error) {
	d, err := borrowDeflater(level, bits, len(history)+len(payload))
	if err != nil {
		return dst, err
	}
	d.out = dst
	if history == nil {
		d.w.Reset(d)
	} else {
		d.w.ResetDict(d, history)
	}
	_, err = d.w.Write(payload)
	err = errors.Join(err, d.w.Flush())
	dst, d.out = bytes.TrimSuffix(d.out, flushTail), nil
	if history != nil {
		d.w.ResetDict(nil, nil) // it is not ours to keep
	}
	d.pool.Put(d)
	return dst, err
}

// shortWriters are borrowed to append what appendShort makes.
var shortWriters = sync.Pool{New: func() any { return &deflater{} }}

// appendShort appends a compressed short payload that refers to history. It allocates a copy of both.
func appendShort(dst, payload, history []byte) ([]byte, error) {
	d := shortWriters.Get().(*deflater)
	d.out = dst
	err := flate.StatelessDeflate(d, payload, false, history)
	dst, d.out = bytes.TrimSuffix(d.out, flushTail), nil
	shortWriters.Put(d)
	return dst, err
}

// inflaters are the borrowed decompressors.
var inflaters = sync.Pool{New: func() any {
	i := &inflater{}
	i.r = flate.NewReader(&i.in)
	return i
}}

// inflater is a decompressor of a whole message.
type inflater struct {
	in  bytes.Reader
	buf []byte // the message with its tail
	r   io.ReadCloser
	one [1]byte
}

// appendInflated appends the decompressed payload, at most limit bytes of it (0: no limit). What comes before it is in window. The payload's buffer may be written to behind it.
func appendInflated(dst, payload, window []byte, limit int64) ([]byte, error) {
	if len(payload) == 0 { // strictly one byte is missing, but what is meant is clear
		return dst, nil
	}
	i := inflaters.Get().(*inflater)
	dst, err := i.inflate(dst, payload, window, limit)
	if cap(i.buf) > keepMessage {
		i.buf = nil
	}
	i.in.Reset(nil)
	inflaters.Put(i)
	if err != nil {
		if _, ok := err.(*Violation); !ok {
			err = &Violation{Code: CloseProtocolError, Got: fmt.Sprintf("compressed data that is broken (%v)", err), Want: "a message compressed with DEFLATE", RFC: 7692, Section: "7.2.2"}
		}
	}
	return dst, err
}

func (i *inflater) inflate(dst, payload, window []byte, limit int64) ([]byte, error) {
	start := len(dst)
	if len(payload) > copyLimit && cap(payload)-len(payload) >= len(readTail) {
		i.in.Reset(append(payload, readTail...))
	} else {
		i.buf = append(append(i.buf[:0], payload...), readTail...)
		i.in.Reset(i.buf)
	}
	for {
		if err := i.r.(flate.Resetter).Reset(&i.in, window); err != nil {
			return dst, err
		}
		var err error
		if dst, err = i.block(dst, start, firstGuess*len(payload), limit); err != nil {
			return dst, err
		}
		if i.in.Len() == 0 || i.in.Len() == len(readTail) {
			return dst, nil
		}
		// The peer has marked a block as the last one, but more follow (RFC 7692 section 7.2.1). They may refer to all before.
		if out := dst[start:]; len(out) >= 1<<maxWindowBits || len(window) == 0 {
			window = out
		} else {
			window = keepTail(slices.Clone(window), out, 1<<maxWindowBits)
		}
	}
}

// block decompresses up to a last block.
func (i *inflater) block(dst []byte, start, guess int, limit int64) ([]byte, error) {
	for {
		if limit > 0 && int64(len(dst)-start) == limit {
			if n, err := i.r.Read(i.one[:]); n > 0 {
				return dst, tooBig("message", limit+1, limit)
			} else if err != nil {
				return dst, noEnd(err)
			}
			continue
		}
		if len(dst) == cap(dst) {
			grow := max(minInflate, guess, len(dst)-start)
			if limit > 0 {
				grow = int(min(int64(grow), limit-int64(len(dst)-start)))
			}
			dst = slices.Grow(dst, grow)
		}
		room := cap(dst)
		if limit > 0 {
			room = int(min(int64(room), int64(start)+limit))
		}
		n, err := i.r.Read(dst[len(dst):room])
		dst = dst[:len(dst)+n]
		if err != nil {
			return dst, noEnd(err)
		}
	}
}

// noEnd is nil for the end of the data.
func noEnd(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}
