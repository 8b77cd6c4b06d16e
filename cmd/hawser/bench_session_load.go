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
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// dataBytes is how much a message carries.
	dataBytes = 128
	// stormDials is how many clients of a storm connect at once.
	stormDials = 256
	// sampleEvery is of how many messages the latency is looked at in one.
	sampleEvery = 32
)

// dataLoad are the clients of a benchmark, that do no more than count what they get.
type dataLoad struct {
	bare      bool
	resume    bool // ask for positions, as after a break
	ready     atomic.Int64
	delivered atomic.Int64
	grown     chan struct{} // holds a token when a count has grown

	mu    sync.Mutex
	conns []net.Conn
	times []time.Duration
	err   error
	over  bool
}

func newDataLoad(bare bool) *dataLoad { return &dataLoad{bare: bare, grown: make(chan struct{}, 1)} }

func (l *dataLoad) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	for _, c := range l.conns {
		c.Close()
	}
}

func (l *dataLoad) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *dataLoad) await(ctx context.Context, ok func() bool) error {
	patience := time.NewTimer(30 * time.Second)
	defer patience.Stop()
	for !ok() {
		select {
		case <-l.grown:
		case <-ctx.Done():
			return ctx.Err()
		case <-patience.C:
			return errors.New("the server does not go on")
		}
		if err := l.failure(); err != nil {
			return err
		}
	}
	return nil
}

func (l *dataLoad) tell() {
	select {
	case l.grown <- struct{}{}:
	default:
	}
}

func (l *dataLoad) begin() {
	l.mu.Lock()
	l.times = l.times[:0]
	l.mu.Unlock()
}

func (l *dataLoad) latency() (p50, p99 time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.times) == 0 {
		return 0, 0
	}
	slices.Sort(l.times)
	return l.times[len(l.times)/2], l.times[len(l.times)*99/100]
}

func subjectPath(i int) string { return fmt.Sprintf("/bench/%04d", i) }

// dial opens a connection; on one to the server the WebSocket stands and hello is said.
func (l *dataLoad) dial(addr, more string) (net.Conn, *bufio.Reader, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	l.mu.Lock()
	l.conns = append(l.conns, c)
	l.mu.Unlock()
	r := bufio.NewReaderSize(c, 2<<10)
	if l.bare {
		return c, r, nil
	}
	head := "GET /session HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: hawser.v1\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	if _, err := c.Write(appendMasked([]byte(head), `{"t":"hello","version":1`+more+`}`)); err != nil {
		return nil, nil, err
	}
	for line := ""; line != "\r\n"; {
		if line, err = r.ReadString('\n'); err != nil {
			return nil, nil, err
		}
		if strings.HasPrefix(line, "HTTP/") && !strings.Contains(line, "101") {
			return nil, nil, fmt.Errorf("the server says %q", line)
		}
	}
	return c, r, nil
}

// appendMasked appends a text message as a client's frame, under the key 0.
func appendMasked(dst []byte, text string) []byte {
	dst = append(dst, 0x81)
	switch n := len(text); {
	case n < 126:
		dst = append(dst, 0x80|byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, 0x80|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, 0x80|127), uint64(n))
	}
	return append(append(dst, 0, 0, 0, 0), text...)
}

// open makes a client that follows some subjects.
func (l *dataLoad) open(addr string, follows []int) error {
	var more, bare strings.Builder
	for i, n := range follows {
		more.WriteString([]string{`,"subscribe":[`, `,`}[min(i, 1)])
		from := ""
		if l.resume {
			from = `,"from":"offset","epoch":"00000000000000a1","offset":42`
		}
		fmt.Fprintf(&more, `{"path":"%s"%s}`, subjectPath(n), from)
		fmt.Fprintf(&bare, " %d", n)
	}
	c, r, err := l.dial(addr, more.String()+`]`)
	if err == nil && l.bare {
		_, err = fmt.Fprintf(c, "S%s\n", bare.String())
	}
	if err != nil {
		return err
	}
	go l.read(r, len(follows))
	return nil
}

// read counts what a client gets.
func (l *dataLoad) read(r *bufio.Reader, follows int) {
	n, all, waits := 0, 0, follows
	if l.bare {
		waits = 1
	}
	err := eachFrame(r, func(b []byte) {
		if bytes.HasPrefix(b, []byte(`{"t":"update"`)) {
			n++
			if all++; all%sampleEvery == 0 {
				l.sample(b)
			}
			return
		}
		if waits > 0 && (l.bare || bytes.HasPrefix(b, []byte(`{"t":"snapshot"`))) {
			if waits--; waits == 0 {
				l.ready.Add(1)
				l.tell()
			}
		}
	}, func() {
		if n > 0 {
			l.delivered.Add(int64(n))
			n = 0
			l.tell()
		}
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.over && l.err == nil {
		l.err = fmt.Errorf("a client was disconnected: %w", err)
	}
	l.tell()
}

// sample takes the time out of a message: it was sent then.
func (l *dataLoad) sample(b []byte) {
	i := bytes.Index(b, []byte(`"data":"`))
	if i < 0 || len(b) < i+8+19 {
		return
	}
	at, err := strconv.ParseInt(string(b[i+8:i+8+19]), 10, 64)
	if err != nil {
		return
	}
	took := time.Duration(time.Now().UnixNano() - at)
	l.mu.Lock()
	l.times = append(l.times, took)
	l.mu.Unlock()
}

// eachFrame calls f with each of a server's frames, which must be smaller than the reader's buffer, and idle before it waits for more.
func eachFrame(r *bufio.Reader, f func(b []byte), idle func()) error {
	for {
		if r.Buffered() == 0 {
			idle()
		}
		b, err := r.Peek(2)
		if err != nil {
			return err
		}
		head, n := 2, int(b[1])
		if n == 126 {
			if b, err = r.Peek(4); err != nil {
				return err
			}
			head, n = 4, int(binary.BigEndian.Uint16(b[2:]))
		}
		if b, err = r.Peek(head + n); err != nil {
			return err
		}
		f(b[head:])
		r.Discard(head + n)
	}
}

// dataPublisher publishes on a connection of its own.
type dataPublisher struct {
	bare bool
	c    net.Conn
	w    *bufio.Writer
	id   int
	fill string
}

func (l *dataLoad) publisher(addr string) (*dataPublisher, error) {
	c, r, err := l.dial(addr, "")
	if err != nil {
		return nil, err
	}
	p := &dataPublisher{bare: l.bare, c: c, w: bufio.NewWriterSize(c, 64<<10), fill: strings.Repeat("x", dataBytes-19-2)}
	if l.bare {
		_, err = io.WriteString(c, "P\n")
	} else {
		go io.Copy(io.Discard, r)
	}
	return p, err
}

// publish writes one message; flush sends what was not sent yet.
func (p *dataPublisher) publish(subject int) error {
	p.id++
	data := fmt.Sprintf(`"%d%s"`, time.Now().UnixNano(), p.fill)
	if !p.bare {
		p.w.Write(appendMasked(nil, fmt.Sprintf(`{"t":"publish","id":%d,"path":"%s","data":%s}`, p.id, subjectPath(subject), data)))
	} else {
		text := fmt.Sprintf(`{"t":"update","path":"%s","epoch":"00000000000000a1","offset":%d,"at":1763700000100,"data":%s}`, subjectPath(subject), p.id, data)
		p.w.Write(binary.BigEndian.AppendUint16(nil, uint16(subject)))
		p.w.Write(binary.BigEndian.AppendUint16(nil, uint16(len(text)+4)))
		p.w.Write(append(binary.BigEndian.AppendUint16([]byte{0x81, 126}, uint16(len(text))), text...))
	}
	if p.w.Buffered() > 16<<10 {
		return p.flush()
	}
	return nil
}

func (p *dataPublisher) flush() error { return p.w.Flush() }
