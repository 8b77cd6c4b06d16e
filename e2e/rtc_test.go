package e2e

import (
	"bufio"
	"encoding/json"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"hawser/e2e/lab"
)

// callTimeout is how long a browser may take for what it is told; it gives up by itself before that.
const callTimeout = 3 * time.Minute

// network makes a network with a server, or skips the test where that cannot be.
func network(t *testing.T, o lab.Options, args ...string) (*lab.Network, *server) {
	t.Helper()
	if why := lab.Missing(); why != "" {
		t.Skip(why)
	}
	n, err := lab.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	s := startServerOn(t, n.Server, append([]string{"serve", "--http", ":8080", "--rtmp", ":1935", "--origin", "*"}, args...)...)
	return n, s
}

// url is an address of the server for another host of its network.
func (s *server) url(path string) string {
	return "http://" + netip.AddrPortFrom(s.host.Addr, 8080).String() + path
}

// browser is a browser on a host that does what it is told (rtc.mjs).
type browser struct {
	*program
	stdin   io.Writer
	answers chan []byte
}

// open starts a browser, chromium or firefox, on a host.
func open(t *testing.T, host *lab.Host, name string) *browser {
	t.Helper()
	need(t, "node")
	names := map[string][]string{"chromium": browsers, "firefox": {"firefox-esr", "firefox"}}[name]
	i := slices.IndexFunc(names, installed)
	if i < 0 {
		t.Skipf("none of %s is installed", strings.Join(names, ", "))
	}
	if _, err := os.Stat("node_modules/playwright-core"); err != nil {
		t.Skip("playwright-core is not installed: npm --prefix e2e ci")
	}
	path, _ := exec.LookPath(names[i])
	args, err := json.Marshal(map[string]string{"browser": path, "name": name, "scratch": t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	cmd := host.Command("node", "--experimental-websocket", "--no-warnings", "rtc.mjs", string(args))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, w := io.Pipe()
	cmd.Stdout = w
	b := &browser{stdin: in, answers: make(chan []byte, 1)}
	b.program = startCmd(t, cmd)
	b.name = name
	go func() {
		defer close(b.answers)
		for lines := bufio.NewReader(out); ; {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				return
			}
			b.answers <- line
		}
	}()
	t.Cleanup(func() { // before it is killed: a browser has processes of its own
		in.Close()
		b.waitErr(stopTimeout)
		w.Close()
	})
	b.hear(new(struct{}))
	return b
}

// do calls a function of rtcpage.js and waits for its answer.
func (b *browser) do(what string, with map[string]any, answer any) {
	b.t.Helper()
	line, err := json.Marshal(map[string]any{"do": what, "with": with})
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.stdin.Write(append(line, '\n')); err != nil {
		b.t.Fatalf("%s: %v\n%s", b.name, err, b.out)
	}
	b.hear(answer)
}

func (b *browser) hear(answer any) {
	b.t.Helper()
	select {
	case line, ok := <-b.answers:
		var said struct {
			Answer json.RawMessage
			Failed string
			Errors []string
			Ready  bool
		}
		if !ok {
			b.t.Fatalf("%s ended\n%s", b.name, b.out)
		}
		if err := json.Unmarshal(line, &said); err != nil {
			b.t.Fatalf("%s said %q", b.name, line)
		}
		if len(said.Errors) > 0 {
			b.t.Logf("%s complains: %q", b.name, said.Errors)
		}
		if said.Failed != "" {
			b.t.Fatalf("%s: %s", b.name, said.Failed)
		}
		if said.Ready {
			return
		}
		if err := json.Unmarshal(said.Answer, answer); err != nil {
			b.t.Fatalf("%s said %s: %v", b.name, line, err)
		}
	case <-time.After(callTimeout):
		b.t.Fatalf("%s does not answer\n%s", b.name, b.out)
	}
}

// iceState is a state of a browser's connection.
type iceState struct {
	At              int64 // ms since 1970
	Number          int   // of the connection
	ICE, Connection string
}

// rtcReport is what a browser says of its connection.
type rtcReport struct {
	States         []iceState
	Errors         []string
	Location, ETag string
	Video, Audio   struct {
		MimeType                                                                                      string
		FramesReceived, FramesBefore, FramesDecoded, FramesSent, FreezeCount, FrameWidth, FrameHeight int
		PacketsLost, PacketsSent, NackCount, PliCount                                                 int
		BytesReceived, TotalSamplesReceived                                                           int64
		TotalAudioEnergy                                                                              float64
	}
	Pair struct {
		Local, Remote string
		RoundTrip     float64
	}
}

// words are the states in order, without their times.
func (r *rtcReport) words() (list []string) {
	for _, s := range r.States {
		if len(list) == 0 || list[len(list)-1] != s.ICE {
			list = append(list, s.ICE)
		}
	}
	return list
}

// peer starts one of the Python programs on a host.
func peer(t *testing.T, host *lab.Host, script, does, url, codec, seconds string) *program {
	t.Helper()
	need(t, "/usr/bin/python3")
	return startOn(t, host, "/usr/bin/python3", script, does, url, codec, seconds)
}

// peerSaid is a line of what such a program prints.
type peerSaid struct {
	At              int64
	ICE, Connection string
	Failed          string
	Video, Audio    int
	Width, Height   int
}

// said waits for the program and returns its states, and what came or went.
func (p *program) said() (states []string, counts peerSaid) {
	p.t.Helper()
	for line := range strings.Lines(p.wait()) {
		if !strings.HasPrefix(line, "{") {
			continue
		}
		var said peerSaid
		if err := json.Unmarshal([]byte(line), &said); err != nil {
			p.t.Fatalf("%s said %q", p.name, line)
		}
		switch {
		case said.Failed != "":
			p.t.Fatalf("%s: %s", p.name, said.Failed)
		case said.ICE == "":
			counts = said
		case len(states) == 0 || states[len(states)-1] != said.ICE:
			states = append(states, said.ICE)
		}
	}
	return states, counts
}
