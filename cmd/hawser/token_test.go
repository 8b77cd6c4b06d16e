//go:build unix

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hawser/auth"
	"hawser/server"
)

// command runs a command of hawser with an input.
func command(t *testing.T, in string, args ...string) (out string, err error) {
	t.Helper()
	var b bytes.Buffer
	c := rootCommand()
	c.SetArgs(args)
	c.SetIn(strings.NewReader(in))
	c.SetOut(&b)
	err = c.ExecuteContext(t.Context())
	return b.String(), err
}

func TestTokenCommands(t *testing.T) {
	password, err := command(t, "correct horse\n", "token", "password")
	if err != nil {
		t.Fatal(err)
	}
	out, err := command(t, "", "token", "key")
	words := strings.Fields(out)
	if err != nil || len(words) != 4 {
		t.Fatalf("got %q, %v", out, err)
	}
	file := filepath.Join(t.TempDir(), "auth.yaml")
	rules := "users:\n  alice:\n    password: " + password + "    allow: [play /a]\nkeys:\n  cam:\n    sha256: " + words[3] +
		"\n    allow: [stream /cam]\ntokens:\n  keys:\n    - secret: 0123456789abcdef0123456789abcdef\n"
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	token, err := command(t, "", "token", "create", "--auth", file, "--user", "bob", "--allow", "play /b", "--deny", "play /c", "--for", "10m")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ credentials, may, says string }{
		{"alice:correct horse", "play /a", "user     alice\nby       password\nexpires  never\nallow    play /a\n"},
		{words[1], "stream /cam", "user     cam\nby       key \"cam\"\n"},
		{token, "play /b", "allow    play /b\ndeny     play /c\nmay      play /b\n"},
	} {
		out, err := command(t, c.credentials, "token", "check", "--auth", file, "--may", c.may)
		if err != nil || !strings.Contains(out, c.says) {
			t.Errorf("got %q, %v, want %q", out, err, c.says)
		}
		if _, err := command(t, c.credentials, "token", "check", "--auth", file, "--may", "play /other"); err == nil || !strings.Contains(err.Error(), "may not play /other") {
			t.Errorf("got %v", err)
		}
	}
	if _, err := command(t, "alice:wrong", "token", "check", "--auth", file); err == nil || !strings.Contains(err.Error(), "not accepted") {
		t.Errorf("got %v", err)
	}
	if _, err := command(t, "", "token", "check", "--auth", file); err == nil {
		t.Error("no credentials were accepted")
	}
}

// said is what a server says, for who reads while it is written.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *said) wait(t *testing.T, what string, times int) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); ; <-tick.C {
		s.mu.Lock()
		text := s.b.String()
		s.mu.Unlock()
		if strings.Count(text, what) >= times {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("want %q, got %q", what, text)
		}
	}
}

// TestAuthIsReadAgain changes the file in the ways in which files are changed.
func TestAuthIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "auth.yaml")
	write := func(name, text string) { // with one call: who reads between two finds half a file
		t.Helper()
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_WRONLY, 0o600)
		if err == nil {
			_, err = fmt.Fprintf(f, "%-80s\n", text)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	write("auth.yaml", "everyone: {}")
	f, err := auth.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	who, err := f.Authenticate(t.Context(), "", netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	var out said
	s := server.New(server.Options{Auth: f})
	stop := keepAuth(t.Context(), f, s, &out)
	defer stop()
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	out.wait(t, "read again", 1) // it watches from here on
	write("auth.yaml", "everyone: {allow: ['play /a']}")
	out.wait(t, "read again", 2)
	if !who.May(auth.Play, "/a") {
		t.Error("the file that was written to is not in force")
	}
	write("auth.yaml", "everyone: {alow: ['play /b']}")
	out.wait(t, `did you mean "allow"?`, 1)
	if !who.May(auth.Play, "/a") {
		t.Error("what was in force before is not in force any more")
	}
	write("new", "everyone: {allow: ['play /c']}")
	if err := os.Rename(filepath.Join(dir, "new"), file); err != nil {
		t.Fatal(err)
	}
	out.wait(t, "read again", 3)
	if !who.May(auth.Play, "/c") || who.May(auth.Play, "/a") {
		t.Error("the file that took its place is not in force")
	}
	var kinds []string
	for _, e := range s.Log().Recent(10) {
		kinds = append(kinds, e.Kind+" "+e.Reason.Word)
	}
	if got := strings.Join(kinds, ", "); got != "reload , reload , reload bad_request, reload " {
		t.Errorf("events: got %q", got)
	}
}
