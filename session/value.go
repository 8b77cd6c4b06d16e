package session

import (
	"math"
	"strconv"
	"time"

	"hawser/lifecycle"
)

// value is one JSON value, known to be well formed. Its methods store it and return what they wanted instead, or "".
type value struct {
	raw   []byte
	first byte // tells the type
}

// name returns the value's type for an error message.
func (v value) name() string {
	switch v.first {
	case '"':
		return "string"
	case '{':
		return "object"
	case '[':
		return "array"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}
	return "number"
}

// bytes returns a string's text; it aliases the message where nothing is escaped.
func (v value) bytes() (text []byte, want string) {
	if v.first != '"' {
		return nil, "string"
	}
	raw := v.raw[1 : len(v.raw)-1]
	for _, c := range raw {
		if c == '\\' {
			return unescape(raw), ""
		}
	}
	return raw, ""
}

func (v value) text(dst *string) string {
	b, want := v.bytes()
	*dst = string(b)
	return want
}

func (v value) boolean(dst *bool) string {
	*dst = v.first == 't'
	if v.first != 't' && v.first != 'f' {
		return "boolean"
	}
	return ""
}

func (v value) object() (raw []byte, want string) {
	if v.first != '{' {
		return nil, "object"
	}
	return v.raw, ""
}

// number stores a whole number from 0 to MaxNumber.
func (v value) number(dst *uint64) string {
	n, ok := wholeNumber(v.raw)
	if !ok {
		return "whole number below 2^53"
	}
	*dst = n
	return ""
}

func wholeNumber(b []byte) (n uint64, ok bool) {
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		if n = n*10 + uint64(c-'0'); n > MaxNumber {
			return 0, false
		}
	}
	return n, len(b) > 0
}

// small stores a whole number that fits 31 bits.
func (v value) small(dst *int) string {
	n, ok := wholeNumber(v.raw)
	if !ok || n > math.MaxInt32 {
		return "whole number"
	}
	*dst = int(n)
	return ""
}

// integer stores a number without its decimals.
func (v value) integer(dst *int64) string {
	if n, ok := wholeNumber(v.raw); ok {
		*dst = int64(n)
		return ""
	}
	f, err := strconv.ParseFloat(string(v.raw), 64)
	if v.name() != "number" || err != nil || math.Abs(f) > MaxNumber {
		return "number"
	}
	*dst = int64(f)
	return ""
}

// millis stores a number of milliseconds, rounded to nanoseconds.
func (v value) millis(dst *time.Duration) string {
	const most = math.MaxInt64 / 1_000_000
	if v.name() != "number" {
		return "number"
	}
	if n, ok := wholeNumber(v.raw); ok && n <= most {
		*dst = time.Duration(n) * time.Millisecond
		return ""
	}
	if d, ok := decimalMillis(v.raw); ok {
		*dst = d
		return ""
	}
	f, err := strconv.ParseFloat(string(v.raw), 64)
	if err != nil || math.Abs(f) >= most {
		return "milliseconds"
	}
	*dst = time.Duration(math.Round(f * 1e6))
	return ""
}

// decimalMillis reads digits, a point and at most six digits, exactly.
func decimalMillis(b []byte) (time.Duration, bool) {
	var n, scale int64 = 0, 0
	for _, c := range b {
		switch {
		case c == '.' && scale == 0:
			scale = 1e6
			continue
		case c < '0' || c > '9' || scale == 1 || n > math.MaxInt64/100_000_000:
			return 0, false
		}
		n = n*10 + int64(c-'0')
		scale /= 10
	}
	if scale == 0 {
		return 0, false
	}
	return time.Duration(n * scale), true
}

// epoch stores sixteen hexadecimal digits, lower case.
func (v value) epoch(dst *uint64) string {
	const want = "string of 16 lower-case hexadecimal digits"
	if v.first != '"' || len(v.raw) != 18 {
		return want
	}
	var n uint64
	for _, c := range v.raw[1:17] {
		if c >= 'A' && c <= 'F' || unhex(c) > 15 {
			return want
		}
		n = n<<4 | uint64(unhex(c))
	}
	*dst = n
	return ""
}

// enum stores one of the words of an enum.
func enum[E ~uint8](words []string, v value, dst *E) string {
	b, want := v.bytes()
	if want != "" {
		return want
	}
	e, ok := find[E](words, b)
	if !ok && string(b) != words[0] {
		return "a word that version 1 has"
	}
	*dst = e
	return ""
}

// members goes through an object that is known to be well formed; null values are passed over.
type members struct {
	s    scanner
	more bool
}

func (v value) members() members {
	m := members{s: scanner{b: v.raw}}
	m.more, _ = m.s.open('}')
	return m
}

// next returns the next member; false after the last.
func (m *members) next() (key []byte, v value, ok bool) {
	for m.more {
		key, escaped, _ := m.s.key()
		if escaped {
			key = unescape(key)
		}
		v.first = m.s.peek()
		v.raw, _ = m.s.value(MaxDepth)
		m.more, _ = m.s.more('}')
		if v.first != 'n' {
			return key, v, true
		}
	}
	return nil, v, false
}

// reason stores a close reason.
func (v value) reason(dst *lifecycle.Reason) string {
	if v.first != '{' {
		return "object"
	}
	members := v.members()
	for key, v, ok := members.next(); ok; key, v, ok = members.next() {
		want := ""
		switch string(key) {
		case "code":
			want = v.small(&dst.Code)
		case "word":
			want = v.text(&dst.Word)
		case "text":
			want = v.text(&dst.Text)
		case "retry":
			want = v.boolean(&dst.Retry)
		}
		if want != "" {
			return "as " + string(key) + " a " + want
		}
	}
	if dst.IsZero() {
		return "code and word"
	}
	return ""
}

// tracks stores the tracks of a stream.
func (v value) tracks(dst *[]Track) string {
	if v.first != '[' {
		return "array"
	}
	s := scanner{b: v.raw}
	more, _ := s.open(']')
	for more {
		v := value{first: s.peek()}
		v.raw, _ = s.value(MaxDepth)
		*dst = append(*dst, Track{})
		if want := v.track(&(*dst)[len(*dst)-1]); want != "" {
			return want
		}
		more, _ = s.more(']')
	}
	return ""
}

// track stores one track of a stream.
func (v value) track(t *Track) string {
	if v.first != '{' {
		return "objects"
	}
	members := v.members()
	for key, v, ok := members.next(); ok; key, v, ok = members.next() {
		want := ""
		switch string(key) {
		case "id":
			want = v.small(&t.ID)
		case "kind":
			want = v.text(&t.Kind)
		case "codec":
			want = v.text(&t.Codec)
		case "width":
			want = v.small(&t.Width)
		case "height":
			want = v.small(&t.Height)
		case "sampleRate":
			want = v.small(&t.SampleRate)
		case "channels":
			want = v.small(&t.Channels)
		}
		if want != "" {
			return "as " + string(key) + " a " + want
		}
	}
	return ""
}
