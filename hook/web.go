package hook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"hawser/lifecycle"
)

func newClient(o *Options) *http.Client {
	transport := o.Transport
	if transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost, t.MaxIdleConns = 2*o.MaxCalls, 0
		transport = t
	}
	// A redirect is not followed: where an event may go is the operator's choice, not the endpoint's.
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Sign returns the value of SignatureHeader for a body.
func Sign(secret, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// Verify says whether signature, the value of SignatureHeader, is that of a body, for those who receive webhooks. It takes the same time wherever they differ.
func Verify(secret, body []byte, signature string) bool {
	return hmac.Equal([]byte(Sign(secret, body)), []byte(signature))
}

// post calls a webhook.
func (s *Set) post(ctx context.Context, address string, e *Event) (reply, error) {
	body, err := json.Marshal(e)
	if err != nil {
		return reply{}, lifecycle.ReasonInternal.Because(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return reply{}, lifecycle.ReasonInternal.With("the URL is not one")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Hawser-Event", e.Event)
	if len(s.o.Secret) > 0 {
		req.Header.Set(SignatureHeader, Sign(s.o.Secret, body))
	}
	resp, err := s.client.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // without the URL, which may hold a secret
		}
		return reply{}, lifecycle.ReasonLost.Because(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, s.o.MaxAnswer+1))
	switch {
	case err != nil:
		return reply{}, lifecycle.ReasonLost.Because(err)
	case int64(len(answer)) > s.o.MaxAnswer:
		lifecycle.CountReached("hook.MaxAnswer")
		return reply{}, lifecycle.ReasonTooBig.With("an answer of more than %d bytes (MaxAnswer)", s.o.MaxAnswer)
	}
	return webReply(resp, bytes.TrimSpace(answer))
}

// webReply reads an answer: 2xx is what the body says, and accepts without JSON; 4xx refuses with the body's text; anything else is no answer.
func webReply(resp *http.Response, body []byte) (reply, error) {
	isJSON := strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") || bytes.HasPrefix(body, []byte("{"))
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300 && (len(body) == 0 || !isJSON):
		return reply{}, nil
	case code >= 200 && code < 300:
		return parseReply(body)
	case code == http.StatusTooManyRequests || code == http.StatusRequestTimeout:
		return reply{}, lifecycle.ReasonLimit.With("the answer is %s", resp.Status)
	case code >= 400 && code < 500:
		text := string(body)
		if r, err := parseReply(body); err == nil && r.refused {
			return r, nil
		} else if isJSON || len(body) == 0 {
			text = http.StatusText(code)
		}
		return refusal(text), nil
	case code >= 500:
		return reply{}, lifecycle.ReasonInternal.With("the answer is %s", resp.Status)
	}
	return reply{}, lifecycle.ReasonProtocol.With("the answer is %s, want 2xx or 4xx; redirects are not followed", resp.Status)
}
