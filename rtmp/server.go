package rtmp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"hawser/amf"
	"hawser/lifecycle"
	"hawser/netio"
)

// Defaults of a Server.
const (
	DefaultWindow           = 5_000_000
	DefaultMaxStreams       = 16
	DefaultHandshakeTimeout = 10 * time.Second
	DefaultIdleTimeout      = 60 * time.Second
	DefaultCallTimeout      = 10 * time.Second
	DefaultCloseTimeout     = time.Second

	acceptDelay = 50 * time.Millisecond // after an accept that failed for want of descriptors
)

// Server accepts RTMP connections and calls a Handler. Set the fields before the first Serve or ServeConn and do not change
// them after; both methods may run at once, any number of times.
type Server struct {
	// Handler is told what happens; nil lets everybody publish into nothing and play nothing.
	Handler *Handler
	// Log gets the events of all connections; nil is fine.
	Log *lifecycle.Log
	// Pool serves the writers; nil means netio's own.
	Pool *netio.Pool
	// ChunkSize is the size in bytes of the chunks sent; 0 means OwnChunkSize. Sources must give chunks of this size.
	ChunkSize int
	// Capabilities is what clients are told of Enhanced RTMP; nil means DefaultCapabilities.
	Capabilities *Capabilities
	// Limits bounds what a client can make the server hold.
	Limits Limits
	// MaxStreams is how many stream objects a connection may have; 0 means DefaultMaxStreams.
	MaxStreams int
	// MaxConnections is how many connections there may be; more are closed at once with reason limit. 0 means no bound.
	MaxConnections int
	// Window is the acknowledgement window announced, in bytes; 0 means DefaultWindow.
	Window uint32
	// HandshakeTimeout is the time from accept to connect; 0 means DefaultHandshakeTimeout.
	HandshakeTimeout time.Duration
	// IdleTimeout ends a connection that sends nothing, after a ping request in the middle of it; the end comes after one to one
	// and a half times as long. A player stays as long as it takes what it is sent. 0 means DefaultIdleTimeout.
	IdleTimeout time.Duration
	// WriteTimeout is how long a client may take none of the bytes that wait for it (reason slow); 0 means netio.DefaultTimeout.
	WriteTimeout time.Duration
	// CallTimeout is how long Conn.Call waits for an answer; 0 means DefaultCallTimeout.
	CallTimeout time.Duration
	// CloseTimeout is how long a client that was refused or told to go may take to read that; 0 means DefaultCloseTimeout.
	CloseTimeout time.Duration
	// QueueLimit bounds the replies waiting for one client, in bytes; 0 means netio.DefaultQueueLimit.
	QueueLimit int

	fill    sync.Once
	numbers atomic.Uint64

	mu    sync.Mutex
	conns map[*Conn]struct{}
	ended Stats // what went over those that have ended
}

func (s *Server) filled() {
	if s.Handler == nil {
		s.Handler = &Handler{}
	}
	s.mu.Lock() // Conns may be called before
	s.conns = make(map[*Conn]struct{})
	s.mu.Unlock()
	s.ChunkSize = orDefault(s.ChunkSize, OwnChunkSize)
	if s.Capabilities == nil {
		s.Capabilities = DefaultCapabilities()
	}
	s.Limits = s.Limits.filled()
	s.MaxStreams = orDefault(s.MaxStreams, DefaultMaxStreams)
	s.Window = orDefault(s.Window, DefaultWindow)
	s.HandshakeTimeout = orDefault(s.HandshakeTimeout, DefaultHandshakeTimeout)
	s.IdleTimeout = orDefault(s.IdleTimeout, DefaultIdleTimeout)
	s.CallTimeout = orDefault(s.CallTimeout, DefaultCallTimeout)
	s.CloseTimeout = orDefault(s.CloseTimeout, DefaultCloseTimeout)
}

func orDefault[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Serve accepts connections, RTMPS ones from a listener of package crypto/tls, until ctx ends, and then closes the listener and the connections (reason shutdown), waits for
// them and returns nil. If the listener fails first it returns its error after doing the same. On Linux, connections over plain TCP or a Unix socket hold no goroutine while nothing comes; Serve takes
// them over from package net (netio.Own), so a listener that gives them must not keep them.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	var wg sync.WaitGroup
	defer func() {
		cancel()
		stop()
		ln.Close()
		wg.Wait()
	}()
	for {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			wg.Add(1)
			if c := s.admit(ctx, netio.Own(nc), wg.Done); !c.startWatch() {
				go c.read()
			}
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ECONNABORTED):
			select {
			case <-time.After(acceptDelay):
			case <-ctx.Done():
			}
		default:
			return fmt.Errorf("rtmp: serve: %w", err)
		}
	}
}

// ServeConn serves one connection until it ends or ctx does, and closes it.
func (s *Server) ServeConn(ctx context.Context, nc net.Conn) {
	s.admit(ctx, nc, func() {}).read()
}

// admit makes a connection one of the server's; it must be read then. over is called when it has ended.
func (s *Server) admit(ctx context.Context, nc net.Conn, over func()) *Conn {
	s.fill.Do(s.filled)
	c := newConn(s, nc)
	c.over = over
	s.mu.Lock()
	s.conns[c] = struct{}{}
	full := s.MaxConnections > 0 && len(s.conns) > s.MaxConnections
	s.mu.Unlock()
	if full {
		c.Close(lifecycle.Reached("MaxConnections", s.MaxConnections))
	}
	c.begin(ctx)
	return c
}

// remove forgets a connection that has ended.
func (s *Server) remove(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	went := c.Stats()
	s.ended.Received += went.Received
	s.ended.Sent += went.Sent
	s.ended.Writes += went.Writes
}

// Totals returns what went over all connections so far, those too that have ended.
func (s *Server) Totals() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.ended
	for c := range s.conns {
		went := c.Stats()
		all.Received += went.Received
		all.Sent += went.Sent
		all.Writes += went.Writes
	}
	return all
}

// Bounds returns what the limits of connections allow, by the names under which lifecycle counts how often each is reached.
func (s *Server) Bounds() map[string]int {
	s.fill.Do(s.filled)
	queue := s.QueueLimit
	if queue <= 0 {
		queue = netio.DefaultQueueLimit
	}
	return map[string]int{"MaxConnections": s.MaxConnections, "rtmp.MaxMessage": s.Limits.MaxMessage, "rtmp.MaxUnfinished": s.Limits.MaxUnfinished, "rtmp.MaxChunkStreams": s.Limits.MaxChunkStreams,
		"rtmp.MaxStreams": s.MaxStreams, "rtmp.MaxPath": MaxPath, "rtmp.MaxNotes": MaxNotes, "rtmp.QueueLimit": queue,
		"amf.MaxDepth": amf.MaxDepth, "amf.MaxValues": amf.MaxValues, "amf.MaxRepeated": amf.MaxRepeated}
}

// Conns returns the connections that are there now, in no order.
func (s *Server) Conns() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.conns))
}
