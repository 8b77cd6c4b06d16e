package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"hawser/amf"
	"hawser/netio"
	"hawser/rtmp"
)

// sampledViewers is of how many viewers the latency is measured.
const sampledViewers = 50 // at least

// aliveTime is how often a viewer says that it is there, as real ones do and servers expect.
const aliveTime = 10 * time.Second

// handshakeSize is the length of each part of RTMP's handshake after the version.
const handshakeSize = 1536

// viewers are connections that read what a server sends and look at as little of it as possible.
type viewers struct {
	bytes  atomic.Int64
	failed atomic.Int64

	mu        sync.Mutex
	conns     []io.Closer
	measure   bool
	latencies []time.Duration
	first     []time.Duration // from connect to the first picture, of those sampled
}

// opener makes a viewer. What it receives goes to take, in order, by one goroutine at a time; lost is called when it ends, which Close waits for.
type opener func(ctx context.Context, addr string, take func(b []byte), lost func()) (io.Closer, error)

// open connects n viewers, so many at once.
func (v *viewers) open(ctx context.Context, n, together int, addr string, open opener) error {
	every := max(1, n/sampledViewers)
	v.mu.Lock()
	v.first = nil
	v.mu.Unlock()
	var next atomic.Int64
	var wait sync.WaitGroup
	errs := make([]error, together)
	for t := range errs {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				conn, err := open(ctx, addr, v.take(i%every == 0), func() { v.failed.Add(1) })
				if err != nil {
					errs[t] = fmt.Errorf("viewer %d: %w", i, err)
					next.Store(int64(n)) // no more
					return
				}
				v.mu.Lock()
				v.conns = append(v.conns, conn)
				v.mu.Unlock()
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// close ends all viewers.
func (v *viewers) close() {
	for _, c := range v.conns {
		c.Close()
	}
}

// take makes what looks at the bytes of a viewer that is being opened.
func (v *viewers) take(sampled bool) func(b []byte) {
	if !sampled {
		return func(b []byte) { v.bytes.Add(int64(len(b))) }
	}
	var finder stampFinder
	begin, first := time.Now(), true
	return func(b []byte) {
		v.bytes.Add(int64(len(b)))
		now := time.Now()
		finder.feed(b, func(sent time.Time) {
			if first {
				v.began(now.Sub(begin))
				first = false
			}
			v.note(now.Sub(sent))
		})
	}
}

func (v *viewers) note(latency time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.measure {
		v.latencies = append(v.latencies, latency)
	}
}

// began notes how long a viewer waited for its first picture.
func (v *viewers) began(after time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.first = append(v.first, after)
}

// firstPictures returns how long viewers waited for their first picture.
func (v *viewers) firstPictures() (p50, p99 time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return middle(v.first)
}

// middle returns the median and the 99th percentile, and sorts.
func middle(list []time.Duration) (p50, p99 time.Duration) {
	slices.Sort(list)
	if n := len(list); n > 0 {
		p50, p99 = list[n/2], list[n*99/100]
	}
	return p50, p99
}

// start begins a measurement, and stop ends it.
func (v *viewers) start() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.measure, v.latencies = true, nil
	v.bytes.Store(0)
}

func (v *viewers) stop() (bytes int64, p50, p99 time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.measure = false
	p50, p99 = middle(v.latencies)
	return v.bytes.Load(), p50, p99
}

// stampFinder finds the times that benchStream has put into its frames, also where a read has cut them in two.
type stampFinder struct{ tail []byte }

func (f *stampFinder) feed(b []byte, found func(time.Time)) {
	if len(f.tail) > 0 {
		joint := append(f.tail, b[:min(len(b), stampSize-1)]...)
		f.search(joint, found)
	}
	f.search(b, found)
	f.tail = append(f.tail[:0], b[max(0, len(b)-stampSize+1):]...)
}

func (f *stampFinder) search(b []byte, found func(time.Time)) {
	for {
		i := bytes.Index(b, benchMagic)
		if i < 0 || len(b) < i+stampSize {
			return
		}
		found(time.Unix(0, int64(binary.BigEndian.Uint64(b[i+8:]))))
		b = b[i+stampSize:]
	}
}

// reading is a viewer that reads a connection.
type reading struct {
	net.Conn
	over chan struct{}
}

// reads makes viewers of connections; what dial returns has arrived already. Now and then they send what alive makes; nil is nothing.
func reads(dial func(ctx context.Context, addr string) (net.Conn, error), alive func(received uint32) []byte) opener {
	return func(ctx context.Context, addr string, take func([]byte), lost func()) (io.Closer, error) {
		conn, err := dial(ctx, addr)
		if err != nil {
			return nil, err
		}
		v := reading{conn, make(chan struct{})}
		go func() {
			defer close(v.over)
			received, said := uint32(0), time.Now()
			r := netio.NewReader(conn, 0)
			for r.Next(func(b []byte) error {
				take(b)
				received += uint32(len(b))
				if now := time.Now(); alive != nil && now.Sub(said) >= aliveTime {
					said = now
					_, err := conn.Write(alive(received))
					return err
				}
				return nil
			}) == nil {
			}
			lost()
		}()
		return v, nil
	}
}

// aliveRTMP is an acknowledgement.
func aliveRTMP(received uint32) []byte {
	return rtmp.AppendMessage(nil, rtmp.DefaultChunkSize, rtmp.Message{Type: rtmp.TypeAck, Payload: binary.BigEndian.AppendUint32(nil, received)})
}

// aliveSession is a ping.
func aliveSession(uint32) []byte { return appendUnmasked(nil, `{"t":"ping","id":1}`) }

// Close implements io.Closer.
func (v reading) Close() error {
	err := v.Conn.Close()
	<-v.over
	return err
}

// dialBare is a viewer of the bare loop, which sends to whoever connects.
func dialBare(ctx context.Context, addr string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", addr)
}

// dialRTMP plays over RTMP, with all requests in one go.
func dialRTMP(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := dialBare(ctx, addr)
	if err != nil {
		return nil, err
	}
	hello := make([]byte, 1+handshakeSize)
	hello[0] = 3
	if _, err := conn.Write(hello); err != nil {
		return nil, err
	}
	answer := make([]byte, 1+2*handshakeSize)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return nil, err
	}
	app, name, _ := strings.Cut(strings.TrimPrefix(benchPath, "/"), "/")
	out := append([]byte(nil), answer[1:1+handshakeSize]...)
	for _, m := range []rtmp.Message{
		{Type: rtmp.TypeCommand, Payload: amf.Append(nil, "connect", 1.0, amf.Object{{Name: "app", Value: app}, {Name: "tcUrl", Value: "rtmp://" + addr + "/" + app}})},
		{Type: rtmp.TypeCommand, Payload: amf.Append(nil, "createStream", 2.0, nil)},
		{Type: rtmp.TypeCommand, StreamID: rtmp.MediaStreamID, Payload: amf.Append(nil, "play", 3.0, nil, name)},
	} {
		out = rtmp.AppendMessage(out, rtmp.DefaultChunkSize, m)
	}
	_, err = conn.Write(out)
	return conn, err
}

// dialSession plays over a session.
func dialSession(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := dialBare(ctx, addr)
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(conn, "GET /session HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: aGF3c2VyIGJlbmNobWFyaw==\r\nSec-WebSocket-Protocol: hawser.v1\r\n\r\n", addr)
	if err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 16), nil) // nothing follows until hello is said
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("session: %v %w", resp, err)
	}
	out := appendUnmasked(nil, `{"t":"hello","version":1,"client":"hawser-bench"}`)
	out = appendUnmasked(out, fmt.Sprintf(`{"t":"play","path":%q}`, benchPath))
	_, err = conn.Write(out)
	return conn, err
}

// appendUnmasked appends a client's text frame whose masking key is zero.
func appendUnmasked(dst []byte, text string) []byte {
	dst = append(dst, 0x81, 0x80|byte(len(text)), 0, 0, 0, 0)
	return append(dst, text...)
}
