// Package e2e runs the built binary against programs that we did not write, and against faults. Its tests find out the
// server's addresses from the lines that it prints, and what it thinks of its connections from GET /api/v1/events.
package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hawser/e2e/lab"
)

const (
	startTimeout   = time.Minute     // until a program is ready
	stopTimeout    = time.Minute     // until the server has stopped
	programTimeout = 5 * time.Minute // for a program to do its work
	eventTimeout   = time.Minute     // until an event is in the log
	pollInterval   = 20 * time.Millisecond
)

// executable is the path of the program under test.
var executable string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "hawser-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	executable = filepath.Join(dir, "hawser")
	build := exec.Command("go", "build", "-o", executable, "hawser/cmd/hawser")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	clips.dir = dir
	return m.Run()
}

// need skips the test, by name, when a program is missing.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if !installed(p) {
			t.Skipf("%s is not installed", p)
		}
	}
}

func installed(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

// output is what a program has printed so far.
type output struct {
	mu    sync.Mutex
	text  bytes.Buffer
	grown chan struct{} // closed and replaced when there is more
}

func newOutput() *output { return &output{grown: make(chan struct{})} }

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.grown)
	o.grown = make(chan struct{})
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// await waits until the output matches, and returns the first match with its groups.
func (o *output) await(ctx context.Context, pattern *regexp.Regexp) ([]string, error) {
	for {
		o.mu.Lock()
		m, grown := pattern.FindStringSubmatch(o.text.String()), o.grown
		o.mu.Unlock()
		if m != nil {
			return m, nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return nil, fmt.Errorf("no line matches %q: %w", pattern, ctx.Err())
		}
	}
}

// program is a program that runs beside the test; it is killed when the test ends.
type program struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	out  *output
	done chan struct{} // closed when it is over
	err  error         // valid then
}

const nobody = 65534

// start starts a program. What it prints on both outputs is in out.
func start(t *testing.T, name string, args ...string) *program {
	t.Helper()
	return startOn(t, nil, name, args...)
}

// startOn starts it on a host of a lab's network, or on this machine.
func startOn(t *testing.T, host *lab.Host, name string, args ...string) *program {
	t.Helper()
	if host == nil {
		return startCmd(t, exec.Command(name, args...))
	}
	p := startCmd(t, host.Command(name, args...))
	p.name = filepath.Base(name)
	return p
}

func startCmd(t *testing.T, cmd *exec.Cmd) *program {
	t.Helper()
	p := &program{t: t, name: filepath.Base(cmd.Path), cmd: cmd, out: newOutput(), done: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = p.out
	}
	cmd.Stderr = p.out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if p.name == "cvlc" && os.Getuid() == 0 { // it refuses to be root
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
		cmd.Env = append(os.Environ(), "HOME="+os.TempDir())
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(p.kill)
	return p
}

// kill ends the program and what it started, at once, and waits for that.
func (p *program) kill() {
	select {
	case <-p.done: // its number may be another's by now
	default:
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
	}
}

// wait waits until the program has ended well, and returns what it printed.
func (p *program) wait() string {
	p.t.Helper()
	if err := p.waitErr(programTimeout); err != nil {
		p.t.Fatalf("%s: %v\n%s", p.name, err, p.out)
	}
	return p.out.String()
}

// waitErr waits until the program has ended, and returns how.
func (p *program) waitErr(limit time.Duration) error {
	select {
	case <-p.done:
		return p.err
	case <-time.After(limit):
		return fmt.Errorf("still runs after %v", limit)
	}
}

// server is the program under test, running.
type server struct {
	*program
	http, rtmp string    // host:port
	host       *lab.Host // that it runs on; nil: this machine
}

var (
	httpLine = regexp.MustCompile(`(?m)^hawser: http on http://([^\s/]+)`)
	rtmpLine = regexp.MustCompile(`(?m)^hawser: rtmp on rtmp://([^\s/]+)`)
)

// serve starts `hawser serve` on ports that the system chooses; at the end of the test it must still answer, and stop by itself when asked.
func serve(t *testing.T, args ...string) *server {
	t.Helper()
	return startServer(t, append([]string{"serve", "--http", "127.0.0.1:0", "--rtmp", "127.0.0.1:0", "--rtc", ""}, args...)...)
}

func startServer(t *testing.T, args ...string) *server {
	t.Helper()
	return startServerOn(t, nil, args...)
}

// startServerOn starts it on a host of a lab's network.
func startServerOn(t *testing.T, host *lab.Host, args ...string) *server {
	t.Helper()
	s := &server{program: startOn(t, host, executable, args...), host: host}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	for pattern, addr := range map[*regexp.Regexp]*string{httpLine: &s.http, rtmpLine: &s.rtmp} {
		m, err := s.out.await(ctx, pattern)
		if err != nil {
			t.Fatalf("hawser %s: %v\n%s", strings.Join(args, " "), err, s.out)
		}
		*addr = strings.Replace(m[1], "localhost", "127.0.0.1", 1) // for those that dial from its host
	}
	s.healthy()
	t.Cleanup(s.stop)
	return s
}

// stop checks that the server has survived the test and stops when it is asked to.
func (s *server) stop() {
	s.healthy()
	s.cmd.Process.Signal(syscall.SIGTERM)
	if err := s.waitErr(stopTimeout); err != nil {
		s.t.Errorf("stop: %v\n%s", err, s.out)
	}
	if bad := regexp.MustCompile(`(?m)^(panic:|fatal error:|WARNING: DATA RACE).*`).FindString(s.out.String()); bad != "" {
		s.t.Errorf("the server said: %s\n%s", bad, s.out)
	}
	if s.t.Failed() {
		s.t.Logf("the server printed:\n%s", s.out)
	}
}

// in is the server for a subtest: what goes wrong there fails the subtest.
func (s *server) in(t *testing.T) *server {
	p := *s.program
	p.t = t
	return &server{program: &p, http: s.http, rtmp: s.rtmp, host: s.host}
}

func (s *server) healthy() {
	s.t.Helper()
	if body, err := s.get("/healthz"); err != nil || !strings.HasPrefix(string(body), "ok") {
		s.t.Errorf("GET /healthz: %q, %v", body, err)
	}
}

func (s *server) rtmpURL(path string) string { return "rtmp://" + s.rtmp + path }
func (s *server) httpURL(path string) string { return "http://" + s.http + path }
func (s *server) flvURL(path string) string  { return s.httpURL(path + ".flv") }
func (s *server) sessionURL() string         { return "ws://" + s.http + "/session" }

func (s *server) get(path string) ([]byte, error) {
	client := http.Client{Timeout: startTimeout}
	if s.host != nil {
		client.Transport = &http.Transport{DialContext: s.host.Dial, DisableKeepAlives: true}
	}
	r, err := client.Get(s.httpURL(path))
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", path, r.Status)
	}
	return body, err
}

// event is a line of the server's event log.
type event struct {
	Seq                                                      uint64
	Time                                                     time.Time
	Kind, Conn, Protocol, Remote, Path, State, Light, Detail string
	Reason                                                   struct{ Word, Text string }
}

func (s *server) events() (list []event) {
	s.t.Helper()
	body, err := s.get("/api/v1/events")
	if err != nil {
		s.t.Fatal(err)
	}
	lines := bufio.NewReader(bytes.NewReader(body))
	for d := json.NewDecoder(lines); ; {
		var e event
		if err := d.Decode(&e); err == io.EOF {
			return list
		} else if err != nil {
			s.t.Fatalf("events: %v", err)
		}
		list = append(list, e)
	}
}

// awaitEvent waits until the log has an event that is wanted.
func (s *server) awaitEvent(what string, wanted func(event) bool) event {
	s.t.Helper()
	var list []event
	for deadline := time.Now().Add(eventTimeout); time.Now().Before(deadline); time.Sleep(pollInterval) {
		list = s.events()
		if i := slices.IndexFunc(list, wanted); i >= 0 {
			return list[i]
		}
	}
	for _, e := range list {
		s.t.Logf("%+v", e)
	}
	s.t.Fatalf("no event in %v: %s", eventTimeout, what)
	return event{}
}

// awaitClose waits for the end of the connection that came from a local address, and returns its event.
func (s *server) awaitClose(remote string) event {
	s.t.Helper()
	open := s.awaitEvent("open from "+remote, func(e event) bool { return e.Kind == "open" && e.Remote == remote })
	return s.awaitEvent("close of "+open.Conn, func(e event) bool { return e.Kind == "close" && e.Conn == open.Conn })
}

// liveStream is what GET /api/v1/streams says of one.
type liveStream struct {
	Path, Status  string
	Viewers       int
	Frames, Bytes uint64
	Held          int64
}

func (s *server) stream(path string) (liveStream, bool) {
	s.t.Helper()
	body, err := s.get("/api/v1/streams")
	if err != nil {
		s.t.Fatal(err)
	}
	var list []liveStream
	if err := json.Unmarshal(body, &list); err != nil {
		s.t.Fatalf("streams: %v in %s", err, body)
	}
	i := slices.IndexFunc(list, func(l liveStream) bool { return l.Path == path })
	if i < 0 {
		return liveStream{}, false
	}
	return list[i], true
}

// awaitStream waits until a stream is as wanted.
func (s *server) awaitStream(path, what string, wanted func(liveStream) bool) {
	s.t.Helper()
	var last liveStream
	for deadline := time.Now().Add(eventTimeout); time.Now().Before(deadline); time.Sleep(pollInterval) {
		if l, ok := s.stream(path); ok {
			if last = l; wanted(l) {
				return
			}
		}
	}
	s.t.Fatalf("%s is not %s after %v: %+v\n%s", path, what, eventTimeout, last, s.out)
}

func (s *server) awaitLive(path string) {
	s.t.Helper()
	s.awaitStream(path, "live", func(l liveStream) bool { return l.Status == "live" && l.Frames > 0 })
}

// memory is the server's resident memory in bytes.
func (s *server) memory() int64 {
	s.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		s.t.Skipf("no /proc: %v", err)
	}
	m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(b)
	if m == nil {
		s.t.Fatalf("no VmRSS in %s", b)
	}
	var kb int64
	fmt.Sscan(string(m[1]), &kb)
	return kb << 10
}
