//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pion/transport/v4"
	"github.com/pion/transport/v4/stdnet"
	"github.com/pion/webrtc/v4"
)

// The stream that viewers of WebRTC get: 2.5 Mbit/s, 30 pictures a second, a keyframe every 2 seconds.
const (
	whepRate     = 2_500_000
	whepPictures = 30
	whepGOP      = 60
)

// viewers is the load generator of WebRTC: peers that connect and then only count the packets of media, which they take off their sockets before the stack sees them.
type viewers struct {
	packets, bytes atomic.Uint64
	peers          []*webrtc.PeerConnection
	sockets        []*net.UDPConn
}

// countingNet is the network of the viewers.
type countingNet struct {
	*stdnet.Net
	v *viewers
}

type countingConn struct {
	transport.UDPConn
	v *viewers
}

func (n *countingNet) ListenUDP(network string, addr *net.UDPAddr) (transport.UDPConn, error) {
	c, err := n.Net.ListenUDP(network, addr)
	if err != nil {
		return nil, err
	}
	c.SetReadBuffer(1 << 20)
	return &countingConn{c, n.v}, nil
}

// ReadFrom hands on what is not RTP.
func (c *countingConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.UDPConn.(*net.UDPConn).ReadFromUDPAddrPort(b)
		if err != nil || n < 2 || b[0]>>6 != 2 || b[1]&0x60 == 0x40 {
			return n, net.UDPAddrFromAddrPort(from), err
		}
		c.v.packets.Add(1)
		c.v.bytes.Add(uint64(n))
	}
}

// watch opens n viewers of a server.
func (v *viewers) watch(e entry, addr string, n int) error {
	if e.name == whepBareName {
		return v.watchBare(addr, n)
	}
	std, err := stdnet.NewNet()
	if err != nil {
		return err
	}
	var settings webrtc.SettingEngine
	settings.SetNet(&countingNet{std, v})
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetIPFilter(func(ip net.IP) bool { return ip.Equal(net.IPv4(127, 0, 0, 1)) })
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	media := &webrtc.MediaEngine{}
	if err := media.RegisterDefaultCodecs(); err != nil {
		return err
	}
	api := webrtc.NewAPI(webrtc.WithSettingEngine(settings), webrtc.WithMediaEngine(media))
	for range n {
		if err := v.open(api, addr); err != nil {
			return err
		}
	}
	return nil
}

// open connects one viewer by WHEP.
func (v *viewers) open(api *webrtc.API, addr string) error {
	pc, err := api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return err
	}
	v.peers = append(v.peers, pc)
	ctx, cancel := context.WithTimeout(context.Background(), stallTime)
	defer cancel()
	connected := make(chan struct{})
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		if s == webrtc.PeerConnectionStateConnected {
			close(connected)
		}
	})
	if _, err := pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
		return err
	}
	offer, err := pc.CreateOffer(nil)
	if err != nil {
		return err
	}
	gathered := webrtc.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(offer); err != nil {
		return err
	}
	<-gathered
	answer, err := post(addr, pc.LocalDescription().SDP)
	if err != nil {
		return err
	}
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
		return err
	}
	select {
	case <-connected:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("viewer %d does not connect", len(v.peers))
	}
}

func (v *viewers) watchBare(addr string, n int) error {
	for range n {
		c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
		if err != nil {
			return err
		}
		c.SetReadBuffer(1 << 20)
		v.sockets = append(v.sockets, c)
		go func() {
			b := make([]byte, 2048)
			for {
				n, _, err := c.ReadFromUDPAddrPort(b)
				if err != nil {
					return
				}
				v.packets.Add(1)
				v.bytes.Add(uint64(n))
			}
		}()
		if _, err := post(addr, c.LocalAddr().String()); err != nil {
			return err
		}
	}
	return nil
}

func (v *viewers) close() {
	for _, pc := range v.peers {
		pc.Close()
	}
	for _, c := range v.sockets {
		c.Close()
	}
}

func post(addr, body string) (string, error) {
	response, err := http.Post("http://"+addr, "application/sdp", strings.NewReader(body))
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusCreated {
		err = fmt.Errorf("got %s: %s", response.Status, bytes.TrimSpace(b))
	}
	return string(b), err
}

// measureWHEP lets viewers watch a server and looks at what it costs.
func measureWHEP(e entry, s scenario, p plan) (r sample, err error) {
	c, err := startChild("serve", "-engine", e.name)
	if err != nil {
		return r, err
	}
	defer c.stop()
	if _, err := c.ask("free"); err != nil {
		return r, err
	}
	before, err := c.rss()
	if err != nil {
		return r, err
	}
	v := &viewers{}
	defer v.close()
	if err := v.watch(e, c.addr, s.conns); err != nil {
		return r, err
	}
	m := measurement{c: c, s: s, p: p, name: e.name}
	if err := m.reachAll(); err != nil {
		return r, err
	}
	time.Sleep(p.warm + whepGOP*time.Second/whepPictures)
	if err := m.startProfile(); err != nil {
		return r, err
	}
	counts0, err := c.counts()
	if err != nil {
		return r, err
	}
	cpu0, err := c.cpuTime()
	if err != nil {
		return r, err
	}
	n0, t0 := v.packets.Load(), time.Now()
	time.Sleep(max(p.time, time.Second))
	n, wall := float64(v.packets.Load()-n0), time.Since(t0)
	cpu1, err := c.cpuTime()
	if err != nil {
		return r, err
	}
	counts1, err := c.counts()
	if err != nil {
		return r, err
	}
	if err := m.endProfile(); err != nil {
		return r, err
	}
	if n == 0 {
		return r, fmt.Errorf("nothing came")
	}
	viewers := float64(s.conns)
	r = sample{cpu: float64((cpu1 - cpu0).Microseconds()) / n, rate: n / wall.Seconds() / viewers, load: float64(cpu1-cpu0) / float64(wall) / viewers,
		allocs: float64(counts1.allocs-counts0.allocs) / n, goroutines: float64(counts1.goroutines) / viewers, delay: share(counts1.delay-counts0.delay, uint64(cpu1-cpu0)),
		stack: float64(counts1.stack) / viewers, heap: float64(counts1.heap) / viewers}
	atOnce, err := c.rss()
	if err != nil {
		return r, err
	}
	if _, err := c.ask("free"); err != nil {
		return r, err
	}
	rss, err := c.rss()
	if err != nil {
		return r, err
	}
	r.atOnce, r.memory = float64(atOnce-before)/viewers, float64(rss-before)/viewers
	if p.profile != "" {
		_, err = c.ask("heap %s", m.profileName("heap"))
	}
	return r, err
}

// whepLine is a server's line in the table of viewers of WebRTC.
func whepLine(r, limit row) []string {
	n := len(r.samples)
	show := func(verb string, value func(sample) float64) string { return fmt.Sprintf(verb, r.of(value).median) }
	return []string{r.name, r.of(func(s sample) float64 { return s.load * 100 }).format("%.3f", n), r.of(cpuOf).format("%.2f", n), r.against(limit, cpuOf).format("%.2f", n),
		show("%.1f", func(s sample) float64 { return s.rate }), r.of(memoryOf).format("%.0f", n), show("%.0f", func(s sample) float64 { return s.atOnce / 1024 }),
		show("%.0f", func(s sample) float64 { return s.stack / 1024 }), show("%.0f", func(s sample) float64 { return s.heap / 1024 }),
		show("%.2f", func(s sample) float64 { return s.allocs }), show("%.1f", func(s sample) float64 { return s.goroutines })}
}

var whepColumns = []string{"server", "% of a core per viewer", "CPU µs per packet", "x bare", "packets/s per viewer", "KB per viewer", "before memory is given back", "of it stacks", "objects", "allocations per packet", "goroutines per viewer"}
