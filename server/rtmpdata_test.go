package server

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"hawser/amf"
	"hawser/lifecycle"
	"hawser/media"
	"hawser/rtmp"
	"hawser/session"
	"hawser/subject"
)

// messages that have a form on both sides, as JSON and as AMF.
var dataTable = []struct {
	json   string
	values []amf.Value
}{
	{`{"name":"onCuePoint"}`, []amf.Value{"onCuePoint"}},
	{`{"name":"onTextData","data":{"text":"hello","n":1.5,"ok":true,"none":null,"list":[1,"two",{}]}}`,
		[]amf.Value{"onTextData", amf.Object{{Name: "text", Value: "hello"}, {Name: "n", Value: 1.5}, {Name: "ok", Value: true}, {Name: "none"},
			{Name: "list", Value: amf.StrictArray{1.0, "two", amf.Object{}}}}}},
	{`{"name":"x","data":1,"more":["a",null]}`, []amf.Value{"x", 1.0, "a", nil}},
	{`{"name":"x","data":[]}`, []amf.Value{"x", amf.StrictArray{}}},
}

func TestDataBothWays(t *testing.T) {
	for _, tc := range dataTable {
		if got := appendMessageJSON(nil, tc.values[0].(string), tc.values[1:]); string(got) != tc.json {
			t.Errorf("%v: got %s, want %s", tc.values, got, tc.json)
		}
		got, err := messageOf([]byte(tc.json))
		if want := amf.Append(nil, tc.values...); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: got %q %v, want %q", tc.json, got, err, want)
		}
	}
}

// What has a form on one side only.
func TestDataOneWay(t *testing.T) {
	for _, tc := range []struct {
		value amf.Value
		want  string
	}{
		{math.NaN(), "null"}, {math.Inf(1), "null"}, {amf.Undefined{}, "null"}, {amf.XML("<a/>"), `"\u003ca/\u003e"`}, {"\xff", `"\ufffd"`},
		{amf.Date(1e12), `"2001-09-09T01:46:40Z"`}, {amf.Date(math.NaN()), "null"}, {amf.Date(1e300), "null"},
		{amf.ECMAArray{{Name: "a", Value: 1.0}}, `{"a":1}`}, {amf.TypedObject{Class: "C", Members: amf.Object{{Name: "a", Value: 1.0}}}, `{"a":1}`},
	} {
		if got := appendJSON(nil, tc.value); string(got) != tc.want {
			t.Errorf("%#v: got %s, want %s", tc.value, got, tc.want)
		}
	}
	for text, want := range map[string][]byte{
		`1`:                                    amf.Append(nil, dataName, 1.0),
		`{"name":"x","other":1}`:               amf.Append(nil, dataName, amf.Object{{Name: "name", Value: "x"}, {Name: "other", Value: 1.0}}),
		`{"data":{}}`:                          amf.Append(nil, dataName, amf.Object{{Name: "data", Value: amf.Object{}}}),
		`{"name":"x","more":[1]}`:              amf.Append(nil, "x", nil, 1.0),
		`"` + strings.Repeat("x", 70000) + `"`: amf.Append(nil, dataName, strings.Repeat("x", 70000)),
	} {
		if got, err := messageOf([]byte(text)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%.40s: got %.40q %v, want %.40q", text, got, err, want)
		}
	}
	if _, err := messageOf([]byte(`1e999`)); err == nil {
		t.Error("a number that AMF cannot carry is taken")
	}
}

// Any AMF becomes JSON, and that some AMF again.
func FuzzDataMessage(f *testing.F) {
	for _, tc := range dataTable {
		f.Add(amf.Append(nil, tc.values...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		values, err := amf.Decode(b)
		if err != nil || len(values) == 0 {
			return
		}
		text := appendMessageJSON(nil, "x", values)
		if !json.Valid(text) {
			t.Fatalf("%q is no JSON", text)
		}
		again, err := messageOf(text)
		if err != nil {
			return // a depth that json refuses
		}
		if _, err := amf.Decode(again); err != nil && !strings.Contains(err.Error(), "deep") && !strings.Contains(err.Error(), "values") {
			t.Fatalf("%q: %v", text, err)
		}
	})
}

// data sends a data message.
func (p *publisher) data(at time.Duration, values ...amf.Value) {
	p.t.Helper()
	if err := p.WriteMessage(soon(p.t), rtmp.Message{Type: rtmp.TypeData, Timestamp: millis(at), Payload: amf.Append(nil, values...)}); err != nil {
		p.t.Fatal(err)
	}
}

// update reads the next update of a subscription.
func (w *wire) update(data, fields string, at time.Duration) {
	w.t.Helper()
	m := w.want(session.TypeUpdate)
	if string(m.Data) != data || string(m.Fields) != fields || !m.HasTime || m.Time != at {
		w.t.Errorf("got %s %s at %v (%v), want %s %s at %v", m.Data, m.Fields, m.Time, m.HasTime, data, fields, at)
	}
}

func TestDataOfAPublisher(t *testing.T) {
	r := serve(t, Options{MaxData: 1000})
	w := r.login()
	w.say(`{"t":"subscribe","path":"/live/a"}`)
	w.want(session.TypeSnapshot)
	p := r.publisher("/live/a")
	sent := p.write(p.frames[:80]...) // more than a second
	newest := newestOf(sent)
	p.data(0, "onTextData", amf.Object{{Name: "text", Value: "old clock"}})
	w.update(`{"name":"onTextData","data":{"text":"old clock"}}`, "", newest)
	p.data(newest+10*time.Millisecond, "onCuePoint", amf.Object{{Name: "name", Value: "goal"}}, 7.0)
	w.update(`{"name":"onCuePoint","data":{"name":"goal"},"more":[7]}`, "", newest+10*time.Millisecond)
	for range 2 { // told once
		p.data(0, "onTextData", strings.Repeat("x", 1000))
	}
	p.data(0, 1.0)
	p.data(newest+20*time.Millisecond, "onTextData", "after")
	w.update(`{"name":"onTextData","data":"after"}`, "", newest+20*time.Millisecond)
	var refused []string
	for _, e := range r.Log().Recent(1000) {
		if e.Kind == KindDataRefused && e.Path == "/live/a" && e.Conn != "" {
			refused = append(refused, e.Reason.Word)
		}
	}
	if got := strings.Join(refused, " "); got != "too_big bad_request" {
		t.Errorf("refused: got %q", got)
	}
	playing(t, r.player("/live/a")).want(sent[lastKey(sent):], 0) // the media is not disturbed
}

func TestDataOfAPublisherInARecord(t *testing.T) {
	r := serve(t, Options{})
	r.record("/live/a", "kept", "1", "score", `"0:0"`)
	w := r.login()
	w.say(`{"t":"subscribe","path":"/live/a"}`)
	w.want(session.TypeSnapshot)
	p := r.publisher("/live/a")
	at := newestOf(p.write(p.frames[:3]...))
	p.data(at, "onTextData", amf.Object{{Name: "score", Value: "1:0"}, {Name: "by", Value: amf.Object{{Name: "n", Value: 9.0}}}})
	w.update("", `{"score":"1:0","by":{"n":9}}`, at)
	p.data(at, "onCuePoint", "half time")
	w.update("", `{"onCuePoint":"half time"}`, at)
	fields, _ := r.Subjects().Find("/live/a").Image()
	if len(fields) != 4 {
		t.Errorf("the record is %+v", fields)
	}
}

// script returns the next data message that a player gets; the frames before it are left out.
func (r *reader) script() (m rtmp.Message, values []amf.Value) {
	r.t.Helper()
	for {
		typ, at, body, err := r.next()
		if err != nil {
			r.t.Fatal(err)
		}
		if typ != rtmp.TypeData {
			if _, _, _, err := r.demux.Feed(typ, at, body); err != nil {
				r.t.Fatal(err)
			}
			continue
		}
		values, err := amf.Decode(body)
		if err != nil {
			r.t.Fatal(err)
		}
		return rtmp.Message{Type: typ, Timestamp: at, Payload: body}, values
	}
}

// A player that asks gets the publisher's messages and what others publish on the path, each once; another gets media only.
func TestDataToPlayers(t *testing.T) {
	r := serve(t, Options{})
	p := r.publisher("/live/a")
	at := newestOf(p.write(p.frames[:5]...))
	r.received("/live/a", 5)
	asked, plain := playing(t, r.player("/live/a?data=1")), playing(t, r.player("/live/a"))
	if _, v := asked.script(); v[0] != "onMetaData" {
		t.Errorf("first: got %v", v)
	}
	plain.want(p.frames[:5], 0)
	p.data(at, "onTextData", amf.Object{{Name: "text", Value: "mine"}})
	until(t, "it is there", func() bool { s := r.Subjects().Find("/live/a"); return s != nil && s.Snapshot().Offset == 1 })
	r.publish("/live/a", subject.Log, subject.Update{Data: []byte(`{"price":1.25}`)})
	r.publish("/live/a", subject.Log, subject.Update{Data: []byte(`{"name":"onCuePoint","data":"goal"}`)})
	for _, want := range []string{`{"name":"onTextData","data":{"text":"mine"}}`, `{"name":"onData","data":{"price":1.25}}`, `{"name":"onCuePoint","data":"goal"}`} {
		m, v := asked.script()
		if got := appendMessageJSON(nil, v[0].(string), v[1:]); string(got) != want || m.Timestamp != millis(at) {
			t.Errorf("got %s at %d, want %s at %d", got, m.Timestamp, want, millis(at))
		}
	}
	p.write(p.frames[5:8]...)
	for _, v := range []*reader{asked, plain} {
		typ := byte(0)
		next := v.next
		v.next = func() (byte, uint32, []byte, error) {
			t, at, body, err := next()
			typ |= t & 0x10
			return t, at, body, err
		}
		v.want(p.frames[5:8], 0)
		if typ != 0 {
			t.Error("a data message came to a player that did not ask, or twice to one that did")
		}
	}
}

// What a publisher says in onMetaData goes to players beside what its tracks say, and again when it changes.
func TestMetadataToPlayers(t *testing.T) {
	r := serve(t, Options{})
	early := playing(t, r.player("/live/a"))
	p := r.publisher("/live/a")
	say := func(title string) {
		p.data(0, "onMetaData", amf.ECMAArray{{Name: "title", Value: title}, {Name: "width", Value: 1.0}, {Name: "duration", Value: 0.0}, {Name: "encoder", Value: "test"}})
	}
	check := func(v *reader, title string) {
		t.Helper()
		m, values := v.script()
		info := amf.Members(values[1])
		if values[0] != "onMetaData" || info.String("title") != title || info.Number("width") < 100 || info.Get("duration") != nil || info.String("encoder") != "test" || m.Timestamp != 0 {
			t.Errorf("got %v %v", values[0], info)
		}
	}
	say("one")
	p.write(p.frames[0])
	check(early, "one")
	early.want(p.frames[:1], 0)
	say("one")
	say("two")
	p.write(p.frames[1:3]...)
	check(early, "two")
	early.want(p.frames[1:3], 0)
	if early.config != 2 {
		t.Errorf("parameters came %d times with the metadata", early.config)
	}
	late := playing(t, r.player("/live/a"))
	check(late, "one") // as it was at the keyframe
	late.want(p.frames[:1], 0)
	check(late, "two")
	late.want(p.frames[1:3], 0)
	var frames []media.Frame
	frames = append(frames, p.write(p.frames[3:10]...)...)
	early.want(frames, 0)
	if s := r.Subjects().Find("/live/a"); s == nil || s.Snapshot().Offset != 3 {
		t.Error("onMetaData is not on the path")
	}
}

// Data that a player cannot get are told.
func TestDataTooBigForPlayers(t *testing.T) {
	r := serve(t, Options{MaxData: 100})
	p := r.publisher("/live/a")
	p.write(p.frames[:2]...)
	r.received("/live/a", 2)
	r.publish("/live/a", subject.Log, subject.Update{Data: []byte(`"` + strings.Repeat("x", 200) + `"`)})
	e := r.event("data_refused", func(e *lifecycle.Event) bool { return e.Kind == KindDataRefused })
	if e.Reason.Code != lifecycle.ReasonTooBig.Code || e.Path != "/live/a" {
		t.Errorf("got %+v", e)
	}
}

func BenchmarkDataMessage(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := messageOf([]byte(dataTable[1].json)); err != nil {
			b.Fatal(err)
		}
	}
}
