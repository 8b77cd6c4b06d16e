package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"hawser/lifecycle"
)

// MaxCredentials bounds what somebody may bring to be known by, in bytes (reason too_big).
const MaxCredentials = 8 << 10

// File is an Authenticator by a file of users, keys, roles and rules, which can be read again at any time; Open makes one. All methods may run at once.
type File struct {
	path   string
	hasher hasher

	reading sync.Mutex // held by who reads the file
	now     atomic.Pointer[config]
}

// Open reads a file. An error tells all that is wrong with it.
func Open(path string) (*File, error) {
	f := &File{path: path, hasher: newHasher()}
	return f, f.Reload()
}

// Reload reads the file again, and the files that it names. Identities that were given out follow what it says now. When something is wrong with it, what was read before stays in force.
func (f *File) Reload() error {
	f.reading.Lock()
	defer f.reading.Unlock()
	b, err := readFile(f.path, maxFile)
	if err != nil {
		return fmt.Errorf("auth: %w", err)
	}
	c, err := parseConfig(b, filepath.Dir(f.path))
	if err != nil {
		return f.placed(err)
	}
	if old := f.now.Load(); old != nil && old.tokens != nil && c.tokens != nil {
		c.tokens.keepKeys(old.tokens)
	}
	f.now.Store(c)
	return nil
}

// keepKeys goes on with the keys of a URL that is still the same: it need not answer just now.
func (t *tokens) keepKeys(old *tokens) {
	if o, n := old.jwks, t.jwks; o != nil && n != nil && o.url == n.url && o.refresh == n.refresh && o.timeout == n.timeout {
		t.jwks = o
	}
}

// placed puts the file's name before each problem.
func (f *File) placed(err error) error {
	var list []error
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		list = append(list, fmt.Errorf("auth: %s:%w", f.path, e))
	}
	return errors.Join(list...)
}

// Files returns the name of the file, and of those that it names: what is worth a Reload when it changes.
func (f *File) Files() []string { return append([]string{f.path}, f.now.Load().files...) }

// Authenticate implements Authenticator. The token is an API key, a JWT, "user:password", or what the authority knows; an empty one is that of everyone, where the file speaks of everyone.
func (f *File) Authenticate(ctx context.Context, token string, remote netip.Addr) (Identity, error) {
	who, err := f.identify(ctx, f.now.Load(), token, remote)
	if err != nil {
		return nil, err
	}
	if err := who.Check(); err != nil { // such as a role that there is not
		return nil, err
	}
	return who, nil
}

func (f *File) identify(ctx context.Context, c *config, token string, remote netip.Addr) (*identity, error) {
	user, password, pair := strings.Cut(token, ":")
	switch {
	case token == "" && c.everyone == nil:
		return nil, unauthorized("this needs credentials")
	case token == "":
		return &identity{file: f, by: "everyone", find: func(c *config) *holder { return c.everyone }}, nil
	case len(token) > MaxCredentials:
		lifecycle.CountReached("auth.MaxCredentials")
		return nil, lifecycle.ReasonTooBig.With("credentials of %d bytes: more than %d", len(token), MaxCredentials)
	}
	if k := c.keyFor(token); k != nil {
		return f.byKey(k)
	}
	switch {
	case c.tokens != nil && !pair && strings.HasPrefix(token, "eyJ") && strings.Count(token, ".") == 2:
		return f.byToken(ctx, c, token)
	case pair && (c.users[user] != nil || c.authority == nil):
		return f.byPassword(ctx, c, user, password)
	case c.authority != nil:
		return f.byAuthority(ctx, c, token, remote)
	}
	return nil, unauthorized("the credentials were not accepted")
}

// keyFor is the API key that a token is. All are compared, each in constant time.
func (c *config) keyFor(token string) (found *staticKey) {
	sum := sha256.Sum256([]byte(token))
	for _, k := range c.keys {
		if subtle.ConstantTimeCompare(sum[:], k.digest[:]) == 1 {
			found = k
		}
	}
	return found
}

func (f *File) byKey(k *staticKey) (*identity, error) {
	if !k.expires.IsZero() && !k.expires.After(time.Now()) {
		return nil, unauthorized("the key has expired")
	}
	return &identity{file: f, by: fmt.Sprintf("key %q", k.name), user: k.name, expires: k.expires, find: func(c *config) *holder {
		for _, o := range c.keys {
			if o.name == k.name && o.digest == k.digest && (o.expires.IsZero() || o.expires.After(time.Now())) {
				return &o.holder
			}
		}
		return nil
	}}, nil
}

func (f *File) byPassword(ctx context.Context, c *config, name, password string) (*identity, error) {
	var hash *passwordHash
	if u := c.users[name]; u != nil {
		hash = u.hash
	}
	if len(password) > MaxPassword {
		lifecycle.CountReached("auth.MaxPassword")
		return nil, unauthorized("the credentials were not accepted")
	}
	ok, err := f.hasher.check(ctx, hash, password)
	switch {
	case err != nil:
		lifecycle.CountReached("auth.MaxHashing")
		return nil, lifecycle.ReasonTimeout.With("too many logins at once")
	case !ok:
		return nil, unauthorized("the credentials were not accepted")
	}
	return &identity{file: f, by: "password", user: name, find: func(c *config) *holder {
		if u := c.users[name]; u != nil && u.hash != nil && u.hash.equal(hash) {
			return &u.holder
		}
		return nil
	}}, nil
}

func (f *File) byToken(ctx context.Context, c *config, text string) (*identity, error) {
	said, key, err := c.tokens.verify(ctx, text)
	if err != nil {
		return nil, err
	}
	var own *holder
	if said.Hawser != nil {
		if own, err = said.Hawser.holder(); err != nil {
			return nil, unauthorized("the token's claim hawser: %v", err)
		}
	}
	by := "token"
	if key.id != "" {
		by = fmt.Sprintf("token of key %q", key.id)
	}
	who := &identity{file: f, by: by, user: said.Subject, expires: said.ExpiresAt.Add(c.tokens.leeway)}
	who.find = func(c *config) *holder {
		switch {
		case !c.tokens.holds(key) || said.ID != "" && c.tokens.revoked[said.ID]:
			return nil
		case own != nil:
			return own
		}
		h := &holder{roles: c.tokens.roles}
		if u := c.users[said.Subject]; u != nil {
			h.own = u.own
			h.roles = append(append([]string(nil), u.roles...), c.tokens.roles...)
		}
		return h
	}
	return who, nil
}

func (f *File) byAuthority(ctx context.Context, c *config, token string, remote netip.Addr) (*identity, error) {
	v, err := c.authority.ask(ctx, token, remote)
	if err != nil {
		return nil, err
	}
	return &identity{file: f, by: "authority", user: v.user, expires: v.expires, find: func(now *config) *holder {
		if now.authority == nil || now.authority.url != c.authority.url {
			return nil
		}
		return v.holder
	}}, nil
}

// identity is who somebody was found to be.
type identity struct {
	file    *File
	by      string // what told
	user    string
	expires time.Time
	// find is the holder of the rules by a file, or nil when the credentials are good no more.
	find func(*config) *holder

	seen atomic.Pointer[view]
}

// view is what an identity may by one reading of the file.
type view struct {
	of  *config
	all []*grants
	err error
}

// view makes the view by what is in force now, once for each reading.
func (i *identity) view() *view {
	c := i.file.now.Load()
	if v := i.seen.Load(); v != nil && v.of == c {
		return v
	}
	v := &view{of: c}
	if h := i.find(c); h == nil {
		v.err = unauthorized("the credentials are not good any more")
	} else if v.all, v.err = c.grantsOf(h); v.err != nil {
		v.err = lifecycle.ReasonUnauthorized.Because(v.err)
	}
	i.seen.Store(v)
	return v
}

// User implements Identity.
func (i *identity) User() string { return i.user }

// Expires implements Identity.
func (i *identity) Expires() time.Time { return i.expires }

// Check implements Identity.
func (i *identity) Check() error { return i.view().err }

// May implements Identity. A rule "deny" that covers it forbids it, whatever else there is; else it needs a rule "allow".
func (i *identity) May(a Action, path string) bool {
	v := i.view()
	return v.err == nil && decide(v.all, a, i.user, path)
}
