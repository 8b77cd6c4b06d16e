package rtc

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/webrtc/v4"

	"hawser/lifecycle"
)

// Peer is one WebRTC connection. All methods may run at once.
type Peer struct {
	engine *Engine
	opts   PeerOptions
	pc     *webrtc.PeerConnection
	ice    *webrtc.ICETransport
	work   atomic.Int32           // of the flusher
	gone   atomic.Bool            // closed
	line   atomic.Pointer[line]   // nil without a UDP port of the engine
	way    atomic.Pointer[way]    // likewise
	keys   *handshakeKeys         // of one that sends over the engine's port
	sender atomic.Pointer[sender] // nil before SRTP stands

	negotiating sync.Mutex // one offer or answer at a time

	mu       sync.Mutex
	machine  machine
	last     Change
	changes  []Change // not yet told
	telling  bool
	timer    *time.Timer // StateCompleted by time
	giveUp   *time.Timer // the peer is closed unless it connects
	secure   bool        // DTLS stands
	closed   bool
	channels int
	bound    [2]bound // by slot

	receiving sync.Mutex
	received  [2]*receiver // by slot
	clock     peerClock
}

func newPeer(e *Engine, o PeerOptions) (*Peer, error) {
	var keys *handshakeKeys
	if len(o.Send) > 0 && e.mux != nil {
		keys = &handshakeKeys{}
	}
	pc, err := e.connection(o.Send, keys)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	p := &Peer{engine: e, keys: keys, opts: o, pc: pc, ice: pc.SCTP().Transport().ICETransport(), last: Change{Time: now},
		machine: machine{settle: e.opts.Settle, patience: e.opts.DisconnectedTimeout, giveUp: e.opts.DisconnectedTimeout + e.opts.FailedTimeout}}
	for _, t := range o.Send {
		out := &outTrack{p, t}
		if _, err := pc.AddTransceiverFromTrack(out, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly}); err != nil {
			pc.Close()
			return nil, err
		}
	}
	p.watch()
	p.giveUp = time.AfterFunc(e.opts.ConnectTimeout, p.late)
	p.tellLocked(p.last) // nobody else knows the peer yet
	return p, nil
}

// watch takes what the stack tells. The functions for states and pairs are called in the order of what happened.
func (p *Peer) watch() {
	p.pc.OnICEConnectionStateChange(func(s webrtc.ICEConnectionState) {
		switch s {
		case webrtc.ICEConnectionStateChecking:
			p.input(inChecking, Pair{}, lifecycle.Reason{})
		case webrtc.ICEConnectionStateConnected:
			pair := p.pair()
			p.findLine(pair)
			p.input(inConnected, pair, lifecycle.Reason{})
			p.stands(true)
		case webrtc.ICEConnectionStateDisconnected:
			p.input(inSilence, Pair{}, lifecycle.Reason{})
		case webrtc.ICEConnectionStateFailed:
			p.findLine(Pair{})
			p.input(inFailed, Pair{}, lifecycle.Reason{})
			p.stands(false)
		}
	})
	p.ice.OnSelectedCandidatePairChange(func(*webrtc.ICECandidatePair) {
		pair := p.pair()
		p.findLine(pair)
		p.input(inPair, pair, lifecycle.Reason{})
	})
	p.pc.OnICECandidate(func(c *webrtc.ICECandidate) {
		line := ""
		if c != nil {
			line = c.ToJSON().Candidate
		} else {
			p.input(inGathered, Pair{}, lifecycle.Reason{})
		}
		if p.opts.OnCandidate != nil {
			p.opts.OnCandidate(line)
		}
	})
	p.pc.SCTP().Transport().OnStateChange(func(s webrtc.DTLSTransportState) {
		switch s {
		case webrtc.DTLSTransportStateConnected:
			p.secured()
		case webrtc.DTLSTransportStateFailed:
			go p.Close(lifecycle.ReasonProtocol.With("DTLS: the handshake failed"))
		case webrtc.DTLSTransportStateClosed: // long before the stack has closed the rest
			go p.Close(lifecycle.ReasonDone.With("the other side closed the connection"))
		}
	})
	p.pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		if s == webrtc.PeerConnectionStateConnected { // SRTP stands, which is a little later than DTLS
			p.startSender()
			p.Wake()
		}
	})
	p.pc.OnDataChannel(p.accept)
	p.pc.OnTrack(p.receive)
}

// input tells the machine and hands on what follows.
func (p *Peer) input(in input, pair Pair, reason lifecycle.Reason) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	changes := p.machine.step(nil, now, in, pair, reason)
	if times, to := p.machine.switched(now); times > 0 {
		p.opts.Conn.Event(pairEvent(times, to))
	}
	if at := p.machine.next(); !at.IsZero() {
		if p.timer == nil {
			p.timer = time.AfterFunc(at.Sub(now), func() { p.input(inTime, Pair{}, lifecycle.Reason{}) })
		} else {
			p.timer.Reset(at.Sub(now))
		}
	}
	if len(changes) > 0 {
		p.tellLocked(changes...)
	}
}

// pairEvent tells that a peer uses another pair.
func pairEvent(times int, to Pair) lifecycle.Event {
	e := lifecycle.Event{Kind: KindPair, Detail: to.String()}
	if times > 1 {
		e.Detail += ", after " + count(times, "change")
	}
	return e
}

// tellLocked queues changes; one goroutine at a time tells them.
func (p *Peer) tellLocked(changes ...Change) {
	p.last = changes[len(changes)-1]
	p.changes = append(p.changes, changes...)
	if !p.telling {
		p.telling = true
		go p.tell()
	}
}

// tell tells the changes in their order.
func (p *Peer) tell() {
	for {
		p.mu.Lock()
		changes := p.changes
		p.changes = nil
		p.telling = len(changes) > 0
		p.mu.Unlock()
		if len(changes) == 0 {
			return
		}
		for _, c := range changes {
			if c.To == StateClosed {
				p.opts.Conn.Close(c.Reason)
			} else {
				p.opts.Conn.SetDetail(c.To.String(), c.To.Light(), c.Reason, c.Pair.String())
			}
			if p.opts.OnChange != nil {
				p.opts.OnChange(c)
			}
		}
	}
}

// pair asks the agent for the pair that is used.
func (p *Peer) pair() Pair {
	pair, err := p.ice.GetSelectedCandidatePair()
	if err != nil || pair == nil {
		return Pair{}
	}
	end := func(c *webrtc.ICECandidate) Candidate {
		return Candidate{Type: c.Typ.String(), Protocol: c.Protocol.String(), Address: joinHostPort(c.Address, c.Port)}
	}
	return Pair{Local: end(pair.Local), Remote: end(pair.Remote)}
}

// ICE returns the last change of the state, with the present pair and its round trip.
func (p *Peer) ICE() Change {
	p.mu.Lock()
	c := p.last
	p.mu.Unlock()
	if pair := p.pair(); !pair.IsZero() {
		c.Pair = pair
	}
	if s, ok := p.ice.GetSelectedCandidatePairStats(); ok {
		c.Pair.RoundTrip = time.Duration(s.CurrentRoundTripTime * float64(time.Second))
	}
	return c
}

// findLine finds the agent's way over the engine's UDP port, if that is what the pair uses. It is another one after each restart.
func (p *Peer) findLine(pair Pair) {
	if p.engine.mux == nil || pair.Local.Protocol != "udp" || pair.Local.Type == "relay" {
		p.line.Store(nil)
		p.way.Store(nil)
		return
	}
	if params, err := p.ice.GetLocalParameters(); err == nil {
		l := p.engine.mux.line(params.UsernameFragment)
		if l != nil {
			l.heard.Store(time.Now().UnixNano())
		}
		p.line.Store(l)
		p.way.Store(l.way(pair))
	}
}

// watchSilence notices silence over the engine's port, and its end, sooner than the stack, which looks once in Options.KeepAlive.
func (p *Peer) watchSilence(now time.Time) {
	l := p.line.Load()
	if l == nil {
		return
	}
	silent := now.Sub(time.Unix(0, l.heard.Load())) > p.machine.patience
	p.mu.Lock()
	state := p.machine.state
	p.mu.Unlock()
	switch {
	case silent && (state == StateConnected || state == StateCompleted):
		p.input(inSilence, Pair{}, lifecycle.Reason{})
	case !silent && state == StateDisconnected:
		p.input(inConnected, p.pair(), lifecycle.Reason{})
	}
}

// secured is called when DTLS stands, once.
func (p *Peer) secured() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.secure = true
	p.giveUp.Stop()
}

// stands is called when ICE has connected, or failed; then the peer may be restarted for a while.
func (p *Peer) stands(up bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.secure && !p.closed {
		if up {
			p.giveUp.Stop()
		} else {
			p.giveUp.Reset(p.engine.opts.RestartTimeout)
		}
	}
}

// late is called when giveUp has come.
func (p *Peer) late() {
	p.mu.Lock()
	state, secure := p.last.To, p.secure
	p.mu.Unlock()
	if secure {
		p.Close(lifecycle.ReasonTimeout.With("not restarted within %v (RestartTimeout); %s", p.engine.opts.RestartTimeout, state))
	} else {
		p.Close(lifecycle.ReasonTimeout.With("not connected within %v (ConnectTimeout); %s", p.engine.opts.ConnectTimeout, state))
	}
}

// Answer takes the other side's offer and returns the answer. Another one on the same peer renegotiates, or restarts ICE when the offer has new credentials (RFC 8445 section 9).
// Without PeerOptions.OnCandidate it waits until our own addresses are known, at most Options.GatherTimeout. Offers without BUNDLE, rtcp-mux or SAVPF are refused (reason unsupported). Simulcast is
// declined: one picture is enough for who sends it on as it is.
func (p *Peer) Answer(ctx context.Context, offer string) (answer string, err error) {
	p.negotiating.Lock()
	defer p.negotiating.Unlock()
	return p.answer(ctx, offer)
}

func (p *Peer) answer(ctx context.Context, offer string) (string, error) {
	if err := p.remote(webrtc.SDPTypeOffer, offer); err != nil {
		return "", err
	}
	local, err := p.pc.CreateAnswer(nil)
	if err != nil {
		return "", fmt.Errorf("rtc: answer: %w", err)
	}
	return p.local(ctx, local)
}

// Offer returns an offer: to send PeerOptions.Send, to receive audio and video when there is an OnFrame, and for data channels that were opened. It waits for addresses like Answer.
func (p *Peer) Offer(ctx context.Context) (offer string, err error) {
	p.negotiating.Lock()
	defer p.negotiating.Unlock()
	return p.offer(ctx, nil)
}

// Restart returns an offer that restarts ICE (RFC 8445 section 9), for the side that offered before: after a change of addresses, or when the state is StateFailed. The answer is for SetAnswer.
func (p *Peer) Restart(ctx context.Context) (offer string, err error) {
	p.negotiating.Lock()
	defer p.negotiating.Unlock()
	p.restarts()
	return p.offer(ctx, &webrtc.OfferOptions{ICERestart: true})
}

// SetICEServers makes the peer use STUN and TURN servers beside those of Options, in place of others that it was told before: from the next time on that it gathers addresses, which the first Offer or Answer
// begins, and each restart. It fails when one of them makes no sense, and changes nothing then.
func (p *Peer) SetICEServers(servers []ICEServer) error {
	c := p.engine.config
	c.ICEServers = slices.Concat(c.ICEServers, stackServers(servers))
	if err := p.pc.SetConfiguration(c); err != nil {
		return fmt.Errorf("rtc: ICE servers: %w", err)
	}
	return nil
}

func (p *Peer) offer(ctx context.Context, o *webrtc.OfferOptions) (string, error) {
	local, err := p.createOffer(o)
	if err != nil {
		return "", err
	}
	return p.local(ctx, local)
}

// createOffer makes an offer that is not yet the peer's description: nothing is gathered.
func (p *Peer) createOffer(o *webrtc.OfferOptions) (webrtc.SessionDescription, error) {
	if p.pc.CurrentLocalDescription() == nil && p.opts.OnFrame != nil {
		for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
			if _, err := p.pc.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
				return webrtc.SessionDescription{}, fmt.Errorf("rtc: offer: %w", err)
			}
		}
	}
	local, err := p.pc.CreateOffer(o)
	if err != nil {
		return local, fmt.Errorf("rtc: offer: %w", err)
	}
	return local, nil
}

// SetAnswer takes the answer to what Offer or Restart returned.
func (p *Peer) SetAnswer(answer string) error {
	p.negotiating.Lock()
	defer p.negotiating.Unlock()
	return p.remote(webrtc.SDPTypeAnswer, answer)
}

// remote makes a description the other side's.
func (p *Peer) remote(t webrtc.SDPType, text string) error {
	s, err := p.engine.opts.readSDP(text)
	if err != nil {
		return fmt.Errorf("rtc: %s: %w", t, err)
	}
	if t == webrtc.SDPTypeOffer {
		if err := p.checkOffer(text); err != nil {
			return fmt.Errorf("rtc: %s: %w", t, err)
		}
		text = withoutSimulcast(text)
		if d := p.pc.CurrentRemoteDescription(); d != nil && s.ufrag != firstValue(d.SDP, "ice-ufrag") {
			p.restarts()
		}
	}
	if err := p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: t, SDP: text}); err != nil {
		return fmt.Errorf("rtc: %s: %w", t, err)
	}
	for range s.candidates {
		p.input(inRemote, Pair{}, lifecycle.Reason{})
	}
	if s.ended {
		p.input(inRemoteEnd, Pair{}, lifecycle.Reason{})
	}
	return nil
}

// restarts is called before ICE is restarted. It waits until our own addresses are known, at most Options.GatherTimeout: the stack must not gather for two generations at once.
func (p *Peer) restarts() {
	p.engine.gathered(context.Background(), webrtc.GatheringCompletePromise(p.pc))
	p.engine.net.refresh(0)
	p.input(inRestart, Pair{}, lifecycle.Reason{})
}

// local makes a description the peer's own and returns it with the candidates that belong into it.
func (p *Peer) local(ctx context.Context, d webrtc.SessionDescription) (string, error) {
	done := webrtc.GatheringCompletePromise(p.pc)
	p.engine.net.refresh(interfaceAge)
	if err := p.pc.SetLocalDescription(d); err != nil {
		return "", fmt.Errorf("rtc: %s: %w", d.Type, err)
	}
	if p.opts.OnCandidate == nil {
		if err := p.engine.gathered(ctx, done); err != nil {
			return "", fmt.Errorf("rtc: gather: %w", err)
		}
	}
	sdp := p.pc.LocalDescription().SDP
	if d.Type == webrtc.SDPTypeAnswer {
		sdp = withDirections(sdp, p.opts.OnFrame != nil)
	}
	return sdp, nil
}

// AddCandidate takes a candidate of the other side, "candidate:..." as in RFC 8839; "" means that no more follow. More than Options.MaxCandidates are refused (reason limit).
func (p *Peer) AddCandidate(candidate string) error {
	candidate = strings.TrimPrefix(strings.TrimSpace(candidate), "a=")
	if candidate == "" || candidate == "end-of-candidates" {
		p.input(inRemoteEnd, Pair{}, lifecycle.Reason{})
		return nil
	}
	p.mu.Lock()
	n := p.machine.remotes
	p.mu.Unlock()
	if n >= p.engine.opts.MaxCandidates {
		return lifecycle.Reached("rtc.MaxCandidates", p.engine.opts.MaxCandidates).With("more than %d candidates (MaxCandidates)", p.engine.opts.MaxCandidates)
	}
	if err := p.pc.AddICECandidate(webrtc.ICECandidateInit{Candidate: candidate}); err != nil {
		return fmt.Errorf("rtc: candidate %.200q: %w", candidate, err)
	}
	p.input(inRemote, Pair{}, lifecycle.Reason{})
	return nil
}

// Wake says that the source may have something to send. It never blocks.
func (p *Peer) Wake() { p.engine.flusher.wake(p) }

// Close ends the peer. Only the first call counts.
func (p *Peer) Close(why lifecycle.Reason) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.closed = true
	p.gone.Store(true)
	p.giveUp.Stop()
	p.mu.Unlock()
	p.input(inClose, Pair{}, why)
	p.pc.Close()
	p.engine.remove(p)
}
