package auth

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"hawser/lifecycle"
)

const (
	// defaultTTL is the longest time for which an answer of the authority is remembered.
	defaultTTL = time.Minute
	// MaxAsking bounds the questions to the authority at one time; further logins are refused (reason limit).
	MaxAsking = 64
	// maxAnswers bounds the answers that are remembered.
	maxAnswers = 10_000
)

// authority is somebody outside who is asked at each login, by a POST of a question in JSON. All methods may run at once.
type authority struct {
	url, secret  string
	timeout, ttl time.Duration
	client       *http.Client
	asking       chan struct{}
	salt         [32]byte // of what answers are remembered by, so that no credentials are

	mu      sync.Mutex
	answers map[[sha256.Size]byte]remembered
}

type remembered struct {
	verdict
	until time.Time
}

// verdict is what the authority says of somebody whom it knows.
type verdict struct {
	user    string
	holder  *holder
	expires time.Time
}

// question is what the authority is asked.
type question struct {
	Token  string `json:"token"`
	Remote string `json:"remote,omitempty"`
}

// answer is what it says with status 200.
type answer struct {
	User string `json:"user"`
	Grant
	Expires int64 `json:"expires"` // seconds since 1970; 0: never
	TTL     int64 `json:"ttl"`     // seconds for which the answer may be remembered
}

// UnmarshalJSON reads all of it, strictly; that of Grant would take it for its own.
func (a *answer) UnmarshalJSON(b []byte) error {
	var flat struct {
		User    string   `json:"user"`
		Allow   []string `json:"allow"`
		Deny    []string `json:"deny"`
		Roles   []string `json:"roles"`
		Expires int64    `json:"expires"`
		TTL     int64    `json:"ttl"`
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&flat); err != nil {
		return err
	}
	*a = answer{User: flat.User, Grant: Grant{Allow: flat.Allow, Deny: flat.Deny, Roles: flat.Roles}, Expires: flat.Expires, TTL: flat.TTL}
	return nil
}

func newAuthority() *authority {
	a := &authority{timeout: defaultRemoteTimeout, ttl: defaultTTL, client: remoteClient(), asking: make(chan struct{}, MaxAsking), answers: map[[sha256.Size]byte]remembered{}}
	rand.Read(a.salt[:])
	return a
}

// ask returns what the authority says of credentials, or has said a short while ago.
func (a *authority) ask(ctx context.Context, token string, remote netip.Addr) (verdict, error) {
	name := a.name(token, remote)
	if v, ok := a.recall(name); ok {
		return v, nil
	}
	select {
	case a.asking <- struct{}{}:
		defer func() { <-a.asking }()
	default:
		return verdict{}, lifecycle.Reached("auth.MaxAsking", MaxAsking).With("%d logins wait for the authority", MaxAsking)
	}
	said, err := a.post(ctx, token, remote)
	if err != nil {
		return verdict{}, err
	}
	v := verdict{user: said.User}
	if v.holder, err = said.Grant.holder(); err != nil {
		return verdict{}, lifecycle.ReasonInternal.With("the authority's answer: %v", err)
	}
	if said.User != "" && checkName(said.User) != nil {
		return verdict{}, lifecycle.ReasonInternal.With("the authority's answer: the name of the user")
	}
	if said.Expires != 0 {
		if v.expires = time.Unix(said.Expires, 0); !v.expires.After(time.Now()) {
			return verdict{}, unauthorized("the credentials have ended")
		}
	}
	if ttl := min(a.ttl, time.Duration(min(max(said.TTL, 0), 1<<30))*time.Second); ttl > 0 {
		a.remember(name, v, time.Now().Add(ttl))
	}
	return v, nil
}

// post asks.
func (a *authority) post(ctx context.Context, token string, remote netip.Addr) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	q := question{Token: token}
	if remote.IsValid() {
		q.Remote = remote.String()
	}
	body, err := json.Marshal(q)
	if err != nil {
		return nil, lifecycle.ReasonInternal.With("the authority cannot be asked")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url, bytes.NewReader(body))
	if err != nil {
		return nil, lifecycle.ReasonInternal.With("the authority cannot be asked")
	}
	req.Header.Set("Content-Type", "application/json")
	if a.secret != "" {
		req.Header.Set("Authorization", "Bearer "+a.secret)
	}
	res, err := a.client.Do(req)
	if err != nil {
		return nil, lifecycle.ReasonInternal.With("the authority: %v", reachFault(err))
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, unauthorized("the credentials were not accepted")
	default:
		return nil, lifecycle.ReasonInternal.With("the authority answers with status %d", res.StatusCode)
	}
	var said answer
	if body, err = readBody(res); err == nil {
		err = json.Unmarshal(body, &said)
	}
	if err != nil {
		return nil, lifecycle.ReasonInternal.With("the authority's answer cannot be read")
	}
	return &said, nil
}

// reachFault is why a request failed, without the address, which is the operator's affair.
func reachFault(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		if u.Timeout() {
			return errors.New("no answer in time")
		}
		return errors.New("cannot be reached")
	}
	return err
}

// name is what the answer for credentials is remembered by.
func (a *authority) name(token string, remote netip.Addr) (sum [sha256.Size]byte) {
	h := hmac.New(sha256.New, a.salt[:])
	h.Write([]byte(remote.String() + "\x00" + token))
	h.Sum(sum[:0])
	return sum
}

func (a *authority) recall(name [sha256.Size]byte) (verdict, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r, ok := a.answers[name]
	now := time.Now()
	return r.verdict, ok && now.Before(r.until) && (r.expires.IsZero() || now.Before(r.expires))
}

// remember keeps an answer. Where there is no room those go whose time is over, or any.
func (a *authority) remember(name [sha256.Size]byte, v verdict, until time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.answers) >= maxAnswers {
		now := time.Now()
		for k, r := range a.answers {
			if now.After(r.until) {
				delete(a.answers, k)
			}
		}
		for k := range a.answers {
			if len(a.answers) < maxAnswers {
				break
			}
			delete(a.answers, k)
		}
	}
	a.answers[name] = remembered{v, until}
}
