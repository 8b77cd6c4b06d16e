package rtc

import (
	"net/netip"
	"sync"

	"github.com/pion/rtp"
)

const (
	// maxSegments is how many packets Linux takes in one send (UDP_MAX_SEGMENTS), maxGroup how many bytes fit into one.
	maxSegments = 64
	maxGroup    = 65_535 - 8 - 40
	// batchBytes and batchGroups are what is sent with one call at most.
	batchBytes  = 128 << 10
	batchGroups = 64
)

// outgroup is a run of packets for one address: all of one size, but that the last may be smaller. The system sends them with one pass through its stack (UDP_SEGMENT).
type outgroup struct {
	socket *socket
	to     netip.AddrPort
	at, n  int // its bytes in the batch
	size   int // of a packet
	count  int
	last   bool // a smaller packet has come
}

// batch holds the packets of a worker until they are sent together. It takes packets of one line at a time, from any goroutine.
type batch struct {
	mu     sync.Mutex
	line   *line
	conn   *muxConn // the last one that was added for, with the socket to the address
	to     netip.AddrPort
	socket *socket
	bytes  []byte
	groups []outgroup
	nonce  [12]byte
	system batchSystem
}

// hold begins with the packets of a line; nil ends.
func (b *batch) hold(l *line) {
	b.mu.Lock()
	before := b.line
	b.line, b.conn = l, nil
	b.mu.Unlock()
	if before != nil {
		before.batch.Store(nil)
	}
	if l != nil {
		l.batch.Store(b)
	}
}

// add takes a packet. It is false when the batch is with another line by now.
func (b *batch) add(c *muxConn, to netip.AddrPort, p []byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	dst := b.roomLocked(c, to, len(p))
	copy(dst, p)
	return dst != nil
}

// seal takes a packet that is encrypted into the batch.
func (b *batch) seal(w *way, size int, s *sealer, h *rtp.Header, rollover uint32, payload []byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	dst := b.roomLocked(w.conn, w.to, size)
	if dst == nil {
		return false
	}
	_, err := s.seal(dst, &b.nonce, h, rollover, payload)
	return err == nil
}

// roomLocked returns the bytes of a packet that is to be sent; nil when the batch is with another line by now.
func (b *batch) roomLocked(c *muxConn, to netip.AddrPort, size int) []byte {
	if b.line != c.line {
		return nil
	}
	if b.conn != c || b.to != to {
		s, err := c.route(to)
		if err != nil {
			return nil
		}
		b.conn, b.to, b.socket = c, to, s
	}
	if b.bytes == nil {
		b.bytes = make([]byte, 0, batchBytes)
	}
	if len(b.bytes)+size > batchBytes {
		b.flushLocked()
	}
	at := len(b.bytes)
	if n := len(b.groups); n > 0 {
		if g := &b.groups[n-1]; !g.last && g.to == to && g.socket == b.socket && size <= g.size && g.count < maxSegments && g.n+size <= maxGroup {
			g.last = size < g.size
			g.n += size
			g.count++
			b.bytes = b.bytes[:at+size]
			return b.bytes[at:]
		}
	}
	if len(b.groups) == batchGroups {
		b.flushLocked()
		at = 0
	}
	b.groups = append(b.groups, outgroup{socket: b.socket, to: to, at: at, n: size, size: size, count: 1})
	b.bytes = b.bytes[:at+size]
	return b.bytes[at:]
}

// flush sends what is held.
func (b *batch) flush() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.flushLocked()
}

func (b *batch) flushLocked() {
	for i := 0; i < len(b.groups); { // the groups of one socket with one call
		n := i + 1
		for n < len(b.groups) && b.groups[n].socket == b.groups[i].socket {
			n++
		}
		b.groups[i].socket.send(b, b.groups[i:n])
		i = n
	}
	clear(b.groups)
	b.groups, b.bytes = b.groups[:0], b.bytes[:0]
}

// sendEach sends the packets of groups one by one.
func (s *socket) sendEach(b *batch, groups []outgroup) {
	for _, g := range groups {
		for bytes := b.bytes[g.at : g.at+g.n]; len(bytes) > 0; {
			n := min(g.size, len(bytes))
			s.conn.WriteToUDPAddrPort(bytes[:n], g.to) // what UDP cannot send is lost like what the network loses
			bytes = bytes[n:]
		}
	}
}
