package server

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"hawser/lifecycle"
)

// What is no HTTP gets a 400 and an event; what is a request, or nothing at all, gets none.
func TestGarbageIsAnEvent(t *testing.T) {
	r := serve(t, Options{})
	for range 2 { // good ones, on one connection and then gone
		resp, err := http.Get("http://" + r.http + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	http.DefaultClient.CloseIdleConnections()
	silent, err := net.Dial("tcp", r.http)
	if err != nil {
		t.Fatal(err)
	}
	silent.Close()
	nc, err := net.Dial("tcp", r.http)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	fmt.Fprint(nc, "\x16\x03\x01 this is not HTTP\r\n\r\n")
	answer, err := io.ReadAll(nc)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400") {
		t.Errorf("got %q, %v, want a 400", answer, err)
	}
	e := r.event("protocol_error over HTTP", func(e *lifecycle.Event) bool { return e.Kind == kindProtocolError && e.Protocol == "http" })
	if e.Remote != nc.LocalAddr().String() || !e.Reason.Is(lifecycle.ReasonProtocol) {
		t.Errorf("the event is %+v", e)
	}
	for _, e := range r.Log().Recent(100) {
		if e.Protocol == "http" && e.Remote != nc.LocalAddr().String() {
			t.Errorf("an event of a connection that did nothing wrong: %+v", e)
		}
	}
}
