package server

import (
	"fmt"
	"slices"
	"strings"

	"hawser/amf"
	"hawser/flv"
	"hawser/lifecycle"
	"hawser/media"
	"hawser/rtmp"
	"hawser/stream"
)

// MaxCodecSets bounds how many sets of codecs have formats of their own: each is made once for all of its players, and kept for as long as one of them is there.
const MaxCodecSets = 16

// statusNoTrack tells a player that a track is left out for it; it is an old status of RTMP that fits.
const statusNoTrack = "NetStream.Play.NoSupportedTrackFound"

// leftOutText begins its description.
const leftOutText = "Left out, as the player has not said that it reads it: "

// carried says what a player gets beside the first track of each kind.
type carried struct {
	data       bool // data messages
	multitrack bool // the other tracks: the player reads multitrack bodies
	limited    bool // of the codecs that have a FourCC in their bodies, only those of codecs
	codecs     string
	told       bool // what is left out is told by a status
}

// reads says whether a player reads the track's bodies.
func (c carried) reads(t media.Track) bool {
	return c.readsBody(flv.FourCC(t), flv.TrackNumber(t))
}

// readsBody is reads for a body that names its track so.
func (c carried) readsBody(fourCC string, number int) bool {
	return (c.multitrack || number == 0) && (!c.limited || fourCC == "" || strings.Contains(c.codecs, fourCC))
}

// leftOut names the tracks that a player is not sent; "" for none.
func (c carried) leftOut(tracks []media.Track) string {
	var names []string
	for _, t := range tracks {
		if !c.reads(t) {
			names = append(names, fmt.Sprintf("%s %d (%s)", t.Kind, flv.TrackNumber(t)+1, t.Codec))
		}
	}
	return strings.Join(names, ", ")
}

// appendLeftOut appends the status that says what is left out.
func (c carried) appendLeftOut(dst []byte, tracks []media.Track, wrap wrapping) []byte {
	if !c.told {
		return dst
	}
	names := c.leftOut(tracks)
	if names == "" {
		return dst
	}
	info := amf.Object{{Name: "level", Value: "warning"}, {Name: "code", Value: statusNoTrack}, {Name: "description", Value: leftOutText + names + "."}}
	return wrap(dst, rtmp.TypeCommand, 0, amf.Append(nil, "onStatus", 0.0, nil, info))
}

// carriedTo says what a player gets, by its URL and by what it said of Enhanced RTMP; sure is false if it has said nothing of codecs.
func (s *Server) carriedTo(st *rtmp.Stream) (what carried, sure bool) {
	caps := st.Conn().Capabilities()
	what = carried{data: wantsData(st), multitrack: caps.Extensions&rtmp.ExtMultitrack != 0, told: true}
	const reads = rtmp.CanDecode | rtmp.CanForward
	sure = len(caps.FourCC)+len(caps.Video)+len(caps.Audio) > 0
	if caps.Use("*")&reads != 0 || !sure && !s.opts.StrictCodecs {
		return what, sure
	}
	what.limited = true
	var names []string
	for _, name := range flv.FourCCs() {
		if caps.Use(name)&reads != 0 {
			names = append(names, name)
		}
	}
	what.codecs = s.codecSet(strings.Join(names, ","))
	return what, sure
}

// codecSet is a set, or the empty one when there are too many others already.
func (s *Server) codecSet(set string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case set == "" || slices.Contains(s.codecSets, set):
	case len(s.codecSets) < MaxCodecSets:
		s.codecSets = append(s.codecSets, set)
	default:
		lifecycle.CountReached("MaxCodecSets")
		return ""
	}
	return set
}

// formatFor is the format for what a player gets.
func (s *Server) formatFor(what carried) stream.Format {
	switch {
	case what.limited:
		format := rtmpFormat(s.chunkSize(), what)
		format.Gather = s.opts.Gather
		return format
	case what.data && what.multitrack:
		return s.formats.rtmpBoth
	case what.data:
		return s.formats.rtmpData
	case what.multitrack:
		return s.formats.multitrack
	}
	return s.formats.rtmp
}

// codecCheck is what is to be looked at when a player has its first media: whether it is sent what it does not understand, or not sent all.
type codecCheck struct {
	server *Server
	what   carried
	sure   bool
}

// run logs which of the tracks a player does not get, or may not understand.
func (c *codecCheck) run(conn, path string, tracks []media.Track) {
	tell := func(format string, args ...any) {
		c.server.log.Add(lifecycle.Event{Kind: KindUnsupported, Conn: conn, Protocol: "rtmp", Side: lifecycle.Server, Path: path, Light: lifecycle.Amber,
			Reason: lifecycle.ReasonUnsupported.With(format, args...)})
	}
	if names := c.what.leftOut(tracks); names != "" {
		tell("left out, as the player has not said that it reads it: %s", names)
	}
	if c.sure || c.what.limited {
		return
	}
	plain := carried{limited: true, multitrack: true}
	if names := plain.leftOut(playable(tracks, c.what)); names != "" {
		tell("sent, although the player has not said that it reads it: %s", names)
	}
}

// chunkSize is the size of the chunks that players are sent.
func (s *Server) chunkSize() int {
	if s.rtmp.ChunkSize == 0 {
		return rtmp.OwnChunkSize
	}
	return s.rtmp.ChunkSize
}
