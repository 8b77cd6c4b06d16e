package server

import (
	"encoding/json"
	"reflect"
	"testing"

	"hawser/session"
	"hawser/subject"
)

// The merge patches of the server's documents and of the client's, which are written twice because neither package may know the other, say the same.
func TestMergesAgree(t *testing.T) {
	patches := []string{`{"a":"c"}`, `{"b":"c"}`, `{"a":null}`, `{"a":["b"]}`, `{"a":{"b":"d","c":null}}`, `{"a":[{"b":"c"}]}`, `{"e":null}`, `{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":1,"a":{"x":2}}`, `{"ä\u0000\"":{"":1}}`}
	for _, document := range []string{`{"a":"b"}`, `{"a":["b"]}`, `{"a":{"b":"c"}}`, `["a","b"]`, `{"e":null}`, `{}`, `1`} {
		for _, first := range patches {
			for _, second := range patches {
				hub := subject.NewHub(subject.Options{})
				for _, u := range []subject.Update{{Data: []byte(document)}, {Patch: []byte(first)}, {Patch: []byte(second)}} {
					if _, _, err := hub.Publish("/doc", subject.JSON, u); err != nil {
						t.Fatal(err)
					}
				}
				var server, client any
				json.Unmarshal(hub.Find("/doc").Snapshot().Data, &server)
				json.Unmarshal(session.MergePatch(session.MergePatch([]byte(document), []byte(first)), []byte(second)), &client)
				if server == nil || !reflect.DeepEqual(server, client) {
					t.Errorf("%s, %s, %s: the server has %v, the client %v", document, first, second, server, client)
				}
			}
		}
	}
}

// A follower of a document at a rate gets what has changed, folded into one patch, and the whole where no patch can say it.
func TestFoldedDocument(t *testing.T) {
	s := New(Options{})
	r := &rig{Server: s, t: t}
	publish := func(text string) { r.publish("/doc", subject.JSON, subject.Update{Patch: []byte(text)}) }
	r.publish("/doc", subject.JSON, subject.Update{Data: []byte(`{"price":1,"title":"a long title that makes the whole longer than what changes","bids":{}}`)})
	c := unwritten(t, s)
	c.subscribe(session.Subscribe{Path: "/doc", Want: session.Want{Rate: 0, HasRate: true}})
	c.Fill(nil, fillSize)
	next := func() got {
		t.Helper()
		c.throttle(session.Throttle{Path: "/doc", Rate: 1e6, HasRate: true})
		list := messages(t, c.Fill(nil, fillSize))
		if len(list) != 1 {
			t.Fatalf("got %d messages, want one", len(list))
		}
		c.throttle(session.Throttle{Path: "/doc", Rate: 0, HasRate: true})
		return list[0]
	}
	publish(`{"price":2}`)
	publish(`{"bids":{"ann":2}}`)
	publish(`{"price":3}`)
	if m := next(); string(m.Patch) != `{"price":3,"bids":{"ann":2}}` || m.Data != nil || m.Offset != 3 {
		t.Errorf("got %s and %s at %d", m.Patch, m.Data, m.Offset)
	}
	publish(`{"bids":null}`)
	publish(`{"bids":{"eve":4}}`)
	if m := next(); m.Patch != nil || string(m.Data) != string(s.Subjects().Find("/doc").Snapshot().Data) || m.Offset != 5 {
		t.Errorf("got %s and %s at %d", m.Patch, m.Data, m.Offset)
	}
}
