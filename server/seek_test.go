package server

import (
	"testing"
	"time"

	"hawser/flv"
	"hawser/media"
	"hawser/record"
	"hawser/rtmp"
)

// frames reads n frames.
func (c *plain) frames(n int) (got []media.Frame) {
	c.t.Helper()
	var d flv.Demuxer
	for len(got) < n {
		m := c.next()
		f, _, ok, err := d.Feed(m.Type, m.Timestamp, m.Payload)
		if err != nil {
			c.t.Fatal(err)
		}
		if ok && !f.Config {
			got = append(got, f)
		}
	}
	return got
}

// A player seeks to the keyframe at or before a place, also when it has got everything, and pauses, which stops the clock; in each format that the recording may be in.
func TestSeekAndPause(t *testing.T) {
	for _, format := range []record.Format{record.FLV, record.FMP4} {
		t.Run(format.String(), func(t *testing.T) { seekAndPause(t, format) })
	}
}

func seekAndPause(t *testing.T, format record.Format) {
	r := recording(t, record.Options{Patterns: []string{"/**"}, Formats: []record.Format{format}})
	sent := r.publishAs("live", "a", rtmp.ModeLive, 138)
	key := lastKey(sent)
	c := r.connect("live")
	c.message(rtmp.Message{Type: rtmp.TypeUserControl, Payload: []byte{0, 3, 0, 0, 0, 1, 0, 0, 0x27, 0x10}}) // a buffer of 10 s
	c.send(1, "play", 0.0, nil, "a", 0.0)
	c.until("NetStream.Play.Start")
	off := time.Duration(0)
	if format == record.FMP4 {
		off = time.Millisecond
	}
	sameWithin(t, c.until("NetStream.Play.Stop"), sent, off)
	for to, from := range map[float64]int{1500: key, 1000: key, 999: 0, 0: 0} {
		c.send(1, "seek", 0.0, nil, to)
		c.until("NetStream.Seek.Notify")
		sameWithin(t, c.until("NetStream.Play.Stop"), sent[from:], off)
	}
	c.send(1, "seek", 0.0, nil, 1e9)
	for code(c.next()) != "NetStream.Seek.InvalidTime" {
	}

	c.message(rtmp.Message{Type: rtmp.TypeUserControl, Payload: []byte{0, 3, 0, 0, 0, 1, 0, 0, 1, 0}}) // a buffer of 256 ms
	c.send(1, "seek", 0.0, nil, 0.0)
	c.until("NetStream.Seek.Notify")
	c.frames(10)
	c.send(1, "pause", 0.0, nil, true, 0.0)
	late := c.until("NetStream.Pause.Notify")
	began := time.Now()
	const pause = 300 * time.Millisecond
	c.nc.SetReadDeadline(began.Add(pause))
	if n, err := c.nc.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes came in a pause", n)
	}
	c.nc.SetReadDeadline(began.Add(patience))
	c.send(1, "pause", 0.0, nil, false, 0.0)
	c.until("NetStream.Unpause.Notify")
	rest := c.until("NetStream.Play.Stop")
	if first := time.Duration(rest[0].Timestamp) * time.Millisecond; len(late) > 0 && first < time.Duration(late[len(late)-1].Timestamp)*time.Millisecond-100*time.Millisecond {
		t.Errorf("goes on at %v, behind %d ms", first, late[len(late)-1].Timestamp)
	}
	left := time.Duration(rest[len(rest)-1].Timestamp-rest[0].Timestamp) * time.Millisecond
	if took := time.Since(began); took < pause+left-defaultLead-100*time.Millisecond {
		t.Errorf("%v of media after the pause came in %v", left, took)
	}
}
