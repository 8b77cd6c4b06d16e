package subject

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

var jsonTexts = []struct {
	text string
	ok   bool
}{
	{`null`, true}, {`true`, true}, {` false `, true}, {`0`, true}, {`-0.5e+10`, true}, {`1E5`, true},
	{`""`, true}, {`"a\"\\\/\b\f\n\r\t\u00e9\ud800"`, true}, {`"Größe 価格"`, true},
	{`[]`, true}, {`[1, "a", [ ], {}]`, true}, {`{}`, true}, {"{ \"a\" : 1 ,\r\n\t\"a\":null}", true},
	{``, false}, {` `, false}, {`nul`, false}, {`nulll`, false}, {`tru e`, false}, {`1 2`, false}, {`01`, false}, {`-`, false}, {`+1`, false},
	{`.5`, false}, {`1.`, false}, {`1e`, false}, {`1e+`, false}, {`"a`, false}, {`"\x"`, false}, {`"\u12g4"`, false}, {`"\u12`, false}, {"\"a\nb\"", false},
	{"\"a\x00b\"", false}, {"\"\xff\"", false}, {"\xef\xbb\xbf1", false}, {`[`, false}, {`[1`, false}, {`[1,`, false}, {`[1,]`, false}, {`[,1]`, false},
	{`{`, false}, {`{"a"`, false}, {`{"a":`, false}, {`{"a":1`, false}, {`{"a":1,}`, false}, {`{a:1}`, false}, {`{"a" 1}`, false}, {`{1:1}`, false}, {`]`, false},
	{"\"a\x00", false}, {"1\x00", false},
}

func TestJSON(t *testing.T) {
	for _, c := range jsonTexts {
		if err := checkJSON([]byte(c.text), DefaultMaxDepth); (err == nil) != c.ok {
			t.Errorf("%q: ok %v, want %v (%v)", c.text, err == nil, c.ok, err)
		}
	}
}

func TestJSONDepth(t *testing.T) {
	for _, c := range []struct {
		text  string
		depth int
		ok    bool
	}{
		{`1`, 0, true}, {`[]`, 0, false}, {`[]`, 1, true}, {`[{}]`, 1, false}, {`[{},[],{"a":{}}]`, 3, true}, {`[{},[],{"a":{}}]`, 2, false},
		{strings.Repeat("[", 1<<20), 64, false},
	} {
		if err := checkJSON([]byte(c.text), c.depth); (err == nil) != c.ok {
			t.Errorf("%.40q at depth %d: %v, want ok %v", c.text, c.depth, err, c.ok)
		}
	}
}

func TestJSONErrorSaysWhere(t *testing.T) {
	for text, want := range map[string]string{
		`{"a":x}`: `got 'x', want a value at offset 5`,
		`[1 2]`:   `got '2', want a comma or ] at offset 3`,
		`{"a":`:   `got the end, want a value at offset 5`,
	} {
		if err := checkJSON([]byte(text), 8); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

func TestParseFields(t *testing.T) {
	fields, err := ParseFields([]byte(` {"bid": 1.5, "a\u0062\n":"x" ,"gone":null, "n":{"m":[1,2]}, "bid":2}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []Field{{"bid", []byte("1.5")}, {"ab\n", []byte(`"x"`)}, {"gone", nil}, {"n", []byte(`{"m":[1,2]}`)}, {"bid", []byte("2")}}
	if len(fields) != len(want) {
		t.Fatalf("got %d fields, want %d", len(fields), len(want))
	}
	for i, f := range fields {
		if f.Name != want[i].Name || string(f.Value) != string(want[i].Value) || (f.Value == nil) != (want[i].Value == nil) {
			t.Errorf("field %d: got %q %q, want %q %q", i, f.Name, f.Value, want[i].Name, want[i].Value)
		}
	}
	for _, bad := range []string{``, `[]`, `1`, `{"a":1} 2`, `{"a":}`, "{\"\xff\":1}"} {
		if _, err := ParseFields([]byte(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// The scanner must agree with encoding/json on what is JSON, other than that it also asks for UTF-8 and bounds the depth.
func FuzzJSON(f *testing.F) {
	for _, c := range jsonTexts {
		f.Add([]byte(c.text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		deep := strings.Count(string(b), "[")+strings.Count(string(b), "{") > DefaultMaxDepth
		err := checkJSON(b, DefaultMaxDepth)
		want := json.Valid(b) && utf8.Valid(b)
		if err == nil && !want || err != nil && want && !deep {
			t.Fatalf("%q: %v, encoding/json says %v", b, err, want)
		}
		fields, err := ParseFields(b)
		var object map[string]json.RawMessage
		isObject := want && json.Unmarshal(b, &object) == nil && object != nil
		if err == nil != isObject && !deep {
			t.Fatalf("%q: %v, encoding/json says %v", b, err, isObject)
		}
		if err != nil {
			return
		}
		last := map[string][]byte{}
		for _, field := range fields {
			last[field.Name] = field.Value
		}
		if len(last) != len(object) {
			t.Fatalf("%q: %d names, encoding/json finds %d", b, len(last), len(object))
		}
		for name, value := range last {
			if value == nil {
				value = []byte("null")
			}
			if string(object[name]) != string(value) {
				t.Fatalf("%q: field %q is %q, encoding/json says %q", b, name, value, object[name])
			}
		}
	})
}
