package subject

import (
	"encoding/json"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"hawser/lifecycle"
	"hawser/ring"
)

// TestMerge holds the examples of RFC 7396 appendix A.
func TestMerge(t *testing.T) {
	for _, c := range []struct{ target, patch, want string }{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`["a","b"]`, `["c","d"]`, `["c","d"]`},
		{`{"a":"b"}`, `["c"]`, `["c"]`},
		{`{"a":"foo"}`, `null`, `null`},
		{`{"a":"foo"}`, `"bar"`, `"bar"`},
		{`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`},
		{`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
	} {
		var got, want any
		if err := json.Unmarshal(merge([]byte(c.target), []byte(c.patch)), &got); err != nil {
			t.Error(err)
		}
		json.Unmarshal([]byte(c.want), &want)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s with %s: got %v, want %s", c.target, c.patch, got, c.want)
		}
	}
}

func TestDocument(t *testing.T) {
	h := NewHub(Options{MaxImage: 64})
	for _, u := range []Update{{Data: []byte(`{"a":1,"b":{"c":2}}`)}, {Patch: []byte(`{"a":null}`)}, {Patch: []byte(`{"b":{"d":3}}`)}} {
		if _, _, err := h.Publish("/doc", JSON, u); err != nil {
			t.Fatal(err)
		}
	}
	snap := h.Find("/doc").Snapshot()
	if got := string(snap.Data); got != `{"b":{"c":2,"d":3}}` || snap.Kind != JSON || snap.Offset != 3 {
		t.Errorf("%s, %v at %d", got, snap.Kind, snap.Offset)
	}
	for name, u := range map[string]Update{
		"neither":     {},
		"both":        {Data: []byte("1"), Patch: []byte("{}")},
		"no object":   {Patch: []byte("[1]")},
		"no JSON":     {Patch: []byte("{")},
		"fields":      {Fields: []Field{{Name: "a", Value: []byte("1")}}},
		"too big":     {Data: make([]byte, 100)},
		"big patch":   {Patch: []byte(`{"x":"0123456789012345678901234567890123456789012345678901234567890123456789"}`)},
		"big by sums": {Patch: []byte(`{"x":"01234567890123456789012345678901234567890123456789"}`)},
	} {
		if _, _, err := h.Publish("/doc", JSON, u); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if got := string(h.Find("/doc").Snapshot().Data); got != `{"b":{"c":2,"d":3}}` {
		t.Errorf("what was refused changed it to %s", got)
	}
}

// TestTTL: a subject goes when nothing is published on it for as long as its last publish with a time to live said.
func TestTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := lifecycle.NewLog(ring.Limits{})
		h := NewHub(Options{Log: log})
		held, err := h.Open("/fx")
		if err != nil {
			t.Fatal(err)
		}
		defer held.Close()
		for range 3 {
			if _, _, err := h.Publish("/fx", Log, Update{Data: []byte("1"), TTL: 10 * time.Millisecond}); err != nil {
				t.Fatal(err)
			}
		}
		c := held.Ring().Cursor(3)
		if err := c.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Read(make([]ring.Item[Update], 1)); lifecycle.ReasonOf(err).Word != "gone" {
			t.Errorf("the ring ended with %v", err)
		}
		if h.Find("/fx") != nil {
			t.Error("it is still there")
		}
	})
}

// What is folded says the same as one patch after the other, to every document; where nothing can say it, it is not folded.
func TestFoldPatches(t *testing.T) {
	documents := []string{``, `null`, `1`, `{}`, `{"a":1}`, `{"a":{"b":1}}`, `{"a":{"b":{"c":1}},"d":2}`, `{"a":[1],"b":{"b":2}}`}
	patches := []string{`{}`, `{"a":2}`, `{"a":null}`, `{"a":{"b":3}}`, `{"a":{"b":null}}`, `{"a":{"b":{"c":null,"d":1}}}`, `{"a":[2],"b":3}`, `{"d":{}}`, `{"a":1,"a":{"x":1}}`, `{"b":{"b":null}}`}
	folded := 0
	for _, first := range patches {
		for _, second := range patches {
			both, ok := foldPatches([]byte(first), []byte(second))
			if !ok {
				continue
			}
			folded++
			for _, d := range documents {
				var got, want any
				one, two := merge([]byte(d), both), merge(merge([]byte(d), []byte(first)), []byte(second))
				if json.Unmarshal(one, &got) != nil || json.Unmarshal(two, &want) != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("%s, then %s, on %q: folded to %s gives %s, want %s", first, second, d, both, one, two)
				}
			}
		}
	}
	if folded < len(patches)*len(patches)/2 {
		t.Errorf("only %d pairs were folded", folded)
	}
	for _, pair := range [][2]string{{`{"a":null}`, `{"a":{"b":1}}`}, {`{"a":1}`, `{"a":{"b":1}}`}} {
		if both, ok := foldPatches([]byte(pair[0]), []byte(pair[1])); ok {
			t.Errorf("%q are folded to %s, which leaves what was at a", pair, both)
		}
	}
}

func TestPatchSince(t *testing.T) {
	h := NewHub(Options{})
	publish := func(u Update) {
		t.Helper()
		if _, _, err := h.Publish("/doc", JSON, u); err != nil {
			t.Fatal(err)
		}
	}
	publish(Update{Data: []byte(`{"price":1,"title":"a long title that makes the whole longer than what changes","bids":{}}`)})
	publish(Update{Patch: []byte(`{"price":2}`)})
	publish(Update{Patch: []byte(`{"bids":{"ann":2}}`)})
	publish(Update{Patch: []byte(`{"price":3,"bids":{"bob":3}}`)})
	s := h.Find("/doc")
	for from, want := range map[uint64]string{1: `{"price":3,"bids":{"ann":2,"bob":3}}`, 3: `{"price":3,"bids":{"bob":3}}`, 0: "", 4: "", 9: ""} {
		if got, now, ok := s.PatchSince(from); string(got) != want || ok != (want != "") || now != 4 {
			t.Errorf("since %d: %s, %d, %v; want %q", from, got, now, ok, want)
		}
	}
	publish(Update{Patch: []byte(`{"bids":null}`)})
	publish(Update{Patch: []byte(`{"bids":{"eve":4}}`)})
	if got, _, ok := s.PatchSince(4); ok {
		t.Errorf("what cannot be folded is folded to %s", got)
	}
}
