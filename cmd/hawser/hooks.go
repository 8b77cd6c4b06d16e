package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hawser/hook"
	"hawser/lifecycle"
	"hawser/relay"
	"hawser/server"
)

// hookFlags are the flags about hooks and relays.
type hookFlags struct {
	urls, commands       []string
	shell, accept        bool
	secretFile           string
	timeout              time.Duration
	pulls, demand, pushs []string
}

// add adds them to a command.
func (o *hookFlags) add(c *cobra.Command) {
	f := c.Flags()
	f.StringArrayVar(&o.urls, "hook-url", nil, "URL or EVENT=URL: a webhook that is asked or told what RTMP clients do, and of sessions and HTTP who watches and what data is published (play, stop, publish_data); may be given more than once. Events: "+strings.Join(hook.Events, ", ")+
		". Those of packets must be named, and mean data messages unless "+hook.AllPackets+" follows")
	f.StringArrayVar(&o.commands, "hook-command", nil, "COMMAND or EVENT=COMMAND: the same with a program, its words parted by spaces; the event is in its environment, HAWSER_EVENT, HAWSER_PATH and so on")
	f.BoolVar(&o.shell, "hook-shell", false, "run the commands of --hook-command by /bin/sh -c")
	f.StringVar(&o.secretFile, "hook-secret-file", "", "file with the secret that signs what webhooks get ("+hook.SignatureHeader+")")
	f.DurationVar(&o.timeout, "hook-timeout", hook.DefaultTimeout, "how long a hook may take")
	f.BoolVar(&o.accept, "hook-accept", false, "accept when a hook does not answer in time, or is down; otherwise that refuses")
	f.StringArrayVar(&o.pulls, "pull", nil, "PATH=URL: bring a stream from another server (rtmp, rtmps) to PATH; may be given more than once")
	f.StringArrayVar(&o.demand, "pull-on-demand", nil, "PATH=URL: the same, but only while somebody plays")
	f.StringArrayVar(&o.pushs, "push", nil, "PATH=URL: bring the stream at PATH to another server; a * in PATH stands for any text but / (** for any), and one in URL for that text")
}

// fill puts what they say into a server's options.
func (o *hookFlags) fill(to *server.Options) error {
	to.Hooks.Timeout, to.Hooks.AcceptOnFailure = o.timeout, o.accept
	var wrong []error
	for _, value := range o.urls {
		event, target := splitHook(value)
		h := hook.Hook{Event: event, URL: target}
		if err := h.Check(); err != nil {
			wrong = append(wrong, fmt.Errorf("--hook-url: %w", err))
		}
		to.Hooks.Hooks = append(to.Hooks.Hooks, h)
	}
	for _, value := range o.commands {
		event, target := splitHook(value)
		words := strings.Fields(target)
		if o.shell {
			words = []string{"/bin/sh", "-c", target}
		}
		h := hook.Hook{Event: event, Command: words}
		err := h.Check()
		if err == nil {
			_, err = exec.LookPath(words[0]) // one that is not there would refuse everything
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("--hook-command: %w", err))
		}
		to.Hooks.Hooks = append(to.Hooks.Hooks, h)
	}
	if o.secretFile != "" {
		secret, err := os.ReadFile(o.secretFile)
		if to.Hooks.Secret = bytes.TrimSpace(secret); err == nil && len(to.Hooks.Secret) == 0 {
			err = fmt.Errorf("%s is empty", o.secretFile)
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("--hook-secret-file: %w", err))
		}
	}
	for _, list := range []struct {
		values []string
		spec   relay.Spec
		flag   string
	}{{o.pulls, relay.Spec{Kind: relay.Pull}, "--pull"}, {o.demand, relay.Spec{Kind: relay.Pull, OnDemand: true}, "--pull-on-demand"}, {o.pushs, relay.Spec{Kind: relay.Push}, "--push"}} {
		for _, value := range list.values {
			path, target, ok := strings.Cut(value, "=rtmp")
			list.spec.Path, list.spec.URL = path, "rtmp"+target
			if !ok {
				path, _, _ = strings.Cut(value, "=") // what follows may hold a secret
				wrong = append(wrong, fmt.Errorf("%s %q: want PATH=URL with rtmp:// or rtmps://", list.flag, path))
			} else if err := list.spec.Check(); err != nil {
				wrong = append(wrong, fmt.Errorf("%s %q: %s", list.flag, path, lifecycle.ReasonOf(err).Text))
			}
			to.Relays = append(to.Relays, list.spec)
		}
	}
	return errors.Join(wrong...)
}

// splitHook takes EVENT= off a value. A name that is no event, but looks like one, stays an event, so that its mistake is told; a URL may have = later.
func splitHook(value string) (event, target string) {
	name, rest, ok := strings.Cut(value, "=")
	if ok && name != "" && !strings.ContainsAny(name, "/ .") {
		return name, rest
	}
	return "", value
}
