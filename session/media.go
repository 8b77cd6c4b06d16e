package session

import (
	"encoding/binary"
	"fmt"
	"time"

	"hawser/lifecycle"
)

// Flags of a media message.
const (
	// FlagInit: the payload is an init segment.
	FlagInit = 1 << iota
	// FlagKeyframe: a decoder can start here.
	FlagKeyframe
	// FlagDiscontinuity: frames were left out before this one.
	FlagDiscontinuity
)

// Kinds of a media message.
const (
	MediaAll   = 0 // an init segment with all tracks
	MediaVideo = 1
	MediaAudio = 2
)

// mediaType is the first byte of a binary media message; mediaFixed the length of its header without the path.
const (
	mediaType  = 1
	mediaFixed = 4 + 8 + 8 + 8
)

// MediaHeader stands before the payload of a binary media message. Big endian: byte 0 is 1; byte 1 the flags; byte 2 the kind; byte 3 the length of the path;
// the path; epoch and offset, 64 bits each; the decode time in microseconds, 64 bits signed.
type MediaHeader struct {
	// Flags is FlagInit, FlagKeyframe, FlagDiscontinuity.
	Flags byte
	// Kind is MediaAll, MediaVideo or MediaAudio.
	Kind byte
	// Path is the stream's.
	Path string
	// Epoch and Offset are the frame's place; of an init segment that of the frame that follows.
	Epoch, Offset uint64
	// DTS is the decode time, cut to microseconds; 0 for an init segment.
	DTS time.Duration
}

// AppendMediaHeader appends the header; the payload comes after it. Path must have at most MaxPath bytes; what is longer is cut.
func AppendMediaHeader(dst []byte, h MediaHeader) []byte {
	path := h.Path[:min(len(h.Path), MaxPath)]
	dst = append(dst, mediaType, h.Flags, h.Kind, byte(len(path)))
	dst = append(dst, path...)
	dst = binary.BigEndian.AppendUint64(dst, h.Epoch)
	dst = binary.BigEndian.AppendUint64(dst, h.Offset)
	return binary.BigEndian.AppendUint64(dst, uint64(h.DTS.Microseconds()))
}

// ParseMedia splits a binary message into header and payload, which aliases b. A first byte other than 1 gives lifecycle.ReasonUnsupported (to be ignored:
// another kind of binary message), one that is cut short lifecycle.ReasonProtocol; both as *Error.
func ParseMedia(b []byte) (MediaHeader, []byte, error) {
	h, path, payload, err := parseMedia(b)
	h.Path = string(path)
	return h, payload, err
}

// parseMedia leaves Path empty and returns its bytes instead, so that a client that knows the path allocates nothing.
func parseMedia(b []byte) (h MediaHeader, path, payload []byte, err error) {
	if len(b) > 0 && b[0] != mediaType {
		return h, nil, nil, &Error{Reason: lifecycle.ReasonUnsupported.With("binary message of type %d", b[0])}
	}
	if len(b) < 4 || len(b) < mediaFixed+int(b[3]) {
		return h, nil, nil, &Error{Reason: lifecycle.ReasonProtocol.With("media header: got %d bytes, want %s", len(b), wantBytes(b))}
	}
	n := int(b[3])
	path, rest := b[4:4+n], b[4+n:]
	h.Flags, h.Kind = b[1], b[2]
	h.Epoch = binary.BigEndian.Uint64(rest)
	h.Offset = binary.BigEndian.Uint64(rest[8:])
	h.DTS = microseconds(int64(binary.BigEndian.Uint64(rest[16:])))
	return h, path, rest[24:], nil
}

func wantBytes(b []byte) string {
	if len(b) < 4 {
		return "4 or more"
	}
	return fmt.Sprint(mediaFixed + int(b[3]))
}

// microseconds makes a duration; what a Duration cannot hold becomes the greatest or least that it can (292 years).
func microseconds(n int64) time.Duration {
	const bound = int64(1<<63-1) / 1000
	return time.Duration(min(max(n, -bound), bound)) * time.Microsecond
}
