//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/webrtc/v4"
	pionmedia "github.com/pion/webrtc/v4/pkg/media"
	"golang.org/x/sys/unix"

	"hawser/lifecycle"
	"hawser/media"
	"hawser/rtc"
)

const whepBareName = "whep-gso"

// The parameter sets are those of a picture of 640 by 360; the pictures are not looked at by anybody.
var (
	whepSPS = []byte{0x67, 0x42, 0xc0, 0x1e, 0xda, 0x02, 0x80, 0xbf, 0xe5, 0xc0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04, 0x00, 0x00, 0x03, 0x00, 0xf0, 0x3c, 0x58, 0xba, 0x80}
	whepPPS = []byte{0x68, 0xce, 0x3c, 0x80}
)

// whepNAL is picture i as one NAL unit.
func whepNAL(i int) []byte {
	b := bytes.Repeat([]byte{0xa5}, whepRate/8/whepPictures)
	if b[0] = 0x41; i%whepGOP == 0 {
		b[0] = 0x65
	}
	return b
}

// everyPicture calls f at the pictures' rate, for ever.
func everyPicture(f func(i int)) {
	for i, next := 0, time.Now(); ; i++ {
		f(i)
		next = next.Add(time.Second / whepPictures)
		time.Sleep(time.Until(next))
	}
}

// serveOffers answers each POST with what open returns for its body.
func serveOffers(ln net.Listener, open func(offer string) (string, error)) error {
	return http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		offer, err := io.ReadAll(r.Body)
		answer := ""
		if err == nil {
			answer, err = open(string(offer))
		}
		if failed(err) {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, answer)
	}))
}

// whepHawser is package rtc: an engine, whose peers follow one list of groups.
type whepHawser struct {
	engine *rtc.Engine
	track  media.Track

	mu     sync.Mutex
	groups [64][]byte
	head   uint64
	peers  []*whepViewer
	up     int
}

type whepViewer struct {
	s    *whepHawser
	peer *rtc.Peer
	next uint64
}

func newWHEPHawser(options) engine {
	engine, err := rtc.New(rtc.Options{UDP: "127.0.0.1:0", Loopback: true})
	if err != nil {
		panic(err)
	}
	config := []byte{1, whepSPS[1], whepSPS[2], whepSPS[3], 0xff, 0xe1, 0, byte(len(whepSPS))}
	config = append(append(append(config, whepSPS...), 1, 0, byte(len(whepPPS))), whepPPS...)
	track, err := media.ParseAVCC(config)
	if err != nil {
		panic(err)
	}
	track.ID = 1
	s := &whepHawser{engine: engine, track: track}
	packetizer, err := rtc.NewPacketizer(track)
	if err != nil {
		panic(err)
	}
	go everyPicture(func(i int) {
		nal := whepNAL(i)
		at := time.Duration(i) * time.Second / whepPictures
		g := packetizer.AppendGroup(nil, media.Frame{Track: 1, Kind: media.Video, Key: i%whepGOP == 0, DTS: at, PTS: at, Data: append(binary.BigEndian.AppendUint32(nil, uint32(len(nal))), nal...)})
		s.mu.Lock()
		s.groups[s.head%uint64(len(s.groups))] = g
		s.head++
		peers := s.peers
		s.mu.Unlock()
		for _, v := range peers {
			v.peer.Wake()
		}
	})
	return s
}

// Fill implements rtc.Source.
func (v *whepViewer) Fill(dst [][]byte, most int) [][]byte {
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	v.next = max(v.next, v.s.head-min(v.s.head, uint64(len(v.s.groups))))
	for ; v.next < v.s.head && most > 0; v.next++ {
		g := v.s.groups[v.next%uint64(len(v.s.groups))]
		dst = append(dst, g)
		most -= len(g)
	}
	return dst
}

func (s *whepHawser) serve(ln net.Listener) error {
	return serveOffers(ln, func(offer string) (string, error) {
		v := &whepViewer{s: s}
		peer, err := s.engine.Peer(rtc.PeerOptions{Send: []media.Track{s.track}, Source: v, OnChange: func(c rtc.Change) {
			if c.To == rtc.StateConnected {
				s.mu.Lock()
				s.up++
				s.mu.Unlock()
			}
		}})
		if err != nil {
			return "", err
		}
		v.peer = peer
		answer, err := peer.Answer(context.Background(), offer)
		if err != nil {
			peer.Close(lifecycle.ReasonOf(err))
			return "", err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		v.next = s.head
		s.peers = append(s.peers, v)
		return answer, nil
	})
}

func (s *whepHawser) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.up
}

func (s *whepHawser) cast([]byte) error { return nil }

// whepPion is pion as its examples use it: a track for all, a peer connection for each viewer with all that is registered by default.
type whepPion struct {
	members[*webrtc.PeerConnection]
	track *webrtc.TrackLocalStaticSample
	api   *webrtc.API
}

func newWHEPPion(options) engine {
	track, err := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeH264}, "video", "bench")
	if err != nil {
		panic(err)
	}
	var settings webrtc.SettingEngine
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetIPFilter(func(ip net.IP) bool { return ip.Equal(net.IPv4(127, 0, 0, 1)) })
	s := &whepPion{track: track, api: webrtc.NewAPI(webrtc.WithSettingEngine(settings))}
	start := []byte{0, 0, 0, 1}
	go everyPicture(func(i int) {
		var b []byte
		if i%whepGOP == 0 {
			b = append(append(append(append(b, start...), whepSPS...), start...), whepPPS...)
		}
		b = append(append(b, start...), whepNAL(i)...)
		track.WriteSample(pionmedia.Sample{Data: b, Duration: time.Second / whepPictures})
	})
	return s
}

func (s *whepPion) serve(ln net.Listener) error {
	return serveOffers(ln, func(offer string) (string, error) {
		pc, err := s.api.NewPeerConnection(webrtc.Configuration{})
		if err != nil {
			return "", err
		}
		pc.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
			if state == webrtc.PeerConnectionStateConnected {
				s.add(pc)
			}
		})
		sender, err := pc.AddTrack(s.track)
		if err != nil {
			return "", err
		}
		go func() {
			b := make([]byte, 1500)
			for {
				if _, _, err := sender.Read(b); err != nil {
					return
				}
			}
		}()
		if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
			return "", err
		}
		answer, err := pc.CreateAnswer(nil)
		if err != nil {
			return "", err
		}
		gathered := webrtc.GatheringCompletePromise(pc)
		if err := pc.SetLocalDescription(answer); err != nil {
			return "", err
		}
		<-gathered
		return pc.LocalDescription().SDP, nil
	})
}

func (s *whepPion) cast([]byte) error { return nil }

// whepBare sends as many bytes to as many addresses, with one call for each picture and viewer, and does nothing else: no header, no encryption.
type whepBare struct {
	members[netip.AddrPort]
	fd int
}

func newWHEPBare(options) engine {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		panic(err)
	}
	s := &whepBare{fd: fd}
	const packet = 1160 + 12 + 16 + 2
	whole := make([]byte, whepRate/8/whepPictures/1160*packet+whepRate/8/whepPictures%1160+40)
	control := make([]byte, unix.CmsgSpace(2))
	h := unix.Cmsghdr{Level: unix.SOL_UDP, Type: unix.UDP_SEGMENT}
	h.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint64(control, h.Len)
	binary.NativeEndian.PutUint32(control[8:], uint32(h.Level))
	binary.NativeEndian.PutUint32(control[12:], uint32(h.Type))
	binary.NativeEndian.PutUint16(control[16:], packet)
	go everyPicture(func(int) {
		s.each(func(a netip.AddrPort) error {
			return unix.Sendmsg(fd, whole, control, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}, 0)
		})
	})
	return s
}

func (s *whepBare) serve(ln net.Listener) error {
	return serveOffers(ln, func(offer string) (string, error) {
		a, err := netip.ParseAddrPort(offer)
		if err != nil {
			return "", fmt.Errorf("%q: %w", offer, err)
		}
		s.add(a)
		return "", nil
	})
}

func (s *whepBare) cast([]byte) error { return nil }
