package auth

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"hawser/lifecycle"
)

// The algorithms of tokens. A key has exactly one, by what it is; what a token says of its own must be that.
const (
	hs256 = "HS256"
	rs256 = "RS256"
	es256 = "ES256"
	eddsa = "EdDSA"
)

const (
	// defaultLeeway is how far clocks may be apart.
	defaultLeeway = 5 * time.Second
	// minSecret is the least length of a secret, in bytes (RFC 7518 section 3.2), and minRSA that of an RSA key in bits (section 3.3).
	minSecret = 32
	minRSA    = 2048
)

// tokens says which tokens are good: JWTs (RFC 7519) that one of the keys has signed.
type tokens struct {
	issuer, audience string
	leeway           time.Duration
	roles            []string // of tokens that do not say what they may
	revoked          map[string]bool
	keys             []*tokenKey
	jwks             *jwks
}

// tokenKey is a key that verifies tokens.
type tokenKey struct {
	id, alg string
	key     any // []byte, *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

// set takes a secret or a public key in PEM, whose kind must be that of the algorithm, where one is named.
func (k *tokenKey) set(material []byte) (err error) {
	material = bytes.TrimSpace(material)
	k.key = material
	if bytes.HasPrefix(material, []byte("-----BEGIN ")) {
		if k.key, err = parsePublic(material); err != nil {
			return err
		}
	}
	alg, err := algorithmOf(k.key)
	switch {
	case err != nil:
		return err
	case k.alg != "" && k.alg != alg:
		return fmt.Errorf("algorithm %q: this key is for %s", k.alg, alg)
	}
	k.alg = alg
	return nil
}

func parsePublic(material []byte) (any, error) {
	block, _ := pem.Decode(material)
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, errors.New("want a PEM block PUBLIC KEY, as \"openssl pkey -pubout\" writes it")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, errors.New("the public key cannot be read")
	}
	return key, nil
}

// publicOf is the public half of a key; a key that has no halves is returned as it is.
func publicOf(key any) any {
	if private, ok := key.(crypto.Signer); ok {
		return private.Public()
	}
	return key
}

// algorithmOf is the one algorithm that a key is for.
func algorithmOf(key any) (string, error) {
	switch k := key.(type) {
	case []byte:
		if len(k) < minSecret {
			return "", fmt.Errorf("a secret of %d bytes: want %d or more", len(k), minSecret)
		}
		return hs256, nil
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSA {
			return "", fmt.Errorf("an RSA key of %d bits: want %d or more", k.N.BitLen(), minRSA)
		}
		return rs256, nil
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return es256, nil
		}
		return "", errors.New("an elliptic curve other than P-256")
	case ed25519.PublicKey:
		return eddsa, nil
	}
	return "", errors.New("a key that is neither a secret nor RSA, P-256 or Ed25519")
}

// fits says whether the key may have signed a token that names an algorithm and, where it is not empty, a key.
func (k *tokenKey) fits(alg, kid string) bool {
	return k.alg == alg && (kid == "" || k.id == "" || k.id == kid)
}

func (k *tokenKey) equal(o *tokenKey) bool {
	if k.alg != o.alg || k.id != o.id {
		return false
	}
	if public, ok := k.key.(interface{ Equal(crypto.PublicKey) bool }); ok {
		return public.Equal(o.key)
	}
	a, _ := k.key.([]byte)
	b, _ := o.key.([]byte)
	return bytes.Equal(a, b)
}

// claims is what a token says.
type claims struct {
	jwt.RegisteredClaims
	// Hawser is what it may; nil leaves that to the file.
	Hawser *Grant `json:"hawser,omitempty"`
}

// Grant is what a token, or the authority, says that somebody may do: rules, and roles of the file.
type Grant struct {
	Allow []string `json:"allow,omitempty"`
	Deny  []string `json:"deny,omitempty"`
	Roles []string `json:"roles,omitempty"`
}

// UnmarshalJSON reads it strictly: a key that is not known might have been a "deny".
func (g *Grant) UnmarshalJSON(b []byte) error {
	type plain Grant
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode((*plain)(g))
}

// holder reads the rules.
func (g *Grant) holder() (*holder, error) {
	if len(g.Allow)+len(g.Deny)+len(g.Roles) > MaxRules {
		lifecycle.CountReached("auth.MaxRules")
		return nil, fmt.Errorf("more than %d rules and roles", MaxRules)
	}
	h := &holder{roles: g.Roles}
	for _, list := range []struct {
		texts []string
		rules *[]Rule
	}{{g.Allow, &h.own.allow}, {g.Deny, &h.own.deny}} {
		for _, text := range list.texts {
			rule, err := ParseRule(text)
			if err != nil {
				return nil, err
			}
			*list.rules = append(*list.rules, rule)
		}
	}
	return h, nil
}

// unverified are the words for what is wrong with a token; the library's own texts may show parts of it.
var unverified = []struct {
	err  error
	text string
}{
	{jwt.ErrTokenExpired, "the token has expired"},
	{jwt.ErrTokenNotValidYet, "the token is not valid yet"},
	{jwt.ErrTokenInvalidIssuer, "the token is of another issuer"},
	{jwt.ErrTokenInvalidAudience, "the token is for another audience"},
	{jwt.ErrTokenRequiredClaimMissing, "the token lacks exp, iss or aud"},
	{jwt.ErrTokenSignatureInvalid, "the token's signature is not right"},
	{jwt.ErrTokenMalformed, "the token is malformed"},
}

func unauthorized(format string, args ...any) error {
	return lifecycle.ReasonUnauthorized.With(format, args...)
}

// verify returns what a good token says, and the key that signed it.
func (t *tokens) verify(ctx context.Context, text string) (*claims, *tokenKey, error) {
	options := []jwt.ParserOption{jwt.WithValidMethods([]string{hs256, rs256, es256, eddsa}), jwt.WithExpirationRequired(), jwt.WithLeeway(t.leeway), jwt.WithStrictDecoding()}
	if t.issuer != "" {
		options = append(options, jwt.WithIssuer(t.issuer))
	}
	if t.audience != "" {
		options = append(options, jwt.WithAudience(t.audience))
	}
	var said claims
	var by *tokenKey
	var fault error
	_, err := jwt.NewParser(options...).ParseWithClaims(text, &said, func(token *jwt.Token) (any, error) {
		by, fault = t.keyOf(ctx, token)
		if by == nil {
			return nil, errors.New("no key")
		}
		return by.key, nil
	})
	if fault != nil {
		return nil, nil, fault
	}
	for _, u := range unverified {
		if errors.Is(err, u.err) {
			return nil, nil, unauthorized("%s", u.text)
		}
	}
	switch {
	case err != nil:
		return nil, nil, unauthorized("the token cannot be verified")
	case checkName(said.Subject) != nil:
		return nil, nil, unauthorized("the token names no user (sub)")
	case said.ID != "" && t.revoked[said.ID]:
		return nil, nil, unauthorized("the token is revoked")
	}
	return &said, by, nil
}

// keyOf is the key that a token was signed with, as far as it can be told: of several that may have been, the one whose signature it is.
func (t *tokens) keyOf(ctx context.Context, token *jwt.Token) (*tokenKey, error) {
	kid, isText := token.Header["kid"].(string)
	if token.Header["kid"] != nil && !isText {
		return nil, unauthorized("the token is malformed")
	}
	alg := token.Method.Alg()
	var some []*tokenKey
	for _, k := range t.keys {
		if k.fits(alg, kid) {
			some = append(some, k)
		}
	}
	if k := pick(some, token); k != nil {
		return k, nil
	}
	if t.jwks != nil && alg != hs256 {
		more, err := t.jwks.find(ctx, alg, kid)
		if err != nil && len(more) == 0 {
			return nil, lifecycle.ReasonInternal.With("the keys of tokens cannot be had: %v", reachFault(err))
		}
		if k := pick(more, token); k != nil {
			return k, nil
		}
		some = append(some, more...)
	}
	if len(some) == 0 {
		return nil, unauthorized("the token is signed with a key that is not known here")
	}
	return nil, unauthorized("the token's signature is not right")
}

func pick(keys []*tokenKey, token *jwt.Token) *tokenKey {
	signed := token.Raw
	if i := bytes.LastIndexByte([]byte(signed), '.'); i >= 0 {
		signed = signed[:i]
	}
	for _, k := range keys {
		if token.Method.Verify(signed, token.Signature, k.key) == nil {
			return k
		}
	}
	return nil
}

// holds says whether a key is still one of those that verify tokens. Those of a JWKS come and go by themselves.
func (t *tokens) holds(k *tokenKey) bool {
	if t == nil {
		return false
	}
	for _, o := range t.keys {
		if o.equal(k) {
			return true
		}
	}
	return t.jwks != nil && k.alg != hs256
}
