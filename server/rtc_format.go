package server

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"hawser/lifecycle"
	"hawser/media"
	"hawser/ring"
	"hawser/rtc"
	"hawser/stream"
)

// What stands among the groups of the rtc format for the viewers' sources, which keep it to themselves: a packet of one byte, which is no group.
var (
	markChanged   = []byte{0xff} // the state of the stream has changed
	markSkipped   = []byte{0xfe} // frames were left out: what follows begins with a keyframe, and may be old
	markReordered = []byte{0xfd} // in place of a frame: pictures come in another order than shown
)

// rtcFormat is a stream as groups of RTP payloads, packetised once for all viewers.
func rtcFormat() stream.Format {
	return stream.Format{
		Name: "rtc",
		New: func(_ *stream.Stream, state *stream.State) stream.Packer {
			p := &rtcPacker{}
			p.use(state.Tracks)
			return p
		},
		Prelude: func(_ *stream.Stream, _ uint64, _ *stream.State, skipped uint64) []byte {
			if skipped == 0 {
				return nil
			}
			return markSkipped
		},
	}
}

// rtcPacker makes the packets of rtcFormat.
type rtcPacker struct {
	tracks  []media.Track // all of the stream
	packers []trackPacker // of those that viewers get
	buf     []byte
	order   order
}

// trackPacker packetises one track.
type trackPacker struct {
	track media.Track
	rtc   *rtc.Packetizer
}

// use prepares for the tracks of a state. A track that goes on as it was keeps its packetizer, which counts pictures.
func (p *rtcPacker) use(tracks []media.Track) {
	old := p.packers
	p.tracks, p.packers, p.order = tracks, nil, order{}
	for _, t := range carriedTracks(tracks) {
		i := slices.IndexFunc(old, func(o trackPacker) bool {
			return o.track.ID == t.ID && o.track.Codec == t.Codec && bytes.Equal(o.track.Config, t.Config)
		})
		if i >= 0 {
			p.packers = append(p.packers, old[i])
		} else if packer, err := rtc.NewPacketizer(t); err == nil {
			p.packers = append(p.packers, trackPacker{t, packer})
		}
	}
}

// Pack implements stream.Packer.
func (p *rtcPacker) Pack(item ring.Item[stream.Item]) stream.Packet {
	it := &item.Value
	if it.Changed {
		if len(it.State.Tracks) > 0 && !sameTracks(p.tracks, it.State.Tracks) {
			p.use(it.State.Tracks)
		}
		return stream.Packet{Data: markChanged, End: it.State.Status == stream.Ended}
	}
	f := it.Frame
	for i := range p.packers {
		t := &p.packers[i]
		if t.track.ID != f.Track {
			continue
		}
		if f.Kind == media.Video && p.order.broken(f) {
			return stream.Packet{Data: markReordered}
		}
		p.buf = t.rtc.AppendGroup(p.buf[:0], f)
		return stream.Packet{Data: bytes.Clone(p.buf)}
	}
	return stream.Packet{}
}

// order notices that pictures come in another order than shown.
type order struct {
	newest   time.Duration // PTS
	any, bad bool
}

// broken takes the next picture; true from the first one on that is to be shown before one that came earlier.
func (o *order) broken(f media.Frame) bool {
	if o.any && f.PTS < o.newest && !f.Key { // a publisher that came anew begins with a keyframe
		o.bad = true
	}
	o.any, o.newest = true, f.PTS
	return o.bad
}

// carriedTracks are the tracks that a viewer gets: the first of pictures and the first of sound that WebRTC carries.
func carriedTracks(tracks []media.Track) (carried []media.Track) {
	for _, kind := range []media.Kind{media.Video, media.Audio} {
		i := slices.IndexFunc(tracks, func(t media.Track) bool { return t.Kind == kind && rtc.Carries(t) == nil })
		if i >= 0 {
			carried = append(carried, tracks[i])
		}
	}
	return carried
}

// rtcAbout is what a client is told of a stream before and while it plays over WebRTC.
type rtcAbout struct {
	Possible bool   `json:"possible"`
	Status   string `json:"status,omitempty"`
	Video    string `json:"video,omitempty"`
	Audio    string `json:"audio,omitempty"`
	Without  string `json:"without,omitempty"`
	Reorder  bool   `json:"reorder,omitempty"`
}

// carriage is what WebRTC carries of a stream to one viewer.
type carriage struct {
	send  []media.Track
	about rtcAbout
	why   lifecycle.Reason // nothing is carried
	// madeOpus: the sound is made of that of the stream.
	madeOpus bool
}

// carriage says what WebRTC carries of what is published on a path, to a client that takes what is offered; nil takes all that there is.
func (s *Server) carriage(path string, takes *offered) (c carriage) {
	st, err := s.streams.Open(path)
	if err != nil {
		c.why = lifecycle.ReasonOf(err)
		return c
	}
	defer st.Close()
	info := st.Info()
	c.about.Status = mediaStatus(info.Status).String()
	if info.Status == stream.Waiting || info.Status == stream.Ended {
		c.why = lifecycle.ReasonNotFound.With("nobody publishes %q", path)
		return c
	}
	return s.carriageOf(c, st, info.Tracks, takes)
}

func (s *Server) carriageOf(c carriage, st *stream.Stream, tracks []media.Track, takes *offered) carriage {
	var without []string
	pictures := false // they are wanted, and there are some
	for _, kind := range []media.Kind{media.Video, media.Audio} {
		t, leftOut := s.carriedOf(st, tracks, kind, takes)
		if t == nil {
			continue
		}
		if kind == media.Video {
			c.about.Video, c.about.Reorder = t.Codec.String(), leftOut == reordered
		} else {
			c.about.Audio = t.Codec.String()
		}
		if takes != nil && !takes.kinds[kind] {
			continue // the client wants none
		}
		pictures = pictures || kind == media.Video
		if leftOut != "" {
			without = append(without, kind.String()+": "+leftOut)
		} else {
			c.send = append(c.send, *t)
			c.madeOpus = c.madeOpus || t.Codec == media.Opus && !slices.ContainsFunc(tracks, func(o media.Track) bool { return o.ID == t.ID && o.Codec == t.Codec })
		}
	}
	c.about.Without = strings.Join(without, "; ")
	// sound alone is no substitute for pictures that are there but cannot be carried
	c.about.Possible = len(c.send) > 0 && (!pictures || c.send[0].Kind == media.Video)
	switch {
	case c.about.Possible:
	case len(tracks) == 0:
		c.why = lifecycle.ReasonNotFound.With("nothing was published on %q so far", st.Path())
	case takes != nil && len(takes.kinds) == 0:
		c.why = lifecycle.ReasonUnsupported.With("the offer receives neither video nor audio")
	case c.about.Without == "":
		c.why = lifecycle.ReasonUnsupported.With("there is neither video nor audio")
	default:
		c.why = lifecycle.ReasonUnsupported.With("%s", c.about.Without)
	}
	return c
}

// reordered is why pictures are left out that browsers do not play over WebRTC.
const reordered = "pictures are sent in another order than shown (B-frames)"

// carriedOf is the track of a kind that a viewer gets, or would get but for the reason given; nil if the stream has none.
func (s *Server) carriedOf(st *stream.Stream, tracks []media.Track, kind media.Kind, takes *offered) (t *media.Track, without string) {
	for i := range tracks {
		if tracks[i].Kind != kind {
			continue
		}
		err := rtc.Carries(tracks[i])
		opus, why, ok := s.opus.makes(tracks[i])
		if ok {
			return &opus, clientTakes(takes, kind, &opus)
		}
		if err == nil {
			t, without = &tracks[i], ""
			break
		}
		if t == nil {
			t, without = &tracks[i], lifecycle.ReasonOf(err).Text
			if why != "" {
				without += ", and " + why
			}
		}
	}
	switch {
	case t == nil || without != "":
	case kind == media.Video && (rtc.Reorders(*t) || isReordered(st, t.ID)):
		without = reordered
	default:
		without = clientTakes(takes, kind, t)
	}
	return t, without
}

// clientTakes says why a client that wants tracks of a kind does not take one; "" when it does.
func clientTakes(takes *offered, kind media.Kind, t *media.Track) string {
	if takes == nil || !takes.kinds[kind] || takes.codecs[strings.ToUpper(t.Codec.String())] {
		return ""
	}
	return "the client does not take " + t.Codec.String()
}

// orderFrames is how many frames since the last keyframe are looked at for their order: an encoder that sends pictures in another order does so within a few.
const orderFrames = 250

// isReordered looks whether the newest pictures of a track came in another order than shown.
func isReordered(st *stream.Stream, track int) bool {
	at, _, ok := st.Start()
	if !ok {
		return false
	}
	var o order
	for end := at + orderFrames; at < end; at++ {
		item, held := st.Frames().At(at)
		if !held {
			break
		}
		if f := item.Value.Frame; !item.Value.Changed && f.Kind == media.Video && f.Track == track && o.broken(f) {
			return true
		}
	}
	return false
}

// offered is what a client's offer wants to receive.
type offered struct {
	kinds  map[media.Kind]bool // which media
	codecs map[string]bool     // as in a=rtpmap, in upper case
}

// readOffer looks for what an offer wants to receive.
func readOffer(sdp string) *offered {
	o := &offered{kinds: make(map[media.Kind]bool), codecs: make(map[string]bool)}
	for _, section := range rtc.Sections(sdp) {
		if kind, ok := sectionKind(section); ok && section.Receives {
			o.kinds[kind] = true
			for _, name := range section.Codecs {
				o.codecs[name] = true
			}
		}
	}
	return o
}

// sectionKind is the kind of media of a section, if it has any.
func sectionKind(section rtc.Section) (kind media.Kind, ok bool) {
	switch section.Kind {
	case media.Video.String():
		return media.Video, true
	case media.Audio.String():
		return media.Audio, true
	}
	return kind, false
}
