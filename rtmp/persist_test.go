package rtmp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hawser/lifecycle"
	"hawser/ring"
)

// TestPersist plays from a server that goes away and comes back, and from one that is not there at first.
func TestPersist(t *testing.T) {
	r := newRelay(t, nil)
	log := lifecycle.NewLog(ring.Limits{})
	ctx, cancel := context.WithCancelCause(t.Context())
	var events []string
	times := 0
	enough := errors.New("enough")
	err := Persist(ctx, r.url("/live/cam1?secret=x"), &PersistOptions{Dial: &DialOptions{Log: log}, BackOff: BackOff{Min: 1, Max: 1}, OnEvent: func(e Event) {
		if e.Kind == EventClosed || e.Kind == EventBackOff || e.Kind == EventConnecting {
			events = append(events, fmt.Sprint(e.Kind, " ", e.Light, " ", e.Reason.Word, " ", e.Attempt))
		}
	}}, func(ctx context.Context, c *Client) error {
		if err := c.Play(ctx); err != nil {
			return err
		}
		if times++; times == 3 {
			cancel(enough)
		} else {
			for _, far := range r.server.Conns() {
				far.Close(lifecycle.ReasonEjected)
			}
		}
		for _, err := range c.Messages(ctx) {
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != enough {
		t.Errorf("ended with %v", err)
	}
	want := []string{"connecting amber  0", "closed red refused 0", "back_off amber refused 1", "connecting amber  0", "closed red refused 0", "back_off amber refused 2",
		"connecting amber  0", "closed red done 0"}
	if !slices.Equal(events, want) {
		t.Errorf("got  %q\nwant %q", events, want)
	}
	waits := 0
	for _, ev := range log.Recent(100) {
		if ev.Kind == KindBackOff {
			waits++
			if ev.Attempt != waits || strings.Contains(ev.Server, "secret") {
				t.Errorf("logged %+v", ev)
			}
		}
	}
	if waits != 2 {
		t.Errorf("%d waits are logged", waits)
	}
	if err := Persist(t.Context(), r.url("/live/cam1"), nil, func(context.Context, *Client) error { return nil }); err != nil {
		t.Errorf("done: %v", err)
	}
	if err := Persist(t.Context(), "http://x", nil, nil); !errors.Is(err, lifecycle.ReasonBadRequest) {
		t.Errorf("a URL of another kind: %v", err)
	}
}

// TestPersistReconnect follows a request to reconnect, and goes back to its own URL when that leads nowhere.
func TestPersistReconnect(t *testing.T) {
	here := newRelay(t, nil)
	nowhere := unusedAddr(t)
	var remotes []string
	times := 0
	err := Persist(t.Context(), here.url("/live/cam1"), &PersistOptions{BackOff: BackOff{Min: 1, Max: 1, ResetAfter: 1}, OnEvent: func(e Event) {
		if e.Kind == EventConnected || e.Kind == EventClosed {
			remotes = append(remotes, fmt.Sprint(e.Kind, " ", e.Reason.Word))
		}
	}}, func(ctx context.Context, c *Client) error {
		if err := c.Publish(ctx); err != nil {
			return err
		}
		if times++; times == 2 {
			return nil
		}
		here.server.Conns()[0].RequestReconnect("rtmp://"+nowhere+"/live", "go away")
		for _, err := range c.Messages(ctx) {
			return err
		}
		return nil
	})
	if want := []string{"connected ", "closed shutdown", "closed lost", "connected ", "closed done"}; err != nil || !slices.Equal(remotes, want) {
		t.Errorf("got %q, %v, want %q", remotes, err, want)
	}
}

// TestBackOff has nobody answer for an hour: the waits are random, grow and stay below their bounds.
func TestBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		var delays []time.Duration
		o := &EventOptions{Dial: &DialOptions{Dial: func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed }}, Persist: &BackOff{}}
		for e := range Events(ctx, "rtmp://x/live/cam1", o) {
			if e.Kind == EventBackOff {
				delays = append(delays, e.Delay)
			}
		}
		bound := DefaultMinBackOff
		for i, d := range delays {
			if d < 0 || d > bound {
				t.Errorf("wait %d is %v, beyond %v", i, d, bound)
			}
			bound = min(2*bound, DefaultMaxBackOff)
		}
		// On average 15 s each.
		if n := len(delays); n < 120 || n > 600 || slices.Max(delays) < DefaultMaxBackOff/2 {
			t.Errorf("%d waits, the longest %v", n, slices.Max(delays))
		}
		w := newWaits(BackOff{})
		for range 20 {
			w.bound(0)
		}
		if got := w.bound(DefaultResetAfter - 1); got != DefaultMaxBackOff {
			t.Errorf("after a short connection: up to %v", got)
		}
		if got := w.bound(DefaultResetAfter); got != DefaultMinBackOff {
			t.Errorf("after a long one: up to %v", got)
		}
	})
}
