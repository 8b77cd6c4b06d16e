package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hawser/lifecycle"
	"hawser/rtmp"
)

// media pushes an FLV file, and prints what happens to the connection. Being interrupted is a good end, as that is how --loop ends.
func (o *publishOptions) media(c *cobra.Command, path string, args []string) error {
	if len(args) > 1 {
		return fmt.Errorf("got %d arguments after the path, want one file, or --record", len(args))
	}
	if _, err := os.Stat(args[0]); err != nil {
		return err
	}
	if o.whip != "" {
		return o.whipFile(c, path, args[0])
	}
	target, err := rtmpTarget(o.rtmp, path)
	if err != nil {
		return err
	}
	m := mediaPush{
		watcher: watcher{out: newPrinter(c.OutOrStdout(), o.json), protocol: protocolRTMP},
		push:    flvPush{loop: o.loop, open: func() (io.ReadCloser, error) { return os.Open(args[0]) }},
		target:  rtmpWith(target, o.credentials.session(target)),
	}
	err = m.run(c.Context())
	fmt.Fprintf(c.ErrOrStderr(), "published %v\n", &m.push)
	return err
}

// mediaPush pushes a file over one connection and prints what happens. Its methods are called by one goroutine.
type mediaPush struct {
	watcher
	push   flvPush
	target string

	at    time.Time // of the last line about what was sent
	tags  int       // up to then
	bytes int64
}

// run returns nil when all was sent or ctx has ended.
func (m *mediaPush) run(ctx context.Context) error {
	attempt, cancel := context.WithCancel(ctx) // the only one: a file that has ended on its way begins nowhere
	defer cancel()
	var why lifecycle.Reason
	var failed error
	err := rtmp.Persist(attempt, m.target, &rtmp.PersistOptions{OnEvent: func(ev rtmp.Event) {
		r := rtmpRecord(&ev)
		if ev.Kind == rtmp.EventConnecting {
			r.Server = shownTarget(m.target)
		}
		if ev.Kind == rtmp.EventClosed {
			why = ev.Reason
		}
		if !m.show(r) || ev.Kind == rtmp.EventClosed {
			cancel()
		}
	}}, func(ctx context.Context, c *rtmp.Client) error {
		failed = m.send(ctx, c)
		return failed
	})
	switch {
	case m.watcher.failed != nil:
		return m.watcher.failed
	case ctx.Err() != nil:
		return nil
	case failed != nil:
		return failed
	case why.Code != lifecycle.ReasonDone.Code:
		return why
	case !errors.Is(err, context.Canceled):
		return err
	}
	return nil
}

// send publishes the file over a connection.
func (m *mediaPush) send(ctx context.Context, c *rtmp.Client) error {
	if err := c.Publish(ctx); err != nil {
		return err
	}
	m.at = time.Now()
	m.push.send = func(typ byte, ts uint32, body []byte) error {
		if now := time.Now(); now.Sub(m.at) >= time.Second && !m.total(now) {
			return m.watcher.failed
		}
		return c.WriteMessage(ctx, rtmp.Message{Type: typ, Timestamp: ts, Payload: body})
	}
	err := m.push.run(ctx)
	if m.push.tags > m.tags {
		m.total(time.Now())
	}
	return err
}

// total prints what was sent since the last time.
func (m *mediaPush) total(now time.Time) bool {
	sum := mediaTotals{Messages: m.push.tags - m.tags, Bytes: int(m.push.bytes - m.bytes)}
	sum.Kbps = float64(sum.Bytes) * 8 / 1000 / max(now.Sub(m.at).Seconds(), 0.001)
	m.at, m.tags, m.bytes = now, m.push.tags, m.push.bytes
	return m.show(watchRecord{Event: lifecycle.Event{Kind: kindMedia, Light: lifecycle.Green}, Media: &sum})
}

// rtmpTarget is the URL of a path on an RTMP server, which may be given without a scheme.
func rtmpTarget(server, path string) (string, error) {
	if !strings.Contains(server, "://") {
		server = "rtmp://" + server
	}
	u, err := url.Parse(server)
	if err != nil {
		return "", err
	}
	if u.Scheme != "rtmp" && u.Scheme != "rtmps" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return "", fmt.Errorf("server %q: want rtmp://HOST[:PORT] or rtmps://HOST[:PORT]", shownTarget(server))
	}
	u.Path = path
	return u.String(), nil
}

// shownTarget is a URL without what may be secret in it.
func shownTarget(target string) string {
	target, _, _ = strings.Cut(target, "?")
	return withoutPassword(target)
}
