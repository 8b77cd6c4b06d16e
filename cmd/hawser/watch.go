package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hawser/lifecycle"
	"hawser/session"
)

type watchOptions struct {
	server       string
	address      string // where the session's server was named
	json         bool
	duration     time.Duration
	count        int
	retry        bool
	noMedia      bool
	events       bool
	subprotocols []string
	headers      []string
	credentials
}

// watchCommand makes `hawser watch`.
func watchCommand() *cobra.Command {
	var o watchOptions
	c := &cobra.Command{
		Use:   "watch URL",
		Short: "Follow a path or a connection, event by event",
		Long: `Follow any path or connection and print what happens to it, one line an event: the time, the light (red, amber, green),
the event, and why; and the updates as they come.

  ws:// wss://       a WebSocket: its events and messages
  rtmp:// rtmps://   plays a stream: its events, and a line each second about the media
  http:// https://   a session with that server: its states, the data of the path, and its media, summed up each second
  /PATH              the same with the server of --server

The command ends when the connection does, after --for or --count, or when it is interrupted. The exit status is 0 unless it
ended by an error; with --for, also when there was no connection in that time, or fewer updates than --count. A session is
kept up over losses once it has stood.

--token is shown to the server of a session or a stream; a WebSocket of another kind takes --header "Authorization: ...".`,
		Example: `  hawser watch /fx/EURUSD
  hawser watch --json --count 10 http://example.com:8080/chat
  hawser watch rtmp://localhost/live/cam1
  hawser watch --events http://localhost:8080`,
		Args: needs(1, 1, "one URL or path"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := o.run(c.Context(), c.OutOrStdout(), args[0]); err != nil {
				return fmt.Errorf("watch %q: %w", withoutPassword(args[0]), err)
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&o.server, "server", defaultServer, "server of a path that is given alone")
	f.BoolVar(&o.json, "json", false, "print JSON objects, one a line")
	f.DurationVar(&o.duration, "for", 0, "stop after this time")
	f.IntVar(&o.count, "count", 0, "stop after this many updates: of the data of a path, messages of a WebSocket, media lines of RTMP")
	f.BoolVar(&o.retry, "retry", false, "keep trying, also when the first attempt of a session fails or a WebSocket is lost")
	f.BoolVar(&o.noMedia, "no-media", false, "do not play the path's media")
	f.BoolVar(&o.events, "events", false, "with a server or a path: print the server's own events, of all connections in one order")
	o.credentials.flags(c)
	f.StringSliceVar(&o.subprotocols, "subprotocol", nil, "subprotocols to offer to a WebSocket server")
	f.StringArrayVar(&o.headers, "header", nil, `"NAME: VALUE" to send with a WebSocket's request`)
	return c
}

// The protocols that can be watched, as events spell them.
const (
	protocolWebSocket = "websocket"
	protocolRTMP      = "rtmp"
	protocolSession   = "session"
)

// withoutPassword is an address as it may be shown.
func withoutPassword(address string) string {
	if u, err := url.Parse(address); err == nil && u.User != nil {
		return u.Redacted()
	}
	return address
}

// target is what to watch: the URL to connect to, and the path to follow in a session.
type target struct {
	protocol, url, path string
}

// parseTarget reads what the user has given. A path alone is on the server.
func parseTarget(arg, server string) (target, error) {
	if strings.HasPrefix(arg, "/") {
		return sessionTarget(server, arg)
	}
	u, err := url.Parse(arg)
	if err != nil {
		return target{}, err
	}
	switch u.Scheme {
	case "ws", "wss":
		return target{protocol: protocolWebSocket, url: arg}, nil
	case "rtmp", "rtmps":
		return target{protocol: protocolRTMP, url: arg}, nil
	case "http", "https":
		path := strings.TrimSuffix(u.Path, "/")
		if path == sessionPath {
			path = ""
		}
		return sessionTarget(u.Scheme+"://"+u.Host, path)
	}
	return target{}, fmt.Errorf("got scheme %q, want ws, wss, rtmp, rtmps, http, https, or a path", u.Scheme)
}

// sessionTarget is a path on a server, or the server itself when path is empty.
func sessionTarget(server, path string) (t target, err error) {
	t.protocol, t.path = protocolSession, path
	if t.url, err = sessionURL(server); err == nil && path != "" {
		err = session.CheckPath(path)
	}
	return t, err
}

// sessionPath is where a server offers sessions.
const sessionPath = "/session"

// sessionURL is the address of a server's sessions: http://HOST becomes ws://HOST/session. The scheme may be left out.
func sessionURL(server string) (string, error) {
	if !strings.Contains(server, "://") {
		server = "http://" + server
	}
	u, err := url.Parse(server)
	if err != nil {
		return "", err
	}
	u.RawQuery, u.Fragment, u.User = "", "", nil
	switch u.Scheme {
	case "http", "ws":
		u.Scheme = "ws"
	case "https", "wss":
		u.Scheme = "wss"
	default:
		u.Host = ""
	}
	if u.Path = strings.TrimSuffix(u.Path, "/"); u.Path == "" {
		u.Path = sessionPath
	}
	if u.Host == "" || u.Path != sessionPath {
		return "", fmt.Errorf("server %q: want http://HOST[:PORT] or https://HOST[:PORT]", server)
	}
	return u.String(), nil
}

func (o *watchOptions) run(ctx context.Context, out io.Writer, arg string) error {
	t, err := parseTarget(arg, o.server)
	if err != nil {
		return err
	}
	if o.address = arg; strings.HasPrefix(arg, "/") {
		o.address = o.server
	}
	header, err := parseHeaders(o.headers)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if o.duration > 0 {
		timer := time.AfterFunc(o.duration, cancel)
		defer timer.Stop()
	}
	w := &watcher{out: newPrinter(out, o.json), protocol: t.protocol, count: o.count}
	switch t.protocol {
	case protocolWebSocket:
		err = w.websocket(ctx, t.url, o.subprotocols, header, o.retry)
	case protocolRTMP:
		err = w.rtmp(ctx, rtmpWith(t.url, o.token))
	default:
		if o.events {
			err = w.events(ctx, t, o.session(o.address))
			break
		}
		err = w.session(ctx, t, o)
	}
	return w.result(ctx, o, err)
}

// result is what the command returns after the connection ended with an error, or none, or was left.
func (w *watcher) result(ctx context.Context, o *watchOptions, end error) error {
	switch {
	case w.failed != nil:
		return w.failed
	case w.done:
		return nil
	case ctx.Err() == nil:
		return end
	case o.duration == 0: // interrupted
		return nil
	case !w.stood:
		return fmt.Errorf("no connection within %v", o.duration)
	case w.updates < o.count:
		return fmt.Errorf("%d of %d updates within %v", w.updates, o.count, o.duration)
	}
	return nil
}

func parseHeaders(list []string) (http.Header, error) {
	h := http.Header{}
	for _, line := range list {
		name, value, ok := strings.Cut(line, ":")
		if !ok || strings.TrimSpace(name) == "" || strings.ContainsAny(line, "\r\n") {
			return nil, fmt.Errorf(`header %q: want "NAME: VALUE"`, line)
		}
		h.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return h, nil
}

// watcher prints what one connection tells. Its methods are called by one goroutine.
type watcher struct {
	out      *printer
	protocol string
	count    int // updates to print; 0 means any number

	updates int
	stood   bool  // the light was green once
	done    bool  // the count is reached
	failed  error // of printing
}

// show prints a record and says whether to go on.
func (w *watcher) show(r watchRecord) bool {
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	r.Protocol, r.Side = w.protocol, lifecycle.Client
	w.stood = w.stood || r.Light == lifecycle.Green
	w.failed = w.out.print(r)
	return w.failed == nil
}

// update is show for what --count counts.
func (w *watcher) update(r watchRecord) bool {
	if !w.show(r) {
		return false
	}
	w.updates++
	w.done = w.updates == w.count
	return !w.done
}
