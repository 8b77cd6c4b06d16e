package client

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"hawser/lifecycle"
	"hawser/websocket"
)

const (
	// maxEvent bounds a message of the server over plain HTTP, in bytes of the stream.
	maxEvent = 32 << 20
	// plainBody bounds what one POST carries, in bytes, but for a single message that is longer.
	plainBody = 512 << 10
	// plainQueue is how many messages of the server wait for the reader.
	plainQueue = 256
)

// plain is a connection over plain HTTP.
type plain struct {
	client *http.Client
	header http.Header
	base   string // http://host/session
	key    string
	ctx    context.Context // ends with the connection
	stop   context.CancelFunc
	in     chan plainMessage
	ended  chan struct{} // closed when nothing more comes; err is set then
	err    error
	once   sync.Once

	sending sync.Mutex
	posts   uint64 // guarded by sending
}

type plainMessage struct {
	typ  websocket.MessageType
	data []byte
}

func newPlain(o *Options, server string) *plain {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = o.TLS
	p := &plain{client: &http.Client{Transport: transport}, header: o.Header, base: "http" + strings.TrimPrefix(server, "ws"), key: rand.Text(),
		in: make(chan plainMessage, plainQueue), ended: make(chan struct{})}
	p.ctx, p.stop = context.WithCancel(context.Background())
	return p
}

// do makes a request of the connection, which ends with it and, until opened is called, with ctx. release gives up what the request holds, once its answer has been read; it ends the request too.
func (p *plain) do(ctx context.Context, method, what string, n int64, body io.Reader) (res *http.Response, opened func() bool, release func(), err error) {
	url := p.base + "/" + what + "?c=" + p.key
	if n >= 0 {
		url += "&n=" + strconv.FormatInt(n, 10)
	}
	rctx, cancel := context.WithCancel(p.ctx)
	opened = context.AfterFunc(ctx, cancel)
	release = func() { opened(); cancel() }
	want := "text/event-stream"
	if method == http.MethodPost {
		want = "" // it has no content
	}
	if res, err = p.try(rctx, method, url, body, want); err != nil {
		release()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, nil, nil, err
	}
	return res, opened, release, nil
}

// try makes a request; an answer that is no success is an error, or that is not of the type wanted: the network's own page, say, where one has to sign in.
func (p *plain) try(ctx context.Context, method, url string, body io.Reader, want string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, err
	}
	for k, v := range p.header {
		req.Header[k] = v
	}
	res, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode/100 != 2 {
		defer res.Body.Close()
		return nil, refusal(res)
	}
	if typ, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); typ != want {
		res.Body.Close()
		return nil, lifecycle.ReasonLost.With("the answer is %q, want %q", typ, want)
	}
	return res, nil
}

// refusal is the reason in a server's answer, or its status.
func refusal(res *http.Response) error {
	var body struct{ Error lifecycle.Reason }
	b, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if json.Unmarshal(b, &body) == nil && !body.Error.IsZero() {
		return body.Error
	}
	return lifecycle.ReasonLost.With("the server answered %s", res.Status)
}

// dialEvents opens a connection that carries what the server sends as server-sent events. The first of them has come when it returns: nothing in between holds them back.
func dialEvents(ctx context.Context, o *Options, server string) (wire, error) {
	p := newPlain(o, server)
	res, opened, release, err := p.do(ctx, http.MethodGet, "events", -1, nil)
	var r *bufio.Reader
	if err == nil {
		r = bufio.NewReaderSize(res.Body, 64<<10)
		_, err = r.Peek(1)
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
	}
	if err == nil && !opened() {
		err = context.Cause(ctx)
	}
	if err != nil {
		p.stop()
		p.client.CloseIdleConnections()
		return nil, fmt.Errorf("events: %w", err)
	}
	go func() {
		defer release()
		defer res.Body.Close()
		p.end(p.events(r))
	}()
	return p, nil
}

// dialPoll opens a connection that asks again and again for what the server sends.
func dialPoll(ctx context.Context, o *Options, server string) (wire, error) {
	p := newPlain(o, server)
	res, _, release, err := p.do(ctx, http.MethodGet, "poll", 0, nil)
	if err != nil {
		p.stop()
		p.client.CloseIdleConnections()
		return nil, fmt.Errorf("poll: %w", err)
	}
	res.Body.Close()
	release()
	go func() { p.end(p.polls()) }()
	return p, nil
}

// polls asks until the end. A poll without an answer is repeated once: its answer is kept.
func (p *plain) polls() error {
	failed := false
	for n := int64(1); ; {
		body, err := p.poll(n)
		if err != nil {
			var r lifecycle.Reason
			if failed || p.ctx.Err() != nil || errors.As(err, &r) {
				return err
			}
			failed = true
			continue
		}
		failed = false
		n++
		if err := p.events(bufio.NewReader(bytes.NewReader(body))); err != io.EOF {
			return err
		}
	}
}

// poll asks once.
func (p *plain) poll(n int64) ([]byte, error) {
	res, _, release, err := p.do(p.ctx, http.MethodGet, "poll", n, nil)
	if err != nil {
		return nil, err
	}
	defer release()
	defer res.Body.Close()
	return io.ReadAll(io.LimitReader(res.Body, maxEvent))
}

// events reads server-sent events (HTML section 9.2.6) until the end, which is an error: io.EOF where the stream ends, a CloseError where the server closes.
func (p *plain) events(r *bufio.Reader) error {
	var event string
	var data []byte
	size := 0
	for {
		line, err := r.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			line = bytes.Clone(line)
		}
		for err == bufio.ErrBufferFull && size+len(line) <= maxEvent {
			var more []byte
			more, err = r.ReadSlice('\n')
			line = append(line, more...)
		}
		if err != nil && err != bufio.ErrBufferFull {
			return err
		}
		line = bytes.TrimRight(line, "\r\n")
		if size += len(line); size > maxEvent {
			return lifecycle.ReasonTooBig.With("an event of more than %d bytes", maxEvent)
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch {
		case len(line) == 0:
			if err := p.event(event, data); err != nil {
				return err
			}
			event, data, size = "", nil, 0
		case string(name) == "event":
			event = string(value)
		case string(name) == "data":
			if data != nil {
				data = append(data, '\n')
			}
			data = append(data, value...)
		}
	}
}

// event takes one event.
func (p *plain) event(event string, data []byte) error {
	m := plainMessage{websocket.TextMessage, data}
	switch {
	case event == "close":
		code, word, _ := strings.Cut(string(data), " ")
		n, _ := strconv.Atoi(code)
		return &websocket.CloseError{Code: n, Reason: word, Side: websocket.Remote}
	case data == nil:
		return nil // a comment
	case event == "binary":
		var err error
		m.typ = websocket.BinaryMessage
		if m.data, err = base64.StdEncoding.AppendDecode(nil, data); err != nil {
			return lifecycle.ReasonProtocol.Because(err)
		}
	}
	select {
	case p.in <- m:
		return nil
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}

func (p *plain) end(err error) {
	p.once.Do(func() {
		p.err = err
		close(p.ended)
		p.stop()
		p.client.CloseIdleConnections()
	})
}

// Read implements wire.
func (p *plain) Read(ctx context.Context) (websocket.MessageType, []byte, error) {
	return nextMessage(ctx, p.in, p.ended, &p.err)
}

// nextMessage waits for a message. Those that came before the end are given first; then why is what ended, which holds once ended is closed.
func nextMessage(ctx context.Context, in <-chan plainMessage, ended <-chan struct{}, why *error) (websocket.MessageType, []byte, error) {
	select {
	case m := <-in:
		return m.typ, m.data, nil
	default:
	}
	select {
	case m := <-in:
		return m.typ, m.data, nil
	case <-ended:
		select { // what came before the end counts
		case m := <-in:
			return m.typ, m.data, nil
		default:
			return 0, nil, *why
		}
	case <-ctx.Done():
		return 0, nil, ctx.Err()
	}
}

// Write implements wire.
func (p *plain) Write(ctx context.Context, _ websocket.MessageType, b []byte) error {
	return p.WriteAll(ctx, [][]byte{b})
}

// WriteAll sends messages in as few requests as their size allows. A request that fails is repeated once: what was taken is not taken again.
func (p *plain) WriteAll(ctx context.Context, out [][]byte) error {
	p.sending.Lock()
	defer p.sending.Unlock()
	for len(out) > 0 {
		var body []byte
		n := 0
		for n < len(out) && (n == 0 || len(body)+len(out[n]) < plainBody) {
			body = append(appendLine(body, out[n]), '\n')
			n++
		}
		out = out[n:]
		if err := p.post(ctx, body); err != nil {
			p.end(err)
			return err
		}
	}
	return nil
}

func (p *plain) post(ctx context.Context, body []byte) error {
	n := int64(p.posts)
	p.posts++
	for again := false; ; again = true {
		res, _, release, err := p.do(ctx, http.MethodPost, "send", n, bytes.NewReader(body))
		if err == nil {
			defer release()
			return res.Body.Close()
		}
		var r lifecycle.Reason
		if again || ctx.Err() != nil || errors.As(err, &r) {
			return err
		}
	}
}

// appendLine appends a message in one line: line ends in JSON mean nothing.
func appendLine(dst, msg []byte) []byte {
	if bytes.IndexByte(msg, '\n') < 0 {
		return append(dst, msg...)
	}
	var b bytes.Buffer
	if json.Compact(&b, msg) != nil {
		return append(dst, msg...)
	}
	return append(dst, b.Bytes()...)
}

// Close implements wire. The server notices the end by the end of the request, or by the bye that was sent before.
func (p *plain) Close(code int, reason string) error {
	p.end(&websocket.CloseError{Code: code, Reason: reason, Side: websocket.Local})
	return nil
}
