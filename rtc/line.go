package rtc

import (
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// line is the way of one agent over a mux, until its next restart. It has a connection for each socket on which the agent has a candidate.
type line struct {
	mux   *udpMux
	ufrag string
	batch atomic.Pointer[batch] // where packets of media are held, while a group is sent
	heard atomic.Int64          // when something came last, as Unix time in nanoseconds

	mu     sync.Mutex
	conns  []*muxConn
	closed bool
}

// open returns a handle of the connection for a socket.
func (l *line) open(s *socket) net.PacketConn {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		if c.socket == s {
			return c.handle()
		}
	}
	c := &muxConn{line: l, socket: s, remotes: make(map[netip.AddrPort]*socket)}
	c.some.L = &c.mu
	c.closed = l.closed
	l.conns = append(l.conns, c)
	return c.handle()
}

// expect returns who takes a check that came to a socket: the connection for that socket, or where there is none (one of several addresses stands for all: Options.Announce) another one, which then answers
// over the socket. It is nil when the agent has too many remote addresses.
func (l *line) expect(s *socket, from netip.AddrPort) *muxConn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.conns) == 0 {
		return nil
	}
	chosen := l.conns[0]
	for _, c := range l.conns {
		if c.socket == s {
			chosen = c
		}
	}
	if !chosen.know(from, s, false) {
		return nil
	}
	return chosen
}

// way returns where the packets of a pair go; nil if the line has no such pair.
func (l *line) way(pair Pair) *way {
	to, err := netip.ParseAddrPort(pair.Remote.Address)
	if err != nil || l == nil {
		return nil
	}
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	l.mu.Lock()
	defer l.mu.Unlock()
	var only *muxConn
	for _, c := range l.conns { // announced addresses are not those of the sockets: whoever has written to the address
		c.mu.Lock()
		_, known := c.remotes[to]
		c.mu.Unlock()
		if known && (only == nil || c.socket.addr.String() == pair.Local.Address) {
			only = c
		}
	}
	if only == nil {
		return nil
	}
	return &way{only, to}
}

func (l *line) close() {
	l.mu.Lock()
	conns := l.conns
	l.conns, l.closed = nil, true
	l.mu.Unlock()
	for _, c := range conns {
		c.close()
	}
}

// drop forgets a connection, and with the last one the line: an agent may open one after it has given the line up.
func (l *line) drop(c *muxConn) {
	l.mux.linesMu.Lock()
	defer l.mux.linesMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = slices.DeleteFunc(l.conns, func(other *muxConn) bool { return other == c })
	if len(l.conns) == 0 && l.mux.lines[l.ufrag] == l {
		l.closed = true
		delete(l.mux.lines, l.ufrag)
	}
}

// maxQueue bounds the packets that wait for an agent; a queue that is full loses the newest.
const maxQueue = 512

// muxConn is a line over one socket.
type muxConn struct {
	line   *line
	socket *socket

	mu          sync.Mutex
	some        sync.Cond
	first, last *packet // received, not yet read
	waiting     int
	handles     int
	closed      bool
	remotes     map[netip.AddrPort]*socket // where packets for a remote address leave
}

// know makes an address known, with the socket that reaches it. claim takes the address over from whoever had it. It is false when there are too many.
func (c *muxConn) know(a netip.AddrPort, s *socket, claim bool) bool {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return false
	}
	_, known := c.remotes[a]
	if !known && len(c.remotes) >= c.line.mux.maxRemotes {
		c.mu.Unlock()
		return false
	}
	if known && claim {
		c.mu.Unlock()
		return true
	}
	if claim || !known {
		c.remotes[a] = s
	}
	c.mu.Unlock()
	if claim {
		s.mu.Lock()
		s.routes[a] = c
		s.mu.Unlock()
	}
	return true
}

// put queues a received packet.
func (c *muxConn) put(p *packet) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.waiting >= maxQueue {
		return false
	}
	if p.next = nil; c.first == nil {
		c.first = p
	} else {
		c.last.next = p
	}
	c.last = p
	c.waiting++
	c.some.Signal()
	return true
}

func (c *muxConn) handle() net.PacketConn {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handles++
	return &muxHandle{muxConn: c}
}

func (c *muxConn) close() {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed = true
	for p := c.first; p != nil; {
		next := p.next
		packetPool.Put(p)
		p = next
	}
	c.first, c.last, c.waiting = nil, nil, 0
	remotes := c.remotes
	c.remotes = nil
	c.some.Broadcast()
	c.mu.Unlock()
	for a, s := range remotes {
		s.mu.Lock()
		if s.routes[a] == c {
			delete(s.routes, a)
		}
		s.mu.Unlock()
	}
}

// muxHandle is one candidate's part in a muxConn. It implements ice.AddrPortReaderWriter.
type muxHandle struct {
	*muxConn
	done bool // guarded by muxConn.mu
}

// ReadFromAddrPort waits for a packet.
func (h *muxHandle) ReadFromAddrPort(b []byte) (int, netip.AddrPort, error) {
	h.mu.Lock()
	for h.first == nil && !h.closed && !h.done {
		h.some.Wait()
	}
	if h.closed || h.done {
		h.mu.Unlock()
		return 0, netip.AddrPort{}, io.EOF
	}
	p := h.first
	h.first = p.next
	h.waiting--
	h.mu.Unlock()
	n, from := copy(b, p.data[:p.n]), p.from
	packetPool.Put(p)
	return n, from, nil
}

// WriteToAddrPort sends a packet, or holds it while a group is gathered.
func (h *muxHandle) WriteToAddrPort(b []byte, to netip.AddrPort) (int, error) {
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	if batch := h.line.batch.Load(); batch != nil && isMedia(b) && batch.add(h.muxConn, to, b) {
		return len(b), nil
	}
	s, err := h.route(to)
	if err != nil {
		return 0, err
	}
	return s.conn.WriteToUDPAddrPort(b, to)
}

// route returns the socket for a remote address, which belongs to the agent from now on.
func (c *muxConn) route(to netip.AddrPort) (*socket, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, io.ErrClosedPipe
	}
	s := c.remotes[to]
	c.mu.Unlock()
	if s == nil {
		s = c.socket
		if !c.know(to, s, true) {
			return nil, io.ErrClosedPipe
		}
	}
	s.mu.RLock()
	mine := s.routes[to] == c
	s.mu.RUnlock()
	if !mine {
		s.mu.Lock()
		s.routes[to] = c
		s.mu.Unlock()
	}
	return s, nil
}

// isMedia says that a packet is RTP or RTCP, not STUN or DTLS (RFC 7983 section 7).
func isMedia(b []byte) bool { return len(b) > 0 && b[0]>>6 == 2 }

// ReadFrom is ReadFromAddrPort.
func (h *muxHandle) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := h.ReadFromAddrPort(b)
	if err != nil {
		return n, nil, err
	}
	return n, net.UDPAddrFromAddrPort(from), nil
}

// WriteTo is WriteToAddrPort.
func (h *muxHandle) WriteTo(b []byte, to net.Addr) (int, error) {
	udp, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, net.InvalidAddrError("no UDP address")
	}
	return h.WriteToAddrPort(b, udp.AddrPort())
}

// Close ends this candidate's part; the connection ends with the last.
func (h *muxHandle) Close() error {
	h.mu.Lock()
	if h.done {
		h.mu.Unlock()
		return nil
	}
	h.done = true
	h.handles--
	last := h.handles == 0
	h.some.Broadcast()
	h.mu.Unlock()
	if last {
		h.muxConn.close()
		h.line.drop(h.muxConn)
	}
	return nil
}

// LocalAddr is the socket's.
func (h *muxHandle) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(h.socket.addr) }

// SetDeadline does nothing: who reads is ended by Close, and a write does not wait.
func (h *muxHandle) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (h *muxHandle) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (h *muxHandle) SetWriteDeadline(time.Time) error { return nil }
