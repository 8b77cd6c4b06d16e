package server

import (
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"hawser/auth"
	"hawser/hook"
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
	if why := s.absent(path); !why.IsZero() && (r.Method == http.MethodHead || !s.hooks.Has(hook.Play)) { // a hook may know another path
		s.httpError(w, why)
		return
	}
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Type", flvType)
		return
	}
	life := s.log.Open(overFLV, lifecycle.Server, r.RemoteAddr)
	life.SetPath(path)
	refuse := func(why lifecycle.Reason) {
		life.Close(why)
		s.httpError(w, why)
	}
	about := hook.Event{Protocol: overFLV, Conn: life.ID(), Remote: r.RemoteAddr, Path: path, Query: r.URL.Query(), Client: r.UserAgent()}
	path, err := s.askPlay(r.Context(), about)
	if err != nil {
		why := lifecycle.ReasonOf(err)
		life.Event(lifecycle.Event{Kind: "refuse", Path: about.Path, Detail: hook.Play, Reason: why})
		refuse(why)
		return
	}
	if why := s.absent(path); !why.IsZero() {
		refuse(why)
		return
	}
	about.Path = path
	life.SetPath(path)
	format, framing := s.formats.flv, "Transfer-Encoding: chunked"
	if !r.ProtoAtLeast(1, 1) {
		format, framing = s.formats.flvPlain, "Connection: close"
	}
	viewer, err := s.streams.View(path, format, life.ID())
	if err != nil {
		refuse(lifecycle.ReasonOf(err))
		return
	}
	s.relays.Changed()
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		viewer.Close()
		refuse(lifecycle.ReasonUnsupported.With("HTTP-FLV needs HTTP/1.1"))
		return
	}
	v := &flvViewer{server: s, conn: conn, life: life, viewer: viewer, about: about, began: time.Now()}
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

// absent says why there is nothing to be watched at a path; the zero reason when there is.
func (s *Server) absent(path string) lifecycle.Reason {
	info, ok := s.streams.Find(path)
	if (!ok || info.Status == stream.Waiting || info.Status == stream.Ended) && !s.relays.Pulls(path) {
		return lifecycle.ReasonNotFound.With("nobody publishes %q", path)
	}
	return lifecycle.Reason{}
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
	about  hook.Event // what hooks were asked
	began  time.Time
	ended  atomic.Bool
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
	if !v.ended.Swap(true) {
		v.server.tellStop(v.about, v.began, why)
	}
}
