package rtc

import (
	"encoding/binary"
	"fmt"

	"hawser/media"
)

// av1Format is AV1's RTP payload format. Frames are the units of a temporal unit, each with its size.
type av1Format struct {
	part   []byte // a unit whose rest is waited for
	inside bool
}

func (a *av1Format) reset() { a.inside, a.part = false, a.part[:0] }

func (a *av1Format) starts(payload []byte) bool { return payload[0]&av1Continues == 0 }

func (a *av1Format) add(frame, payload []byte) (_ []byte, err error) {
	header, b := payload[0], payload[1:]
	if goesOn := header&av1Continues != 0; goesOn != a.inside {
		return frame, fmt.Errorf("got an element out of its order")
	}
	count := int(header >> 4 & 3)
	for i := 1; len(b) > 0; i++ {
		element := b
		if i != count { // the last needs no length
			size, used := readLEB128(b)
			if used == 0 || size > uint64(len(b)-used) {
				return frame, fmt.Errorf("got %d bytes, want an element with its length", len(b))
			}
			element = b[used : used+int(size)]
			b = b[used+int(size):]
		} else {
			b = nil
		}
		open := len(b) == 0 && header&av1Goes != 0
		if a.inside || open {
			if len(a.part)+len(element) > MaxFrame {
				return frame, fmt.Errorf("got a unit of more than %d bytes", MaxFrame)
			}
			a.part = append(a.part, element...)
			if a.inside = open; open {
				return frame, nil
			}
			element = a.part
			a.part = a.part[:0]
		}
		if frame, err = appendUnit(frame, element); err != nil {
			return frame, err
		}
	}
	return frame, nil
}

// appendUnit appends a unit with its size.
func appendUnit(frame, b []byte) ([]byte, error) {
	if len(b) == 0 {
		return frame, nil
	}
	typ, header, n, content, rest, err := nextUnit(b)
	switch {
	case err != nil:
		return frame, err
	case len(rest) > 0:
		return frame, fmt.Errorf("got %d bytes behind a unit, want one unit in an element", len(rest))
	case typ == obuDelimiter || typ == obuTileList || typ == obuPadding:
		return frame, nil
	}
	header[0] |= obuSized
	frame = append(frame, header[:n]...)
	frame = binary.AppendUvarint(frame, uint64(len(content)))
	return append(frame, content...), nil
}

func (a *av1Format) finish(frame []byte) ([]byte, bool, *media.Track, error) {
	if a.inside {
		return nil, false, nil, fmt.Errorf("got the end of a frame, want the rest of a unit")
	}
	_, sequence, err := media.SplitAV1(frame)
	if err != nil || sequence == nil {
		return frame, false, nil, err
	}
	t, err := media.ParseAV1(sequence)
	return frame, true, &t, err
}
