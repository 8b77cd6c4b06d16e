package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"strings"
)

// fuzzed are the packages that must have a fuzz target: what a stranger's bytes reach first.
var fuzzed = []string{"amf", "flv", "rtmp", "session", "websocket"}

// target is one fuzz function.
type target struct{ dir, name string }

// fuzz runs every fuzz target of the module for a while. What Go finds it writes to testdata/fuzz, as a test that fails from then on.
func fuzz(t *tally) {
	targets, err := fuzzTargets(".")
	if err != nil {
		t.fail("fuzz: " + err.Error())
		return
	}
	has := map[string]bool{}
	for _, f := range targets {
		has[f.dir] = true
	}
	for _, dir := range fuzzed {
		if !has[dir] {
			t.fail("fuzz: " + dir + " has no fuzz target")
		}
	}
	for _, f := range targets {
		runFuzz(t, f)
	}
}

// fuzzTargets finds the fuzz functions in a folder's test files.
func fuzzTargets(root string) (found []target, err error) {
	for _, path := range testFiles(root) {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Fuzz") {
				found = append(found, target{filepath.ToSlash(filepath.Dir(path)), f.Name.Name})
			}
		}
	}
	return found, nil
}

// runFuzz runs one target. Go sometimes reports its own deadline as a failure of the target; that alone is not one.
func runFuzz(t *tally, f target) {
	const deadline, finding = "context deadline exceeded", "Failing input written"
	name := f.dir + " " + f.name
	out, err := exec.Command("go", "test", "-vet=off", "-run=^$", "-fuzz=^"+f.name+"$", "-fuzztime="+fuzzTime.String(), "./"+f.dir).CombinedOutput()
	if text := string(out); err != nil && (!strings.Contains(text, deadline) || strings.Contains(text, finding)) {
		fmt.Printf("%s", out)
		t.fail("fuzz " + name)
		return
	}
	fmt.Println("ok  ", name)
	t.pass(1)
}
