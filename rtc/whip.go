package rtc

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/pion/webrtc/v4"

	"hawser/lifecycle"
)

// HTTPOptions are the settings of Publish and Play.
type HTTPOptions struct {
	// Peer are those of the peer: for Publish with Send and Source, for Play with OnFrame. OnCandidate is not used.
	Peer PeerOptions
	// Token is sent as bearer token with each request; "" sends none.
	Token string
	// Trickle sends the offer before our own addresses are looked for, and these after it: quicker where a STUN or TURN server is asked. Otherwise the addresses are in the offer, and the server is asked before it,
	// by OPTIONS, which STUN and TURN servers there are. Both are one request more.
	Trickle bool
	// Client makes the requests; nil means http.DefaultClient.
	Client *http.Client
	// Timeout bounds each request; 0 means DefaultHTTPTimeout.
	Timeout time.Duration
}

// DefaultHTTPTimeout is how long a request of WHIP or WHEP may take.
const DefaultHTTPTimeout = 10 * time.Second

// fragmentType is the media type of fragments (RFC 8840 section 9).
const fragmentType = "application/trickle-ice-sdpfrag"

// HTTPSession is a peer that was made by WHIP or WHEP. It uses the STUN and TURN servers that the server names in links (RFC 9725 section 4.6) beside those of Options. All methods may run at once.
type HTTPSession struct {
	// Peer is the peer; it is closed by Close.
	Peer *Peer

	opts HTTPOptions

	mu       sync.Mutex // one request at a time, and guards what follows
	resource string     // its address
	etag     string
	offer    string
	done     bool

	foundMu  sync.Mutex
	found    []string // candidates that were not yet sent
	agreed   bool     // they may be
	sending  bool     // somebody does
	trickles sync.WaitGroup
}

// Publish sends to a server by WHIP (RFC 9725); address is that of the endpoint, for example https://example.org/live/cam1/whip.
func (e *Engine) Publish(ctx context.Context, address string, o HTTPOptions) (*HTTPSession, error) {
	return e.request(ctx, "publish", address, o)
}

// Play receives from a server by WHEP (draft-ietf-wish-whep).
func (e *Engine) Play(ctx context.Context, address string, o HTTPOptions) (*HTTPSession, error) {
	return e.request(ctx, "play", address, o)
}

func (e *Engine) request(ctx context.Context, op, address string, o HTTPOptions) (*HTTPSession, error) {
	o.Timeout = cmp.Or(o.Timeout, DefaultHTTPTimeout)
	if o.Client == nil {
		o.Client = http.DefaultClient
	}
	s := &HTTPSession{opts: o}
	o.Peer.OnCandidate = nil
	if o.Trickle {
		o.Peer.OnCandidate = s.find
	}
	peer, err := e.Peer(o.Peer)
	if err != nil {
		return nil, err
	}
	s.Peer = peer
	if err := s.open(ctx, address); err != nil {
		err = fmt.Errorf("rtc: %s %q: %w", op, address, err)
		peer.Close(lifecycle.ReasonOf(err))
		return nil, err
	}
	return s, nil
}

// open makes the offer and takes the answer.
func (s *HTTPSession) open(ctx context.Context, address string) error {
	if !s.opts.Trickle {
		s.askServers(ctx, address)
	}
	p := s.Peer
	p.negotiating.Lock()
	defer p.negotiating.Unlock()
	local, err := p.createOffer(&webrtc.OfferOptions{OfferAnswerOptions: webrtc.OfferAnswerOptions{ICETricklingSupported: s.opts.Trickle}})
	if err != nil {
		return err
	}
	offer := local.SDP
	if !s.opts.Trickle {
		if offer, err = p.local(ctx, local); err != nil {
			return err
		}
	}
	answer, err := s.post(ctx, address, offer)
	if err != nil {
		return err
	}
	if s.opts.Trickle { // addresses are looked for with the servers that the answer names
		if _, err := p.local(ctx, local); err != nil {
			return err
		}
	}
	if err := p.remote(webrtc.SDPTypeAnswer, answer); err != nil {
		return err
	}
	s.trickle()
	return nil
}

// askServers asks for STUN and TURN servers before the offer is made. A server that does not say names none.
func (s *HTTPSession) askServers(ctx context.Context, address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if response, _, err := s.do(ctx, http.MethodOptions, address, nil, "", http.StatusNoContent, http.StatusOK); err == nil {
		s.useServers(response)
	}
}

// useServers takes the servers that an answer names, as far as they make sense.
func (s *HTTPSession) useServers(r *http.Response) {
	if servers := iceLinks(r.Header.Values("Link")); len(servers) > 0 {
		_ = s.Peer.SetICEServers(servers) // a connection may well do without
	}
}

// post sends the offer and returns the answer.
func (s *HTTPSession) post(ctx context.Context, address, offer string) (answer string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offer = offer
	response, answer, err := s.do(ctx, http.MethodPost, address, http.Header{"Content-Type": {"application/sdp"}}, offer, http.StatusCreated)
	if err != nil {
		return "", err
	}
	location, err := response.Location()
	if err != nil {
		return "", fmt.Errorf("the answer has no Location: %w", err)
	}
	s.resource, s.etag = location.String(), response.Header.Get("ETag")
	s.useServers(response)
	return answer, nil
}

// find takes our own candidates while they are found.
func (s *HTTPSession) find(candidate string) {
	s.foundMu.Lock()
	defer s.foundMu.Unlock()
	s.found = append(s.found, candidate)
	s.trickleLocked()
}

// trickle says that candidates may be sent.
func (s *HTTPSession) trickle() {
	s.foundMu.Lock()
	defer s.foundMu.Unlock()
	s.agreed = true
	s.trickleLocked()
}

func (s *HTTPSession) trickleLocked() {
	if s.agreed && !s.sending && len(s.found) > 0 {
		s.sending = true
		s.trickles.Go(s.sendFound)
	}
}

// sendFound sends the candidates that were found; those that are found meanwhile are one request. What the server refuses it may still learn from our checks.
func (s *HTTPSession) sendFound() {
	for {
		s.foundMu.Lock()
		found := s.found
		s.found, s.sending = nil, len(found) > 0
		s.foundMu.Unlock()
		if len(found) == 0 {
			return
		}
		s.mu.Lock()
		if !s.done {
			s.do(context.Background(), http.MethodPatch, s.resource, http.Header{"Content-Type": {fragmentType}}, candidatesFragment(s.offer, found), http.StatusNoContent, http.StatusOK)
		}
		s.mu.Unlock()
	}
}

// Restart restarts ICE by PATCH (RFC 9725 section 4.3.3): after a change of addresses, or when the state is StateFailed.
func (s *HTTPSession) Restart(ctx context.Context) error {
	s.foundMu.Lock()
	s.agreed = false // what is found from now on belongs to the restart
	s.foundMu.Unlock()
	offer, err := s.Peer.Restart(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.offer = offer
	body := fragmentOf(offer)
	response, fragment, err := s.do(ctx, http.MethodPatch, s.resource, http.Header{"Content-Type": {fragmentType}, "If-Match": {"*"}}, body, http.StatusOK)
	if err == nil {
		s.etag = cmp.Or(response.Header.Get("ETag"), s.etag)
	}
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("rtc: restart %q: %w", s.resource, err)
	}
	if err := s.Peer.SetAnswer(withFragment(s.Peer.pc.CurrentRemoteDescription().SDP, fragment)); err != nil {
		return err
	}
	s.trickle()
	return nil
}

// Close closes the peer and deletes it at the server. The error is that of the request; only the first call counts.
func (s *HTTPSession) Close(ctx context.Context, why lifecycle.Reason) error {
	defer s.trickles.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return nil
	}
	s.done = true
	_, _, err := s.do(ctx, http.MethodDelete, s.resource, nil, "", http.StatusOK, http.StatusNoContent)
	s.Peer.Close(why)
	return err
}

// do makes one request.
func (s *HTTPSession) do(ctx context.Context, method, address string, header http.Header, body string, want ...int) (*http.Response, string, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	if s.opts.Token != "" {
		r.Header.Set("Authorization", "Bearer "+s.opts.Token)
	}
	if method == http.MethodPatch && s.etag != "" {
		r.Header.Set("If-Match", s.etag)
	}
	for name, values := range header {
		r.Header[name] = values
	}
	response, err := s.opts.Client.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	limit := s.Peer.engine.opts.MaxSDP
	b, err := io.ReadAll(io.LimitReader(response.Body, int64(limit)+1))
	if err != nil {
		return nil, "", err
	}
	if len(b) > limit {
		lifecycle.CountReached("rtc.MaxSDP")
		return nil, "", lifecycle.ReasonTooBig.With("the answer has more than %d bytes (MaxSDP)", limit)
	}
	for _, status := range want {
		if response.StatusCode == status {
			return response, string(b), nil
		}
	}
	return nil, "", refusal(response, b)
}

// refusal is the reason for an answer that says no.
func refusal(r *http.Response, body []byte) error {
	reason := lifecycle.ReasonRefused
	switch r.StatusCode {
	case http.StatusUnauthorized:
		reason = lifecycle.ReasonUnauthorized
	case http.StatusNotFound:
		reason = lifecycle.ReasonNotFound
	case http.StatusConflict:
		reason = lifecycle.ReasonTaken
	case http.StatusNotAcceptable, http.StatusUnsupportedMediaType:
		reason = lifecycle.ReasonUnsupported
	case http.StatusBadRequest, http.StatusPreconditionFailed:
		reason = lifecycle.ReasonBadRequest
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		reason = lifecycle.ReasonLimit
	}
	const longest = 200
	text := bytes.ToValidUTF8(bytes.TrimSpace(body), nil)
	return reason.With("the server answers %s %.*s", r.Status, longest, text)
}
