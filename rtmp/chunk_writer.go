package rtmp

import (
	"encoding/binary"
	"slices"
)

// Chunk sizes in bytes.
const (
	// DefaultChunkSize is what both ends start with (RTMP 1.0 section 5.4.1).
	DefaultChunkSize = 128
	// OwnChunkSize is what this package announces and writes with unless told otherwise: most messages then are one chunk.
	OwnChunkSize = 65536
)

const extendedTimestamp = 0xFFFFFF // RTMP 1.0 section 5.3.1.3

// AppendMessage appends m in chunks of at most chunkSize bytes of payload (0 means DefaultChunkSize). The first header
// is always a full one (type 0), so that the same bytes serve every connection with that chunk size, whatever
// was written to it before.
func AppendMessage(dst []byte, chunkSize int, m Message) []byte {
	if chunkSize <= 0 {
		chunkSize = DefaultChunkSize
	}
	id, payload := m.chunkStream(), m.Payload
	chunks := 1 + max(0, len(payload)-1)/chunkSize
	dst = slices.Grow(dst, len(payload)+14+chunks*7)

	stamp := min(m.Timestamp, extendedTimestamp)
	dst = appendBasic(dst, 0, id)
	dst = append(dst, byte(stamp>>16), byte(stamp>>8), byte(stamp),
		byte(len(payload)>>16), byte(len(payload)>>8), byte(len(payload)), m.Type)
	dst = binary.LittleEndian.AppendUint32(dst, m.StreamID)
	for {
		if stamp == extendedTimestamp {
			dst = binary.BigEndian.AppendUint32(dst, m.Timestamp)
		}
		n := min(chunkSize, len(payload))
		dst = append(dst, payload[:n]...)
		if payload = payload[n:]; len(payload) == 0 {
			return dst
		}
		dst = appendBasic(dst, 3, id)
	}
}

// appendBasic appends a basic header (RTMP 1.0 section 5.3.1.1).
func appendBasic(dst []byte, format byte, id uint32) []byte {
	switch {
	case id < 64:
		return append(dst, format<<6|byte(id))
	case id < 64+256:
		return append(dst, format<<6, byte(id-64))
	}
	return append(dst, format<<6|1, byte(id-64), byte((id-64)>>8))
}

// appendMessages appends each message.
func appendMessages(dst []byte, chunkSize int, ms ...Message) []byte {
	for _, m := range ms {
		dst = AppendMessage(dst, chunkSize, m)
	}
	return dst
}
