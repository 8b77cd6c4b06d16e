package websocket

import (
	"fmt"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"hawser/lifecycle"
	"hawser/netio"
)

// The words of the event log.
const (
	protocolName    = "websocket"
	lifecycleServer = lifecycle.Server
)

// blockingRead is the size of the buffer that connections hold which cannot be read without one (TLS), in bytes.
const blockingRead = 16 << 10

// State is where a connection is in its life.
type State uint8

const (
	// StateConnecting: the opening handshake is still to be completed; StateOpen or StateClosed follows. Amber. A Conn is never in it.
	StateConnecting State = iota
	// StateOpen: messages pass both ways; StateClosing or StateClosed follows. Green.
	StateOpen
	// StateClosing: one side has begun the close handshake; StateClosed follows. Amber.
	StateClosing
	// StateClosed: the network connection is closed. Final. Red.
	StateClosed
)

var stateWords = [...]string{"connecting", "open", "closing", "closed"}

// String returns "connecting", "open", "closing" or "closed".
func (s State) String() string {
	if int(s) < len(stateWords) {
		return stateWords[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// MarshalText returns the word of String.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes one of the words of String.
func (s *State) UnmarshalText(b []byte) error {
	for i, w := range stateWords {
		if w == string(b) {
			*s = State(i)
			return nil
		}
	}
	return fmt.Errorf("websocket: state %q is not known", b)
}

// connInfo is what a connection knows of itself.
type connInfo struct {
	address string
	origin  string
	life    *lifecycle.Conn
	server  bool
}

// Conn is one end of a WebSocket connection. All methods may run at once, except that one at a time reads with Read, Events or Handle, and that SetSource comes before the first
// Wake. Somebody must read: pings, pongs and the close handshake are answered by whoever reads.
type Conn struct {
	connInfo
	nc     net.Conn
	set    *settings
	agreed *agreement
	w      *netio.Writer
	source netio.Source

	// sends counts the sends that are under way; noSend is added when no more may begin, and whoever then brings the count down to noSend queues the close frame.
	sends      atomic.Int64
	closeFrame atomic.Pointer[[]byte]

	gather gather

	watcher  atomic.Pointer[netio.Watch] // of Handle
	reading  atomic.Bool                 // somebody reads
	turns    atomic.Uint32               // counts how often who reads began or ended to wait for the network: odd while it waits
	progress atomic.Uint32               // counts the reads that ended within a frame
	pong     atomic.Bool                 // a pong has come since the last keepalive ping

	// Owned by whoever reads.
	p         parser
	in        *incoming        // nil: nobody has waited yet
	left      []byte           // read but not yet parsed
	yield     func(Event) bool // nil: nobody wants events
	poller    *time.Timer
	stopped   bool // yield has said so
	wantMsg   bool // Read waits for in.msg
	gathering bool // more messages came together with the one being handled

	wakeMu sync.Mutex // guards the read deadline
	polled bool       // why it is set: Poll; else a context

	mu       sync.Mutex
	state    State
	ended    bool        // and nothing is left to be done
	graceful bool        // with a whole close handshake
	sent     *CloseError // what our close frame says
	broken   *CloseError // why nothing can be written any more
	err      *CloseError // how it ended
	*farewell
	keeper *keeper
	done   chan struct{}
}

// incoming is what only a reader needs that waits in a goroutine.
type incoming struct {
	r       *netio.Reader
	feed    func([]byte) error
	msg     message         // what Read gets
	watched <-chan struct{} // the Done of the context whose end interrupts the reader
	unwatch func() bool
}

// farewell is what only a connection needs that is about to end. It is guarded by the connection's mu.
type farewell struct {
	final        *CloseError   // how it will end once the peer lets go
	peer         *CloseError   // what the peer's close frame says
	unresponsive *CloseError   // no pong came; it ends with this, whatever else is seen
	queued       chan struct{} // closed when our close frame is queued; made with sent
	deadline     *time.Timer   // of the close handshake
}

// noFarewell is that of all connections whose end is not in sight. It never changes.
var noFarewell farewell

// partLocked returns the connection's own farewell.
func (c *Conn) partLocked() *farewell {
	if c.farewell == &noFarewell {
		c.farewell = new(farewell)
	}
	return c.farewell
}

// noAgreement is what most handshakes agree on. It never changes.
var noAgreement agreement

// newConn makes a connection of a network connection whose handshake is done; left is what the peer has already sent.
func newConn(nc net.Conn, left []byte, agreed agreement, s *settings, info connInfo) *Conn {
	c := &Conn{connInfo: info, nc: nc, set: s, agreed: &noAgreement, farewell: &noFarewell, left: left}
	c.w = netio.NewWriter(nc, netio.WriterOptions{Pool: s.pool, QueueLimit: s.queueLimit, Timeout: s.write, OnError: c.writeFailed})
	c.w.SetSource((*conduit)(c))
	c.p = parser{masked: info.server, unknown: s.unknown, rsv: agreed.rsv, maxMessage: s.maxMessage, maxFrame: s.maxFrame, emit: c.received}
	c.gather.c = c
	if agreed.ordered() {
		agreed.turn = make(chan struct{}, 1)
	}
	if agreed.subprotocol != "" || len(agreed.codecs) > 0 {
		c.agreed = &agreed
	}
	return c
}

// readSize is how much is read at once; 0 means netio's default.
func readSize(nc net.Conn) int {
	switch nc.(type) {
	case *net.TCPConn, *net.UnixConn, *netio.Socket:
		return 0
	}
	return blockingRead
}

// open begins the connection's life.
func (c *Conn) open() {
	c.mu.Lock()
	c.state = StateOpen
	if c.set.keepalive > 0 {
		c.keeper = newKeeper(c)
	}
	c.mu.Unlock()
	c.life.Set(StateOpen.String(), lifecycle.Green, lifecycle.Reason{})
}

// ID returns the connection's identity in the event log, for example "websocket-12"; empty without a log.
func (c *Conn) ID() string { return c.life.ID() }

// Server says which end this is.
func (c *Conn) Server() bool { return c.server }

// URL returns the address: the one dialed, or that of the request. It is made anew with each call.
func (c *Conn) URL() *url.URL {
	u, err := url.ParseRequestURI(c.address)
	if err != nil {
		u, _ = url.Parse(c.address)
	}
	return u
}

// Origin returns the Origin of the client's request; empty if there was none.
func (c *Conn) Origin() string { return c.origin }

// Subprotocol returns the subprotocol agreed on; empty if there is none.
func (c *Conn) Subprotocol() string { return c.agreed.subprotocol }

// Extensions returns the extensions agreed on, as in the handshake; empty if there are none.
func (c *Conn) Extensions() string { return c.agreed.extensions }

// RemoteAddr returns the peer's network address.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// LocalAddr returns this end's network address.
func (c *Conn) LocalAddr() net.Addr { return c.nc.LocalAddr() }

// State returns where the connection is in its life.
func (c *Conn) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// Err returns how the connection ended, a *CloseError; nil while it has not.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		return nil
	}
	return c.err
}

// Done returns a channel that is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.doneLocked()
}

func (c *Conn) doneLocked() chan struct{} {
	if c.done == nil {
		c.done = make(chan struct{})
		if c.ended {
			close(c.done)
		}
	}
	return c.done
}

// Stats returns how many bytes were written in how many system calls.
func (c *Conn) Stats() (bytes, writes uint64) { return c.w.Stats() }
