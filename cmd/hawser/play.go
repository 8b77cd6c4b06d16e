package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hawser/amf"
	"hawser/flv"
	"hawser/lifecycle"
	"hawser/rtmp"
)

type playOptions struct {
	out      string
	json     bool
	duration time.Duration
	credentials
}

// playCommand makes `hawser play`.
func playCommand() *cobra.Command {
	var o playOptions
	c := &cobra.Command{
		Use:   "play URL",
		Short: "Play a stream, and write it to a file or print what comes",
		Long: `Play a stream over RTMP (rtmp://, rtmps://), HTTP-FLV (http://, https://, as a rule with .flv at the end) or WebRTC (the same with /whep at the end).

With --out it is written as FLV, with the timestamps that it has; without, its events are printed, and a line each second about the media. The command
ends when the stream does, after --for, or when it is interrupted.`,
		Example: `  hawser play --out clip.flv --for 10s rtmp://localhost/live/cam1
  hawser play --out - http://localhost:8080/live/cam1.flv | ffplay -
  hawser play http://localhost:8080/live/cam1/whep`,
		Args: needs(1, 1, "one URL"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := o.run(c, args[0]); err != nil {
				return fmt.Errorf("play %q: %w", withoutPassword(args[0]), err)
			}
			return nil
		},
	}
	o.credentials.flags(c)
	c.Flags().StringVar(&o.out, "out", "", "file to write as FLV; - is standard output")
	c.Flags().BoolVar(&o.json, "json", false, "print JSON objects, one a line")
	c.Flags().DurationVar(&o.duration, "for", 0, "stop after this time")
	return c
}

func (o *playOptions) run(c *cobra.Command, address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(c.Context())
	defer cancel()
	if o.duration > 0 {
		defer time.AfterFunc(o.duration, cancel).Stop()
	}
	play, protocol := playHTTP, "http-flv"
	switch u.Scheme {
	case "rtmp", "rtmps":
		play = playRTMP
	case "http", "https":
		if strings.HasSuffix(u.Path, whepSuffix) {
			play, protocol = playWHEP, "rtc"
		}
	default:
		return fmt.Errorf("got scheme %q, want rtmp, rtmps, http or https", u.Scheme)
	}
	switch {
	case o.out != "":
		err = o.write(ctx, c, address, play)
	case u.Scheme == "rtmp" || u.Scheme == "rtmps":
		w := &watcher{out: newPrinter(c.OutOrStdout(), o.json), protocol: protocolRTMP}
		err = w.rtmp(ctx, rtmpWith(address, o.token))
	default:
		p := &tagPrinter{watcher: watcher{out: newPrinter(c.OutOrStdout(), o.json), protocol: protocol}, began: time.Now()}
		err = play(ctx, address, o.token, p.tag)
		p.total(time.Now())
	}
	if ctx.Err() != nil { // interrupted, or --for is over
		return nil
	}
	return err
}

// write writes a stream as FLV, and says how much that was.
func (o *playOptions) write(ctx context.Context, c *cobra.Command, address string, play player) (err error) {
	out := io.Writer(c.OutOrStdout())
	if o.out != "-" {
		f, err := os.Create(o.out)
		if err != nil {
			return err
		}
		defer f.Close()
		out = f
	}
	w := bufio.NewWriterSize(out, 1<<16)
	w.Write(flv.AppendHeader(nil, true, true))
	var b []byte
	tags, size, began := 0, 0, time.Now()
	err = play(ctx, address, o.token, func(t flv.Tag) error {
		b = flv.AppendTag(b[:0], t)
		tags++
		size += len(t.Data)
		_, err := w.Write(b)
		return err
	})
	err = errors.Join(err, w.Flush())
	fmt.Fprintf(c.ErrOrStderr(), "played %d messages, %d bytes, %v\n", tags, size, time.Since(began).Round(time.Millisecond))
	return err
}

// player plays a stream to its end, and hands out its tags.
type player func(ctx context.Context, address, token string, tag func(flv.Tag) error) error

func playRTMP(ctx context.Context, address, token string, tag func(flv.Tag) error) error {
	c, err := rtmp.Dial(ctx, rtmpWith(address, token), nil)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Play(ctx); err != nil {
		return err
	}
	for m, err := range c.Messages(ctx) {
		if errors.Is(err, rtmp.ErrStreamEnded) {
			return nil
		}
		if err == nil {
			err = tag(flv.Tag{Type: m.Type, Timestamp: m.Timestamp, Data: m.Payload})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func playHTTP(ctx context.Context, address, token string, tag func(flv.Tag) error) error {
	body, err := openHTTP(ctx, address, token)
	if err != nil {
		return err
	}
	defer body.Close()
	r := flv.NewReader(bufio.NewReaderSize(body, 1<<16))
	for {
		t, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = tag(t)
		}
		if err != nil {
			return err
		}
	}
}

// tagPrinter prints what comes of HTTP-FLV.
type tagPrinter struct {
	watcher
	demux flv.Demuxer
	began time.Time // of the present second
	sum   mediaTotals
}

func (p *tagPrinter) tag(t flv.Tag) error {
	now := time.Now()
	if now.Sub(p.began) >= time.Second {
		p.total(now)
	}
	p.sum.Messages++
	p.sum.Bytes += len(t.Data)
	if t.Type == flv.TypeScript {
		if values, err := amf.Decode(t.Data); err == nil && len(values) > 0 {
			name, _ := values[0].(string)
			p.show(watchRecord{Event: lifecycle.Event{Kind: "metadata", Light: lifecycle.Green, Detail: name}, Data: amfJSON(amf.StrictArray(values[1:])), MediaTime: mediaTime(t.Timestamp)})
		}
		return p.failed
	}
	_, track, _, err := p.demux.Feed(t.Type, t.Timestamp, t.Data)
	for {
		if track != nil {
			p.show(watchRecord{Event: lifecycle.Event{Kind: kindTracks, Light: lifecycle.Green}, Tracks: []watchTrack{rtmpTrack(track)}})
		}
		if err != nil || !p.demux.More() {
			break
		}
		_, track, _, err = p.demux.Next()
	}
	return p.failed // a body that is not known here is none of the reader's business
}

// total prints what came since the last time.
func (p *tagPrinter) total(now time.Time) {
	sum := p.sum
	sum.Kbps = float64(sum.Bytes) * 8 / 1000 / max(now.Sub(p.began).Seconds(), 0.001)
	p.show(watchRecord{Event: lifecycle.Event{Kind: kindMedia, Light: lifecycle.Green}, Media: &sum})
	p.sum, p.began = mediaTotals{}, now
}
