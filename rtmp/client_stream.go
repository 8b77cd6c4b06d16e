package rtmp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"hawser/amf"
	"hawser/flv"
	"hawser/lifecycle"
	"hawser/media"
)

// ErrStreamEnded is yielded last by Messages when the server says that the stream is over; the connection stands.
var ErrStreamEnded = errors.New("rtmp: the stream has ended")

// Publish starts to broadcast the URL's stream and returns when the server accepts it; a refusal is a *Refusal.
func (c *Client) Publish(ctx context.Context) error { return c.PublishAs(ctx, ModeLive) }

// PublishAs is Publish with a wish about recording, which servers may ignore.
func (c *Client) PublishAs(ctx context.Context, mode Mode) error {
	c.queue(command(0, "releaseStream", 0, nil, c.name), command(0, "FCPublish", 0, nil, c.name))
	err := c.begin(ctx, StatePublishing, codePublishing, func(stream uint32) []Message {
		return []Message{command(stream, "publish", 0, nil, c.name, string(mode))}
	})
	if err != nil {
		return fmt.Errorf("rtmp: publish %q: %w", c.path(), err)
	}
	return nil
}

// Play starts to play the URL's stream, live or else recorded, and returns when the server accepts it; a refusal is a *Refusal.
func (c *Client) Play(ctx context.Context) error { return c.PlayAs(ctx, PlayRequest{}) }

// PlayAs is Play with a choice of what: live or a recording, from where, and for how long. Buffer is how much servers may send in advance; 0 means
// DefaultBuffer.
func (c *Client) PlayAs(ctx context.Context, r PlayRequest) error {
	err := c.begin(ctx, StatePlaying, codePlaying, func(stream uint32) []Message {
		args := []amf.Value{nil, c.name, r.What.number(r.Start)}
		if r.Duration > 0 || r.Reset {
			length := -1000.0 // to its end
			if r.Duration > 0 {
				length = float64(r.Duration.Milliseconds())
			}
			args = append(args, length, r.Reset)
		}
		return []Message{command(stream, "play", 0, args...),
			userControl(ControlSetBufferLength, stream, uint32(orDefault(r.Buffer, DefaultBuffer).Milliseconds()))}
	})
	if err != nil {
		return fmt.Errorf("rtmp: play %q: %w", c.path(), err)
	}
	return nil
}

// Pause stops what is played, or lets it go on; at is where the player stands. The answer comes as a status, which Events shows; one that
// refuses ends Messages.
func (c *Client) Pause(paused bool, at time.Duration) {
	c.ask("pause", paused, float64(at.Milliseconds()))
}

// Seek goes to another place of a recording. The answer comes as with Pause, before the messages from there.
func (c *Client) Seek(to time.Duration) { c.ask("seek", float64(to.Milliseconds())) }

// ask sends a command about the stream.
func (c *Client) ask(name string, args ...amf.Value) {
	c.mu.Lock()
	stream := c.stream
	c.mu.Unlock()
	c.queue(command(stream, name, 0, append([]amf.Value{nil}, args...)...))
}

func (c *Client) path() string {
	path, _ := joinPath(c.app, c.name)
	return path
}

// begin makes a stream object and waits for the status that says it does what was asked.
func (c *Client) begin(ctx context.Context, state, code string, ask func(stream uint32) []Message) error {
	answer, err := c.callObject(ctx, "createStream", nil)
	if err != nil {
		return fmt.Errorf("createStream: %w", err)
	}
	c.mu.Lock()
	c.stream = uint32(answer.Number(0, 0))
	c.playing = state == StatePlaying
	stream := c.stream
	c.mu.Unlock()
	c.queue(ask(stream)...)
	ctx, cancel := context.WithTimeoutCause(ctx, c.o.Timeout, lifecycle.ReasonTimeout.With("no answer within %v", c.o.Timeout))
	defer cancel()
	for {
		it, err := c.next(ctx, nil)
		if err != nil {
			return err
		}
		if it.cmd == nil {
			continue
		}
		st := statusOf(it.cmd.info())
		c.trace(Event{Kind: EventStatus, Status: st})
		if err := st.failure(); err != nil {
			return err
		}
		if st.Code == code {
			c.setState(state)
			return nil
		}
	}
}

// WriteMessage sends one message of a broadcast and returns when the system has taken it; StreamID is set here. A data message
// is announced to the server as one to be kept for late players (@setDataFrame). The payload may be changed afterwards. Once the server
// has said no, or has asked to reconnect, each call returns that as a *Refusal; the connection may still stand.
func (c *Client) WriteMessage(ctx context.Context, m Message) error {
	if told := c.told.Load(); told != nil {
		return fmt.Errorf("rtmp: write: %w", told)
	}
	c.mu.Lock()
	m.StreamID = c.stream
	chunk := c.chunk
	c.mu.Unlock()
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if m.Type == TypeData && !bytes.HasPrefix(m.Payload, setDataFrame) {
		m.Payload = append(bytes.Clone(setDataFrame), m.Payload...)
	}
	c.buf = AppendMessage(c.buf[:0], chunk, m)
	if err := c.w.Write(ctx, c.buf); err != nil {
		return c.writeError(err)
	}
	return nil
}

// WriteFrame sends one frame of a broadcast, or a track's parameters when f.Config is set, as an audio or video message.
func (c *Client) WriteFrame(ctx context.Context, t media.Track, f media.Frame) error {
	typ, body := flv.AppendFrame(nil, t, f)
	if typ == 0 {
		return fmt.Errorf("rtmp: write: %w", lifecycle.ReasonUnsupported.With("%v has no form in RTMP", t.Codec))
	}
	return c.WriteMessage(ctx, Message{Type: typ, Timestamp: uint32(f.DTS / time.Millisecond), Payload: body})
}

// writeError prefers what the server said to what the system says about the write.
func (c *Client) writeError(err error) error {
	select {
	case <-c.closing:
		return fmt.Errorf("rtmp: write: %w", c.closed())
	default:
		return fmt.Errorf("rtmp: write: %w", err)
	}
}

// Messages yields the audio, video and data messages that the server sends after Play, until the stream or the connection
// ends or ctx does; the last pair carries the error that says which: ErrStreamEnded, a *Refusal, ErrClosed with a reason. A request to reconnect is
// a *Refusal too, with the code NetConnection.Connect.ReconnectRequest and perhaps Redirect; Messages may be called again to go on
// until that suits.
// Who takes long makes the server wait, or be too slow for it.
func (c *Client) Messages(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for {
			it, err := c.next(ctx, nil)
			if err == nil && it.cmd != nil {
				if err = statusOf(it.cmd.info()).ending(); err == nil {
					continue
				}
			}
			if err != nil {
				yield(Message{}, err)
				return
			}
			if it.m.Type != TypeUserControl && !yield(it.m, nil) {
				return
			}
		}
	}
}

// message takes what the server sends.
func (c *Client) message(m Message) error {
	switch m.Type {
	case TypeAudio, TypeVideo, TypeData, TypeDataAMF3:
		return c.push(item{m: amf0(m)})
	case TypeAggregate:
		if err := splitAggregate(m, func(m Message) error { return c.push(item{m: m}) }); err != nil {
			return c.in.broken(err.Error(), "FLV tags")
		}
	case TypeUserControl:
		return c.push(item{m: m})
	case TypeCommand, TypeCommandAMF3:
		cmd, err := parseCommand(m)
		if err != nil {
			return c.in.broken("a command with "+err.Error(), "AMF0: name, transaction, object")
		}
		return c.command(cmd)
	}
	return nil
}

func (c *Client) command(cmd *Command) error {
	switch cmd.Name {
	case "_result", "_error":
		c.mu.Lock()
		answers := c.calls[cmd.Transaction]
		delete(c.calls, cmd.Transaction)
		c.mu.Unlock()
		if answers != nil {
			answers <- cmd
		}
	case "onStatus":
		var refused *Refusal
		if errors.As(statusOf(cmd.info()).failure(), &refused) {
			c.told.Store(refused)
		}
		return c.push(item{cmd: cmd})
	case "onBWDone", "onFCPublish", "onFCUnpublish", "onFCSubscribe":
	default:
		c.called(cmd)
	}
	return nil
}

// called answers a call of the server.
func (c *Client) called(cmd *Command) {
	if cmd.Transaction == 0 && c.o.OnCall == nil {
		return
	}
	err := errors.New("not a command here")
	var values []amf.Value
	if c.o.OnCall != nil {
		values, err = c.o.OnCall(cmd)
	}
	switch {
	case cmd.Transaction == 0:
	case err != nil:
		c.queue(command(0, "_error", cmd.Transaction, nil, statusInfo("error", "NetConnection.Call.Failed", err.Error())))
	default:
		c.queue(command(0, "_result", cmd.Transaction, append([]amf.Value{nil}, values...)...))
	}
}

// push hands an item to whoever publishes or plays. A player that is slow makes the reader wait; nobody else does.
func (c *Client) push(it item) error {
	isMedia := it.cmd == nil && it.m.Type != TypeUserControl
	for {
		c.mu.Lock()
		full := false
		switch {
		case isMedia && !c.playing: // not asked for
			c.mu.Unlock()
			return nil
		case isMedia:
			full = c.media >= inboxMedia
		case len(c.inbox)-c.media >= inboxStatuses:
			c.dropStatusLocked()
		}
		if !full {
			c.inbox = append(c.inbox, it)
			if isMedia {
				c.media++
			}
		}
		c.mu.Unlock()
		if !full {
			signal(c.filled)
			return nil
		}
		select {
		case <-c.room:
		case <-c.closing:
			return c.closed()
		}
	}
}

func (c *Client) dropStatusLocked() {
	for i := range c.inbox {
		if it := &c.inbox[i]; it.cmd != nil || it.m.Type == TypeUserControl {
			c.inbox = append(c.inbox[:i], c.inbox[i+1:]...)
			return
		}
	}
}

// next waits for an item, or for the tick, at which it returns an empty one. What came before the end is handed out before the error.
func (c *Client) next(ctx context.Context, tick <-chan time.Time) (item, error) {
	for {
		if it, ok := c.pop(); ok {
			return it, nil
		}
		select {
		case <-c.filled:
		case <-tick:
			return item{}, nil
		case <-ctx.Done():
			return item{}, context.Cause(ctx)
		case <-c.ended:
			if it, ok := c.pop(); ok {
				return it, nil
			}
			return item{}, c.closed()
		}
	}
}

func (c *Client) pop() (item, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.inbox) == 0 {
		return item{}, false
	}
	it := c.inbox[0]
	c.inbox[0] = item{}
	if c.inbox = c.inbox[1:]; len(c.inbox) == 0 {
		c.inbox = nil
	}
	if it.cmd == nil && it.m.Type != TypeUserControl {
		c.media--
		signal(c.room)
	}
	return it, true
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// queue sends messages without waiting.
func (c *Client) queue(ms ...Message) {
	c.mu.Lock()
	chunk := c.chunk
	c.mu.Unlock()
	c.write(appendMessages(nil, chunk, ms...))
}

func (c *Client) write(b []byte) {
	if err := c.w.Queue(b); err != nil {
		c.end(lifecycle.ReasonOf(err))
	}
}

func (c *Client) setState(state string) {
	if state == StatePublishing || state == StatePlaying {
		c.log.SetPath(c.path())
	}
	c.log.Set(state, lights[state], lifecycle.Reason{})
}

// Stats returns what went over the connection so far.
func (c *Client) Stats() Stats {
	sent, writes := c.w.Stats()
	return Stats{Received: c.in.received.Load(), Sent: sent, Writes: writes, Acked: c.in.acked.Load()}
}
