package websocket

import (
	"bufio"
	"bytes"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzServerHandshake gives any bytes as a client's request: what is accepted is answered with what the client asked for, and what is refused with a status and a reason.
func FuzzServerHandshake(f *testing.F) {
	for _, o := range []opening{asked, asked.and("Sec-WebSocket-Protocol: x, chat"), asked.and("Origin: http://friend.example.com"), asked.and("Origin: null"), asked.with("Sec-WebSocket-Version: 8"),
		asked.with("Sec-WebSocket-Key: AAAA"), asked.with("Connection: keep-alive, Upgrade"), asked.and(extensionHeader + `: permessage-deflate; client_max_window_bits="10", a;b`), asked.first("POST / HTTP/1.0")} {
		f.Add([]byte(o.String()))
	}
	options := &AcceptOptions{Subprotocols: []string{"chat"}, Origins: []string{"friend.example.com"}, Compression: &Deflate{}}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			return
		}
		h, err := ProcessRequest(r, options)
		if err != nil {
			var refused *HandshakeError
			if !errors.As(err, &refused) || http.StatusText(refused.Status) == "" || refused.Status < 400 || refused.Reason == "" {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(h.Answer())), nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Sec-WebSocket-Accept") != acceptKey(r.Header.Get("Sec-WebSocket-Key")) {
			t.Fatalf("answered %q, %v", h.Answer(), err)
		}
		if p := h.Subprotocol(); p != "" && (p != "chat" || !slices.Contains(listed(r.Header, "Sec-WebSocket-Protocol"), p)) {
			t.Errorf("chose the subprotocol %q", p)
		}
		if e := h.Extensions(); e != "" && !strings.Contains(strings.Join(r.Header.Values(extensionHeader), ","), deflateName) {
			t.Errorf("chose the extensions %q", e)
		}
	})
}

// FuzzClientHandshake gives any bytes as a server's answer: nothing is taken that the client did not offer.
func FuzzClientHandshake(f *testing.F) {
	const key = "dGhlIHNhbXBsZSBub25jZQ=="
	good := answered.with("Sec-WebSocket-Accept: " + acceptKey(key))
	for _, o := range []opening{good, good.and("Sec-WebSocket-Protocol: chat"), good.and("Sec-WebSocket-Protocol: x"), good.first("HTTP/1.0 101 x"), answered, good.and(extensionHeader + ": permessage-deflate; server_max_window_bits=9"),
		good.and(extensionHeader + ": permessage-deflate, permessage-deflate"), {"HTTP/1.1 403 Forbidden", "Content-Length: 2", "", "no"}} {
		f.Add([]byte(o.String()))
	}
	options := &DialOptions{Subprotocols: []string{"chat"}, Compression: &Deflate{}}
	f.Fuzz(func(t *testing.T, b []byte) {
		req, err := PrepareRequest("ws://example.com", options)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Sec-WebSocket-Key", key)
		resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), req)
		if err != nil {
			return
		}
		h, err := VerifyResponse(req, resp, options)
		if err != nil {
			var refused *HandshakeError
			if !errors.As(err, &refused) || refused.Reason == "" || refused.Response != resp {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		if resp.StatusCode != http.StatusSwitchingProtocols || !resp.ProtoAtLeast(1, 1) || h.Subprotocol() != "" && h.Subprotocol() != "chat" || len(h.agreed.codecs) > 1 {
			t.Errorf("%q is accepted, with subprotocol %q and extensions %q", b, h.Subprotocol(), h.Extensions())
		}
	})
}

// FuzzClosePayload gives any bytes as the payload of a close frame: what is taken may be sent back as it is.
func FuzzClosePayload(f *testing.F) {
	for _, s := range []string{"", "\x03", "\x03\xe8", "\x03\xe8bye", "\x03\xedx", "\x0f\xa0日本", "\x0f\xa0\xe6\x97", "\xff\xff", "\x03\xe9\xed\xa0\x80"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		code, reason, err := parseClose(b)
		var v *Violation
		switch {
		case errors.As(err, &v):
			if v.Code != CloseProtocolError && v.Code != CloseInvalidData {
				t.Errorf("answered with %d", v.Code)
			}
		case err != nil:
			t.Errorf("the error %v is no violation", err)
		case len(b) == 0:
			if code != CloseNoStatus || reason != "" {
				t.Errorf("nothing is %d %q", code, reason)
			}
		case !validCode(code) || !utf8.ValidString(reason) || string([]byte{byte(code >> 8), byte(code)})+reason != string(b):
			t.Errorf("%q is %d %q", b, code, reason)
		}
	})
}
