//go:build linux

package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// spread is the median of several values, and the least and greatest of them.
type spread struct{ median, min, max float64 }

// spreadOf orders the values; of an even number the median is the mean of the two in the middle.
func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return spread{median: (v[(n-1)/2] + v[n/2]) / 2, min: v[0], max: v[n-1]}
}

// row is what all runs have shown of one engine. Run i of one engine is of the same time as run i of another.
type row struct {
	name    string
	samples []sample
}

// of is the spread of one value over the runs.
func (r row) of(value func(sample) float64) spread {
	var v []float64
	for _, s := range r.samples {
		v = append(v, value(s))
	}
	return spreadOf(v)
}

// against is the spread of the ratios of one value to that of the limit in the same run.
func (r row) against(limit row, value func(sample) float64) spread {
	var v []float64
	for i, s := range r.samples {
		if i < len(limit.samples) {
			v = append(v, value(s)/value(limit.samples[i]))
		}
	}
	return spreadOf(v)
}

// format prints the median, and the extremes if there is more than one run.
func (s spread) format(verb string, runs int) string {
	text := fmt.Sprintf(verb, s.median)
	if runs > 1 {
		text += fmt.Sprintf(" ("+verb+" to "+verb+")", s.min, s.max)
	}
	return text
}

// Values of a sample.
func cpuOf(s sample) float64    { return s.cpu }
func memoryOf(s sample) float64 { return s.memory / 1024 }

// table makes the scenario's table in Markdown, the limit first and then the best.
func table(s scenario, rows []row) string {
	rows = slices.Clone(rows)
	var limit row
	if len(rows) > 0 && (rows[0].name == entries[0].name || rows[0].name == whepBareName) {
		limit = rows[0]
	}
	key := cpuOf
	if s.kind == idle {
		key = memoryOf
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		if a.name == limit.name || b.name == limit.name {
			return cmp.Compare(b2i(b.name == limit.name), b2i(a.name == limit.name))
		}
		return cmp.Compare(a.of(key).median, b.of(key).median)
	})
	cells := [][]string{columns(s)}
	for _, r := range rows {
		cells = append(cells, line(s, r, limit))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "### %s\n\n", s.title())
	writeCells(&b, cells)
	if name, d := disturbance(rows); d >= disturbed {
		fmt.Fprintf(&b, "\nDisturbed: %s waited %.0f %% of the time for its processor, which something else had. Measure again on a quiet machine.\n", name, d*100)
	}
	return b.String()
}

// disturbed is how long a server may wait before a table says so. Several busy threads of one server stand in each other's way a little.
const disturbed = 0.2

// disturbance names the server that waited longest in one run.
func disturbance(rows []row) (name string, d float64) {
	for _, r := range rows {
		if m := r.of(func(s sample) float64 { return s.delay }).max; m > d {
			name, d = r.name, m
		}
	}
	return name, d
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func columns(s scenario) []string {
	switch s.kind {
	case whep:
		return whepColumns
	case echo:
		return []string{"server", "CPU s per million", "x bare", "messages/s", "processor used", "allocations", "reads", "writes", "waits"}
	case cast:
		return []string{"server", "deliveries per CPU s", "CPU x bare", "deliveries/s", "processor used", "allocations", "writes", "waits"}
	}
	return []string{"server", "KB per connection", "above the empty server", "of it stacks", "objects", "before memory is given back", "goroutines"}
}

func line(s scenario, r, limit row) []string {
	if s.kind == whep {
		return whepLine(r, limit)
	}
	n := len(r.samples)
	show := func(verb string, value func(sample) float64) string { return fmt.Sprintf(verb, r.of(value).median) }
	ratio := "-"
	if len(limit.samples) > 0 {
		ratio = r.against(limit, cpuOf).format("%.2f", n)
	}
	rate := show("%.0f", func(s sample) float64 { return s.rate })
	load := show("%.0f %%", func(s sample) float64 { return s.load * 100 })
	allocs := show("%.2f", func(s sample) float64 { return s.allocs })
	writes := show("%.3f", func(s sample) float64 { return s.writes })
	waits := show("%.3f", func(s sample) float64 { return s.switches })
	switch s.kind {
	case echo:
		return []string{r.name, r.of(cpuOf).format("%.2f", n), ratio, rate, load, allocs, show("%.3f", func(s sample) float64 { return s.reads }), writes, waits}
	case cast:
		return []string{r.name, r.of(func(s sample) float64 { return 1e6 / s.cpu }).format("%.0f", n), ratio, rate, load, allocs, writes, waits}
	}
	return []string{r.name, r.of(memoryOf).format("%.2f", n), show("%.2f", func(s sample) float64 { return s.above / 1024 }),
		show("%.2f", func(s sample) float64 { return s.stack / 1024 }), show("%.2f", func(s sample) float64 { return s.heap / 1024 }),
		show("%.2f", func(s sample) float64 { return s.atOnce / 1024 }), show("%.2f", func(s sample) float64 { return s.goroutines })}
}

// writeCells writes a table whose columns stand below each other in plain text too.
func writeCells(w io.Writer, cells [][]string) {
	width := make([]int, len(cells[0]))
	for _, row := range cells {
		for i, c := range row {
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	put := func(row []string) {
		for i, c := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(c))
			if i == 0 {
				fmt.Fprintf(w, "| %s%s ", c, pad)
			} else {
				fmt.Fprintf(w, "| %s%s ", pad, c)
			}
		}
		fmt.Fprintln(w, "|")
	}
	put(cells[0])
	for i, n := range width {
		if i == 0 {
			fmt.Fprintf(w, "|%s", strings.Repeat("-", n+2))
		} else {
			fmt.Fprintf(w, "|%s:", strings.Repeat("-", n+1))
		}
	}
	fmt.Fprintln(w, "|")
	for _, row := range cells[1:] {
		put(row)
	}
}
