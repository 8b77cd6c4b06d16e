package server

import (
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

// may says why the client may not do something.
func (c *sessionConn) may(a auth.Action, path string) error {
	c.mu.Lock()
	who := c.identity
	c.mu.Unlock()
	if who == nil || who.May(a, path) {
		return nil
	}
	return lifecycle.ReasonRefused.With("%s may not %s %s", nameOf(who), a, path)
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
	if c.identity == nil {
		return ""
	}
	return c.identity.User()
}

// hello logs the client in, or ends the session.
func (c *sessionConn) hello(h session.Hello) {
	who, err := c.server.authenticate(h.Token, c.remote)
	if err != nil {
		c.refuse(lifecycle.ReasonOf(err))
		return
	}
	expires := c.identify(who)
	c.client = h.Client
	kept := c.server.memory.enter(c, h)
	if why := c.server.sessions.admit(c); !why.IsZero() {
		c.refuse(why)
		return
	}
	m := session.Message{Type: session.TypeWelcome, At: time.Now().UnixMilli()}
	m.Version, m.Session = session.Version, c.id
	m.Welcome = session.Welcome{Server: "hawser/" + Version, Heartbeat: c.server.opts.Heartbeat, Resumed: kept && c.holds(h.Subscribe), User: c.user(), Expires: expires}
	c.loggedIn.Store(true)
	c.life.Set(stateLoggedIn, lifecycle.Green, lifecycle.Reason{})
	c.send(&m)
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
	c.recheck()
}

// recheck ends what the client may no longer follow. Only who receives may call it.
func (c *sessionConn) recheck() {
	for path := range c.subs {
		if err := c.may(auth.Subscribe, path); err != nil {
			c.setSub(path, nil)
			c.machine.Unsubscribed(path)
			c.send(&session.Message{Type: session.TypeStatus, Path: path, Status: session.StatusRefused, Reason: lifecycle.ReasonOf(err)})
		}
	}
	for path := range c.plays {
		if err := c.may(auth.Play, path); err != nil {
			c.setPlay(path, nil)
			c.machine.Stopped(path)
			c.send(&session.Message{Type: session.TypeMedia, Path: path, Status: session.StatusGone, Reason: lifecycle.ReasonOf(err)})
		}
	}
}

// bucket bounds how often something is done: perSecond times a second, and as often at once. The zero value bounds nothing.
type bucket struct {
	perSecond float64
	left      float64
	at        time.Time
}

func (b *bucket) take(now time.Time) bool {
	if b.perSecond <= 0 {
		return true
	}
	if b.at.IsZero() {
		b.left = max(b.perSecond, 1)
	}
	b.left = min(b.left+now.Sub(b.at).Seconds()*b.perSecond, max(b.perSecond, 1))
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}
