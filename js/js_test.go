package js

import (
	"io/fs"
	"path"
	"regexp"
	"strings"
	"testing"
)

var imported = regexp.MustCompile(`(?m)^(?:import|export)\b[^;]*?from "([^"]+)"`)

// A browser loads the modules as they are: whatever they import must be there, and nothing from elsewhere.
func TestModulesImportOnlyWhatIsEmbedded(t *testing.T) {
	names, err := fs.Glob(Files, "*")
	if err != nil || len(names) < 8 {
		t.Fatalf("got %d files, %v", len(names), err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".js") || strings.HasSuffix(name, ".test.js") {
			t.Errorf("%s is embedded: want modules only", name)
		}
		b, err := fs.ReadFile(Files, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range imported.FindAllSubmatch(b, -1) {
			from := string(m[1])
			if _, err := fs.Stat(Files, path.Clean(from)); !strings.HasPrefix(from, "./") || err != nil {
				t.Errorf("%s imports %q: want an embedded module", name, from)
			}
		}
	}
}

func TestIndexExportsClientAndPlayer(t *testing.T) {
	b, err := fs.ReadFile(Files, "index.js")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Client", "Player"} {
		if !strings.Contains(string(b), "{ "+name+" }") {
			t.Errorf("index.js does not export %s", name)
		}
	}
}
