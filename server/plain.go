package server

import (
	"io"
	"net/http"
	"strconv"
	"time"

	"hawser/lifecycle"
	"hawser/session"
)

const (
	// eventsIdle is how often something is said in a stream of events that has nothing to say, so that whoever stands between does not cut it.
	eventsIdle = 15 * time.Second
	// pollTime is how long a poll waits for something; pollGap is how long the next one may be in coming before the connection is lost.
	pollTime = 25 * time.Second
	pollGap  = 15 * time.Second
	// postPatience is how long a POST waits for one that was sent before it.
	postPatience = 10 * time.Second
	// closePatience is how long a client may take to fetch the goodbye.
	closePatience = 5 * time.Second
	// minKey and maxKey bound the name that a client gives a connection.
	minKey, maxKey = 22, 64
)

// plainSession prepares a request of a session over plain HTTP and returns the key of its connection; false when it is answered.
func (s *Server) plainSession(w http.ResponseWriter, r *http.Request) (key string, n uint64, ok bool) {
	if origin := r.Header.Get("Origin"); origin != "" {
		if !s.allowedOrigin(origin, r.Host) {
			s.httpError(w, lifecycle.ReasonRefused.With("origin %q is not allowed", origin))
			return "", 0, false
		}
		w.Header().Set("Access-Control-Allow-Origin", origin)
		w.Header().Add("Vary", "Origin")
	}
	q := r.URL.Query()
	key = q.Get("c")
	good := len(key) >= minKey && len(key) <= maxKey
	for _, c := range key {
		good = good && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_')
	}
	if !good {
		s.httpError(w, lifecycle.ReasonBadRequest.With("c: want %d to %d letters, digits, - or _", minKey, maxKey))
		return "", 0, false
	}
	if text := q.Get("n"); text != "" {
		var err error
		if n, err = strconv.ParseUint(text, 10, 53); err != nil {
			s.httpError(w, lifecycle.ReasonBadRequest.With("n %q: want a number", text))
			return "", 0, false
		}
	}
	return key, n, true
}

// openPlain makes the session of a new connection over plain HTTP.
func (s *Server) openPlain(r *http.Request, key string, events bool) (*httpCarrier, lifecycle.Reason) {
	from := remoteAddr(r)
	if why := s.sessions.enter(from); !why.IsZero() {
		return nil, why
	}
	c := s.newSession(r.RemoteAddr)
	h := newHTTPCarrier(c, events, func() {
		s.plainMu.Lock()
		delete(s.plain, key)
		s.plainMu.Unlock()
		s.wait.Done()
	})
	c.carrier, c.token = h, requestToken(r)
	s.plainMu.Lock()
	_, taken := s.plain[key]
	if !taken {
		if s.plain == nil {
			s.plain = make(map[string]*httpCarrier)
		}
		s.plain[key] = h
	}
	s.plainMu.Unlock()
	if taken {
		c.life.Close(lifecycle.ReasonTaken)
		s.sessions.leave(from)
		return nil, lifecycle.ReasonTaken.With("there is a connection of this name")
	}
	s.wait.Add(1) // until it is given up: polls come and go
	c.begin()
	return h, lifecycle.Reason{}
}

func (s *Server) findPlain(key string) *httpCarrier {
	s.plainMu.Lock()
	defer s.plainMu.Unlock()
	return s.plain[key]
}

// eventStream sets the header of an answer that is made of server-sent events.
func eventStream(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
}

// getSessionEvents carries a session in a stream of server-sent events, until either side ends it.
func (s *Server) getSessionEvents(w http.ResponseWriter, r *http.Request) {
	key, _, ok := s.plainSession(w, r)
	if !ok {
		return
	}
	h, why := s.openPlain(r, key, true)
	if h == nil {
		s.httpError(w, why)
		return
	}
	defer h.finish(lifecycle.ReasonLost)
	eventStream(w)
	control := http.NewResponseController(w)
	idle := time.NewTicker(eventsIdle)
	defer idle.Stop()
	body, end := []byte(": open\n\n"), false
	for {
		control.SetWriteDeadline(time.Now().Add(s.opts.WriteTimeout))
		_, err := w.Write(body)
		if err == nil {
			err = control.Flush()
		}
		if err != nil {
			h.finish(slowOr(err))
			return
		}
		if end {
			return
		}
		body = body[:0]
		select {
		case <-h.wake:
			body, end = h.take(body)
		case <-idle.C:
			body = append(body, ": idle\n\n"...)
		case <-r.Context().Done():
			return
		case <-h.over:
			return
		}
	}
}

// postSession takes what a client of plain HTTP sends: one message a line.
func (s *Server) postSession(w http.ResponseWriter, r *http.Request) {
	key, n, ok := s.plainSession(w, r)
	if !ok {
		return
	}
	h := s.findPlain(key)
	if h == nil {
		s.httpError(w, lifecycle.ReasonNotFound.With("there is no such connection"))
		return
	}
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, session.DefaultMaxMessage+1))
	if err != nil {
		s.httpError(w, lifecycle.ReasonTooBig.With("body: %v", err))
		return
	}
	patience := time.NewTimer(postPatience)
	defer patience.Stop()
	if err := h.receive(n, body, patience.C); err != nil {
		s.httpError(w, lifecycle.ReasonOf(err))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// getSessionPoll answers with what there is to be sent, as soon as there is something. The same number again gets the same answer again.
func (s *Server) getSessionPoll(w http.ResponseWriter, r *http.Request) {
	key, n, ok := s.plainSession(w, r)
	if !ok {
		return
	}
	h := s.findPlain(key)
	if h == nil && n == 0 {
		var why lifecycle.Reason
		if h, why = s.openPlain(r, key, false); h == nil {
			s.httpError(w, why)
			return
		}
	}
	if h == nil {
		s.httpError(w, lifecycle.ReasonNotFound.With("there is no such connection"))
		return
	}
	if h.events { // both would take what the other is to send
		s.httpError(w, lifecycle.ReasonTaken.With("this connection has a stream of events"))
		return
	}
	h.polling.Lock()
	defer h.polling.Unlock()
	if n > h.polled || n+1 < h.polled {
		s.httpError(w, lifecycle.ReasonBadRequest.With("n is %d, want %d", n, h.polled))
		return
	}
	if h.lost == nil {
		h.lost = time.AfterFunc(pollGap, func() { h.finish(lifecycle.ReasonLost.With("no poll within %s", pollGap)) })
	}
	h.lost.Stop()
	end := false
	if n == h.polled {
		h.answer = h.answer[:0:0]
		if n > 0 { // the first one only opens
			h.answer, end = h.poll(r)
		}
		h.polled++
	}
	eventStream(w)
	w.Header().Set("Content-Length", strconv.Itoa(len(h.answer)))
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.opts.WriteTimeout))
	w.Write(h.answer)
	if end {
		h.finish(lifecycle.ReasonLost)
		return
	}
	h.lost.Reset(pollGap)
}

// poll waits for something to be sent.
func (h *httpCarrier) poll(r *http.Request) (body []byte, end bool) {
	patience := time.NewTimer(pollTime)
	defer patience.Stop()
	for len(body) == 0 && !end {
		select {
		case <-h.wake:
			body, end = h.take(nil)
		case <-patience.C:
			return nil, false
		case <-r.Context().Done():
			return nil, false
		case <-h.over:
			return nil, true
		}
	}
	return body, end
}
