package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hawser/auth"
)

// maxStdin bounds what is read from standard input, in bytes.
const maxStdin = 64 << 10

// tokenCommand makes `hawser token`.
func tokenCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "token",
		Short: "Make and explain credentials",
		Long: `Make and explain credentials: tokens for "hawser serve --auth FILE", and what such a file knows keys and passwords by.

Secrets are read from standard input, so that they are in no list of processes.`,
	}
	c.AddCommand(tokenCreate(), tokenCheck(), tokenKey(), tokenPassword())
	return c
}

// tokenCreate makes `hawser token create`.
func tokenCreate() *cobra.Command {
	var o auth.TokenOptions
	var grant auth.Grant
	var file, private string
	c := &cobra.Command{
		Use:   "create --auth FILE --user NAME",
		Short: "Make a token and print it",
		Long: `Make a token that the file accepts, and print it. What it may is what --allow, --deny and --role say; without any of them that is left to the file.

  hawser token create --auth auth.yaml --user cam1 --allow "stream /live/cam1" --for 12h`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			f, err := auth.Open(file)
			if err != nil {
				return fmt.Errorf("token: %w", err)
			}
			if private != "" {
				if o.PrivateKey, err = os.ReadFile(private); err != nil {
					return fmt.Errorf("token: %w", err)
				}
			}
			if len(grant.Allow)+len(grant.Deny)+len(grant.Roles) > 0 {
				o.Grant = &grant
			}
			token, err := f.NewToken(o)
			if err != nil {
				return fmt.Errorf("token: %w", err)
			}
			fmt.Fprintln(c.OutOrStdout(), token)
			return nil
		},
	}
	c.Flags().StringVar(&file, "auth", "", "the file that accepts it")
	c.Flags().StringVar(&o.User, "user", "", "whom it names")
	c.Flags().StringArrayVar(&grant.Allow, "allow", nil, `a rule, such as "play /live/**"; may be repeated`)
	c.Flags().StringArrayVar(&grant.Deny, "deny", nil, "a rule that forbids; may be repeated")
	c.Flags().StringArrayVar(&grant.Roles, "role", nil, "a role of the file; may be repeated")
	c.Flags().DurationVar(&o.Lifetime, "for", time.Hour, "how long it holds")
	c.Flags().StringVar(&o.ID, "id", "", "its id (jti), by which it can be revoked; made up by default")
	c.Flags().StringVar(&o.Key, "key", "", "the id of the file's key that signs it, where there are several")
	c.Flags().StringVar(&private, "private-key", "", "a PEM file with the private half of that key, where it is not a secret")
	c.MarkFlagRequired("auth")
	c.MarkFlagRequired("user")
	return c
}

// tokenCheck makes `hawser token check`.
func tokenCheck() *cobra.Command {
	var file, may string
	c := &cobra.Command{
		Use:   "check --auth FILE < TOKEN",
		Short: "Say what credentials are good for",
		Long: `Read credentials of any kind from standard input and say, by the file, whose they are, how long they hold and what they may. With --may it fails unless that is allowed.

  hawser token check --auth auth.yaml --may "play /live/cam1" < token`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			f, err := auth.Open(file)
			if err != nil {
				return fmt.Errorf("token: %w", err)
			}
			token, err := readSecret(c.InOrStdin())
			if err != nil {
				return fmt.Errorf("token: %w", err)
			}
			return explain(c.Context(), c.OutOrStdout(), f, token, may)
		},
	}
	c.Flags().StringVar(&file, "auth", "", "the file")
	c.Flags().StringVar(&may, "may", "", `an action and a path that must be allowed, such as "play /live/cam1"`)
	c.MarkFlagRequired("auth")
	return c
}

// explain prints what credentials are good for.
func explain(ctx context.Context, out io.Writer, f *auth.File, token, may string) error {
	who, err := f.Authenticate(ctx, token, netip.Addr{})
	if err != nil {
		return fmt.Errorf("token: %w", err)
	}
	d := auth.Describe(who)
	user := d.User
	if user == "" {
		user = "(nobody in particular)"
	}
	fmt.Fprintf(out, "user     %s\nby       %s\n", user, d.By)
	if !d.Expires.IsZero() {
		fmt.Fprintf(out, "expires  %s, in %s\n", d.Expires.Format(time.RFC3339), time.Until(d.Expires).Round(time.Second))
	} else {
		fmt.Fprintln(out, "expires  never")
	}
	for _, r := range d.Allow {
		fmt.Fprintf(out, "allow    %s\n", r)
	}
	for _, r := range d.Deny {
		fmt.Fprintf(out, "deny     %s\n", r)
	}
	if may == "" {
		return nil
	}
	action, path, ok := strings.Cut(may, " ")
	switch {
	case !ok:
		return fmt.Errorf("token: --may %q: want an action and a path", may)
	case !who.May(auth.Action(action), path):
		return fmt.Errorf("token: %s may not %s %s", user, action, path)
	}
	fmt.Fprintf(out, "may      %s\n", may)
	return nil
}

// tokenKey makes `hawser token key`.
func tokenKey() *cobra.Command {
	return &cobra.Command{
		Use:   "key",
		Short: "Make an API key, and what a file knows it by",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			key, digest := auth.NewKey()
			fmt.Fprintf(c.OutOrStdout(), "key      %s\nsha256   %s\n", key, digest)
			return nil
		},
	}
}

// tokenPassword makes `hawser token password`.
func tokenPassword() *cobra.Command {
	return &cobra.Command{
		Use:   "password < PASSWORD",
		Short: "Print what a file knows a password by",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			password, err := readSecret(c.InOrStdin())
			if err != nil {
				return fmt.Errorf("token: %w", err)
			}
			fmt.Fprintln(c.OutOrStdout(), auth.HashPassword(password))
			return nil
		},
	}
}

// readSecret reads one line of standard input.
func readSecret(in io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(in, maxStdin))
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", errors.New("want one line on standard input")
	}
	return line, nil
}
