package session

import (
	"strconv"
	"time"
)

// Stamp is what every update carries besides its payload.
type Stamp struct {
	// Epoch and Offset are the update's place.
	Epoch, Offset uint64
	// At is when it was published, in milliseconds since 1970.
	At int64
	// Time is its media time, where HasTime says so.
	Time    time.Duration
	HasTime bool
}

// AppendUpdate appends the update of a log. data is valid JSON. The bytes are the same for all subscribers.
func AppendUpdate(dst []byte, path string, s Stamp, data []byte) []byte {
	dst = appendUpdateHead(dst, path, &s)
	dst = append(append(dst, `,"data":`...), data...)
	return appendUpdateTail(dst, &s)
}

// AppendRecordUpdate appends the update of a record: the fields that changed. F is Field or a type of the same shape.
func AppendRecordUpdate[F ~struct {
	Name  string
	Value []byte
}](dst []byte, path string, s Stamp, fields []F) []byte {
	dst = appendUpdateHead(dst, path, &s)
	dst = AppendFields(append(dst, `,"fields":`...), fields)
	return appendUpdateTail(dst, &s)
}

// AppendDocumentUpdate appends the update of a JSON document: the whole as data, or a merge patch, the other nil.
func AppendDocumentUpdate(dst []byte, path string, s Stamp, data, patch []byte) []byte {
	dst = append(appendUpdateHead(dst, path, &s), `,"kind":"json"`...)
	if patch != nil {
		dst = append(append(dst, `,"patch":`...), patch...)
	} else {
		dst = append(append(dst, `,"data":`...), data...)
	}
	return appendUpdateTail(dst, &s)
}

func appendUpdateHead(dst []byte, path string, s *Stamp) []byte {
	dst = AppendString(append(dst, `{"t":"update","path":`...), path)
	dst = append(appendPosition(dst, s.Epoch, s.Offset), `,"at":`...)
	return strconv.AppendInt(dst, s.At, 10)
}

func appendUpdateTail(dst []byte, s *Stamp) []byte {
	if s.HasTime {
		dst = appendMillis(append(dst, `,"time":`...), s.Time)
	}
	return append(dst, '}')
}
