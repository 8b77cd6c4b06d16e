package session

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"hawser/lifecycle"
)

// The model: one client's machine, and a server in a few lines of map and slice around the server's machine, joined by connections that lose, delay and survive what they
// should not. Whatever happens, nothing may be lost without a word, come twice, or come out of order, and no request may be done twice.

const (
	modelLog    = "/log"
	modelRecord = "/record"
	modelDoc    = "/doc"
)

// world is everything.
type world struct {
	t      *testing.T
	rng    *rand.Rand
	client *Client
	lives  []*life // one for each server
	epochs uint64
	conns  []*modelConn // all that the servers still know, the half-open ones too
	first  *modelConn   // the client's
	second *modelConn   // the one that it moves to
	silent bool         // the first is half open: nothing comes any more

	asked     map[uint64]string // publishes by id
	next      uint64            // what the application expects of the log
	epoch     uint64
	placed    bool
	fields    map[string]string
	document  string
	delivered int
	gaps      int
	steps     map[string]int
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 1)), asked: map[uint64]string{}, steps: map[string]int{}}
	w.lives = []*life{w.newLife(), w.newLife()}
	w.client = NewClient(ClientOptions{Name: "model", Publisher: "0123456789abcdef", Provider: seed%2 == 0, Strict: true})
	w.start()
	return w
}

func (w *world) newLife() *life {
	w.epochs++
	return newLife(w.epochs)
}

// start is an application that connects and follows.
func (w *world) start() {
	w.placed, w.fields, w.document = false, map[string]string{}, "{}"
	w.client.Connect()
	for _, path := range []string{modelLog, modelRecord, modelDoc} {
		if err := w.client.Subscribe(path, SubscribeOptions{}); err != nil {
			w.t.Fatal(err)
		}
	}
	w.settle()
}

func (w *world) open(l *life) *modelConn {
	c := &modelConn{life: l, machine: NewServer(ServerOptions{}), at: map[string]uint64{}}
	w.conns = append(w.conns, c)
	return c
}

// settle does what the machine says.
func (w *world) settle() {
	for _, ev := range w.client.TakeEvents() {
		w.event(ev)
	}
	for _, m := range w.client.TakeMessages() {
		if w.first != nil {
			w.first.up = append(w.first.up, m)
		}
	}
	if _, ok := w.client.TakeClose(); ok {
		w.first = nil
	}
	if w.client.State() == RetrievingCredentials {
		if w.rng.IntN(4) == 0 {
			w.client.CredentialsFailed(lifecycle.ReasonLost)
		} else {
			w.client.Credentials("token")
		}
		w.settle()
	}
}

// event checks what the application is told against what the servers have done.
func (w *world) event(ev Event) {
	switch {
	case ev.Kind == EventAck:
		w.acked(ev)
	case ev.Kind == EventError && ev.Reason.Is(lifecycle.ReasonLost) && w.client.State() == Disconnected:
	case ev.Kind == EventError:
		w.t.Fatalf("publish %d: %v", ev.ID, ev.Reason)
	case ev.Path == modelLog:
		w.logEvent(ev)
	case ev.Path == modelRecord && (ev.Kind == EventSnapshot || ev.Kind == EventUpdate):
		w.recordEvent(ev)
	case ev.Path == modelDoc && (ev.Kind == EventSnapshot || ev.Kind == EventUpdate):
		if ev.Data != nil {
			w.document = string(ev.Data)
		} else if ev.Patch != nil {
			w.document = string(MergePatch([]byte(w.document), ev.Patch))
		}
	}
}

func (w *world) life(epoch uint64) *life {
	for _, l := range w.lives {
		if l.epoch == epoch {
			return l
		}
	}
	return nil
}

func (w *world) acked(ev Event) {
	want := w.asked[ev.ID]
	delete(w.asked, ev.ID)
	l := w.life(ev.Epoch)
	if l == nil || ev.Path != modelLog {
		return
	}
	if l.log[ev.Offset] != want {
		w.t.Fatalf("publish %d is acknowledged at %d, where %q stands, not %q", ev.ID, ev.Offset, l.log[ev.Offset], want)
	}
}

func (w *world) logEvent(ev Event) {
	switch ev.Kind {
	case EventSnapshot:
		if !w.placed {
			w.placed, w.epoch, w.next = true, ev.Epoch, ev.Offset
		}
		if ev.Epoch == w.epoch && ev.Offset > w.next {
			w.t.Fatalf("a snapshot at %d, %d is next and no gap was told", ev.Offset, w.next)
		}
	case EventGap:
		w.gaps++
		switch {
		case ev.Offset != w.next || ev.Epoch != w.epoch:
			w.t.Fatalf("a gap from %d, %d is next", ev.Offset, w.next)
		case ev.To == 0:
			w.placed = false // the next snapshot says where it goes on
		default:
			if l := w.life(w.epoch); l != nil && uint64(len(l.log)) >= modelKeep && ev.To > uint64(len(l.log)) {
				w.t.Fatalf("a gap to %d, there are %d", ev.To, len(l.log))
			}
			w.next = ev.To
		}
	case EventUpdate:
		if !w.placed {
			w.placed, w.epoch, w.next = true, ev.Epoch, ev.Offset
		}
		l := w.life(ev.Epoch)
		if ev.Epoch != w.epoch || ev.Offset != w.next || l != nil && l.log[ev.Offset] != string(ev.Data) {
			w.t.Fatalf("got %s at %d/%d, want %d/%d", ev.Data, ev.Epoch, ev.Offset, w.epoch, w.next)
		}
		w.next++
		w.delivered++
	}
}

func (w *world) recordEvent(ev Event) {
	if ev.Kind == EventSnapshot && ev.Fields == nil {
		return
	}
	if ev.Kind == EventSnapshot {
		w.fields = map[string]string{}
	}
	fields, err := ParseFields(nil, ev.Fields)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range fields {
		if f.Value == nil {
			delete(w.fields, f.Name)
		} else {
			w.fields[f.Name] = string(f.Value)
		}
	}
}

// up lets one message reach a server.
func (w *world) up(c *modelConn) {
	if len(c.up) > 0 && !c.closed {
		b := c.up[0]
		c.up = c.up[1:]
		w.serve(c, b)
	}
}

// down lets one message reach the client.
func (w *world) down() {
	switch {
	case w.second != nil && len(w.second.down) > 0 && w.rng.IntN(2) == 0:
		b := w.second.down[0]
		w.second.down = w.second.down[1:]
		done, err := w.client.Switched(b)
		if err != nil {
			w.t.Fatal(err)
		}
		if done {
			w.first, w.second, w.silent = w.second, nil, false
		}
	case w.first != nil && len(w.first.down) > 0 && !w.silent:
		b := w.first.down[0]
		w.first.down = w.first.down[1:]
		w.client.Receive(b)
	}
	w.settle()
}

// lose ends the client's connection. The server may not notice, and go on with what is on its way.
func (w *world) lose(f func()) {
	if w.first == nil {
		return
	}
	if w.rng.IntN(2) == 0 {
		w.first.closed = true
	}
	w.first, w.silent = nil, false
	f()
	w.settle()
}

// step is one thing that happens.
func (w *world) step(faults bool) {
	kinds := []string{"up", "up", "down", "down", "down", "flush", "old", "publish", "record", "doc"}
	if faults {
		kinds = append(kinds, []string{"lose", "silence", "close", "restart", "move", "move failed", "pause", "resume", "unreachable", "eject"}[w.rng.IntN(10)])
	}
	what := kinds[w.rng.IntN(len(kinds))]
	w.steps[what]++
	switch what {
	case "up":
		for _, c := range []*modelConn{w.first, w.second} {
			if c != nil {
				w.up(c)
			}
		}
	case "old": // what is on its way on a connection that the client has given up
		if len(w.conns) > 0 {
			w.up(w.conns[w.rng.IntN(len(w.conns))])
		}
	case "down":
		w.down()
	case "flush":
		for _, c := range w.conns {
			w.flush(c)
		}
	case "publish":
		w.publishes(Publish{Path: modelLog, Data: []byte(strconv.Itoa(w.steps["publish"]))})
	case "record":
		value := []byte(strconv.Itoa(w.steps["record"]))
		if w.rng.IntN(5) == 0 {
			value = nil
		}
		w.publishes(Publish{Path: modelRecord, Fields: AppendFields(nil, []Field{{Name: fmt.Sprint("f", w.rng.IntN(5)), Value: value}})})
	case "doc":
		value := []byte(strconv.Itoa(w.steps["doc"]))
		if w.rng.IntN(5) == 0 {
			value = nil
		}
		w.publishes(Publish{Path: modelDoc, Patch: AppendFields(nil, []Field{{Name: fmt.Sprint("d", w.rng.IntN(5)), Value: value}})})
	default:
		w.fault(what)
	}
	w.connect()
	if len(w.conns) > 20 {
		w.conns = slices.DeleteFunc(w.conns, func(c *modelConn) bool { return c != w.first && c != w.second && (c.closed || len(c.up) == 0) })
	}
}

func (w *world) publishes(p Publish) {
	if len(w.asked) > 50 {
		return
	}
	id, err := w.client.Publish(p)
	if err != nil {
		w.t.Fatal(err)
	}
	w.asked[id] = string(p.Data)
	w.settle()
}

func (w *world) fault(what string) {
	switch what {
	case "lose":
		w.lose(func() { w.client.Broken(lifecycle.ReasonLost) })
	case "silence": // half open, noticed by the heartbeat
		if w.silent {
			w.lose(func() { w.client.GiveUp(lifecycle.ReasonTimeout) })
		} else {
			w.silent = w.first != nil
		}
	case "close":
		w.lose(func() { w.client.Closed(lifecycle.ReasonShutdown) })
	case "restart":
		if w.rng.IntN(4) == 0 {
			w.restart()
		}
	case "move":
		if hello := w.client.Switch(""); hello != nil {
			w.second = w.open(w.lives[w.rng.IntN(2)])
			w.second.up = append(w.second.up, hello)
		}
	case "move failed":
		if w.second != nil {
			w.second.closed = w.rng.IntN(2) == 0
			w.second = nil
			w.client.SwitchFailed()
		}
	case "pause":
		w.client.Pause()
	case "resume":
		w.client.Resume()
	case "unreachable":
		if w.rng.IntN(4) == 0 && w.second == nil {
			w.lose(w.client.Unreachable)
		}
	case "eject": // token expiry, without a renewal
		if w.first != nil && w.second == nil && w.client.State() == LoggedIn && w.rng.IntN(10) == 0 {
			w.lose(func() { w.client.Closed(lifecycle.ReasonUnauthorized) })
			w.asked = map[uint64]string{} // the application was told that they are lost
			w.start()
		}
	}
	w.settle()
}

// restart is a server that loses its memory. Its connections break.
func (w *world) restart() {
	i := w.rng.IntN(2)
	old := w.lives[i]
	w.lives[i] = w.newLife()
	for _, c := range w.conns {
		if c.life == old {
			c.closed = true
		}
	}
	if w.second != nil && w.second.life == old {
		w.second = nil
		w.client.SwitchFailed()
	}
	if w.first != nil && w.first.life == old {
		w.first, w.silent = nil, false
		w.client.Broken(lifecycle.ReasonLost)
	}
}

// connect lets the driver's part happen: back-off and attempts, mostly at the same server.
func (w *world) connect() {
	if w.first == nil && w.second != nil { // the first connection ended during a move that has not
		return
	}
	w.client.Retry()
	w.settle()
	if w.client.State() == Connecting {
		if w.rng.IntN(3) == 0 {
			w.client.Failed(lifecycle.ReasonLost)
		} else {
			i := 0
			if w.rng.IntN(5) == 0 {
				i = 1
			}
			w.first, w.silent = w.open(w.lives[i]), false
			w.client.Opened()
		}
	}
	w.settle()
}

// TestModel lets random things happen, then lets everything come to rest, and looks whether client and server agree.
func TestModel(t *testing.T) {
	const steps = 100_000
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, seed)
			for i := range steps {
				w.step(true)
				if i%5000 == 4999 {
					w.rest()
				}
			}
			t.Logf("%d delivered, %d gaps, %v", w.delivered, w.gaps, w.steps)
			if w.delivered < steps/100 || w.gaps == 0 {
				t.Errorf("%d delivered, %d gaps: the model does too little", w.delivered, w.gaps)
			}
		})
	}
}

// rest heals everything and checks that nothing is missing.
func (w *world) rest() {
	w.client.Resume()
	w.settle()
	w.silent = false
	for range 3000 {
		if w.second == nil {
			w.connect()
		}
		for _, c := range w.conns {
			w.up(c)
			w.flush(c)
		}
		w.down()
	}
	l := w.first.life
	switch {
	case w.client.State() != LoggedIn:
		w.t.Fatalf("at rest the client is %s", w.client.State())
	case len(w.asked) > 0:
		w.t.Fatalf("at rest %d publishes have no answer", len(w.asked))
	case w.epoch != l.epoch || w.next != uint64(len(l.log)):
		w.t.Fatalf("at rest the log stands at %d/%d, want %d/%d", w.epoch, w.next, l.epoch, len(l.log))
	case !maps.Equal(w.fields, l.image):
		w.t.Fatalf("at rest the record is %v, want %v", w.fields, l.image)
	case w.document != l.doc:
		w.t.Fatalf("at rest the document is %s, want %s", w.document, l.doc)
	}
	w.once()
}

// once checks that no server has done a publish twice.
func (w *world) once() {
	for _, l := range w.lives {
		seen := map[string]bool{}
		for _, data := range l.log {
			if seen[data] {
				w.t.Fatalf("%s was published twice", data)
			}
			seen[data] = true
		}
	}
}
