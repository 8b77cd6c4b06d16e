package websocket

import (
	"net/http"
	"strings"
	"testing"
)

func TestParseExtensions(t *testing.T) {
	tests := []struct{ header, want string }{
		{"", ""},
		{"a", "a"},
		{" a ; b ; c = d ,e", "a; b; c=d | e"},
		{`a;b="c",,	,d;e="f\g"`, "a; b=c | d; e=fg"},
		{"a,a;b;b", "a | a; b; b"},
		{"a;", "malformed"},
		{";a", "malformed"},
		{"a b", "malformed"},
		{"a;b=", "malformed"},
		{"a;=b", "malformed"},
		{`a;b="c d"`, "malformed"},
		{`a;b=""`, "malformed"},
		{`a;b="c`, "malformed"},
		{`a;b="c\`, "malformed"},
		{`a;b=c"d"`, "malformed"},
		{"a;b=c=d", "malformed"},
		{"ä", "malformed"},
	}
	for _, tt := range tests {
		list, err := parseExtensions(extensionsIn(tt.header))
		var words []string
		for _, o := range list {
			words = append(words, o.String())
		}
		got := strings.Join(words, " | ")
		if err != nil {
			got = "malformed"
		}
		if got != tt.want {
			t.Errorf("%q: got %q, %v, want %q", tt.header, got, err, tt.want)
		}
	}
}

func FuzzParseExtensions(f *testing.F) {
	f.Add(`permessage-deflate; client_max_window_bits="10", a;b`)
	f.Fuzz(func(t *testing.T, header string) {
		list, err := parseExtensions(extensionsIn(header))
		if err != nil {
			return
		}
		var words []string
		for _, o := range list {
			words = append(words, o.String())
		}
		again, err := parseExtensions(extensionsIn(words...))
		if err != nil || len(again) != len(list) {
			t.Errorf("%q: %v becomes %v, %v", header, list, again, err)
		}
	})
}

// shift is an extension that adds a number to each byte.
type shift struct {
	bit byte
	by  string
}

func (s shift) Name() string         { return "x-shift" }
func (s shift) Offer() [][]Parameter { return [][]Parameter{{{"by", s.by}}} }
func (s shift) Reserved() byte       { return s.bit }
func (s shift) add(b []byte, n byte) {

	for i := range b {
		b[i] += n
	}
}
func (s shift) Accept(offer []Parameter) ([]Parameter, Codec) {
	if len(offer) != 1 || offer[0] != (Parameter{"by", s.by}) {
		return nil, nil
	}
	return offer, s
}

func (s shift) Confirm(answer []Parameter) (Codec, error) {
	_, c := s.Accept(answer)
	return c, nil
}

func (s shift) Encode(dst []byte, _ MessageType, payload []byte) ([]byte, bool, error) {
	n := len(dst)
	dst = append(dst, payload...)
	s.add(dst[n:], s.by[0])
	return dst, true, nil
}

func (s shift) Decode(dst []byte, _ MessageType, payload []byte, _ int64) ([]byte, error) {
	n := len(dst)
	dst = append(dst, payload...)
	s.add(dst[n:], -s.by[0])
	return dst, nil
}

// An extension of somebody else, alone, with compression behind it, and refused.
func TestExtensions(t *testing.T) {
	long := strings.Repeat("hello ", 1000)
	tests := []struct {
		name           string
		server, client []Extension
		deflate        bool
		want           string
	}{
		{"alone", []Extension{shift{0x20, "1"}}, []Extension{shift{0x20, "1"}}, false, "x-shift; by=1"},
		{"with compression", []Extension{shift{0x10, "1"}}, []Extension{shift{0x10, "1"}}, true,
			"x-shift; by=1, permessage-deflate; server_no_context_takeover; client_no_context_takeover"},
		{"declined", []Extension{shift{0x20, "1"}}, []Extension{shift{0x20, "2"}}, false, ""},
		{"unknown", nil, []Extension{shift{0x20, "2"}}, false, ""},
		{"the second alternative", []Extension{shift{0x20, "1"}}, []Extension{shift{0x20, "2"}, shift{0x20, "1"}}, false, "fails"},
		{"a bit twice", []Extension{shift{0x40, "1"}}, []Extension{shift{0x40, "1"}}, true, "x-shift; by=1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx := testContext(t)
			so, do := &AcceptOptions{Extensions: tt.server}, &DialOptions{Extensions: tt.client}
			if tt.deflate {
				so.Compression, do.Compression = &Deflate{}, &Deflate{}
			}
			if tt.want == "fails" { // the client has given two extensions one name
				url := serve(t, so, func(c *Conn) { c.Read(ctx) })
				if c, err := Dial(ctx, url, do); err == nil {
					t.Errorf("agreed on %q", c.Extensions())
				}
				return
			}
			client, server := both(t, so, do)
			if client.Extensions() != tt.want || server.Extensions() != tt.want {
				t.Fatalf("agreed on %q and %q, want %q", client.Extensions(), server.Extensions(), tt.want)
			}
			for _, end := range [][2]*Conn{{client, server}, {server, client}} {
				p := Prepare(TextMessage, []byte(long))
				for _, write := range []func() error{
					func() error { return end[0].Write(ctx, TextMessage, []byte(long)) },
					func() error { return end[0].WritePrepared(ctx, p) },
				} {
					go write()
					if _, got, err := end[1].Read(ctx); string(got) != long || err != nil {
						t.Errorf("got %d bytes, %v", len(got), err)
					}
				}
			}
		})
	}
}

func TestExtensionHeaderMalformed(t *testing.T) {
	url := serve(t, nil, func(*Conn) {})
	resp, err := http.DefaultClient.Do(func() *http.Request {
		r, _ := http.NewRequest("GET", strings.Replace(url, "ws", "http", 1), nil)
		r.Header = request(nil).Header
		r.Header.Set(extensionHeader, "a;;")
		return r
	}())
	if err != nil || resp.StatusCode != http.StatusBadRequest {
		t.Errorf("answered %v, %v", resp, err)
	}
}

func extensionsIn(values ...string) http.Header {
	return http.Header{http.CanonicalHeaderKey(extensionHeader): values}
}
