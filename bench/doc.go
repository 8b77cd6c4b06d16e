// Command bench compares WebSocket servers of several Go libraries, and WebRTC servers, side by side, with a bare loop of system calls that moves the same bytes. It is a module of its own, so that
// nobody who uses hawser gets what it imports, and it runs on Linux only. docs/benchmarks.md says how it measures and what it found.
//
//	go run . -quick
//	go run . -scenarios 'echo-*' -engines bare,hawser,gws
//	go run . -scenarios 'whep-*'
package main
