// Package rtc is WebRTC for servers and for programs that watch or send: peers whose seven ICE states are seen, WHIP and WHEP, media that is packetised once for all viewers.
//
// An [Engine] is the place where peers live: one UDP port, one TCP port, one certificate for all of them. A [Peer] is one connection; it sends what its [Source] hands out, or gives what it receives as
// frames, and tells each change of its ICE state in order. The package does not know streams or sessions and does no signalling but WHIP's and WHEP's: offers and answers come in and go out as text.
//
//	engine, err := rtc.New(rtc.Options{UDP: ":8189"})
//	if err != nil {
//		return err
//	}
//	defer engine.Close()
//	peer, err := engine.Peer(rtc.PeerOptions{OnFrame: func(t *media.Track, f media.Frame) { fmt.Println(t.Codec, f.PTS) }})
//	if err != nil {
//		return err
//	}
//	answer, err := peer.Answer(ctx, offer)
package rtc
