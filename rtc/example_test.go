package rtc_test

import (
	"context"
	"fmt"

	"hawser/lifecycle"
	"hawser/rtc"
)

// Two peers in one program: one offers a data channel, the other one answers and echoes.
func Example() {
	server, err := rtc.New(rtc.Options{UDP: "127.0.0.1:0"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	client, err := rtc.New(rtc.Options{Loopback: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	echo, err := server.Peer(rtc.PeerOptions{OnChannel: func(c *rtc.Channel) rtc.ChannelOptions {
		return rtc.ChannelOptions{OnMessage: func(text bool, data []byte) { c.Send(text, append([]byte("echo: "), data...)) }}
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	peer, err := client.Peer(rtc.PeerOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	opened, answered := make(chan struct{}), make(chan string)
	channel, err := peer.Open("greeting", rtc.ChannelOptions{
		OnOpen:    func() { close(opened) },
		OnMessage: func(_ bool, data []byte) { answered <- string(data) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	ctx := context.Background()
	offer, err := peer.Offer(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	answer, err := echo.Answer(ctx, offer)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := peer.SetAnswer(answer); err != nil {
		fmt.Println(err)
		return
	}
	<-opened
	if err := channel.Send(true, []byte("hello")); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(<-answered)
	peer.Close(lifecycle.ReasonDone)
	// Output: echo: hello
}

// A publisher by WHIP: the server's address is all that it needs.
func ExampleEngine_Publish() {
	engine, err := rtc.New(rtc.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer engine.Close()
	_, err = engine.Publish(context.Background(), "http://127.0.0.1:1/live/cam1/whip", rtc.HTTPOptions{Token: "secret"})
	fmt.Println(err != nil)
	// Output: true
}

// States come in order, with words that the browser's RTCIceConnectionState has too.
func ExampleICEState() {
	for _, s := range []rtc.ICEState{rtc.StateNew, rtc.StateChecking, rtc.StateConnected, rtc.StateCompleted, rtc.StateDisconnected, rtc.StateFailed, rtc.StateClosed} {
		fmt.Println(s, s.Light())
	}
	// Output:
	// new amber
	// checking amber
	// connected green
	// completed green
	// disconnected amber
	// failed red
	// closed red
}
