package main

import (
	"reflect"
	"testing"

	"github.com/spf13/cobra"

	"hawser/server"
)

func TestLimitFlags(t *testing.T) {
	var got server.Options
	c := &cobra.Command{}
	addLimits(c, &got)
	if want := (server.Options{MaxSessions: server.DefaultMaxSessions}); !reflect.DeepEqual(got, want) {
		t.Errorf("without flags: got %+v", got)
	}
	err := c.ParseFlags([]string{"--max-sessions=1", "--max-sessions-per-address=2", "--max-sessions-per-user=3", "--replace-sessions", "--max-subscriptions-per-address=4", "--max-subscriptions-per-user=5",
		"--max-publish-rate=0.5", "--max-publish-rate-per-address=7", "--max-publish-rate-per-user=8", "--max-publish-bytes=9", "--max-publish-bytes-per-address=10", "--max-publish-bytes-per-user=11"})
	want := server.Options{MaxSessions: 1, MaxSessionsPerAddress: 2, MaxSessionsPerUser: 3, ReplaceSessions: true, MaxSubscriptionsPerAddress: 4, MaxSubscriptionsPerUser: 5,
		MaxPublishRate: 0.5, MaxPublishRatePerAddress: 7, MaxPublishRatePerUser: 8, MaxPublishBytes: 9, MaxPublishBytesPerAddress: 10, MaxPublishBytesPerUser: 11}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}
