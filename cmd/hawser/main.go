// Command hawser is the server and its tools: live video and live data down one line that holds.
//
//	hawser demo             a server with a sample stream, and a page to see it
//	hawser serve            the server
//	hawser watch URL        follow any path or connection from a terminal
//	hawser play URL         play a stream, into a file or in words
//	hawser publish PATH     publish data or media
//	hawser token            make and explain credentials
//	hawser bench            measure
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"hawser/server"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	err := rootCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "hawser: "+err.Error())
		os.Exit(1)
	}
}

// rootCommand makes the command with all that are below it.
func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "hawser",
		Short:         "Live video and live data down one line that holds",
		Version:       server.Version,
		SilenceErrors: true,

		PersistentPreRunE: checkNumbers,
		SilenceUsage:      true,
	}
	root.AddCommand(serveCommand(), demoCommand(), watchCommand(), playCommand(), publishCommand(), tokenCommand(), benchCommand())
	return root
}
