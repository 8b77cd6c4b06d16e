package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// nginxServer is nginx with its RTMP module.
type nginxServer struct {
	t    *testing.T
	conf string
	addr string
	web  *httptest.Server // that it asks who may play
	*program

	plays chan struct{} // one for each player that has come
}

const rtmpModule = "/usr/lib/nginx/modules/ngx_rtmp_module.so"

// startNginx starts it on a port that the system has chosen. It keeps its files in the test's folder.
func startNginx(t *testing.T) *nginxServer {
	t.Helper()
	need(t, "nginx")
	if _, err := os.Stat(rtmpModule); err != nil {
		t.Skip("libnginx-mod-rtmp is not installed")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &nginxServer{t: t, addr: l.Addr().String(), conf: filepath.Join(t.TempDir(), "nginx.conf"), plays: make(chan struct{}, 100)}
	n.web = httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { n.plays <- struct{}{} }))
	t.Cleanup(n.web.Close)
	l.Close()
	text := fmt.Sprintf("load_module %s;\ndaemon off;\nmaster_process off;\npid %s.pid;\nerror_log stderr warn;\nevents {}\nrtmp { server { listen %s; application live { live on; on_play %s/; } } }\n",
		rtmpModule, n.conf, n.addr, n.web.URL)
	if err := os.WriteFile(n.conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	n.again()
	return n
}

// again starts it, once more on the same port.
func (n *nginxServer) again() {
	n.t.Helper()
	n.program = start(n.t, "nginx", "-e", "stderr", "-p", filepath.Dir(n.conf), "-c", n.conf)
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(pollInterval) {
		if c, err := net.Dial("tcp", n.addr); err == nil {
			c.Close()
			return
		}
	}
	n.t.Fatalf("nginx does not listen\n%s", n.out)
}

func (n *nginxServer) url(path string) string { return "rtmp://" + n.addr + path }

// framesOf are the frames of a file as ffmpeg's framemd5 shows them, pictures first: times, size and checksum. Times count in milliseconds from the first picture, as a stream may begin at
// any; sound before it is left out, as players begin there.
func framesOf(t *testing.T, file string) (list []string) {
	t.Helper()
	base, known := 0, false
	for _, kind := range []string{"v", "a"} {
		out := start(t, "ffmpeg", "-v", "error", "-i", file, "-map", "0:"+kind, "-c", "copy", "-copyts", "-enc_time_base", "1:1000", "-f", "framemd5", "-").wait()
		for line := range strings.Lines(out) {
			words := strings.Split(strings.ReplaceAll(strings.TrimSpace(line), " ", ""), ",")
			if strings.HasPrefix(line, "#") || len(words) < 6 {
				continue
			}
			dts, pts := milliOf(t, words[1]), milliOf(t, words[2])
			if !known {
				base, known = dts, true
			}
			if dts >= base {
				list = append(list, fmt.Sprintf("%s %d %d %s %s", kind, dts-base, pts-base, words[4], words[5]))
			}
		}
	}
	return list
}

func milliOf(t *testing.T, text string) (n int) {
	t.Helper()
	if _, err := fmt.Sscan(text, &n); err != nil {
		t.Fatalf("framemd5 says %q for a time", text)
	}
	return n
}

// sameFrames compares what was played with what was published.
func sameFrames(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		i := 0
		for i < min(len(got), len(want)) && got[i] == want[i] {
			i++
		}
		t.Errorf("got %d frames, want %d; the first that differs is %d: got %q, want %q", len(got), len(want), i, nth(got, i), nth(want, i))
	}
}

func nth(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return "none"
}

func (s *server) relayState() string {
	s.t.Helper()
	body, err := s.get("/api/v1/relays")
	if err != nil {
		s.t.Fatal(err)
	}
	var list []struct{ State string }
	if err := json.Unmarshal(body, &list); err != nil || len(list) == 0 {
		s.t.Fatalf("relays: %s", body)
	}
	return list[0].State
}

func (s *server) awaitRelay(state string) {
	s.t.Helper()
	for deadline := time.Now().Add(eventTimeout); s.relayState() != state; time.Sleep(pollInterval) {
		if time.Now().After(deadline) {
			s.t.Fatalf("the relay is %s, want %s", s.relayState(), state)
		}
	}
}

// TestRelayWithNginx lets every frame of a clip go through nginx, to it and from it, with ffmpeg as publisher and `hawser play` as player.
func TestRelayWithNginx(t *testing.T) {
	for name, options := range map[string][]string{"plain": oneGOP, "B-frames": bFrames} {
		file := clip(t, options)
		want := framesOf(t, file)
		t.Run("push "+name, func(t *testing.T) {
			n := startNginx(t)
			s := serve(t, "--grace", "100ms", "--push", "/live/a="+n.url("/live/b"))
			out := filepath.Join(t.TempDir(), "out.flv")
			player := start(t, executable, "play", "--out", out, n.url("/live/b"))
			select {
			case <-n.plays:
			case <-time.After(startTimeout):
				t.Fatalf("the player does not come\n%s", n.out)
			}
			publish(t, s, file, "/live/a").wait()
			s.awaitRelay("waiting")
			player.cmd.Process.Signal(os.Interrupt)
			player.wait()
			sameFrames(t, framesOf(t, out), want)
		})
		t.Run("pull "+name, func(t *testing.T) {
			n := startNginx(t)
			s := serve(t, "--grace", "100ms", "--pull", "/live/b="+n.url("/live/a"))
			s.awaitRelay("live") // nginx lets players wait
			out := filepath.Join(t.TempDir(), "out.flv")
			player := start(t, executable, "play", "--out", out, s.rtmpURL("/live/b"))
			s.awaitEvent("play", func(e event) bool { return e.Kind == "play" && e.Path == "/live/b" })
			start(t, "ffmpeg", "-v", "error", "-re", "-i", file, "-c", "copy", "-f", "flv", n.url("/live/a")).wait()
			s.awaitStream("/live/b", "all there", func(l liveStream) bool { return int(l.Frames) >= len(want) })
			player.cmd.Process.Signal(os.Interrupt)
			player.wait()
			sameFrames(t, framesOf(t, out), want)
		})
	}
}

// TestRelaySurvivesNginx kills nginx under a push; the push goes on with the new one.
func TestRelaySurvivesNginx(t *testing.T) {
	file := clip(t, seconds)
	n := startNginx(t)
	s := serve(t, "--push", "/live/a="+n.url("/live/b"))
	start(t, executable, "publish", "--rtmp", "rtmp://"+s.rtmp, "--loop", "/live/a", file)
	s.awaitRelay("live")
	n.kill()
	s.awaitRelay("back_off")
	n.again()
	s.awaitRelay("live")
	out := filepath.Join(t.TempDir(), "out.flv")
	start(t, executable, "play", "--out", out, "--for", "3s", n.url("/live/b")).wait()
	list := framesOf(t, out)
	if video := slices.DeleteFunc(slices.Clone(list), func(f string) bool { return f[0] != 'v' }); len(video) < 30 {
		t.Errorf("only %d pictures came after the restart", len(video))
	}
	known := map[string]bool{}
	for _, f := range framesOf(t, file) {
		known[f[strings.LastIndexByte(f, ' '):]] = true
	}
	for _, f := range list {
		if !known[f[strings.LastIndexByte(f, ' '):]] {
			t.Errorf("a frame that nobody sent: %s", f)
		}
	}
}

// TestPlayCommand plays the same over RTMP and HTTP-FLV into files, and prints what comes.
func TestPlayCommand(t *testing.T) {
	s := serve(t, "--grace", "100ms")
	file := clip(t, oneGOP)
	dir := t.TempDir()
	publisher := publish(t, s, file, "/live/a")
	s.awaitLive("/live/a")
	var players []*program
	for i, u := range []string{s.rtmpURL("/live/a"), s.flvURL("/live/a")} {
		players = append(players, start(t, executable, "play", "--out", filepath.Join(dir, fmt.Sprint(i)), u), start(t, executable, "play", u))
	}
	publisher.wait()
	want := framesOf(t, file)
	for i, p := range players {
		text := p.wait()
		if i%2 == 0 {
			sameFrames(t, framesOf(t, filepath.Join(dir, fmt.Sprint(i/2))), want)
		} else if !strings.Contains(text, "avc1") || !strings.Contains(text, "onMetaData") || !strings.Contains(text, "media") {
			t.Errorf("it printed %s", text)
		}
	}
	if out := start(t, executable, "play", s.flvURL("/nothing/here")); out.waitErr(programTimeout) == nil || !strings.Contains(out.out.String(), "not_found") {
		t.Errorf("nothing to play: %s", out.out)
	}
}

// TestHookFlagsOfServe refuses a publisher by a command, with its reason.
func TestHookFlagsOfServe(t *testing.T) {
	script := filepath.Join(t.TempDir(), "may")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n[ \"$HAWSER_QUERY\" = key=sesame ] || { echo wrong key >&2; exit 1; }\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := serve(t, "--hook-command", "publish="+script)
	file := clip(t, oneGOP)
	if err := publish(t, s, file, "/live/a?key=abracadabra").waitErr(programTimeout); err == nil {
		t.Error("a wrong key was taken")
	}
	if e := s.awaitEvent("refused", func(e event) bool { return e.Kind == "hook_refused" }); e.Reason.Text != "wrong key" || e.Path != "/live/a" {
		t.Errorf("got %+v", e)
	}
	publish(t, s, file, "/live/a?key=sesame").wait()
}
