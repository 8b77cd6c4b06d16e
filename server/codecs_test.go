package server

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"

	"hawser/flv"
	"hawser/lifecycle"
	"hawser/media"
	"hawser/record"
	"hawser/rtmp"
)

// readingAs plays as a client with such capabilities.
func readingAs(t *testing.T, r *rig, caps rtmp.Capabilities) *reader {
	t.Helper()
	c, err := rtmp.Dial(soon(t), "rtmp://"+r.rtmp+"/live/h", &rtmp.DialOptions{Capabilities: &caps})
	if err == nil {
		err = c.Play(soon(t))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return playing(t, c)
}

// TestCodecsOfPlayers sends each player what it has said that it reads, and to those that have said nothing what the options say; whatever is left out is told, to it and to the operator.
func TestCodecsOfPlayers(t *testing.T) {
	config, err := hex.DecodeString(hvcc)
	if err != nil {
		t.Fatal(err)
	}
	hevc := media.Track{ID: flv.VideoTrack, Kind: media.Video, Codec: media.HEVC, Width: 160, Height: 90, Config: config}
	aac := clipTrack(t, media.Audio)
	const left, sent = "left out", "sent, although"
	any := map[string]rtmp.CodecUse{"*": rtmp.CanForward}
	for name, tc := range map[string]struct {
		caps   rtmp.Capabilities
		strict bool
		video  bool
		event  string // of the player
	}{
		"all":                 {rtmp.Capabilities{FourCC: []string{"*"}, Extensions: rtmp.ExtMultitrack}, false, true, ""},
		"all, in maps":        {rtmp.Capabilities{Video: any, Audio: any}, true, true, ""},
		"HEVC":                {rtmp.Capabilities{FourCC: []string{"hvc1"}}, true, true, ""},
		"HEVC, in a map":      {rtmp.Capabilities{Video: map[string]rtmp.CodecUse{"hvc1": rtmp.CanDecode}}, false, true, ""},
		"HEVC, to encode":     {rtmp.Capabilities{Video: map[string]rtmp.CodecUse{"hvc1": rtmp.CanEncode}}, false, false, left},
		"AV1":                 {rtmp.Capabilities{FourCC: []string{"av01", "nonsense"}}, false, false, left},
		"nothing said":        {rtmp.Capabilities{}, false, true, sent},
		"nothing said, asked": {rtmp.Capabilities{}, true, false, left},
	} {
		for _, late := range []bool{false, true} {
			t.Run(name+map[bool]string{false: ", waiting", true: ", late"}[late], func(t *testing.T) {
				r := serve(t, Options{StrictCodecs: tc.strict})
				var player *reader
				if !late {
					player = readingAs(t, r, tc.caps)
				}
				pub, err := r.Streams().Publish("/live/h", "test")
				if err != nil {
					t.Fatal(err)
				}
				defer pub.Close(lifecycle.ReasonDone)
				for _, track := range []media.Track{hevc, aac} {
					if err := pub.SetTrack(track); err != nil {
						t.Fatal(err)
					}
				}
				picture := media.Frame{Track: hevc.ID, Kind: media.Video, Key: true, Data: []byte("\x00\x00\x00\x03\x26\x01\xaa")}
				sound := media.Frame{Track: aac.ID, Kind: media.Audio, Data: []byte("sound")}
				for _, f := range []media.Frame{picture, sound} {
					if err := pub.Write(f); err != nil {
						t.Fatal(err)
					}
				}
				if late {
					player = readingAs(t, r, tc.caps)
				}
				var got []media.Kind
				for !slices.Contains(got, media.Audio) {
					f, err := player.frame()
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, f.Kind)
				}
				if slices.Contains(got, media.Video) != tc.video {
					t.Errorf("got %v", got)
				}
				if tracks := player.demux.Tracks(); len(tracks) != len(got) {
					t.Errorf("got tracks %+v", tracks)
				}
				if tc.event != "" {
					e := r.event("told", func(e *lifecycle.Event) bool { return e.Kind == KindUnsupported })
					if !strings.HasPrefix(e.Reason.Text, tc.event) || !strings.HasSuffix(e.Reason.Text, ": video 1 (hevc)") || e.Conn == "" || e.Path != "/live/h" {
						t.Errorf("got %+v", e)
					}
					return
				}
				for _, e := range r.Log().Recent(1000) {
					if e.Kind == KindUnsupported {
						t.Errorf("there is %+v", e)
					}
				}
			})
		}
	}
}

// clipTrack is the clip's track of a kind.
func clipTrack(t *testing.T, kind media.Kind) media.Track {
	tracks, _ := clip(t)
	return tracks[slices.IndexFunc(tracks, func(t media.Track) bool { return t.Kind == kind })]
}

// The status that tells what is left out comes before the media, and again when other tracks are left out; RTMP's older players pass it over.
func TestLeftOutIsTold(t *testing.T) {
	r := serve(t, Options{StrictCodecs: true})
	config, _ := hex.DecodeString(hvcc)
	hevc := media.Track{ID: flv.VideoTrack, Kind: media.Video, Codec: media.HEVC, Width: 160, Height: 90, Config: config}
	aac := clipTrack(t, media.Audio)
	var statuses []string
	feed := r.feed("/live/h")
	feed.write(10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ev := range rtmp.Events(soon(t), "rtmp://"+r.rtmp+"/live/h", &rtmp.EventOptions{Dial: &rtmp.DialOptions{Capabilities: &rtmp.Capabilities{}}}) {
			if ev.Kind == rtmp.EventStatus && ev.Status.Code == statusNoTrack {
				statuses = append(statuses, ev.Status.Level+" "+ev.Status.Description)
				return
			}
		}
	}()
	until(t, "it plays", func() bool { info, _ := r.Streams().Find("/live/h"); return info.Viewers == 1 })
	for _, track := range []media.Track{hevc, aac} {
		if err := feed.pub.SetTrack(track); err != nil {
			t.Fatal(err)
		}
	}
	if err := feed.pub.Write(media.Frame{Track: hevc.ID, Kind: media.Video, Key: true, DTS: 3e9, PTS: 3e9, Data: []byte("\x00\x00\x00\x03\x26\x01\xaa")}); err != nil {
		t.Fatal(err)
	}
	<-done
	if len(statuses) != 1 || !strings.HasPrefix(statuses[0], "warning Left out") || !strings.HasSuffix(statuses[0], "video 1 (hevc).") {
		t.Errorf("got %q", statuses)
	}
}

// A recording is played to each player as a stream is: without what it does not read, of which it hears, whatever the file's format.
func TestCodecsOfRecordings(t *testing.T) {
	for _, format := range []record.Format{record.FLV, record.FMP4} {
		r := recording(t, record.Options{Patterns: []string{"/**"}, Formats: []record.Format{format}})
		config, _ := hex.DecodeString(hvcc)
		hevc := media.Track{ID: flv.VideoTrack, Kind: media.Video, Codec: media.HEVC, Width: 160, Height: 90, Config: config}
		aac := clipTrack(t, media.Audio)
		pub, err := r.Streams().Publish("/live/h", "test")
		if err != nil {
			t.Fatal(err)
		}
		for _, track := range []media.Track{hevc, aac} {
			if err := pub.SetTrack(track); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 10 {
			at := time.Duration(i) * 40 * time.Millisecond
			for _, f := range []media.Frame{{Track: hevc.ID, Kind: media.Video, Key: i == 0, DTS: at, PTS: at, Data: []byte("\x00\x00\x00\x03\x26\x01\xaa")}, {Track: aac.ID, Kind: media.Audio, Key: true, DTS: at, PTS: at, Data: []byte("sound")}} {
				if err := pub.Write(f); err != nil {
					t.Fatal(err)
				}
			}
		}
		pub.Close(lifecycle.ReasonDone)
		r.event("recorded", func(e *lifecycle.Event) bool { return e.Kind == record.KindStop })
		for fourCC, want := range map[string][]media.Kind{"hvc1": {media.Video, media.Audio}, "av01": {media.Audio}} {
			told := ""
			var d flv.Demuxer
			var got []media.Kind
			client, err := rtmp.Dial(soon(t), "rtmp://"+r.rtmp+"/live/h", &rtmp.DialOptions{Capabilities: &rtmp.Capabilities{FourCC: []string{fourCC}}})
			if err == nil {
				err = client.Play(soon(t))
			}
			if err != nil {
				t.Fatal(err)
			}
			for m, err := range client.Messages(soon(t)) {
				if err != nil {
					break
				}
				if f, _, ok, _ := d.Feed(m.Type, m.Timestamp, m.Payload); ok && !f.Config && !slices.Contains(got, f.Kind) {
					got = append(got, f.Kind)
				}
			}
			client.Close()
			for _, e := range r.Log().Recent(1000) {
				if e.Kind == KindUnsupported {
					told = e.Reason.Text
				}
			}
			if !slices.Equal(got, want) || fourCC == "av01" && !strings.HasSuffix(told, "video 1 (hevc)") {
				t.Errorf("%v to a player of %s: got %v, want %v; told %q", format, fourCC, got, want, told)
			}
		}
	}
}

// Players with made-up lists cannot make the server encode a stream as often as they like.
func TestCodecSets(t *testing.T) {
	s := New(Options{})
	seen := make(map[string]bool)
	names := flv.FourCCs()
	for i := range 1 << len(names) {
		var set []string
		for j, name := range names {
			if i>>j&1 == 1 {
				set = append(set, name)
			}
		}
		seen[s.codecSet(strings.Join(set, ","))] = true
	}
	if len(seen) != MaxCodecSets+1 || !seen[""] {
		t.Errorf("%d sets", len(seen))
	}
}
