package rtc

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/pion/turn/v5"
)

// TURNOptions are the settings of an embedded TURN server (RFC 8656): a way to the engine for clients whose network lets no UDP through, or only to few ports.
type TURNOptions struct {
	// UDP and TCP are the addresses that it listens on, for example ":3478"; "" means none. One of them must be set.
	UDP, TCP string
	// Host is the name or address that clients are told; "" means Relay.
	Host string
	// Relay is the address that relayed packets come from, an IP address of this machine. It must be set.
	Relay string
	// Secret is what credentials are made with (draft-uberti-behave-turn-rest): whoever knows it can make them, and nobody else. It must be set.
	Secret string
	// Realm is told to clients; "" means "hawser".
	Realm string
	// Lifetime is how long the credentials that ICEServers hands out are valid; 0 means DefaultTURNLifetime.
	Lifetime time.Duration
	// MinPort and MaxPort bound the UDP ports of relays; 0 means DefaultTURNMinPort and DefaultTURNMaxPort. There can be no more relays than ports.
	MinPort, MaxPort uint16
	// AllowPeer says to whom packets may be relayed; nil means to addresses of this machine and those of Options.Announce: clients reach this server through it, and nothing else.
	AllowPeer func(netip.Addr) bool
}

// The values that hold unless TURNOptions say otherwise.
const (
	// DefaultTURNLifetime is how long credentials are valid: a client that stays longer keeps its relay, but cannot make another one with them.
	DefaultTURNLifetime = time.Hour
	// DefaultTURNMinPort and DefaultTURNMaxPort are the ports of relays: 256.
	DefaultTURNMinPort = 49152
	DefaultTURNMaxPort = 49407
)

// turnServer is the embedded server.
type turnServer struct {
	opts     TURNOptions
	server   *turn.Server
	urls     []string
	udp, tcp net.Addr
}

func (o *TURNOptions) check() (relay netip.Addr, err error) {
	relay, lost := netip.ParseAddr(o.Relay)
	if lost != nil {
		err = errors.Join(err, fmt.Errorf("TURN.Relay: %w", lost))
	}
	if o.Secret == "" {
		err = errors.Join(err, errors.New("TURN.Secret: it must be set"))
	}
	if o.UDP == "" && o.TCP == "" {
		err = errors.Join(err, errors.New("TURN.UDP, TURN.TCP: one must be set"))
	}
	if o.MinPort > o.MaxPort {
		err = errors.Join(err, fmt.Errorf("TURN.MinPort: got %d, want at most MaxPort, %d", o.MinPort, o.MaxPort))
	}
	return relay, err
}

func (e *Engine) openTURN(o TURNOptions) (t *turnServer, err error) {
	o.Realm, o.Lifetime = cmp.Or(o.Realm, "hawser"), cmp.Or(o.Lifetime, DefaultTURNLifetime)
	o.MinPort, o.MaxPort = cmp.Or(o.MinPort, DefaultTURNMinPort), cmp.Or(o.MaxPort, DefaultTURNMaxPort)
	o.Host = cmp.Or(o.Host, o.Relay)
	relay, err := o.check()
	if err != nil {
		return nil, err
	}
	if o.AllowPeer == nil {
		o.AllowPeer = e.isOwn
	}
	t = &turnServer{opts: o}
	relays := func() turn.RelayAddressGenerator {
		return &turn.RelayAddressGeneratorPortRange{RelayAddress: relay.AsSlice(), Address: relay.String(), MinPort: o.MinPort, MaxPort: o.MaxPort, Net: e.net}
	}
	allowed := func(_ net.Addr, ip net.IP) bool {
		a, ok := netip.AddrFromSlice(ip)
		return ok && o.AllowPeer(a.Unmap())
	}
	config := turn.ServerConfig{Realm: o.Realm, LoggerFactory: e.log, AuthHandler: turn.LongTermTURNRESTAuthHandler(o.Secret, e.log)}
	most := int(o.MaxPort) - int(o.MinPort) + 1
	var running atomic.Pointer[turn.Server] // it answers before it is known here
	config.QuotaHandler = func(string, string, net.Addr) bool {
		server := running.Load()
		return server == nil || server.AllocationCount() < most
	}
	var opened []interface{ Close() error }
	defer func() {
		if err != nil {
			for _, c := range opened {
				c.Close()
			}
		}
	}()
	if o.UDP != "" {
		c, err := net.ListenPacket("udp", o.UDP)
		if err != nil {
			return nil, err
		}
		opened, t.udp = append(opened, c), c.LocalAddr()
		config.PacketConnConfigs = append(config.PacketConnConfigs, turn.PacketConnConfig{PacketConn: c, RelayAddressGenerator: relays(), PermissionHandler: allowed})
		t.urls = append(t.urls, "turn:"+net.JoinHostPort(o.Host, strconv.Itoa(c.LocalAddr().(*net.UDPAddr).Port))+"?transport=udp")
	}
	if o.TCP != "" {
		c, err := net.Listen("tcp", o.TCP)
		if err != nil {
			return nil, err
		}
		opened, t.tcp = append(opened, c), c.Addr()
		config.ListenerConfigs = append(config.ListenerConfigs, turn.ListenerConfig{Listener: c, RelayAddressGenerator: relays(), PermissionHandler: allowed})
		t.urls = append(t.urls, "turn:"+net.JoinHostPort(o.Host, strconv.Itoa(c.Addr().(*net.TCPAddr).Port))+"?transport=tcp")
	}
	t.server, err = turn.NewServer(config)
	running.Store(t.server)
	return t, err
}

// isOwn says that an address is one of this machine, or announced for it.
func (e *Engine) isOwn(a netip.Addr) bool {
	if slices.Contains(e.opts.Announce, a.String()) {
		return true
	}
	all, _ := e.net.Interfaces()
	for _, i := range all {
		addrs, _ := i.Addrs()
		for _, of := range addrs {
			if p, err := netip.ParsePrefix(of.String()); err == nil && p.Addr().Unmap() == a {
				return !a.IsLoopback() || e.opts.Loopback
			}
		}
	}
	return false
}

// credentials returns the server as a client named user is told of it.
func (t *turnServer) credentials(user string) (ICEServer, error) {
	name, password, err := turn.GenerateLongTermTURNRESTCredentials(t.opts.Secret, user, t.opts.Lifetime)
	return ICEServer{URLs: t.urls, Username: name, Credential: password}, err
}
