//go:build !linux

package main

import (
	"net"
	"time"
)

// poller is there on Linux only.
type poller struct{}

func newPoller() (*poller, error) { return nil, errOther }

func (*poller) adopt(net.Conn, int) (int, error) { return 0, errOther }

func (*poller) wait(time.Duration, func(int)) error { return errOther }

func (*poller) transfer(bool, int, []byte) (int, error) { return 0, errOther }

func (*poller) drop(int) {}

func (*poller) close() {}
