//go:build linux

package main

import (
	"context"
	"net"
	"net/http"

	"github.com/coder/websocket"
)

type coder struct {
	options
	members[*websocket.Conn]
	accept websocket.AcceptOptions
}

func newCoder(o options) engine {
	s := &coder{options: o}
	if o.deflate {
		s.accept.CompressionMode = websocket.CompressionNoContextTakeover
		s.accept.CompressionThreshold = 1
	}
	return s
}

func (s *coder) serve(ln net.Listener) error { return serveHTTP(ln, s.upgrade) }

func (s *coder) upgrade(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &s.accept)
	if failed(err) {
		return
	}
	conn.SetReadLimit(-1)
	s.add(conn)
	go s.loop(conn)
}

func (s *coder) loop(conn *websocket.Conn) {
	ctx := context.Background()
	for {
		typ, data, err := conn.Read(ctx)
		if err != nil {
			return
		}
		if !s.silent {
			conn.Write(ctx, typ, data)
		}
	}
}

func (s *coder) cast(data []byte) error {
	ctx := context.Background()
	return s.each(func(c *websocket.Conn) error { return c.Write(ctx, websocket.MessageBinary, data) })
}
