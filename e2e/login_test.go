package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestConsoleLogin opens the console of a server with rules: a stranger is told what to do, and who signs in sees what is live. First nobody comes in without credentials, then everybody does but
// sees nothing.
func TestConsoleLogin(t *testing.T) {
	cmd := exec.Command(executable, "token", "password")
	cmd.Stdin = strings.NewReader("correct horse")
	hash, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for name, everyone := range map[string]string{"closed": "", "open": "everyone:\n  allow: [publish /none]\n"} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "auth.yaml")
			rules := everyone + fmt.Sprintf("users:\n  alice:\n    password: %s\n    allow: [subscribe /sys/*, stream /live/**]\n", strings.TrimSpace(string(hash)))
			if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
				t.Fatal(err)
			}
			s := serve(t, "--auth", file)
			publish(t, s, clip(t, seconds), "/live/page?user=alice&password=correct%20horse", "-stream_loop", "-1")
			type seen struct{ Title, Text, Light string }
			var a struct {
				Stranger, Wrong seen
				Who             string
				Live            []string
				Asked           bool
				Out             int
			}
			browse(t, s, "login", map[string]any{"user": "alice", "password": "correct horse"}).answer(&a)
			want := map[string]string{"closed": "This server lets in only those it knows.", "open": "This server shows what is live only to those it knows."}[name]
			if a.Stranger.Title != "Who are you?" || !strings.HasPrefix(a.Stranger.Text, want) {
				t.Errorf("a stranger sees %+v, want %q", a.Stranger, want)
			}
			if a.Wrong.Title != "That was not accepted" || a.Wrong.Light != "red" {
				t.Errorf("after a wrong password: %+v", a.Wrong)
			}
			if a.Who != "alice" || !slices.Equal(a.Live, []string{"/live/page"}) || a.Asked {
				t.Errorf("signed in: %q sees %q, asked again: %v", a.Who, a.Live, a.Asked)
			}
			if a.Out != 0 {
				t.Errorf("signed out: %d paths are listed", a.Out)
			}
		})
	}
}
