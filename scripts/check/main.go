// Command check runs the project's checks by name and prints what each did. Its last line says how many passed and
// how many failed; the exit status is 1 when any did. It is run through the Makefile, in the root of the module:
//
//	go run ./scripts/check format vet unit
//
// A test that is skipped, for want of a program perhaps, is listed by name; with CI=true it counts as failed.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// tally is what the checks have found so far.
type tally struct {
	passed   int
	failures []string // by name
	skips    []string // by name, with the reason
}

func (t *tally) pass(n int)       { t.passed += n }
func (t *tally) fail(name string) { t.failures = append(t.failures, name) }
func (t *tally) skip(name string) { t.skips = append(t.skips, name) }

// finish prints the summary and returns the exit status.
func (t *tally) finish(out io.Writer, skipsFail bool) int {
	for _, name := range t.skips {
		fmt.Fprintln(out, "skipped:", name)
	}
	if skipsFail {
		t.failures = append(t.failures, t.skips...)
	}
	for _, name := range t.failures {
		fmt.Fprintln(out, "FAILED:", name)
	}
	fmt.Fprintf(out, "%d passed, %d failed\n", t.passed, len(t.failures))
	if len(t.failures) > 0 {
		return 1
	}
	return 0
}

// checks are the names that may be asked for.
var checks = map[string]func(*tally){
	"format": format,
	"vet":    func(t *tally) { command(t, "vet", "go", "vet", "./...") },
	"staticcheck": func(t *tally) {
		command(t, "staticcheck", "go", "tool", "-modfile=tools/go.mod", "staticcheck", "./...")
	},
	"unit": unit,
	"js":   javascript,
	"fuzz": fuzz,
	"e2e":  endToEnd,
	"bench": func(t *tally) { // a module of its own
		command(t, "bench: vet", "go", "-C", "bench", "vet", "./...")
		command(t, "bench: test", "go", "-C", "bench", "test", "./...")
	},
}

// fuzzTime is how long each fuzz target runs.
var fuzzTime = flag.Duration("fuzztime", 3*time.Second, "how long each fuzz target runs")

func main() {
	flag.Parse()
	var t tally
	for _, name := range flag.Args() {
		run, ok := checks[name]
		if !ok {
			fmt.Fprintf(os.Stderr, "check: there is no check %q\n", name)
			os.Exit(2)
		}
		fmt.Println("==", name)
		start := time.Now()
		run(&t)
		fmt.Printf("   %s took %.1f s\n", name, time.Since(start).Seconds())
	}
	os.Exit(t.finish(os.Stdout, os.Getenv("CI") == "true"))
}

// command runs a program that is one check; what it prints is shown when it fails.
func command(t *tally, name, program string, args ...string) {
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		fmt.Printf("%s%s: %v\n", out, name, err)
		t.fail(name)
		return
	}
	t.pass(1)
}

// format fails when gofmt would change a file.
func format(t *tally) {
	out, err := exec.Command("gofmt", "-l", ".").CombinedOutput()
	if err != nil || len(bytes.TrimSpace(out)) > 0 {
		fmt.Printf("gofmt would change:\n%s", out)
		t.fail("format")
		return
	}
	t.pass(1)
}

// unit runs the tests of all packages but those under e2e, the layout test among them, under the race detector.
func unit(t *tally) {
	out, err := exec.Command("go", "list", "./...").Output()
	if err != nil {
		t.fail("go list: " + err.Error())
		return
	}
	args := []string{"-timeout", unitTimeout.String()}
	if _, err := exec.LookPath("gcc"); err == nil {
		args = append(args, "-race")
	} else {
		t.skip("race detector: gcc is not installed")
	}
	for _, p := range strings.Fields(string(out)) {
		if !strings.Contains(p+"/", "/e2e/") {
			args = append(args, p)
		}
	}
	goTest(t, args...)
	if counted := withoutRace("."); len(counted) > 0 {
		goTest(t, append([]string{"-run", "Allocates"}, counted...)...)
	}
}

// withoutRace finds the packages with tests that are not built under the race detector, because it allocates: those that count
// allocations, which have Allocates in their names.
func withoutRace(root string) (packages []string) {
	for _, path := range testFiles(root) {
		b, _ := os.ReadFile(path)
		if dir := "./" + filepath.ToSlash(filepath.Dir(path)); bytes.HasPrefix(b, []byte("//go:build !race\n")) && bytes.Contains(b, []byte("Allocates")) && !slices.Contains(packages, dir) {
			packages = append(packages, dir)
		}
	}
	return packages
}

// testFiles finds the Go test files in a folder and below, leaving out what is not ours and what is only data.
func testFiles(root string) (paths []string) {
	filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (d.Name() == "node_modules" || d.Name() == "testdata"):
			return fs.SkipDir
		case strings.HasSuffix(path, "_test.go"):
			paths = append(paths, path)
		}
		return nil
	})
	return paths
}

// endToEndParallel is how many end-to-end tests that allow it run at once: they wait more than they work.
const endToEndParallel = 4

func endToEnd(t *tally) {
	if _, err := exec.LookPath("npm"); err == nil {
		install(t, "e2e") // the tests that need these skip themselves without them
		install(t, "e2e/wsinterop")
	}
	goTest(t, "-count=1", "-parallel="+strconv.Itoa(endToEndParallel), "-timeout", endToEndTimeout.String(), "./e2e/...")
}
