package session

import (
	"slices"
	"time"

	"hawser/lifecycle"
)

// ServerOptions bounds what one client may ask of a server.
type ServerOptions struct {
	// MaxMessage bounds a text message, in bytes; 0 means DefaultMaxMessage.
	MaxMessage int
	// MaxSubscriptions bounds the subscriptions, and by itself the plays; 0 means DefaultMaxSubscriptions.
	MaxSubscriptions int
}

// Request is what a client asks: Hello, Subscribe, Unsubscribe, Throttle, Publish, Play, Stop, Call, Cancel, Token, Pause, Resume, Source, Signal, Ping, Pong or Bye. After a Hello, Server.Next
// gives what stands in it.
type Request interface{ request() }

// Subscribe asks to follow the data of Path. The first answer is a snapshot, or a window where one is wanted, or a status "refused" (then call Server.Unsubscribed).
type Subscribe struct {
	Path string
	// From is FromLive, FromSnapshot, FromOffset or FromHistory.
	From From
	// Epoch and Offset are the next update wanted, with FromOffset.
	Epoch, Offset uint64
	Want
}

// Unsubscribe ends a subscription that exists.
type Unsubscribe struct{ Path string }

// Throttle changes the rate of a subscription that exists.
type Throttle struct {
	Path string
	// Rate is the most updates a second, where HasRate says so; else there is no bound.
	Rate    float64
	HasRate bool
}

// Publish publishes data. The answer is an ack, or an error with ID.
type Publish struct {
	ID   uint64
	Path string
	// Kind is KindLog, with Data, KindRecord, with Fields, or KindJSON, with Data or Patch; all alias the message that was received.
	Kind   Kind
	Data   []byte
	Fields []byte
	Patch  []byte
	// Time is media time, where HasTime says so.
	Time    time.Duration
	HasTime bool
	// TTL removes the subject when nothing was published on it for so long; 0 means never.
	TTL time.Duration
}

// Play asks for the media of Path. The first answer is a media message; with StatusGone when it is refused (then call Server.Stopped).
type Play struct {
	Path string
	// From is FromKeyframe or FromOffset.
	From From
	// Epoch and Offset are the next frame wanted, with FromOffset.
	Epoch, Offset uint64
}

// Stop ends a play that exists.
type Stop struct{ Path string }

// Call asks for something to be done. The answer is a result.
type Call struct {
	ID uint64
	// Name is what is called, a path.
	Name string
	// Data is the argument; it aliases the message that was received. nil for none.
	Data []byte
	// Timeout is how long the client waits; 0 means no bound.
	Timeout time.Duration
}

// Cancel calls a call off.
type Cancel struct{ ID uint64 }

// Token renews the credentials. The answer is a result.
type Token struct {
	ID    uint64
	Token string
}

// Pause asks for no updates, windows and media until Resume.
type Pause struct{}

// Resume ends a pause.
type Resume struct{}

// Source says whether this session feeds Path and all below it.
type Source struct {
	Path string
	On   bool
	// Optional says that what it feeds is limited rather than stale without it.
	Optional bool
	// Priority chooses between sources: the greatest is asked.
	Priority int
}

// Signal is about the WebRTC peer of Path. Data aliases the message that was received.
type Signal struct {
	Path string
	Data []byte
}

// Ping is to be answered with a pong that has the same ID.
type Ping struct{ ID uint64 }

// Pong answers a ping of the server.
type Pong struct{ ID uint64 }

// Bye says that the client is about to close.
type Bye struct{}

func (Hello) request()       {}
func (Subscribe) request()   {}
func (Unsubscribe) request() {}
func (Throttle) request()    {}
func (Call) request()        {}
func (Cancel) request()      {}
func (Token) request()       {}
func (Pause) request()       {}
func (Resume) request()      {}
func (Source) request()      {}
func (Signal) request()      {}
func (Publish) request()     {}
func (Play) request()        {}
func (Stop) request()        {}
func (Ping) request()        {}
func (Pong) request()        {}
func (Bye) request()         {}

// Server is the server's machine of one session: it turns what the client sends into requests and keeps the rules (hello first, limits, valid paths, nothing
// subscribed or played twice). Its methods must not run at once.
type Server struct {
	o     ServerOptions
	hello bool
	over  bool
	subs  map[string]struct{}
	plays map[string]struct{}
	asked []Message // in the hello, and not yet given by Next
}

// NewServer makes the machine for a connection on which nothing was said so far.
func NewServer(o ServerOptions) *Server {
	if o.MaxMessage <= 0 {
		o.MaxMessage = DefaultMaxMessage
	}
	if o.MaxSubscriptions <= 0 {
		o.MaxSubscriptions = DefaultMaxSubscriptions
	}
	return &Server{o: o}
}

// Receive takes one text message and returns what the client asks, or nil when there is nothing to do. An error is an *Error: send what its Append gives, and
// close the connection with its Reason when it is Fatal; otherwise the session goes on. After a fatal error and after a Bye nothing is returned any more.
func (s *Server) Receive(b []byte) (Request, error) {
	if s.over {
		return nil, nil
	}
	var m Message
	err := s.parse(b, &m)
	if err == nil {
		var req Request
		if req, err = s.act(&m); err == nil {
			return req, nil
		}
	}
	return nil, s.refuse(err.(*Error))
}

// Next returns the requests that stand in the hello, in their order, after that was answered with a welcome; nil without an error when there are no more. Errors are those of Receive.
func (s *Server) Next() (Request, error) {
	for len(s.asked) > 0 && !s.over {
		m := &s.asked[0]
		s.asked = s.asked[1:]
		req, err := s.act(m)
		if err != nil {
			return nil, s.refuse(err.(*Error))
		}
		if req != nil {
			return req, nil
		}
	}
	s.asked = nil
	return nil, nil
}

// refuse makes an error what the driver gets.
func (s *Server) refuse(e *Error) *Error {
	if e.Path != "" && len(e.Path) > MaxPath {
		e.Path = "" // not worth sending back
	}
	e.Fatal = e.Fatal || !s.hello
	s.over = e.Fatal
	return e
}

// Subscriptions returns how many subscriptions and plays the client has.
func (s *Server) Subscriptions() (subscriptions, plays int) { return len(s.subs), len(s.plays) }

// Unsubscribed says that the server ended a subscription by itself (refused, removed): the client may subscribe again.
func (s *Server) Unsubscribed(path string) { delete(s.subs, path) }

// Stopped says that the server ended a play by itself (refused, gone): the client may play again.
func (s *Server) Stopped(path string) { delete(s.plays, path) }

func (s *Server) parse(b []byte, m *Message) error {
	if len(b) > s.o.MaxMessage {
		lifecycle.CountReached("session.MaxMessage")
		return &Error{Reason: lifecycle.ReasonTooBig.With("message: got %d bytes, want at most %d", len(b), s.o.MaxMessage), Fatal: true}
	}
	return Parse(b, m)
}

// act checks the rules for a message that is well formed, and makes the request.
func (s *Server) act(m *Message) (Request, error) {
	switch {
	case m.Type == TypeHello && s.hello:
		return nil, fatal(lifecycle.ReasonProtocol.With("hello: said twice"))
	case m.Type == TypeHello:
		return s.actHello(m)
	case !s.hello:
		return nil, fatal(lifecycle.ReasonProtocol.With("%s: want hello first", m.name()))
	case !m.Type.toServer():
		return nil, &Error{Reason: lifecycle.ReasonUnsupported.With("%s", m.name()), ID: m.ID, Path: m.Path}
	case m.Type == TypePing:
		return Ping{m.ID}, nil
	case m.Type == TypePong:
		return Pong{m.ID}, nil
	case m.Type == TypeBye:
		s.over = true
		return Bye{}, nil
	case m.Type == TypeCancel:
		return Cancel{m.ID}, nil
	case m.Type == TypeToken:
		return Token{m.ID, m.Token}, nil
	case m.Type == TypePause:
		return Pause{}, nil
	case m.Type == TypeResume:
		return Resume{}, nil
	case m.Type == TypeCall:
		m.Path = m.Name
	}
	if text := pathFault(m.Path); text != "" {
		return nil, &Error{Reason: lifecycle.ReasonBadRequest.With("path: %s", text), ID: m.ID, Path: m.Path}
	}
	return s.actPath(m)
}

func (s *Server) actHello(m *Message) (Request, error) {
	if m.Version != Version {
		return nil, fatal(lifecycle.ReasonUnsupported.With("version %d: this server speaks %d", m.Version, Version))
	}
	if err := checkPublisher(m.Publisher); err != nil {
		return nil, err
	}
	s.hello = true
	s.asked = slices.Concat(m.Subscribe, m.Play)
	return m.Hello, nil
}

// actPath makes the requests that are about a path.
func (s *Server) actPath(m *Message) (Request, error) {
	switch m.Type {
	case TypeSubscribe:
		if err := s.enter(&s.subs, m, TypeStatus); err != nil {
			return nil, err
		}
		return Subscribe{m.Path, defaultFrom(m.From, FromSnapshot), m.Epoch, m.Offset, m.Want}, nil
	case TypePlay:
		if err := s.enter(&s.plays, m, TypeMedia); err != nil {
			return nil, err
		}
		return Play{m.Path, defaultFrom(m.From, FromKeyframe), m.Epoch, m.Offset}, nil
	case TypePublish:
		return Publish{m.ID, m.Path, max(m.Kind, KindLog), m.Data, m.Fields, m.Patch, m.Time, m.HasTime, m.TTL}, nil
	case TypeThrottle:
		if _, ok := s.subs[m.Path]; ok {
			return Throttle{m.Path, m.Rate, m.HasRate}, nil
		}
	case TypeCall:
		return Call{m.ID, m.Name, m.Data, m.Timeout}, nil
	case TypeSource:
		return Source{m.Path, m.On, m.Optional, m.Priority}, nil
	case TypeSignal:
		return Signal{m.Path, m.Data}, nil
	case TypeUnsubscribe:
		if leave(s.subs, m.Path) {
			return Unsubscribe{m.Path}, nil
		}
	case TypeStop:
		if leave(s.plays, m.Path) {
			return Stop{m.Path}, nil
		}
	}
	return nil, nil // ending what has ended already is no fault: both sides may have done so at once
}

// enter notes a new subscription or play.
func (s *Server) enter(set *map[string]struct{}, m *Message, answer Type) error {
	if _, ok := (*set)[m.Path]; ok {
		return &Error{Reason: lifecycle.ReasonBadRequest.With("already %s", participle(m.Type)), Path: m.Path}
	}
	if len(*set) >= s.o.MaxSubscriptions {
		text := "at most %d subscriptions a session"
		if m.Type == TypePlay {
			text = "at most %d plays a session"
		}
		return &Error{Reason: lifecycle.Reached("MaxSubscriptions", s.o.MaxSubscriptions).With(text, s.o.MaxSubscriptions), Path: m.Path, refuses: answer}
	}
	if *set == nil {
		*set = make(map[string]struct{})
	}
	(*set)[m.Path] = struct{}{}
	return nil
}

func leave(set map[string]struct{}, path string) bool {
	_, ok := set[path]
	delete(set, path)
	return ok
}

func participle(t Type) string {
	if t == TypePlay {
		return "playing"
	}
	return "subscribed"
}

func defaultFrom(f, fallback From) From {
	if f == FromDefault {
		return fallback
	}
	return f
}

// name returns the message's "t".
func (m *Message) name() string {
	if m.Type == TypeUnknown {
		return m.Word
	}
	return m.Type.String()
}

func fatal(r lifecycle.Reason) *Error { return &Error{Reason: r, Fatal: true} }
