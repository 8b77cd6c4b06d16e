//go:build linux

package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

func main() {
	err := error(nil)
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		err = serveMain(os.Args[2:])
	} else {
		err = benchMain(os.Args[1:])
	}
	if err != nil && err != flag.ErrHelp {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// The full measurement.
const (
	fullRuns   = 7
	fullWarm   = 500 * time.Millisecond
	fullTime   = 2 * time.Second
	fullSettle = 3 * time.Second
	quickTime  = 300 * time.Millisecond
)

func benchMain(args []string) error {
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	p := plan{settle: fullSettle}
	engineNames := fs.String("engines", "", "which servers, by name with commas; empty: all")
	scenarioNames := fs.String("scenarios", "", "which scenarios, likewise; a name that ends in * stands for all that begin so")
	quick := fs.Bool("quick", false, "only try: one short run, at most 1000 connections")
	list := fs.Bool("list", false, "list the servers and scenarios")
	fs.IntVar(&p.runs, "runs", fullRuns, "how often each server is measured in each scenario")
	fs.DurationVar(&p.warm, "warm", fullWarm, "how long it runs before it is measured")
	fs.DurationVar(&p.time, "time", fullTime, "how long it is measured")
	fs.StringVar(&p.profile, "profile", "", "a directory for processor and heap profiles of the servers; they cost time themselves")
	fs.BoolVar(&p.block, "block", false, "the load generator sleeps while nothing comes; else it spins")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *quick {
		p.runs, p.warm, p.time, p.settle = 1, quickTime, quickTime, quickTime
	}
	engines, err := choose(entries, func(e entry) string { return e.name }, split(*engineNames, nil))
	if err != nil {
		return fmt.Errorf("engines: %w", err)
	}
	chosen, err := chooseScenarios(*scenarioNames, *quick)
	if err != nil {
		return err
	}
	if *list {
		printList(engines, chosen)
		return nil
	}
	if p.profile != "" {
		if p.profile, err = filepath.Abs(p.profile); err != nil {
			return err
		}
		if err := os.MkdirAll(p.profile, 0o755); err != nil {
			return err
		}
	}
	if err := pinSelf(); err != nil {
		return fmt.Errorf("pin: %w", err)
	}
	fmt.Printf("%s\n", machine(engines))
	for _, s := range chosen {
		if err := runScenario(s, engines, p); err != nil {
			return err
		}
	}
	return nil
}

// split takes names with commas; those that end in * are looked up in all.
func split(names string, all []string) (list []string) {
	for name := range strings.SplitSeq(names, ",") {
		start, wild := strings.CutSuffix(strings.TrimSpace(name), "*")
		switch {
		case wild:
			for _, n := range all {
				if strings.HasPrefix(n, start) {
					list = append(list, n)
				}
			}
		case start != "":
			list = append(list, start)
		}
	}
	return list
}

func chooseScenarios(names string, quick bool) ([]scenario, error) {
	limit, err := descriptorLimit()
	if err != nil {
		return nil, err
	}
	var all []string
	for _, s := range scenarios {
		all = append(all, s.name)
	}
	chosen, err := choose(scenarios, func(s scenario) string { return s.name }, split(names, all))
	if err != nil {
		return nil, fmt.Errorf("scenarios: %w", err)
	}
	var fitted []scenario
	for _, s := range chosen {
		if quick {
			s = s.quick()
		}
		fitted = append(fitted, s.fit(limit))
	}
	return fitted, nil
}

// runScenario measures all engines in turn, again for each run but another one first, and prints the table.
func runScenario(s scenario, engines []entry, p plan) error {
	var rows []row
	for _, e := range engines {
		if s.takes(e) {
			rows = append(rows, row{name: e.name})
		}
	}
	for run := range p.runs {
		for k := range rows {
			i := (k + run) % len(rows)
			fmt.Fprintf(os.Stderr, "%s: run %d of %d: %s\n", s.name, run+1, p.runs, rows[i].name)
			e, _ := findEntry(rows[i].name)
			r, err := measure(e, s, p)
			if err != nil {
				return err
			}
			rows[i].samples = append(rows[i].samples, r)
		}
	}
	_, err := fmt.Printf("\n%s", table(s, rows))
	return err
}

func printList(engines []entry, chosen []scenario) {
	for _, e := range engines {
		fmt.Printf("%-18s %s\n", e.name, e.about)
	}
	fmt.Println()
	for _, s := range chosen {
		fmt.Printf("%-18s %s\n", s.name, s.title())
	}
}

// machine names the machine, the system and the versions.
func machine(engines []entry) string {
	model := "unknown processor"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(b), "model name\t: "); ok {
			model, _, _ = strings.Cut(rest, "\n")
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	limit, _ := descriptorLimit()
	text := fmt.Sprintf("%s, %d processors; Linux %s, %s/%s; %s; %s; at most %d descriptors a process; load when it began: %s\n",
		model, runtime.NumCPU(), strings.TrimSpace(string(kernel)), runtime.GOOS, runtime.GOARCH, runtime.Version(), time.Now().Format(time.DateOnly), limit, loadAverage())
	versions := map[string]string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			versions[d.Path] = d.Version
		}
	}
	for _, e := range engines {
		module := strings.TrimSpace(e.module + " " + versions[e.module])
		if e.module == "hawser" || module == "" {
			module = "this module"
		}
		text += fmt.Sprintf("- %s (%s): %s\n", e.name, module, e.about)
	}
	return text
}

// loadAverage tells whether something else was running.
func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Fields(string(b))[0]
}
