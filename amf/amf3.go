package amf

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// E4X is the text of an XML document of ActionScript 3 (AMF3 section 3.9); XML is the older kind, which AMF0 has too.
type E4X string

// ByteArray is a string of bytes (AMF3 section 3.14).
type ByteArray []byte

// MixedArray is an array that has both names and indexes from 0 (AMF3 section 3.11). One with indexes only is a StrictArray, one with names only an ECMAArray.
type MixedArray struct {
	Members Object
	Items   StrictArray
}

// Vector is an array of one type (AMF3 section 3.15).
type Vector struct {
	Fixed bool   // its length does not change
	Class string // of what is in it, for []Value; "" = any
	Items any    // []int32, []uint32, []float64 or []Value
}

// Dictionary is a map whose keys may be any values (AMF3 section 3.16); its entries keep their order.
type Dictionary struct {
	Weak    bool // its keys are held weakly
	Entries []Entry
}

// Entry is one value of a dictionary.
type Entry struct{ Key, Value Value }

// External is an object that its class writes itself (AMF3 section 3.12). Known are the classes of Flex that write one value.
type External struct {
	Class string
	Value Value
}

// wrappers are the classes whose objects write one value.
var wrappers = []string{"flex.messaging.io.ArrayCollection", "flex.messaging.io.ArrayList", "flex.messaging.io.ObjectProxy"}

// Markers of AMF3 (section 3.1).
const (
	mark3Undefined = iota
	mark3Null
	mark3False
	mark3True
	mark3Integer
	mark3Double
	mark3String
	mark3XMLDocument
	mark3Date
	mark3Array
	mark3Object
	mark3XML
	mark3ByteArray
	mark3VectorInt
	mark3VectorUint
	mark3VectorDouble
	mark3VectorObject
	mark3Dictionary
)

// Integers of AMF3 have 29 bits and a sign (section 3.6).
const (
	minInteger = -1 << 28
	maxInteger = 1<<28 - 1
)

// DecodeMessage decodes the values of an RTMP command or data message of type 17 or 15: a byte 0, and AMF0 values, each of which may switch to AMF3 (Enhanced RTMP v2,
// "Important AMF3-encoded Historical Specification Clarification"). Without the byte 0, which some clients leave out, they are read from the start. Errors are as of Decode.
func DecodeMessage(b []byte) ([]Value, error) {
	d := decoder{b: b}
	if len(b) > 0 && b[0] == 0 {
		d.pos = 1
	}
	return d.all()
}

// DecodeAMF3 decodes all values in b, which are AMF3 without a marker of AMF0 before them. Numbers are float64 whichever way they are written; else it is as Decode.
func DecodeAMF3(b []byte) ([]Value, error) {
	d := decoder{b: b}
	var values []Value
	for d.pos < len(b) {
		v, err := d.value3(0)
		if err != nil {
			return values, err
		}
		values = append(values, v)
	}
	return values, nil
}

// tables are what AMF3 references point into; they hold for all values of a message (section 2.2).
type tables struct {
	strings []string
	objects []compound
	traits  []traits
}

// traits say how the members of objects of one class are written.
type traits struct {
	class    string
	external bool
	dynamic  bool // members with names may follow the sealed ones
	sealed   []string
	bytes    int // of its names
}

// u29 reads an integer of 1 to 4 bytes.
func (d *decoder) u29() (int, error) {
	v := 0
	for i := range 4 {
		b, err := d.take(1, "an integer")
		if err != nil {
			return 0, err
		}
		if i == 3 {
			return v<<8 | int(b[0]), nil
		}
		if v = v<<7 | int(b[0]&0x7f); b[0] < 0x80 {
			break
		}
	}
	return v, nil
}

// value3 reads an AMF3 value.
func (d *decoder) value3(depth int) (Value, error) {
	if depth > MaxDepth {
		return nil, d.tooDeep()
	}
	if err := d.count(1); err != nil {
		return nil, err
	}
	d.deep = max(d.deep, depth)
	mark, err := d.take(1, "an AMF3 marker")
	if err != nil {
		return nil, err
	}
	switch mark[0] {
	case mark3Undefined:
		return Undefined{}, nil
	case mark3Null:
		return nil, nil
	case mark3False, mark3True:
		return mark[0] == mark3True, nil
	case mark3Integer:
		v, err := d.u29()
		return float64(int32(v<<3) >> 3), err
	case mark3Double:
		return d.number()
	case mark3String:
		return d.string3()
	}
	if mark[0] > mark3Dictionary {
		d.pos--
		return nil, d.fail(fmt.Sprintf("0x%02x", mark[0]), "the marker of an AMF3 value")
	}
	return d.compound3(mark[0], depth)
}

// string3 reads a string or a reference to one.
func (d *decoder) string3() (string, error) {
	at := d.pos
	u, err := d.u29()
	if err != nil {
		return "", err
	}
	if u&1 == 0 {
		if u >>= 1; u >= len(d.amf3.strings) {
			d.pos = at
			return "", d.fail(fmt.Sprintf("a reference to string %d", u), fmt.Sprintf("one of %d", len(d.amf3.strings)))
		}
		return d.amf3.strings[u], d.repeat(len(d.amf3.strings[u]))
	}
	b, err := d.take(u>>1, "a string")
	if err != nil || len(b) == 0 {
		return "", err
	}
	d.amf3.strings = append(d.amf3.strings, string(b))
	return string(b), nil
}

// repeat counts bytes that a reference repeats.
func (d *decoder) repeat(n int) error {
	if d.again += n; d.again > MaxRepeated {
		return d.exceeds("MaxRepeated", fmt.Sprintf("references that repeat more than %d bytes", MaxRepeated))
	}
	return nil
}

// compound3 reads what a reference may repeat: all but the simple values.
func (d *decoder) compound3(mark byte, depth int) (v Value, err error) {
	start := d.pos
	u, err := d.u29()
	if err != nil {
		return nil, err
	}
	if u&1 == 0 {
		d.pos = start
		if v, err = d.repeated(d.amf3.objects, u>>1, depth); err != nil {
			return nil, err
		}
		_, err = d.u29()
		return v, err
	}
	at, deep := len(d.amf3.objects), d.deep
	values, size := d.values, d.pos+d.again
	d.deep = depth
	d.amf3.objects = append(d.amf3.objects, compound{})
	v, err = d.content3(mark, u>>1, depth)
	d.amf3.objects[at] = compound{value: v, values: d.values - values + 1, bytes: d.pos + d.again - size + 1, height: d.deep - depth, done: true}
	d.deep = max(d.deep, deep)
	return v, err
}

// content3 reads what follows the number u behind a marker.
func (d *decoder) content3(mark byte, u, depth int) (Value, error) {
	switch mark {
	case mark3XMLDocument, mark3XML, mark3ByteArray:
		b, err := d.take(u, "XML or bytes")
		switch mark {
		case mark3XMLDocument:
			return XML(b), err
		case mark3XML:
			return E4X(b), err
		}
		return append(ByteArray{}, b...), err
	case mark3Date:
		ms, err := d.number()
		return Date(ms), err
	case mark3Array:
		return d.array3(u, depth)
	case mark3Object:
		return d.object3(u, depth)
	case mark3Dictionary:
		return d.dictionary(u, depth)
	}
	return d.vector(mark, u, depth)
}

// room refuses a count of things for which there are not enough bytes, each taking size or more.
func (d *decoder) room(n, size int, what string) error {
	if left := len(d.b) - d.pos; n > left/size {
		return d.fail(fmt.Sprintf("%d bytes and the end", left), fmt.Sprintf("%s of %d values", what, n))
	}
	return nil
}

func (d *decoder) array3(n, depth int) (Value, error) {
	members, err := d.dynamic(depth)
	if err != nil {
		return nil, err
	}
	if err := d.room(n, 1, "an array"); err != nil {
		return nil, err
	}
	items, err := d.items3(n, depth)
	switch {
	case len(members) == 0:
		return StrictArray(items), err
	case n == 0:
		return ECMAArray(members), err
	}
	return MixedArray{Members: members, Items: items}, err
}

func (d *decoder) items3(n, depth int) ([]Value, error) {
	items := make([]Value, 0, min(n, trusted))
	for range n {
		v, err := d.value3(depth + 1)
		if err != nil {
			return items, err
		}
		items = append(items, v)
	}
	return items, nil
}

// dynamic reads named values up to an empty name.
func (d *decoder) dynamic(depth int) (Object, error) {
	members := Object{}
	for {
		name, err := d.string3()
		if err != nil || name == "" {
			return members, err
		}
		v, err := d.value3(depth + 1)
		if err != nil {
			return members, err
		}
		members = append(members, Member{Name: name, Value: v})
	}
}

func (d *decoder) object3(u, depth int) (Value, error) {
	t, err := d.traits(u)
	if err != nil {
		return nil, err
	}
	if t.external {
		return d.external(t.class, depth)
	}
	members := make(Object, 0, min(len(t.sealed), trusted))
	for _, name := range t.sealed {
		v, err := d.value3(depth + 1)
		if err != nil {
			return nil, err
		}
		members = append(members, Member{Name: name, Value: v})
	}
	if t.dynamic {
		more, err := d.dynamic(depth)
		if err != nil {
			return nil, err
		}
		members = append(members, more...)
	}
	if t.class == "" {
		return members, nil
	}
	return TypedObject{Class: t.class, Members: members}, nil
}

func (d *decoder) external(class string, depth int) (Value, error) {
	if !slices.Contains(wrappers, class) {
		return nil, d.fail(fmt.Sprintf("an object that only its class %q can read", class), "one of "+fmt.Sprint(wrappers))
	}
	v, err := d.value3(depth + 1)
	return External{Class: class, Value: v}, err
}

// traits reads an object's traits, or a reference to some.
func (d *decoder) traits(u int) (*traits, error) {
	if u&1 == 0 {
		if u >>= 1; u >= len(d.amf3.traits) {
			return nil, d.fail(fmt.Sprintf("a reference to traits %d", u), fmt.Sprintf("one of %d", len(d.amf3.traits)))
		}
		return &d.amf3.traits[u], d.repeat(d.amf3.traits[u].bytes)
	}
	t := traits{external: u&2 != 0, dynamic: u&4 != 0}
	var err error
	if t.class, err = d.string3(); err != nil {
		return nil, err
	}
	t.bytes = len(t.class)
	if !t.external {
		n := u >> 3
		if err := d.room(n, 1, "an object"); err != nil {
			return nil, err
		}
		for range n {
			name, err := d.string3()
			if err != nil {
				return nil, err
			}
			t.sealed = append(t.sealed, name)
			t.bytes += len(name)
		}
	}
	d.amf3.traits = append(d.amf3.traits, t)
	return &t, nil
}

func (d *decoder) vector(mark byte, n, depth int) (Value, error) {
	fixed, err := d.take(1, "whether a vector is fixed")
	if err != nil {
		return nil, err
	}
	v := Vector{Fixed: fixed[0] != 0}
	size := map[byte]int{mark3VectorInt: 4, mark3VectorUint: 4, mark3VectorDouble: 8, mark3VectorObject: 1}[mark]
	if mark == mark3VectorObject {
		if v.Class, err = d.string3(); err != nil {
			return nil, err
		}
	}
	if err := d.room(n, size, "a vector"); err != nil {
		return nil, err
	}
	if mark == mark3VectorObject {
		v.Items, err = d.items3(n, depth)
		return v, err
	}
	if err := d.count(n); err != nil {
		return nil, err
	}
	b, err := d.take(n*size, "a vector")
	if err != nil {
		return nil, err
	}
	switch mark {
	case mark3VectorInt:
		v.Items = numbers(b, size, func(b []byte) int32 { return int32(binary.BigEndian.Uint32(b)) })
	case mark3VectorUint:
		v.Items = numbers(b, size, binary.BigEndian.Uint32)
	default:
		v.Items = numbers(b, size, func(b []byte) float64 { return math.Float64frombits(binary.BigEndian.Uint64(b)) })
	}
	return v, nil
}

func numbers[T any](b []byte, size int, read func([]byte) T) []T {
	items := make([]T, 0, len(b)/size)
	for ; len(b) > 0; b = b[size:] {
		items = append(items, read(b))
	}
	return items
}

func (d *decoder) dictionary(n, depth int) (Value, error) {
	weak, err := d.take(1, "whether keys are weak")
	if err != nil {
		return nil, err
	}
	if err := d.room(n, 2, "a dictionary"); err != nil {
		return nil, err
	}
	items, err := d.items3(2*n, depth)
	v := Dictionary{Weak: weak[0] != 0, Entries: make([]Entry, 0, len(items)/2)}
	for i := 0; i+1 < len(items); i += 2 {
		v.Entries = append(v.Entries, Entry{items[i], items[i+1]})
	}
	return v, err
}
