package server

import (
	"cmp"
	"context"
	"net/http"
	"net/netip"
	"time"

	"hawser/auth"
	"hawser/lifecycle"
	"hawser/session"
)

// remoteAddr is the address that a request comes from.
func remoteAddr(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return peer.Addr().Unmap()
}

// authenticate says who brings a token; nil without an error where nobody asks.
func (s *Server) authenticate(token string, remote netip.Addr) (auth.Identity, error) {
	if s.opts.Auth == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.opts.AuthTimeout)
	defer cancel()
	return s.opts.Auth.Authenticate(ctx, token, remote)
}

// may says why the client may not do what it asks, and tells the operator.
func (c *sessionConn) may(a auth.Action, path string) error {
	err := c.permitted(a, path)
	if err != nil {
		c.life.Event(lifecycle.Event{Kind: "refuse", Path: path, Detail: string(a), Reason: lifecycle.ReasonOf(err)})
	}
	return err
}

// permitted says why the client may not do something.
func (c *sessionConn) permitted(a auth.Action, path string) error {
	c.mu.Lock()
	who := c.identity
	c.mu.Unlock()
	return permit(who, a, path)
}

func nameOf(who auth.Identity) string {
	if name := who.User(); name != "" {
		return name
	}
	return "this client"
}

// user is who the client is; empty without authentication.
func (c *sessionConn) user() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return userOf(c.identity)
}

// userOf is who somebody is; empty for nobody in particular.
func userOf(who auth.Identity) string {
	if who == nil {
		return ""
	}
	return who.User()
}

// hello logs the client in, or ends the session.
func (c *sessionConn) hello(h session.Hello) {
	who, err := c.server.authenticate(cmp.Or(h.Token, c.token), c.remote)
	c.token = ""
	if err != nil {
		c.refuse(lifecycle.ReasonOf(err))
		return
	}
	if c.over() {
		return // it took too long: nothing may be taken over
	}
	expires := c.identify(who)
	c.client = h.Client
	c.resumed = c.server.memory.enter(c, h)
	if why := c.server.sessions.admit(c); !why.IsZero() {
		c.refuse(why)
		return
	}
	c.join()
	m := session.Message{Type: session.TypeWelcome, At: time.Now().UnixMilli()}
	m.Version, m.Session = session.Version, c.id
	m.Welcome = session.Welcome{Server: "hawser/" + Version, Heartbeat: c.server.opts.Heartbeat, Resumed: c.resumed && c.holds(h.Subscribe), User: c.user(), Expires: expires}
	c.life.Set(stateLoggedIn, lifecycle.Green, lifecycle.Reason{})
	c.send(&m)
	if drain := c.server.sessions.welcomed(c); drain != nil {
		c.queue(drain)
	}
	if sp := c.server.memory.keptPeers(c.id); sp != nil {
		sp.attach(c)
	}
}

// join counts the session in its shares, unless it has ended meanwhile.
func (c *sessionConn) join() {
	user := c.user()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		c.server.shares.join(&c.uses, c.remote, user)
	}
}

// refuse answers a hello that is not accepted.
func (c *sessionConn) refuse(why lifecycle.Reason) {
	c.life.Event(lifecycle.Event{Kind: "refuse", Reason: why})
	if c.setEnd(why) {
		c.send(&session.Message{Type: session.TypeError, Reason: why})
		c.carrier.Close(why.Code, why.Word)
	}
}

// identify takes a new identity on, and returns when it ends, in milliseconds since 1970; 0 for never.
func (c *sessionConn) identify(who auth.Identity) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.identity = who
	if c.expiry != nil {
		c.expiry.Stop()
		c.expiry = nil
	}
	if who == nil || who.Expires().IsZero() || c.ended {
		return 0
	}
	c.expiry = time.AfterFunc(time.Until(who.Expires()), func() { c.eject(lifecycle.ReasonUnauthorized.With("the credentials have ended")) })
	return who.Expires().UnixMilli()
}

// holds says whether everything that a client wants to go on with can be told without a loss.
func (c *sessionConn) holds(entries []session.Message) bool {
	for i := range entries {
		e := &entries[i]
		if e.From != session.FromOffset || e.Window != nil {
			continue
		}
		s := c.server.subjects.Find(e.Path)
		if s == nil {
			return false
		}
		tail, head := s.Ring().Bounds()
		if session.Kind(s.Kind()) == session.KindLog && (e.Epoch != s.Epoch() || e.Offset < tail || e.Offset > head) {
			return false
		}
	}
	return true
}

// renew takes new credentials of the same user on; bad ones leave the old ones in force.
func (c *sessionConn) renew(r session.Token) {
	m := session.Message{Type: session.TypeResult, ID: r.ID, At: time.Now().UnixMilli()}
	who, err := c.server.authenticate(r.Token, c.remote)
	if err == nil && who != nil && who.User() != c.user() {
		err = lifecycle.ReasonUnauthorized.With("these are the credentials of somebody else")
	}
	if err != nil {
		m.At, m.Reason = 0, lifecycle.ReasonOf(err)
		c.send(&m)
		return
	}
	m.Expires = c.identify(who)
	c.send(&m)
	for _, p := range c.server.memory.keptPeers(c.id).list() {
		p.guard(who)
	}
	c.recheck()
	c.forget()
}

// recheck ends what the client may no longer do. It may be called at any time: feeds are closed at once, and who receives forgets them with the client's next message.
func (c *sessionConn) recheck() {
	c.mu.Lock()
	who := c.identity
	var follows, plays []feed
	for _, f := range c.subs {
		follows = append(follows, f)
	}
	for _, f := range c.plays {
		plays = append(plays, f)
	}
	c.mu.Unlock()
	if who == nil {
		return
	}
	if err := who.Check(); err != nil {
		c.eject(lifecycle.ReasonOf(err))
		return
	}
	for _, f := range follows {
		c.bar(f, auth.Subscribe)
	}
	for _, f := range plays {
		c.bar(f, auth.Play)
	}
	c.recheckSources()
}

// bar closes a feed that the client may not have, and says so.
func (c *sessionConn) bar(f feed, a auth.Action) {
	st := f.state()
	err := c.permitted(a, st.path)
	if err == nil || st.closed.Swap(true) {
		return
	}
	c.hasEnded(st.path)
	m := session.Message{Type: session.TypeStatus, Path: st.path, Status: session.StatusRefused, Reason: lifecycle.ReasonOf(err)}
	if a == auth.Play {
		m.Type, m.Status = session.TypeMedia, session.StatusGone
	}
	c.life.Event(lifecycle.Event{Kind: "refuse", Path: st.path, Detail: string(a), Reason: m.Reason})
	c.send(&m)
}

// recheckSources ends what the client may no longer feed.
func (c *sessionConn) recheckSources() {
	if !c.server.sources.has(c) {
		return
	}
	refused := make(map[string]error)
	c.server.sources.remove(func(f *dataSource) bool {
		if f.conn != c {
			return false
		}
		err := c.permitted(auth.Source, f.path)
		if err != nil {
			refused[f.path] = err
		}
		return err != nil
	})
	for path, err := range refused {
		c.send(&session.Message{Type: session.TypeError, Path: path, Reason: lifecycle.ReasonOf(err)})
	}
}
