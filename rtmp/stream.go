package rtmp

import (
	"fmt"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"hawser/lifecycle"
	"hawser/netio"
)

// MediaStreamID is the message stream id that a Source's messages must carry: nearly every client plays on it. A player
// with another one gets them rewritten.
const MediaStreamID = 1

// Mode is how a client wants to publish (RTMP 1.0 section 7.2.2.6).
type Mode string

// The modes of publish.
const (
	ModeLive   Mode = "live"   // broadcast, no file
	ModeRecord Mode = "record" // and record into a new file
	ModeAppend Mode = "append" // and record at the end of the file
)

// PlayWhat is which kind of stream a client wants to play (RTMP 1.0 section 7.2.2.1).
type PlayWhat uint8

// The kinds of stream that play may ask for.
const (
	PlayAny      PlayWhat = iota // live if there is one, else recorded
	PlayLive                     // live only
	PlayRecorded                 // recorded, from Start. librtmp asks for this even when it means any.
)

var playWords = [...]string{"any", "live", "recorded"}

// String returns the kind in one word.
func (w PlayWhat) String() string {
	if int(w) < len(playWords) {
		return playWords[w]
	}
	return fmt.Sprintf("PlayWhat(%d)", uint8(w))
}

// MarshalText returns the word of String.
func (w PlayWhat) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// PlayRequest is what play asks for beside the name.
type PlayRequest struct {
	// What is the kind of stream.
	What PlayWhat
	// Start is where a recorded stream begins.
	Start time.Duration
	// Duration ends the play; 0 means no end.
	Duration time.Duration
	// Reset clears what the client had in its playlist. There are no playlists here: whatever it had ends.
	Reset bool
	// Buffer is the client's buffer, as far as it has told (Set Buffer Length).
	Buffer time.Duration
}

type streamState uint8

const (
	streamIdle streamState = iota
	streamPublishing
	streamPlaying
)

// Stream is a stream object of a connection (createStream), which publishes or plays. SetPath, SetSink and DeferUnpublish are for the
// handler functions only; all other methods may run at once.
type Stream struct {
	// Data is the handlers' own; this package does not touch it.
	Data any

	// What each write looks at stands together, as in Conn.
	conn        *Conn
	source      atomic.Pointer[netio.Source]
	alsoPlaying atomic.Pointer[Stream] // the next of the connection's that plays
	paused      atomic.Bool

	// Owned by the reading goroutine, but for the id, which stays.
	id       uint32
	state    streamState
	sink     func(Message) error
	deferred bool

	asked            atomic.Pointer[asked]
	control          atomic.Pointer[Control] // the source's, if it is one
	noAudio, noVideo atomic.Bool
	buffer           atomic.Uint32 // milliseconds
}

// asked is what the latest publish or play asked for. It is replaced, never changed.
type asked struct {
	path, name string
	query      url.Values
	mode       Mode
	play       PlayRequest
}

// Conn returns the connection.
func (s *Stream) Conn() *Conn { return s.conn }

// ID returns the message stream id.
func (s *Stream) ID() uint32 { return s.id }

// Path returns "/app/name" without a query, or what SetPath made of it.
func (s *Stream) Path() string { return s.asked.Load().path }

// SetPath renames what is published or played; the client does not learn of it. The path must be well-formed: "/", at most
// MaxPath bytes of UTF-8, no empty segment, "." or "..".
func (s *Stream) SetPath(path string) error {
	if err := checkPath(path); err != nil {
		return err
	}
	ask := *s.asked.Load()
	ask.path = path
	s.asked.Store(&ask)
	return nil
}

// Name returns the stream's name as the client gave it, with its query.
func (s *Stream) Name() string { return s.asked.Load().name }

// Query returns the query of the name, the application and tcUrl, in this order of precedence.
func (s *Stream) Query() url.Values { return s.asked.Load().query }

// Mode returns how the client publishes; empty for a player.
func (s *Stream) Mode() Mode { return s.asked.Load().mode }

// Request returns what a player asked for.
func (s *Stream) Request() PlayRequest {
	p := s.asked.Load().play
	p.Buffer = time.Duration(s.buffer.Load()) * time.Millisecond
	return p
}

// Paused says whether the player has paused: its source is not asked for anything, and is woken when it goes on.
func (s *Stream) Paused() bool { return s.paused.Load() }

// Wants says whether the player wants audio and video (receiveAudio, receiveVideo); the source decides what to do about it.
func (s *Stream) Wants() (audio, video bool) { return !s.noAudio.Load(), !s.noVideo.Load() }

// SetSink says where a publisher's audio, video and data messages go, in order, called by the connection's reading goroutine. Data
// messages come without their @setDataFrame. An error ends the connection; a lifecycle.Reason or *ProtocolError in it says why.
func (s *Stream) SetSink(sink func(Message) error) { s.sink = sink }

// DeferUnpublish lets the publisher's owner keep the stream for a while after its broadcast: OnUnpublish is not called
// until it calls the function returned.
func (s *Stream) DeferUnpublish() (unpublished func(why lifecycle.Reason)) {
	s.deferred = true
	path, h := s.Path(), s.conn.h
	return func(why lifecycle.Reason) {
		if h.OnUnpublish != nil {
			h.OnUnpublish(path, why)
		}
	}
}

// SetSource says where a player's bytes come from, in OnPlay or later; nil for nowhere. The source gives whole messages as made by AppendMessage with
// the server's ChunkSize and MediaStreamID; they go out after the answer to play, when the connection is free and the stream was
// woken. The same bytes may go to any number of players. A player whose URL says timebase=zero gets them with times that count from its first
// frame, which costs only that player. A Fill may be under way in another goroutine while OnStop runs.
func (s *Stream) SetSource(source netio.Source) {
	if source == nil {
		s.detach()
		return
	}
	if control, ok := source.(Control); ok {
		s.control.Store(&control)
	} else {
		s.control.Store(nil)
	}
	zero := s.Query().Get("timebase") == "zero"
	if s.conn.h.OnPlayData != nil || s.id != MediaStreamID || zero {
		source = &rewriter{stream: s, from: source, zero: zero}
	}
	s.source.Store(&source)
	s.conn.w.Wake()
}

// detach leaves the stream without a source.
func (s *Stream) detach() {
	s.control.Store(nil)
	s.source.Store(nil)
}

// Wake implements ring.Waker: the source may have something.
func (s *Stream) Wake() { s.conn.w.Wake() }

// Send sends messages to this player or publisher alone, before anything more of its source. StreamID is set here.
func (s *Stream) Send(ms ...Message) {
	for i := range ms {
		ms[i].StreamID = s.id
	}
	s.conn.queue(ms...)
}

// SendStatus sends onStatus: level is "status", "warning" or "error".
func (s *Stream) SendStatus(level, code, description string) {
	s.conn.queue(status(s.id, level, code, description))
}

// End tells a player that its stream is over (Stream EOF, NetStream.Play.UnpublishNotify) and detaches the source, so that what the
// source has not given yet is not sent. Most clients close then, and OnStop follows.
func (s *Stream) End(why lifecycle.Reason) {
	s.detach()
	s.conn.queue(userControl(ControlStreamEOF, s.id),
		status(s.id, "status", "NetStream.Play.UnpublishNotify", why.Error()))
}

// started makes an accepted stream what it is.
func (s *Stream) started(state streamState) {
	c := s.conn
	s.state = state
	s.paused.Store(false)
	c.log.SetPath(s.Path())
	c.setState(lifecycle.Reason{})
	if state == streamPublishing {
		c.log.Event(lifecycle.Event{Kind: KindPublish, Path: s.Path(), Detail: string(s.Mode())})
		return
	}
	c.log.Event(lifecycle.Event{Kind: KindPlay, Path: s.Path()})
}

// finish ends what the stream does, if anything.
func (s *Stream) finish(why lifecycle.Reason) {
	c, state := s.conn, s.state
	s.state = streamIdle
	switch state {
	case streamPublishing:
		deferred := s.deferred
		s.sink, s.deferred = nil, false
		c.log.Event(lifecycle.Event{Kind: KindPublishClose, Path: s.Path(), Reason: why})
		if c.h.OnClose != nil {
			c.h.OnClose(s, why)
		}
		if !deferred && c.h.OnUnpublish != nil {
			c.h.OnUnpublish(s.Path(), why)
		}
	case streamPlaying:
		c.setPlaying()
		s.detach()
		c.log.Event(lifecycle.Event{Kind: KindStop, Path: s.Path(), Reason: why})
		if c.h.OnStop != nil {
			c.h.OnStop(s, why)
		}
	default:
		return
	}
	c.setState(lifecycle.Reason{})
}

// setPlaying tells the writer which streams play, behind messages that are queued for that: they are a chain, as there is nearly always one, and each pointer between is a line of memory to fetch.
func (c *Conn) setPlaying(first ...Message) {
	c.order.Lock()
	if len(first) > 0 {
		c.queue(first...)
	}
	last := &c.playing
	for _, s := range c.streams {
		if s.state == streamPlaying {
			last.Store(s)
			last = &s.alsoPlaying
		}
	}
	last.Store(nil)
	c.order.Unlock()
	c.w.Wake() // a Fill meanwhile may have missed some
}

func (c *Conn) stream(id uint32) *Stream {
	for _, s := range c.streams {
		if s.id == id {
			return s
		}
	}
	return nil
}

// meant is stream for what clients send on message stream 0 too, which is that of the connection itself: there it means the only stream object that there is.
func (c *Conn) meant(id uint32) *Stream {
	if id == 0 && len(c.streams) == 1 {
		return c.streams[0]
	}
	return c.stream(id)
}

// newStream makes a stream object with the lowest free id, nil if there are too many.
func (c *Conn) newStream() *Stream {
	if len(c.streams) >= c.server.MaxStreams {
		return nil
	}
	id := uint32(1)
	for c.stream(id) != nil {
		id++
	}
	s := &Stream{conn: c, id: id}
	s.asked.Store(&asked{})
	c.mu.Lock()
	c.streams = append(slices.Clone(c.streams), s)
	c.mu.Unlock()
	return s
}

func (c *Conn) removeStream(s *Stream) {
	c.mu.Lock()
	c.streams = slices.DeleteFunc(slices.Clone(c.streams), func(o *Stream) bool { return o == s })
	c.mu.Unlock()
}
