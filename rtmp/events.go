package rtmp

import (
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

// EventKind is what happened to a client's connection.
type EventKind uint8

// The kinds of Event, in the order in which they come; each says which fields it sets beside Kind, Time and Light.
const (
	EventNone          EventKind = iota
	EventConnecting              // before anything is sent
	EventConnected               // the network connection (and TLS) stands: Remote, Took
	EventHandshake               // the handshake is done: Took
	EventConnectResult           // connect was accepted: Status, Took
	EventStatus                  // a status came: Status
	EventControl                 // a user control message came: Control (stream begin, end, ...)
	EventMetadata                // a data message came: Name and Values, Timestamp
	EventTrack                   // a track began or changed: Track
	EventFirst                   // the first frame of a kind came: Media, Timestamp, Took since play
	EventBytes                   // at each interval: Bytes, Messages, Rate
	EventClosed                  // the end, last but with Persist: Reason
	EventRedirect                // between two EventConnecting: the server sends the client elsewhere: Status
	EventBackOff                 // after EventClosed, with Persist: the client waits and begins again: Attempt, Delay, Reason
)

var eventWords = [...]string{"none", "connecting", "connected", "handshake", "connect_result", "status", "control", "metadata",
	"track", "first", "bytes", "closed", "redirect", "back_off"}

// String returns the kind in one word.
func (k EventKind) String() string {
	if int(k) < len(eventWords) {
		return eventWords[k]
	}
	return fmt.Sprintf("EventKind(%d)", uint8(k))
}

// MarshalText returns the word of String.
func (k EventKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Status is the information object of a status or answer.
type Status struct {
	Level       string `json:"level,omitempty"`
	Code        string `json:"code,omitempty"`
	Description string `json:"description,omitempty"`
	// TCURL is where a request to reconnect points to; empty means the same place.
	TCURL string `json:"tc_url,omitempty"`
}

// The statuses that a client looks for.
const (
	codePublishing = "NetStream.Publish.Start"
	codePlaying    = "NetStream.Play.Start"
)

// codeReconnect asks a client to reconnect (Enhanced RTMP v2, "Message Flow When Handling NetConnection.Connect.ReconnectRequest").
const codeReconnect = "NetConnection.Connect.ReconnectRequest"

func statusOf(info amf.Object) *Status {
	return &Status{Level: info.String("level"), Code: info.String("code"), Description: info.String("description"), TCURL: info.String("tcUrl")}
}

// failure returns a refusal for level error and for a request to reconnect, else nil.
func (s *Status) failure() error {
	if s.Code == codeReconnect {
		return &Refusal{Code: s.Code, Description: s.Description, Redirect: s.TCURL, Reason: lifecycle.ReasonShutdown.With("the server asks to reconnect: %s", s.Description)}
	}
	if s.Level != "error" {
		return nil
	}
	return &Refusal{Code: s.Code, Description: s.Description}
}

// ending says whether a status ends what is played, and how.
func (s *Status) ending() error {
	switch s.Code {
	case "NetStream.Play.Stop", "NetStream.Play.UnpublishNotify", "NetStream.Play.Complete":
		return ErrStreamEnded
	}
	return s.failure()
}

// Event is what happened to a client's connection, as Events yields it; one flat record.
type Event struct {
	Kind  EventKind        `json:"kind"`
	Time  time.Time        `json:"time"`
	Light lifecycle.Health `json:"light"`
	// Remote is the server's address.
	Remote string `json:"remote,omitempty"`
	// Took is how long the step took.
	Took time.Duration `json:"took,omitempty"`
	// Status is what the server said.
	Status *Status `json:"status,omitempty"`
	// Control is the user control event's number (the Control constants).
	Control uint16 `json:"control,omitempty"`
	// Name and Values are a data message, for example onMetaData and its object.
	Name   string      `json:"name,omitempty"`
	Values []amf.Value `json:"values,omitempty"`
	// Track is a track's parameters.
	Track *media.Track `json:"track,omitempty"`
	// Media is the kind of frame, Timestamp its or the message's time in milliseconds.
	Media     media.Kind `json:"media,omitzero"`
	Timestamp uint32     `json:"timestamp,omitempty"`
	// Bytes and Messages count what was received so far, Rate is the bits per second since the last such event.
	Bytes    uint64 `json:"bytes,omitempty"`
	Messages uint64 `json:"messages,omitempty"`
	Rate     uint64 `json:"rate,omitempty"`
	// Attempt counts from 1, Delay is the wait before the next.
	Attempt int           `json:"attempt,omitempty"`
	Delay   time.Duration `json:"delay,omitempty"`
	// Reason says why it closed.
	Reason lifecycle.Reason `json:"reason,omitzero"`
}

// EventOptions are the settings of Events; nil and the zero value are good.
type EventOptions struct {
	// Dial is how to connect.
	Dial *DialOptions
	// Interval is the time between two EventBytes; 0 means one second.
	Interval time.Duration
	// Persist connects again, after such a wait, whenever the stream or the connection ends; nil ends then.
	Persist *BackOff
}

const defaultEventInterval = time.Second

// Events connects to a stream, plays it and yields everything that happens, in order, until the stream or the connection ends
// or ctx does; EventClosed comes last and says why. With Persist it goes on after that. It is what `hawser watch rtmp://...` prints.
func Events(ctx context.Context, rawURL string, o *EventOptions) iter.Seq[Event] {
	if o == nil {
		o = &EventOptions{}
	}
	return func(yield func(Event) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stopped := false
		p := &persistence{url: rawURL, dial: o.Dial, tell: func(e Event) {
			if stopped = stopped || !yield(e); stopped {
				cancel()
			}
		}}
		if o.Persist != nil {
			p.waits = newWaits(*o.Persist)
		}
		p.do = func(ctx context.Context, c *Client) error {
			w := &watch{emit: p.emit, client: c, interval: orDefault(o.Interval, defaultEventInterval), first: map[media.Kind]bool{}}
			return w.play(ctx)
		}
		p.run(ctx)
	}
}

func closedReason(err error) lifecycle.Reason {
	switch {
	case err == nil:
		return lifecycle.ReasonDone
	case errors.Is(err, ErrStreamEnded):
		return lifecycle.ReasonGone.Because(ErrStreamEnded)
	case errors.Is(err, context.Canceled):
		return lifecycle.ReasonDone
	}
	return lifecycle.ReasonOf(err).Because(err)
}

// watch is one connection of Events.
type watch struct {
	emit     func(Event)
	client   *Client
	interval time.Duration

	began    time.Time
	demuxer  flv.Demuxer
	first    map[media.Kind]bool
	messages uint64
	bytes    uint64 // at the last EventBytes
	at       time.Time
}

func (w *watch) play(ctx context.Context) error {
	w.began, w.at = time.Now(), time.Now()
	if err := w.client.Play(ctx); err != nil {
		return err
	}
	tick := time.NewTicker(w.interval)
	defer tick.Stop()
	for {
		it, err := w.client.next(ctx, tick.C)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if err := w.item(it); err != nil {
			return err
		}
	}
}

func (w *watch) item(it item) error {
	if now := time.Now(); now.Sub(w.at) >= w.interval {
		w.progress(now)
	}
	switch {
	case it.cmd != nil:
		st := statusOf(it.cmd.info())
		w.emit(Event{Kind: EventStatus, Status: st})
		return st.ending()
	case it.m.Type == TypeUserControl:
		w.emit(Event{Kind: EventControl, Control: uint16(it.m.Payload[0])<<8 | uint16(it.m.Payload[1])})
	case it.m.Type == TypeData:
		w.messages++
		values, _ := amf.Decode(it.m.Payload)
		if len(values) > 0 {
			name, _ := values[0].(string)
			w.emit(Event{Kind: EventMetadata, Name: name, Values: values[1:], Timestamp: it.m.Timestamp})
		}
	case it.m.Type == TypeAudio || it.m.Type == TypeVideo:
		w.messages++
		w.frame(it.m)
	}
	return nil
}

func (w *watch) frame(m Message) {
	for f, track, ok, err := w.demuxer.Feed(m.Type, m.Timestamp, m.Payload); ; f, track, ok, err = w.demuxer.Next() {
		if track != nil {
			w.emit(Event{Kind: EventTrack, Track: track})
		}
		if err == nil && ok && !f.Config && !w.first[f.Kind] {
			w.first[f.Kind] = true
			w.emit(Event{Kind: EventFirst, Media: f.Kind, Timestamp: m.Timestamp, Took: time.Since(w.began)})
		}
		if !w.demuxer.More() {
			return
		}
	}
}

func (w *watch) progress(now time.Time) {
	bytes := w.client.in.received.Load()
	rate := float64(bytes-w.bytes) * 8 / now.Sub(w.at).Seconds()
	w.bytes, w.at = bytes, now
	w.emit(Event{Kind: EventBytes, Bytes: bytes, Messages: w.messages, Rate: uint64(rate)})
}
