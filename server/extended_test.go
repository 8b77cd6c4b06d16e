package server

import (
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"hawser/flv"
	"hawser/media"
	"hawser/rtmp"
)

// hvcc is what x265 wrote for 160x90.
const hvcc = "0101600000009000000000001ef000fcfdf8f800000f03" + "200001001840010c01ffff01600000030090000003000003001e959009" +
	"210001002a42010101600000030090000003000003001ea0142061f26595912930bc05a02000000300200000030321" + "22000100064401c073c189"

// TestEnhancedToPlayers takes HEVC, and a second track in the same bodies, from a publisher: RTMP players that read multitrack bodies get both, other RTMP players and those of
// HTTP-FLV the first only, as they would take the second's frames for the first's.
func TestEnhancedToPlayers(t *testing.T) {
	config, err := hex.DecodeString(hvcc)
	if err != nil {
		t.Fatal(err)
	}
	r := serve(t, Options{})
	both := playing(t, r.player("/live/h"))
	old, err := rtmp.Dial(soon(t), "rtmp://"+r.rtmp+"/live/h", &rtmp.DialOptions{Capabilities: &rtmp.Capabilities{}})
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := old.Play(soon(t)); err != nil {
		t.Fatal(err)
	}
	c, err := rtmp.Dial(soon(t), "rtmp://"+r.rtmp+"/live/h", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Publish(soon(t)); err != nil {
		t.Fatal(err)
	}
	send := func(at uint32, body string) {
		t.Helper()
		if err := c.WriteMessage(soon(t), rtmp.Message{Type: rtmp.TypeVideo, Timestamp: at, Payload: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	part := func(number byte, data string) string { return string([]byte{number, 0, 0, byte(len(data))}) + data }
	send(0, "\x96\x10hvc1"+part(0, string(config))+part(1, string(config)))
	key, inter := "\x00\x00\x00\x03\x26\x01\xaa", "\x00\x00\x00\x03\x02\x01\xbb"
	send(40, "\x96\x13hvc1"+part(0, key)+part(1, key))
	send(80, "\xa6\x11hvc1"+part(0, "\x00\x00\x28"+inter)+part(1, "\x00\x00\x28"+inter))
	r.received("/live/h", 4)
	late := file(t, r.get("/live/h.flv").Body)
	for i, want := range []string{key, key, inter, inter} {
		f, err := both.frame()
		if err != nil || f.Track != flv.VideoTrack+2*(i%2) || f.Key != (i < 2) || string(f.Data) != want {
			t.Errorf("both tracks: frame %d: got %+v, %v", i, f, err)
		}
	}
	for _, viewer := range []*reader{playing(t, old), late} {
		for i, want := range []string{key, inter} {
			f, err := viewer.frame()
			if err != nil || f.Track != flv.VideoTrack || f.Key != (i == 0) || string(f.Data) != want || f.PTS-f.DTS != time.Duration(i)*40*time.Millisecond {
				t.Errorf("frame %d: got %+v, %v", i, f, err)
			}
		}
		if tracks := viewer.demux.Tracks(); len(tracks) != 1 || tracks[0].Codec != media.HEVC || tracks[0].Width != 160 || !strings.HasPrefix(tracks[0].MIME(), "hvc1.") {
			t.Errorf("got tracks %+v", tracks)
		}
	}
	if tracks := streamTracks(r, "/live/h"); len(tracks) != 2 || tracks[1].ID != 3 {
		t.Errorf("the stream has tracks %+v, want both", tracks)
	}
}

func streamTracks(r *rig, path string) []media.Track {
	info, _ := r.Streams().Find(path)
	return info.Tracks
}
