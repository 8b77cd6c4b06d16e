package server

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"hawser/lifecycle"
	"hawser/rtc"
	"hawser/session"
	"hawser/websocket"
)

// The parts of a session over a data channel; see docs/protocol.md. Messages of text that are not longer than maxChannelPart are messages of text there too.
const (
	channelBinary = 0 // a whole binary message
	channelPart   = 1 // a part of one, which channelLast ends
	channelLast   = 2
	textPart      = 3 // a part of a text, which textLast ends
	textLast      = 4
	channelClose  = 5 // code and word: nothing follows
)

const (
	// maxChannelPart bounds what one message on the data channel carries, in bytes: what every stack takes (RFC 8831 section 6.6).
	maxChannelPart = 16 << 10
	// channelAhead is how much of a session waits in the data channel; the rest waits in the rings.
	channelAhead = 256 << 10
)

// channelCarrier carries a session over a data channel.
type channelCarrier struct {
	frameQueue
	session *sessionConn
	over    chan struct{} // closed when the peer has ended

	receiving sync.Mutex // held by who gives the session a message, or gives it up
	text      []byte     // the parts of a text so far

	peer    atomic.Pointer[rtc.Peer]
	channel atomic.Pointer[rtc.Channel] // nil before it is open
}

// postRTCSession makes a peer for an offer, whose data channel will carry a session.
func (s *Server) postRTCSession(w http.ResponseWriter, r *http.Request) {
	offer, ok := s.readBody(w, r, sdpType, "Accept-Post")
	if !ok {
		return
	}
	from := remoteAddr(r)
	if why := s.sessions.enter(from); !why.IsZero() {
		s.rtcError(w, why)
		return
	}
	c := s.newSession(r.RemoteAddr)
	h := &channelCarrier{frameQueue: newFrameQueue(), session: c, over: make(chan struct{})}
	c.carrier, c.token = h, requestToken(r)
	p, answer, err := s.openPeer(r.Context(), rtcAsk{role: rtcSession, path: sessionPath, remote: r.RemoteAddr, client: r.UserAgent(), offer: offer, channel: h,
		gone: func(p *rtcPeer, why lifecycle.Reason) {
			s.whip.remove(p, why)
			h.finish(why)
		}})
	if err != nil {
		s.rtcError(w, lifecycle.ReasonOf(err))
		return // gone has given the session up
	}
	h.peer.Store(p.peer)
	c.begin()
	s.wait.Go(h.run)
	if s.mayKnow(r, rtcTarget{role: rtcSession}) {
		s.linkServers(w.Header())
	}
	s.answerOffer(w, r, p, answer)
}

// opened takes the channel that the client has opened.
func (h *channelCarrier) opened(c *rtc.Channel) rtc.ChannelOptions {
	return rtc.ChannelOptions{
		OnOpen: func() {
			h.channel.Store(c)
			h.Wake()
		},
		OnMessage: h.receive,
		OnClose:   func() { go c.Peer().Close(lifecycle.ReasonLost) },
		OnDrain:   h.Wake,
	}
}

// Close implements carrier.
func (h *channelCarrier) Close(code int, reason string) error {
	h.shut(code, reason)
	return nil
}

// CloseNow implements carrier.
func (h *channelCarrier) CloseNow() { h.closePeer(lifecycle.ReasonLost) }

func (h *channelCarrier) closePeer(why lifecycle.Reason) {
	if peer := h.peer.Load(); peer != nil {
		go peer.Close(why)
	}
}

// finish is the end of the peer.
func (h *channelCarrier) finish(why lifecycle.Reason) {
	close(h.over)
	h.receiving.Lock()
	defer h.receiving.Unlock()
	h.session.finish(why)
}

// run sends what is queued, and what the session follows, as fast as the channel takes it.
func (h *channelCarrier) run() {
	stuck := time.NewTimer(h.session.server.opts.WriteTimeout)
	defer stuck.Stop()
	for {
		waiting, end := h.send()
		if end {
			h.linger()
			return
		}
		var patience <-chan time.Time
		if waiting {
			stuck.Reset(h.session.server.opts.WriteTimeout)
			patience = stuck.C
		}
		select {
		case <-h.wake:
		case <-h.over:
			return
		case <-patience:
			h.session.setEnd(lifecycle.ReasonSlow)
			h.CloseNow()
		}
	}
}

// send sends until there is nothing more, or enough waits in the channel; end says that the close was sent.
func (h *channelCarrier) send() (waiting, end bool) {
	for {
		c := h.channel.Load()
		if c == nil {
			return false, false
		}
		if c.Buffered() > channelAhead {
			return true, false
		}
		frames, closed, code, reason := h.takeAll()
		if len(frames) == 0 && closed {
			c.Send(false, fmt.Appendf([]byte{channelClose}, "%d %s", code, reason))
			return false, true
		}
		if len(frames) == 0 {
			frames = h.session.Fill(nil, maxChannelPart)
		}
		if len(frames) == 0 {
			return false, false
		}
		for _, f := range frames {
			for len(f) > 0 {
				op, payload, n := splitFrame(f)
				f = f[n:]
				if err := sendMessage(c, op == websocket.OpText, payload); err != nil {
					h.CloseNow()
					return false, false
				}
			}
		}
	}
}

// sendMessage sends a message in parts that are not too long.
func sendMessage(c *rtc.Channel, text bool, b []byte) error {
	if text && len(b) <= maxChannelPart {
		return c.Send(true, b)
	}
	part, last := byte(channelPart), byte(channelLast)
	if text {
		part, last = textPart, textLast
	} else if len(b) < maxChannelPart {
		return c.Send(false, append([]byte{channelBinary}, b...))
	}
	for len(b) >= maxChannelPart {
		if err := c.Send(false, append([]byte{part}, b[:maxChannelPart-1]...)); err != nil {
			return err
		}
		b = b[maxChannelPart-1:]
	}
	return c.Send(false, append([]byte{last}, b...))
}

// linger lets the close get through before the peer ends.
func (h *channelCarrier) linger() {
	patience := time.NewTimer(closePatience)
	defer patience.Stop()
	select { // the client closes its peer when it has read the close
	case <-h.over:
	case <-patience.C:
		h.CloseNow()
		<-h.over
	}
}

// receive takes a message of the channel.
func (h *channelCarrier) receive(text bool, b []byte) {
	h.receiving.Lock()
	defer h.receiving.Unlock()
	select {
	case <-h.over:
		return
	default:
	}
	h.session.heard()
	switch {
	case text:
		h.session.receive(b)
	case len(b) > 0 && b[0] == channelClose: // a client that gives the connection up, but not the session, says so by the code
		code, _, _ := strings.Cut(string(b[1:]), " ")
		n, _ := strconv.Atoi(code)
		why, ok := lifecycle.ReasonByCode(n)
		if !ok {
			why = lifecycle.ReasonDone
		}
		h.closePeer(why)
	case len(b) == 0 || b[0] != textPart && b[0] != textLast:
		h.session.fail(&session.Error{Reason: lifecycle.ReasonUnsupported.With("binary messages from a client have no meaning in version %d", session.Version), Fatal: true})
	case len(h.text)+len(b) > session.DefaultMaxMessage+1:
		lifecycle.CountReached("session.MaxMessage")
		h.session.fail(&session.Error{Reason: lifecycle.ReasonTooBig.With("message: want at most %d bytes", session.DefaultMaxMessage), Fatal: true})
		h.text = nil
	default:
		if h.text = append(h.text, b[1:]...); b[0] == textLast {
			h.session.receive(h.text)
			h.text = nil
		}
	}
}

// answerOffer answers a POST with what was agreed upon.
func (s *Server) answerOffer(w http.ResponseWriter, r *http.Request, p *rtcPeer, answer string) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	location := strings.TrimRight(r.URL.EscapedPath(), "/") + "/" + s.whip.add(p)
	if queryToken(r.URL.Query()) != "" { // who has no other credentials than the address gets another such
		location += "?" + r.URL.RawQuery
	}
	h.Set("Location", location)
	h.Set("ETag", p.etag())
	h.Set("Accept-Patch", fragmentType)
	h.Set("Content-Type", sdpType)
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusCreated)
	io.WriteString(w, answer)
}
