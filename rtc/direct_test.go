package rtc

import (
	"bytes"
	"testing"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"hawser/media"
)

// What is sealed is what another implementation of SRTP makes of it, over wraps of the sequence numbers and when packets are sent again, with and without header extension.
func TestSealAsOthersDo(t *testing.T) {
	key, salt := bytes.Repeat([]byte{7}, 16), bytes.Repeat([]byte{9}, 12)
	ours, err := newSealer(key, salt)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := srtp.CreateContext(key, salt, srtp.ProtectionProfileAeadAes128Gcm)
	if err != nil {
		t.Fatal(err)
	}
	payload := bytes.Repeat([]byte("payload "), 100)
	for i := range 200_000 {
		if i%997 != 0 && uint16(i) > 3 && uint16(i) < 0xfffc {
			ours.rollover(1, uint16(i)) // most are only counted; the others must follow
			if i%stackInterval != 0 {
				continue
			}
		}
		for _, seq := range []uint16{uint16(i), uint16(max(i-100, 0))} { // and one again
			h := &rtp.Header{Version: 2, SSRC: 1, SequenceNumber: seq, Timestamp: uint32(i), Marker: i%2 == 0, PayloadType: 96}
			if i%3 == 0 {
				if err := h.SetExtension(5, []byte{1, 2}); err != nil {
					t.Fatal(err)
				}
			}
			plain, err := (&rtp.Packet{Header: *h, Payload: payload}).Marshal()
			if err != nil {
				t.Fatal(err)
			}
			want, err := theirs.EncryptRTP(nil, plain, nil)
			if err != nil {
				t.Fatal(err)
			}
			rollover, ok := ours.rollover(1, seq)
			got := make([]byte, receiveMTU)
			n, err := ours.seal(got, new([12]byte), h, rollover, payload)
			if err != nil || !ok || !bytes.Equal(got[:n], want) {
				t.Fatalf("packet %d, sequence number %d, rollover %d: it is another one; %v", i, seq, rollover, err)
			}
		}
	}
	if _, ok := ours.rollover(2, 0); !ok {
		t.Error("a second stream is refused")
	}
	if _, ok := ours.rollover(3, 0); ok {
		t.Error("a third stream is taken")
	}
}

// Media of peers over the engine's port is sealed directly.
func TestMediaIsWrittenDirectly(t *testing.T) {
	server, client := newEngine(t, quick(Options{UDP: "127.0.0.1:0"})), newEngine(t, quick(Options{}))
	c := annexB(t, "plain.h264")
	s := openPeer(t, server, PeerOptions{Send: []media.Track{c.track}, Source: &groupSource{}})
	k := openPeer(t, client, PeerOptions{OnFrame: func(*media.Track, media.Frame) {}})
	connect(t, k, s)
	untilSecure(t, s)
	if w, ok := s.sender.Load().w.(*directWriter); !ok || w.peer.way.Load() == nil {
		t.Errorf("the writer is %T", s.sender.Load().w)
	}
}

// A group that is sent costs no memory.
func TestSendingAllocatesNothing(t *testing.T) {
	server, client := newEngine(t, quick(Options{UDP: "127.0.0.1:0"})), newEngine(t, quick(Options{}))
	c := annexB(t, "plain.h264")
	s := openPeer(t, server, PeerOptions{Send: []media.Track{c.track}, Source: &groupSource{}})
	k := openPeer(t, client, PeerOptions{OnFrame: func(*media.Track, media.Frame) {}})
	connect(t, k, s)
	untilSecure(t, s)
	groups := c.groups(t)
	sender, line := s.sender.Load(), s.line.Load()
	b := new(batch)
	i := 0
	least := 10.0
	for range 10 { // what is left of other tests allocates too
		least = min(least, testing.AllocsPerRun(100, func() {
			b.hold(line)
			if err := sender.write(groups[i%len(groups)]); err != nil {
				t.Error(err)
			}
			b.hold(nil)
			b.flush()
			i++
		}))
	}
	if least > 0 {
		t.Errorf("%v allocations for each group", least)
	}
}
