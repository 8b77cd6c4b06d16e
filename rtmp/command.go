package rtmp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"hawser/amf"
	"hawser/lifecycle"
)

// setDataFrame is how a publisher's data message begins that is to be stored for late players; the rest is the message.
var setDataFrame = amf.Append(nil, "@setDataFrame")

// command builds a command message; the first of values is the command object.
func command(stream uint32, name string, transaction float64, values ...amf.Value) Message {
	b := amf.Append(nil, name, transaction)
	return Message{Type: TypeCommand, StreamID: stream, Payload: amf.Append(b, values...)}
}

// status builds an onStatus command (RTMP 1.0 section 7.2.2).
func status(stream uint32, level, code, description string) Message {
	return command(stream, "onStatus", 0, nil, statusInfo(level, code, description))
}

func statusInfo(level, code, description string) amf.Object {
	return amf.Object{{Name: "level", Value: level}, {Name: "code", Value: code}, {Name: "description", Value: description}}
}

// amf0 turns a command or data message of types 17 and 15 into one of types 20 and 18: their payload is AMF0 after a byte that names the format,
// of which there is only 0 (Enhanced RTMP v2, "Important AMF3-encoded Historical Specification Clarification"). Values in it may
// switch to AMF3, which is package amf's business.
func amf0(m Message) Message {
	switch m.Type {
	case TypeCommandAMF3:
		m.Type = TypeCommand
	case TypeDataAMF3:
		m.Type = TypeData
	default:
		return m
	}
	if len(m.Payload) > 0 && m.Payload[0] == 0 {
		m.Payload = m.Payload[1:]
	}
	return m
}

// parseCommand decodes a command message of either AMF.
func parseCommand(m Message) (*Command, error) {
	values, err := amf.Decode(amf0(m).Payload)
	if err != nil {
		return nil, err
	}
	if len(values) < 1 {
		return nil, fmt.Errorf("no value")
	}
	name, ok := values[0].(string)
	if !ok {
		return nil, fmt.Errorf("a name of type %T", values[0])
	}
	cmd := &Command{Name: name, StreamID: m.StreamID}
	if len(values) > 1 {
		cmd.Transaction, _ = values[1].(float64)
	}
	if len(values) > 2 {
		cmd.Object, cmd.Args = values[2], values[3:]
	}
	return cmd, nil
}

// info returns the information object of an answer or status: level, code, description.
func (c *Command) info() amf.Object {
	for _, v := range c.Args {
		if o := amf.Members(v); o != nil {
			return o
		}
	}
	return amf.Members(c.Object)
}

// failure returns what an answer _error says, as a *Refusal; nil for other commands.
func (c *Command) failure() error {
	if c.Name != "_error" {
		return nil
	}
	info := c.info()
	r := &Refusal{Code: info.String("code"), Description: info.String("description")}
	if ex := amf.Members(info.Get("ex")); ex != nil {
		r.Redirect = ex.String("redirect")
	}
	return r
}

// message acts on one message of the client.
func (c *Conn) message(m Message) error {
	switch m.Type {
	case TypeAudio, TypeVideo, TypeData, TypeDataAMF3:
		return c.media(m)
	case TypeAggregate:
		if err := splitAggregate(m, c.media); err != nil {
			return c.in.broken(err.Error(), "FLV tags")
		}
		return nil
	case TypeCommand, TypeCommandAMF3:
		cmd, err := parseCommand(m)
		if err != nil {
			var syntax *amf.SyntaxError
			if errors.As(err, &syntax) && syntax.Limit != "" {
				lifecycle.CountReached("amf." + syntax.Limit)
			}
			return c.in.broken("a command with "+err.Error(), "AMF0: name, transaction, object")
		}
		return c.command(cmd)
	case TypeUserControl:
		c.userControl(m.Payload)
	}
	return nil // chunk size and abort are the reader's; shared objects and unknown types are nothing to us
}

// media takes a packet of a publisher. Late packets of a broadcast that has ended are dropped.
func (c *Conn) media(m Message) error {
	s := c.meant(m.StreamID)
	if s == nil || s.state != streamPublishing {
		if !c.connected.Load() {
			return c.in.broken(typeName(m.Type)+" message", "connect first")
		}
		return nil
	}
	if m.Type == TypeDataAMF3 || m.Type == TypeData {
		m = amf0(m)
		m.Payload, _ = bytes.CutPrefix(m.Payload, setDataFrame)
	}
	if keep := c.h.OnPublishData; keep != nil {
		altered := m // on the heap, and only here
		if !keep(s, &altered) {
			return nil
		}
		m = altered
	}
	if s.sink == nil {
		return nil
	}
	return s.sink(m)
}

// userControl acts on the user control events that say something to a server (RTMP 1.0 section 7.1.7).
func (c *Conn) userControl(p []byte) {
	if len(p) < 10 || binary.BigEndian.Uint16(p) != ControlSetBufferLength {
		return
	}
	if s := c.stream(binary.BigEndian.Uint32(p[2:])); s != nil {
		s.buffer.Store(binary.BigEndian.Uint32(p[6:]))
	}
}

// result answers a command, unless it wants no answer.
func (c *Conn) result(cmd *Command, values ...amf.Value) {
	if cmd.Transaction != 0 {
		c.queue(command(0, "_result", cmd.Transaction, values...))
	}
}

func (c *Conn) failed(cmd *Command, code, description string) {
	if cmd.Transaction != 0 {
		c.queue(command(0, "_error", cmd.Transaction, nil, statusInfo("error", code, description)))
	}
}

// playStart reads the start argument of play: seconds in the specification, but milliseconds from every client there is.
func playStart(v float64) (PlayWhat, time.Duration) {
	switch {
	case v == -1 || v == -1000:
		return PlayLive, 0
	case v >= 0:
		return PlayRecorded, milliseconds(v)
	}
	return PlayAny, 0
}

// number is the start argument of play for it.
func (w PlayWhat) number(start time.Duration) float64 {
	switch w {
	case PlayLive:
		return -1000
	case PlayRecorded:
		return float64(start.Milliseconds())
	}
	return -2000
}

// milliseconds turns a client's number into a duration, without overflow.
func milliseconds(v float64) time.Duration {
	const most = float64(1 << 40)
	if !(v > 0) {
		return 0
	}
	return time.Duration(min(v, most)) * time.Millisecond
}
