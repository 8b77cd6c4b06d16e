package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// How long the tests of one package may take.
const (
	unitTimeout     = 20 * time.Minute
	endToEndTimeout = 45 * time.Minute
)

// event is a line of go test -json.
type event struct {
	Action, Package, ImportPath, Test, Output string
	Elapsed                                   float64
}

// goTest runs go test and counts its tests.
func goTest(t *tally, args ...string) {
	cmd := exec.Command("go", append([]string{"test", "-json", "-vet=off"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.fail("go test: " + err.Error())
		return
	}
	failures := len(t.failures)
	readGoTest(t, out, os.Stdout)
	if err := cmd.Wait(); err != nil && len(t.failures) == failures {
		t.fail("go test: " + err.Error())
	}
}

// packageRun is what is known of one package's tests while they run.
type packageRun struct {
	output  map[string]*strings.Builder // by test; "" is the package's own
	parents map[string]bool             // tests that have subtests: these are counted, they are not
	passed  int
	failed  int
}

func newPackageRun() *packageRun {
	return &packageRun{output: map[string]*strings.Builder{}, parents: map[string]bool{}}
}

// readGoTest counts what go test -json says. A failing test's output goes to out, and one line a package.
func readGoTest(t *tally, in io.Reader, out io.Writer) {
	runs := map[string]*packageRun{}
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		if json.Unmarshal(line, &e) == nil {
			p := runs[e.Package]
			if p == nil {
				p = newPackageRun()
				runs[e.Package] = p
			}
			p.take(t, e, out)
		} else {
			out.Write(line)
		}
		if err != nil {
			return
		}
	}
}

func (p *packageRun) take(t *tally, e event, out io.Writer) {
	name := e.Package
	if e.Test != "" {
		name += " " + e.Test
	}
	switch e.Action {
	case "build-output":
		io.WriteString(out, e.Output)
	case "run":
		for i, c := range e.Test {
			if c == '/' {
				p.parents[e.Test[:i]] = true
			}
		}
	case "output":
		if p.output[e.Test] == nil {
			p.output[e.Test] = &strings.Builder{}
		}
		p.output[e.Test].WriteString(e.Output)
	case "skip":
		if e.Test != "" {
			t.skip(name + ": " + reason(p.text(e.Test)))
		}
	case "pass":
		switch {
		case e.Test == "":
			fmt.Fprintf(out, "ok   %s (%d tests, %.1f s)\n", e.Package, p.passed, e.Elapsed)
		case !p.parents[e.Test]:
			p.passed++
			t.pass(1)
		}
	case "fail":
		// A package without a failing test of its own did not build, or died.
		if e.Test != "" && !p.parents[e.Test] || e.Test == "" && p.failed == 0 {
			p.failed++
			t.fail(name)
		}
		io.WriteString(out, p.text(e.Test))
		if e.Test == "" {
			fmt.Fprintf(out, "FAIL %s (%.1f s)\n", e.Package, e.Elapsed)
		}
	}
}

func (p *packageRun) text(test string) string {
	if b := p.output[test]; b != nil {
		return b.String()
	}
	return ""
}

// reason finds what t.Skip was given in a test's output: "    file_test.go:12: why".
func reason(output string) string {
	for line := range strings.Lines(output) {
		if _, why, ok := strings.Cut(line, "_test.go:"); ok {
			if _, why, ok := strings.Cut(why, ": "); ok {
				return strings.TrimSpace(why)
			}
		}
	}
	return "no reason given"
}
