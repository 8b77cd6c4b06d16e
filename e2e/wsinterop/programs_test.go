// Package wsinterop lets package websocket talk with programs that we did not write, in both directions, with and without compression: npm's ws, python3-websockets, libsoup and a
// browser. Debian 12's curl (7.88) was built without WebSocket, so it is not among them.
package wsinterop

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"hawser/websocket"
)

// patience is how long one test may take.
const patience = time.Minute

// program is a program that we did not write, with its script.
type program struct {
	name    string
	command []string
	check   []string // a command that fails when something is missing
	lacks   string   // what is missing then
	deflate func(bits int) map[string]any
	// What it cannot do.
	noServer, noFragments, noSilentClose bool
}

const debianPython = "/usr/bin/python3" // the one that Debian's packages are for

var programs = []program{
	{name: "ws", command: []string{"node", "node.mjs"}, check: []string{"node", "--input-type=module", "-e", "import 'ws'"}, lacks: "ws is not installed: npm --prefix e2e/wsinterop ci",
		deflate: func(bits int) map[string]any {
			return map[string]any{"serverMaxWindowBits": bits, "clientMaxWindowBits": bits}
		}},
	{name: "websockets", command: []string{debianPython, "websockets_peer.py"}, check: []string{debianPython, "-c", "import websockets"}, lacks: "python3-websockets is not installed", noSilentClose: true,
		deflate: func(bits int) map[string]any {
			return map[string]any{"server_max_window_bits": bits, "client_max_window_bits": bits}
		}},
	{name: "libsoup", command: []string{debianPython, "soup_peer.py"}, check: []string{debianPython, "-c", "import gi; gi.require_version('Soup', '3.0'); from gi.repository import Soup"},
		lacks: "gir1.2-soup-3.0 is not installed", noFragments: true},
	{name: "browser", command: []string{"node", "browser.mjs"}, check: []string{"node", "--input-type=module", "-e", "import 'playwright-core'"}, lacks: "playwright-core is not installed: npm --prefix e2e ci",
		noServer: true},
}

// browsers are the names under which a Chromium may be installed.
var browsers = []string{"chromium", "chromium-browser", "google-chrome", "chrome"}

// compression is a way to compress, ours and theirs.
type compression struct {
	name string
	ours *websocket.Deflate
	bits int // of the windows that they ask for; 0: whatever they like
}

var compressions = []compression{
	{name: "plain"},
	{name: "deflate", ours: &websocket.Deflate{Threshold: -1}},
	{name: "takeover", ours: &websocket.Deflate{Threshold: -1, ServerTakeover: true, ClientTakeover: true}},
	{name: "windows of 9 bits", ours: &websocket.Deflate{Threshold: -1, ServerTakeover: true, ClientTakeover: true, ServerWindowBits: 9, ClientWindowBits: 9}, bits: 9},
}

// sizes are the lengths of the messages that are echoed.
var sizes = []int{0, 1, 125, 126, 127, 600, 65535, 65536, 1 << 20}

// each runs a test for each program that is there, with each compression that it knows.
func each(t *testing.T, server bool, f func(t *testing.T, p program, c compression, args map[string]any)) {
	for _, p := range programs {
		if server && p.noServer {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			args := map[string]any{"sizes": sizes, "mode": map[bool]string{true: "server", false: "client"}[server]}
			p.need(t, args)
			for _, c := range compressions {
				if c.bits != 0 && p.deflate == nil {
					continue
				}
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					args := maps.Clone(args)
					if c.bits != 0 {
						args["deflate"] = p.deflate(c.bits)
					} else if c.ours != nil {
						args["deflate"] = map[string]any{}
					}
					f(t, p, c, args)
				})
			}
		})
	}
}

// need skips the test when the program is missing.
func (p program) need(t *testing.T, args map[string]any) {
	t.Helper()
	if _, err := exec.LookPath(p.command[0]); err != nil {
		t.Skipf("%s is not installed", p.command[0])
	}
	if err := exec.Command(p.check[0], p.check[1:]...).Run(); err != nil {
		t.Skip(p.lacks)
	}
	if p.name != "browser" {
		return
	}
	for _, name := range browsers {
		if path, err := exec.LookPath(name); err == nil {
			args["browser"] = path
			return
		}
	}
	t.Skipf("none of %s is installed", strings.Join(browsers, ", "))
}

// process is a program that runs; it is killed at the end of the test, with all that it has started.
type process struct {
	t     *testing.T
	name  string
	lines chan string
	errs  strings.Builder
	done  chan struct{}
}

func (p program) start(t *testing.T, args map[string]any) *process {
	t.Helper()
	b, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(p.command[0], append(slices.Clone(p.command[1:]), string(b))...)
	r := &process{t: t, name: p.name, lines: make(chan string, 100), done: make(chan struct{})}
	cmd.Env = append(os.Environ(), "PYTHONWARNINGS=ignore", "no_proxy=*")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stderr = &r.errs
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go r.read(cmd, out)
	t.Cleanup(func() {
		select {
		case <-r.done: // its number may be another's by now
		default:
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			<-r.done
		}
		if t.Failed() {
			t.Logf("%s said: %s", r.name, r.errs.String())
		}
	})
	return r
}

func (r *process) read(cmd *exec.Cmd, out io.Reader) {
	scanner := bufio.NewScanner(out)
	for scanner.Scan() {
		r.lines <- scanner.Text()
	}
	cmd.Wait()
	close(r.lines)
	close(r.done)
}

// hear decodes the next line that the program says.
func (r *process) hear(v any) {
	r.t.Helper()
	select {
	case line, ok := <-r.lines:
		if !ok {
			r.t.Fatalf("%s has ended", r.name)
		}
		if err := json.Unmarshal([]byte(line), v); err != nil {
			r.t.Fatalf("%s said %q: %v", r.name, line, err)
		}
	case <-time.After(patience):
		r.t.Fatalf("%s says nothing", r.name)
	}
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}
