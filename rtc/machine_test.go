package rtc

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"hawser/lifecycle"
)

var zeroHour = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newMachine() *machine {
	return &machine{settle: 2 * time.Second, patience: 2 * time.Second, giveUp: 12 * time.Second}
}

var (
	overUDP = Pair{Local: Candidate{"host", "udp", "192.0.2.1:8189"}, Remote: Candidate{"srflx", "udp", "198.51.100.7:5000"}}
	overTCP = Pair{Local: Candidate{"host", "tcp", "192.0.2.1:8189"}, Remote: Candidate{"prflx", "tcp", "198.51.100.7:5001"}}
)

// inputs by the words of the table below; what follows "+" is the time that passes before.
var inputWords = map[string]input{"time": inTime, "remote": inRemote, "end": inRemoteEnd, "gathered": inGathered, "restart": inRestart, "checking": inChecking,
	"connected": inConnected, "tcp": inPair, "silence": inSilence, "failed": inFailed, "close": inClose}

// passes lets the time of a word such as "+2s" pass; false when it is another word.
func passes(t *testing.T, word string, now *time.Time) bool {
	t.Helper()
	d, ok := strings.CutPrefix(word, "+")
	if !ok {
		return false
	}
	wait, err := time.ParseDuration(d)
	if err != nil {
		t.Fatal(err)
	}
	*now = now.Add(wait)
	return true
}

func TestMachine(t *testing.T) {
	for _, c := range []struct{ name, inputs, changes string }{
		{"the usual course", "remote checking end gathered connected +1999ms time +1ms time", "checking@0s connected@0s completed@2s"},
		{"checks begin before a candidate is known", "checking remote", "checking@0s"},
		{"the other side's check comes first", "checking connected", "checking@0s connected@0s"},
		{"trickle goes on", "remote checking connected gathered +1s remote +1s time +999ms time +1ms time", "checking@0s connected@0s completed@3s"},
		{"the end of trickle is told late", "remote checking connected gathered +1s remote +1500ms end", "checking@0s connected@0s completed@2.5s"},
		{"gathering goes on", "remote checking end connected +5s time gathered", "checking@0s connected@0s completed@5s"},
		{"another pair before it is settled", "remote checking end gathered connected +1s tcp +1s time +1s time", "checking@0s connected@0s completed@3s"},
		{"another pair after", "remote checking end gathered connected +2s time +1s tcp +2s time", "checking@0s connected@0s completed@2s connected@3s completed@5s"},
		{"silence that ends", "remote checking end gathered connected +2s time silence +1s connected +2s time", "checking@0s connected@0s completed@2s disconnected@2s connected@3s completed@5s"},
		{"silence before it is settled", "remote checking connected silence gathered end +9s time", "checking@0s connected@0s disconnected@0s"},
		{"silence that lasts", "remote checking connected silence +10s failed", "checking@0s connected@0s disconnected@0s failed@10s"},
		{"nobody answers", "remote checking +12s failed", "checking@0s failed@12s"},
		{"nobody comes", "checking +12s failed", "failed@12s"},
		{"restart after failure", "remote checking connected silence failed restart remote checking connected end gathered +2s time", "checking@0s connected@0s disconnected@0s failed@0s checking@0s connected@0s completed@2s"},
		{"restart of what works", "remote checking connected end gathered +2s time restart checking remote connected end gathered +2s time", "checking@0s connected@0s completed@2s checking@2s connected@2s completed@4s"},
		{"restart: what is late of the time before does not count", "remote checking connected restart connected silence tcp failed checking +1s connected", "checking@0s connected@0s checking@0s connected@1s"},
		{"restart before anything", "restart remote checking connected", "checking@0s connected@0s"},
		{"restart while checking", "remote checking restart remote connected", "checking@0s connected@0s"},
		{"restart while disconnected", "remote checking connected silence restart checking connected", "checking@0s connected@0s disconnected@0s checking@0s connected@0s"},
		{"closed is final", "remote checking close connected silence failed restart remote close", "checking@0s closed@0s"},
		{"closed at once", "close", "closed@0s"},
		{"told twice", "remote checking connected connected silence silence failed failed", "checking@0s connected@0s disconnected@0s failed@0s"},
	} {
		m, now := newMachine(), zeroHour
		var got []string
		for _, word := range strings.Fields(c.inputs) {
			if passes(t, word, &now) {
				continue
			}
			in, ok := inputWords[word]
			if !ok {
				t.Fatalf("no input %q", word)
			}
			pair := overUDP
			if word == "tcp" {
				pair = overTCP
			}
			for _, change := range m.step(nil, now, in, pair, lifecycle.ReasonDone) {
				got = append(got, fmt.Sprintf("%s@%v", change.To, change.Time.Sub(zeroHour)))
			}
		}
		if s := strings.Join(got, " "); s != c.changes {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, s, c.changes)
		}
	}
}

// What the comments of the states say may follow.
var mayFollow = map[ICEState][]ICEState{
	StateNew:          {StateChecking, StateFailed, StateClosed},
	StateChecking:     {StateConnected, StateFailed, StateClosed},
	StateConnected:    {StateCompleted, StateDisconnected, StateChecking, StateFailed, StateClosed},
	StateCompleted:    {StateConnected, StateDisconnected, StateChecking, StateFailed, StateClosed},
	StateFailed:       {StateChecking, StateClosed},
	StateDisconnected: {StateConnected, StateChecking, StateFailed, StateClosed},
}

// All sequences of six inputs, each with and without time before it: no change breaks the rules, and each way from state to state is walked.
func TestMachineExhaustively(t *testing.T) {
	inputs := []input{inTime, inRemote, inRemoteEnd, inGathered, inRestart, inChecking, inConnected, inPair, inSilence, inFailed, inClose}
	walked := map[[2]ICEState]bool{}
	var walk func(m machine, now time.Time, depth int)
	walk = func(m machine, now time.Time, depth int) {
		if depth == 0 || m.state == StateClosed {
			return
		}
		for _, in := range inputs {
			for _, wait := range []time.Duration{0, m.settle} {
				if wait > 0 && in != inTime {
					continue
				}
				n, pair := m, overUDP
				if in == inPair {
					pair = overTCP
				}
				state := n.state
				for _, c := range n.step(nil, now.Add(wait), in, pair, lifecycle.ReasonDone) {
					if c.From != state || !slices.Contains(mayFollow[c.From], c.To) {
						t.Fatalf("%v to %v by %v, from %+v", c.From, c.To, in, m)
					}
					if needs := c.To == StateDisconnected || c.To == StateFailed || c.To == StateClosed; needs == c.Reason.IsZero() {
						t.Fatalf("the reason of %v is %v", c.To, c.Reason)
					}
					if works := c.To == StateConnected || c.To == StateCompleted; works && c.Pair.IsZero() {
						t.Fatalf("%v without a pair", c.To)
					}
					state = c.To
					walked[[2]ICEState{c.From, c.To}] = true
				}
				if n.state != state {
					t.Fatalf("the state is %v, told was %v", n.state, state)
				}
				n.switched(now.Add(wait))
				if at := n.next(); !at.IsZero() && !at.After(now.Add(wait)) {
					t.Fatalf("a deadline that has passed: %+v", n)
				}
				walk(n, now.Add(wait), depth-1)
			}
		}
	}
	walk(*newMachine(), zeroHour, 6)
	for from, list := range mayFollow {
		for _, to := range list {
			if !walked[[2]ICEState{from, to}] {
				t.Errorf("%v to %v was never walked", from, to)
			}
		}
	}
}

// Another pair is told at once, what follows within pairPause at its end, and what is left when no more can follow.
func TestMachinePairs(t *testing.T) {
	const start = "remote checking end gathered connected "
	for _, c := range []struct{ name, inputs, told string }{
		{"the same pair", start + "udp connected udp", ""},
		{"another one", start + "tcp", "1 tcp@0s"},
		{"three", start + "+1s tcp +1s udp +1s tcp +20s time", "1 tcp@1s 2 tcp@23s"},
		{"and back", start + "+1s tcp +1s udp +9s time +1s time", "1 tcp@1s 1 udp@11s"},
		{"seldom", start + "+1s tcp +2s time +9s udp +2s time +9s tcp", "1 tcp@1s"}, // the others end StateCompleted, which is told
		{"while disconnected", start + "silence tcp udp +10s time", "1 tcp@0s 1 udp@10s"},
		{"closed before it is told", start + "tcp udp tcp udp +1s close", "1 tcp@0s 3 udp@1s"},
		{"failed", start + "tcp udp silence +1s failed +20s time", "1 tcp@0s 1 udp@1s"},
		{"restarted", start + "tcp udp restart tcp udp checking connected tcp +10s time", "1 tcp@0s 1 udp@0s 1 tcp@10s"},
	} {
		m, now := newMachine(), zeroHour
		var got []string
		for _, word := range strings.Fields(c.inputs) {
			if passes(t, word, &now) {
				continue
			}
			in, pair := inputWords[word], overUDP
			switch word {
			case "udp":
				in = inPair
			case "tcp":
				pair = overTCP
			}
			m.step(nil, now, in, pair, lifecycle.ReasonDone)
			if times, to := m.switched(now); times > 0 {
				got = append(got, fmt.Sprintf("%d %s@%v", times, to.Local.Protocol, now.Sub(zeroHour)))
			}
		}
		if s := strings.Join(got, " "); s != c.told {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, s, c.told)
		}
	}
}

func TestReasonsSayWhatWasSeen(t *testing.T) {
	for _, c := range []struct {
		inputs []input
		want   string
	}{
		{[]input{inRemote, inConnected, inSilence}, "timeout: nothing came over udp host 192.0.2.1:8189 - srflx 198.51.100.7:5000 for 2s"},
		{[]input{inRemote, inConnected, inSilence, inFailed}, "timeout: nothing came over udp host 192.0.2.1:8189 - srflx 198.51.100.7:5000 for 12s"},
		{[]input{inRemote, inRemote, inChecking, inFailed}, "timeout: no check was answered for 12s: 2 candidates of the other side"},
		{[]input{inRemote, inChecking, inFailed}, "timeout: no check was answered for 12s: 1 candidate of the other side"},
		{[]input{inChecking, inFailed}, "timeout: no candidate of the other side was told, and none of its checks came, for 12s"},
		{[]input{inClose}, "done: ended as asked"},
	} {
		m := newMachine()
		var changes []Change
		for _, in := range c.inputs {
			changes = m.step(changes, zeroHour, in, overUDP, lifecycle.ReasonDone)
		}
		if got := changes[len(changes)-1].Reason.Error(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestICEStateWords(t *testing.T) {
	lights := map[ICEState]string{StateNew: "amber", StateChecking: "amber", StateConnected: "green", StateCompleted: "green", StateFailed: "red", StateDisconnected: "amber", StateClosed: "red"}
	for s := range ICEState(7) {
		b, err := s.MarshalText()
		var back ICEState
		if err != nil || back.UnmarshalText(b) != nil || back != s || string(b) != s.String() || s.Light().String() != lights[s] {
			t.Errorf("%d: %s, %v, %s", s, b, err, s.Light())
		}
	}
	if got := ICEState(9).String(); got != "ICEState(9)" {
		t.Errorf("a stranger is %q", got)
	}
	if _, err := ParseICEState("Connected"); err == nil || !strings.Contains(err.Error(), `"Connected"`) {
		t.Errorf("a wrong word: %v", err)
	}
}
