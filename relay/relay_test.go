package relay

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"hawser/lifecycle"
)

func TestPatterns(t *testing.T) {
	for _, tc := range []struct {
		pattern, path, url, want string // want is empty when the path does not fit
	}{
		{"/live/*", "/live/a", "rtmp://h/x/*", "rtmp://h/x/a"}, {"/live/*", "/live/a/b", "rtmp://h/x/*", ""}, {"/live/*", "/live/", "rtmp://h/x/*", ""},
		{"/live/**", "/live/a/b", "rtmp://h/x/*?k=v", "rtmp://h/x/a/b?k=v"}, {"/cam-*-hd", "/cam-7-hd", "rtmp://h/*/c", "rtmp://h/7/c"}, {"/cam-*-hd", "/cam-7-sd", "rtmp://h/*/c", ""},
		{"/*", "/a?b c%", "rtmp://h/x/*", "rtmp://h/x/a%3Fb%20c%25"}, {"/aa*aa", "/aaa", "rtmp://h/*", ""},
	} {
		text, ok := match(tc.pattern, tc.path)
		got := ""
		if ok {
			got = fill(tc.url, text)
		}
		if got != tc.want {
			t.Errorf("%s in %s: got %q, want %q", tc.path, tc.pattern, got, tc.want)
		}
	}
}

func TestSpec(t *testing.T) {
	for _, tc := range []struct {
		spec Spec
		word string // of what is wrong; empty when all is right
	}{
		{Spec{Kind: Pull, Path: "/a", URL: "rtmp://h/x"}, ""}, {Spec{Kind: Push, Path: "/a/**", URL: "rtmps://h/x/*"}, ""}, {Spec{Kind: Pull, Path: "/a", URL: "rtmp://h/x", OnDemand: true}, ""},
		{Spec{Path: "/a", URL: "rtmp://h/x"}, "kind"}, {Spec{Kind: Pull, Path: "a", URL: "rtmp://h/x"}, "path"}, {Spec{Kind: Pull, Path: "/a", URL: "rtmp://h"}, "url"},
		{Spec{Kind: Pull, Path: "/a", URL: "rtmp:///x"}, "url"}, {Spec{Kind: Pull, Path: "/a", URL: "http://u:s3cret@h/x"}, "url"}, {Spec{Kind: Push, Path: "/*/*", URL: "rtmp://h/*/*"}, "one *"},
		{Spec{Kind: Push, Path: "/a", URL: "rtmp://h/*"}, "one *"}, {Spec{Kind: Push, Path: "/a", URL: "rtmp://h/x", OnDemand: true}, "demand"},
	} {
		err := tc.spec.Check()
		if (err == nil) != (tc.word == "") || err != nil && (!strings.Contains(err.Error(), tc.word) || !errors.Is(err, lifecycle.ReasonBadRequest) || strings.Contains(err.Error(), "s3cret")) {
			t.Errorf("%+v: got %v, want %q", tc.spec, err, tc.word)
		}
	}
	if got := shown("rtmps://me:pw@h/live/a?key=x"); got != "rtmps://h/live/a" {
		t.Errorf("got %s", got)
	}
}

// There are at most MaxRelays, each once, and none after the end.
func TestBounds(t *testing.T) {
	r := New(Options{MaxRelays: 1, Local: Local{
		Play: func(string, string, bool) (Source, error) { return nil, io.EOF },
		Live: func() []string { return nil },
	}})
	spec := Spec{Kind: Push, Path: "/a", URL: "rtmp://127.0.0.1:1/x"}
	info, err := r.Add(spec)
	if err != nil || info.State != StateWaiting || info.Light != lifecycle.Amber || time.Since(info.Since) > time.Minute {
		t.Fatalf("got %+v %v", info, err)
	}
	if _, err := r.Add(spec); !errors.Is(err, lifecycle.ReasonLimit) {
		t.Errorf("got %v", err)
	}
	if err := r.Remove(info.ID); err != nil || len(r.List()) != 0 {
		t.Errorf("got %v, left %v", err, r.List())
	}
	if _, err := r.Add(spec); err != nil {
		t.Error(err)
	}
	r.Close()
	if _, err := r.Add(spec); !errors.Is(err, lifecycle.ReasonShutdown) {
		t.Errorf("after the end: got %v", err)
	}
}
