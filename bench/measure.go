//go:build linux

package main

import (
	"fmt"
	"path/filepath"
	"strconv"
	"time"
)

// sample is what one run has shown of one engine.
type sample struct {
	cpu      float64 // microseconds of the server's processor per message or delivery
	rate     float64 // messages or deliveries per second
	load     float64 // of the server's processor, 0 to 1
	allocs   float64 // per message, and so on
	reads    float64
	writes   float64
	switches float64
	delay    float64 // what part of the time in which the server could have run it waited for the processor

	memory      float64 // bytes per connection, once what is free is given back
	atOnce      float64 // before that
	above       float64 // more than the server had without connections
	stack, heap float64 // of it, as the Go runtime counts
	goroutines  float64 // per connection
}

// measure runs one engine through one scenario.
func measure(e entry, s scenario, p plan) (r sample, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s, %s: %w", s.name, e.name, err)
		}
	}()
	if s.kind == whep {
		return measureWHEP(e, s, p)
	}
	args := []string{"serve", "-engine", e.name, "-size", strconv.Itoa(s.size), "-deflate=" + strconv.FormatBool(s.deflate), "-silent=" + strconv.FormatBool(s.kind == cast)}
	c, err := startChild(args...)
	if err != nil {
		return r, err
	}
	defer c.stop()
	before, err := c.rss()
	if err != nil {
		return r, err
	}
	l, err := newLoader(payload(s.size), s.deflate, max(s.depth, 1))
	if err != nil {
		return r, err
	}
	defer l.close()
	l.block = p.block
	if err := l.connect(c.addr, s.conns); err != nil {
		return r, err
	}
	m := measurement{c: c, l: l, s: s, p: p, name: e.name}
	switch s.kind {
	case echo:
		return m.echo()
	case cast:
		return m.cast()
	}
	return m.idle(before)
}

// measurement is a scenario whose connections stand.
type measurement struct {
	c    *child
	l    *loader
	s    scenario
	p    plan
	name string
}

// during measures what the server does while work, which returns when enough is done, is going on.
func (m *measurement) during(work func() error) (r sample, err error) {
	if err := m.startProfile(); err != nil {
		return r, err
	}
	counts0, err := m.c.counts()
	if err != nil {
		return r, err
	}
	cpu0, err := m.c.cpuTime()
	if err != nil {
		return r, err
	}
	n0, t0 := m.l.messages, time.Now()
	if err := work(); err != nil {
		return r, err
	}
	n, wall := float64(m.l.messages-n0), time.Since(t0)
	cpu1, err := m.c.cpuTime()
	if err != nil {
		return r, err
	}
	counts1, err := m.c.counts()
	if err != nil {
		return r, err
	}
	per := func(from, to uint64) float64 { return float64(to-from) / n }
	r = sample{cpu: float64((cpu1 - cpu0).Microseconds()) / n, rate: n / wall.Seconds(), load: float64(cpu1-cpu0) / float64(wall),
		allocs: per(counts0.allocs, counts1.allocs),
		reads:  per(counts0.reads, counts1.reads), writes: per(counts0.writes, counts1.writes), switches: per(counts0.switches, counts1.switches), delay: share(counts1.delay-counts0.delay, uint64(cpu1-cpu0))}
	return r, m.endProfile()
}

// share is the part that a is of a and b.
func share(a, b uint64) float64 {
	if a+b == 0 {
		return 0
	}
	return float64(a) / float64(a+b)
}

// lasting serves the connections for a time, and until at least one message has come.
func (m *measurement) lasting(d time.Duration) error {
	end, n := time.Now().Add(d), m.l.messages
	return m.l.until(func() bool { return m.l.messages > n && !time.Now().Before(end) })
}

func (m *measurement) echo() (sample, error) {
	m.l.answer = true
	if err := m.l.send(m.s.depth); err != nil {
		return sample{}, err
	}
	if err := m.lasting(m.p.warm); err != nil {
		return sample{}, err
	}
	return m.during(func() error { return m.lasting(m.p.time) })
}

// reachAll waits until the server has counted all connections in, which it may do after it has answered them.
func (m *measurement) reachAll() error {
	for end := time.Now().Add(stallTime); ; {
		line, err := m.c.ask("count")
		if err != nil || line == strconv.Itoa(m.s.conns) {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("the server knows of %s connections only", line)
		}
	}
}

// cast lets the server broadcast, again each time that all have got everything.
func (m *measurement) cast() (sample, error) {
	if err := m.reachAll(); err != nil {
		return sample{}, err
	}
	rounds := func(d time.Duration) error {
		for end := time.Now().Add(d); ; {
			if err := m.c.tell("cast %d", m.s.burst); err != nil {
				return err
			}
			want := m.l.messages + uint64(m.s.burst*m.s.conns)
			if err := m.l.until(func() bool { return m.l.messages >= want }); err != nil {
				return err
			}
			if !time.Now().Before(end) {
				return nil
			}
		}
	}
	if err := rounds(m.p.warm); err != nil {
		return sample{}, err
	}
	return m.during(func() error { return rounds(m.p.time) })
}

// idle lets one message pass on each connection and looks at the memory then.
func (m *measurement) idle(before int64) (r sample, err error) {
	if err := m.l.send(1); err != nil {
		return r, err
	}
	if err := m.l.until(func() bool { return m.l.messages == uint64(m.s.conns) }); err != nil {
		return r, err
	}
	time.Sleep(m.p.settle) // nothing comes any more
	atOnce, err := m.c.rss()
	if err != nil {
		return r, err
	}
	for range 3 { // a collection halves a stack at most, and pools hold on until the second
		if _, err := m.c.ask("free"); err != nil {
			return r, err
		}
	}
	rss, err := m.c.rss()
	if err != nil {
		return r, err
	}
	counts, err := m.c.counts()
	if err != nil {
		return r, err
	}
	n := float64(m.s.conns)
	r = sample{memory: float64(rss) / n, atOnce: float64(atOnce) / n, above: float64(rss-before) / n,
		stack: float64(counts.stack) / n, heap: float64(counts.heap) / n, goroutines: float64(counts.goroutines) / n}
	if m.p.profile != "" {
		_, err = m.c.ask("heap %s", m.profileName("heap"))
	}
	return r, err
}

func (m *measurement) profileName(what string) string {
	return filepath.Join(m.p.profile, fmt.Sprintf("%s.%s.%s.pprof", m.s.name, m.name, what))
}

func (m *measurement) startProfile() error {
	if m.p.profile == "" {
		return nil
	}
	_, err := m.c.ask("profile %s", m.profileName("cpu"))
	return err
}

func (m *measurement) endProfile() error {
	if m.p.profile == "" {
		return nil
	}
	_, err := m.c.ask("end-profile")
	return err
}
