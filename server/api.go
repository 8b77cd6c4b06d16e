package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"hawser/auth"
	"hawser/hook"
	"hawser/lifecycle"
	"hawser/stream"
	"hawser/subject"
)

// MaxBody bounds the body of a request to the API, in bytes, where the subjects' own limit does not.
const MaxBody = 1 << 20

// Handler returns the HTTP side of the server: sessions, HTTP-FLV, API, console.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", s.getReady)
	mux.HandleFunc("GET /metrics", s.admin(s.getMetrics))
	mux.HandleFunc("GET /session", s.serveSession)
	mux.HandleFunc("GET /session/events", s.getSessionEvents)
	mux.HandleFunc("GET /session/poll", s.getSessionPoll)
	mux.HandleFunc("POST /session/send", s.postSession)
	mux.HandleFunc("GET /api/v1/sessions", s.admin(s.getSessions))
	mux.HandleFunc("DELETE /api/v1/sessions/{id}", s.admin(s.deleteSession))
	mux.HandleFunc("POST /api/v1/drain", s.admin(s.postDrain))
	mux.HandleFunc("GET /api/v1/streams", s.sameOrigin(s.readable(visible(s, auth.Play, s.streams.List, func(i stream.Info) string { return i.Path }))))
	mux.HandleFunc("GET /api/v1/subjects", s.sameOrigin(s.readable(visible(s, auth.Subscribe, s.subjects.List, func(i subject.Info) string { return i.Path }))))
	mux.HandleFunc("POST /api/v1/subjects/{path...}", s.sameOrigin(s.readable(s.postSubject)))
	mux.HandleFunc("GET /api/v1/recordings", s.sameOrigin(s.listFiles))
	mux.HandleFunc("GET "+filesPrefix+"{name...}", s.sameOrigin(s.serveFile))
	mux.HandleFunc("GET /api/v1/connections", s.admin(func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.log.Conns()) }))
	mux.HandleFunc("GET /api/v1/events", s.admin(s.getEvents))
	mux.HandleFunc("GET /api/v1/relays", s.admin(func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.relays.List()) }))
	mux.HandleFunc("POST /api/v1/relays", s.admin(s.postRelay))
	mux.HandleFunc("DELETE /api/v1/relays/{id}", s.admin(s.deleteRelay))
	if s.opts.JS != nil {
		mux.Handle("GET /js/", staticFiles("/js/", s.opts.JS, ""))
	}
	var console http.Handler = http.NotFoundHandler()
	if s.opts.Console != nil {
		console = staticFiles("/", s.opts.Console, s.opts.ConsolePolicy)
	}
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, flvSuffix) {
			s.serveFLV(w, r)
			return
		}
		if t, ok := rtcTargetOf(r.URL.Path); ok {
			s.serveRTC(w, r, t)
			return
		}
		console.ServeHTTP(w, r)
	})
	mux.HandleFunc("/", s.serveOther)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.begin() {
			s.httpError(w, lifecycle.ReasonShutdown)
			return
		}
		defer s.wait.Done()
		mux.ServeHTTP(w, r)
	})
}

// writeJSON answers with a value.
func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	json.NewEncoder(w).Encode(v)
}

// httpStatus is the status for each reason that is not a fault of the server.
var httpStatus = map[int]int{
	lifecycle.ReasonBadRequest.Code: http.StatusBadRequest, lifecycle.ReasonTooBig.Code: http.StatusRequestEntityTooLarge,
	lifecycle.ReasonRefused.Code: http.StatusForbidden, lifecycle.ReasonUnauthorized.Code: http.StatusUnauthorized,
	lifecycle.ReasonNotFound.Code: http.StatusNotFound, lifecycle.ReasonLimit.Code: http.StatusServiceUnavailable,
	lifecycle.ReasonTaken.Code: http.StatusConflict, lifecycle.ReasonShutdown.Code: http.StatusServiceUnavailable,
	lifecycle.ReasonUnsupported.Code: http.StatusNotImplemented,
}

// httpError answers with the reason, as {"error":{"code":…,"word":…,"text":…}}.
func (s *Server) httpError(w http.ResponseWriter, r lifecycle.Reason) {
	status := httpStatus[r.Code]
	if status == 0 {
		status = http.StatusInternalServerError
	}
	s.writeError(w, status, r)
}

func (s *Server) writeError(w http.ResponseWriter, status int, r lifecycle.Reason) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]lifecycle.Reason{"error": r})
}

// postSubject publishes the body, a JSON value, to the subject of the path. The query may say kind=record or kind=json, patch=1 for a merge patch of a document, and time= for the media time in milliseconds.
func (s *Server) postSubject(w http.ResponseWriter, r *http.Request) {
	path := "/" + r.PathValue("path")
	who, ok := s.allowed(w, r, auth.Publish, path)
	if !ok {
		return
	}
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	var tooBig *http.MaxBytesError
	switch {
	case errors.As(err, &tooBig):
		lifecycle.CountReached("MaxBody")
		s.httpError(w, lifecycle.ReasonTooBig.With("body: more than %d bytes", MaxBody))
		return
	case err != nil:
		s.httpError(w, lifecycle.ReasonBadRequest.With("body: %v", err))
		return
	}
	kind, u, err := updateOf(r.URL.Query(), body)
	if err == nil {
		err = reserved(path)
	}
	if err == nil {
		if why := s.shares.publishOnce(remoteAddr(r), userOf(who), len(body)); why != nil {
			s.logRefusal(r, auth.Publish, path, lifecycle.ReasonOf(why))
			w.Header().Set("Retry-After", "1")
			s.writeError(w, http.StatusTooManyRequests, lifecycle.ReasonOf(why))
			return
		}
	}
	var epoch, offset uint64
	if err == nil {
		err = s.askData(r.Context(), hook.Event{Protocol: overHTTP, Remote: r.RemoteAddr, Path: path, Query: r.URL.Query()}, &u)
	}
	if err == nil {
		epoch, offset, err = s.Publish(path, kind, u)
	}
	if err != nil {
		s.httpError(w, lifecycle.ReasonOf(err))
		return
	}
	writeJSON(w, map[string]any{"path": path, "epoch": epochText(epoch), "offset": offset})
}

// updateOf makes an update of a request's query and body.
func updateOf(q url.Values, body []byte) (kind subject.Kind, u subject.Update, err error) {
	kind = subject.Log
	if word := q.Get("kind"); word != "" {
		if kind, err = subject.ParseKind(word); err != nil || kind == subject.None {
			return kind, u, lifecycle.ReasonBadRequest.With("kind %q: want log, record or json", word)
		}
	}
	if text := q.Get("time"); text != "" {
		ms, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(ms) || math.Abs(ms) > 1e12 {
			return kind, u, lifecycle.ReasonBadRequest.With("time %q: want milliseconds", text)
		}
		u.Media, u.HasMedia = time.Duration(ms*float64(time.Millisecond)), true
	}
	patch := q.Get("patch") == "1"
	switch {
	case patch && kind != subject.JSON:
		return kind, u, lifecycle.ReasonBadRequest.With("patch=1: want kind=json")
	case patch:
		u.Patch = body
		return kind, u, nil
	case kind != subject.Record:
		u.Data = body
		return kind, u, nil
	}
	if u.Fields, err = subject.ParseFields(body); err != nil {
		return kind, u, lifecycle.ReasonBadRequest.Because(err)
	}
	return kind, u, nil
}

// epochText is an epoch as messages and the API spell it: 16 hexadecimal digits.
func epochText(epoch uint64) string {
	const digits = "0123456789abcdef"
	var b [16]byte
	for i := range b {
		b[i] = digits[epoch>>(60-4*i)&15]
	}
	return string(b[:])
}

// getEvents gives the event log as one JSON object a line, from the place ?from= on (0: all that are kept, the default); ?follow=1 goes on with what comes.
func (s *Server) getEvents(w http.ResponseWriter, r *http.Request) {
	var from uint64
	if text := r.URL.Query().Get("from"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			s.httpError(w, lifecycle.ReasonBadRequest.With("from %q: want a number", text))
			return
		}
		from = n
	}
	follow := r.URL.Query().Get("follow") == "1"
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	_, head := s.log.Bounds()
	if !follow && from >= head {
		return
	}
	from = min(from, head) // what happens from here on is told, also while the answer begins
	flush := http.NewResponseController(w)
	encoder := json.NewEncoder(w)
	ctx, cancel := context.WithCancel(r.Context())
	defer context.AfterFunc(s.ctx, cancel)()
	defer cancel()
	if follow {
		flush.Flush() // the observer need not wait for an event to know that it is heard
	}
	for e := range s.log.Events(ctx, from) {
		if encoder.Encode(e) != nil || !follow && e.Seq+1 >= head {
			return
		}
		if follow {
			flush.Flush()
		}
	}
}

// admin lets only requests from this machine through, and those of whom the rules give admin: what they show and do is not for everybody. Nor is it for pages of others in a browser on this machine, which
// cannot read an answer and could send a POST all the same.
func (s *Server) admin(next http.HandlerFunc) http.HandlerFunc {
	fromElsewhere := s.sameOrigin(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := s.allowed(w, r, auth.Admin, r.URL.Path); ok {
			next(w, r)
		}
	})
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case remoteAddr(r).IsLoopback() && localHost(r.Host) && !forwarded(r):
			if origin := r.Header.Get("Origin"); origin != "" && !ownOrigin(origin, r.Host) {
				s.httpError(w, lifecycle.ReasonRefused.With("origin %q is not allowed", origin))
				return
			}
			next(w, r)
		case s.opts.Auth != nil:
			fromElsewhere(w, r)
		default:
			s.httpError(w, lifecycle.ReasonRefused.With("%s is for this machine only", r.URL.Path))
		}
	}
}

// forwarded says that a request comes by a proxy on this machine, so that its address says nothing. One that does not tell is known by HTTP/1.0, which nginx speaks unless it is set up otherwise.
func forwarded(r *http.Request) bool {
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Via"} {
		if _, ok := r.Header[name]; ok {
			return true
		}
	}
	return !r.ProtoAtLeast(1, 1)
}

// localHost says that a request names this machine itself, so that a page elsewhere whose name was made to point here gets nothing.
func localHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.IsLoopback()
}

// sameOrigin refuses requests that a page of another origin makes in somebody's browser, unless that origin is allowed.
func (s *Server) sameOrigin(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if origin := r.Header.Get("Origin"); origin != "" && !s.allowedOrigin(origin, r.Host) {
			s.httpError(w, lifecycle.ReasonRefused.With("origin %q is not allowed", origin))
			return
		}
		next(w, r)
	}
}

// readable lets pages of the origins that sameOrigin let through read the answer.
func (s *Server) readable(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.allowOrigin(w, r)
		next(w, r)
	}
}

// preflight answers a browser that asks whether a page of an allowed origin may send what is no simple request; false when it is none of that.
func (s *Server) preflight(w http.ResponseWriter, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" || !s.allowedOrigin(origin, r.Host) {
		return false
	}
	s.allowOrigin(w, r)
	w.Header().Set("Access-Control-Allow-Methods", "GET, POST")
	w.Header().Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Range")
	w.Header().Set("Access-Control-Max-Age", "86400")
	w.WriteHeader(http.StatusNoContent)
	return true
}

// ownOrigin says that a page comes from the host that it asks.
func ownOrigin(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && strings.EqualFold(u.Host, host)
}

func (s *Server) allowedOrigin(origin, host string) bool {
	if ownOrigin(origin, host) {
		return true
	}
	for _, o := range s.opts.Origins {
		if o == "*" || strings.EqualFold(o, origin) {
			return true
		}
	}
	return false
}
