package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"hawser/amf"
	"hawser/flv"
	"hawser/lifecycle"
	"hawser/relay"
	"hawser/rtmp"
	"hawser/stream"
)

// relayBatch is how many bytes a push takes of its stream at once.
const relayBatch = 256 << 10

// newRelays makes the relays; they begin with Serve.
func (s *Server) newRelays(o relay.Options) {
	o.Local = relay.Local{Publish: s.relayPublish, Play: s.relayPlay, Live: s.relayLive, Wanted: s.relayWanted}
	o.Identity, o.Log = s.identity, s.log
	s.relays = relay.New(o)
	s.formats.relay, s.formats.relayBoth = relayFormat("relay", carried{data: true}), relayFormat("relay-multitrack", carried{data: true, multitrack: true})
}

// relayFormat is a stream as FLV tags without a file around them, data messages included.
func relayFormat(name string, what carried) stream.Format {
	return flvBodies(name, nil, nil, what, func(dst []byte, typ byte, at time.Duration, body []byte) []byte {
		return flv.AppendTag(dst, flv.Tag{Type: typ, Timestamp: millis(at), Data: body})
	})
}

// beginRelays begins those of the options.
func (s *Server) beginRelays() error {
	var errs []error
	for _, spec := range s.opts.Relays {
		if _, err := s.relays.Add(spec); err != nil {
			errs = append(errs, fmt.Errorf("%s %s: %w", spec.Kind, spec.Path, err))
		}
	}
	return errors.Join(errs...)
}

// refuseOwnRelay refuses a connection that a relay of this server made: its stream would go in a circle.
func (s *Server) refuseOwnRelay(_ context.Context, c *rtmp.Conn) error {
	if c.Object().String(relay.MemberRelay) != s.identity {
		return nil
	}
	why := lifecycle.ReasonRefused.With("a relay of this server to itself")
	return &rtmp.Refusal{Code: relay.CodeLoop, Description: why.Text, Reason: why}
}

// relayPublish makes a pull the publisher of a path. It takes over from nobody, whatever the policy: two that both come back would do so for ever.
func (s *Server) relayPublish(path, by string, replaced func(why lifecycle.Reason)) (relay.Sink, error) {
	if info, ok := s.streams.Find(path); ok && info.Publisher != "" && s.opts.Streams.Second == stream.SecondTakesOver {
		return nil, lifecycle.ReasonTaken.With("%s publishes there", info.Publisher)
	}
	pub, err := s.streams.Claim(path, stream.Claim{By: by, Replaced: replaced})
	if err != nil {
		return nil, err
	}
	return &relaySink{rtmpPublisher{server: s, pub: pub, by: by}}, nil
}

// relaySink is a pull's local publisher.
type relaySink struct{ rtmpPublisher }

// What servers say to players in data messages, which is no part of the stream.
var notOfStream = [][]byte{amf.Append(nil, "|RtmpSampleAccess"), amf.Append(nil, "onStatus")}

// Take implements relay.Sink.
func (r *relaySink) Take(m rtmp.Message) error {
	if m.Type == rtmp.TypeData {
		for _, name := range notOfStream {
			if bytes.HasPrefix(m.Payload, name) {
				return nil
			}
		}
	}
	return r.take(m)
}

// Close implements relay.Sink.
func (r *relaySink) Close(why lifecycle.Reason) { r.close(why) }

func (s *Server) relayLive() (paths []string) {
	for _, info := range s.streams.List() {
		if info.Status == stream.Live || info.Status == stream.Paused {
			paths = append(paths, info.Path)
		}
	}
	return paths
}

// relayWanted says whether anybody but pushes plays a path.
func (s *Server) relayWanted(path string) bool {
	info, _ := s.streams.Find(path)
	s.mu.Lock()
	defer s.mu.Unlock()
	return info.Viewers > s.pushing[path]
}

func (s *Server) relayPlay(path, by string, multitrack bool) (relay.Source, error) {
	format := s.formats.relay
	if multitrack {
		format = s.formats.relayBoth
	}
	viewer, err := s.streams.View(path, format, by)
	if err != nil {
		return nil, err
	}
	s.countPush(path, 1)
	return &relaySource{server: s, viewer: viewer, woken: make(chan struct{}, 1)}, nil
}

func (s *Server) countPush(path string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pushing == nil {
		s.pushing = make(map[string]int)
	}
	if s.pushing[path] += n; s.pushing[path] == 0 {
		delete(s.pushing, path)
	}
}

// relaySource is what a push sends.
type relaySource struct {
	server *Server
	viewer *stream.Viewer
	woken  chan struct{}
	ready  [][]byte
}

// Wake implements ring.Waker.
func (r *relaySource) Wake() {
	select {
	case r.woken <- struct{}{}:
	default:
	}
}

// Next implements relay.Source.
func (r *relaySource) Next(ctx context.Context, send func(rtmp.Message) error) error {
	for {
		r.ready, _ = r.viewer.Fill(r.ready[:0], relayBatch)
		for _, b := range r.ready {
			if err := eachTag(b, send); err != nil {
				return err
			}
		}
		got := len(r.ready) > 0
		clear(r.ready)
		switch {
		case got:
			return nil
		case r.viewer.Ended() && r.viewer.Why().Code == lifecycle.ReasonSlow.Code:
			return r.viewer.Why()
		case r.viewer.Ended():
			return io.EOF
		case !r.viewer.Arm(r):
			continue
		}
		select {
		case <-r.woken:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Close implements relay.Source.
func (r *relaySource) Close() {
	r.server.countPush(r.viewer.Stream().Path(), -1)
	r.viewer.Close()
}

// eachTag takes the tags that relayFormat has made apart, without copying them.
func eachTag(b []byte, send func(rtmp.Message) error) error {
	const header, back = 11, 4
	for len(b) >= header+back {
		size := int(binary.BigEndian.Uint32(b) & 0xffffff)
		at := binary.BigEndian.Uint32(b[4:])>>8 | uint32(b[7])<<24
		end := header + size
		if err := send(rtmp.Message{Type: b[0], Timestamp: at, Payload: b[header:end:end]}); err != nil {
			return err
		}
		b = b[end+back:]
	}
	return nil
}

// postRelay begins a relay: the body is a relay.Spec.
func (s *Server) postRelay(w http.ResponseWriter, r *http.Request) {
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	var spec relay.Spec
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, MaxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(&spec); err != nil {
		s.httpError(w, lifecycle.ReasonBadRequest.With("body: %v", err))
		return
	}
	info, err := s.relays.Add(spec)
	if err != nil {
		s.httpError(w, lifecycle.ReasonOf(err))
		return
	}
	writeJSON(w, info)
}

// deleteRelay ends a relay.
func (s *Server) deleteRelay(w http.ResponseWriter, r *http.Request) {
	if err := s.relays.Remove(r.PathValue("id")); err != nil {
		s.httpError(w, lifecycle.ReasonOf(err))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
