package server

import (
	"context"
	"net"
	"net/http"
	"sync"

	"hawser/lifecycle"
)

// garbage notices connections to the HTTP port that send something, and never a request: net/http answers them by itself (400) and tells nobody.
type garbage struct {
	log *lifecycle.Log

	mu   sync.Mutex
	open map[net.Conn]struct{} // bytes have come, and no request of them yet
}

type connKey struct{}

// watch makes a server tell of such connections.
func (g *garbage) watch(web *http.Server) {
	g.open = make(map[net.Conn]struct{})
	web.ConnState = g.state
	web.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) }
	next := web.Handler
	web.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connKey{}).(net.Conn); ok {
			g.forget(c)
		}
		next.ServeHTTP(w, r)
	})
}

func (g *garbage) state(c net.Conn, s http.ConnState) {
	switch s {
	case http.StateActive: // the first bytes of a request, if it is one
		g.mu.Lock()
		g.open[c] = struct{}{}
		g.mu.Unlock()
	case http.StateClosed:
		if g.forget(c) {
			g.log.Add(lifecycle.Event{Kind: kindProtocolError, Protocol: "http", Side: lifecycle.Server, Remote: c.RemoteAddr().String(), State: "closed",
				Reason: lifecycle.ReasonProtocol.With("what came was no HTTP request")})
		}
	}
}

// forget returns whether the connection still owed a request.
func (g *garbage) forget(c net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, owed := g.open[c]
	delete(g.open, c)
	return owed
}
