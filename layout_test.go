package hawser_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The table of ARCHITECTURE.md: what each package may import of this module, and the modules of others that it may import (a leading part of
// the import path). The standard library is always allowed. Change the table there and here in one commit.
var mayImport = map[string][]string{
	".":         {},
	"ring":      {},
	"lifecycle": {"ring"},
	"media":     {"github.com/bluenviron/mediacommon/v2"},
	"amf":       {},
	"flv":       {"amf", "media"},
	"fmp4":      {"media", "github.com/bluenviron/mediacommon/v2"},
	"netio":     {},
	"websocket": {"lifecycle", "netio", "github.com/klauspost/compress", "github.com/segmentio/asm", "golang.org/x/net"},
	"rtmp":      {"amf", "flv", "lifecycle", "media", "netio"},
	"session":   {"lifecycle"},
	"store":     {},
	"subject":   {"lifecycle", "ring", "store"},
	"stream":    {"flv", "fmp4", "lifecycle", "media", "ring"},
	"record":    {"amf", "flv", "fmp4", "lifecycle", "media", "ring", "stream"},
	"hook":      {"lifecycle"},
	"rtc":       {"lifecycle", "media", "github.com/bluenviron/mediacommon/v2", "github.com/pion", "golang.org/x/sys/unix"},
	"relay":     {"amf", "lifecycle", "rtmp"},
	"client":    {"lifecycle", "media", "rtc", "session", "websocket"},
	"auth":      {"lifecycle", "github.com/MicahParks/keyfunc/v3", "github.com/goccy/go-yaml", "github.com/golang-jwt/jwt/v5", "golang.org/x/crypto/argon2"},
	"server":    {"amf", "auth", "flv", "fmp4", "hook", "lifecycle", "media", "netio", "record", "relay", "ring", "rtc", "rtmp", "session", "store", "stream", "subject", "websocket"},
	"js":        {},
	"console":   {"js"},
	"cmd/hawser": {"amf", "auth", "client", "console", "flv", "fmp4", "hook", "js", "lifecycle", "media", "netio", "record", "relay", "ring", "rtc", "rtmp", "server", "session", "stream", "subject",
		"websocket", "github.com/fsnotify/fsnotify", "github.com/spf13/cobra"},
	"scripts/check": {},
	"e2e":           {"amf", "client", "e2e/lab", "flv", "lifecycle", "media", "rtc", "rtmp", "session", "websocket"},
	"e2e/lab":       {},
	"e2e/wsinterop": {"lifecycle", "websocket"},
}

// What test files may import beyond what their package may.
var testsMayImport = map[string][]string{
	"rtmp":      {"ring"},                        // a relay that keeps what is published
	"js":        {"auth", "lifecycle", "server"}, // the client beside a real server
	"server":    {"client"},                      // what a server looks like from the other end
	"websocket": {"ring"},                        // the limits of an event log
	"fmp4":      {"flv"},                         // the frames of a file that ffmpeg wrote
	"hook":      {"ring"},                        // the limits of an event log
	"rtc":       {"ring"},                        // the limits of an event log
}

// Files that may be longer than maxLines, each with the reason. It is empty, and should stay so.
var longFiles = map[string]string{}

const maxLines = 500

// Names that say nothing about what is inside.
var emptyNames = []string{"util", "utils", "common", "defs", "helper", "helpers", "misc", "base"}

// sources parses all Go files of the module, by slash-separated path. Folders that are modules of their own are not part of it.
func sources(t *testing.T) map[string]*ast.File {
	t.Helper()
	files := map[string]*ast.File{}
	walk(t, func(path string) {
		top, _, _ := strings.Cut(path, "/")
		_, other := os.Stat(filepath.Join(top, "go.mod"))
		if filepath.Ext(path) == ".go" && other != nil {
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			files[path] = f
		}
	})
	return files
}

// walk calls f for each file of the module that is our own work.
func walk(t *testing.T, f func(path string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if n := d.Name(); path != "." && (n == "node_modules" || n == "testdata" || n == "bin" || strings.HasPrefix(n, ".")) {
				return fs.SkipDir
			}
		default:
			f(filepath.ToSlash(path))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestImports(t *testing.T) {
	const module = "hawser"
	for path, file := range sources(t) {
		dir := filepath.ToSlash(filepath.Dir(path))
		allowed, known := mayImport[dir]
		if !known {
			t.Errorf("%s: the import table lacks the package %s", path, dir)
			continue
		}
		test := strings.HasSuffix(path, "_test.go")
		for _, spec := range file.Imports {
			name := strings.Trim(spec.Path.Value, `"`)
			own, inside := strings.CutPrefix(name, module+"/")
			switch {
			case inside:
				name = own
			case !strings.Contains(strings.Split(name, "/")[0], "."):
				continue // the standard library
			}
			ok := slices.ContainsFunc(allowed, func(a string) bool { return name == a || strings.HasPrefix(name, a+"/") })
			if !ok && !(test && (name == dir || slices.Contains(testsMayImport[dir], name))) {
				t.Errorf("%s imports %s, which the import table does not allow to %s", path, name, dir)
			}
		}
	}
}

func TestImportTableIsADirection(t *testing.T) {
	var visit func(name string, above []string)
	visit = func(name string, above []string) {
		if slices.Contains(above, name) {
			t.Fatalf("the import table goes in a circle: %s", strings.Join(append(above, name), " > "))
		}
		for _, below := range mayImport[name] {
			if _, own := mayImport[below]; own {
				visit(below, append(slices.Clone(above), name))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(mayImport)) {
		visit(name, nil)
	}
}

func TestFileSizes(t *testing.T) {
	walk(t, func(path string) {
		if !slices.Contains([]string{".go", ".js", ".mjs", ".ts", ".css", ".html", ".sh"}, filepath.Ext(path)) {
			return
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(b, []byte("\n")); n > maxLines && longFiles[path] == "" {
			t.Errorf("%s has %d lines, %d are allowed: is there a second idea in it?", path, n, maxLines)
		}
	})
}

func TestNames(t *testing.T) {
	for path, file := range sources(t) {
		if slices.Contains(emptyNames, strings.TrimSuffix(file.Name.Name, "_test")) {
			t.Errorf("%s: package %s: the name says nothing about what is inside", path, file.Name.Name)
		}
	}
}

func TestPackageComments(t *testing.T) {
	comments := map[string][]string{}
	for path, file := range sources(t) {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		dir := filepath.ToSlash(filepath.Dir(path))
		comments[dir] = append(comments[dir], file.Doc.Text())
	}
	for dir, docs := range comments {
		docs = slices.DeleteFunc(docs, func(s string) bool { return s == "" })
		if len(docs) != 1 {
			t.Errorf("%s has %d package comments, want one", dir, len(docs))
			continue
		}
		if strings.HasPrefix(docs[0], "Package ") && !strings.Contains(docs[0], "\n\t") && dir != "." {
			t.Errorf("%s: the package comment has no example (an indented line)", dir)
		}
	}
}

func TestExportedNamesAreDocumented(t *testing.T) {
	for path, file := range sources(t) {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		for _, d := range file.Decls {
			for _, name := range undocumented(d) {
				t.Errorf("%s: %s has no comment", path, name)
			}
		}
	}
}

// undocumented lists the exported names of a declaration that no comment stands with.
func undocumented(d ast.Decl) (names []string) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Doc.Text() == "" && d.Name.IsExported() && exportedReceiver(d) && !wellKnown[d.Name.Name] {
			names = append(names, d.Name.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && s.Doc.Text() == "" && d.Doc.Text() == "" {
					names = append(names, s.Name.Name)
				}
			case *ast.ValueSpec:
				// A comment above the group speaks for all of it.
				if s.Doc.Text() != "" || s.Comment.Text() != "" || d.Doc.Text() != "" {
					continue
				}
				for _, n := range s.Names {
					if n.IsExported() {
						names = append(names, n.Name)
					}
				}
			}
		}
	}
	return names
}

// wellKnown are methods that the standard library gives their meaning.
var wellKnown = map[string]bool{"Error": true, "String": true, "MarshalText": true, "UnmarshalText": true, "MarshalJSON": true, "UnmarshalJSON": true, "Unwrap": true}

// exportedReceiver says that a function is none of a type that only its package sees.
func exportedReceiver(f *ast.FuncDecl) bool {
	if f.Recv == nil {
		return true
	}
	typ := f.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.IndexListExpr:
			typ = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return true
		}
	}
}

// What looks like a file of this module in a text: words in backquotes with a known ending, and links.
var (
	quotedFile = regexp.MustCompile("`([A-Za-z0-9_./-]+\\.(?:go|js|mjs|md|json|sh|html|css|mod|svg|png|yml|yaml))`")
	linkedFile = regexp.MustCompile(`\]\(([A-Za-z0-9_./-]+)(?:#[^)]*)?\)`)
	quotedDir  = regexp.MustCompile("`([a-z0-9_]+(?:/[a-z0-9_]+)*/)`")
)

func TestFilesNamedInDocumentsExist(t *testing.T) {
	for _, doc := range []string{"README.md", "ARCHITECTURE.md", "docs/protocol.md"} {
		b, err := os.ReadFile(doc)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, pattern := range []*regexp.Regexp{quotedFile, linkedFile, quotedDir} {
			for _, m := range pattern.FindAllSubmatch(b, -1) {
				name := string(m[1])
				if strings.HasPrefix(name, "/") {
					continue // a path of the server
				}
				_, fromRoot := os.Stat(name)
				_, fromDoc := os.Stat(filepath.Join(filepath.Dir(doc), name))
				if fromRoot != nil && fromDoc != nil {
					t.Errorf("%s names %s, which is not there", doc, name)
				}
			}
		}
	}
}
