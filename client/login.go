package client

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"hawser/lifecycle"
	"hawser/session"
)

const (
	// renewAt is the part of the credentials' life after which new ones are asked for, give or take a tenth.
	renewAt = 0.8
	// minRenew is the shortest wait before they are asked for again.
	minRenew = 50 * time.Millisecond
)

// credentials asks the provider, and bounds how long that may take.
func (c *Client) credentials(ctx context.Context, renewal bool) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.o.CredentialsTimeout, lifecycle.ReasonTimeout.With("no credentials within %s", c.o.CredentialsTimeout))
	defer cancel()
	type answer struct {
		token string
		err   error
	}
	answers := make(chan answer, 1)
	go func() { // a provider that does not look at ctx holds up nobody
		token, err := c.o.Credentials(ctx, CredentialsRequest{User: c.User(), Renewal: renewal})
		answers <- answer{token, err}
	}()
	select {
	case a := <-answers:
		return a.token, a.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// login asks for credentials when the machine wants them, and for new ones before they end.
func (c *Client) login(ctx context.Context) {
	if c.o.Credentials == nil {
		return
	}
	if c.State() == session.RetrievingCredentials {
		token, err := c.credentials(ctx, false)
		if ctx.Err() != nil {
			return
		}
		c.do(func(m *session.Client) {
			if err == nil {
				m.Credentials(token)
			} else {
				m.CredentialsFailed(providerFailed(err))
			}
		})
	}
	c.mu.Lock()
	welcome := c.welcome
	c.mu.Unlock()
	select {
	case <-welcome:
		c.keepRenewed(ctx)
	case <-ctx.Done():
	}
}

// providerFailed is why there are no credentials. The provider says whether it may be asked again by a lifecycle.Reason in its error; without one it may.
func providerFailed(err error) lifecycle.Reason {
	r := lifecycle.ReasonOf(err)
	if r.Is(lifecycle.ReasonInternal) {
		return lifecycle.ReasonLost.Because(err)
	}
	return r
}

// keepRenewed asks for new credentials before the old ones end, as long as the connection lasts.
func (c *Client) keepRenewed(ctx context.Context) {
	for {
		c.mu.Lock()
		left, renewed := c.machine.Lifetime(), c.renewed
		c.mu.Unlock()
		if left == 0 {
			select { // until a renewal says otherwise
			case <-renewed:
				continue
			case <-ctx.Done():
				return
			}
		}
		ends := time.Now().Add(left)
		wait := time.Duration(float64(left) * (renewAt + (rand.Float64()-0.5)/5))
		for sleep(ctx, max(wait, minRenew)) && !c.renew(ctx, renewed) && time.Now().Before(ends) {
			wait = time.Until(ends) / 4
		}
		if ctx.Err() != nil || time.Now().After(ends) {
			return // the server ejects
		}
	}
}

// renew asks for credentials and gives them to the server; false when the old ones still hold.
func (c *Client) renew(ctx context.Context, renewed <-chan struct{}) bool {
	token, err := c.credentials(ctx, true)
	if err != nil {
		c.life.Event(lifecycle.Event{Kind: KindError, Reason: providerFailed(err), Detail: "credentials"})
		return false
	}
	c.do(func(m *session.Client) { m.Renew(token) })
	patience := time.NewTimer(c.o.LoginTimeout)
	defer patience.Stop()
	select {
	case <-renewed:
		return true
	case <-patience.C:
	case <-ctx.Done():
	}
	return false
}

// renewedLocked takes the server's answer to new credentials.
func (c *Client) renewedLocked(ev session.Event) {
	if !ev.Reason.IsZero() {
		c.life.Event(lifecycle.Event{Kind: KindError, Reason: ev.Reason, Detail: "credentials", Server: c.server})
		return
	}
	close(c.renewed)
	c.renewed = make(chan struct{})
}

// Pause freezes the session: nothing is delivered until Resume, and nothing is lost that the server keeps. It fails unless the client is LoggedIn.
func (c *Client) Pause() error {
	c.do((*session.Client).Pause)
	if state := c.State(); state != session.Paused {
		return fmt.Errorf("client: pause: the client is %s", state)
	}
	return nil
}

// Resume ends a pause. Where the connection broke meanwhile the client connects again.
func (c *Client) Resume() { c.do((*session.Client).Resume) }

// User returns who the server says this client is; empty before the first login and without authentication.
func (c *Client) User() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.machine.User()
}

// Transport returns what carries the session now, one of the Transports; empty when nothing does.
func (c *Client) Transport() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link == nil {
		return ""
	}
	return c.link.transport
}

// Server returns the address of the server that the client is on, or tries.
func (c *Client) Server() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server
}
