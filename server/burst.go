package server

import (
	"time"

	"hawser/websocket"
)

const (
	// burstBytes is the largest piece of memory that frames which follow each other closely share.
	burstBytes = 16 << 10
	// burstTime is how soon a piece must be full for the next one to be larger.
	burstTime = 20 * time.Millisecond
	// frameHead is the longest head of a frame that a server sends (RFC 6455 section 5.2).
	frameHead = 10
)

// burst makes frames. Those of a burst lie one behind the other, so that many of them are one buffer of a write; a frame that stands alone takes no more memory than it needs.
type burst struct {
	piece []byte
	size  int       // of the next piece, unless a frame needs more
	at    time.Time // when piece was made
}

// frame makes a frame of a text message.
func (b *burst) frame(text []byte, now time.Time) []byte {
	need := len(text) + frameHead
	if cap(b.piece)-len(b.piece) < need {
		if now.Sub(b.at) < burstTime {
			b.size = min(max(2*b.size, 4*need), burstBytes)
		} else {
			b.size = 0
		}
		b.piece, b.at = make([]byte, 0, max(need, b.size)), now
	}
	from := len(b.piece)
	b.piece = websocket.AppendFrame(b.piece, true, websocket.OpText, text)
	return b.piece[from:]
}

// join appends a frame to what is to be written; one that lies behind the last is written with it.
func join(dst [][]byte, frame []byte) [][]byte {
	if i := len(dst) - 1; i >= 0 {
		if last := dst[i]; len(last) < cap(last) && &last[:len(last)+1][len(last)] == &frame[0] {
			dst[i] = last[:len(last)+len(frame)]
			return dst
		}
	}
	return append(dst, frame)
}
