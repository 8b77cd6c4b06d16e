package rtc

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"hawser/media"
)

// delivery is what a receiver handed out.
type delivery struct {
	track *media.Track
	frame media.Frame
}

// rtpSource is a receiver with a clock, and packets on their way to it.
type rtpSource struct {
	*receiver
	got    []delivery
	wanted int
	now    time.Time
}

func newRTPSource(codec media.Codec, fmtp string) *rtpSource {
	p := &rtpSource{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	parameters := webrtc.RTPCodecParameters{RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: mimes[codec], SDPFmtpLine: fmtp}}
	p.receiver = newReceiver(parameters, func(t *media.Track, f media.Frame) { p.got = append(p.got, delivery{t, f}) }, func() { p.wanted++ })
	return p
}

// packets are groups as RTP packets, numbered from first on, with timestamps from start on.
func packets(groups []Group, first uint16, start uint32) (list []*rtp.Packet) {
	for _, g := range groups {
		for i, payload := range g.Packets() {
			list = append(list, &rtp.Packet{Header: rtp.Header{SequenceNumber: first + uint16(len(list)), Timestamp: start + g.Timestamp(), Marker: g.Marker(i)}, Payload: payload})
		}
	}
	return list
}

// arrive hands packets in, each a little after the one before.
func (p *rtpSource) arrive(list ...*rtp.Packet) {
	for _, packet := range list {
		p.now = p.now.Add(time.Millisecond)
		p.rtp(packet, p.now)
	}
}

// frames checks that what was delivered are the frames with the given numbers of a clip, in order, each with its time from the first.
func (p *rtpSource) frames(t *testing.T, c clip, numbers ...int) {
	t.Helper()
	if len(p.got) != len(numbers) {
		t.Errorf("%s: got %d frames, want %d", c.name, len(p.got), len(numbers))
		return
	}
	for i, n := range numbers {
		g, w := p.got[i], c.frames[n]
		if !bytes.Equal(g.frame.Data, w.Data) || g.frame.Key != w.Key || g.frame.Kind != c.track.Kind || g.frame.Track != c.track.ID || g.track.ID != c.track.ID {
			t.Errorf("%s: frame %d is not number %d", c.name, i, n)
		}
		if off := g.frame.PTS - p.got[0].frame.PTS - w.PTS + c.frames[numbers[0]].PTS; off.Abs() > time.Millisecond {
			t.Errorf("%s: frame %d is %v off", c.name, i, off)
		}
		if !sameTrack(*g.track, c.track) || g.track != p.got[0].track {
			t.Errorf("%s: frame %d is of %+v", c.name, i, *g.track)
		}
	}
}

// upTo are the numbers below n, from first on.
func upTo(first, n int) (list []int) {
	for i := first; i < n; i++ {
		list = append(list, i)
	}
	return list
}

// shuffle moves each packet by up to by places.
func shuffle(list []*rtp.Packet, by int) []*rtp.Packet {
	random := rand.New(rand.NewPCG(1, 2))
	type place struct {
		at int
		p  *rtp.Packet
	}
	var places []place
	for i, p := range list {
		places = append(places, place{i + random.IntN(by), p})
	}
	places[0].at = -1 // what comes before the first packet is not known to be missing
	slices.SortStableFunc(places, func(a, b place) int { return a.at - b.at })
	list = nil
	for _, p := range places {
		list = append(list, p.p)
	}
	return list
}

func TestReceiver(t *testing.T) {
	for _, c := range clips(t) {
		for name, way := range map[string]func([]*rtp.Packet) []*rtp.Packet{
			"in order": func(l []*rtp.Packet) []*rtp.Packet { return l },
			"shuffled": func(l []*rtp.Packet) []*rtp.Packet { return shuffle(l, 20) },
			"twice":    func(l []*rtp.Packet) []*rtp.Packet { return append(l, l...) },
			"each two times, shuffled": func(l []*rtp.Packet) []*rtp.Packet {
				return shuffle(slices.Concat(l[:1], slices.Repeat(l[1:], 2)), 1)
			},
			"with padding": func(l []*rtp.Packet) (out []*rtp.Packet) {
				for i, p := range l {
					q := *p
					q.SequenceNumber += uint16(i)
					padding := rtp.Packet{Header: q.Header}
					padding.SequenceNumber++
					padding.Marker = false
					out = append(out, &q, &padding)
				}
				return out
			},
			"without markers": func(l []*rtp.Packet) (out []*rtp.Packet) {
				for _, p := range l {
					q := *p
					q.Marker = false
					out = append(out, &q)
				}
				// The last frame ends when another begins.
				q := *l[0]
				q.Marker = false
				q.SequenceNumber = l[len(l)-1].SequenceNumber + 1
				q.Timestamp = l[len(l)-1].Timestamp + 90000
				return append(out, &q)
			},
		} {
			t.Run(c.name+" "+name, func(t *testing.T) {
				// Over the wraps of both numbers.
				p := newRTPSource(c.track.Codec, "")
				p.arrive(way(packets(c.groups(t), 0xfffd, 0xffffe000))...)
				if name == "without markers" && c.track.Kind == media.Audio {
					p.got = p.got[:len(p.got)-1]
				}
				p.frames(t, c, upTo(0, len(c.frames))...)
				if p.wanted != 0 {
					t.Errorf("asked for %d keyframes", p.wanted)
				}
			})
		}
	}
}

// Each packet that is lost costs the frames up to the next keyframe, of sound the one; and a keyframe is asked for, once.
func TestReceiverLoss(t *testing.T) {
	for _, c := range clips(t) {
		groups := c.groups(t)
		all := packets(groups, 100, 0)
		for lost := 1; lost < len(all)-1; lost++ {
			if typ := all[lost].Payload[0] & nalType; c.track.Codec == media.H264 && (typ == nalSEI || typ == nalSTAPA) {
				continue // information that no decoder needs, or parameter sets that are the same as before: the picture is whole without
			}
			in, n := 0, 0 // the frame of the lost packet
			for ; n+groups[in].Len() <= lost; in++ {
				n += groups[in].Len()
			}
			p := newRTPSource(c.track.Codec, "")
			p.arrive(slices.Concat(all[:lost], all[lost+1:])...)
			p.now = p.now.Add(videoPatience)
			p.arrive(&rtp.Packet{Header: rtp.Header{SequenceNumber: all[len(all)-1].SequenceNumber + 1, Timestamp: all[len(all)-1].Timestamp}}) // the patience ends
			want := upTo(0, in)
			next := in + 1
			for ; next < len(c.frames) && !c.frames[next].Key; next++ {
			}
			p.frames(t, c, append(want, upTo(next, len(c.frames))...)...)
			if video := c.track.Kind == media.Video; video != (p.wanted == 1) {
				t.Errorf("%s: asked for %d keyframes", c.name, p.wanted)
			}
			if s := p.Stats(); s.Lost != 1 || s.Packets != uint64(len(all)) || s.Frames != uint64(len(p.got)) {
				t.Errorf("%s: got %+v", c.name, s)
			}
			if t.Failed() {
				t.Fatalf("%s: packet %d of frame %d was lost", c.name, lost, in)
			}
		}
	}
}

// A packet that comes in time, even after many others, costs nothing.
func TestReceiverWaits(t *testing.T) {
	c := annexB(t, "plain.h264")
	all := packets(c.groups(t), 0xfffe, 0)
	p := newRTPSource(media.H264, "")
	p.arrive(all[0])
	p.arrive(all[3:]...)
	p.now = p.now.Add(videoPatience - 50*time.Millisecond)
	p.arrive(all[2])
	if len(p.got) != 0 {
		t.Fatal("frames before what belongs before them")
	}
	p.arrive(all[1])
	p.frames(t, c, upTo(0, len(c.frames))...)
	p.arrive(all[1])
	if s := p.Stats(); s.Late != 1 || s.Lost != 0 {
		t.Errorf("got %+v", s)
	}
}

// A sender that goes on at quite another number is followed.
func TestReceiverFollowsALeap(t *testing.T) {
	c := annexB(t, "plain.h264")
	for _, leap := range []uint16{5000, 0x8000, 0xe000} {
		p := newRTPSource(media.H264, "")
		groups := c.groups(t)
		p.arrive(packets(groups, 1000, 0)...)
		p.arrive(packets(groups[:6], 1000+leap, 36000)...)
		if len(p.got) < len(c.frames)+1 && leap == 5000 || len(p.got) < len(c.frames) {
			t.Errorf("leap %d: got %d frames", leap, len(p.got))
		}
		p.arrive(packets(groups[6:], 1000+leap+uint16(len(packets(groups[:6], 0, 0))), 36000)...)
		if last := p.got[len(p.got)-1].frame; !bytes.Equal(last.Data, c.frames[len(c.frames)-1].Data) {
			t.Errorf("leap %d: the last frame is another", leap)
		}
	}
}

func TestReceiverAsksSeldom(t *testing.T) {
	c := annexB(t, "plain.h264")
	groups := c.groups(t)
	p := newRTPSource(media.H264, "")
	seq := uint16(0)
	for i := range 50 { // 5 s of pictures of which none is a keyframe
		list := packets(groups[1:2], seq, uint32(9000*i))
		seq += uint16(len(list))
		p.now = p.now.Add(100*time.Millisecond - time.Duration(len(list))*time.Millisecond)
		p.arrive(list...)
	}
	if len(p.got) != 0 || p.wanted != 10 {
		t.Errorf("got %d frames, asked %d times, want 10", len(p.got), p.wanted)
	}
}

func TestSizeChanges(t *testing.T) {
	big, small := annexB(t, "plain.h264"), annexB(t, "small.h264")
	first := packets(big.groups(t), 0, 0)
	second := packets(small.groups(t), uint16(len(first)), uint32(ticks(pictureTime*time.Duration(len(big.frames)), 90000)))
	p := newRTPSource(media.H264, "")
	p.arrive(slices.Concat(first, second)...)
	got := p.got
	p.got = got[:len(big.frames)]
	p.frames(t, big, upTo(0, len(big.frames))...)
	p.got = got[len(big.frames):]
	p.frames(t, small, upTo(0, len(small.frames))...)
	if got[0].track.Width != 320 || got[len(got)-1].track.Width != 192 {
		t.Errorf("got %+v, then %+v", *got[0].track, *got[len(got)-1].track)
	}
}

// Parameter sets that only the session description has are used.
func TestParameterSetsOfTheDescription(t *testing.T) {
	c := annexB(t, "plain.h264")
	groups := c.groups(t)
	var list []*rtp.Packet
	for _, p := range packets(groups, 0, 0) {
		if p.Payload[0]&nalType != nalSTAPA {
			p.SequenceNumber = uint16(len(list))
			list = append(list, p)
		}
	}
	without := newRTPSource(media.H264, "packetization-mode=1")
	without.arrive(list...)
	if len(without.got) != 0 || without.wanted == 0 {
		t.Errorf("got %d frames without parameter sets", len(without.got))
	}
	sets := must(parameterSets(c.track.Config))
	with := newRTPSource(media.H264, "packetization-mode=1; sprop-parameter-sets="+base64s(sets)+";profile-level-id=42e01f")
	with.arrive(list...)
	with.frames(t, c, upTo(0, len(c.frames))...)
}

// Pictures that are shown in another order get back the times that they had: PTS as they were, DTS as late as their order allows, which may be later than the container's by the same time each.
func TestReorderedTimes(t *testing.T) {
	c := reordered(t)
	p := newRTPSource(media.H264, "")
	p.arrive(packets(c.groups(t), 0, 12345)...)
	p.frames(t, c, upTo(0, len(c.frames))...)
	last := time.Duration(-1)
	apart := func(f media.Frame) time.Duration { return f.PTS - f.DTS }
	const settled = 12 // from the second keyframe on
	later := apart(c.frames[settled]) - apart(p.got[settled].frame)
	if later < 0 || later > 2*pictureTime {
		t.Errorf("the pictures are decoded %v later than a container says", later)
	}
	for i, g := range p.got {
		if g.frame.DTS <= last || g.frame.DTS > g.frame.PTS {
			t.Errorf("frame %d: DTS %v behind %v, PTS %v", i, g.frame.DTS, last, g.frame.PTS)
		}
		last = g.frame.DTS
		if off := apart(c.frames[i]) - apart(g.frame) - later; i >= settled && off.Abs() > 2*time.Millisecond {
			t.Errorf("frame %d: PTS and DTS are %v apart, want %v", i, apart(g.frame), apart(c.frames[i])-later)
		}
	}
}

// Sound and pictures that arrive apart are brought in step by sender reports; without any, arrival decides.
func TestTracksGetInStep(t *testing.T) {
	const late = 180 * time.Millisecond // of the pictures, on their way
	for _, reports := range []bool{false, true} {
		video, audio := newRTPSource(media.VP8, ""), newRTPSource(media.Opus, "")
		shared := &peerClock{}
		video.shareClock(shared)
		audio.shareClock(shared)
		pictures, sounds := ivf(t, media.VP8).groups(t), sound().groups(t)
		start := video.now
		const videoStart, audioStart = 0xfffff000, 0xffff0000
		var vseq, aseq uint16
		report := func(at time.Duration, clock int, first uint32) *rtcp.SenderReport {
			return &rtcp.SenderReport{NTPTime: ntpTime(start.Add(at)), RTPTime: first + uint32(ticks(at, int64(clock)))}
		}
		for ms := range 15000 { // each track by its own clock
			at := time.Duration(ms) * time.Millisecond
			now := start.Add(at)
			if ms%20 == 0 {
				audio.rtp(&rtp.Packet{Header: rtp.Header{SequenceNumber: aseq, Timestamp: audioStart + uint32(48*ms)}, Payload: sounds[0].Packet(0)}, now)
				aseq++
			}
			if ms%40 == 0 {
				for _, p := range packets(pictures[:1], vseq, videoStart+uint32(90*ms)) {
					video.rtp(p, now.Add(late))
					vseq++
				}
			}
			if reports && ms%1000 == 500 {
				audio.senderReport(report(at, 48000, audioStart), now)
				video.senderReport(report(at, 90000, videoStart), now.Add(late))
			}
		}
		lastV, lastA := video.got[len(video.got)-1].frame.PTS, audio.got[len(audio.got)-1].frame.PTS
		apart := (lastV - 14960*time.Millisecond) - (lastA - 14980*time.Millisecond)
		want := late
		if reports {
			want = 0
		}
		if (apart - want).Abs() > 2*time.Millisecond {
			t.Errorf("reports %v: the pictures are %v behind the sound, want %v", reports, apart, want)
		}
		for _, p := range []*rtpSource{video, audio} {
			for i := 1; i < len(p.got); i++ {
				step, even := p.got[i].frame.DTS-p.got[i-1].frame.DTS, p.got[1].frame.DTS-p.got[0].frame.DTS
				if (step - even).Abs() > even/10 {
					t.Fatalf("frame %d comes %v after the one before, want about %v", i, step, even)
				}
			}
		}
	}
}

// Timestamps that begin anew go on from where the clock says.
func TestTimestampsLeap(t *testing.T) {
	p := newRTPSource(media.Opus, "")
	payload := sound().groups(t)[0].Packet(0)
	for i := range 100 {
		timestamp := uint32(960 * i)
		if i >= 50 {
			timestamp += 1 << 30
		}
		p.rtp(&rtp.Packet{Header: rtp.Header{SequenceNumber: uint16(i), Timestamp: timestamp}, Payload: payload}, p.now)
		p.now = p.now.Add(20 * time.Millisecond)
	}
	for i, g := range p.got {
		if off := g.frame.PTS - time.Duration(i)*20*time.Millisecond; off.Abs() > time.Millisecond {
			t.Fatalf("frame %d is at %v", i, g.frame.PTS)
		}
	}
}

func TestReceiverOfAnUnknownCodec(t *testing.T) {
	r := newReceiver(webrtc.RTPCodecParameters{RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: "video/H265"}}, func(*media.Track, media.Frame) { t.Error("delivered") }, func() { t.Error("asked") })
	r.rtp(&rtp.Packet{Payload: []byte{1, 2, 3}}, time.Now())
	r.senderReport(&rtcp.SenderReport{NTPTime: 1}, time.Now())
	if s := r.Stats(); s != (ReceiverStats{}) {
		t.Errorf("got %+v", s)
	}
}
