package auth

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
)

const (
	// maxFile bounds the file, and maxSecretFile those that it names, in bytes.
	maxFile       = 16 << 20
	maxSecretFile = 64 << 10
	// maxName bounds the name of a user, a key or a role, in bytes.
	maxName = 255
	// maxTokenKeys bounds the keys for tokens in the file, and those of a JWKS.
	maxTokenKeys = 100
)

// config is what a file says. It never changes.
type config struct {
	everyone  *holder // nil: who brings no credentials is refused
	roles     map[string]*grants
	users     map[string]*user
	keys      []*staticKey
	tokens    *tokens
	authority *authority
	files     []string // that it names
}

// holder has rules: its own, and those of roles.
type holder struct {
	roles []string
	own   grants
}

// user is somebody with a password, or whom tokens name.
type user struct {
	holder
	hash *passwordHash // nil: no password opens this
}

// staticKey is an API key.
type staticKey struct {
	holder
	name    string
	digest  [sha256.Size]byte
	expires time.Time
}

// grantsOf is all that holds for somebody: what holds for everyone, the holder's own, and that of its roles.
func (c *config) grantsOf(h *holder) (all []*grants, err error) {
	if c.everyone != nil && h != c.everyone {
		if all, err = c.grantsOf(c.everyone); err != nil {
			return nil, err
		}
	}
	all = append(all, &h.own)
	for _, name := range h.roles {
		g := c.roles[name]
		if g == nil {
			return nil, fmt.Errorf("there is no role %q", name)
		}
		all = append(all, g)
	}
	return all, nil
}

// configReader makes a config of a file.
type configReader struct {
	reader
	dir   string   // of the file
	files []string // that it names
	named []func(c *config)
}

// parseConfig reads a file; all that is wrong is in the error, which is made of Problems.
func parseConfig(b []byte, dir string) (*config, error) {
	r := &configReader{dir: dir}
	c := &config{roles: map[string]*grants{}, users: map[string]*user{}}
	if root := r.parse(b); root != nil {
		r.fields(root, map[string]func(ast.Node){
			"everyone":  func(n ast.Node) { c.everyone = &holder{}; r.holder(n, c.everyone, nil) },
			"roles":     func(n ast.Node) { r.roles(n, c) },
			"users":     func(n ast.Node) { r.users(n, c) },
			"keys":      func(n ast.Node) { r.keys(n, c) },
			"tokens":    func(n ast.Node) { c.tokens = r.tokens(n) },
			"authority": func(n ast.Node) { c.authority = r.authority(n) },
		})
	}
	for _, check := range r.named {
		check(c)
	}
	c.files = r.files
	return c, r.err()
}

// holder reads roles, allow and deny beside other keys.
func (r *configReader) holder(n ast.Node, h *holder, others map[string]func(ast.Node)) {
	known := map[string]func(ast.Node){
		"allow": func(n ast.Node) { h.own.allow = r.rules(n) },
		"deny":  func(n ast.Node) { h.own.deny = r.rules(n) },
		"roles": func(n ast.Node) { h.roles = r.roleNames(n) },
	}
	for key, read := range others {
		known[key] = read
	}
	r.fields(n, known)
}

// roleNames reads the names of roles, which must exist when all is read.
func (r *configReader) roleNames(n ast.Node) (names []string) {
	r.each(n, func(v ast.Node) {
		name, ok := r.text(v)
		if !ok {
			return
		}
		names = append(names, name)
		r.named = append(r.named, func(c *config) {
			if c.roles[name] == nil {
				var known []string
				for k := range c.roles {
					known = append(known, k)
				}
				slices.Sort(known)
				r.problem(v, "there is no role %q%s", name, didYouMean(name, known))
			}
		})
	})
	return names
}

func (r *configReader) roles(n ast.Node, c *config) {
	r.mapping(n, func(name string, key, value ast.Node) {
		g := &grants{}
		r.name(key, name)
		c.roles[name] = g
		r.fields(value, map[string]func(ast.Node){
			"allow": func(n ast.Node) { g.allow = r.rules(n) },
			"deny":  func(n ast.Node) { g.deny = r.rules(n) },
		})
	})
}

// name looks whether a name can be one of a user, a key or a role.
func (r *configReader) name(n ast.Node, name string) {
	if err := checkName(name); err != nil {
		r.problem(n, "%v", err)
	}
}

// checkName says why something cannot be a name.
func checkName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("a name is empty")
	case len(name) > maxName:
		return fmt.Errorf("name of %d bytes: longer than %d", len(name), maxName)
	case !utf8.ValidString(name):
		return fmt.Errorf("a name is not UTF-8")
	}
	for _, c := range name {
		if c < ' ' || c == 0x7f {
			return fmt.Errorf("name %q: has a control character", name)
		}
	}
	return nil
}

func (r *configReader) users(n ast.Node, c *config) {
	r.mapping(n, func(name string, key, value ast.Node) {
		u := &user{}
		r.name(key, name)
		if strings.Contains(name, ":") {
			r.problem(key, "user %q: a name has no colon", name)
		}
		c.users[name] = u
		r.holder(value, &u.holder, map[string]func(ast.Node){"password": func(n ast.Node) {
			text, ok := r.text(n)
			if !ok {
				return
			}
			var err error
			if u.hash, err = parsePasswordHash(text); err != nil {
				r.problem(n, "password: %v", err)
			}
		}})
	})
}

func (r *configReader) keys(n ast.Node, c *config) {
	r.mapping(n, func(name string, key, value ast.Node) {
		k := &staticKey{name: name}
		r.name(key, name)
		hashed := false
		r.holder(value, &k.holder, map[string]func(ast.Node){
			"sha256": func(n ast.Node) {
				text, _ := scalar(n)
				b, err := hex.DecodeString(text)
				if hashed = err == nil && len(b) == sha256.Size; !hashed {
					r.problem(n, "sha256: want 64 hexadecimal digits, as \"hawser token key\" makes them")
				}
				copy(k.digest[:], b)
				hashed = true // it is told already
			},
			"expires": func(n ast.Node) { k.expires = r.moment(n) },
		})
		if !hashed {
			r.problem(key, "key %q: sha256 is missing", name)
		}
		r.named = append(r.named, func(c *config) {
			if c.users[name] != nil {
				r.problem(key, "key %q: there is a user of this name", name)
			}
		})
		c.keys = append(c.keys, k)
	})
}

// moment reads a day or a moment.
func (r *configReader) moment(n ast.Node) time.Time {
	text, _ := scalar(n)
	for _, form := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(form, text); err == nil {
			return t
		}
	}
	r.problem(n, "want a moment such as 2030-12-31 or 2030-12-31T18:00:00Z")
	return time.Time{}
}

func (r *configReader) tokens(n ast.Node) *tokens {
	t := &tokens{leeway: defaultLeeway, revoked: map[string]bool{}}
	r.fields(n, map[string]func(ast.Node){
		"issuer":   func(n ast.Node) { t.issuer, _ = r.text(n) },
		"audience": func(n ast.Node) { t.audience, _ = r.text(n) },
		"leeway":   func(n ast.Node) { t.leeway = r.duration(n) },
		"roles":    func(n ast.Node) { t.roles = r.roleNames(n) },
		"revoked": func(n ast.Node) {
			for _, id := range r.texts(n) {
				t.revoked[id] = true
			}
		},
		"keys": func(n ast.Node) {
			r.each(n, func(v ast.Node) {
				if k := r.tokenKey(v); k != nil {
					t.keys = append(t.keys, k)
				}
			})
		},
		"jwks": func(n ast.Node) { t.jwks = r.jwks(n) },
	})
	if len(t.keys) == 0 && t.jwks == nil && len(r.problems) == 0 {
		r.problem(n, "tokens: want keys or jwks")
	}
	if len(t.keys) > maxTokenKeys {
		r.problem(n, "tokens: %d keys: more than %d", len(t.keys), maxTokenKeys)
	}
	return t
}

func (r *configReader) tokenKey(n ast.Node) *tokenKey {
	k := &tokenKey{}
	var material []byte
	sources := 0
	inline := func(n ast.Node) {
		text, _ := r.text(n)
		material, sources = []byte(text), sources+1
	}
	file := func(n ast.Node) { material, sources = r.file(n), sources+1 }
	before := len(r.problems)
	r.fields(n, map[string]func(ast.Node){
		"id":        func(n ast.Node) { k.id, _ = r.text(n) },
		"algorithm": func(n ast.Node) { k.alg, _ = r.text(n) },
		"secret":    inline, "secret_file": file, "public_key": inline, "public_key_file": file,
	})
	if len(r.problems) > before {
		return nil
	}
	if sources != 1 {
		r.problem(n, "want one of secret, secret_file, public_key and public_key_file")
		return nil
	}
	if err := k.set(material); err != nil {
		r.problem(n, "%v", err)
		return nil
	}
	return k
}

// file reads a file that this one names, as it is seen from the folder of this one.
func (r *configReader) file(n ast.Node) []byte {
	name, ok := r.text(n)
	if !ok {
		return nil
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(r.dir, name)
	}
	r.files = append(r.files, name)
	b, err := readFile(name, maxSecretFile)
	if err != nil {
		r.problem(n, "%v", err)
	}
	return b
}

func readFile(name string, most int64) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s: not a file", name)
	case info.Size() > most:
		return nil, fmt.Errorf("%s: %d bytes: more than %d", name, info.Size(), most)
	}
	return os.ReadFile(name)
}

func (r *configReader) jwks(n ast.Node) *jwks {
	j := newJWKS()
	secure := r.remote(n, &j.url, map[string]func(ast.Node){
		"refresh": func(n ast.Node) { j.refresh = max(r.duration(n), minRefresh) },
		"timeout": func(n ast.Node) { j.timeout = r.duration(n) },
	})
	if !secure {
		return nil
	}
	return j
}

func (r *configReader) authority(n ast.Node) *authority {
	a := newAuthority()
	if !r.remote(n, &a.url, map[string]func(ast.Node){
		"timeout": func(n ast.Node) { a.timeout = r.duration(n) },
		"ttl":     func(n ast.Node) { a.ttl = r.duration(n) },
		"secret":  func(n ast.Node) { a.secret, _ = r.text(n) },
	}) {
		return nil
	}
	return a
}

// remote reads a url beside other keys, and says whether it can be asked: over TLS, or on this machine, or as the operator insists.
func (r *configReader) remote(n ast.Node, to *string, others map[string]func(ast.Node)) bool {
	insecure := false
	var at ast.Node = n
	others["url"] = func(n ast.Node) { *to, _ = r.text(n); at = n }
	others["insecure"] = func(n ast.Node) { insecure = r.flag(n) }
	before := len(r.problems)
	r.fields(n, others)
	u, err := url.Parse(*to)
	switch {
	case len(r.problems) > before:
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		r.problem(at, "url: want https://HOST/PATH")
	case u.Scheme == "http" && !insecure && u.Hostname() != "localhost" && u.Hostname() != "127.0.0.1" && u.Hostname() != "::1":
		r.problem(at, "url: http to another machine shows secrets to the network: want https, or \"insecure: true\"")
	}
	return len(r.problems) == before
}
