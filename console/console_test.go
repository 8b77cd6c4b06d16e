package console

import (
	"io/fs"
	"path"
	"regexp"
	"strings"
	"testing"

	"hawser/js"
)

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := fs.ReadFile(Files, name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The page runs under Policy: nothing inline, nothing from other hosts, and all that it loads is there.
func TestPageLoadsOnlyItsOwnFiles(t *testing.T) {
	page := read(t, "index.html")
	for _, bad := range []string{`\son\w+=`, `\sstyle=`, `<style`, `<script[^>]*>[^<]`, `(src|href)="(https?:)?//`} {
		if found := regexp.MustCompile(bad).FindString(page); found != "" {
			t.Errorf("index.html has %q, which Policy forbids", found)
		}
	}
	for _, m := range regexp.MustCompile(`(?:src|href)="([^"#]+)"`).FindAllStringSubmatch(page, -1) {
		if _, err := fs.Stat(Files, m[1]); err != nil {
			t.Errorf("index.html loads %s: %v", m[1], err)
		}
	}
	if style := read(t, "style.css"); strings.Contains(style, "url(") || strings.Contains(style, "@import") {
		t.Error("style.css loads something")
	}
}

func TestModulesImportOnlyWhatIsEmbedded(t *testing.T) {
	names, _ := fs.Glob(Files, "*.js")
	if len(names) == 0 {
		t.Fatal("no modules")
	}
	for _, name := range names {
		for _, m := range regexp.MustCompile(`(?m)^import\b[^;]*?from "([^"]+)"`).FindAllStringSubmatch(read(t, name), -1) {
			files, from := fs.FS(Files), path.Clean(m[1])
			if rest, ok := strings.CutPrefix(from, "js/"); ok {
				files, from = js.Files, rest
			}
			if _, err := fs.Stat(files, from); err != nil {
				t.Errorf("%s imports %q: %v", name, m[1], err)
			}
		}
	}
}

// Every element that a module asks for by its id stands in the page.
func TestPageHasTheElementsThatModulesUse(t *testing.T) {
	page := read(t, "index.html")
	names, _ := fs.Glob(Files, "*.js")
	for _, name := range names {
		for _, m := range regexp.MustCompile(`byId\("([^"]+)"\)`).FindAllStringSubmatch(read(t, name), -1) {
			if !strings.Contains(page, `id="`+m[1]+`"`) {
				t.Errorf("%s uses #%s, which index.html lacks", name, m[1])
			}
		}
	}
}
