package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"syscall"
	"time"
)

const (
	// mostLatency is the latency p99 up to which a number of viewers counts as held in real time.
	mostLatency = 500 * time.Millisecond
	// mostReceived is the part of the stream that they must receive.
	mostReceived = 0.98
	// mostTime is how long each number is tried.
	mostTime = 5 * time.Second
	// mostStep is how many more there are at each try.
	mostStep = 1.25
	// mostTogether is how many of them connect at once: one after the other they would take minutes, as a full server answers each between two rounds of writes.
	mostTogether = 32
)

// benchResult is what was measured of one program.
type benchResult struct {
	cpu              time.Duration // per viewer and second
	load             float64       // of one processor
	p50, p99         time.Duration
	first50, first99 time.Duration // from a viewer's connect to its first picture; 0: not known
	memory           int64         // per viewer, with garbage and free memory given back
	atOnce           int64         // likewise, before that
	bytes            float64       // per viewer and second
	lost             int64         // viewers that were disconnected
}

func (r benchResult) latency50() time.Duration { return r.p50 }
func (r benchResult) latency99() time.Duration { return r.p99 }

// hawserContender is this program's server with some flags.
func hawserContender(name, bare, protocol string, flags ...string) contender {
	open, udp, lines := reads(dialRTMP, aliveRTMP), "", 2
	switch protocol {
	case "session":
		open = reads(dialSession, aliveSession)
	case "webrtc":
		open, udp, lines = openWHEP, "127.0.0.1:0", 3
	}
	return contender{name: name, bare: bare, open: open, start: func(ctx context.Context, _ *benchOptions) (*child, string, string, error) {
		args := append([]string{"bench", "serve", "--http", "127.0.0.1:0", "--rtmp", "127.0.0.1:0", "--rtc", udp, "--rtc-tcp", "", "--stream-bytes", strconv.Itoa(benchHistory)}, flags...)
		p, found, err := startChild(ctx, regexp.MustCompile(`(?s)rtmp://(\S+).*http://(\S+)`), lines, args...)
		if err != nil {
			return nil, "", "", err
		}
		if protocol == "rtmp" {
			return p, found[1], found[1], nil
		}
		return p, found[2], found[1], nil
	}}
}

// bareContender is the loop that writes the messages to its sockets and does nothing else.
func bareContender(name string, dial func(context.Context, string) (net.Conn, error), flags ...string) contender {
	return contender{name: name, open: reads(dial, nil), start: func(ctx context.Context, o *benchOptions) (*child, string, string, error) {
		args := append([]string{"bench", "bare", "--kbps", strconv.Itoa(o.kbps), "--overhead", strconv.Itoa(o.overhead())}, flags...)
		p, found, err := startChild(ctx, regexp.MustCompile(`on (\S+)`), 1, args...)
		if err != nil {
			return nil, "", "", err
		}
		return p, found[1], "", nil
	}}
}

// overhead is what a session adds to each message beside RTMP: header, box and fragment.
func (o *benchOptions) overhead() int {
	if o.protocol == "session" {
		return sessionOverhead
	}
	return 0
}

// sessionOverhead is about how many bytes longer than an RTMP message a session's frame is: the WebSocket header, that of the media, and the boxes of the fragment.
const sessionOverhead = 138

// silent says that the stream has no sound: WebRTC does not carry AAC.
func (o *benchOptions) silent() bool { return o.protocol == "webrtc" }

// running is a program with its stream, if it is to be given one, and viewers.
type running struct {
	*child
	addr, publish string
	ctx           context.Context
	cancel        context.CancelFunc
	published     chan error
	v             viewers
}

// start starts a program and its publisher.
func (o *benchOptions) start(ctx context.Context, c contender) (*running, error) {
	r := &running{published: make(chan error, 1)}
	r.ctx, r.cancel = context.WithCancel(ctx)
	var err error
	if r.child, r.addr, r.publish, err = c.start(ctx, o); err != nil {
		r.cancel()
		return nil, err
	}
	if r.publish == "" {
		r.published <- nil
		return r, nil
	}
	go func() {
		r.published <- publishBench(r.ctx, r.publish, o.kbps, o.silent())
		r.cancel()
	}()
	return r, nil
}

// stop stops all of it and returns what became of the publisher.
func (r *running) stop() error {
	r.cancel()
	r.v.close()
	err := <-r.published
	r.child.stop()
	return err
}

// measure lets the viewers follow and looks at what that costs the program.
func (o *benchOptions) measure(ctx context.Context, c contender) (result benchResult, err error) {
	r, err := o.start(ctx, c)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(r.stop(), err) }()
	pause(r.ctx, time.Second)
	if r.publish != "" { // what the first viewer of a stream costs is no other's: wait until the history in its format grows no more
		if err := r.v.open(r.ctx, 1, 1, r.addr, c.open); err != nil {
			return result, err
		}
		pause(r.ctx, time.Second+time.Duration(float64(benchHistory)*8/1000/float64(o.kbps)*float64(time.Second)))
	}
	half := o.viewers / 2
	if o.protocol == "webrtc" { // what the handshakes of the first half held would be given back meanwhile
		half = 0
	}
	if err := r.v.open(r.ctx, half, 1, r.addr, c.open); err != nil {
		return result, err
	}
	pause(r.ctx, o.settle)
	_, before, err := r.memory()
	if err != nil {
		return result, err
	}
	if err := r.v.open(r.ctx, o.viewers-half, 1, r.addr, c.open); err != nil {
		return result, err
	}
	pause(r.ctx, o.settle)
	result, err = o.watch(r)
	if err != nil {
		return result, err
	}
	atOnce, rss, err := r.memory()
	more := int64(max(o.viewers-half, 1)) // of the second half where that can be: a program takes some for itself at its first
	result.memory, result.atOnce = (rss-before)/more, (atOnce-before)/more
	result.first50, result.first99 = r.v.firstPictures()
	if r.publish == "" {
		result.first50 = 0 // it begins anywhere
	}
	return result, errors.Join(err, r.ctx.Err())
}

// watch measures the viewers that there are.
func (o *benchOptions) watch(r *running) (result benchResult, err error) {
	cpu, err := processorTime(r.pid())
	if err != nil {
		return result, err
	}
	r.v.start()
	begin := time.Now()
	pause(r.ctx, o.duration)
	bytes, p50, p99 := r.v.stop()
	seconds := time.Since(begin).Seconds()
	after, err := processorTime(r.pid())
	if err != nil || r.ctx.Err() != nil {
		return result, errors.Join(err, r.ctx.Err())
	}
	n := float64(len(r.v.conns))
	return benchResult{cpu: time.Duration(float64(after-cpu) / n / seconds), load: (after - cpu).Seconds() / seconds, p50: p50, p99: p99,
		bytes: float64(bytes) / n / seconds, lost: r.v.failed.Load()}, nil
}

// findMost looks for the largest number of viewers that each program holds in real time.
func (o *benchOptions) findMost(ctx context.Context, w io.Writer, list []contender) error {
	o.duration = mostTime
	sent, _ := benchSize(o.kbps, o.silent())
	for _, c := range list {
		held, why, err := o.most1(ctx, c, float64(sent))
		if err != nil {
			return fmt.Errorf("bench: %s: %w", c.name, err)
		}
		fmt.Fprintf(w, "%s: %d viewers in real time; %s\n", c.name, held, why)
	}
	return nil
}

// most1 adds viewers until they are too many, and says what shows that.
func (o *benchOptions) most1(ctx context.Context, c contender, sent float64) (held int, why string, err error) {
	r, err := o.start(ctx, c)
	if err != nil {
		return 0, "", err
	}
	defer func() { err = errors.Join(r.stop(), err) }()
	pause(r.ctx, o.settle)
	for n := o.viewers; ; n = int(float64(n) * mostStep) {
		if err := r.v.open(r.ctx, n-len(r.v.conns), mostTogether, r.addr, c.open); err != nil {
			return held, fmt.Sprintf("no more with %d: %v", n, err), nil
		}
		pause(r.ctx, o.settle)
		own := ownTime()
		result, err := o.watch(r)
		if err != nil {
			return held, "", err
		}
		full := (ownTime() - own).Seconds() / o.duration.Seconds()
		if part := result.bytes / sent; part < mostReceived || result.p99 > mostLatency || result.lost > 0 {
			return held, fmt.Sprintf("%d received %.0f %% of the stream, latency p99 %.0f ms, %d lost, %.0f %% of its processor and %.0f %% of the viewers'",
				n, part*100, result.p99.Seconds()*1000, result.lost, result.load*100, full*100), nil
		}
		held = n
	}
}

// child is a program that is measured.
type child struct {
	cmd    *exec.Cmd
	dir    string         // to be removed when it has stopped; may be empty
	orders io.Writer      // see measured; nil for programs that are not ours
	said   *bufio.Scanner // what it prints
}

func (p *child) pid() int { return p.cmd.Process.Pid }

// startChild starts this binary on the first processor and reads lines until they match.
func startChild(ctx context.Context, ready *regexp.Regexp, lines int, args ...string) (*child, []string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	orders, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	p, err := startProgram(cmd)
	if err != nil {
		return nil, nil, err
	}
	scan := bufio.NewScanner(out)
	p.orders, p.said = orders, scan
	text := ""
	for range lines {
		if scan.Scan() {
			text += scan.Text() + "\n"
		}
	}
	if found := ready.FindStringSubmatch(text); found != nil {
		return p, found, nil
	}
	p.stop()
	return nil, nil, fmt.Errorf("%q did not say where it listens: %q", args, text)
}

// startProgram starts a program on the first processor.
func startProgram(cmd *exec.Cmd) (*child, error) {
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTime
	if err := startPinned(cmd, 0); err != nil {
		return nil, err
	}
	return &child{cmd: cmd}, nil
}

// memory is the resident memory of the program as it is, and when it has given back what it has no use for.
func (p *child) memory() (atOnce, least int64, err error) {
	if atOnce, err = resident(p.pid()); err != nil || p.orders == nil {
		return atOnce, atOnce, err
	}
	if _, err := io.WriteString(p.orders, orderFree+"\n"); err != nil {
		return 0, 0, err
	}
	if !p.said.Scan() {
		return 0, 0, errors.Join(errors.New("it does not give its memory back"), p.said.Err())
	}
	least, err = resident(p.pid())
	return atOnce, least, err
}

func (p *child) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.cmd.Wait()
	if p.dir != "" {
		os.RemoveAll(p.dir)
	}
}
