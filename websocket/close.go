package websocket

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"hawser/lifecycle"
	"hawser/netio"
)

// maxReason is the longest text of a close frame, in bytes.
const maxReason = maxControl - 2

// letGo is how long a side that ends the connection waits for the peer to see it, before it closes the socket.
const letGo = time.Second

// Close sends a close frame behind all that was sent before and completes the close handshake (RFC 6455 section 7.1.2): it waits for the peer's close frame, at most the close timeout, drops messages that
// still come, and closes the network connection. code 0 sends none. A reason of more than 123 bytes is cut. Nothing can be sent once Close is called.
//
// While Read, Events or Handle is running, in this goroutine (within the loop) or another, Close does not wait: the one who reads gets the messages that still come and completes the
// handshake.
//
// Close returns nil if the handshake is complete or left to the one who reads; else the *CloseError of the connection.
func (c *Conn) Close(code int, reason string) error {
	if code != 0 && !validCode(code) {
		return fmt.Errorf("websocket: close: code %d may not be sent (RFC 6455 section 7.4)", code)
	}
	c.startClose(&CloseError{Code: code, Reason: cutReason(reason), Side: Local})
	if !c.reading.CompareAndSwap(false, true) {
		return nil
	}
	defer c.reading.Store(false)
	c.drain()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.graceful || c.err == nil {
		return nil
	}
	return c.err
}

// CloseNow closes the network connection without a close handshake.
func (c *Conn) CloseNow() {
	c.finish(&CloseError{Code: CloseAbnormal, Side: Local}, false)
}

// cutReason makes a text fit for a close frame.
func cutReason(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= maxReason {
		return s
	}
	n := maxReason
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// drain reads until the close handshake is complete. The caller is the reader.
func (c *Conn) drain() {
	ctx := context.Background()
	c.ignore()
	c.yield, c.wantMsg = nil, false
	c.stopped = false
	for c.Err() == nil {
		if err := c.round(ctx); err != nil && err != errPoll {
			c.conclude(err)
		}
	}
	c.left = nil
}

// startClose begins to close, or answers the peer's close: nothing more may be sent, and the close frame goes out behind what is being sent. Only the first call counts.
func (c *Conn) startClose(e *CloseError) {
	var payload []byte
	if e.Code == 0 || e.Code == CloseNoStatus {
		e.Code = CloseNoStatus
	} else {
		payload = append(binary.BigEndian.AppendUint16(nil, uint16(e.Code)), e.Reason...)
	}
	c.mu.Lock()
	if c.sent != nil || c.err != nil {
		c.mu.Unlock()
		return
	}
	c.sent, c.partLocked().queued = e, make(chan struct{})
	c.state = StateClosing
	c.startDeadlineLocked()
	c.mu.Unlock()
	c.life.Set(StateClosing.String(), lifecycle.Amber, e.reason())
	frame := appendOwn(nil, c.server, true, OpClose, payload)
	c.closeFrame.Store(&frame)
	if c.sends.Add(noSend) == noSend {
		c.queueClose()
	}
}

// startDeadlineLocked bounds what is left of the connection's life.
func (c *Conn) startDeadlineLocked() {
	if c.deadline == nil {
		c.partLocked().deadline = time.AfterFunc(c.set.closeTimeout, c.closeTimedOut)
	}
}

// queueClose sends the close frame, once, when nobody else is sending any more.
func (c *Conn) queueClose() {
	f := c.closeFrame.Swap(nil)
	if f == nil {
		return
	}
	if err := c.gather.queue(*f); errors.Is(err, netio.ErrSlow) {
		c.lost(lifecycle.ReasonSlow.Because(err))
	}
	close(c.queued)
}

// peerCloses handles the peer's close frame.
func (c *Conn) peerCloses(b []byte) error {
	code, reason, err := parseClose(b)
	if err != nil {
		return err
	}
	e := &CloseError{Code: code, Reason: reason, Side: Remote}
	c.mu.Lock()
	theirs := c.sent == nil
	c.state = max(c.state, StateClosing)
	c.partLocked().peer = e
	c.mu.Unlock()
	if theirs {
		c.life.Set(StateClosing.String(), lifecycle.Amber, e.reason())
		c.event(&Event{Kind: Closing, Code: code, Reason: reason})
		c.startClose(&CloseError{Code: code, Side: Remote})
	}
	return errPeerClosed
}

// CloseReceived returns what the peer's close frame said; CloseNoStatus if it held no code, and CloseAbnormal as long as there was none.
func (c *Conn) CloseReceived() (code int, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.peer == nil {
		return CloseAbnormal, ""
	}
	return c.peer.Code, c.peer.Reason
}

// conclude brings the connection to its end once reading has ended, and says so.
func (c *Conn) conclude(err error) {
	var v *Violation
	switch {
	case errors.As(err, &v):
		c.violated(v)
	case err == errPeerClosed:
		c.shake()
	default:
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		c.lost(err)
	}
	c.p.drop()
	c.mu.Lock()
	unresponsive := c.unresponsive
	c.mu.Unlock()
	if unresponsive != nil {
		c.event(&Event{Kind: Unresponsive})
	}
	ev := c.disconnected()
	c.event(&ev)
}

// disconnected is the last event.
func (c *Conn) disconnected() Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Event{Kind: Disconnected, Conn: c, Err: c.err, Code: c.err.Code, Reason: c.err.Reason, Graceful: c.graceful}
}

// violated answers a broken rule with a close frame, unless one is sent already, and cuts the connection behind it (RFC 6455 section 7.1.7).
func (c *Conn) violated(v *Violation) {
	critical := c.closing()
	c.event(&Event{Kind: ProtocolError, Err: v, Code: v.Code, Reason: v.Error(), Critical: critical})
	e := &CloseError{Code: v.Code, Side: Remote, Err: v}
	c.mu.Lock()
	c.partLocked().final = e
	c.mu.Unlock()
	if !critical {
		c.startClose(&CloseError{Code: v.Code, Reason: cutReason(v.Error()), Side: Remote, Err: v})
		c.shutDown()
	}
	c.finish(e, false)
}

// shake completes the close handshake. The server ends the network connection at once, the client lets it (RFC 6455 section 7.1.1).
func (c *Conn) shake() {
	c.mu.Lock()
	e, peer := c.peer, c.peer
	if c.sent != nil && c.sent.Side == Local {
		e = c.sent
	}
	c.partLocked().final = e
	c.mu.Unlock()
	c.flushClose()
	c.event(&Event{Kind: Closed, Code: peer.Code, Reason: peer.Reason})
	if c.server {
		c.shutDown()
	} else {
		c.linger()
	}
	c.finish(e, true)
}

// flushClose returns when the close frame is written, or will not be.
func (c *Conn) flushClose() {
	c.mu.Lock()
	queued, done := c.queued, c.doneLocked()
	c.mu.Unlock()
	select {
	case <-queued:
	case <-done:
		return
	}
	ctx := context.Background() // the close timeout ends it
	if c.gather.flush(ctx) == nil {
		c.w.Flush(ctx)
	}
}

// shutDown ends the writing side behind our close frame, and reads on for at most letGo. A connection that is closed with bytes unread is reset, and the peer may then lose the close frame.
func (c *Conn) shutDown() {
	c.flushClose()
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	c.mu.Lock()
	if c.err == nil && c.deadline != nil && c.set.closeTimeout > letGo {
		c.deadline.Reset(letGo)
	}
	c.mu.Unlock()
	c.linger()
}

// linger reads and drops what still comes, until the peer closes its side or the time for that is over.
func (c *Conn) linger() {
	c.ignore()
	c.flushClose()
	for {
		err := c.wait().r.Next(func([]byte) error { return nil })
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = c.interrupted(context.Background())
			if err == errPoll {
				err = nil
			}
		}
		if err != nil {
			return
		}
	}
}

// closeTimedOut cuts the connection when the peer does not answer the close, or does not let go.
func (c *Conn) closeTimedOut() {
	c.mu.Lock()
	e := c.final
	if e == nil {
		e = c.broken
	}
	graceful := e != nil && e.Err == nil
	c.mu.Unlock()
	if e == nil {
		e = &CloseError{Code: CloseAbnormal, Side: Remote, Err: fmt.Errorf("no close frame came within %v: %w", c.set.closeTimeout, os.ErrDeadlineExceeded)}
	}
	c.finish(e, graceful)
}

// lost ends the connection because the network failed.
func (c *Conn) lost(err error) {
	c.finish(&CloseError{Code: CloseAbnormal, Side: Nobody, Err: err}, false)
}

// finish ends the connection. Only the first call counts. Whoever reads then finds the network connection closed.
func (c *Conn) finish(e *CloseError, graceful bool) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	if c.unresponsive != nil {
		e, graceful = c.unresponsive, false
	}
	c.err, c.graceful, c.state = e, graceful, StateClosed
	if c.deadline != nil {
		c.deadline.Stop()
	}
	c.keeper.stop()
	c.mu.Unlock()
	c.w.Close()
	if e.Code == CloseAbnormal {
		cutOff(c.nc)
	} else {
		c.nc.Close()
	}
	if w := c.watcher.Load(); w != nil {
		w.Wake() // it tells
	}
	c.life.Close(e.reason())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.done != nil {
		close(c.done)
	}
}
