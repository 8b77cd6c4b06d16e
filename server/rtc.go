package server

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"hawser/auth"
	"hawser/hook"
	"hawser/lifecycle"
	"hawser/rtc"
	"hawser/session"
	"hawser/stream"
)

// overRTC is the protocol's word in events and hooks.
const overRTC = "rtc"

// The kinds of event of a WebRTC connection, beside its states and those of package rtc.
const (
	// KindWithout: something of the stream is left out for this client (Reason), such as sound in AAC.
	KindWithout = "without"
	// KindView: how the client sees the connection. State is its iceConnectionState, Detail the rest.
	KindView = "view"
	// KindSwitch: the client shows the path over another transport. Transport says which, Detail its evidence.
	KindSwitch = "switch"
)

// rtcRole is what a peer is for.
type rtcRole uint8

const (
	rtcPlay    rtcRole = iota // the server sends
	rtcPublish                // the client sends
	rtcSession                // a data channel carries a session
)

// String returns "play", "publish" or "session".
func (r rtcRole) String() string {
	return [...]string{"play", "publish", "session"}[r]
}

// action is what somebody must be allowed for it.
func (r rtcRole) action() auth.Action {
	if r == rtcPublish {
		return auth.Stream
	}
	return auth.Play
}

// rtcOff is why there is no WebRTC.
var rtcOff = lifecycle.ReasonUnsupported.With("WebRTC is off on this server")

// newRTC opens the ports for WebRTC; what is wrong Serve says.
func (s *Server) newRTC(o *rtc.Options) {
	if o == nil {
		return
	}
	engine, err := rtc.New(*o)
	if err != nil {
		s.broken = errors.Join(s.broken, err)
		return
	}
	s.rtc = engine
}

// closeRTC ends all peers.
func (s *Server) closeRTC() {
	if s.rtc != nil {
		s.rtc.Close()
	}
}

// RTC returns where the WebRTC peers live; nil when WebRTC is off.
func (s *Server) RTC() *rtc.Engine { return s.rtc }

// rtcPeer is a WebRTC peer that plays or publishes a path, for a session or for WHIP and WHEP.
type rtcPeer struct {
	rtcAsk
	server *Server
	life   *lifecycle.Conn
	peer   *rtc.Peer
	began  time.Time
	about  hook.Event
	source *rtcSource        // of one that plays
	pub    *stream.Publisher // of one that publishes
	once   sync.Once

	mu       sync.Mutex
	release  func()           // of the guard
	doom     lifecycle.Reason // it was closed before it was made
	over     bool
	carrying bool      // there is the channel of a session
	wanted   time.Time // when a keyframe was last asked for
	ended    lifecycle.Reason
	offer    string // the last, and the answer to it
	answer   string
	ice      string // the server's ufrag
	agreed   bool   // the client has the answer
	later    []signalOut
}

// rtcAsk is what a client wants of WebRTC.
type rtcAsk struct {
	role   rtcRole
	path   string // a hook may have changed it; asked is what the client named
	asked  string
	remote string
	client string
	query  map[string][]string
	who    auth.Identity
	offer  string
	// say takes what the client is told while it has a session, the peer's own candidates too; nil puts those into the answer.
	say func(signalOut)
	// patience is how long a stream that is about to begin is waited for.
	patience time.Duration
	// channel takes the data channel of a session.
	channel *channelCarrier
	// gone is called when the peer has ended.
	gone func(*rtcPeer, lifecycle.Reason)
}

// openPeer makes a peer for an offer, and the answer. The hooks are asked here; whether the client may is for the caller to ask before.
func (s *Server) openPeer(ctx context.Context, ask rtcAsk) (p *rtcPeer, answer string, err error) {
	if s.rtc == nil {
		return nil, "", rtcOff
	}
	p = &rtcPeer{rtcAsk: ask, server: s, began: time.Now(), life: s.log.Open(overRTC, lifecycle.Server, ask.remote), release: func() {}}
	p.asked = ask.path
	p.life.SetPath(ask.path)
	p.about = hook.Event{Protocol: overRTC, Conn: p.life.ID(), Remote: ask.remote, Path: ask.path, Query: ask.query, Client: ask.client}
	if answer, err = p.open(ctx); err != nil {
		p.end(lifecycle.ReasonOf(err))
		return nil, "", err
	}
	return p, answer, nil
}

func (p *rtcPeer) open(ctx context.Context) (answer string, err error) {
	s := p.server
	if err := p.askHooks(ctx); err != nil {
		p.life.Event(lifecycle.Event{Kind: "refuse", Path: p.path, Detail: p.role.String(), Reason: lifecycle.ReasonOf(err)})
		return "", err
	}
	o := rtc.PeerOptions{Conn: p.life, OnChange: p.changed}
	if p.say != nil {
		o.OnCandidate = func(c string) { p.tell(signalOut{"candidate": c}) }
	}
	switch p.role {
	case rtcPublish:
		err = p.publishes(&o)
	case rtcSession:
		o.OnChannel = p.carries
	default:
		err = p.plays(ctx, &o)
	}
	if err != nil {
		return "", err
	}
	s.wait.Add(1) // until it is closed
	peer, err := s.rtc.Peer(o)
	if err != nil {
		s.wait.Done()
		return "", err
	}
	p.mu.Lock()
	p.peer = peer
	doom := p.doom
	s.traffic.rtc.add(peer, p.over)
	p.mu.Unlock()
	if !doom.IsZero() {
		p.close(doom)
		return "", doom
	}
	p.life.Event(lifecycle.Event{Kind: p.role.String(), Path: p.path})
	p.guard(p.who)
	if answer, err = p.answerTo(ctx, p.rtcAsk.offer); err != nil {
		p.peer.Close(lifecycle.ReasonOf(err))
	}
	return answer, err
}

// carries takes the first channel of the session's label; others are closed.
func (p *rtcPeer) carries(c *rtc.Channel) rtc.ChannelOptions {
	if c.Label() == session.Subprotocol {
		p.mu.Lock()
		first := !p.carrying
		p.carrying = true
		p.mu.Unlock()
		if first {
			return p.channel.opened(c)
		}
	}
	return rtc.ChannelOptions{OnOpen: func() { c.Close() }}
}

// plays makes the peer's viewer.
func (p *rtcPeer) plays(ctx context.Context, o *rtc.PeerOptions) error {
	takes := readOffer(p.rtcAsk.offer)
	c := p.server.carriage(p.path, takes)
	if c.why.Code == lifecycle.ReasonNotFound.Code && p.patience > 0 && p.server.absent(p.path).IsZero() {
		patience, cancel := context.WithTimeout(ctx, p.patience)
		defer cancel()
		if err := p.server.awaitTracks(patience, p.path, p.life.ID(), 1); err != nil {
			return err
		}
		c = p.server.carriage(p.path, takes)
	}
	if p.patience > 0 && p.server.mayGrow(p.path) {
		patience, cancel := context.WithTimeout(ctx, otherTrackWait)
		defer cancel()
		if p.server.awaitTracks(patience, p.path, p.life.ID(), 2) == nil {
			c = p.server.carriage(p.path, takes)
		}
	}
	if c.about.Without != "" {
		p.life.Event(lifecycle.Event{Kind: KindWithout, Reason: lifecycle.ReasonUnsupported.With("%s", c.about.Without)})
	}
	if p.say != nil {
		p.say(signalOut{"about": c.about, "servers": p.server.iceServers()})
	}
	if !c.about.Possible {
		return c.why
	}
	viewer, err := p.server.streams.View(p.path, p.server.formats.rtc, p.life.ID())
	if err != nil {
		return err
	}
	p.server.relays.Changed()
	p.source = &rtcSource{peer: p, wake: p, viewer: viewer, takes: takes, told: c.about, send: c.send}
	if c.madeOpus {
		p.source.sound = p.server.opus.follow(p.path)
		_, head := p.source.sound.groups.Bounds()
		p.source.cursor = p.source.sound.groups.Cursor(head)
	}
	o.Send, o.Source = c.send, p.source
	o.OnKeyframe = viewer.Stream().WantKeyframe
	o.OnSlow = p.slow
	return nil
}

// answerTo answers an offer: the first, or one that renegotiates or restarts. The same one again gets the same answer.
func (p *rtcPeer) answerTo(ctx context.Context, offer string) (string, error) {
	p.mu.Lock()
	same, answer := p.offer == offer, p.answer
	p.mu.Unlock()
	if same {
		return answer, nil
	}
	p.mu.Lock()
	p.agreed = false // candidates come before the answer to who does not know them
	p.mu.Unlock()
	answer, err := p.peer.Answer(ctx, offer)
	if err != nil {
		return "", badRequest(err)
	}
	p.mu.Lock()
	p.offer, p.answer, p.ice = offer, answer, attribute(answer, "ice-ufrag")
	p.mu.Unlock()
	return answer, nil
}

// guard watches whether somebody may still do what the peer does.
func (p *rtcPeer) guard(who auth.Identity) {
	if p.role == rtcSession {
		return // the session looks after itself
	}
	release := p.server.guards.watch(who, p.role.action(), p.path, p.close)
	p.mu.Lock()
	old := p.release
	p.release = release
	over := p.over
	p.mu.Unlock()
	old()
	if over {
		release()
	}
}

// Wake implements ring.Waker: the peer sends what its source has.
func (p *rtcPeer) Wake() { p.peer.Wake() }

// slow is called when the client cannot take the rate: it goes on at the next keyframe, and is closed when that does not help.
func (p *rtcPeer) slow(rtc.Strain) {
	p.source.strained.Store(true)
	p.Wake()
}

// close ends the peer, from whatever goroutine.
func (p *rtcPeer) close(why lifecycle.Reason) {
	p.mu.Lock()
	peer := p.peer
	if p.doom.IsZero() {
		p.doom = why
	}
	p.mu.Unlock()
	if peer != nil {
		go peer.Close(why) // ends with the peer, for which Serve waits
	}
}

// changed takes the changes of the ICE state.
func (p *rtcPeer) changed(c rtc.Change) {
	if c.To == rtc.StateClosed {
		p.end(c.Reason)
		p.server.wait.Done()
		return
	}
	p.tell(signalOut{"state": stateOf(c)})
}

// rtcState is the server's ICE state as a client is told it.
type rtcState struct {
	ICE    rtc.ICEState     `json:"ice"`
	Pair   string           `json:"pair,omitempty"`
	RTT    float64          `json:"rtt,omitempty"`
	Reason lifecycle.Reason `json:"reason,omitzero"`
}

func stateOf(c rtc.Change) rtcState {
	return rtcState{ICE: c.To, Pair: c.Pair.String(), RTT: float64(c.Pair.RoundTrip.Microseconds()) / 1000, Reason: c.Reason}
}

// end gives everything up. Only the first reason counts.
func (p *rtcPeer) end(why lifecycle.Reason) {
	p.once.Do(func() {
		p.mu.Lock()
		p.over, p.ended = true, why
		release, peer := p.release, p.peer
		p.mu.Unlock()
		release()
		p.server.traffic.rtc.remove(peer)
		if p.source != nil {
			p.source.close()
		}
		if p.pub != nil {
			p.pub.Close(why)
		}
		if peer != nil {
			p.tellHooks(why)
		}
		p.life.Close(why)
		if p.gone != nil {
			p.gone(p, why)
		}
	})
}

// tell tells the client, if there is a session: after the answer, when it can make use of it.
func (p *rtcPeer) tell(data signalOut) {
	if p.say == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock() // so that the order stays
	if p.agreed {
		p.say(data)
	} else {
		p.later = append(p.later, data)
	}
}

// answered says that the client has been sent the answer.
func (p *rtcPeer) answered() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.agreed = true
	for _, data := range p.later {
		p.say(data)
	}
	p.later = nil
}

// describes says whether an offer is of the same description as the one that the peer was made for: a later version of it, in words of RFC 8866 section 5.2.
func (p *rtcPeer) describes(offer string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return originOf(offer) == originOf(p.offer)
}

// originOf is the name and number of a description.
func originOf(sdp string) string {
	for line := range strings.Lines(sdp) {
		if f := strings.Fields(line); len(f) > 2 && strings.HasPrefix(line, "o=") {
			return f[0] + " " + f[1]
		}
	}
	return ""
}

// why is why the peer has ended; the zero reason while it has not.
func (p *rtcPeer) why() lifecycle.Reason {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended
}

// iceServers are what clients are told to use.
func (s *Server) iceServers() []rtc.ICEServer {
	if list := s.rtc.ICEServers(); list != nil {
		return list
	}
	return []rtc.ICEServer{}
}

// askHooks asks whether the client may play or publish, and takes the path that an answer gives; a session keeps the one that it asked for.
func (p *rtcPeer) askHooks(ctx context.Context) error {
	if p.role == rtcSession {
		return nil
	}
	ask := p.server.askPlay
	if p.role == rtcPublish {
		ask = p.server.askPublish
	}
	to, err := ask(ctx, p.about)
	if err != nil {
		return err
	}
	if to != p.path && p.say != nil {
		e := p.about
		e.Event = p.role.String()
		return p.server.senseless(&e, lifecycle.ReasonRefused.With("a hook's new path: a session gets what it asked for"))
	}
	p.path, p.about.Path = to, to
	p.life.SetPath(to)
	return nil
}

func (p *rtcPeer) tellHooks(why lifecycle.Reason) {
	switch p.role {
	case rtcPublish:
		p.server.tellOver(hook.PublishClose, p.about, p.began, why)
	case rtcPlay:
		p.server.tellStop(p.about, p.began, why)
	}
}

// unpublished is called when the stream ends after the grace period.
func (p *rtcPeer) unpublished(why lifecycle.Reason) {
	if p.server.hooks.Has(hook.Unpublish) {
		p.server.hooks.Tell(because(hook.Event{Event: hook.Unpublish, Protocol: overRTC, Path: p.path}, why))
	}
}
