package auth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hawser/lifecycle"
)

var local = netip.MustParseAddr("127.0.0.1")

func digestOf(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// open opens a file with a text.
func open(t testing.TB, text string) *File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "auth.yaml")
	write(t, path, text)
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// login authenticates, which must work.
func login(t testing.TB, f *File, token string) Identity {
	t.Helper()
	who, err := f.Authenticate(t.Context(), token, local)
	if err != nil {
		t.Fatalf("credentials are refused: %v", err)
	}
	return who
}

// refused authenticates, which must not work, and returns the error, whose text must not have the credentials.
// counts checks that each limit named has been reached once more when the function returned is called.
func counts(t testing.TB, limits ...string) (check func()) {
	before := lifecycle.LimitsReached()
	return func() {
		t.Helper()
		for _, limit := range limits {
			if n := lifecycle.LimitsReached()[limit] - before[limit]; n != 1 {
				t.Errorf("%s was counted %d times, want once", limit, n)
			}
		}
	}
}

func refused(t testing.TB, f *File, token string, want lifecycle.Reason) error {
	t.Helper()
	who, err := f.Authenticate(t.Context(), token, local)
	if !errors.Is(err, want) || who != nil {
		t.Errorf("got %v, %v, want %s", who, err, want.Word)
		return errors.New("none")
	}
	if len(token) > 8 && strings.Contains(err.Error(), token[:8]) {
		t.Errorf("the error shows the credentials: %v", err)
	}
	return err
}

const example = `
everyone:
  allow:
    - subscribe /public/**
    - play /public/**
  deny:
    - "* /public/closed/**"
roles:
  editor:
    allow:
      - publish /news/**
      - publish /public/closed/**
users:
  alice:
    password: PASSWORD
    roles: [editor]
    allow:
      - "* /u/{user}/**"
  bob: {}
keys:
  encoder:
    sha256: DIGEST
    allow: [stream /live/cam1]
  past:
    sha256: PAST
    expires: 2020-01-01
    allow: [stream /live/cam1]
`

func exampleFile(t testing.TB) *File {
	return open(t, strings.NewReplacer("PASSWORD", HashPassword("correct horse: battery"), "DIGEST", digestOf("hk_key"), "PAST", digestOf("hk_past")).Replace(example))
}

func TestWhoIsWho(t *testing.T) {
	f := exampleFile(t)
	for _, c := range []struct {
		token, user string
		may, not    []string
	}{
		{"", "", []string{"subscribe /public/a", "play /public"}, []string{"publish /public/a", "subscribe /public/closed/a", "subscribe /u/alice/x", "admin /api/v1/events"}},
		{"alice:correct horse: battery", "alice", []string{"subscribe /public/a", "publish /news/x", "publish /u/alice/x", "source /u/alice"},
			[]string{"publish /u/bob/x", "stream /live/cam1", "publish /public/closed/a", "admin /u/alice"}},
		{"hk_key", "encoder", []string{"stream /live/cam1", "play /public/x"}, []string{"stream /live/cam2", "publish /news/x"}},
	} {
		who := login(t, f, c.token)
		if who.User() != c.user || !who.Expires().IsZero() {
			t.Errorf("got %q until %v, want %q for ever", who.User(), who.Expires(), c.user)
		}
		for i, list := range [][]string{c.may, c.not} {
			for _, text := range list {
				action, path, _ := strings.Cut(text, " ")
				if got := who.May(Action(action), path); got != (i == 0) {
					t.Errorf("%q: %s: got %v", c.user, text, got)
				}
			}
		}
	}
}

func TestBadCredentials(t *testing.T) {
	defer counts(t, "auth.MaxPassword", "auth.MaxCredentials")()
	f := exampleFile(t)
	for _, token := range []string{"alice:wrong password", "alice:", "bob:", "bob:anything at all", "nobody:correct horse: battery", ":", "hk_past", "hk_other key", "hk_ke", digestOf("hk_key"),
		"eyJhbGciOiJub25lIn0.e30.", "alice:" + strings.Repeat("x", MaxPassword+1)} {
		refused(t, f, token, lifecycle.ReasonUnauthorized)
	}
	refused(t, f, strings.Repeat("x", MaxCredentials+1), lifecycle.ReasonTooBig)
	refused(t, open(t, ""), "", lifecycle.ReasonUnauthorized)
	refused(t, open(t, ""), "hk_key", lifecycle.ReasonUnauthorized)
}

func TestLoginGivesUp(t *testing.T) {
	defer counts(t, "auth.MaxHashing")()
	f := exampleFile(t)
	for range MaxHashing {
		f.hasher <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Authenticate(ctx, "alice:correct horse: battery", local); !errors.Is(err, lifecycle.ReasonTimeout) {
		t.Errorf("got %v, want timeout", err)
	}
}

// TestReload changes the file under identities that were given out.
func TestReload(t *testing.T) {
	hash, other := HashPassword("password"), HashPassword("another")
	user := func(hash, rules string) string {
		return fmt.Sprintf("users:\n  alice:\n    password: %s\n    allow: [%s]\n", hash, rules)
	}
	key := func(digest string) string { return "keys:\n  k:\n    sha256: " + digest + "\n    allow: [play /a]\n" }
	f := open(t, user(hash, "play /a")+key(digestOf("secret")))
	alice, k := login(t, f, "alice:password"), login(t, f, "secret")
	for _, step := range []struct {
		about, text              string
		good, alice, b, k, taken bool
	}{
		{"another rule", user(hash, "play /b") + key(digestOf("secret")), true, false, true, true, true},
		{"a file with a fault", "users: [", true, false, true, true, false},
		{"the same again", user(hash, "play /a") + key(digestOf("secret")), true, true, false, true, true},
		{"another password, another key", user(other, "play /a") + key(digestOf("other")), false, false, false, false, true},
		{"nobody", "", false, false, false, false, true},
		{"back", user(hash, "play /a") + key(digestOf("secret")), true, true, false, true, true},
	} {
		write(t, f.path, step.text)
		if err := f.Reload(); (err == nil) != step.taken {
			t.Errorf("%s: Reload: %v", step.about, err)
		}
		got := []bool{alice.Check() == nil, alice.May(Play, "/a"), alice.May(Play, "/b"), k.May(Play, "/a")}
		if want := []bool{step.good, step.alice, step.b, step.k}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: good, /a, /b, key: got %v, want %v", step.about, got, want)
		}
	}
}

// TestProblems looks whether all that is wrong with a file is told with its place, and none of its secrets.
func TestProblems(t *testing.T) {
	text := `everyone:
  alow: [play /a]
users:
  alice:
    password: hunter2hunter2
    roles: [editr]
  "a:b": {}
  k: {}
roles:
  editor:
    allow:
      - pley /a
      - play /a/**/b
keys:
  k:
    allow: [play /a]
  l:
    sha256: 123
    expires: soon
tokens:
  leeway: much
  keys:
    - secret: tooshortsecret
    - secret_file: /nonexistent/file
  jwks:
    url: http://example.org/keys
authority:
  url: ftp://example.org
  timeout: -3s
`
	path := filepath.Join(t.TempDir(), "auth.yaml")
	write(t, path, text)
	_, err := Open(path)
	if err == nil {
		t.Fatal("the file was taken")
	}
	for _, want := range []string{
		`:2:3: unknown key "alow": want allow, deny, roles; did you mean "allow"?`,
		`:5:15: password: want an argon2id hash`,
		`:6:13: there is no role "editr"; did you mean "editor"?`,
		`:7:3: user "a:b": a name has no colon`,
		`:12:9: rule "pley /a": action "pley"`,
		`:13:9: pattern "/a/**/b": ** stands at the end only`,
		`:15:3: key "k": sha256 is missing`,
		`:15:3: key "k": there is a user of this name`,
		`:18:13: sha256: want 64 hexadecimal digits`,
		`:19:14: want a moment`,
		`:21:11: want a time`,
		`a secret of 14 bytes: want 32 or more`,
		`:24:20: stat /nonexistent/file`,
		`:26:10: url: http to another machine shows secrets`,
		`:29:12: want a time`,
	} {
		if !strings.Contains(err.Error(), path+want) && !strings.Contains(err.Error(), want) {
			t.Errorf("missing: %s", want)
		}
	}
	for _, secret := range []string{"hunter2", "tooshort"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error shows a secret: %s", secret)
		}
	}
	if t.Failed() {
		t.Logf("got:\n%v", err)
	}
}

func TestNotYAML(t *testing.T) {
	for text, want := range map[string]string{
		"users:\n  alice: {password: topsecret": "this is not YAML",
		"users:\n\talice: topsecret\n":          "",
		"roles: {}\nroles: {}\n":                "second time",
		"a: &x topsecret\n":                     "unknown key",
		"users: *x\n":                           "",
		"users: topsecret\n":                    "want keys and values",
		"- topsecret\n":                         "want keys and values",
		"roles: {}\n---\nroles: {}\n":           "want one document",
		"tokens: {}\n":                          "want keys or jwks",
		"keys: {k: {sha256: " + digestOf("x") + ", roles: topsecret}}\n": "want a list",
	} {
		_, err := parseConfig([]byte(text), ".")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "topsecret") {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

// FuzzConfig reads files: none panics, and none that is refused lets anybody in.
func FuzzConfig(f *testing.F) {
	f.Add(example)
	f.Add("tokens:\n  keys:\n    - secret: " + strings.Repeat("s", 40) + "\nauthority: {url: https://a}\n")
	f.Add("users: {a: {roles: [b]}}\nroles: {b: {allow: ['* /**']}}")
	f.Add("a: &a [*a]\n? b\n: |\n  c\n")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4096 {
			return
		}
		c, err := parseConfig([]byte(text), t.TempDir())
		if err != nil {
			return
		}
		for name, u := range c.users {
			if _, err := c.grantsOf(&u.holder); err != nil || checkName(name) != nil {
				t.Fatalf("user %q: %v", name, err)
			}
		}
		for _, k := range c.keys {
			if _, err := c.grantsOf(&k.holder); err != nil {
				t.Fatalf("key %q: %v", k.name, err)
			}
		}
	})
}

func TestPasswordHashes(t *testing.T) {
	h, err := parsePasswordHash(HashPassword("password"))
	if err != nil {
		t.Fatal(err)
	}
	for password, want := range map[string]bool{"password": true, "Password": false, "": false} {
		if ok, err := newHasher().check(t.Context(), h, password); ok != want || err != nil {
			t.Errorf("%q: %v, %v", password, ok, err)
		}
	}
	for _, text := range []string{"", "plain text", "$2y$10$abcdefghijklmnopqrstuv", "$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b2dWRWJTmaaJObG",
		"$argon2id$v=16$m=65536,t=2,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b2dWRWJTmaaJObG", "$argon2id$v=19$m=99999999,t=2,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b2dWRWJTmaaJObG",
		"$argon2id$v=19$m=65536,t=0,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b2dWRWJTmaaJObG", "$argon2id$v=19$m=65536,t=2,p=0$c29tZXNhbHQ$RdescudvJCsgt3ub+b2dWRWJTmaaJObG",
		"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$", "$argon2id$v=19$m=65536,t=2,p=1x$c29tZXNhbHQ$RdescudvJCsgt3ub+b2dWRWJTmaaJObG"} {
		if _, err := parsePasswordHash(text); err == nil || text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%s: got %v", text, err)
		}
	}
}
