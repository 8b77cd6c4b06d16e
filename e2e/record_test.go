package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// recorded waits until so many files of a format are there, and returns their names.
func recorded(t *testing.T, dir, ext string, n int) (names []string) {
	t.Helper()
	for deadline := time.Now().Add(eventTimeout); time.Now().Before(deadline); time.Sleep(pollInterval) {
		names, _ = filepath.Glob(filepath.Join(dir, "*", "*", "*."+ext))
		if len(names) >= n {
			return names
		}
	}
	t.Fatalf("%d %s files in %s, want %d", len(names), ext, dir, n)
	return nil
}

// recording starts a server that records everything in a folder.
func recording(t *testing.T, args ...string) (s *server, dir string) {
	t.Helper()
	dir = t.TempDir()
	return serve(t, append([]string{"--record-dir", dir, "--record", "/**", "--grace", "0"}, args...)...), dir
}

// sameTimes compares what a file has with what was published, each from its first picture on; the times of fMP4 may be a millisecond away, for they are in other units.
func sameTimes(t *testing.T, kind string, got, want []packet) {
	t.Helper()
	got, want = only(got, kind), only(want, kind)
	if len(got) == 0 || len(got) > len(want) {
		t.Fatalf("%d %s packets, published %d", len(got), kind, len(want))
	}
	for i := range got {
		if a, b := got[i].pts-got[0].pts, want[i].pts-want[0].pts; max(a-b, b-a) > 2 {
			t.Fatalf("%s %d is at %d ms, published at %d ms", kind, i, a, b)
		}
	}
}

// TestRecord records to both formats what ffmpeg publishes: every frame, with its times, and no complaint of ffmpeg's about the files.
func TestRecord(t *testing.T) {
	t.Parallel()
	file := clip(t, bFrames)
	want := probe(t, file).packets()
	s, dir := recording(t, "--record-format", "flv,fmp4")
	publish(t, s, file, "/live/cam1").wait()
	for _, ext := range []string{"flv", "mp4"} {
		s.awaitEvent("the end of "+ext, func(e event) bool { return e.Kind == "record_stop" && strings.Contains(e.Detail, ext) })
		name := recorded(t, dir, ext, 1)[0]
		got := probe(t, name).packets()
		for kind, mayMiss := range map[string]int{"video": 0, "audio": 2} { // sound that comes before the first picture is nobody's
			if n, all := count(got, kind), count(want, kind); n < all-mayMiss {
				t.Errorf("%s: %d %s packets, published %d", ext, n, kind, all)
			}
		}
		sameTimes(t, "video", got, want)
		if complaints := start(t, "ffmpeg", "-v", "warning", "-i", name, "-f", "null", "-").wait(); complaints != "" {
			t.Errorf("%s: ffmpeg says %s", ext, complaints)
		}
		format := start(t, "ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", name).wait()
		if seconds, err := strconv.ParseFloat(strings.TrimSpace(format), 64); err != nil || seconds < clipSeconds-0.2 || seconds > clipSeconds+0.3 {
			t.Errorf("%s: a duration of %s", ext, format)
		}
	}
}

// TestRecordKilled kills the server while it records. Both files play to the last second.
func TestRecordKilled(t *testing.T) {
	t.Parallel()
	file := clip(t, seconds)
	want := probe(t, file).packets()
	dir := t.TempDir()
	p := start(t, executable, "serve", "--http", "127.0.0.1:0", "--rtmp", "127.0.0.1:0", "--rtc", "", "--record-dir", dir, "--record", "/live/*", "--record-format", "flv,fmp4")
	s := &server{program: p}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	for pattern, addr := range map[*regexp.Regexp]*string{httpLine: &s.http, rtmpLine: &s.rtmp} {
		m, err := p.out.await(ctx, pattern)
		if err != nil {
			t.Fatal(err)
		}
		*addr = m[1]
	}
	publish(t, s, file, "/live/cam1")
	var received uint64
	s.awaitStream("/live/cam1", "well under way", func(l liveStream) bool { received = l.Frames; return l.Frames > 250 })
	p.kill()
	const aSecond = 30 + 47 // of pictures and of sound
	for _, ext := range []string{"flv", "mp4"} {
		name := recorded(t, dir, ext, 1)[0]
		if info, err := os.Stat(name); err == nil {
			t.Logf("%s has %d bytes", name, info.Size())
		}
		got := probe(t, name).packets()
		if len(got)+aSecond < int(received) {
			t.Errorf("%s: %d packets, the server had %d", ext, len(got), received)
		}
		sameTimes(t, "video", got, want)
		if out := start(t, "ffmpeg", "-v", "error", "-i", name, "-f", "null", "-").wait(); out != "" {
			t.Errorf("%s: ffmpeg says %s", ext, out)
		}
		t.Logf("%s: %d packets of %d", ext, len(got), received)
	}
}

// TestRecordSegments begins a new file at the next keyframe after a second; nothing is lost between.
func TestRecordSegments(t *testing.T) {
	t.Parallel()
	file := clip(t, seconds)
	want := probe(t, file).packets()
	s, dir := recording(t, "--record-segment", "1s", "--record-format", "fmp4,flv", "--record-name", "{path}/{time}.{ext}")
	publish(t, s, file, "/live/cam1").wait()
	for _, ext := range []string{"flv", "mp4"} {
		names := recorded(t, dir, ext, clipSeconds)
		s.awaitEvent("the end of the last", func(e event) bool {
			return e.Kind == "record_stop" && strings.Contains(e.Detail, filepath.Base(names[clipSeconds-1]))
		})
		pictures := 0
		for _, name := range names {
			got := probe(t, name).packets()
			pictures += count(got, "video")
			if first := only(got, "video")[0]; first.dts != 0 {
				t.Errorf("%s begins at %d ms", name, first.dts)
			}
		}
		if len(names) != clipSeconds || pictures != count(want, "video") {
			t.Errorf("%d %s files with %d pictures, want %d with %d", len(names), ext, pictures, clipSeconds, count(want, "video"))
		}
	}
}

// TestDiskFull records to a disk of one megabyte, and TestFolderVanishes to a folder that is taken away: the recording ends with an event, the stream goes on.
func TestDiskFull(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may mount a small disk")
	}
	need(t, "mount", "umount")
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("mount: %v %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", "-l", dir).Run() })
	recordingEnds(t, dir, "limit", func() {})
	names := recorded(t, dir, "flv", 1)
	if got := probe(t, names[0]).packets(); len(got) == 0 {
		t.Error("what fitted is not playable")
	}
}

func TestFolderVanishes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "recordings")
	recordingEnds(t, dir, "not_found", func() { os.RemoveAll(dir) })
}

func recordingEnds(t *testing.T, dir, why string, fault func()) {
	file := clip(t, seconds)
	want := probe(t, file).packets()
	s := serve(t, "--record-dir", dir, "--record", "/**")
	viewer := probe(t, s.rtmpURL("/live/cam1"))
	s.awaitStream("/live/cam1", "viewed", func(l liveStream) bool { return l.Viewers == 1 })
	publisher := publish(t, s, file, "/live/cam1")
	recorded(t, dir, "flv", 1)
	fault()
	e := s.awaitEvent("record_error", func(e event) bool { return e.Kind == "record_error" })
	if e.Reason.Word != why || e.Light != "red" || e.Path != "/live/cam1" {
		t.Errorf("got %+v", e)
	}
	publisher.wait()
	if got := viewer.packets(); count(got, "video") != count(want, "video") {
		t.Errorf("the viewer has %d pictures, published %d", count(got, "video"), count(want, "video"))
	}
}

// TestPlayRecorded plays a recording with programs, from the start and from the middle, in each format that there may be alone, and fetches it with curl.
func TestPlayRecorded(t *testing.T) {
	for format, ext := range map[string]string{"flv": "flv", "fmp4": "mp4"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			playRecorded(t, format, ext)
		})
	}
}

func playRecorded(t *testing.T, format, ext string) {
	file := clip(t, seconds)
	s, dir := recording(t, "--record-format", format)
	publish(t, s, file, "/live/cam1").wait()
	s.awaitEvent("the recording is complete", func(e event) bool { return e.Kind == "record_stop" })
	name := recorded(t, dir, ext, 1)[0]
	want := probe(t, name).packets()
	out := t.TempDir()
	for _, tc := range []struct {
		program string
		from    int // second
		args    []string
	}{
		{"ffmpeg", 0, []string{"-v", "error", "-i", s.rtmpURL("/live/cam1"), "-c", "copy", "OUT"}},
		{"ffmpeg", 0, []string{"-v", "error", "-rtmp_live", "recorded", "-i", s.rtmpURL("/live/cam1"), "-c", "copy", "OUT"}},
		{"rtmpdump", 0, []string{"-q", "-r", s.rtmpURL("/live/cam1"), "-o", "OUT"}},
		{"rtmpdump", 2, []string{"-q", "-A", "2", "-r", s.rtmpURL("/live/cam1"), "-o", "OUT"}},
	} {
		t.Run(tc.program+strconv.Itoa(tc.from)+strings.Join(tc.args[:3], " "), func(t *testing.T) {
			t.Parallel()
			need(t, tc.program)
			to := filepath.Join(out, strconv.FormatInt(time.Now().UnixNano(), 36)+".flv")
			start(t, tc.program, append(slices.Clone(tc.args[:len(tc.args)-1]), to)...).wait()
			got := probe(t, to).packets()
			wanted := slices.DeleteFunc(only(want, "video"), func(p packet) bool { return p.dts < tc.from*1000 })
			if n := count(got, "video"); n < len(wanted)-1 || n > len(wanted) { // ffmpeg may drop the last by itself
				t.Errorf("%d pictures, want %d", n, len(wanted))
			}
			sameTimes(t, "video", got, wanted)
		})
	}
	t.Run("curl", func(t *testing.T) {
		need(t, "curl")
		whole, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var list struct{ Files []struct{ URL string } }
		body, err := s.get("/api/v1/recordings?path=/live/cam1")
		if err == nil {
			err = json.Unmarshal(body, &list)
		}
		if err != nil || len(list.Files) != 1 {
			t.Fatalf("%s: %v", body, err)
		}
		url := s.httpURL(list.Files[0].URL)
		to := filepath.Join(t.TempDir(), "part")
		os.WriteFile(to, whole[:1000], 0o600)
		start(t, "curl", "-sf", "-C", "-", "-o", to, url).wait() // goes on behind the first 1000
		if got, _ := os.ReadFile(to); !bytes.Equal(got, whole) {
			t.Errorf("went on to %d bytes, want %d", len(got), len(whole))
		}
		if got := start(t, "curl", "-sf", "-r", "0-7", url).wait(); got != string(whole[:8]) {
			t.Errorf("the first bytes: %q", got)
		}
	})
}
