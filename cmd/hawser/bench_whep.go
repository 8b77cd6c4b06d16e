package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"hawser/flv"
	"hawser/lifecycle"
	"hawser/media"
	"hawser/rtc"
	"hawser/rtmp"
)

const (
	// rtpOverhead is what a packet of the server has beside its payload: RTP's header with the extension of transport-wide sequence numbers, and the tag of AES-GCM.
	rtpOverhead = 12 + 8 + 16
	// maxSegments is how many packets Linux takes in one call, and maxRun how many bytes fit into one.
	maxSegments = 64
	maxRun      = 65_000
	// viewerBuffer is the receive buffer of a viewer of the bare loop, as far as the system allows it: a keyframe comes in one go.
	viewerBuffer = 1 << 20
	// answerTime is how long a server that is measured may take to answer a request.
	answerTime = time.Minute
)

// whepEngine is the place of all viewers over WebRTC, until the program ends.
var whepEngine = sync.OnceValues(func() (*rtc.Engine, error) { return rtc.New(rtc.Options{Loopback: true}) })

// whepViewer is a viewer over WebRTC.
type whepViewer struct {
	session *rtc.HTTPSession
	over    chan struct{}
}

// openWHEP plays over WebRTC, and waits for the first picture: many handshakes at once would be measured in place of it. What the viewer takes is whole frames.
func openWHEP(ctx context.Context, addr string, take func([]byte), lost func()) (io.Closer, error) {
	engine, err := whepEngine()
	if err != nil {
		return nil, err
	}
	v := whepViewer{over: make(chan struct{})}
	shown := make(chan struct{})
	show := sync.OnceFunc(func() { close(shown) })
	var why lifecycle.Reason // known when it is over
	peer := rtc.PeerOptions{
		OnFrame: func(_ *media.Track, f media.Frame) {
			take(f.Data)
			show()
		},
		OnChange: func(c rtc.Change) {
			if c.To == rtc.StateClosed {
				why = c.Reason
				lost()
				close(v.over)
			}
		},
	}
	if v.session, err = engine.Play(ctx, "http://"+addr+benchPath+whepSuffix, rtc.HTTPOptions{Timeout: answerTime, Peer: peer}); err != nil {
		return nil, err
	}
	select {
	case <-shown:
		return v, nil
	case <-v.over:
		return nil, fmt.Errorf("no picture came: %w", why)
	case <-ctx.Done():
		v.Close()
		return nil, ctx.Err()
	}
}

// Close implements io.Closer.
func (v whepViewer) Close() error {
	err := v.session.Close(context.Background(), lifecycle.ReasonDone)
	<-v.over
	return err
}

// dialUDP is a viewer of the bare loop over UDP, which sends to whoever has sent it something.
func dialUDP(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "udp", addr)
	if err != nil {
		return nil, err
	}
	conn.(*net.UDPConn).SetReadBuffer(viewerBuffer)
	if _, err := conn.Write([]byte{0}); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// bareUDP sends packets of the server's sizes to many addresses, and does nothing else: it encrypts nothing, and numbers nothing.
type bareUDP struct {
	conn *net.UDPConn

	mu sync.Mutex
	to []netip.AddrPort
}

// segmentRun is what one call sends: packets of one size, of which the last may be shorter.
type segmentRun struct {
	size  int
	bytes []byte
}

// accept takes the addresses.
func (b *bareUDP) accept() {
	var hello [1]byte
	for {
		_, from, err := b.conn.ReadFromUDPAddrPort(hello[:])
		if err != nil {
			return
		}
		b.mu.Lock()
		b.to = append(b.to, from)
		b.mu.Unlock()
	}
}

// run sends the stream.
func (b *bareUDP) run(ctx context.Context, kbps int) error {
	var d flv.Demuxer
	err := sampleHeaders(true, func(t flv.Tag) error {
		_, _, _, err := d.Feed(t.Type, t.Timestamp, t.Data)
		return err
	})
	if err != nil {
		return err
	}
	packer, err := rtc.NewPacketizer(d.Tracks()[0])
	if err != nil {
		return err
	}
	return newBenchStream(kbps, true).run(ctx, func(m rtmp.Message) error {
		f, _, _, err := d.Feed(m.Type, m.Timestamp, m.Payload)
		if err != nil {
			return err
		}
		stamp := f.Data[bytes.Index(f.Data, benchMagic):][:stampSize]
		return b.send(segmentRuns(packer.AppendGroup(nil, f), stamp))
	})
}

// segmentRuns are the packets of a picture as the server's are on the wire, but for what is in them: the stamp at the end, so that it comes when the whole picture has.
func segmentRuns(g rtc.Group, stamp []byte) (runs []segmentRun) {
	for _, payload := range g.Packets() {
		n := len(payload) + rtpOverhead
		last := len(runs) - 1
		if last < 0 || !runs[last].takes(n) {
			runs = append(runs, segmentRun{size: n})
			last++
		}
		runs[last].bytes = append(runs[last].bytes, make([]byte, n)...)
	}
	if last := len(runs) - 1; last >= 0 {
		b := runs[last].bytes
		copy(b[len(b)-len(stamp):], stamp)
	}
	return runs
}

func (r *segmentRun) takes(n int) bool {
	return n <= r.size && len(r.bytes)%r.size == 0 && len(r.bytes)/r.size < maxSegments && len(r.bytes)+n <= maxRun
}

// send sends a picture to all.
func (b *bareUDP) send(runs []segmentRun) error {
	b.mu.Lock()
	to := slices.Clip(b.to)
	b.mu.Unlock()
	controls := make([][]byte, len(runs))
	for i, r := range runs {
		if len(r.bytes) > r.size {
			controls[i] = segmentControl(r.size)
		}
	}
	for _, a := range to {
		for i, r := range runs {
			if _, _, err := b.conn.WriteMsgUDPAddrPort(r.bytes, controls[i], a); err != nil {
				return err
			}
		}
	}
	return nil
}
