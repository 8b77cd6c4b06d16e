// Package stream is live media as everybody shares it: one ring of frames for each path, its one publisher, its viewers, and the ready bytes that are made once for each
// wire format.
//
// It knows no protocol. A protocol's [Format] turns frames into bytes; a [Viewer] hands out those bytes, the same ones to every viewer of the format, beginning at the last
// keyframe, and leaves frames out when its receiver is slow. A publisher that goes leaves the stream up for a while; the next one continues its timestamps.
//
//	hub := stream.NewHub(stream.Options{})
//	pub, err := hub.Publish("/live/cam1", "rtmp-1")
//	pub.SetTrack(track)
//	pub.Write(frame)
package stream

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"hawser/lifecycle"
	"hawser/media"
	"hawser/ring"
)

// The limits that hold unless Options say otherwise.
const (
	// DefaultBytes bounds the frames kept of one stream, in bytes.
	DefaultBytes = 32 << 20
	// DefaultAge bounds how long frames are kept.
	DefaultAge = 30 * time.Second
	// DefaultGrace is how long a stream stays up without its publisher.
	DefaultGrace = 10 * time.Second
	// DefaultMaxLag is how far behind the live edge a viewer may fall before frames are left out for it.
	DefaultMaxLag = 5 * time.Second
	// DefaultMaxSkips is how often frames may be left out for a viewer within SkipWindow before it is closed.
	DefaultMaxSkips = 10
	// SkipWindow is how long it is remembered that frames were left out for a viewer.
	SkipWindow = time.Minute
	// DefaultMaxStreams bounds the number of streams.
	DefaultMaxStreams = 10_000
)

// The kinds of event that a stream adds to the log, with the protocol "stream". The light is green while there is a publisher, amber in the grace period, red after it.
const (
	KindPublish     = "publish"      // a publisher is here; Detail says whose connection
	KindGone        = "gone"         // the publisher has left; Reason says why; the stream waits for the next
	KindGap         = "gap"          // another publisher's first frame goes on in the stream; Delay and Detail say how long there was none
	KindUnpublish   = "unpublish"    // the grace period is over
	KindStandby     = "standby"      // a second publisher waits; Detail says whose connection
	KindStandbyGone = "standby_gone" // it has left; Reason says why
	KindTakeover    = "takeover"     // it is in the place of the first; Detail says who for whom, Reason why
	KindSlow        = "slow"         // a viewer fell behind; Detail says how many frames it will not get. Its connection's end with the reason slow may follow.
	KindTracks      = "tracks"       // the tracks, their codec parameters or the metadata changed
)

// Options are the settings of a Hub; the zero value is good.
type Options struct {
	// Limits bounds the frames kept of each stream: 0 means no bound on the count below 65536, DefaultBytes and DefaultAge.
	Limits ring.Limits
	// Grace is how long a stream stays up without its publisher; 0 means DefaultGrace, negative none.
	Grace time.Duration
	// Second says what becomes of a publisher whose path has one; the zero value refuses it.
	Second Second
	// MaxLag is how far a viewer may fall behind; 0 means DefaultMaxLag. In bytes it is bounded by Limits.
	MaxLag time.Duration
	// MaxSkips is how often frames may be left out for a viewer within SkipWindow; once more ends it with the reason slow. 0 means DefaultMaxSkips, negative no bound.
	MaxSkips int
	// MaxStart is the most bytes of frames that a viewer is sent at once when it begins. Where there are more since the last keyframe, it gets that keyframe, a still picture, and
	// goes on at the next. 0 means no bound but that of Limits.
	MaxStart int64
	// MaxStreams bounds the number of streams; 0 means DefaultMaxStreams.
	MaxStreams int
	// Log takes the events; nil means none.
	Log *lifecycle.Log
	// OnChange is called when a stream begins, changes or ends, with no lock held.
	OnChange func(Info)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

func (o Options) filled() Options {
	if o.Limits.Count <= 0 {
		o.Limits.Count = 1 << 16
	}
	if o.Limits.Bytes <= 0 {
		o.Limits.Bytes = DefaultBytes
	}
	if o.Limits.Age <= 0 {
		o.Limits.Age = DefaultAge
	}
	if o.Grace == 0 {
		o.Grace = DefaultGrace
	}
	if o.MaxLag <= 0 {
		o.MaxLag = DefaultMaxLag
	}
	if o.MaxSkips == 0 {
		o.MaxSkips = DefaultMaxSkips
	}
	if o.MaxStreams <= 0 {
		o.MaxStreams = DefaultMaxStreams
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Hub holds the streams by their paths. All methods may run at once.
type Hub struct {
	opts Options

	mu      sync.Mutex
	streams map[string]*Stream
}

// NewHub makes an empty hub.
func NewHub(o Options) *Hub {
	return &Hub{opts: o.filled(), streams: make(map[string]*Stream)}
}

// Info is a stream as it stands at one moment.
type Info struct {
	Path    string           `json:"path"`
	Status  Status           `json:"status"`
	Light   lifecycle.Health `json:"light"`
	Tracks  []media.Track    `json:"-"`
	Viewers int              `json:"viewers"`
	Since   time.Time        `json:"since"`
	Frames  uint64           `json:"frames"`
	Bytes   uint64           `json:"bytes"` // received since the start
	Held    int64            `json:"held"`  // bytes of frames kept now
	// Publisher and Standby name who publishes and who waits for that (Claim.By); empty if nobody does.
	Publisher string `json:"publisher,omitempty"`
	Standby   string `json:"standby,omitempty"`
}

// Publish is Claim for a publisher that only has a name.
func (h *Hub) Publish(path, by string) (*Publisher, error) { return h.Claim(path, Claim{By: by}) }

// Claim makes the caller the publisher of a path. While another publisher is there, Options.Second decides whether it is to wait or gets a lifecycle.ReasonTaken.
func (h *Hub) Claim(path string, c Claim) (*Publisher, error) {
	s, err := h.hold(path)
	if err != nil {
		return nil, fmt.Errorf("stream: publish %q: %w", path, err)
	}
	p, err := s.claimed(c)
	if err != nil {
		h.release(s)
		return nil, fmt.Errorf("stream: publish %q: %w", path, err)
	}
	return p, nil
}

// WriteData adds a data message of somebody else than the publisher to a live stream, at its newest time; false when nothing is live there. data must not change any more.
func (h *Hub) WriteData(path string, data []byte) bool {
	h.mu.Lock()
	s := h.streams[path]
	h.mu.Unlock()
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state.Status != Live || s.count == 0 {
		return false
	}
	s.appendLocked(Item{Frame: media.Frame{Kind: media.Data, DTS: s.newest, PTS: s.newest, Data: data}}, h.opts.Now())
	return true
}

// Open returns the stream of a path for a viewer, which may come before the publisher. The caller must Close it.
func (h *Hub) Open(path string) (*Stream, error) {
	s, err := h.hold(path)
	if err != nil {
		return nil, fmt.Errorf("stream: open %q: %w", path, err)
	}
	return s, nil
}

// Find returns the state of the stream of a path, without holding it.
func (h *Hub) Find(path string) (Info, bool) {
	h.mu.Lock()
	s := h.streams[path]
	h.mu.Unlock()
	if s == nil {
		return Info{}, false
	}
	return s.Info(), true
}

// MediaTime returns the stream's newest timestamp, if it has a publisher now.
func (h *Hub) MediaTime(path string) (time.Duration, bool) {
	h.mu.Lock()
	s := h.streams[path]
	h.mu.Unlock()
	if s == nil {
		return 0, false
	}
	return s.MediaTime()
}

// List returns all streams, by path.
func (h *Hub) List() []Info {
	h.mu.Lock()
	all := make([]*Stream, 0, len(h.streams))
	for _, s := range h.streams {
		all = append(all, s)
	}
	h.mu.Unlock()
	list := make([]Info, len(all))
	for i, s := range all {
		list[i] = s.Info()
	}
	slices.SortFunc(list, func(a, b Info) int { return strings.Compare(a.Path, b.Path) })
	return list
}

// EndGraces ends those streams at once that wait for their next publisher. A server that stops calls it when its publishers are gone, so that all is told before it ends.
func (h *Hub) EndGraces() {
	h.mu.Lock()
	all := make([]*Stream, 0, len(h.streams))
	for _, s := range h.streams {
		all = append(all, s)
	}
	h.mu.Unlock()
	for _, s := range all {
		s.mu.Lock()
		waits, pause := s.grace != nil && s.grace.Stop(), s.pauses
		s.mu.Unlock()
		if waits {
			s.end(pause)
		}
	}
}

// hold finds or makes a stream and counts one more who needs it.
func (h *Hub) hold(path string) (*Stream, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.streams[path]
	if s == nil {
		if len(h.streams) >= h.opts.MaxStreams {
			return nil, lifecycle.Reached("MaxStreams", h.opts.MaxStreams)
		}
		now := h.opts.Now()
		s = &Stream{hub: h, path: path, since: now, frames: ring.New[Item](rand.Uint64()>>1, 0, h.opts.Limits), state: &State{}}
		h.streams[path] = s
	}
	s.holders++
	return s, nil
}

// release counts one fewer; a stream that nobody needs goes.
func (h *Hub) release(s *Stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.holders--
	if s.holders == 0 {
		delete(h.streams, s.path)
		s.frames.Close(lifecycle.ReasonGone)
	}
}

func (h *Hub) changed(s *Stream) {
	if h.opts.OnChange != nil {
		h.opts.OnChange(s.Info())
	}
}
