package main

import (
	"github.com/spf13/cobra"

	"hawser/server"
)

// addLimits adds the flags about what clients may use; they go straight into a server's options.
func addLimits(c *cobra.Command, o *server.Options) {
	f := c.Flags()
	f.IntVar(&o.MaxSessions, "max-sessions", server.DefaultMaxSessions, "the most sessions at one time")
	f.IntVar(&o.MaxSessionsPerAddress, "max-sessions-per-address", 0, "the same of one address; 0 is no bound, here and in what follows")
	f.IntVar(&o.MaxSessionsPerUser, "max-sessions-per-user", 0, "the same of one user")
	f.BoolVar(&o.ReplaceSessions, "replace-sessions", false, "let a login above --max-sessions-per-user in, and eject the oldest session of that user")
	f.IntVar(&o.MaxSubscriptionsPerAddress, "max-subscriptions-per-address", 0, "the most subscriptions and plays that all sessions of one address have at one time")
	f.IntVar(&o.MaxSubscriptionsPerUser, "max-subscriptions-per-user", 0, "the same of one user")
	f.Float64Var(&o.MaxPublishRate, "max-publish-rate", 0, "the most messages that one session publishes in a second")
	f.Float64Var(&o.MaxPublishRatePerAddress, "max-publish-rate-per-address", 0, "the same of all sessions of one address, and of its requests to the API")
	f.Float64Var(&o.MaxPublishRatePerUser, "max-publish-rate-per-user", 0, "the same of one user")
	f.Int64Var(&o.MaxPublishBytes, "max-publish-bytes", 0, "the most bytes that one session publishes in a second")
	f.Int64Var(&o.MaxPublishBytesPerAddress, "max-publish-bytes-per-address", 0, "the same of all sessions of one address, and of its requests to the API")
	f.Int64Var(&o.MaxPublishBytesPerUser, "max-publish-bytes-per-user", 0, "the same of one user")
}
