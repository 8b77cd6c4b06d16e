package websocket

import (
	"unicode/utf8"

	vector "github.com/segmentio/asm/utf8"
)

// utf8Check tells whether bytes that come in parts are UTF-8, and says no at the first byte that cannot be part of it (RFC 6455 section 8.1).
type utf8Check struct {
	tail [utf8.UTFMax]byte // the start of a character whose end is still to come
	n    uint8
}

// add takes the next part; false means that the text is not UTF-8, whatever follows.
func (u *utf8Check) add(b []byte) bool {
	for u.n > 0 && len(b) > 0 {
		u.tail[u.n] = b[0]
		u.n++
		b = b[1:]
		t := u.tail[:u.n]
		if utf8.FullRune(t) {
			if r, size := utf8.DecodeRune(t); r == utf8.RuneError && size == 1 {
				return false
			}
			u.n = 0
		}
	}
	whole := len(b) - incomplete(b)
	if !validUTF8(b[:whole]) {
		return false
	}
	u.n += uint8(copy(u.tail[u.n:], b[whole:]))
	return true
}

// end says whether the text may end here, and forgets it.
func (u *utf8Check) end() bool {
	whole := u.n == 0
	u.n = 0
	return whole
}

// incomplete returns how many bytes at the end of b are the start of a character that may still become whole.
func incomplete(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if c := b[len(b)-n]; c >= 0xc0 {
			if utf8.FullRune(b[len(b)-n:]) {
				return 0
			}
			return n
		} else if c < utf8.RuneSelf {
			return 0
		}
	}
	return 0
}

// validUTF8 is utf8.Valid by vector instructions where the processor has them: as fast for ASCII, several times faster for everything else.
func validUTF8(b []byte) bool { return vector.Valid(b) }
