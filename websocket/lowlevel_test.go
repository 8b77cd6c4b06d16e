package websocket

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
)

// Two ends that carry the handshake themselves.
func TestLowLevelHandshake(t *testing.T) {
	a, b := net.Pipe()
	compressed := &Deflate{}
	client := make(chan *Conn, 1)
	do := &DialOptions{Subprotocols: []string{"x"}, Origin: "http://example.com", Compression: compressed}
	go func() {
		defer close(client)
		req, err := PrepareRequest("ws://example.com/path?q", do)
		if err != nil {
			t.Error(err)
			return
		}
		req.Write(a)
		r := bufio.NewReader(a)
		resp, err := http.ReadResponse(r, req)
		if err != nil {
			t.Error(err)
			return
		}
		h, err := VerifyResponse(req, resp, do)
		if err != nil {
			t.Error(err)
			return
		}
		c, _ := h.NewConn(a, nil)
		client <- c
	}()
	req, err := http.ReadRequest(bufio.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	h, err := ProcessRequest(req, &AcceptOptions{Subprotocols: []string{"x"}, Compression: compressed})
	if err != nil || h.Subprotocol() != "x" || !strings.HasPrefix(h.Extensions(), deflateName) || h.Header().Get("Sec-WebSocket-Protocol") != "x" {
		t.Fatalf("%+v, %v", h, err)
	}
	b.Write(h.Answer())
	server, err := h.NewConn(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.NewConn(b, nil); err == nil {
		t.Error("one handshake, two connections")
	}
	c := <-client
	if c == nil {
		t.FailNow()
	}
	if c.Subprotocol() != "x" || c.Extensions() != server.Extensions() || c.URL().String() != "ws://example.com/path?q" || server.Origin() != "http://example.com" {
		t.Errorf("client %v %q, server %v %q", c.URL(), c.Extensions(), server.URL(), server.Extensions())
	}
	message := strings.Repeat("hello ", 1000)
	go c.Write(testContext(t), TextMessage, []byte(message))
	if _, got, err := server.Read(testContext(t)); string(got) != message || err != nil {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	server.CloseNow()
	c.CloseNow()
}

func TestLowLevelRefuses(t *testing.T) {
	var h *HandshakeError
	if _, err := ProcessRequest(request(func(r *http.Request) { r.Method = "POST" }), nil); !errors.As(err, &h) || h.Status != 405 {
		t.Errorf("a POST: %v", err)
	}
	req, err := PrepareRequest("wss://example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := VerifyResponse(req, &http.Response{StatusCode: 200, Status: "200 OK"}, nil); !errors.As(err, &h) || h.Status != 200 {
		t.Errorf("a 200: %v", err)
	}
	if _, err := PrepareRequest("http://example.com", nil); err == nil {
		t.Error("a request to http is made")
	}
	if _, err := new(Handshake).NewConn(nil, nil); err == nil {
		t.Error("an empty handshake makes a connection")
	}
}
