//go:build !linux

package main

import "log"

func main() { log.Fatal("bench: it measures with system calls of Linux, and runs there only") }
