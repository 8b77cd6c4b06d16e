package lifecycle

import (
	"sync"
	"time"
)

// Conn is one connection's life: its identity, its state now, and the one setter that makes every change. All methods may run at once; those of a nil Conn do nothing.
type Conn struct {
	log                        *Log
	serial                     uint64
	id, protocol, side, remote string
	since                      time.Time

	mu     sync.Mutex
	path   string
	state  string
	light  Health
	closed bool
}

// ConnInfo is a connection as it stands at one moment.
type ConnInfo struct {
	ID       string    `json:"id"`
	Protocol string    `json:"protocol"`
	Side     string    `json:"side"`
	Remote   string    `json:"remote,omitempty"`
	Path     string    `json:"path,omitempty"`
	State    string    `json:"state,omitempty"`
	Light    Health    `json:"light"`
	Since    time.Time `json:"since"`
}

// ID returns the identity, for example "rtmp-12"; empty for a nil Conn.
func (c *Conn) ID() string {
	if c == nil {
		return ""
	}
	return c.id
}

// Info returns the connection as it stands.
func (c *Conn) Info() ConnInfo {
	if c == nil {
		return ConnInfo{}
	}
	info, _ := c.present()
	return info
}

// present returns the connection as it stands, and false once it is closed.
func (c *Conn) present() (ConnInfo, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return ConnInfo{ID: c.id, Protocol: c.protocol, Side: c.side, Remote: c.remote, Path: c.path, State: c.state, Light: c.light, Since: c.since}, !c.closed
}

// State returns the protocol's own word for the state, and the light.
func (c *Conn) State() (string, Health) {
	info := c.Info()
	return info.State, info.Light
}

// SetPath says which path the connection is about from now on.
func (c *Conn) SetPath(path string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.path = path
}

// Set changes the state and logs it as KindState. Setting the present state again logs nothing.
func (c *Conn) Set(state string, light Health, r Reason) { c.SetDetail(state, light, r, "") }

// SetDetail is Set with something more for people, such as the addresses that a connection uses.
func (c *Conn) SetDetail(state string, light Health, r Reason, detail string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.state == state && c.light == light {
		return
	}
	from := c.state
	c.state, c.light = state, light
	c.addLocked(Event{Kind: KindState, From: from, State: state, Reason: r, Detail: detail})
}

// Event logs something else that happened to the connection. Identity and light are the connection's; path and state are filled in where e leaves them empty.
func (c *Conn) Event(e Event) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.addLocked(e)
}

// addLocked logs under the lock, so that the log has a connection's events in the order in which they happened.
func (c *Conn) addLocked(e Event) {
	e.Conn, e.Protocol, e.Side, e.Remote = c.id, c.protocol, c.side, c.remote
	if e.Path == "" {
		e.Path = c.path
	}
	if e.State == "" {
		e.State = c.state
	}
	e.Light = c.light
	c.log.Add(e)
}

// Close ends the connection's life with KindClose and a red light. Whoever sees that event no longer finds the connection in Conns. Later calls of any method log nothing.
func (c *Conn) Close(r Reason) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.log.mu.Lock()
	delete(c.log.conns, c)
	c.log.mu.Unlock()
	from := c.state
	c.closed, c.state, c.light = true, "closed", Red
	c.addLocked(Event{Kind: KindClose, From: from, Reason: r})
}
