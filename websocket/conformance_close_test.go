package websocket

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
)

// RFC 6455 sections 5.5.1, 7.1 and 7.4.
func TestConformanceClose(t *testing.T) {
	normal := closing(CloseNormal, "")
	empty := frame{fin: true, op: OpClose}
	payload := func(s string) []frame { return []frame{{fin: true, op: OpClose, payload: s}} }
	bad := fails(CloseProtocolError)
	big := strings.Repeat("BAsd7&jh23", 25600)
	list := []dialogue{
		talk("after a message", []frame{text("Hello World!"), normal}, text("Hello World!"), normal),
		talk("twice", []frame{normal, empty}, normal),
		talk("twice with codes", []frame{normal, closing(1001, "again")}, normal),
		talk("then ping", []frame{normal, ping("")}, normal),
		talk("then text", []frame{normal, text("Hello World!")}, normal),
		talk("then what is not legal", []frame{normal, reserved(frame{op: 15}, 7)}, normal),
		talk("within a message", []frame{start(OpText, "fragment1"), normal, last("fragment2")}, normal),
		talk("after 256 KB", []frame{text(big), text("Hello World!"), normal, ping("")}, text(big), text("Hello World!"), normal),
		talk("without a code", []frame{empty}, empty),
		talk("of 1 byte", payload("a"), bad),
		talk("code only", []frame{normal}, normal),
		talk("with a reason", []frame{closing(1000, "Hello World!")}, normal),
		talk("with a reason of 123", []frame{closing(1000, strings.Repeat("*", 123))}, normal),
		talk("with a reason of 124", []frame{closing(1000, strings.Repeat("*", 124))}, bad),
		talk("with a reason not UTF-8", []frame{closing(1000, greek+"\xed\xa0\x80edited")}, fails(CloseInvalidData)),
		talk("with half a character", []frame{closing(1000, "\xe2\x82")}, fails(CloseInvalidData)),
		talk("with a reason in Japanese", []frame{closing(4000, strings.Repeat("日", 41))}, fails(4000)),
	}
	for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		list = append(list, talk(fmt.Sprint(code), []frame{closing(code, "")}, fails(code)), talk(fmt.Sprint(code, " with a reason"), []frame{closing(code, "reason")}, fails(code)))
	}
	for _, code := range []int{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		list = append(list, talk(fmt.Sprint(code), []frame{closing(code, "")}, bad), talk(fmt.Sprint(code, " with a reason"), []frame{closing(code, "reason")}, bad))
	}
	converse(t, list)
}

// Section 7.1: this side closes first. What it says is what the peer hears, messages that are on their way still come to the one who reads, and the server is the first to let go.
func TestConformanceCloseFirst(t *testing.T) {
	for i := range 4 {
		server, by := i%2 == 0, forms[i/2]
		for _, tt := range []struct {
			code   int
			reason string
			hear   string // the payload of the close frame
		}{{1000, "", "\x03\xe8"}, {1001, "bye", "\x03\xe9bye"}, {4999, "日本", "\x13\x87日本"}, {0, "not said", ""}} {
			t.Run(fmt.Sprintf("%d/server=%v/%s", tt.code, server, by.name), func(t *testing.T) {
				t.Parallel()
				c, p := connect(t, server, &AcceptOptions{CloseTimeout: 2 * patience})
				got := make(chan string)
				go func() { got <- by.events(c, nil) }()
				p.Write(ping("").bytes(server)) // so that the loop is known to run
				if f, err := readFrame(p.r, !server); err != nil || f != pong("") {
					t.Fatalf("heard %v, %v", f.short(), err)
				}
				go c.Close(tt.code, tt.reason)
				f, err := readFrame(p.r, !server)
				if err != nil || f.op != OpClose || f.payload != tt.hear {
					t.Fatalf("heard %v, %v", f.short(), err)
				}
				p.Write(frames(server, text("on its way"), ping(""), f))
				if !server {
					p.CloseWrite()
				}
				if f, err := readFrame(p.r, !server); err == nil {
					t.Errorf("heard %v behind the close frame", f.short())
				}
				p.Close()
				if events := <-got; !strings.HasPrefix(events, `ping:"" text:"on its way" ping:"" closed:`) || !strings.HasSuffix(events, "disconnected:graceful") {
					t.Errorf("the events are %s", events)
				}
			})
		}
	}
}

// Section 7.4: codes that must not be sent are not.
func TestConformanceCloseCodesSent(t *testing.T) {
	c, p := connect(t, true, nil)
	for _, code := range []int{-1, 1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65536 + 1000} {
		if c.Close(code, "") == nil {
			t.Errorf("Close(%d) returned no error", code)
		}
	}
	if c.State() != StateOpen {
		t.Errorf("the state is %v", c.State())
	}
	p.Write(closing(1000, "").bytes(true))
	if _, _, err := c.Read(testContext(t)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read: %v", err)
	}
}
