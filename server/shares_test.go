package server

import (
	"maps"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hawser/lifecycle"
	"hawser/session"
)

// wantLimit looks whether an answer says that a limit was reached.
func (w *wire) wantLimit(m got, limit string) {
	w.t.Helper()
	if !m.Reason.Is(lifecycle.ReasonLimit) || !strings.HasPrefix(m.Reason.Text, limit+" is ") {
		w.t.Errorf("got %+v, want %s", m.Message, limit)
	}
}

func (w *wire) wantAck(m got) {
	w.t.Helper()
	if m.Type != session.TypeAck {
		w.t.Errorf("got %+v, want an ack", m.Message)
	}
}

// wantNothingCounted waits until the shares of all who have gone are forgotten.
func (r *rig) wantNothingCounted() {
	r.t.Helper()
	until(r.t, "nothing is counted any more", func() bool {
		r.shares.mu.Lock()
		defer r.shares.mu.Unlock()
		return len(r.shares.all) == 0
	})
}

// put publishes, and returns the answer.
func (w *wire) put(id int, data string) got {
	w.t.Helper()
	w.say(`{"t":"publish","id":%d,"path":"/a","data":%s}`, id, data)
	m := w.next()
	if m.Type != session.TypeAck && m.Type != session.TypeError || m.ID != uint64(id) {
		w.t.Fatalf("publish %d: got %+v", id, m.Message)
	}
	return m
}

// Two sessions share what their user or address may follow; what one gives up the other may have, be it by unsubscribing, stopping, or going.
func TestSubscriptionsAreShared(t *testing.T) {
	all := &people{of: map[string]person{"a": {name: "ann"}, "b": {name: "bob"}}}
	for limit, o := range map[string]Options{"MaxSubscriptionsPerUser": {Auth: all, MaxSubscriptionsPerUser: 3}, "MaxSubscriptionsPerAddress": {MaxSubscriptionsPerAddress: 3}} {
		t.Run(limit, func(t *testing.T) {
			r := serve(t, o)
			r.feed("/live").write(3)
			one, _ := r.loginAs("a")
			two, _ := r.loginAs("a")
			one.follow("/1")
			one.follow("/2")
			one.say(`{"t":"play","path":"/live"}`)
			one.wantMedia(session.StatusLive, 2)
			refused := func() {
				t.Helper()
				two.say(`{"t":"subscribe","path":"/3"}`)
				two.wantLimit(two.want(session.TypeStatus), limit)
				two.say(`{"t":"play","path":"/live"}`)
				two.wantLimit(two.want(session.TypeMedia), limit)
			}
			refused()
			if limit == "MaxSubscriptionsPerUser" {
				other, _ := r.loginAs("b")
				other.follow("/1")
			}
			one.say(`{"t":"stop","path":"/live"}`)
			one.say(`{"t":"ping","id":1}`)
			for one.next().Type != session.TypePong { // what was on its way
			}
			two.follow("/4")
			refused()
			two.say(`{"t":"unsubscribe","path":"/4"}`)
			two.follow("/5")
			refused()
			one.say(`{"t":"bye"}`)
			if code, _ := one.closed(); code != lifecycle.ReasonDone.Code {
				t.Errorf("closed with %d", code)
			}
			two.follow("/6")
			two.follow("/7")
			refused()
			if n := r.scrape()[`hawser_limit{name="`+limit+`"}`]; n != 3 {
				t.Errorf("the metrics say that the limit is %v", n)
			}
			if n := r.scrape()[`hawser_limit_reached_total{name="`+limit+`"}`]; n < 8 {
				t.Errorf("the metrics say that it was reached %v times", n)
			}
		})
	}
}

// A session that comes back on another connection does not stand in its own way.
func TestSubscriptionsComeBack(t *testing.T) {
	r := serve(t, Options{Auth: &people{of: map[string]person{"a": {name: "ann"}}}, MaxSubscriptionsPerUser: 2})
	old, welcome := r.loginAs("a")
	old.follow("/1")
	old.follow("/2")
	w, again := r.loginAs("a", `,"session":"`+welcome.Message.Session+`","subscribe":[{"path":"/1"},{"path":"/2"},{"path":"/3"}]`)
	if !again.Resumed {
		t.Error("it was not taken over")
	}
	answers := map[string]string{}
	for range 3 { // in any order: what is written may overtake what is read
		m := w.next()
		answers[m.Path] = m.Type.String()
		if m.Path == "/3" {
			w.wantLimit(m, "MaxSubscriptionsPerUser")
		}
	}
	if want := map[string]string{"/1": "snapshot", "/2": "snapshot", "/3": "status"}; !maps.Equal(answers, want) {
		t.Errorf("got %v, want %v", answers, want)
	}
	old.wantEnd(lifecycle.ReasonReplaced, session.TypeBye)
	w.say(`{"t":"bye"}`)
	w.wantEnd(lifecycle.ReasonDone, session.TypeBye)
	r.wantNothingCounted()
}

// A subscription or play that fails for another reason is not counted.
func TestFailedSubscriptions(t *testing.T) {
	r := serve(t, Options{MaxSubscriptionsPerAddress: 1, Auth: &people{of: map[string]person{"a": {name: "ann", not: "subscribe /secret;"}}}})
	w, _ := r.loginAs("a")
	for range 3 {
		w.say(`{"t":"subscribe","path":"/secret"}`)
		if m := w.want(session.TypeStatus); !m.Reason.Is(lifecycle.ReasonRefused) {
			t.Errorf("got %+v", m.Message)
		}
	}
	w.follow("/1")
}

// Two sessions share what may be published, here one message a second. Who goes and comes back has no more than who stays; who waits may publish again.
func TestPublishingIsShared(t *testing.T) {
	all := &people{of: map[string]person{"a": {name: "ann"}, "b": {name: "bob"}}}
	text := `"` + strings.Repeat("x", 98) + `"` // 100 bytes
	for limit, o := range map[string]Options{
		"MaxPublishRatePerUser":     {Auth: all, MaxPublishRatePerUser: 1, MaxPublishRate: 1000},
		"MaxPublishRatePerAddress":  {MaxPublishRatePerAddress: 1, MaxPublishBytes: 1e6},
		"MaxPublishBytesPerUser":    {Auth: all, MaxPublishBytesPerUser: 100, MaxPublishRatePerAddress: 1000},
		"MaxPublishBytesPerAddress": {MaxPublishBytesPerAddress: 100},
	} {
		t.Run(limit, func(t *testing.T) {
			t.Parallel()
			r := serve(t, o)
			one, _ := r.loginAs("a")
			two, _ := r.loginAs("a")
			other, _ := r.loginAs("b")
			began := time.Now()
			refused := func(w *wire, id int) {
				t.Helper()
				at := time.Now()
				m := w.put(id, text)
				if m.Type == session.TypeAck && time.Since(began) >= time.Second { // the machine is busy: it was due
					began = at
					return
				}
				w.wantLimit(m, limit)
			}
			one.wantAck(one.put(1, text))
			refused(two, 1)
			if strings.HasSuffix(limit, "PerUser") {
				other.wantAck(other.put(1, text))
			} else {
				refused(other, 1)
			}
			for _, w := range []*wire{one, two, other} {
				w.say(`{"t":"bye"}`)
				w.wantEnd(lifecycle.ReasonDone, session.TypeBye)
			}
			back, _ := r.loginAs("a")
			refused(back, 2)
			id := 2
			until(t, "it may publish again", func() bool { id++; began = time.Now(); return back.put(id, text).Type == session.TypeAck })
			refused(back, id+1)
			back.say(`{"t":"bye"}`)
			back.wantEnd(lifecycle.ReasonDone, session.TypeBye)
			r.wantNothingCounted()
		})
	}
}

// Requests of the API count for their address and user.
func TestRequestsAreCounted(t *testing.T) {
	r := serve(t, Options{Auth: &people{of: map[string]person{"a": {name: "ann"}}}, MaxPublishRatePerUser: 1})
	post := func() (int, string) {
		status, header, answer := r.ask(http.MethodPost, "/api/v1/subjects/a?token=a", "1", r.http, "", "")
		if (status == http.StatusTooManyRequests) != (header.Get("Retry-After") != "") {
			t.Errorf("status %d: got %v", status, header)
		}
		return status, answer
	}
	status, answer := post()
	if status != http.StatusOK {
		t.Errorf("got %d %s", status, answer)
	}
	until(t, "a request is one too many", func() bool { status, answer = post(); return status != http.StatusOK })
	if status != http.StatusTooManyRequests || !strings.Contains(answer, "MaxPublishRatePerUser is 1 a second") {
		t.Errorf("got %d %s", status, answer)
	}
	w, _ := r.loginAs("a")
	id := 0
	var m got
	until(t, "a message is one too many", func() bool { id++; m = w.put(id, "1"); return m.Type != session.TypeAck })
	w.wantLimit(m, "MaxPublishRatePerUser")
	w.say(`{"t":"bye"}`)
	w.wantEnd(lifecycle.ReasonDone, session.TypeBye)
	r.wantNothingCounted()
}

// One session has a bound of bytes of its own.
func TestPublishBytes(t *testing.T) {
	r := serve(t, Options{MaxPublishBytes: 10})
	one, two := r.login(), r.login()
	large := `"` + strings.Repeat("x", 1000) + `"`
	one.wantAck(one.put(1, large)) // let through as nothing else was, and enough for 100 s
	one.wantLimit(one.put(2, `1`), "MaxPublishBytes")
	two.wantAck(two.put(1, `"12345678"`))
}

// What is refused by one share is not taken from another.
func TestRefusedIsNotTaken(t *testing.T) {
	s := newShares(&Options{MaxPublishRatePerUser: 3, MaxPublishRatePerAddress: 1})
	here, there := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	synctest.Test(t, func(t *testing.T) {
		var a, b sharer
		s.join(&a, here, "ann")
		s.join(&b, there, "ann")
		published := 0
		for range 100 {
			if s.publish(&a, 1) == nil {
				published++
			}
		}
		if err := s.publish(&b, 1); err != nil || published != 1 {
			t.Errorf("%d from one address, then %v from another", published, err)
		}
		s.leave(&a)
		s.leave(&b)
		time.Sleep(time.Second)
		synctest.Wait()
		if len(s.all) != 0 {
			t.Errorf("left: %+v", s.all)
		}
	})
}

func TestBucket(t *testing.T) {
	now := time.Now()
	b := bucket{perSecond: 5}
	for range 5 {
		if !b.take(now) {
			t.Error("refused within the rate")
		}
	}
	if b.take(now) || b.take(now.Add(100*time.Millisecond)) || !b.take(now.Add(200*time.Millisecond)) {
		t.Error("one more is due each 200 ms")
	}
	large := bucket{perSecond: 10}
	if !large.has(now, 25) {
		t.Error("a full bucket has no room for more than it holds")
	}
	large.left -= 25
	for after, room := range map[time.Duration]bool{1500 * time.Millisecond: false, 1600 * time.Millisecond: true} {
		if b := large; b.has(now.Add(after), 1) != room {
			t.Errorf("after %v there is room: %v", after, !room)
		}
	}
	if wait := large.missing(now); wait != 2500*time.Millisecond {
		t.Errorf("it is full in %v", wait)
	}
}
