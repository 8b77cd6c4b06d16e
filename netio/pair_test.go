package netio

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long a test waits for what must happen before it gives up.
const patience = 90 * time.Second

// kinds are the connections that everything is tested over.
var kinds = []string{"tcp", "unix", "tls", "pipe", "own tcp", "own unix"}

// forKinds runs a test over each kind of connection.
func forKinds(t *testing.T, test func(t *testing.T, near, far net.Conn)) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			near, far := pair(t, kind)
			test(t, near, far)
		})
	}
}

// pair returns the two ends of a connection. Their buffers are small, so that a peer that does not read is soon noticed.
func pair(t testing.TB, kind string) (near, far net.Conn) {
	kind, own := strings.CutPrefix(kind, "own ")
	switch kind {
	case "pipe":
		near, far = net.Pipe()
	case "unix":
		near, far = dial(t, "unix", filepath.Join(t.TempDir(), "s"))
	default:
		near, far = dial(t, "tcp", "127.0.0.1:0")
	}
	for _, c := range []net.Conn{near, far} {
		if b, ok := c.(interface {
			SetReadBuffer(int) error
			SetWriteBuffer(int) error
		}); ok {
			b.SetReadBuffer(32 << 10)
			b.SetWriteBuffer(32 << 10)
		}
	}
	if kind == "tls" {
		near, far = secure(t, near, far)
	}
	if own {
		near = Own(near)
	}
	t.Cleanup(func() { cutOff(near); cutOff(far) })
	far.SetReadDeadline(time.Now().Add(2 * patience))
	return near, far
}

// cutOff closes a connection without a farewell, for which TLS would wait.
func cutOff(c net.Conn) {
	if s, ok := c.(*tls.Conn); ok {
		c = s.NetConn()
	}
	c.Close()
}

func dial(t testing.TB, network, address string) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if far, err = net.Dial(network, l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if near, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return near, far
}

var certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

func secure(t testing.TB, near, far net.Conn) (server, client net.Conn) {
	t.Helper()
	cert := certificate()
	leaf, _ := x509.ParseCertificate(cert.Certificate[0])
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	s := tls.Server(near, &tls.Config{Certificates: []tls.Certificate{cert}})
	c := tls.Client(far, &tls.Config{RootCAs: roots, ServerName: "test"})
	done := make(chan error, 1)
	go func() { done <- s.Handshake() }()
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return s, c
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("never came true: ", what)
		}
	}
}

// stuck waits until a writer waits for its peer.
func stuck(t testing.TB, w *Writer) {
	t.Helper()
	eventually(t, "the writer waits for its peer", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.waiting
	})
}

// within fails the test if done is not closed in time.
func within(t testing.TB, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		buf := make([]byte, 1<<20)
		t.Fatalf("never ended: %s\n%s", what, buf[:runtime.Stack(buf, true)])
	}
}

// goes runs f in a goroutine and says when it has ended.
func goes(f func()) <-chan struct{} {
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	return done
}

// message is one buffer whose receiver can tell that it is whole and who sent it: sender, number, length, and bytes that follow from these.
func message(sender, number, size int) []byte {
	b := make([]byte, 12+size)
	binary.BigEndian.PutUint32(b, uint32(sender))
	binary.BigEndian.PutUint32(b[4:], uint32(number))
	binary.BigEndian.PutUint32(b[8:], uint32(size))
	for i := range b[12:] {
		b[12+i] = byte(sender + number + i)
	}
	return b
}

// receive reads n messages, checks each, and that those of one sender come in order without a gap. It returns the senders in the order of arrival.
func receive(r io.Reader, n int) (senders []int, err error) {
	next := make(map[int]int)
	head := make([]byte, 12)
	for range n {
		if _, err := io.ReadFull(r, head); err != nil {
			return senders, fmt.Errorf("after %d of %d messages: %w", len(senders), n, err)
		}
		sender, number, size := int(binary.BigEndian.Uint32(head)), int(binary.BigEndian.Uint32(head[4:])), int(binary.BigEndian.Uint32(head[8:]))
		if sender > 1000 || size > 64<<20 {
			return senders, fmt.Errorf("after %d messages: not a message: % x", len(senders), head)
		}
		if number != next[sender] {
			return senders, fmt.Errorf("sender %d: number %d, want %d", sender, number, next[sender])
		}
		next[sender]++
		body := make([]byte, size)
		if _, err := io.ReadFull(r, body); err != nil {
			return senders, err
		}
		if !bytes.Equal(body, message(sender, number, size)[12:]) {
			return senders, fmt.Errorf("sender %d: message %d is not whole", sender, number)
		}
		senders = append(senders, sender)
	}
	return senders, nil
}

// list is a source: what is added goes out in order.
type list struct {
	mu      sync.Mutex
	pending [][]byte
	fills   int
}

func (l *list) add(bufs ...[]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = append(l.pending, bufs...)
}

// Fill implements Source.
func (l *list) Fill(dst [][]byte, max int) [][]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fills++
	size := 0
	for size < max && len(l.pending) > 0 {
		dst = append(dst, l.pending[0])
		size += len(l.pending[0])
		l.pending = l.pending[1:]
	}
	return dst
}
