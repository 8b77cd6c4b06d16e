package websocket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"time"

	"hawser/netio"
)

// What received returns to stop the parser.
var (
	errStop       = errors.New("websocket: stop") // the reader has what it wants
	errPeerClosed = errors.New("websocket: the peer has sent its close frame")
)

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// message is what Read returns.
type message struct {
	typ  MessageType
	data []byte
}

// Read waits for the next message. The payload is the caller's. When ctx ends first the connection stays as it is, even in the middle of a message, and Read may be called again. Pings
// and the close handshake are answered while Read waits. After the end of the connection it returns a *CloseError.
func (c *Conn) Read(ctx context.Context) (MessageType, []byte, error) {
	if err := c.startReading(ctx); err != nil {
		return 0, nil, err
	}
	defer c.reading.Store(false)
	c.yield, c.stopped, c.wantMsg = nil, false, true
	for {
		err := c.round(ctx)
		switch {
		case err == errStop:
			m := c.in.msg
			c.in.msg = message{}
			return m.typ, m.data, nil
		case err == nil, err == errPoll:
			continue
		}
		c.ignore()
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return 0, nil, fmt.Errorf("websocket: read: %w", err)
		}
		c.wantMsg = false
		c.conclude(err)
		return 0, nil, c.Err()
	}
}

// Events reads as a loop over events: Text, Binary, Ping, Pong, Poll, Unresponsive, Closing, Closed, ProtocolError and, last, Disconnected. Leaving the loop, or the end of ctx, ends the
// reading but not the connection: call Events or Read again, or Close. What an event holds is valid until the loop goes on. Events panics if somebody else is reading.
func (c *Conn) Events(ctx context.Context) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		if !c.startEvents(ctx, yield) {
			return
		}
		defer c.endEvents()
		c.loop(ctx)
	}
}

// startEvents makes the caller the one who reads, or yields the end if that has come already.
func (c *Conn) startEvents(ctx context.Context, yield func(Event) bool) bool {
	err := c.startReading(ctx)
	if err == nil {
		c.yield, c.stopped, c.wantMsg = yield, false, false
		c.startPoll()
		return true
	}
	var closed *CloseError
	switch {
	case errors.Is(err, ErrReading):
		panic(err)
	case errors.As(err, &closed):
		yield(c.disconnected())
	}
	return false
}

func (c *Conn) endEvents() {
	c.endPoll()
	c.yield = nil
	c.ignore()
	c.reading.Store(false)
}

// loop is Events. Its frame stands on the stack of every idle connection's goroutine, so what it rarely does is elsewhere.
func (c *Conn) loop(ctx context.Context) {
	for {
		err := c.round(ctx)
		if err == errPoll {
			err = c.givePoll()
		}
		if err != nil {
			c.leave(ctx, err)
			return
		}
	}
}

// givePoll yields a Poll.
//
//go:noinline
func (c *Conn) givePoll() error {
	c.poller.Reset(c.set.poll)
	return c.give(&Event{Kind: Poll})
}

// leave ends the loop: with the connection if it has ended, else without.
func (c *Conn) leave(ctx context.Context, err error) {
	switch {
	case err != errStop && !(ctx.Err() != nil && errors.Is(err, ctx.Err())):
		c.conclude(err)
	case err == errStop && c.closing():
		c.drain() // nobody else would
	}
}

// ending says whether there is no more to read for others than the end.
func (c *Conn) ending() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent != nil || c.err != nil
}

// closing says whether our close frame is sent.
func (c *Conn) closing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent != nil
}

// startReading makes the caller the one who reads, until it clears c.reading.
func (c *Conn) startReading(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("websocket: read: %w", err)
	}
	if !c.reading.CompareAndSwap(false, true) {
		if !c.ending() {
			return ErrReading
		}
		select { // Close reads
		case <-c.Done():
			return c.Err()
		case <-ctx.Done():
			return fmt.Errorf("websocket: read: %w", ctx.Err())
		}
	}
	if err := c.Err(); err != nil && len(c.left) == 0 {
		c.reading.Store(false)
		return err
	}
	c.wait()
	c.watch(ctx)
	return nil
}

// watch lets the end of ctx interrupt the reader. Reading again with the same context costs nothing.
func (c *Conn) watch(ctx context.Context) {
	if done := ctx.Done(); done != c.in.watched {
		c.ignore()
		if done != nil {
			c.in.watched, c.in.unwatch = done, context.AfterFunc(ctx, func() { c.interrupt(false) })
		}
	}
}

func (c *Conn) ignore() {
	if c.in == nil {
		return
	}
	if c.in.unwatch != nil {
		c.in.unwatch()
	}
	c.in.watched, c.in.unwatch = nil, nil
}

func (c *Conn) poll() { c.interrupt(true) }

// interrupt makes the reader look up from the network.
func (c *Conn) interrupt(poll bool) {
	c.wakeMu.Lock()
	defer c.wakeMu.Unlock()
	c.polled = c.polled || poll
	if w := c.watcher.Load(); w != nil {
		w.Wake()
		return
	}
	c.nc.SetReadDeadline(longAgo)
}

var errPoll = errors.New("websocket: poll")

// interrupted is what the reader does then. An interruption that was meant for an earlier reader is nothing.
func (c *Conn) interrupted(ctx context.Context) error {
	c.wakeMu.Lock()
	poll := c.polled
	c.polled = false
	c.nc.SetReadDeadline(time.Time{})
	c.wakeMu.Unlock()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case poll:
		return errPoll
	}
	return nil
}

// round parses what is there, or waits for more and parses that.
func (c *Conn) round(ctx context.Context) error {
	if len(c.left) > 0 {
		return c.feedLeft()
	}
	c.push()
	in := c.wait()
	c.turns.Add(1)
	err := in.r.Next(in.feed)
	if c.turns.Load()%2 != 0 { // feed was not called
		c.turns.Add(1)
	}
	c.note()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return c.interrupted(ctx)
	}
	return err
}

// wait returns what a reader needs to wait for the network.
func (c *Conn) wait() *incoming {
	if c.in == nil {
		c.in = &incoming{r: netio.NewReader(c.nc, readSize(c.nc)), feed: c.feedArrived}
	}
	return c.in
}

// feedLeft parses what an earlier reader has left.
func (c *Conn) feedLeft() error {
	b := c.left
	if len(b) == 0 {
		return nil
	}
	c.left = nil
	n, err := c.p.feed(b)
	if n < len(b) {
		c.left = b[n:]
	}
	return err
}

// push sends what was gathered while messages were handled. It does not wait: a reader that waits for a peer that waits for its reader would wait for ever.
func (c *Conn) push() {
	if c.gathering {
		c.gathering = false
		c.gather.push()
	}
}

// note counts a read that ended within a frame.
func (c *Conn) note() {
	if c.p.inFrame || c.p.part != nil {
		c.progress.Add(1)
	}
}

func (c *Conn) feedArrived(b []byte) error {
	c.turns.Add(1)
	return c.feed(b)
}

// feed parses what has just arrived and keeps what the reader leaves.
func (c *Conn) feed(b []byte) error {
	n, err := c.p.feed(b)
	if err == errStop && n < len(b) {
		c.left = bytes.Clone(b[n:])
	}
	return err
}

// received handles a message or a control frame.
func (c *Conn) received(op, rsv byte, b []byte, more bool) error {
	if more != c.gathering {
		if more {
			c.gather.start()
			c.gathering = true
		} else {
			c.gather.stop() // what is sent now takes the rest along; push does if nothing is
		}
	}
	if rsv != 0 {
		return c.receivedEncoded(op, rsv, b)
	}
	switch op {
	case OpPing:
		c.queueControl(OpPong, b)
		return c.give(&Event{Kind: Ping, Data: b})
	case OpPong:
		c.pong.Store(true)
		return c.give(&Event{Kind: Pong, Data: b})
	case OpClose:
		return c.peerCloses(b)
	}
	if !c.wantMsg || op > OpBinary {
		return c.giveMessage(op, b)
	}
	if c.p.take(b) {
		c.in.msg = message{MessageType(op), b}
	} else {
		c.in.msg = message{MessageType(op), append(make([]byte, 0, len(b)), b...)}
	}
	return errStop
}

// receivedEncoded handles a message that extensions have changed.
func (c *Conn) receivedEncoded(op, rsv byte, b []byte) error {
	buf := messageBuffers.Get().(*[]byte)
	defer func() {
		if cap(*buf) <= keepMessage {
			messageBuffers.Put(buf)
		}
	}()
	data, err := c.agreed.decode((*buf)[:0], op, rsv, b, c.set.maxMessage)
	*buf = data[:0]
	if err == nil && op == OpText && !validUTF8(data) {
		err = errUTF8
	}
	switch {
	case err != nil:
		return asViolation(err)
	case !c.wantMsg || op > OpBinary:
		return c.giveMessage(op, data)
	case cap(data) <= 2*len(data):
		*buf = nil // it is the caller's
	default:
		data = append(make([]byte, 0, len(data)), data...)
	}
	c.in.msg = message{MessageType(op), data}
	return errStop
}

// giveMessage yields a message as an event.
func (c *Conn) giveMessage(op byte, b []byte) error {
	kind := Text
	switch {
	case op == OpBinary:
		kind = Binary
	case op != OpText:
		return c.give(&Event{Kind: UnknownMessage, Opcode: op, Data: b})
	}
	if c.yield != nil && !c.stopped { // as event does, but the event is made where it is handed over: it is large
		c.stopped = !c.yield(Event{Kind: kind, Conn: c, Data: b})
	}
	if c.stopped {
		return errStop
	}
	return nil
}

// give yields an event from within the parser.
func (c *Conn) give(ev *Event) error {
	if !c.event(ev) {
		return errStop
	}
	return nil
}

// event yields an event, if somebody wants events; false means that the loop was left.
func (c *Conn) event(ev *Event) bool {
	if c.yield != nil && !c.stopped {
		ev.Conn = c
		c.stopped = !c.yield(*ev)
	}
	return !c.stopped
}

// queueControl sends a control frame without waiting. When the peer does not take it, it is left out: pongs may be (RFC 6455 section 5.5.3).
func (c *Conn) queueControl(op byte, data []byte) {
	if c.beginSend() != nil {
		return
	}
	defer c.endSend()
	c.gather.queue(appendOwn(make([]byte, 0, maxHeader+len(data)), c.server, true, op, data))
}
