package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// javascript checks the types of the browser's side and runs its tests.
func javascript(t *tally) {
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			t.skip("js: " + program + " is not installed")
			return
		}
	}
	if !install(t, "js") {
		return
	}
	command(t, "js types", "npm", "--prefix", "js", "exec", "--", "tsc", "--noEmit", "-p", "js")
	cmd := exec.Command("node", "--test", "--test-reporter=tap")
	cmd.Dir = "js"
	out, err := cmd.CombinedOutput()
	readTAP(t, string(out))
	if err != nil {
		fmt.Printf("%s", out)
	}
}

// install brings a folder's npm packages to what its lock file names, unless they are there.
func install(t *tally, dir string) bool {
	want, err := os.Stat(filepath.Join(dir, "package-lock.json"))
	if err != nil {
		t.fail(dir + ": " + err.Error())
		return false
	}
	have, err := os.Stat(filepath.Join(dir, "node_modules", ".package-lock.json"))
	if err == nil && !have.ModTime().Before(want.ModTime()) {
		return true
	}
	if out, err := exec.Command("npm", "--prefix", dir, "ci", "--no-audit", "--no-fund").CombinedOutput(); err != nil {
		fmt.Printf("%s", out)
		t.fail(dir + ": npm ci: " + err.Error())
		return false
	}
	return true
}

var (
	tapPoint = regexp.MustCompile(`^\s*(ok|not ok) \d+ - (.*?)(?: # (SKIP|TODO)(.*))?$`)
	tapTotal = regexp.MustCompile(`^# (pass|fail|cancelled) (\d+)$`)
)

// readTAP counts what node --test says: the totals at the end, and skips and failures by name.
func readTAP(t *tally, out string) {
	totals, failed := map[string]int{}, []string{}
	lines := bufio.NewScanner(strings.NewReader(out))
	for lines.Scan() {
		if m := tapPoint.FindStringSubmatch(lines.Text()); m != nil {
			switch {
			case m[3] != "":
				t.skip("js " + m[2] + ":" + m[4])
			case m[1] == "not ok":
				failed = append(failed, m[2])
			}
		}
		if m := tapTotal.FindStringSubmatch(lines.Text()); m != nil {
			totals[m[1]], _ = strconv.Atoi(m[2])
		}
	}
	t.pass(totals["pass"])
	fmt.Printf("%d tests of js passed\n", totals["pass"])
	for _, name := range failed {
		t.fail("js " + name)
	}
	if len(failed) == 0 && (totals["pass"] == 0 || totals["fail"]+totals["cancelled"] > 0) {
		t.fail("js tests")
	}
}
