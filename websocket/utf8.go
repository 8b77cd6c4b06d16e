package websocket

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
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

const ascii = 0x8080808080808080 // the bits that ASCII has not

// validUTF8 is utf8.Valid, faster for text that is not ASCII: it looks at eight bytes at a time, which mostly are characters of one length (RFC 3629 section 4).
func validUTF8(b []byte) bool {
	for len(b) >= 8 {
		x := binary.LittleEndian.Uint64(b)
		var n int
		switch {
		case x&ascii == 0:
			for b = b[8:]; len(b) >= 32 && (binary.LittleEndian.Uint64(b)|binary.LittleEndian.Uint64(b[8:])|
				binary.LittleEndian.Uint64(b[16:])|binary.LittleEndian.Uint64(b[24:]))&ascii == 0; {
				b = b[32:]
			}
			continue
		case x&0x80 == 0:
			n = bits.TrailingZeros64(x&ascii) / 8
		case x&0xc0c0f0 == 0x8080e0:
			if run := run3(b); run > 0 {
				b = b[run:]
				continue
			}
			n = valid3(x)
		case x&0xc0e0 == 0x80c0:
			n = valid2(x)
		case x&0xc0c0c0f8 == 0x808080f0:
			n = valid4(x)
		}
		if n == 0 {
			return false
		}
		b = b[n:]
	}
	return utf8.Valid(b)
}

// valid2 returns how many bytes at the start of x are valid characters of two bytes; x starts with the form of one.
func valid2(x uint64) int {
	if x&0xc0e0c0e0c0e0c0e0 == 0x80c080c080c080c0 && // four of them, and none with a code below 0x80
		(x&0x001e001e001e001e+0x7fff7fff7fff7fff)&0x8000800080008000 == 0x8000800080008000 {
		return 8
	}
	if x&0x1e == 0 {
		return 0
	}
	return 2
}

// valid3 is valid2 for three bytes.
func valid3(x uint64) int {
	if !in3(x) {
		return 0
	}
	if x>>24&0xc0c0f0 == 0x8080e0 && in3(x>>24) {
		return 6
	}
	return 3
}

// run3 returns how many bytes at the start of b, a multiple of 24, are characters of three bytes whose lead byte alone tells that they are valid: not e0, which may be overlong, nor ed, which may
// be a surrogate. Chinese and Japanese are made of these.
func run3(b []byte) (n int) {
	for ; len(b) >= 24; b, n = b[24:], n+24 {
		x, y, z := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:])
		if x&0xc0f0c0c0f0c0c0f0 != 0x80e08080e08080e0 || y&0xf0c0c0f0c0c0f0c0 != 0xe08080e08080e080 || z&0xc0c0f0c0c0f0c0c0 != 0x8080e08080e08080 {
			break
		}
		x, y, z = x&0x000f00000f00000f, y&0x0f00000f00000f00, z&0x00000f00000f0000
		leads := x | y | z // no two share a byte
		const ones, d = 0x0f0f0f0f0f0f0f0f, 0x0d0d0d0d0d0d0d0d
		if (leads+ones)&(leads^d+ones)&0x1010101010101010 != 0x1010101010101010 {
			break
		}
	}
	return n
}

// in3 says that a character of three bytes is neither below 0x800 nor a surrogate.
func in3(x uint64) bool {
	y := x & 0x200f
	return y != 0 && y != 0x200d
}

// valid4 is valid2 for four bytes.
func valid4(x uint64) int {
	if !in4(x) {
		return 0
	}
	if x>>32&0xc0c0c0f8 == 0x808080f0 && in4(x>>32) {
		return 8
	}
	return 4
}

// in4 says that a character of four bytes is in planes 1 to 16.
func in4(x uint64) bool {
	return (x&7<<2|x>>12&3)-1 < 16
}
