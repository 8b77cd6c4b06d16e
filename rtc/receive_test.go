package rtc

import (
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
	samples "github.com/pion/webrtc/v4/pkg/media"

	"hawser/media"
)

// Of two cameras that a peer sends at once the first is received, and nothing of the other comes between; when the first ends the other takes its place.
func TestOneTrackOfAKind(t *testing.T) {
	got := make(chan *media.Track, 10_000)
	server := openPeer(t, newEngine(t, quick(Options{UDP: "127.0.0.1:0"})), PeerOptions{OnFrame: func(t *media.Track, _ media.Frame) { got <- t }})
	client := newEngine(t, quick(Options{}))
	pc, err := client.connection(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	var senders []*webrtc.RTPSender
	var tracks []*webrtc.TrackLocalStaticSample
	for _, id := range []string{"one", "two"} {
		track, err := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000}, id, id)
		if err != nil {
			t.Fatal(err)
		}
		tr, err := pc.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
		if err != nil {
			t.Fatal(err)
		}
		tracks, senders = append(tracks, track), append(senders, tr.Sender())
	}
	negotiate := func() {
		t.Helper()
		offer, err := pc.CreateOffer(nil)
		if err == nil {
			gathered := webrtc.GatheringCompletePromise(pc)
			if err = pc.SetLocalDescription(offer); err == nil {
				<-gathered
				var answer string
				if answer, err = server.Answer(t.Context(), pc.LocalDescription().SDP); err == nil {
					err = pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer})
				}
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	negotiate()
	key := ivf(t, media.VP8).frames[0].Data
	late, tick := time.After(60*time.Second), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	seen := map[*media.Track]int{}
	more := func(from []*webrtc.TrackLocalStaticSample, enough func() bool) {
		t.Helper()
		for !enough() {
			select {
			case <-tick.C:
				for _, track := range from {
					if err := track.WriteSample(samples.Sample{Data: key, Duration: 10 * time.Millisecond}); err != nil {
						t.Fatal(err)
					}
				}
			case track := <-got:
				seen[track]++
			case <-late:
				t.Fatalf("frames of tracks: %v; %+v", seen, server.Stats().Video)
			}
		}
	}
	more(tracks[:1], func() bool { return len(seen) > 0 })
	frames := server.Stats().Video.Frames
	more(tracks, func() bool { return server.Stats().Video.Frames > frames+100 })
	if len(seen) != 1 {
		t.Errorf("frames of two tracks came: %v", seen)
	}
	if err := pc.RemoveTrack(senders[0]); err != nil {
		t.Fatal(err)
	}
	negotiate()
	more(tracks[1:], func() bool { return len(seen) == 2 })
}
