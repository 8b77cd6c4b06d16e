package rtc

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// udpMux carries all peers over one UDP port. It has a socket on each of the machine's addresses rather than one on all of them: an answer leaves from the address that was asked, on machines with several,
// and addresses that appear later are taken up when a peer gathers (RFC 8445 section 5.1.1.1). It implements ice.UDPMux; unlike the stack's own it gives a check to the agent that the check names, even
// where another one knew the address before, holds the packets of a group together, and bounds what a peer can make it remember.
type udpMux struct {
	net        *network
	host       netip.Addr // of Options.UDP; the zero value is all of the machine's
	loopback   bool
	maxRemotes int
	strangers  atomic.Uint64 // packets for nobody

	mu      sync.Mutex
	port    int // 0 until the first socket has one
	sockets map[netip.Addr]*socket
	closed  bool

	linesMu sync.RWMutex
	lines   map[string]*line // by the agent's user name fragment
}

// maxSockets bounds the sockets of a mux; those of addresses that are gone make room.
const maxSockets = 64

// socketBuffer is what a socket asks the system for, each way; it may get less.
const socketBuffer = 4 << 20

func newUDPMux(n *network, address string, loopback bool, maxRemotes int) (*udpMux, error) {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	m := &udpMux{net: n, loopback: loopback, maxRemotes: maxRemotes, sockets: make(map[netip.Addr]*socket), lines: make(map[string]*line)}
	if m.port, err = net.LookupPort("udp", portText); err != nil {
		return nil, err
	}
	if host != "" {
		ip, err := net.ResolveIPAddr("ip", host)
		if err != nil {
			return nil, err
		}
		if a, _ := netip.AddrFromSlice(ip.IP); !a.IsUnspecified() {
			m.host = a.Unmap().WithZone(ip.Zone)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.openLocked(); err != nil {
		m.closeLocked()
		return nil, err
	}
	return m, nil
}

// openLocked opens sockets on addresses that have none. Only an address that is taken is an error: others come and go.
func (m *udpMux) openLocked() error {
	for attempt := 0; ; attempt++ {
		chosen := m.port == 0
		var taken error
		for _, a := range m.addresses() {
			if m.sockets[a] == nil {
				err := m.listenLocked(a)
				if errors.Is(err, syscall.EADDRINUSE) {
					taken = cmp.Or(taken, err)
				} else if err != nil && a == m.host {
					return err
				}
			}
		}
		if taken == nil || !chosen || attempt == 10 {
			return taken
		}
		m.closeLocked() // the port that the system chose on one address is taken on another
		m.port, m.closed = 0, false
	}
}

func (m *udpMux) listenLocked(a netip.Addr) error {
	if len(m.sockets) >= maxSockets {
		present := m.addresses()
		for old, s := range m.sockets {
			if !slices.Contains(present, old) {
				s.conn.Close()
				delete(m.sockets, old)
			}
		}
		if len(m.sockets) >= maxSockets {
			return nil
		}
	}
	family := "udp4"
	if a.Is6() {
		family = "udp6"
	}
	conn, err := net.ListenUDP(family, net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, uint16(m.port))))
	if err != nil {
		return err
	}
	conn.SetReadBuffer(socketBuffer)
	conn.SetWriteBuffer(socketBuffer)
	s, err := newSocket(m, conn)
	if err != nil {
		conn.Close()
		return err
	}
	m.port = int(s.addr.Port())
	m.sockets[a] = s
	go s.read()
	return nil
}

// addresses are those that the mux should listen on.
func (m *udpMux) addresses() (list []netip.Addr) {
	if m.host.IsValid() {
		return []netip.Addr{m.host}
	}
	all, err := m.net.Interfaces()
	if err != nil {
		return nil
	}
	for _, i := range all {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 && !m.loopback {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if ip := p.Addr().Unmap(); err == nil && !ip.IsLinkLocalUnicast() && !ip.IsMulticast() && !slices.Contains(list, ip) {
				list = append(list, ip)
			}
		}
	}
	return list
}

// GetListenAddresses implements ice.UDPMux. It is called each time that a peer gathers, and takes up addresses that are new.
func (m *udpMux) GetListenAddresses() (list []net.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	m.openLocked() // what cannot be opened now may be later
	for _, a := range m.addresses() {
		if s := m.sockets[a]; s != nil {
			list = append(list, net.UDPAddrFromAddrPort(s.addr))
		}
	}
	return list
}

// addr is the address that stands for the mux.
func (m *udpMux) addr() net.Addr {
	m.mu.Lock()
	defer m.mu.Unlock()
	ip := net.IPv6unspecified
	if m.host.IsValid() {
		ip = m.host.AsSlice()
	}
	return &net.UDPAddr{IP: ip, Port: m.port}
}

// GetConn implements ice.UDPMux.
func (m *udpMux) GetConn(ufrag string, addr net.Addr) (net.PacketConn, error) {
	udp, ok := addr.(*net.UDPAddr)
	if !ok {
		return nil, fmt.Errorf("rtc: %v is no UDP address", addr)
	}
	m.mu.Lock()
	s := m.sockets[udp.AddrPort().Addr().Unmap()]
	closed := m.closed
	m.mu.Unlock()
	if s == nil || closed {
		return nil, io.ErrClosedPipe
	}
	m.linesMu.Lock()
	defer m.linesMu.Unlock()
	l := m.lines[ufrag]
	if l == nil {
		l = &line{mux: m, ufrag: ufrag}
		m.lines[ufrag] = l
	}
	return l.open(s), nil
}

// line returns the way of the agent with a user name fragment; nil if it has none over UDP.
func (m *udpMux) line(ufrag string) *line {
	m.linesMu.RLock()
	defer m.linesMu.RUnlock()
	return m.lines[ufrag]
}

// RemoveConnByUfrag implements ice.UDPMux.
func (m *udpMux) RemoveConnByUfrag(ufrag string) {
	m.linesMu.Lock()
	l := m.lines[ufrag]
	delete(m.lines, ufrag)
	m.linesMu.Unlock()
	if l != nil {
		l.close()
	}
}

// Close implements ice.UDPMux.
func (m *udpMux) Close() error {
	m.mu.Lock()
	m.closeLocked()
	m.mu.Unlock()
	m.linesMu.Lock()
	lines := m.lines
	m.lines = make(map[string]*line)
	m.linesMu.Unlock()
	for _, l := range lines {
		l.close()
	}
	return nil
}

func (m *udpMux) closeLocked() {
	m.closed = true
	for a, s := range m.sockets {
		s.conn.Close()
		delete(m.sockets, a)
	}
}

// socket is the mux's socket on one address.
type socket struct {
	mux  *udpMux
	conn *net.UDPConn
	raw  syscall.RawConn
	addr netip.AddrPort
	gso  atomic.Bool // the system takes groups

	mu     sync.RWMutex
	routes map[netip.AddrPort]*muxConn // who was written to last from there, or is to be
}

func newSocket(m *udpMux, conn *net.UDPConn) (*socket, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &socket{mux: m, conn: conn, raw: raw, routes: make(map[netip.AddrPort]*muxConn)}
	a := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	s.addr = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	s.gso.Store(true)
	return s, nil
}

// packet is a received packet in a buffer of the pool.
type packet struct {
	next *packet
	from netip.AddrPort
	n    int
	data [receiveMTU]byte

	nonce [12]byte // while it is used to send
}

var packetPool = sync.Pool{New: func() any { return new(packet) }}

// take hands a packet that came at a time to whom it is for. It is the packet's owner afterwards.
func (s *socket) take(p *packet, now int64) {
	s.mu.RLock()
	c := s.routes[p.from]
	s.mu.RUnlock()
	if ufrag, ok := bindingRequest(p.data[:p.n]); ok && (c == nil || c.line.ufrag != string(ufrag)) {
		c = s.mux.find(ufrag, s, p.from)
	}
	if c != nil {
		c.line.heard.Store(now)
	}
	if c == nil || !c.put(p) {
		s.mux.strangers.Add(1)
		packetPool.Put(p)
	}
}

// find returns who a check is for, if it may come from there.
func (m *udpMux) find(ufrag []byte, s *socket, from netip.AddrPort) *muxConn {
	m.linesMu.RLock()
	l := m.lines[string(ufrag)]
	m.linesMu.RUnlock()
	if l == nil {
		return nil
	}
	return l.expect(s, from)
}

// bindingRequest says whether a packet is a check, and of whom (RFC 8489 sections 5 and 14.3): the user name is "theirs:ours" as seen from its sender, and the first is the receiver's.
func bindingRequest(b []byte) (ufrag []byte, ok bool) {
	const header, cookie, username = 20, 0x2112a442, 6
	if len(b) < header || binary.BigEndian.Uint16(b) != 1 || binary.BigEndian.Uint32(b[4:]) != cookie {
		return nil, false
	}
	for at := header; at+4 <= len(b); {
		n := int(binary.BigEndian.Uint16(b[at+2:]))
		if at+4+n > len(b) {
			break
		}
		if binary.BigEndian.Uint16(b[at:]) == username {
			name := b[at+4 : at+4+n]
			if i := strings.IndexByte(string(name), ':'); i >= 0 {
				name = name[:i]
			}
			return name, true
		}
		at += 4 + (n+3)&^3
	}
	return nil, false
}
