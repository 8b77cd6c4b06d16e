package e2e

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// impaired is a proxy whose connections suffer what those of a bad network do.
type impaired struct {
	t      *testing.T
	ln     net.Listener
	target string
	wait   sync.WaitGroup

	mu    sync.Mutex
	links map[*impairedLink]struct{}
	over  bool
}

// impairedLink is one connection through it.
type impairedLink struct {
	near, far net.Conn

	mu    sync.Mutex
	until time.Time     // nothing goes through before
	delay time.Duration // of each piece
	dead  bool          // half-open: what comes is swallowed, and nobody is told
}

func newImpaired(t *testing.T, target string) *impaired {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &impaired{t: t, ln: ln, target: target, links: make(map[*impairedLink]struct{})}
	p.wait.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

func (p *impaired) accept() {
	for {
		near, err := p.ln.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", p.target)
		if err != nil { // as if nobody listened
			near.Close()
			continue
		}
		l := &impairedLink{near: near, far: far}
		p.mu.Lock()
		over := p.over
		p.links[l] = struct{}{}
		p.mu.Unlock()
		if over {
			l.cut()
		}
		p.wait.Go(func() {
			var both sync.WaitGroup
			both.Go(func() { l.copy(far, near) })
			both.Go(func() { l.copy(near, far) })
			both.Wait()
			p.mu.Lock()
			delete(p.links, l)
			p.mu.Unlock()
		})
	}
}

func (p *impaired) close() {
	p.ln.Close()
	p.mu.Lock()
	p.over = true
	for l := range p.links {
		l.cut()
	}
	p.mu.Unlock()
	p.wait.Wait()
}

// copy passes on what comes, as the link is.
func (l *impairedLink) copy(dst, src net.Conn) {
	defer l.cut()
	b := make([]byte, 16<<10)
	for {
		n, err := src.Read(b)
		if err != nil && err != io.EOF {
			return
		}
		l.mu.Lock()
		wait, dead := max(time.Until(l.until), l.delay), l.dead
		l.mu.Unlock()
		time.Sleep(wait) // the network has no condition to wait for
		if !dead {
			if _, err := dst.Write(b[:n]); err != nil {
				return
			}
		}
		if err == io.EOF && !dead {
			return
		}
		if err == io.EOF {
			src = idle{src}
		}
	}
}

// idle is a connection from which nothing comes any more.
type idle struct{ net.Conn }

func (c idle) Read([]byte) (int, error) {
	time.Sleep(pollInterval)
	_, err := c.Write(nil)
	return 0, err
}

func (l *impairedLink) cut() {
	l.near.Close()
	l.far.Close()
}

// hurt does something bad to one of the connections.
func (p *impaired) hurt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links { // an arbitrary one
		l.mu.Lock()
		defer l.mu.Unlock()
		switch rand.IntN(5) {
		case 0, 1:
			l.cut()
		case 2:
			l.dead = true
		case 3:
			l.until = time.Now().Add(time.Duration(rand.IntN(1000)) * time.Millisecond)
		case 4:
			l.delay = time.Duration(rand.IntN(20)) * time.Millisecond
		}
		return
	}
}

// heal ends what connections suffer; half-open ones are cut.
func (p *impaired) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.mu.Lock()
		l.until, l.delay = time.Time{}, 0
		if l.dead {
			l.cut()
		}
		l.mu.Unlock()
	}
}
