package server

import (
	"context"
	"net/netip"
	"net/url"

	"hawser/auth"
	"hawser/lifecycle"
	"hawser/rtmp"
)

// guardRTMP puts the question whether a client may before what a handler does, and ends a connection that may no longer. Where there is no authentication the handler stays as it is.
func (s *Server) guardRTMP(h *rtmp.Handler) *rtmp.Handler {
	if s.opts.Auth == nil {
		return h
	}
	guarded := *h
	ask := func(a auth.Action, start func(context.Context, *rtmp.Stream) error) func(context.Context, *rtmp.Stream) error {
		return func(ctx context.Context, st *rtmp.Stream) error {
			path := st.Path()
			who, err := s.publisherOrPlayer(ctx, st)
			if err == nil {
				err = permit(who, a, path)
			}
			if err == nil {
				err = start(ctx, st)
			}
			if err == nil {
				s.guardStream(st, s.guards.watch(who, a, path, st.Conn().Close))
			}
			return err
		}
	}
	free := func(end func(*rtmp.Stream, lifecycle.Reason)) func(*rtmp.Stream, lifecycle.Reason) {
		return func(st *rtmp.Stream, why lifecycle.Reason) {
			s.guardStream(st, nil)
			end(st, why)
		}
	}
	guarded.OnConnect = func(ctx context.Context, c *rtmp.Conn) error {
		if err := s.knowRTMP(ctx, c); err != nil {
			return err
		}
		if h.OnConnect == nil {
			return nil
		}
		return h.OnConnect(ctx, c)
	}
	guarded.OnDisconnect = func(c *rtmp.Conn, why lifecycle.Reason) {
		s.guards.mu.Lock()
		delete(s.rtmpKnown, c)
		s.guards.mu.Unlock()
		if h.OnDisconnect != nil {
			h.OnDisconnect(c, why)
		}
	}
	guarded.OnPublish, guarded.OnPlay = ask(auth.Stream, h.OnPublish), ask(auth.Play, h.OnPlay)
	guarded.OnClose, guarded.OnStop = free(h.OnClose), free(h.OnStop)
	return &guarded
}

// guardStream keeps what releases the guard of a stream; nil releases it.
func (s *Server) guardStream(st *rtmp.Stream, release func()) {
	s.guards.mu.Lock()
	old := s.rtmpGuards[st]
	if release == nil {
		delete(s.rtmpGuards, st)
	} else {
		s.rtmpGuards[st] = release
	}
	s.guards.mu.Unlock()
	if old != nil {
		old()
	}
}

// knowRTMP looks at the credentials that stand in the URL of the application: those that are not good end the connection before anything is asked. Without any it goes on, because they may come with
// the stream's name; which paths are open to somebody can be told only then.
func (s *Server) knowRTMP(ctx context.Context, c *rtmp.Conn) error {
	token := queryToken(c.Query())
	if token == "" {
		return nil
	}
	who, err := s.identifyRTMP(ctx, c, token)
	if err != nil {
		return err
	}
	s.guards.mu.Lock()
	defer s.guards.mu.Unlock()
	s.rtmpKnown[c] = who
	return nil
}

// publisherOrPlayer says who asks for a stream: by the query of its name, else as the connection is known.
func (s *Server) publisherOrPlayer(ctx context.Context, st *rtmp.Stream) (auth.Identity, error) {
	token := queryToken(st.Query())
	if token == "" {
		s.guards.mu.Lock()
		who := s.rtmpKnown[st.Conn()]
		s.guards.mu.Unlock()
		if who != nil {
			return who, nil
		}
	}
	return s.identifyRTMP(ctx, st.Conn(), token)
}

// identifyRTMP says who brings a token.
func (s *Server) identifyRTMP(ctx context.Context, c *rtmp.Conn, token string) (auth.Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.AuthTimeout)
	defer cancel()
	var remote netip.Addr
	if peer, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil {
		remote = peer.Addr().Unmap()
	}
	return s.opts.Auth.Authenticate(ctx, token, remote)
}

// queryToken is the credentials in the query of a URL: token or key, or user and password.
func queryToken(q url.Values) string {
	for _, name := range []string{"token", "key"} {
		if v := q.Get(name); v != "" {
			return v
		}
	}
	if user := q.Get("user"); user != "" {
		return user + ":" + q.Get("password")
	}
	return ""
}
