package session

import "hawser/lifecycle"

// helloRoom is how many bytes of what is followed a hello may carry; the rest is asked for after the welcome.
const helloRoom = DefaultMaxMessage / 2

// hello begins to greet and returns the message; with goOn plays go on where they stand, whatever their options.
func (c *Client) hello(token string, goOn bool) []byte {
	c.greeting, c.late = true, nil
	m := Message{Type: TypeHello, Hello: Hello{Version: Version, Client: c.o.Name, Token: token, Session: c.session, Publisher: c.o.Publisher}}
	room := helloRoom
	take := func(into *[]Message, t Type, fs *followers) {
		for _, f := range fs.order {
			ask := f.ask(t, goOn)
			room -= len(Append(nil, &ask))
			if room < 0 || len(*into) >= DefaultMaxSubscriptions {
				c.late = append(c.late, ask)
				continue
			}
			*into = append(*into, ask)
		}
	}
	take(&m.Subscribe, TypeSubscribe, &c.subs)
	take(&m.Play, TypePlay, &c.plays)
	return Append(nil, &m)
}

// welcomed is what a welcome does on either kind of connection: what was asked meanwhile follows, then what has no answer.
func (c *Client) welcomed(m *Message) {
	c.session, c.user, c.heartbeat = m.Session, m.User, max(m.Heartbeat, 0)
	c.lifetime = lifetime(m.Expires, m.At)
	late := c.late
	c.greeting, c.late, c.linked = false, nil, true
	for i := range late {
		c.send(&late[i])
	}
	for i := range c.sources {
		c.send(&c.sources[i])
	}
	c.pending.again()
	c.sendPending()
}

// Switch says that a second connection stands, to which the session is to move without a break: to a better transport, or away from a server that drains. It returns the hello to be sent on
// it, which has all positions; nil unless the state is LoggedIn and no other move is under way. From then on the driver gives what comes on the new connection to Switched, and what still comes
// on the old one to Receive as before. An empty token means ClientOptions.Token.
func (c *Client) Switch(token string) []byte {
	if c.state != LoggedIn || !c.linked || c.moving {
		return nil
	}
	if token == "" {
		token = c.o.Token
	}
	c.moving = true
	return c.hello(token, true)
}

// Switched takes a text message that came on the connection of Switch before the welcome. done means that the new connection is the session's from now on: the driver forgets the old one, with
// what was to be sent on it, closes it, and gives what comes on the new one to Receive. An error means that the server does not take the session: the driver closes the new connection and calls
// SwitchFailed.
func (c *Client) Switched(b []byte) (done bool, err error) {
	if !c.moving {
		return false, lifecycle.ReasonLost
	}
	var m Message
	if err := Parse(b, &m); err != nil {
		return false, err
	}
	switch m.Type {
	case TypeWelcome:
		if m.Version != Version {
			return false, lifecycle.ReasonUnsupported.With("version %d: this client speaks %d", m.Version, Version)
		}
	case TypeError, TypeEjected, TypeBye:
		return false, m.Reason
	default:
		return false, nil
	}
	c.out, c.closing = nil, lifecycle.Reason{}
	c.moving, c.moveEnd = false, lifecycle.Reason{}
	c.subs.unanswered()
	c.plays.unanswered()
	for _, p := range c.pending.dropped() {
		c.unanswered(p)
	}
	c.welcomed(&m)
	return true, nil
}

// SwitchFailed says that the second connection is not to be had. The session stays where it was, or is lost if the first connection ended meanwhile.
func (c *Client) SwitchFailed() {
	if !c.moving {
		return
	}
	r := c.moveEnd
	c.moving, c.moveEnd, c.greeting, c.late = false, lifecycle.Reason{}, false, nil
	if !r.IsZero() && c.online() {
		c.lost(r)
	}
}

// Pause freezes the session: nothing is delivered until Resume, and nothing is lost that the server keeps. It does nothing unless the state is LoggedIn and no move is under way.
func (c *Client) Pause() {
	if c.state == LoggedIn && !c.moving {
		c.send(&Message{Type: TypePause})
		c.set(Paused, lifecycle.Reason{})
	}
}

// Resume ends a pause: LoggedIn follows, or Connecting where the connection broke meanwhile.
func (c *Client) Resume() {
	if c.state != Paused {
		return
	}
	held, end := c.held, c.heldEnd
	c.held, c.heldSize, c.heldEnd = nil, 0, lifecycle.Reason{}
	switch {
	case c.linked:
		c.send(&Message{Type: TypeResume})
		c.set(LoggedIn, lifecycle.Reason{})
	case !end.IsZero():
		c.set(LoggedIn, lifecycle.Reason{})
	default:
		c.set(Connecting, lifecycle.Reason{})
	}
	for _, b := range held {
		if b[0] == mediaType {
			c.takeMedia(b)
		} else {
			c.take(b)
		}
	}
	switch {
	case end.IsZero() || c.state != LoggedIn:
	case end.Is(lifecycle.ReasonDone):
		c.disconnect(end)
	default:
		c.set(Ejected, end)
		c.disconnect(end)
	}
}

// hold keeps what came during a pause.
func (c *Client) hold(b []byte) {
	c.heldSize += len(b) + queuedOverhead
	if c.heldSize > c.o.MaxHeld {
		c.heldSize -= len(b) + queuedOverhead
		c.GiveUp(lifecycle.ReasonLimit.With("more than %d bytes came during the pause", c.o.MaxHeld))
		return
	}
	c.held = append(c.held, append([]byte(nil), b...))
}
