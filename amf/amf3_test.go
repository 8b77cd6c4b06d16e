package amf

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

const (
	collection = "43 666c65782e6d6573736167696e672e696f2e4172726179436f6c6c656374696f6e" // flex.messaging.io.ArrayCollection
	proxy      = "3b 666c65782e6d6573736167696e672e696f2e4f626a65637450726f7879"         // flex.messaging.io.ObjectProxy
)

// values3 is read both ways.
var values3 = []struct {
	name  string
	value Value
	bytes string
}{
	{"undefined", Undefined{}, "00"},
	{"null", nil, "01"},
	{"false", false, "02"},
	{"true", true, "03"},
	{"integer", 5.0, "04 05"},
	{"integer of two bytes", 128.0, "04 8100"},
	{"integer of three bytes", 16384.0, "04 818000"},
	{"integer of four bytes", 2097152.0, "04 80c08000"},
	{"greatest integer", 268435455.0, "04 bfffffff"},
	{"negative integer", -1.0, "04 ffffffff"},
	{"least integer", -268435456.0, "04 c0808000"},
	{"beyond integers", 268435456.0, "05 41b0000000000000"},
	{"double", 3.5, "05 400c000000000000"},
	{"negative zero", math.Copysign(0, -1), "05 8000000000000000"},
	{"string", "live", "06 09 6c697665"},
	{"empty string", "", "06 01"},
	{"long string", strings.Repeat("s", 70000), "06 88c561 " + strings.Repeat("73", 70000)},
	{"XML document", XML("<a/>"), "07 09 3c612f3e"},
	{"date", Date(1000), "08 01 408f400000000000"},
	{"array", StrictArray{1.0, "a"}, "09 05 01 04 01 06 03 61"},
	{"array of nothing", StrictArray{}, "09 01 01"},
	{"array with names", ECMAArray{{"a", true}}, "09 01 03 61 03 01"},
	{"array with both", MixedArray{Members: Object{{"a", true}}, Items: StrictArray{nil}}, "09 03 03 61 03 01 01"},
	{"object", Object{{"b", 1.0}, {"a", "x"}}, "0a 0b 01 03 62 04 01 03 61 06 03 78 01"},
	{"empty object", Object{}, "0a 0b 01 01"},
	{"object of a class", TypedObject{Class: "C", Members: Object{{"a", 1.0}, {"b", Object{}}}}, "0a 23 03 43 03 61 03 62 04 01 0a 0b 01 01"},
	{"object of a class without members", TypedObject{Class: "C", Members: Object{}}, "0a 03 03 43"},
	{"array collection", External{Class: "flex.messaging.io.ArrayCollection", Value: StrictArray{true}}, "0a 07 " + collection + "09 03 01 03"},
	{"object proxy", External{Class: "flex.messaging.io.ObjectProxy", Value: Object{{"a", nil}}}, "0a 07 " + proxy + "0a 0b 01 03 61 01 01"},
	{"XML", E4X("<a/>"), "0b 09 3c612f3e"},
	{"bytes", ByteArray{0, 255}, "0c 05 00ff"},
	{"no bytes", ByteArray{}, "0c 01"},
	{"vector of int", Vector{Items: []int32{1, -1}}, "0d 05 00 00000001 ffffffff"},
	{"fixed vector of uint", Vector{Fixed: true, Items: []uint32{4294967295}}, "0e 03 01 ffffffff"},
	{"vector of Number", Vector{Items: []float64{1000}}, "0f 03 00 408f400000000000"},
	{"vector of a class", Vector{Class: "C", Items: []Value{nil, TypedObject{Class: "C", Members: Object{}}}}, "10 05 00 03 43 01 0a 03 03 43"},
	{"empty vector", Vector{Items: []int32{}}, "0d 01 00"},
	{"dictionary", Dictionary{Weak: true, Entries: []Entry{{"a", 1.0}, {Object{}, nil}}}, "11 05 01 06 03 61 04 01 0a 0b 01 01 01"},
}

func TestValues3(t *testing.T) {
	for _, c := range values3 {
		t.Run(c.name, func(t *testing.T) {
			want := unhex(t, c.bytes)
			if got := AppendAMF3(nil, c.value); !bytes.Equal(got, want) {
				t.Errorf("encoded:\n got %x\nwant %x", got, want)
			}
			got, err := DecodeAMF3(want)
			if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], c.value) {
				t.Errorf("decoded:\n got %#v, %v\nwant %#v", got, err, c.value)
			}
			got, err = DecodeMessage(append([]byte{0, markAMF3}, append(want, 2, 0, 1, 'x')...))
			if err != nil || len(got) != 2 || !reflect.DeepEqual(got[0], c.value) || got[1] != "x" {
				t.Errorf("in a message:\n got %#v, %v\nwant %#v and AMF0 again", got, err, c.value)
			}
			again, err := Decode(Append(nil, c.value))
			if err != nil || len(again) != 1 || !reflect.DeepEqual(again[0], c.value) {
				t.Errorf("through AMF0:\n got %#v, %v\nwant %#v", again, err, c.value)
			}
		})
	}
}

// otherForms3 are bytes that are read but not written: references, mixed traits, and numbers in other widths.
var otherForms3 = []struct {
	name, bytes string
	want        []Value
}{
	{"string again", "06 03 61 06 00", []Value{"a", "a"}},
	{"empty strings have no number", "06 01 06 03 61 06 00", []Value{"", "a", "a"}},
	{"name again", "0a 0b 01 03 61 06 00 01", []Value{Object{{"a", "a"}}}},
	{"object again", "0a 0b 01 03 61 01 01 0a 00", []Value{Object{{"a", nil}}, Object{{"a", nil}}}},
	{"date again", "08 01 408f400000000000 08 00", []Value{Date(1000), Date(1000)}},
	{"bytes again", "0c 03 07 0c 00", []Value{ByteArray{7}, ByteArray{7}}},
	{"array again", "09 03 01 01 09 00", []Value{StrictArray{nil}, StrictArray{nil}}},
	{"traits again", "0a 13 03 43 03 61 02 0a 01 03", []Value{TypedObject{Class: "C", Members: Object{{"a", false}}}, TypedObject{Class: "C", Members: Object{{"a", true}}}}},
	{"sealed and dynamic members", "0a 1b 03 43 03 61 02 03 62 03 01", []Value{TypedObject{Class: "C", Members: Object{{"a", false}, {"b", true}}}}},
	{"sealed members of no class", "0a 13 01 03 61 02", []Value{Object{{"a", false}}}},
	{"external traits again", "0a 07 " + collection + "01 0a 01 03", []Value{External{"flex.messaging.io.ArrayCollection", nil}, External{"flex.messaging.io.ArrayCollection", true}}},
	{"wide integer", "04 80808005", []Value{5.0}},
	{"whole double", "05 4014000000000000", []Value{5.0}},
}

func TestOtherForms3(t *testing.T) {
	for _, c := range otherForms3 {
		if got, err := DecodeAMF3(unhex(t, c.bytes)); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\n got %#v, %v\nwant %#v", c.name, got, err, c.want)
		}
	}
	now := time.UnixMilli(1_800_000_000_123).UTC()
	got := AppendAMF3(nil, 2, int64(2), uint32(2), float32(2), now, []any{1}, map[string]any{"b": 1, "a": nil}, Object{{"", 1.0}})
	want := AppendAMF3(nil, 2.0, 2.0, 2.0, 2.0, Date(1_800_000_000_123), StrictArray{1.0}, Object{{"a", nil}, {"b", 1.0}}, Object{})
	if !bytes.Equal(got, want) {
		t.Errorf("other types:\n got %x\nwant %x", got, want)
	}
}

// TestMessage reads commands as clients of either AMF send them, and references that reach from one AMF3 value into the next.
func TestMessage(t *testing.T) {
	connect := Append(nil, "connect", 1.0, Object{{"app", "live"}})
	for name, b := range map[string][]byte{"byte 0": append([]byte{0}, connect...), "no byte 0": connect} {
		if got, err := DecodeMessage(b); err != nil || !reflect.DeepEqual(got, []Value{"connect", 1.0, Object{{"app", "live"}}}) {
			t.Errorf("%s: got %#v, %v", name, got, err)
		}
	}
	if got, err := DecodeMessage(unhex(t, "00 11 06 03 61 05 11 06 00")); err != nil || !reflect.DeepEqual(got, []Value{"a", nil, "a"}) {
		t.Errorf("got %#v, %v", got, err)
	}
	if got, err := DecodeMessage(nil); err != nil || got != nil {
		t.Errorf("nothing: got %#v, %v", got, err)
	}
	if o := Members(External{Value: Object{{"a", "b"}}}); o.String("a") != "b" {
		t.Errorf("members of an external object: got %v", o)
	}
	if o := Members(MixedArray{Members: Object{{"a", "b"}}}); o.String("a") != "b" {
		t.Errorf("members of a mixed array: got %v", o)
	}
}

func TestSyntaxErrors3(t *testing.T) {
	long := "06 84 80 01" + strings.Repeat("73", 1<<15) + strings.Repeat("06 00", 33)
	doubling := "09 01 01"
	for i := range 20 {
		ref := "09" + hex.EncodeToString([]byte{byte(i << 1)})
		doubling += "09 05 01" + ref + ref
	}
	for _, c := range []struct{ name, bytes, want string }{
		{"marker", "12", "amf: at offset 0: got 0x12, want the marker of an AMF3 value"},
		{"open integer", "04 80", "amf: at offset 2: got 0 bytes and the end, want 1 bytes of an integer"},
		{"short double", "05 00", "amf: at offset 1: got 1 bytes and the end, want 8 bytes of a number"},
		{"short string", "06 0b 61", "amf: at offset 2: got 1 bytes and the end, want 5 bytes of a string"},
		{"unknown string", "06 02", "amf: at offset 1: got a reference to string 1, want one of 0"},
		{"unknown object", "0a 02", "amf: at offset 1: got a reference to object 1, want one that is complete before it"},
		{"cycle", "09 03 01 09 00", "amf: at offset 4: got a reference to object 0, want one that is complete before it"},
		{"unknown traits", "0a 05", "amf: at offset 2: got a reference to traits 1, want one of 0"},
		{"huge array", "09 ffffffff 01", "amf: at offset 6: got 0 bytes and the end, want an array of 268435455 values"},
		{"huge traits", "0a fffffff3 03 43", "amf: at offset 7: got 0 bytes and the end, want an object of 33554431 values"},
		{"huge vector", "0d ffffffff 00", "amf: at offset 6: got 0 bytes and the end, want a vector of 268435455 values"},
		{"huge dictionary", "11 ffffffff 00", "amf: at offset 6: got 0 bytes and the end, want a dictionary of 268435455 values"},
		{"huge bytes", "0c ffffffff 00", "amf: at offset 5: got 1 bytes and the end, want 268435455 bytes of XML or bytes"},
		{"a class of its own", "0a 07 03 43 00",
			`amf: at offset 4: got an object that only its class "C" can read, want one of [flex.messaging.io.ArrayCollection flex.messaging.io.ArrayList flex.messaging.io.ObjectProxy]`},
		{"many", "09 888001 01" + strings.Repeat("01", 1<<16), "amf: at offset 65540: got more than 65536 values, want at most that many"},
		{"many in a vector", "0d 888001 00" + strings.Repeat("00000000", 1<<16), "amf: at offset 5: got more than 65536 values, want at most that many"},
		{"doubling references", doubling, "amf: at offset 105: got more than 65536 values, want at most that many"},
		{"long references", long, "amf: at offset 32838: got references that repeat more than 1048576 bytes, want at most that many"},
		{"nested", strings.Repeat("09 03 01", MaxDepth+1) + "01", "amf: at offset 195: got values nested more than 64 deep, want at most that many"},
	} {
		_, err := DecodeAMF3(unhex(t, c.bytes))
		var se *SyntaxError
		if !errors.As(err, &se) || err.Error() != c.want {
			t.Errorf("%s:\n got %v\nwant %s", c.name, err, c.want)
		}
	}
}

// TestHostileNesting gives values nested 10,000 deep in every way: an error, and little memory.
func TestHostileNesting(t *testing.T) {
	const deep = 10_000
	for name, b := range map[string]string{
		"AMF0 arrays":            strings.Repeat("0a00002710", deep),
		"AMF0 objects":           strings.Repeat("03000161", deep),
		"AMF3 arrays":            "11" + strings.Repeat("09ce2101", deep),
		"AMF3 objects":           "11" + strings.Repeat("0a0b010361", deep),
		"AMF3 sealed objects":    "11" + strings.Repeat("0a13010361", deep),
		"AMF3 array members":     "11" + strings.Repeat("09010361", deep),
		"AMF3 dictionaries":      "11" + strings.Repeat("11ce2100", deep),
		"AMF3 vectors":           "11" + strings.Repeat("10ce210001", deep),
		"AMF3 collections":       "11 0a07" + collection + strings.Repeat("0a01", deep),
		"AMF3 in AMF0 in arrays": strings.Repeat("0a00002710", MaxDepth) + "11" + strings.Repeat("09ce2101", deep),
	} {
		input := unhex(t, b)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Decode(input)
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), "nested more than 64 deep") {
			t.Errorf("%s: got %v", name, err)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
			t.Errorf("%s: %d bytes used for %d", name, used, len(input))
		}
	}
}

func BenchmarkDecodeMessage(b *testing.B) {
	message := append([]byte{0, markAMF3}, AppendAMF3(nil, Object{{"app", "live"}, {"tcUrl", "rtmp://localhost/live"}, {"list", StrictArray{1.0, 2.5, "x"}}})...)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeMessage(message); err != nil {
			b.Fatal(err)
		}
	}
}
