package rtmp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"hawser/amf"
	"hawser/lifecycle"
	"hawser/netio"
)

// Conn is one client's connection to a Server. All methods may run at once and at any time: what they say of connect is empty until that has come, as it may not have for
// those that Server.Conns returns.
type Conn struct {
	// Data is the handlers' own; this package does not touch it.
	Data any

	// What each write of a player looks at stands together: between two rounds of many players the memory of each is to be fetched anew.
	w       *netio.Writer
	playing atomic.Pointer[Stream] // the first that plays
	order   sync.Mutex             // held by the writer's turn from when it takes the queue until it has asked the sources, and by who queues what their bytes must follow

	server *Server
	h      *Handler
	nc     net.Conn
	log    *lifecycle.Conn
	id     string
	ctx    context.Context // ends when the connection is to be closed
	cancel context.CancelFunc
	unhook func() bool // takes Close off the context of Serve
	over   func()      // to be called when all is done

	watch   atomic.Pointer[netio.Watch] // nil: a goroutine reads
	stopped atomic.Bool                 // nothing more is to be read

	// Owned by who reads: the reading goroutine, or the turn of the watch.
	in    inbound
	notes int // see note

	introduced atomic.Pointer[introduction] // nil until connect comes, before any handler runs
	connected  atomic.Bool

	mu       sync.Mutex
	streams  []*Stream // changed by the reading goroutine only
	closing  bool
	why      lifecycle.Reason
	writeErr error
	calls    map[float64]chan<- *Command
	call     float64 // latest transaction of ours
	quiet    int     // checks in a row that saw no byte
	seen     uint64  // received at the last check
	gone     uint64  // sent at the last check
	timer    *time.Timer
}

func newConn(s *Server, nc net.Conn) *Conn {
	c := &Conn{server: s, h: s.Handler, nc: nc}
	c.in.init(c, false, s.Limits, s.Window)
	remote := nc.RemoteAddr().String()
	c.log = s.Log.Open("rtmp", lifecycle.Server, remote)
	if c.id = c.log.ID(); c.id == "" {
		c.id = fmt.Sprintf("rtmp-%d", s.numbers.Add(1))
	}
	c.w = netio.NewWriter(nc, netio.WriterOptions{Pool: s.Pool, QueueLimit: s.QueueLimit, Timeout: s.WriteTimeout, OnError: c.writeFailed})
	c.w.SetSource((*outlet)(c))
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// ID returns the connection's identity in the event log, for example "rtmp-12".
func (c *Conn) ID() string { return c.id }

// RemoteAddr returns the client's address.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// introduction is what a client says of itself in connect. It is never changed.
type introduction struct {
	app, tcURL   string
	object       amf.Object // never nil
	args         []amf.Value
	query        url.Values
	capabilities Capabilities
}

// stranger is a client that has not sent connect.
var stranger introduction

func (c *Conn) intro() *introduction {
	if i := c.introduced.Load(); i != nil {
		return i
	}
	return &stranger
}

// App returns the application that the client connected to, without a query.
func (c *Conn) App() string { return c.intro().app }

// TCURL returns the URL that the client says it connected to.
func (c *Conn) TCURL() string { return c.intro().tcURL }

// Query returns the query of the application and of TCURL; it is not to be changed.
func (c *Conn) Query() url.Values { return c.intro().query }

// Object returns the command object of connect: app, flashVer, tcUrl and so on; it is not to be changed.
func (c *Conn) Object() amf.Object { return c.intro().object }

// Capabilities returns what the client said of Enhanced RTMP in connect; its maps are not to be changed.
func (c *Conn) Capabilities() Capabilities { return c.intro().capabilities }

// RequestReconnect asks the client to connect again, at tcURL ("rtmp://host/app", or a part of it) or where it is when that is empty, for
// instance before the server stops. It goes on being served until it leaves. It returns false, and does nothing, for clients that
// have not said that they know this (ExtReconnect).
func (c *Conn) RequestReconnect(tcURL, description string) bool {
	if !c.connected.Load() || c.Capabilities().Extensions&ExtReconnect == 0 {
		return false
	}
	info := statusInfo("status", codeReconnect, description)
	if tcURL != "" {
		info = append(info, amf.Member{Name: "tcUrl", Value: tcURL})
	}
	c.log.Event(lifecycle.Event{Kind: KindReconnect, Detail: tcURL})
	c.queue(command(0, "onStatus", 0, nil, info))
	return true
}

// Args returns the values after connect's command object; they are not to be changed.
func (c *Conn) Args() []amf.Value { return c.intro().args }

// Streams returns the stream objects that exist now.
func (c *Conn) Streams() []*Stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.streams)
}

// Stats is what went over a connection so far.
type Stats struct {
	// Received and Sent are bytes; Writes is how many system calls the latter took.
	Received, Sent, Writes uint64
	// Acked is the latest acknowledgement of the peer: bytes that it has received, modulo 2^32.
	Acked uint32
}

// Stats returns what went over the connection so far.
func (c *Conn) Stats() Stats {
	sent, writes := c.w.Stats()
	return Stats{Received: c.in.received.Load(), Sent: sent, Writes: writes, Acked: c.in.acked.Load()}
}

// Close ends the connection and does not wait for that. A client that is connected is told why, with a status
// NetConnection.Connect.Closed, unless it is slow or lost. Only the first call counts.
func (c *Conn) Close(why lifecycle.Reason) {
	if why.IsZero() {
		why = lifecycle.ReasonDone
	}
	if !c.markClosing(why) {
		return
	}
	c.tell(why)
	c.cancel()
	c.stopReading()
}

// tell tells a client that is connected why the connection ends.
func (c *Conn) tell(why lifecycle.Reason) {
	if !c.connected.Load() || !c.polite(why) {
		return
	}
	level := "error"
	if why.Code == lifecycle.ReasonDone.Code || why.Code == lifecycle.ReasonShutdown.Code {
		level = "status"
	}
	c.queue(status(0, level, "NetConnection.Connect.Closed", why.Error()))
}

// markClosing notes the reason; false if there is one already.
func (c *Conn) markClosing(why lifecycle.Reason) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return false
	}
	c.closing, c.why = true, why
	return true
}

// polite says whether there is a point in waiting until the peer has read what was queued.
func (c *Conn) polite(why lifecycle.Reason) bool {
	switch why.Code {
	case lifecycle.ReasonSlow.Code, lifecycle.ReasonLost.Code:
		return false
	case lifecycle.ReasonTimeout.Code, lifecycle.ReasonProtocol.Code: // before connect it may be no client of RTMP
		return c.connected.Load()
	}
	return true
}

// writeFailed ends the connection of a client that does not take its bytes. One that is gone may have said goodbye before: the reader
// finds that, or the same error.
func (c *Conn) writeFailed(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.Close(lifecycle.ReasonSlow.With("took no bytes within the write timeout"))
		return
	}
	c.mu.Lock()
	c.writeErr = err
	c.mu.Unlock()
	time.AfterFunc(c.server.CloseTimeout, c.stopReading)
}

// begin lets the connection's times run.
func (c *Conn) begin(ctx context.Context) {
	c.setState(lifecycle.Reason{})
	c.unhook = context.AfterFunc(ctx, func() { c.Close(lifecycle.ReasonShutdown) })
	c.mu.Lock()
	c.timer = time.AfterFunc(c.server.HandshakeTimeout, c.check)
	c.mu.Unlock()
}

// end does what is to be done when nothing more is read because of err, and closes the connection.
func (c *Conn) end(err error) {
	c.unhook()
	why := c.verdict(err)
	c.playing.Store(nil)
	for _, s := range c.Streams() {
		s.finish(why)
	}
	c.linger(why)
	c.timer.Stop()
	c.w.Close()
	c.nc.Close()
	c.finished(why)
	c.server.remove(c)
	c.over()
}

func (c *Conn) finished(why lifecycle.Reason) {
	if c.connected.Load() {
		c.log.Event(lifecycle.Event{Kind: KindDisconnect, Reason: why})
	}
	if c.introduced.Load() != nil && c.h.OnDisconnect != nil {
		c.h.OnDisconnect(c, why)
	}
	c.log.Set(StateClosed, lights[StateClosed], why)
	c.log.Close(why)
}

// verdict says why the connection ended, logs it when the peer broke the protocol, and tells a peer that has not ended it itself.
func (c *Conn) verdict(err error) lifecycle.Reason {
	c.mu.Lock()
	if c.writeErr != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		err = c.writeErr
	}
	c.mu.Unlock()
	var broken *ProtocolError
	why, itself := lifecycle.ReasonOf(err), false
	if secure, ok := c.nc.(*tls.Conn); ok && why.Code == lifecycle.ReasonInternal.Code && !secure.ConnectionState().HandshakeComplete {
		why = lifecycle.ReasonProtocol.Because(err)
	}
	switch {
	case errors.As(err, &broken):
		why = broken.Reason
		c.log.Event(lifecycle.Event{Kind: KindProtocolError, Reason: why, Detail: broken.Error()})
	case why.Code == lifecycle.ReasonProtocol.Code: // found by the sink
		c.log.Event(lifecycle.Event{Kind: KindProtocolError, Reason: why, Detail: why.Text})
	case why.Code != lifecycle.ReasonLost.Code: // decided by a handler function
	case !c.active():
		why, itself = lifecycle.ReasonDone, true // it had ended what it began
	case errors.Is(err, io.EOF):
		why = lifecycle.ReasonLost.With("the connection ended in the middle")
	}
	if c.markClosing(why) && !itself {
		c.tell(why)
	}
	c.cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.why
}

// active says whether the end of the connection cuts something off.
func (c *Conn) active() bool {
	for _, s := range c.streams {
		if s.state != streamIdle {
			return true
		}
	}
	return !c.connected.Load()
}

// linger lets a client that was told something read it: the reply goes out, our side is shut, and what still arrives is
// dropped until the client closes. Closing at once could destroy the reply (a reset overtakes it).
func (c *Conn) linger(why lifecycle.Reason) {
	if c.in.hs != nil || !c.polite(why) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.server.CloseTimeout)
	defer cancel()
	if c.w.Flush(ctx) != nil {
		return
	}
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	c.nc.SetReadDeadline(time.Now().Add(c.server.CloseTimeout))
	r := netio.NewReader(c.nc, 0)
	for r.Next(func([]byte) error { return nil }) == nil {
	}
}

// pingBytes is how much a ping request is on the wire.
const pingBytes = 18

// check runs by timer: it ends a connection that did not come to connect in time, or that has been silent. A player that says nothing but takes what it is sent stays, and is asked again: there are some that
// acknowledge nothing and answer no ping, and one that does not take it is slow.
func (c *Conn) check() {
	period := c.server.IdleTimeout / 2
	went, _ := c.w.Stats()
	c.mu.Lock()
	received := c.in.received.Load()
	if received != c.seen {
		c.quiet = -1
	}
	c.quiet++
	if c.quiet > 1 && c.playing.Load() != nil && went > c.gone+pingBytes {
		c.quiet = 1
	}
	quiet := c.quiet
	c.seen, c.gone = received, went
	if !c.closing {
		c.timer.Reset(period)
	}
	c.mu.Unlock()
	switch {
	case !c.connected.Load():
		c.Close(lifecycle.ReasonTimeout.With("no connect within %v (HandshakeTimeout)", c.server.HandshakeTimeout))
	case quiet == 1:
		c.queue(userControl(ControlPingRequest, uint32(time.Now().UnixMilli())))
	case quiet >= 2:
		c.Close(lifecycle.ReasonTimeout.With("no byte within %v (IdleTimeout)", c.server.IdleTimeout))
	}
}

// queue sends messages to this client alone.
func (c *Conn) queue(ms ...Message) {
	c.write(appendMessages(nil, c.chunkSize(), ms...))
}

// chunkSize is what the client knows of our chunk size: the announcement is part of connect's answer.
func (c *Conn) chunkSize() int {
	if c.connected.Load() {
		return c.server.ChunkSize
	}
	return DefaultChunkSize
}

func (c *Conn) write(b []byte) {
	if err := c.w.Queue(b); errors.Is(err, netio.ErrSlow) {
		lifecycle.CountReached("rtmp.QueueLimit")
		c.Close(lifecycle.ReasonSlow.With("replies exceed the queue limit"))
	}
}

// outlet is the connection as the source of its own writer.
type outlet Conn

// Enter implements netio.Gated.
func (c *outlet) Enter() bool { return c.order.TryLock() }

// Leave implements netio.Gated.
func (c *outlet) Leave() { c.order.Unlock() }

// Fill implements netio.Source: it takes from the sources of the streams that play.
func (c *outlet) Fill(dst [][]byte, most int) [][]byte {
	for s := c.playing.Load(); s != nil; s = s.alsoPlaying.Load() {
		if source := s.source.Load(); source != nil && !s.paused.Load() {
			dst = (*source).Fill(dst, most)
		}
	}
	return dst
}

// setState derives the connection's state from its streams and logs a change.
func (c *Conn) setState(why lifecycle.Reason) {
	state := StateHandshake
	if c.connected.Load() {
		state = StateConnected
	}
	for _, s := range c.streams {
		switch s.state {
		case streamPublishing:
			state = StatePublishing
		case streamPlaying:
			if state != StatePublishing {
				state = StatePlaying
			}
		}
	}
	c.log.Set(state, lights[state], why)
}

// Call calls a command of the client and waits up to Server.CallTimeout for its answer, whose values come after the command object. An answer
// _error is a *Refusal. It must not be called from a handler function, which would keep the answer from being read.
func (c *Conn) Call(ctx context.Context, name string, args ...amf.Value) ([]amf.Value, error) {
	answer := make(chan *Command, 1)
	c.mu.Lock()
	c.call++
	number := c.call
	if c.calls == nil {
		c.calls = make(map[float64]chan<- *Command)
	}
	c.calls[number] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.calls, number)
		c.mu.Unlock()
	}()
	c.queue(command(0, name, number, append([]amf.Value{nil}, args...)...))
	timeout := time.NewTimer(c.server.CallTimeout)
	defer timeout.Stop()
	select {
	case cmd := <-answer:
		return cmd.Args, cmd.failure()
	case <-c.ctx.Done():
		return nil, fmt.Errorf("rtmp: call %q: %w", name, ErrClosed)
	case <-timeout.C:
		return nil, fmt.Errorf("rtmp: call %q: %w", name, lifecycle.ReasonTimeout.With("no answer within %v (CallTimeout)", c.server.CallTimeout))
	case <-ctx.Done():
		return nil, fmt.Errorf("rtmp: call %q: %w", name, ctx.Err())
	}
}

// Notify calls a command of the client that needs no answer.
func (c *Conn) Notify(name string, args ...amf.Value) {
	c.queue(command(0, name, 0, append([]amf.Value{nil}, args...)...))
}
