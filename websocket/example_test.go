package websocket_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"hawser/websocket"
)

func Example() {
	ctx := context.Background()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return // the refusal is sent
		}
		go func() { // net/http keeps its buffers until the handler returns
			for ev := range conn.Events(ctx) {
				if ev.Kind == websocket.Text {
					conn.Write(ctx, websocket.TextMessage, []byte(strings.ToUpper(string(ev.Data))))
				}
			}
		}()
	}))
	defer server.Close()

	client := websocket.Client{URL: strings.Replace(server.URL, "http", "ws", 1)}
	for ev := range client.Events(ctx) {
		fmt.Println(ev.Kind)
		switch ev.Kind {
		case websocket.Ready:
			ev.Conn.Write(ctx, websocket.TextMessage, []byte("hello"))
		case websocket.Text:
			fmt.Printf("%s\n", ev.Data)
			ev.Conn.Close(websocket.CloseNormal, "")
		}
	}
	// Output:
	// connecting
	// connected
	// ready
	// text
	// HELLO
	// closed
	// disconnected
}
