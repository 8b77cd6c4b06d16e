package session

import (
	"fmt"
	"unicode/utf8"

	"hawser/lifecycle"
)

// scanner reads JSON (RFC 8259) from bytes, strictly, and holds nothing else. Its methods return a *Error with lifecycle.ReasonProtocol.
type scanner struct {
	b []byte
	i int
}

// fault says what stands at the scanner's place and what should.
func (s *scanner) fault(want string) error {
	got := "end"
	if s.i < len(s.b) {
		got = fmt.Sprintf("%q", s.b[s.i])
	}
	return &Error{Reason: lifecycle.ReasonProtocol.With("offset %d: got %s, want %s", s.i, got, want), Fatal: true}
}

// peek passes white space and returns the byte that follows, 0 at the end.
func (s *scanner) peek() byte {
	for s.i < len(s.b) {
		switch c := s.b[s.i]; c {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return c
		}
	}
	return 0
}

// expect takes the byte c after white space.
func (s *scanner) expect(c byte, want string) error {
	if s.peek() != c || s.i >= len(s.b) {
		return s.fault(want)
	}
	s.i++
	return nil
}

// end checks that nothing but white space is left.
func (s *scanner) end() error {
	if s.peek(); s.i < len(s.b) {
		return s.fault("end")
	}
	return nil
}

// more is called after an element of an object or array that close ends: true when another follows.
func (s *scanner) more(close byte) (bool, error) {
	switch c := s.peek(); {
	case s.i >= len(s.b):
	case c == ',':
		s.i++
		return true, nil
	case c == close:
		s.i++
		return false, nil
	}
	return false, s.fault(", or " + string(close))
}

// open takes the first byte of an object or array and says whether anything stands in it.
func (s *scanner) open(close byte) (bool, error) {
	s.i++
	if s.peek() == close && s.i < len(s.b) {
		s.i++
		return false, nil
	}
	return true, nil
}

// text takes a string and returns what stands between the quotes, and whether there are escapes in it.
func (s *scanner) text() (raw []byte, escaped bool, err error) {
	if err := s.expect('"', "string"); err != nil {
		return nil, false, err
	}
	start := s.i
	for s.i < len(s.b) {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return s.b[start : s.i-1], escaped, nil
		case c == '\\':
			escaped = true
			if err := s.escape(); err != nil {
				return nil, false, err
			}
		case c < 0x20:
			return nil, false, s.fault("no control character in a string")
		default:
			s.i++
		}
	}
	return nil, false, s.fault(`"`)
}

// escape takes one escape sequence.
func (s *scanner) escape() error {
	s.i++
	if s.i >= len(s.b) {
		return s.fault("escape")
	}
	switch s.b[s.i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.i++
		return nil
	case 'u':
		for range 4 {
			s.i++
			if s.i >= len(s.b) || unhex(s.b[s.i]) > 15 {
				return s.fault("hexadecimal digit")
			}
		}
		s.i++
		return nil
	}
	return s.fault("escape")
}

// number takes a number.
func (s *scanner) number() ([]byte, error) {
	start := s.i
	if s.at('-') {
		s.i++
	}
	if s.at('0') {
		s.i++
	} else if err := s.digits(); err != nil {
		return nil, err
	}
	if s.at('.') {
		s.i++
		if err := s.digits(); err != nil {
			return nil, err
		}
	}
	if s.at('e') || s.at('E') {
		s.i++
		if s.at('+') || s.at('-') {
			s.i++
		}
		if err := s.digits(); err != nil {
			return nil, err
		}
	}
	return s.b[start:s.i], nil
}

func (s *scanner) at(c byte) bool { return s.i < len(s.b) && s.b[s.i] == c }

func (s *scanner) digits() error {
	start := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	if s.i == start {
		return s.fault("digit")
	}
	return nil
}

// value takes any value, at most depth levels deep, and returns its bytes.
func (s *scanner) value(depth int) (raw []byte, err error) {
	c := s.peek()
	start := s.i
	switch {
	case c == '"':
		_, _, err = s.text()
	case c == '{' || c == '[':
		err = s.nested(c, depth)
	case c == '-' || c >= '0' && c <= '9':
		_, err = s.number()
	case c == 't':
		err = s.literal("true")
	case c == 'f':
		err = s.literal("false")
	case c == 'n':
		err = s.literal("null")
	default:
		err = s.fault("value")
	}
	return s.b[start:s.i], err
}

func (s *scanner) literal(word string) error {
	if len(s.b)-s.i < len(word) || string(s.b[s.i:s.i+len(word)]) != word {
		return s.fault(word)
	}
	s.i += len(word)
	return nil
}

// nested takes an object or an array.
func (s *scanner) nested(kind byte, depth int) error {
	if depth <= 0 {
		return s.fault(fmt.Sprintf("at most %d levels", MaxDepth))
	}
	closing := kind + 2 // ']' after '[', '}' after '{'
	more, err := s.open(closing)
	for more && err == nil {
		if kind == '{' {
			if _, _, err = s.key(); err != nil {
				return err
			}
		}
		if _, err = s.value(depth - 1); err == nil {
			more, err = s.more(closing)
		}
	}
	return err
}

// key takes an object's next key and the colon after it.
func (s *scanner) key() (raw []byte, escaped bool, err error) {
	raw, escaped, err = s.text()
	if err == nil {
		err = s.expect(':', ":")
	}
	return raw, escaped, err
}

// unescape returns the text of what stands between a string's quotes (valid escapes only). Half a surrogate pair becomes U+FFFD.
func unescape(raw []byte) []byte {
	dst := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			dst = append(dst, raw[i])
			continue
		}
		i++
		switch c := raw[i]; c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, n := unescapeRune(raw[i+1:])
			dst = utf8.AppendRune(dst, r)
			i += n
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// unescapeRune decodes the digits after \u, and the second half of a pair where there is one; n is how many bytes it took.
func unescapeRune(b []byte) (r rune, n int) {
	r = hexRune(b)
	if r < 0xD800 || r > 0xDFFF {
		return r, 4
	}
	if r < 0xDC00 && len(b) >= 10 && b[4] == '\\' && b[5] == 'u' {
		if low := hexRune(b[6:]); low >= 0xDC00 && low <= 0xDFFF {
			return (r-0xD800)<<10 + (low - 0xDC00) + 0x10000, 10
		}
	}
	return utf8.RuneError, 4
}

func hexRune(b []byte) (r rune) {
	for _, c := range b[:4] {
		r = r<<4 | rune(unhex(c))
	}
	return r
}

// unhex returns a hexadecimal digit's value, or 255.
func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}
