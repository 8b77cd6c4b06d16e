package server

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"hawser/flv"
	"hawser/lifecycle"
	"hawser/media"
	"hawser/rtmp"
	"hawser/stream"
)

// rtmpHandler is where RTMP meets the streams.
func (s *Server) rtmpHandler() *rtmp.Handler {
	return s.hooked(&rtmp.Handler{
		OnConnect: s.refuseOwnRelay,
		OnPublish: s.publishAndRecord,
		OnClose:   func(st *rtmp.Stream, why lifecycle.Reason) { st.Data.(*rtmpPublisher).close(why) },
		OnPlay:    s.playLiveOrFile,
		OnStop:    func(st *rtmp.Stream, _ lifecycle.Reason) { stopPlaying(st) },
	})
}

// maxTold is how many kinds of what is not carried are told of one publisher.
const maxTold = 8

// KindUnsupported is the event of a publisher that sends what is not carried here, told once for each codec, and of an RTMP player that is not sent, or may not understand, what is carried; Reason says
// what. The rest of the stream goes on.
const KindUnsupported = "unsupported"

// rtmpPublisher takes what one client publishes.
type rtmpPublisher struct {
	server *Server
	pub    *stream.Publisher
	demux  flv.Demuxer
	last   time.Duration // the client's time of its newest frame
	by     string
	told   []string // what is not carried, as far as it came
}

// rtmpPublish makes a client the publisher of its path, or lets it wait for that, as the options say. OnUnpublish comes at the end of the grace period.
func (s *Server) rtmpPublish(_ context.Context, st *rtmp.Stream) error {
	pub, err := s.streams.Claim(st.Path(), stream.Claim{By: st.Conn().ID(), Replaced: st.Conn().Close, Unpublished: st.DeferUnpublish()})
	if err != nil {
		return err
	}
	p := &rtmpPublisher{server: s, pub: pub, by: st.Conn().ID()}
	st.Data = p
	st.SetSink(p.take)
	return nil
}

// take turns a message into frames of the stream.
func (p *rtmpPublisher) take(m rtmp.Message) error {
	if m.Type == rtmp.TypeData {
		p.data(m)
		return nil
	}
	f, track, ok, err := p.demux.Feed(m.Type, m.Timestamp, m.Payload)
	for {
		if err := p.frame(f, track, ok, err); err != nil || !p.demux.More() {
			return err
		}
		f, track, ok, err = p.demux.Next()
	}
}

// frame takes what the demuxer gave. Codecs that are not known here are left out; broken packets end the connection.
func (p *rtmpPublisher) frame(f media.Frame, track *media.Track, ok bool, err error) error {
	if errors.Is(err, flv.ErrUnsupported) {
		p.tell(KindUnsupported, lifecycle.ReasonUnsupported.Because(err))
		return nil
	}
	if err != nil {
		return lifecycle.ReasonProtocol.Because(err)
	}
	if track != nil {
		if err := p.pub.SetTrack(*track); err != nil {
			return err
		}
	}
	if !ok || f.Config {
		return nil
	}
	p.last = f.DTS
	return p.pub.Write(f)
}

// tell logs what is left out, once.
func (p *rtmpPublisher) tell(kind string, why lifecycle.Reason) {
	if text := why.Error(); len(p.told) < maxTold && !slices.Contains(p.told, text) {
		p.told = append(p.told, text)
		p.server.log.Add(lifecycle.Event{Kind: kind, Conn: p.by, Protocol: "rtmp", Side: lifecycle.Server, Path: p.pub.Stream().Path(), Light: lifecycle.Amber, Reason: why})
	}
}

func (p *rtmpPublisher) close(why lifecycle.Reason) { p.pub.Close(why) }

// rtmpPlayer gives one player its chunks.
type rtmpPlayer struct {
	viewer *stream.Viewer
	stream *rtmp.Stream
	check  *codecCheck // until the first media; nil where nothing is in doubt

	last    time.Duration // what it asked for is over so long after the first media; 0 is never, or that runs
	over    *time.Timer   // stopped until then; nil without an end
	stopped atomic.Bool
}

func (s *Server) rtmpPlay(_ context.Context, st *rtmp.Stream) error {
	what, sure := s.carriedTo(st)
	viewer, err := s.streams.View(st.Path(), s.formatFor(what), st.Conn().ID())
	if err != nil {
		return err
	}
	s.relays.Changed() // it may be what a pull on demand waits for
	p := &rtmpPlayer{viewer: viewer, stream: st}
	if !sure || what.limited || !what.multitrack {
		p.check = &codecCheck{s, what, sure}
	}
	if p.last = st.Request().Duration; p.last > 0 {
		p.over = time.AfterFunc(p.last, p.complete)
		p.over.Stop()
	}
	st.Data = p
	st.SetSource(p)
	return nil
}

// complete ends the play of a client that has asked for so much of what is live (RTMP 1.0 section 7.2.2.1, duration).
func (p *rtmpPlayer) complete() {
	if !p.stopped.Load() {
		p.stream.SetSource(nil)
		p.stream.Complete(p.stream.Request().Duration)
	}
}

// close gives up what it has.
func (p *rtmpPlayer) close() {
	p.stopped.Store(true)
	if p.over != nil {
		p.over.Stop()
	}
	p.viewer.Close()
}

// Fill implements netio.Source.
func (p *rtmpPlayer) Fill(dst [][]byte, max int) [][]byte {
	for {
		var size int
		dst, size = p.viewer.Fill(dst, max)
		if p.check != nil && size > 0 {
			p.doubt()
		}
		if p.last > 0 && p.viewer.Stream().Info().Status == stream.Live {
			p.over.Reset(p.last)
			p.last = 0
		}
		if size >= max {
			return dst
		}
		if p.viewer.Ended() {
			p.end()
			return dst
		}
		if p.viewer.Arm(p.stream) {
			return dst
		}
		max -= size
	}
}

// doubt looks whether the player reads what it is sent, when there are tracks.
func (p *rtmpPlayer) doubt() {
	s := p.viewer.Stream()
	if tracks := s.Info().Tracks; len(tracks) > 0 {
		p.check.run(p.stream.Conn().ID(), s.Path(), tracks)
		p.check = nil
	}
}

// end tells the player that the stream is over, or closes one that is too slow for it.
func (p *rtmpPlayer) end() {
	why := p.viewer.Why()
	if why.Code == lifecycle.ReasonSlow.Code {
		p.stream.Conn().Close(why)
		return
	}
	p.stream.End(why)
}
