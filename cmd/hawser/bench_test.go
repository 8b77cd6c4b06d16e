package main

import (
	"bytes"
	"testing"
	"time"

	"hawser/flv"
	"hawser/fmp4"
	"hawser/media"
	"hawser/rtmp"
	"hawser/session"
	"hawser/websocket"
)

func TestBenchContenders(t *testing.T) {
	for _, tc := range []struct {
		protocol string
		only     []string
		want     int // at least; nginx may be installed
	}{{"rtmp", nil, 6}, {"rtmp", []string{"hawser-sound", "bare-sound"}, 2}, {"rtmp", []string{"hawser"}, 3}, {"session", nil, 2}} {
		o := benchOptions{protocol: tc.protocol, only: tc.only}
		list, err := o.contenders()
		if err != nil || len(list) < tc.want || len(list) > tc.want+1 {
			t.Errorf("%s %q: got %d of them, %v, want %d", tc.protocol, tc.only, len(list), err, tc.want)
		}
	}
	for _, o := range []benchOptions{{protocol: "smoke"}, {protocol: "session", only: []string{"nginx"}}} {
		if _, err := o.contenders(); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}

// The stream has the bitrate that is asked for, and each picture's time is found in its bytes, wherever they are cut.
func TestBenchStream(t *testing.T) {
	bytes, messages := benchSize(2500)
	if kbps := bytes * 8 / 1000; kbps < 2400 || kbps > 2650 || messages < 72 || messages > 74 {
		t.Errorf("got %d kbit/s in %d messages a second", kbps, messages)
	}
	sent := time.Unix(1, 2)
	body := newBenchStream(2500).picture(true)
	stamp(body, sent)
	for cut := range 64 {
		var f stampFinder
		var found []time.Time
		for _, part := range [][]byte{body[:cut], body[cut:]} {
			f.feed(part, func(at time.Time) { found = append(found, at) })
		}
		if len(found) != 1 || !found[0].Equal(sent) {
			t.Fatalf("cut at %d: found %v", cut, found)
		}
	}
}

// The ratio is that of each run, not that of the medians.
func TestBenchRatios(t *testing.T) {
	rows, bare := []benchResult{{cpu: 20}, {cpu: 33}, {cpu: 60}}, []benchResult{{cpu: 10}, {cpu: 30}, {cpu: 40}}
	if got := ratios(rows, bare); got != "1.50 (1.10 to 2.00)" {
		t.Errorf("got %s", got)
	}
}

// The bare loop beside a session writes as many bytes as the session does.
func TestSessionOverhead(t *testing.T) {
	tags, d := flv.NewReader(bytes.NewReader(sample)), flv.Demuxer{}
	for len(d.Tracks()) < 2 {
		tag, err := tags.Next()
		if err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := d.Feed(tag.Type, tag.Timestamp, tag.Data); err != nil {
			t.Fatal(err)
		}
	}
	muxer, err := fmp4.NewMuxer(d.Tracks())
	if err != nil {
		t.Fatal(err)
	}
	picture := newBenchStream(2500).picture(false)
	frame := media.Frame{Track: flv.VideoTrack, Kind: media.Video, Data: picture[5:]}
	b, err := muxer.AppendFragment(session.AppendMediaHeader(nil, session.MediaHeader{Path: benchPath, Epoch: 1 << 62, Offset: 1000}), frame)
	if err != nil {
		t.Fatal(err)
	}
	wire := len(websocket.AppendFrame(nil, true, websocket.OpBinary, b))
	plain := len(rtmp.AppendMessage(nil, rtmp.OwnChunkSize, rtmp.Message{Type: rtmp.TypeVideo, Payload: picture}))
	if more := wire - plain; more < sessionOverhead-10 || more > sessionOverhead+10 {
		t.Errorf("a session's frame is %d bytes longer, want about %d", more, sessionOverhead)
	}
}
