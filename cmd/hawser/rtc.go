package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"hawser/rtc"
	"hawser/server"
)

const (
	// defaultRTCAddr is where WebRTC is on UDP and TCP, unless told otherwise.
	defaultRTCAddr = ":8189"
	// sameAddr lets WebRTC over TCP be at the address of that over UDP.
	sameAddr = "same"
)

// rtcFlags are the flags about WebRTC.
type rtcFlags struct {
	udp, tcp             string
	announce, stun, turn []string
	lite                 bool
	opus                 string
}

// add adds them to a command.
func (o *rtcFlags) add(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.udp, "rtc", defaultRTCAddr, "UDP address for WebRTC (WHIP, WHEP, sessions), one port for all; port 0 chooses one, empty is off")
	f.StringVar(&o.tcp, "rtc-tcp", sameAddr, "TCP address for WebRTC where UDP does not get through; "+sameAddr+" is that of --rtc, empty is off")
	f.StringSliceVar(&o.announce, "rtc-announce", nil, "an IP address to tell WebRTC clients in place of this machine's own, for a server behind a NAT")
	f.StringSliceVar(&o.stun, "rtc-stun", nil, "a STUN server that WebRTC peers use, and of which clients are told: HOST:PORT")
	f.StringArrayVar(&o.turn, "rtc-turn", nil, "a TURN server likewise: USER:PASSWORD@HOST:PORT, with ?transport=tcp where it is to be that")
	f.StringVar(&o.opus, "rtc-opus", "", "the program, ffmpeg or its path, that makes Opus of sound in AAC for WebRTC viewers, once for all of a stream; empty leaves such sound out")
	f.Lookup("rtc-opus").NoOptDefVal = "ffmpeg"
	f.BoolVar(&o.lite, "rtc-lite", false, "be an ICE-lite server: for one with a public address only")
}

// options are what the flags say; nil is off.
func (o *rtcFlags) options() (*rtc.Options, error) {
	if o.udp == "" && (o.tcp == "" || o.tcp == sameAddr) {
		return nil, nil
	}
	r := &rtc.Options{UDP: o.udp, TCP: o.tcp, Lite: o.lite, Announce: o.announce, Loopback: loopback(o.udp)}
	if o.udp == "" {
		r.UDP, r.Loopback = "-", loopback(o.tcp)
	}
	if o.tcp == sameAddr {
		r.TCP = o.udp
	}
	for _, a := range o.announce {
		if _, err := netip.ParseAddr(a); err != nil {
			return nil, fmt.Errorf("--rtc-announce %s: want an IP address", a)
		}
	}
	for _, s := range o.stun {
		r.ICEServers = append(r.ICEServers, rtc.ICEServer{URLs: []string{"stun:" + s}})
	}
	for _, s := range o.turn {
		at := strings.LastIndexByte(s, '@')
		user, password, ok := strings.Cut(s[:max(at, 0)], ":")
		if !ok {
			return nil, fmt.Errorf("--rtc-turn: want USER:PASSWORD@HOST:PORT")
		}
		r.ICEServers = append(r.ICEServers, rtc.ICEServer{URLs: []string{"turn:" + s[at+1:]}, Username: user, Credential: password})
	}
	return r, nil
}

// loopback says that an address is for this machine only.
func loopback(addr string) bool {
	host, _, _ := net.SplitHostPort(addr)
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// announceRTC prints where WebRTC is, with the ports that it got.
func announceRTC(w io.Writer, s *server.Server) {
	e := s.RTC()
	if e == nil {
		return
	}
	var words []string
	for _, a := range []net.Addr{e.UDPAddr(), e.TCPAddr()} {
		if a != nil {
			words = append(words, a.Network()+" "+a.String())
		}
	}
	fmt.Fprintf(w, "hawser: webrtc on %s\n", strings.Join(words, ", "))
}
