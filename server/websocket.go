package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"hawser/lifecycle"
	"hawser/netio"
	"hawser/session"
	"hawser/stream"
	"hawser/subject"
	"hawser/websocket"
)

// The states of a session in the event log.
const (
	stateConnected = "connected" // amber: the WebSocket is open, hello has not come
	stateLoggedIn  = "logged_in" // green
)

// kindProtocolError is the event of a client that broke a rule of its protocol; the connection's end follows.
const kindProtocolError = "protocol_error"

// KindSlow is the event of a session that is slower than the history of what it follows.
const KindSlow = "slow"

// sessionConn is one session over WebSocket: the requests of its client in, and out of one source all that it follows.
type sessionConn struct {
	server   *Server
	ws       *websocket.Conn
	life     *lifecycle.Conn
	id       string
	machine  *session.Server // used by run only
	loggedIn atomic.Bool     // hello was said
	seen     atomic.Int64    // when the client last sent something, in nanoseconds

	// Used by run only.
	subs  map[string]*dataFeed
	plays map[string]*mediaFeed

	mu         sync.Mutex
	readyData  []feed // feeds that have something to send
	readyMedia []feed
	gone       []string // paths whose subscription or play the server ended; run has yet to forget them
	ended      bool
	reason     lifecycle.Reason // why the session ended, once ended

	taken []feed // what Fill works on; owned by Fill
}

// serveSession makes a WebSocket of a request and a session of that.
func (s *Server) serveSession(w http.ResponseWriter, r *http.Request) {
	if origin := r.Header.Get("Origin"); origin != "" && !s.allowedOrigin(origin, r.Host) {
		s.httpError(w, lifecycle.ReasonRefused.With("origin %q is not allowed", origin))
		return
	}
	if !s.sessions.enter(s.opts.MaxSessions) {
		s.httpError(w, lifecycle.ReasonLimit.With("MaxSessions is %d", s.opts.MaxSessions))
		return
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{session.Subprotocol}, Origins: []string{"*"},
		MaxMessage: session.DefaultMaxMessage, WriteTimeout: s.opts.WriteTimeout})
	if err != nil {
		s.sessions.leave()
		return // Accept has answered
	}
	c := &sessionConn{server: s, ws: ws, id: rand.Text(), machine: session.NewServer(session.ServerOptions{}),
		subs: make(map[string]*dataFeed), plays: make(map[string]*mediaFeed)}
	c.seen.Store(time.Now().UnixNano())
	c.life = s.log.Open("session", lifecycle.Server, r.RemoteAddr)
	c.life.Set(stateConnected, lifecycle.Amber, lifecycle.Reason{})
	ws.SetSource(c)
	s.wait.Go(c.run)
}

// run reads until the connection is gone, and gives everything up.
func (c *sessionConn) run() {
	if !c.server.sessions.add(c) {
		c.end(lifecycle.ReasonShutdown)
	}
	var why lifecycle.Reason
	for ev := range c.ws.Events(context.Background()) {
		c.seen.Store(time.Now().UnixNano())
		switch ev.Kind {
		case websocket.Text:
			c.receive(ev.Data)
		case websocket.Binary:
			c.fail(&session.Error{Reason: lifecycle.ReasonUnsupported.With("binary messages from a client have no meaning in version %d", session.Version), Fatal: true})
		case websocket.ProtocolError:
			why = c.violated(ev)
		case websocket.Disconnected:
			if why.IsZero() {
				why = c.disconnected(ev)
			}
		}
	}
	c.server.sessions.remove(c)
	for _, f := range c.subs {
		f.close()
	}
	for _, f := range c.plays {
		f.close()
	}
	c.mu.Lock()
	if c.ended {
		why = c.reason
	}
	c.ended = true
	c.readyData, c.readyMedia = nil, nil
	c.mu.Unlock()
	c.life.Close(why)
	c.server.sessions.leave()
}

// violated is the reason when the client broke the protocol of the WebSocket, which then closes with a code of its own. A message that is too big is the session's affair.
func (c *sessionConn) violated(ev websocket.Event) lifecycle.Reason {
	why := lifecycle.ReasonProtocol.Because(ev.Err)
	if ev.Code == websocket.CloseTooBig {
		why = lifecycle.ReasonTooBig.Because(ev.Err)
		c.fail(&session.Error{Reason: why, Fatal: true})
		return why
	}
	c.life.Event(lifecycle.Event{Kind: kindProtocolError, Reason: why})
	return why
}

// disconnected is the reason when nobody here ended the session.
func (c *sessionConn) disconnected(ev websocket.Event) lifecycle.Reason {
	if ev.Graceful {
		return lifecycle.ReasonDone
	}
	return slowOr(ev.Err)
}

// end closes the session with a reason. Only the first call counts.
func (c *sessionConn) end(why lifecycle.Reason) {
	if c.setEnd(why) {
		c.send(&session.Message{Type: session.TypeBye, Reason: why})
		c.ws.Close(why.Code, why.Word)
	}
}

// setEnd notes why the session ends; false if it has ended before.
func (c *sessionConn) setEnd(why lifecycle.Reason) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	c.ended, c.reason = true, why
	return true
}

func (c *sessionConn) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// send queues a message for this client alone.
func (c *sessionConn) send(m *session.Message) { c.queue(textFrame(m)) }

// queue queues a frame. A client that does not take its answers is cut: it would not take a goodbye either.
func (c *sessionConn) queue(frame []byte) {
	if errors.Is(c.ws.Queue(frame), netio.ErrSlow) {
		c.setEnd(lifecycle.ReasonSlow.With("took no answers"))
		c.ws.CloseNow()
	}
}

// fail answers a message that breaks a rule.
func (c *sessionConn) fail(e *session.Error) {
	c.queue(websocket.AppendFrame(nil, true, websocket.OpText, e.Append(nil)))
	if e.Fatal {
		c.life.Event(lifecycle.Event{Kind: kindProtocolError, Reason: e.Reason, Path: e.Path})
		c.end(e.Reason)
	}
}

// receive does what one message asks.
func (c *sessionConn) receive(b []byte) {
	if c.over() {
		return // what comes after the end does not count
	}
	c.forget()
	req, err := c.machine.Receive(b)
	if err != nil {
		var e *session.Error
		if errors.As(err, &e) {
			c.fail(e)
		}
		return
	}
	switch r := req.(type) {
	case session.Hello:
		c.hello(r)
	case session.Subscribe:
		c.subscribe(r)
	case session.Unsubscribe:
		if f := c.subs[r.Path]; f != nil {
			delete(c.subs, r.Path)
			f.close()
		}
	case session.Publish:
		c.publish(r)
	case session.Play:
		c.play(r)
	case session.Stop:
		if f := c.plays[r.Path]; f != nil {
			delete(c.plays, r.Path)
			f.close()
		}
	case session.Ping:
		c.send(&session.Message{Type: session.TypePong, ID: r.ID, At: time.Now().UnixMilli()})
	case session.Bye:
		c.end(lifecycle.ReasonDone)
	}
}

func (c *sessionConn) hello(session.Hello) {
	m := session.Message{Type: session.TypeWelcome, At: time.Now().UnixMilli()}
	m.Version, m.Session = session.Version, c.id
	m.Welcome = session.Welcome{Server: "hawser/" + Version, Heartbeat: c.server.opts.Heartbeat}
	c.loggedIn.Store(true)
	c.life.Set(stateLoggedIn, lifecycle.Green, lifecycle.Reason{})
	c.send(&m)
}

// subscribe answers with where the subscription starts, and follows the subject from there.
func (c *sessionConn) subscribe(r session.Subscribe) {
	sub, err := c.server.subjects.Open(r.Path)
	if err != nil {
		c.machine.Unsubscribed(r.Path)
		c.send(&session.Message{Type: session.TypeStatus, Path: r.Path, Status: session.StatusRefused, Reason: lifecycle.ReasonOf(err)})
		return
	}
	start, image := startOf(sub, r)
	f := newDataFeed(c, sub, start, image)
	c.subs[r.Path] = f
	c.life.Event(lifecycle.Event{Kind: "subscribe", Path: r.Path})
	f.Wake()
}

// startOf says where a subscription starts, in the message that tells the client so, and whether the image of a record belongs into it.
func startOf(sub *subject.Subject, r session.Subscribe) (m *session.Message, image bool) {
	snap := sub.Snapshot()
	m = &session.Message{Type: session.TypeSnapshot, Path: r.Path, Kind: session.Kind(snap.Kind), Epoch: snap.Epoch, Offset: snap.Offset,
		Time: snap.Media, HasTime: snap.HasMedia}
	same := r.From == session.FromOffset && r.Epoch == snap.Epoch && r.Offset <= snap.Offset
	switch {
	case snap.Kind == subject.Record && same && canResume(sub, r.Offset):
		m.Offset = r.Offset // no image: the client's stands; what has changed since follows
	case snap.Kind == subject.Record:
		return m, true
	case same:
		tail, _ := sub.Ring().Bounds()
		m.Offset = max(r.Offset, tail)
	case r.From == session.FromOffset && r.Epoch != snap.Epoch:
		m.Offset, _ = sub.Ring().Bounds() // another life: all that it has
	}
	return m, false
}

// canResume says whether what has changed since an offset can be told, by the updates that are held or by the image.
func canResume(sub *subject.Subject, offset uint64) bool {
	if tail, _ := sub.Ring().Bounds(); offset >= tail {
		return true
	}
	_, _, err := sub.ChangedSince(offset)
	return err == nil
}

// publish does what a client asks and says how that went. The bytes are the connection's, so they are copied.
func (c *sessionConn) publish(r session.Publish) {
	u := subject.Update{Data: bytes.Clone(r.Data), Media: r.Time, HasMedia: r.HasTime}
	var err error
	if r.Kind == session.KindRecord {
		u.Data = nil
		u.Fields, err = subject.ParseFields(bytes.Clone(r.Fields))
	}
	if err == nil && strings.HasPrefix(r.Path, sysPrefix) {
		err = lifecycle.ReasonRefused.With("%s belongs to the server", sysPrefix)
	}
	m := session.Message{Type: session.TypeAck, ID: r.ID, Path: r.Path}
	if err == nil {
		m.Epoch, m.Offset, err = c.server.Publish(r.Path, subject.Kind(r.Kind), u)
	}
	if err != nil {
		m = session.Message{Type: session.TypeError, ID: r.ID, Path: r.Path, Reason: lifecycle.ReasonOf(err)}
	}
	c.send(&m)
}

func (c *sessionConn) play(r session.Play) {
	viewer, err := c.view(r)
	if err != nil {
		c.machine.Stopped(r.Path)
		c.send(&session.Message{Type: session.TypeMedia, Path: r.Path, Status: session.StatusGone, Reason: lifecycle.ReasonOf(err)})
		return
	}
	f := &mediaFeed{feedState: feedState{conn: c, path: r.Path, media: true}, viewer: viewer}
	c.plays[r.Path] = f
	c.life.Event(lifecycle.Event{Kind: "play", Path: r.Path})
	f.Wake()
}

func (c *sessionConn) view(r session.Play) (*stream.Viewer, error) {
	format := c.server.formats.session
	if r.From == session.FromOffset {
		return c.server.streams.ViewFrom(r.Path, format, c.life.ID(), r.Epoch, r.Offset)
	}
	return c.server.streams.View(r.Path, format, c.life.ID())
}

// slow logs that the client lost updates of a path.
func (c *sessionConn) slow(path string, missed uint64) {
	c.life.Event(lifecycle.Event{Kind: KindSlow, Path: path, Reason: lifecycle.ReasonSlow, Missed: missed})
}

// removed tells the client that a subject it follows is gone. Fill calls it; the rest is for run, which owns the subscriptions.
func (c *sessionConn) removed(dst [][]byte, f *dataFeed, why error) [][]byte {
	if f.closed.Swap(true) {
		return dst
	}
	c.hasEnded(f.path)
	return append(dst, textFrame(&session.Message{Type: session.TypeStatus, Path: f.path, Status: session.StatusRemoved, Reason: lifecycle.ReasonOf(why)}))
}

// hasEnded notes that a subscription or play was ended by the server.
func (c *sessionConn) hasEnded(path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = append(c.gone, path)
}

// forget gives up the subscriptions and plays that the server has ended, so that the client may subscribe anew.
func (c *sessionConn) forget() {
	c.mu.Lock()
	gone := c.gone
	c.gone = nil
	c.mu.Unlock()
	for _, path := range gone {
		if f := c.subs[path]; f != nil && f.closed.Load() {
			delete(c.subs, path)
			c.machine.Unsubscribed(path)
			f.close()
		}
		if f := c.plays[path]; f != nil && f.closed.Load() {
			delete(c.plays, path)
			c.machine.Stopped(path)
			f.close()
		}
	}
}

// Fill implements netio.Source: data before media, each feed in the order in which they had something. One that has more than there is room for goes on after the others of
// its sort. It sends by what it returns only: whoever calls it may hold locks of the connection.
func (c *sessionConn) Fill(dst [][]byte, max int) [][]byte {
	c.mu.Lock()
	data := len(c.readyData)
	c.taken = append(append(c.taken[:0], c.readyData...), c.readyMedia...)
	clear(c.readyData)
	clear(c.readyMedia)
	c.readyData, c.readyMedia = c.readyData[:0], c.readyMedia[:0]
	c.mu.Unlock()
	size := 0
	for i, f := range c.taken {
		if !f.state().closed.Load() {
			var n int
			dst, n = f.fill(dst, max-size)
			size += n
		}
		if size >= max {
			c.putBack(f, c.taken[i+1:], data-i-1)
			break
		}
		c.rest(f)
	}
	clear(c.taken)
	return dst
}

// rest lets a feed that had no more wake the session again.
func (c *sessionConn) rest(f feed) {
	st := f.state()
	c.mu.Lock()
	st.queued = false
	c.mu.Unlock()
	if !st.closed.Load() && !f.arm() {
		st.wake(f)
	}
}

// putBack queues the feeds that there was no room for before those that came meanwhile, and last the one that may have more; the first n of the others are data.
func (c *sessionConn) putBack(last feed, others []feed, n int) {
	n = max(n, 0)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readyData = slices.Insert(c.readyData, 0, others[:n]...)
	c.readyMedia = slices.Insert(c.readyMedia, 0, others[n:]...)
	if last.state().media {
		c.readyMedia = append(c.readyMedia, last)
	} else {
		c.readyData = append(c.readyData, last)
	}
}
