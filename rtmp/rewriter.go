package rtmp

import (
	"hawser/lifecycle"
	"hawser/netio"
)

// rewriter is the source of a player whose packets differ from everybody's: it has another message stream id, it wants a time base from 0
// (?timebase=zero in the URL), or OnPlayData is set.
type rewriter struct {
	stream *Stream
	from   netio.Source
	reader *ChunkReader
	in     [][]byte

	zero bool   // take base off
	has  bool   // base is known
	base uint32 // the first frame's time, shared by all kinds of packet
}

// rebase takes the base off a packet's time. What comes before the first frame, or is older than it, is at 0.
func (r *rewriter) rebase(m *Message) {
	if !r.has && (m.Type == TypeAudio || m.Type == TypeVideo) && !isConfig(m) {
		r.base, r.has = m.Timestamp, true
	}
	if m.Timestamp -= r.base; !r.has || int32(m.Timestamp) < 0 {
		m.Timestamp = 0
	}
}

// isConfig says whether a packet carries codec parameters, whose time means nothing.
func isConfig(m *Message) bool {
	const (
		sequenceStart = 0 // of Enhanced RTMP's packet types
		extended      = 0x80
	)
	if len(m.Payload) < 2 {
		return true
	}
	first, second := m.Payload[0], m.Payload[1]
	if m.Type == TypeVideo {
		return first&extended != 0 && first&15 == sequenceStart || first&(extended|15) == 7 && second == 0
	}
	return first>>4 == 9 && first&15 == sequenceStart || first>>4 == 10 && second == 0
}

// Fill implements netio.Source.
func (r *rewriter) Fill(dst [][]byte, most int) [][]byte {
	s := r.stream
	size := s.conn.server.ChunkSize
	if r.reader == nil {
		r.reader = NewChunkReader(Limits{MaxMessage: maxMessageLength})
		r.reader.SetChunkSize(size)
	}
	var out []byte
	for {
		r.in = r.from.Fill(r.in[:0], most)
		taken := 0
		for _, b := range r.in {
			taken += len(b)
			err := r.reader.Feed(b, func(m Message) error {
				m.StreamID = s.id
				if r.zero {
					r.rebase(&m)
				}
				if keep := s.conn.h.OnPlayData; keep == nil || m.Type == TypeCommand || keep(s, &m) {
					out = AppendMessage(out, size, m)
				}
				return nil
			})
			if err != nil {
				s.conn.Close(lifecycle.ReasonInternal.Because(err))
				return dst
			}
		}
		clear(r.in)
		// A source that gave less has no more. Having all dropped or shrunk must not look like that.
		if taken < most || len(out) >= most {
			break
		}
	}
	if len(out) == 0 {
		return dst
	}
	return append(dst, out)
}
