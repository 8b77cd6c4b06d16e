//go:build linux

package main

import (
	"net"
	"net/http"

	"github.com/lxzan/gws"
)

type gwsServer struct {
	gws.BuiltinEventHandler
	options
	members[*gws.Conn]
	upgrader *gws.Upgrader
}

func newGWS(o options) engine {
	s := &gwsServer{options: o}
	s.upgrader = gws.NewUpgrader(s, &gws.ServerOption{PermessageDeflate: gws.PermessageDeflate{Enabled: o.deflate, Threshold: 1}})
	return s
}

func (s *gwsServer) serve(ln net.Listener) error { return serveHTTP(ln, s.upgrade) }

func (s *gwsServer) upgrade(w http.ResponseWriter, r *http.Request) {
	conn, err := s.upgrader.Upgrade(w, r)
	if failed(err) {
		return
	}
	s.add(conn)
	go conn.ReadLoop()
}

// OnMessage implements gws.Event.
func (s *gwsServer) OnMessage(conn *gws.Conn, m *gws.Message) {
	defer m.Close()
	if !s.silent {
		conn.WriteMessage(m.Opcode, m.Bytes())
	}
}

func (s *gwsServer) cast(data []byte) error {
	b := gws.NewBroadcaster(gws.OpcodeBinary, data)
	defer b.Close()
	return s.each(b.Broadcast)
}
