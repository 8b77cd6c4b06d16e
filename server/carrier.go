package server

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"hawser/lifecycle"
	"hawser/netio"
	"hawser/websocket"
)

const (
	// httpQueueLimit bounds what is queued for one session over plain HTTP, in bytes; httpFill is about how much one write or answer takes of what it follows.
	httpQueueLimit = netio.DefaultQueueLimit
	httpFill       = 64 << 10
	// MaxEarlyPosts bounds the POSTs of one session that wait for an earlier one.
	MaxEarlyPosts = 16
)

// httpCarrier carries a session over plain HTTP: what the server sends goes out in the answers to GETs, what the client sends comes in POSTs.
type httpCarrier struct {
	session *sessionConn
	events  bool          // it goes out in one stream of events; else in polls
	gone    func()        // called when the session has been given up
	wake    chan struct{} // holds a token when there may be something to send
	over    chan struct{} // closed when the connection has ended
	once    sync.Once

	receiving sync.Mutex // held by who gives the session a message, or gives it up

	mu     sync.Mutex
	queue  [][]byte
	queued int
	code   int // of the close, once reason is set
	reason string
	closed bool // Close was called; what is queued still goes out
	cut    bool // CloseNow was called
	next   uint64
	turn   chan struct{} // closed when next has changed
	early  int

	// Of long polling; guarded by polling.
	polling sync.Mutex
	polled  uint64 // the number of the next poll
	answer  []byte // of the last one
	lost    *time.Timer
}

func newHTTPCarrier(c *sessionConn, events bool, gone func()) *httpCarrier {
	return &httpCarrier{session: c, events: events, gone: gone, wake: make(chan struct{}, 1), over: make(chan struct{}), turn: make(chan struct{})}
}

// Queue implements carrier.
func (h *httpCarrier) Queue(frames ...[]byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	size := 0
	for _, f := range frames {
		size += len(f)
	}
	switch {
	case h.closed || h.cut:
		return nil
	case h.queued > 0 && h.queued+size > httpQueueLimit:
		return netio.ErrSlow
	}
	h.queue = append(h.queue, frames...)
	h.queued += size
	h.Wake()
	return nil
}

// Wake implements carrier.
func (h *httpCarrier) Wake() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// Close implements carrier.
func (h *httpCarrier) Close(code int, reason string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.closed, h.code, h.reason = true, code, reason
		h.Wake()
		time.AfterFunc(closePatience, func() { h.finish(lifecycle.ReasonLost) }) // nobody may ever ask for the rest
	}
	return nil
}

// CloseNow implements carrier.
func (h *httpCarrier) CloseNow() {
	h.mu.Lock()
	h.cut = true
	h.mu.Unlock()
	go h.finish(lifecycle.ReasonLost)
}

// finish is the end of the connection. Only the first call counts.
func (h *httpCarrier) finish(why lifecycle.Reason) {
	h.once.Do(func() {
		close(h.over)
		h.receiving.Lock()
		defer h.receiving.Unlock()
		h.session.finish(why)
		h.gone()
	})
}

// take returns what is to be sent as server-sent events, and whether that is the end.
func (h *httpCarrier) take(dst []byte) (out []byte, end bool) {
	h.mu.Lock()
	frames := h.queue
	h.queue, h.queued = nil, 0
	closed, cut, code, reason := h.closed, h.cut, h.code, h.reason
	h.mu.Unlock()
	for _, f := range frames {
		dst = appendEvents(dst, f)
	}
	if cut {
		return dst, true
	}
	if closed {
		return fmt.Appendf(dst, "event: close\ndata: %d %s\n\n", code, reason), true
	}
	frames = h.session.Fill(nil, httpFill)
	for _, f := range frames {
		dst = appendEvents(dst, f)
	}
	if len(frames) > 0 {
		h.Wake() // there may be more
	}
	return dst, false
}

// appendEvents appends whole WebSocket frames, as a server writes them, as server-sent events (HTML section 9.2.6): text as it is, binary in base64.
func appendEvents(dst, frames []byte) []byte {
	for len(frames) > 0 {
		op, payload, n := splitFrame(frames)
		frames = frames[n:]
		if op == websocket.OpBinary {
			dst = append(dst, "event: binary\ndata: "...)
			dst = append(base64.StdEncoding.AppendEncode(dst, payload), "\n\n"...)
			continue
		}
		for line := range bytes.FieldsFuncSeq(payload, func(r rune) bool { return r == '\n' || r == '\r' }) {
			dst = append(append(append(dst, "data: "...), line...), '\n')
		}
		dst = append(dst, '\n')
	}
	return dst
}

// splitFrame takes the first of some frames apart, which are whole and unmasked.
func splitFrame(b []byte) (op byte, payload []byte, size int) {
	head, n := 2, int(b[1])
	switch n {
	case 126:
		head, n = 4, int(binary.BigEndian.Uint16(b[2:]))
	case 127:
		head, n = 10, int(binary.BigEndian.Uint64(b[2:]))
	}
	return b[0] & 15, b[head : head+n], head + n
}

// receive gives the session the messages of the POST with a number, in the order of the numbers. What was taken before is not taken again.
func (h *httpCarrier) receive(n uint64, body []byte, patience <-chan time.Time) error {
	for {
		h.mu.Lock()
		next, turn := h.next, h.turn
		waits := n > next
		if waits && h.early >= MaxEarlyPosts {
			h.mu.Unlock()
			return lifecycle.Reached("MaxEarlyPosts", MaxEarlyPosts).With("%d requests wait for number %d", MaxEarlyPosts, next)
		}
		if waits {
			h.early++
		}
		h.mu.Unlock()
		if !waits {
			break
		}
		var err error
		select {
		case <-turn:
		case <-h.over:
			err = lifecycle.ReasonNotFound.With("the connection has ended")
		case <-patience:
			err = lifecycle.ReasonTimeout.With("number %d came, number %d did not", n, next)
		}
		h.mu.Lock()
		h.early--
		h.mu.Unlock()
		if err != nil {
			return err
		}
	}
	h.receiving.Lock()
	defer h.receiving.Unlock()
	h.mu.Lock()
	again := n < h.next
	h.mu.Unlock()
	select {
	case <-h.over:
		return lifecycle.ReasonNotFound.With("the connection has ended")
	default:
	}
	if again {
		return nil
	}
	h.session.heard()
	for line := range bytes.Lines(body) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			h.session.receive(line)
		}
	}
	h.mu.Lock()
	h.next = n + 1
	close(h.turn)
	h.turn = make(chan struct{})
	h.mu.Unlock()
	return nil
}
