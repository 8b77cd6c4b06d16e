package websocket

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"hawser/lifecycle"
	"hawser/netio"
)

// noSend is added to Conn.sends when nothing may be sent any more.
const noSend = 1 << 40

const (
	// copyLimit is the longest payload that is copied behind its header rather than written from where it is, in bytes.
	copyLimit = 4 << 10
	// keepFrame is the largest frame buffer that is kept for the next frame.
	keepFrame = 256 << 10
)

// frameBuffers are the borrowed buffers in which frames are made.
var frameBuffers = sync.Pool{New: func() any { b := make([]byte, 0, copyLimit+maxHeader); return &b }}

// MessageType is the type of a message.
type MessageType byte

const (
	// TextMessage is UTF-8 text. NUL is a character like others.
	TextMessage = MessageType(OpText)
	// BinaryMessage is any bytes.
	BinaryMessage = MessageType(OpBinary)
)

// String returns "text" or "binary".
func (t MessageType) String() string {
	switch t {
	case TextMessage:
		return "text"
	case BinaryMessage:
		return "binary"
	}
	return fmt.Sprintf("MessageType(%d)", byte(t))
}

// Write sends a message in one frame and returns when the system has taken it, or when ctx ends; the payload may be changed then. A message of which a part was sent before ctx
// ended still goes out whole, and the connection stays usable. Messages are never interleaved, and those of one goroutine go out in their order. That text is UTF-8 is the caller's promise.
//
// While several messages that came together are handled, Write gathers (see AcceptOptions.Gather) and returns at once.
func (c *Conn) Write(ctx context.Context, typ MessageType, payload []byte) error {
	if typ != TextMessage && typ != BinaryMessage {
		return fmt.Errorf("websocket: write: %v is not a type of messages", typ)
	}
	if len(c.agreed.codecs) > 0 {
		return c.writeEncoded(ctx, typ, payload)
	}
	return c.writeFrame(ctx, byte(typ), payload)
}

func (c *Conn) writeFrame(ctx context.Context, op byte, payload []byte) error {
	if ctx.Err() == nil && c.gather.join(op, payload) {
		return nil
	}
	if err := c.beginSend(); err != nil {
		return err
	}
	defer c.endSend()
	return c.sendError(c.sendPlain(ctx, op, payload))
}

// sendPlain sends a frame without reserved bits.
func (c *Conn) sendPlain(ctx context.Context, op byte, payload []byte) error {
	if done, err := c.gather.frame(ctx, op, payload); done {
		return err
	}
	f := frameBuffers.Get().(*[]byte)
	defer putFrame(f)
	if c.server && len(payload) > copyLimit {
		*f = appendHeader((*f)[:0], true, op, len(payload))
		return c.w.Write(ctx, *f, payload)
	}
	*f = appendOwn((*f)[:0], c.server, true, op, payload)
	return c.w.Write(ctx, *f)
}

func putFrame(f *[]byte) {
	if cap(*f) <= keepFrame {
		frameBuffers.Put(f)
	}
}

// writeEncoded sends a message as the extensions make it. Where they want their messages in order, so that encoding and sending are one step, it waits for its turn.
func (c *Conn) writeEncoded(ctx context.Context, typ MessageType, payload []byte) error {
	if err := c.beginSend(); err != nil {
		return err
	}
	defer c.endSend()
	if turn := c.agreed.turn; turn != nil {
		select {
		case turn <- struct{}{}:
			defer func() { <-turn }()
		case <-ctx.Done():
			return c.sendError(ctx.Err())
		}
	}
	f := frameBuffers.Get().(*[]byte)
	defer putFrame(f)
	var room [maxHeader]byte
	b, rsv, err := c.agreed.encode(append((*f)[:0], room[:]...), typ, payload)
	*f = b
	switch {
	case err != nil:
		c.agreed.forget()
		return err
	case rsv == 0:
		err = c.sendPlain(ctx, byte(typ), payload)
	default:
		err = c.gather.send(ctx, finishFrame(b, byte(typ)|rsv, c.server))
	}
	if err != nil {
		c.agreed.forget()
	}
	return c.sendError(err)
}

// Ping sends a ping with up to 125 bytes of data. The pong arrives as an event of that kind.
func (c *Conn) Ping(ctx context.Context, data []byte) error { return c.control(ctx, OpPing, data) }

// Pong sends a pong that nobody asked for; pings are answered without it.
func (c *Conn) Pong(ctx context.Context, data []byte) error { return c.control(ctx, OpPong, data) }

func (c *Conn) control(ctx context.Context, op byte, data []byte) error {
	if len(data) > maxControl {
		return fmt.Errorf("websocket: a control frame of %d bytes, at most %d are allowed", len(data), maxControl)
	}
	return c.writeFrame(ctx, op, data)
}

// errClientFrames is returned when ready-made frames are given to a client's end.
var errClientFrames = errors.New("websocket: a client cannot send ready-made frames: each needs its own mask (RFC 6455 section 5.3)")

// Queue sends whole frames as AppendFrame and Prepared make them, without waiting: it returns netio.ErrSlow, having taken nothing, when more than QueueLimit is waiting. The bytes must not
// change any more. It is for servers only.
//
// A call now and then writes at once. Of a loop that queues for many connections, or much for one, the calls behind the first leave the writing to the workers of the pool, so that all that is queued for a connection
// until one of them comes to it goes out in one write (see netio.Writer.Queue).
func (c *Conn) Queue(frames ...[]byte) error {
	if !c.server {
		return errClientFrames
	}
	if err := c.beginSend(); err != nil {
		return err
	}
	defer c.endSend()
	return c.sendError(c.gather.queue(frames...))
}

// SetSource says where the connection gets whole ready-made frames from when it is woken and has nothing else to send. It is for servers only, and must be called before the first Wake. Nothing is
// taken from the source once the connection closes.
func (c *Conn) SetSource(s netio.Source) {
	if c.server {
		c.source = s
	}
}

// Wake says that the source may have something. It never blocks.
func (c *Conn) Wake() { c.w.Wake() }

// Flush returns when all that was queued is taken by the system.
func (c *Conn) Flush(ctx context.Context) error {
	if err := c.gather.flush(ctx); err != nil {
		return c.sendError(err)
	}
	return c.sendError(c.w.Flush(ctx))
}

// conduit is the source of the connection's writer.
type conduit Conn

// Fill implements netio.Source. What is taken here follows what is queued in the same write, so it asks after the close frame first.
func (d *conduit) Fill(dst [][]byte, max int) [][]byte {
	if d.source == nil || d.sends.Load() >= noSend {
		return dst
	}
	return d.source.Fill(dst, max)
}

// beginSend says whether something may be sent; if so, endSend must follow.
func (c *Conn) beginSend() error {
	if c.sends.Add(1) < noSend {
		return nil
	}
	c.endSend()
	return c.closedError()
}

func (c *Conn) endSend() {
	if c.sends.Add(-1) == noSend {
		c.queueClose()
	}
}

// closedError is why nothing can be sent.
func (c *Conn) closedError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return c.err
	case c.broken != nil:
		return c.broken
	}
	return c.sent
}

// sendError is what a failed write tells the caller.
func (c *Conn) sendError(err error) error {
	switch {
	case err == nil || errors.Is(err, netio.ErrSlow):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("websocket: write: %w", err)
	}
	c.writeFailed(err)
	return c.closedError()
}

// writeFailed is called when the network does not take what is written. A slow peer is cut at once. Of a connection that broke, the reader may still find the peer's close frame, which
// says more, so the end is left to it for as long as a close may take.
func (c *Conn) writeFailed(err error) {
	if lifecycle.ReasonOf(err).Is(lifecycle.ReasonTimeout) {
		c.lost(lifecycle.ReasonSlow.Because(err))
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && c.broken == nil {
		c.broken = &CloseError{Code: CloseAbnormal, Side: Nobody, Err: err}
		c.startDeadlineLocked()
	}
}
