package rtc

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/pion/webrtc/v4"

	"hawser/lifecycle"
)

// Peer is one WebRTC connection. All methods may run at once.
type Peer struct {
	engine *Engine
	opts   PeerOptions
	pc     *webrtc.PeerConnection
	wake   chan struct{} // holds a token when the source may have something
	done   chan struct{}

	mu      sync.Mutex
	state   Change
	changes []Change // not yet told
	telling bool
	reason  lifecycle.Reason // of the close
	closed  bool
	out     []*outTrack
}

func newPeer(e *Engine, o PeerOptions) (*Peer, error) {
	api := e.both
	if len(o.Send) > 0 {
		api = e.send
	}
	pc, err := api.NewPeerConnection(e.config)
	if err != nil {
		return nil, err
	}
	p := &Peer{engine: e, opts: o, pc: pc, wake: make(chan struct{}, 1), done: make(chan struct{}), state: Change{Time: time.Now()}}
	for _, t := range o.Send {
		out := newOutTrack(p, t)
		if _, err := pc.AddTrack(out); err != nil {
			pc.Close()
			return nil, err
		}
		p.out = append(p.out, out)
	}
	p.opts.Conn.Set(StateNew.String(), StateNew.Light(), lifecycle.Reason{})
	pc.OnICEConnectionStateChange(func(s webrtc.ICEConnectionState) {
		if state, err := ParseICEState(s.String()); err == nil {
			p.to(state, lifecycle.Reason{})
		}
	})
	if o.OnCandidate != nil {
		pc.OnICECandidate(func(c *webrtc.ICECandidate) {
			if c == nil {
				o.OnCandidate("")
				return
			}
			o.OnCandidate(c.ToJSON().Candidate)
		})
	}
	go p.run()
	return p, nil
}

// to is the one place where the state changes.
func (p *Peer) to(s ICEState, why lifecycle.Reason) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state.To == s || p.state.To == StateClosed {
		return
	}
	p.state = Change{From: p.state.To, To: s, Time: time.Now(), Pair: p.pair(), Reason: why}
	p.changes = append(p.changes, p.state)
	if !p.telling {
		p.telling = true
		go p.tell()
	}
}

// tell tells the changes in their order.
func (p *Peer) tell() {
	for {
		p.mu.Lock()
		if len(p.changes) == 0 {
			p.telling = false
			p.mu.Unlock()
			return
		}
		c := p.changes[0]
		p.changes = p.changes[1:]
		p.mu.Unlock()
		p.opts.Conn.Set(c.To.String(), c.To.Light(), c.Reason)
		if p.opts.OnChange != nil {
			p.opts.OnChange(c)
		}
	}
}

// pair asks the agent for the pair that is used.
func (p *Peer) pair() Pair {
	dtls := p.pc.SCTP().Transport()
	pair, err := dtls.ICETransport().GetSelectedCandidatePair()
	if err != nil || pair == nil {
		return Pair{}
	}
	end := func(c *webrtc.ICECandidate) Candidate {
		return Candidate{Type: c.Typ.String(), Protocol: c.Protocol.String(), Address: fmt.Sprintf("%s:%d", c.Address, c.Port)}
	}
	return Pair{Local: end(pair.Local), Remote: end(pair.Remote)}
}

// ICE returns the last change of the state, with the present pair.
func (p *Peer) ICE() Change {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.state
	c.Pair = p.pair()
	return c
}

// Answer takes the other side's offer and returns the answer. Another one on the same peer renegotiates, or restarts ICE when the offer has new credentials (RFC 8445 section 9).
func (p *Peer) Answer(ctx context.Context, offer string) (answer string, err error) {
	if err := p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		return "", fmt.Errorf("rtc: offer: %w", err)
	}
	local, err := p.pc.CreateAnswer(nil)
	if err != nil {
		return "", fmt.Errorf("rtc: answer: %w", err)
	}
	return p.local(ctx, local)
}

// local makes a description the peer's own and returns it with the candidates that belong into it.
func (p *Peer) local(ctx context.Context, d webrtc.SessionDescription) (string, error) {
	done := webrtc.GatheringCompletePromise(p.pc)
	if err := p.pc.SetLocalDescription(d); err != nil {
		return "", fmt.Errorf("rtc: %s: %w", d.Type, err)
	}
	if p.opts.OnCandidate == nil {
		if err := p.engine.gathered(ctx, done); err != nil {
			return "", fmt.Errorf("rtc: gather: %w", err)
		}
	}
	return p.pc.LocalDescription().SDP, nil
}

// AddCandidate takes a candidate of the other side, "candidate:..." as in RFC 8839; "" means that no more follow.
func (p *Peer) AddCandidate(candidate string) error {
	if err := p.pc.AddICECandidate(webrtc.ICECandidateInit{Candidate: candidate}); err != nil {
		return fmt.Errorf("rtc: candidate %q: %w", candidate, err)
	}
	return nil
}

// Wake says that the source may have something to send. It never blocks.
func (p *Peer) Wake() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// run sends what the source hands out.
func (p *Peer) run() {
	for {
		select {
		case <-p.wake:
		case <-p.done:
			return
		}
		for _, group := range p.opts.Source.Fill(nil, 1<<20) {
			for _, t := range p.out {
				t.write(group)
			}
		}
	}
}

// Close ends the peer. Only the first call counts.
func (p *Peer) Close(why lifecycle.Reason) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.closed, p.reason = true, why
	p.mu.Unlock()
	close(p.done)
	p.to(StateClosed, why)
	p.pc.Close()
	p.engine.remove(p)
	p.opts.Conn.Close(why)
}
