// Package relay moves streams between this server and others over RTMP: it pulls one from elsewhere onto a local path, or pushes what is live on a local path to elsewhere,
// and keeps doing so over losses.
//
// It does not know what holds the streams: the server gives it a [Local]. It keeps no media, and no stream goes in a circle: servers refuse their own relays (CodeLoop).
//
//	relays := relay.New(relay.Options{Local: local, Log: log})
//	defer relays.Close()
//	info, err := relays.Add(relay.Spec{Kind: relay.Pull, Path: "/live/a", URL: "rtmp://example.org/live/a"})
package relay

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"hawser/lifecycle"
	"hawser/rtmp"
)

// Defaults of Options.
const (
	DefaultIdleTimeout = 30 * time.Second
	DefaultLinger      = 10 * time.Second
	DefaultMaxRelays   = 1000
)

// CodeLoop is the code by which a server refuses a relay of its own; MemberRelay is the member of connect's object that tells it by Options.Identity.
const (
	CodeLoop    = "NetConnection.Connect.Loop"
	MemberRelay = "hawserRelay"
)

// Kind is what a relay does.
type Kind string

// The kinds of relay.
const (
	Pull Kind = "pull" // from elsewhere onto a local path
	Push Kind = "push" // from a local path to elsewhere
)

// The states of a relay in the event log, and their lights.
const (
	StateWaiting    = "waiting"    // amber: a push for its stream, a pull on demand for a viewer
	StateConnecting = "connecting" // amber
	StateConnected  = "connected"  // amber: publish or play is asked for
	StateLive       = "live"       // green
	StateBackOff    = "back_off"   // amber: the next attempt follows
	StateClosed     = "closed"     // red, final: removed, refused as a loop, or the server stops
)

// Spec says what to relay.
type Spec struct {
	Kind Kind `json:"kind"`
	// Path is the local path. That of a push may have one "*", which stands for any text but "/", or "**", for any text: each stream that fits is pushed.
	Path string `json:"path"`
	// URL is the stream elsewhere, rtmp:// or rtmps://. With a "*" in Path it has one too, which becomes the text that fitted.
	URL string `json:"url"`
	// OnDemand pulls only while somebody plays, and for Options.Linger after.
	OnDemand bool `json:"on_demand,omitempty"`
}

// Check says what is wrong with it, as Add would.
func (s *Spec) Check() error {
	bad := func(format string, args ...any) error { return lifecycle.ReasonBadRequest.With(format, args...) }
	u, err := url.Parse(s.URL)
	stars := strings.Count(strings.Replace(s.Path, "**", "*", 1), "*")
	switch {
	case s.Kind != Pull && s.Kind != Push:
		return bad("kind %q: want pull or push", s.Kind)
	case !strings.HasPrefix(s.Path, "/") || len(s.Path) < 2:
		return bad("path %q: want one that begins with /", s.Path)
	case err != nil || u.Scheme != "rtmp" && u.Scheme != "rtmps" || u.Host == "" || strings.Trim(u.Path, "/") == "":
		return bad("url: want rtmp://HOST/APP/NAME or rtmps://HOST/APP/NAME")
	case stars > 0 && s.Kind == Pull:
		return bad("path %q: a pull has no pattern", s.Path)
	case stars > 1 || strings.Count(s.URL, "*") != stars:
		return bad("path %q: want at most one * in it, and as many in the url", s.Path)
	case s.OnDemand && s.Kind == Push:
		return bad("only a pull can be on demand")
	}
	return nil
}

// match says whether a path fits a pattern, and by what text.
func match(pattern, path string) (text string, ok bool) {
	before, after, _ := strings.Cut(pattern, "*")
	after, deep := strings.CutPrefix(after, "*")
	text, ok = strings.CutPrefix(path, before)
	if ok {
		text, ok = strings.CutSuffix(text, after)
	}
	return text, ok && text != "" && (deep || !strings.Contains(text, "/"))
}

// fill puts a text that fitted into a URL.
func fill(rawURL, text string) string {
	parts := strings.Split(text, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Replace(rawURL, "*", strings.Join(parts, "/"), 1)
}

// shown is a URL as it may be shown: without a password, and without its query, which may hold a secret.
func shown(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return ""
	}
	u.RawQuery, u.User = "", nil
	return u.String()
}

// Sink takes what a pull brings; its methods are called by one goroutine.
type Sink interface {
	// Take takes a message. An error ends the attempt.
	Take(m rtmp.Message) error
	// Close ends the publish.
	Close(why lifecycle.Reason)
}

// Source gives what a push sends; its methods are called by one goroutine.
type Source interface {
	// Next waits for messages and hands them to send, in order; io.EOF says that the stream has ended.
	Next(ctx context.Context, send func(rtmp.Message) error) error
	// Close gives it up.
	Close()
}

// Local is the server that relays are part of. Its functions may be called at once.
type Local struct {
	// Publish makes a relay the publisher of a path; it is told by replaced when another takes its place.
	Publish func(path, by string, replaced func(why lifecycle.Reason)) (Sink, error)
	// Play follows a path; multitrack says that the other end reads multitrack bodies.
	Play func(path, by string, multitrack bool) (Source, error)
	// Live lists the paths of the streams that have not ended; Wanted says whether somebody plays a path or waits there.
	Live   func() []string
	Wanted func(path string) bool
}

// Options are the settings of a Relays; Local must be set, and all else may be zero.
type Options struct {
	Local Local
	// Dial is how to connect; its IdleTimeout 0 means DefaultIdleTimeout here. Its Log and Object are set here.
	Dial rtmp.DialOptions
	// BackOff is how long to wait between attempts.
	BackOff rtmp.BackOff
	// Linger is how long a pull on demand goes on when nobody plays any more; 0 means DefaultLinger.
	Linger time.Duration
	// MaxRelays bounds the relays, those that follow from a pattern included; 0 means DefaultMaxRelays.
	MaxRelays int
	// Identity is what other ends are told in connect (MemberRelay), so that this server knows its own relays; empty for nothing.
	Identity string
	// Log takes the events; nil is fine.
	Log *lifecycle.Log
}

// Info is a relay as it stands at one moment.
type Info struct {
	// ID is its name, also in the event log.
	ID string `json:"id"`
	Spec
	// Rule is the relay with a pattern that this one follows from.
	Rule  string           `json:"rule,omitempty"`
	State string           `json:"state"`
	Light lifecycle.Health `json:"light"`
	// Since is when the state began; Reason is why the last attempt ended.
	Since  time.Time        `json:"since"`
	Reason lifecycle.Reason `json:"reason,omitzero"`
	// Attempts counts the connections that were tried since the relay was last live; Delay is the wait before the next.
	Attempts int           `json:"attempts,omitempty"`
	Delay    time.Duration `json:"delay,omitempty"`
	// Messages and Bytes count what was relayed.
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
}

// Relays are the relays of a server. All methods may run at once.
type Relays struct {
	o      Options
	ctx    context.Context
	cancel context.CancelFunc
	wait   sync.WaitGroup

	mu      sync.Mutex
	list    []*relay
	serial  int
	changed chan struct{} // closed and replaced when streams or viewers may have changed
	closed  bool
}

// New makes an empty Relays.
func New(o Options) *Relays {
	if o.Linger <= 0 {
		o.Linger = DefaultLinger
	}
	if o.MaxRelays <= 0 {
		o.MaxRelays = DefaultMaxRelays
	}
	if o.Dial.IdleTimeout <= 0 {
		o.Dial.IdleTimeout = DefaultIdleTimeout
	}
	r := &Relays{o: o, changed: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// Add begins a relay. What is wrong with it is a lifecycle.Reason.
func (r *Relays) Add(s Spec) (Info, error) { return r.add(s, nil) }

func (r *Relays) add(s Spec, rule *relay) (Info, error) {
	if err := s.Check(); err != nil {
		return Info{}, fmt.Errorf("relay: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return Info{}, fmt.Errorf("relay: %w", lifecycle.ReasonShutdown)
	case len(r.list) >= r.o.MaxRelays:
		return Info{}, fmt.Errorf("relay: %w", lifecycle.Reached("MaxRelays", r.o.MaxRelays))
	}
	for _, other := range r.list {
		if other.spec == s {
			return Info{}, fmt.Errorf("relay: %w", lifecycle.ReasonTaken.With("there is one already: %s", other.id))
		}
	}
	y := &relay{set: r, spec: s, rule: rule, since: time.Now()}
	parent := r.ctx
	if rule != nil {
		parent = rule.ctx
	}
	y.ctx, y.cancel = context.WithCancelCause(parent)
	r.serial++
	y.log = r.o.Log.Open("relay", lifecycle.Client, shown(s.URL))
	if y.id = y.log.ID(); y.id == "" {
		y.id = fmt.Sprintf("relay-%d", r.serial)
	}
	y.log.SetPath(s.Path)
	y.set0(StateWaiting)
	r.list = append(r.list, y)
	r.wait.Go(y.run)
	return y.info(), nil
}

// Remove ends a relay, and those that follow from it; lifecycle.ReasonNotFound if there is none of that name.
func (r *Relays) Remove(id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, y := range r.list {
		if y.id == id {
			y.cancel(lifecycle.ReasonDone.With("removed"))
			r.removeLocked(y)
			return nil
		}
	}
	return fmt.Errorf("relay: remove %q: %w", id, lifecycle.ReasonNotFound.With("there is no such relay"))
}

func (r *Relays) removeLocked(y *relay) {
	kept := r.list[:0:0]
	for _, other := range r.list {
		if other != y && (other.rule == nil || other.rule != y) {
			kept = append(kept, other)
		}
	}
	r.list = kept
}

// List returns all relays, oldest first, with their URLs as they may be shown.
func (r *Relays) List() []Info {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]Info, len(r.list))
	for i, y := range r.list {
		list[i] = y.info()
	}
	return list
}

// Changed is to be called when a stream begins or ends, and when somebody begins to play; it does not wait.
func (r *Relays) Changed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.list) > 0 {
		close(r.changed)
		r.changed = make(chan struct{})
	}
}

// Pulls says whether a pull on demand would bring a path's stream.
func (r *Relays) Pulls(path string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, y := range r.list {
		if y.spec.Kind == Pull && y.spec.OnDemand && y.spec.Path == path {
			return true
		}
	}
	return false
}

// Close ends all relays and waits for that.
func (r *Relays) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.wait.Wait()
}

func (r *Relays) change() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}
