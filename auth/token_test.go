package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"hawser/lifecycle"
)

const secret = "a secret of this test, long enough for HS256"

const tokenFile = `
roles:
  viewer:
    allow: [play /live/**]
users:
  carol:
    allow: [publish /carol]
tokens:
  issuer: https://issuer.example
  audience: hawser
  leeway: 0s
  roles: [viewer]
  revoked: [stolen]
  keys:
    - id: one
      secret: ` + secret + "\n"

// sign makes a token with any header and claims.
func sign(t testing.TB, method jwt.SigningMethod, key any, header map[string]any, said jwt.MapClaims) string {
	t.Helper()
	full := jwt.MapClaims{"sub": "carol", "iss": "https://issuer.example", "aud": "hawser", "exp": time.Now().Add(time.Hour).Unix()}
	for k, v := range said {
		if full[k] = v; v == nil {
			delete(full, k)
		}
	}
	token := jwt.NewWithClaims(method, full)
	for k, v := range header {
		token.Header[k] = v
	}
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestTokens is the table of tokens with a good signature.
func TestTokens(t *testing.T) {
	defer counts(t, "auth.MaxRules")()
	f := open(t, tokenFile)
	hour := time.Hour
	for _, c := range []struct {
		about string
		said  jwt.MapClaims
		want  string // of the error; "" means accepted
	}{
		{"a good one", nil, ""},
		{"several audiences", jwt.MapClaims{"aud": []string{"x", "hawser"}}, ""},
		{"rules of its own", jwt.MapClaims{"hawser": map[string]any{"allow": []string{"play /x"}}}, ""},
		{"expired", jwt.MapClaims{"exp": time.Now().Add(-hour).Unix()}, "has expired"},
		{"without an end", jwt.MapClaims{"exp": nil}, "lacks exp"},
		{"not yet", jwt.MapClaims{"nbf": time.Now().Add(hour).Unix()}, "not valid yet"},
		{"of another issuer", jwt.MapClaims{"iss": "https://other.example"}, "another issuer"},
		{"of no issuer", jwt.MapClaims{"iss": nil}, "lacks exp, iss or aud"},
		{"for another audience", jwt.MapClaims{"aud": "other"}, "another audience"},
		{"of nobody", jwt.MapClaims{"sub": nil}, "names no user"},
		{"of a name that breaks lines", jwt.MapClaims{"sub": "a\nb"}, "names no user"},
		{"revoked", jwt.MapClaims{"jti": "stolen"}, "is revoked"},
		{"an unknown role", jwt.MapClaims{"hawser": map[string]any{"roles": []string{"root"}}}, `there is no role "root"`},
		{"a deny that is misspelt", jwt.MapClaims{"hawser": map[string]any{"dney": []string{"play /x"}}}, "malformed"},
		{"a rule that is none", jwt.MapClaims{"hawser": map[string]any{"allow": []string{"play"}}}, "claim hawser"},
		{"too many rules", jwt.MapClaims{"hawser": map[string]any{"allow": strings.Split(strings.Repeat("play /a,", MaxRules+1), ",")}}, "more than"},
		{"a claim of another type", jwt.MapClaims{"hawser": "everything"}, "malformed"},
		{"a user of another type", jwt.MapClaims{"sub": 17}, "malformed"},
	} {
		token := sign(t, jwt.SigningMethodHS256, []byte(secret), map[string]any{"kid": "one"}, c.said)
		if c.want == "" {
			if who := login(t, f, token); who.User() != "carol" || time.Until(who.Expires()) < hour-time.Minute || time.Until(who.Expires()) > hour {
				t.Errorf("%s: %q until %v", c.about, who.User(), who.Expires())
			}
		} else if err := refused(t, f, token, lifecycle.ReasonUnauthorized); !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.about, err, c.want)
		}
	}
}

// TestWhatATokenMay looks at rules of the token's own, and of the file for one that has none.
func TestWhatATokenMay(t *testing.T) {
	f := open(t, tokenFile)
	plain := login(t, f, sign(t, jwt.SigningMethodHS256, []byte(secret), nil, nil))
	own := login(t, f, sign(t, jwt.SigningMethodHS256, []byte(secret), nil, jwt.MapClaims{"hawser": Grant{Allow: []string{"publish /own/{user}"}, Deny: []string{"play /live/b"}, Roles: []string{"viewer"}}}))
	for what, want := range map[string][2]bool{"play /live/a": {true, true}, "play /live/b": {true, false}, "publish /carol": {true, false}, "publish /own/carol": {false, true}} {
		action, path, _ := strings.Cut(what, " ")
		if got := [2]bool{plain.May(Action(action), path), own.May(Action(action), path)}; got != want {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	write(t, f.path, strings.Replace(tokenFile, secret, secret+" now another", 1))
	if err := f.Reload(); err != nil || own.Check() == nil || own.May(Play, "/live/a") {
		t.Errorf("a token outlives its key: %v, %v", err, own.Check())
	}
}

func public(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// keys are a key for each algorithm with two halves.
type keyPairs struct {
	rsa *rsa.PrivateKey
	ec  *ecdsa.PrivateKey
	ed  ed25519.PrivateKey
}

func newKeys(t testing.TB) (k keyPairs) {
	t.Helper()
	var err [3]error
	k.rsa, err[0] = rsa.GenerateKey(rand.Reader, 2048)
	k.ec, err[1] = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, k.ed, err[2] = ed25519.GenerateKey(rand.Reader)
	if err != [3]error{} {
		t.Fatal(err)
	}
	return k
}

// TestForgedTokens is the table of attacks on the signature.
func TestForgedTokens(t *testing.T) {
	k, others := newKeys(t), newKeys(t)
	dir := t.TempDir()
	text := "everyone: {}\ntokens:\n  keys:\n    - {id: hs, secret: " + strings.Repeat("x", 32) + "}\n"
	for name, key := range map[string]crypto.Signer{"rsa": k.rsa, "ec": k.ec, "ed": k.ed} {
		write(t, filepath.Join(dir, name+".pem"), string(public(t, key)))
		text += fmt.Sprintf("    - {id: %s, public_key_file: %s.pem}\n", name, name)
	}
	write(t, filepath.Join(dir, "auth.yaml"), text)
	f, err := Open(filepath.Join(dir, "auth.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	kid := func(id any) map[string]any { return map[string]any{"kid": id} }
	for _, id := range []any{"rsa", nil} {
		login(t, f, sign(t, jwt.SigningMethodRS256, k.rsa, kid(id), nil))
	}
	login(t, f, sign(t, jwt.SigningMethodES256, k.ec, kid("ec"), nil))
	login(t, f, sign(t, jwt.SigningMethodEdDSA, k.ed, kid("ed"), nil))

	good := sign(t, jwt.SigningMethodEdDSA, k.ed, kid("ed"), nil)
	parts := strings.Split(good, ".")
	b64 := base64.RawURLEncoding.EncodeToString
	deep := b64([]byte(`{"sub":` + strings.Repeat("[", 4000)))
	for about, token := range map[string]string{
		"none":                      sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil, nil),
		"None, with the signature":  b64([]byte(`{"alg":"None"}`)) + "." + parts[1] + "." + parts[2],
		"the public key as secret":  sign(t, jwt.SigningMethodHS256, public(t, k.rsa), kid("rsa"), nil),
		"the same without its line": sign(t, jwt.SigningMethodHS256, []byte(strings.TrimSpace(string(public(t, k.rsa)))), nil, nil),
		"a key of the same kind":    sign(t, jwt.SigningMethodRS256, others.rsa, kid("rsa"), nil),
		"another curve key":         sign(t, jwt.SigningMethodES256, others.ec, nil, nil),
		"another Ed25519 key":       sign(t, jwt.SigningMethodEdDSA, others.ed, kid("ed"), nil),
		"another key's name":        sign(t, jwt.SigningMethodES256, k.ec, kid("ed"), nil),
		"an algorithm not taken":    sign(t, jwt.SigningMethodRS512, k.rsa, kid("rsa"), nil),
		"PSS":                       sign(t, jwt.SigningMethodPS256, k.rsa, kid("rsa"), nil),
		"an empty secret":           sign(t, jwt.SigningMethodHS256, []byte{}, kid("hs"), nil),
		"kid is a path":             sign(t, jwt.SigningMethodHS256, []byte{}, kid("../../../dev/null"), nil),
		"kid is SQL":                sign(t, jwt.SigningMethodHS256, []byte("x"), kid("' UNION SELECT 'x"), nil),
		"kid is a list":             sign(t, jwt.SigningMethodEdDSA, k.ed, kid([]string{"ed"}), nil),
		"a key in the header": sign(t, jwt.SigningMethodEdDSA, others.ed, map[string]any{"jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/",
			"jwk": map[string]any{"kty": "OKP", "crv": "Ed25519", "x": b64(others.ed.Public().(ed25519.PublicKey))}}, nil),
		"no signature":          parts[0] + "." + parts[1] + ".",
		"other claims":          parts[0] + "." + b64([]byte(`{"sub":"root","exp":99999999999}`)) + "." + parts[2],
		"padding":               good + "=",
		"deep JSON":             parts[0] + "." + deep + "." + parts[2],
		"a deep header":         b64([]byte(`{"alg":`+strings.Repeat(`{"a":`, 1000))) + "." + parts[1] + "." + parts[2],
		"header is no JSON":     "eyJ." + parts[1] + "." + parts[2],
		"an encrypted token":    good + ".x.y",
		"only dots":             "eyJ..",
		"lower case alg":        b64([]byte(`{"alg":"eddsa"}`)) + "." + parts[1] + "." + parts[2],
		"alg is a number":       b64([]byte(`{"alg":1}`)) + "." + parts[1] + "." + parts[2],
		"two algs":              b64([]byte(`{"alg":"EdDSA","alg":"none"}`)) + "." + parts[1] + ".",
		"half of the signature": good[:len(good)-40],
	} {
		t.Run(about, func(t *testing.T) { refused(t, f, token, lifecycle.ReasonUnauthorized) })
	}
	refused(t, f, parts[0]+"."+strings.Repeat("A", 1<<20)+"."+parts[2], lifecycle.ReasonTooBig)
}

func TestNewToken(t *testing.T) {
	f := open(t, tokenFile)
	token, err := f.NewToken(TokenOptions{User: "dave", Lifetime: time.Minute, Grant: &Grant{Allow: []string{"play /x"}}})
	if err != nil {
		t.Fatal(err)
	}
	if who := login(t, f, token); who.User() != "dave" || !who.May(Play, "/x") || who.May(Play, "/live/a") {
		t.Errorf("got %+v", Describe(who))
	}
	for _, o := range []TokenOptions{{Lifetime: time.Minute}, {User: "a"}, {User: "a", Lifetime: 1, Key: "two"}, {User: "a", Lifetime: 1, Grant: &Grant{Roles: []string{"root"}}},
		{User: "a", Lifetime: 1, Grant: &Grant{Deny: []string{"nothing"}}}} {
		if token, err := f.NewToken(o); err == nil {
			t.Errorf("%+v: got %s", o, token)
		}
	}
	k, others := newKeys(t), newKeys(t)
	path := filepath.Join(t.TempDir(), "k.pem")
	os.WriteFile(path, public(t, k.ec), 0o600)
	f = open(t, "everyone: {}\ntokens:\n  keys:\n    - public_key_file: "+path+"\n")
	for key, good := range map[*ecdsa.PrivateKey]bool{k.ec: true, others.ec: false} {
		der, _ := x509.MarshalPKCS8PrivateKey(key)
		token, err := f.NewToken(TokenOptions{User: "erin", Lifetime: time.Minute, PrivateKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})})
		if (err == nil) != good {
			t.Errorf("the right half is %v: got %v", good, err)
		} else if good {
			login(t, f, token)
		}
	}
}

// TestJWKS verifies with keys of a URL, which are asked for once, and again when they have changed.
func TestJWKS(t *testing.T) {
	k, next := newKeys(t), newKeys(t)
	set := func(id string, pub ed25519.PublicKey) []byte {
		b, _ := json.Marshal(map[string]any{"keys": []map[string]any{
			{"kty": "EC", "crv": "secp256k1", "kid": "other"}, // of a kind that is not known
			{"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "oct"},
			{"kty": "OKP", "crv": "Ed25519", "kid": id, "x": base64.RawURLEncoding.EncodeToString(pub)},
		}})
		return b
	}
	var asked atomic.Int32
	var body atomic.Value
	body.Store(set("a", k.ed.Public().(ed25519.PublicKey)))
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Write(body.Load().([]byte))
	}))
	t.Cleanup(web.Close)
	f := open(t, "everyone: {}\ntokens:\n  jwks:\n    url: "+web.URL+"\n")
	a := sign(t, jwt.SigningMethodEdDSA, k.ed, map[string]any{"kid": "a"}, nil)
	b := sign(t, jwt.SigningMethodEdDSA, next.ed, map[string]any{"kid": "b"}, nil)
	for range 5 {
		login(t, f, a)
	}
	refused(t, f, sign(t, jwt.SigningMethodHS256, []byte("secretsecretsecretsecretsecret"), map[string]any{"kid": "oct"}, nil), lifecycle.ReasonUnauthorized)
	for range 5 {
		refused(t, f, b, lifecycle.ReasonUnauthorized) // not asked for again so soon
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times, want 1", n)
	}
	body.Store(set("b", next.ed.Public().(ed25519.PublicKey)))
	j := f.now.Load().tokens.jwks
	j.mu.Lock()
	j.tried = j.tried.Add(-jwksPause)
	j.mu.Unlock()
	login(t, f, b)
	refused(t, f, a, lifecycle.ReasonUnauthorized)
	if err := f.Reload(); err != nil || f.now.Load().tokens.jwks != j {
		t.Errorf("the keys are forgotten at a Reload: %v", err)
	}
	web.Close()
	login(t, f, b) // what is held is used
	f = open(t, "everyone: {}\ntokens:\n  jwks:\n    url: "+web.URL+"\n")
	refused(t, f, b, lifecycle.ReasonInternal)
}

// TestAuthority asks somebody outside, who is asked once for what he lets be remembered.
func TestAuthority(t *testing.T) {
	var asked atomic.Int32
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		var q question
		json.NewDecoder(r.Body).Decode(&q)
		if r.Header.Get("Authorization") != "Bearer between us" || q.Remote != "127.0.0.1" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		switch q.Token {
		case "good ticket":
			fmt.Fprint(w, `{"user":"frank","allow":["play /live/{user}"],"ttl":60}`)
		case "short ticket":
			fmt.Fprintf(w, `{"user":"frank","expires":%d}`, time.Now().Add(time.Hour).Unix())
		case "past ticket":
			fmt.Fprint(w, `{"user":"frank","expires":1}`)
		case "strange ticket":
			fmt.Fprint(w, `{"user":"frank","dney":["play /a"]}`)
		case "endless ticket":
			fmt.Fprint(w, strings.Repeat(" ", MaxRemoteBody+1)+`{"user":"frank"}`)
		case "other place":
			http.Redirect(w, r, "/", http.StatusFound)
		case "slow ticket":
			<-r.Context().Done()
		default:
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	t.Cleanup(web.Close)
	defer counts(t, "auth.MaxAsking", "auth.MaxRemoteBody")()
	f := open(t, "users: {alice: {}}\nauthority:\n  url: "+web.URL+"\n  secret: between us\n  timeout: 3s\n")
	for range 3 {
		who := login(t, f, "good ticket")
		if who.User() != "frank" || !who.May(Play, "/live/frank") || who.May(Play, "/live/x") {
			t.Errorf("got %+v", Describe(who))
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times, want 1", n)
	}
	for range 2 {
		if who := login(t, f, "short ticket"); who.Expires().IsZero() {
			t.Error("the end is not told")
		}
	}
	if n := asked.Load(); n != 3 {
		t.Errorf("what has no ttl was remembered: asked %d times, want 3", n)
	}
	for token, want := range map[string]lifecycle.Reason{"bad ticket": lifecycle.ReasonUnauthorized, "past ticket": lifecycle.ReasonUnauthorized, "strange ticket": lifecycle.ReasonInternal,
		"endless ticket": lifecycle.ReasonInternal, "other place": lifecycle.ReasonInternal, "slow ticket": lifecycle.ReasonInternal, "alice:known to the file": lifecycle.ReasonUnauthorized} {
		refused(t, f, token, want)
	}
	a := f.now.Load().authority
	for range MaxAsking {
		a.asking <- struct{}{}
	}
	refused(t, f, "one too many", lifecycle.ReasonLimit)
	login(t, f, "good ticket") // needs no question
}
