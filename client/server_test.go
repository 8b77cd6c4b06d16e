package client

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hawser/lifecycle"
	"hawser/session"
	"hawser/websocket"
)

// testServer is a small server of logs and records in memory: net/http, package websocket and the server's machine, on a real socket.
type testServer struct {
	t    *testing.T
	http *httptest.Server
	url  string

	mu       sync.Mutex
	subjects map[string]*testSubject
	sessions map[*testSession]struct{}
	conns    []net.Conn // that were hijacked
	keep     int        // how many updates of a log are held; 0 means all
	refuse   map[string]lifecycle.Reason
	hello    func(session.Hello) *lifecycle.Reason
	onPlay   func(s *testSession, r session.Play)
	mute     bool // publishes get no answer
	requests []session.Request
	beat     time.Duration // of the welcome; 0 means that no pings are wanted
	follows  chan struct{} // gets one for each subscribe that was accepted
}

// testSubject is one log or record.
type testSubject struct {
	kind  session.Kind
	epoch uint64
	msgs  [][]byte // encoded updates by offset
	image fields
}

// testSession is one connection.
type testSession struct {
	s    *testServer
	m    *session.Server
	subs map[string]bool
	mu   sync.Mutex
	out  [][]byte
	bins []bool
	more chan struct{}
}

func newTestServer(t *testing.T) *testServer {
	t.Helper()
	s := &testServer{t: t, subjects: map[string]*testSubject{}, sessions: map[*testSession]struct{}{}, refuse: map[string]lifecycle.Reason{},
		follows: make(chan struct{}, 1000)}
	s.http = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.http.Config.ConnState = func(c net.Conn, state http.ConnState) {
		if state == http.StateHijacked {
			s.mu.Lock()
			s.conns = append(s.conns, c)
			s.mu.Unlock()
		}
	}
	s.http.Start()
	s.url = "ws" + strings.TrimPrefix(s.http.URL, "http") + "/session"
	t.Cleanup(func() { s.cut(); s.http.Close() })
	return s
}

// cut breaks all connections without a word.
func (s *testServer) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.Close()
	}
	s.conns = nil
}

// restart forgets all subjects, as a server does that comes up anew.
func (s *testServer) restart() {
	s.mu.Lock()
	s.subjects = map[string]*testSubject{}
	s.mu.Unlock()
	s.cut()
}

func (s *testServer) serve(w http.ResponseWriter, r *http.Request) {
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{session.Subprotocol}})
	if err != nil {
		return
	}
	ts := &testSession{s: s, m: session.NewServer(session.ServerOptions{}), subs: map[string]bool{}, more: make(chan struct{}, 1)}
	s.mu.Lock()
	s.sessions[ts] = struct{}{}
	s.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	var writer sync.WaitGroup
	writer.Go(func() { ts.write(ctx, ws) })
	for {
		_, b, err := ws.Read(ctx)
		if err != nil {
			break
		}
		if end := ts.receive(b); end != nil {
			ts.flush(ctx, ws)
			ws.Close(end.Code, end.Word)
			break
		}
	}
	s.mu.Lock()
	delete(s.sessions, ts)
	s.mu.Unlock()
	cancel()
	writer.Wait()
	ws.Close(websocket.CloseNormal, "")
}

// receive acts on one message; a reason ends the session.
func (ts *testSession) receive(b []byte) *lifecycle.Reason {
	req, err := ts.m.Receive(b)
	end := ts.act(req, err)
	if _, hello := req.(session.Hello); !hello {
		return end
	}
	for end == nil {
		if req, err = ts.m.Next(); req == nil && err == nil {
			break
		}
		end = ts.act(req, err)
	}
	return end
}

func (ts *testSession) act(req session.Request, err error) *lifecycle.Reason {
	if e, ok := errors.AsType[*session.Error](err); ok {
		ts.send(false, e.Append(nil))
		if e.Fatal {
			return &e.Reason
		}
	}
	ts.s.mu.Lock()
	defer ts.s.mu.Unlock()
	if req != nil {
		ts.s.requests = append(ts.s.requests, req)
	}
	switch r := req.(type) {
	case session.Hello:
		if ts.s.hello != nil {
			if no := ts.s.hello(r); no != nil {
				ts.say(session.Message{Type: session.TypeError, Reason: *no})
				return no
			}
		}
		m := session.Message{Type: session.TypeWelcome, At: time.Now().UnixMilli()}
		m.Version, m.Session, m.Server, m.Heartbeat, m.Resumed = session.Version, "s-1", "test/1", ts.s.beat, r.Session == "s-1"
		ts.say(m)
	case session.Subscribe:
		ts.subscribe(r)
	case session.Unsubscribe:
		delete(ts.subs, r.Path)
	case session.Publish:
		ts.publish(r)
	case session.Play:
		if ts.s.onPlay != nil {
			ts.s.onPlay(ts, r)
		}
	case session.Ping:
		ts.say(session.Message{Type: session.TypePong, ID: r.ID, At: time.Now().UnixMilli()})
	case session.Bye:
		return &lifecycle.ReasonDone
	}
	return nil
}

// subscribe runs under the server's lock, as does publish, so that nothing comes between snapshot and updates.
func (ts *testSession) subscribe(r session.Subscribe) {
	if no, ok := ts.s.refuse[r.Path]; ok {
		ts.m.Unsubscribed(r.Path)
		ts.say(session.Message{Type: session.TypeStatus, Path: r.Path, Status: session.StatusRefused, Reason: no})
		return
	}
	sub := ts.s.subjectLocked(r.Path)
	from := uint64(len(sub.msgs))
	if sub.kind == session.KindLog && r.From == session.FromOffset {
		if from = r.Offset; r.Epoch != sub.epoch {
			from = 0
		}
		if held := uint64(max(0, len(sub.msgs)-ts.s.keep)); ts.s.keep > 0 && from < held {
			from = held
		}
	}
	m := session.Message{Type: session.TypeSnapshot, Path: r.Path, Kind: sub.kind, Epoch: sub.epoch, Offset: from}
	if sub.kind == session.KindRecord {
		m.Fields = sub.image.object(true)
	}
	ts.say(m)
	for _, b := range sub.msgs[from:] {
		ts.send(false, b)
	}
	ts.subs[r.Path] = true
	ts.s.follows <- struct{}{}
}

var testEpoch uint64 = 100

func (s *testServer) subjectLocked(path string) *testSubject {
	if s.subjects[path] == nil {
		testEpoch++
		s.subjects[path] = &testSubject{epoch: testEpoch}
	}
	return s.subjects[path]
}

func (ts *testSession) publish(r session.Publish) {
	if no, ok := ts.s.refuse[r.Path]; ok {
		ts.say(session.Message{Type: session.TypeError, ID: r.ID, Path: r.Path, Reason: no})
		return
	}
	epoch, offset := ts.s.publishLocked(r)
	if !ts.s.mute {
		ts.say(session.Message{Type: session.TypeAck, ID: r.ID, Path: r.Path, Epoch: epoch, Offset: offset})
	}
}

// publish adds to a subject from within the server.
func (s *testServer) publish(path, data string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publishLocked(session.Publish{Path: path, Kind: session.KindLog, Data: []byte(data)})
}

func (s *testServer) publishLocked(r session.Publish) (epoch, offset uint64) {
	sub := s.subjectLocked(r.Path)
	sub.kind = r.Kind
	sub.image.merge(r.Fields)
	offset = uint64(len(sub.msgs))
	msg := session.Append(nil, &session.Message{Type: session.TypeUpdate, Path: r.Path, Epoch: sub.epoch, Offset: offset, At: 1,
		Data: r.Data, Fields: r.Fields, Time: r.Time, HasTime: r.HasTime})
	sub.msgs = append(sub.msgs, msg)
	for ts := range s.sessions {
		if ts.subs[r.Path] {
			ts.send(false, msg)
		}
	}
	return sub.epoch, offset
}

func (ts *testSession) say(m session.Message) { ts.send(false, session.Append(nil, &m)) }

// send queues a message, so that nobody waits for the client.
func (ts *testSession) send(binary bool, b []byte) {
	ts.mu.Lock()
	ts.out, ts.bins = append(ts.out, b), append(ts.bins, binary)
	ts.mu.Unlock()
	select {
	case ts.more <- struct{}{}:
	default:
	}
}

func (ts *testSession) write(ctx context.Context, ws *websocket.Conn) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-ts.more:
			ts.flush(ctx, ws)
		}
	}
}

func (ts *testSession) flush(ctx context.Context, ws *websocket.Conn) {
	ts.mu.Lock()
	out, bins := ts.out, ts.bins
	ts.out, ts.bins = nil, nil
	ts.mu.Unlock()
	for i, b := range out {
		typ := websocket.TextMessage
		if bins[i] {
			typ = websocket.BinaryMessage
		}
		if ws.Write(ctx, typ, b) != nil {
			return
		}
	}
}

// asked returns the requests of one type that came so far.
func asked[R session.Request](s *testServer) (list []R) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		if r, ok := r.(R); ok {
			list = append(list, r)
		}
	}
	return slices.Clip(list)
}
