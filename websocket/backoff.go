package websocket

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// DefaultMinBackOff is what the waits of a persistent Client start from.
	DefaultMinBackOff = 500 * time.Millisecond
	// DefaultMaxBackOff is the longest random wait of a persistent Client.
	DefaultMaxBackOff = 30 * time.Second
	// DefaultResetAfter is how long a connection must have been Ready for the next waits to be short again.
	DefaultResetAfter = 10 * time.Second
	// DefaultMaxRetryAfter is the longest wait that a server may ask for.
	DefaultMaxRetryAfter = 2 * time.Minute
)

// waits works out how long a persistent Client waits between attempts.
type waits struct {
	min, max   time.Duration
	resetAfter time.Duration // 0: at Ready
	maxAsked   time.Duration // 0: what servers ask for does not count
	random     func(max time.Duration) time.Duration
	failures   int // in a row
}

// waits returns those of the options.
func (cl *Client) waits() *waits {
	option := func(d, def time.Duration) time.Duration {
		if d == 0 {
			d = def
		}
		return max(d, 0)
	}
	w := &waits{min: option(cl.MinBackOff, DefaultMinBackOff), max: option(cl.MaxBackOff, DefaultMaxBackOff), resetAfter: option(cl.ResetAfter, DefaultResetAfter),
		maxAsked: option(cl.MaxRetryAfter, DefaultMaxRetryAfter), random: cl.random}
	if w.random == nil {
		w.random = func(max time.Duration) time.Duration { return time.Duration(rand.Int64N(int64(max) + 1)) }
	}
	return w
}

// stood counts an attempt whose connection was Ready for so long; negative: never.
func (w *waits) stood(d time.Duration) {
	if d >= w.resetAfter {
		w.failures = 0
	}
}

// next is the wait before the next attempt. After so many failures it is random between nothing and a bound that doubles ("full jitter"), so that clients which lost their connections together do not come back
// together. What the server asked for comes first, for the same reason.
func (w *waits) next(asked time.Duration) time.Duration {
	bound := w.min
	for n := w.failures; n > 0 && bound < w.max; n-- {
		bound *= 2
	}
	w.failures++
	return min(asked, w.maxAsked) + w.random(min(bound, w.max))
}

// retryAfter is how long a server that is overloaded asks to be left alone (RFC 9110 section 10.2.3); 0 if it does not.
func retryAfter(err error, now time.Time) time.Duration {
	var h *HandshakeError
	if !errors.As(err, &h) || h.Response == nil || h.Status != http.StatusTooManyRequests && h.Status != http.StatusServiceUnavailable {
		return 0
	}
	text := strings.TrimSpace(h.Response.Header.Get("Retry-After"))
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	if date, err := http.ParseTime(h.Response.Header.Get("Date")); err == nil {
		now = date // by the server's own clock
	}
	return max(at.Sub(now), 0)
}
