package rtmp

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"hawser/amf"
	"hawser/lifecycle"
)

// odd is a client that does what few do, and what must come of it: these events, no protocol error, and as many messages on /live/cam1.
type odd struct {
	name               string
	send               []byte
	want               []string
	video, audio, data int
}

// says is what a client sends after opening.
func says(ms ...Message) []byte { return appendMessages(opening(), 0, ms...) }

// connects is what one sends whose connect has these bytes of AMF after its name and number.
func connects(values []byte, ms ...Message) []byte {
	b := append(newHandshake(true).first(), make([]byte, handshakePart)...)
	return appendMessages(b, 0, append([]Message{{Type: TypeCommand, Payload: append(amf.Append(nil, "connect", 1.0), values...)}}, ms...)...)
}

// resized appends a message of 200 bytes whose first chunk has 128, and whose others have 16, which was said between them.
func resized(t *testing.T, b []byte) []byte {
	b = append(append(b, unhex(t, "06 000000 0000c8 09 01000000")...), make([]byte, 128)...)
	b = AppendMessage(b, 0, control(TypeSetChunkSize, 16))
	for left := 200 - 128; left > 0; left -= 16 {
		b = append(appendBasic(b, 3, 6), make([]byte, min(left, 16))...)
	}
	return b
}

func oddClients(t *testing.T) []odd {
	create := command(0, "createStream", 2, nil)
	publish := func(stream uint32, name string) Message {
		return command(stream, "publish", 0, nil, name, "live")
	}
	video := func(stream uint32) Message {
		return Message{Type: TypeVideo, StreamID: stream, Payload: make([]byte, 1000)}
	}
	audio := Message{Type: TypeAudio, StreamID: 1, Payload: make([]byte, 10)}
	metadata := func(values ...amf.Value) Message {
		return Message{Type: TypeData, StreamID: 1, Payload: amf.Append(nil, values...)}
	}
	chunked := func(size uint32) []byte {
		return AppendMessage(says(create, publish(1, "cam1"), control(TypeSetChunkSize, size)), int(size), video(1))
	}
	app := func(value amf.Value) []byte { return connects(amf.Append(nil, value), create, publish(1, "cam1")) }
	live := amf.Object{{Name: "app", Value: "live"}}
	return []odd{
		{name: "releaseStream and FCPublish after publish", send: says(create, publish(1, "cam1"), command(0, "releaseStream", 3, nil, "cam1"), command(0, "FCPublish", 4, nil, "cam1"), video(1)),
			want: []string{"publish /live/cam1 live"}, video: 1},
		{name: "three stream objects", send: says(create, create, create, publish(3, "cam1"), video(3), video(1)), want: []string{"publish /live/cam1 live"}, video: 1},
		{name: "all on message stream 0", send: says(create, publish(0, "cam1"), video(0), video(1)), want: []string{"publish /live/cam1 live"}, video: 2},
		{name: "plays on message stream 0", send: says(create, command(0, "play", 0, nil, "cam1"), command(0, "pause", 0, nil, true), command(0, "closeStream", 0, nil)),
			want: []string{"play /live/cam1", "stop /live/cam1 done"}},
		{name: "two publishes", send: says(create, create, publish(1, "cam1"), publish(2, "cam2"), video(1), video(2), video(0)), want: []string{"publish /live/cam1 live", "publish /live/cam2 live"}, video: 1},
		{name: "two publishes of one name", send: says(create, create, publish(1, "cam1"), publish(2, "cam1"), video(2), video(1)), want: []string{"publish /live/cam1 live"}, video: 1},
		{name: "plays what has no name", send: says(create, create, publish(1, "cam1"), command(2, "play", 0, nil, ".."), video(1)), want: []string{"publish /live/cam1 live"}, video: 1},
		{name: "publishes and plays", send: says(create, create, publish(1, "cam1"), command(2, "play", 0, nil, "cam1"), video(1)), want: []string{"publish /live/cam1 live", "play /live/cam1"}, video: 1},
		{name: "deletes and creates again", send: says(create, publish(1, "cam1"), video(1), command(0, "deleteStream", 0, nil, 1.0), create, publish(1, "cam1"), video(1)),
			want: []string{"delete /live/cam1"}, video: 2},
		{name: "closes and publishes again", send: says(create, publish(1, "cam1"), video(1), command(1, "closeStream", 0, nil), video(1), publish(1, "cam1"), video(1)),
			want: []string{"close /live/cam1 done"}, video: 2},
		{name: "FCUnpublish first", send: says(create, command(0, "FCUnpublish", 3, nil, "cam1"), publish(1, "cam1"), video(1)), want: []string{"publish /live/cam1 live"}, video: 1},
		{name: "publish without its kind", send: says(create, command(1, "publish", 0, nil, "cam1"), video(1)), want: []string{"publish /live/cam1 live"}, video: 1},
		{name: "publish of a kind that there is not", send: says(create, command(1, "publish", 0, nil, "cam1", "LIVE"), video(1)), want: []string{"publish /live/cam1 live"}, video: 1},
		{name: "a prefix and a query", send: says(create, command(1, "play", 0, nil, "mp4:cam1?token=x")), want: []string{"play /live/cam1"}},
		{name: "slashes", send: connects(amf.Append(nil, amf.Object{{Name: "app", Value: "/live/a/?x=1"}}), create, publish(1, "/b/c?key=1/2")), want: []string{"publish /live/a/b/c live"}},
		{name: "tcUrl and no app", send: app(amf.Object{{Name: "tcUrl", Value: "rtmp://host:1935/live/?x=1"}}), want: []string{"connect live", "publish /live/cam1 live"}},
		{name: "an app that is empty", send: app(amf.Object{{Name: "app", Value: ""}, {Name: "tcUrl", Value: "rtmp://host/live"}}), want: []string{"publish /cam1 live"}},
		{name: "connect with an array", send: app(amf.ECMAArray(live)), want: []string{"publish /live/cam1 live"}},
		{name: "connect with a typed object", send: app(amf.TypedObject{Class: "x.Y", Members: live}), want: []string{"publish /live/cam1 live"}},
		{name: "connect with all kinds of values", send: app(append(live, amf.Object{{Name: "swfUrl", Value: strings.Repeat("x", 70000)}, {Name: "a", Value: amf.XML("<x/>")}, {Name: "b", Value: amf.StrictArray{1.0, nil}},
			{Name: "c", Value: amf.Date(1)}, {Name: "d", Value: amf.Undefined{}}, {Name: "tcUrl", Value: 1.0}}...)), want: []string{"publish /live/cam1 live"}},
		{name: "connect with a reference", send: connects(unhex(t, "03 0001 61 03 0001 78 05 000009 0001 62 07 0001 0003 617070 02 0004 6c697665 000009"), create, publish(1, "cam1")),
			want: []string{"publish /live/cam1 live"}},
		{name: "a long string for a name", send: says(create, Message{Type: TypeCommand, StreamID: 1, Payload: append(unhex(t, "0c 00000007 7075626c697368"), amf.Append(nil, 0.0, nil, "cam1")...)}),
			want: []string{"publish /live/cam1 live"}},
		{name: "chunks of 1 byte", send: chunked(1), want: []string{"publish /live/cam1 live"}, video: 1},
		{name: "chunks without end", send: chunked(1<<31 - 1), want: []string{"publish /live/cam1 live"}, video: 1},
		{name: "another chunk size within a message", send: resized(t, says(create, publish(1, "cam1"))), want: []string{"publish /live/cam1 live"}, video: 1},
		{name: "windows of 0 and 1", send: says(control(TypeWindowAckSize, 0), control(TypeWindowAckSize, 1), control(TypeSetPeerBandwidth, 0), control(TypeSetPeerBandwidth, 1), create, publish(1, "cam1"), video(1)),
			want: []string{"publish /live/cam1 live"}, video: 1},
		{name: "messages of types that there are not", send: says(create, publish(1, "cam1"), Message{Type: 0, StreamID: 1}, Message{Type: 7, StreamID: 1, Payload: []byte{1}}, Message{Type: 255, Payload: []byte{1}},
			Message{Type: TypeShared, Payload: []byte{1}}, Message{Type: TypeSharedAMF3, Payload: []byte{1}}, userControl(31, 1), video(1)), want: []string{"publish /live/cam1 live"}, video: 1},
		{name: "metadata anywhere and twice", send: says(create, publish(1, "cam1"), video(1), metadata("@setDataFrame", "onMetaData", live), audio, metadata("@setDataFrame", "onMetaData", live), metadata("onMetaData", live),
			metadata("@setDataFrame"), Message{Type: TypeData, StreamID: 1}), want: []string{"publish /live/cam1 live"}, video: 1, audio: 1, data: 5},
		{name: "answers to what was not asked", send: says(command(0, "_result", 77, nil), command(0, "_error", -1, nil), command(0, "onStatus", 0, nil), userControl(ControlPingResponse, 1), create, publish(1, "cam1"), video(1)),
			want: []string{"publish /live/cam1 live"}, video: 1},
	}
}

// TestOddClients has clients that do what the specification leaves open, or forbids in vain.
func TestOddClients(t *testing.T) {
	for _, test := range oddClients(t) {
		t.Run(test.name, func(t *testing.T) {
			r := newRelay(t, nil)
			nc := r.connect()
			go io.Copy(io.Discard, nc)
			if _, err := nc.Write(test.send); err != nil {
				t.Fatal(err)
			}
			for _, event := range test.want {
				r.await(event)
			}
			nc.(*net.TCPConn).CloseWrite()
			if why := r.logged(lifecycle.KindClose).Reason; !errors.Is(why, lifecycle.ReasonLost) && !errors.Is(why, lifecycle.ReasonDone) {
				t.Errorf("closed with %v", why)
			}
			got := r.feed("/live/cam1").count
			if got[TypeVideo] != test.video || got[TypeAudio] != test.audio || got[TypeData] != test.data {
				t.Errorf("got %v messages, want %d of video, %d of audio and %d of data", got, test.video, test.audio, test.data)
			}
		})
	}
}
