//go:build !linux

package rtc

import (
	"errors"
	"net"
	"time"
)

// batchSystem is what the system needs for a batch: nothing.
type batchSystem struct{}

func (s *socket) send(b *batch, groups []outgroup) { s.sendEach(b, groups) }

// read hands out what comes, until the socket is closed.
func (s *socket) read() {
	for {
		p := packetPool.Get().(*packet)
		n, from, err := s.conn.ReadFromUDPAddrPort(p.data[:])
		if err != nil {
			packetPool.Put(p)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		p.n, p.from = n, from
		s.take(p, time.Now().UnixNano())
	}
}
