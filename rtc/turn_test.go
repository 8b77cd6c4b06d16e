package rtc

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// A client reaches the server by the server's own TURN server, over UDP and over TCP; with wrong or old credentials it does not.
func TestTURN(t *testing.T) {
	secret := &TURNOptions{UDP: "127.0.0.1:0", TCP: "127.0.0.1:0", Relay: "127.0.0.1", Secret: "s3cret"}
	server := newEngine(t, quick(Options{UDP: "127.0.0.1:0", TURN: secret}))
	for _, c := range []struct {
		name, transport string
		change          func(*ICEServer)
		works           bool
	}{
		{"udp", "udp", func(*ICEServer) {}, true},
		{"tcp", "tcp", func(*ICEServer) {}, true},
		{"wrong credential", "udp", func(s *ICEServer) { s.Credential = "guess" }, false},
		{"old credential", "udp", func(s *ICEServer) {
			old := *server.turn
			old.opts.Lifetime = -time.Second
			*s, _ = old.credentials("viewer")
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := server.ICEServers()[0]
			c.change(&s)
			for _, url := range s.URLs {
				if strings.HasSuffix(url, c.transport) {
					s.URLs = []string{url}
					break
				}
			}
			o := quick(Options{ICEServers: []ICEServer{s}, RelayOnly: true})
			if !c.works {
				o.DisconnectedTimeout, o.FailedTimeout = time.Second, time.Second
			}
			client := newEngine(t, o)
			seen := newSeen()
			sp := openPeer(t, server, PeerOptions{OnChannel: func(*Channel) ChannelOptions { return ChannelOptions{} }})
			cp := openPeer(t, client, PeerOptions{OnChange: seen.add})
			if _, err := cp.Open("data", ChannelOptions{}); err != nil {
				t.Fatal(err)
			}
			connect(t, cp, sp)
			if !c.works {
				seen.until(t, "new checking failed")
				return
			}
			seen.until(t, "new checking connected completed")
			if pair := cp.ICE().Pair; pair.Local.Type != "relay" {
				t.Errorf("the pair is %v, want a relay", pair)
			}
		})
	}
}

func TestTURNRelaysToItselfOnly(t *testing.T) {
	e := newEngine(t, Options{UDP: "127.0.0.1:0", Announce: []string{"203.0.113.5"}, TURN: &TURNOptions{UDP: "127.0.0.1:0", Relay: "127.0.0.1", Secret: "s3cret"}})
	for address, want := range map[string]bool{"203.0.113.5": true, "127.0.0.1": false, "8.8.8.8": false, "169.254.169.254": false, "::1": false} {
		if got := e.isOwn(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %v, want %v", address, got, want)
		}
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range own {
		if ip := a.(*net.IPNet).IP; !ip.IsLoopback() && !e.isOwn(netip.MustParsePrefix(a.String()).Addr()) {
			t.Errorf("%v is not allowed", ip)
		}
	}
}

func TestTURNOptionsAreChecked(t *testing.T) {
	_, err := New(Options{TURN: &TURNOptions{MinPort: 50_000, MaxPort: 40_000}})
	for _, want := range []string{"TURN.Relay", "TURN.Secret", "TURN.UDP", "TURN.MinPort"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %s: %v", want, err)
		}
	}
}
