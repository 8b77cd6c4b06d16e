package server

import (
	"fmt"
	"testing"
	"time"

	"hawser/lifecycle"
	"hawser/session"
	"hawser/subject"
)

func TestWindows(t *testing.T) {
	r := serve(t, Options{})
	r.record("/lots", "a", `{"price":10,"name":"vase"}`, "b", `{"price":30,"name":"clock"}`, "c", `{"price":20,"name":"vat"}`, "d", `{"name":"none"}`, "e", `5`)
	for window, want := range map[string]string{
		`"start":0,"count":2`:                                                                    `5 [["a",{"price":10,"name":"vase"}],["b",{"price":30,"name":"clock"}]]`,
		`"start":4,"count":9`:                                                                    `5 [["e",5]]`,
		`"start":9,"count":9`:                                                                    `5 []`,
		`"start":0,"count":2,"order":"-name"`:                                                    `5 [["e",5],["d",{"name":"none"}]]`,
		`"start":0,"count":2,"order":"-price"`:                                                   `5 [["b",{"price":30,"name":"clock"}],["c",{"price":20,"name":"vat"}]]`,
		`"start":0,"count":9,"order":"price","filter":[["price",">",10]]`:                        `2 [["c",{"price":20,"name":"vat"}],["b",{"price":30,"name":"clock"}]]`,
		`"start":0,"count":9,"filter":[["price",">=",10],["price","<=",20]]`:                     `2 [["a",{"price":10,"name":"vase"}],["c",{"price":20,"name":"vat"}]]`,
		`"start":0,"count":1,"filter":[["price","<",20]]`:                                        `1 [["a",{"price":10,"name":"vase"}]]`,
		`"start":0,"count":9,"filter":[["name","prefix","d"]]`:                                   `1 [["d",{"name":"none"}]]`,
		`"start":0,"count":9,"filter":[[".","=",5]]`:                                             `1 [["e",5]]`,
		`"start":0,"count":9,"filter":[["name","=","a"],["price","!=",10]]`:                      `0 []`,
		`"start":0,"count":9,"order":".","filter":[["name","contains","e"]]`:                     `1 [["e",5]]`,
		`"start":0,"count":9,"order":"nothing","filter":[["name","prefix",""],["name","<","b"]]`: `1 [["a",{"price":10,"name":"vase"}]]`,
	} {
		w := r.login()
		w.say(`{"t":"subscribe","path":"/lots","window":{%s}}`, window)
		m := w.want(session.TypeWindow)
		if got := fmt.Sprintf("%d %s", m.View.Total, m.View.Rows); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", window, got, want)
		}
	}
}

// TestWindowChanges: what does not show is not sent, what does is, and how often is bounded.
func TestWindowChanges(t *testing.T) {
	r := serve(t, Options{})
	r.record("/lots", "a", "1", "b", "2", "c", "3")
	w := r.login()
	start := time.Now()
	w.say(`{"t":"subscribe","path":"/lots","rate":20,"window":{"start":0,"count":1,"order":"-."}}`)
	w.want(session.TypeWindow)
	for i := range 50 {
		r.record("/lots", "a", fmt.Sprint(1+float64(i)/100))
	}
	r.record("/lots", "b", "9")
	if m := w.want(session.TypeWindow); string(m.View.Rows) != `[["b",9]]` || time.Since(start) < 50*time.Millisecond*9/10 {
		t.Errorf("got %s after %v", m.View.Rows, time.Since(start))
	}
	w.say(`{"t":"throttle","path":"/lots","rate":0}`)
	w.say(`{"t":"ping","id":1}`)
	w.want(session.TypePong)
	r.record("/lots", "c", "10")
	w.say(`{"t":"ping","id":2}`)
	w.want(session.TypePong)
	w.say(`{"t":"throttle","path":"/lots","rate":null}`)
	if m := w.want(session.TypeWindow); string(m.View.Rows) != `[["c",10]]` {
		t.Errorf("got %s", m.View.Rows)
	}
	r.Subjects().Remove("/lots", lifecycle.ReasonGone)
	if m := w.want(session.TypeStatus); m.Status != session.StatusRemoved {
		t.Errorf("got %+v", m.Message)
	}
	r.log("/log", 0, 1)
	w.say(`{"t":"subscribe","path":"/log","window":{"start":0,"count":1}}`)
	if m := w.want(session.TypeStatus); m.Status != session.StatusRefused || !m.Reason.Is(lifecycle.ReasonBadRequest) {
		t.Errorf("got %+v", m.Message)
	}
}

// TestRates: updates of a record are folded to the rate; 0 stops them, null lets all come; a log takes no rate but 0.
func TestRates(t *testing.T) {
	r := serve(t, Options{})
	r.record("/fx", "bid", "0", "ask", "0")
	w := r.login()
	w.say(`{"t":"subscribe","path":"/fx","rate":20}`)
	w.wantRecord(session.TypeSnapshot, 1, `{"bid":0,"ask":0}`)
	start := time.Now()
	for i := range 100 {
		r.record("/fx", "bid", fmt.Sprint(i+1))
	}
	got := 0
	for offset := uint64(0); offset < 100; got++ {
		m := w.want(session.TypeUpdate)
		offset = m.Offset
	}
	if most := int(time.Since(start)/(50*time.Millisecond)) + 2; got > most {
		t.Errorf("%d updates in %v", got, time.Since(start))
	}
	w.say(`{"t":"throttle","path":"/fx","rate":0}`)
	w.say(`{"t":"ping","id":1}`)
	w.want(session.TypePong)
	r.record("/fx", "bid", "7", "ask", "8")
	r.record("/fx", "bid", "9")
	w.say(`{"t":"ping","id":2}`)
	w.want(session.TypePong)
	w.say(`{"t":"throttle","path":"/fx","rate":null}`)
	for offset := uint64(0); offset < 102; {
		offset = w.want(session.TypeUpdate).Offset
	}
	r.log("/log", 0, 1)
	w.say(`{"t":"subscribe","path":"/log","rate":1}`)
	w.want(session.TypeSnapshot)
	if m := w.want(session.TypeStatus); m.Status != session.StatusRefused || !m.Reason.Is(lifecycle.ReasonBadRequest) {
		t.Errorf("got %+v", m.Message)
	}
}

func TestFields(t *testing.T) {
	r := serve(t, Options{})
	r.record("/fx", "bid", "1", "ask", "2", "venue", `"x"`)
	w := r.login()
	w.say(`{"t":"subscribe","path":"/fx","fields":["bid","size"]}`)
	w.wantRecord(session.TypeSnapshot, 1, `{"bid":1}`)
	r.record("/fx", "ask", "3") // nothing of what is wanted
	r.record("/fx", "ask", "4", "size", "5")
	w.wantRecord(session.TypeUpdate, 2, `{"size":5}`)
	r.record("/fx", "size", "")
	w.wantRecord(session.TypeUpdate, 3, `{"size":null}`)
}

func TestDocuments(t *testing.T) {
	r := serve(t, Options{})
	w := r.login()
	w.say(`{"t":"subscribe","path":"/lot"}`)
	if m := w.want(session.TypeSnapshot); m.Kind != session.KindNone {
		t.Errorf("got %+v", m.Message)
	}
	w.say(`{"t":"publish","id":1,"path":"/lot","kind":"json","data":{"price":1,"note":"x"}}`)
	w.say(`{"t":"publish","id":2,"path":"/lot","kind":"json","patch":{"price":2,"note":null}}`)
	seen := map[session.Type]int{}
	for range 4 {
		m := w.next()
		seen[m.Type]++
		if m.Type == session.TypeUpdate && (m.Offset == 0 && string(m.Data) != `{"price":1,"note":"x"}` || m.Offset == 1 && string(m.Patch) != `{"price":2,"note":null}`) {
			t.Errorf("got %+v", m.Message)
		}
	}
	if seen[session.TypeUpdate] != 2 || seen[session.TypeAck] != 2 {
		t.Errorf("got %v", seen)
	}
	late := r.login()
	late.say(`{"t":"subscribe","path":"/lot"}`)
	if m := late.want(session.TypeSnapshot); m.Kind != session.KindJSON || m.Offset != 2 || string(m.Data) != `{"price":2}` {
		t.Errorf("got %+v %s", m.Message, m.Data)
	}
}

// TestHistory: the last so many messages, those of the last so many milliseconds, or the fewer of both.
func TestHistory(t *testing.T) {
	r := serve(t, Options{})
	old := time.Now().Add(-time.Hour)
	for i := range 10 {
		at := old
		if i >= 6 {
			at = time.Now()
		}
		r.publish("/chat", subject.Log, subject.Update{Data: fmt.Appendf(nil, `{"n":%d}`, i), At: at})
	}
	for ask, want := range map[string]int{`"count":3`: 7, `"count":50`: 0, `"age":3600000,"count":2`: 8} {
		w := r.login()
		w.say(`{"t":"subscribe","path":"/chat","from":"history",%s}`, ask)
		if m := w.want(session.TypeSnapshot); m.Offset != uint64(want) {
			t.Errorf("%s: got a start at %d, want %d", ask, m.Offset, want)
		}
		w.wantLog("/chat", want, 10)
	}
}

func TestTimeToLive(t *testing.T) {
	r := serve(t, Options{})
	w := r.login()
	w.follow("/short")
	w.say(`{"t":"publish","id":1,"path":"/short","data":1,"ttl":50}`)
	seen := map[session.Type]bool{}
	for range 3 { // the answer may come at any time
		m := w.next()
		seen[m.Type] = true
		if m.Type == session.TypeStatus && (!seen[session.TypeUpdate] || m.Status != session.StatusRemoved || !m.Reason.Is(lifecycle.ReasonGone)) {
			t.Errorf("got %+v", m.Message)
		}
	}
	if !seen[session.TypeAck] || !seen[session.TypeStatus] {
		t.Errorf("got %v", seen)
	}
	w.follow("/short") // may be followed anew
}

// TestPause: nothing that is followed comes during a pause, answers do, and nothing is lost.
func TestPause(t *testing.T) {
	r := serve(t, Options{})
	w := r.login()
	w.follow("/chat")
	w.say(`{"t":"pause"}`)
	w.say(`{"t":"ping","id":1}`)
	w.want(session.TypePong)
	r.log("/chat", 0, 20)
	w.say(`{"t":"publish","id":1,"path":"/other","data":1}`)
	w.want(session.TypeAck)
	w.say(`{"t":"resume"}`)
	w.wantLog("/chat", 0, 20)
}
