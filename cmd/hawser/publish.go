package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"hawser/client"
	"hawser/session"
)

// Defaults of `hawser publish`.
const (
	defaultServer = "http://localhost:8080"
	defaultRTMP   = "rtmp://localhost"
	defaultWindow = 256
)

type publishOptions struct {
	server string
	rtmp   string
	whip   string
	record bool
	loop   bool
	json   bool
	window int
	credentials
}

// publishCommand makes `hawser publish`.
func publishCommand() *cobra.Command {
	var o publishOptions
	c := &cobra.Command{
		Use:   "publish PATH [FILE.flv | FIELD=VALUE...]",
		Short: "Publish data from standard input, or media from a file",
		Long: `Publish to a path of a server.

Without a file each line of standard input becomes one message of the log at PATH: as it is when the line is JSON, as a
JSON string otherwise. With --record PATH is a record: each line is a JSON object with the fields that change, or the
fields are given as arguments, where a value that is not JSON is a string and null removes the field. The command ends
when the server has acknowledged everything, and says how many messages that were.

With FILE.flv the file is pushed over RTMP at the pace of its timestamps, and what happens to the connection is printed, one line an event, and a
line each second about what was sent. A query of --rtmp, such as ?token=..., is sent with the path. With --whip it goes
over WebRTC, as far as that carries it. The exit status is 0 when all was sent,
or when the command is interrupted.`,
		Example: `  echo '{"text":"hello"}' | hawser publish /chat
  hawser publish --record /fx/EURUSD bid=1.0871 ask=1.0873
  hawser publish --loop /live/cam1 clip.flv
  hawser publish --whip http://localhost:8080 /live/cam1 clip.flv`,
		Args: needs(1, 0, "a path"),
		RunE: func(c *cobra.Command, args []string) error {
			return o.run(c, args[0], args[1:])
		},
	}
	f := c.Flags()
	f.StringVar(&o.server, "server", defaultServer, "server to publish data to")
	f.StringVar(&o.rtmp, "rtmp", defaultRTMP, "server to publish media to")
	o.credentials.flags(c)
	f.StringVar(&o.whip, "whip", "", "server to publish media to over WebRTC (WHIP) in place of RTMP, such as http://localhost:8080")
	f.BoolVar(&o.record, "record", false, "PATH is a record: lines are JSON objects, or fields are arguments")
	f.BoolVar(&o.loop, "loop", false, "repeat the file for ever, as one stream")
	f.BoolVar(&o.json, "json", false, "with a file: print JSON objects, one a line")
	f.IntVar(&o.window, "window", defaultWindow, "messages that may wait for their acknowledgement")
	return c
}

func (o *publishOptions) run(c *cobra.Command, path string, args []string) error {
	if err := session.CheckPath(path); err != nil {
		return fmt.Errorf("publish %q: %w", path, err)
	}
	var err error
	switch {
	case len(args) > 0 && !o.record:
		err = o.media(c, path, args)
	case o.loop:
		err = errors.New("--loop needs a file")
	default:
		err = o.data(c, path, args)
	}
	if err != nil {
		return fmt.Errorf("publish %q: %w", path, err)
	}
	return nil
}

// data publishes lines or fields over a session.
func (o *publishOptions) data(c *cobra.Command, path string, args []string) error {
	target, err := sessionURL(o.server)
	if err != nil {
		return err
	}
	in := c.InOrStdin()
	if len(args) > 0 {
		object, err := recordFields(args)
		if err != nil {
			return err
		}
		in = bytes.NewReader(object)
	}
	s, err := connect(c.Context(), target, o.credentials.session(o.server))
	if err != nil {
		return err
	}
	defer s.Close()
	p := dataPump{
		window: max(o.window, 1),
		encode: lineJSON,
		send: func(ctx context.Context, data []byte) (receipt, error) {
			return s.Send(ctx, path, data, &client.PublishOptions{Record: o.record})
		},
	}
	if o.record {
		p.encode = lineObject
	}
	err = p.run(c.Context(), in)
	fmt.Fprintf(c.OutOrStdout(), "%v\n", &p)
	return err
}

// connect logs in to a server, at the first attempt or not at all.
func connect(ctx context.Context, url, token string) (*client.Client, error) {
	s, err := client.New(client.Options{Servers: []string{url}, Token: token})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for change := range s.States(ctx) {
			if change.To == session.Failed {
				cancel(change.Reason)
			}
		}
	}()
	err = s.Connect(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	cancel(nil)
	<-watched
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// recordFields makes a JSON object of arguments like bid=1.0871.
func recordFields(args []string) ([]byte, error) {
	object := []byte{'{'}
	for i, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("got %q, want FIELD=VALUE", arg)
		}
		if i > 0 {
			object = append(object, ',')
		}
		object = session.AppendString(object, name)
		object = append(object, ':')
		text, err := lineJSON([]byte(value))
		if err != nil {
			return nil, err
		}
		object = append(object, text...)
	}
	return append(object, '}'), nil
}

// lineJSON gives a line as it is when it is JSON, and as a JSON string otherwise.
func lineJSON(line []byte) ([]byte, error) {
	if json.Valid(line) && utf8.Valid(line) {
		return bytes.TrimSpace(line), nil
	}
	return session.AppendString(nil, string(line)), nil
}

// lineObject takes a line that is a JSON object.
func lineObject(line []byte) ([]byte, error) {
	if line = bytes.TrimSpace(line); !json.Valid(line) || line[0] != '{' {
		return nil, fmt.Errorf("got %.40q, want a JSON object", line)
	}
	return line, nil
}

// dataPump publishes lines in order, a bounded number ahead of their acknowledgements.
type dataPump struct {
	window int
	encode func(line []byte) ([]byte, error)
	send   func(ctx context.Context, data []byte) (receipt, error)

	free        chan struct{} // holds one for each message that waits
	sent, acked int
	first, last client.Ack
}

// receipt is a message that was sent and will be acknowledged.
type receipt interface {
	Wait(ctx context.Context) (client.Ack, error)
}

// run returns nil when everything was acknowledged. It stops sending at the first line or answer that is an error, and counts
// those acknowledgements that still come.
func (p *dataPump) run(ctx context.Context, in io.Reader) error {
	feeding, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	waiting := make(chan receipt, p.window)
	p.free = make(chan struct{}, p.window)
	answered := make(chan error, 1)
	go func() { answered <- p.collect(ctx, waiting, stop) }()
	err := p.feed(feeding, in, waiting)
	close(waiting)
	if failed := <-answered; failed != nil {
		return failed
	}
	if ctx.Err() != nil {
		return nil // interrupted, with everything acknowledged
	}
	return err
}

// collect takes the acknowledgements in the order of the messages and returns the first error.
func (p *dataPump) collect(ctx context.Context, waiting <-chan receipt, stop func(error)) (first error) {
	n := 0
	for w := range waiting {
		n++
		at, err := w.Wait(ctx)
		<-p.free
		switch {
		case err == nil && p.acked == 0:
			p.first, p.last = at, at
			p.acked++
		case err == nil:
			p.last = at
			p.acked++
		case first == nil:
			first = fmt.Errorf("message %d: %w", n, err)
			stop(first)
		}
	}
	return first
}

// envelope is more than the bytes of a publish message beside its path and data.
const envelope = 256

// maxData is the greatest length of a message's data, so that the server takes it.
const maxData = session.DefaultMaxMessage - session.MaxPath - envelope

func (p *dataPump) feed(ctx context.Context, in io.Reader, waiting chan<- receipt) error {
	for line, err := range lines(ctx, in) {
		if err != nil {
			return err
		}
		data, err := p.encode(line)
		if err == nil && len(data) > maxData {
			err = fmt.Errorf("%d bytes of JSON, at most %d are allowed", len(data), maxData)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", p.sent+1, err)
		}
		select {
		case p.free <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		w, err := p.send(ctx, data)
		if err != nil {
			return fmt.Errorf("line %d: %w", p.sent+1, err)
		}
		p.sent++
		waiting <- w
	}
	return nil
}

func (p *dataPump) String() string {
	s := fmt.Sprintf("%d of %d messages acknowledged", p.acked, p.sent)
	switch {
	case p.acked == 1:
		s += fmt.Sprintf(", offset %d of epoch %016x", p.first.Offset, p.first.Epoch)
	case p.acked > 1:
		s += fmt.Sprintf(", offsets %d to %d of epoch %016x", p.first.Offset, p.last.Offset, p.last.Epoch)
	}
	return s
}

type input struct {
	line []byte
	err  error
}

// lines yields the lines of in until its end or that of ctx, without their ends; the last line needs none. A read of standard
// input cannot be interrupted: the goroutine that reads may outlive this, until the next line or the end of the program.
func lines(ctx context.Context, in io.Reader) func(yield func([]byte, error) bool) {
	return func(yield func([]byte, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		read := make(chan input)
		go func() {
			defer close(read)
			scanner := bufio.NewScanner(in)
			scanner.Buffer(nil, maxData)
			for scanner.Scan() && ctx.Err() == nil {
				hand(ctx, read, input{line: bytes.Clone(scanner.Bytes())})
			}
			if err := scanner.Err(); err == bufio.ErrTooLong {
				hand(ctx, read, input{err: fmt.Errorf("standard input: a line longer than %d bytes", maxData)})
			} else if err != nil {
				hand(ctx, read, input{err: fmt.Errorf("standard input: %w", err)})
			}
		}()
		for {
			select {
			case l, ok := <-read:
				if !ok || !yield(l.line, l.err) || l.err != nil {
					return
				}
			case <-ctx.Done():
				yield(nil, context.Cause(ctx))
				return
			}
		}
	}
}

func hand(ctx context.Context, to chan<- input, l input) {
	select {
	case to <- l:
	case <-ctx.Done():
	}
}
