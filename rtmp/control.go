package rtmp

import (
	"fmt"
	"time"

	"hawser/amf"
	"hawser/lifecycle"
	"hawser/netio"
)

// Control is a Source that can pause and seek: a recording. A stream whose source is one (SetSource in OnPlay) is announced
// to the player as recorded, and its commands pause, pauseRaw and seek come here; without it pause holds back what the source would
// give, and seek changes nothing. Pause and Seek are called by the connection's reading goroutine, never while a Fill is under way.
type Control interface {
	netio.Source
	// Pause stops or goes on; at is where the player stands, which may be before what was given. An error leaves things as they
	// are and is told to the player.
	Pause(paused bool, at time.Duration) error
	// Seek goes to a place that can be played from, near to, and says where that is; what Fill gives next begins there. An error is
	// told to the player (NetStream.Seek.Failed, or InvalidTime for lifecycle.ReasonBadRequest) and leaves things as they are.
	Seek(to time.Duration) (at time.Duration, err error)
}

// Complete tells a player that a recording has been given to its end, and how long it was: onPlayStatus with NetStream.Play.Complete, Stream
// EOF, NetStream.Play.Stop. Most clients close then, and OnStop follows; the source stays, for those that seek back. It may be called from Fill.
func (s *Stream) Complete(length time.Duration) {
	info := append(statusInfo("status", "NetStream.Play.Complete", s.Path()+" is complete."),
		amf.Member{Name: "duration", Value: length.Seconds()})
	s.conn.queue(Message{Type: TypeData, StreamID: s.id, Payload: amf.Append(nil, "onPlayStatus", info)},
		userControl(ControlStreamEOF, s.id), status(s.id, "status", "NetStream.Play.Stop", "Stopped playing "+s.Path()+"."))
}

// SendControl sends a user control event about this stream, for example ControlStreamDry (RTMP 1.0 section 7.1.7).
func (s *Stream) SendControl(event uint16) { s.conn.queue(userControl(event, s.id)) }

// player returns the stream that a command is for, if it plays.
func (c *Conn) player(cmd *Command) *Stream {
	if s := c.meant(cmd.StreamID); s != nil && s.state == streamPlaying {
		return s
	}
	return nil
}

// pause answers pause and pauseRaw (RTMP 1.0 section 7.2.2.8).
func (c *Conn) pause(cmd *Command) {
	s := c.player(cmd)
	if s == nil {
		return
	}
	defer c.w.Wake()
	c.order.Lock() // what is given after the command follows its answer
	defer c.order.Unlock()
	paused := cmd.Bool(0, true)
	control := s.control.Load()
	if control != nil {
		if err := (*control).Pause(paused, milliseconds(cmd.Number(1, 0))); err != nil {
			s.SendStatus("error", "NetStream.Failed", lifecycle.ReasonOf(err).Text)
			return
		}
	}
	s.paused.Store(paused)
	event, code, text := ControlStreamBegin, "NetStream.Unpause.Notify", s.Path()+" goes on."
	if paused {
		event, code, text = ControlStreamEOF, "NetStream.Pause.Notify", s.Path()+" is paused."
	}
	if control != nil {
		s.SendControl(event)
	}
	s.SendStatus("status", code, text)
}

// seek answers seek (RTMP 1.0 section 7.2.2.7): what is live stays live.
func (c *Conn) seek(cmd *Command) {
	s := c.player(cmd)
	if s == nil {
		return
	}
	control := s.control.Load()
	if control == nil {
		s.SendStatus("status", "NetStream.Seek.Notify", s.Path()+" is live.")
		return
	}
	defer c.w.Wake()
	c.order.Lock()
	defer c.order.Unlock()
	at, err := (*control).Seek(milliseconds(cmd.Number(0, 0)))
	if err != nil {
		why, code := lifecycle.ReasonOf(err), "NetStream.Seek.Failed"
		if why.Code == lifecycle.ReasonBadRequest.Code {
			code = "NetStream.Seek.InvalidTime"
		}
		s.SendStatus("error", code, why.Text)
		return
	}
	c.queue(userControl(ControlStreamEOF, s.id), userControl(ControlStreamRecorded, s.id), userControl(ControlStreamBegin, s.id),
		status(s.id, "status", "NetStream.Seek.Notify", fmt.Sprintf("Seeking %d in %s.", at.Milliseconds(), s.Path())),
		status(s.id, "status", "NetStream.Play.Start", "Started playing "+s.Path()+"."))
}

// receive acts on receiveAudio and receiveVideo (RTMP 1.0 sections 7.2.2.4 and 7.2.2.5).
func (c *Conn) receive(cmd *Command) {
	s := c.meant(cmd.StreamID)
	if s == nil {
		return
	}
	unwanted := !cmd.Bool(0, true)
	if cmd.Name == "receiveAudio" {
		s.noAudio.Store(unwanted)
	} else {
		s.noVideo.Store(unwanted)
	}
	s.Wake()
}
