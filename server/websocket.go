package server

import (
	"net/http"

	"hawser/lifecycle"
	"hawser/session"
	"hawser/websocket"
)

// serveSession makes a WebSocket of a request and a session of that.
func (s *Server) serveSession(w http.ResponseWriter, r *http.Request) {
	if origin := r.Header.Get("Origin"); origin != "" && !s.allowedOrigin(origin, r.Host) {
		s.httpError(w, lifecycle.ReasonRefused.With("origin %q is not allowed", origin))
		return
	}
	if why := s.sessions.enter(remoteAddr(r)); !why.IsZero() {
		s.httpError(w, why)
		return
	}
	ws, err := websocket.Accept(w, r, s.accept)
	if err != nil {
		s.sessions.leave(remoteAddr(r))
		return // Accept has answered
	}
	c := s.newSession(r.RemoteAddr)
	c.carrier, c.token = ws, requestToken(r)
	ws.SetSource(c)
	c.begin()
	s.wait.Add(1)
	var why lifecycle.Reason
	ws.Handle(func(ev websocket.Event) bool { // a session that is silent holds no goroutine
		if c.heard(); ev.Kind != websocket.Disconnected {
			c.event(ev, &why)
			return true
		}
		if why.IsZero() {
			why = disconnected(ev)
		}
		c.finish(why)
		s.wait.Done()
		return true
	})
}

// event takes an event of the WebSocket but for its end, of which it may tell why.
func (c *sessionConn) event(ev websocket.Event, why *lifecycle.Reason) {
	switch ev.Kind {
	case websocket.Text:
		c.receive(ev.Data)
	case websocket.Binary:
		c.fail(&session.Error{Reason: lifecycle.ReasonUnsupported.With("binary messages from a client have no meaning in version %d", session.Version), Fatal: true})
	case websocket.Closing: // a client that gives the connection up, but not the session, says so by the code
		if r, ok := lifecycle.ReasonByCode(ev.Code); ok {
			*why = r
		}
	case websocket.ProtocolError:
		*why = c.violated(ev)
	}
}

// violated is the reason when the client broke the protocol of the WebSocket, which then closes with a code of its own. A message that is too big is the session's affair.
func (c *sessionConn) violated(ev websocket.Event) lifecycle.Reason {
	why := lifecycle.ReasonProtocol.Because(ev.Err)
	if ev.Code == websocket.CloseTooBig {
		lifecycle.CountReached("session.MaxMessage")
		why = lifecycle.ReasonTooBig.Because(ev.Err)
		c.fail(&session.Error{Reason: why, Fatal: true})
		return why
	}
	c.life.Event(lifecycle.Event{Kind: kindProtocolError, Reason: why})
	return why
}

// disconnected is the reason when nobody here ended the session.
func disconnected(ev websocket.Event) lifecycle.Reason {
	if ev.Graceful {
		return lifecycle.ReasonDone
	}
	return slowOr(ev.Err)
}
