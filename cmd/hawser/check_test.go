package main

import (
	"io"
	"path/filepath"
	"strings"
	"testing"
)

// All that is wrong with the flags is said at once, before anything listens.
func TestBrokenFlags(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct {
		args []string
		want []string
	}{
		{[]string{"--grace", "-1s", "--max-publish-rate", "NaN", "--max-sessions", "-1"}, []string{"--grace -1s", "--max-publish-rate NaN", "--max-sessions -1"}},
		{[]string{"--stream-bytes", "0", "--hook-timeout", "0s", "--max-sessions", "0"}, []string{"--stream-bytes 0", "--hook-timeout 0", "--max-sessions 0"}},
		{[]string{"--origin", "https://example.org/", "--origin", "foo,*,https://ok.example:8443", "--replace-sessions"}, []string{`"https://example.org/"`, `"foo"`, "--max-sessions-per-user"}},
		{[]string{"--record-format", "mkv", "--record", "/x", "--durable", "/x", "--auth", filepath.Join(dir, "nothing")}, []string{"mkv", "--record-dir", "--data-dir", "auth: "}},
		{[]string{"--hook-url", "foo", "--hook-url", "nope=http://h", "--hook-command", "play=" + filepath.Join(dir, "nothing"), "--rtc-opus=" + filepath.Join(dir, "ffmpeg")},
			[]string{"http://HOST/PATH", `event "nope"`, "--hook-command: ", "--rtc-opus: "}},
		{[]string{"--pull", "/x", "--pull", "x=rtmp://h/a/b?token=s3cret", "--push", "/live/*=rtmp://h/app", "--rtc-announce", "foo"},
			[]string{`--pull "/x"`, `--pull "x"`, `--push "/live/*"`, "--rtc-announce foo"}},
		{[]string{"--record-dir", dir, "--record", "live", "--record", "/a/**/b", "--record-name", "{nope}"}, []string{`"live"`, `"/a/**/b"`, `"{nope}"`}},
		{[]string{"--data-dir", dir, "--durable", "/a/**/b"}, []string{`"/a/**/b"`}},
	} {
		c := rootCommand()
		var out strings.Builder
		c.SetOut(&out)
		c.SetErr(io.Discard)
		c.SetArgs(append([]string{"serve", "--http", "127.0.0.1:0", "--rtmp", "127.0.0.1:0", "--rtc", "127.0.0.1:0"}, tc.args...))
		err := c.ExecuteContext(t.Context())
		if err == nil || out.Len() > 0 {
			t.Errorf("%q: got %v and printed %q", tc.args, err, out.String())
			continue
		}
		for _, text := range tc.want {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%q: got %q, want %q in it", tc.args, err, text)
			}
		}
		if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: a secret is in %q", tc.args, err)
		}
	}
}

func TestBenchNumbers(t *testing.T) {
	for _, args := range [][]string{{"bench", "--viewers", "0"}, {"bench", "--duration", "0s"}, {"bench", "--runs", "-1"}, {"bench", "data", "--clients", "0"}, {"bench", "data", "--rate", "0"}} {
		c := rootCommand()
		c.SetArgs(args)
		if err := c.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), args[len(args)-2]) {
			t.Errorf("%q: got %v", args, err)
		}
	}
}
