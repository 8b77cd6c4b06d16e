package server

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"hawser/lifecycle"
	"hawser/rtc"
	"hawser/session"
)

const (
	// MaxSessionPeers bounds the WebRTC peers of one session (reason limit).
	MaxSessionPeers = 32
	// MaxSessionOffers bounds the offers of one session, maxSessionViews what it says of how it sees its peers; both a second. More views are left out.
	MaxSessionOffers = 10
	maxSessionViews  = 20
	// maxViewText bounds what of a client's word goes into an event, in bytes.
	maxViewText = 1000
)

// signalIn is what a client says in a signal; see docs/protocol.md.
type signalIn struct {
	As        string            `json:"as"`
	Ask       bool              `json:"ask"`
	Offer     string            `json:"offer"`
	Candidate *string           `json:"candidate"`
	View      *rtcView          `json:"view"`
	Switch    *rtcSwitch        `json:"switch"`
	Close     *lifecycle.Reason `json:"close"`
}

// rtcView is how a client sees its connection.
type rtcView struct {
	ICE        string         `json:"ice"`
	Connection string         `json:"connection"`
	Error      string         `json:"error"`
	Stats      map[string]any `json:"stats"`
}

// detail is the view but for the ICE state, in one line.
func (v *rtcView) detail() string {
	var words []string
	if v.Connection != "" {
		words = append(words, "connection "+v.Connection)
	}
	for _, name := range slices.Sorted(maps.Keys(v.Stats)) {
		switch value := v.Stats[name].(type) {
		case float64, string, bool:
			words = append(words, fmt.Sprintf("%s %v", name, value))
		}
	}
	if v.Error != "" {
		words = append(words, "error: "+v.Error)
	}
	return shortened(strings.Join(words, ", "))
}

// shortened is the beginning of a client's text.
func shortened(text string) string {
	if len(text) > maxViewText {
		text = text[:maxViewText]
	}
	return strings.ToValidUTF8(text, "")
}

// rtcSwitch is a client's change to another transport.
type rtcSwitch struct {
	To  string `json:"to"`
	Why string `json:"why"`
}

// signalOut is the data of a signal to a client.
type signalOut map[string]any

// peerKey names a peer of a session.
type peerKey struct {
	role rtcRole
	path string
}

// sessionPeers are the WebRTC peers of a session, over all its connections. All methods may run at once.
type sessionPeers struct {
	server *Server

	mu     sync.Mutex
	conn   *sessionConn // the present one; nil while there is none
	peers  map[peerKey]*rtcPeer
	offers bucket
	views  bucket
	over   bool
}

// say tells the client something about one of its peers. What it cannot be told now it is not told.
func (sp *sessionPeers) say(k peerKey, data signalOut) {
	sp.mu.Lock()
	c := sp.conn
	sp.mu.Unlock()
	if c != nil {
		c.signalOut(k, data)
	}
}

// signalOut sends a signal.
func (c *sessionConn) signalOut(k peerKey, data signalOut) {
	if k.role == rtcPublish {
		data["as"] = k.role.String()
	}
	b, err := json.Marshal(data)
	if err != nil {
		panic("server: signal: " + err.Error()) // it is made of plain values
	}
	c.send(&session.Message{Type: session.TypeSignal, Path: k.path, Data: b})
}

// signal does what a signal of the client says.
func (c *sessionConn) signal(r session.Signal) {
	var in signalIn
	k := peerKey{path: r.Path}
	err := json.Unmarshal(r.Data, &in)
	switch {
	case err != nil:
	case in.As == rtcPublish.String():
		k.role = rtcPublish
	case in.As != "" && in.As != rtcPlay.String():
		err = fmt.Errorf("as %.20q: want play or publish", in.As)
	}
	if err != nil {
		c.send(&session.Message{Type: session.TypeError, Path: r.Path, Reason: lifecycle.ReasonBadRequest.With("data: %v", err)})
		return
	}
	sp := c.server.memory.peersOf(c)
	switch {
	case in.Ask:
		c.ask(k)
	case in.Offer != "":
		sp.offer(c, k, in.Offer)
	case in.Candidate != nil:
		sp.candidate(c, k, *in.Candidate)
	case in.View != nil:
		sp.note(c, k, lifecycle.Event{Kind: KindView, State: shortened(in.View.ICE), Detail: in.View.detail()})
	case in.Switch != nil:
		sp.note(c, k, lifecycle.Event{Kind: KindSwitch, Transport: shortened(in.Switch.To), Detail: shortened(in.Switch.Why)})
	case in.Close != nil:
		sp.drop(k, *in.Close)
	}
}

// ask tells what WebRTC would carry of a path.
func (c *sessionConn) ask(k peerKey) {
	s := c.server
	out := signalOut{"about": rtcAbout{}}
	err := c.may(k.role.action(), k.path)
	switch {
	case err != nil:
		out["reason"] = lifecycle.ReasonOf(err)
	case s.rtc == nil:
		out["reason"] = rtcOff
	case k.role == rtcPublish:
		out["about"], out["servers"] = rtcAbout{Possible: true}, s.iceServers()
	default:
		carries := s.carriage(k.path, nil)
		out["about"], out["servers"] = carries.about, s.iceServers()
		if !carries.about.Possible {
			out["reason"] = carries.why
		}
		if carries.about.Without != "" {
			c.life.Event(lifecycle.Event{Kind: KindWithout, Path: k.path, Reason: lifecycle.ReasonUnsupported.With("%s", carries.about.Without)})
		}
	}
	c.signalOut(k, out)
}

// offer opens a peer, or renegotiates or restarts the one that there is.
func (sp *sessionPeers) offer(c *sessionConn, k peerKey, offer string) {
	sp.mu.Lock()
	p, count := sp.peers[k], len(sp.peers)
	rated := sp.offers.take(time.Now())
	sp.mu.Unlock()
	refuse := func(why lifecycle.Reason) { c.signalOut(k, signalOut{"close": why}) }
	if !rated || p == nil && count >= MaxSessionPeers {
		limit, most := "MaxSessionPeers", MaxSessionPeers
		if !rated {
			limit, most = "MaxSessionOffers", MaxSessionOffers
		}
		why := lifecycle.Reached(limit, most).With("%d offers a second and %d peers are allowed", MaxSessionOffers, MaxSessionPeers)
		c.life.Event(lifecycle.Event{Kind: "refuse", Path: k.path, Detail: k.role.String(), Reason: why})
		refuse(why)
		return
	}
	if err := c.may(k.role.action(), k.path); err != nil {
		refuse(lifecycle.ReasonOf(err))
		return
	}
	if p != nil && p.describes(offer) {
		answer, err := p.answerTo(c.server.ctx, offer)
		if err != nil {
			p.close(lifecycle.ReasonOf(err))
			return
		}
		c.signalOut(k, p.agreement(answer))
		p.answered()
		return
	}
	if p != nil {
		sp.remove(k, p)
		p.close(lifecycle.ReasonReplaced.With("the client has offered anew"))
	}
	c.mu.Lock()
	who := c.identity
	c.mu.Unlock()
	p, answer, err := c.server.openPeer(c.server.ctx, rtcAsk{role: k.role, path: k.path, remote: c.peer, client: c.client, who: who, offer: offer,
		say: func(data signalOut) { sp.say(k, data) }, gone: sp.gone})
	if err != nil {
		refuse(lifecycle.ReasonOf(err))
		return
	}
	if why := sp.add(k, p); !why.IsZero() {
		refuse(why)
		return
	}
	if k.role == rtcPlay {
		c.server.made.came(c, k.path)
	}
	c.signalOut(k, p.agreement(answer))
	p.answered()
}

// rtcClock says which media time an RTP timestamp of pictures means.
type rtcClock struct {
	RTP  uint32 `json:"rtp"`
	Time int64  `json:"time"` // microseconds
}

// agreement is what the client of a session is told with an answer.
func (p *rtcPeer) agreement(answer string) signalOut {
	out := signalOut{"answer": answer}
	if p.role == rtcPlay {
		if at, ok := p.server.streams.MediaTime(p.path); ok {
			out["clock"] = rtcClock{rtc.Timestamp(rtc.SlotVideo, at), at.Microseconds()}
		}
	}
	return out
}

// add lists a peer, or says why it is over already.
func (sp *sessionPeers) add(k peerKey, p *rtcPeer) lifecycle.Reason {
	sp.mu.Lock()
	if sp.peers == nil {
		sp.peers = make(map[peerKey]*rtcPeer)
	}
	sp.peers[k] = p
	over := sp.over
	sp.mu.Unlock()
	if over {
		p.close(lifecycle.ReasonGone.With("the session has ended"))
	}
	if why := p.why(); !why.IsZero() && sp.remove(k, p) {
		return why // it ended before anybody knew whose it is
	}
	return lifecycle.Reason{}
}

// remove forgets a peer; false if that was done before.
func (sp *sessionPeers) remove(k peerKey, p *rtcPeer) bool {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	if sp.peers[k] != p {
		return false
	}
	delete(sp.peers, k)
	return true
}

// gone is called when a peer has ended.
func (sp *sessionPeers) gone(p *rtcPeer, why lifecycle.Reason) {
	k := peerKey{p.role, p.path}
	if !sp.remove(k, p) {
		return // another one is in its place, or it never was in any
	}
	sp.say(k, signalOut{"close": why})
	sp.mu.Lock()
	c := sp.conn
	sp.mu.Unlock()
	if c != nil && k.role == rtcPlay {
		c.server.made.left(c, k.path)
	}
}

// plays says whether there is a peer that plays a path.
func (sp *sessionPeers) plays(path string) bool {
	return sp != nil && sp.find(peerKey{path: path}) != nil
}

func (sp *sessionPeers) find(k peerKey) *rtcPeer {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	return sp.peers[k]
}

// list returns the peers.
func (sp *sessionPeers) list() []*rtcPeer {
	if sp == nil {
		return nil
	}
	sp.mu.Lock()
	defer sp.mu.Unlock()
	return slices.Collect(maps.Values(sp.peers))
}

func (sp *sessionPeers) candidate(c *sessionConn, k peerKey, candidate string) {
	p := sp.find(k)
	if p == nil {
		return
	}
	if err := p.peer.AddCandidate(candidate); err != nil {
		c.send(&session.Message{Type: session.TypeError, Path: k.path, Reason: badRequest(err)})
	}
}

// note logs what a client says of how it sees a path, beside the server's own view of the peer, or of the session where there is none.
func (sp *sessionPeers) note(c *sessionConn, k peerKey, e lifecycle.Event) {
	sp.mu.Lock()
	p, rated := sp.peers[k], sp.views.take(time.Now())
	sp.mu.Unlock()
	switch e.Path = k.path; {
	case !rated:
	case p != nil:
		p.life.Event(e)
	default:
		c.life.Event(e)
	}
}

// drop ends a peer as the client says.
func (sp *sessionPeers) drop(k peerKey, why lifecycle.Reason) {
	if p := sp.find(k); p != nil && sp.remove(k, p) {
		why.Text = shortened(why.Text)
		if known, ok := lifecycle.ReasonByCode(why.Code); ok {
			why.Word = known.Word
		} else {
			why = lifecycle.ReasonDone
		}
		p.close(why)
	}
}

// peersOf returns the WebRTC peers of a session.
func (m *memory) peersOf(c *sessionConn) *sessionPeers {
	m.mu.Lock()
	defer m.mu.Unlock()
	sp := m.peers[c.id]
	if sp == nil {
		sp = &sessionPeers{server: c.server, conn: c, offers: bucket{perSecond: MaxSessionOffers}, views: bucket{perSecond: maxSessionViews}}
		m.peers[c.id] = sp
	}
	return sp
}

// keptPeers returns those that there are; nil if there never were any.
func (m *memory) keptPeers(session string) *sessionPeers {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.peers[session]
}

// peersLeftLocked is what the end of a connection means for a session's peers: they live on where the session does. They are to be ended by the caller otherwise.
func (m *memory) peersLeftLocked(c *sessionConn) (over *sessionPeers) {
	sp := m.peers[c.id]
	if sp == nil {
		return nil
	}
	_, kept := m.gone[c.id]
	if !kept && m.live[c.id] == nil {
		delete(m.peers, c.id)
		return sp
	}
	sp.detach(c)
	return nil
}

// attach lets the peers of a session that is resumed speak on its new connection, with the present state first.
func (sp *sessionPeers) attach(c *sessionConn) {
	sp.mu.Lock()
	sp.conn = c
	sp.mu.Unlock()
	c.mu.Lock()
	who := c.identity
	c.mu.Unlock()
	for _, p := range sp.list() {
		p.guard(who)
		p.tell(signalOut{"state": stateOf(p.peer.ICE())})
		if p.role == rtcPlay {
			c.server.made.came(c, p.path)
		}
	}
}

// detach is the end of a connection of the session.
func (sp *sessionPeers) detach(c *sessionConn) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	if sp.conn == c {
		sp.conn = nil
	}
}

// end closes all peers: the session is over.
func (sp *sessionPeers) end(why lifecycle.Reason) {
	sp.mu.Lock()
	sp.conn, sp.over = nil, true
	sp.mu.Unlock()
	for _, p := range sp.list() {
		p.close(why)
	}
}
