// Package hook asks and tells others what happens on a server: an HTTP endpoint (a webhook) or a command, for each of the events of an RTMP server, and for
// what sessions and HTTP do that is like them.
//
// It knows the events by name, what an answer may say, and how to wait for one without being held up: time-outs, bounds, order, retries, signatures. It does not know
// what the events mean; package server does. [Set.Ask] waits for answers, [Set.Tell] does not.
//
//	hooks, err := hook.New(hook.Options{Hooks: []hook.Hook{{Event: hook.Publish, URL: "http://127.0.0.1:9000/may"}}})
//	if err != nil {
//		return err
//	}
//	defer hooks.Close(ctx)
//	answer, err := hooks.Ask(ctx, hook.Event{Event: hook.Publish, Path: "/live/a"})
package hook

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"hawser/lifecycle"
)

// The events. Those that are asked (Ask): connect, publish, play, command, publish_data and play_data. The others are told (Tell).
const (
	Connect      = "connect"
	Disconnect   = "disconnect"
	Publish      = "publish"
	PublishClose = "publish_close"
	Play         = "play"
	Stop         = "stop"
	Command      = "command"
	Status       = "status"
	Result       = "result"
	PublishData  = "publish_data"
	PlayData     = "play_data"
	Unpublish    = "unpublish"
	Delete       = "delete"
)

// Events are all of them.
var Events = []string{Connect, Disconnect, Publish, PublishClose, Play, Stop, Command, Status, Result, PublishData, PlayData, Unpublish, Delete}

// AllPackets behind the name of a packet event asks for audio and video too: "publish_data:all".
const AllPackets = ":all"

// The kinds of event in the lifecycle log.
const (
	// KindFailed: a hook could not be asked or told, or its answer makes no sense; Detail says which one, Reason why.
	KindFailed = "hook_failed"
	// KindRefused: a hook refused; Detail says which one, Reason what it said.
	KindRefused = "hook_refused"
	// KindDropped: what was to be told was left out, as the queue is full (MaxQueue); Detail says how many events, when there is room again.
	KindDropped = "hook_dropped"
)

// Defaults of Options.
const (
	DefaultTimeout    = 5 * time.Second
	DefaultMaxCalls   = 64
	DefaultMaxQueue   = 1000
	DefaultRetries    = 3
	DefaultRetryDelay = 500 * time.Millisecond
	DefaultMaxAnswer  = 64 << 10
)

// SignatureHeader holds "sha256=" and the HMAC-SHA256 of a webhook's body in hexadecimal, when there is a Secret.
const SignatureHeader = "Hawser-Signature"

// defaultSecretKeys are the keys of a query whose values are never logged.
var defaultSecretKeys = []string{"key", "token", "pass", "password", "secret", "auth", "sig", "signature"}

// Hook is one endpoint or command.
type Hook struct {
	// Event is what it is for; empty for all but the two of packets, which must be named: with a hook for them each player's bytes are made for it alone. They
	// mean data messages only, unless AllPackets follows. Sessions and HTTP know play, stop and publish_data.
	Event string
	// URL is asked by POST with the event as JSON.
	URL string
	// Command is a program with its arguments; the event is in its environment (HAWSER_EVENT, HAWSER_PATH, ...). There is no shell unless this is one.
	Command []string
}

// Options are the settings of a Set; the zero value has no hooks.
type Options struct {
	// Hooks are asked in this order; the first that refuses ends it, and a new path is what the next ones see.
	Hooks []Hook
	// Secret signs the body of webhooks (SignatureHeader); empty for no signature.
	Secret []byte
	// Timeout bounds each call, the wait for its turn included; 0 means DefaultTimeout.
	Timeout time.Duration
	// AcceptOnFailure accepts what was asked when a hook does not answer in time, is down, or answers what makes no sense; otherwise that refuses.
	AcceptOnFailure bool
	// MaxCalls bounds the calls of webhooks and commands at one time, those that ask and those that tell each; 0 means DefaultMaxCalls.
	MaxCalls int
	// MaxQueue bounds the events that wait to be told; more are left out (KindDropped). 0 means DefaultMaxQueue.
	MaxQueue int
	// Retries is how often a webhook that is told something is called again when it is down; 0 means DefaultRetries, negative none.
	Retries int
	// RetryDelay is the longest wait before the first of them, which doubles; 0 means DefaultRetryDelay.
	RetryDelay time.Duration
	// MaxAnswer bounds what is read of an answer or of a command's output, in bytes; 0 means DefaultMaxAnswer.
	MaxAnswer int64
	// SecretKeys are the keys of a query whose values are handed to hooks and never logged; nil means key, token, pass, password, secret, auth, sig and signature.
	SecretKeys []string
	// Transport makes the requests; nil means one like http.DefaultTransport that keeps MaxCalls connections.
	Transport http.RoundTripper
	// Log takes the events; nil is fine.
	Log *lifecycle.Log
}

func (o Options) filled() (Options, error) {
	var errs []error
	o.Timeout = orDefault(o.Timeout, DefaultTimeout)
	o.MaxCalls = orDefault(o.MaxCalls, DefaultMaxCalls)
	o.MaxQueue = orDefault(o.MaxQueue, DefaultMaxQueue)
	o.Retries = max(orDefault(o.Retries, DefaultRetries), 0)
	o.RetryDelay = orDefault(o.RetryDelay, DefaultRetryDelay)
	o.MaxAnswer = orDefault(o.MaxAnswer, DefaultMaxAnswer)
	for name, v := range map[string]int64{"Timeout": int64(o.Timeout), "MaxCalls": int64(o.MaxCalls), "MaxQueue": int64(o.MaxQueue), "RetryDelay": int64(o.RetryDelay), "MaxAnswer": o.MaxAnswer} {
		if v < 0 {
			errs = append(errs, fmt.Errorf("%s is negative", name))
		}
	}
	if o.SecretKeys == nil {
		o.SecretKeys = defaultSecretKeys
	}
	o.Hooks = slices.Clone(o.Hooks)
	for i := range o.Hooks {
		errs = append(errs, o.Hooks[i].Check())
	}
	if err := errors.Join(errs...); err != nil {
		return o, fmt.Errorf("hook: %w", err)
	}
	return o, nil
}

func orDefault[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Check says what is wrong with a hook, as New would.
func (h *Hook) Check() error {
	name, all := strings.CutSuffix(h.Event, AllPackets)
	switch {
	case name != "" && !slices.Contains(Events, name):
		return fmt.Errorf("event %q: want one of %s", h.Event, strings.Join(Events, ", "))
	case all && !isPacket(name):
		return fmt.Errorf("event %q: only %s and %s may have %s", h.Event, PublishData, PlayData, AllPackets)
	case (h.URL == "") == (len(h.Command) == 0):
		return fmt.Errorf("event %q: want either a URL or a command", h.Event)
	case h.URL == "":
		return nil
	}
	if u, err := url.Parse(h.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("event %q: want http://HOST/PATH or https://HOST/PATH", h.Event) // without the URL, which may hold a secret
	}
	return nil
}

func isPacket(event string) bool { return event == PublishData || event == PlayData }

// hears says whether the hook is for an event; media says that it is an audio or video packet.
func (h *Hook) hears(event string, media bool) bool {
	if isPacket(event) {
		return h.Event == event+AllPackets || h.Event == event && !media
	}
	return h.Event == "" || h.Event == event
}

// name is the hook as it may be shown.
func (h *Hook) name() string {
	if h.URL == "" {
		return "command " + h.Command[0]
	}
	u, _ := url.Parse(h.URL)
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return "webhook " + u.String()
}

// Event is what a hook is told. Fields that do not apply are empty, and are left out of the JSON. In a command's environment the name of each is HAWSER_ and the JSON's name in upper
// case; Query is encoded there as in a URL, and Values are JSON.
type Event struct {
	// Event is the name.
	Event string `json:"event"`
	// Seq counts the events of this server from 1, in the order in which they happened. A repeated call has the same number.
	Seq uint64 `json:"seq"`
	// Time is when it happened.
	Time time.Time `json:"time"`
	// Protocol is what it came over: rtmp, rtc (WebRTC), session, http-flv or http.
	Protocol string `json:"protocol,omitempty"`
	// Conn is the connection's identity in the event log, Remote the peer's address.
	Conn   string `json:"conn,omitempty"`
	Remote string `json:"remote,omitempty"`
	// App is the application that the client connected to, Path the stream.
	App  string `json:"app,omitempty"`
	Path string `json:"path,omitempty"`
	// Query is what the client's URLs carry after the question mark; it may hold secrets.
	Query url.Values `json:"query,omitempty"`
	// URL is tcUrl without its query, Client the client's program as it says.
	URL    string `json:"url,omitempty"`
	Client string `json:"client,omitempty"`
	// Mode is how a client publishes: live, record or append.
	Mode string `json:"mode,omitempty"`
	// What is which kind of stream a player wants: any, live or recorded; Start is where in seconds, and Length for how long.
	What   string  `json:"what,omitempty"`
	Start  float64 `json:"start,omitempty"`
	Length float64 `json:"length,omitempty"`
	// Reason is why something ended, in one word, and Text for people.
	Reason string `json:"reason,omitempty"`
	Text   string `json:"text,omitempty"`
	// Duration is how long it lasted, in seconds.
	Duration float64 `json:"duration,omitempty"`
	// Received and Sent are the connection's bytes so far.
	Received uint64 `json:"received,omitempty"`
	Sent     uint64 `json:"sent,omitempty"`
	// Name is that of a command, status or data message; Values are what it carries, an array.
	Name   string          `json:"name,omitempty"`
	Values json.RawMessage `json:"values,omitempty"`
	// Type is that of a packet: audio, video or data; Timestamp its time in milliseconds, Size its bytes.
	Type      string `json:"type,omitempty"`
	Timestamp uint32 `json:"timestamp,omitempty"`
	Size      int    `json:"size,omitempty"`
}

// media says that the event is an audio or video packet.
func (e *Event) media() bool { return isPacket(e.Event) && e.Type != "data" }

// Answer is what the hooks said. The zero value accepts and changes nothing.
type Answer struct {
	// Path is a new path for what is published or played.
	Path string
	// Drop leaves a packet out.
	Drop bool
	// Values answer a command, or take the place of a data message's: a JSON array.
	Values json.RawMessage
}

// Refusal is the error of a hook that refuses. A lifecycle.Reason is in it.
type Refusal struct {
	// Hook is who refused, as it may be shown.
	Hook string
	// Redirect is where the client should go instead; only for connect.
	Redirect string
	// Reason says why, in the hook's words.
	Reason lifecycle.Reason
}

// Error returns the reason.
func (r *Refusal) Error() string { return "hook: " + r.Hook + ": " + r.Reason.Error() }

// Unwrap returns the reason.
func (r *Refusal) Unwrap() error { return r.Reason }

// reply is what one hook said.
type reply struct {
	Answer
	refused  bool
	text     string
	redirect string
}

// maxText bounds the text of a refusal that goes to the client and the log, in bytes.
const maxText = 500

// refusal makes a refusing reply.
func refusal(text string) reply {
	text = strings.ToValidUTF8(strings.TrimSpace(text), "\ufffd")
	text, _, _ = strings.Cut(text, "\n")
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "")
	}
	return reply{refused: true, text: orDefault(strings.TrimSpace(text), "refused by a hook")}
}

// parseReply reads the JSON of an answer. Members that are not known are left alone.
func parseReply(b []byte) (reply, error) {
	var a struct {
		OK       *bool           `json:"ok"`
		Refuse   *string         `json:"refuse"`
		Path     string          `json:"path"`
		Redirect string          `json:"redirect"`
		Drop     bool            `json:"drop"`
		Values   json.RawMessage `json:"values"`
	}
	if err := json.Unmarshal(b, &a); err != nil {
		return reply{}, lifecycle.ReasonProtocol.With("the answer is not what it should be: %v", err)
	}
	if a.Refuse != nil {
		return refusal(*a.Refuse), nil
	}
	if a.OK != nil && !*a.OK {
		return refusal(""), nil
	}
	if a.Redirect != "" {
		r := refusal("sent elsewhere")
		r.redirect = a.Redirect
		return r, nil
	}
	if string(a.Values) == "null" {
		a.Values = nil
	}
	if len(a.Values) > 0 && a.Values[0] != '[' {
		return reply{}, lifecycle.ReasonProtocol.With("the answer's values: want an array")
	}
	return reply{Answer: Answer{Path: a.Path, Drop: a.Drop, Values: a.Values}}, nil
}
