package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"hawser/lifecycle"
)

var slow = lifecycle.Reason{Code: 4002, Word: "slow", Text: "too slow", Retry: true}

// messages are every type in its full and its smallest form, both ways.
var messages = []struct {
	json string
	m    Message
}{
	{`{"t":"hello","version":1}`, Message{Type: TypeHello, Hello: Hello{Version: 1}}},
	{`{"t":"hello","version":1,"client":"hawser-go/0.1","token":"abc","session":"s-1"}`,
		Message{Type: TypeHello, Hello: Hello{Version: 1, Client: "hawser-go/0.1", Token: "abc", Session: "s-1"}}},
	{`{"t":"subscribe","path":"/a"}`, Message{Type: TypeSubscribe, Path: "/a"}},
	{`{"t":"subscribe","path":"/a","from":"live"}`, Message{Type: TypeSubscribe, Path: "/a", From: FromLive}},
	{`{"t":"subscribe","path":"/a","from":"offset","epoch":"00000000deadbeef","offset":9007199254740991}`,
		Message{Type: TypeSubscribe, Path: "/a", From: FromOffset, Epoch: 0xdeadbeef, Offset: MaxNumber}},
	{`{"t":"unsubscribe","path":"/a"}`, Message{Type: TypeUnsubscribe, Path: "/a"}},
	{`{"t":"publish","id":7,"path":"/a/ü","kind":"log","data":null}`, Message{Type: TypePublish, ID: 7, Path: "/a/ü", Kind: KindLog, Data: []byte("null")}},
	{`{"t":"publish","id":7,"path":"/a","kind":"record","fields":{"b":null},"time":-0.000001}`,
		Message{Type: TypePublish, ID: 7, Path: "/a", Kind: KindRecord, Fields: []byte(`{"b":null}`), HasTime: true, Time: -1}},
	{`{"t":"play","path":"/a","from":"keyframe"}`, Message{Type: TypePlay, Path: "/a", From: FromKeyframe}},
	{`{"t":"stop","path":"/a"}`, Message{Type: TypeStop, Path: "/a"}},
	{`{"t":"ping","id":1}`, Message{Type: TypePing, ID: 1}},
	{`{"t":"pong","id":1,"at":1763700000000}`, Message{Type: TypePong, ID: 1, At: 1763700000000}},
	{`{"t":"signal","path":"/a","data":{"candidate":""}}`, Message{Type: TypeSignal, Path: "/a", Data: []byte(`{"candidate":""}`)}},
	{`{"t":"bye"}`, Message{Type: TypeBye}},
	{`{"t":"bye","reason":{"code":4002,"word":"slow","text":"too slow","retry":true}}`, Message{Type: TypeBye, Reason: slow}},
	{`{"t":"welcome","version":1,"session":"s-1","server":"hawser/0.1","heartbeat":2500,"resumed":true,"at":5}`,
		Message{Type: TypeWelcome, Hello: Hello{Version: 1, Session: "s-1"}, At: 5, Welcome: Welcome{Server: "hawser/0.1", Heartbeat: 2500 * time.Millisecond, Resumed: true}}},
	{`{"t":"snapshot","path":"/a","kind":"none","epoch":"0000000000000001","offset":0}`, Message{Type: TypeSnapshot, Path: "/a", Epoch: 1}},
	{`{"t":"snapshot","path":"/a","kind":"record","epoch":"ffffffffffffffff","offset":3,"fields":{},"time":0}`,
		Message{Type: TypeSnapshot, Path: "/a", Kind: KindRecord, Epoch: 1<<64 - 1, Offset: 3, Fields: []byte("{}"), HasTime: true}},
	{`{"t":"update","path":"/a","epoch":"0000000000000001","offset":3,"at":9,"data":[1,{"a":"\u0041"}],"time":1233.5}`,
		Message{Type: TypeUpdate, Path: "/a", Epoch: 1, Offset: 3, At: 9, Data: []byte(`[1,{"a":"\u0041"}]`), HasTime: true, Time: 1233500 * time.Microsecond}},
	{`{"t":"update","path":"/a\"\\\n\u0001","epoch":"0000000000000001","offset":3,"at":9,"fields":{"a":1}}`,
		Message{Type: TypeUpdate, Path: "/a\"\\\n\x01", Epoch: 1, Offset: 3, At: 9, Fields: []byte(`{"a":1}`)}},
	{`{"t":"gap","path":"/a","epoch":"0000000000000001","from":3,"to":9}`, Message{Type: TypeGap, Path: "/a", Epoch: 1, GapFrom: 3, GapTo: 9}},
	{`{"t":"status","path":"/a","status":"stale","reason":{"code":4002,"word":"slow","text":"too slow","retry":true}}`,
		Message{Type: TypeStatus, Path: "/a", Status: StatusStale, Reason: slow}},
	{`{"t":"ack","id":4,"path":"/a","epoch":"0000000000000001","offset":3}`, Message{Type: TypeAck, ID: 4, Path: "/a", Epoch: 1, Offset: 3}},
	{`{"t":"media","path":"/a","epoch":"0000000000000001","offset":3,"status":"live","mime":"video/mp4; codecs=\"vp09\"","tracks":[{"id":1,"kind":"video","codec":"vp09","width":64,"height":36},{"id":2,"kind":"audio","codec":"opus","sampleRate":48000,"channels":2}],"time":4,"skipped":12,"reason":{"code":4002,"word":"slow","text":"too slow","retry":true}}`,
		Message{Type: TypeMedia, Path: "/a", Epoch: 1, Offset: 3, Status: StatusLive, HasTime: true, Time: 4 * time.Millisecond, Reason: slow,
			Media: Media{`video/mp4; codecs="vp09"`, []Track{{ID: 1, Kind: "video", Codec: "vp09", Width: 64, Height: 36}, {ID: 2, Kind: "audio", Codec: "opus", SampleRate: 48000, Channels: 2}}, 12}}},
	{`{"t":"error","id":3,"path":"/a","reason":{"code":4002,"word":"slow","text":"too slow","retry":true}}`, Message{Type: TypeError, ID: 3, Path: "/a", Reason: slow}},
	{`{"t":"ejected","reason":{"code":4002,"word":"slow","text":"too slow","retry":true}}`, Message{Type: TypeEjected, Reason: slow}},
	{`{"t":"hello","version":1,"publisher":"0123456789abcdef","subscribe":[{"path":"/a"},{"path":"/b","from":"offset","epoch":"0000000000000001","offset":3,"rate":0.5}],"play":[{"path":"/a","from":"keyframe"}]}`,
		Message{Type: TypeHello, Hello: Hello{Version: 1, Publisher: "0123456789abcdef", Subscribe: []Message{{Type: TypeSubscribe, Path: "/a"},
			{Type: TypeSubscribe, Path: "/b", From: FromOffset, Epoch: 1, Offset: 3, Want: Want{Rate: 0.5, HasRate: true}}}, Play: []Message{{Type: TypePlay, Path: "/a", From: FromKeyframe}}}}},
	{`{"t":"subscribe","path":"/a","from":"history","count":50,"age":60000,"rate":0,"fields":["bid","a\"b"],"window":{"start":2,"count":50,"order":"-price","filter":[["price",">",10],[".","!=","x"]]}}`,
		Message{Type: TypeSubscribe, Path: "/a", From: FromHistory, Want: Want{Count: 50, Age: time.Minute, HasRate: true, Names: []string{"bid", "a\"b"},
			Window: &Window{Start: 2, Count: 50, Order: "-price", Filter: []Filter{{"price", ">", []byte("10")}, {".", "!=", []byte(`"x"`)}}}}}},
	{`{"t":"publish","id":8,"path":"/a","kind":"json","patch":{"b":null},"ttl":1500}`,
		Message{Type: TypePublish, ID: 8, Path: "/a", Kind: KindJSON, Patch: []byte(`{"b":null}`), Command: Command{TTL: 1500 * time.Millisecond}}},
	{`{"t":"throttle","path":"/a","rate":2.5}`, Message{Type: TypeThrottle, Path: "/a", Want: Want{Rate: 2.5, HasRate: true}}},
	{`{"t":"throttle","path":"/a","rate":null}`, Message{Type: TypeThrottle, Path: "/a"}},
	{`{"t":"call","id":9,"name":"/auction/bid","data":[1],"timeout":5000}`, Message{Type: TypeCall, ID: 9, Data: []byte("[1]"), Command: Command{Name: "/auction/bid", Timeout: 5 * time.Second}}},
	{`{"t":"cancel","id":9}`, Message{Type: TypeCancel, ID: 9}},
	{`{"t":"token","id":10,"token":"abc"}`, Message{Type: TypeToken, ID: 10, Hello: Hello{Token: "abc"}}},
	{`{"t":"pause"}`, Message{Type: TypePause}},
	{`{"t":"resume"}`, Message{Type: TypeResume}},
	{`{"t":"source","path":"/fx","on":true,"required":false,"priority":2}`, Message{Type: TypeSource, Path: "/fx", Command: Command{On: true, Optional: true, Priority: 2}}},
	{`{"t":"source","path":"/fx","on":false}`, Message{Type: TypeSource, Path: "/fx"}},
	{`{"t":"welcome","version":1,"session":"s-1","server":"hawser/0.1","heartbeat":0,"resumed":false,"user":"ann","expires":9,"at":5}`,
		Message{Type: TypeWelcome, Hello: Hello{Version: 1, Session: "s-1"}, At: 5, Welcome: Welcome{Server: "hawser/0.1", User: "ann", Expires: 9}}},
	{`{"t":"snapshot","path":"/a","kind":"json","epoch":"0000000000000001","offset":3,"data":{"a":1}}`,
		Message{Type: TypeSnapshot, Path: "/a", Kind: KindJSON, Epoch: 1, Offset: 3, Data: []byte(`{"a":1}`)}},
	{`{"t":"update","path":"/a","epoch":"0000000000000001","offset":3,"at":9,"kind":"json","patch":{"a":1}}`,
		Message{Type: TypeUpdate, Path: "/a", Epoch: 1, Offset: 3, At: 9, Kind: KindJSON, Patch: []byte(`{"a":1}`)}},
	{`{"t":"result","id":9,"data":{"ok":true}}`, Message{Type: TypeResult, ID: 9, Data: []byte(`{"ok":true}`)}},
	{`{"t":"result","id":9,"expires":7,"at":5}`, Message{Type: TypeResult, ID: 9, At: 5, Welcome: Welcome{Expires: 7}}},
	{`{"t":"window","path":"/a","epoch":"0000000000000001","offset":3,"total":9,"start":2,"rows":[["x",{"price":1}]]}`,
		Message{Type: TypeWindow, Path: "/a", Epoch: 1, Offset: 3, View: View{Total: 9, First: 2, Rows: []byte(`[["x",{"price":1}]]`)}}},
	{`{"t":"wanted","path":"/a","on":true}`, Message{Type: TypeWanted, Path: "/a", Command: Command{On: true}}},
	{`{"t":"drain","within":2000,"reason":{"code":4002,"word":"slow","text":"too slow","retry":true}}`, Message{Type: TypeDrain, Reason: slow, Command: Command{Within: 2 * time.Second}}},
	{`{"t":"drain","reason":{"code":4002,"word":"slow","text":"too slow","retry":true}}`, Message{Type: TypeDrain, Reason: slow}},
}

func TestMessagesBothWays(t *testing.T) {
	seen := map[Type]bool{}
	for _, c := range messages {
		seen[c.m.Type] = true
		if got := string(Append(nil, &c.m)); got != c.json {
			t.Errorf("append:\ngot:  %s\nwant: %s", got, c.json)
		}
		if !json.Valid([]byte(c.json)) {
			t.Errorf("%s: not JSON", c.json)
		}
		var m Message
		if err := Parse([]byte(c.json), &m); err != nil {
			t.Errorf("%s: %v", c.json, err)
		} else if !reflect.DeepEqual(m, c.m) {
			t.Errorf("parse %s:\ngot:  %+v\nwant: %+v", c.json, m, c.m)
		}
	}
	for typ := TypeHello; int(typ) < len(typeWords); typ++ {
		if !seen[typ] {
			t.Errorf("no example of %s", typ)
		}
	}
}

func TestParseTakesWhatJSONAllows(t *testing.T) {
	for _, s := range []string{
		" { \"t\" : \"ping\" ,\n\t\"id\" : 12 } \r\n",
		`{"id":12,"t":"ping"}`,
		`{"\u0074":"p\u0069ng","id":12}`,
		`{"t":"ping","id":12,"path":null,"token":null,"x":{"t":"hello"},"y":[[],{},"",-0.5e-7,true,false,null]}`,
	} {
		var m Message
		if err := Parse([]byte(s), &m); err != nil || m.Type != TypePing || m.ID != 12 {
			t.Errorf("%s: %v, %+v", s, err, m)
		}
	}
}

func TestParseStrings(t *testing.T) {
	for in, want := range map[string]string{
		`\"\\\/\b\f\n\r\t`: "\"\\/\b\f\n\r\t",
		`\u00e9é`:          "éé",
		`\ud83d\ude00`:     "😀",
		`\ud83d`:           "\uFFFD",
		`\ude00x`:          "\uFFFDx",
		`\ud83d\u0041`:     "\uFFFDA",
	} {
		var m Message
		if err := Parse([]byte(`{"t":"unsubscribe","path":"`+in+`"}`), &m); err != nil || m.Path != want {
			t.Errorf("%s: got %q, want %q (%v)", in, m.Path, want, err)
		}
	}
}

func TestParseMillis(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"0": 0, "1": time.Millisecond, "0.5": 500 * time.Microsecond, "33.366667": 33366667, "1e3": time.Second, "-2.5": -2500 * time.Microsecond,
		"0.0000004": 0, "86400000.000001": 24*time.Hour + 1, "9223372036854": 9223372036854 * time.Millisecond,
	} {
		var m Message
		if err := Parse([]byte(`{"t":"bye","time":`+in+`}`), &m); err != nil || !m.HasTime || m.Time != want {
			t.Errorf("%s: got %d, want %d (%v)", in, m.Time, want, err)
		}
	}
}

func TestParseFaults(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{``, `protocol: offset 0: got end, want {`},
		{`[]`, `protocol: offset 0: got '[', want {`},
		{`{"t":"bye"}x`, `protocol: offset 11: got 'x', want end`},
		{`{"t":"bye",}`, `protocol: offset 11: got '}', want string`},
		{`{"t" "bye"}`, `protocol: offset 5: got '"', want :`},
		{`{"t":"by`, `protocol: offset 8: got end, want "`},
		{"{\"t\":\"b\x01\"}", `protocol: offset 7: got '\x01', want no control character in a string`},
		{`{"t":"\x"}`, `protocol: offset 7: got 'x', want escape`},
		{`{"t":"\u00g0"}`, `protocol: offset 10: got 'g', want hexadecimal digit`},
		{"{\"t\":\"\xff\"}", `protocol: not UTF-8`},
		{`{"t":"bye","id":01}`, `protocol: offset 17: got '1', want , or }`},
		{`{"t":"bye","id":.5}`, `protocol: offset 16: got '.', want value`},
		{`{"t":"bye","id":1.}`, `protocol: offset 18: got '}', want digit`},
		{`{"t":"bye","id":tru}`, `protocol: offset 16: got 't', want true`},
		{`{"t":"bye","x":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`, `protocol: offset 78: got '[', want at most 64 levels`},
		{`{}`, `bad_request: want t`},
		{`{"t":7}`, `bad_request: t: got number, want string`},
		{`{"t":"ping"}`, `bad_request: ping: want id`},
		{`{"t":"ping","id":0}`, `bad_request: id: got 0, want 1 or more`},
		{`{"t":"ping","id":-1}`, `bad_request: id: got number, want whole number below 2^53`},
		{`{"t":"ping","id":9007199254740992}`, `bad_request: id: got number, want whole number below 2^53`},
		{`{"t":"ping","id":1,"id":2}`, `bad_request: id: stands twice`},
		{`{"t":"ping","t":"pong","id":1}`, `bad_request: t: stands twice`},
		{`{"t":"subscribe","path":"/a","from":"offset","epoch":"0000000000000001"}`, `bad_request: subscribe: want epoch and offset`},
		{`{"t":"subscribe","path":"/a","from":"keyframe"}`, `bad_request: from: keyframe is not for subscribe`},
		{`{"t":"subscribe","path":"/a","from":"yesterday"}`, `bad_request: from: got string, want a word that version 1 has`},
		{`{"t":"play","path":"/a","from":"live"}`, `bad_request: from: live is not for play`},
		{`{"t":"bye","epoch":"00000000DEADBEEF"}`, `bad_request: epoch: got string, want string of 16 lower-case hexadecimal digits`},
		{`{"t":"publish","id":1,"path":"/a","kind":"record","data":1}`, `bad_request: publish: want fields`},
		{`{"t":"publish","id":1,"path":"/a","kind":"record","fields":[1]}`, `bad_request: fields: got array, want object`},
		{`{"t":"bye","time":1e300}`, `bad_request: time: got number, want milliseconds`},
		{`{"t":"bye","reason":{"code":"x"}}`, `bad_request: reason: got object, want as code a whole number`},
		{`{"t":"error","reason":{}}`, `bad_request: reason: got object, want code and word`},
	} {
		var m Message
		err := Parse([]byte(c.in), &m)
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Reason.Error() != c.want {
			t.Errorf("%s:\ngot:  %v\nwant: %s", c.in, err, c.want)
		} else if e.Fatal != errors.Is(err, lifecycle.ReasonProtocol) {
			t.Errorf("%s: fatal is %v", c.in, e.Fatal)
		}
	}
}

func TestFieldsBothWays(t *testing.T) {
	fields := []Field{{"bid", []byte("1.5")}, {"gone", nil}, {"quo\"te", []byte(`{"a":[null]}`)}}
	raw := AppendFields(nil, fields)
	if want := `{"bid":1.5,"gone":null,"quo\"te":{"a":[null]}}`; string(raw) != want {
		t.Errorf("got %s, want %s", raw, want)
	}
	if got, err := ParseFields(nil, raw); err != nil || !reflect.DeepEqual(got, fields) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{``, `[]`, `{"a"}`, `{"a":1}x`, `{"a":}`} {
		if _, err := ParseFields(nil, []byte(bad)); !errors.Is(err, lifecycle.ReasonProtocol) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestUpdateHelpersMakeTheSameBytes(t *testing.T) {
	s := Stamp{Epoch: 7, Offset: 8, At: 9, Time: time.Second, HasTime: true}
	m := Message{Type: TypeUpdate, Path: "/a", Epoch: 7, Offset: 8, At: 9, Time: time.Second, HasTime: true, Data: []byte("[1]")}
	if got, want := AppendUpdate(nil, "/a", s, m.Data), Append(nil, &m); !bytes.Equal(got, want) {
		t.Errorf("log: got %s, want %s", got, want)
	}
	type other struct {
		Name  string
		Value []byte
	}
	m.Fields = []byte(`{"x":1,"y":null}`)
	if got, want := AppendRecordUpdate(nil, "/a", s, []other{{"x", []byte("1")}, {"y", nil}}), Append(nil, &m); !bytes.Equal(got, want) {
		t.Errorf("record: got %s, want %s", got, want)
	}
}

func TestAppendMakesUTF8(t *testing.T) {
	got := string(AppendString(nil, "a\xffb\u2028<\x7f"))
	if want := "\"a\uFFFDb\u2028<\x7f\""; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestMediaHeaderBothWays(t *testing.T) {
	long := "/" + strings.Repeat("x", MaxPath-1)
	for _, h := range []MediaHeader{
		{},
		{Flags: FlagInit | FlagDiscontinuity, Kind: MediaAudio, Path: "/live/cam1", Epoch: 1<<64 - 1, Offset: MaxNumber, DTS: -5 * time.Microsecond},
		{Path: long, DTS: time.Hour},
	} {
		b := append(AppendMediaHeader(nil, h), "payload"...)
		got, payload, err := ParseMedia(b)
		if err != nil || got != h || string(payload) != "payload" {
			t.Errorf("got %+v, %q, %v, want %+v", got, payload, err, h)
		}
		for cut := range len(b) - len("payload") {
			if _, _, err := ParseMedia(b[:cut]); !errors.Is(err, lifecycle.ReasonProtocol) {
				t.Errorf("cut to %d: %v", cut, err)
			}
		}
	}
	if _, _, err := ParseMedia([]byte{2, 0, 0, 0}); !errors.Is(err, lifecycle.ReasonUnsupported) {
		t.Error(err)
	}
}

func TestCheckPath(t *testing.T) {
	for path, want := range map[string]string{
		"/a": "", "/fx/EUR USD/ü": "", "/a/...": "", "/a/b..": "",
		"": `want "/" first`, "a": `want "/" first`, "/": "empty segment", "/a/": "empty segment", "/a//b": "empty segment",
		"/..": `".." segment`, "/a/../b": `".." segment`, "/\xff": "not UTF-8", "/" + strings.Repeat("a", 255): "more than 255 bytes",
	} {
		err := CheckPath(path)
		e, ok := errors.AsType[*Error](err)
		if ok != (want != "") || ok && e.Reason.Text != "path: "+want {
			t.Errorf("%q: got %v, want %s", path, err, want)
		}
	}
}
