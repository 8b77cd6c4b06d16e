package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"hawser/client"
	"hawser/session"
)

// numbered is a message of a publisher.
type numbered struct{ P, N int }

// follower notes what it is given of the messages of some publishers.
type follower struct {
	mu   sync.Mutex
	next map[int]int // the number that is to come, by publisher
	bad  []string
	all  int
	done chan struct{} // closed when all have come
}

func (f *follower) follow(ctx context.Context, sub *client.Subscription, want int) {
	for u := range sub.Updates(ctx) {
		f.mu.Lock()
		switch u.Kind {
		case session.EventGap:
			f.bad = append(f.bad, fmt.Sprintf("gap: %+v", u))
		case session.EventUpdate:
			var m numbered
			if json.Unmarshal(u.Data, &m) != nil || f.next[m.P] != m.N {
				f.bad = append(f.bad, fmt.Sprintf("got %s at %d, want number %d of that publisher", u.Data, u.Offset, f.next[m.P]))
			}
			f.next[m.P] = m.N + 1
			if f.all++; f.all == want {
				close(f.done)
			}
		}
		f.mu.Unlock()
	}
}

// TestKilledServer kills the server at random moments while clients publish to durable logs: in the end each message is there once and in order, those that were acknowledged at the place that was
// told, and who follows them has had them all without a gap.
func TestKilledServer(t *testing.T) {
	const publishers, messages, kills = 4, 6000, 5
	httpAddr, dir := fmt.Sprintf("127.0.0.1:%d", freePort(t)), t.TempDir()
	args := []string{"serve", "--http", httpAddr, "--rtmp", "127.0.0.1:0", "--rtc", "", "--durable", "/log/**", "--data-dir", dir}
	s := startProgram(t, args...)
	ctx, cancel := context.WithTimeout(t.Context(), programTimeout)
	defer cancel()
	f := &follower{next: make(map[int]int), done: make(chan struct{})}
	for log := range 2 {
		sub, err := connect(t, s).Subscribe(ctx, fmt.Sprintf("/log/%d", log), nil)
		if err != nil {
			t.Fatal(err)
		}
		go f.follow(ctx, sub, publishers*messages)
	}
	type placed struct {
		path string
		ack  client.Ack
	}
	acks := make([][]placed, publishers)
	var running sync.WaitGroup
	for p := range publishers {
		c := connect(t, s)
		running.Go(func() {
			path := fmt.Sprintf("/log/%d", p%2)
			var receipts []*client.Receipt
			for n := range messages {
				b, _ := json.Marshal(numbered{p, n})
				r, err := c.Send(ctx, path, b, nil)
				if err != nil {
					t.Errorf("publisher %d: %v", p, err)
					return
				}
				receipts = append(receipts, r)
				if n%20 == 0 {
					time.Sleep(5 * time.Millisecond) // so that there is something to be killed
				}
			}
			for n, r := range receipts {
				ack, err := r.Wait(ctx)
				if err != nil {
					t.Errorf("publisher %d, message %d: %v", p, n, err)
					return
				}
				acks[p] = append(acks[p], placed{path, ack})
			}
		})
	}
	random := rand.New(rand.NewSource(time.Now().UnixNano()))
	for range kills {
		time.Sleep(time.Duration(100+random.Intn(300)) * time.Millisecond)
		s.kill()
		s = startProgram(t, args...)
	}
	running.Wait()
	select {
	case <-f.done:
	case <-ctx.Done():
		t.Errorf("the followers have %d messages of %d", f.all, publishers*messages)
	}
	f.mu.Lock()
	for _, bad := range f.bad {
		t.Error(bad)
	}
	f.mu.Unlock()
	s.kill() // what is on disk is what counts
	s = startProgram(t, args...)
	t.Cleanup(s.stop)
	for log := range 2 {
		path := fmt.Sprintf("/log/%d", log)
		stored := history(t, ctx, s, path, publishers/2*messages)
		for p := log; p < publishers; p += 2 {
			if len(acks[p]) != messages {
				t.Errorf("publisher %d has %d acks of %d", p, len(acks[p]), messages)
			}
			for n, a := range acks[p] {
				if got, held := stored[a.ack.Offset]; held && got != (numbered{p, n}) {
					t.Fatalf("publisher %d was told that message %d is at %d, there is %+v", p, n, a.ack.Offset, got)
				}
			}
		}
	}
}

// history reads what a log holds, up to its end at last.
func history(t *testing.T, ctx context.Context, s *server, path string, last int) map[uint64]numbered {
	t.Helper()
	sub, err := connect(t, s).Subscribe(ctx, path, &client.SubscribeOptions{From: session.FromHistory})
	if err != nil {
		t.Fatal(err)
	}
	stored := make(map[uint64]numbered)
	for u := range sub.Updates(ctx) {
		if u.Kind != session.EventUpdate {
			continue
		}
		var m numbered
		json.Unmarshal(u.Data, &m)
		stored[u.Offset] = m
		if u.Offset == uint64(last-1) {
			break
		}
	}
	return stored
}

// startProgram is startServer for a server that is killed within the test.
func startProgram(t *testing.T, args ...string) *server {
	t.Helper()
	s := &server{program: start(t, executable, args...)}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	m, err := s.out.await(ctx, httpLine)
	if err != nil {
		t.Fatalf("%v\n%s", err, s.out)
	}
	s.http = m[1]
	s.healthy()
	return s
}

// TestDurableKinds restarts a server that holds a record and a document: both are as they were, and so are their positions. A second server on the folder does not start.
func TestDurableKinds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	args := []string{"serve", "--http", "127.0.0.1:0", "--rtmp", "", "--rtc", "", "--durable", "/keep/*", "--data-dir", dir}
	s := startProgram(t, args...)
	c := connect(t, s)
	acks := make(map[string]client.Ack)
	for _, p := range []struct {
		path, data string
		o          client.PublishOptions
	}{
		{"/keep/record", `{"bid":1,"ask":2}`, client.PublishOptions{Record: true}},
		{"/keep/record", `{"bid":3,"ask":null}`, client.PublishOptions{Record: true}},
		{"/keep/doc", `{"a":{"b":1}}`, client.PublishOptions{Document: true}},
		{"/keep/doc", `{"a":{"c":2}}`, client.PublishOptions{Patch: true}},
		{"/else", `1`, client.PublishOptions{}},
	} {
		ack, err := c.Publish(t.Context(), p.path, json.RawMessage(p.data), &p.o)
		if err != nil {
			t.Fatal(err)
		}
		acks[p.path] = ack
	}
	second := start(t, executable, args...)
	if err := second.waitErr(startTimeout); err == nil || !strings.Contains(second.out.String(), "in use") {
		t.Errorf("a second server on the folder: %v\n%s", err, second.out)
	}
	s.kill()
	s = startProgram(t, args...)
	t.Cleanup(s.stop)
	for path, want := range map[string]string{"/keep/record": `{"bid":3}`, "/keep/doc": `{"a":{"b":1,"c":2}}`} {
		sub, err := connect(t, s).Subscribe(t.Context(), path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for u := range sub.Updates(t.Context()) {
			if got := string(u.Fields) + string(u.Data); got != want || u.Epoch != acks[path].Epoch || u.Offset != acks[path].Offset+1 {
				t.Errorf("%s: got %s, epoch %x offset %d, want %s after %+v", path, got, u.Epoch, u.Offset, want, acks[path])
			}
			break
		}
	}
	r, err := http.Get(s.httpURL("/api/v1/subjects"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var list []struct{ Path string }
	json.NewDecoder(r.Body).Decode(&list)
	for _, info := range list {
		if info.Path == "/else" {
			t.Error("/else is not durable, and is there again")
		}
	}
}
