package rtmp

import (
	"encoding/binary"
	"fmt"
)

// Message types (RTMP 1.0 sections 5.4, 6.2 and 7.1).
const (
	TypeSetChunkSize     byte = 1
	TypeAbort            byte = 2
	TypeAck              byte = 3
	TypeUserControl      byte = 4
	TypeWindowAckSize    byte = 5
	TypeSetPeerBandwidth byte = 6
	TypeAudio            byte = 8
	TypeVideo            byte = 9
	TypeDataAMF3         byte = 15
	TypeSharedAMF3       byte = 16
	TypeCommandAMF3      byte = 17
	TypeData             byte = 18
	TypeShared           byte = 19
	TypeCommand          byte = 20
	TypeAggregate        byte = 22
)

// User control events (RTMP 1.0 section 7.1.7).
const (
	ControlStreamBegin     uint16 = 0
	ControlStreamEOF       uint16 = 1
	ControlStreamDry       uint16 = 2
	ControlSetBufferLength uint16 = 3
	ControlStreamRecorded  uint16 = 4
	ControlPingRequest     uint16 = 6
	ControlPingResponse    uint16 = 7
)

// Chunk stream ids that this package writes to; a reader may not rely on them.
const (
	chunkControl uint32 = 2
	chunkCommand uint32 = 3
	chunkAudio   uint32 = 4
	chunkData    uint32 = 5
	chunkVideo   uint32 = 6
)

// Message is one RTMP message. Its payload is never changed after it was handed out, so it may be kept and shared.
type Message struct {
	// Type is one of the Type constants.
	Type byte
	// StreamID is the message stream, 0 for the connection itself.
	StreamID uint32
	// ChunkStream is the chunk stream that it came on; when writing, 0 chooses one by type.
	ChunkStream uint32
	// Timestamp is in milliseconds and wraps after 49.7 days.
	Timestamp uint32
	// Payload is the body; for audio and video it is the body of an FLV tag.
	Payload []byte
}

func (m *Message) chunkStream() uint32 {
	if m.ChunkStream != 0 {
		return m.ChunkStream
	}
	switch m.Type {
	case TypeAudio:
		return chunkAudio
	case TypeVideo:
		return chunkVideo
	case TypeData, TypeDataAMF3, TypeAggregate:
		return chunkData
	case TypeCommand, TypeCommandAMF3:
		return chunkCommand
	}
	return chunkControl
}

func typeName(t byte) string {
	switch t {
	case TypeSetChunkSize:
		return "set chunk size"
	case TypeAbort:
		return "abort"
	case TypeAck:
		return "acknowledgement"
	case TypeUserControl:
		return "user control"
	case TypeWindowAckSize:
		return "window acknowledgement size"
	case TypeSetPeerBandwidth:
		return "set peer bandwidth"
	case TypeAudio:
		return "audio"
	case TypeVideo:
		return "video"
	case TypeData, TypeDataAMF3:
		return "data"
	case TypeCommand, TypeCommandAMF3:
		return "command"
	case TypeAggregate:
		return "aggregate"
	}
	return fmt.Sprintf("type %d", t)
}

// control builds a protocol control message with one 32-bit value (RTMP 1.0 section 5.4).
func control(typ byte, v uint32) Message {
	return Message{Type: typ, Payload: binary.BigEndian.AppendUint32(nil, v)}
}

// setPeerBandwidth builds message type 6 with limit type dynamic (RTMP 1.0 section 5.4.5).
func setPeerBandwidth(window uint32) Message {
	m := control(TypeSetPeerBandwidth, window)
	m.Payload = append(m.Payload, limitDynamic)
	return m
}

// userControl builds a user control event with its 32-bit values.
func userControl(event uint16, values ...uint32) Message {
	b := binary.BigEndian.AppendUint16(nil, event)
	for _, v := range values {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return Message{Type: TypeUserControl, Payload: b}
}

// splitAggregate calls emit for each message inside an aggregate (RTMP 1.0 section 7.1.6): FLV tags with their
// back pointers; timestamps count from the aggregate's own.
func splitAggregate(m Message, emit func(Message) error) error {
	b := m.Payload
	first, have := uint32(0), false
	for len(b) > 0 {
		if len(b) < 11 {
			return fmt.Errorf("rtmp: aggregate: got %d bytes, want a tag header of 11", len(b))
		}
		size := int(b[1])<<16 | int(b[2])<<8 | int(b[3])
		at := uint32(b[4])<<16 | uint32(b[5])<<8 | uint32(b[6]) | uint32(b[7])<<24
		if len(b) < 11+size+4 {
			return fmt.Errorf("rtmp: aggregate: got %d bytes, want a tag of %d", len(b), 11+size+4)
		}
		if !have {
			first, have = at, true
		}
		sub := m
		sub.Type, sub.Timestamp, sub.Payload = b[0], m.Timestamp+at-first, b[11:11+size:11+size]
		if err := emit(sub); err != nil {
			return err
		}
		b = b[11+size+4:]
	}
	return nil
}
