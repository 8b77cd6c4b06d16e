package websocket_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"hawser/lifecycle"
	"hawser/websocket"
)

// A server and a client, each a loop over events.
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

// handle serves WebSockets and gives the URL.
func handle(o *websocket.AcceptOptions, handle func(*websocket.Conn)) (server *httptest.Server, url string) {
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if conn, err := websocket.Accept(w, r, o); err == nil {
			go handle(conn)
		}
	}))
	return server, strings.Replace(server.URL, "http", "ws", 1)
}

// The loop of a client: one place for all that can happen to a connection.
func ExampleClient() {
	server, url := handle(nil, func(conn *websocket.Conn) {
		conn.Write(context.Background(), websocket.TextMessage, []byte(`{"price":1.0843}`))
		conn.Close(websocket.CloseGoingAway, "back soon")
	})
	defer server.Close()

	client := websocket.Client{URL: url + "/prices"}
	for ev := range client.Events(context.Background()) {
		switch ev.Kind {
		case websocket.ConnectFail, websocket.Rejected:
			fmt.Println("no connection:", ev.Err)
		case websocket.Ready:
			fmt.Println("open")
		case websocket.Text:
			var quote struct{ Price float64 }
			if err := ev.JSON(&quote); err == nil {
				fmt.Println("price", quote.Price)
			}
		case websocket.Closing:
			fmt.Println("the server closes:", ev.Code, ev.Reason) // a last message may be sent here
		case websocket.Disconnected:
			fmt.Println("graceful:", ev.Graceful)
		}
	}
	// Output:
	// open
	// price 1.0843
	// the server closes: 1001 back soon
	// graceful: true
}

// A server with many connections, most of them idle: no goroutine waits for them.
func ExampleConn_Handle() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return // Accept has answered
		}
		conn.Handle(func(ev websocket.Event) bool {
			if ev.Kind == websocket.Text {
				conn.Write(context.Background(), websocket.TextMessage, ev.Data) // an error comes as Disconnected too
			}
			return true
		})
	}))
	defer server.Close()

	ctx := context.Background()
	conn, err := websocket.Dial(ctx, strings.Replace(server.URL, "http", "ws", 1), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	conn.Write(ctx, websocket.TextMessage, []byte("hello"))
	_, data, err := conn.Read(ctx)
	fmt.Printf("%s %v\n", data, err)
	fmt.Println(conn.Close(websocket.CloseNormal, ""))
	// Output:
	// hello <nil>
	// <nil>
}

// A client that comes back whatever happens, until the loop is left. It leaves where another attempt makes no sense.
func ExampleClient_persistent() {
	var attempts int
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch attempts++; attempts {
		case 1:
			http.Error(w, "starting", http.StatusServiceUnavailable)
		case 2:
			conn, err := websocket.Accept(w, r, nil)
			if err == nil {
				go conn.Close(websocket.CloseServiceRestart, "")
			}
		default:
			http.Error(w, "your account is closed", http.StatusForbidden)
		}
	}))
	defer server.Close()

	client := websocket.Client{URL: strings.Replace(server.URL, "http", "ws", 1), Persist: true, MinBackOff: time.Millisecond, MaxBackOff: 30 * time.Second}
	for ev := range client.Events(context.Background()) {
		switch ev.Kind {
		case websocket.Ready:
			fmt.Println("open")
		case websocket.BackOff: // the next attempt follows after ev.Delay
			fmt.Println("attempt", ev.Attempt, "is over")
		case websocket.ConnectFail, websocket.Rejected:
			reason := lifecycle.ReasonOf(ev.Err)
			fmt.Println(reason.Word, reason.Retry)
			if !reason.Retry {
				return // leaving the loop is enough
			}
		}
	}
	// Output:
	// limit true
	// attempt 1 is over
	// open
	// attempt 2 is over
	// refused false
}

// A handler that checks where its clients come from, agrees on a subprotocol, and bounds what they may send.
func ExampleAccept() {
	options := &websocket.AcceptOptions{
		Origins:      []string{"https://*.example.com"},
		Subprotocols: []string{"chat.v1"},
		MaxMessage:   64 << 10,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, options)
		if err != nil {
			return // the refusal is sent
		}
		go func() {
			defer conn.Close(websocket.CloseNormal, "") // nothing if it has ended
			for {
				typ, message, err := conn.Read(context.Background())
				if err != nil {
					return // err is a *websocket.CloseError
				}
				conn.Write(context.Background(), typ, message)
			}
		}()
	}))
	defer server.Close()
	ctx, url := context.Background(), strings.Replace(server.URL, "http", "ws", 1)

	_, err := websocket.Dial(ctx, url, &websocket.DialOptions{Origin: "https://example.org"})
	fmt.Println(lifecycle.ReasonOf(err).Text)
	conn, err := websocket.Dial(ctx, url, &websocket.DialOptions{Origin: "https://www.example.com", Subprotocols: []string{"chat.v2", "chat.v1"}})
	if err != nil {
		panic(err)
	}
	conn.Write(ctx, websocket.TextMessage, []byte("hello"))
	_, message, _ := conn.Read(ctx)
	fmt.Printf("%s: %s\n", conn.Subprotocol(), message)
	conn.Close(websocket.CloseNormal, "")
	// Output:
	// the server answered "403 Forbidden", want 101: "origin \"https://example.org\" is not allowed"
	// chat.v1: hello
}

// One message for many is framed once. Queue does not wait: a connection that takes nothing holds nobody up, and is cut when too much waits for it.
func ExamplePrepare() {
	var mu sync.Mutex
	viewers := map[*websocket.Conn]bool{}
	joined := make(chan bool)
	server, url := handle(&websocket.AcceptOptions{QueueLimit: 256 << 10}, func(conn *websocket.Conn) {
		mu.Lock()
		viewers[conn] = true
		mu.Unlock()
		joined <- true
		for range conn.Events(context.Background()) { // somebody must read
		}
		mu.Lock()
		delete(viewers, conn)
		mu.Unlock()
	})
	defer server.Close()
	broadcast := func(text string) {
		p := websocket.Prepare(websocket.TextMessage, []byte(text))
		mu.Lock()
		defer mu.Unlock()
		for conn := range viewers {
			if conn.Queue(p.Bytes()) != nil {
				conn.CloseNow()
			}
		}
	}

	var clients []*websocket.Conn
	for range 3 {
		conn, err := websocket.Dial(context.Background(), url, nil)
		if err != nil {
			panic(err)
		}
		clients = append(clients, conn)
		<-joined
	}
	broadcast("to all")
	for _, conn := range clients {
		_, message, _ := conn.Read(context.Background())
		fmt.Printf("%s\n", message)
		conn.Close(websocket.CloseNormal, "")
	}
	// Output:
	// to all
	// to all
	// to all
}

// Pings find a peer that has gone without a word, as a phone in a tunnel does.
func ExampleConn_Events_keepalive() {
	options := &websocket.AcceptOptions{Keepalive: 10 * time.Millisecond, PongTimeout: 10 * time.Millisecond} // 30 and 10 seconds, rather
	ended := make(chan bool)
	server, url := handle(options, func(conn *websocket.Conn) {
		for ev := range conn.Events(context.Background()) {
			switch ev.Kind {
			case websocket.Unresponsive:
				fmt.Println("no pong came")
			case websocket.Disconnected:
				fmt.Println(lifecycle.ReasonOf(ev.Err).Word)
			}
		}
		close(ended)
	})
	defer server.Close()

	conn, err := websocket.Dial(context.Background(), url, nil) // nobody reads, so nobody answers pings
	if err != nil {
		panic(err)
	}
	defer conn.CloseNow()
	<-ended
	// Output:
	// no pong came
	// timeout
}

// NetDial takes the place of the network: here, of TCP by a unix socket. The URL still says what is asked for.
func ExampleDial_unixSocket() {
	dir, err := os.MkdirTemp("", "socket")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "ws")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		panic(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if conn, err := websocket.Accept(w, r, nil); err == nil {
			conn.Write(r.Context(), websocket.TextMessage, []byte(r.Host+r.URL.Path))
			conn.Close(websocket.CloseNormal, "")
		}
	})}
	go server.Serve(listener)
	defer server.Close()

	ctx := context.Background()
	conn, err := websocket.Dial(ctx, "ws://localhost/status", &websocket.DialOptions{
		NetDial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	})
	if err != nil {
		panic(err)
	}
	_, message, _ := conn.Read(ctx)
	fmt.Printf("%s\n", message)
	conn.Close(websocket.CloseNormal, "")
	// Output: localhost/status
}

// A proxy by option. Without the option the environment names it, as for net/http.
func ExampleDialOptions_proxy() {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println(r.Method, r.Host)
		http.Error(w, "", http.StatusProxyAuthRequired)
	}))
	defer proxy.Close()

	options := &websocket.DialOptions{Proxy: func(server *url.URL) (*url.URL, error) {
		if strings.HasSuffix(server.Hostname(), ".internal") {
			return nil, nil // none
		}
		return url.Parse(strings.Replace(proxy.URL, "http://", "http://user:password@", 1)) // or socks5://…
	}}
	_, err := websocket.Dial(context.Background(), "wss://example.com/live", options)
	fmt.Println(lifecycle.ReasonOf(err).Word)
	// Output:
	// CONNECT example.com:443
	// unauthorized
}
