package rtmp

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"hawser/lifecycle"
)

// Limits bounds what a peer can make a ChunkReader hold.
type Limits struct {
	// MaxMessage is the largest message in bytes; 0 means 8 MiB. The protocol's own bound is 16 MiB - 1.
	MaxMessage int
	// MaxUnfinished is the memory in bytes for messages that have begun and not ended, over all chunk streams;
	// 0 means twice MaxMessage.
	MaxUnfinished int
	// MaxChunkStreams is how many chunk streams a peer may use; 0 means 64.
	MaxChunkStreams int
}

const (
	defaultMaxMessage      = 8 << 20
	defaultMaxChunkStreams = 64
	maxMessageLength       = 1<<24 - 1
)

func (l Limits) filled() Limits {
	if l.MaxMessage <= 0 {
		l.MaxMessage = defaultMaxMessage
	}
	l.MaxMessage = min(l.MaxMessage, maxMessageLength)
	if l.MaxUnfinished <= 0 {
		l.MaxUnfinished = 2 * l.MaxMessage
	}
	if l.MaxChunkStreams <= 0 {
		l.MaxChunkStreams = defaultMaxChunkStreams
	}
	return l
}

// Payload memory: small payloads are cut from slabs that grow with use, so that a publisher costs no allocation per
// message and a connection that only sends a few commands holds next to nothing. A message gets memory in
// advance only up to twice the largest that this peer has completed; beyond that memory follows the bytes received.
const (
	slabFirst   = 512
	slabLargest = 256 << 10
	slabShare   = 64 << 10 // larger payloads are allocated on their own
	trustFirst  = 4 << 10
)

// ChunkReader turns the bytes of one direction of a connection into messages (RTMP 1.0 section 5.3). It is pushed:
// it does no I/O and holds no buffer but the incomplete messages. It applies Set Chunk Size and Abort itself, and hands
// them out like any other message. Not for use by several goroutines at once.
type ChunkReader struct {
	limits     Limits
	chunkSize  int
	offset     uint64 // bytes taken
	at         uint64 // offset of the present chunk's header
	unfinished int    // capacity held by incomplete messages
	trust      int
	slab       []byte
	slabSize   int
	streams    []*chunkStream
	last       *chunkStream

	head [18]byte // an incomplete header
	n    int
	cur  *chunkStream // nil between chunks
	left int          // payload bytes until the end of the present chunk
	err  error
}

type chunkStream struct {
	id        uint32
	streamID  uint32
	timestamp uint32 // of the present or latest message
	delta     uint32
	ext       uint32 // extended timestamp field, when extended
	length    int
	typ       byte
	extended  bool
	known     bool // a header with length and type was seen
	open      bool // a message has begun
	buf       []byte
}

// NewChunkReader returns a reader with the chunk size both ends start with.
func NewChunkReader(l Limits) *ChunkReader {
	return &ChunkReader{limits: l.filled(), chunkSize: DefaultChunkSize, trust: trustFirst}
}

// SetChunkSize sets the size in bytes of the chunks that follow, as a Set Chunk Size message would; for bytes written
// with a size that was agreed before.
func (r *ChunkReader) SetChunkSize(n int) { r.chunkSize = min(max(n, 1), maxMessageLength) }

// Offset returns how many bytes were taken.
func (r *ChunkReader) Offset() uint64 { return r.offset }

// Unfinished returns the memory in bytes held by incomplete messages.
func (r *ChunkReader) Unfinished() int { return r.unfinished }

// Feed takes the next bytes, of any length, and calls emit for each message that they complete. b is not kept;
// payloads belong to the receiver. An error of emit, or a *ProtocolError, ends the reader: later calls return it again.
func (r *ChunkReader) Feed(b []byte, emit func(Message) error) error {
	if r.err == nil {
		r.err = r.feed(b, emit)
	}
	return r.err
}

func (r *ChunkReader) feed(b []byte, emit func(Message) error) error {
	for len(b) > 0 {
		if r.cur != nil {
			n, err := r.payload(b, emit)
			if err != nil {
				return err
			}
			b = b[n:]
			continue
		}
		n, whole := r.collect(b)
		b = b[n:]
		if !whole {
			return nil
		}
		if err := r.begin(emit); err != nil {
			return err
		}
	}
	return nil
}

// collect gathers one chunk header in r.head and tells how much of b it took, and whether the header is whole.
func (r *ChunkReader) collect(b []byte) (taken int, whole bool) {
	if r.n == 0 {
		r.at = r.offset
	}
	for {
		want := r.headerLen()
		if r.n >= want {
			return taken, true
		}
		if taken == len(b) {
			return taken, false
		}
		k := copy(r.head[r.n:want], b[taken:])
		r.n += k
		taken += k
		r.offset += uint64(k)
	}
}

// headerLen returns how long the header in r.head is, as far as its bytes so far tell.
func (r *ChunkReader) headerLen() int {
	if r.n == 0 {
		return 1
	}
	basic := 1
	if id := r.head[0] & 63; id < 2 {
		basic = 2 + int(id)
	}
	if r.n < basic {
		return basic
	}
	format := r.head[0] >> 6
	total := basic + [4]int{11, 7, 3, 0}[format]
	if r.n < total {
		return total
	}
	if format == 3 {
		cs := r.find(r.id())
		switch {
		case cs == nil || !cs.extended:
		case cs.open && !repeats(cs.ext, r.head[basic:r.n]):
			total = r.n
		default:
			total += 4
		}
	} else if uint24(r.head[basic:]) == extendedTimestamp {
		total += 4
	}
	return total
}

// repeats says whether b begins like the extended timestamp, which a message's later chunks repeat. Some senders leave it
// out there; what is not it, is payload.
func repeats(ext uint32, b []byte) bool {
	want := [4]byte{byte(ext >> 24), byte(ext >> 16), byte(ext >> 8), byte(ext)}
	return bytes.HasPrefix(want[:], b)
}

func (r *ChunkReader) id() uint32 {
	switch id := r.head[0] & 63; id {
	case 0:
		return 64 + uint32(r.head[1])
	case 1:
		return 64 + uint32(r.head[1]) + uint32(r.head[2])<<8
	default:
		return uint32(id)
	}
}

func (r *ChunkReader) find(id uint32) *chunkStream {
	if r.last != nil && r.last.id == id {
		return r.last
	}
	for _, cs := range r.streams {
		if cs.id == id {
			r.last = cs
			return cs
		}
	}
	return nil
}

// begin acts on the whole header in r.head.
func (r *ChunkReader) begin(emit func(Message) error) error {
	id, format, h := r.id(), r.head[0]>>6, r.head[:r.n]
	r.n = 0
	switch h[0] & 63 {
	case 0:
		h = h[2:]
	case 1:
		h = h[3:]
	default:
		h = h[1:]
	}
	cs := r.find(id)
	if cs == nil {
		if len(r.streams) >= r.limits.MaxChunkStreams {
			return r.exceeds(lifecycle.ReasonLimit, "MaxChunkStreams", r.limits.MaxChunkStreams, fmt.Sprintf("chunk stream %d after %d others", id, len(r.streams)))
		}
		cs = &chunkStream{id: id}
		r.streams, r.last = append(r.streams, cs), cs
	}
	if cs.open {
		return r.continued(cs, format, h, emit)
	}
	return r.start(cs, format, h, emit)
}

// continued acts on the header of a message's second or later chunk (RTMP 1.0 section 5.3.1.2.4).
func (r *ChunkReader) continued(cs *chunkStream, format byte, h []byte, emit func(Message) error) error {
	if format != 3 {
		return r.fail(lifecycle.ReasonProtocol,
			fmt.Sprintf("a new message on chunk stream %d after %d of %d bytes", cs.id, len(cs.buf), cs.length),
			"the rest of the message (header type 3) or an abort")
	}
	r.chunk(cs)
	if !cs.extended || repeats(cs.ext, h) {
		return nil
	}
	var early [4]byte
	n := copy(early[:], h)
	r.offset -= uint64(n)
	return r.feed(early[:n], emit)
}

// start acts on the header of a message's first chunk.
func (r *ChunkReader) start(cs *chunkStream, format byte, h []byte, emit func(Message) error) error {
	if format > 1 && !cs.known {
		return r.fail(lifecycle.ReasonProtocol, fmt.Sprintf("header type %d first on chunk stream %d", format, cs.id),
			"a header with length and type")
	}
	if format < 3 {
		stamp := uint24(h)
		if cs.extended = stamp == extendedTimestamp; cs.extended {
			stamp = binary.BigEndian.Uint32(h[len(h)-4:])
			cs.ext = stamp
		}
		cs.delta = stamp
	} else if cs.extended {
		cs.ext = binary.BigEndian.Uint32(h)
		cs.delta = cs.ext
	}
	if format < 2 {
		cs.length, cs.typ, cs.known = int(uint24(h[3:])), h[6], true
	}
	if format == 0 {
		cs.streamID = binary.LittleEndian.Uint32(h[7:])
		cs.timestamp = cs.delta
	} else {
		cs.timestamp += cs.delta
	}
	if cs.length > r.limits.MaxMessage {
		return r.exceeds(lifecycle.ReasonTooBig, "MaxMessage", r.limits.MaxMessage, fmt.Sprintf("a %s message of %d bytes", typeName(cs.typ), cs.length))
	}
	cs.open = true
	r.chunk(cs)
	if cs.length == 0 {
		return r.finish(cs, emit)
	}
	return nil
}

// chunk begins the payload of one chunk.
func (r *ChunkReader) chunk(cs *chunkStream) {
	r.cur, r.left = cs, min(r.chunkSize, cs.length-len(cs.buf))
}

// payload takes payload bytes of the present chunk and tells how many.
func (r *ChunkReader) payload(b []byte, emit func(Message) error) (int, error) {
	cs, n := r.cur, min(r.left, len(b))
	if len(cs.buf)+n > cap(cs.buf) {
		if err := r.grow(cs, len(cs.buf)+n); err != nil {
			return 0, err
		}
	}
	cs.buf = append(cs.buf, b[:n]...)
	r.offset += uint64(n)
	if r.left -= n; r.left > 0 {
		return n, nil
	}
	if len(cs.buf) < cs.length {
		r.cur = nil
		return n, nil
	}
	return n, r.finish(cs, emit)
}

// grow makes room for need bytes of the message, and for the whole message when the peer is trusted with it.
func (r *ChunkReader) grow(cs *chunkStream, need int) error {
	size := min(max(need, 2*cap(cs.buf), r.trust), cs.length)
	held := r.unfinished + size - cap(cs.buf)
	if held > r.limits.MaxUnfinished {
		return r.exceeds(lifecycle.ReasonLimit, "MaxUnfinished", r.limits.MaxUnfinished, fmt.Sprintf("%d bytes of unfinished messages", held))
	}
	r.unfinished = held
	cs.buf = append(r.take(size), cs.buf...)
	return nil
}

// take returns memory for a payload of up to n bytes.
func (r *ChunkReader) take(n int) []byte {
	if n > slabShare {
		return make([]byte, 0, n)
	}
	if len(r.slab) < n {
		r.slabSize = min(max(2*r.slabSize, slabFirst), slabLargest)
		r.slab = make([]byte, max(r.slabSize, n))
	}
	b := r.slab[:0:n]
	r.slab = r.slab[n:]
	return b
}

// finish hands out the message that is complete.
func (r *ChunkReader) finish(cs *chunkStream, emit func(Message) error) error {
	m := Message{Type: cs.typ, StreamID: cs.streamID, ChunkStream: cs.id, Timestamp: cs.timestamp,
		Payload: cs.buf[:len(cs.buf):len(cs.buf)]}
	r.trust = max(r.trust, 2*len(cs.buf))
	r.drop(cs)
	r.cur = nil
	if m.Type == TypeSetChunkSize || m.Type == TypeAbort {
		if err := r.apply(m); err != nil {
			return err
		}
	}
	return emit(m)
}

func (r *ChunkReader) drop(cs *chunkStream) {
	r.unfinished -= cap(cs.buf)
	cs.buf, cs.open = nil, false
}

// apply acts on Set Chunk Size and Abort (RTMP 1.0 sections 5.4.1 and 5.4.2).
func (r *ChunkReader) apply(m Message) error {
	if len(m.Payload) != 4 {
		return r.fail(lifecycle.ReasonProtocol, fmt.Sprintf("%s of %d bytes", typeName(m.Type), len(m.Payload)), "4 bytes")
	}
	v := binary.BigEndian.Uint32(m.Payload)
	if m.Type == TypeAbort {
		if cs := r.find(v); cs != nil && cs.open {
			r.drop(cs)
		}
		return nil
	}
	if v == 0 || v > 1<<31-1 {
		return r.fail(lifecycle.ReasonProtocol, fmt.Sprintf("chunk size %d", v), "1 to 2147483647")
	}
	r.SetChunkSize(int(min(v, maxMessageLength)))
	return nil
}

func (r *ChunkReader) fail(reason lifecycle.Reason, got, want string) error {
	e := &ProtocolError{Got: got, Want: want, Offset: r.at, Reason: reason}
	e.Reason = reason.With("got %s, want %s, at byte %d", got, want, r.at)
	return e
}

// exceeds is the error for one of Limits.
func (r *ChunkReader) exceeds(reason lifecycle.Reason, limit string, most int, got string) error {
	lifecycle.CountReached("rtmp." + limit)
	return r.fail(reason, got, fmt.Sprintf("at most %d (%s)", most, limit))
}

func uint24(b []byte) uint32 { return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]) }
