package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hawser/hook"
	"hawser/relay"
	"hawser/server"
)

func TestHookFlags(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := hookFlags{urls: []string{"http://h/all?a=b", "publish=http://h/p", "publish_data:all=http://h/d"}, commands: []string{"play=/bin/sh play", "/bin/ls"}, secretFile: secret,
		pulls: []string{"/a=rtmp://h/x?y=z"}, demand: []string{"/b=rtmps://h/x"}, pushs: []string{"/live/*=rtmp://h/live/*"}}
	var got server.Options
	if err := o.fill(&got); err != nil {
		t.Fatal(err)
	}
	hooks := []hook.Hook{{URL: "http://h/all?a=b"}, {Event: "publish", URL: "http://h/p"}, {Event: "publish_data:all", URL: "http://h/d"},
		{Event: "play", Command: []string{"/bin/sh", "play"}}, {Command: []string{"/bin/ls"}}}
	same := func(a, b hook.Hook) bool {
		return a.Event == b.Event && a.URL == b.URL && slices.Equal(a.Command, b.Command)
	}
	if !slices.EqualFunc(got.Hooks.Hooks, hooks, same) || string(got.Hooks.Secret) != "s3cret" {
		t.Errorf("got %+v", got.Hooks)
	}
	relays := []relay.Spec{{Kind: relay.Pull, Path: "/a", URL: "rtmp://h/x?y=z"}, {Kind: relay.Pull, Path: "/b", URL: "rtmps://h/x", OnDemand: true},
		{Kind: relay.Push, Path: "/live/*", URL: "rtmp://h/live/*"}}
	if !slices.Equal(got.Relays, relays) {
		t.Errorf("got %+v", got.Relays)
	}
	o = hookFlags{shell: true, commands: []string{"publish=a b | c"}}
	got = server.Options{}
	if err := o.fill(&got); err != nil || strings.Join(got.Hooks.Hooks[0].Command, "|") != "/bin/sh|-c|a b | c" {
		t.Errorf("got %+v %v", got.Hooks, err)
	}
	for _, o := range []hookFlags{{pulls: []string{"/a"}}, {pushs: []string{"/a=http://h"}}, {secretFile: "/nowhere"}} {
		if err := o.fill(&got); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}
