package amf

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// values is read both ways.
var values = []struct {
	name  string
	value Value
	bytes string
}{
	{"number", 3.5, "00 400c000000000000"},
	{"infinity", math.Inf(-1), "00 fff0000000000000"},
	{"false", false, "01 00"},
	{"true", true, "01 01"},
	{"string", "live", "02 0004 6c697665"},
	{"empty string", "", "02 0000"},
	{"null", nil, "05"},
	{"undefined", Undefined{}, "06"},
	{"empty object", Object{}, "03 000009"},
	{"object keeps its order", Object{{"b", 1.0}, {"a", "x"}, {"", nil}}, "03 0001 62 00 3ff0000000000000 0001 61 02 0001 78 0000 05 000009"},
	{"associative array", ECMAArray{{"stereo", true}}, "08 00000001 0006 73746572656f 01 01 000009"},
	{"strict array", StrictArray{nil, StrictArray{}}, "0a 00000002 05 0a 00000000"},
	{"date", Date(1000), "0b 408f400000000000 0000"},
	{"xml", XML("<a/>"), "0f 00000004 3c612f3e"},
	{"typed object", TypedObject{Class: "C", Members: Object{{"a", false}}}, "10 0001 43 0001 61 01 00 000009"},
	{"long string", strings.Repeat("s", 70000), "0c 00011170 " + strings.Repeat("73", 70000)},
}

func TestValues(t *testing.T) {
	for _, c := range values {
		t.Run(c.name, func(t *testing.T) {
			want := unhex(t, c.bytes)
			if got := Append(nil, c.value); !bytes.Equal(got, want) {
				t.Errorf("encoded:\n got %x\nwant %x", got, want)
			}
			got, err := Decode(want)
			if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], c.value) {
				t.Errorf("decoded:\n got %#v, %v\nwant %#v", got, err, c.value)
			}
			first, n, err := DecodeFirst(append(want, 5))
			if err != nil || n != len(want) || !reflect.DeepEqual(first, c.value) {
				t.Errorf("decoded first: got %#v of %d bytes, %v", first, n, err)
			}
		})
	}
}

// TestOtherForms are bytes that are read but not written, and values the other way round.
func TestOtherForms(t *testing.T) {
	for name, c := range map[string]struct {
		bytes string
		want  []Value
	}{
		"unsupported":              {"0d", []Value{Undefined{}}},
		"any true":                 {"01 07", []Value{true}},
		"nothing":                  {"", nil},
		"array without an end":     {"08 00000005 0001 61 05", []Value{ECMAArray{{"a", nil}}}},
		"a wrong count":            {"08 ffffffff 000009 05", []Value{ECMAArray{}, nil}},
		"a reference to an object": {"03 0001 61 05 000009 07 0000", []Value{Object{{"a", nil}}, Object{{"a", nil}}}},
	} {
		if got, err := Decode(unhex(t, c.bytes)); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %#v, %v, want %#v", name, got, err, c.want)
		}
	}
	now := time.UnixMilli(1_800_000_000_123).UTC()
	got := Append(nil, 2, int64(2), uint32(2), float32(2), now, []any{1}, map[string]any{"b": 1, "a": nil})
	want := Append(nil, 2.0, 2.0, 2.0, 2.0, Date(1_800_000_000_123), StrictArray{1.0}, Object{{"a", nil}, {"b", 1.0}})
	if !bytes.Equal(got, want) {
		t.Errorf("other types:\n got %x\nwant %x", got, want)
	}
	if d := Date(1_800_000_000_123); !d.Time().Equal(now) {
		t.Errorf("got %v, want %v", d.Time(), now)
	}
}

func TestMembers(t *testing.T) {
	o := Object{{"app", "live"}, {"fpad", true}, {"audioCodecs", 3575.0}, {"app", "second"}}
	if o.String("app") != "live" || !o.Bool("fpad") || o.Number("audioCodecs") != 3575 {
		t.Errorf("got %q, %v, %v", o.String("app"), o.Bool("fpad"), o.Number("audioCodecs"))
	}
	if o.Get("x") != nil || o.String("fpad") != "" || o.Number("app") != 0 || o.Bool("app") {
		t.Error("a member that is missing or of another type has a value")
	}
	for _, v := range []Value{o, ECMAArray(o), TypedObject{Members: o}} {
		if !reflect.DeepEqual(Members(v), o) {
			t.Errorf("%T: got members %v", v, Members(v))
		}
	}
	if Members("x") != nil || Members(nil) != nil {
		t.Error("a string has members")
	}
}

func TestSyntaxErrors(t *testing.T) {
	nested := strings.Repeat("0a00000001", MaxDepth+1) + "05"
	many := "0a" + "00010000" + strings.Repeat("05", 1<<16)
	// Each object holds references to the one before: small in bytes, vast when written out.
	doubling := "03 000009"
	for i := range 20 {
		ref := hex.EncodeToString([]byte{7, 0, byte(i)})
		doubling += "0a00000002" + ref + ref
	}
	deep := "0a00000000"
	for i := range MaxDepth + 1 {
		deep += "0a00000001" + hex.EncodeToString([]byte{7, 0, byte(i)})
	}
	long := "0a00000001 0c00080000" + strings.Repeat("73", 1<<19) + "070000 070000"
	for _, c := range []struct {
		name, bytes, want string
		values            int // before the error
	}{
		{"marker", "05 0e", "amf: at offset 1: got 0x0e, want the marker of a value", 1},
		{"short number", "00 00", "amf: at offset 1: got 1 bytes and the end, want 8 bytes of a number", 0},
		{"short string", "02 0005 61", "amf: at offset 3: got 1 bytes and the end, want 5 bytes of a string", 0},
		{"huge long string", "0c ffffffff 61", "amf: at offset 5: got 1 bytes and the end, want 2147483647 bytes of a long string", 0},
		{"huge array", "0a ffffffff 05", "amf: at offset 5: got 1 bytes and the end, want an array of 2147483647 values", 0},
		{"open object", "03 0001 61 05", "amf: at offset 5: got 0 bytes and the end, want 2 bytes of a length", 0},
		{"value missing", "03 0001 61", "amf: at offset 4: got 0 bytes and the end, want 1 bytes of a marker", 0},
		{"unknown reference", "07 0000", "amf: at offset 1: got a reference to object 0, want one that is complete before it", 0},
		{"cycle", "03 0001 61 07 0000 000009", "amf: at offset 5: got a reference to object 0, want one that is complete before it", 0},
		{"nested", nested, "amf: at offset 325: got values nested more than 64 deep, want at most that many", 0},
		{"many", many, "amf: at offset 65540: got more than 65536 values, want at most that many", 0},
		{"doubling references", doubling, "amf: at offset 164: got more than 65536 values, want at most that many", 15},
		{"long references", long, "amf: at offset 524302: got references that repeat more than 1048576 bytes, want at most that many", 2},
		{"deep references", deep, "amf: at offset 523: got values nested more than 64 deep, want at most that many", 65},
	} {
		got, err := Decode(unhex(t, c.bytes))
		var se *SyntaxError
		if !errors.As(err, &se) || err.Error() != c.want || len(got) != c.values {
			t.Errorf("%s:\n got %v after %d values\nwant %s after %d", c.name, err, len(got), c.want, c.values)
		}
	}
}

func TestAppendPanicsOnStrangers(t *testing.T) {
	defer func() {
		if s, _ := recover().(string); s != "amf: Append: got a chan int, want a type that AMF0 has" {
			t.Errorf("got %q", s)
		}
	}()
	Append(nil, make(chan int))
}

// connect is a command as encoders send it first.
func connect() []byte {
	return Append(nil, "connect", 1, Object{{"app", "live"}, {"type", "nonprivate"}, {"flashVer", "FMLE/3.0"}, {"tcUrl", "rtmp://localhost/live"},
		{"capabilities", 15.0}, {"fourCcList", StrictArray{"av01", "hvc1"}}})
}

func FuzzDecode(f *testing.F) {
	for _, c := range values[:len(values)-1] {
		f.Add(unhex(f, c.bytes))
	}
	f.Add(connect())
	f.Add(unhex(f, "03 0001 61 05 000009 07 0000"))
	f.Add(unhex(f, "08 00000005 0001 61 05"))
	for _, c := range values3 {
		f.Add(append([]byte{markAMF3}, unhex(f, c.bytes)...))
	}
	for _, c := range otherForms3 {
		f.Add(append([]byte{markAMF3}, unhex(f, c.bytes)...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		values, err := DecodeMessage(b)
		var se *SyntaxError
		if err != nil && (!errors.As(err, &se) || se.Offset < 0 || se.Offset > len(b)) {
			t.Fatalf("got error %v", err)
		}
		encoded := Append(nil, values...)
		again, err := Decode(encoded)
		if err != nil {
			t.Fatalf("what was decoded does not decode again: %v", err)
		}
		if !bytes.Equal(Append(nil, again...), encoded) {
			t.Fatal("encoding differs the second time")
		}
	})
}

func BenchmarkDecodeConnect(b *testing.B) {
	command := connect()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(command); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendStatus(b *testing.B) {
	info := Object{{"level", "status"}, {"code", "NetStream.Play.Start"}}
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = Append(dst[:0], "onStatus", 0.0, nil, info)
	}
}
