package flv

import (
	"bytes"
	"testing"

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
	f.Fuzz(func(t *testing.T, b []byte) {
		d := &Demuxer{}
		for len(b) >= 7 {
			n := min(int(b[1])<<8|int(b[2]), len(b)-7)
			typ, body := b[0], b[7:7+n]
			frame, track, ok, err := d.Feed(typ, uint32(b[3])<<24|uint24(b[4:]), body)
			b = b[7+n:]
			ParseMetadata(body)
			if err != nil || !ok {
				continue
			}
			if len(frame.Data) == 0 || frame.Track < 1 || track != nil && track.ID != frame.Track {
				t.Fatalf("got %+v of %+v", frame, track)
			}
			for _, track := range d.Tracks() {
				if track.ID == frame.Track {
					checkAgain(t, track, frame)
				}
			}
		}
	})
}

// checkAgain writes a frame and reads it again.
func checkAgain(t *testing.T, track media.Track, frame media.Frame) {
	d := &Demuxer{}
	if track.Config != nil {
		typ, body := AppendFrame(nil, track, media.Frame{Config: true, Kind: track.Kind, Data: track.Config})
		if f, _, ok, err := d.Feed(typ, 0, body); err != nil || !ok || !bytes.Equal(f.Data, track.Config) {
			t.Fatalf("parameters written again: got %v, %v", ok, err)
		}
	}
	if frame.Config {
		return
	}
	typ, body := AppendFrame(nil, track, frame)
	got, _, ok, err := d.Feed(typ, uint32(frame.DTS.Milliseconds()), body)
	if err != nil || !ok || got.Key != frame.Key || got.PTS-got.DTS != frame.PTS-frame.DTS || !bytes.Equal(got.Data, frame.Data) {
		t.Fatalf("written again:\n got %+v, %v\nwant %+v", got, err, frame)
	}
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
