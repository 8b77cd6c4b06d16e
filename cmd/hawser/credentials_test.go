package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hawser/auth"
	"hawser/flv"
	"hawser/server"
)

// The commands that talk to a server show it credentials: of a flag, of the address, of the environment, in this order.
func TestCredentials(t *testing.T) {
	hash, err := command(t, "correct horse\n", "token", "password")
	if err != nil {
		t.Fatal(err)
	}
	key, err := command(t, "", "token", "key")
	words := strings.Fields(key)
	if err != nil || len(words) != 4 {
		t.Fatalf("got %q, %v", key, err)
	}
	file := filepath.Join(t.TempDir(), "auth.yaml")
	rules := "users:\n  alice:\n    password: " + hash + "    allow: ['publish,subscribe /a']\nkeys:\n  cam:\n    sha256: " + words[3] + "\n    allow: ['publish,subscribe /a', 'stream,play /live/a']\n"
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	rulesOf, err := auth.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	s := startServerWith(t, server.Options{Auth: rulesOf})
	clip := filepath.Join(t.TempDir(), "clip.flv")
	short, tags := flv.AppendHeader(nil, true, true), flv.NewReader(bytes.NewReader(sample))
	for range 20 {
		tag, err := tags.Next()
		if err != nil {
			t.Fatal(err)
		}
		short = flv.AppendTag(short, tag)
	}
	if err := os.WriteFile(clip, short, 0o600); err != nil {
		t.Fatal(err)
	}
	web, withUser := "http://"+s.http, "http://alice:correct%20horse@"+s.http
	for _, tc := range []struct {
		variable string
		args     []string
		fails    string
	}{
		{"", []string{"publish", "--server", web, "/a"}, "unauthorized"},
		{"", []string{"publish", "--server", web, "--token", words[1], "/a"}, ""},
		{"", []string{"publish", "--server", web, "--token", "alice:correct horse", "/a"}, ""},
		{"", []string{"publish", "--server", withUser, "/a"}, ""},
		{words[1], []string{"publish", "--server", web, "/a"}, ""},
		{words[1], []string{"publish", "--server", web, "--token", "hk_wrong", "/a"}, "unauthorized"},
		{words[1], []string{"publish", "--server", web, "/b"}, "refused"},
		{"", []string{"watch", "--for", "1m", "--no-media", "--count", "0", web + "/a"}, "unauthorized"},
		{"", []string{"watch", "--for", "1m", "--no-media", withUser + "/a"}, ""},
		{words[1], []string{"watch", "--for", "1m", "--no-media", web + "/a"}, ""},
		{"", []string{"publish", "--rtmp", "rtmp://" + s.rtmp, "/live/a", clip}, "needs credentials"},
		{words[1], []string{"publish", "--rtmp", "rtmp://" + s.rtmp, "/live/a", clip}, ""},
		{"", []string{"play", "--out", os.DevNull, web + "/live/a.flv"}, "unauthorized"},
	} {
		t.Setenv(tokenVariable, tc.variable)
		ctx, cancel := context.WithCancel(t.Context())
		var out bytes.Buffer
		err := executeTo(ctx, writerFunc(func(b []byte) (int, error) {
			if tc.args[0] == "watch" && strings.Contains(string(b), "logged_in") {
				cancel() // it has seen enough
			}
			return out.Write(b)
		}), strings.NewReader("1\n"), tc.args...)
		cancel()
		if (err == nil) != (tc.fails == "") || err != nil && !strings.Contains(err.Error(), tc.fails) {
			t.Errorf("%q with $%s %q: got %q, %v; want %q", tc.args, tokenVariable, tc.variable, out.String(), err, tc.fails)
		}
	}
}

func TestRTMPWith(t *testing.T) {
	for address, want := range map[string]string{
		"rtmp://h/live/a": "rtmp://h/live/a?token=k", "rtmp://h/live/a?x=1": "rtmp://h/live/a?token=k&x=1", "rtmp://h/live/a?key=other": "rtmp://h/live/a?key=other",
	} {
		if got := rtmpWith(address, "k"); got != want {
			t.Errorf("%s: got %s, want %s", address, got, want)
		}
	}
	if got := rtmpWith("rtmp://h/live/a", ""); got != "rtmp://h/live/a" {
		t.Errorf("without credentials: got %s", got)
	}
}
