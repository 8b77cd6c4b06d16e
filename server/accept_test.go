package server

import (
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"hawser/lifecycle"
	"hawser/ring"
)

// fullListener has no descriptor left for so many connections.
type fullListener struct {
	net.Listener
	full int
}

func (l *fullListener) Accept() (net.Conn, error) {
	if l.full--; l.full >= 0 {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	near, far := net.Pipe()
	far.Close()
	return near, nil
}

// TestAcceptFails lacks descriptors for a minute: that is told, and not at each attempt.
func TestAcceptFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := lifecycle.NewLog(ring.Limits{})
		l := &tellingListener{Listener: &fullListener{full: 60}, log: log, protocol: "http"}
		for {
			if conn, err := l.Accept(); err == nil {
				conn.Close()
				break
			}
			time.Sleep(time.Second)
		}
		list := log.Recent(100)
		if len(list) != 6 || list[0].Kind != kindAccept || list[0].Reason.Code != lifecycle.ReasonLimit.Code || list[5].Detail != "10 times since the last such event" {
			t.Errorf("got %+v", list)
		}
	})
}
