package main

import (
	"cmp"
	"net/url"
	"os"

	"github.com/spf13/cobra"
)

// tokenVariable is where credentials are that stand in no flag, and so in no list of processes.
const tokenVariable = "HAWSER_TOKEN"

// credentials are what a command shows a server: a token, a key, or user:password.
type credentials struct{ token string }

func (o *credentials) flags(c *cobra.Command) {
	c.Flags().StringVar(&o.token, "token", "", "credentials: a token, a key, or USER:PASSWORD; by default those of a session are in $"+tokenVariable)
}

// session is what a session with a server is opened with: the flag, else the user and password of the address, else the variable.
func (o *credentials) session(address string) string {
	named := ""
	if u, err := url.Parse(address); err == nil && u.User != nil {
		password, _ := u.User.Password()
		named = u.User.Username() + ":" + password
	}
	return cmp.Or(o.token, named, os.Getenv(tokenVariable))
}

// rtmpWith puts credentials into an address of RTMP, in the query of the stream's name, as an encoder would.
func rtmpWith(address, token string) string {
	u, err := url.Parse(address)
	if err != nil || token == "" {
		return address
	}
	q := u.Query()
	if !q.Has("token") && !q.Has("key") && !q.Has("user") {
		q.Set("token", token)
		u.RawQuery = q.Encode()
	}
	return u.String()
}
