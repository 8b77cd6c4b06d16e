// Package amf encodes and decodes AMF0 and AMF3, the values of RTMP commands and FLV script data (Action Message Format 0,
// December 2007; Action Message Format 3, January 2013). It does not know any command; package rtmp does.
//
//	b := amf.Append(nil, "onStatus", 0, nil, amf.Object{{"level", "status"}, {"code", "NetStream.Play.Start"}})
//	values, err := amf.Decode(b)
//	if err != nil {
//		return err
//	}
//	info, _ := values[3].(amf.Object)
//	fmt.Println(info.String("code")) // NetStream.Play.Start
package amf

import (
	"fmt"
	"time"
)

// Limits of what Decode accepts.
const (
	MaxDepth    = 64      // values inside values
	MaxValues   = 1 << 16 // values in one call, those that references repeat counted again
	MaxRepeated = 1 << 20 // bytes of the values, strings and names that references repeat, written out
)

// Value is one AMF value. Decode gives nil (null), Undefined, bool, float64, string (long strings too), Object, ECMAArray,
// StrictArray, TypedObject, Date and XML, and of AMF3 also E4X, ByteArray, MixedArray, Vector, Dictionary and External. Append takes these and what its comment adds.
type Value = any

// Member is one named value of an object.
type Member struct {
	Name  string // at most 65535 bytes
	Value Value
}

// Object is an anonymous object; its members keep their order.
type Object []Member

// ECMAArray is an associative array; its members keep their order.
type ECMAArray []Member

// StrictArray is an array with indexes from 0.
type StrictArray []Value

// TypedObject is an object with a class name.
type TypedObject struct {
	Class   string // at most 65535 bytes
	Members Object
}

// Undefined is ActionScript's undefined. Decode gives it for the marker "unsupported" too.
type Undefined struct{}

// XML is the text of an XML document.
type XML string

// Date is a point in time, in milliseconds since 1970 UTC. The format's reserved time zone is not kept.
type Date float64

// Time gives the date as a time.Time, exact to the microsecond near the present.
func (d Date) Time() time.Time {
	return time.UnixMicro(int64(float64(d) * 1000)).UTC()
}

// Members gives the members of an Object, ECMAArray, MixedArray or TypedObject, those of the value of an External, and nil for any other value.
func Members(v Value) Object {
	switch v := v.(type) {
	case Object:
		return v
	case ECMAArray:
		return Object(v)
	case TypedObject:
		return v.Members
	case MixedArray:
		return v.Members
	case External:
		return Members(v.Value)
	}
	return nil
}

// Get gives the value of the first member of that name, nil when there is none.
func (o Object) Get(name string) Value {
	for _, m := range o {
		if m.Name == name {
			return m.Value
		}
	}
	return nil
}

// String gives the member's value when it is a string, else "".
func (o Object) String(name string) string {
	s, _ := o.Get(name).(string)
	return s
}

// Number gives the member's value when it is a number, else 0.
func (o Object) Number(name string) float64 {
	n, _ := o.Get(name).(float64)
	return n
}

// Bool gives the member's value when it is a boolean, else false.
func (o Object) Bool(name string) bool {
	b, _ := o.Get(name).(bool)
	return b
}

// SyntaxError says where bytes break the format or pass a limit.
type SyntaxError struct {
	Offset    int // bytes from the start of what was to be decoded
	Got, Want string
	Limit     string // the constant that is exceeded, such as "MaxDepth"; empty for broken bytes
}

// Error gives the offset, what was got and what was wanted.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("amf: at offset %d: got %s, want %s", e.Offset, e.Got, e.Want)
}

// Markers (section 2.1).
const (
	markNumber      = 0x00
	markBool        = 0x01
	markString      = 0x02
	markObject      = 0x03
	markNull        = 0x05
	markUndefined   = 0x06
	markReference   = 0x07
	markECMAArray   = 0x08
	markEnd         = 0x09
	markStrictArray = 0x0a
	markDate        = 0x0b
	markLongString  = 0x0c
	markUnsupported = 0x0d
	markXML         = 0x0f
	markTypedObject = 0x10
	markAMF3        = 0x11
)
