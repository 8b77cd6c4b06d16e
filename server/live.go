package server

import (
	"encoding/json"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"hawser/lifecycle"
	"hawser/stream"
	"hawser/subject"
)

// LivePath is the record that lists what is live: one field for each path, gone when the stream is. Only the server publishes there.
const LivePath = "/sys/live"

// ServerPath is the record that says what a page has to know of the server: version, and rtmpPort where RTMP is on.
const ServerPath = "/sys/server"

// sysPrefix is the part of the namespace that belongs to the server.
const sysPrefix = "/sys/"

// liveEntry is one field of the record at LivePath.
type liveEntry struct {
	Status  stream.Status    `json:"status"`
	Light   lifecycle.Health `json:"light"`
	Tracks  []liveTrack      `json:"tracks"`
	Viewers int              `json:"viewers"`
	Since   int64            `json:"since"` // milliseconds since 1970
	Kbps    int              `json:"kbps"`
}

type liveTrack struct {
	Kind       string `json:"kind"`
	Codec      string `json:"codec"`
	Width      int    `json:"width,omitempty"`
	Height     int    `json:"height,omitempty"`
	SampleRate int    `json:"sampleRate,omitempty"`
	Channels   int    `json:"channels,omitempty"`
}

// describe publishes the record at ServerPath.
func (s *Server) describe(rtmp net.Listener) {
	fields := []subject.Field{{Name: "version", Value: []byte(strconv.Quote(Version))}}
	if rtmp != nil {
		if a, ok := rtmp.Addr().(*net.TCPAddr); ok {
			fields = append(fields, subject.Field{Name: "rtmpPort", Value: strconv.AppendInt(nil, int64(a.Port), 10)})
		}
	}
	s.subjects.Publish(ServerPath, subject.Record, subject.Update{Fields: fields})
}

// liveList keeps the record at LivePath true.
type liveList struct {
	server *Server

	mu    sync.Mutex
	shown map[string]string // what was last published of each path
	rates map[string]rate
	last  time.Time // of the last look at the rates
}

// rate is how fast a stream comes in.
type rate struct {
	bytes uint64 // received at the last look
	kbps  int
}

func newLiveList(s *Server) *liveList {
	return &liveList{server: s, shown: make(map[string]string), rates: make(map[string]rate), last: time.Now()}
}

// refresh publishes what has changed since it was last called.
func (l *liveList) refresh() {
	l.mu.Lock()
	defer l.mu.Unlock()
	past := time.Since(l.last)
	look := past > liveInterval/2 // a shorter time says little of a rate
	if look {
		l.last = l.last.Add(past)
	}
	var fields []subject.Field
	seen := make(map[string]bool)
	for _, info := range l.server.streams.List() {
		if info.Status != stream.Live && info.Status != stream.Paused {
			continue
		}
		seen[info.Path] = true
		e := entryOf(info)
		r, known := l.rates[info.Path]
		if known && look {
			r.kbps = int(float64(info.Bytes-r.bytes) * 8 / 1000 / past.Seconds())
		}
		if !known || look {
			r.bytes = info.Bytes
			l.rates[info.Path] = r
		}
		e.Kbps = r.kbps
		text, err := json.Marshal(e)
		if err == nil && l.shown[info.Path] != string(text) {
			l.shown[info.Path] = string(text)
			fields = append(fields, subject.Field{Name: info.Path, Value: text})
		}
	}
	for path := range l.shown {
		if !seen[path] {
			delete(l.shown, path)
			delete(l.rates, path)
			fields = append(fields, subject.Field{Name: path})
		}
	}
	l.publish(fields)
}

// publish hands out what has changed. A stream for which the record has no room is tried again at the next look.
func (l *liveList) publish(fields []subject.Field) {
	if len(fields) == 0 {
		return
	}
	publish := func(fields []subject.Field) error {
		_, _, err := l.server.subjects.Publish(LivePath, subject.Record, subject.Update{Fields: fields})
		return err
	}
	if publish(fields) == nil {
		return
	}
	slices.SortFunc(fields, func(a, b subject.Field) int { return len(a.Value) - len(b.Value) }) // what is gone makes room
	for i := range fields {
		if err := publish(fields[i : i+1]); err != nil {
			delete(l.shown, fields[i].Name)
			l.server.opts.Logger.Debug("a stream is not in the list", "path", fields[i].Name, "reason", err)
		}
	}
}

func entryOf(info stream.Info) liveEntry {
	e := liveEntry{Status: info.Status, Light: info.Light, Viewers: info.Viewers, Since: info.Since.UnixMilli(), Tracks: []liveTrack{}}
	for _, t := range info.Tracks {
		codec := t.MIME()
		if codec == "" {
			codec = t.Codec.String()
		}
		e.Tracks = append(e.Tracks, liveTrack{Kind: t.Kind.String(), Codec: codec, Width: t.Width, Height: t.Height, SampleRate: t.SampleRate, Channels: t.Channels})
	}
	return e
}
