package auth

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Problem is one thing that is wrong in a file. It shows names of keys and never a value that may be secret.
type Problem struct {
	Line, Column int
	Text         string
}

// Error returns "line:column: text".
func (p Problem) Error() string { return fmt.Sprintf("%d:%d: %s", p.Line, p.Column, p.Text) }

// reader takes a YAML tree apart and collects all that is wrong with it.
type reader struct {
	problems []Problem
}

// maxProblems bounds what is told of one file.
const maxProblems = 100

func (r *reader) problem(n ast.Node, format string, args ...any) {
	p := Problem{Text: fmt.Sprintf(format, args...)}
	if t := n.GetToken(); t != nil && t.Position != nil {
		p.Line, p.Column = t.Position.Line, t.Position.Column
	}
	if len(r.problems) < maxProblems {
		r.problems = append(r.problems, p)
	}
}

// err joins the problems, in the order of their places.
func (r *reader) err() error {
	slices.SortStableFunc(r.problems, func(a, b Problem) int { return cmp.Or(a.Line-b.Line, a.Column-b.Column) })
	var list []error
	for _, p := range r.problems {
		list = append(list, p)
	}
	return errors.Join(list...)
}

// parse returns the one document of a file; nil for an empty one, or where that cannot be read.
func (r *reader) parse(b []byte) ast.Node {
	file, err := parser.ParseBytes(b, 0)
	var syntax yaml.Error
	switch {
	case errors.As(err, &syntax): // without the excerpt of the file, which may hold a secret
		p := Problem{Text: "this is not YAML"}
		if t := syntax.GetToken(); t != nil && t.Position != nil {
			p.Line, p.Column = t.Position.Line, t.Position.Column
		}
		if strings.Contains(syntax.GetMessage(), "already defined") {
			p.Text = "this key stands here for the second time"
		}
		r.problems = append(r.problems, p)
		return nil
	case err != nil:
		r.problems = append(r.problems, Problem{Line: 1, Column: 1, Text: "this is not YAML"})
		return nil
	}
	if len(file.Docs) > 1 {
		r.problem(file.Docs[1], "want one document")
		return nil
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		return nil
	}
	return file.Docs[0].Body
}

// fields reads a mapping whose keys are known.
func (r *reader) fields(n ast.Node, known map[string]func(ast.Node)) {
	r.mapping(n, func(key string, keyNode, value ast.Node) {
		read := known[key]
		if read == nil {
			names := slices.Sorted(maps.Keys(known))
			r.problem(keyNode, "unknown key %q: want %s%s", key, strings.Join(names, ", "), didYouMean(key, names))
			return
		}
		read(value)
	})
}

// mapping reads a mapping with keys of any name.
func (r *reader) mapping(n ast.Node, each func(key string, keyNode, value ast.Node)) {
	var values []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode: // one of a single key
		values = []*ast.MappingValueNode{m}
	case *ast.NullNode:
		return
	default:
		r.problem(n, "want keys and values")
		return
	}
	seen := make(map[string]bool)
	for _, v := range values {
		key, ok := scalar(v.Key)
		switch {
		case !ok || key == "":
			r.problem(v.Key, "want a plain key")
		case seen[key]:
			r.problem(v.Key, "key %q stands here for the second time", key)
		default:
			seen[key] = true
			each(key, v.Key, v.Value)
		}
	}
}

// each reads the items of a list.
func (r *reader) each(n ast.Node, item func(ast.Node)) {
	switch s := n.(type) {
	case *ast.SequenceNode:
		for _, v := range s.Values {
			item(v)
		}
	case *ast.NullNode:
	default:
		r.problem(n, "want a list")
	}
}

// scalar is the text of a value that is neither a list nor a mapping.
func scalar(n ast.Node) (string, bool) {
	switch v := n.(type) {
	case *ast.StringNode:
		return v.Value, true
	case *ast.LiteralNode:
		return v.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return v.GetToken().Value, true
	}
	return "", false
}

func (r *reader) text(n ast.Node) (string, bool) {
	text, ok := scalar(n)
	if !ok || text == "" {
		r.problem(n, "want a text")
	}
	return text, ok && text != ""
}

func (r *reader) texts(n ast.Node) (list []string) {
	r.each(n, func(v ast.Node) {
		if text, ok := r.text(v); ok {
			list = append(list, text)
		}
	})
	return list
}

func (r *reader) duration(n ast.Node) time.Duration {
	text, _ := scalar(n)
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		r.problem(n, "want a time such as 30s or 5m")
	}
	return d
}

func (r *reader) flag(n ast.Node) bool {
	text, _ := scalar(n)
	on, err := strconv.ParseBool(text)
	if err != nil {
		r.problem(n, "want true or false")
	}
	return on
}

// rules reads a list of rules.
func (r *reader) rules(n ast.Node) (list []Rule) {
	r.each(n, func(v ast.Node) {
		text, ok := r.text(v)
		if !ok {
			return
		}
		rule, err := ParseRule(text)
		if err != nil {
			r.problem(v, "%v", err)
			return
		}
		list = append(list, rule)
	})
	return list
}
