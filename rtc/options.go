package rtc

import (
	"time"

	"hawser/lifecycle"
	"hawser/media"
)

// The values that hold unless Options say otherwise.
const (
	// DefaultMaxPeers bounds the peers of an engine at one time.
	DefaultMaxPeers = 10_000
	// DefaultDisconnectedTimeout is how long nothing may come over a pair before the state is StateDisconnected.
	DefaultDisconnectedTimeout = 2 * time.Second
	// DefaultFailedTimeout is how long StateDisconnected, or StateChecking without an answer, lasts before the state is StateFailed.
	DefaultFailedTimeout = 10 * time.Second
	// DefaultKeepAlive is the interval of keepalives on a pair that is otherwise silent.
	DefaultKeepAlive = 500 * time.Millisecond
	// DefaultSettle is how long the pair that is used must have been the same, with all candidates known, before the state is StateCompleted.
	DefaultSettle = 2 * time.Second
	// DefaultGatherTimeout is how long addresses are gathered before an answer without trickle is given with what there is.
	DefaultGatherTimeout = 3 * time.Second
)

// Options are the settings of an Engine; the zero value has peers on UDP ports that the system chooses, one for all.
type Options struct {
	// UDP is the address of the one UDP port of all peers, for example ":8189"; "" means a port that the system chooses, "-" none.
	UDP string
	// TCP is the address of the one port for ICE over TCP (RFC 6544), passive; "" means none.
	TCP string
	// Lite makes the engine's peers ICE-lite (RFC 8445 section 2.5): for servers with a public address only.
	Lite bool
	// Announce are addresses that are told in place of those of the machine's interfaces, for a server behind a one-to-one NAT.
	Announce []string
	// Loopback lets candidates have loopback addresses.
	Loopback bool
	// ICEServers are STUN and TURN servers that peers use, and of which clients are told.
	ICEServers []ICEServer
	// DisconnectedTimeout, FailedTimeout, KeepAlive, Settle and GatherTimeout are the clocks of ICE; 0 means the defaults.
	DisconnectedTimeout, FailedTimeout, KeepAlive, Settle, GatherTimeout time.Duration
	// MaxPeers bounds the peers at one time (reason limit); 0 means DefaultMaxPeers.
	MaxPeers int
}

// ICEServer is a STUN or TURN server.
type ICEServer struct {
	// URLs are for example "stun:stun.example.org" and "turn:turn.example.org?transport=udp".
	URLs []string `json:"urls"`
	// Username and Credential are those of a TURN server.
	Username   string `json:"username,omitempty"`
	Credential string `json:"credential,omitempty"`
}

// PeerOptions are the settings of a Peer. The functions are called one at a time for each peer, and must not wait for the peer.
type PeerOptions struct {
	// Conn is the connection in the event log whose states and events the peer's are; nil for none.
	Conn *lifecycle.Conn
	// Send are the tracks that are sent: at most one of video and one of audio, of a codec for which Carries says nil.
	Send []media.Track
	// Source hands out what is sent.
	Source Source
	// OnFrame takes what is received: frames in order. t is another pointer when the track's parameters have changed.
	OnFrame func(t *media.Track, f media.Frame)
	// OnChange takes each change of the ICE state.
	OnChange func(Change)
	// OnCandidate takes the peer's own candidates as they are found, "candidate:..." as in RFC 8839, and "" after the last; without it Answer and Offer wait for all of them.
	OnCandidate func(candidate string)
	// OnKeyframe is called when the other side needs a keyframe; requests that come close together are one.
	OnKeyframe func()
}

// Source hands out what a peer sends: groups, as Packetizer makes them. Fill appends shared bytes, which must not change, until about max bytes are reached, and returns dst as it is when there is nothing; then
// the peer waits for a Wake. It is called by one goroutine at a time.
type Source interface {
	Fill(dst [][]byte, max int) [][]byte
}
