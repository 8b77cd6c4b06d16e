package websocket

import (
	"bufio"
	"bytes"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// FuzzHandshake gives any bytes as a request and as an answer. Whatever is accepted must be what was offered, and what a server answers a client must accept.
func FuzzHandshake(f *testing.F) {
	const key = "dGhlIHNhbXBsZSBub25jZQ=="
	for _, lines := range [][]string{
		nil, {"Sec-WebSocket-Protocol: x, chat"}, {"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover"},
		{"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits", "Connection: keep-alive"}, {`Sec-WebSocket-Extensions: a;b="c", permessage-deflate; server_max_window_bits="9"; client_max_window_bits=8`},
		{"Origin: http://friend.example.com"}, {"Sec-WebSocket-Version: 8"}, {"Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: x"},
	} {
		f.Add([]byte(asked.and(lines...).String()))
		f.Add([]byte(strings.Replace(answered.and(lines...).String(), "KEY", acceptKey(key), 1)))
	}
	names := []string{"chat", "x"}
	accept := &AcceptOptions{Subprotocols: names, Origins: []string{"*.example.com"}, Compression: &Deflate{ServerTakeover: true, ClientTakeover: true}}
	dial := &DialOptions{Subprotocols: names, Compression: &Deflate{}}
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b))); err == nil {
			fuzzRequest(t, r, accept)
		}
		req, err := PrepareRequest("ws://server.example.com/", dial)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Sec-WebSocket-Key", key)
		if resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), req); err == nil {
			fuzzAnswer(t, req, resp, dial)
		}
	})
}

func fuzzRequest(t *testing.T, r *http.Request, o *AcceptOptions) {
	h, err := ProcessRequest(r, o)
	var refused *HandshakeError
	if err != nil {
		if !errors.As(err, &refused) || refused.Status < 400 || refused.Status > 599 || refused.Reason == "" {
			t.Fatalf("error %v", err)
		}
		return
	}
	if name := h.Subprotocol(); name != "" && (!slices.Contains(o.Subprotocols, name) || !slices.Contains(listed(r.Header, "Sec-WebSocket-Protocol"), name)) {
		t.Fatalf("subprotocol %q", name)
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(h.Answer())), r)
	if err != nil {
		t.Fatalf("answer %q: %v", h.Answer(), err)
	}
	// A client that leaves all to the server takes any answer that the server may give.
	open := &DialOptions{Subprotocols: o.Subprotocols, Compression: &Deflate{ServerTakeover: true, ClientTakeover: true}}
	seen, err := VerifyResponse(r, resp, open)
	if err != nil {
		t.Fatalf("answer %q: %v", h.Answer(), err)
	}
	if seen.Subprotocol() != h.Subprotocol() || seen.Extensions() != h.Extensions() {
		t.Fatalf("answer %q: the client understands %q, %q", h.Answer(), seen.Subprotocol(), seen.Extensions())
	}
}

func fuzzAnswer(t *testing.T, req *http.Request, resp *http.Response, o *DialOptions) {
	h, err := VerifyResponse(req, resp, o)
	var refused *HandshakeError
	if err != nil {
		if !errors.As(err, &refused) || refused.Status != resp.StatusCode || refused.Reason == "" {
			t.Fatalf("error %v", err)
		}
		return
	}
	name, extension := h.Subprotocol(), h.Extensions()
	if resp.StatusCode != http.StatusSwitchingProtocols || name != "" && !slices.Contains(o.Subprotocols, name) {
		t.Fatalf("status %d, subprotocol %q", resp.StatusCode, name)
	}
	if extension != "" && (!strings.HasPrefix(extension, deflateName) || !strings.Contains(extension, serverNoTakeover) || strings.Contains(extension, ",")) {
		t.Fatalf("extensions %q", extension) // the offer asked for that
	}
}
