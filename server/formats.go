package server

import (
	"bytes"
	"slices"
	"strconv"
	"time"

	"hawser/flv"
	"hawser/fmp4"
	"hawser/lifecycle"
	"hawser/media"
	"hawser/ring"
	"hawser/rtmp"
	"hawser/session"
	"hawser/stream"
	"hawser/websocket"
)

// wrapping appends a body in what a format puts around it.
type wrapping = func(dst []byte, typ byte, at time.Duration, body []byte) []byte

// rtmpFormat is a stream as RTMP messages in chunks; the same bytes go to every player that gets the same.
func rtmpFormat(chunkSize int, what carried) stream.Format {
	message := func(dst []byte, typ byte, at time.Duration, body []byte) []byte {
		return rtmp.AppendMessage(dst, chunkSize, rtmp.Message{Type: typ, StreamID: rtmp.MediaStreamID, Timestamp: millis(at), Payload: body})
	}
	name := "rtmp"
	if what.data {
		name += "-data"
	}
	if what.multitrack {
		name += "-multitrack"
	}
	if what.limited {
		name += "-only-" + what.codecs
	}
	what.told = true
	return flvBodies(name, nil, nil, what, message)
}

// flvFormat is a stream as FLV tags, for HTTP-FLV; chunked frames each tag as HTTP/1.1 does (RFC 9112 section 7.1), so that a client can tell the stream's end from a break.
func flvFormat(chunked bool) stream.Format {
	if !chunked {
		tag := func(dst []byte, typ byte, at time.Duration, body []byte) []byte {
			return flv.AppendTag(dst, flv.Tag{Type: typ, Timestamp: millis(at), Data: body})
		}
		return flvBodies("flv", flvHeader, nil, carried{}, tag)
	}
	tag := func(dst []byte, typ byte, at time.Duration, body []byte) []byte {
		const around = 11 + 4 // a tag's header, and its length behind it
		dst = appendChunkSize(dst, around+len(body))
		dst = flv.AppendTag(dst, flv.Tag{Type: typ, Timestamp: millis(at), Data: body})
		return append(dst, "\r\n"...)
	}
	first := func(dst []byte, s *stream.Stream) []byte {
		header := flvHeader(nil, s)
		return append(append(appendChunkSize(dst, len(header)), header...), "\r\n"...)
	}
	return flvBodies("flv-chunked", first, []byte("0\r\n\r\n"), carried{}, tag)
}

// flvHeader appends a file's header, which says whether there is sound and picture: players wait for what it says. It says both while a stream is so young that the other may still come.
func flvHeader(dst []byte, s *stream.Stream) []byte {
	info := s.Info()
	young := len(info.Tracks) == 0 || info.Frames < fewFrames
	has := func(k media.Kind) bool {
		return young || slices.ContainsFunc(info.Tracks, func(t media.Track) bool { return t.Kind == k })
	}
	return flv.AppendHeader(dst, has(media.Audio), has(media.Video))
}

func appendChunkSize(dst []byte, n int) []byte {
	return append(strconv.AppendInt(dst, int64(n), 16), "\r\n"...)
}

// flvBodies is a format whose packets are FLV bodies in some wrapping; what first appends and last stand around them all.
func flvBodies(name string, first func(dst []byte, s *stream.Stream) []byte, last []byte, what carried, wrap wrapping) stream.Format {
	prelude := func(s *stream.Stream, at uint64, state *stream.State, skipped uint64) []byte {
		var b []byte
		if skipped == 0 && first != nil {
			b = first(b, s)
		}
		if skipped == 0 {
			b = what.appendLeftOut(b, state.Tracks, wrap)
		}
		return appendHeaders(b, timeAt(s, at, state), state, what, wrap)
	}
	newPacker := func(_ *stream.Stream, state *stream.State) stream.Packer {
		return &flvPacker{wrap: wrap, last: last, carried: what, tracks: state.Tracks, metadata: state.Metadata}
	}
	return stream.Format{Name: name, New: newPacker, Prelude: prelude}
}

// timeAt is the media time of the frame at a place, or when state began.
func timeAt(s *stream.Stream, at uint64, state *stream.State) time.Duration {
	if item, ok := s.Frames().At(at); ok && !item.Value.Changed {
		return item.Value.Frame.DTS
	}
	return state.Time
}

// appendHeaders appends the metadata and the codec parameters of the tracks that a player gets.
func appendHeaders(dst []byte, at time.Duration, state *stream.State, what carried, wrap wrapping) []byte {
	tracks := playable(state.Tracks, what)
	if len(tracks) == 0 {
		return dst
	}
	dst = wrapMetadata(dst, state, what, wrap)
	for _, t := range tracks {
		if typ, body := flv.AppendColor(nil, t); len(body) > 0 {
			dst = wrap(dst, typ, at, body)
		}
		if len(t.Config) == 0 {
			continue
		}
		if typ, body := flv.AppendFrame(nil, t, media.Frame{Track: t.ID, Kind: t.Kind, Config: true, Data: t.Config}); len(body) > 0 {
			dst = wrap(dst, typ, at, body)
		}
	}
	return dst
}

// playable leaves out what a player does not read; for one that does not read multitrack bodies that is all but the first track of each kind: it takes the others' frames for those of the first.
func playable(tracks []media.Track, what carried) []media.Track {
	if what.multitrack && !what.limited {
		return tracks
	}
	return slices.DeleteFunc(slices.Clone(tracks), func(t media.Track) bool { return !what.reads(t) })
}

// wrapMetadata appends the metadata. ffmpeg takes it for a stream of subtitles unless its time is 0.
func wrapMetadata(dst []byte, state *stream.State, what carried, wrap wrapping) []byte {
	return wrap(dst, flv.TypeScript, 0, appendMetadata(nil, flv.Metadata(playable(state.Tracks, what)), state.Metadata))
}

// flvPacker makes the packets of flvBodies.
type flvPacker struct {
	carried
	wrap     wrapping
	last     []byte
	body     []byte
	slab     []byte // packets lie behind each other in it, so that one buffer of a write takes several
	tracks   []media.Track
	metadata []byte
}

// Pack implements stream.Packer.
func (p *flvPacker) Pack(item ring.Item[stream.Item]) stream.Packet {
	it := &item.Value
	if it.Changed {
		if it.State.Status == stream.Ended {
			return stream.Packet{Data: p.last, End: true}
		}
		return stream.Packet{Data: p.changed(it.State)}
	}
	if it.Frame.Kind == media.Data {
		if !p.data {
			return stream.Packet{}
		}
		return stream.Packet{Data: p.place(flv.TypeScript, it.Frame.DTS, it.Frame.Data)}
	}
	t := it.State.Track(it.Frame.Track)
	if t == nil || !p.reads(*t) {
		return stream.Packet{}
	}
	var typ byte
	typ, p.body = flv.AppendFrame(p.body[:0], *t, it.Frame)
	if len(p.body) == 0 {
		return stream.Packet{}
	}
	return stream.Packet{Data: p.place(typ, it.Frame.DTS, p.body)}
}

const (
	// slabBytes is the size of the arrays that packets are put into: large enough for what a viewer is sent at once, and small beside what a stream keeps.
	slabBytes = 64 << 10
	// maxWrapped is about how many bytes a wrapping adds to a body; if they are more, the packet gets an array of its own.
	maxWrapped = 64
)

// place wraps a body behind the packet before.
func (p *flvPacker) place(typ byte, at time.Duration, body []byte) []byte {
	if need := len(body) + maxWrapped; cap(p.slab)-len(p.slab) < need {
		p.slab = make([]byte, 0, max(slabBytes, need))
	}
	begin := len(p.slab)
	p.slab = p.wrap(p.slab, typ, at, body)
	return p.slab[begin:]
}

// changed gives the parameters and metadata where they are new.
func (p *flvPacker) changed(state *stream.State) []byte {
	tracks, metadata := sameTracks(p.tracks, state.Tracks), bytes.Equal(p.metadata, state.Metadata)
	if len(state.Tracks) == 0 || tracks && metadata {
		return nil
	}
	p.tracks, p.metadata = state.Tracks, state.Metadata
	if tracks {
		return wrapMetadata(nil, state, p.carried, p.wrap)
	}
	return appendHeaders(p.appendLeftOut(nil, state.Tracks, p.wrap), state.Time, state, p.carried, p.wrap)
}

// sameTracks says that nothing has changed: states share the list until something does.
func sameTracks(a, b []media.Track) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// millis is a timestamp as RTMP and FLV count it.
func millis(d time.Duration) uint32 { return uint32(d.Milliseconds()) }

// sessionFormat is a stream as a session's WebSocket frames: a media message in text, an init segment and fragments in binary.
func sessionFormat() stream.Format {
	return stream.Format{
		Name: "session",
		New: func(s *stream.Stream, state *stream.State) stream.Packer {
			p := &sessionPacker{stream: s, status: state.Status}
			p.use(state)
			return p
		},
		Prelude: func(s *stream.Stream, at uint64, state *stream.State, skipped uint64) []byte {
			p := &sessionPacker{stream: s}
			p.use(state)
			return p.appendState(nil, at, timeAt(s, at, state), state, skipped)
		},
	}
}

// sessionPacker makes the packets of sessionFormat.
type sessionPacker struct {
	stream *stream.Stream
	status stream.Status
	tracks []media.Track // all of the stream
	muxer  *fmp4.Muxer   // of those that fMP4 can carry; nil if none
	usable []media.Track
	buf    []byte
}

// use prepares for the tracks of a state.
func (p *sessionPacker) use(state *stream.State) {
	p.tracks, p.muxer, p.usable = state.Tracks, nil, nil
	for _, t := range state.Tracks {
		if fmp4.Supports(t) {
			p.usable = append(p.usable, t)
		}
	}
	if len(p.usable) == 0 {
		return
	}
	muxer, err := fmp4.NewMuxer(p.usable)
	if err != nil {
		p.usable = nil
		return
	}
	p.muxer = muxer
}

// Pack implements stream.Packer.
func (p *sessionPacker) Pack(item ring.Item[stream.Item]) stream.Packet {
	it := &item.Value
	if it.Changed {
		same := sameTracks(p.tracks, it.State.Tracks)
		if same && p.status == it.State.Status {
			return stream.Packet{} // only the metadata is new
		}
		if len(it.State.Tracks) > 0 && !same {
			p.use(it.State)
		}
		p.status = it.State.Status
		return stream.Packet{Data: p.appendState(nil, item.Seq, it.State.Time, it.State, 0)}
	}
	f := it.Frame
	if p.muxer == nil || !p.carries(f.Track) {
		return stream.Packet{}
	}
	h := session.MediaHeader{Path: p.stream.Path(), Epoch: p.stream.Epoch(), Offset: item.Seq, DTS: f.DTS, Kind: session.MediaAudio}
	if f.Kind == media.Video {
		h.Kind = session.MediaVideo
	}
	if f.Key {
		h.Flags |= session.FlagKeyframe
	}
	b, err := p.muxer.AppendFragment(session.AppendMediaHeader(p.buf[:0], h), f)
	if err != nil {
		return stream.Packet{}
	}
	p.buf = b
	return stream.Packet{Data: websocket.AppendFrame(nil, true, websocket.OpBinary, b)}
}

func (p *sessionPacker) carries(track int) bool {
	for i := range p.usable {
		if p.usable[i].ID == track {
			return true
		}
	}
	return false
}

// appendState appends the media message for a state that holds at a place and media time, and the init segment.
func (p *sessionPacker) appendState(dst []byte, at uint64, when time.Duration, state *stream.State, skipped uint64) []byte {
	m := session.Message{Type: session.TypeMedia, Path: p.stream.Path(), Epoch: p.stream.Epoch(), Offset: at, Time: when, HasTime: true,
		Status: mediaStatus(state.Status), Reason: state.Reason}
	m.Skipped = skipped
	if state.Status == stream.Live && len(state.Tracks) > 0 && p.muxer == nil {
		m.Reason = lifecycle.ReasonUnsupported.With("no track of this stream can be sent as fragmented MP4")
	}
	if p.muxer != nil {
		m.MIME = fmp4.MIME(p.usable)
		for _, t := range p.usable {
			m.Tracks = append(m.Tracks, session.Track{ID: t.ID, Kind: t.Kind.String(), Codec: t.MIME(), Width: t.Width, Height: t.Height,
				SampleRate: t.SampleRate, Channels: t.Channels})
		}
	}
	dst = websocket.AppendFrame(dst, true, websocket.OpText, session.Append(nil, &m))
	if p.muxer == nil {
		return dst
	}
	h := session.MediaHeader{Path: p.stream.Path(), Epoch: p.stream.Epoch(), Offset: at, Flags: session.FlagInit, Kind: session.MediaAll}
	if skipped > 0 {
		h.Flags |= session.FlagDiscontinuity
	}
	return websocket.AppendFrame(dst, true, websocket.OpBinary, append(session.AppendMediaHeader(nil, h), p.muxer.Init()...))
}

// mediaStatus is what a viewer is told of a stream's status.
func mediaStatus(s stream.Status) session.Status {
	if s == stream.Live {
		return session.StatusLive
	}
	return session.StatusWaiting
}
