package rtc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"time"

	others "github.com/pion/rtp/codecs"

	"hawser/lifecycle"
	"hawser/media"
)

// unpack depacketises groups.
func unpack(t testing.TB, codec media.Codec, groups []Group) (units []Unit) {
	t.Helper()
	d, err := NewDepacketizer(codec, func(u Unit) { units = append(units, u) })
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		for i, payload := range g.Packets() {
			d.Push(payload, g.Timestamp(), g.Marker(i))
		}
	}
	return units
}

// What goes in comes out, for every codec, and within the limits of a packet.
func TestPacketizeBothWays(t *testing.T) {
	for _, c := range append(clips(t), reordered(t)) {
		groups := c.groups(t)
		several := false
		for _, g := range groups {
			several = several || g.Len() > 2
			for i, payload := range g.Packets() {
				if len(payload) == 0 || len(payload) > MaxPayload {
					t.Errorf("%s: packet %d has %d bytes", c.name, i, len(payload))
				}
			}
		}
		if !several && c.track.Kind == media.Video {
			t.Errorf("%s: no frame is large enough to try fragments", c.name)
		}
		units := unpack(t, c.track.Codec, groups)
		if len(units) != len(c.frames) {
			t.Errorf("%s: got %d frames, want %d", c.name, len(units), len(c.frames))
			continue
		}
		for i, u := range units {
			f := c.frames[i]
			if !bytes.Equal(u.Data, f.Data) || u.Key != f.Key || u.Timestamp != uint32(ticks(f.PTS, int64(ClockRate(groups[i].Slot())))) {
				t.Errorf("%s: frame %d: got %d bytes, key %v at %d, want %d, %v at %v", c.name, i, len(u.Data), u.Key, u.Timestamp, len(f.Data), f.Key, f.PTS)
			}
			if !sameTrack(*u.Track, c.track) || u.Track.Codec != c.track.Codec || u.Track != units[0].Track {
				t.Errorf("%s: frame %d is of %+v, want %+v", c.name, i, *u.Track, c.track)
			}
		}
	}
}

// The payloads are those that another implementation reads.
func TestPayloadsAsOthersReadThem(t *testing.T) {
	for _, c := range clips(t) {
		type depacketizer interface {
			Unmarshal([]byte) ([]byte, error)
		}
		var other depacketizer
		for i, g := range c.groups(t) {
			var got []byte
			for _, payload := range g.Packets() {
				switch c.track.Codec {
				case media.H264:
					if other == nil {
						other = &others.H264Packet{IsAVC: true}
					}
				case media.VP8:
					other = &others.VP8Packet{}
				case media.VP9:
					other = &others.VP9Packet{}
				case media.AV1:
					if other == nil {
						other = &others.AV1Depacketizer{}
					}
				case media.Opus:
					other = &others.OpusPacket{}
				}
				b, err := other.Unmarshal(payload)
				if err != nil {
					t.Fatalf("%s: frame %d: %v", c.name, i, err)
				}
				got = append(got, b...)
			}
			want := c.frames[i].Data
			if c.track.Codec == media.H264 && c.frames[i].Key { // the parameter sets are in there
				for _, set := range slices.Backward(must(parameterSets(c.track.Config))) {
					want = append(append(binary.BigEndian.AppendUint32(nil, uint32(len(set))), set...), want...)
				}
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s: frame %d: got %d bytes, want %d", c.name, i, len(got), len(want))
			}
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// What others make, the depacketizers read.
func TestPayloadsOfOthers(t *testing.T) {
	for _, c := range clips(t) {
		type payloader interface {
			Payload(mtu uint16, payload []byte) [][]byte
		}
		var other payloader
		switch c.track.Codec {
		case media.H264:
			other = &others.H264Payloader{}
		case media.VP8:
			other = &others.VP8Payloader{EnablePictureID: true}
		case media.VP9:
			other = &others.VP9Payloader{}
		case media.AV1:
			other = &others.AV1Payloader{}
		case media.Opus:
			other = &others.OpusPayloader{}
		}
		var groups []Group
		for i, f := range c.frames {
			data := f.Data
			if c.track.Codec == media.H264 { // it takes start codes
				data = nil
				all := [][]byte{}
				if f.Key {
					all = append(all, must(parameterSets(c.track.Config))...)
				}
				if err := eachNALU(f.Data, 4, func(nalu []byte) { all = append(all, nalu) }); err != nil {
					t.Fatal(err)
				}
				for _, nalu := range all {
					data = append(append(data, 0, 0, 0, 1), nalu...)
				}
			}
			w := startGroup(nil, map[bool]int{true: SlotAudio}[c.track.Kind == media.Audio], 0, uint32(i))
			for _, payload := range other.Payload(700, data) {
				w.next()
				w.b = append(w.b, payload...)
			}
			groups = append(groups, w.finish())
		}
		units := unpack(t, c.track.Codec, groups)
		if len(units) != len(c.frames) {
			t.Errorf("%s: got %d frames, want %d", c.name, len(units), len(c.frames))
			continue
		}
		for i, u := range units {
			if !bytes.Equal(u.Data, c.frames[i].Data) || u.Key != c.frames[i].Key || !sameTrack(*u.Track, c.track) {
				t.Errorf("%s: frame %d differs", c.name, i)
			}
		}
	}
}

func TestPictureIDsAreThereFromTheFirst(t *testing.T) {
	for _, codec := range []media.Codec{media.VP8, media.VP9} {
		c := ivf(t, codec)
		p, err := NewPacketizer(c.track)
		if err != nil {
			t.Fatal(err)
		}
		p.picture = 0x7ffe // over the wrap
		for i, f := range c.frames[:4] {
			want := (0x7ffe + uint16(i)) & 0x7fff
			g := Group(p.AppendGroup(nil, f))
			for n, payload := range g.Packets() {
				var id uint16
				var known, start, end bool
				if codec == media.VP8 {
					var v others.VP8Packet
					_, err = v.Unmarshal(payload)
					id, known, start, end = v.PictureID, v.I == 1, v.S == 1, n == g.Len()-1
				} else {
					var v others.VP9Packet
					_, err = v.Unmarshal(payload)
					id, known, start, end = v.PictureID, v.I, v.B, v.E
					if v.P == f.Key || v.V != (f.Key && n == 0) || v.V && (int(v.Width[0]) != c.track.Width || int(v.Height[0]) != c.track.Height) {
						t.Errorf("frame %d, packet %d: got %+v", i, n, v)
					}
				}
				if err != nil || !known || id != want || start != (n == 0) || end != (n == g.Len()-1) {
					t.Errorf("%s: frame %d, packet %d: number %d (%v), start %v, end %v, %v; want number %d", codec, i, n, id, known, start, end, err, want)
				}
			}
		}
	}
}

func TestParameterSetsComeOnce(t *testing.T) {
	c := annexB(t, "plain.h264")
	sets := must(parameterSets(c.track.Config))
	f := c.frames[0]
	var own []byte
	for _, set := range sets {
		own = append(append(own, 0, 0, 0, byte(len(set))), set...)
	}
	f.Data = slices.Concat([]byte{0, 0, 0, 2, nalDelimiter, 0x10, 0, 0, 0, 0, 0, 0, 0, 2, nalFiller, 0x80}, own, f.Data)
	p := must(NewPacketizer(c.track))
	g := Group(p.AppendGroup(nil, f))
	if string(g.Packet(0)) != string(sets[0]) || string(g.Packet(1)) != string(sets[1]) || g.Packet(2)[0]&nalType != nalFUA && g.Packet(2)[0]&nalType != nalSEI && g.Packet(2)[0]&nalType != nalIDR {
		t.Errorf("the first packets are % x, % x, % x…", g.Packet(0), g.Packet(1), g.Packet(2)[:2])
	}
	if units := unpack(t, media.H264, []Group{g}); len(units) != 1 || !bytes.Equal(units[0].Data, c.frames[0].Data) {
		t.Error("the frame is not what it was without them")
	}
	p.params = append([][]byte{bytes.Repeat([]byte{nalSPS}, MaxPayload)}, sets[1])
	if g := Group(p.AppendGroup(nil, c.frames[0])); len(g.Packet(0)) != MaxPayload || string(g.Packet(1)) != string(sets[1]) {
		t.Error("parameter sets that do not fit into one packet are not each in one")
	}
}

// A keyframe of AV1 without a sequence header gets that of the parameters.
func TestSequenceHeaderIsAdded(t *testing.T) {
	c := ivf(t, media.AV1)
	f := c.frames[0]
	_, header, err := media.SplitAV1(f.Data)
	if err != nil || !bytes.HasPrefix(f.Data, header) {
		t.Fatal("the clip does not begin with a sequence header")
	}
	f.Data = f.Data[len(header):]
	units := unpack(t, media.AV1, []Group{must(NewPacketizer(c.track)).AppendGroup(nil, f)})
	if len(units) != 1 || !bytes.Equal(units[0].Data, c.frames[0].Data) {
		t.Error("the frame is not what it was with it")
	}
}

func TestWhatIsNotCarried(t *testing.T) {
	for _, codec := range []media.Codec{media.AAC, media.HEVC, media.MP3, media.AC3, media.EAC3, media.FLAC, media.CodecNone} {
		err := Carries(media.Track{Codec: codec})
		if !errors.Is(err, lifecycle.ReasonUnsupported) || !bytes.Contains([]byte(err.Error()), []byte(codec.String())) {
			t.Errorf("%s: got %v", codec, err)
		}
		if _, err := NewPacketizer(media.Track{Codec: codec}); !errors.Is(err, lifecycle.ReasonUnsupported) {
			t.Errorf("%s: got %v", codec, err)
		}
		if _, err := NewDepacketizer(codec, nil); !errors.Is(err, lifecycle.ReasonUnsupported) {
			t.Errorf("%s: got %v", codec, err)
		}
	}
	if err := Carries(media.OpusTrack(6)); !errors.Is(err, lifecycle.ReasonUnsupported) {
		t.Errorf("six channels: got %v", err)
	}
	if _, err := NewPacketizer(media.Track{Codec: media.H264, Config: []byte{1, 2, 3}}); err == nil {
		t.Error("broken parameters are taken")
	}
}

func TestFramesWithoutAForm(t *testing.T) {
	c := annexB(t, "plain.h264")
	p := must(NewPacketizer(c.track))
	key := c.frames[0]
	other, config, empty, broken := key, key, key, key
	other.Track, config.Config, empty.Data, broken.Data = 7, true, nil, key.Data[:len(key.Data)-1]
	dst := []byte("before")
	for name, f := range map[string]media.Frame{"another track": other, "parameters": config, "no bytes": empty, "broken": broken} {
		if got := p.AppendGroup(dst, f); string(got) != "before" {
			t.Errorf("%s: got % x", name, got)
		}
	}
	opus := must(NewPacketizer(sound().track))
	if got := opus.AppendGroup(nil, media.Frame{Track: 2, Data: make([]byte, MaxPayload+1)}); len(got) != 0 {
		t.Errorf("got %d bytes of a sound that fits into no packet", len(got))
	}
}

func TestReorders(t *testing.T) {
	for name, want := range map[string]bool{"plain.h264": false, "reordered.h264": true} {
		if got := Reorders(annexB(t, name).track); got != want {
			t.Errorf("%s: got %v", name, got)
		}
	}
	if Reorders(ivf(t, media.VP9).track) || Reorders(media.Track{Codec: media.H264}) {
		t.Error("reorders where nothing says so")
	}
}

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		at   time.Duration
		want int64
	}{{0, 0}, {time.Second, 90000}, {pictureTime, 3000}, {-time.Second / 2, -45000}, {-pictureTime, -3000}, {100 * 24 * time.Hour, 100 * 86400 * 90000}} {
		if got := ticks(c.at, 90000); got != c.want {
			t.Errorf("%v: got %d ticks, want %d", c.at, got, c.want)
		}
	}
}

// The layers of a picture become a superframe, with an index of their sizes at the end (VP9 specification annex B).
func TestLayersBecomeASuperframe(t *testing.T) {
	key := ivf(t, media.VP9).frames[0].Data
	upper := []byte{0x86, 1, 2, 3, 4, 5}
	const numbered, predicted, layered, start, end = 0x80, 0x40, 0x20, 0x08, 0x04
	w := startGroup(nil, SlotVideo, 0, 0)
	w.next()
	w.b = append(append(w.b, numbered|layered|start|end, 0x80, 7, 0<<1, 0), key[:900]...) // the base layer, in two packets
	w.b[len(w.b)-900-5] &^= end
	w.next()
	w.b = append(append(w.b, numbered|layered|end, 0x80, 7, 0<<1, 0), key[900:]...)
	w.next()
	w.b = append(append(w.b, numbered|predicted|layered|start|end, 0x80, 7, 1<<1|1, 0), upper...)
	units := unpack(t, media.VP9, []Group{w.finish()})
	const marker = 0xc0 | 3<<3 | 1
	n := len(key)
	want := slices.Concat(key, upper, []byte{marker, byte(n), byte(n >> 8), 0, 0, byte(len(upper)), 0, 0, 0, marker})
	if len(units) != 1 || !units[0].Key || !bytes.Equal(units[0].Data, want) {
		t.Errorf("got %d units", len(units))
	}
}
