package rtmp

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"hawser/lifecycle"
)

// raw connects and sends b; the server's part of the handshake has come when it returns.
func (r *relay) raw(b []byte) net.Conn {
	r.t.Helper()
	nc := r.connect()
	nc.SetDeadline(time.Now().Add(testTimeout))
	nc.Write(b)
	if _, err := io.ReadFull(nc, make([]byte, handshakeBytes)); err != nil {
		r.t.Fatal(err)
	}
	return nc
}

// Clients that say nothing hold no goroutine, and what one of them then says is heard.
func TestIdleWithoutGoroutine(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there are watches on Linux only")
	}
	const n, most = 100, 30
	r := newRelay(t, nil)
	before := runtime.NumGoroutine()
	var last net.Conn
	for range n {
		last = r.raw(opening())
	}
	for end := time.Now().Add(testTimeout); runtime.NumGoroutine() > before+most; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines for %d connections", runtime.NumGoroutine()-before, n)
		}
	}
	last.Write(appendMessages(nil, DefaultChunkSize, command(0, "createStream", 2, nil), command(1, "publish", 0, nil, "cam1", "live")))
	r.await("publish /live/cam1 live")
}

// A handler function that blocks holds up its own connection and no other, and the server's end waits for it.
func TestHandlerBlocks(t *testing.T) {
	blocked, release := make(chan struct{}), make(chan struct{})
	r := newRelay(t, func(s *Server) {
		s.Handler.OnConnect = func(_ context.Context, c *Conn) error {
			if c.App() == "slow" {
				close(blocked)
				<-release
			}
			return nil
		}
	})
	defer close(release)
	r.connect().Write(openingOf("slow"))
	<-blocked
	for range 5 {
		publish(t, r.url("/live/a")).Close()
	}
}

// Close ends a connection wherever its reading stands: before anything came, in a message, or while it is idle.
func TestCloseWhileWatched(t *testing.T) {
	for _, b := range [][]byte{nil, opening()[:100], opening(), publishing()} {
		r := newRelay(t, nil)
		nc := r.connect()
		nc.SetDeadline(time.Now().Add(testTimeout))
		nc.Write(b)
		for len(r.server.Conns()) == 0 {
			runtime.Gosched()
		}
		r.server.Conns()[0].Close(lifecycle.ReasonDone)
		if _, err := io.Copy(io.Discard, nc); errors.Is(err, os.ErrDeadlineExceeded) { // a reset is as good
			t.Errorf("after %d bytes: not closed", len(b))
		}
	}
}
