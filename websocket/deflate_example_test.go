package websocket_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"hawser/websocket"
)

// Messages are compressed when both ends have the option set, and are not below the threshold.
func ExampleDeflate() {
	ctx := context.Background()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Compression: &websocket.Deflate{}})
		if err != nil {
			return
		}
		go func() {
			conn.Write(ctx, websocket.TextMessage, []byte(strings.Repeat("all the same ", 1000)))
			conn.Close(websocket.CloseNormal, "")
		}()
	}))
	defer server.Close()

	conn, err := websocket.Dial(ctx, strings.Replace(server.URL, "http", "ws", 1), &websocket.DialOptions{Compression: &websocket.Deflate{}})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, message, err := conn.Read(ctx)
	fmt.Println(len(message), err)
	fmt.Println(conn.Extensions())
	// Output:
	// 13000 <nil>
	// permessage-deflate; server_no_context_takeover; client_no_context_takeover
}
