//go:build linux

package main

import (
	"fmt"
	"slices"
	"syscall"
	"time"
)

// kind is what a scenario does.
type kind uint8

const (
	anyKind kind = iota
	// echo: each message is answered with the same one.
	echo
	// cast: one message is sent to all connections.
	cast
	// idle: connections that have carried a message hold memory.
	idle
	// whep: viewers of one video stream over WebRTC.
	whep
)

// scenario is one table.
type scenario struct {
	name    string
	kind    kind
	conns   int
	size    int // bytes of a message
	depth   int // echo: messages in flight on each connection
	burst   int // cast: messages at once
	deflate bool
}

const (
	echoConns = 100
	castConns = 10_000
	idleConns = 20_000
)

var scenarios = []scenario{
	{name: "echo-512", kind: echo, conns: echoConns, size: 512, depth: 1},
	{name: "echo-4k", kind: echo, conns: echoConns, size: 4 << 10, depth: 1},
	{name: "echo-64k", kind: echo, conns: echoConns, size: 64 << 10, depth: 1},
	{name: "echo-512x16", kind: echo, conns: echoConns, size: 512, depth: 16},
	{name: "cast-128", kind: cast, conns: castConns, size: 128, burst: 1},
	{name: "cast-1k", kind: cast, conns: castConns, size: 1 << 10, burst: 1},
	{name: "cast-128x20", kind: cast, conns: castConns, size: 128, burst: 20},
	{name: "cast-1kx20", kind: cast, conns: castConns, size: 1 << 10, burst: 20},
	{name: "idle", kind: idle, conns: idleConns, size: 128, depth: 1},
	{name: "deflate-echo-512", kind: echo, conns: echoConns, size: 512, depth: 1, deflate: true},
	{name: "deflate-echo-4k", kind: echo, conns: echoConns, size: 4 << 10, depth: 1, deflate: true},
	{name: "deflate-echo-64k", kind: echo, conns: echoConns, size: 64 << 10, depth: 1, deflate: true},
	{name: "deflate-cast-1k", kind: cast, conns: castConns, size: 1 << 10, burst: 1, deflate: true},
	{name: "whep-20", kind: whep, conns: 20},
	{name: "whep-100", kind: whep, conns: 100},
	{name: "whep-200", kind: whep, conns: 200},
}

// title is the heading of the scenario's table.
func (s scenario) title() string {
	size := fmt.Sprintf("%d B", s.size)
	if s.size >= 1<<10 {
		size = fmt.Sprintf("%d KB", s.size>>10)
	}
	if s.deflate {
		size += ", compressed"
	}
	switch s.kind {
	case whep:
		return fmt.Sprintf("WebRTC: one stream of %.1f Mbit/s to %d viewers", whepRate/1e6, s.conns)
	case echo:
		return fmt.Sprintf("Echo of %s, %d connections, %d in flight on each", size, s.conns, s.depth)
	case cast:
		if s.burst > 1 {
			return fmt.Sprintf("Broadcast of %s to %d connections in bursts of %d", size, s.conns, s.burst)
		}
		return fmt.Sprintf("Broadcast of %s to %d connections", size, s.conns)
	}
	return fmt.Sprintf("Memory of %d idle connections, each of which has echoed %s", s.conns, size)
}

// takes says whether an engine has a row in the scenario's table.
func (s scenario) takes(e entry) bool {
	return (!s.deflate || e.deflate) && (e.only == anyKind && s.kind != whep || e.only == s.kind)
}

// spareDescriptors is what a process needs beside its connections.
const spareDescriptors = 100

// fit cuts the connections down to whole thousands of what a process may hold.
func (s scenario) fit(limit int) scenario {
	if s.conns > limit-spareDescriptors {
		s.conns = (limit - spareDescriptors) / 1000 * 1000
	}
	return s
}

// descriptorLimit is how many descriptors a process may hold; the Go runtime has raised it as far as it may.
func descriptorLimit() (int, error) {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return 0, err
	}
	return int(min(r.Cur, 1<<30)), nil
}

// plan is how long and how often is measured.
type plan struct {
	runs    int
	warm    time.Duration // before a measurement
	time    time.Duration
	settle  time.Duration // idle: before memory is read
	profile string        // the directory for profiles; empty: none
	block   bool          // the load generator sleeps
}

// quick makes a scenario small enough to be tried within a few seconds.
func (s scenario) quick() scenario {
	if s.kind != echo {
		s.conns = min(s.conns, 1000)
	}
	return s
}

// choose picks by name, in the order of all; an empty list picks all.
func choose[T any](all []T, name func(T) string, names []string) ([]T, error) {
	if len(names) == 0 {
		return all, nil
	}
	var chosen []T
	for _, n := range names {
		if !slices.ContainsFunc(all, func(t T) bool { return name(t) == n }) {
			return nil, fmt.Errorf("there is no %q", n)
		}
	}
	for _, t := range all {
		if slices.Contains(names, name(t)) {
			chosen = append(chosen, t)
		}
	}
	return chosen, nil
}
