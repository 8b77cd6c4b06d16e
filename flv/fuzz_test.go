package flv

import (
	"bytes"
	"testing"

	"hawser/amf"
	"hawser/media"
)

func FuzzReader(f *testing.F) {
	f.Add(sample(f)[:2000])
	f.Add(unhex(f, "464c5601 05 00000009 00000000 09 ffffff 00000000 000000 01"))
	f.Add(unhex(f, "464c5601 05 0000000c aabbcc 00000000"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, total := NewReader(bytes.NewReader(b)), 0
		for {
			tag, err := r.Next()
			if err != nil {
				return
			}
			if total += len(tag.Data); total > len(b) {
				t.Fatal("more data than there is")
			}
		}
	})
}

// FuzzDemuxer takes a list of bodies, each behind its type, two bytes of length and four of timestamp.
func FuzzDemuxer(f *testing.F) {
	var seed []byte
	for _, tag := range readAll(f, NewReader(bytes.NewReader(sample(f))))[:12] {
		seed = appendMessage(seed, tag)
	}
	f.Add(seed)
	f.Add(appendMessage(nil, Tag{Type: TypeAudio, Timestamp: 1<<32 - 23, Data: unhex(f, "2f"+mp3)}))
	for _, body := range []string{"90 68766331" + hvcc, "93 68766331" + nalu, "96 01 68766331 01 000028" + nalu, "90 61763031" + av1c, "91 61763031" + av1Key, "91 76703039" + vp9Key,
		"97 02 07a120 03 68766331" + nalu, "96 11 61766331 00 000004 00000000", "94 68766331" + hexOf(amf.Append(nil, "colorInfo", amf.Object{})), "95 61763031 8004 81200080"} {
		f.Add(appendMessage(appendMessage(nil, Tag{Type: TypeVideo, Data: unhex(f, "90 68766331"+hvcc)}), Tag{Type: TypeVideo, Data: unhex(f, body)}))
	}
	for _, body := range []string{"90 4f707573", "94 4f707573 00 06", "91 4f707573 fc01", "90 664c6143 664c6143 80000022" + flacInfo, "91 61632d33" + ac3Frame, "91 65632d33" + eac3Frame,
		"95 21 6d703461 00 000002 2110 4f707573 01 000002 fc01"} {
		f.Add(appendMessage(appendMessage(nil, Tag{Type: TypeAudio, Data: unhex(f, "90 4f707573"+opusHead)}), Tag{Type: TypeAudio, Data: unhex(f, body)}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d := &Demuxer{}
		for len(b) >= 7 {
			n := min(int(b[1])<<8|int(b[2]), len(b)-7)
			typ, body := b[0], b[7:7+n]
			frame, track, ok, err := d.Feed(typ, uint32(b[3])<<24|uint24(b[4:]), body)
			b = b[7+n:]
			ParseMetadata(body)
			for steps := 0; ; steps++ {
				if err == nil {
					checkFrame(t, d, frame, track, ok)
				}
				if !d.More() {
					break
				}
				if steps > len(body) {
					t.Fatal("more tracks than bytes")
				}
				frame, track, ok, err = d.Next()
			}
			if len(d.Tracks()) > 2*MaxTracks {
				t.Fatalf("got %d tracks", len(d.Tracks()))
			}
		}
	})
}

func checkFrame(t *testing.T, d *Demuxer, frame media.Frame, track *media.Track, ok bool) {
	if track != nil && (track.ID < 1 || track.Codec == media.CodecNone || track.Kind != track.Codec.Kind()) {
		t.Fatalf("got track %+v", track)
	}
	if !ok {
		return
	}
	if len(frame.Data) == 0 || frame.Track < 1 || track != nil && track.ID != frame.Track {
		t.Fatalf("got %+v of %+v", frame, track)
	}
	for _, track := range d.Tracks() {
		if track.ID == frame.Track {
			checkAgain(t, track, frame)
			return
		}
	}
	t.Fatalf("got %+v of a track that is not known", frame)
}

// checkAgain writes a frame and reads it again, as it is and with its nanoseconds.
func checkAgain(t *testing.T, track media.Track, frame media.Frame) {
	for _, write := range []func([]byte, media.Track, media.Frame) (byte, []byte){AppendFrame, AppendFrameNano} {
		d := &Demuxer{}
		if track.Config != nil {
			if typ, body := AppendFrame(nil, track, media.Frame{Config: true, Kind: track.Kind, Data: track.Config}); len(body) > 0 {
				if f, _, ok, err := d.Feed(typ, 0, body); err != nil || ok && !bytes.Equal(f.Data, track.Config) {
					t.Fatalf("parameters written again: got %v, %v", ok, err)
				}
			}
		}
		if frame.Config {
			return
		}
		typ, body := write(nil, track, frame)
		got, _, ok, err := d.Feed(typ, uint32(frame.DTS.Milliseconds()), body)
		if err != nil || !ok && !needsKey(track) || ok && (got.Track != frame.Track || got.Key != frame.Key || got.PTS-got.DTS != frame.PTS-frame.DTS || !bytes.Equal(got.Data, frame.Data)) {
			t.Fatalf("written again as %x:\n got %+v, %v, %v\nwant %+v", body, got, ok, err, frame)
		}
	}
}

// needsKey says that a reader may not begin with any frame: the size of the picture may be missing.
func needsKey(track media.Track) bool {
	return track.Codec == media.VP8 || track.Codec == media.VP9 || track.Codec == media.AV1
}

func appendMessage(dst []byte, t Tag) []byte {
	dst = append(dst, t.Type, byte(len(t.Data)>>8), byte(len(t.Data)), byte(t.Timestamp>>24), byte(t.Timestamp>>16), byte(t.Timestamp>>8), byte(t.Timestamp))
	return append(dst, t.Data...)
}

func BenchmarkDemuxer(b *testing.B) {
	d := &Demuxer{}
	feed(b, d, TypeVideo, 0, "17 00 000000"+avcc)
	body := append(unhex(b, "27 01 000050 000027fc"), make([]byte, 0x27fc)...)
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, _, ok, err := d.Feed(TypeVideo, 0, body); !ok || err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendFrameTag(b *testing.B) {
	track := videoTrack(b)
	frame := media.Frame{Track: VideoTrack, Kind: media.Video, Data: make([]byte, 10_000)}
	var dst []byte
	b.ReportAllocs()
	b.SetBytes(int64(len(frame.Data)))
	for b.Loop() {
		dst = AppendFrameTag(dst[:0], track, frame)
	}
}

// BenchmarkDemuxerExtended reads two tracks of HEVC in one body.
func BenchmarkDemuxerExtended(b *testing.B) {
	d := &Demuxer{}
	feed(b, d, TypeVideo, 0, "90 68766331"+hvcc)
	feed(b, d, TypeVideo, 0, "96 00 68766331 01"+hvcc)
	body := unhex(b, "a7 02 07a120 06 11 68766331")
	for number := range 2 {
		body = append(append(body, byte(number), 0, 0x28, 0x03), unhex(b, "000050 000027fc")...)
		body = append(body, make([]byte, 0x27fc)...)
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		_, _, ok, err := d.Feed(TypeVideo, 0, body)
		_, _, ok2, err2 := d.Next()
		if !ok || !ok2 || err != nil || err2 != nil || d.More() {
			b.Fatal(err, err2)
		}
	}
}
