package client

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"hawser/lifecycle"
	"hawser/session"
)

// KindAttempt, KindBackOff and KindDrain are the kinds of event, besides lifecycle's own, that a client logs: an attempt begins (Server, Attempt), a wait begins
// (Delay, Attempt), the server asks to move (Reason). KindError is an error of the server about a path (Path, Reason), or of the credentials (Detail). KindMoved: the session went to
// another server (From, Server) without a break; KindTransport: to another transport (From, Transport), or it will be tried
// first, because the present one does not hold (Reason).
const (
	KindAttempt = "attempt"
	KindBackOff = "back_off"
	KindDrain   = "drain"
	KindError   = "error"

	KindMoved     = "moved"
	KindTransport = "transport"
)

// Client is one session with one server out of a list, made by New. All methods may run at once.
type Client struct {
	o        Options
	dial     func(ctx context.Context, server string) (w wire, transport string, err error)
	states   *history
	received atomic.Uint64 // counts what the server sent

	mu      sync.Mutex
	machine *session.Client
	life    *lifecycle.Conn
	subs    map[string]*Subscription
	plays   map[string]*Play
	waiting map[uint64]*Receipt
	calls   map[uint64]chan<- session.Event
	sources map[string]*Source
	signals map[*Signals]struct{}
	room    chan struct{}   // closed when fewer requests wait
	again   []*Subscription // to be asked for anew

	// Of the attempts; guarded by mu.
	server   string
	servers  servers
	worked   map[string]works
	breaks   map[way]breaks
	draining bool      // the server has asked to move, so the next attempt goes elsewhere
	attempts int       // since the last login
	failures int       // that the back-off counts
	since    time.Time // when the session was logged in; zero when it is not
	delay    time.Duration
	stop     context.CancelFunc // ends attempts and waiting; nil when nothing runs
	done     chan struct{}      // closed when nothing runs any more
	running  context.Context    // ends with stop
	jobs     sync.WaitGroup     // what else runs

	// Of the connection; guarded by mu.
	link      *link // nil when none stands
	transport string
	moving    chan struct{} // closed when the move that is under way has ended; else nil
	out       [][]byte
	closing   lifecycle.Reason
	outgo     chan struct{} // holds one token when there is something to write
	welcome   chan struct{} // closed at the login
	renewed   chan struct{} // closed when the server has taken new credentials
	clock     clock
}

// New makes a client that is Disconnected. It fails when the options make no sense, with all that is wrong with them.
func New(o Options) (*Client, error) {
	o, err := o.filled()
	if err != nil {
		return nil, err
	}
	machine := session.NewClient(session.ClientOptions{Name: o.Name, Token: o.Token, Provider: o.Credentials != nil, Publisher: rand.Text(),
		MaxPending: o.MaxPending, MaxPendingBytes: o.MaxPendingBytes})
	c := &Client{o: o, states: newHistory(o.History), machine: machine, servers: servers{groups: o.groups()}, worked: make(map[string]works), breaks: make(map[way]breaks),
		subs: make(map[string]*Subscription), plays: make(map[string]*Play), waiting: make(map[uint64]*Receipt), calls: make(map[uint64]chan<- session.Event),
		sources: make(map[string]*Source), signals: make(map[*Signals]struct{}), room: make(chan struct{}), outgo: make(chan struct{}, 1), renewed: make(chan struct{})}
	c.dial = c.connect
	return c, nil
}

// Connect starts to attempt, unless that was done, and waits until the client is logged in. When ctx ends it returns an error, and the attempts go on until Close;
// when the server refuses the login for good, the error wraps its reason and the client is Disconnected.
func (c *Client) Connect(ctx context.Context) error {
	seq, err := c.start(ctx)
	if err == nil && c.State() != session.LoggedIn {
		err = c.await(ctx, session.LoggedIn, seq)
	}
	if err != nil {
		return fmt.Errorf("client: connect: %w", err)
	}
	return nil
}

// start makes the goroutine that attempts, unless there is one, and returns from which change of state on to look for the login.
func (c *Client) start(ctx context.Context) (seq uint64, err error) {
	for {
		c.mu.Lock()
		if _, seq, _ = c.states.now(); c.done == nil {
			break
		}
		done, state := c.done, c.machine.State()
		c.mu.Unlock()
		if state != session.Disconnected {
			return seq, nil
		}
		select { // the last session is being closed
		case <-done:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
	defer c.mu.Unlock()
	run, stop := context.WithCancel(context.Background())
	c.stop, c.done, c.running = stop, make(chan struct{}), run
	c.servers.again()
	c.server, c.transport, c.attempts, c.failures = c.servers.next(), c.o.Transports[0], 0, 0
	c.life = c.o.Log.Open("session", lifecycle.Client, c.server)
	c.machine.Connect()
	c.settleLocked()
	go c.run(run, c.done)
	return seq, nil
}

// Close ends the session and all subscriptions and plays, and waits until the connection is closed, a few times CloseTimeout at most. The client is
// Disconnected then, and may Connect again. It returns nil.
func (c *Client) Close() error {
	c.mu.Lock()
	stop, done := c.stop, c.done
	c.machine.Disconnect()
	c.settleLocked()
	c.mu.Unlock()
	if stop != nil {
		stop()
		<-done
	}
	return nil
}

// do lets f work on the machine and acts on what comes out.
func (c *Client) do(f func(m *session.Client)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(c.machine)
	c.settleLocked()
}

// settleLocked hands out the machine's events and passes on what is to be sent.
func (c *Client) settleLocked() {
	for _, ev := range c.machine.TakeEvents() {
		c.handOutLocked(ev)
	}
	for _, s := range c.again {
		if c.subs[s.path] == s {
			c.machine.Unsubscribe(s.path)
			_ = c.machine.Subscribe(s.path, session.SubscribeOptions{Want: s.want})
		}
	}
	c.again = nil
	c.out = append(c.out, c.machine.TakeMessages()...)
	if r, ok := c.machine.TakeClose(); ok {
		c.closing = r
		if l := c.link; l != nil { // what is being sent may be stuck: a request over plain HTTP has no end of its own
			time.AfterFunc(2*c.o.CloseTimeout, func() { l.w.Close(r.Code, r.Word) })
		}
	}
	if len(c.out) > 0 || !c.closing.IsZero() {
		c.wakeLocked()
	}
}

// wakeLocked says that there is something to write.
func (c *Client) wakeLocked() {
	select {
	case c.outgo <- struct{}{}:
	default:
	}
}

func (c *Client) handOutLocked(ev session.Event) {
	switch ev.Kind {
	case session.EventState:
		c.changedLocked(ev)
	case session.EventSnapshot, session.EventUpdate, session.EventGap, session.EventStatus, session.EventWindow:
		if s := c.subs[ev.Path]; s != nil {
			s.take(ev)
		}
	case session.EventMedia, session.EventFragment:
		if p := c.plays[ev.Path]; p != nil {
			p.take(ev)
		}
	case session.EventAck:
		c.answerLocked(ev)
	case session.EventError:
		c.errorLocked(ev)
	case session.EventPong:
		c.clock.pong(ev.ID, ev.At, time.Now())
	case session.EventResult:
		c.resultLocked(ev)
	case session.EventRenewed:
		c.renewedLocked(ev)
	case session.EventWanted:
		c.wantedLocked(ev)
	case session.EventSignal:
		c.signalLocked(ev)
	case session.EventDrain:
		c.life.Event(lifecycle.Event{Kind: KindDrain, Reason: ev.Reason, Server: c.server, Delay: ev.Within})
		ctx := c.running
		c.jobs.Go(func() { c.drain(ctx, ev.Within) })
	}
}

// changedLocked records a change of state.
func (c *Client) changedLocked(ev session.Event) {
	now := time.Now()
	if c.link != nil {
		c.transport = c.link.transport
	}
	sc := StateChange{From: ev.From, To: ev.State, Time: now, Server: c.server, Transport: c.transport, Reason: ev.Reason}
	switch ev.State {
	case session.Connecting:
		c.attempts++
	case session.LoggedIn:
		if ev.From != session.Paused {
			c.since = now
			close(c.welcome)
		}
	case session.Failed, session.Lost, session.Unreachable, session.CredentialsRetrievalFailed:
		if ev.State == session.Failed || ev.State == session.Lost {
			c.brokeLocked(ev.Reason, now)
		}
		c.delay = c.delayLocked(now)
		sc.Delay = c.delay
	case session.Disconnected:
		sc.Server, sc.Transport = "", ""
	}
	sc.Attempt = c.attempts
	if ev.State == session.LoggedIn {
		c.attempts = 0
	}
	c.states.add(sc)
	c.logLocked(sc)
	if ev.State == session.Disconnected {
		c.endAllLocked(ev.Reason)
	}
}

// delayLocked works out the wait before the next attempt. Only a session that stood for a while makes the back-off start anew.
func (c *Client) delayLocked(now time.Time) time.Duration {
	if !c.since.IsZero() && now.Sub(c.since) >= c.o.BackOff.Stand {
		c.failures = 0
		c.servers.again()
	}
	c.since = time.Time{}
	c.failures++
	return c.o.BackOff.delay(c.failures - 1)
}

func (c *Client) logLocked(sc StateChange) {
	c.life.Set(sc.To.String(), sc.To.Light(), sc.Reason)
	switch {
	case sc.To == session.Connecting:
		c.life.Event(lifecycle.Event{Kind: KindAttempt, Server: sc.Server, Transport: c.transport, Attempt: sc.Attempt})
	case sc.To == session.Disconnected:
		c.life.Close(sc.Reason)
	case sc.Delay > 0 || sc.To == session.Failed || sc.To == session.Lost:
		c.life.Event(lifecycle.Event{Kind: KindBackOff, Server: sc.Server, Transport: c.transport, Attempt: sc.Attempt, Delay: sc.Delay})
	}
}

// endAllLocked ends all that is followed.
func (c *Client) endAllLocked(r lifecycle.Reason) {
	for path, s := range c.subs {
		delete(c.subs, path)
		s.queue.end(r)
		s.settle()
	}
	for path, p := range c.plays {
		delete(c.plays, path)
		p.queue.end(r)
		p.settle()
	}
	for path, s := range c.sources {
		delete(c.sources, path)
		s.queue.end(r)
	}
	for s := range c.signals {
		delete(c.signals, s)
		s.queue.end(r)
	}
}

// errorLocked passes an error of the server on: to the publish, to the subscription or play of the path, and to the log.
func (c *Client) errorLocked(ev session.Event) {
	if ev.ID != 0 {
		c.answerLocked(ev)
		return
	}
	c.life.Event(lifecycle.Event{Kind: KindError, Path: ev.Path, Reason: ev.Reason, Server: c.server})
	if s := c.subs[ev.Path]; s != nil {
		s.queue.push(ev)
	} else if p := c.plays[ev.Path]; p != nil {
		p.queue.push(ev)
	}
}
