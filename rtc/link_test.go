package rtc

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestICELinks(t *testing.T) {
	stun := ICEServer{URLs: []string{"stun:stun.example.net"}}
	turn := func(url string) ICEServer {
		return ICEServer{URLs: []string{url}, Username: "user", Credential: "pass,w;o\"rd"}
	}
	const credentials = `; username="user"; credential="pass,w;o\"rd"; credential-type="password"`
	for _, c := range []struct {
		headers []string
		want    []ICEServer
	}{
		{nil, nil},
		{[]string{`<stun:stun.example.net>; rel="ice-server"`}, []ICEServer{stun}},
		{[]string{`<stun:stun.example.net>;rel=ice-server`}, []ICEServer{stun}},
		{[]string{`<stun:stun.example.net> ; REL = "next Ice-Server" ; x`}, []ICEServer{stun}},
		{[]string{`<turn:turn.example.net?transport=udp>; rel="ice-server"` + credentials}, []ICEServer{turn("turn:turn.example.net?transport=udp")}},
		{[]string{`<stun:stun.example.net>; rel="ice-server", <turns:turn.example.net>; rel="ice-server"` + credentials + `, <stun:stun.example.net>; rel=ice-server`},
			[]ICEServer{stun, turn("turns:turn.example.net"), stun}},
		{[]string{`<stun:stun.example.net>; rel="ice-server"`, `<turn:t>; rel="ice-server"` + credentials}, []ICEServer{stun, turn("turn:t")}},
		{[]string{`<stun:stun.example.net>; rel="ice-server"; rel="next"`}, []ICEServer{stun}}, // RFC 8288 section 3.3
		{[]string{`<stun:stun.example.net>; rel="next"; rel="ice-server"`}, nil},
		{[]string{`<https://example.net/ext>; rel="urn:ietf:params:whip:ext:core:server-sent-events"; events="layers"`}, nil},
		{[]string{`<https://example.net>; rel="ice-server"`, `<turn:t>; rel="ice-server"`, `<turn:t>; rel="ice-server"; username=u; credential=c; credential-type=oauth`}, nil},
		{[]string{``, `,`, `<`, `<>`, `<stun:a`, `stun:a; rel=ice-server`, `<stun:a>`, `<stun:a>; rel`, `<stun:a>; =`, `<stun:a>; rel="ice-server`}, []ICEServer{{URLs: []string{"stun:a"}}}},
		{slices.Repeat([]string{strings.Repeat(`<stun:stun.example.net>; rel="ice-server", `, 10)}, 10), slices.Repeat([]ICEServer{stun}, maxICELinks)},
	} {
		if got := iceLinks(c.headers); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q:\ngot  %v\nwant %v", c.headers, got, c.want)
		}
	}
}

// FuzzICELinks lets what any server says be read: it ends, and names no more servers than are taken.
func FuzzICELinks(f *testing.F) {
	f.Add(`<turn:t>; rel="ice-server"; username="u\\"; credential=c, <stun:s>;rel=ice-server`)
	f.Fuzz(func(t *testing.T, header string) {
		servers := iceLinks([]string{header, header})
		if len(servers) > maxICELinks {
			t.Errorf("%d servers", len(servers))
		}
		for _, s := range servers {
			if len(s.URLs) != 1 || !strings.Contains(s.URLs[0], ":") {
				t.Errorf("%+v", s)
			}
		}
	})
}
