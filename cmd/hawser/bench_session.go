package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"runtime"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// sessionBench is what `hawser bench data` is told.
type sessionBench struct {
	shape    string
	clients  int
	flight   int
	rate     int
	subjects int
	each     int
	duration time.Duration
}

// sessionBenchCommand makes `hawser bench data`.
func sessionBenchCommand() *cobra.Command {
	var o sessionBench
	c := &cobra.Command{
		Use:   "data",
		Short: "Measure what sessions that follow data cost, beside a bare loop of writes",
		Long: `Let many sessions follow data of a server of its own, which has one processor for itself; what publishes and follows has another.
Shapes: fanout, one subject that all follow, with so many messages in flight; market, many subjects of which each client follows some, at a steady rate;
idle, the memory of a client that follows one subject; storm, the server is killed, started again, and all clients come back with their positions.
The bare loop writes the same messages with one write each; "gathering" is the same loop that collects for a millisecond. The clients' reader spins, so that no server pays for waking it.`,
		Args:    cobra.NoArgs,
		PreRunE: checkPositive,
		RunE:    func(c *cobra.Command, _ []string) error { return o.run(c.Context(), c.OutOrStdout()) },
	}
	c.Flags().StringVar(&o.shape, "shape", "fanout", "fanout, market, idle or storm")
	c.Flags().IntVar(&o.clients, "clients", 1000, "how many sessions")
	c.Flags().IntVar(&o.flight, "flight", 1, "fanout: how many messages may be on the way")
	c.Flags().IntVar(&o.rate, "rate", 2000, "market: updates a second")
	c.Flags().IntVar(&o.subjects, "subjects", 1000, "market: how many subjects there are")
	c.Flags().IntVar(&o.each, "each", 50, "market: how many each client follows")
	c.Flags().DurationVar(&o.duration, "duration", 5*time.Second, "how long to measure")
	c.AddCommand(measured(sessionBareCommand()))
	return c
}

// sessionResult is what was measured of one program.
type sessionResult struct {
	rate     float64 // deliveries a second
	load     float64 // of a processor
	p50, p99 time.Duration
	memory   int64 // per client
}

// dataServer is what is measured: a server of sessions, or a bare loop.
type dataServer struct {
	name  string
	lines int
	ready *regexp.Regexp
	args  []string
	bare  bool
}

func dataServers() []dataServer {
	bare := regexp.MustCompile(`on (\S+)`)
	return []dataServer{
		{name: "hawser", lines: 1, ready: regexp.MustCompile(`http://(\S+)`), args: []string{"bench", "serve", "--http", "127.0.0.1:0", "--rtmp", "", "--rtc", ""}},
		{name: "bare loop", lines: 1, ready: bare, args: []string{"bench", "data", "bare"}, bare: true},
		{name: "bare loop, gathering", lines: 1, ready: bare, args: []string{"bench", "data", "bare", "--gather", "1ms"}, bare: true},
	}
}

func (o *sessionBench) run(ctx context.Context, w io.Writer) error {
	measure := map[string]func(context.Context, *dataServer, *child, string) (sessionResult, error){"fanout": o.fanout, "market": o.market, "idle": o.idle}[o.shape]
	switch {
	case o.shape == "storm":
	case measure == nil:
		return fmt.Errorf("bench data: shape %q: want fanout, market, idle or storm", o.shape)
	}
	if err := pinSelf(min(1, runtime.NumCPU()-1)); err != nil {
		return fmt.Errorf("bench data: %w", err)
	}
	if o.shape == "storm" {
		return o.storm(ctx, w)
	}
	fmt.Fprintf(w, "%s: %d clients, 128 bytes; %s; %v; %s\n\n", o.shape, o.clients, o.about(), o.duration, machine())
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tdeliveries a second\tof a processor\tlatency p50\tp99\tmemory per client\t")
	for _, s := range dataServers() {
		r, err := o.one(ctx, &s, measure)
		if err != nil {
			return fmt.Errorf("bench data: %s: %w", s.name, err)
		}
		fmt.Fprintf(t, "%s\t%.0f\t%.0f %%\t%.2f ms\t%.2f ms\t%.1f KB\t\n", s.name, r.rate, r.load*100, r.p50.Seconds()*1000, r.p99.Seconds()*1000, float64(r.memory)/1024)
	}
	return t.Flush()
}

func (o *sessionBench) about() string {
	switch o.shape {
	case "fanout":
		return fmt.Sprintf("%d in flight", o.flight)
	case "market":
		return fmt.Sprintf("%d of %d subjects each, %d updates a second", o.each, o.subjects, o.rate)
	}
	return "nothing is published"
}

func (o *sessionBench) one(ctx context.Context, s *dataServer, measure func(context.Context, *dataServer, *child, string) (sessionResult, error)) (sessionResult, error) {
	p, found, err := startChild(ctx, s.ready, s.lines, s.args...)
	if err != nil {
		return sessionResult{}, err
	}
	defer p.stop()
	return measure(ctx, s, p, found[1])
}

// load opens the clients, and returns how much memory each takes.
func (o *sessionBench) load(ctx context.Context, s *dataServer, p *child, addr string, follows func(i int) []int) (*dataLoad, int64, error) {
	_, before, err := p.memory()
	if err != nil {
		return nil, 0, err
	}
	l, err := newDataLoad(s.bare)
	if err != nil {
		return nil, 0, err
	}
	for i := range o.clients {
		var from *place
		if o.shape == "storm" {
			from = new(place)
		}
		if err := l.open(addr, follows(i), from); err != nil {
			l.close()
			return nil, 0, err
		}
	}
	if err := l.await(ctx, func() bool { return l.ready.Load() >= int64(o.clients) }); err != nil {
		l.close()
		return nil, 0, errors.Join(err, fmt.Errorf("%d of %d clients are there", l.ready.Load(), o.clients))
	}
	pause(ctx, 500*time.Millisecond)
	_, rss, err := p.memory()
	return l, (rss - before) / int64(o.clients), err
}

func onlyFirst(int) []int { return []int{0} }

func (o *sessionBench) idle(ctx context.Context, s *dataServer, p *child, addr string) (r sessionResult, err error) {
	l, memory, err := o.load(ctx, s, p, addr, onlyFirst)
	if err != nil {
		return r, err
	}
	defer l.close()
	return sessionResult{memory: memory}, nil
}

// fanout publishes as fast as deliveries allow.
func (o *sessionBench) fanout(ctx context.Context, s *dataServer, p *child, addr string) (r sessionResult, err error) {
	l, memory, err := o.load(ctx, s, p, addr, onlyFirst)
	if err != nil {
		return r, err
	}
	defer l.close()
	pub, err := l.publisher(addr)
	if err != nil {
		return r, err
	}
	sent, base := int64(0), l.delivered.Load()
	r, err = o.watch(ctx, l, p, func() error {
		for done := (l.delivered.Load() - base) / int64(o.clients); sent < done+int64(o.flight); sent++ {
			pub.publish(0)
		}
		return pub.flush()
	})
	r.memory = memory
	return r, err
}

// market publishes at a steady rate, each millisecond what is due. Who follows what, and what is published, is drawn, but the same each time.
func (o *sessionBench) market(ctx context.Context, s *dataServer, p *child, addr string) (r sessionResult, err error) {
	draw := rand.New(rand.NewPCG(1, 2))
	l, memory, err := o.load(ctx, s, p, addr, func(int) []int { return draw.Perm(o.subjects)[:o.each] })
	if err != nil {
		return r, err
	}
	defer l.close()
	pub, err := l.publisher(addr)
	if err != nil {
		return r, err
	}
	sent, begin, last := 0, time.Now(), time.Duration(0)
	r, err = o.watch(ctx, l, p, func() error {
		now := time.Since(begin)
		if now-last < time.Millisecond {
			return nil
		}
		for due := int(now.Seconds() * float64(o.rate)); sent < due && !pub.full(); sent++ {
			pub.publish(draw.IntN(o.subjects))
		}
		last = now
		return pub.flush()
	})
	r.memory = memory
	return r, err
}

// watch measures while the loop of the clients publishes; the first fifth does not count.
func (o *sessionBench) watch(ctx context.Context, l *dataLoad, p *child, publish func() error) (r sessionResult, err error) {
	l.spin.Store(true)
	l.set(publish)
	pause(ctx, o.duration/5)
	cpu, err := processorTime(p.cmd.Process.Pid)
	l.begin()
	begin, from := time.Now(), l.delivered.Load()
	pause(ctx, o.duration)
	after, _ := processorTime(p.cmd.Process.Pid)
	seconds := time.Since(begin).Seconds()
	n := l.delivered.Load() - from
	r.p50, r.p99 = l.latency()
	r.rate, r.load = float64(n)/seconds, (after-cpu).Seconds()/seconds
	l.set(nil)
	return r, errors.Join(err, l.failure())
}
