package server

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"hawser/lifecycle"
)

// kindAccept is the event of connections that wait because the process or the system has no descriptors left, which ends none of those that there are.
const kindAccept = "accept_failed"

// acceptPause is how long after such an event the next one comes at the earliest.
const acceptPause = 10 * time.Second

// tellingListener tells of it when no connection can be taken. Who accepts tries again.
type tellingListener struct {
	net.Listener
	log      *lifecycle.Log
	protocol string

	mu    sync.Mutex
	told  time.Time
	times int // since
}

// Accept implements net.Listener.
func (l *tellingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		l.tell(err, time.Now())
	}
	return conn, err
}

func (l *tellingListener) tell(err error, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.times++; now.Sub(l.told) < acceptPause {
		return
	}
	l.log.Add(lifecycle.Event{Kind: kindAccept, Protocol: l.protocol, Side: lifecycle.Server, Light: lifecycle.Amber, Reason: lifecycle.ReasonLimit.Because(err), Detail: fmt.Sprintf("%d times since the last such event", l.times)})
	l.told, l.times = now, 0
}
