package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"hawser/lifecycle"
	"hawser/ring"
	"hawser/session"
	"hawser/subject"
)

// log publishes messages {"n":from} to {"n":to-1} on a log.
func (r *rig) log(path string, from, to int) {
	r.t.Helper()
	for i := from; i < to; i++ {
		r.publish(path, subject.Log, subject.Update{Data: fmt.Appendf(nil, `{"n":%d}`, i)})
	}
}

// record publishes fields given as name, value, name, value; an empty value removes.
func (r *rig) record(path string, words ...string) {
	r.t.Helper()
	var u subject.Update
	for i := 0; i < len(words); i += 2 {
		f := subject.Field{Name: words[i]}
		if words[i+1] != "" {
			f.Value = []byte(words[i+1])
		}
		u.Fields = append(u.Fields, f)
	}
	r.publish(path, subject.Record, u)
}

func (r *rig) publish(path string, kind subject.Kind, u subject.Update) {
	r.t.Helper()
	if _, _, err := r.Publish(path, kind, u); err != nil {
		r.t.Fatal(err)
	}
}

// wantLog reads the updates with the offsets from to to-1 of a log, in which message n has offset n.
func (w *wire) wantLog(path string, from, to int) {
	w.t.Helper()
	for i := from; i < to; i++ {
		m := w.want(session.TypeUpdate)
		if m.Path != path || m.Offset != uint64(i) || string(m.Data) != fmt.Sprintf(`{"n":%d}`, i) || m.At == 0 {
			w.t.Fatalf("got %s %d %s at %d, want %s %d", m.Path, m.Offset, m.Data, m.At, path, i)
		}
	}
}

// wantRecord reads an update, or the snapshot, of a record.
func (w *wire) wantRecord(typ session.Type, offset uint64, fields string) got {
	w.t.Helper()
	m := w.want(typ)
	if m.Offset != offset || string(m.Fields) != fields {
		w.t.Errorf("%v: got offset %d %s, want %d %s", typ, m.Offset, m.Fields, offset, fields)
	}
	return m
}

func TestLogFromNowOn(t *testing.T) {
	r := serve(t, Options{})
	for i, from := range []string{"", `,"from":"live"`, `,"from":"snapshot"`} {
		path := fmt.Sprintf("/chat/%d", i)
		r.log(path, 0, 3)
		w := r.login()
		w.say(`{"t":"subscribe","path":"%s"%s}`, path, from)
		if m := w.want(session.TypeSnapshot); m.Kind != session.KindLog || m.Offset != 3 || m.Epoch == 0 || m.Fields != nil {
			t.Errorf("snapshot: got %+v", m.Message)
		}
		r.log(path, 3, 200)
		w.wantLog(path, 3, 200)
	}
}

func TestLogFromOffset(t *testing.T) {
	r := serve(t, Options{})
	r.log("/chat", 0, 500)
	epoch := epochText(r.Subjects().Find("/chat").Epoch())
	resume := func(epoch string, offset, want int) *wire {
		t.Helper()
		w := r.login()
		w.say(`{"t":"subscribe","path":"/chat","from":"offset","epoch":"%s","offset":%d}`, epoch, offset)
		if m := w.want(session.TypeSnapshot); m.Offset != uint64(want) || epochText(m.Epoch) == "" {
			t.Errorf("from %d: got a start at %d, want %d", offset, m.Offset, want)
		}
		w.wantLog("/chat", want, 500)
		return w
	}
	follower := resume(epoch, 499, 499) // the ready frames begin where their first reader does
	all := []*wire{follower, resume(epoch, 0, 0), resume(epoch, 123, 123), resume(epoch, 500, 500), resume("00000000000000ff", 7, 0)}
	r.log("/chat", 500, 520)
	for _, w := range all {
		w.wantLog("/chat", 500, 520)
	}
	for _, e := range r.Log().Recent(1000) {
		if e.Kind == KindSlow {
			t.Errorf("who comes back is not slow: %+v", e)
		}
	}
}

// What the server does not hold any more is told by the snapshot's offset, with no gap message.
func TestLogFromOffsetThatIsGone(t *testing.T) {
	r := serve(t, Options{Subjects: subject.Options{Limits: ring.Limits{Count: 10}}})
	r.log("/chat", 0, 100)
	w := r.login()
	w.say(`{"t":"subscribe","path":"/chat","from":"offset","epoch":"%s","offset":13}`, epochText(r.Subjects().Find("/chat").Epoch()))
	if m := w.want(session.TypeSnapshot); m.Offset != 90 {
		t.Errorf("got a start at %d, want the oldest, 90", m.Offset)
	}
	w.wantLog("/chat", 90, 100)
}

// cork is a connection that can hold back what is written, to send it all at once.
type cork struct {
	net.Conn
	mu   sync.Mutex
	on   bool
	held []byte
}

func (c *cork) dial(ctx context.Context, network, addr string) (nc net.Conn, err error) {
	c.Conn, err = new(net.Dialer).DialContext(ctx, network, addr)
	return c, err
}

func (c *cork) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.on {
		c.held = append(c.held, b...)
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c *cork) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on = true
}

func (c *cork) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on = false
	c.Conn.Write(c.held)
}

// Requests that come together are answered in their order: no update is ahead of the snapshot that it follows.
func TestSnapshotComesBeforeItsUpdates(t *testing.T) {
	r := serve(t, Options{})
	const paths, history = 40, 20
	for i := range paths {
		r.log(fmt.Sprintf("/log/%d", i), 0, history)
	}
	var line cork
	w := r.loginOver(line.dial)
	line.hold()
	for i := range paths {
		path := fmt.Sprintf("/log/%d", i)
		w.say(`{"t":"subscribe","path":"%s","from":"offset","epoch":"%s","offset":0}`, path, epochText(r.Subjects().Find(path).Epoch()))
	}
	line.release()
	next := map[string]uint64{}
	for seen := 0; seen < paths*(1+history); seen++ {
		m := w.next()
		at, begun := next[m.Path]
		switch {
		case m.Type == session.TypeSnapshot && !begun && m.Offset == 0:
			next[m.Path] = 0
		case m.Type == session.TypeUpdate && begun && m.Offset == at:
			next[m.Path]++
		default:
			t.Fatalf("%s: got %v %d, after %d updates (begun: %v)", m.Path, m.Type, m.Offset, at, begun)
		}
	}
}

func TestRecord(t *testing.T) {
	r := serve(t, Options{})
	r.record("/fx", "bid", "1.1", "ask", "1.2", "venue", `"x"`)
	r.record("/fx", "venue", "")
	w := r.login()
	w.say(`{"t":"subscribe","path":"/fx"}`)
	if m := w.wantRecord(session.TypeSnapshot, 2, `{"bid":1.1,"ask":1.2}`); m.Kind != session.KindRecord {
		t.Errorf("kind: got %v", m.Kind)
	}
	r.record("/fx", "ask", "1.3")
	w.wantRecord(session.TypeUpdate, 2, `{"ask":1.3}`)
	r.record("/fx", "bid", "", "last", "1")
	w.wantRecord(session.TypeUpdate, 3, `{"bid":null,"last":1}`)
}

func TestRecordFromOffset(t *testing.T) {
	r := serve(t, Options{Subjects: subject.Options{RecordLimits: ring.Limits{Count: 4}}})
	r.record("/fx", "a", "0", "b", "0", "c", "0")
	for i := range 20 {
		r.record("/fx", []string{"a", "b"}[i%2], fmt.Sprint(i))
	}
	r.record("/fx", "c", "")
	epoch := epochText(r.Subjects().Find("/fx").Epoch())
	for offset, changed := range map[int]string{22: "{}", 21: `{"c":null}`, 20: `{"b":19,"c":null}`, 3: `{"a":18,"b":19,"c":null}`} {
		w := r.login()
		w.say(`{"t":"subscribe","path":"/fx","from":"offset","epoch":"%s","offset":%d}`, epoch, offset)
		w.wantRecord(session.TypeSnapshot, uint64(offset), "")
		got := map[string]json.RawMessage{}
		for next := uint64(offset); next < 22; { // in one update or several
			m := w.want(session.TypeUpdate)
			if err := json.Unmarshal(m.Fields, &got); err != nil || m.Offset < next {
				t.Fatalf("from %d: got %d %s, %v", offset, m.Offset, m.Fields, err)
			}
			next = m.Offset + 1
		}
		if b, _ := json.Marshal(got); string(b) != changed {
			t.Errorf("from %d: got %s, want %s", offset, b, changed)
		}
	}
	w := r.login()
	w.say(`{"t":"subscribe","path":"/fx","from":"offset","epoch":"00000000000000ff","offset":3}`)
	w.wantRecord(session.TypeSnapshot, 22, `{"a":18,"b":19}`)
}

func TestSubscriptionBeforeTheFirstPublish(t *testing.T) {
	r := serve(t, Options{})
	w := r.login()
	w.say(`{"t":"subscribe","path":"/later/log"}`)
	w.say(`{"t":"subscribe","path":"/later/record"}`)
	for range 2 {
		if m := w.want(session.TypeSnapshot); m.Kind != session.KindNone || m.Offset != 0 {
			t.Errorf("snapshot: got %+v", m.Message)
		}
	}
	r.log("/later/log", 0, 2)
	w.wantLog("/later/log", 0, 2)
	r.record("/later/record", "a", "1")
	w.wantRecord(session.TypeUpdate, 0, `{"a":1}`)
}

func TestUnsubscribeAndSubscribeAgain(t *testing.T) {
	r := serve(t, Options{})
	w := r.login()
	for round := range 50 {
		w.say(`{"t":"subscribe","path":"/a"}`)
		if m := w.want(session.TypeSnapshot); m.Offset != uint64(2*round) {
			t.Fatalf("round %d: got a start at %d", round, m.Offset)
		}
		w.say(`{"t":"subscribe","path":"/a"}`)
		if m := w.want(session.TypeError); m.Path != "/a" || m.Reason.Word != "bad_request" {
			t.Fatalf("subscribed twice: got %+v", m.Message)
		}
		r.log("/a", 2*round, 2*round+1)
		w.wantLog("/a", 2*round, 2*round+1)
		w.say(`{"t":"unsubscribe","path":"/a"}`)
		w.say(`{"t":"unsubscribe","path":"/a"}`) // which does nothing
		w.say(`{"t":"ping","id":%d}`, round+1)
		w.want(session.TypePong)
		r.log("/a", 2*round+1, 2*round+2) // not for us
	}
	w.say(`{"t":"unsubscribe","path":"/a"}`)
	w.say(`{"t":"ping","id":100}`)
	w.want(session.TypePong)
	if s := r.Subjects().Find("/a").Ring().Stats(); s.Cursors != 0 {
		t.Errorf("%d readers of a subject that nobody follows", s.Cursors)
	}
}

func TestRemovedSubject(t *testing.T) {
	r := serve(t, Options{})
	r.log("/a", 0, 5)
	w := r.login()
	w.say(`{"t":"subscribe","path":"/a"}`)
	before := w.want(session.TypeSnapshot)
	r.log("/a", 5, 7)
	r.Subjects().Remove("/a", lifecycle.ReasonGone.With("closed for the night"))
	w.wantLog("/a", 5, 7)
	if m := w.want(session.TypeStatus); m.Status != session.StatusRemoved || m.Path != "/a" || m.Reason.Text != "closed for the night" {
		t.Errorf("got %+v", m.Message)
	}
	w.say(`{"t":"subscribe","path":"/a"}`)
	if m := w.want(session.TypeSnapshot); m.Kind != session.KindNone || m.Offset != 0 || m.Epoch == before.Epoch {
		t.Errorf("after the removal: got %+v, before it %+v", m.Message, before.Message)
	}
	r.record("/a", "x", "1")
	w.wantRecord(session.TypeUpdate, 0, `{"x":1}`)
}

func TestPublish(t *testing.T) {
	r := serve(t, Options{Subjects: subject.Options{MaxFields: 3}})
	r.record("/record", "x", "1")
	w := r.login()
	for _, tc := range []struct {
		message string
		offset  uint64
		word    string // of the error
	}{
		{`"path":"/log","data":{"a":[1,2]}`, 0, ""},
		{`"path":"/log","data":null`, 1, ""},
		{`"path":"/log","kind":"log","data":"x","time":12.5`, 2, ""},
		{`"path":"/record","kind":"record","fields":{"x":null,"y":2}`, 1, ""},
		{`"path":"/log","kind":"record","fields":{"x":1}`, 0, "bad_request"},
		{`"path":"/record","data":1`, 0, "bad_request"},
		{`"path":"/record","kind":"record","fields":{}`, 0, "bad_request"},
		{`"path":"/record","kind":"record","fields":{"a":1,"b":1,"c":1}`, 0, "limit"},
		{`"path":"/record","kind":"record"`, 0, "bad_request"},
		{`"path":"/log"`, 0, "bad_request"},
		{`"path":"log","data":1`, 0, "bad_request"},
		{`"path":"/a//b","data":1`, 0, "bad_request"},
		{`"path":"/sys/live","kind":"record","fields":{"/fake":1}`, 0, "refused"},
		{`"path":"/sys/new","data":1`, 0, "refused"},
	} {
		w.say(`{"t":"publish","id":7,%s}`, tc.message)
		m := w.next()
		switch {
		case tc.word == "" && (m.Type != session.TypeAck || m.Offset != tc.offset || m.Epoch == 0):
			t.Errorf("%s: got %v %+v", tc.message, m.Type, m.Message)
		case tc.word != "" && (m.Type != session.TypeError || m.Reason.Word != tc.word):
			t.Errorf("%s: got %v %v, want %s", tc.message, m.Type, m.Reason, tc.word)
		case m.ID != 7:
			t.Errorf("%s: the answer has id %d", tc.message, m.ID)
		}
	}
	item, _ := r.Subjects().Find("/log").Ring().At(2)
	if u := item.Value; string(u.Data) != `"x"` || !u.HasMedia || u.Media.Microseconds() != 12_500 {
		t.Errorf("published: %+v", u)
	}
}

// A publisher that follows what it publishes gets its own messages from the subscription on.
func TestFollowWhatIsPublished(t *testing.T) {
	r := serve(t, Options{})
	w := r.login()
	w.say(`{"t":"subscribe","path":"/chat"}`)
	for i := range 100 {
		w.say(`{"t":"publish","id":%d,"path":"/chat","data":{"n":%d}}`, i+1, i)
	}
	begun := false
	for acks, updates := 0, 0; acks+updates < 200; {
		switch m := w.next(); {
		case m.Type == session.TypeSnapshot && !begun && m.Offset == 0:
			begun = true
		case m.Type == session.TypeAck && m.ID == uint64(acks+1) && m.Offset == uint64(acks):
			acks++
		case m.Type == session.TypeUpdate && begun && m.Offset == uint64(updates):
			updates++
		default:
			t.Fatalf("after %d acks and %d updates: got %v %+v", acks, updates, m.Type, m.Message)
		}
	}
}

func TestRefusedSubscription(t *testing.T) {
	r := serve(t, Options{Subjects: subject.Options{MaxSubjects: 4}})
	until(t, "the server's own record is there", func() bool { return r.Subjects().Find(ServerPath) != nil })
	w := r.login()
	for _, path := range []string{"/a", "/b", "/c"} {
		w.say(`{"t":"subscribe","path":"%s"}`, path)
		w.want(session.TypeSnapshot)
	}
	w.say(`{"t":"subscribe","path":"/d"}`)
	if m := w.want(session.TypeStatus); m.Path != "/d" || m.Status != session.StatusRefused || m.Reason.Word != "limit" {
		t.Errorf("got %+v", m.Message)
	}
	w.say(`{"t":"unsubscribe","path":"/a"}`)
	w.say(`{"t":"subscribe","path":"/d"}`) // it was refused, so it is no second subscription
	if m := w.want(session.TypeSnapshot); m.Path != "/d" {
		t.Errorf("got %+v", m.Message)
	}
	w.say(`{"t":"novelty","path":"/d","id":4}`)
	if m := w.want(session.TypeError); m.ID != 4 || m.Path != "/d" || m.Reason.Word != "unsupported" {
		t.Errorf("a type that is not known: got %+v", m.Message)
	}
	w.say(`{"t":"subscribe","path":"/%s"}`, strings.Repeat("x", 255))
	if m := w.want(session.TypeError); m.Reason.Word != "bad_request" {
		t.Errorf("a path that is too long: got %+v", m.Message)
	}
}
