package server

import (
	"net"
	"net/http"
	"strings"

	"hawser/auth"
	"hawser/lifecycle"
	"hawser/netio"
	"hawser/stream"
)

// flvSuffix at the end of a path asks for the stream as HTTP-FLV.
const flvSuffix = ".flv"

// flvType is the media type of HTTP-FLV.
const flvType = "video/x-flv"

// serveFLV sends a stream as one endless FLV file. The connection is taken from net/http, so that a viewer is a socket and a cursor and no goroutine writes for it.
func (s *Server) serveFLV(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimSuffix(r.URL.Path, flvSuffix)
	who, ok := s.allowed(w, r, auth.Play, path)
	if !ok {
		return
	}
	if info, ok := s.streams.Find(path); (!ok || info.Status == stream.Waiting || info.Status == stream.Ended) && !s.relays.Pulls(path) {
		s.httpError(w, lifecycle.ReasonNotFound.With("nobody publishes %q", path))
		return
	}
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Type", flvType)
		return
	}
	life := s.log.Open("http-flv", lifecycle.Server, r.RemoteAddr)
	life.SetPath(path)
	format, framing := s.formats.flv, "Transfer-Encoding: chunked"
	if !r.ProtoAtLeast(1, 1) {
		format, framing = s.formats.flvPlain, "Connection: close"
	}
	viewer, err := s.streams.View(path, format, life.ID())
	if err != nil {
		why := lifecycle.ReasonOf(err)
		life.Close(why)
		s.httpError(w, why)
		return
	}
	s.relays.Changed()
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		why := lifecycle.ReasonUnsupported.With("HTTP-FLV needs HTTP/1.1")
		viewer.Close()
		life.Close(why)
		s.httpError(w, why)
		return
	}
	v := &flvViewer{server: s, conn: conn, life: life, viewer: viewer}
	v.writer = netio.NewWriter(conn, netio.WriterOptions{Timeout: s.opts.WriteTimeout, OnError: func(err error) { v.end(slowOr(err)) }})
	v.writer.SetSource(v)
	life.Set("playing", lifecycle.Green, lifecycle.Reason{})
	v.writer.Queue([]byte("HTTP/1.1 200 OK\r\nContent-Type: " + flvType + "\r\nCache-Control: no-store\r\nAccess-Control-Allow-Origin: *\r\n" + framing + "\r\n\r\n"))
	v.writer.Wake()
	release := s.guards.watch(who, auth.Play, path, v.end)
	s.wait.Go(func() {
		defer release()
		v.watch()
	})
}

// slowOr is the reason of a failed write: a peer that took nothing in time is slow.
func slowOr(err error) lifecycle.Reason {
	r := lifecycle.ReasonOf(err)
	if r.Code == lifecycle.ReasonTimeout.Code {
		return lifecycle.ReasonSlow.Because(err)
	}
	return r
}

// flvViewer is one HTTP-FLV viewer.
type flvViewer struct {
	server *Server
	conn   net.Conn
	life   *lifecycle.Conn
	viewer *stream.Viewer
	writer *netio.Writer
}

// Fill implements netio.Source.
func (v *flvViewer) Fill(dst [][]byte, max int) [][]byte {
	for {
		var size int
		dst, size = v.viewer.Fill(dst, max)
		v.server.traffic.flvOut.Add(uint64(size))
		switch {
		case size >= max:
			return dst
		case v.viewer.Ended() && len(dst) > 0:
			v.writer.Wake() // to come here again when that is written
			return dst
		case v.viewer.Ended():
			v.end(v.viewer.Why())
			return dst
		case v.viewer.Arm(v.writer):
			return dst
		}
		max -= size
	}
}

// watch waits for the client to go, or for the server to stop.
func (v *flvViewer) watch() {
	stop := contextCloser(v.server.ctx, v.conn)
	defer stop()
	r := netio.NewReader(v.conn, 512)
	for {
		if err := r.Next(func([]byte) error { return nil }); err != nil {
			why := lifecycle.ReasonDone
			if v.server.ctx.Err() != nil {
				why = lifecycle.ReasonShutdown
			}
			v.end(why)
			return
		}
	}
}

// end gives everything up; the first reason counts.
func (v *flvViewer) end(why lifecycle.Reason) {
	v.life.Close(why)
	v.writer.Close()
	v.conn.Close()
	v.viewer.Close()
}
