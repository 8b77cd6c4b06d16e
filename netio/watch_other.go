//go:build !linux

package netio

import "net"

// Watch does not exist on this system.
type Watch struct{}

// NewWatch returns nil.
func NewWatch(net.Conn, Handler) *Watch { return nil }

// Start returns false.
func (*Watch) Start() bool { return false }

// Stop does nothing.
func (*Watch) Stop() {}

// Wake does nothing.
func (*Watch) Wake() {}

// Turn is never made.
type Turn struct{}

// Read returns nothing.
func (*Turn) Read() (b []byte, more bool, err error) { return nil, false, nil }

// More does nothing.
func (*Turn) More() {}
