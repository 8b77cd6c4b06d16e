package server

import (
	"context"
	"net/http"
	"strings"

	"hawser/auth"
	"hawser/lifecycle"
)

// requestToken is the credentials that a request brings: in its header Authorization, Bearer or Basic, or in its query.
func requestToken(r *http.Request) string {
	if user, password, ok := r.BasicAuth(); ok {
		return user + ":" + password
	}
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	return queryToken(r.URL.Query())
}

// identifyRequest says who makes a request; nil without an error where nobody asks.
func (s *Server) identifyRequest(r *http.Request) (auth.Identity, error) {
	if s.opts.Auth == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.opts.AuthTimeout)
	defer cancel()
	return s.opts.Auth.Authenticate(ctx, requestToken(r), remoteAddr(r))
}

// allowed says who makes a request, if that one may do what it asks; otherwise the request is answered.
func (s *Server) allowed(w http.ResponseWriter, r *http.Request, a auth.Action, path string) (who auth.Identity, ok bool) {
	who, err := s.identifyRequest(r)
	if err == nil {
		err = permit(who, a, path)
	}
	if err != nil {
		s.refuseRequest(w, r, a, path, lifecycle.ReasonOf(err))
		return nil, false
	}
	return who, true
}

// refuseRequest answers a request that is not allowed, and tells the operator.
func (s *Server) refuseRequest(w http.ResponseWriter, r *http.Request, a auth.Action, path string, why lifecycle.Reason) {
	s.logRefusal(r, a, path, why)
	if why.Code == lifecycle.ReasonUnauthorized.Code {
		w.Header().Set("WWW-Authenticate", `Bearer realm="hawser"`)
	}
	s.httpError(w, why)
}

// logRefusal tells the operator of a request that is not let through.
func (s *Server) logRefusal(r *http.Request, a auth.Action, path string, why lifecycle.Reason) {
	s.log.Add(lifecycle.Event{Kind: "refuse", Protocol: "http", Side: lifecycle.Server, Remote: r.RemoteAddr, Path: path, Light: lifecycle.Amber, Detail: string(a), Reason: why})
}

// visible answers with those of a list that who asks may act upon.
func visible[T any](s *Server, a auth.Action, list func() []T, path func(T) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who, err := s.identifyRequest(r)
		if err != nil {
			s.refuseRequest(w, r, a, r.URL.Path, lifecycle.ReasonOf(err))
			return
		}
		some := []T{}
		for _, v := range list() {
			if permit(who, a, path(v)) == nil {
				some = append(some, v)
			}
		}
		writeJSON(w, some)
	}
}
