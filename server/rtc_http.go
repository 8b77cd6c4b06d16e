package server

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"hawser/lifecycle"
	"hawser/rtc"
	"hawser/session"
	"hawser/stream"
)

// The last segments of the paths at which WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep) are spoken.
const (
	whipSuffix = "/whip"
	whepSuffix = "/whep"
	// sessionPath is where a peer is made whose data channel carries a session.
	sessionPath = "/session/rtc"
)

// The media types of WHIP and WHEP.
const (
	sdpType      = "application/sdp"
	fragmentType = "application/trickle-ice-sdpfrag"
)

const (
	// DefaultMaxOfferRate bounds the offers of one address over WHIP and WHEP, in offers a second.
	DefaultMaxOfferRate = 100
	// tracksWait is how long WHEP waits for the tracks of a stream that has just begun, or is pulled for this viewer.
	tracksWait = 5 * time.Second
	// otherTrackWait is how long it waits for a second track of a stream that has had few frames: those that browsers publish show theirs one after the other.
	otherTrackWait = 500 * time.Millisecond
	fewFrames      = 100
	// maxOfferers bounds the addresses whose offers are counted.
	maxOfferers = 4096
)

// rtcResources are the peers of WHIP and WHEP by the last segment of their URLs, and how often who offers.
type rtcResources struct {
	mu        sync.Mutex
	peers     map[string]*rtcPeer
	ids       map[*rtcPeer]string
	offers    map[netip.Addr]*bucket
	perSecond float64
}

func (r *rtcResources) add(p *rtcPeer) (id string) {
	id = rand.Text()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.peers == nil {
		r.peers, r.ids = make(map[string]*rtcPeer), make(map[*rtcPeer]string)
	}
	r.peers[id], r.ids[p] = p, id
	return id
}

func (r *rtcResources) find(id string) *rtcPeer {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.peers[id]
}

func (r *rtcResources) remove(p *rtcPeer, _ lifecycle.Reason) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.peers, r.ids[p])
	delete(r.ids, p)
}

// take counts an offer; false when there are too many from that address.
func (r *rtcResources) take(from netip.Addr, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.offers[from]
	if b == nil {
		if len(r.offers) >= maxOfferers || r.offers == nil {
			r.offers = make(map[netip.Addr]*bucket) // it matters for a second or so
		}
		b = &bucket{perSecond: r.perSecond}
		r.offers[from] = b
	}
	return b.take(now)
}

// rtcTarget is what a URL of WHIP or WHEP names: an endpoint, or with an id a session.
type rtcTarget struct {
	role rtcRole
	path string
	id   string
}

func rtcTargetOf(path string) (t rtcTarget, ok bool) {
	if id, ok := strings.CutPrefix(path, sessionPath); ok && (id == "" || id[0] == '/') {
		return rtcTarget{role: rtcSession, path: sessionPath, id: strings.TrimPrefix(id, "/")}, true
	}
	for _, try := range []string{path, path[:max(strings.LastIndexByte(path, '/'), 0)]} {
		if len(try) < len(path) {
			t.id = path[len(try)+1:]
		}
		if t.path, ok = strings.CutSuffix(try, whepSuffix); ok {
			return t, t.path != ""
		}
		if t.path, ok = strings.CutSuffix(try, whipSuffix); ok {
			t.role = rtcPublish
			return t, t.path != ""
		}
	}
	return t, false
}

// allow is the methods that a URL has.
func (t rtcTarget) allow() string {
	if t.id == "" {
		return "OPTIONS, POST"
	}
	return "DELETE, OPTIONS, PATCH"
}

// serveOther takes the methods that nothing but WHIP and WHEP has here.
func (s *Server) serveOther(w http.ResponseWriter, r *http.Request) {
	if t, ok := rtcTargetOf(r.URL.Path); ok {
		s.serveRTC(w, r, t)
		return
	}
	if s.preflight(w, r) {
		return
	}
	w.Header().Set("Allow", "GET, HEAD")
	http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
}

// serveRTC serves an endpoint or a session of WHIP or WHEP.
func (s *Server) serveRTC(w http.ResponseWriter, r *http.Request, t rtcTarget) {
	if origin := r.Header.Get("Origin"); origin != "" {
		if t.role != rtcPlay && !s.allowedOrigin(origin, r.Host) {
			s.httpError(w, lifecycle.ReasonRefused.With("origin %q is not allowed", origin))
			return
		}
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", origin)
		h.Add("Vary", "Origin")
		h.Set("Access-Control-Expose-Headers", "Location, Link, ETag, Accept-Patch, Retry-After")
	}
	switch {
	case r.Method == http.MethodOptions:
		s.optionsRTC(w, r, t)
	case s.rtc == nil:
		s.httpError(w, rtcOff)
	case r.Method == http.MethodPost && t.id == "":
		s.postRTC(w, r, t)
	case r.Method == http.MethodPatch && t.id != "":
		s.patchRTC(w, r, t)
	case r.Method == http.MethodDelete && t.id != "":
		s.deleteRTC(w, r, t)
	default:
		w.Header().Set("Allow", t.allow())
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
	}
}

// optionsRTC says what a URL can do, and answers the question that a browser asks before it sends a page's request. Who may have an endpoint's peer is told of STUN and TURN servers: it needs them for an offer
// that has all its addresses (RFC 9725 section 4.6).
func (s *Server) optionsRTC(w http.ResponseWriter, r *http.Request, t rtcTarget) {
	h := w.Header()
	h.Set("Allow", t.allow())
	h.Set("Access-Control-Allow-Methods", t.allow())
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, If-Match")
	h.Set("Access-Control-Max-Age", "86400")
	if t.id == "" {
		h.Set("Accept-Post", sdpType)
	} else {
		h.Set("Accept-Patch", fragmentType)
	}
	if s.rtc != nil && t.id == "" && r.Header.Get("Access-Control-Request-Method") == "" && s.mayKnow(r, t) {
		s.linkServers(h)
	}
	w.WriteHeader(http.StatusNoContent)
}

// mayKnow says whether who asks may have a peer of an endpoint. What a session may do is said after its hello; the servers' credentials are for users only, where there are any.
func (s *Server) mayKnow(r *http.Request, t rtcTarget) bool {
	who, err := s.identifyRequest(r)
	if t.role == rtcSession {
		return err == nil && (s.opts.Auth == nil || userOf(who) != "")
	}
	return err == nil && permit(who, t.role.action(), t.path) == nil
}

// linkServers names the STUN and TURN servers.
func (s *Server) linkServers(h http.Header) {
	for _, server := range s.rtc.ICEServers() {
		for _, url := range server.URLs {
			h.Add("Link", iceLink(url, server))
		}
		h.Set("Cache-Control", "no-store") // there may be credentials
	}
}

// rtcError answers with a reason. What cannot be carried is not acceptable to this client, and what may come later may be asked for again.
func (s *Server) rtcError(w http.ResponseWriter, why lifecycle.Reason) {
	switch why.Code {
	case lifecycle.ReasonUnsupported.Code:
		s.writeError(w, http.StatusNotAcceptable, why)
		return
	case lifecycle.ReasonNotFound.Code, lifecycle.ReasonTaken.Code, lifecycle.ReasonLimit.Code, lifecycle.ReasonShutdown.Code:
		w.Header().Set("Retry-After", "2")
	case lifecycle.ReasonProtocol.Code:
		why = lifecycle.ReasonBadRequest.With("%s", why.Text)
	}
	s.httpError(w, why)
}

// readBody reads the body of a request that is of a type; otherwise the request is answered.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request, want, header string) (body string, ok bool) {
	if got, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); got != want {
		w.Header().Set(header, want)
		s.writeError(w, http.StatusUnsupportedMediaType, lifecycle.ReasonBadRequest.With("content type %q: want %s", got, want))
		return "", false
	}
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	most := s.opts.RTC.MaxSDP
	if most <= 0 {
		most = rtc.DefaultMaxSDP
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(most)))
	var tooBig *http.MaxBytesError
	switch {
	case errors.As(err, &tooBig):
		lifecycle.CountReached("rtc.MaxSDP")
		s.httpError(w, lifecycle.ReasonTooBig.With("body: more than %d bytes (MaxSDP)", most))
	case err != nil:
		s.httpError(w, lifecycle.ReasonBadRequest.With("body: %v", err))
	}
	return string(b), err == nil
}

// postRTC makes a peer for an offer (RFC 9725 section 4.2).
func (s *Server) postRTC(w http.ResponseWriter, r *http.Request, t rtcTarget) {
	if !s.whip.take(remoteAddr(r), time.Now()) {
		why := lifecycle.Reached("MaxOfferRate", s.whip.perSecond).With("MaxOfferRate is %g a second", s.whip.perSecond)
		s.logRefusal(r, t.role.action(), t.path, why)
		w.Header().Set("Retry-After", "1")
		s.writeError(w, http.StatusTooManyRequests, why)
		return
	}
	if t.role == rtcSession {
		s.postRTCSession(w, r)
		return
	}
	who, ok := s.allowed(w, r, t.role.action(), t.path)
	if !ok {
		return
	}
	if err := session.CheckPath(t.path); err != nil {
		s.httpError(w, lifecycle.ReasonOf(err))
		return
	}
	offer, ok := s.readBody(w, r, sdpType, "Accept-Post")
	if !ok {
		return
	}
	p, answer, err := s.openPeer(r.Context(), rtcAsk{role: t.role, path: t.path, remote: r.RemoteAddr, client: r.UserAgent(), query: r.URL.Query(), who: who, offer: offer,
		patience: tracksWait, gone: s.whip.remove})
	if err != nil {
		s.rtcError(w, lifecycle.ReasonOf(err))
		return
	}
	s.linkServers(w.Header())
	s.answerOffer(w, r, p, answer)
}

// iceLink is a STUN or TURN server as a header (RFC 9725 section 4.6).
func iceLink(url string, server rtc.ICEServer) string {
	link := "<" + url + `>; rel="ice-server"`
	if server.Username != "" {
		link += "; username=" + strconv.Quote(server.Username) + "; credential=" + strconv.Quote(server.Credential) + `; credential-type="password"`
	}
	return link
}

// findRTC returns the peer that a URL names, if whoever asks may do what it does; otherwise the request is answered.
func (s *Server) findRTC(w http.ResponseWriter, r *http.Request, t rtcTarget) *rtcPeer {
	if t.role != rtcSession { // who has a session says so in its hello
		if _, ok := s.allowed(w, r, t.role.action(), t.path); !ok {
			return nil
		}
	}
	p := s.whip.find(t.id)
	if p == nil || p.role != t.role || p.asked != t.path {
		s.httpError(w, lifecycle.ReasonNotFound.With("there is no such session"))
		return nil
	}
	return p
}

// deleteRTC ends a peer.
func (s *Server) deleteRTC(w http.ResponseWriter, r *http.Request, t rtcTarget) {
	if p := s.findRTC(w, r, t); p != nil {
		p.peer.Close(lifecycle.ReasonDone)
		w.WriteHeader(http.StatusOK)
	}
}

// patchRTC takes candidates, or restarts ICE (RFC 9725 section 4.3).
func (s *Server) patchRTC(w http.ResponseWriter, r *http.Request, t rtcTarget) {
	p := s.findRTC(w, r, t)
	if p == nil {
		return
	}
	body, ok := s.readBody(w, r, fragmentType, "Accept-Patch")
	if !ok {
		return
	}
	match := r.Header.Get("If-Match")
	switch is := p.etag(); {
	case match == "":
		s.writeError(w, http.StatusPreconditionRequired, lifecycle.ReasonBadRequest.With("want If-Match"))
		return
	case match != "*" && !slices.ContainsFunc(strings.Split(match, ","), func(one string) bool { return strings.TrimSpace(one) == is }):
		s.writeError(w, http.StatusPreconditionFailed, lifecycle.ReasonBadRequest.With("If-Match %.100s: it is %s", match, is))
		return
	}
	if !strings.Contains(body, "a=ice-ufrag:") && !strings.Contains(body, "a=candidate:") && !strings.Contains(body, "a=end-of-candidates") {
		s.httpError(w, lifecycle.ReasonBadRequest.With("fragment: want ice-ufrag and ice-pwd, or candidates"))
		return
	}
	answer, err := p.peer.Patch(r.Context(), body)
	if err != nil {
		s.rtcError(w, badRequest(err))
		return
	}
	if answer == "" {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	p.mu.Lock()
	p.ice = attribute(answer, "ice-ufrag")
	p.mu.Unlock()
	w.Header().Set("ETag", p.etag())
	w.Header().Set("Content-Type", fragmentType)
	io.WriteString(w, answer)
}

// etag names the present ICE session of a peer.
func (p *rtcPeer) etag() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return `"` + p.ice + `"`
}

// attribute returns the first value of an attribute of a description, "" if there is none.
func attribute(sdp, name string) string {
	for line := range strings.Lines(sdp) {
		if value, ok := strings.CutPrefix(line, "a="+name+":"); ok {
			return strings.TrimRight(value, "\r\n")
		}
	}
	return ""
}

// badRequest is the reason for what a client sent that makes no sense, where the error has none of its own.
func badRequest(err error) lifecycle.Reason {
	var why lifecycle.Reason
	if errors.As(err, &why) {
		return why
	}
	return lifecycle.ReasonBadRequest.With("%v", err)
}

// mayGrow says whether a stream that is published over WebRTC has one track, and so few frames that it may be about to get another.
func (s *Server) mayGrow(path string) bool {
	info, ok := s.streams.Find(path)
	return ok && info.Status == stream.Live && len(info.Tracks) == 1 && info.Frames < fewFrames && strings.HasPrefix(info.Publisher, overRTC+"-")
}

// awaitTracks waits until a stream has so many tracks. The viewer that it needs for that may be what a pull on demand waits for.
func (s *Server) awaitTracks(ctx context.Context, path, by string, tracks int) error {
	viewer, err := s.streams.View(path, s.formats.rtc, by)
	if err != nil {
		return err
	}
	defer viewer.Close()
	s.relays.Changed()
	woken := make(waker, 1)
	for {
		if info := viewer.Stream().Info(); info.Status == stream.Live && len(info.Tracks) >= tracks {
			return nil
		}
		if viewer.Fill(nil, relayBatch); viewer.Ended() {
			return viewer.Why()
		}
		if !viewer.Arm(woken) {
			continue
		}
		select {
		case <-woken:
		case <-ctx.Done():
			return lifecycle.ReasonNotFound.With("nothing came on %q within %v", path, tracksWait)
		}
	}
}
