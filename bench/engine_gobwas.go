//go:build linux

package main

import (
	"bufio"
	"errors"
	"io"
	"net"

	"github.com/gobwas/httphead"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"
)

// gobwas is that library at its lowest level, as its documentation shows it: no net/http, one buffered reader and one reused buffer for each connection.
type gobwas struct {
	options
	members[net.Conn]
}

func newGobwas(o options) engine { return &gobwas{options: o} }

func (s *gobwas) serve(ln net.Listener) error {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		go s.loop(conn)
	}
}

func (s *gobwas) upgrade(conn net.Conn) error {
	u := ws.Upgrader{}
	if s.deflate {
		e := wsflate.Extension{Parameters: wsflate.DefaultParameters}
		u.Negotiate = func(o httphead.Option) (httphead.Option, error) { return e.Negotiate(o) }
	}
	_, err := u.Upgrade(conn)
	return err
}

func (s *gobwas) loop(conn net.Conn) {
	defer conn.Close()
	if failed(s.upgrade(conn)) {
		return
	}
	s.add(conn)
	r := bufio.NewReader(conn)
	var buf []byte
	for {
		h, err := ws.ReadHeader(r)
		if err != nil || h.OpCode == ws.OpClose {
			return
		}
		if need := ws.MaxHeaderSize + int(h.Length); cap(buf) < need {
			buf = make([]byte, need)
		}
		data := buf[ws.MaxHeaderSize:][:h.Length]
		if _, err := io.ReadFull(r, data); err != nil {
			return
		}
		ws.Cipher(data, h.Mask, 0)
		if s.silent {
			continue
		}
		h.Masked = false
		if s.deflate {
			err = s.reflate(conn, h, data)
		} else {
			err = s.write(conn, h, buf, data)
		}
		if err != nil {
			return
		}
	}
}

// write puts the header in front of the payload, for which there is room in buf, and writes both at once.
func (s *gobwas) write(conn net.Conn, h ws.Header, buf, data []byte) error {
	start := ws.MaxHeaderSize - ws.HeaderSize(h)
	head := head{b: buf[start:start]}
	if err := ws.WriteHeader(&head, h); err != nil {
		return err
	}
	_, err := conn.Write(buf[start : ws.MaxHeaderSize+len(data)])
	return err
}

// head is an io.Writer into a buffer that is large enough.
type head struct{ b []byte }

func (h *head) Write(p []byte) (int, error) {
	if len(p) > cap(h.b)-len(h.b) {
		return 0, errors.New("gobwas: a header that is too long")
	}
	h.b = append(h.b, p...)
	return len(p), nil
}

// reflate takes a compressed message and sends it back compressed anew.
func (s *gobwas) reflate(conn net.Conn, h ws.Header, data []byte) error {
	f, err := wsflate.DecompressFrame(ws.Frame{Header: h, Payload: data})
	if err != nil {
		return err
	}
	if f, err = wsflate.CompressFrame(f); err != nil {
		return err
	}
	b, err := ws.CompileFrame(f)
	if err != nil {
		return err
	}
	_, err = conn.Write(b)
	return err
}

func (s *gobwas) cast(data []byte) error {
	f := ws.NewBinaryFrame(data)
	if s.deflate {
		var err error
		if f, err = wsflate.CompressFrame(f); err != nil {
			return err
		}
	}
	b, err := ws.CompileFrame(f)
	if err != nil {
		return err
	}
	return s.each(func(c net.Conn) error {
		_, err := c.Write(b)
		return err
	})
}
