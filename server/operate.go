package server

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"hawser/lifecycle"
)

// SessionInfo is a session as the API lists it.
type SessionInfo struct {
	ID      string    `json:"id"` // in the event log, such as "session-12"
	User    string    `json:"user,omitempty"`
	Client  string    `json:"client,omitempty"`
	Remote  string    `json:"remote"`
	State   string    `json:"state"`
	Since   time.Time `json:"since"`
	Follows int       `json:"follows"` // subscriptions
}

// Sessions returns the sessions that there are now, the oldest first.
func (s *Server) Sessions() []SessionInfo {
	all := s.sessions.list()
	list := make([]SessionInfo, 0, len(all))
	for _, c := range all {
		info := SessionInfo{ID: c.life.ID(), User: c.user(), Remote: c.life.Info().Remote, State: c.life.Info().State, Since: c.since, Follows: len(c.follows("/"))}
		if c.loggedIn.Load() {
			info.Client = c.client
		}
		list = append(list, info)
	}
	slices.SortFunc(list, func(a, b SessionInfo) int { return a.Since.Compare(b.Since) })
	return list
}

// Eject throws a client out: it makes no further attempt. It returns false when there is no session of that identity in the event log.
func (s *Server) Eject(id string, why lifecycle.Reason) bool {
	c := s.sessions.find(id)
	if c == nil {
		return false
	}
	c.eject(why)
	return true
}

// Drain takes no more sessions and asks all clients to move to another server, each at a random moment within so long. The server goes on until it is stopped.
func (s *Server) Drain(within time.Duration) {
	s.sessions.drain(within, lifecycle.ReasonShutdown.With("this server is about to stop"))
}

func (s *Server) getSessions(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.Sessions()) }

// deleteSession ejects a session; ?reason= is the text that the client gets.
func (s *Server) deleteSession(w http.ResponseWriter, r *http.Request) {
	why := lifecycle.ReasonEjected
	if text := strings.ToValidUTF8(r.URL.Query().Get("reason"), ""); text != "" {
		why = why.With("%s", text)
	}
	if !s.Eject(r.PathValue("id"), why) {
		s.httpError(w, lifecycle.ReasonNotFound.With("there is no session %q", r.PathValue("id")))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// postDrain drains; ?within= is in milliseconds.
func (s *Server) postDrain(w http.ResponseWriter, r *http.Request) {
	ms, err := strconv.ParseUint(r.URL.Query().Get("within"), 10, 32)
	if err != nil {
		s.httpError(w, lifecycle.ReasonBadRequest.With("within: want milliseconds"))
		return
	}
	s.Drain(time.Duration(ms) * time.Millisecond)
	w.WriteHeader(http.StatusNoContent)
}
