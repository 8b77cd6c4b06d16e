// Package websocket speaks the WebSocket protocol (RFC 6455, with compression by RFC 7692 and over HTTP/2 by RFC 8441), as client and as server. It is a package of its own: nothing else of this module is needed to use it.
// It is not a framework: there are no rooms, no topics and no goroutine that reads for you.
//
// A client is a loop over events, from the first attempt to connect to the end:
//
//	client := websocket.Client{URL: "wss://example.com/live", Persist: true}
//	for ev := range client.Events(ctx) {
//		switch ev.Kind {
//		case websocket.Ready:
//			ev.Conn.Write(ctx, websocket.TextMessage, []byte("hello"))
//		case websocket.Text:
//			fmt.Printf("%s\n", ev.Data)
//		case websocket.BackOff:
//			fmt.Println("no connection; next attempt in", ev.Delay)
//		}
//	}
//
// A server calls Accept in a handler of net/http and has the same Conn, with the same loop:
//
//	http.HandleFunc("/live", func(w http.ResponseWriter, r *http.Request) {
//		conn, err := websocket.Accept(w, r, nil)
//		if err != nil {
//			return // the refusal is sent
//		}
//		go func() {
//			for ev := range conn.Events(context.Background()) {
//				if ev.Kind == websocket.Text {
//					conn.Write(context.Background(), websocket.TextMessage, ev.Data)
//				}
//			}
//		}()
//	})
//
// Who wants one message at a time, rather than events, uses Dial and Conn.Read. The connection's end is then the error of Read.
//
// # Reading
//
// One goroutine at a time reads, with Conn.Read, Conn.Events or Client.Events. Conn.Handle takes a function instead, and needs no goroutine while nothing comes: it is the form for servers
// with many connections. Who reads also answers pings and the peer's close, so somebody must read. A context that ends, or a loop that is left, ends the waiting and not the connection: the next Read goes on where the
// last one stopped.
//
// # Writing
//
// Any number of goroutines may write, ping and close. Messages are never mixed, and each goroutine's go out in its order. A peer that takes nothing holds up those who write to it, only as long as their contexts,
// and itself for AcceptOptions.WriteTimeout; Conn.Queue does not wait at all, and neither does what is taken from a source (Conn.SetSource). To send the same to many, make it once with Prepare.
//
// # Limits
//
// A message may have 16 MiB (MaxMessage), compressed or not; one that is longer closes the connection with CloseTooBig. Pages of other origins are refused unless AcceptOptions.Origins names them. No pings are sent unless Keepalive
// is set; without it a peer that vanishes is found out only when something is written to it.
//
// # Compression
//
// The option Compression, at both ends, is permessage-deflate: off unless it is set, each message by itself unless Deflate says otherwise, and only messages of 512 bytes or more. A Prepared message is compressed once for all
// connections. Extension and Codec are for other extensions; PrepareRequest, VerifyResponse and ProcessRequest are for those who carry the handshake themselves.
//
// # Ending
//
// Conn.Close does the whole close handshake; Conn.CloseNow does none. Every error after the end is a *CloseError, which is net.ErrClosed to errors.Is. It, the *HandshakeError of a server that refuses and the *ProxyError of a proxy
// that does, hold a lifecycle.Reason for errors.As: one word for logs, and whether another attempt makes sense.
//
// A server's WebSockets are not http.Server's any more once they are accepted: Shutdown does not end them, so the program closes them itself, with CloseGoingAway. How long a client may take for its request is
// http.Server.ReadHeaderTimeout, which should be set.
//
// # HTTP/2
//
// With AcceptOptions.HTTP2 and DialOptions.HTTP2 a WebSocket is a stream of an HTTP/2 connection, which it shares with others; all else is the same. net/http announces to clients that it takes such streams only if the
// program was started with GODEBUG=http2xconnect=1 in its environment: os.Setenv comes too late, and there is no go:debug line for it. Over HTTP/2 a connection is a part of its request, so a handler that has started a
// goroutine as above ends with conn.Hold(), which over HTTP/1.1 returns at once.
//
// # The way to the server
//
// DialOptions has TLS, headers, subprotocols and proxies: HTTP CONNECT and SOCKS5, from the environment unless told otherwise. NetDial replaces the network, for unix sockets for example. The end of the context ends every step
// at once: resolving, connecting, the proxy, TLS, the upgrade.
package websocket
