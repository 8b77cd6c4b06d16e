package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"slices"
	"sync"
	"time"

	"hawser/lifecycle"
	"hawser/session"
	"hawser/subject"
)

const (
	// DefaultKeep is how long a session, and the answers to its publisher, are remembered after the connection has gone.
	DefaultKeep = time.Minute
	// answersKept bounds the answers that are remembered of one publisher, and again the results of calls; answerBytes the latter in bytes, where those up to smallResult stay in any case.
	answersKept = session.MaxInFlight
	answerBytes = 1 << 20
	smallResult = 256
)

// memory is what outlives connections: the sessions that may come back, and what was answered to whom.
type memory struct {
	keep time.Duration
	most int // sessions, and publishers

	mu         sync.Mutex
	live       map[string]*sessionConn // by the session's name
	gone       map[string]departed
	publishers map[string]*requester    // by user and name
	peers      map[string]*sessionPeers // WebRTC's, by the session's name
}

// departed is a session whose connection has gone.
type departed struct {
	user string
	at   time.Time
}

func newMemory(keep time.Duration, most int) *memory {
	return &memory{keep: keep, most: most, live: make(map[string]*sessionConn), gone: make(map[string]departed), publishers: make(map[string]*requester), peers: make(map[string]*sessionPeers)}
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
		p = &requester{name: name, running: make(map[uint64]underWay)}
		if len(m.publishers) >= m.most {
			m.dropIdleLocked()
		}
		m.publishers[name] = p
	}
	return p
}

// dropIdleLocked makes room for a publisher: one that is not connected goes before its time.
func (m *memory) dropIdleLocked() {
	now := time.Now()
	for name, p := range m.publishers {
		if p.idle(now, -1) {
			delete(m.publishers, name)
			return
		}
	}
}

// left notes that a connection has gone; a session that is kept may be named by a later hello.
func (m *memory) left(c *sessionConn, kept bool, why lifecycle.Reason) {
	if c.id == "" {
		return
	}
	now := time.Now()
	user := c.user()
	m.mu.Lock()
	if m.live[c.id] == c {
		delete(m.live, c.id)
		if kept && len(m.gone) < m.most {
			m.gone[c.id] = departed{user: user, at: now}
		}
	}
	if c.publisher != nil {
		c.publisher.leave(c, now)
	}
	over := m.peersLeftLocked(c)
	m.mu.Unlock()
	if over != nil {
		over.end(why)
	}
}

// left notes that a connection has gone. What it fed is stale at once, or when the session does not come back, and feed it again, in time.
func (s *Server) left(c *sessionConn, kept, replaced bool, why lifecycle.Reason) {
	s.memory.left(c, kept, why)
	if c.id == "" || !s.sources.has(c) {
		return
	}
	forget := func() { s.sources.remove(func(f *dataSource) bool { return f.conn == c }) }
	if !kept && !replaced {
		forget()
		return
	}
	s.sources.away(c)
	time.AfterFunc(s.memory.keep, forget)
}

// sweep forgets what was kept for long enough.
func (m *memory) sweep(now time.Time) {
	var over []*sessionPeers
	m.mu.Lock()
	for id, d := range m.gone {
		if now.Sub(d.at) > m.keep {
			delete(m.gone, id)
			if sp := m.peers[id]; sp != nil {
				delete(m.peers, id)
				over = append(over, sp)
			}
		}
	}
	for name, p := range m.publishers {
		if p.idle(now, m.keep) {
			delete(m.publishers, name)
		}
	}
	m.mu.Unlock()
	for _, sp := range over {
		sp.end(lifecycle.ReasonLost.With("the session did not come back within %v", m.keep))
	}
}

// requester is a client object, over all its connections: what it has asked, and what it was answered. All methods may run at once; those of a nil requester remember nothing.
type requester struct {
	name string // the key of memory.publishers

	// placing is held until a publish has its place behind those before it, so that the same ones on two connections keep their order.
	placing sync.Mutex

	mu      sync.Mutex
	conn    *sessionConn // the newest
	gone    time.Time    // when that went; zero while it is here
	answers []answer     // of publishes, in the order of their ids
	results []answer     // of calls, in the order in which they came: a call may take long, so that its id is older than all others
	bytes   int          // of results
	calls   int          // of those in running
	running map[uint64]underWay
}

// underWay is a call, or a publish on its way to disk.
type underWay struct {
	call   bool
	cancel context.CancelFunc // of a call that has begun
}

// answer is what a request was answered with: a frame, or what it takes to make the frame of a publish on a durable path.
type answer struct {
	id    uint64
	frame []byte
	ack   *subject.Published
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

// beginPublish says whether a publish is to be done: not when it is on its way already; frame is the answer when it has one. When it is to be done, placed must follow.
func (p *requester) beginPublish(id uint64) (frame []byte, do bool) {
	if p == nil {
		return nil, true
	}
	p.placing.Lock()
	if frame, do = p.begin(id, false); !do {
		p.placing.Unlock()
	}
	return frame, do
}

// placed lets the next publish begin.
func (p *requester) placed() {
	if p != nil {
		p.placing.Unlock()
	}
}

// crowded says that more requests are under way than a client may have.
func (p *requester) crowded() bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.running) > session.MaxInFlight
}

func compareID(a answer, id uint64) int { return cmp.Compare(a.id, id) }

// findLocked returns the answer that a request has had.
func (p *requester) findLocked(id uint64) []byte {
	for i := range p.results {
		if p.results[i].id == id {
			return p.results[i].frame
		}
	}
	i, ok := slices.BinarySearchFunc(p.answers, id, compareID)
	if !ok {
		return nil
	}
	a := &p.answers[i]
	if a.ack != nil {
		return ackFrame(a.ack)
	}
	return a.frame
}

func (p *requester) rememberLocked(a answer) {
	i, known := slices.BinarySearchFunc(p.answers, a.id, compareID)
	if known {
		return
	}
	p.answers = slices.Insert(p.answers, i, a)
	if len(p.answers) > answersKept {
		p.answers[0] = answer{}
		p.answers = p.answers[1:]
	}
}

// keepResultLocked remembers the result of a call. Where they are too many bytes the oldest are forgotten, but not that they were: a call is not done twice.
func (p *requester) keepResultLocked(a answer) {
	p.results = append(p.results, a)
	p.bytes += len(a.frame)
	if len(p.results) > answersKept {
		p.bytes -= len(p.results[0].frame)
		p.results[0] = answer{}
		p.results = p.results[1:]
	}
	for i := 0; i < len(p.results)-1 && p.bytes > answerBytes; i++ {
		r := &p.results[i]
		if len(r.frame) <= smallResult {
			continue
		}
		p.bytes -= len(r.frame)
		r.frame = textFrame(&session.Message{Type: session.TypeResult, ID: r.id, Reason: lifecycle.ReasonLimit.With("it was done; the result is not held any more")})
		p.bytes += len(r.frame)
	}
}

// begin says whether a request is to be done: not when it is under way; frame is the answer when it has one. When it is to be done, end must follow.
func (p *requester) begin(id uint64, call bool) (frame []byte, do bool) {
	if p == nil {
		return nil, true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if frame = p.findLocked(id); frame != nil {
		return frame, false
	}
	if _, runs := p.running[id]; runs {
		return nil, false
	}
	p.running[id] = underWay{call: call}
	if call {
		p.calls++
	}
	return nil, true
}

// end remembers an answer and returns the connection to send it on; nil when there is none now.
func (p *requester) end(a answer) *sessionConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	call := p.running[a.id].call
	delete(p.running, a.id)
	if call {
		p.calls--
		p.keepResultLocked(a)
	} else {
		p.rememberLocked(a)
	}
	return p.conn
}

// cancelWith says how a call that has begun is called off, be it on a later connection.
func (p *requester) cancelWith(id uint64, cancel context.CancelFunc) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running[id] = underWay{call: true, cancel: cancel}
}

// cancel calls a call off.
func (p *requester) cancel(id uint64) {
	if p == nil {
		return
	}
	p.mu.Lock()
	cancel := p.running[id].cancel
	p.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}

// underCall returns how many calls are being done, over all connections.
func (p *requester) underCall() int {
	if p == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls
}

// answer answers a request, on the connection that the client has now.
func (c *sessionConn) answer(id uint64, frame []byte, ack *subject.Published) {
	to := c
	if c.publisher != nil {
		a := answer{id: id, frame: frame, ack: ack}
		if ack != nil {
			a.frame = nil
		}
		to = c.publisher.end(a)
	}
	if to != nil && !to.over() {
		to.queue(frame)
	}
}
