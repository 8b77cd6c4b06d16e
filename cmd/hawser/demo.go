package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"hawser/flv"
	"hawser/lifecycle"
	"hawser/media"
	"hawser/server"
	"hawser/stream"
	"hawser/subject"
)

// sample is the clip that the demo publishes; sample/README.md says what is in it.
//
//go:embed sample/sample.flv
var sample []byte

const (
	// demoPath is where the demo publishes.
	demoPath = "/live/demo"
	// The demo is for this machine only, unless told otherwise.
	demoHTTPAddr = "127.0.0.1:8080"
	demoRTMPAddr = "127.0.0.1:1935"
	// demoTaken is what is said when a port is not to be had.
	demoTaken = "demo: %w (is another server running? --http 127.0.0.1:0 --rtmp 127.0.0.1:0 --rtc :0 chooses free ports)"
	// The mark of the sample clip runs round once in that many frames, of which there are so many in a second.
	sampleRound = 60
	sampleRate  = 30
)

// demoCommand makes `hawser demo`.
func demoCommand() *cobra.Command {
	var o serveOptions
	c := &cobra.Command{
		Use:   "demo",
		Short: "Run a server with a sample stream, and data in time with it",
		Long: `Run a server in memory that publishes a sample stream with picture and sound, and in time with it the place of the
mark in each picture, as data. The page draws a ring where the data says that the mark is: they agree when data and picture do.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.open(c.Context()); err != nil {
				return fmt.Errorf(demoTaken, err)
			}
			options, err := o.rtc.options()
			if err != nil {
				return fmt.Errorf("demo: %w", err)
			}
			s := newServer(&o, server.Options{RTC: options, RTCOpus: o.rtc.opus})
			if err := s.Check(); err != nil {
				return fmt.Errorf(demoTaken, err)
			}
			announceRTC(c.OutOrStdout(), s)
			o.announce(c.OutOrStdout())
			if o.http != nil {
				fmt.Fprintf(c.OutOrStdout(), "hawser: watch http://%s/#%s\n", reachable(o.http.Addr()), demoPath)
			}
			return runDemo(c.Context(), s, &o.listeners)
		},
	}
	o.flags(c, demoHTTPAddr, demoRTMPAddr)
	o.rtc.add(c)
	return c
}

// runDemo serves and publishes until ctx ends or one of the two fails.
func runDemo(ctx context.Context, s *server.Server, l *listeners) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	published := make(chan error, 1)
	go func() {
		published <- publishSample(ctx, s)
		cancel()
	}()
	err := s.Serve(ctx, l.http, l.rtmp)
	cancel()
	if perr := <-published; err == nil && !errors.Is(perr, context.Canceled) {
		err = perr
	}
	return err
}

// publishSample publishes the clip again and again, and with each picture where its mark is.
func publishSample(ctx context.Context, s *server.Server) error {
	pub, err := s.Streams().Publish(demoPath, "demo")
	if err != nil {
		return err
	}
	defer pub.Close(lifecycle.ReasonDone)
	var demux flv.Demuxer
	push := flvPush{
		loop: true,
		open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(sample)), nil },
		send: func(typ byte, ts uint32, body []byte) error {
			f, track, ok, err := demux.Feed(typ, ts, body)
			if err != nil {
				return err
			}
			if track != nil {
				if err := pub.SetTrack(*track); err != nil {
					return err
				}
			}
			if !ok || f.Config {
				return nil
			}
			return publishFrame(s, pub, f)
		},
	}
	return push.run(ctx)
}

// publishFrame publishes a frame, and before it, stamped with its time, the place of the mark in it.
func publishFrame(s *server.Server, pub *stream.Publisher, f media.Frame) error {
	if f.Kind == media.Video {
		u := subject.Update{Data: markAt(f.PTS), Media: f.PTS, HasMedia: true}
		if _, _, err := s.Publish(demoPath, subject.Log, u); err != nil {
			return err
		}
	}
	return pub.Write(f)
}

// markAt is the place of the mark in the sample clip's picture at a media time, relative to the picture's size (sample/README.md has the formula).
func markAt(at time.Duration) []byte {
	n := int(math.Round(at.Seconds()*sampleRate)) % sampleRound
	angle := 2 * math.Pi * float64(n) / sampleRound
	b := append([]byte(nil), `{"x":`...)
	b = strconv.AppendFloat(b, 0.5+0.32*math.Cos(angle), 'f', 4, 64)
	b = append(b, `,"y":`...)
	b = strconv.AppendFloat(b, 0.5+0.36*math.Sin(angle), 'f', 4, 64)
	b = append(b, `,"n":`...)
	b = strconv.AppendInt(b, int64(n), 10)
	return append(b, '}')
}
