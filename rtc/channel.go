package rtc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/pion/webrtc/v4"

	"hawser/lifecycle"
)

// Channel is a data channel (RFC 8831): messages of text or bytes, in order and without loss unless it was opened otherwise. All methods may run at once.
type Channel struct {
	peer *Peer
	dc   *webrtc.DataChannel
	opts ChannelOptions
	once sync.Once // OnClose
}

// ChannelOptions are the settings of a Channel. The functions are called from one goroutine, and hold up the channel's messages (and so in time the sender) for as long as they take.
type ChannelOptions struct {
	// OnOpen is called before anything else, when messages can be sent.
	OnOpen func()
	// OnMessage takes a message; the bytes are the function's own.
	OnMessage func(text bool, data []byte)
	// OnClose is called once, after the last message: the channel was closed, or its peer.
	OnClose func()
	// OnDrain is called, from any goroutine, when what waits has become less than a quarter of MaxBuffered after it was more.
	OnDrain func()
	// MaxBuffered bounds the bytes that wait to be sent; 0 means DefaultMaxBuffered.
	MaxBuffered int
	// Protocol is the subprotocol that the other side is told of; it need not be set.
	Protocol string
	// Unordered lets messages overtake each other, and Unreliable lets them be lost: they are sent once.
	Unordered, Unreliable bool
}

// Open makes a data channel, which stands once the peer does. The first one must be opened before Offer.
func (p *Peer) Open(label string, o ChannelOptions) (*Channel, error) {
	ordered, once := !o.Unordered, uint16(0)
	init := &webrtc.DataChannelInit{Ordered: &ordered, Protocol: &o.Protocol}
	if o.Unreliable {
		init.MaxRetransmits = &once
	}
	dc, err := p.pc.CreateDataChannel(label, init)
	if err != nil {
		return nil, fmt.Errorf("rtc: channel %q: %w", label, err)
	}
	c := &Channel{peer: p, dc: dc}
	c.start(o)
	return c, nil
}

// accept takes a channel that the other side has opened.
func (p *Peer) accept(dc *webrtc.DataChannel) {
	p.mu.Lock()
	full := p.channels >= p.engine.opts.MaxChannels
	if full {
		lifecycle.CountReached("rtc.MaxChannels")
	}
	refused := p.opts.OnChannel == nil || full
	if !refused {
		p.channels++
	}
	p.mu.Unlock()
	c := &Channel{peer: p, dc: dc}
	if refused {
		c.start(ChannelOptions{OnOpen: func() { dc.Close() }})
		return
	}
	c.start(p.opts.OnChannel(c))
}

func (c *Channel) start(o ChannelOptions) {
	if o.MaxBuffered <= 0 {
		o.MaxBuffered = DefaultMaxBuffered
	}
	c.opts = o
	if o.OnDrain != nil {
		c.dc.SetBufferedAmountLowThreshold(uint64(o.MaxBuffered / 4))
		c.dc.OnBufferedAmountLow(o.OnDrain)
	}
	c.dc.OnOpen(c.read) // the stack gives it a goroutine of its own
}

// firstBuffer is what a channel reads with until a message is larger.
const firstBuffer = 2 << 10

// read hands out messages until there are no more.
func (c *Channel) read() {
	raw, err := c.dc.Detach()
	if err != nil {
		return
	}
	if c.opts.OnOpen != nil {
		c.opts.OnOpen()
	}
	reader := raw.(interface {
		ReadDataChannel([]byte) (int, bool, error)
	})
	buf := make([]byte, firstBuffer)
	for {
		n, text, err := reader.ReadDataChannel(buf)
		switch {
		case errors.Is(err, io.ErrShortBuffer) && len(buf) < c.peer.engine.opts.MaxMessage:
			buf = make([]byte, min(2*len(buf), c.peer.engine.opts.MaxMessage))
			continue
		case errors.Is(err, io.ErrShortBuffer):
			lifecycle.CountReached("rtc.MaxMessage")
			c.peer.Close(lifecycle.ReasonTooBig.With("channel %q: a message of more than %d bytes (MaxMessage)", c.dc.Label(), c.peer.engine.opts.MaxMessage))
		case err == nil:
			if c.opts.OnMessage != nil {
				c.opts.OnMessage(text, bytes.Clone(buf[:n]))
			}
			continue
		}
		c.dc.Close()
		c.over()
		return
	}
}

func (c *Channel) over() {
	c.once.Do(func() {
		if c.opts.OnClose != nil {
			c.opts.OnClose()
		}
	})
}

// Label returns the channel's name.
func (c *Channel) Label() string { return c.dc.Label() }

// Protocol returns the channel's subprotocol.
func (c *Channel) Protocol() string { return c.dc.Protocol() }

// Peer returns the peer that the channel belongs to.
func (c *Channel) Peer() *Peer { return c.peer }

// Send queues a message. It does not block: when more than MaxBuffered bytes would wait the message is not sent (reason slow), until OnDrain. The bytes may be reused at once.
func (c *Channel) Send(text bool, data []byte) error {
	if waiting := c.dc.BufferedAmount(); waiting > 0 && waiting+uint64(len(data)) > uint64(c.opts.MaxBuffered) {
		return lifecycle.ReasonSlow.With("channel %q: %d bytes wait, at most %d may (MaxBuffered)", c.dc.Label(), waiting, c.opts.MaxBuffered)
	}
	var err error
	if text {
		err = c.dc.SendText(string(data))
	} else {
		err = c.dc.Send(data)
	}
	if err != nil {
		return fmt.Errorf("rtc: channel %q: %w", c.dc.Label(), err)
	}
	return nil
}

// Buffered returns how many bytes wait to be sent or to be acknowledged.
func (c *Channel) Buffered() int { return int(c.dc.BufferedAmount()) }

// Close closes the channel; what waits is still sent.
func (c *Channel) Close() error { return c.dc.Close() }
