package subject

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// checkJSON reports why b is not exactly one JSON value (RFC 8259) in valid UTF-8 with arrays and objects at most depth deep;
// nil when it is one. It allocates nothing for a value that holds.
func checkJSON(b []byte, depth int) error {
	s := scanner{b: b, depth: depth}
	if err := s.text(); err != nil {
		return err
	}
	if err := s.value(); err != nil {
		return err
	}
	return s.end()
}

// ParseFields splits a JSON object into its fields in the order in which they stand; a value of null gives a field that is
// removed. The values alias b. It refuses what is not one JSON object and what nests deeper than [DefaultMaxDepth]; a name
// that stands twice gives two fields, of which the later counts.
func ParseFields(b []byte) ([]Field, error) {
	s := scanner{b: b, depth: DefaultMaxDepth}
	if err := s.text(); err != nil {
		return nil, err
	}
	var fields []Field
	if s.skip(); s.at() != '{' {
		return nil, s.want("an object")
	}
	err := s.members(func(name, value []byte) error {
		text, err := unquote(name)
		if err != nil {
			return err
		}
		if isNull(value) {
			value = nil
		}
		fields = append(fields, Field{Name: text, Value: value})
		return nil
	})
	if err == nil {
		err = s.end()
	}
	if err != nil {
		return nil, err
	}
	return fields, nil
}

// isNull tells whether a JSON value is null, which removes a field.
func isNull(v []byte) bool {
	return string(bytes.Trim(v, " \t\r\n")) == "null"
}

// scanner walks over JSON text without building anything.
type scanner struct {
	b     []byte
	i     int
	depth int // how much deeper it may go
}

var (
	errUTF8  = errors.New("got bytes that are not UTF-8")
	errDepth = errors.New("nested too deeply")
)

// text checks the encoding; syntax has no other place for bytes above 127 than strings.
func (s *scanner) text() error {
	if !utf8.Valid(s.b) {
		return errUTF8
	}
	return nil
}

// at is the byte at the scanner's place, 0 at the end (which no syntax accepts either).
func (s *scanner) at() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

func (s *scanner) skip() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\r', '\n':
			s.i++
		default:
			return
		}
	}
}

func (s *scanner) want(what string) error {
	if s.i >= len(s.b) {
		return fmt.Errorf("got the end, want %s at offset %d", what, s.i)
	}
	return fmt.Errorf("got %q, want %s at offset %d", s.b[s.i], what, s.i)
}

func (s *scanner) end() error {
	if s.skip(); s.i < len(s.b) {
		return s.want("the end")
	}
	return nil
}

func (s *scanner) value() error {
	s.skip()
	switch c := s.at(); {
	case c == '"':
		return s.str()
	case c == '{':
		return s.members(nil)
	case c == '[':
		return s.elements()
	case c == 't':
		return s.word("true")
	case c == 'f':
		return s.word("false")
	case c == 'n':
		return s.word("null")
	case c == '-' || isDigit(c):
		return s.number()
	}
	return s.want("a value")
}

func (s *scanner) word(w string) error {
	for k := range len(w) {
		if s.at() != w[k] {
			return s.want(w)
		}
		s.i++
	}
	return nil
}

func (s *scanner) enter() error {
	if s.depth == 0 {
		return fmt.Errorf("%w at offset %d", errDepth, s.i)
	}
	s.depth--
	s.i++
	s.skip()
	return nil
}

func (s *scanner) elements() error {
	if err := s.enter(); err != nil {
		return err
	}
	defer func() { s.depth++ }()
	if s.at() == ']' {
		s.i++
		return nil
	}
	for {
		if err := s.value(); err != nil {
			return err
		}
		if more, err := s.next(']'); !more {
			return err
		}
	}
}

// members walks over an object; each, when it is not nil, is given every name with its quotes and every value.
func (s *scanner) members(each func(name, value []byte) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer func() { s.depth++ }()
	if s.at() == '}' {
		s.i++
		return nil
	}
	for {
		if err := s.member(each); err != nil {
			return err
		}
		if more, err := s.next('}'); !more {
			return err
		}
	}
}

func (s *scanner) member(each func(name, value []byte) error) error {
	s.skip()
	if s.at() != '"' {
		return s.want("a name")
	}
	from := s.i
	if err := s.str(); err != nil {
		return err
	}
	name := s.b[from:s.i]
	if s.skip(); s.at() != ':' {
		return s.want("a colon")
	}
	s.i++
	s.skip()
	from = s.i
	if err := s.value(); err != nil || each == nil {
		return err
	}
	return each(name, s.b[from:s.i:s.i])
}

// next goes past the comma or the closing bracket after an element.
func (s *scanner) next(closing byte) (more bool, err error) {
	s.skip()
	switch s.at() {
	case ',':
		s.i++
		return true, nil
	case closing:
		s.i++
		return false, nil
	}
	return false, s.want("a comma or " + string(closing))
}

func (s *scanner) str() error {
	for s.i++; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return nil
		case c == '\\':
			if err := s.escape(); err != nil {
				return err
			}
		case c < ' ':
			return s.want("a character of a string")
		}
	}
	return s.want("the end of a string")
}

// escape leaves the scanner on the last byte of the escape.
func (s *scanner) escape() error {
	s.i++
	switch s.at() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return nil
	case 'u':
		for range 4 {
			s.i++
			if !isHex(s.at()) {
				return s.want("a hexadecimal digit")
			}
		}
		return nil
	}
	return s.want("an escape")
}

func (s *scanner) number() error {
	if s.at() == '-' {
		s.i++
	}
	if s.at() == '0' {
		s.i++
	} else if err := s.digits(); err != nil {
		return err
	}
	if s.at() == '.' {
		s.i++
		if err := s.digits(); err != nil {
			return err
		}
	}
	if s.at() == 'e' || s.at() == 'E' {
		s.i++
		if s.at() == '+' || s.at() == '-' {
			s.i++
		}
		return s.digits()
	}
	return nil
}

func (s *scanner) digits() error {
	if !isDigit(s.at()) {
		return s.want("a digit")
	}
	for isDigit(s.at()) {
		s.i++
	}
	return nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isHex(c byte) bool {
	return isDigit(c) || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// unquote gives the text of a JSON string that the scanner has accepted.
func unquote(quoted []byte) (string, error) {
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner), nil
	}
	var text string
	err := json.Unmarshal(quoted, &text)
	return text, err
}
