package main

import (
	"io"
	"slices"
	"strings"
	"testing"
)

func TestGoTest(t *testing.T) {
	const in = `{"Action":"run","Package":"m/a","Test":"TestA"}
{"Action":"run","Package":"m/a","Test":"TestA/one"}
{"Action":"pass","Package":"m/a","Test":"TestA/one"}
{"Action":"pass","Package":"m/a","Test":"TestA"}
{"Action":"run","Package":"m/a","Test":"TestB"}
{"Action":"output","Package":"m/a","Test":"TestB","Output":"    b_test.go:7: gcc is not installed\n"}
{"Action":"skip","Package":"m/a","Test":"TestB"}
{"Action":"run","Package":"m/a","Test":"TestC"}
{"Action":"output","Package":"m/a","Test":"TestC","Output":"    got 1, want 2\n"}
{"Action":"fail","Package":"m/a","Test":"TestC"}
{"Action":"fail","Package":"m/a"}
{"ImportPath":"m/b","Action":"build-output","Output":"b.go:1:1: no\n"}
{"Action":"fail","Package":"m/b"}
{"Action":"pass","Package":"m/c"}
`
	var got tally
	var out strings.Builder
	readGoTest(&got, strings.NewReader(in), &out)
	if want := []string{"m/a TestC", "m/b"}; got.passed != 1 || !slices.Equal(got.failures, want) {
		t.Errorf("passed %d, failures %q, want 1 and %q", got.passed, got.failures, want)
	}
	if want := []string{"m/a TestB: gcc is not installed"}; !slices.Equal(got.skips, want) {
		t.Errorf("skips %q, want %q", got.skips, want)
	}
	for _, want := range []string{"got 1, want 2", "b.go:1:1: no"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, out.String())
		}
	}
}

func TestTAP(t *testing.T) {
	const in = `TAP version 13
# Subtest: first
    ok 1 - inner
    1..1
ok 1 - first
not ok 2 - second
ok 3 - third # SKIP no browser
# tests 4
# pass 2
# fail 1
# cancelled 0
# skipped 1
`
	var got tally
	readTAP(&got, in)
	if got.passed != 2 || !slices.Equal(got.failures, []string{"js second"}) || !slices.Equal(got.skips, []string{"js third: no browser"}) {
		t.Errorf("got %+v", got)
	}
	var none tally
	if readTAP(&none, "node: bad option\n"); len(none.failures) != 1 {
		t.Errorf("no tests at all: got %+v, want a failure", none)
	}
}

func TestSummary(t *testing.T) {
	for _, c := range []struct {
		ci   bool
		want string
		code int
	}{{false, "2 passed, 0 failed\n", 0}, {true, "2 passed, 1 failed\n", 1}} {
		var out strings.Builder
		got := tally{passed: 2, skips: []string{"m/a TestB: no gcc"}}
		code := got.finish(&out, c.ci)
		if !strings.HasSuffix(out.String(), c.want) || code != c.code {
			t.Errorf("ci=%v: status %d and %q, want %d and %q at the end", c.ci, code, out.String(), c.code, c.want)
		}
	}
	var clean tally
	if code := clean.finish(io.Discard, true); code != 0 {
		t.Errorf("nothing ran: status %d", code)
	}
}

func TestFuzzTargets(t *testing.T) {
	found, err := fuzzTargets("testdata")
	if want := []target{{"testdata/sample", "FuzzSample"}}; err != nil || !slices.Equal(found, want) {
		t.Errorf("found %v, %v; want %v", found, err, want)
	}
}
