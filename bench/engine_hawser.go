//go:build linux

package main

import (
	"context"
	"net"
	"net/http"
	"time"

	"hawser/ring"
	"hawser/websocket"
)

// hawser is our own engine. A broadcast appends the frame to a ring, from which each connection takes what it lacks when it is woken and free.
type hawser struct {
	options
	members[*hawserConn]
	accept websocket.AcceptOptions
	queue  bool // a broadcast is queued on each connection
	ring   *ring.Ring[*websocket.Prepared]
}

type hawserConn struct {
	*websocket.Conn
	s      *hawser
	cursor *ring.Cursor[*websocket.Prepared]
}

func newHawser(o options) engine {
	s := &hawser{options: o, ring: ring.New[*websocket.Prepared](1, 0, ring.Limits{})}
	if o.deflate {
		s.accept.Compression = &websocket.Deflate{Threshold: -1}
	}
	return s
}

func newHawserQueue(o options) engine {
	s := newHawser(o).(*hawser)
	s.queue = true
	return s
}

func (s *hawser) serve(ln net.Listener) error { return serveHTTP(ln, s.upgrade) }

func (s *hawser) upgrade(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &s.accept)
	if failed(err) {
		return
	}
	c := &hawserConn{Conn: conn, s: s}
	if !s.queue && s.silent {
		_, head := s.ring.Bounds()
		c.cursor = s.ring.Cursor(head)
		conn.SetSource(c)
		conn.Wake() // Fill arms the cursor
	}
	s.add(c)
	conn.Handle(c.event)
}

func (c *hawserConn) event(ev websocket.Event) bool {
	if ev.Kind == websocket.Binary && !c.s.silent {
		c.Write(context.Background(), websocket.BinaryMessage, ev.Data) // an error ends the connection too
	}
	return true
}

// Fill implements netio.Source.
func (c *hawserConn) Fill(dst [][]byte, max int) [][]byte {
	var items [32]ring.Item[*websocket.Prepared]
	for size := 0; size < max; {
		n, _, err := c.cursor.Read(items[:])
		if err != nil || n == 0 && c.cursor.Arm(c) {
			break
		}
		for _, item := range items[:n] {
			dst = append(dst, item.Value.For(c.Conn))
			size += item.Size
		}
	}
	return dst
}

// sends implements sender.
func (s *hawser) sends() (n uint64) {
	s.each(func(c *hawserConn) error {
		_, writes := c.Stats()
		n += writes
		return nil
	})
	return n
}

func (s *hawser) cast(data []byte) error {
	p := websocket.Prepare(websocket.BinaryMessage, data)
	if s.queue {
		return s.each(func(c *hawserConn) error { return c.Queue(p.For(c.Conn)) })
	}
	s.ring.Append(p, len(p.Bytes()), time.Now())
	return nil
}
