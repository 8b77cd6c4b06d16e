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

	"hawser/lifecycle"
)

// HTTPOptions are the settings of Publish and Play.
type HTTPOptions struct {
	// Peer are those of the peer: for Publish with Send and Source, for Play with OnFrame. OnCandidate is not used.
	Peer PeerOptions
	// Token is sent as bearer token with each request; "" sends none.
	Token string
	// Trickle sends the offer before our own addresses are known, and these after it: quicker where a STUN or TURN server is asked, and one request more.
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

// HTTPSession is a peer that was made by WHIP or WHEP. All methods may run at once.
type HTTPSession struct {
	// Peer is the peer; it is closed by Close.
	Peer *Peer

	opts HTTPOptions

	mu         sync.Mutex // one request at a time, and guards what follows
	resource   string     // its address
	etag       string
	offer      string
	candidates []string // found but not yet sent
	done       bool
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
		o.Peer.OnCandidate = s.found
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
	offer, err := s.Peer.Offer(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.offer = offer
	response, answer, err := s.do(ctx, http.MethodPost, address, http.Header{"Content-Type": {"application/sdp"}}, offer, http.StatusCreated)
	if err == nil {
		location, lost := response.Location()
		if lost != nil {
			err = fmt.Errorf("the answer has no Location: %w", lost)
		} else {
			s.resource, s.etag = location.String(), response.Header.Get("ETag")
		}
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if err := s.Peer.SetAnswer(answer); err != nil {
		return err
	}
	return s.trickle(ctx)
}

// found takes our own candidates while they are found.
func (s *HTTPSession) found(candidate string) {
	s.mu.Lock()
	s.candidates = append(s.candidates, candidate)
	known := s.resource != ""
	s.mu.Unlock()
	if known {
		ctx, cancel := context.WithTimeout(context.Background(), s.opts.Timeout)
		defer cancel()
		s.trickle(ctx) // what is refused may still be learnt from our checks
	}
}

// trickle sends the candidates that were found.
func (s *HTTPSession) trickle(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.candidates) == 0 || s.done {
		return nil
	}
	body := candidatesFragment(s.offer, s.candidates)
	s.candidates = nil
	_, _, err := s.do(ctx, http.MethodPatch, s.resource, http.Header{"Content-Type": {fragmentType}}, body, http.StatusNoContent, http.StatusOK)
	return err
}

// Restart restarts ICE by PATCH (RFC 9725 section 4.3.3): after a change of addresses, or when the state is StateFailed.
func (s *HTTPSession) Restart(ctx context.Context) error {
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
	return s.trickle(ctx)
}

// Close closes the peer and deletes it at the server. The error is that of the request; only the first call counts.
func (s *HTTPSession) Close(ctx context.Context, why lifecycle.Reason) error {
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
