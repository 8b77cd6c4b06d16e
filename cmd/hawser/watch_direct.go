package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"

	"hawser/amf"
	"hawser/lifecycle"
	"hawser/media"
	"hawser/rtmp"
	"hawser/websocket"
)

// websocket follows a WebSocket connection to its end, or with persist one after the other.
func (w *watcher) websocket(ctx context.Context, url string, subprotocols []string, header http.Header, persist bool) error {
	client := websocket.Client{URL: url, DialOptions: websocket.DialOptions{Subprotocols: subprotocols, Header: header}, Persist: persist}
	var end error
	for ev := range client.Events(ctx) {
		switch err := webSocketFailure(&ev); {
		case ev.Kind == websocket.Connecting:
			end = nil
		case end == nil:
			end = err
		}
		show := w.show
		if ev.Kind == websocket.Text || ev.Kind == websocket.Binary {
			show = w.update
		}
		if !show(webSocketRecord(&ev)) {
			return nil
		}
	}
	return end
}

// webSocketFailure is the error that an event stands for, if it does.
func webSocketFailure(ev *websocket.Event) error {
	switch ev.Kind {
	case websocket.ConnectFail, websocket.Rejected, websocket.ProtocolError:
		return ev.Err
	case websocket.Disconnected:
		if ev.Graceful {
			return nil
		}
		if ev.Err != nil {
			return ev.Err
		}
		return lifecycle.ReasonLost.With("the connection ended without a close: %d %s", ev.Code, ev.Reason)
	}
	return nil
}

func webSocketRecord(ev *websocket.Event) watchRecord {
	r := watchRecord{Event: lifecycle.Event{Kind: ev.Kind.String(), Light: webSocketLight(ev.Kind), Server: ev.URL, Attempt: ev.Attempt, Delay: ev.Delay,
		Reason: closeReason(ev)}}
	switch ev.Kind {
	case websocket.Text:
		text := string(ev.Data)
		r.Text = &text
	case websocket.Binary, websocket.Ping, websocket.Pong:
		size := len(ev.Data)
		r.Size, r.Hex = &size, hex.EncodeToString(ev.Data[:min(size, shownBytes)])
	case websocket.Ready:
		r.Detail = "no subprotocol"
		if ev.Protocol != "" {
			r.Detail = "subprotocol " + ev.Protocol
		}
	case websocket.Rejected:
		if ev.Response != nil {
			r.Detail = ev.Response.Status
		}
	case websocket.Disconnected:
		r.Detail = "not graceful"
		if ev.Graceful {
			r.Detail = "graceful"
		}
	}
	return r
}

// webSocketLight is the light after an event: green from Ready on, red once the connection is gone.
func webSocketLight(k websocket.Kind) lifecycle.Health {
	switch k {
	case websocket.Ready, websocket.Text, websocket.Binary, websocket.Ping, websocket.Pong, websocket.Poll, websocket.UnknownMessage:
		return lifecycle.Green
	case websocket.ConnectFail, websocket.Rejected, websocket.Disconnected:
		return lifecycle.Red
	}
	return lifecycle.Amber
}

// shownBytes is how much of a binary message is printed.
const shownBytes = 16

// closeReason is what an event says of the end of a connection.
func closeReason(ev *websocket.Event) lifecycle.Reason {
	if ev.Code != 0 {
		r, _ := lifecycle.ReasonByCode(ev.Code)
		r.Code = ev.Code
		if ev.Reason != "" {
			r.Text = ev.Reason
		}
		return r
	}
	if ev.Err != nil {
		return lifecycle.ReasonOf(ev.Err)
	}
	return lifecycle.Reason{}
}

// rtmp plays a stream to its end.
func (w *watcher) rtmp(ctx context.Context, url string) error {
	var end lifecycle.Reason
	var last rtmp.Event // the last that counted bytes
	for ev := range rtmp.Events(ctx, url, nil) {
		r := rtmpRecord(&ev)
		if ev.Kind == rtmp.EventConnecting {
			r.Server = url
		}
		show := w.show
		if ev.Kind == rtmp.EventBytes {
			r.Kind = kindMedia
			r.Media = &mediaTotals{Messages: int(ev.Messages - last.Messages), Bytes: int(ev.Bytes - last.Bytes), Kbps: float64(ev.Rate) / 1000}
			last = ev
			show = w.update
		}
		end = ev.Reason
		if !show(r) {
			return nil
		}
	}
	if errors.Is(end, rtmp.ErrStreamEnded) {
		return nil
	}
	return end
}

func rtmpRecord(ev *rtmp.Event) watchRecord {
	r := watchRecord{Event: lifecycle.Event{Kind: ev.Kind.String(), Time: ev.Time, Light: ev.Light, Remote: ev.Remote, Reason: ev.Reason}}
	took := "after " + ev.Took.Round(time.Microsecond).String()
	switch ev.Kind {
	case rtmp.EventConnected:
		r.Detail = ev.Remote + " " + took
	case rtmp.EventHandshake:
		r.Detail = took
	case rtmp.EventConnectResult, rtmp.EventStatus, rtmp.EventRedirect:
		if s := ev.Status; s != nil {
			r.Status, r.Detail = s.Code, s.Description
		}
	case rtmp.EventControl:
		r.Detail = controlWord(ev.Control)
	case rtmp.EventMetadata:
		r.Detail = ev.Name
		r.Data = amfJSON(amf.StrictArray(ev.Values))
		r.MediaTime = mediaTime(ev.Timestamp)
	case rtmp.EventTrack:
		r.Tracks = []watchTrack{rtmpTrack(ev.Track)}
	case rtmp.EventFirst:
		r.Detail = ev.Media.String() + " " + took
		r.MediaTime = mediaTime(ev.Timestamp)
	}
	return r
}

func mediaTime(ms uint32) *float64 {
	t := float64(ms)
	return &t
}

func rtmpTrack(t *media.Track) watchTrack {
	return watchTrack{ID: t.ID, Kind: t.Kind.String(), Codec: t.MIME(), Width: t.Width, Height: t.Height, SampleRate: t.SampleRate, Channels: t.Channels}
}

var controlWords = map[uint16]string{
	rtmp.ControlStreamBegin: "stream begin", rtmp.ControlStreamEOF: "stream end", rtmp.ControlStreamDry: "stream dry",
	rtmp.ControlSetBufferLength: "set buffer length", rtmp.ControlStreamRecorded: "stream is recorded",
	rtmp.ControlPingRequest: "ping request", rtmp.ControlPingResponse: "ping response",
}

func controlWord(event uint16) string {
	if word := controlWords[event]; word != "" {
		return word
	}
	return fmt.Sprintf("user control %d", event)
}

// amfJSON writes an AMF value as JSON; objects keep their order.
func amfJSON(v amf.Value) json.RawMessage { return appendAMF(nil, v) }

func appendAMF(dst []byte, v amf.Value) []byte {
	switch v := v.(type) {
	case amf.StrictArray:
		dst = append(dst, '[')
		for i, element := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendAMF(dst, element)
		}
		return append(dst, ']')
	case amf.Object, amf.ECMAArray, amf.TypedObject:
		dst = append(dst, '{')
		for i, m := range amf.Members(v) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendScalar(dst, m.Name), ':')
			dst = appendAMF(dst, m.Value)
		}
		return append(dst, '}')
	case amf.Date:
		return appendScalar(dst, v.Time())
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return append(dst, "null"...)
		}
	case amf.Undefined:
		return append(dst, "null"...)
	}
	return appendScalar(dst, v)
}

func appendScalar(dst []byte, v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		text = []byte("null")
	}
	return append(dst, text...)
}
