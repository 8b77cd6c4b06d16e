package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"hawser/auth"
	"hawser/lifecycle"
	"hawser/server"
)

// reloadQuiet is how long a file must have been left alone before it is read: who writes one does so in several steps.
const reloadQuiet = 100 * time.Millisecond

// kindReload is the event of a file of rules that was read again; its reason says what is wrong with it, if anything is.
const kindReload = "reload"

// keepAuth reads the file of rules again when it changes and at SIGHUP, until ctx ends or stop is called, which waits.
func keepAuth(ctx context.Context, f *auth.File, s *server.Server, out io.Writer) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		fmt.Fprintf(out, "hawser: auth: only SIGHUP makes it be read again: %v\n", err)
		watcher = &fsnotify.Watcher{}
	}
	var running sync.WaitGroup
	running.Go(func() {
		defer signal.Stop(hangup)
		k := &authKeeper{file: f, server: s, out: out, watcher: watcher}
		k.watch()
		k.run(ctx, hangup)
		if err == nil {
			watcher.Close()
		}
	})
	return func() {
		cancel()
		running.Wait()
	}
}

// authKeeper keeps what is in force equal to the file.
type authKeeper struct {
	file    *auth.File
	server  *server.Server
	out     io.Writer
	watcher *fsnotify.Watcher
}

// watch watches the folders of all files concerned: a file that is replaced is another one, and its folder stays.
func (k *authKeeper) watch() {
	if k.watcher.Events == nil {
		return
	}
	for _, name := range k.file.Files() {
		if dir := filepath.Dir(name); !slices.Contains(k.watcher.WatchList(), dir) {
			if err := k.watcher.Add(dir); err != nil {
				fmt.Fprintf(k.out, "hawser: auth: %s is not watched: %v\n", dir, err)
			}
		}
	}
}

// concerns says whether a change in a watched folder may be one of the files. Kubernetes swaps a link "..data" instead.
func (k *authKeeper) concerns(name string) bool {
	return filepath.Base(name) == "..data" || slices.ContainsFunc(k.file.Files(), func(f string) bool { return filepath.Base(f) == filepath.Base(name) })
}

func (k *authKeeper) run(ctx context.Context, hangup <-chan os.Signal) {
	quiet := time.NewTimer(0)
	quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			quiet.Stop()
			return
		case e := <-k.watcher.Events:
			if k.concerns(e.Name) && e.Op != fsnotify.Chmod {
				quiet.Reset(reloadQuiet)
			}
		case <-k.watcher.Errors: // events were lost: look
			quiet.Reset(reloadQuiet)
		case <-quiet.C:
			k.reload()
		case <-hangup:
			k.reload()
		}
	}
}

// reload takes the file on, or says what is wrong with it and leaves what is in force.
func (k *authKeeper) reload() {
	e := lifecycle.Event{Kind: kindReload, Protocol: "auth", Side: lifecycle.Server, Light: lifecycle.Green}
	if err := k.file.Reload(); err != nil {
		e.Light, e.Reason = lifecycle.Amber, lifecycle.ReasonBadRequest.Because(err)
		k.server.Log().Add(e)
		fmt.Fprintf(k.out, "hawser: auth: not taken, what was read before stays in force:\n%v\n", err)
		return
	}
	k.watch()
	k.server.Recheck()
	k.server.Log().Add(e)
	fmt.Fprintln(k.out, "hawser: auth: read again")
}
