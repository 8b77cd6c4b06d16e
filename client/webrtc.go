package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"hawser/lifecycle"
	"hawser/rtc"
	"hawser/session"
	"hawser/websocket"
)

const (
	// The parts of a session over a data channel (docs/protocol.md).
	channelBinary = 0
	channelPart   = 1
	channelLast   = 2
	textPart      = 3
	textLast      = 4
	channelClose  = 5
	// maxChannelPart bounds what one message on the data channel carries, in bytes.
	maxChannelPart = 16 << 10
)

// channel is a connection over a WebRTC data channel.
type channel struct {
	engine       *rtc.Engine
	peer         *rtc.Peer
	channel      *rtc.Channel
	in           chan plainMessage
	drained      chan struct{} // holds a token when more may be sent
	opened       chan struct{}
	ended        chan struct{} // closed when nothing more comes; err is set then
	err          error
	once         sync.Once
	part         []byte // of what comes
	closeTimeout time.Duration
}

// dialWebRTC opens a connection that is a data channel: the offer goes to the server by POST.
func dialWebRTC(ctx context.Context, o *Options, server string) (_ wire, err error) {
	w := &channel{closeTimeout: o.CloseTimeout, in: make(chan plainMessage, plainQueue), drained: make(chan struct{}, 1), opened: make(chan struct{}), ended: make(chan struct{})}
	defer func() {
		if err != nil {
			w.end(err)
			err = fmt.Errorf("webrtc: %w", err)
		}
	}()
	if w.engine, err = rtc.New(o.RTC); err != nil {
		return nil, err
	}
	w.peer, err = w.engine.Peer(rtc.PeerOptions{OnChange: func(c rtc.Change) {
		if c.To == rtc.StateClosed || c.To == rtc.StateFailed {
			w.end(c.Reason)
		}
	}})
	if err != nil {
		return nil, err
	}
	w.channel, err = w.peer.Open(session.Subprotocol, rtc.ChannelOptions{OnOpen: func() { close(w.opened) }, OnMessage: w.take, OnClose: func() { w.end(io.EOF) }, OnDrain: w.drain})
	if err != nil {
		return nil, err
	}
	offer, err := w.peer.Offer(ctx)
	if err != nil {
		return nil, err
	}
	p := newPlain(o, server)
	defer p.client.CloseIdleConnections()
	p.header = p.header.Clone()
	if p.header == nil {
		p.header = make(http.Header)
	}
	p.header.Set("Content-Type", "application/sdp")
	res, err := p.try(ctx, http.MethodPost, p.base+"/rtc", strings.NewReader(offer), "application/sdp")
	if err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(io.LimitReader(res.Body, rtc.DefaultMaxSDP))
	res.Body.Close()
	if err == nil {
		err = w.peer.SetAnswer(string(answer))
	}
	if err != nil {
		return nil, err
	}
	select {
	case <-w.opened:
		return w, nil
	case <-w.ended:
		return nil, w.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// take takes a message of the channel.
func (w *channel) take(text bool, b []byte) {
	m := plainMessage{websocket.BinaryMessage, nil}
	switch {
	case text:
		m = plainMessage{websocket.TextMessage, b}
	case len(b) == 0:
		return
	case b[0] == channelPart, b[0] == textPart:
		if w.part = append(w.part, b[1:]...); len(w.part) > maxEvent {
			w.end(lifecycle.ReasonTooBig.With("a message of more than %d bytes", maxEvent))
			w.part = nil
		}
		return
	case b[0] == channelClose:
		code, word, _ := strings.Cut(string(b[1:]), " ")
		n, _ := strconv.Atoi(code)
		w.end(&websocket.CloseError{Code: n, Reason: word, Side: websocket.Remote})
		return
	case b[0] == channelLast, b[0] == textLast:
		m.data, w.part = append(w.part, b[1:]...), nil
		if b[0] == textLast {
			m.typ = websocket.TextMessage
		}
	case b[0] == channelBinary:
		m.data = b[1:]
	default:
		return // another kind, which is to be ignored
	}
	select {
	case w.in <- m:
	case <-w.ended:
	}
}

func (w *channel) drain() {
	select {
	case w.drained <- struct{}{}:
	default:
	}
}

// end notes why nothing more comes; the first reason counts.
func (w *channel) end(err error) {
	w.once.Do(func() {
		w.err = err
		close(w.ended)
		go w.release() // it may be the peer that tells
	})
}

func (w *channel) release() {
	if w.peer != nil {
		w.peer.Close(lifecycle.ReasonDone)
	}
	if w.engine != nil {
		w.engine.Close()
	}
}

// Read implements wire. What came before the end is read first.
func (w *channel) Read(ctx context.Context) (websocket.MessageType, []byte, error) {
	return nextMessage(ctx, w.in, w.ended, &w.err)
}

// Write implements wire.
func (w *channel) Write(ctx context.Context, _ websocket.MessageType, b []byte) error {
	if len(b) <= maxChannelPart {
		return w.send(ctx, true, b)
	}
	for len(b) >= maxChannelPart {
		if err := w.send(ctx, false, append([]byte{textPart}, b[:maxChannelPart-1]...)); err != nil {
			return err
		}
		b = b[maxChannelPart-1:]
	}
	return w.send(ctx, false, append([]byte{textLast}, b...))
}

// send sends one message of the channel, as soon as there is room for it.
func (w *channel) send(ctx context.Context, text bool, b []byte) error {
	for {
		err := w.channel.Send(text, b)
		if lifecycle.ReasonOf(err).Code != lifecycle.ReasonSlow.Code {
			return err
		}
		select {
		case <-w.drained:
		case <-w.ended:
			return w.err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Close implements wire. It waits until the server has taken what was written, and closes the peer, for as long as Options.CloseTimeout says.
func (w *channel) Close(code int, reason string) error {
	patience := time.NewTimer(w.closeTimeout)
	defer patience.Stop()
	if w.channel.Send(false, fmt.Appendf([]byte{channelClose}, "%d %s", code, reason)) == nil {
		select {
		case <-w.ended:
		case <-patience.C:
		}
	}
	w.end(&websocket.CloseError{Code: code, Reason: reason, Side: websocket.Local})
	return nil
}
