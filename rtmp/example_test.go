package rtmp_test

import (
	"context"
	"fmt"
	"net"

	"hawser/rtmp"
)

// A server that takes what one client publishes; names choose who may.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	got := make(chan rtmp.Message, 1)
	server := &rtmp.Server{Handler: &rtmp.Handler{
		OnPublish: func(_ context.Context, s *rtmp.Stream) error {
			if s.Query().Get("key") != "secret" {
				return &rtmp.Refusal{Code: "NetStream.Publish.Denied", Description: "no key"}
			}
			s.SetSink(func(m rtmp.Message) error { got <- m; return nil })
			return nil
		},
	}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	done := make(chan error)
	go func() { done <- server.Serve(ctx, ln) }()

	url := "rtmp://" + ln.Addr().String() + "/live/cam1"
	for _, query := range []string{"", "?key=secret"} {
		err := rtmp.Persist(ctx, url+query, nil, func(ctx context.Context, c *rtmp.Client) error {
			if err := c.Publish(ctx); err != nil {
				fmt.Println(err)
				return nil // or err, to try again
			}
			return c.WriteMessage(ctx, rtmp.Message{Type: rtmp.TypeAudio, Timestamp: 20, Payload: []byte{0xaf, 1, 0x21}})
		})
		if err != nil {
			fmt.Println(err)
		}
	}
	m := <-got
	fmt.Println(m.Timestamp, len(m.Payload))
	stop()
	<-done
	// Output:
	// rtmp: publish "/live/cam1": rtmp: refused: no key (NetStream.Publish.Denied)
	// 20 3
}
