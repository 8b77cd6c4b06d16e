package auth

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

func rule(t testing.TB, text string) Rule {
	t.Helper()
	r, err := ParseRule(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRules is the table of what rules mean: which of some paths each covers, for the user alice.
func TestRules(t *testing.T) {
	for _, c := range []struct {
		rule   string
		action Action
		yes    []string
		no     []string
	}{
		{"play /live/cam1", Play, []string{"/live/cam1"}, []string{"/live", "/live/cam1/x", "/live/cam10", "/Live/cam1", "/live/cam", "/"}},
		{"play /live/*", Play, []string{"/live/cam1", "/live/*"}, []string{"/live", "/live/a/b", "/livex/a", "/"}},
		{"play /live/*/hd", Play, []string{"/live/a/hd"}, []string{"/live/hd", "/live/a/sd", "/live/a/hd/x"}},
		{"play /live/**", Play, []string{"/live", "/live/a", "/live/a/b/c", "/live/@list"}, []string{"/", "/livestock", "/a/live/b"}},
		{"play /**", Play, []string{"/", "/a", "/a/b"}, nil},
		{"play /", Play, []string{"/"}, []string{"/a"}},
		{"play /u/{user}/**", Play, []string{"/u/alice", "/u/alice/a/b"}, []string{"/u", "/u/bob", "/u/alice2/a", "/u/{user}/a", "/u/*/a"}},
		{"play,stream /a", Stream, []string{"/a"}, []string{"/b"}},
		{"play,stream /a", Publish, nil, []string{"/a"}},
		{"* /a", Source, []string{"/a"}, nil},
		{"* /a", Admin, nil, []string{"/a"}},
		{"admin /a", Admin, []string{"/a"}, nil},
		{"* /**", Action("fly"), nil, []string{"/a"}},
		{"* /**", Action("*"), nil, []string{"/a"}},
		{"play /**", Play, nil, []string{"", "a", "//", "/a//b", "/a/../b", "/./a", "/a/"}}, // other readers may take these for other paths
	} {
		all := []*grants{{allow: []Rule{rule(t, c.rule)}}}
		for _, path := range c.yes {
			if !decide(all, c.action, "alice", path) {
				t.Errorf("%q does not cover %s %s", c.rule, c.action, path)
			}
		}
		for _, path := range c.no {
			if decide(all, c.action, "alice", path) {
				t.Errorf("%q covers %s %s", c.rule, c.action, path)
			}
		}
		if again := rule(t, c.rule).String(); again != c.rule {
			t.Errorf("%q is written as %q", c.rule, again)
		}
	}
}

// TestDecisions is the table of what several rules mean together: a deny wins wherever it stands, and what no rule speaks of is forbidden.
func TestDecisions(t *testing.T) {
	for _, c := range []struct {
		about       string
		allow, deny []string // the second half of each stands in another role
		may         bool
	}{
		{"no rule at all", nil, nil, false},
		{"an allow", []string{"play /a/**"}, nil, true},
		{"an allow of something else", []string{"play /b/**", "publish /a/**"}, nil, false},
		{"a deny beside a more exact allow", []string{"play /a/b"}, []string{"play /**"}, false},
		{"a deny in another role", []string{"play /a/b", ""}, []string{"", "play /a/*"}, false},
		{"a deny of another action", []string{"play /a/b"}, []string{"stream /a/b"}, true},
		{"a deny of all actions", []string{"play /a/b"}, []string{"* /a/b"}, false},
	} {
		all := []*grants{{}, {}}
		for i, text := range c.allow {
			if text != "" {
				all[i].allow = append(all[i].allow, rule(t, text))
			}
		}
		for i, text := range c.deny {
			if text != "" {
				all[i%2].deny = append(all[i%2].deny, rule(t, text))
			}
		}
		if got := decide(all, Play, "alice", "/a/b"); got != c.may {
			t.Errorf("%s: got %v, want %v", c.about, got, c.may)
		}
	}
}

func TestNobodyIsNotAUser(t *testing.T) {
	if decide([]*grants{{allow: []Rule{rule(t, "* /u/{user}/**")}}}, Publish, "", "/u//x") {
		t.Error("nobody in particular may publish below an empty name")
	}
}

func TestBadRules(t *testing.T) {
	for text, want := range map[string]string{
		"":                                       "want actions, a space and a pattern",
		"play":                                   "want actions, a space and a pattern",
		"play /a /b":                             "want actions, a space and a pattern",
		"pley /a":                                `did you mean "play"?`,
		"play, /a":                               `action ""`,
		"play a":                                 "begins with /",
		"play /a//b":                             `has a segment ""`,
		"play /a/":                               `has a segment ""`,
		"play /a/../b":                           `has a segment ".."`,
		"play /**/b":                             "** stands at the end only",
		"play /cam*":                             "stand for whole segments",
		"play /x-{user}":                         "stand for whole segments",
		"play /{name}":                           "stand for whole segments",
		"play /" + string(make([]byte, maxRule)): "longer than",
		"play /\xff":                             "not UTF-8",
	} {
		if _, err := ParseRule(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: got %v, want %q", text, err, want)
		}
	}
}

// FuzzRule compares what a rule covers with what a regular expression made of its text matches.
func FuzzRule(f *testing.F) {
	for _, text := range []string{"play /live/**", "* /", "* /**", "stream,play /u/{user}/*", "admin /a/*/**", "play /a//", "play /**/**"} {
		f.Add(text, "/live/a/b", "alice")
		f.Add(text, "/u/alice/x", "alice")
	}
	f.Fuzz(func(t *testing.T, text, path, user string) {
		r, err := ParseRule(text)
		if err != nil {
			return
		}
		again, err := ParseRule(r.String())
		if err != nil || again.String() != r.String() {
			t.Fatalf("%q is written as %q, which reads as %q, %v", text, r, again, err)
		}
		if !utf8.ValidString(path) || !utf8.ValidString(user) || !wellFormed(path) || strings.ContainsAny(user, "/\n") || user == "" || strings.Contains(path, "\n") {
			return
		}
		pattern := strings.Fields(text)[1]
		rest := strings.HasSuffix(pattern, "/**")
		e := regexp.QuoteMeta(strings.TrimSuffix(pattern, "/**"))
		if pattern == "/" {
			e = "/"
		}
		e = strings.ReplaceAll(e, `\*`, `[^/]+`)
		e = strings.ReplaceAll(e, `\{user\}`, regexp.QuoteMeta(user))
		if rest {
			e += "(/.*)?"
		}
		want := regexp.MustCompile(`^(?s:` + e + `)$`).MatchString(path)
		if path == "/" && pattern == "/**" {
			want = true
		}
		if got := r.covers(r.actions, user, path); got != want {
			t.Fatalf("%q covers %q for %q: got %v, want %v by %s", text, path, user, got, want, e)
		}
	})
}

// BenchmarkMay asks as a publish does, with rules of two roles.
func BenchmarkMay(b *testing.B) {
	f := open(b, "roles:\n  viewer:\n    allow: [\"play /live/**\"]\n    deny: [\"* /secret/**\"]\nkeys:\n  k:\n    sha256: "+digestOf("key")+
		"\n    roles: [viewer]\n    allow: [\"publish /data/*/bid\", \"publish /u/{user}/**\"]\n")
	who, err := f.Authenticate(b.Context(), "key", local)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !who.May(Publish, "/u/k/orders/17") {
			b.Fatal("may not")
		}
	}
}
