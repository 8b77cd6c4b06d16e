package amf

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Decode decodes all values in b. The values hold no part of b. An error is a *SyntaxError, and comes with the values before it.
// An associative array may lack its end marker at the end of b, as some writers of onMetaData leave it out.
//
// A value may be one of AMF3, behind the marker that switches to it (AMF0 section 3.1): references of AMF3 hold for all such values in b.
func Decode(b []byte) ([]Value, error) {
	d := decoder{b: b}
	return d.all()
}

// all decodes AMF0 values up to the end.
func (d *decoder) all() ([]Value, error) {
	var values []Value
	for d.pos < len(d.b) {
		v, err := d.value(0)
		if err != nil {
			return values, err
		}
		values = append(values, v)
	}
	return values, nil
}

// DecodeFirst decodes the first value in b and gives the number of bytes that it takes. An error is a *SyntaxError.
func DecodeFirst(b []byte) (v Value, n int, err error) {
	d := decoder{b: b}
	v, err = d.value(0)
	return v, d.pos, err
}

// trusted is how many values an array may make room for before they come: arrays in arrays could say many each.
const trusted = 64

// decoder walks one byte slice.
type decoder struct {
	b      []byte
	pos    int
	values int        // decoded so far
	again  int        // bytes that references have repeated
	deep   int        // greatest depth reached since the innermost open object began
	refs   []compound // objects and arrays in order of their start, for references
	amf3   tables
}

// compound is an object or array that a reference may repeat.
type compound struct {
	value  Value
	values int  // how many values it is made of, itself included
	bytes  int  // how many bytes it takes when its references are written out
	height int  // how many levels of values are inside it
	done   bool // false while its members are being read
}

func (d *decoder) fail(got, want string) error {
	return &SyntaxError{Offset: d.pos, Got: got, Want: want}
}

// exceeds is the error for a limit.
func (d *decoder) exceeds(limit, got string) error {
	return &SyntaxError{Offset: d.pos, Got: got, Want: "at most that many", Limit: limit}
}

func (d *decoder) tooDeep() error {
	return d.exceeds("MaxDepth", fmt.Sprintf("values nested more than %d deep", MaxDepth))
}

// take gives the next n bytes.
func (d *decoder) take(n int, what string) ([]byte, error) {
	if left := len(d.b) - d.pos; n > left {
		return nil, d.fail(fmt.Sprintf("%d bytes and the end", left), fmt.Sprintf("%d bytes of %s", n, what))
	}
	b := d.b[d.pos : d.pos+n]
	d.pos += n
	return b, nil
}

// count adds n values to those decoded, up to the limit.
func (d *decoder) count(n int) error {
	if n > MaxValues-d.values {
		return d.exceeds("MaxValues", fmt.Sprintf("more than %d values", MaxValues))
	}
	d.values += n
	return nil
}

func (d *decoder) value(depth int) (Value, error) {
	if depth > MaxDepth {
		return nil, d.tooDeep()
	}
	if err := d.count(1); err != nil {
		return nil, err
	}
	d.deep = max(d.deep, depth)
	mark, err := d.take(1, "a marker")
	if err != nil {
		return nil, err
	}
	switch mark[0] {
	case markNull:
		return nil, nil
	case markUndefined, markUnsupported:
		return Undefined{}, nil
	case markNumber:
		return d.number()
	case markBool:
		b, err := d.take(1, "a boolean")
		return err == nil && b[0] != 0, err
	case markString:
		return d.name("a string")
	case markLongString:
		return d.long("a long string")
	case markXML:
		s, err := d.long("an XML document")
		return XML(s), err
	case markDate:
		return d.date()
	case markObject, markECMAArray, markStrictArray, markTypedObject:
		return d.compound(mark[0], depth)
	case markReference:
		return d.reference(depth)
	case markAMF3:
		d.values-- // it is the same value
		return d.value3(depth)
	}
	d.pos--
	return nil, d.fail(fmt.Sprintf("0x%02x", mark[0]), "the marker of a value")
}

func (d *decoder) number() (float64, error) {
	b, err := d.take(8, "a number")
	if err != nil {
		return 0, err
	}
	return math.Float64frombits(binary.BigEndian.Uint64(b)), nil
}

func (d *decoder) date() (Date, error) {
	b, err := d.take(10, "a date")
	if err != nil {
		return 0, err
	}
	return Date(math.Float64frombits(binary.BigEndian.Uint64(b))), nil
}

// name reads a string with a 16-bit length.
func (d *decoder) name(what string) (string, error) {
	b, err := d.take(2, "a length")
	if err != nil {
		return "", err
	}
	b, err = d.take(int(binary.BigEndian.Uint16(b)), what)
	return string(b), err
}

// long reads a string with a 32-bit length.
func (d *decoder) long(what string) (string, error) {
	n, err := d.length()
	if err != nil {
		return "", err
	}
	b, err := d.take(n, what)
	return string(b), err
}

// length reads a 32-bit length.
func (d *decoder) length() (int, error) {
	b, err := d.take(4, "a length")
	if err != nil {
		return 0, err
	}
	return int(min(binary.BigEndian.Uint32(b), math.MaxInt32)), nil
}

// compound reads an object or array and remembers it for references.
func (d *decoder) compound(mark byte, depth int) (v Value, err error) {
	at, deep := len(d.refs), d.deep
	values, size := d.values, d.pos+d.again
	d.deep = depth
	d.refs = append(d.refs, compound{})
	switch mark {
	case markObject:
		var m []Member
		m, err = d.members(depth, false)
		v = Object(m)
	case markECMAArray:
		if _, err = d.length(); err == nil { // only a hint: the end marker counts
			var m []Member
			m, err = d.members(depth, true)
			v = ECMAArray(m)
		}
	case markStrictArray:
		v, err = d.items(depth)
	case markTypedObject:
		var o TypedObject
		if o.Class, err = d.name("a class name"); err == nil {
			o.Members, err = d.members(depth, false)
		}
		v = o
	}
	d.refs[at] = compound{value: v, values: d.values - values + 1, bytes: d.pos + d.again - size + 1, height: d.deep - depth, done: true}
	d.deep = max(d.deep, deep)
	return v, err
}

// members reads named values up to the end marker; openEnd allows the end of the bytes in its place.
func (d *decoder) members(depth int, openEnd bool) ([]Member, error) {
	members := []Member{}
	for {
		if openEnd && d.pos == len(d.b) {
			return members, nil
		}
		name, err := d.name("a member's name")
		if err != nil {
			return members, err
		}
		if name == "" && d.pos < len(d.b) && d.b[d.pos] == markEnd {
			d.pos++
			return members, nil
		}
		v, err := d.value(depth + 1)
		if err != nil {
			return members, err
		}
		members = append(members, Member{Name: name, Value: v})
	}
}

func (d *decoder) items(depth int) (StrictArray, error) {
	n, err := d.length()
	if err != nil {
		return nil, err
	}
	if left := len(d.b) - d.pos; n > left { // each takes a byte or more
		return nil, d.fail(fmt.Sprintf("%d bytes and the end", left), fmt.Sprintf("an array of %d values", n))
	}
	items := make(StrictArray, 0, min(n, trusted))
	for range n {
		v, err := d.value(depth + 1)
		if err != nil {
			return items, err
		}
		items = append(items, v)
	}
	return items, nil
}

// reference repeats an object or array that came before (section 2.9).
func (d *decoder) reference(depth int) (Value, error) {
	b, err := d.take(2, "a reference")
	if err != nil {
		return nil, err
	}
	d.pos -= 2
	v, err := d.repeated(d.refs, int(binary.BigEndian.Uint16(b)), depth)
	if err == nil {
		d.pos += 2
	}
	return v, err
}

// repeated gives the object of that number in a table again, at a depth.
func (d *decoder) repeated(refs []compound, i, depth int) (Value, error) {
	if i >= len(refs) || !refs[i].done {
		return nil, d.fail(fmt.Sprintf("a reference to object %d", i), "one that is complete before it")
	}
	if err := d.count(refs[i].values - 1); err != nil {
		return nil, err
	}
	if err := d.repeat(refs[i].bytes); err != nil {
		return nil, err
	}
	if depth += refs[i].height; depth > MaxDepth {
		return nil, d.tooDeep()
	}
	d.deep = max(d.deep, depth)
	return refs[i].value, nil
}
