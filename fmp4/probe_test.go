package fmp4_test

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"hawser/media"
)

// probed is what ffprobe says of a file.
type probed struct {
	Packets []struct {
		Type  string `json:"codec_type"`
		PTS   string `json:"pts_time"`
		DTS   string `json:"dts_time"`
		Flags string `json:"flags"`
	} `json:"packets"`
	Streams []struct {
		Type     string `json:"codec_type"`
		Codec    string `json:"codec_name"`
		Width    int    `json:"width"`
		Height   int    `json:"height"`
		Rate     string `json:"sample_rate"`
		Channels int    `json:"channels"`
		Frames   string `json:"nb_read_frames"`
	} `json:"streams"`
}

// probe writes an MP4 file, decodes it with ffprobe, and fails on any complaint.
func probe(t *testing.T, init []byte, fragments [][]byte) (p probed) {
	t.Helper()
	path, err := exec.LookPath("ffprobe")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("ffprobe is missing")
		}
		t.Skip("ffprobe is missing")
	}
	file := filepath.Join(t.TempDir(), "out.mp4")
	if err := os.WriteFile(file, append(init, bytes.Join(fragments, nil)...), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), path, "-v", "warning", "-count_frames", "-show_packets", "-show_streams", "-of", "json", file)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil || stderr.Len() > 0 {
		t.Fatalf("ffprobe: %v\n%s", err, stderr.Bytes())
	}
	if err := json.Unmarshal(stdout.Bytes(), &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestFFprobe reads the packaged sample with a program that we did not write.
func TestFFprobe(t *testing.T) {
	tracks, frames := sample(t)
	init, fragments := mux(t, tracks, frames)
	p := probe(t, init, fragments)
	if len(p.Streams) != 2 {
		t.Fatalf("got %d streams, want two", len(p.Streams))
	}
	v, a := p.Streams[0], p.Streams[1]
	if v.Codec != "h264" || v.Width != 160 || v.Height != 90 || v.Frames != "50" {
		t.Errorf("video: got %+v, want 50 pictures of 160x90", v)
	}
	if a.Codec != "aac" || a.Rate != "44100" || a.Channels != 1 || a.Frames != "88" {
		t.Errorf("audio: got %+v, want 88 frames", a)
	}
	type at struct{ dts, pts float64 }
	last, seen := map[string]float64{"video": -1, "audio": -1}, map[string][]at{}
	for _, packet := range p.Packets {
		pts, err := strconv.ParseFloat(packet.PTS, 64)
		dts, err2 := strconv.ParseFloat(packet.DTS, 64)
		if err != nil || err2 != nil || dts <= last[packet.Type] || pts < dts {
			t.Fatalf("%s: got DTS %q, PTS %q after %v", packet.Type, packet.DTS, packet.PTS, last[packet.Type])
		}
		last[packet.Type] = dts
		seen[packet.Type] = append(seen[packet.Type], at{dts, pts})
		if i := len(seen[packet.Type]) - 1; packet.Type == "video" && (packet.Flags[0] == 'K') != (i%25 == 0) {
			t.Errorf("picture %d: got flags %s", i, packet.Flags)
		}
	}
	i := 0
	for _, f := range frames {
		if f.Kind != media.Video || f.Config {
			continue
		}
		if got := seen["video"][i]; math.Abs(got.dts-f.DTS.Seconds()) > 1e-6 || math.Abs(got.pts-f.PTS.Seconds()) > 1e-6 {
			t.Errorf("picture %d: got %+v, want %v and %v", i, got, f.DTS, f.PTS)
		}
		i++
	}
}

// TestFFprobeUneven reads a stream with a pause in its pictures and in its sound: all of it is there, at its time.
func TestFFprobeUneven(t *testing.T) {
	tracks, all := sample(t)
	var frames []media.Frame
	for _, f := range all {
		if f.DTS > 400*ms && f.DTS < 900*ms && !f.Config {
			continue
		}
		frames = append(frames, f)
	}
	init, fragments := mux(t, tracks, frames)
	p := probe(t, init, fragments)
	if len(p.Packets) != len(fragments) {
		t.Errorf("got %d packets of %d fragments", len(p.Packets), len(fragments))
	}
}
