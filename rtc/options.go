package rtc

import (
	"cmp"
	"log/slog"
	"time"

	"github.com/pion/transport/v4"

	"hawser/lifecycle"
	"hawser/media"
)

// The values that hold unless Options say otherwise.
const (
	// DefaultMaxPeers bounds the peers of an engine at one time.
	DefaultMaxPeers = 10_000
	// DefaultDisconnectedTimeout is how long nothing may come over a pair before the state is StateDisconnected.
	DefaultDisconnectedTimeout = 2500 * time.Millisecond
	// DefaultFailedTimeout is how long StateDisconnected, or StateChecking without an answer, lasts before the state is StateFailed.
	DefaultFailedTimeout = 10 * time.Second
	// DefaultKeepAlive is the interval of the checks on a pair that is used, of an engine without a UDP port of its own: a client's. DefaultServerKeepAlive is that of one with it: it is mostly
	// spoken to, and each check of each peer costs time.
	DefaultKeepAlive       = 500 * time.Millisecond
	DefaultServerKeepAlive = 2 * time.Second
	// DefaultSettle is how long the pair that is used must have been the same, with all candidates known, before the state is StateCompleted.
	DefaultSettle = 2 * time.Second
	// DefaultConnectTimeout is how long a peer may take until ICE and DTLS stand; then it is closed (reason timeout).
	DefaultConnectTimeout = 15 * time.Second
	// DefaultRestartTimeout is how long a peer whose state is StateFailed waits for a restart; then it is closed (reason timeout).
	DefaultRestartTimeout = 30 * time.Second
	// DefaultMaxSDP bounds the bytes of an offer or answer.
	DefaultMaxSDP = 64 << 10
	// DefaultMaxCandidates bounds the candidates of the other side until the next restart.
	DefaultMaxCandidates = 100
	// DefaultMaxChannels bounds the data channels that the other side may open on a peer.
	DefaultMaxChannels = 8
	// DefaultMaxMessage bounds the bytes of a received data channel message.
	DefaultMaxMessage = 64 << 10
	// DefaultMaxBuffered bounds the bytes that wait to be sent on a data channel.
	DefaultMaxBuffered = 1 << 20
	// DefaultGatherTimeout is how long addresses are gathered before an answer without trickle is given with what there is.
	DefaultGatherTimeout = 3 * time.Second
)

// Options are the settings of an Engine; the zero value is a client's: each peer has UDP ports of its own. A server sets UDP.
type Options struct {
	// UDP is the address of the one UDP port of all peers, for example ":8189", or ":0" for a port that the system chooses; "" means that each peer has ports of its own, "-" that there is no UDP.
	// Two engines that both have one port can have one peer between them only: their packets cannot be told apart. So clients leave it empty.
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
	// RelayOnly lets peers use nothing but relays of TURN servers: to hide addresses.
	RelayOnly bool
	// TURN makes the engine a TURN server too; nil means that it is none.
	TURN *TURNOptions
	// Log takes what the stack below logs, with levels lowered by one; nil means nobody. What happens to peers is told by PeerOptions.
	Log *slog.Logger
	// DisconnectedTimeout, FailedTimeout, KeepAlive, Settle and GatherTimeout are the clocks of ICE; 0 means the defaults.
	DisconnectedTimeout, FailedTimeout, KeepAlive, Settle, GatherTimeout time.Duration
	// ConnectTimeout and RestartTimeout bound the life of a peer that does not connect; 0 means the defaults.
	ConnectTimeout, RestartTimeout time.Duration
	// MaxPeers bounds the peers at one time (reason limit), MaxCandidates the candidates of the other side of one (reason limit), MaxChannels the data channels that it may open (more are closed at once),
	// MaxSDP the bytes of a description and MaxMessage those of a received message (reason too_big); 0 means the defaults.
	MaxPeers, MaxCandidates, MaxChannels, MaxSDP, MaxMessage int

	net transport.Net // of tests
}

// ownUDP says that the engine has a UDP port for all peers.
func (o *Options) ownUDP() bool { return o.UDP != "" && o.UDP != "-" }

func (o *Options) fill() {
	o.DisconnectedTimeout = cmp.Or(o.DisconnectedTimeout, DefaultDisconnectedTimeout)
	o.FailedTimeout = cmp.Or(o.FailedTimeout, DefaultFailedTimeout)
	if o.KeepAlive == 0 && o.ownUDP() {
		o.KeepAlive = DefaultServerKeepAlive
	}
	o.KeepAlive = cmp.Or(o.KeepAlive, DefaultKeepAlive)
	o.Settle = cmp.Or(o.Settle, DefaultSettle)
	o.GatherTimeout = cmp.Or(o.GatherTimeout, DefaultGatherTimeout)
	o.ConnectTimeout = cmp.Or(o.ConnectTimeout, DefaultConnectTimeout)
	o.RestartTimeout = cmp.Or(o.RestartTimeout, DefaultRestartTimeout)
	o.MaxPeers = cmp.Or(o.MaxPeers, DefaultMaxPeers)
	o.MaxCandidates = cmp.Or(o.MaxCandidates, DefaultMaxCandidates)
	o.MaxChannels = cmp.Or(o.MaxChannels, DefaultMaxChannels)
	o.MaxSDP = cmp.Or(o.MaxSDP, DefaultMaxSDP)
	o.MaxMessage = cmp.Or(o.MaxMessage, DefaultMaxMessage)
}

// ICEServer is a STUN or TURN server.
type ICEServer struct {
	// URLs are for example "stun:stun.example.org" and "turn:turn.example.org?transport=udp".
	URLs []string `json:"urls"`
	// Username and Credential are those of a TURN server.
	Username   string `json:"username,omitempty"`
	Credential string `json:"credential,omitempty"`
}

// KindPair is the kind of the event when a peer that is connected uses another pair of candidates: Detail is the pair. What changes within ten seconds after such an event is one event at their end, however
// often two pairs alternate: "udp host 10.0.0.1:8189 - host 10.0.0.7:50123, after 17 changes". Where the change ends StateCompleted, that is told instead.
const KindPair = "pair"

// PeerOptions are the settings of a Peer. The functions must not wait for the peer; each is called by one goroutine at a time.
type PeerOptions struct {
	// Conn is the connection in the event log whose states and events the peer's are; nil for none.
	Conn *lifecycle.Conn
	// Send are the tracks that are sent, if any: at most one of video and one of audio, of a codec for which Carries says nil.
	Send []media.Track
	// Source hands out what is sent.
	Source Source
	// OnFrame takes what is received: frames in order. t is another pointer when the track's parameters have changed.
	OnFrame func(t *media.Track, f media.Frame)
	// OnChange takes each change of the ICE state, in order; the first has StateNew twice. A slow one misses nothing.
	OnChange func(Change)
	// OnCandidate takes the peer's own candidates as they are found, "candidate:..." as in RFC 8839, and "" after the last; without it Answer and Offer wait for all of them.
	OnCandidate func(candidate string)
	// OnChannel is called when the other side opens a data channel; what it returns is what the channel's messages go to. nil closes such channels.
	OnChannel func(*Channel) ChannelOptions
	// OnSlow is called when the other side cannot take the rate at which it is sent to; again only after it could for a while.
	OnSlow func(Strain)
	// OnKeyframe is called when the other side needs a keyframe; requests that come close together are one.
	OnKeyframe func()
}

// Source hands out what a peer sends: groups, as Packetizer makes them. Fill appends shared bytes, which must not change, until about max bytes are reached, and returns dst as it is when there is nothing; then
// the peer waits for a Wake. It is called by one goroutine at a time.
type Source interface {
	Fill(dst [][]byte, max int) [][]byte
}
