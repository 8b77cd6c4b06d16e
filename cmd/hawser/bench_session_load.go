package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"runtime"
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
	// sampleEvery is of how many messages the latency is looked at in one.
	sampleEvery = 32
	// maxPending is how much a publisher holds that the server does not take, in bytes.
	maxPending = 1 << 20
	// restTime is how long the loop waits for more while nothing is measured.
	restTime = 5 * time.Millisecond
)

// dataLoad are the clients of a benchmark, that do no more than count what they get: one loop reads for all of them. While it measures it does not sleep, so that no server pays for waking it.
type dataLoad struct {
	bare      bool
	poll      *poller
	spin      atomic.Bool
	ready     atomic.Int64
	delivered atomic.Int64
	acked     atomic.Int64
	head      atomic.Uint64 // behind the last message that was acknowledged
	ended     chan struct{}

	mu      sync.Mutex // held by the loop while it reads
	clients []*dataClient
	tick    func() error // called by the loop again and again
	times   []time.Duration
	count   int
	err     error
	over    bool

	buf []byte // of the loop
}

// dataClient is one connection.
type dataClient struct {
	fd    int
	part  []byte // the beginning of a message
	waits int    // answers that are to come before it is ready
	place *place // nil: not looked at
}

// place is where a client stands in the one subject that it follows.
type place struct {
	epoch         string
	next          uint64
	got           int
	lost, doubled uint64
}

func newDataLoad(bare bool) (*dataLoad, error) {
	p, err := newPoller()
	if err != nil {
		return nil, err
	}
	l := &dataLoad{bare: bare, poll: p, ended: make(chan struct{}), buf: make([]byte, 256<<10)}
	go l.run()
	return l, nil
}

func (l *dataLoad) run() {
	runtime.LockOSThread()
	defer close(l.ended)
	patience := restTime
	for look := 1; ; look++ {
		if look%256 == 0 {
			runtime.Gosched()
		}
		if patience = restTime; l.spin.Load() {
			patience = 0
		}
		err := l.poll.wait(patience, l.read)
		l.mu.Lock()
		if l.tick != nil && err == nil {
			err = l.tick()
		}
		if l.err == nil {
			l.err = err
		}
		over := l.over
		l.mu.Unlock()
		if over {
			return
		}
	}
}

func (l *dataLoad) close() {
	l.mu.Lock()
	l.over = true
	l.mu.Unlock()
	<-l.ended
	for _, c := range l.clients {
		l.poll.drop(c.fd)
	}
	l.poll.close()
}

func (l *dataLoad) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *dataLoad) await(ctx context.Context, ok func() bool) error {
	for patience := time.Now().Add(30 * time.Second); !ok(); pause(ctx, time.Millisecond) {
		if err := errors.Join(ctx.Err(), l.failure()); err != nil {
			return err
		}
		if time.Now().After(patience) {
			return errors.New("the server does not go on")
		}
	}
	return nil
}

// set says what the loop calls, nil for nothing.
func (l *dataLoad) set(tick func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tick = tick
}

func (l *dataLoad) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.times = l.times[:0]
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

// connect opens a connection and says hello; on one to the server the WebSocket stands then. What has come behind that is c.part.
func (l *dataLoad) connect(addr, hello string, c *dataClient) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	if l.bare {
		_, err = conn.Write([]byte(hello))
	} else {
		err = c.upgrade(conn, hello)
	}
	if err != nil {
		conn.Close()
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c.fd, err = l.poll.adopt(conn, len(l.clients))
	if err != nil {
		return err
	}
	l.clients = append(l.clients, c)
	return l.take(c, nil)
}

func (c *dataClient) upgrade(conn net.Conn, hello string) error {
	head := "GET /session HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: hawser.v1\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	if _, err := conn.Write(appendMasked([]byte(head), hello)); err != nil {
		return err
	}
	r := bufio.NewReader(conn)
	for line := ""; line != "\r\n"; {
		var err error
		if line, err = r.ReadString('\n'); err != nil {
			return err
		}
		if strings.HasPrefix(line, "HTTP/") && !strings.Contains(line, "101") {
			return fmt.Errorf("the server says %q", line)
		}
	}
	rest, _ := r.Peek(r.Buffered())
	c.part = bytes.Clone(rest)
	return nil
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

// open makes a client that follows some subjects, from a place if it has one.
func (l *dataLoad) open(addr string, follows []int, from *place) error {
	c := &dataClient{waits: len(follows), place: from}
	if l.bare {
		c.waits = 1
		hello := "S"
		for _, n := range follows {
			hello += " " + strconv.Itoa(n)
		}
		return l.connect(addr, hello+"\n", c)
	}
	var wants []string
	for _, n := range follows {
		at := ""
		if from != nil && from.epoch != "" {
			at = fmt.Sprintf(`,"from":"offset","epoch":"%s","offset":%d`, from.epoch, from.next)
		}
		wants = append(wants, fmt.Sprintf(`{"path":"%s"%s}`, subjectPath(n), at))
	}
	return l.connect(addr, `{"t":"hello","version":1,"subscribe":[`+strings.Join(wants, ",")+`]}`, c)
}

// read takes what a client has got.
func (l *dataLoad) read(number int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.clients[number]
	n, err := l.poll.transfer(false, c.fd, l.buf)
	if err == nil {
		err = l.take(c, l.buf[:n])
	}
	if err != nil {
		l.poll.drop(c.fd)
		c.fd = -1
		if l.err == nil {
			l.err = fmt.Errorf("a client was disconnected: %w", err)
		}
	}
}

// take counts the messages in what has come behind c.part.
func (l *dataLoad) take(c *dataClient, b []byte) error {
	if len(c.part) > 0 {
		b = append(c.part, b...)
	}
	n := 0
	for len(b) >= 4 {
		head, size := 2, int(b[1])
		switch size {
		case 126:
			head, size = 4, int(binary.BigEndian.Uint16(b[2:]))
		case 127:
			return errors.New("a message is longer than any that it should get")
		}
		if len(b) < head+size {
			break
		}
		n += l.message(c, b[head:head+size])
		b = b[head+size:]
	}
	if c.part = c.part[:0]; len(b) > 0 || cap(c.part) > 0 {
		c.part = append(c.part, b...)
	}
	l.delivered.Add(int64(n))
	return nil
}

// message returns how many deliveries a message is.
func (l *dataLoad) message(c *dataClient, b []byte) int {
	if bytes.HasPrefix(b, []byte(`{"t":"update"`)) {
		if l.count++; l.count%sampleEvery == 0 {
			l.sample(b)
		}
		if c.place != nil {
			c.place.update(b)
		}
		return 1
	}
	if bytes.HasPrefix(b, []byte(`{"t":"ack"`)) {
		_, offset := position(b)
		l.head.Store(offset + 1)
		l.acked.Add(1)
	}
	if c.waits > 0 && (l.bare || bytes.HasPrefix(b, []byte(`{"t":"snapshot"`))) {
		if c.place != nil {
			c.place.start(b)
		}
		if c.waits--; c.waits == 0 {
			l.ready.Add(1)
		}
	}
	return 0
}

// start compares where a subscription starts with where it should.
func (p *place) start(b []byte) {
	epoch, offset := position(b)
	switch {
	case p.epoch == "":
	case p.epoch != epoch: // nobody knows how many
		p.lost += max(1, offset)
	case offset > p.next:
		p.lost += offset - p.next
	}
	p.epoch, p.next = epoch, offset
}

func (p *place) update(b []byte) {
	_, offset := position(b)
	switch {
	case offset < p.next:
		p.doubled++
		return
	case offset > p.next:
		p.lost += offset - p.next
	}
	p.got++
	p.next = offset + 1
}

// position is the epoch and the offset of a message.
func position(b []byte) (epoch string, offset uint64) {
	_, rest, _ := bytes.Cut(b, []byte(`"epoch":"`))
	e, rest, _ := bytes.Cut(rest, []byte(`","offset":`))
	for i := 0; i < len(rest) && rest[i] >= '0' && rest[i] <= '9'; i++ {
		offset = 10*offset + uint64(rest[i]-'0')
	}
	return string(e), offset
}

// sample takes the time out of a message: it was sent then.
func (l *dataLoad) sample(b []byte) {
	i := bytes.Index(b, []byte(`"data":"`))
	if i < 0 || len(b) < i+8+19 {
		return
	}
	if at, err := strconv.ParseInt(string(b[i+8:i+8+19]), 10, 64); err == nil {
		l.times = append(l.times, time.Duration(time.Now().UnixNano()-at))
	}
}

// dataPublisher publishes on a connection of its own. The loop calls it, or nobody else does.
type dataPublisher struct {
	load *dataLoad
	c    dataClient
	out  []byte
	id   int
	fill string
}

func (l *dataLoad) publisher(addr string) (*dataPublisher, error) {
	p := &dataPublisher{load: l, fill: strings.Repeat("x", dataBytes-19-2)}
	hello := `{"t":"hello","version":1}`
	if l.bare {
		hello = "P\n"
	}
	return p, l.connect(addr, hello, &p.c)
}

// publish makes one message; flush sends what was not sent yet.
func (p *dataPublisher) publish(subject int) {
	p.id++
	data := fmt.Sprintf(`"%d%s"`, time.Now().UnixNano(), p.fill)
	if !p.load.bare {
		p.out = appendMasked(p.out, fmt.Sprintf(`{"t":"publish","id":%d,"path":"%s","data":%s}`, p.id, subjectPath(subject), data))
		return
	}
	text := fmt.Sprintf(`{"t":"update","path":"%s","epoch":"00000000000000a1","offset":%d,"at":1763700000100,"data":%s}`, subjectPath(subject), p.id, data)
	p.out = binary.BigEndian.AppendUint16(p.out, uint16(subject))
	p.out = binary.BigEndian.AppendUint16(p.out, uint16(len(text)+4))
	p.out = append(binary.BigEndian.AppendUint16(append(p.out, 0x81, 126), uint16(len(text))), text...)
}

// full says that the server is so far behind that no more is made.
func (p *dataPublisher) full() bool { return len(p.out) > maxPending }

func (p *dataPublisher) flush() error {
	if len(p.out) == 0 {
		return nil
	}
	n, err := p.load.poll.transfer(true, p.c.fd, p.out)
	p.out = append(p.out[:0], p.out[n:]...)
	return err
}
