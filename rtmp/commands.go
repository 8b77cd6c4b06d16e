package rtmp

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"hawser/amf"
	"hawser/lifecycle"
)

// What a refusal for a reason is called on the wire. Clients show the description; a few look at the code.
var (
	publishCodes = map[int]string{
		lifecycle.ReasonTaken.Code:        "NetStream.Publish.BadName",
		lifecycle.ReasonBadRequest.Code:   "NetStream.Publish.BadName",
		lifecycle.ReasonUnauthorized.Code: "NetStream.Publish.Denied",
	}
	playCodes = map[int]string{
		lifecycle.ReasonNotFound.Code:     "NetStream.Play.StreamNotFound",
		lifecycle.ReasonGone.Code:         "NetStream.Play.StreamNotFound",
		lifecycle.ReasonBadRequest.Code:   "NetStream.Play.StreamNotFound",
		lifecycle.ReasonUnauthorized.Code: "NetStream.Play.Failed",
	}
)

// MaxNotes is how many commands, statuses, results and refusals of one connection go to the event log.
const MaxNotes = 100

// command acts on one command of the client (RTMP 1.0 section 7.2, and what clients send beside it).
func (c *Conn) command(cmd *Command) error {
	if cmd.Name == "connect" {
		return c.connect(cmd)
	}
	if !c.connected.Load() {
		return c.in.broken(fmt.Sprintf("command %q", cmd.Name), "connect first")
	}
	switch cmd.Name {
	case "createStream":
		if s := c.newStream(); s != nil {
			c.result(cmd, nil, float64(s.id))
		} else {
			why := lifecycle.Reached("rtmp.MaxStreams", c.server.MaxStreams).With("more than %d streams (MaxStreams)", c.server.MaxStreams)
			c.log.Event(lifecycle.Event{Kind: KindRefuse, Detail: cmd.Name, Reason: why})
			c.failed(cmd, "NetConnection.Call.Failed", why.Text)
		}
	case "publish":
		return c.publish(cmd)
	case "play":
		return c.play(cmd)
	case "play2":
		return c.play2(cmd)
	case "closeStream":
		c.closeStream(cmd.StreamID)
	case "deleteStream":
		c.deleteStream(uint32(cmd.Number(0, 0))) // without an answer: most clients close at once
	case "FCPublish":
		c.queue(command(0, "onFCPublish", 0, nil, statusInfo("status", "NetStream.Publish.Start", cmd.String(0))))
		c.result(cmd, nil)
	case "FCUnpublish":
		c.unpublish(cmd.String(0))
		c.queue(command(0, "onFCUnpublish", 0, nil, statusInfo("status", "NetStream.Unpublish.Success", cmd.String(0))))
		c.result(cmd, nil)
	case "pause", "pauseRaw":
		c.pause(cmd)
	case "seek":
		c.seek(cmd)
	case "receiveAudio", "receiveVideo":
		c.receive(cmd)
	default:
		return c.otherCommand(cmd)
	}
	return nil
}

// otherCommand acts on the commands that only want an answer, and on unknown ones.
func (c *Conn) otherCommand(cmd *Command) error {
	switch cmd.Name {
	case "releaseStream", "_checkbw", "checkBandwidth", "setBufferTime", "getStats", "set_playlist":
		c.result(cmd, nil)
	case "getStreamLength":
		c.result(cmd, nil, c.length(cmd.String(0)).Seconds())
	case "FCSubscribe":
		c.queue(command(0, "onFCSubscribe", 0, nil, statusInfo("status", "NetStream.Play.Start", cmd.String(0))))
		c.result(cmd, nil)
	case "FCUnsubscribe":
		c.queue(command(0, "onFCUnsubscribe", 0, nil, statusInfo("status", "NetStream.Play.Stop", cmd.String(0))))
		c.result(cmd, nil)
	case "onStatus":
		c.note(KindStatus, cmd.info().String("code"))
		if c.h.OnStatus != nil {
			c.h.OnStatus(c, cmd)
		}
	case "_result", "_error":
		c.answered(cmd)
	default:
		c.unknown(cmd)
	}
	return nil
}

func (c *Conn) unknown(cmd *Command) {
	c.note(KindCommand, cmd.Name)
	if c.h.OnCommand == nil {
		c.failed(cmd, "NetConnection.Call.Failed", fmt.Sprintf("%q is not a command here", cmd.Name))
		return
	}
	values, err := c.h.OnCommand(c.ctx, c, cmd)
	if !errors.Is(err, ErrLater) {
		c.Answer(cmd, values, err)
	}
}

// Answer answers a command for which OnCommand returned ErrLater: with the values after the command object, or with err as OnCommand would. A
// command that wants no answer gets none.
func (c *Conn) Answer(cmd *Command, values []amf.Value, err error) {
	if err != nil {
		r := asRefusal(err, "NetConnection.Call.Failed", nil)
		c.failed(cmd, r.Code, r.Description)
		return
	}
	c.result(cmd, append([]amf.Value{nil}, values...)...)
}

// length returns how long the recording of that name is, as far as the owner can tell.
func (c *Conn) length(name string) time.Duration {
	path, err := joinPath(c.App(), name)
	if err != nil || c.h.Length == nil {
		return 0
	}
	return c.h.Length(c, path)
}

// note logs what a client may send at will; after MaxNotes of them it is silent, so that nobody can flood the event log.
func (c *Conn) note(kind, detail string) {
	switch c.notes++; {
	case c.notes <= MaxNotes:
		c.log.Event(lifecycle.Event{Kind: kind, Detail: detail[:min(len(detail), MaxPath)]})
	case c.notes == MaxNotes+1:
		lifecycle.CountReached("rtmp.MaxNotes")
	}
}

func (c *Conn) answered(cmd *Command) {
	c.mu.Lock()
	call := c.calls[cmd.Transaction]
	delete(c.calls, cmd.Transaction)
	c.mu.Unlock()
	c.note(KindResult, cmd.Name)
	if call != nil {
		call <- cmd
	}
	if c.h.OnResult != nil {
		c.h.OnResult(c, cmd)
	}
}

// connect answers connect (RTMP 1.0 section 7.2.1.1).
func (c *Conn) connect(cmd *Command) error {
	if c.introduced.Load() != nil {
		return c.in.broken("a second connect", "one connect")
	}
	object := amf.Members(cmd.Object)
	if object == nil {
		return c.in.broken("connect without an object", "a command object")
	}
	c.introduced.Store(&introduction{app: appOf(object), tcURL: object.String("tcUrl"), object: object, args: cmd.Args,
		query: joinQuery(object.String("tcUrl"), object.String("app")), capabilities: capabilitiesIn(object)})
	if c.h.OnConnect != nil {
		if err := c.h.OnConnect(c.ctx, c); err != nil {
			return c.refuseConnect(cmd, err)
		}
	}
	enhanced := c.server.Capabilities.members() // the specification leaves open in which of the two objects
	info := append(statusInfo("status", "NetConnection.Connect.Success", "Connection succeeded."),
		amf.Member{Name: "objectEncoding", Value: 0.0})
	properties := amf.Object{{Name: "fmsVer", Value: "FMS/3,5,7,7009"}, {Name: "capabilities", Value: 31.0}, {Name: "mode", Value: 1.0}}
	b := appendMessages(nil, DefaultChunkSize, control(TypeWindowAckSize, c.server.Window), setPeerBandwidth(c.server.Window),
		control(TypeSetChunkSize, uint32(c.server.ChunkSize)))
	c.write(appendMessages(b, c.server.ChunkSize, command(0, "_result", cmd.Transaction,
		append(properties, enhanced...), append(info, enhanced...))))
	c.connected.Store(true)
	c.setState(lifecycle.Reason{})
	c.log.Event(lifecycle.Event{Kind: KindConnect, Path: "/" + c.App(), Detail: object.String("flashVer")})
	return nil
}

func (c *Conn) refuseConnect(cmd *Command, err error) error {
	r := asRefusal(err, "NetConnection.Connect.Rejected", nil)
	info, detail := statusInfo("error", r.Code, r.Description), "connect"
	if r.Redirect != "" {
		detail += ", sent to " + r.Redirect
		info = append(info, amf.Member{Name: "ex", Value: amf.Object{{Name: "code", Value: 302.0}, {Name: "redirect", Value: r.Redirect}}})
	}
	c.log.Event(lifecycle.Event{Kind: KindRefuse, Path: "/" + c.App(), Detail: detail, Reason: r.reason()})
	c.queue(command(0, "_error", cmd.Transaction, nil, info))
	return c.leave(r)
}

// leave ends the connection after a refusal: clients that were refused wait for that, or for ever.
func (c *Conn) leave(r *Refusal) error {
	c.markClosing(r.reason())
	return fmt.Errorf("%w: %w", ErrClosed, r)
}

// ask notes what publish or play asks for; it returns a refusal for a path that is not well-formed.
func (s *Stream) ask(a asked) error {
	_, query, _ := strings.Cut(a.name, "?")
	a.query = joinQuery(s.conn.TCURL(), s.conn.Object().String("app"), "?"+query)
	path, err := joinPath(s.conn.App(), a.name)
	a.path = path
	s.asked.Store(&a)
	if err != nil {
		return lifecycle.ReasonBadRequest.With("%s", strings.TrimPrefix(err.Error(), "rtmp: "))
	}
	return nil
}

// publish answers publish (RTMP 1.0 section 7.2.2.6).
func (c *Conn) publish(cmd *Command) error {
	s := c.meant(cmd.StreamID)
	if s == nil {
		return c.in.broken(fmt.Sprintf("publish on message stream %d", cmd.StreamID), "a stream made by createStream")
	}
	if s.state == streamPublishing {
		return c.in.broken(fmt.Sprintf("publish on message stream %d, which publishes already", cmd.StreamID), "closeStream first")
	}
	s.finish(lifecycle.ReasonDone)
	mode := Mode(cmd.String(1))
	if mode != ModeRecord && mode != ModeAppend {
		mode = ModeLive
	}
	err := s.ask(asked{name: cmd.String(0), mode: mode})
	if err == nil && c.h.OnPublish != nil {
		err = c.h.OnPublish(c.ctx, s)
	}
	if err != nil {
		return s.refuse("publish", asRefusal(err, "NetStream.Publish.Failed", publishCodes))
	}
	c.queue(userControl(ControlStreamBegin, s.id),
		status(s.id, "status", "NetStream.Publish.Start", s.Path()+" is now published."))
	s.started(streamPublishing)
	return nil
}

// play answers play (RTMP 1.0 section 7.2.2.1).
func (c *Conn) play(cmd *Command) error {
	what, start := playStart(cmd.Number(1, -2))
	return c.playName(cmd, cmd.String(0), PlayRequest{What: what, Start: start, Duration: milliseconds(cmd.Number(2, -1)), Reset: cmd.Bool(3, true)})
}

// play2 answers play2 (RTMP 1.0 section 7.2.2.2), which changes to another stream. There are no playlists: a play that should follow another
// takes its place at once, and a transition that would wait is refused.
func (c *Conn) play2(cmd *Command) error {
	options := cmd.info()
	switch transition := options.String("transition"); transition {
	case "", "switch", "swap", "reset":
	case "stop":
		c.closeStream(cmd.StreamID)
		return nil
	default:
		c.queue(status(cmd.StreamID, "error", "NetStream.Play.Failed", fmt.Sprintf("transition %q is not supported", transition)))
		return nil
	}
	what, start := PlayAny, time.Duration(0)
	if v, ok := options.Get("start").(float64); ok {
		what, start = playStart(v * 1000) // in seconds, here
	}
	return c.playName(cmd, options.String("streamName"), PlayRequest{What: what, Start: start, Duration: milliseconds(options.Number("len") * 1000)})
}

func (c *Conn) playName(cmd *Command, name string, request PlayRequest) error {
	s := c.meant(cmd.StreamID)
	if s == nil {
		return c.in.broken(fmt.Sprintf("%s on message stream %d", cmd.Name, cmd.StreamID), "a stream made by createStream")
	}
	s.finish(lifecycle.ReasonDone)
	err := s.ask(asked{name: name, play: request})
	if err == nil && c.h.OnPlay != nil {
		err = c.h.OnPlay(c.ctx, s)
	}
	if err != nil {
		return s.refuse("play", asRefusal(err, "NetStream.Play.Failed", playCodes))
	}
	var answer []Message
	if s.control.Load() != nil {
		answer = append(answer, userControl(ControlStreamRecorded, s.id))
	}
	answer = append(answer, userControl(ControlStreamBegin, s.id))
	if cmd.Name == "play2" {
		answer = append(answer, status(s.id, "status", "NetStream.Play.Transition", "Changing to "+s.Path()+"."))
	} else if request.Reset {
		answer = append(answer, status(s.id, "status", "NetStream.Play.Reset", "Playing and resetting "+s.Path()+"."))
	}
	s.started(streamPlaying)
	c.setPlaying(append(answer, status(s.id, "status", "NetStream.Play.Start", "Started playing "+s.Path()+"."))...)
	return nil
}

// refuse refuses a publish or play. What else the connection publishes and plays goes on; without that it ends, and when that is used to ask for ever.
func (s *Stream) refuse(what string, r *Refusal) error {
	c := s.conn
	s.detach()
	s.sink, s.deferred = nil, false
	c.log.Event(lifecycle.Event{Kind: KindRefuse, Path: s.Path(), Detail: what, Reason: r.reason()})
	s.SendStatus("error", r.Code, r.Description)
	if c.notes++; c.active() && c.notes <= MaxNotes {
		return nil
	}
	return c.leave(r)
}

func (c *Conn) closeStream(id uint32) {
	s := c.meant(id)
	if s == nil {
		return
	}
	switch s.state {
	case streamPublishing:
		s.SendStatus("status", "NetStream.Unpublish.Success", s.Path()+" is now unpublished.")
	case streamPlaying:
		s.SendStatus("status", "NetStream.Play.Stop", "Stopped playing "+s.Path()+".")
	}
	s.finish(lifecycle.ReasonDone)
}

func (c *Conn) deleteStream(id uint32) {
	s := c.stream(id)
	if s == nil {
		return
	}
	s.finish(lifecycle.ReasonDone)
	c.removeStream(s)
	c.log.Event(lifecycle.Event{Kind: KindDelete, Path: s.Path()})
	if c.h.OnDelete != nil {
		c.h.OnDelete(s)
	}
}

// unpublish ends the broadcast of that name.
func (c *Conn) unpublish(name string) {
	for _, s := range c.streams {
		if s.state == streamPublishing && s.Name() == name {
			c.closeStream(s.id)
		}
	}
}
