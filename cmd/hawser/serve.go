package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"hawser/auth"
	"hawser/console"
	"hawser/js"
	"hawser/record"
	"hawser/ring"
	"hawser/server"
	"hawser/stream"
)

// The addresses of the listeners, unless told otherwise.
const (
	defaultHTTPAddr = ":8080"
	defaultRTMPAddr = ":1935"
)

// servePercent is how much garbage may come to be for what is in use. A server makes little garbage and holds much: with half of Go's default the collector still takes less than a hundredth of
// its time, and a viewer a third less memory.
const servePercent = 50

// listeners are where a server listens.
type listeners struct {
	httpAddr, rtmpAddr string
	tls                tlsFlags
	certificate        *certificate // nil: nothing speaks TLS
	http, rtmp         net.Listener // of plain connections and those over TLS
	lines              []string     // what announce prints
}

// flags adds --http and --rtmp to a command.
func (l *listeners) flags(c *cobra.Command, httpAddr, rtmpAddr string) {
	c.Flags().StringVar(&l.httpAddr, "http", httpAddr, "address for sessions, HTTP-FLV, API and console; port 0 chooses one, empty is off")
	c.Flags().StringVar(&l.rtmpAddr, "rtmp", rtmpAddr, "address for RTMP; port 0 chooses one, empty is off")
}

// open opens the listeners, all or none.
func (l *listeners) open(ctx context.Context) error {
	var http, rtmp []net.Listener
	for _, at := range []struct {
		scheme, addr string
		secure       bool
		list         *[]net.Listener
		protocols    []string
	}{{"rtmp", l.rtmpAddr, false, &rtmp, nil}, {"rtmps", l.tls.rtmps, true, &rtmp, nil}, {"http", l.httpAddr, false, &http, nil}, {"https", l.tls.https, true, &http, []string{"http/1.1"}}} {
		if at.addr == "" {
			continue
		}
		var config net.ListenConfig
		one, err := config.Listen(ctx, "tcp", at.addr)
		if err != nil {
			for _, other := range append(http, rtmp...) {
				other.Close()
			}
			return fmt.Errorf("--%s %s: %w", at.scheme, at.addr, err)
		}
		l.lines = append(l.lines, fmt.Sprintf("hawser: %s on %s://%s\n", strings.TrimSuffix(at.scheme, "s"), at.scheme, reachable(one.Addr())))
		if at.secure {
			one = tlsListener{tls.NewListener(one, l.certificate.config(at.protocols...))}
		}
		*at.list = append(*at.list, one)
	}
	if len(http)+len(rtmp) == 0 {
		return errors.New("nothing to listen on: --http and --rtmp are both empty")
	}
	l.http, l.rtmp = join(http...), join(rtmp...)
	return nil
}

// announce prints one line a listener: what is ready is said with the port that it got.
func (l *listeners) announce(w io.Writer) { io.WriteString(w, strings.Join(l.lines, "")) }

// reachable is an address that a client on this machine can use.
func reachable(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return a.String()
	}
	return fmt.Sprintf("localhost:%d", tcp.Port)
}

// serveOptions are what `hawser serve` can be told.
type serveOptions struct {
	listeners
	streamBytes int64
	grace       time.Duration
	second      stream.Second
	gather      stream.Gather
	maxStart    int64
	origins     []string
	verbose     bool
	record      record.Options
	formats     []string // of record
	authFile    string
	auth        *auth.File // nil: everybody may do everything
	durable     []string
	dataDir     string
	hooks       hookFlags
	rtc         rtcFlags

	strictCodecs bool
}

// serveCommand makes `hawser serve`.
func serveCommand() *cobra.Command {
	var o serveOptions
	var options server.Options
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: `Run the server: RTMP and WebRTC in and out, sessions, HTTP-FLV, the API and the console.

Publish with ffmpeg -re -i FILE -c copy -f flv rtmp://HOST/live/cam1 or OBS; watch at http://HOST:8080/.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			err := o.prepare(&options)
			var wrong error
			o.certificate, wrong = o.tls.certificate()
			err = errors.Join(err, wrong)
			if o.authFile != "" {
				o.auth, wrong = auth.Open(o.authFile)
				err = errors.Join(err, wrong)
			}
			if err != nil {
				return fmt.Errorf("serve: %w", err)
			}
			if o.gather.Sound == 0 {
				o.gather.Sound = -1 // an option's zero is its default
			}
			if o.grace == 0 {
				o.grace = -1
			}
			s := newServer(&o, options)
			if err := errors.Join(s.Check(), o.keep(s)); err != nil {
				return fmt.Errorf("serve: %w", err)
			}
			if o.certificate != nil {
				o.certificate.log = s.Log()
			}
			if err := o.open(c.Context()); err != nil {
				return errors.Join(fmt.Errorf("serve: %w", err), s.Subjects().CloseStore())
			}
			if os.Getenv("GOGC") == "" {
				debug.SetGCPercent(servePercent)
			}
			if o.auth != nil {
				defer keepAuth(c.Context(), o.auth, s, c.ErrOrStderr())()
			} else {
				signal.Ignore(syscall.SIGHUP) // a reload of nothing, which must not end a server
			}
			announceRTC(c.OutOrStdout(), s)
			o.announce(c.OutOrStdout())
			return s.Serve(c.Context(), o.http, o.rtmp)
		},
	}
	o.flags(c, defaultHTTPAddr, defaultRTMPAddr)
	o.tls.add(c)
	c.Flags().Int64Var(&o.streamBytes, "stream-bytes", stream.DefaultBytes, "the most bytes of frames kept of one stream")
	c.Flags().DurationVar(&o.grace, "grace", stream.DefaultGrace, "how long a stream stays up without its publisher; 0 is not at all")
	c.Flags().TextVar(&o.second, "second-publisher", stream.SecondRefused, "what becomes of a publisher whose path has one: refuse; takeover, at its first keyframe; or standby, until the first goes")
	c.Flags().Int64Var(&o.maxStart, "max-start", 0, "the most bytes sent at once to a viewer that begins; in a longer group of pictures it begins with a still picture; 0 is no bound")
	c.Flags().DurationVar(&o.gather.All, "rtmp-gather", 0, "how long media wait for more of it on the way to RTMP and HTTP-FLV viewers: fewer writes for so much latency")
	c.Flags().DurationVar(&o.gather.Sound, "rtmp-gather-sound", server.DefaultGatherSound, "how long sound alone may wait there for the next picture; 0 is not at all")
	c.Flags().BoolVar(&o.strictCodecs, "strict-codecs", false, "leave out, for RTMP players that have said nothing of codecs, what plain RTMP has no form for (HEVC, AV1, Opus, ...), and tell them; ffmpeg from 6.1 on reads that and does not say so")
	c.Flags().StringSliceVar(&o.origins, "origin", nil, "an origin on another host whose pages may open sessions and publish, such as https://example.org; * allows all")
	o.recordFlags(c)
	c.Flags().StringVar(&o.authFile, "auth", "", "a file of users, keys, roles and rules; read again when it changes, and at SIGHUP; without it everybody may do everything")
	addLimits(c, &options)
	o.hooks.add(c)
	o.rtc.add(c)
	c.Flags().BoolVar(&o.verbose, "verbose", false, "log what goes wrong inside")
	c.Flags().StringArrayVar(&o.durable, "durable", nil, "a path whose history is on disk before a publish is acknowledged; * stands for one segment, /** at the end for all below; may be given again")
	c.Flags().StringVar(&o.dataDir, "data-dir", "", "the folder for what --durable keeps; it belongs to one server at a time")
	return c
}

// recordFlags adds what is recorded.
func (o *serveOptions) recordFlags(c *cobra.Command) {
	c.Flags().StringVar(&o.record.Dir, "record-dir", "", "the folder of recordings, made if it is not there; empty records nothing")
	c.Flags().StringArrayVar(&o.record.Patterns, "record", nil, "paths of streams that are always recorded, such as /live/* or /**; may be given more than once; the others are when their publisher asks")
	c.Flags().StringSliceVar(&o.formats, "record-format", []string{"flv"}, "the formats of recordings: flv, fmp4 or both")
	c.Flags().DurationVar(&o.record.Segment, "record-segment", 0, "begin a new file when one is as long; 0 is off")
	c.Flags().Int64Var(&o.record.Size, "record-size", 0, "begin a new file when one has as many bytes; 0 is off")
	c.Flags().StringVar(&o.record.Name, "record-name", record.DefaultName, "the names of recordings in the folder")
}

// prepareRecord makes the folder. Only now: one that vanishes later is a disk that was taken out.
func (o *serveOptions) prepareRecord() error {
	if o.record.Dir == "" {
		if len(o.record.Patterns) > 0 {
			return errors.New("--record wants --record-dir")
		}
		return nil
	}
	if err := os.MkdirAll(o.record.Dir, 0o755); err != nil {
		return fmt.Errorf("--record-dir: %w", err)
	}
	return nil
}

// keep opens the folder of what is durable.
func (o *serveOptions) keep(s *server.Server) error {
	if o.dataDir == "" {
		return nil
	}
	return s.KeepDurable(server.Durable{Dir: o.dataDir, Paths: o.durable})
}

// newServer makes a server with the console; what is in options already stays.
func newServer(o *serveOptions, options server.Options) *server.Server {
	options.Logger = slog.New(slog.DiscardHandler)
	if o.verbose {
		options.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	options.Gather, options.Record, options.Origins, options.StrictCodecs = o.gather, o.record, o.origins, o.strictCodecs
	options.Console, options.ConsolePolicy, options.JS = console.Files, console.Policy, js.Files
	options.Streams = stream.Options{Limits: ring.Limits{Bytes: o.streamBytes}, Grace: o.grace, Second: o.second, MaxStart: o.maxStart}
	if o.auth != nil {
		options.Auth = o.auth
	}
	return server.New(options)
}
