package main

import (
	"bufio"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// orderFree is the line by which a program that is measured is told to give its memory back. It answers with the same line.
const orderFree = "free"

// measured makes a command one that `hawser bench` starts: it obeys what comes on its standard input.
func measured(c *cobra.Command) *cobra.Command {
	run := c.RunE
	c.Hidden = true
	c.RunE = func(c *cobra.Command, args []string) error {
		go obey(c.InOrStdin(), c.OutOrStdout()) // until the program ends
		return run(c, args)
	}
	return c
}

// obey carries out orders.
func obey(r io.Reader, w io.Writer) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if lines.Text() == orderFree {
			runtime.GC() // what sync.Pools hold takes two
			debug.FreeOSMemory()
			fmt.Fprintln(w, orderFree)
		}
	}
}
