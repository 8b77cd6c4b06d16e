package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/MicahParks/keyfunc/v3"

	"hawser/lifecycle"
)

const (
	// defaultRefresh is how old the keys of a URL may be before they are asked for again; minRefresh is the least.
	defaultRefresh = time.Hour
	minRefresh     = time.Minute
	// jwksPause is the least time between two requests, after a failure or for a key that is not known.
	jwksPause = 10 * time.Second
	// jwksStale is how many times longer than refresh keys are used when newer ones cannot be had.
	jwksStale = 24
	// defaultRemoteTimeout bounds a request to elsewhere.
	defaultRemoteTimeout = 5 * time.Second
	// MaxRemoteBody bounds the answer to such a request, in bytes.
	MaxRemoteBody = 256 << 10
)

// jwks is a set of public keys (RFC 7517) at a URL. It is asked for when a token needs it, by the login that brings that token. All methods may run at once.
type jwks struct {
	url              string
	refresh, timeout time.Duration
	client           *http.Client

	turn chan struct{} // held by who asks

	mu    sync.Mutex
	keys  []*tokenKey
	at    time.Time // when they came
	tried time.Time
}

func newJWKS() *jwks {
	return &jwks{refresh: defaultRefresh, timeout: defaultRemoteTimeout, client: remoteClient(), turn: make(chan struct{}, 1)}
}

// remoteClient asks one place, and does not follow it to others.
func remoteClient() *http.Client {
	return &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("a redirect is not followed") }}
}

// held returns the keys, and whether newer ones should be asked for because of their age, or for a token's key that is not among them.
func (j *jwks) held(alg, kid string) (keys []*tokenKey, ask bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	age := now.Sub(j.at)
	if !j.at.IsZero() && age < j.refresh*jwksStale {
		for _, k := range j.keys {
			if k.fits(alg, kid) {
				keys = append(keys, k)
			}
		}
	}
	ask = (len(keys) == 0 || age >= j.refresh) && (j.tried.IsZero() || now.Sub(j.tried) >= jwksPause)
	return keys, ask
}

// find returns the keys that a token may have been signed with.
func (j *jwks) find(ctx context.Context, alg, kid string) ([]*tokenKey, error) {
	keys, ask := j.held(alg, kid)
	if !ask {
		return keys, nil
	}
	select {
	case j.turn <- struct{}{}:
	default:
		if len(keys) > 0 {
			return keys, nil // somebody asks already
		}
		select {
		case j.turn <- struct{}{}:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	defer func() { <-j.turn }()
	if _, ask = j.held(alg, kid); !ask {
		keys, _ = j.held(alg, kid)
		return keys, nil
	}
	fresh, err := j.fetch(ctx)
	j.mu.Lock()
	j.tried = time.Now()
	if err == nil {
		j.keys, j.at = fresh, j.tried
	}
	j.mu.Unlock()
	if again, _ := j.held(alg, kid); len(again) > 0 {
		return again, nil
	}
	return nil, err
}

func (j *jwks) fetch(ctx context.Context) ([]*tokenKey, error) {
	ctx, cancel := context.WithTimeout(ctx, j.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, j.url, nil)
	if err != nil {
		return nil, err
	}
	res, err := j.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", res.StatusCode)
	}
	body, err := readBody(res)
	if err != nil {
		return nil, err
	}
	return parseJWKS(ctx, body)
}

// readBody reads the whole answer, which is bounded.
func readBody(res *http.Response) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(res.Body, MaxRemoteBody+1))
	if err == nil && len(body) > MaxRemoteBody {
		lifecycle.CountReached("auth.MaxRemoteBody")
		err = fmt.Errorf("answer of more than %d bytes", MaxRemoteBody)
	}
	return body, err
}

// parseJWKS takes the public keys that can verify a token; a set may have others.
func parseJWKS(ctx context.Context, body []byte) (keys []*tokenKey, err error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil || set.Keys == nil {
		return nil, errors.New("not a JWKS")
	}
	if len(set.Keys) > maxTokenKeys {
		return nil, fmt.Errorf("a JWKS of %d keys: more than %d", len(set.Keys), maxTokenKeys)
	}
	for _, raw := range set.Keys {
		one, err := keyfunc.NewJWKJSON(raw)
		if err != nil {
			continue // of a kind that is not known here
		}
		all, err := one.Storage().KeyReadAll(ctx)
		if err != nil || len(all) != 1 {
			continue
		}
		m := all[0].Marshal()
		k := &tokenKey{id: m.KID, key: publicOf(all[0].Key())}
		alg, err := algorithmOf(k.key)
		if err != nil || alg == hs256 || m.ALG != "" && m.ALG.String() != alg || m.USE != "" && m.USE.String() != "sig" {
			continue
		}
		k.alg = alg
		keys = append(keys, k)
	}
	return keys, nil
}
