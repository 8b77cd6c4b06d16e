package main

import (
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"hawser/record"
	"hawser/server"
)

// checkNumbers refuses numbers and times below zero, which no flag takes.
func checkNumbers(c *cobra.Command, _ []string) error { return refuseNumbers(c, "0 or more", false) }

// checkPositive refuses zeros too, for commands where every number counts something.
func checkPositive(c *cobra.Command, _ []string) error { return refuseNumbers(c, "more than 0", true) }

func refuseNumbers(c *cobra.Command, want string, zeros bool) error {
	var wrong []error
	for _, f := range visited(c.Flags().Visit) {
		v := f.Value.String()
		switch f.Value.Type() {
		case "int", "int64", "float64", "duration":
			if strings.HasPrefix(v, "-") || v == "NaN" || v == "+Inf" || zeros && (v == "0" || v == "0s") {
				wrong = append(wrong, fmt.Errorf("--%s %s: want %s", f.Name, v, want))
			}
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return fmt.Errorf("%s: %w", c.Name(), err)
	}
	return nil
}

// needs takes at least and at most so many arguments, 0 being any number, or says in words what is wanted.
func needs(least, most int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < least || most > 0 && len(args) > most {
			return fmt.Errorf("%s: got %d arguments, want %s: see hawser %s --help", c.Name(), len(args), what, c.Name())
		}
		return nil
	}
}

// visited are what visit visits.
func visited[T any](visit func(func(T))) (all []T) {
	visit(func(v T) { all = append(all, v) })
	return all
}

// prepare puts what the flags say into a server's options, or says all that is wrong with them.
func (o *serveOptions) prepare(to *server.Options) error {
	wrong := []error{o.check(to), o.prepareRecord(), o.hooks.fill(to)}
	var err error
	to.RTC, err = o.rtc.options()
	to.RTCOpus = o.rtc.opus
	return errors.Join(append(wrong, err)...)
}

// check finds what is wrong with flags that nothing else looks at.
func (o *serveOptions) check(to *server.Options) error {
	var wrong []error
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	for _, f := range []struct {
		name   string
		isZero bool
	}{{"stream-bytes", o.streamBytes == 0}, {"max-sessions", to.MaxSessions == 0}, {"hook-timeout", o.hooks.timeout == 0}} {
		if f.isZero {
			bad("--%s 0: want more", f.name)
		}
	}
	for _, origin := range o.origins {
		if u, err := url.Parse(origin); origin != "*" && (err != nil || u.Host == "" || origin != u.Scheme+"://"+u.Host) {
			bad("--origin %q: want one such as https://example.org, without a path, or *", origin)
		}
	}
	if to.ReplaceSessions && to.MaxSessionsPerUser == 0 {
		bad("--replace-sessions needs --max-sessions-per-user")
	}
	if o.rtc.opus != "" {
		if _, err := exec.LookPath(o.rtc.opus); err != nil {
			bad("--rtc-opus: %w", err)
		}
	}
	for _, word := range o.formats {
		var f record.Format
		if err := f.UnmarshalText([]byte(word)); err != nil {
			bad("--record-format: %w", err)
		}
		o.record.Formats = append(o.record.Formats, f)
	}
	if o.dataDir == "" && len(o.durable) > 0 {
		bad("--durable needs --data-dir")
	}
	return errors.Join(wrong...)
}
