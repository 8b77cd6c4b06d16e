package e2e

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"hawser/media"
	"hawser/rtc"
)

// payloadCase is a codec on its way: how ffmpeg makes a clip of it and sends it, and how each program takes what we send. AV1 is not among them: these programs learnt to carry it later than
// those that are everywhere.
type payloadCase struct {
	codec  media.Codec
	encode []string // of two seconds
	send   []string // options of ffmpeg's RTP
	sdp    string   // behind "a=rtpmap:96 "
	gst    string   // from RTP to what a file can hold
}

var payloadCases = []payloadCase{
	{media.H264, []string{"-c:v", "libx264", "-preset", "veryfast", "-g", "20", "-bf", "0", "-x264-params", "slices=2"}, []string{"-bsf:v", "h264_mp4toannexb"},
		"H264/90000\r\na=fmtp:96 packetization-mode=1", "application/x-rtp,media=video,payload=96,encoding-name=H264,clock-rate=90000 ! rtph264depay ! h264parse"},
	{media.VP8, []string{"-c:v", "libvpx", "-g", "20", "-b:v", "1M", "-deadline", "realtime", "-cpu-used", "8"}, nil, "VP8/90000", "application/x-rtp,media=video,payload=96,encoding-name=VP8,clock-rate=90000 ! rtpvp8depay"},
	{media.VP9, []string{"-c:v", "libvpx-vp9", "-g", "20", "-b:v", "1M", "-deadline", "realtime"}, []string{"-strict", "experimental"}, "VP9/90000",
		"application/x-rtp,media=video,payload=96,encoding-name=VP9,clock-rate=90000 ! rtpvp9depay ! vp9parse"},
	{media.Opus, []string{"-c:a", "libopus", "-ac", "2"}, nil, "opus/48000/2", "application/x-rtp,media=audio,payload=96,encoding-name=OPUS,clock-rate=48000 ! rtpopusdepay ! opusparse"},
}

// What ffmpeg sends as RTP becomes frames; what we make of these frames, ffmpeg and GStreamer take for the frames that were in the file in the beginning, byte for byte, and decode.
func TestRTPPayloads(t *testing.T) {
	need(t, "ffmpeg", "gst-launch-1.0")
	for _, c := range payloadCases {
		t.Run(c.codec.String(), func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "clip.mkv")
			input := "testsrc2=size=320x180:rate=30"
			if c.codec == media.Opus {
				input = "sine=frequency=440:sample_rate=48000"
			}
			start(t, "ffmpeg", slices.Concat([]string{"-v", "error", "-f", "lavfi", "-i", input, "-t", "2", "-pix_fmt", "yuv420p"}, c.encode, []string{file})...).wait()
			want := frameSums(t, c.codec, "-i", file)
			units := c.receive(t, file, len(want))
			t.Run("ffmpeg", func(t *testing.T) { c.toFFmpeg(t, units, want) })
			t.Run("gstreamer", func(t *testing.T) { c.toGStreamer(t, units, want) })
		})
	}
}

// frameSums are the sums of the frames that ffmpeg reads, without what containers add of their own.
func frameSums(t *testing.T, codec media.Codec, input ...string) (sums []string) {
	t.Helper()
	return parseSums(start(t, "ffmpeg", sumArgs(codec, input...)...).wait())
}

func sumArgs(codec media.Codec, input ...string) []string {
	args := slices.Concat([]string{"-v", "error"}, input, []string{"-c", "copy", "-copyinkf"}) // it does not see the keyframes of VP9 in RTP
	if codec == media.H264 {
		args = append(args, "-bsf:v", "h264_mp4toannexb,filter_units=remove_types=6-9")
	}
	return append(args, "-f", "framehash", "-hash", "md5", "-")
}

func parseSums(said string) (sums []string) {
	for line := range strings.Lines(said) {
		if words := strings.Split(line, ","); !strings.HasPrefix(line, "#") && len(words) >= 6 {
			sums = append(sums, strings.TrimSpace(words[5]))
		}
	}
	return sums
}

// receive lets ffmpeg send the file, and gives the frames that come of it.
func (c payloadCase) receive(t *testing.T, file string, want int) (units []rtc.Unit) {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetReadBuffer(4 << 20)
	d, err := rtc.NewDepacketizer(c.codec, func(u rtc.Unit) { units = append(units, u) })
	if err != nil {
		t.Fatal(err)
	}
	to := fmt.Sprintf("rtp://%s?pkt_size=1200", conn.LocalAddr())
	ffmpeg := start(t, "ffmpeg", slices.Concat([]string{"-v", "error", "-re", "-i", file, "-c", "copy"}, c.send, []string{"-f", "rtp", to})...)
	buffer := make([]byte, 2048)
	for next, n := uint16(0), 0; len(units) < want; n++ {
		conn.SetReadDeadline(time.Now().Add(startTimeout))
		size, err := conn.Read(buffer)
		if err != nil {
			t.Fatalf("%d of %d frames: %v\n%s", len(units), want, err, ffmpeg.out)
		}
		const header = 12 // RFC 3550 section 5.1; ffmpeg adds nothing to it
		if size < header || buffer[0] != 0x80 {
			t.Fatalf("got % x", buffer[:size])
		}
		seq := binary.BigEndian.Uint16(buffer[2:])
		if n > 0 && seq != next {
			t.Fatalf("packet %d comes behind %d", seq, next-1)
		}
		next = seq + 1
		d.Push(buffer[header:size], binary.BigEndian.Uint32(buffer[4:]), buffer[1]&0x80 != 0)
	}
	ffmpeg.wait()
	return units
}

// groups are the frames as groups, and how long after the first each is to be sent.
func (c payloadCase) groups(t *testing.T, units []rtc.Unit) (groups []rtc.Group, at []time.Duration) {
	t.Helper()
	p, err := rtc.NewPacketizer(*units[0].Track)
	if err != nil {
		t.Fatal(err)
	}
	rate := time.Duration(rtc.ClockRate(rtc.SlotVideo))
	if c.codec == media.Opus {
		rate = time.Duration(rtc.ClockRate(rtc.SlotAudio))
	}
	for i, u := range units {
		when := time.Duration(u.Timestamp-units[0].Timestamp) * time.Second / rate
		g, err := rtc.CheckGroup(p.AppendGroup(nil, media.Frame{Key: u.Key, DTS: when, PTS: when, Data: u.Data}))
		if err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
		groups, at = append(groups, g), append(at, when)
	}
	return groups, at
}

// transmit sends groups in their time to a port, once somebody listens there.
func (c payloadCase) transmit(t *testing.T, units []rtc.Unit, port int, listener *program) {
	t.Helper()
	groups, at := c.groups(t, units)
	conn, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for deadline := time.Now().Add(startTimeout); !udpPortTaken(port); time.Sleep(pollInterval) {
		if time.Now().After(deadline) {
			t.Fatalf("nobody listens\n%s", listener.out)
		}
	}
	begin, seq := time.Now(), uint16(0xfff0)
	for i, g := range groups {
		time.Sleep(time.Until(begin.Add(at[i])))
		for n, payload := range g.Packets() {
			b := []byte{0x80, 96}
			if g.Marker(n) {
				b[1] |= 0x80
			}
			b = binary.BigEndian.AppendUint16(b, seq)
			b = binary.BigEndian.AppendUint32(b, g.Timestamp())
			b = append(binary.BigEndian.AppendUint32(b, 0x1234), payload...)
			if _, err := conn.Write(b); err != nil && !errors.Is(err, syscall.ECONNREFUSED) { // it may have had enough
				t.Fatal(err)
			}
			seq++
		}
	}
}

// udpPortTaken says whether a program listens on a port.
func udpPortTaken(port int) bool {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err == nil {
		conn.Close()
	}
	return err != nil
}

// freeUDPPort is an even port that nobody has, nor the one behind it, where RTCP goes.
func freeUDPPort(t *testing.T) int {
	t.Helper()
	for range 100 {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		port := conn.LocalAddr().(*net.UDPAddr).Port &^ 1
		conn.Close()
		if !udpPortTaken(port) && !udpPortTaken(port+1) {
			return port
		}
	}
	t.Fatal(errors.New("no two ports are free"))
	return 0
}

func (c payloadCase) toFFmpeg(t *testing.T, units []rtc.Unit, want []string) {
	port := freeUDPPort(t)
	kind := "video"
	if c.codec == media.Opus {
		kind = "audio"
	}
	description := filepath.Join(t.TempDir(), "session.sdp")
	text := fmt.Sprintf("v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=%s %d RTP/AVP 96\r\na=rtpmap:96 %s\r\n", kind, port, c.sdp)
	if err := os.WriteFile(description, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	// The last frame is known to be whole only when another begins.
	input := []string{"-protocol_whitelist", "file,udp,rtp", "-i", description, "-frames", fmt.Sprint(len(want) - 1)}
	ffmpeg := start(t, "ffmpeg", sumArgs(c.codec, input...)...)
	c.transmit(t, units, port, ffmpeg)
	if got := parseSums(ffmpeg.wait()); !slices.Equal(got, want[:len(want)-1]) {
		t.Errorf("got %d frames\n%v\nwant %d\n%v\n%s", len(got), got, len(want)-1, want, ffmpeg.out)
	}
}

func (c payloadCase) toGStreamer(t *testing.T, units []rtc.Unit, want []string) {
	port := freeUDPPort(t)
	groups, _ := c.groups(t, units)
	packets := 0
	for _, g := range groups {
		packets += g.Len()
	}
	file := filepath.Join(t.TempDir(), "got.mkv")
	line := fmt.Sprintf("udpsrc address=127.0.0.1 port=%d buffer-size=4000000 num-buffers=%d ! %s ! matroskamux ! filesink location=%s", port, packets, c.gst, file)
	gst := start(t, "gst-launch-1.0", strings.Fields(line)...)
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	if _, err := gst.out.await(ctx, regexp.MustCompile("Setting pipeline to PLAYING|ERROR")); err != nil {
		t.Fatalf("%v\n%s", err, gst.out)
	}
	c.transmit(t, units, port, gst)
	gst.wait()
	if got := frameSums(t, c.codec, "-i", file); !slices.Equal(got, want) {
		t.Errorf("got %d frames\n%v\nwant %d\n%v", len(got), got, len(want), want)
	}
	start(t, "ffmpeg", "-v", "error", "-xerror", "-err_detect", "explode", "-i", file, "-f", "null", "-").wait() // it decodes
}
