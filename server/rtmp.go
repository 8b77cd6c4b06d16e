package server

import (
	"context"
	"errors"
	"slices"

	"hawser/flv"
	"hawser/lifecycle"
	"hawser/media"
	"hawser/rtmp"
	"hawser/stream"
)

// rtmpHandler is where RTMP meets the streams.
func (s *Server) rtmpHandler() *rtmp.Handler {
	return &rtmp.Handler{
		OnPublish: s.rtmpPublish,
		OnClose:   func(st *rtmp.Stream, why lifecycle.Reason) { st.Data.(*rtmpPublisher).close(why) },
		OnPlay:    s.rtmpPlay,
		OnStop:    func(st *rtmp.Stream, _ lifecycle.Reason) { st.Data.(*rtmpPlayer).viewer.Close() },
	}
}

// maxTold is how many kinds of what is not carried are told of one publisher.
const maxTold = 8

// KindUnsupported is the event of a publisher that sends what is not carried here; it is told once for each codec. The rest of the stream goes on.
const KindUnsupported = "unsupported"

// rtmpPublisher takes what one client publishes.
type rtmpPublisher struct {
	pub   *stream.Publisher
	demux flv.Demuxer
	log   *lifecycle.Log
	by    string
	told  []string // what is not carried, as far as it came
}

func (s *Server) rtmpPublish(_ context.Context, st *rtmp.Stream) error {
	pub, err := s.streams.Publish(st.Path(), st.Conn().ID())
	if err != nil {
		return err
	}
	p := &rtmpPublisher{pub: pub, log: s.log, by: st.Conn().ID()}
	st.Data = p
	st.SetSink(p.take)
	return nil
}

// take turns a message into frames of the stream.
func (p *rtmpPublisher) take(m rtmp.Message) error {
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
		p.unsupported(err)
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
	return p.pub.Write(f)
}

// unsupported tells what is left out.
func (p *rtmpPublisher) unsupported(err error) {
	if text := err.Error(); len(p.told) < maxTold && !slices.Contains(p.told, text) {
		p.told = append(p.told, text)
		p.log.Add(lifecycle.Event{Kind: KindUnsupported, Conn: p.by, Protocol: "rtmp", Side: lifecycle.Server, Path: p.pub.Stream().Path(), Light: lifecycle.Amber,
			Reason: lifecycle.ReasonUnsupported.Because(err)})
	}
}

func (p *rtmpPublisher) close(why lifecycle.Reason) { p.pub.Close(why) }

// rtmpPlayer gives one player its chunks.
type rtmpPlayer struct {
	viewer *stream.Viewer
	stream *rtmp.Stream
}

func (s *Server) rtmpPlay(_ context.Context, st *rtmp.Stream) error {
	format := s.formats.rtmp
	if st.Conn().Capabilities().Extensions&rtmp.ExtMultitrack != 0 {
		format = s.formats.multitrack
	}
	viewer, err := s.streams.View(st.Path(), format, st.Conn().ID())
	if err != nil {
		return err
	}
	p := &rtmpPlayer{viewer: viewer, stream: st}
	st.Data = p
	st.SetSource(p)
	return nil
}

// Fill implements netio.Source.
func (p *rtmpPlayer) Fill(dst [][]byte, max int) [][]byte {
	for {
		var size int
		dst, size = p.viewer.Fill(dst, max)
		if size >= max {
			return dst
		}
		if p.viewer.Ended() {
			p.stream.End(lifecycle.ReasonGone)
			return dst
		}
		if p.viewer.Arm(p.stream) {
			return dst
		}
		max -= size
	}
}
