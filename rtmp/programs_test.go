package rtmp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"hawser/flv"
)

// need skips the test, by name, when a program is missing.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
}

// program is a program that we did not write, running.
type program struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	out  bytes.Buffer
}

const nobody = 65534

func start(t *testing.T, name string, args ...string) *program {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	p := &program{t: t, name: name, cmd: exec.CommandContext(ctx, name, args...)}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if name == "cvlc" && os.Getuid() == 0 { // it refuses to be root
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		p.cmd.Env = append(os.Environ(), "HOME="+os.TempDir())
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *program) wait() string {
	p.t.Helper()
	if err := p.cmd.Wait(); err != nil {
		p.t.Fatalf("%s: %v\n%s", p.name, err, p.out.String())
	}
	return p.out.String()
}

// clip makes two seconds of picture and sound as FLV.
func clip(t *testing.T) string {
	t.Helper()
	need(t, "ffmpeg", "ffprobe")
	path := filepath.Join(t.TempDir(), "clip.flv")
	start(t, "ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=25", "-f", "lavfi", "-i", "sine=sample_rate=44100",
		"-t", "2", "-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-pix_fmt", "yuv420p", "-c:a", "aac", path).wait()
	return path
}

// packets counts the packets of each kind in a file or URL, and checks that decoding times never go back.
func packets(t *testing.T, from string, args ...string) map[string]int {
	t.Helper()
	args = append([]string{"-v", "error", "-show_entries", "packet=codec_type,dts", "-of", "csv=p=0"}, args...)
	counts, last := map[string]int{}, map[string]int{}
	for line := range strings.Lines(start(t, "ffprobe", append(args, from)...).wait()) {
		kind, rest, ok := strings.Cut(strings.TrimSpace(line), ",")
		if !ok {
			continue
		}
		dts, err := strconv.Atoi(strings.Trim(rest, ","))
		if err != nil {
			t.Fatalf("ffprobe says %q", line)
		}
		if dts < last[kind] {
			t.Errorf("%s: %s goes back from %d to %d", from, kind, last[kind], dts)
		}
		last[kind] = dts
		counts[kind]++
	}
	return counts
}

// TestFFmpeg publishes and plays by the ways in which ffmpeg cuts a URL into application and name.
func TestFFmpeg(t *testing.T) {
	file := clip(t)
	want := packets(t, file)
	for _, path := range []string{"/live/cam1", "/live/a/b", "/cam1", "/live/a/b/c", "/live/x?token=secret&a=b"} {
		t.Run(path[1:], func(t *testing.T) {
			r := newRelay(t, nil)
			clean, _, _ := strings.Cut(path, "?")
			publisher := start(t, "ffmpeg", "-v", "error", "-i", file, "-c", "copy", "-f", "flv", "rtmp://"+r.addr+path)
			r.await("publish " + clean + " live")
			out := filepath.Join(t.TempDir(), "out.flv")
			player := start(t, "ffmpeg", "-v", "error", "-i", "rtmp://"+r.addr+path, "-c", "copy", out)
			r.await("play " + clean)
			publisher.wait()
			r.await("close " + clean + " done")
			r.feed(clean).over()
			if out := player.wait(); out != "" {
				t.Errorf("ffmpeg complains: %s", out)
			}
			same(t, packets(t, out), want)
			r.await("stop " + clean + " done")
			r.await("delete " + clean)
		})
	}
}

func same(t *testing.T, got, want map[string]int) {
	t.Helper()
	if got["video"] != want["video"] || got["audio"] != want["audio"] {
		t.Errorf("played %v packets, published %v", got, want)
	}
}

// published publishes the clip with ffmpeg and returns when everything is there.
func (r *relay) published(file, path string) {
	r.t.Helper()
	start(r.t.(*testing.T), "ffmpeg", "-v", "error", "-i", file, "-c", "copy", "-f", "flv", "rtmp://"+r.addr+path).wait()
	r.await("close " + path + " done")
	r.feed(path).over()
}

// TestPlayers plays with every client there is.
func TestPlayers(t *testing.T) {
	file := clip(t)
	want := packets(t, file)
	r := newRelay(t, nil)
	r.published(file, "/live/cam1")
	url := "rtmp://" + r.addr + "/live/cam1"
	for _, test := range []struct {
		name string
		less int // packets that it drops at the end, by itself
		args []string
	}{
		{"ffmpeg", 0, []string{"-v", "error", "-i", url, "-c", "copy", "OUT"}},
		{"rtmpdump", 0, []string{"-q", "--live", "-r", url, "-o", "OUT"}},
		{"rtmpdump", 0, []string{"-q", "-r", url, "-o", "OUT"}},
		// With a player's hash it shakes hands with digests, and checks ours.
		{"rtmpdump", 0, []string{"-q", "-w", strings.Repeat("00", 32), "-x", "1000", "-r", url, "-o", "OUT"}},
		{"gst-launch-1.0", 2, []string{"-q", "rtmp2src", "location=" + url, "!", "filesink", "location=OUT"}},
		// librtmp's source connects again when it is asked for more than there is.
		{"gst-launch-1.0", 0, []string{"-q", "rtmpsrc", "blocksize=1000000", "num-buffers=1", "location=" + url, "!", "filesink", "location=OUT"}},
		{"cvlc", 10, []string{"-q", "-I", "dummy", "--sout", "#standard{access=file,mux=ts,dst=OUT}", url, "vlc://quit"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			need(t, test.name)
			dir := t.TempDir()
			os.Chmod(dir, 0o777) // for VLC as nobody
			os.Chmod(filepath.Dir(dir), 0o755)
			out := filepath.Join(dir, "out.flv")
			args := slices.Clone(test.args)
			for i := range args {
				args[i] = strings.ReplaceAll(args[i], "OUT", out)
			}
			t.Logf("%s", start(t, test.name, args...).wait())
			for kind, got := range packets(t, out) {
				if got > want[kind] || got < want[kind]-test.less {
					t.Errorf("played %d %s packets, published %d", got, kind, want[kind])
				}
			}
		})
	}
}

// TestFFmpegRTMPS publishes and plays with ffmpeg over TLS.
func TestFFmpegRTMPS(t *testing.T) {
	file := clip(t)
	certified := httptest.NewTLSServer(nil)
	defer certified.Close()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", certified.TLS)
	if err != nil {
		t.Fatal(err)
	}
	r := newRelay(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.server.Serve(ctx, ln) }()
	url, out := "rtmps://"+ln.Addr().String()+"/live/cam1", filepath.Join(t.TempDir(), "out.flv")
	start(t, "ffmpeg", "-v", "error", "-i", file, "-c", "copy", "-f", "flv", "-tls_verify", "0", url).wait()
	r.await("close /live/cam1 done")
	r.feed("/live/cam1").over()
	start(t, "ffmpeg", "-v", "error", "-tls_verify", "0", "-i", url, "-c", "copy", out).wait()
	same(t, packets(t, out), packets(t, file))
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestOldPrograms publishes with ffmpeg timestamps that begin to need the extended field on the way, and plays them in small chunks, each with
// the field, with every client there is.
func TestOldPrograms(t *testing.T) {
	file := clip(t)
	r := newRelay(t, func(s *Server) { s.ChunkSize = DefaultChunkSize })
	start(t, "ffmpeg", "-v", "error", "-i", file, "-c", "copy", "-output_ts_offset", "16776.7", "-f", "flv", r.url("/live/cam1")).wait()
	r.await("close /live/cam1 done")
	r.feed("/live/cam1").over()
	want := packets(t, file)
	same(t, packets(t, r.url("/live/cam1")), want) // which checks that no time goes back
	need(t, "rtmpdump")
	out := filepath.Join(t.TempDir(), "out.flv")
	start(t, "rtmpdump", "-q", "--live", "-r", r.url("/live/cam1"), "-o", out).wait()
	same(t, packets(t, out), want)
	need(t, "gst-launch-1.0")
	start(t, "gst-launch-1.0", "-q", "rtmp2src", "location="+r.url("/live/cam1"), "!", "filesink", "location="+out).wait()
	if got := packets(t, out); got["video"] != want["video"] { // it drops sound at the end, by itself
		t.Errorf("GStreamer played %v packets, published %v", got, want)
	}
	var first, last uint32
	for m, err := range play(t, r.url("/live/cam1")).Messages(t.Context()) {
		if err == nil && m.Type == TypeVideo {
			if last = m.Timestamp; first == 0 {
				first = last
			}
		}
	}
	if first > 0xffffff || last < 0xffffff {
		t.Errorf("video from %d to %d, want them around 16777215", first, last)
	}
}

// TestGStreamer publishes with both of GStreamer's sinks, its own and librtmp's.
func TestGStreamer(t *testing.T) {
	file := clip(t)
	want := packets(t, file)
	need(t, "gst-launch-1.0")
	for _, sink := range []string{"rtmp2sink", "rtmpsink"} {
		t.Run(sink, func(t *testing.T) {
			r := newRelay(t, nil)
			url := "rtmp://" + r.addr + "/live/cam1"
			start(t, "gst-launch-1.0", "-q", "flvmux", "name=m", "streamable=true", "!", sink, "location="+url,
				"filesrc", "location="+file, "!", "flvdemux", "name=d", "d.video", "!", "h264parse", "!", "queue", "!", "m.",
				"d.audio", "!", "aacparse", "!", "queue", "!", "m.").wait()
			r.await("publish /live/cam1 live")
			r.await("unpublish /live/cam1 done")
			r.feed("/live/cam1").over()
			got := packets(t, url)
			same(t, got, want)
		})
	}
}

// TestFFmpegRefused has a second publisher on a taken path: it ends at once, says why, and the first goes on. The first is then killed.
func TestFFmpegRefused(t *testing.T) {
	file := clip(t)
	r := newRelay(t, nil)
	first := start(t, "ffmpeg", "-v", "error", "-re", "-stream_loop", "-1", "-i", file, "-c", "copy", "-f", "flv", r.url("/live/cam1"))
	r.await("publish /live/cam1 live")
	second := start(t, "ffmpeg", "-v", "error", "-i", file, "-c", "copy", "-f", "flv", r.url("/live/cam1"))
	if err := second.cmd.Wait(); err == nil || !strings.Contains(second.out.String(), "/live/cam1 is taken") {
		t.Errorf("got %v: %s", err, second.out.String())
	}
	if got := r.noted(); slices.Contains(got, "close /live/cam1 done") || slices.Contains(got, "close /live/cam1 lost") {
		t.Errorf("the first suffers: %q", got)
	}
	first.cmd.Process.Kill()
	first.cmd.Wait()
	r.await("close /live/cam1 lost")
}

// TestFFmpegTold has a publisher that exceeds a limit: what it exceeded is what ffmpeg says.
func TestFFmpegTold(t *testing.T) {
	file := clip(t)
	r := newRelay(t, func(s *Server) { s.Limits = Limits{MaxMessage: 500} })
	p := start(t, "ffmpeg", "-v", "error", "-re", "-i", file, "-c", "copy", "-f", "flv", r.url("/live/cam1"))
	if err := p.cmd.Wait(); err == nil || !strings.Contains(p.out.String(), "want at most 500 (MaxMessage)") {
		t.Errorf("got %v: %s", err, p.out.String())
	}
}

// TestFFmpegListens publishes to ffmpeg as the server.
func TestFFmpegListens(t *testing.T) {
	file := clip(t)
	want := packets(t, file)
	url, out := "rtmp://"+unusedAddr(t)+"/live/cam1", filepath.Join(t.TempDir(), "out.flv")
	server := start(t, "ffmpeg", "-v", "error", "-listen", "1", "-i", url, "-c", "copy", out)
	var c *Client
	for c == nil && t.Context().Err() == nil {
		var err error
		if c, err = Dial(t.Context(), url, nil); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatal(err)
		}
	}
	if err := c.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tags := flv.NewReader(f)
	for {
		tag, err := tags.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = c.WriteMessage(t.Context(), Message{Type: tag.Type, Timestamp: tag.Timestamp, Payload: tag.Data})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
	t.Logf("%s", server.wait())
	same(t, packets(t, out), want)
}
