package rtmp

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"hawser/lifecycle"
)

// outbound is where an inbound sends its own replies: a Conn or a Client.
type outbound interface {
	write(b []byte)        // ready bytes
	queue(ms ...Message)   // in chunks of the size announced
	message(Message) error // takes what is not the inbound's own business
}

// inbound is the receiving side of a connection, the same for server and client: handshake, chunks, acknowledgements and
// the protocol control messages. All fields but the atomic ones are owned by the goroutine that feeds it.
type inbound struct {
	out    outbound
	hs     *handshake // nil when done
	chunks *ChunkReader
	emit   func(Message) error // in.message, made once

	ackAt      uint64 // send the next acknowledgement at this many bytes
	peerWindow uint64 // bytes between our acknowledgements
	ownWindow  uint32 // as the peer last heard it
	hard       bool   // the peer's latest Set Peer Bandwidth was a hard limit

	received atomic.Uint64 // bytes
	acked    atomic.Uint32 // last acknowledgement of the peer
}

func (in *inbound) init(out outbound, client bool, l Limits, window uint32) {
	in.out, in.hs, in.chunks = out, newHandshake(client), NewChunkReader(l)
	in.chunks.offset = handshakeBytes
	in.emit = in.message
	in.ackAt, in.peerWindow, in.ownWindow = uint64(window), uint64(window), window
}

// feed takes what arrived.
func (in *inbound) feed(b []byte) error {
	received := in.received.Add(uint64(len(b)))
	if in.hs != nil {
		reply, rest, done, err := in.hs.feed(b)
		if err != nil {
			return err
		}
		if reply != nil {
			in.out.write(reply)
		}
		if !done {
			return nil
		}
		in.hs, b = nil, rest
	}
	if err := in.chunks.Feed(b, in.emit); err != nil {
		return err
	}
	if received >= in.ackAt {
		in.ackAt = received + in.peerWindow
		in.out.queue(control(TypeAck, uint32(received)))
	}
	return nil
}

func (in *inbound) broken(got, want string) error {
	return in.chunks.fail(lifecycle.ReasonProtocol, got, want)
}

// message acts on protocol control messages (RTMP 1.0 section 5.4) and pings; the rest it passes on.
func (in *inbound) message(m Message) error {
	switch m.Type {
	case TypeAck, TypeWindowAckSize, TypeSetPeerBandwidth:
		if len(m.Payload) < 4 {
			return in.broken(fmt.Sprintf("%s of %d bytes", typeName(m.Type), len(m.Payload)), "at least 4")
		}
		in.control(m)
		return nil
	case TypeUserControl:
		if len(m.Payload) < 2 {
			return in.broken(fmt.Sprintf("user control of %d bytes", len(m.Payload)), "at least 2")
		}
		if binary.BigEndian.Uint16(m.Payload) == ControlPingRequest && len(m.Payload) >= 6 {
			in.out.queue(userControl(ControlPingResponse, binary.BigEndian.Uint32(m.Payload[2:])))
			return nil
		}
	}
	return in.out.message(m)
}

// control acts on the messages about windows. What the peer has acknowledged is only counted: many never acknowledge anything, and TCP holds
// back a sender whose peer does not read.
func (in *inbound) control(m Message) {
	v := binary.BigEndian.Uint32(m.Payload)
	switch {
	case m.Type == TypeAck:
		in.acked.Store(v)
	case v == 0: // no window at all makes no sense: keep what there is
	case m.Type == TypeWindowAckSize:
		in.peerWindow = uint64(v)
		in.ackAt = min(in.ackAt, in.received.Load()+in.peerWindow)
	default:
		in.peerBandwidth(v, m.Payload[4:])
	}
}

// The limit types of Set Peer Bandwidth (RTMP 1.0 section 5.4.5).
const (
	limitHard    byte = 0
	limitSoft    byte = 1
	limitDynamic byte = 2
)

// peerBandwidth acts on a limit to the bytes that we may have under way: the window is announced when it changes.
func (in *inbound) peerBandwidth(v uint32, rest []byte) {
	limit := limitHard
	if len(rest) > 0 {
		limit = rest[0]
	}
	switch {
	case limit == limitSoft:
		v = min(v, in.ownWindow)
	case limit == limitDynamic && !in.hard:
		return
	}
	in.hard = limit == limitHard || limit == limitDynamic
	if v != in.ownWindow {
		in.ownWindow = v
		in.out.queue(control(TypeWindowAckSize, v))
	}
}
