package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

const (
	// benchPath is where the benchmark publishes.
	benchPath = "/live/bench"
	// benchGather is the gathering time that is measured beside none.
	benchGather = 40 * time.Millisecond
	// benchHistory is how many bytes of the stream a server of the benchmark keeps; its memory is looked at when it holds as much.
	benchHistory = 2 << 20
	// settleTime is benchOptions.settle of the command.
	settleTime = 3 * time.Second
	// stopTime is how long a program that was measured may take to stop.
	stopTime = 5 * time.Second
)

type benchOptions struct {
	protocol string
	viewers  int
	kbps     int
	duration time.Duration
	runs     int
	only     []string
	most     bool
	settle   time.Duration // how long the viewers run before a measurement
}

// benchCommand makes `hawser bench`.
func benchCommand() *cobra.Command {
	o := benchOptions{settle: settleTime}
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure what viewers cost, beside bare loops of writes and other servers",
		Long: `Publish one stream to a server of its own and let many viewers follow it; then let a bare loop write the same amount
of bytes to as many sockets. For RTMP that is done with every message written by itself, with sound that waits for the
next picture (the server's default), and with all waiting for 40 ms; and with nginx and its rtmp module, and lal
(a program lalserver in PATH), if they are installed. The server, and then each of the others, has one processor for itself; the publisher and the viewers have
another. For WebRTC the stream has no sound, the viewers are whole WHEP clients, and the bare loop sends the packets of each picture in as few calls as UDP's
segmentation allows, not encrypted. Nothing else should run on the machine.`,
		Args:    cobra.NoArgs,
		PreRunE: checkPositive,
		RunE:    func(c *cobra.Command, _ []string) error { return o.run(c.Context(), c.OutOrStdout()) },
	}
	c.Flags().StringVar(&o.protocol, "protocol", "rtmp", "rtmp, session or webrtc")
	c.Flags().IntVar(&o.viewers, "viewers", 500, "how many viewers")
	c.Flags().IntVar(&o.kbps, "kbps", 2500, "bits per second of the stream, in thousands")
	c.Flags().DurationVar(&o.duration, "duration", 10*time.Second, "how long to measure")
	c.Flags().IntVar(&o.runs, "runs", 1, "how often to measure each; the medians are shown")
	c.Flags().StringSliceVar(&o.only, "only", nil, "measure only those whose names begin with one of these, such as nginx")
	c.Flags().BoolVar(&o.most, "most", false, "find the largest number of viewers that one processor holds in real time, beginning with --viewers")
	c.AddCommand(measured(bareCommand()), measured(serveCommand()), sessionBenchCommand())
	return c
}

// contender is a program that is measured.
type contender struct {
	name string
	bare string // the bare loop that gathers as it does
	open opener
	// start starts it; publish is where the stream is to be published, empty if it makes one itself.
	start func(ctx context.Context, o *benchOptions) (p *child, addr, publish string, err error)
}

// contenders are those of a protocol, each bare loop after a server whose overhead it is to have.
func (o *benchOptions) contenders() ([]contender, error) {
	var list []contender
	switch o.protocol {
	case "session":
		list = []contender{hawserContender("hawser", "bare", "session"), bareContender("bare", dialBare)}
	case "webrtc":
		list = []contender{hawserContender("hawser", "bare", "webrtc"), bareContender("bare", dialUDP, "--udp")}
	case "rtmp":
		sound, all := benchGather.String(), benchGather.String()
		list = []contender{
			hawserContender("hawser", "bare", "rtmp", "--rtmp-gather-sound", "0"), bareContender("bare", dialBare),
			hawserContender("hawser-sound", "bare-sound", "rtmp", "--rtmp-gather-sound", sound), bareContender("bare-sound", dialBare, "--gather-sound", sound),
			hawserContender("hawser-40ms", "bare-40ms", "rtmp", "--rtmp-gather", all), bareContender("bare-40ms", dialBare, "--gather", all),
		}
		for _, peer := range []func() (contender, bool){nginxContender, lalContender} {
			if c, ok := peer(); ok {
				list = append(list, c)
			}
		}
	default:
		return nil, fmt.Errorf("bench: protocol %q: want rtmp, session or webrtc", o.protocol)
	}
	if len(o.only) == 0 {
		return list, nil
	}
	list = slices.DeleteFunc(list, func(c contender) bool {
		return !slices.ContainsFunc(o.only, func(name string) bool { return strings.HasPrefix(c.name, name) })
	})
	if len(list) == 0 {
		return nil, fmt.Errorf("bench: nothing installed has a name that begins with one of %q", o.only)
	}
	return list, nil
}

func (o *benchOptions) run(ctx context.Context, w io.Writer) error {
	list, err := o.contenders()
	if err != nil {
		return err
	}
	if err := pinSelf(min(1, runtime.NumCPU()-1)); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	if o.most {
		return o.findMost(ctx, w, list)
	}
	results := make([][]benchResult, len(list))
	for range max(o.runs, 1) {
		for i, c := range list {
			r, err := o.measure(ctx, c)
			if err != nil {
				return fmt.Errorf("bench: %s: %w", c.name, err)
			}
			results[i] = append(results[i], r)
		}
	}
	return o.report(w, list, results)
}

// report shows the medians. The ratio is taken within each run.
func (o *benchOptions) report(w io.Writer, list []contender, results [][]benchResult) error {
	_, rate := benchSize(o.kbps, o.silent())
	fmt.Fprintf(w, "%d %s viewers of one stream of %d kbit/s (%d messages a second), %d x %v; %s\n\n", o.viewers, o.protocol, o.kbps, rate, max(o.runs, 1), o.duration, machine())
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tCPU per viewer and second\tx bare\tof a processor\tlatency p50\tp99\tadded p50\tp99\tfirst picture p50\tp99\tmemory per viewer\tbefore it is given back\treceived\tlost\t")
	plain := slices.IndexFunc(list, func(c contender) bool { return c.name == "bare" })
	for i, c := range list {
		row := results[i]
		of := func(f func(benchResult) float64) float64 { return median(row, f) }
		millis := func(f func(benchResult) time.Duration) string {
			return fmt.Sprintf("%.1f ms", of(func(r benchResult) float64 { return f(r).Seconds() * 1000 }))
		}
		ratio, added, added99, first, first99 := "", "", "", "", ""
		if bare := slices.IndexFunc(list, func(b contender) bool { return b.name == c.bare }); bare >= 0 {
			ratio = ratios(row, results[bare])
		}
		if plain >= 0 {
			base := func(f func(benchResult) time.Duration) string {
				return fmt.Sprintf("%.1f ms", 1000*(of(func(r benchResult) float64 { return f(r).Seconds() })-median(results[plain], func(r benchResult) float64 { return f(r).Seconds() })))
			}
			added, added99 = base(benchResult.latency50), base(benchResult.latency99)
		}
		if row[0].first50 > 0 {
			first, first99 = millis(func(r benchResult) time.Duration { return r.first50 }), millis(func(r benchResult) time.Duration { return r.first99 })
		}
		fmt.Fprintf(t, "%s\t%.0f µs\t%s\t%.0f %%\t%s\t%s\t%s\t%s\t%s\t%s\t%.1f KB\t%.1f KB\t%.0f kbit/s\t%.0f\t\n", c.name,
			of(func(r benchResult) float64 { return float64(r.cpu.Microseconds()) }), ratio, of(func(r benchResult) float64 { return r.load * 100 }),
			millis(benchResult.latency50), millis(benchResult.latency99), added, added99, first, first99,
			of(func(r benchResult) float64 { return float64(r.memory) / 1024 }), of(func(r benchResult) float64 { return float64(r.atOnce) / 1024 }), of(func(r benchResult) float64 { return r.bytes * 8 / 1000 }), of(func(r benchResult) float64 { return float64(r.lost) }))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, `
Added latency is beside the bare loop that writes each message at once. Where the viewers' processor is full, the latencies are its own.
Memory is by how much the second half of the viewers (all of them over WebRTC) lets the process's resident memory grow, when garbage is collected and free memory given back, and at once before
that; the system's buffers of their sockets are not in it. nginx and lal cannot be told to give anything back.`)
	return err
}

// ratios is the median of the ratios of two programs' processor times, run by run, with the least and the greatest.
func ratios(rows, bare []benchResult) string {
	var list []float64
	for i := range min(len(rows), len(bare)) {
		list = append(list, float64(rows[i].cpu)/float64(bare[i].cpu))
	}
	slices.Sort(list)
	if len(list) == 1 {
		return fmt.Sprintf("%.2f", list[0])
	}
	return fmt.Sprintf("%.2f (%.2f to %.2f)", list[len(list)/2], list[0], list[len(list)-1])
}

func median(rows []benchResult, f func(benchResult) float64) float64 {
	list := make([]float64, len(rows))
	for i, r := range rows {
		list[i] = f(r)
	}
	slices.Sort(list)
	return list[len(list)/2]
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
