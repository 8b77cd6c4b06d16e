package auth

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	// maxRule bounds the text of a rule, in bytes.
	maxRule = 1024
	// MaxRules bounds the rules of one list that comes from outside the file, and the roles.
	MaxRules = 256
)

// actions are all that there are; the first ones are what "*" means.
var actions = []Action{Subscribe, Publish, Play, Stream, Call, Source, Admin}

// every is what "*" means: all but admin.
const every = actionSet(1<<6 - 1)

// actionSet has a bit for each of actions.
type actionSet uint8

func setOf(a Action) actionSet {
	if i := slices.Index(actions, a); i >= 0 {
		return 1 << i
	}
	return 0
}

// Rule names actions and the paths that they are meant for. Its text is "ACTION[,ACTION...] PATTERN", such as "publish,stream /live/{user}/*". In a pattern a segment "*" stands for any one segment,
// "{user}" for the name of who asks, and "**", as the last one, for any number of segments, none too. The action "*" stands for all but admin.
type Rule struct {
	actions  actionSet
	segments []string // without the rest
	rest     bool     // ends with **
}

// ParseRule reads a rule.
func ParseRule(text string) (Rule, error) {
	var r Rule
	if len(text) > maxRule {
		return r, fmt.Errorf("rule of %d bytes: longer than %d", len(text), maxRule)
	}
	fields := strings.Fields(text)
	if len(fields) != 2 {
		return r, fmt.Errorf("rule %q: want actions, a space and a pattern, such as \"play /live/**\"", text)
	}
	for word := range strings.SplitSeq(fields[0], ",") {
		set := setOf(Action(word))
		if word == "*" {
			set = every
		}
		if set == 0 {
			return r, fmt.Errorf("rule %q: action %q: want %s%s", text, word, actionWords(), didYouMean(word, actionNames()))
		}
		r.actions |= set
	}
	return r, r.parsePattern(fields[1])
}

// parsePattern reads what stands behind the actions.
func (r *Rule) parsePattern(p string) error {
	switch {
	case !strings.HasPrefix(p, "/"):
		return fmt.Errorf("pattern %q: want a path that begins with /", p)
	case !utf8.ValidString(p):
		return fmt.Errorf("pattern %q: not UTF-8", p)
	case p == "/":
		return nil
	}
	r.segments = strings.Split(p[1:], "/")
	if last := len(r.segments) - 1; r.segments[last] == "**" {
		r.rest, r.segments = true, r.segments[:last]
	}
	for _, s := range r.segments {
		switch {
		case s == "" || s == "." || s == "..":
			return fmt.Errorf("pattern %q: has a segment %q", p, s)
		case s == "**":
			return fmt.Errorf("pattern %q: ** stands at the end only", p)
		case s != "*" && s != "{user}" && strings.ContainsAny(s, "*{}"):
			return fmt.Errorf("pattern %q: segment %q: *, ** and {user} stand for whole segments", p, s)
		}
	}
	return nil
}

func actionNames() (names []string) {
	for _, a := range actions {
		names = append(names, string(a))
	}
	return names
}

func actionWords() string { return strings.Join(actionNames(), ", ") + " or *" }

// String returns the rule as ParseRule reads it.
func (r Rule) String() string {
	var words []string
	rest := r.actions
	if rest&every == every {
		words, rest = append(words, "*"), rest&^every
	}
	for i, a := range actions {
		if rest&(1<<i) != 0 {
			words = append(words, string(a))
		}
	}
	path := "/" + strings.Join(r.segments, "/")
	switch {
	case r.rest && len(r.segments) == 0:
		path = "/**"
	case r.rest:
		path += "/**"
	}
	return strings.Join(words, ",") + " " + path
}

// covers says whether the rule speaks of what a user does on a path, which is well-formed.
func (r *Rule) covers(set actionSet, user, path string) bool {
	if r.actions&set == 0 {
		return false
	}
	at := path[1:]
	for _, want := range r.segments {
		if at == "" {
			return false
		}
		segment, after, _ := strings.Cut(at, "/")
		switch want {
		case "*":
		case "{user}":
			if user == "" || segment != user {
				return false
			}
		default:
			if segment != want {
				return false
			}
		}
		at = after
	}
	return r.rest || at == ""
}

// wellFormed says that a path has no segment that another reader might take for something else.
func wellFormed(path string) bool {
	if path == "/" {
		return true
	}
	if !strings.HasPrefix(path, "/") {
		return false
	}
	for segment := range strings.SplitSeq(path[1:], "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

// grants are rules that stand together. Their order does not matter.
type grants struct {
	allow, deny []Rule
}

func covered(rules []Rule, set actionSet, user, path string) bool {
	for i := range rules {
		if rules[i].covers(set, user, path) {
			return true
		}
	}
	return false
}

// decide says whether a user may act on a path by all of some grants: a deny of any one forbids, else an allow of any one permits, else it is forbidden.
func decide(all []*grants, a Action, user, path string) bool {
	set := setOf(a)
	if set == 0 || !wellFormed(path) {
		return false
	}
	allowed := false
	for _, g := range all {
		if covered(g.deny, set, user, path) {
			return false
		}
		allowed = allowed || covered(g.allow, set, user, path)
	}
	return allowed
}

// didYouMean is a hint at the one of some words that is nearest to a wrong one; empty when none is near.
func didYouMean(word string, known []string) string {
	best, least := "", 3
	for _, k := range known {
		if d := distance(word, k); d < least && d < len(k) {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// distance is how many letters must be put in, taken out or changed to make b of a. Long words have nothing near.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := before
			if a[i] != b[j] {
				change++
			}
			before = row[j+1]
			row[j+1] = min(change, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
