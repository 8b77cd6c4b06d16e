package client_test

import (
	"context"
	"encoding/json"
	"fmt"

	"hawser/client"
	"hawser/lifecycle"
	"hawser/media"
	"hawser/rtc"
)

// A peer of package rtc plays a path as part of a session: it outlives the session's connections, as the session does. One that publishes says "as": "publish", and hears what has that beside it.
func ExampleSignals() {
	offer := func(ctx context.Context, signals *client.Signals, peer *rtc.Peer, servers []rtc.ICEServer) error {
		if err := peer.SetICEServers(servers); err != nil {
			return err
		}
		sdp, err := peer.Offer(ctx)
		if err != nil {
			return err
		}
		return signals.Send(map[string]string{"offer": sdp, "as": "play"})
	}
	play := func(ctx context.Context, c *client.Client, engine *rtc.Engine, path string) error {
		signals, err := c.Signals(path)
		if err != nil {
			return err
		}
		defer signals.Close()
		peer, err := engine.Peer(rtc.PeerOptions{OnFrame: func(t *media.Track, f media.Frame) { fmt.Println(t.Codec, f.PTS) }})
		if err != nil {
			return err
		}
		defer peer.Close(lifecycle.ReasonDone)
		if err := signals.Send(map[string]bool{"ask": true}); err != nil {
			return err
		}
		offered := false
		for data := range signals.Messages(ctx) {
			var m struct {
				About     *struct{ Possible bool }
				Servers   []rtc.ICEServer
				Reason    lifecycle.Reason
				Answer    string
				Candidate *string
				Close     *lifecycle.Reason
			}
			err := json.Unmarshal(data, &m)
			switch {
			case err != nil:
			case m.Close != nil:
				return *m.Close // the stream may have other codecs now, for one: another peer can play those
			case m.Candidate != nil:
				err = peer.AddCandidate(*m.Candidate)
			case m.Answer != "":
				err = peer.SetAnswer(m.Answer)
			case m.About != nil && !m.About.Possible:
				return m.Reason
			case m.About != nil && !offered:
				offered = true
				err = offer(ctx, signals, peer, m.Servers)
			}
			if err != nil {
				return err
			}
		}
		return signals.Err()
	}
	_ = play
}
