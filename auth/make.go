package auth

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// TokenOptions say what a new token is to say.
type TokenOptions struct {
	// User is whom it names (sub); it is needed.
	User string
	// Lifetime is how long it holds, from now on; it is needed.
	Lifetime time.Duration
	// ID names the token (jti), so that it can be revoked; empty makes one up.
	ID string
	// Grant is what it may; nil leaves that to the file. Its roles must exist.
	Grant *Grant
	// Key is the id of the file's key that signs it; empty where there is one key only.
	Key string
	// PrivateKey is the private half of that key in PEM, PKCS #8; nil for a key that is a secret.
	PrivateKey []byte
}

// NewToken makes a token that the file accepts.
func (f *File) NewToken(o TokenOptions) (string, error) {
	c := f.now.Load()
	if c.tokens == nil {
		return "", fmt.Errorf("auth: %s has no part \"tokens\"", f.path)
	}
	if err := checkName(o.User); err != nil {
		return "", fmt.Errorf("auth: user: %w", err)
	}
	if o.Lifetime <= 0 {
		return "", errors.New("auth: a token needs a lifetime")
	}
	if o.Grant != nil {
		h, err := o.Grant.holder()
		if err == nil {
			_, err = c.grantsOf(h)
		}
		if err != nil {
			return "", fmt.Errorf("auth: %w", err)
		}
	}
	k, err := c.tokens.named(o.Key)
	if err != nil {
		return "", err
	}
	key, err := k.private(o.PrivateKey)
	if err != nil {
		return "", err
	}
	now := time.Now()
	said := claims{Hawser: o.Grant, RegisteredClaims: jwt.RegisteredClaims{Subject: o.User, Issuer: c.tokens.issuer, ID: o.ID,
		IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(o.Lifetime))}}
	if said.ID == "" {
		said.ID = rand.Text()
	}
	if c.tokens.audience != "" {
		said.Audience = jwt.ClaimStrings{c.tokens.audience}
	}
	token := jwt.NewWithClaims(jwt.GetSigningMethod(k.alg), said)
	if k.id != "" {
		token.Header["kid"] = k.id
	}
	return token.SignedString(key)
}

// named is the key of an id, or the only one.
func (t *tokens) named(id string) (*tokenKey, error) {
	switch {
	case len(t.keys) == 0:
		return nil, errors.New("auth: the file has no key that signs tokens")
	case id == "" && len(t.keys) > 1:
		return nil, errors.New("auth: the file has several keys: name one")
	case id == "":
		return t.keys[0], nil
	}
	for _, k := range t.keys {
		if k.id == id {
			return k, nil
		}
	}
	return nil, fmt.Errorf("auth: the file has no key %q", id)
}

// private is what signs for a key.
func (k *tokenKey) private(material []byte) (any, error) {
	if k.alg == hs256 {
		return k.key, nil
	}
	block, _ := pem.Decode(material)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("auth: the key is for %s: want its private half, a PEM block PRIVATE KEY", k.alg)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("auth: the private key cannot be read")
	}
	signer, ok := key.(crypto.Signer)
	public, comparable := k.key.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !comparable || !public.Equal(signer.Public()) {
		return nil, errors.New("auth: the private key is not the other half of the file's")
	}
	return key, nil
}

// NewKey makes an API key, and the text by which a file knows it (sha256).
func NewKey() (key, digest string) {
	key = "hk_" + rand.Text()
	sum := sha256.Sum256([]byte(key))
	return key, hex.EncodeToString(sum[:])
}

// Description is an identity for people.
type Description struct {
	// User and Expires are those of the identity; By is what told.
	User, By string
	Expires  time.Time
	// Allow and Deny are all rules that hold for it now, with those of its roles and those for everyone.
	Allow, Deny []string
}

// Describe says what an identity that a File gave out is and may.
func Describe(who Identity) Description {
	d := Description{User: who.User(), Expires: who.Expires()}
	i, ok := who.(*identity)
	if !ok {
		return d
	}
	d.By = i.by
	for _, g := range i.view().all {
		for _, r := range g.allow {
			d.Allow = append(d.Allow, r.String())
		}
		for _, r := range g.deny {
			d.Deny = append(d.Deny, r.String())
		}
	}
	return d
}
