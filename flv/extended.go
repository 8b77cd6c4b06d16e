package flv

import (
	"encoding/binary"
	"fmt"
	"time"

	"hawser/amf"
	"hawser/media"
)

// Packet types of Enhanced RTMP bodies (ExVideoTagHeader, ExAudioTagHeader); those below 3 are packetConfig, packetFrame and packetEnd.
const (
	packetFrameX       = 3 // video: a frame whose composition offset is zero
	packetMetadata     = 4 // video
	packetTSConfig     = 5 // video: codec parameters as in MPEG-2 TS
	packetVideoTracks  = 6
	packetMultichannel = 4 // audio
	packetAudioTracks  = 5
	packetModifier     = 7
)

// Enhanced RTMP's AvMultitrackType.
const (
	oneTrack   = 0
	manyTracks = 1
	manyCodecs = 2
)

// modifierNano is the modifier TimestampOffsetNano: what a timestamp lacks to the nanosecond.
const (
	modifierNano = 0
	maxNano      = 999_999
)

// MaxTracks is how many tracks of a kind are carried; Enhanced RTMP could name 256.
const MaxTracks = 16

// The identities that a Demuxer gives the tracks of number 0, which are those of all bodies that name no track. Those of number n have 2n more: video is odd, audio is even.
const (
	VideoTrack = 1
	AudioTrack = 2
)

// TrackNumber gives the number that Enhanced RTMP has for the track among those of its kind, from its ID: 0 for 1 and 2, 1 for 3 and 4, and so on. Players that know no
// multitrack (capsEx in their connect command) must be sent number 0 only.
func TrackNumber(t media.Track) int { return (t.ID - 1) / 2 }

// fourCCs are the codecs' names in Enhanced RTMP.
var fourCCs = [...]string{media.H264: "avc1", media.HEVC: "hvc1", media.AV1: "av01", media.VP8: "vp08", media.VP9: "vp09",
	media.AAC: "mp4a", media.Opus: "Opus", media.MP3: ".mp3", media.AC3: "ac-3", media.EAC3: "ec-3", media.FLAC: "fLaC"}

// extended is an Enhanced RTMP body (v2, "Enhanced Audio" and "Enhanced Video") that is being read.
type extended struct {
	b      []byte
	at     int // behind what was read
	what   string
	kind   media.Kind
	key    bool
	guess  bool // whether it is a keyframe was not said
	packet byte
	tracks bool // there are track numbers
	many   bool // there are several tracks, each with its length
	each   bool // each of them has its own codec
	codec  media.Codec
	fourCC int // where the FourCC is
	time   time.Duration
}

// isExtended says whether a body that is not empty is one of Enhanced RTMP.
func isExtended(typ byte, body []byte) bool {
	return typ == TypeVideo && body[0]&videoExtended != 0 || typ == TypeAudio && body[0]>>4 == audioExtended
}

// BodyTrack says how a body names its track, or the first of them: by the FourCC and the number of Enhanced RTMP, "" and 0 in plain FLV. It is for those who leave
// bodies out without looking into them.
func BodyTrack(typ byte, body []byte) (fourCC string, number int) {
	var e extended
	if len(body) == 0 || !isExtended(typ, body) || e.open(typ, 0, body) != nil || e.done() {
		return "", 0
	}
	number, _, _, err := e.next()
	if err != nil {
		return "", 0
	}
	return string(body[e.fourCC : e.fourCC+4]), number
}

// done says that nothing is left to read.
func (e *extended) done() bool { return e.b == nil }

// take gives the next n bytes.
func (e *extended) take(n int, what string) ([]byte, error) {
	if left := len(e.b) - e.at; n > left {
		return nil, bodyError(e.what, len(e.b), "the end", what)
	}
	e.at += n
	return e.b[e.at-n : e.at], nil
}

// takeSized is take of something whose length was said.
func (e *extended) takeSized(n int, what string) ([]byte, error) {
	if n > len(e.b)-e.at {
		what = fmt.Sprintf("%s of %d bytes", what, n)
	}
	return e.take(n, what)
}

// open reads the header, up to the first track.
func (e *extended) open(typ byte, at time.Duration, b []byte) error {
	*e = extended{b: b, at: 1, time: at, packet: b[0] & 15, what: "audio", kind: media.Audio}
	multitrack := byte(packetAudioTracks)
	frame := byte(frameKey)
	if typ == TypeVideo {
		e.what, e.kind = "video", media.Video
		multitrack, frame = packetVideoTracks, b[0]>>4&7
		e.key, e.guess = frame == frameKey || frame == frameGenerated, frame == frameUnknown
	}
	for e.packet == packetModifier {
		if err := e.modifier(); err != nil {
			return err
		}
	}
	if typ == TypeVideo && e.packet != packetMetadata {
		switch {
		case frame == frameInfo:
			*e = extended{}
			return nil
		case frame > frameInfo:
			return bodyError(e.what, 0, fmt.Sprintf("frame type %d", frame), "1 to 5")
		}
	}
	if e.packet == multitrack {
		types, err := e.take(1, "a multitrack type")
		if err != nil {
			return err
		}
		if types[0]>>4 > manyCodecs {
			return fmt.Errorf("flv: %s: multitrack type %d: %w", e.what, types[0]>>4, ErrUnsupported)
		}
		e.tracks, e.many, e.each = true, types[0]>>4 != oneTrack, types[0]>>4 == manyCodecs
		if e.packet = types[0] & 15; e.packet == multitrack || e.packet == packetModifier {
			return bodyError(e.what, e.at-1, fmt.Sprintf("packet type %d inside of a multitrack body", e.packet), "one of a track")
		}
	}
	if e.each {
		return nil
	}
	return e.readFourCC()
}

// modifier reads a ModEx.
func (e *extended) modifier() error {
	size, err := e.take(1, "the size of a modifier")
	if err != nil {
		return err
	}
	n := int(size[0]) + 1
	if n == 256 {
		if size, err = e.take(2, "the size of a modifier"); err != nil {
			return err
		}
		n = int(binary.BigEndian.Uint16(size)) + 1
	}
	at := e.at
	data, err := e.takeSized(n, "a modifier")
	if err != nil {
		return err
	}
	types, err := e.take(1, "the type of a modifier")
	if err != nil {
		return err
	}
	e.packet = types[0] & 15
	if types[0]>>4 != modifierNano {
		return nil // others may be passed over
	}
	if n < 3 {
		return bodyError(e.what, at, fmt.Sprintf("a time of %d bytes", n), "3 or more")
	}
	nano := uint24(data)
	if nano > maxNano {
		return bodyError(e.what, at, fmt.Sprintf("%d ns", nano), fmt.Sprintf("at most %d", maxNano))
	}
	e.time += time.Duration(nano)
	return nil
}

func (e *extended) readFourCC() error {
	b, err := e.take(4, "a FourCC")
	if err != nil {
		return err
	}
	e.codec = media.CodecNone
	for codec, s := range fourCCs {
		if s == string(b) && media.Codec(codec).Kind() == e.kind {
			e.codec = media.Codec(codec)
		}
	}
	e.fourCC = e.at - 4
	return nil
}

// next reads the header of the next track, and gives the track's number and its part of the body, with where that begins.
func (e *extended) next() (number int, b []byte, at int, err error) {
	if e.each {
		if err = e.readFourCC(); err != nil {
			return 0, nil, 0, err
		}
	}
	if e.tracks {
		id, err := e.take(1, "a track's number")
		if err != nil {
			return 0, nil, 0, err
		}
		number = int(id[0])
	}
	if e.many {
		size, err := e.take(3, "the size of a track")
		if err != nil {
			return 0, nil, 0, err
		}
		at, n := e.at, int(uint24(size))
		b, err = e.takeSized(n, "a track")
		return number, b, at, err
	}
	at = e.at
	e.at = len(e.b)
	return number, e.b[at:], at, nil
}

// More says whether the body that Feed took has another track, which Next gives.
func (d *Demuxer) More() bool { return !d.body.done() }

// Next gives what Feed does of the next track in the same body; nothing when More is false. An error about the body itself leaves no more to read; one about a track or
// its codec does.
func (d *Demuxer) Next() (f media.Frame, t *media.Track, ok bool, err error) {
	e := &d.body
	if e.done() {
		return f, nil, false, nil
	}
	number, b, at, err := e.next()
	if err != nil {
		d.body = extended{}
		return f, nil, false, err
	}
	defer func() {
		if e.at == len(e.b) {
			d.body = extended{}
		}
	}()
	switch {
	case e.codec == media.CodecNone:
		return f, nil, false, fmt.Errorf("flv: %s: FourCC %q: %w", e.what, e.b[e.fourCC:e.fourCC+4], ErrUnsupported)
	case number >= MaxTracks:
		return f, nil, false, fmt.Errorf("flv: %s: track %d, more than %d: %w", e.what, number, MaxTracks-1, ErrUnsupported)
	}
	id := VideoTrack
	if e.kind == media.Audio {
		id = AudioTrack
	}
	f, t, ok, err = d.slot(id+2*number).feedExtended(e, b, at)
	if err != nil {
		return media.Frame{}, nil, false, err
	}
	f.DTS, f.PTS = e.time, f.PTS+e.time
	return f, t, ok, nil
}

// feedExtended takes one track's part of a body, which begins there at an offset.
func (s *slot) feedExtended(e *extended, b []byte, at int) (f media.Frame, t *media.Track, ok bool, err error) {
	switch {
	case e.packet == packetConfig:
		return s.config(e.codec, b)
	case e.packet == packetEnd:
		return f, nil, false, nil
	case e.packet == packetFrame && e.kind == media.Audio:
		return s.sound(e.codec, b)
	case e.packet == packetFrame && (e.codec == media.H264 || e.codec == media.HEVC):
		if len(b) < 3 {
			return f, nil, false, bodyError("video", at+len(b), "the end", "a composition offset of 3 bytes")
		}
		return s.picture(e.codec, e.isKey(s, b[3:]), composition(b), b[3:], at+3)
	case (e.packet == packetFrame || e.packet == packetFrameX) && e.kind == media.Video:
		return s.picture(e.codec, e.isKey(s, b), 0, b, at)
	case e.packet == packetMetadata && e.kind == media.Video:
		t, err = s.color(b)
		return f, t, false, err
	case e.packet == packetTSConfig && e.codec == media.AV1:
		return s.tsConfig(b, at)
	case e.packet == packetMultichannel && e.kind == media.Audio:
		return f, nil, false, s.multichannel(b, at)
	}
	return f, nil, false, fmt.Errorf("flv: %s: packet type %d of %s: %w", e.what, e.packet, e.codec, ErrUnsupported)
}

// isKey says whether a picture is a keyframe, from the picture where the body does not say it.
func (e *extended) isKey(s *slot, b []byte) bool {
	return e.key || e.guess && media.Track{Kind: e.kind, Codec: e.codec, Config: s.track.Config}.IsKey(b)
}

// tsConfig takes AV1's parameters as MPEG-2 TS has them: a video descriptor, whose four bytes are those of an AV1CodecConfigurationRecord but for what it says of
// high dynamic range (Carriage of AV1 in MPEG-2 TS, section 3.3). The sequence header comes with the first keyframe.
func (s *slot) tsConfig(b []byte, at int) (f media.Frame, t *media.Track, ok bool, err error) {
	const tag, size = 0x80, 4
	if len(b) < 2+size || b[0] != tag || b[1] != size {
		return f, nil, false, bodyError("video", at, fmt.Sprintf("% x", b[:min(len(b), 2+size)]), "an AV1 video descriptor of 6 bytes, 80 04 ...")
	}
	return s.config(media.AV1, []byte{b[2], b[3], b[4], b[5] & 0x1f})
}

// multichannel reads a multichannel configuration. All codecs but Opus without an identification header say their channels themselves.
func (s *slot) multichannel(b []byte, at int) error {
	const native, custom = 1, 2
	if len(b) < 2 {
		return bodyError("audio", at+len(b), "the end", "a channel order and count")
	}
	order, count := b[0], int(b[1])
	switch {
	case count == 0:
		return bodyError("audio", at+1, "no channels", "one or more")
	case order == native && len(b) < 2+4:
		return bodyError("audio", at+len(b), "the end", "flags of channels in 4 bytes")
	case order == custom && len(b) < 2+count:
		return bodyError("audio", at+len(b), "the end", fmt.Sprintf("a mapping of %d channels", count))
	}
	s.layout = count
	return nil
}

// color reads a metadata frame; the track comes back where its colour is news. It may come before the track's parameters.
func (s *slot) color(b []byte) (*media.Track, error) {
	values, err := amf.Decode(b)
	if err != nil {
		return nil, fmt.Errorf("flv: video: metadata: %w", err)
	}
	for i := 0; i+1 < len(values); i += 2 {
		if values[i] != "colorInfo" {
			continue
		}
		if c := parseColor(amf.Members(values[i+1])); c != s.track.Color {
			s.track.Color = c
			if s.track.Codec != media.CodecNone {
				t := s.track
				return &t, nil
			}
		}
	}
	return nil, nil
}
