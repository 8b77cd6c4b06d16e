//go:build linux

package main

import (
	"net"
	"net/http"

	"github.com/gorilla/websocket"
)

type gorilla struct {
	options
	members[*websocket.Conn]
	upgrader websocket.Upgrader
}

func newGorilla(o options) engine {
	return &gorilla{options: o, upgrader: websocket.Upgrader{EnableCompression: o.deflate}}
}

func (s *gorilla) serve(ln net.Listener) error { return serveHTTP(ln, s.upgrade) }

func (s *gorilla) upgrade(w http.ResponseWriter, r *http.Request) {
	conn, err := s.upgrader.Upgrade(w, r, nil)
	if failed(err) {
		return
	}
	s.add(conn)
	go s.loop(conn)
}

func (s *gorilla) loop(conn *websocket.Conn) {
	for {
		typ, data, err := conn.ReadMessage()
		if err != nil {
			return
		}
		if !s.silent {
			conn.WriteMessage(typ, data)
		}
	}
}

func (s *gorilla) cast(data []byte) error {
	p, err := websocket.NewPreparedMessage(websocket.BinaryMessage, data)
	if err != nil {
		return err
	}
	return s.each(func(c *websocket.Conn) error { return c.WritePreparedMessage(p) })
}
