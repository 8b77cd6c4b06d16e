//go:build linux

package main

import (
	"os"
	"testing"
	"time"
)

// TestMain is also the server of the tests below: they start this program anew, as the benchmark does.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		main()
		return
	}
	os.Exit(m.Run())
}

// Every engine gives the right answers in every scenario; how fast is not asked.
func TestEveryEngineInEveryScenario(t *testing.T) {
	p := plan{runs: 1, warm: time.Millisecond, time: 20 * time.Millisecond, settle: time.Millisecond, block: true}
	for _, s := range scenarios {
		s.conns = 5
		for _, e := range entries {
			if !s.takes(e) {
				continue
			}
			t.Run(s.name+"/"+e.name, func(t *testing.T) {
				p, lacks := p, true
				for ; lacks; p.time *= 5 { // on a busy machine nothing may happen for a while
					r, err := measure(e, s, p)
					if err != nil {
						t.Fatal(err)
					}
					lacks = s.kind == idle && r.memory <= 0 || s.kind != idle && (r.cpu <= 0 || r.rate <= 0) || (s.kind == echo || s.kind == cast) && r.writes <= 0
					if lacks && p.time > time.Second {
						t.Fatalf("got %+v", r)
					}
				}
			})
		}
	}
}

// A server that is not there, or says the wrong thing, is an error and not a figure.
func TestUnknownEngine(t *testing.T) {
	if _, err := measure(entry{name: "nobody"}, scenarios[0], plan{}); err == nil {
		t.Error("no error")
	}
}
