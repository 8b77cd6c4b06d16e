package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hawser/flv"
	"hawser/fmp4"
	"hawser/media"
	"hawser/rtc"
	"hawser/rtmp"
	"hawser/session"
	"hawser/websocket"
)

func TestBenchContenders(t *testing.T) {
	for _, tc := range []struct {
		protocol string
		only     []string
		want     int // at least; nginx may be installed
	}{{"rtmp", nil, 6}, {"rtmp", []string{"hawser-sound", "bare-sound"}, 2}, {"rtmp", []string{"hawser"}, 3}, {"session", nil, 2}, {"webrtc", nil, 2}} {
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
	bytes, messages := benchSize(2500, false)
	if kbps := bytes * 8 / 1000; kbps < 2400 || kbps > 2650 || messages < 72 || messages > 74 {
		t.Errorf("got %d kbit/s in %d messages a second", kbps, messages)
	}
	sent := time.Unix(1, 2)
	body := newBenchStream(2500, false).picture(true)
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

// A viewer says that it is there, with what it has received, but not at each read.
func TestBenchViewersAreAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		dial := func(context.Context, string) (net.Conn, error) { return near, nil }
		lost := make(chan struct{})
		v, err := reads(dial, aliveRTMP)(t.Context(), "", func([]byte) {}, func() { close(lost) })
		if err != nil {
			t.Fatal(err)
		}
		var acks []uint32
		said := make(chan struct{})
		go func() {
			defer close(said)
			chunks, b := rtmp.NewChunkReader(rtmp.Limits{}), make([]byte, 100)
			for n, err := far.Read(b); err == nil; n, err = far.Read(b) {
				chunks.Feed(b[:n], func(m rtmp.Message) error {
					acks = append(acks, binary.BigEndian.Uint32(m.Payload))
					return nil
				})
			}
		}()
		for range 25 {
			time.Sleep(time.Second)
			if _, err := far.Write(make([]byte, 10)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		v.Close()
		<-lost
		<-said
		if want := []uint32{100, 200}; !slices.Equal(acks, want) {
			t.Errorf("acknowledged %d, want %d", acks, want)
		}
	})
}

// The packets of the bare loop are of the server's sizes, and one call sends as many as the kernel takes; the time comes with the last.
func TestSegmentRuns(t *testing.T) {
	var d flv.Demuxer
	if err := sampleHeaders(true, func(tag flv.Tag) (err error) {
		_, _, _, err = d.Feed(tag.Type, tag.Timestamp, tag.Data)
		return err
	}); err != nil || len(d.Tracks()) != 1 {
		t.Fatalf("%d tracks, %v; want one", len(d.Tracks()), err)
	}
	track := d.Tracks()[0]
	if rtc.Carries(track) != nil || rtc.Reorders(track) {
		t.Errorf("WebRTC does not carry %+v", track)
	}
	packer, err := rtc.NewPacketizer(track)
	if err != nil {
		t.Fatal(err)
	}
	s := newBenchStream(8000, true)
	for _, key := range []bool{true, false} {
		sent := time.Unix(1, 2)
		body := s.picture(key)
		stamp(body, sent)
		frame := media.Frame{Track: track.ID, Kind: media.Video, Key: key, Data: body[5:]}
		var g rtc.Group = packer.AppendGroup(nil, frame)
		at := bytes.Index(body, benchMagic)
		runs := segmentRuns(g, body[at:at+stampSize])
		var sizes []int
		for _, r := range runs {
			if len(r.bytes) > maxRun || len(r.bytes) > maxSegments*r.size {
				t.Errorf("one call sends %d bytes in packets of %d", len(r.bytes), r.size)
			}
			for n := range slices.Chunk(r.bytes, r.size) {
				sizes = append(sizes, len(n))
			}
		}
		for i, payload := range g.Packets() {
			if i >= len(sizes) || sizes[i] != len(payload)+rtpOverhead {
				t.Fatalf("packet %d of %d has not %d bytes", i, len(sizes), len(payload)+rtpOverhead)
			}
		}
		if most := len(sizes)/50 + 2; len(sizes) != g.Len() || len(runs) > most {
			t.Errorf("%d packets of %d in %d calls, want %d at most", len(sizes), g.Len(), len(runs), most)
		}
		var f stampFinder
		var found []time.Time
		last := runs[len(runs)-1].bytes
		f.feed(last[len(last)-sizes[len(sizes)-1]:], func(at time.Time) { found = append(found, at) })
		if len(found) != 1 || !found[0].Equal(sent) {
			t.Errorf("the last packet tells %v", found)
		}
	}
}

// Viewers over WebRTC are measured at a server of its own, and at the bare loop.
func TestBenchWebRTC(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("processor time and memory of another process can be read on Linux only")
	}
	t.Parallel()
	o := benchOptions{protocol: "webrtc", viewers: 3, kbps: 3000, duration: time.Second, settle: 500 * time.Millisecond}
	list, err := o.contenders()
	if err != nil {
		t.Fatal(err)
	}
	var results [][]benchResult
	for _, c := range list { // how much comes within that second depends on who else uses the machine
		r, err := o.measure(t.Context(), c)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if kbps := r.bytes * 8 / 1000; kbps < 300 || kbps > 30_000 || r.lost != 0 || r.p50 <= 0 || r.p50 > r.p99 || r.p99 > time.Minute {
			t.Errorf("%s: %.0f kbit/s, %d lost, latency %v and %v", c.name, kbps, r.lost, r.p50, r.p99)
		}
		if first := r.first50 > 0 && r.first50 <= r.first99; first != (c.name == "hawser") {
			t.Errorf("%s: the first picture after %v and %v", c.name, r.first50, r.first99)
		}
		results = append(results, []benchResult{r})
	}
	var table strings.Builder
	if err := o.report(&table, list, results); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(table.String(), "3 webrtc viewers of one stream of 3000 kbit/s (30 messages a second)") {
		t.Errorf("got\n%s", &table)
	}
	t.Log(&table)
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
	picture := newBenchStream(2500, false).picture(false)
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
