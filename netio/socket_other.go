//go:build !linux

package netio

import "net"

// Socket is a plain socket taken over from package net; there is none on this system.
type Socket struct{ net.Conn }

// Own returns c.
func Own(c net.Conn) net.Conn { return c }
