//go:build linux

package main

import (
	"net"
	"net/http"

	"github.com/lesismal/nbio/logging"
	"github.com/lesismal/nbio/nbhttp"
	"github.com/lesismal/nbio/nbhttp/websocket"
)

type nbio struct {
	options
	members[*websocket.Conn]
	upgrader *websocket.Upgrader
}

func newNbio(o options) engine {
	s := &nbio{options: o, upgrader: websocket.NewUpgrader()}
	s.upgrader.EnableCompression(o.deflate)
	s.upgrader.OnOpen(func(c *websocket.Conn) {
		c.EnableWriteCompression(o.deflate)
		s.add(c)
	})
	s.upgrader.OnMessage(func(c *websocket.Conn, typ websocket.MessageType, data []byte) {
		if !o.silent {
			c.WriteMessage(typ, data)
		}
	})
	return s
}

func (s *nbio) serve(ln net.Listener) error {
	logging.SetLevel(logging.LevelError)
	e := nbhttp.NewEngine(nbhttp.Config{
		Network:                      "tcp",
		Addrs:                        []string{ln.Addr().String()},
		Listen:                       func(string, string) (net.Listener, error) { return ln, nil },
		Handler:                      http.HandlerFunc(s.upgrade),
		ReleaseWebsocketPayload:      true,
		MaxWebsocketFramePayloadSize: 1 << 20,
	})
	if err := e.Start(); err != nil {
		return err
	}
	select {}
}

func (s *nbio) upgrade(w http.ResponseWriter, r *http.Request) {
	_, err := s.upgrader.Upgrade(w, r, nil)
	failed(err)
}

func (s *nbio) cast(data []byte) error {
	return s.each(func(c *websocket.Conn) error { return c.WriteMessage(websocket.BinaryMessage, data) })
}
