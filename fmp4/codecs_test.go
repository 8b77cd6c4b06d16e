package fmp4_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"hawser/flv"
	"hawser/fmp4"
	"hawser/media"
)

// A second of a moving picture and of a tone.
const (
	picture = "-f lavfi -i testsrc=size=160x90:rate=25:duration=1 -pix_fmt yuv420p"
	tone    = "-f lavfi -i sine=frequency=440:sample_rate=48000:duration=1 -ac 2"
)

// encoded are the codecs that ffmpeg encodes, each in a file as it writes it.
var encoded = []struct {
	codec media.Codec
	args  string
	mime  string
}{
	{codec: media.H264, args: picture + " -c:v libx264 -preset ultrafast -bf 2 -b_strategy 0 -g 25", mime: "avc1.4d400b"},
	{codec: media.HEVC, args: picture + " -c:v libx265 -preset ultrafast -tag:v hvc1 -x265-params bframes=2:b-adapt=0:keyint=25:log-level=none:no-open-gop=1:no-info=1",
		mime: "hvc1.1.6.L30.90"},
	{codec: media.AV1, args: picture + " -c:v libaom-av1 -cpu-used 8 -g 25 -b:v 100k", mime: "av01.0.00M.08"},
	{codec: media.VP9, args: picture + " -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 25 -b:v 100k", mime: "vp09.00.10.08"},
	{codec: media.Opus, args: tone + " -c:a libopus", mime: "opus"},
	{codec: media.AAC, args: tone + " -c:a aac", mime: "mp4a.40.2"},
	{codec: media.MP3, args: tone + " -c:a libmp3lame", mime: "mp4a.6B"},
	{codec: media.FLAC, args: tone + " -c:a flac -strict -2", mime: "flac"},
	{codec: media.AC3, args: tone + " -c:a ac3", mime: "ac-3"},
	{codec: media.EAC3, args: tone + " -c:a eac3", mime: "ec-3"},
}

// tool runs a program and gives what it writes; it must not complain.
func tool(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(name + " is missing")
		}
		t.Skip(name + " is missing")
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil || stderr.Len() > 0 {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr.Bytes())
	}
	return stdout.Bytes()
}

// encode gives the file that ffmpeg writes.
func encode(t testing.TB, args string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "in.mp4")
	tool(t, "ffmpeg", append(append([]string{"-v", "error"}, strings.Fields(args)...), file)...)
	return file
}

// unhexdump reads the bytes in a dump of ffprobe.
func unhexdump(t testing.TB, dump string) (b []byte) {
	t.Helper()
	for line := range strings.Lines(dump) {
		if _, line, ok := strings.Cut(line, ": "); ok {
			line, _, _ = strings.Cut(line, "  ")
			part, err := hex.DecodeString(strings.ReplaceAll(line, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			b = append(b, part...)
		}
	}
	return b
}

// dump gives the track and frames of a file with one track, as ffprobe reads them.
func dump(t testing.TB, codec media.Codec, file string) (track media.Track, frames []media.Frame) {
	t.Helper()
	var p struct {
		Packets []struct {
			PTS   string `json:"pts_time"`
			DTS   string `json:"dts_time"`
			Flags string `json:"flags"`
			Data  string `json:"data"`
		} `json:"packets"`
		Streams []struct {
			Extradata string `json:"extradata"`
		} `json:"streams"`
	}
	if err := json.Unmarshal(tool(t, "ffprobe", "-v", "warning", "-show_packets", "-show_streams", "-show_data", "-of", "json", file), &p); err != nil {
		t.Fatal(err)
	}
	seconds := func(s string) time.Duration {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Fatal(err)
		}
		return time.Duration(math.Round(v*1e6)) * time.Microsecond
	}
	for _, x := range p.Packets {
		frames = append(frames, media.Frame{Track: 1, Kind: codec.Kind(), Key: x.Flags[0] == 'K', DTS: seconds(x.DTS), PTS: seconds(x.PTS), Data: unhexdump(t, x.Data)})
	}
	return parameters(t, codec, unhexdump(t, p.Streams[0].Extradata), frames[0].Data), frames
}

// parameters makes a track of what a container says, and of the first frame.
func parameters(t testing.TB, codec media.Codec, config, first []byte) (track media.Track) {
	t.Helper()
	parse := map[media.Codec]func([]byte) (media.Track, error){media.H264: media.ParseAVCC, media.HEVC: media.ParseHVCC, media.AV1: media.ParseAV1C,
		media.AAC: media.ParseASC, media.Opus: media.ParseOpusHead, media.FLAC: media.ParseFLAC}[codec]
	if parse == nil {
		parse = map[media.Codec]func([]byte) (media.Track, error){media.VP9: media.ParseVP9, media.MP3: media.ParseMP3, media.AC3: media.ParseAC3, media.EAC3: media.ParseEAC3}[codec]
		config = first
	}
	track, err := parse(config)
	if err != nil {
		t.Fatal(err)
	}
	track.ID = 1
	if codec.Kind() == media.Audio {
		track.ID = 2
	}
	return track
}

// decoded gives a checksum of each frame that ffmpeg decodes. Edit lists, which cut the first and last sound, are not heeded.
func decoded(t testing.TB, file string) []string {
	t.Helper()
	out := tool(t, "ffmpeg", "-v", "error", "-ignore_editlist", "1", "-i", file, "-fps_mode", "passthrough", "-f", "framemd5", "-")
	var sums []string
	for line := range strings.Lines(string(out)) {
		if fields := strings.Split(line, ","); line[0] != '#' && len(fields) > 5 {
			sums = append(sums, strings.TrimSpace(fields[5]))
		}
	}
	return sums
}

// TestCodecs takes what real encoders wrote through Enhanced RTMP bodies into fragments, and lets ffmpeg read these: nothing is lost, no time changes by
// more than the bodies' milliseconds, and what is decoded is the same to the last bit.
func TestCodecs(t *testing.T) {
	for _, c := range encoded {
		t.Run(c.codec.String(), func(t *testing.T) {
			t.Parallel()
			in := encode(t, c.args)
			track, frames := dump(t, c.codec, in)
			if track.MIME() != c.mime || track.Kind == media.Video && (track.Width != 160 || track.Height != 90) ||
				track.Kind == media.Audio && (track.SampleRate != 48000 || track.Channels != 2) {
				t.Errorf("got %q, %+v, want %q", track.MIME(), track, c.mime)
			}
			tracks, through := throughFLV(t, track, frames)
			if len(tracks) != 1 || len(through) != len(frames) {
				t.Fatalf("got %d frames of %+v, want %d", len(through), tracks, len(frames))
			}
			init, fragments := mux(t, tracks, through)
			p := probe(t, init, fragments)
			if len(p.Packets) != len(frames) {
				t.Fatalf("got %d packets of %d frames", len(p.Packets), len(frames))
			}
			for i, packet := range p.Packets {
				if got := parseSeconds(t, packet.PTS) - frames[i].PTS - (through[0].PTS - frames[0].PTS); got.Abs() > 2*ms || (packet.Flags[0] == 'K') != frames[i].Key {
					t.Errorf("frame %d: %v off, flags %s, want a keyframe: %v", i, got, packet.Flags, frames[i].Key)
				}
			}
			out := filepath.Join(t.TempDir(), "out.mp4")
			if err := os.WriteFile(out, append(init, bytes.Join(fragments, nil)...), 0o600); err != nil {
				t.Fatal(err)
			}
			if got, want := decoded(t, out), decoded(t, in); len(got) == 0 || !slices.Equal(got, want) {
				t.Errorf("decoded:\n got %d %v\nwant %d %v", len(got), got, len(want), want)
			}
		})
	}
}

func parseSeconds(t *testing.T, s string) time.Duration {
	t.Helper()
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(v * float64(time.Second))
}

// throughFLV writes frames as bodies and reads them again. Times begin at zero.
func throughFLV(t testing.TB, track media.Track, frames []media.Frame) (tracks []media.Track, through []media.Frame) {
	t.Helper()
	var d flv.Demuxer
	feed := func(f media.Frame) {
		f.DTS, f.PTS, f.Track = f.DTS-frames[0].DTS, f.PTS-frames[0].DTS, track.ID
		typ, body := flv.AppendFrame(nil, track, f)
		if len(body) == 0 {
			return
		}
		f, _, ok, err := d.Feed(typ, uint32(f.DTS.Milliseconds()), body)
		if err != nil {
			t.Fatal(err)
		}
		if ok && !f.Config {
			through = append(through, f)
		}
	}
	feed(media.Frame{Kind: track.Kind, Config: true, Data: track.Config})
	for _, f := range frames {
		feed(f)
	}
	return d.Tracks(), through
}

// TestColor says the colour of a high dynamic range in boxes that ffprobe reads.
func TestColor(t *testing.T) {
	track, frames := dump(t, media.VP9, encode(t, encoded[3].args))
	track.Color = media.Color{BitDepth: 10, Primaries: 9, Transfer: 16, Matrix: 9, MaxFALL: 400, MaxCLL: 1000, RedX: 0.708, RedY: 0.292, GreenX: 0.17, GreenY: 0.797,
		BlueX: 0.131, BlueY: 0.046, WhiteX: 0.3127, WhiteY: 0.329, MaxLuminance: 1000, MinLuminance: 0.005}
	init, fragments := mux(t, []media.Track{track}, frames)
	out := filepath.Join(t.TempDir(), "out.mp4")
	if err := os.WriteFile(out, append(init, bytes.Join(fragments, nil)...), 0o600); err != nil {
		t.Fatal(err)
	}
	said := string(tool(t, "ffprobe", "-v", "warning", "-show_streams", "-of", "flat", out))
	for _, want := range []string{`color_primaries="bt2020"`, `color_transfer="smpte2084"`, `max_content=1000`, `max_average=400`, `red_x="35400/50000"`,
		`green_y="39850/50000"`, `blue_x="6550/50000"`, `white_point_y="16450/50000"`, `max_luminance="10000000/10000"`, `min_luminance="50/10000"`} {
		if !strings.Contains(said, want) {
			t.Errorf("%s is missing", want)
		}
	}
	if t.Failed() {
		t.Log(said)
	}
}

// TestNotSupported leaves out what players would fail on.
func TestNotSupported(t *testing.T) {
	for name, track := range map[string]media.Track{
		"VP8":                        {ID: 1, Kind: media.Video, Codec: media.VP8, Width: 160, Height: 90},
		"VP9 without a picture size": {ID: 1, Kind: media.Video, Codec: media.VP9, Config: make([]byte, 8)},
		"HEVC without parameters":    {ID: 1, Kind: media.Video, Codec: media.HEVC},
		"Opus without a header":      {ID: 2, Kind: media.Audio, Codec: media.Opus, SampleRate: 48000},
		"MP3 without a rate":         {ID: 2, Kind: media.Audio, Codec: media.MP3},
		"no ID":                      {Kind: media.Audio, Codec: media.MP3, SampleRate: 48000},
	} {
		if fmp4.Supports(track) {
			t.Errorf("%s: is supported", name)
		}
	}
}
