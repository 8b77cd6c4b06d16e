package flv

import (
	"bytes"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"hawser/amf"
	"hawser/media"
)

// Parameters and keyframes as real encoders wrote them.
const (
	hvcc = "01 01 60000000 900000000000 1e f000 fc fd f8 f8 0000 0f 03 " +
		"20 0001 0018 40010c01ffff01600000030090000003000003001e959009 " +
		"21 0001 002a 42010101600000030090000003000003001ea0142061f26595912930bc05a02000000300200000030321 " +
		"22 0001 0006 4401c073c189"
	av1Header = "0a 0d 20000003b4fd936be480868010"
	av1c      = "81 20 00 00" + av1Header
	av1Key    = av1Header + "32 02 1000"
	vpcc      = "00 0a 82 02 02 02 0000"
	vp9Key    = "82 49 83 42 00 09f0 0590 8418"
	vp8Key    = "50 0100 9d012a a000 5a00 00"
	opusHead  = "4f70757348656164 01 02 3801 80bb0000 0000 00"
	flacInfo  = "1200 1200 000255 0004ff 0bb802f00000bb80 ba53abf56ced381f730b6f85c5f5e43d"
	ac3Frame  = "0b77 1234 0a 40 43 e106"
	eac3Frame = "0b77 007f 34 86 ff 00"
)

// parsed makes a track of parameters or a keyframe.
func parsed(t testing.TB, id int, parse func([]byte) (media.Track, error), b string) media.Track {
	t.Helper()
	track, err := parse(unhex(t, b))
	if err != nil {
		t.Fatal(err)
	}
	track.ID = id
	return track
}

// vp9Track has its size from a keyframe and its parameters from a sequence header.
func vp9Track(t testing.TB, id int) media.Track {
	track := parsed(t, id, media.ParseVP9, vp9Key)
	track.Config = unhex(t, vpcc)
	return track
}

// fourCC is a codec's name as a body has it.
func fourCC(c media.Codec) string { return strings.ToLower(hexOf([]byte(fourCCs[c]))) }

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	var s strings.Builder
	for _, v := range b {
		s.WriteByte(digits[v>>4])
		s.WriteByte(digits[v&15])
	}
	return s.String()
}

// TestExtendedBodies reads and writes each kind of Enhanced RTMP body.
func TestExtendedBodies(t *testing.T) {
	const ms = time.Millisecond
	hevc, av1 := parsed(t, 1, media.ParseHVCC, hvcc), parsed(t, 1, media.ParseAV1C, av1c)
	opus, flac := parsed(t, 2, media.ParseOpusHead, opusHead), parsed(t, 2, media.ParseFLAC, flacInfo)
	vp8, ac3, eac3 := parsed(t, 1, media.ParseVP8, vp8Key), parsed(t, 2, media.ParseAC3, ac3Frame), parsed(t, 2, media.ParseEAC3, eac3Frame)
	second := func(track media.Track) media.Track { track.ID += 2; return track }
	for _, c := range []struct {
		name  string
		track media.Track
		body  string
		data  string
		key   bool
		conf  bool
		ahead time.Duration // of the presentation time
		fresh bool          // to a demuxer that has had the track's sequence header
	}{
		{name: "HEVC parameters", track: hevc, body: "90 68766331" + hvcc, data: hvcc, key: true, conf: true, fresh: true},
		{name: "HEVC keyframe", track: hevc, body: "93 68766331" + nalu, data: nalu, key: true},
		{name: "HEVC with a composition offset", track: hevc, body: "a1 68766331 000050" + nalu, data: nalu, ahead: 80 * ms},
		{name: "HEVC with a negative one", track: hevc, body: "a1 68766331 ffffd8" + nalu, data: nalu, ahead: -40 * ms},
		{name: "AV1 parameters", track: av1, body: "90 61763031" + av1c, data: av1c, key: true, conf: true, fresh: true},
		{name: "AV1 keyframe", track: av1, body: "91 61763031" + av1Key, data: av1Key, key: true},
		{name: "AV1", track: av1, body: "a1 61763031 32021000", data: "32021000"},
		{name: "VP9 keyframe", track: vp9Track(t, 1), body: "91 76703039" + vp9Key, data: vp9Key, key: true, fresh: true},
		{name: "VP8 keyframe", track: vp8, body: "91 76703038" + vp8Key, data: vp8Key, key: true, fresh: true},
		{name: "Opus parameters", track: opus, body: "90 4f707573" + opusHead, data: opusHead, key: true, conf: true, fresh: true},
		{name: "Opus", track: opus, body: "91 4f707573 fc0102", data: "fc0102", key: true},
		{name: "FLAC parameters", track: flac, body: "90 664c6143 664c6143 80000022" + flacInfo, data: flacInfo, key: true, conf: true, fresh: true},
		{name: "FLAC", track: flac, body: "91 664c6143 fff8", data: "fff8", key: true},
		{name: "AC-3", track: ac3, body: "91 61632d33" + ac3Frame, data: ac3Frame, key: true, fresh: true},
		{name: "E-AC-3", track: eac3, body: "91 65632d33" + eac3Frame, data: eac3Frame, key: true, fresh: true},
		{name: "H264 parameters of a second track", track: second(videoTrack(t)), body: "96 00 61766331 01" + avcc, data: avcc, key: true, conf: true, fresh: true},
		{name: "H264 of a second track", track: second(videoTrack(t)), body: "a6 01 61766331 01 000028" + nalu, data: nalu, ahead: 40 * ms},
		{name: "H264 of a second track, no offset", track: second(videoTrack(t)), body: "96 03 61766331 01" + nalu, data: nalu, key: true},
		{name: "AAC parameters of a second track", track: second(audioTrack(t)), body: "95 00 6d703461 01" + asc, data: asc, key: true, conf: true, fresh: true},
		{name: "AAC of a second track", track: second(audioTrack(t)), body: "95 01 6d703461 01 2110", data: "2110", key: true},
		{name: "MP3 of a second track", track: second(mp3Track()), body: "95 01 2e6d7033 01" + mp3, data: mp3, key: true, fresh: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := media.Frame{Track: c.track.ID, Kind: c.track.Kind, Key: c.key, Config: c.conf, DTS: time.Second, PTS: time.Second + c.ahead, Data: unhex(t, c.data)}
			typ, got := AppendFrame([]byte("x"), c.track, want)
			if wantType := map[media.Kind]byte{media.Video: TypeVideo, media.Audio: TypeAudio}[c.track.Kind]; typ != wantType || !bytes.Equal(got[1:], unhex(t, c.body)) {
				t.Errorf("written:\n got type %d, %x\nwant type %d, %x", typ, got[1:], wantType, unhex(t, c.body))
			}
			d := &Demuxer{}
			if !c.conf && c.track.Config != nil {
				if typ, body := AppendFrame(nil, c.track, media.Frame{Kind: c.track.Kind, Config: true, Data: c.track.Config}); len(body) > 0 {
					feed(t, d, typ, 0, hexOf(body))
				}
			}
			frame, track, ok, err := d.Feed(typ, 1000, got[1:])
			if err != nil || !ok || !reflect.DeepEqual(frame, want) || d.More() {
				t.Errorf("read:\n got %+v, %v, %v, more: %v\nwant %+v", frame, ok, err, d.More(), want)
			}
			if (track != nil) != c.fresh || track != nil && !reflect.DeepEqual(*track, c.track) {
				t.Errorf("read: got track %+v, want one: %v, %+v", track, c.fresh, c.track)
			}
			if frame, track, _, err := d.Feed(typ, 1000, got[1:]); err != nil || track != nil || frame.Config {
				t.Errorf("read again: got %+v, track %+v, %v, want no news", frame, track, err)
			}
		})
	}
}

// heard is what a body gave of one track.
type heard struct {
	track int
	data  string
	key   bool
	dts   time.Duration
}

// feedAll gives a body to the demuxer and collects its frames and errors.
func feedAll(t testing.TB, d *Demuxer, typ byte, body string) (frames []heard, fresh []int, errs []error) {
	t.Helper()
	for f, track, ok, err := d.Feed(typ, 1000, unhex(t, body)); ; f, track, ok, err = d.Next() {
		if err != nil {
			errs = append(errs, err)
		}
		if track != nil {
			fresh = append(fresh, track.ID)
		}
		if ok && !f.Config {
			frames = append(frames, heard{f.Track, hexOf(f.Data), f.Key, f.DTS})
		}
		if !d.More() {
			return frames, fresh, errs
		}
	}
}

// TestManyTracks reads bodies of several tracks, of one codec and of several, and goes on behind a track that it cannot carry.
func TestManyTracks(t *testing.T) {
	size := func(hex string) string {
		n := len(unhex(t, hex))
		return hexOf([]byte{byte(n >> 16), byte(n >> 8), byte(n)})
	}
	part := func(number, hex string) string { return number + size(hex) + hex }
	d := &Demuxer{}
	_, fresh, errs := feedAll(t, d, TypeVideo, "96 10 61766331"+part("00", avcc)+part("03", avcc))
	if !reflect.DeepEqual(fresh, []int{1, 7}) || errs != nil {
		t.Fatalf("parameters: got tracks %v, %v", fresh, errs)
	}
	_, fresh, errs = feedAll(t, d, TypeAudio, "95 20"+fourCC(media.AAC)+part("00", asc)+fourCC(media.Opus)+part("01", opusHead))
	if !reflect.DeepEqual(fresh, []int{2, 4}) || errs != nil {
		t.Fatalf("sound: got tracks %v, %v", fresh, errs)
	}
	frames, _, errs := feedAll(t, d, TypeVideo, "96 11 61766331"+part("00", "000028"+nalu)+part("03", "000000 00000001 41"))
	if want := []heard{{1, "0000000365aabb0000000106", true, time.Second}, {7, "0000000141", true, time.Second}}; !reflect.DeepEqual(frames, want) || errs != nil {
		t.Errorf("video: got %+v, %v, want %+v", frames, errs, want)
	}
	frames, _, errs = feedAll(t, d, TypeAudio, "95 21"+fourCC(media.AAC)+part("00", "2110")+"58585858"+part("02", "aabb")+fourCC(media.Opus)+part("01", "fc01")+
		fourCC(media.Opus)+part("10", "fc01"))
	if want := []heard{{2, "2110", true, time.Second}, {4, "fc01", true, time.Second}}; !reflect.DeepEqual(frames, want) || len(errs) != 2 ||
		!errors.Is(errs[0], ErrUnsupported) || !errors.Is(errs[1], ErrUnsupported) {
		t.Errorf("audio: got %+v, %v, want %+v", frames, errs, want)
	}
	ids := []int{}
	for _, track := range d.Tracks() {
		ids = append(ids, track.ID)
	}
	if !reflect.DeepEqual(ids, []int{1, 2, 4, 7}) {
		t.Errorf("got tracks %v", ids)
	}
	if f, track, ok, err := d.Next(); ok || track != nil || err != nil {
		t.Errorf("after the end: got %+v, %+v, %v", f, track, err)
	}
}

// TestNano reads and writes what a time has beyond milliseconds.
func TestNano(t *testing.T) {
	hevc := parsed(t, 1, media.ParseHVCC, hvcc)
	d := &Demuxer{}
	feed(t, d, TypeVideo, 0, "90 68766331"+hvcc)
	feed(t, d, TypeVideo, 0, "96 00 68766331 01"+hvcc)
	for _, c := range []struct {
		name, body string
		id         int
		nano       time.Duration
		written    bool
	}{
		{"nanoseconds", "a7 02 07a120 03 68766331" + nalu, 1, 500_000, true},
		{"nanoseconds of a second track", "a7 02 0f423f 06 03 68766331 01" + nalu, 3, 999_999, true},
		{"more bytes than are used", "a7 03 07a12099 03 68766331" + nalu, 1, 500_000, false},
		{"a long modifier that is not known", "a7 ff 0003 00000000 13 68766331" + nalu, 1, 0, false},
		{"two modifiers", "a7 00 aa 17 02 000001 03 68766331" + nalu, 1, 1, false},
	} {
		f, _, ok := feed(t, d, TypeVideo, 1000, c.body)
		want := media.Frame{Track: c.id, Kind: media.Video, DTS: time.Second + c.nano, PTS: time.Second + c.nano, Data: unhex(t, nalu)}
		if !ok || !reflect.DeepEqual(f, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", c.name, f, want)
		}
		hevc.ID = c.id
		if _, body := AppendFrameNano(nil, hevc, f); c.written && !bytes.Equal(body, unhex(t, c.body)) {
			t.Errorf("%s: written:\n got %x\nwant %x", c.name, body, unhex(t, c.body))
		}
		if _, body := AppendFrame(nil, hevc, f); body[0]&15 == packetModifier {
			t.Errorf("%s: AppendFrame writes a modifier: %x", c.name, body)
		}
	}
	if _, body := AppendFrameNano(nil, audioTrack(t), media.Frame{Kind: media.Audio, DTS: time.Second, Data: []byte{1}}); hexOf(body) != "af0101" {
		t.Errorf("a whole millisecond: got %x, want the usual body", body)
	}
	if _, body := AppendFrameNano(nil, audioTrack(t), media.Frame{Kind: media.Audio, DTS: 1500, Data: []byte{1}}); hexOf(body) != "97020005dc016d70346101" {
		t.Errorf("AAC: got %x", body)
	}
}

// TestExtendedNoFrame reads what holds no frame.
func TestExtendedNoFrame(t *testing.T) {
	for name, c := range map[string]struct {
		typ  byte
		body string
	}{
		"command":                        {TypeVideo, "d1 00"},
		"end of video":                   {TypeVideo, "92 68766331"},
		"end of audio":                   {TypeAudio, "92 4f707573"},
		"silence":                        {TypeAudio, ""},
		"HEVC before its parameters":     {TypeVideo, "91 68766331 000000" + nalu},
		"AV1 before its keyframe":        {TypeVideo, "a1 61763031 32021000"},
		"VP9 before its keyframe":        {TypeVideo, "a1 76703039 8600"},
		"Opus before its parameters":     {TypeAudio, "91 4f707573 fc01"},
		"VP9 parameters":                 {TypeVideo, "90 76703039" + vpcc},
		"AV1 parameters without a size":  {TypeVideo, "90 61763031 81200000"},
		"AV1 parameters as in MPEG-2 TS": {TypeVideo, "95 61763031 8004 81200080"},
		"VP8 parameters":                 {TypeVideo, "90 76703038 00 00 80 00 00 00 0000"},
		"AC-3 parameters":                {TypeAudio, "90 61632d33"},
		"Opus without parameters":        {TypeAudio, "90 4f707573"},
		"channels":                       {TypeAudio, "94 4f707573 01 06 0000060f"},
		"channels in another order":      {TypeAudio, "94 4f707573 02 02 0100"},
		"colour of nothing yet":          {TypeVideo, "94 68766331" + hexOf(amf.Append(nil, "colorInfo", amf.Object{}))},
	} {
		d := &Demuxer{}
		if f, track, ok := feed(t, d, c.typ, 0, c.body); ok || track != nil || d.More() || len(d.Tracks()) != 0 {
			t.Errorf("%s: got %+v, %+v", name, f, track)
		}
	}
}

// TestParametersFromFrames takes what no sequence header said from the first frame that says it, and later changes too.
func TestParametersFromFrames(t *testing.T) {
	bigger := strings.Replace(vp9Key, "09f0 0590", "13f0 0590", 1)
	for _, c := range []struct {
		name   string
		typ    byte
		before []string
		body   string
		want   media.Track
	}{
		{"AV1 without a sequence header", TypeVideo, nil, "91 61763031" + av1Key, parsed(t, 1, media.ParseAV1, av1Header)},
		{"AV1 with a header without size", TypeVideo, []string{"90 61763031 81200000"}, "91 61763031 1200" + av1Key, parsed(t, 1, media.ParseAV1, av1Header)},
		{"VP9 without a sequence header", TypeVideo, nil, "91 76703039" + vp9Key, parsed(t, 1, media.ParseVP9, vp9Key)},
		{"VP9 of another size", TypeVideo, []string{"90 76703039 01000000" + vpcc, "91 76703039" + vp9Key}, "91 76703039" + bigger,
			func() media.Track { track := vp9Track(t, 1); track.Width = 320; return track }()},
		{"Opus without a header, stereo", TypeAudio, []string{"90 4f707573"}, "91 4f707573 fc01", func() media.Track { track := media.OpusTrack(2); track.ID = 2; return track }()},
		{"Opus without a header, six channels", TypeAudio, []string{"90 4f707573", "94 4f707573 00 06"}, "91 4f707573 fc01",
			func() media.Track { track := media.OpusTrack(6); track.ID = 2; return track }()},
	} {
		d := &Demuxer{}
		for _, body := range c.before {
			feed(t, d, c.typ, 0, body)
		}
		f, track, ok := feed(t, d, c.typ, 0, c.body)
		if !ok || f.Config || track == nil || !reflect.DeepEqual(*track, c.want) {
			t.Errorf("%s:\n got %+v of %+v\nwant %+v", c.name, f, track, c.want)
		}
		if strings.HasPrefix(hexOf(f.Data), "1200") {
			t.Errorf("%s: a delimiter is left: %x", c.name, f.Data)
		}
		if _, track, ok := feed(t, d, c.typ, 0, c.body); !ok || track != nil {
			t.Errorf("%s: again: got track %+v", c.name, track)
		}
	}
}

// TestFrameTypeNotSaid finds keyframes itself.
func TestFrameTypeNotSaid(t *testing.T) {
	d := &Demuxer{}
	feed(t, d, TypeVideo, 0, "80 68766331"+hvcc)
	feed(t, d, TypeVideo, 0, "86 00 61766331 01"+avcc)
	for body, want := range map[string]bool{
		"83 68766331 00000002 2601": true, "81 68766331 000000 00000002 0201": false, "86 03 61766331 01" + nalu: true, "86 03 61766331 01 00000001 41": false,
		"86 01 61763031 02" + av1Key: true, "86 01 76703039 03" + vp9Key: true, "86 01 76703038 04" + vp8Key: true,
	} {
		if f, _, ok := feed(t, d, TypeVideo, 0, body); !ok || f.Key != want {
			t.Errorf("%s: got %+v, %v, want a keyframe: %v", body, f, ok, want)
		}
	}
}

// TestHEVCByNumber takes the codec number that has no place in a specification.
func TestHEVCByNumber(t *testing.T) {
	d := &Demuxer{}
	if _, track, ok := feed(t, d, TypeVideo, 0, "1c 00 000000"+hvcc); !ok || track.Codec != media.HEVC || track.Width != 160 {
		t.Fatalf("got %+v", track)
	}
	if f, _, ok := feed(t, d, TypeVideo, 0, "2c 01 000028"+nalu); !ok || f.Key || f.PTS != 40*time.Millisecond {
		t.Errorf("got %+v, %v", f, ok)
	}
	if _, track, ok := feed(t, d, TypeVideo, 40, "17 00 000000"+avcc); !ok || track == nil || track.Codec != media.H264 {
		t.Errorf("another codec on the same track: got %+v", track)
	}
	if _, _, ok := feed(t, d, TypeVideo, 40, "2c 01 000000"+nalu); ok {
		t.Error("a frame of the codec before is taken")
	}
}

// TestColor reads and writes what a metadata frame says, before and after the track's parameters.
func TestColor(t *testing.T) {
	color := media.Color{BitDepth: 10, Primaries: 9, Transfer: 16, Matrix: 9, MaxFALL: 400, MaxCLL: 1000, RedX: 0.708, RedY: 0.292, GreenX: 0.17, GreenY: 0.797,
		BlueX: 0.131, BlueY: 0.046, WhiteX: 0.3127, WhiteY: 0.329, MaxLuminance: 1000, MinLuminance: 0.0001}
	track := parsed(t, 1, media.ParseHVCC, hvcc)
	track.Color = color
	typ, body := AppendColor(nil, track)
	if typ != TypeVideo || !bytes.HasPrefix(body, unhex(t, "94 68766331 02 0009")) {
		t.Fatalf("got type %d, %x", typ, body)
	}
	d := &Demuxer{}
	feed(t, d, typ, 0, hexOf(body))
	if _, got, _ := feed(t, d, TypeVideo, 0, "90 68766331"+hvcc); got == nil || got.Color != color {
		t.Errorf("before parameters: got %+v", got)
	}
	if _, got, _ := feed(t, d, typ, 0, hexOf(body)); got != nil {
		t.Errorf("again: got %+v", got)
	}
	track.Color.MaxCLL = 2000
	_, body = AppendColor(nil, track)
	if f, got, ok := feed(t, d, typ, 0, hexOf(body)); ok || got == nil || got.Color.MaxCLL != 2000 || got.Codec != media.HEVC {
		t.Errorf("changed: got %+v, %+v", f, got)
	}
	for codec, want := range map[media.Codec]string{media.H264: "", media.AAC: "", media.MP3: "", media.HEVC: "hvc1", media.Opus: "Opus"} {
		if got := FourCC(media.Track{ID: 1, Codec: codec}); got != want {
			t.Errorf("%v: FourCC %q, want %q", codec, got, want)
		}
	}
	for body, want := range map[string]string{"": "", "17 01 000000": "", "97 02 07a120 03 68766331" + nalu: "hvc1 0", "96 01 68766331 01 000028" + nalu: "hvc1 1", "90 6876": ""} {
		name, number := BodyTrack(TypeVideo, unhex(t, body))
		if got := strings.TrimSuffix(name+" "+strconv.Itoa(number), " 0"); got != strings.TrimSuffix(want, " 0") {
			t.Errorf("%s: got %q, want %q", body, got, want)
		}
	}
	if got := FourCC(media.Track{ID: 3, Codec: media.H264}); got != "avc1" {
		t.Errorf("a second track: FourCC %q", got)
	}
	plain := videoTrack(t)
	plain.Color = color
	if typ, body := AppendColor(nil, plain); typ != 0 || body != nil {
		t.Errorf("a colour for players of plain FLV: %d %x", typ, body)
	}
	if typ, body := AppendColor(nil, videoTrack(t)); typ != 0 || body != nil {
		t.Errorf("of nothing: got %d, %x", typ, body)
	}
}

func TestBrokenExtendedBodies(t *testing.T) {
	for _, c := range []struct {
		typ        byte
		body, want string
	}{
		{TypeVideo, "e1 68766331 000000", "flv: video at offset 0: got frame type 6, want 1 to 5"},
		{TypeVideo, "91 6876", "flv: video at offset 3: got the end, want a FourCC"},
		{TypeVideo, "91 68766331 00", "flv: video at offset 6: got the end, want a composition offset of 3 bytes"},
		{TypeVideo, "91 76766331", `flv: video: FourCC "vvc1": unsupported`},
		{TypeVideo, "91 4f707573 00", `flv: video: FourCC "Opus": unsupported`},
		{TypeVideo, "98 68766331", "flv: video: packet type 8 of hevc: unsupported"},
		{TypeVideo, "95 68766331", "flv: video: packet type 5 of hevc: unsupported"},
		{TypeVideo, "95 61763031 00", "flv: video at offset 5: got 00, want an AV1 video descriptor of 6 bytes, 80 04 ..."},
		{TypeVideo, "91 61763031 000001 0a", "flv: video: AV1 with start codes, as in MPEG-2 TS: unsupported"},
		{TypeVideo, "91 61763031 3205", "flv: video: frame at offset 5: media: av1 at offset 0: got 0 bytes, want an open bitstream unit of 5"},
		{TypeVideo, "91 76703039 00", "flv: video: keyframe: media: vp9 parameters at offset 0: got a frame header that cannot be read, want one with a picture"},
		{TypeVideo, "94 68766331 02", "flv: video: metadata: amf: at offset 1: got 0 bytes and the end, want 2 bytes of a length"},
		{TypeVideo, "96", "flv: video at offset 1: got the end, want a multitrack type"},
		{TypeVideo, "96 30 68766331", "flv: video: multitrack type 3: unsupported"},
		{TypeVideo, "96 06", "flv: video at offset 1: got packet type 6 inside of a multitrack body, want one of a track"},
		{TypeVideo, "96 07", "flv: video at offset 1: got packet type 7 inside of a multitrack body, want one of a track"},
		{TypeVideo, "96 01 68766331", "flv: video at offset 6: got the end, want a track's number"},
		{TypeVideo, "96 11 68766331 00 0000", "flv: video at offset 9: got the end, want the size of a track"},
		{TypeVideo, "96 11 68766331 00 000004 00", "flv: video at offset 11: got the end, want a track of 4 bytes"},
		{TypeVideo, "96 21 6876", "flv: video at offset 4: got the end, want a FourCC"},
		{TypeVideo, "96 01 68766331 10", "flv: video: track 16, more than 15: unsupported"},
		{TypeVideo, "97", "flv: video at offset 1: got the end, want the size of a modifier"},
		{TypeVideo, "97 ff 00", "flv: video at offset 3: got the end, want the size of a modifier"},
		{TypeVideo, "97 02 0000", "flv: video at offset 4: got the end, want a modifier of 3 bytes"},
		{TypeVideo, "97 02 000000", "flv: video at offset 5: got the end, want the type of a modifier"},
		{TypeVideo, "97 01 0000 01", "flv: video at offset 2: got a time of 2 bytes, want 3 or more"},
		{TypeVideo, "97 02 0f4240 01", "flv: video at offset 2: got 1000000 ns, want at most 999999"},
		{TypeAudio, "93 4f707573", "flv: audio: packet type 3 of opus: unsupported"},
		{TypeAudio, "90 4f707573 00", "flv: audio: sequence header: media: opus parameters at offset 1: got the end, want 19 bytes or more"},
		{TypeAudio, "91 61632d33 00", "flv: audio: media: ac3 parameters at offset 0: got a frame that cannot be read, want sync"},
		{TypeAudio, "94 4f707573 01", "flv: audio at offset 6: got the end, want a channel order and count"},
		{TypeAudio, "94 4f707573 01 00", "flv: audio at offset 6: got no channels, want one or more"},
		{TypeAudio, "94 4f707573 01 02 00", "flv: audio at offset 8: got the end, want flags of channels in 4 bytes"},
		{TypeAudio, "94 4f707573 02 02 00", "flv: audio at offset 8: got the end, want a mapping of 2 channels"},
	} {
		d := &Demuxer{}
		f, track, ok, err := d.Feed(c.typ, 0, unhex(t, c.body))
		if err == nil || !strings.HasPrefix(err.Error(), c.want) || errors.Is(err, ErrUnsupported) != strings.Contains(c.want, "unsupported") || ok || track != nil || f.Data != nil || d.More() {
			t.Errorf("%s:\n got %v\nwant %s", c.body, err, c.want)
		}
	}
}

// TestMetadataOfTracks names codecs by FourCC and lists more tracks than the first of each kind.
func TestMetadataOfTracks(t *testing.T) {
	second, third := audioTrack(t), parsed(t, 3, media.ParseAV1C, av1c)
	second.ID = 4
	info, ok, err := ParseMetadata(Metadata([]media.Track{parsed(t, 1, media.ParseHVCC, hvcc), parsed(t, 2, media.ParseOpusHead, opusHead), third, second}))
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	video, audio := amf.Members(info.Values.Get("videoTrackIdInfoMap")), amf.Members(info.Values.Get("audioTrackIdInfoMap"))
	if info.Values.Number("videocodecid") != 0x68766331 || info.Values.Number("audiocodecid") != 1332770163 || info.Values.Number("audiosamplerate") != 48000 {
		t.Errorf("got %+v", info.Values)
	}
	if v := amf.Members(video.Get("1")); v.Number("videocodecid") != 1635135537 || v.Number("width") != 160 {
		t.Errorf("second video track: got %+v", video)
	}
	if a := amf.Members(audio.Get("1")); a.Number("audiocodecid") != 0x6d703461 || a.Number("samplerate") != 44100 || a.Number("channels") != 1 {
		t.Errorf("second audio track: got %+v", audio)
	}
}
