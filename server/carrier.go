package server

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"hawser/lifecycle"
	"hawser/websocket"
)

const (
	// httpFill is about how much one write or answer takes of what a session follows, in bytes.
	httpFill = 64 << 10
	// MaxEarlyPosts bounds the POSTs of one session that wait for an earlier one.
	MaxEarlyPosts = 16
)

// httpCarrier carries a session over plain HTTP: what the server sends goes out in the answers to GETs, what the client sends comes in POSTs.
type httpCarrier struct {
	frameQueue
	session *sessionConn
	events  bool          // it goes out in one stream of events; else in polls
	gone    func()        // called when the session has been given up
	over    chan struct{} // closed when the connection has ended
	once    sync.Once
	cut     atomic.Bool // CloseNow was called

	receiving sync.Mutex // held by who gives the session a message, or gives it up

	// Of the POSTs; guarded by posts.
	posts sync.Mutex
	next  uint64
	turn  chan struct{} // closed when next has changed
	early int

	// Of long polling; guarded by polling.
	polling sync.Mutex
	polled  uint64 // the number of the next poll
	answer  []byte // of the last one
	lost    *time.Timer
}

func newHTTPCarrier(c *sessionConn, events bool, gone func()) *httpCarrier {
	return &httpCarrier{frameQueue: newFrameQueue(), session: c, events: events, gone: gone, over: make(chan struct{}), turn: make(chan struct{})}
}

// Close implements carrier.
func (h *httpCarrier) Close(code int, reason string) error {
	if h.shut(code, reason) {
		time.AfterFunc(closePatience, func() { h.finish(lifecycle.ReasonLost) }) // nobody may ever ask for the rest
	}
	return nil
}

// CloseNow implements carrier.
func (h *httpCarrier) CloseNow() {
	h.cut.Store(true)
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
	frames, closed, code, reason := h.takeAll()
	for _, f := range frames {
		dst = appendEvents(dst, f)
	}
	if h.cut.Load() {
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
		h.posts.Lock()
		next, turn := h.next, h.turn
		waits := n > next
		if waits && h.early >= MaxEarlyPosts {
			h.posts.Unlock()
			return lifecycle.Reached("MaxEarlyPosts", MaxEarlyPosts).With("%d requests wait for number %d", MaxEarlyPosts, next)
		}
		if waits {
			h.early++
		}
		h.posts.Unlock()
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
		h.posts.Lock()
		h.early--
		h.posts.Unlock()
		if err != nil {
			return err
		}
	}
	h.receiving.Lock()
	defer h.receiving.Unlock()
	h.posts.Lock()
	again := n < h.next
	h.posts.Unlock()
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
	h.posts.Lock()
	h.next = n + 1
	close(h.turn)
	h.turn = make(chan struct{})
	h.posts.Unlock()
	return nil
}
