package rtc

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/logging"
	"github.com/pion/transport/v4"
	"github.com/pion/transport/v4/stdnet"
	"github.com/pion/transport/v4/vnet"

	"hawser/lifecycle"
	"hawser/ring"
)

// cutNet is the machine's network, whose UDP sockets lose everything while it is cut, and a part of the media that they receive.
type cutNet struct {
	*stdnet.Net
	cut  atomic.Bool
	lose float64 // 0 to 1
	lost atomic.Int64
}

type cutConn struct {
	transport.UDPConn
	net *cutNet
}

func (n *cutNet) ListenUDP(network string, addr *net.UDPAddr) (transport.UDPConn, error) {
	c, err := n.Net.ListenUDP(network, addr)
	return &cutConn{c, n}, err
}

func (c *cutConn) WriteTo(b []byte, to net.Addr) (int, error) {
	if c.net.cut.Load() {
		return len(b), nil
	}
	return c.UDPConn.WriteTo(b, to)
}

func (c *cutConn) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	return c.WriteTo(b, net.UDPAddrFromAddrPort(to))
}

func (c *cutConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.UDPConn.ReadFrom(b)
		lost := err == nil && isMedia(b[:n]) && b[1]&0x60 != 0x40 && rand.Float64() < c.net.lose
		if err != nil || !c.net.cut.Load() && !lost {
			return n, from, err
		}
		c.net.lost.Add(1)
	}
}

// All seven states on real sockets, at both ends, and what a slow and a late observer see of them.
func TestAllSevenStates(t *testing.T) {
	std, err := stdnet.NewNet()
	if err != nil {
		t.Fatal(err)
	}
	wire := &cutNet{Net: std}
	o := quick(Options{})
	o.FailedTimeout = 3 * time.Second // time to see what comes before
	o.net = wire
	server, client := newEngine(t, o), newEngine(t, o)
	log := lifecycle.NewLog(ring.Limits{})
	conn := log.Open("rtc", lifecycle.Server, "")
	slowly := make(chan lifecycle.Event) // nobody takes anything until the end
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(slowly)
		for e := range log.Events(ctx, 0) {
			if e.Kind != lifecycle.KindOpen && e.Kind != KindPair {
				slowly <- e
			}
		}
	}()
	held, hold := newSeen(), make(chan struct{})
	atServer, atClient := newSeen(), newSeen()
	s := openPeer(t, server, PeerOptions{Conn: conn, OnChange: atServer.add, OnChannel: func(*Channel) ChannelOptions { return ChannelOptions{} }})
	k := openPeer(t, client, PeerOptions{OnChange: func(c Change) {
		atClient.add(c)
		if c.To == StateConnected {
			<-hold // a slow one
		}
		held.add(c)
	}})
	if _, err := k.Open("data", ChannelOptions{}); err != nil {
		t.Fatal(err)
	}
	connect(t, k, s)
	atServer.until(t, "new checking connected completed")
	wire.cut.Store(true)
	atServer.until(t, "new checking connected completed disconnected")
	wire.cut.Store(false)
	atServer.until(t, "new checking connected completed disconnected connected completed")
	wire.cut.Store(true)
	const failed = "new checking connected completed disconnected connected completed disconnected failed"
	atServer.until(t, failed)
	wire.cut.Store(false)
	close(hold)
	held.until(t, failed)

	offer, err := k.Restart(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	agree(t, k, s, offer)
	for _, end := range []*seen{atServer, atClient} { // each by its own clock
		end.until(t, failed+" checking connected completed")
	}
	s.Close(lifecycle.ReasonEjected)
	const all = failed + " checking connected completed closed"
	atServer.until(t, all)
	held.until(t, all)
	atClient.until(t, all)
	if r := atServer.last().Reason; r.Code != lifecycle.ReasonEjected.Code {
		t.Errorf("closed with %v", r)
	}
	cancel()
	var slow, late []string
	for e := range slowly {
		slow = append(slow, e.State)
	}
	for _, e := range events(t, log, conn.ID()) {
		late = append(late, e.State)
	}
	if want := strings.Fields(all); !slices.Equal(slow, want) || !slices.Equal(late, want) {
		t.Errorf("slow: %q\nlate: %q\nwant: %q", slow, late, want)
	}
	for _, c := range held.changes {
		if c.To == StateDisconnected && !strings.Contains(c.Reason.Error(), "nothing came over udp host ") {
			t.Errorf("the reason of disconnected is %v", c.Reason)
		}
	}
}

// fakeNet is a network with two machines whose packets can be lost.
func fakeNet(t *testing.T) (server, client transport.Net, cut *atomic.Bool, stop func()) {
	t.Helper()
	router, err := vnet.NewRouter(&vnet.RouterConfig{CIDR: "10.0.0.0/24", LoggerFactory: logging.NewDefaultLoggerFactory()})
	if err != nil {
		t.Fatal(err)
	}
	cut = new(atomic.Bool)
	router.AddChunkFilter(func(vnet.Chunk) bool { return !cut.Load() })
	var nets []transport.Net
	for _, ip := range []string{"10.0.0.1", "10.0.0.2"} {
		n, err := vnet.NewNet(&vnet.NetConfig{StaticIPs: []string{ip}})
		if err != nil {
			t.Fatal(err)
		}
		if err := router.AddNet(n); err != nil {
			t.Fatal(err)
		}
		nets = append(nets, n)
	}
	if err := router.Start(); err != nil {
		t.Fatal(err)
	}
	return nets[0], nets[1], cut, func() { router.Stop() }
}

// fakePeers are two connected peers on a network and a clock that are not real.
type fakePeers struct {
	server, client     *Peer
	atServer, atClient *seen
	cut                *atomic.Bool
}

func withFakePeers(t *testing.T, o Options, f func(t *testing.T, p *fakePeers)) {
	synctest.Test(t, func(t *testing.T) {
		serverNet, clientNet, cut, stop := fakeNet(t)
		defer stop()
		p := &fakePeers{cut: cut, atServer: newSeen(), atClient: newSeen()}
		so, co := o, o
		so.net, co.net = serverNet, clientNet
		engines := []*Engine{newEngine(t, so), newEngine(t, co)}
		p.server = openPeer(t, engines[0], PeerOptions{OnChange: p.atServer.add, OnChannel: func(*Channel) ChannelOptions { return ChannelOptions{} }})
		p.client = openPeer(t, engines[1], PeerOptions{OnChange: p.atClient.add})
		if _, err := p.client.Open("data", ChannelOptions{}); err != nil {
			t.Fatal(err)
		}
		f(t, p)
		p.server.Close(lifecycle.ReasonDone)
		p.client.Close(lifecycle.ReasonDone)
		engines[0].Close()
		engines[1].Close()
	})
}

// when returns how long after from the last change to a state was.
func (s *seen) when(t *testing.T, state ICEState, from time.Time) time.Duration {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range slices.Backward(s.changes) {
		if c.To == state {
			return c.Time.Sub(from)
		}
	}
	t.Fatalf("%v never came: %v", state, s.changes)
	return 0
}

func between(t *testing.T, what string, got, least, most time.Duration) {
	t.Helper()
	if got < least || got > most {
		t.Errorf("%s after %v, want %v to %v", what, got, least, most)
	}
}

// The default clocks, measured: the network is cut and comes back, and is cut for good.
func TestClocks(t *testing.T) {
	withFakePeers(t, Options{}, func(t *testing.T, p *fakePeers) {
		start := time.Now()
		connect(t, p.client, p.server)
		time.Sleep(10 * time.Second)
		if got := p.atServer.words(); got != "new checking connected completed" {
			t.Fatalf("the states are %q", got)
		}
		between(t, "completed", p.atServer.when(t, StateCompleted, start), DefaultSettle, DefaultSettle+time.Second)

		cut := time.Now()
		p.cut.Store(true)
		time.Sleep(5 * time.Second)
		p.cut.Store(false)
		back := time.Now()
		time.Sleep(10 * time.Second)
		for _, s := range []*seen{p.atServer, p.atClient} {
			if got := s.words(); got != "new checking connected completed disconnected connected completed" {
				t.Fatalf("the states are %q", got)
			}
			between(t, "disconnected", s.when(t, StateDisconnected, cut), DefaultDisconnectedTimeout-DefaultKeepAlive, DefaultDisconnectedTimeout+DefaultKeepAlive)
			between(t, "connected again", s.when(t, StateConnected, back), 0, DefaultKeepAlive+300*time.Millisecond)
		}

		cut = time.Now()
		p.cut.Store(true)
		time.Sleep(20 * time.Second)
		for _, s := range []*seen{p.atServer, p.atClient} {
			between(t, "failed", s.when(t, StateFailed, cut), DefaultDisconnectedTimeout+DefaultFailedTimeout-DefaultKeepAlive, DefaultDisconnectedTimeout+DefaultFailedTimeout+DefaultKeepAlive)
		}
		p.cut.Store(false)
		offer, err := p.client.Restart(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		restart := time.Now()
		agree(t, p.client, p.server, offer)
		time.Sleep(10 * time.Second)
		if got := p.atServer.words(); !strings.HasSuffix(got, "disconnected failed checking connected completed") {
			t.Fatalf("the states are %q", got)
		}
		between(t, "connected by the restart", p.atServer.when(t, StateConnected, restart), 0, time.Second)
	})
}

// Clocks that were set are kept.
func TestClocksOfOptions(t *testing.T) {
	o := Options{DisconnectedTimeout: time.Second, FailedTimeout: 3 * time.Second, KeepAlive: 250 * time.Millisecond, Settle: 700 * time.Millisecond}
	withFakePeers(t, o, func(t *testing.T, p *fakePeers) {
		connect(t, p.client, p.server)
		time.Sleep(2 * time.Second)
		cut := time.Now()
		p.cut.Store(true)
		time.Sleep(6 * time.Second)
		between(t, "disconnected", p.atServer.when(t, StateDisconnected, cut), 750*time.Millisecond, 1250*time.Millisecond)
		between(t, "failed", p.atServer.when(t, StateFailed, cut), 3750*time.Millisecond, 4250*time.Millisecond)
	})
}

// A peer that does not connect, and one that failed and is not restarted, are closed.
func TestPeersThatDoNotConnectAreClosed(t *testing.T) {
	withFakePeers(t, Options{}, func(t *testing.T, p *fakePeers) {
		start := time.Now()
		p.cut.Store(true)
		connect(t, p.client, p.server)
		time.Sleep(DefaultConnectTimeout + time.Second)
		if got := p.atServer.words(); got != "new checking failed closed" {
			t.Fatalf("the states are %q", got)
		}
		between(t, "failed", p.atServer.when(t, StateFailed, start), DefaultDisconnectedTimeout+DefaultFailedTimeout, DefaultDisconnectedTimeout+DefaultFailedTimeout+time.Second)
		between(t, "closed", p.atServer.when(t, StateClosed, start), DefaultConnectTimeout, DefaultConnectTimeout+time.Second)
		if r := p.atServer.last().Reason; r.Code != lifecycle.ReasonTimeout.Code || !strings.Contains(r.Text, "ConnectTimeout") {
			t.Errorf("closed with %v", r)
		}
	})
	withFakePeers(t, Options{}, func(t *testing.T, p *fakePeers) {
		connect(t, p.client, p.server)
		time.Sleep(5 * time.Second)
		p.cut.Store(true)
		time.Sleep(60 * time.Second)
		if got := p.atServer.words(); got != "new checking connected completed disconnected failed closed" {
			t.Fatalf("the states are %q", got)
		}
		between(t, "closed after failed", p.atServer.when(t, StateClosed, zeroHour)-p.atServer.when(t, StateFailed, zeroHour), DefaultRestartTimeout, DefaultRestartTimeout+time.Second)
		if r := p.atServer.last().Reason; r.Code != lifecycle.ReasonTimeout.Code || !strings.Contains(r.Text, "RestartTimeout") {
			t.Errorf("closed with %v", r)
		}
	})
}

// Two pairs that alternate are two events of the log, not thousands; none of them is a change of the state.
func TestPairsThatAlternate(t *testing.T) {
	log := lifecycle.NewLog(ring.Limits{})
	seen := newSeen()
	p := openPeer(t, newEngine(t, Options{}), PeerOptions{Conn: log.Open("rtc", lifecycle.Server, ""), OnChange: seen.add})
	p.input(inRemote, Pair{}, lifecycle.Reason{})
	p.input(inConnected, overUDP, lifecycle.Reason{})
	for range 1000 {
		p.input(inPair, overTCP, lifecycle.Reason{})
		p.input(inPair, overUDP, lifecycle.Reason{})
	}
	p.Close(lifecycle.ReasonDone)
	seen.until(t, "new checking connected closed")
	var told []string
	for _, e := range log.Recent(1000) {
		if e.Kind == KindPair {
			told = append(told, e.Detail)
		}
	}
	if want := []string{overTCP.String(), overUDP.String() + ", after 1999 changes"}; !slices.Equal(told, want) {
		t.Errorf("got %q, want %q", told, want)
	}
}
