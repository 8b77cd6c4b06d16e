package rtc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"hawser/media"
)

// wire keeps what a sender writes, as bytes: so it is seen what a header was at that time.
type wire struct {
	packets []*rtp.Packet
	err     error
}

func (w *wire) WriteRTP(h *rtp.Header, payload []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	b, err := (&rtp.Packet{Header: *h, Payload: payload}).Marshal()
	if err != nil {
		return 0, err
	}
	p := new(rtp.Packet)
	w.packets = append(w.packets, p)
	return len(b), p.Unmarshal(b)
}

// take gives what was written since the last take.
func (w *wire) take() []*rtp.Packet {
	p := w.packets
	w.packets = nil
	return p
}

// handmade is a group of payloads of given sizes.
func handmade(slot int, timestamp uint32, sizes ...int) Group {
	w := startGroup(nil, slot, 0, timestamp)
	for i, n := range sizes {
		w.next()
		w.b = append(w.b, bytes.Repeat([]byte{byte(i + 1)}, n)...)
	}
	return w.finish()
}

// testViewer is a sender on a wire, with a clock that stands unless the test moves it.
type testViewer struct {
	*sender
	wire      wire
	now       time.Time
	keyframes int
	strains   []Strain
}

const (
	videoSSRC, audioSSRC, videoRTX = 0x11, 0x22, 0x33
	twcc                           = 5
)

func newTestViewer(change func(*senderParams)) *testViewer {
	v := &testViewer{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	p := senderParams{
		Slots:          [2]slotParams{SlotVideo: {SSRC: videoSSRC, PayloadType: 96, NACK: true}, SlotAudio: {SSRC: audioSSRC, PayloadType: 111}},
		Now:            func() time.Time { return v.now },
		KeyframeWanted: func() { v.keyframes++ },
		Slow:           func(s Strain) { v.strains = append(v.strains, s) },
	}
	if change != nil {
		change(&p)
	}
	v.sender = newSender(&v.wire, p)
	return v
}

func (v *testViewer) mustWrite(t testing.TB, groups ...Group) {
	t.Helper()
	for _, g := range groups {
		if err := v.write(g); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSenderWrites(t *testing.T) {
	v := newTestViewer(func(p *senderParams) { p.TransportCC = twcc })
	v.slots[SlotVideo].seq = 0xfffe // over the wrap
	v.mustWrite(t, handmade(SlotVideo, 90000, 100, 50, 7), handmade(SlotAudio, 48000, 20), handmade(SlotVideo, 93000, 9))
	type seen struct {
		ssrc      uint32
		typ       uint8
		seq       uint16
		timestamp uint32
		marker    bool
		size      int
		transport uint16
	}
	var got []seen
	for _, p := range v.wire.take() {
		got = append(got, seen{p.SSRC, p.PayloadType, p.SequenceNumber, p.Timestamp, p.Marker, len(p.Payload), binary.BigEndian.Uint16(p.GetExtension(twcc))})
	}
	want := []seen{
		{videoSSRC, 96, 0xfffe, 90000, false, 100, 0}, {videoSSRC, 96, 0xffff, 90000, false, 50, 1}, {videoSSRC, 96, 0, 90000, true, 7, 2},
		{audioSSRC, 111, 0, 48000, false, 20, 3}, {videoSSRC, 96, 1, 93000, true, 9, 4},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if s := v.Stats(); s.Groups != 3 || s.Packets != 5 || s.Bytes != 186 || s.LastGroup != 93000 {
		t.Errorf("got %+v, want 3 groups of 5 packets and 186 bytes", s)
	}
}

func TestSenderPassesOverWhatIsNotSent(t *testing.T) {
	v := newTestViewer(func(p *senderParams) { p.Slots[SlotAudio].SSRC = 0 })
	v.mustWrite(t, handmade(SlotAudio, 0, 10))
	if got := v.wire.take(); len(got) != 0 {
		t.Errorf("got %v", got)
	}
	v.wire.err = errors.New("gone")
	if err := v.write(handmade(SlotVideo, 0, 10)); !errors.Is(err, v.wire.err) {
		t.Errorf("got %v, want the writer's error", err)
	}
}

func TestResend(t *testing.T) {
	for _, rtx := range []bool{false, true} {
		v := newTestViewer(func(p *senderParams) {
			p.TransportCC = twcc
			if rtx {
				p.Slots[SlotVideo].RTXSSRC, p.Slots[SlotVideo].RTXType = videoRTX, 97
			}
		})
		v.slots[SlotVideo].seq = 0xffff
		v.mustWrite(t, handmade(SlotVideo, 3000, 100, 200), handmade(SlotVideo, 6000, 300, 400, 500))
		sent := v.wire.take()
		v.rtcp([]rtcp.Packet{&rtcp.TransportLayerNack{MediaSSRC: videoSSRC, Nacks: []rtcp.NackPair{{PacketID: 0xffff, LostPackets: 1<<0 | 1<<3 | 1<<4}}}})
		got := v.wire.take()
		want := []*rtp.Packet{sent[0], sent[1], sent[4]} // and 4, which was never sent
		if len(got) != len(want) {
			t.Fatalf("rtx %v: got %d packets, want %d", rtx, len(got), len(want))
		}
		for i, g := range got {
			w := want[i]
			if !rtx {
				gb, _ := g.Marshal()
				wb, _ := w.Marshal()
				if !bytes.Equal(gb, wb) {
					t.Errorf("packet %d sent again differs:\n% x\n% x", i, gb, wb)
				}
				continue
			}
			if g.SSRC != videoRTX || g.PayloadType != 97 || g.SequenceNumber != uint16(i) || g.Timestamp != w.Timestamp || g.Marker != w.Marker ||
				binary.BigEndian.Uint16(g.Payload) != w.SequenceNumber || !bytes.Equal(g.Payload[2:], w.Payload) {
				t.Errorf("got %v, want number %d in RTX", g, w.SequenceNumber)
			}
			if n := binary.BigEndian.Uint16(g.GetExtension(twcc)); int(n) != len(sent)+i {
				t.Errorf("got the transport-wide number %d, want %d", n, len(sent)+i)
			}
		}
		if s := v.Stats(); s.Nacked != 4 || s.Resent != 3 || s.Unanswered != 1 {
			t.Errorf("got %+v, want 3 of 4 answered", s)
		}
	}
}

// What is sent again is bounded by what is sent, and by what the history holds.
func TestResendIsBounded(t *testing.T) {
	v := newTestViewer(nil)
	ask := func(seq uint16) int {
		v.rtcp([]rtcp.Packet{&rtcp.TransportLayerNack{MediaSSRC: videoSSRC, Nacks: []rtcp.NackPair{{PacketID: seq}}}})
		return len(v.wire.take())
	}
	for i := range videoHistory + 1 {
		v.mustWrite(t, handmade(SlotVideo, uint32(i), 1000))
	}
	v.wire.take()
	if ask(0) != 0 || ask(1) != 1 || ask(videoHistory) != 1 || ask(videoHistory+1) != 0 {
		t.Error("the history is not the last groups")
	}
	answered := 0
	for range 10000 {
		answered += ask(5)
	}
	if most := resendCredit / 1000; answered == 0 || answered > most {
		t.Errorf("%d of 10000 answered, want 1 to %d", answered, most)
	}
	if ask(5) != 0 {
		t.Error("answered beyond the credit")
	}
	v.mustWrite(t, handmade(SlotVideo, 500, 1000), handmade(SlotVideo, 501, 1000))
	v.wire.take()
	if ask(videoHistory+2) != 1 || ask(videoHistory+2) != 0 {
		t.Error("half of what was sent is not what can be sent again")
	}
}

func TestReportsKeepTracksInStep(t *testing.T) {
	const wrap = time.Duration(1<<32) * time.Second / 90000 // of the video's timestamps
	for _, at := range []time.Duration{0, time.Minute, wrap - 10*time.Millisecond, wrap + time.Hour, 2*wrap - time.Millisecond, 100 * time.Hour} {
		v := newTestViewer(nil)
		if got := v.reports(v.now); got != nil {
			t.Fatalf("got %v before anything was sent", got)
		}
		for i := range 5 {
			media := at + time.Duration(i)*time.Second
			// The sound is sent 300 ms before its pictures, which must not show in the reports.
			v.mustWrite(t, handmade(SlotVideo, uint32(ticks(media, 90000)), 10), handmade(SlotAudio, uint32(ticks(media+300*time.Millisecond, 48000)), 10))
			v.now = v.now.Add(time.Second + time.Duration(i)*3*time.Millisecond)
			packets := v.reports(v.now)
			if len(packets) != 2 {
				t.Fatalf("got %v, want a report of each track", packets)
			}
			video, audio := packets[0].(*rtcp.SenderReport), packets[1].(*rtcp.SenderReport)
			if video.SSRC != videoSSRC || audio.SSRC != audioSSRC || video.NTPTime != audio.NTPTime || video.NTPTime != ntpTime(v.now) || video.PacketCount != uint32(i+1) || video.OctetCount != uint32(10*(i+1)) {
				t.Errorf("got %v and %v", video, audio)
			}
			// Where the audio's report is on the stream's own clock, to a tick of video.
			off := int32(audio.RTPTime - uint32(ticks(media, 48000)))
			if diff := int32(video.RTPTime-uint32(ticks(media, 90000))) - off*15/8; diff < -3 || diff > 3 {
				t.Errorf("at %v the reports differ by %d ticks of 90 kHz", media, diff)
			}
			if v.reports(v.now.Add(reportInterval/2)) != nil {
				t.Error("got reports that are not due")
			}
		}
	}
}

func TestReportsFollowAJump(t *testing.T) {
	v := newTestViewer(nil)
	v.mustWrite(t, handmade(SlotVideo, 0, 10))
	v.reports(v.now)
	v.now = v.now.Add(time.Hour) // a pause, behind which the stream's time goes on where it was
	v.mustWrite(t, handmade(SlotVideo, 90000, 10))
	if got := v.reports(v.now)[0].(*rtcp.SenderReport).RTPTime; got != 90000 {
		t.Errorf("got %d, want the newest", got)
	}
}

func TestReception(t *testing.T) {
	v := newTestViewer(nil)
	v.mustWrite(t, handmade(SlotVideo, 0, 10))
	report := v.reports(v.now)[0].(*rtcp.SenderReport)
	v.now = v.now.Add(150 * time.Millisecond)
	v.rtcp([]rtcp.Packet{&rtcp.ReceiverReport{Reports: []rtcp.ReceptionReport{
		{SSRC: 99, FractionLost: 255},
		{SSRC: videoSSRC, FractionLost: 64, TotalLost: 0xfffffe, Jitter: 900, LastSenderReport: uint32(report.NTPTime >> 16), Delay: 65536 / 10},
	}}})
	s := v.Stats()
	if d := s.RoundTrip - 50*time.Millisecond; d.Abs() > time.Millisecond || s.Loss != 0.25 || s.Lost != -2 || s.Jitter != 10*time.Millisecond {
		t.Errorf("got %+v", s)
	}
}

func TestKeyframeRequestsCollapse(t *testing.T) {
	v := newTestViewer(nil)
	pli := []rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: videoSSRC}, &rtcp.FullIntraRequest{FIR: []rtcp.FIREntry{{SSRC: videoSSRC}}}, &rtcp.PictureLossIndication{MediaSSRC: 99}}
	v.rtcp(pli)
	v.rtcp(pli)
	if v.keyframes != 1 {
		t.Errorf("asked %d times, want once", v.keyframes)
	}
	v.now = v.now.Add(keyframeInterval)
	v.rtcp(pli)
	if v.keyframes != 2 || v.Stats().Keyframes != 6 {
		t.Errorf("asked %d times, %d counted", v.keyframes, v.Stats().Keyframes)
	}
}

// feedback is transport-wide feedback about packets from first on; a negative arrival is a lost packet.
func feedback(first uint16, arrivals ...time.Duration) *rtcp.TransportLayerCC {
	f := &rtcp.TransportLayerCC{BaseSequenceNumber: first, PacketStatusCount: uint16(len(arrivals))}
	at := time.Duration(-1)
	for _, a := range arrivals {
		status := rtcp.TypeTCCPacketNotReceived
		if a >= 0 {
			if at < 0 {
				at = a.Truncate(feedbackReference)
				f.ReferenceTime = uint32(at/feedbackReference) & 0xffffff
			}
			status = rtcp.TypeTCCPacketReceivedLargeDelta
			f.RecvDeltas = append(f.RecvDeltas, &rtcp.RecvDelta{Type: status, Delta: (a - at).Microseconds()})
			at = a
		}
		f.PacketChunks = append(f.PacketChunks, &rtcp.RunLengthChunk{PacketStatusSymbol: status, RunLength: 1})
	}
	return f
}

func TestViewerThatCannotTakeTheRate(t *testing.T) {
	for _, c := range []struct {
		name string
		way  func(i int) time.Duration // how long packet i is on its way; negative: lost
		want int                       // times that it was told
	}{
		{"steady", func(int) time.Duration { return 200 * time.Millisecond }, 0},
		{"jitter", func(i int) time.Duration { return time.Duration(i%7) * 50 * time.Millisecond }, 0},
		{"a short burst", func(i int) time.Duration {
			return map[bool]time.Duration{true: 600 * time.Millisecond}[i >= 60 && i < 80]
		}, 0},
		{"a queue that grows", func(i int) time.Duration { return time.Duration(i) * 8 * time.Millisecond }, 1},
		{"a queue, twice", func(i int) time.Duration { return map[bool]time.Duration{true: time.Second}[i%150 >= 75] }, 2},
		{"a little loss", func(i int) time.Duration { return map[bool]time.Duration{true: -1}[i%10 == 0] }, 0},
		{"much loss", func(i int) time.Duration { return map[bool]time.Duration{true: -1}[i%2 == 0] }, 1},
	} {
		v := newTestViewer(func(p *senderParams) { p.TransportCC = twcc })
		v.transport = 0xffd0                  // over the wrap of the numbers
		start := feedbackWrap - 2*time.Second // and of the times
		begin := v.now
		var arrivals []time.Duration
		for i := range 300 {
			v.mustWrite(t, handmade(SlotVideo, uint32(3000*i), 10))
			a := c.way(i)
			if a >= 0 {
				a = (start + v.now.Sub(begin) + a) % (2 * feedbackWrap)
			}
			arrivals = append(arrivals, a)
			v.now = v.now.Add(33 * time.Millisecond)
			if len(arrivals) == 4 {
				v.rtcp([]rtcp.Packet{feedback(uint16(0xffd0+i-3), arrivals...)})
				arrivals = nil
			}
		}
		if len(v.strains) != c.want {
			t.Errorf("%s: told %v, want %d times", c.name, v.strains, c.want)
		}
	}
}

// discard is the writer of the benchmark.
type discard struct{ n int }

func (d *discard) WriteRTP(_ *rtp.Header, payload []byte) (int, error) {
	d.n += len(payload)
	return len(payload), nil
}

// A picture of ten packets for one viewer, with everything negotiated: no allocation.
func BenchmarkSenderWrite(b *testing.B) {
	p := senderParams{TransportCC: twcc, Now: time.Now}
	p.Slots[SlotVideo] = slotParams{SSRC: videoSSRC, PayloadType: 96, NACK: true, RTXSSRC: videoRTX, RTXType: 97}
	var d discard
	s := newSender(&d, p)
	g := handmade(SlotVideo, 0, 1160, 1160, 1160, 1160, 1160, 1160, 1160, 1160, 1160, 600)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.write(g); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*g.Len()), "ns/packet")
}

func TestSenderWriteDoesNotAllocate(t *testing.T) {
	p := senderParams{TransportCC: twcc, Now: time.Now}
	p.Slots[SlotVideo] = slotParams{SSRC: videoSSRC, NACK: true}
	s := newSender(&discard{}, p)
	g := handmade(SlotVideo, 0, 1160, 1160, 600)
	if n := testing.AllocsPerRun(100, func() { _ = s.write(g) }); n != 0 {
		t.Errorf("%v allocations for a group, want none", n)
	}
}

func TestCheckGroup(t *testing.T) {
	g := handmade(SlotAudio, 0x01020304, 3, 0, 5)
	if _, err := CheckGroup(g); err != nil {
		t.Error(err)
	}
	if g.Slot() != SlotAudio || g.Timestamp() != 0x01020304 || g.Len() != 3 || len(g.Packet(2)) != 5 || g.Packet(3) != nil || g.Key() || g.Marker(2) {
		t.Errorf("got slot %d, timestamp %x, %d packets", g.Slot(), g.Timestamp(), g.Len())
	}
	for i := range len(g) {
		if _, err := CheckGroup(g[:i]); err == nil {
			t.Errorf("the first %d bytes are taken for a group", i)
		}
	}
	if _, err := CheckGroup(append(slices.Clone(g), 0)); err == nil {
		t.Error("a byte too many is taken")
	}
	if _, err := CheckGroup(append(Group{2}, g[1:]...)); err == nil {
		t.Error("slot 2 is taken")
	}
	if _, err := NewPacketizer(media.Track{Codec: media.AAC}); err == nil {
		t.Error("AAC is taken")
	}
}
