package rtmp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"hawser/amf"
	"hawser/lifecycle"
	"hawser/netio"
)

// Defaults of DialOptions.
const (
	DefaultDialTimeout  = 10 * time.Second
	DefaultMaxRedirects = 5
	DefaultBuffer       = 3 * time.Second
	DefaultFlashVer     = "FMLE/3.0 (compatible; hawser)"

	portRTMP  = "1935"
	portRTMPS = "443"

	inboxMedia    = 256 // messages that wait for whoever plays, before the server has to wait
	inboxStatuses = 64  // statuses that wait; older ones are dropped
)

// DialOptions are the settings of a client; nil and the zero value are good.
type DialOptions struct {
	// Dial makes the network connection; nil means a net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// TLS is used for rtmps; nil means the defaults for the URL's host.
	TLS *tls.Config
	// Timeout bounds each step: network connection and TLS, handshake, connect, and the answer to publish or play.
	// 0 means DefaultDialTimeout.
	Timeout time.Duration
	// CloseTimeout is how long Close waits for the server to take the last bytes; 0 means DefaultCloseTimeout.
	CloseTimeout time.Duration
	// ChunkSize is the size in bytes of the chunks sent; 0 means OwnChunkSize.
	ChunkSize int
	// Window is the acknowledgement window announced, in bytes; 0 means DefaultWindow.
	Window uint32
	// IdleTimeout ends a connection whose server sends nothing, after a ping request in the middle of it; the end comes after one to one and a
	// half times as long. 0 means never: a server that answers no ping may be silent for long while one publishes.
	IdleTimeout time.Duration
	// MaxRedirects is how often a refused connect is followed to where the server points; 0 means DefaultMaxRedirects, negative never.
	MaxRedirects int
	// Capabilities is what the server is told of Enhanced RTMP; nil means DefaultCapabilities.
	Capabilities *Capabilities
	// Digest offers the handshake with digests, which some servers ask of players; a server that does not know it answers with the simple one.
	Digest bool
	// Limits bounds what the server can make the client hold.
	Limits Limits
	// WriteTimeout is how long a write may wait while the server takes nothing; 0 means netio.DefaultTimeout.
	WriteTimeout time.Duration
	// FlashVer is what the client says it is; empty means DefaultFlashVer.
	FlashVer string
	// Object is added to connect's command object, Args are the values after it.
	Object amf.Object
	Args   []amf.Value
	// OnCall answers what the server calls (commands that are not answers or statuses); nil means an error.
	OnCall func(cmd *Command) ([]amf.Value, error)
	// Log gets the connection's events; nil is fine.
	Log *lifecycle.Log
	// Pool serves the writer; nil means netio's own.
	Pool *netio.Pool
}

func (o *DialOptions) filled() DialOptions {
	var f DialOptions
	if o != nil {
		f = *o
	}
	if f.Dial == nil {
		f.Dial = new(net.Dialer).DialContext
	}
	f.Timeout = orDefault(f.Timeout, DefaultDialTimeout)
	f.CloseTimeout = orDefault(f.CloseTimeout, DefaultCloseTimeout)
	f.ChunkSize = orDefault(f.ChunkSize, OwnChunkSize)
	f.Window = orDefault(f.Window, DefaultWindow)
	f.MaxRedirects = orDefault(f.MaxRedirects, DefaultMaxRedirects)
	if f.Capabilities == nil {
		f.Capabilities = DefaultCapabilities()
	}
	f.FlashVer = orDefault(f.FlashVer, DefaultFlashVer)
	return f
}

// Client is a connection to a server, to publish or play one stream, made by Dial. All methods may run at once, but Publish, Play and Messages
// one at a time.
type Client struct {
	url       *url.URL
	app, name string
	o         DialOptions
	trace     func(Event) // what Events wants to know; called by the goroutine that dials

	nc     net.Conn
	w      *netio.Writer
	in     inbound
	log    *lifecycle.Conn
	caps   Capabilities            // the server's, set by connect
	told   atomic.Pointer[Refusal] // what the server said against a broadcast
	stream uint32                  // message stream, set by Publish and Play
	hands  chan struct{}           // closed when the handshake is done
	ended  chan struct{}           // closed when the reader has ended; why is set then

	mu      sync.Mutex
	chunk   int // what the server knows of our chunk size
	calls   map[float64]chan<- *Command
	call    float64
	playing bool
	inbox   []item
	media   int // of them
	filled  chan struct{}
	room    chan struct{}
	closing chan struct{} // closed by Close
	why     lifecycle.Reason
	idle    *time.Timer
	quiet   int    // checks in a row that saw no byte
	seen    uint64 // received at the last check

	writeMu sync.Mutex
	buf     []byte // guarded by writeMu
}

// item is something for whoever publishes or plays: a media or data message, a user control message, or a status.
type item struct {
	m   Message
	cmd *Command
}

// Dial connects to rtmp://host[:port]/app/name or rtmps://, and returns when the server has accepted connect. A server's refusal
// is a *Refusal; one that redirects is followed, but not from rtmps to rtmp. The URL's last segment is the stream, with the query.
func Dial(ctx context.Context, rawURL string, o *DialOptions) (*Client, error) {
	c, err := dialURL(ctx, rawURL, o, nil)
	if err != nil {
		return nil, fmt.Errorf("rtmp: dial %q: %w", shown(rawURL), err)
	}
	return c, nil
}

// dialURL dials, and follows redirects.
func dialURL(ctx context.Context, rawURL string, o *DialOptions, trace func(Event)) (*Client, error) {
	for hops := 0; ; hops++ {
		c, err := newClient(rawURL, o, trace)
		if err != nil {
			return nil, lifecycle.ReasonBadRequest.Because(err)
		}
		if err = c.dial(ctx); err == nil {
			return c, nil
		}
		var refused *Refusal
		if !errors.As(err, &refused) || refused.Redirect == "" || c.o.MaxRedirects < 0 {
			return nil, err
		}
		if hops == c.o.MaxRedirects {
			return nil, fmt.Errorf("after %d redirects (MaxRedirects): %w", hops, err)
		}
		if rawURL, err = redirected(c.url, refused.Redirect); err != nil {
			return nil, err
		}
		c.trace(Event{Kind: EventRedirect, Status: &Status{Level: "error", Code: refused.Code, Description: refused.Description, TCURL: refused.Redirect}})
	}
}

func newClient(rawURL string, o *DialOptions, trace func(Event)) (*Client, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "rtmp" && u.Scheme != "rtmps" || u.Host == "" {
		return nil, errors.New("want rtmp://host/app/name or rtmps://host/app/name")
	}
	c := &Client{url: u, o: o.filled(), trace: trace, chunk: DefaultChunkSize,
		hands: make(chan struct{}), ended: make(chan struct{}), closing: make(chan struct{}),
		filled: make(chan struct{}, 1), room: make(chan struct{}, 1), calls: make(map[float64]chan<- *Command)}
	if trace == nil {
		c.trace = func(Event) {}
	}
	c.app, c.name = splitURL(u)
	return c, nil
}

// dial makes the connection, step by step.
func (c *Client) dial(ctx context.Context) error {
	began := time.Now()
	c.trace(Event{Kind: EventConnecting})
	if err := c.dialNet(ctx); err != nil {
		return err
	}
	c.trace(Event{Kind: EventConnected, Remote: c.nc.RemoteAddr().String(), Took: time.Since(began)})
	c.log = c.o.Log.Open("rtmp", lifecycle.Client, c.nc.RemoteAddr().String())
	c.setState(StateHandshake)
	c.w = netio.NewWriter(c.nc, netio.WriterOptions{Pool: c.o.Pool, Timeout: c.o.WriteTimeout,
		OnError: c.writeFailed})
	c.in.init(c, true, c.o.Limits, c.o.Window)
	c.in.hs.digest = c.o.Digest
	c.write(c.in.hs.first())
	go c.read()
	if c.o.IdleTimeout > 0 {
		c.mu.Lock()
		c.idle = time.AfterFunc(c.o.IdleTimeout/2, c.check)
		c.mu.Unlock()
	}

	began = time.Now()
	if _, err := await(ctx, c, c.hands); err != nil {
		return c.abandon(fmt.Errorf("handshake: %w", err))
	}
	c.trace(Event{Kind: EventHandshake, Took: time.Since(began)})
	if err := c.connect(ctx); err != nil {
		return c.abandon(err)
	}
	c.setState(StateConnected)
	c.log.Event(lifecycle.Event{Kind: KindConnect, Path: "/" + c.app})
	return nil
}

func (c *Client) dialNet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	host, port := c.url.Hostname(), c.url.Port()
	if port == "" {
		if port = portRTMP; c.url.Scheme == "rtmps" {
			port = portRTMPS
		}
	}
	nc, err := c.o.Dial(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return err
	}
	c.nc = nc
	if c.url.Scheme != "rtmps" {
		return nil
	}
	config := &tls.Config{}
	if c.o.TLS != nil {
		config = c.o.TLS.Clone()
	}
	if config.ServerName == "" {
		config.ServerName = host
	}
	secure := tls.Client(nc, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		nc.Close()
		return err
	}
	c.nc = secure
	return nil
}

// abandon ends what did not come to a connection.
func (c *Client) abandon(err error) error {
	c.end(lifecycle.ReasonOf(err))
	<-c.ended
	return err
}

// await waits for a step of the server, within the step's timeout.
func await[T any](ctx context.Context, c *Client, step <-chan T) (v T, err error) {
	timer := time.NewTimer(c.o.Timeout)
	defer timer.Stop()
	select {
	case v = <-step:
		return v, nil
	case <-c.ended:
		select {
		case v = <-step: // it came just before the end
			return v, nil
		default:
			return v, c.closed()
		}
	case <-ctx.Done():
		return v, ctx.Err()
	case <-timer.C:
		return v, lifecycle.ReasonTimeout.With("no answer within %v", c.o.Timeout)
	}
}

// connect sends connect and waits for its result (RTMP 1.0 section 7.2.1.1).
func (c *Client) connect(ctx context.Context) error {
	tcURL := url.URL{Scheme: c.url.Scheme, Host: c.url.Host, Path: "/" + c.app}
	object := append(amf.Object{{Name: "app", Value: c.app}, {Name: "flashVer", Value: c.o.FlashVer}, {Name: "tcUrl", Value: tcURL.String()},
		{Name: "fpad", Value: false}, {Name: "capabilities", Value: 15.0}, {Name: "audioCodecs", Value: 4071.0},
		{Name: "videoCodecs", Value: 252.0}, {Name: "videoFunction", Value: 1.0}}, c.o.Capabilities.members()...)
	object = append(object, c.o.Object...)
	began := time.Now()
	answer, err := c.callObject(ctx, "connect", object, c.o.Args...)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	c.caps = capabilitiesIn(amf.Members(answer.Object), answer.info())
	c.trace(Event{Kind: EventConnectResult, Status: statusOf(answer.info()), Took: time.Since(began)})
	c.queue(control(TypeWindowAckSize, c.o.Window), control(TypeSetChunkSize, uint32(c.o.ChunkSize)))
	c.mu.Lock()
	c.chunk = c.o.ChunkSize
	c.mu.Unlock()
	return nil
}

// Capabilities returns what the server said of Enhanced RTMP in its answer to connect; its maps are not to be changed.
func (c *Client) Capabilities() Capabilities { return c.caps }

// check runs by timer when there is an IdleTimeout.
func (c *Client) check() {
	received := c.in.received.Load()
	c.mu.Lock()
	if c.quiet++; received != c.seen {
		c.quiet = 0
	}
	quiet, over := c.quiet, !c.why.IsZero()
	c.seen = received
	if !over {
		c.idle.Reset(c.o.IdleTimeout / 2)
	}
	c.mu.Unlock()
	switch {
	case over:
	case quiet == 1:
		c.queue(userControl(ControlPingRequest, uint32(time.Now().UnixMilli())))
	case quiet >= 2:
		c.end(lifecycle.ReasonTimeout.With("no byte within %v (IdleTimeout)", c.o.IdleTimeout))
	}
}

// Call calls a command of the server and waits for its answer, whose values come after the command object. An answer _error is a *Refusal.
func (c *Client) Call(ctx context.Context, name string, args ...amf.Value) ([]amf.Value, error) {
	answer, err := c.callObject(ctx, name, nil, args...)
	if err != nil {
		return nil, fmt.Errorf("rtmp: call %q: %w", name, err)
	}
	return answer.Args, nil
}

func (c *Client) callObject(ctx context.Context, name string, object amf.Value, args ...amf.Value) (*Command, error) {
	answers := make(chan *Command, 1)
	c.mu.Lock()
	c.call++
	number := c.call
	c.calls[number] = answers
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.calls, number)
		c.mu.Unlock()
	}()
	c.queue(command(0, name, number, append([]amf.Value{object}, args...)...))
	answer, err := await(ctx, c, answers)
	if err != nil {
		return nil, err
	}
	return answer, answer.failure()
}

// read reads until the connection ends.
func (c *Client) read() {
	defer close(c.ended)
	r := netio.NewReader(c.nc, 0)
	feed := func(b []byte) error {
		waiting := c.in.hs != nil
		err := c.in.feed(b)
		if waiting && c.in.hs == nil {
			close(c.hands)
		}
		return err
	}
	var err error
	for err == nil {
		err = r.Next(feed)
	}
	var broken *ProtocolError
	why := lifecycle.ReasonOf(err)
	if errors.As(err, &broken) {
		why = broken.Reason
		c.log.Event(lifecycle.Event{Kind: KindProtocolError, Reason: why, Detail: broken.Error()})
	}
	c.end(why)
	c.w.Close()
	c.nc.Close()
	c.log.Set(StateClosed, lights[StateClosed], c.why)
	c.log.Close(c.why)
}

// writeFailed ends a connection whose server does not take its bytes; if it is gone, the reader may still find why.
func (c *Client) writeFailed(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.end(lifecycle.ReasonSlow.With("the server took no bytes within the write timeout"))
		return
	}
	c.nc.SetReadDeadline(time.Now().Add(c.o.CloseTimeout))
}

// end makes the reader end, and notes why; only the first reason counts.
func (c *Client) end(why lifecycle.Reason) {
	if c.mark(why) {
		c.nc.SetReadDeadline(time.Unix(1, 0))
	}
}

// mark notes why the connection ends; it returns false if there is a reason already.
func (c *Client) mark(why lifecycle.Reason) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.why.IsZero() {
		return false
	}
	c.why = why
	close(c.closing)
	return true
}

// closed is the error of everything after the end.
func (c *Client) closed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Errorf("%w: %w", ErrClosed, c.why)
}

// Close says goodbye, waits up to CloseTimeout until the server has taken what was sent, and closes. It returns nil, or
// why the connection had ended before.
func (c *Client) Close() error {
	c.mu.Lock()
	stream, publishing := c.stream, c.stream != 0 && !c.playing
	c.mu.Unlock()
	if !c.mark(lifecycle.ReasonDone) {
		<-c.ended
		return c.closed()
	}
	if publishing {
		c.queue(command(0, "FCUnpublish", 0, nil, c.name))
	}
	if stream != 0 {
		c.queue(command(0, "deleteStream", 0, nil, float64(stream)))
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.o.CloseTimeout)
	defer cancel()
	if half, ok := c.nc.(interface{ CloseWrite() error }); ok && c.w.Flush(ctx) == nil && half.CloseWrite() == nil {
		select {
		case <-c.ended:
		case <-ctx.Done():
		}
	}
	c.nc.SetReadDeadline(time.Unix(1, 0))
	<-c.ended
	return nil
}
