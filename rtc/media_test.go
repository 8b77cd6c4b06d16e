package rtc

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"github.com/pion/transport/v4/stdnet"

	"hawser/media"
)

// groupSource is a Source that tests put groups into.
type groupSource struct {
	mu     sync.Mutex
	groups [][]byte
}

func (s *groupSource) Fill(dst [][]byte, most int) [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.groups) > 0 && most > 0 {
		dst = append(dst, s.groups[0])
		most -= len(s.groups[0])
		s.groups = s.groups[1:]
	}
	return dst
}

func (s *groupSource) put(p *Peer, groups ...Group) {
	s.mu.Lock()
	for _, g := range groups {
		s.groups = append(s.groups, g)
	}
	s.mu.Unlock()
	p.Wake()
}

// Each codec goes through two peers, over the engine's port with its groups, over own ports, and over TCP, and comes out as it went in.
func TestMediaThroughPeers(t *testing.T) {
	for _, way := range []struct {
		name           string
		server, client Options
	}{
		{"groups", Options{UDP: "127.0.0.1:0"}, Options{}},
		{"groups on IPv6", Options{UDP: "[::1]:0"}, Options{}},
		{"own ports", Options{}, Options{}},
		{"tcp", Options{UDP: "-", TCP: "127.0.0.1:0"}, Options{UDP: "-", TCP: "127.0.0.1:0"}},
	} {
		for _, c := range clips(t) {
			t.Run(way.name+" "+c.track.Codec.String(), func(t *testing.T) {
				t.Parallel()
				testMedia(t, newEngine(t, quick(way.server)), newEngine(t, quick(way.client)), c)
			})
		}
	}
}

// untilSecure waits until media can be sent, or received.
func untilSecure(t *testing.T, p *Peer) {
	t.Helper()
	ready := time.After(20 * time.Second)
	secure := func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.secure && (len(p.opts.Send) == 0 || p.sender.Load() != nil)
	}
	for !secure() {
		select {
		case <-ready:
			t.Fatal("DTLS does not stand")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

type gotFrame struct {
	track *media.Track
	frame media.Frame
}

func testMedia(t *testing.T, server, client *Engine, c clip) {
	source, got := &groupSource{}, make(chan gotFrame, 1000)
	wanted := make(chan struct{}, 100)
	s := openPeer(t, server, PeerOptions{Send: []media.Track{c.track}, Source: source, OnKeyframe: func() { wanted <- struct{}{} }})
	k := openPeer(t, client, PeerOptions{OnFrame: func(t *media.Track, f media.Frame) { got <- gotFrame{t, f} }})
	connect(t, k, s)
	untilSecure(t, s)
	untilSecure(t, k)
	groups := c.groups(t)
	source.put(s, groups...)
	for i := range c.frames {
		select {
		case g := <-got:
			if !bytes.Equal(g.frame.Data, c.frames[i].Data) || g.frame.Key != c.frames[i].Key || g.track.Codec != c.track.Codec {
				t.Fatalf("frame %d is another one: %d bytes of %v, want %d of %v", i, len(g.frame.Data), g.track.Codec, len(c.frames[i].Data), c.track.Codec)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("frame %d of %d does not come; %+v", i, len(c.frames), k.Stats())
		}
	}
	if sent := s.Stats().Sent; sent.Groups != uint64(len(groups)) || sent.Packets == 0 {
		t.Errorf("sent: %+v", sent)
	}
}

// A viewer that loses 5 % of the packets asks for them again, and gets all frames.
func TestLossIsRepaired(t *testing.T) {
	std, err := stdnet.NewNet()
	if err != nil {
		t.Fatal(err)
	}
	wire := &cutNet{Net: std}
	lossy := quick(Options{})
	lossy.net = wire
	server, client := newEngine(t, quick(Options{UDP: "127.0.0.1:0"})), newEngine(t, lossy)
	c := annexB(t, "plain.h264")
	source, got := &groupSource{}, make(chan gotFrame, 10_000)
	s := openPeer(t, server, PeerOptions{Send: []media.Track{c.track}, Source: source})
	k := openPeer(t, client, PeerOptions{OnFrame: func(t *media.Track, f media.Frame) { got <- gotFrame{t, f} }})
	connect(t, k, s)
	untilSecure(t, s)
	untilSecure(t, k)
	// The clip again and again, at twice its speed.
	p, err := NewPacketizer(c.track)
	if err != nil {
		t.Fatal(err)
	}
	const rounds = 12
	total := rounds * len(c.frames)
	next := func(i int) {
		t.Helper()
		select {
		case <-got:
		case <-time.After(20 * time.Second):
			t.Fatalf("frame %d of %d does not come: %+v", i, total, k.Stats().Video)
		}
	}
	tick := time.NewTicker(pictureTime / 2)
	defer tick.Stop()
	for i := range total {
		f := c.frames[i%len(c.frames)]
		f.PTS += time.Duration(i-i%len(c.frames)) * pictureTime
		source.put(s, Group(p.AppendGroup(nil, f)))
		switch i {
		case 0: // nobody misses what is lost before the first packet that comes
			next(0)
			wire.lossy.Store(true)
		case total - len(c.frames): // nor what is lost at the end, until a packet comes behind it
			wire.lossy.Store(false)
		}
		<-tick.C
	}
	for i := 1; i < total; i++ {
		next(i)
	}
	lost, stats := wire.lost.Load(), s.Stats().Sent
	t.Logf("%d packets, %d lost, %d asked for, %d sent again", stats.Packets, lost, stats.Nacked, stats.Resent)
	if lost == 0 || stats.Resent == 0 || k.Stats().Video.Lost > 0 {
		t.Errorf("%d lost, sent %+v, received %+v", lost, stats, k.Stats().Video)
	}
}
