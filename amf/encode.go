package amf

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
)

// Append appends the AMF0 form of the values to dst. Beside the types of Value it takes int, int64, uint32 and float32 as
// numbers, time.Time as a date, map[string]any as an object with sorted names and []any as a strict array. Strings of more than
// 65535 bytes become long strings; longer names are cut there. The types that only AMF3 has are written as such, behind the marker that switches to it, which
// a peer understands whose objectEncoding is 3. It panics on any other type: that is a mistake in the program, not in its input.
func Append(dst []byte, values ...Value) []byte {
	for _, v := range values {
		dst = appendValue(dst, v)
	}
	return dst
}

func appendValue(dst []byte, v Value) []byte {
	switch v := v.(type) {
	case nil:
		return append(dst, markNull)
	case Undefined:
		return append(dst, markUndefined)
	case bool:
		return append(dst, markBool, boolByte(v))
	case string:
		return appendString(dst, v)
	case XML:
		return append(appendLen32(append(dst, markXML), len(v)), v...)
	case Date:
		return append(appendFloat(append(dst, markDate), float64(v)), 0, 0)
	case time.Time:
		return append(appendFloat(append(dst, markDate), float64(v.UnixMicro())/1000), 0, 0)
	case Object:
		return appendMembers(append(dst, markObject), v)
	case ECMAArray:
		return appendMembers(appendLen32(append(dst, markECMAArray), len(v)), v)
	case TypedObject:
		return appendMembers(appendName(append(dst, markTypedObject), v.Class), v.Members)
	case StrictArray:
		return appendItems(dst, v)
	case []any:
		return appendItems(dst, v)
	case map[string]any:
		return appendMap(dst, v)
	case E4X, ByteArray, MixedArray, Vector, Dictionary, External:
		return appendValue3(append(dst, markAMF3), v)
	}
	return appendFloat(append(dst, markNumber), number(v))
}

// number converts the numeric types that Append takes.
func number(v Value) float64 {
	switch v := v.(type) {
	case float64:
		return v
	case int:
		return float64(v)
	case int64:
		return float64(v)
	case uint32:
		return float64(v)
	case float32:
		return float64(v)
	}
	panic(fmt.Sprintf("amf: Append: got a %T, want a type that AMF0 has", v))
}

func boolByte(v bool) byte {
	if v {
		return 1
	}
	return 0
}

func appendFloat(dst []byte, v float64) []byte {
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(v))
}

func appendLen32(dst []byte, n int) []byte {
	return binary.BigEndian.AppendUint32(dst, uint32(n))
}

func appendString(dst []byte, s string) []byte {
	if len(s) > math.MaxUint16 {
		return append(appendLen32(append(dst, markLongString), len(s)), s...)
	}
	return appendName(append(dst, markString), s)
}

// appendName appends a string with a 16-bit length and without a marker.
func appendName(dst []byte, s string) []byte {
	s = s[:min(len(s), math.MaxUint16)]
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

func appendMembers(dst []byte, members []Member) []byte {
	for _, m := range members {
		dst = appendValue(appendName(dst, m.Name), m.Value)
	}
	return append(dst, 0, 0, markEnd)
}

func appendItems(dst []byte, items []Value) []byte {
	return Append(appendLen32(append(dst, markStrictArray), len(items)), items...)
}

func appendMap(dst []byte, m map[string]any) []byte {
	dst = append(dst, markObject)
	for _, name := range slices.Sorted(maps.Keys(m)) {
		dst = appendValue(appendName(dst, name), m[name])
	}
	return append(dst, 0, 0, markEnd)
}
