package amf

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
)

// AppendAMF3 appends the AMF3 form of the values to dst, without a marker of AMF0 before them. It takes what Append takes, and makes no references. Whole numbers of 29 bits become
// integers; the members of a TypedObject are sealed, those of an Object dynamic. A member with an empty name, which cannot be dynamic, is left out.
func AppendAMF3(dst []byte, values ...Value) []byte {
	for _, v := range values {
		dst = appendValue3(dst, v)
	}
	return dst
}

func appendValue3(dst []byte, v Value) []byte {
	switch v := v.(type) {
	case nil:
		return append(dst, mark3Null)
	case Undefined:
		return append(dst, mark3Undefined)
	case bool:
		return append(dst, mark3False+boolByte(v))
	case string:
		return appendString3(append(dst, mark3String), v)
	case XML:
		return appendString3(append(dst, mark3XMLDocument), string(v))
	case E4X:
		return appendString3(append(dst, mark3XML), string(v))
	case ByteArray:
		return append(appendU29(append(dst, mark3ByteArray), len(v)<<1|1), v...)
	case Date:
		return appendFloat(append(dst, mark3Date, 1), float64(v))
	case time.Time:
		return appendFloat(append(dst, mark3Date, 1), float64(v.UnixMicro())/1000)
	case Object, TypedObject, External, map[string]any:
		return appendObject3(append(dst, mark3Object), v)
	case ECMAArray:
		return appendArray3(dst, Object(v), nil)
	case StrictArray:
		return appendArray3(dst, nil, v)
	case []any:
		return appendArray3(dst, nil, v)
	case MixedArray:
		return appendArray3(dst, v.Members, v.Items)
	case Vector:
		return appendVector(dst, v)
	case Dictionary:
		dst = append(appendU29(append(dst, mark3Dictionary), len(v.Entries)<<1|1), boolByte(v.Weak))
		for _, e := range v.Entries {
			dst = AppendAMF3(dst, e.Key, e.Value)
		}
		return dst
	}
	return appendNumber3(dst, number(v))
}

// appendU29 appends the low 29 bits of an integer in 1 to 4 bytes (section 1.3.1).
func appendU29(dst []byte, v int) []byte {
	switch u := uint32(v) & (1<<29 - 1); {
	case u < 1<<7:
		return append(dst, byte(u))
	case u < 1<<14:
		return append(dst, byte(u>>7)|0x80, byte(u)&0x7f)
	case u < 1<<21:
		return append(dst, byte(u>>14)|0x80, byte(u>>7)|0x80, byte(u)&0x7f)
	default:
		return append(dst, byte(u>>22)|0x80, byte(u>>15)|0x80, byte(u>>8)|0x80, byte(u))
	}
}

func appendNumber3(dst []byte, v float64) []byte {
	if v == math.Trunc(v) && v >= minInteger && v <= maxInteger && (v != 0 || !math.Signbit(v)) {
		return appendU29(append(dst, mark3Integer), int(v))
	}
	return appendFloat(append(dst, mark3Double), v)
}

func appendString3(dst []byte, s string) []byte {
	return append(appendU29(dst, len(s)<<1|1), s...)
}

// appendDynamic appends named values and the empty name that ends them.
func appendDynamic(dst []byte, members Object) []byte {
	for _, m := range members {
		if m.Name != "" {
			dst = appendValue3(appendString3(dst, m.Name), m.Value)
		}
	}
	return append(dst, 1)
}

func appendArray3(dst []byte, members Object, items []Value) []byte {
	dst = appendU29(append(dst, mark3Array), len(items)<<1|1)
	return AppendAMF3(appendDynamic(dst, members), items...)
}

// appendObject3 appends an object's traits and its members.
func appendObject3(dst []byte, v Value) []byte {
	const inline, external, dynamic = 3, 4, 8 // of an object's first number
	switch v := v.(type) {
	case External:
		return appendValue3(appendString3(append(dst, inline|external), v.Class), v.Value)
	case TypedObject:
		dst = appendString3(appendU29(dst, len(v.Members)<<4|inline), v.Class)
		for _, m := range v.Members {
			dst = appendString3(dst, m.Name)
		}
		for _, m := range v.Members {
			dst = appendValue3(dst, m.Value)
		}
		return dst
	case map[string]any:
		var members Object
		for _, name := range slices.Sorted(maps.Keys(v)) {
			members = append(members, Member{name, v[name]})
		}
		return appendDynamic(append(dst, inline|dynamic, 1), members)
	}
	return appendDynamic(append(dst, inline|dynamic, 1), v.(Object))
}

func appendVector(dst []byte, v Vector) []byte {
	head := func(mark byte, n int) []byte { return append(appendU29(append(dst, mark), n<<1|1), boolByte(v.Fixed)) }
	switch items := v.Items.(type) {
	case []int32:
		dst = head(mark3VectorInt, len(items))
		for _, n := range items {
			dst = binary.BigEndian.AppendUint32(dst, uint32(n))
		}
		return dst
	case []uint32:
		dst = head(mark3VectorUint, len(items))
		for _, n := range items {
			dst = binary.BigEndian.AppendUint32(dst, n)
		}
		return dst
	case []float64:
		dst = head(mark3VectorDouble, len(items))
		for _, n := range items {
			dst = appendFloat(dst, n)
		}
		return dst
	case []Value:
		return AppendAMF3(appendString3(head(mark3VectorObject, len(items)), v.Class), items...)
	}
	panic(fmt.Sprintf("amf: Append: got a vector of %T, want []int32, []uint32, []float64 or []Value", v.Items))
}
