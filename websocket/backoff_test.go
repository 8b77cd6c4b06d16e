package websocket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// delays runs a persistent client against one function an attempt (nil: nobody answers) until they are used up and gives the waits and the attempts that they followed.
func delays(t *testing.T, cl *Client, attempts ...func(net.Conn)) string {
	t.Helper()
	cl.URL, cl.Persist = "ws://host/", true
	n := 0
	cl.NetDial = func(context.Context, string, string) (net.Conn, error) {
		n++
		if attempts[n-1] == nil {
			return nil, errors.New("nobody there")
		}
		a, b := net.Pipe()
		go attempts[n-1](b)
		return a, nil
	}
	var list []string
	var before time.Time
	var wait time.Duration
	for ev := range cl.Events(t.Context()) {
		switch ev.Kind {
		case Connecting:
			if ev.Attempt > 1 && time.Since(before) != wait {
				t.Errorf("attempt %d began after %v, want %v", ev.Attempt, time.Since(before), wait)
			}
		case BackOff:
			list = append(list, fmt.Sprintf("%d:%v", ev.Attempt, ev.Delay))
			before, wait = time.Now(), ev.Delay
		}
		if len(list) == len(attempts) {
			break // leaves at once
		}
	}
	if len(list) > 0 && time.Since(before) != 0 {
		t.Errorf("leaving took %v", time.Since(before))
	}
	return strings.Join(list, " ")
}

// longest is a random that is not.
func longest(max time.Duration) time.Duration { return max }

// stands is a server that lets a connection live for so long.
func stands(d time.Duration) func(net.Conn) {
	return func(nc net.Conn) {
		answerOn(nc, goodAnswer, func(nc net.Conn) {
			go io.Copy(io.Discard, nc)
			time.Sleep(d)
		})
	}
}

// refuses is a server that answers so.
func refuses(answer string) func(net.Conn) {
	return func(nc net.Conn) {
		answerOn(nc, strings.ReplaceAll(answer, "\n", "\r\n")+"\r\n\r\n", func(net.Conn) {})
	}
}

func TestBackOff(t *testing.T) {
	long, short := stands(DefaultResetAfter), stands(DefaultResetAfter-time.Millisecond)
	date := func(name string, d time.Duration) string {
		epoch := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // of the bubble
		return name + ": " + epoch.Add(d).Format(http.TimeFormat)
	}
	type list = []func(net.Conn)
	tests := []struct {
		name     string
		client   Client
		attempts list
		want     string
	}{
		{"grows up to the maximum", Client{}, make(list, 9), "1:500ms 2:1s 3:2s 4:4s 5:8s 6:16s 7:30s 8:30s 9:30s"},
		{"options", Client{MinBackOff: time.Second, MaxBackOff: 3 * time.Second}, make(list, 4), "1:1s 2:2s 3:3s 4:3s"},
		{"a minimum above the maximum", Client{MinBackOff: time.Minute, MaxBackOff: time.Second}, make(list, 2), "1:1s 2:1s"},
		{"short again after a connection that stood", Client{}, list{nil, nil, nil, long, nil, long}, "1:500ms 2:1s 3:2s 4:500ms 5:1s 6:500ms"},
		{"but not after one that did not", Client{}, list{nil, short, nil, short}, "1:500ms 2:1s 3:2s 4:4s"},
		{"nor after a long attempt without one", Client{}, list{nil, func(nc net.Conn) { time.Sleep(DefaultHandshakeTimeout + time.Second); nc.Close() }, nil}, "1:500ms 2:1s 3:2s"},
		{"reset after less", Client{ResetAfter: time.Second}, list{nil, nil, stands(time.Second)}, "1:500ms 2:1s 3:500ms"},
		{"reset at Ready", Client{ResetAfter: -1}, list{nil, nil, stands(0), nil}, "1:500ms 2:1s 3:500ms 4:1s"},
		{"Retry-After", Client{}, list{refuses("HTTP/1.1 503 Busy\nRetry-After: 7"), refuses("HTTP/1.1 429 Slowly\nRetry-After: 60"), nil}, "1:7.5s 2:1m1s 3:2s"},
		{"Retry-After up to a maximum", Client{}, list{refuses("HTTP/1.1 503 Busy\nRetry-After: 9999999"), refuses("HTTP/1.1 503 Busy\nRetry-After: 99999999999999999999")}, "1:2m0.5s 2:1s"},
		{"Retry-After with a maximum of ours", Client{MaxRetryAfter: time.Second}, list{refuses("HTTP/1.1 503 Busy\nRetry-After: 7")}, "1:1.5s"},
		{"no Retry-After", Client{MaxRetryAfter: -1}, list{refuses("HTTP/1.1 503 Busy\nRetry-After: 7")}, "1:500ms"},
		{"Retry-After as a date", Client{}, list{refuses("HTTP/1.1 503 Busy\n" + date("Retry-After", 20*time.Second))}, "1:20.5s"},
		{"Retry-After as a date by another clock", Client{}, list{refuses("HTTP/1.1 503 Busy\n" + date("Date", time.Hour) + "\n" + date("Retry-After", time.Hour+9*time.Second))}, "1:9.5s"},
		{"Retry-After in the past", Client{}, list{refuses("HTTP/1.1 503 Busy\n" + date("Retry-After", -time.Hour)), refuses("HTTP/1.1 503 Busy\nRetry-After: -5")}, "1:500ms 2:1s"},
		{"Retry-After of another answer", Client{}, list{refuses("HTTP/1.1 403 No\nRetry-After: 7"), refuses("HTTP/1.1 500 Oh\nRetry-After: 7")}, "1:500ms 2:1s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cl := tt.client
				cl.random = longest
				if got := delays(t, &cl, tt.attempts...); got != tt.want {
					t.Errorf("got %s, want %s", got, tt.want)
				}
			})
		})
	}
}

// The waits fill the whole of what they may be, evenly.
func TestBackOffJitter(t *testing.T) {
	var tenths [10]int
	const n = 10_000
	for range n {
		w := (&Client{}).waits()
		w.failures = 4
		d := w.next(0)
		if d < 0 || d > 8*time.Second {
			t.Fatalf("a wait of %v", d)
		}
		tenths[min(d*10/(8*time.Second), 9)]++
	}
	for i, k := range tenths {
		if k < n/20 || k > n/5 {
			t.Errorf("%d of %d waits are in tenth %d: %v", k, n, i, tenths)
		}
	}
}

// The end of the context ends a wait at once.
func TestBackOffCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		start := time.Now()
		last := None
		for ev := range (&Client{URL: "ws://host", Persist: true, MinBackOff: time.Hour, MaxBackOff: time.Hour, random: longest, DialOptions: DialOptions{NetDial: nobody}}).Events(ctx) {
			if last = ev.Kind; last == BackOff {
				time.AfterFunc(time.Second, cancel)
			}
		}
		if d := time.Since(start); last != BackOff || d != time.Second {
			t.Errorf("the loop ended after %v with %v", d, last)
		}
	})
}

// A context that ends within the upgrade is no answer of the server.
func TestClientCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		got := clientEvents(ctx, &Client{Persist: true}, func(nc net.Conn) { io.Copy(io.Discard, nc) })
		if want := "connecting connected disconnected:failed"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}
