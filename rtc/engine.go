package rtc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/ice/v4"
	"github.com/pion/webrtc/v4"

	"hawser/lifecycle"
)

// Engine is the place where peers live. All methods may run at once.
type Engine struct {
	opts     Options
	mux      *udpMux // nil without a UDP port
	flusher  *flusher
	watching *time.Timer // nil without mux
	turn     *turnServer // nil without Options.TURN
	log      *stackLog
	tcp      net.Listener
	net      *network
	config   webrtc.Configuration
	settings webrtc.SettingEngine

	codecsMu sync.Mutex
	known    map[string]*codecs // by what is sent

	mu     sync.Mutex
	peers  map[*Peer]struct{}
	closed bool
}

// What a connection of ICE over TCP may have waiting: packets that were received, and bytes to be sent; what is more is lost, as on UDP.
const (
	tcpReadQueue   = 64
	tcpWriteBuffer = 1 << 20
)

// relayPatience is how long a pair with a relay waits for a better one to work.
const relayPatience = time.Second

// dtlsRetransmission is how long a flight of the DTLS handshake waits for its answer before it is sent again; doubled each time (RFC 9147 section 5.8.2). A second, which is the default of others, makes one lost
// packet cost as much; browsers wait for less, too.
const dtlsRetransmission = 300 * time.Millisecond

// replayWindow is how many packets behind the newest one may be: what was lost and asked for again comes late, at 10 Mbit/s a hundred packets in a tenth of a second.
const replayWindow = 2048

// New opens the ports.
func New(o Options) (*Engine, error) {
	o.fill()
	e := &Engine{flusher: newFlusher(), opts: o, peers: make(map[*Peer]struct{}), known: make(map[string]*codecs)}
	if err := e.open(); err != nil {
		e.Close()
		return nil, fmt.Errorf("rtc: %w", err)
	}
	return e, nil
}

func (e *Engine) open() error {
	o := &e.opts
	var settings webrtc.SettingEngine
	n, err := newNetwork(o.net)
	if err != nil {
		return err
	}
	e.net = n
	settings.SetNet(n)
	e.log = &stackLog{log: o.Log}
	settings.LoggerFactory = e.log
	settings.DetachDataChannels()
	settings.SetSCTPMaxMessageSize(uint32(o.MaxMessage))
	settings.SetSRTPProtectionProfiles(dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80)
	settings.SetDTLSRetransmissionInterval(dtlsRetransmission)
	settings.SetSRTPReplayProtectionWindow(replayWindow)
	settings.SetICETimeouts(o.DisconnectedTimeout, o.FailedTimeout, o.KeepAlive)
	settings.SetRelayAcceptanceMinWait(relayPatience)
	settings.SetIncludeLoopbackCandidate(o.Loopback)
	settings.SetLite(o.Lite)
	settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	if len(o.Announce) > 0 {
		rule := webrtc.ICEAddressRewriteRule{External: o.Announce, AsCandidateType: webrtc.ICECandidateTypeHost, Mode: webrtc.ICEAddressRewriteReplace}
		if err := settings.SetICEAddressRewriteRules(rule); err != nil {
			return fmt.Errorf("addresses to announce: %w", err)
		}
	}
	networks := []webrtc.NetworkType{}
	switch {
	case o.UDP == "": // each peer opens its own
		networks = append(networks, webrtc.NetworkTypeUDP4, webrtc.NetworkTypeUDP6)
	case o.ownUDP():
		mux, err := newUDPMux(n, o.UDP, o.Loopback, o.MaxCandidates)
		if err != nil {
			return fmt.Errorf("listen %q: %w", o.UDP, err)
		}
		e.mux = mux
		e.mu.Lock()
		e.watching = time.AfterFunc(silenceInterval, e.watchSilence)
		e.mu.Unlock()
		settings.SetICEUDPMux(mux)
		networks = append(networks, webrtc.NetworkTypeUDP4, webrtc.NetworkTypeUDP6)
	}
	if o.TCP != "" {
		tcp, err := net.Listen("tcp", o.TCP)
		if err != nil {
			return err
		}
		e.tcp = tcp
		settings.SetICETCPMux(ice.NewTCPMuxDefault(ice.TCPMuxParams{Listener: tcp, Logger: e.log, ReadBufferSize: tcpReadQueue, WriteBufferSize: tcpWriteBuffer, FirstStunBindTimeout: o.ConnectTimeout,
			AliveDurationForConnFromStun: o.ConnectTimeout}))
		networks = append(networks, webrtc.NetworkTypeTCP4, webrtc.NetworkTypeTCP6)
	}
	settings.SetNetworkTypes(networks)
	e.config.ICEServers = stackServers(o.ICEServers)
	e.settings = settings
	if o.RelayOnly {
		e.settings.SetRelayAcceptanceMinWait(0) // no better pair can come
		e.config.ICETransportPolicy = webrtc.ICETransportPolicyRelay
	}
	if o.TURN != nil {
		if e.turn, err = e.openTURN(*o.TURN); err != nil {
			return err
		}
	}
	return nil
}

// stackServers are servers as the stack below takes them.
func stackServers(servers []ICEServer) (list []webrtc.ICEServer) {
	for _, s := range servers {
		list = append(list, webrtc.ICEServer{URLs: s.URLs, Username: s.Username, Credential: s.Credential})
	}
	return list
}

// ICEServers are the STUN and TURN servers that a client is to use: those of Options, and the embedded TURN server with credentials that were made for the client.
func (e *Engine) ICEServers() []ICEServer {
	servers := slices.Clone(e.opts.ICEServers)
	if e.turn != nil {
		if s, err := e.turn.credentials("viewer"); err == nil {
			servers = append(servers, s)
		}
	}
	return servers
}

// UDPAddr returns the address of the UDP port, nil if there is none.
func (e *Engine) UDPAddr() net.Addr {
	if e.mux == nil {
		return nil
	}
	return e.mux.addr()
}

// TCPAddr returns the address of the TCP port, nil if there is none.
func (e *Engine) TCPAddr() net.Addr {
	if e.tcp == nil {
		return nil
	}
	return e.tcp.Addr()
}

// Bounds returns what the limits of peers allow, by the names under which lifecycle counts how often each is reached; nil of a nil engine.
func (e *Engine) Bounds() map[string]int {
	if e == nil {
		return nil
	}
	return map[string]int{"rtc.MaxPeers": e.opts.MaxPeers, "rtc.MaxCandidates": e.opts.MaxCandidates, "rtc.MaxChannels": e.opts.MaxChannels, "rtc.MaxSDP": e.opts.MaxSDP, "rtc.MaxMessage": e.opts.MaxMessage,
		"rtc.MaxSections": MaxSections}
}

// Peer makes a peer, of which nothing is known so far; lifecycle.ReasonLimit when there are too many, ReasonShutdown when the engine is closed. It must be closed.
func (e *Engine) Peer(o PeerOptions) (*Peer, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closed:
		return nil, lifecycle.ReasonShutdown
	case len(e.peers) >= e.opts.MaxPeers:
		return nil, lifecycle.Reached("rtc.MaxPeers", e.opts.MaxPeers).With("%d WebRTC peers (MaxPeers)", e.opts.MaxPeers)
	}
	p, err := newPeer(e, o)
	if err != nil {
		return nil, fmt.Errorf("rtc: %w", err)
	}
	e.peers[p] = struct{}{}
	return p, nil
}

// silenceInterval is how often an engine looks for peers that have become silent.
const silenceInterval = 250 * time.Millisecond

func (e *Engine) watchSilence() {
	e.mu.Lock()
	peers := make([]*Peer, 0, len(e.peers))
	for p := range e.peers {
		peers = append(peers, p)
	}
	if !e.closed {
		e.watching.Reset(silenceInterval)
	}
	e.mu.Unlock()
	now := time.Now()
	for _, p := range peers {
		p.watchSilence(now)
	}
}

func (e *Engine) remove(p *Peer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.peers, p)
}

// Close closes the peers (reason shutdown) and the ports.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.closed = true
	var peers []*Peer
	for p := range e.peers {
		peers = append(peers, p)
	}
	e.mu.Unlock()
	for _, p := range peers {
		p.Close(lifecycle.ReasonShutdown)
	}
	var err error
	if e.mux != nil {
		e.watching.Stop()
		err = e.mux.Close()
	}
	if e.tcp != nil {
		err = errors.Join(err, e.tcp.Close())
	}
	if e.turn != nil {
		err = errors.Join(err, e.turn.server.Close())
	}
	e.flusher.close()
	return err
}

// gathered waits until the addresses of a connection are known, for as long as Options.GatherTimeout says.
func (e *Engine) gathered(ctx context.Context, done <-chan struct{}) error {
	patience := time.NewTimer(e.opts.GatherTimeout)
	defer patience.Stop()
	select {
	case <-done:
	case <-patience.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}
