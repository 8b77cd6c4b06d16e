package rtc

import (
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"hawser/media"
)

func base64s(sets [][]byte) string {
	var words []string
	for _, set := range sets {
		words = append(words, base64.StdEncoding.EncodeToString(set))
	}
	return strings.Join(words, ",")
}

// FuzzReceiver lets a receiver of each codec read packets: of the input, each begins with its sequence number's step, its timestamp's step, its marker and its length.
func FuzzReceiver(f *testing.F) {
	carried := []media.Codec{media.H264, media.VP8, media.VP9, media.AV1, media.Opus}
	for _, c := range clips(f) {
		var b []byte
		for _, g := range c.groups(f)[:2] {
			for i, payload := range g.Packets() {
				marker := byte(0)
				if g.Marker(i) {
					marker = 1
				}
				payload = payload[:min(len(payload), 50)] // short inputs are tried more often
				b = append(b, 1, marker)
				b = binary.BigEndian.AppendUint16(b, uint16(g.Timestamp()))
				b = append(binary.BigEndian.AppendUint16(b, uint16(len(payload))), payload...)
			}
		}
		f.Add(byte(slices.Index(carried, c.track.Codec)), b)
	}
	f.Fuzz(func(t *testing.T, codec byte, b []byte) {
		var last time.Duration
		deliver := func(track *media.Track, frame media.Frame) {
			switch {
			case track == nil || len(frame.Data) == 0 || len(frame.Data) > MaxFrame || frame.Kind != track.Kind || frame.Track != track.ID:
				t.Errorf("delivered %d bytes of %+v", len(frame.Data), track)
			case frame.DTS < last || frame.PTS < frame.DTS:
				t.Errorf("DTS %v behind %v, PTS %v", frame.DTS, last, frame.PTS)
			case track.Codec == media.H264:
				if err := eachNALU(frame.Data, track.NALUSize(), func([]byte) {}); err != nil {
					t.Error(err)
				}
			case track.Codec == media.AV1:
				if _, _, err := media.SplitAV1(frame.Data); err != nil {
					t.Error(err)
				}
			}
			last = frame.DTS
		}
		now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		r := newReceiver(webrtc.RTPCodecParameters{RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: mimes[carried[int(codec)%len(carried)]]}}, deliver, func() {})
		seq, timestamp := uint16(0xfff0), uint32(0xfffff000)
		for len(b) >= 6 {
			n := min(int(binary.BigEndian.Uint16(b[4:])), len(b)-6)
			seq += uint16(int8(b[0]))
			timestamp += uint32(int16(binary.BigEndian.Uint16(b[2:])))
			now = now.Add(time.Duration(b[1]>>1) * time.Millisecond)
			r.rtp(&rtp.Packet{Header: rtp.Header{SequenceNumber: seq, Timestamp: timestamp, Marker: b[1]&1 != 0}, Payload: b[6 : 6+n]}, now)
			r.senderReport(&rtcp.SenderReport{NTPTime: uint64(timestamp) << 20, RTPTime: timestamp}, now)
			b = b[6+n:]
		}
	})
}

// FuzzFeedback lets a sender read RTCP.
func FuzzFeedback(f *testing.F) {
	for _, p := range []rtcp.Packet{
		&rtcp.ReceiverReport{Reports: []rtcp.ReceptionReport{{SSRC: videoSSRC, LastSenderReport: 5, Delay: 3}}},
		&rtcp.TransportLayerNack{MediaSSRC: videoSSRC, Nacks: []rtcp.NackPair{{PacketID: 1, LostPackets: 7}}},
		&rtcp.PictureLossIndication{MediaSSRC: videoSSRC},
		&rtcp.FullIntraRequest{FIR: []rtcp.FIREntry{{SSRC: videoSSRC}}},
		&rtcp.TransportLayerCC{Header: rtcp.Header{Count: rtcp.FormatTCC, Type: rtcp.TypeTransportSpecificFeedback, Length: 5}, PacketStatusCount: 2,
			PacketChunks: []rtcp.PacketStatusChunk{&rtcp.RunLengthChunk{PacketStatusSymbol: 1, RunLength: 2}}, RecvDeltas: []*rtcp.RecvDelta{{Type: 1, Delta: 250}, {Type: 1, Delta: 500}}},
	} {
		b, err := p.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		packets, err := rtcp.Unmarshal(b)
		if err != nil {
			return
		}
		for _, rtx := range []uint32{0, videoRTX} {
			v := newTestViewer(func(p *senderParams) { p.TransportCC, p.Slots[SlotVideo].RTXSSRC = twcc, rtx })
			for i := range 20 {
				v.mustWrite(t, handmade(SlotVideo, uint32(3000*i), 1000, 500))
				v.now = v.now.Add(33 * time.Millisecond)
				v.rtcp(packets)
				v.reports(v.now)
			}
			if s := v.Stats(); s.ResentBytes > s.Bytes/resendShare+resendCredit || s.Loss < 0 || s.Loss > 1 || s.RoundTrip < 0 || s.QueueDelay < 0 {
				t.Errorf("got %+v", s)
			}
		}
	})
}

// FuzzGroup lets a group be read that CheckGroup takes.
func FuzzGroup(f *testing.F) {
	f.Add([]byte(handmade(SlotAudio, 5, 1, 2)))
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := CheckGroup(b)
		if err != nil {
			return
		}
		n := groupHeader
		for i, payload := range g.Packets() {
			n += lengthPrefix + len(payload)
			if string(payload) != string(g.Packet(i)) {
				t.Errorf("packet %d is not itself", i)
			}
		}
		if n != len(g) {
			t.Errorf("%d bytes are read of %d", n, len(g))
		}
	})
}
