package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hawser/flv"
	"hawser/media"
	"hawser/rtc"
	"hawser/server"
	"hawser/stream"
)

// picturesOf counts the pictures of an FLV file, and says whether the first is a keyframe.
func picturesOf(t *testing.T, file string) (n int, key bool) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r, d := flv.NewReader(bytes.NewReader(b)), flv.Demuxer{}
	for {
		tag, err := r.Next()
		if err == io.EOF {
			return n, key
		}
		f, _, ok, err2 := d.Feed(tag.Type, tag.Timestamp, tag.Data)
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		if ok && f.Kind == media.Video && !f.Config {
			key = key || n == 0 && f.Key
			n++
		}
	}
}

// The sample is published by WHIP, without its sound, played by WHEP, and written as FLV.
func TestWHIPAndWHEP(t *testing.T) {
	s := startServerWith(t, server.Options{RTC: &rtc.Options{UDP: "127.0.0.1:0", Loopback: true}})
	ctx, cancel := context.WithCancel(t.Context())
	published := make(chan error, 1)
	go func() {
		defer cancel() // when it fails
		_, err := execute(ctx, nil, "publish", "--loop", "--whip", "http://"+s.http, "/live/clip", "sample/sample.flv")
		published <- err
	}()
	for e := range s.Log().Events(ctx, 0) { // until it is there
		if e.Protocol == "stream" && e.Kind == stream.KindTracks {
			break
		}
	}
	file := filepath.Join(t.TempDir(), "out.flv")
	pictures, key := 0, false
	for wait := 3 * time.Second; pictures < 20 && wait < time.Minute; wait *= 2 { // a busy machine needs longer to connect
		if out, err := execute(t.Context(), nil, "play", "--for", wait.String(), "--out", file, "http://"+s.http+"/live/clip/whep"); err != nil {
			t.Fatalf("play: %v; %s", err, out)
		}
		pictures, key = picturesOf(t, file)
	}
	if !key || pictures < 20 {
		t.Errorf("%d pictures, beginning with a keyframe: %v", pictures, key)
	}
	if _, err := execute(t.Context(), nil, "play", "--for", "1m", "http://"+s.http+"/live/nobody/whep"); err == nil || !strings.Contains(err.Error(), "nobody publishes") {
		t.Errorf("nobody's stream: %v", err)
	}
	cancel()
	if err := <-published; err != nil {
		t.Errorf("publish: %v", err)
	}
}
