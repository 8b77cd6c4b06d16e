package server

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"

	"hawser/amf"
	"hawser/lifecycle"
	"hawser/rtmp"
	"hawser/stream"
	"hawser/subject"
)

// A data message of RTMP (RTMP 1.0 section 7.1.2) is a name and values in AMF; on a path it is the JSON object {"name":…,"data":…}, where data is the first value and "more" an array
// of any others. What is published on a path reaches those RTMP players that ask for data in the same way back: such an object becomes the message that it names, any
// other JSON one named onData, and the changes of a record an onData with their fields.

// DefaultMaxData bounds a data message of RTMP, in bytes of AMF.
const DefaultMaxData = 64 << 10

// KindDataRefused is the event of a data message that is not carried; Reason says why. It is told once for each reason of one publisher.
const KindDataRefused = "data_refused"

const (
	metadataName = "onMetaData"
	// dataName is the message of what has no name of its own.
	dataName = "onData"
	// dataQuery in the query of a play asks for data messages, as ?data=1.
	dataQuery = "data"
)

// wantsData says whether a player asks for data messages.
func wantsData(st *rtmp.Stream) bool {
	on, _ := strconv.ParseBool(st.Query().Get(dataQuery))
	return on
}

// data takes a data message. One that cannot be carried is left out; the media goes on.
func (p *rtmpPublisher) data(m rtmp.Message) {
	if err := p.takeData(m); err != nil {
		p.tell(KindDataRefused, lifecycle.ReasonOf(err))
	}
}

func (p *rtmpPublisher) takeData(m rtmp.Message) error {
	if most := p.server.opts.MaxData; len(m.Payload) > most {
		lifecycle.CountReached("MaxData")
		return lifecycle.ReasonTooBig.With("a data message of %d bytes: MaxData is %d", len(m.Payload), most)
	}
	values, err := amf.Decode(m.Payload)
	if len(values) > 0 && values[0] == "@setDataFrame" {
		values = values[1:]
	}
	name := ""
	if len(values) > 0 {
		name, _ = values[0].(string)
	}
	switch {
	case err != nil:
		return lifecycle.ReasonBadRequest.With("a data message: %v", err)
	case name == "@clearDataFrame":
		p.pub.SetMetadata(nil)
		return nil
	case name == "":
		return lifecycle.ReasonBadRequest.With("a data message: got no name, want a string first")
	}
	var at time.Duration
	onAir := false
	if name == metadataName && len(values) > 1 {
		p.pub.SetMetadata(amf.Append(nil, amf.ECMAArray(amf.Members(values[1]))))
		at, onAir = p.pub.Time(p.time(m.Timestamp))
	} else {
		at, onAir = p.pub.WriteData(p.time(m.Timestamp), amf.Append(nil, values...))
	}
	if !onAir {
		return nil
	}
	return p.server.publishMessage(p.pub.Stream().Path(), name, values[1:], at)
}

// time is a data message's timestamp as the time nearest to the newest frame.
func (p *rtmpPublisher) time(timestamp uint32) time.Duration {
	last := p.last.Milliseconds()
	return time.Duration(last+int64(int32(timestamp-uint32(last)))) * time.Millisecond
}

// publishMessage puts a publisher's message on its path: into a log as it is, into a record as the fields of its first value. It goes past Server.Publish, as the players have it already.
func (s *Server) publishMessage(path, name string, values []amf.Value, at time.Duration) error {
	if err := reserved(path); err != nil {
		return err
	}
	u := subject.Update{Media: at, HasMedia: true}
	kind := subject.Log
	if sub := s.subjects.Find(path); sub != nil && sub.Kind() == subject.Record {
		kind, u.Fields = subject.Record, messageFields(name, values)
	} else {
		u.Data = appendMessageJSON(nil, name, values)
	}
	_, _, err := s.subjects.Publish(path, kind, u)
	return err
}

// messageFields is a message as the change of a record: the members of its first value, or the value under the message's name.
func messageFields(name string, values []amf.Value) []subject.Field {
	var first amf.Value
	if len(values) > 0 {
		first = values[0]
	}
	members := amf.Members(first)
	if len(members) == 0 {
		members = amf.Object{{Name: name, Value: first}}
	}
	var fields []subject.Field
	for _, m := range members {
		if m.Name != "" {
			fields = append(fields, subject.Field{Name: strings.ToValidUTF8(m.Name, "\ufffd"), Value: appendJSON(nil, m.Value)})
		}
	}
	return fields
}

// appendMessageJSON appends a message as JSON.
func appendMessageJSON(dst []byte, name string, values []amf.Value) []byte {
	dst = appendJSON(append(dst, `{"name":`...), name)
	if len(values) > 0 {
		dst = appendJSON(append(dst, `,"data":`...), values[0])
	}
	if len(values) > 1 {
		dst = appendJSON(append(dst, `,"more":`...), amf.StrictArray(values[1:]))
	}
	return append(dst, '}')
}

// appendJSON appends an AMF value as JSON. Dates become RFC 3339 text, numbers that JSON has no word for null.
func appendJSON(dst []byte, v amf.Value) []byte {
	switch v := v.(type) {
	case bool:
		return strconv.AppendBool(dst, v)
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return append(dst, "null"...)
		}
		text, _ := json.Marshal(v)
		return append(dst, text...)
	case string:
		text, _ := json.Marshal(v)
		return append(dst, text...)
	case amf.XML:
		return appendJSON(dst, string(v))
	case amf.Date:
		if !(math.Abs(float64(v)) < 1e14) { // five thousand years
			return append(dst, "null"...)
		}
		return appendJSON(dst, v.Time().Format(time.RFC3339Nano))
	case amf.StrictArray:
		dst = append(dst, '[')
		for i, item := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendJSON(dst, item)
		}
		return append(dst, ']')
	case amf.Object, amf.ECMAArray, amf.TypedObject:
		dst = append(dst, '{')
		for i, m := range amf.Members(v) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendJSON(append(appendJSON(dst, m.Name), ':'), m.Value)
		}
		return append(dst, '}')
	}
	return append(dst, "null"...)
}

// dataToPlayers hands what was published on a path to the RTMP players of a stream that is live there.
func (s *Server) dataToPlayers(path string, u *subject.Update) {
	if info, ok := s.streams.Find(path); !ok || info.Status != stream.Live {
		return
	}
	text := u.Data
	if text == nil {
		text = appendFieldsJSON(nil, u.Fields)
	}
	message, err := messageOf(text)
	if err == nil && len(message) > s.opts.MaxData {
		lifecycle.CountReached("MaxData")
		err = lifecycle.ReasonTooBig.With("a data message of %d bytes: MaxData is %d", len(message), s.opts.MaxData)
	}
	if err != nil {
		s.log.Add(lifecycle.Event{Kind: KindDataRefused, Protocol: "rtmp", Side: lifecycle.Server, Path: path, Light: lifecycle.Amber, Reason: lifecycle.ReasonOf(err)})
		return
	}
	s.streams.WriteData(path, message)
}

func appendFieldsJSON(dst []byte, fields []subject.Field) []byte {
	dst = append(dst, '{')
	for i, f := range fields {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendJSON(dst, f.Name), ':')
		if f.Value == nil {
			dst = append(dst, "null"...)
		}
		dst = append(dst, f.Value...)
	}
	return append(dst, '}')
}

// messageOf is JSON as the AMF of a data message.
func messageOf(text []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	v, err := amfOf(d)
	if err != nil {
		return nil, lifecycle.ReasonBadRequest.With("data for RTMP players: %v", err)
	}
	if o, ok := v.(amf.Object); ok {
		name, more := o.String("name"), amf.StrictArray(nil)
		if m, ok := o.Get("more").(amf.StrictArray); ok {
			more = m
		}
		known := 1
		for _, key := range []string{"data", "more"} {
			if o.Get(key) != nil {
				known++
			}
		}
		if name != "" && known == len(o) {
			b := amf.Append(nil, name)
			if known > 1 {
				b = amf.Append(b, o.Get("data"))
			}
			return amf.Append(b, more...), nil
		}
	}
	return amf.Append(nil, dataName, v), nil
}

// amfOf reads one JSON value; objects keep their order. How deep it goes is bounded by the subjects, which have checked the text.
func amfOf(d *json.Decoder) (amf.Value, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('['):
		list := amf.StrictArray{}
		for d.More() {
			v, err := amfOf(d)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = d.Token()
		return list, err
	case json.Delim('{'):
		object := amf.Object{}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := amfOf(d)
			if err != nil {
				return nil, err
			}
			object = append(object, amf.Member{Name: name.(string), Value: v})
		}
		_, err = d.Token()
		return object, err
	}
	return token, nil
}

// appendMetadata appends the onMetaData of a stream: what its tracks say, and of what the publisher said the rest.
func appendMetadata(dst, ofTracks, said []byte) []byte {
	if len(said) == 0 {
		return append(dst, ofTracks...)
	}
	ours, err := amf.Decode(ofTracks)
	theirs, err2 := amf.Decode(said)
	if err != nil || err2 != nil || len(ours) < 2 || len(theirs) < 1 {
		return append(dst, ofTracks...)
	}
	info := amf.ECMAArray(amf.Members(ours[1]))
	for _, m := range amf.Members(theirs[0]) {
		if amf.Object(info).Get(m.Name) == nil && !ofFile[m.Name] {
			info = append(info, m)
		}
	}
	return amf.Append(dst, ours[0], info)
}

// ofFile are the members of a publisher's metadata that are true of a file only, or of tracks that are not carried.
var ofFile = map[string]bool{"duration": true, "filesize": true, "keyframes": true, "lasttimestamp": true, "lastkeyframetimestamp": true, "canSeekToEnd": true,
	"videocodecid": true, "audiocodecid": true}
