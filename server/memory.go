package server

import (
	"crypto/rand"
	"slices"
	"sync"
	"time"

	"hawser/lifecycle"
	"hawser/session"
)

const (
	// DefaultKeep is how long a session, and the answers to its publisher, are remembered after the connection has gone.
	DefaultKeep = time.Minute
	// answersKept and answerBytes bound what is remembered of one publisher.
	answersKept = session.MaxInFlight
	answerBytes = 1 << 20
)

// memory is what outlives connections: the sessions that may come back, and what was answered to whom.
type memory struct {
	keep time.Duration
	most int // sessions, and publishers

	mu         sync.Mutex
	live       map[string]*sessionConn // by the session's name
	gone       map[string]departed
	publishers map[string]*requester // by user and name
}

// departed is a session whose connection has gone.
type departed struct {
	user string
	at   time.Time
}

func newMemory(keep time.Duration, most int) *memory {
	return &memory{keep: keep, most: most, live: make(map[string]*sessionConn), gone: make(map[string]departed), publishers: make(map[string]*requester)}
}

// enter gives a client its session: the one that it names, if that is kept or still connected, else a new one. It says whether it was kept.
func (m *memory) enter(c *sessionConn, h session.Hello) (kept bool) {
	user := c.user()
	m.mu.Lock()
	older := m.live[h.Session]
	if older != nil && older.user() != user {
		older = nil
	}
	past, known := m.gone[h.Session]
	kept = older != nil || known && past.user == user
	c.id = h.Session
	if !kept {
		c.id = rand.Text()
	}
	delete(m.gone, c.id)
	m.live[c.id] = c
	if h.Publisher != "" {
		c.publisher = m.publisherLocked(user + "\x00" + h.Publisher)
		c.publisher.take(c)
	}
	m.mu.Unlock()
	if older != nil {
		older.mu.Lock()
		older.replaced = true
		older.mu.Unlock()
		older.end(lifecycle.ReasonReplaced.With("the session goes on on another connection"))
	}
	return kept
}

func (m *memory) publisherLocked(name string) *requester {
	p := m.publishers[name]
	if p == nil {
		p = &requester{running: make(map[uint64]bool)}
		if len(m.publishers) < m.most {
			m.publishers[name] = p
		}
	}
	return p
}

// left notes that a connection has gone; a session that is kept may be named by a later hello.
func (m *memory) left(c *sessionConn, kept bool) {
	if c.id == "" {
		return
	}
	now := time.Now()
	user := c.user()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.live[c.id] == c {
		delete(m.live, c.id)
		if kept && len(m.gone) < m.most {
			m.gone[c.id] = departed{user: user, at: now}
		}
	}
	if c.publisher != nil {
		c.publisher.leave(c, now)
	}
}

// left notes that a connection has gone. What it fed is stale at once, or when it does not come back in time.
func (s *Server) left(c *sessionConn, kept bool) {
	s.memory.left(c, kept)
	if c.id == "" {
		return
	}
	forget := func() { s.sources.remove(func(f *dataSource) bool { return f.conn == c }) }
	if !kept || !s.sources.has(c) {
		forget()
		return
	}
	time.AfterFunc(s.memory.keep, forget)
}

// sweep forgets what was kept for long enough.
func (m *memory) sweep(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, d := range m.gone {
		if now.Sub(d.at) > m.keep {
			delete(m.gone, id)
		}
	}
	for name, p := range m.publishers {
		if p.idle(now, m.keep) {
			delete(m.publishers, name)
		}
	}
}

// requester is a client object, over all its connections: what it has asked, and what it was answered. All methods may run at once; those of a nil requester remember nothing.
type requester struct {
	// doing is held from begin to answered of a publish, so that the same one on two connections is done once.
	doing sync.Mutex

	mu      sync.Mutex
	conn    *sessionConn // the newest
	gone    time.Time    // when that went; zero while it is here
	answers []answer     // in the order of their ids
	bytes   int
	running map[uint64]bool // calls
}

// answer is what a request was answered with, as a frame.
type answer struct {
	id    uint64
	frame []byte
}

func (p *requester) take(c *sessionConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conn, p.gone = c, time.Time{}
}

func (p *requester) leave(c *sessionConn, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn == c {
		p.conn, p.gone = nil, now
	}
}

func (p *requester) idle(now time.Time, keep time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conn == nil && len(p.running) == 0 && now.Sub(p.gone) > keep
}

// begin returns what a publish was answered with before, or nil when it is to be done. answered must follow.
func (p *requester) begin(id uint64) []byte {
	if p == nil {
		return nil
	}
	p.doing.Lock()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.findLocked(id)
}

// answered remembers the answer of a publish.
func (p *requester) answered(id uint64, frame []byte) {
	if p == nil {
		return
	}
	p.mu.Lock()
	p.rememberLocked(id, frame)
	p.mu.Unlock()
	p.doing.Unlock()
}

func (p *requester) findLocked(id uint64) []byte {
	i, ok := slices.BinarySearchFunc(p.answers, id, func(a answer, id uint64) int { return int(int64(a.id - id)) })
	if !ok {
		return nil
	}
	return p.answers[i].frame
}

func (p *requester) rememberLocked(id uint64, frame []byte) {
	i, known := slices.BinarySearchFunc(p.answers, id, func(a answer, id uint64) int { return int(int64(a.id - id)) })
	if known {
		return
	}
	p.answers = slices.Insert(p.answers, i, answer{id, frame})
	p.bytes += len(frame)
	for len(p.answers) > 1 && (len(p.answers) > answersKept || p.bytes > answerBytes) {
		p.bytes -= len(p.answers[0].frame)
		p.answers[0] = answer{}
		p.answers = p.answers[1:]
	}
}

// beginCall says whether a call is to be done: not when it runs already; frame is the result when it has ended.
func (p *requester) beginCall(id uint64) (frame []byte, do bool) {
	if p == nil {
		return nil, true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if frame = p.findLocked(id); frame != nil || p.running[id] {
		return frame, false
	}
	p.running[id] = true
	return nil, true
}

// endCall remembers a result and returns the connection to send it on; nil when there is none now.
func (p *requester) endCall(id uint64, frame []byte) *sessionConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.running, id)
	p.rememberLocked(id, frame)
	return p.conn
}
