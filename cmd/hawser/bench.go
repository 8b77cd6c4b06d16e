package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

const (
	// benchPath is where the benchmark publishes.
	benchPath = "/live/bench"
	// settleTime is how long the viewers run before a measurement.
	settleTime = 3 * time.Second
	// stopTime is how long a program that was measured may take to stop.
	stopTime = 5 * time.Second
)

type benchOptions struct {
	protocol string
	viewers  int
	kbps     int
	duration time.Duration
}

// benchCommand makes `hawser bench`.
func benchCommand() *cobra.Command {
	var o benchOptions
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure what viewers cost, beside a bare loop of writes",
		Long: `Publish one stream to a server of its own and let many viewers follow it; then let a bare loop write the same amount
of bytes, message by message, to as many sockets. The server, and then the bare loop, has one processor for itself; the
publisher and the viewers have another. Nothing else should run on the machine.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c.Context(), c.OutOrStdout()) },
	}
	c.Flags().StringVar(&o.protocol, "protocol", "rtmp", "rtmp or session")
	c.Flags().IntVar(&o.viewers, "viewers", 500, "how many viewers")
	c.Flags().IntVar(&o.kbps, "kbps", 2500, "bits per second of the stream, in thousands")
	c.Flags().DurationVar(&o.duration, "duration", 10*time.Second, "how long to measure")
	c.AddCommand(bareCommand())
	return c
}

// benchResult is what was measured of one program.
type benchResult struct {
	name     string
	cpu      time.Duration // per viewer and second
	load     float64       // of one processor
	p50, p99 time.Duration
	memory   int64   // per viewer
	bytes    float64 // per viewer and second
	lost     int64   // viewers that were disconnected
}

func (o *benchOptions) run(ctx context.Context, w io.Writer) error {
	open := map[string]opener{"rtmp": openRTMP, "session": openSession}[o.protocol]
	if open == nil {
		return fmt.Errorf("bench: protocol %q: want rtmp or session", o.protocol)
	}
	if err := pinSelf(min(1, runtime.NumCPU()-1)); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	served, err := o.measureServer(ctx, open)
	if err != nil {
		return fmt.Errorf("bench: server: %w", err)
	}
	// The loop adds to each message what the protocol adds to it, so that both write as many bytes.
	stream := newBenchStream(o.kbps)
	sent, messages := 0, 0
	for m, due := stream.next(); due < 10*time.Second; m, due = stream.next() {
		sent += len(m.Payload) + 12
		messages++
	}
	overhead := max(0, int(served.bytes*10-float64(sent))/messages)
	bare, err := o.measureBare(ctx, overhead)
	if err != nil {
		return fmt.Errorf("bench: bare loop: %w", err)
	}
	return o.report(w, served, bare, messages/10)
}

func (o *benchOptions) measureServer(ctx context.Context, open opener) (r benchResult, err error) {
	p, found, err := startChild(ctx, regexp.MustCompile(`(?s)rtmp://(\S+).*http://(\S+)`), 2, "serve", "--http", "127.0.0.1:0", "--rtmp", "127.0.0.1:0")
	if err != nil {
		return r, err
	}
	defer p.stop()
	ctx, cancel := context.WithCancel(ctx)
	published := make(chan error, 1)
	go func() {
		published <- publishBench(ctx, found[1], o.kbps)
		cancel()
	}()
	addr := found[1]
	if o.protocol == "session" {
		addr = found[2]
	}
	r, err = o.measure(ctx, p, addr, open)
	r.name = "hawser " + o.protocol
	cancel()
	return r, errors.Join(<-published, err)
}

func (o *benchOptions) measureBare(ctx context.Context, overhead int) (r benchResult, err error) {
	p, found, err := startChild(ctx, regexp.MustCompile(`on (\S+)`), 1, "bench", "bare", "--kbps", strconv.Itoa(o.kbps), "--overhead", strconv.Itoa(overhead))
	if err != nil {
		return r, err
	}
	defer p.stop()
	r, err = o.measure(ctx, p, found[1], openBare)
	r.name = "bare loop"
	return r, err
}

// measure lets the viewers follow and looks at what that costs the program.
func (o *benchOptions) measure(ctx context.Context, p *child, addr string, open opener) (r benchResult, err error) {
	pause(ctx, time.Second)
	_, before, err := usage(p.cmd.Process.Pid)
	if err != nil {
		return r, err
	}
	var v viewers
	defer v.close()
	if err := v.open(ctx, o.viewers, addr, open); err != nil {
		return r, err
	}
	pause(ctx, time.Second)
	_, rss, err := usage(p.cmd.Process.Pid) // soon: the stream's own history grows too
	if err != nil {
		return r, err
	}
	pause(ctx, settleTime)
	cpu, _, _ := usage(p.cmd.Process.Pid)
	v.start()
	begin := time.Now()
	pause(ctx, o.duration)
	bytes, p50, p99 := v.stop()
	seconds := time.Since(begin).Seconds()
	after, _, err := usage(p.cmd.Process.Pid)
	if err != nil || ctx.Err() != nil {
		return r, errors.Join(err, ctx.Err())
	}
	n := float64(o.viewers)
	return benchResult{cpu: time.Duration(float64(after-cpu) / n / seconds), load: (after - cpu).Seconds() / seconds, p50: p50, p99: p99,
		memory: (rss - before) / int64(o.viewers), bytes: float64(bytes) / n / seconds, lost: v.failed.Load()}, nil
}

func (o *benchOptions) report(w io.Writer, served, bare benchResult, rate int) error {
	fmt.Fprintf(w, "%d %s viewers of one stream of %d kbit/s (%d messages a second), %v; %s\n\n", o.viewers, o.protocol, o.kbps, rate, o.duration, machine())
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tCPU per viewer and second\tof a processor\tlatency p50\tp99\tmemory per viewer\treceived per viewer\tlost\t")
	for _, r := range []benchResult{served, bare} {
		fmt.Fprintf(t, "%s\t%d µs\t%.0f %%\t%.1f ms\t%.1f ms\t%.1f KB\t%.0f kbit/s\t%d\t\n", r.name, r.cpu.Microseconds(), r.load*100,
			r.p50.Seconds()*1000, r.p99.Seconds()*1000, float64(r.memory)/1024, r.bytes*8/1000, r.lost)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\nratio to the bare loop: %.2f\n", float64(served.cpu)/float64(bare.cpu))
	return err
}

// machine names the machine as far as it matters here.
func machine() string {
	return fmt.Sprintf("%s/%s, %d processors, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// child is a program of this binary that is measured.
type child struct{ cmd *exec.Cmd }

// startChild starts this binary on the first processor and reads lines until they match.
func startChild(ctx context.Context, ready *regexp.Regexp, lines int, args ...string) (*child, []string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTime
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := startPinned(cmd, 0); err != nil {
		return nil, nil, err
	}
	scan := bufio.NewScanner(out)
	text := ""
	for range lines {
		if scan.Scan() {
			text += scan.Text() + "\n"
		}
	}
	p := &child{cmd: cmd}
	if found := ready.FindStringSubmatch(text); found != nil {
		return p, found, nil
	}
	p.stop()
	return nil, nil, fmt.Errorf("%q did not say where it listens: %q", args, text)
}

func (p *child) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.cmd.Wait()
}
