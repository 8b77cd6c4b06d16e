//go:build linux

package main

import (
	"slices"
	"strings"
	"testing"
)

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   spread
	}{
		{nil, spread{}},
		{[]float64{7}, spread{7, 7, 7}},
		{[]float64{9, 1, 5}, spread{5, 1, 9}},
		{[]float64{4, 1, 3, 2}, spread{2.5, 1, 4}},
	} {
		if got := spreadOf(c.values); got != c.want {
			t.Errorf("%v: got %+v, want %+v", c.values, got, c.want)
		}
	}
	values := []float64{3, 1, 2}
	if spreadOf(values); !slices.Equal(values, []float64{3, 1, 2}) {
		t.Errorf("the values were reordered: %v", values)
	}
}

// A ratio is that of one run, so a machine that was slower in one run does not distort it.
func TestRatiosAreOfTheSameRun(t *testing.T) {
	limit := row{"bare", []sample{{cpu: 1}, {cpu: 10}, {cpu: 2}}}
	r := row{"x", []sample{{cpu: 2}, {cpu: 20}, {cpu: 6}}}
	if got := r.against(limit, cpuOf); got != (spread{2, 2, 3}) {
		t.Errorf("got %+v, want median 2 of 2, 2 and 3", got)
	}
}

func TestTable(t *testing.T) {
	s := scenario{kind: cast, conns: 10, size: 128, burst: 1}
	rows := []row{{"bare", []sample{{cpu: 10, rate: 5000, load: 0.5}}}, {"slow", []sample{{cpu: 20}}}, {"fast", []sample{{cpu: 11, allocs: 2}}}}
	want := `### Broadcast of 128 B to 10 connections

| server | deliveries per CPU s | CPU x bare | deliveries/s | processor used | allocations | writes | waits |
|--------|---------------------:|-----------:|-------------:|---------------:|------------:|-------:|------:|
| bare   |               100000 |       1.00 |         5000 |           50 % |        0.00 |  0.000 | 0.000 |
| fast   |                90909 |       1.10 |            0 |            0 % |        2.00 |  0.000 | 0.000 |
| slow   |                50000 |       2.00 |            0 |            0 % |        0.00 |  0.000 | 0.000 |
`
	if got := table(s, rows); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestTableSaysThatItWasDisturbed(t *testing.T) {
	s := scenario{kind: echo, conns: 10, size: 4096, depth: 1}
	for delay, want := range map[float64]bool{0.01: false, 0.4: true} {
		got := table(s, []row{{"bare", []sample{{cpu: 3}}}, {"x", []sample{{cpu: 3}, {cpu: 1, delay: delay}}}})
		if strings.Contains(got, "Disturbed: x waited 40 %") != want {
			t.Errorf("delay %v:\n%s", delay, got)
		}
	}
}

func TestTableOfSeveralRunsShowsTheExtremes(t *testing.T) {
	s := scenario{kind: echo, conns: 10, size: 4096, depth: 1}
	got := table(s, []row{{"x", []sample{{cpu: 3}, {cpu: 1}, {cpu: 2}}}})
	for _, want := range []string{"Echo of 4 KB, 10 connections, 1 in flight", "2.00 (1.00 to 3.00)", "| - |"} {
		if !strings.Contains(strings.Join(strings.Fields(got), " "), want) {
			t.Errorf("lacks %q:\n%s", want, got)
		}
	}
}

func TestChoose(t *testing.T) {
	all := []string{"a-1", "a-2", "b"}
	self := func(s string) string { return s }
	for names, want := range map[string]string{"": "a-1 a-2 b", "b,a-1": "a-1 b", "a*": "a-1 a-2", "a-*, b": "a-1 a-2 b"} {
		if got, err := choose(all, self, split(names, all)); err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: got %v, %v; want %s", names, got, err, want)
		}
	}
	if _, err := choose(all, self, split("c", all)); err == nil {
		t.Error("a name that there is not was taken")
	}
}

func TestScenarioFitsTheDescriptors(t *testing.T) {
	s := scenario{conns: 20_000}
	for limit, want := range map[int]int{20_000: 19_000, 65_536: 20_000, 1024: 0, 20_100: 20_000} {
		if got := s.fit(limit).conns; got != want {
			t.Errorf("of %d descriptors %d connections, want %d", limit, got, want)
		}
	}
}
