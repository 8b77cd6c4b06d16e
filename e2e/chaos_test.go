package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hawser/client"
	"hawser/lifecycle"
	"hawser/session"
)

const (
	chaosClients    = 200
	chaosPublishers = 10
	chaosSubjects   = 20
	chaosRate       = 1000 // messages a second, in all
	chaosHurts      = 20 * time.Millisecond
	chaosRecovery   = 2 * time.Minute // until all have all, once the network is well again
	chaosTransports = 4               // one client of so many goes over plain HTTP
)

// chaosPlace is where a message stands.
type chaosPlace struct {
	subject       int
	epoch, offset uint64
}

// chaosMessage is what is published.
type chaosMessage struct{ P, N int }

// chaos is what is known of a run.
type chaos struct {
	t       *testing.T
	args    []string // of the server, but for where it listens
	durable bool     // the paths are: there is one epoch, and each follower gets each message once, in the order of its publisher

	got atomic.Int64

	mu     sync.Mutex
	acked  map[chaosPlace]chaosMessage
	placed map[chaosPlace]chaosMessage // as anybody was told
	gaps   int
	faults int
}

func (x *chaos) fault(format string, args ...any) {
	if x.faults++; x.faults <= 20 {
		x.t.Errorf(format, args...)
	}
}

// at notes that a message stands at a place, for everybody.
func (x *chaos) at(p chaosPlace, m chaosMessage) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if was, known := x.placed[p]; known && was != m {
		x.fault("%+v is %+v and %+v", p, was, m)
	}
	x.placed[p] = m
}

// follower is one subscription of one client.
type chaosFollower struct {
	x       *chaos
	subject int

	mu    sync.Mutex
	epoch uint64
	next  uint64
	seen  map[int]int // of each publisher the last message in this epoch
}

func (f *chaosFollower) take(u client.Update) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch u.Kind {
	case session.EventGap:
		f.x.mu.Lock()
		f.x.gaps++
		if u.To != 0 || f.x.durable {
			f.x.fault("subject %d: %d to %d are lost within the history", f.subject, u.Offset, u.To)
		}
		f.x.mu.Unlock()
		f.epoch = 0
	case session.EventUpdate:
		var m chaosMessage
		json.Unmarshal(u.Data, &m)
		f.x.got.Add(1)
		f.x.at(chaosPlace{f.subject, u.Epoch, u.Offset}, m)
		f.x.mu.Lock()
		if u.Epoch != f.epoch {
			f.epoch, f.seen = u.Epoch, make(map[int]int)
		} else if u.Offset != f.next {
			f.x.fault("subject %d: got offset %d, want %d", f.subject, u.Offset, f.next)
		}
		last, known := f.seen[m.P]
		switch {
		case f.x.durable && m.N != last+chaosSubjects && (known || m.N != f.subject):
			f.x.fault("subject %d: message %d of publisher %d came after %d (%v)", f.subject, m.N, m.P, last, known)
		case known && m.N <= last:
			f.x.fault("subject %d: message %d of publisher %d came after %d", f.subject, m.N, m.P, last)
		}
		f.x.mu.Unlock()
		f.seen[m.P], f.next = m.N, u.Offset+1
	}
}

func (f *chaosFollower) reached(head chaosPlace) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.epoch == head.epoch && f.next > head.offset
}

// join makes a client through the proxy.
func (x *chaos) join(ctx context.Context, p *impaired, i int) *client.Client {
	o := client.Options{Servers: []string{"ws://" + p.ln.Addr().String() + "/session"}, Heartbeat: 400 * time.Millisecond, LoginTimeout: 2 * time.Second,
		ConnectTimeout: 2 * time.Second, CloseTimeout: 200 * time.Millisecond, BackOff: client.BackOff{Base: 50 * time.Millisecond, Max: 500 * time.Millisecond, Stand: time.Second}}
	switch i % (2 * chaosTransports) {
	case 0:
		o.Transports = []string{client.Events}
	case chaosTransports:
		o.Transports = []string{client.Poll}
	default:
		o.Transports = []string{client.WebSocket}
	}
	c, err := client.New(o)
	if err == nil {
		err = c.Connect(ctx)
	}
	if err != nil {
		x.t.Fatal(err)
	}
	return c
}

// follow lets a client follow two subjects.
func (x *chaos) follow(ctx context.Context, c *client.Client, i int, wait *sync.WaitGroup) (list []*chaosFollower) {
	for k := range 2 {
		f := &chaosFollower{x: x, subject: (i + k*chaosSubjects/2) % chaosSubjects}
		sub, err := c.Subscribe(ctx, chaosPath(f.subject), nil)
		if err != nil {
			x.t.Fatal(err)
		}
		wait.Go(func() {
			for u := range sub.Updates(ctx) {
				f.take(u)
			}
		})
		list = append(list, f)
	}
	return list
}

func chaosPath(i int) string { return fmt.Sprintf("/chaos/%d", i) }

// publish publishes at a steady rate until stop, and checks that each message has been acknowledged.
func (x *chaos) publish(ctx context.Context, c *client.Client, p int, stop <-chan struct{}) {
	tick := time.NewTicker(time.Second * chaosPublishers / chaosRate)
	defer tick.Stop()
	var waits sync.WaitGroup
	defer waits.Wait()
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		m, subject := chaosMessage{p, n}, n%chaosSubjects
		r, err := c.Send(ctx, chaosPath(subject), m, nil)
		if err != nil {
			x.t.Errorf("publish: %v", err)
			return
		}
		waits.Go(func() {
			ack, err := r.Wait(ctx)
			if err != nil {
				x.mu.Lock()
				defer x.mu.Unlock()
				x.fault("publisher %d, message %d: %v", p, n, err)
				return
			}
			place := chaosPlace{subject, ack.Epoch, ack.Offset}
			x.at(place, m)
			x.mu.Lock()
			x.acked[place] = m
			x.mu.Unlock()
		})
	}
}

// TestChaos lets clients publish and follow through a bad network while the server is killed and started again: nothing is lost or doubled within the history.
// On durable paths nothing is lost or doubled at all. HAWSER_CHAOS is how long each of the two lasts, such as 60s.
func TestChaos(t *testing.T) {
	t.Run("memory", func(t *testing.T) { (&chaos{t: t}).run() })
	t.Run("durable", func(t *testing.T) {
		(&chaos{t: t, durable: true, args: []string{"--data-dir", t.TempDir(), "--durable", "/chaos/**"}}).run()
	})
}

func (x *chaos) serve(addr string) *program {
	return start(x.t, executable, append([]string{"serve", "--http", addr, "--rtmp", "", "--rtc", ""}, x.args...)...)
}

func (x *chaos) run() {
	t := x.t
	x.acked, x.placed = make(map[chaosPlace]chaosMessage), make(map[chaosPlace]chaosMessage)
	long, err := time.ParseDuration(os.Getenv("HAWSER_CHAOS"))
	if err != nil {
		long = 6 * time.Second
	}
	ctx, cancel := context.WithTimeout(t.Context(), long+2*chaosRecovery)
	defer cancel()
	now := x.serve("127.0.0.1:0")
	line, err := now.out.await(ctx, httpLine)
	if err != nil {
		t.Fatalf("%v\n%s", err, now.out)
	}
	addr := line[1]
	proxy := newImpaired(t, addr)
	var clients []*client.Client
	var followers []*chaosFollower
	var following, publishing sync.WaitGroup
	for i := range chaosClients {
		c := x.join(ctx, proxy, i)
		defer c.Close()
		clients = append(clients, c)
		followers = append(followers, x.follow(ctx, c, i, &following)...)
	}
	stop := make(chan struct{})
	for i := range chaosPublishers {
		publishing.Go(func() { x.publish(ctx, clients[i], i, stop) })
	}
	hurts := time.NewTicker(chaosHurts)
	defer hurts.Stop()
	begin := time.Now()
	for kills := 1; time.Since(begin) < long; <-hurts.C {
		proxy.hurt()
		if time.Since(begin) > time.Duration(kills)*long/3 && kills < 3 {
			kills++
			now = x.restart(now, addr, clients)
		}
	}
	proxy.heal()
	close(stop)
	well := time.Now()
	publishing.Wait()
	x.verify(followers)
	t.Logf("%v: %d messages acknowledged, %d delivered to %d clients, %d gaps where the server was killed; all had all %v after the network was well", long, len(x.acked), x.got.Load(),
		chaosClients, x.gaps, time.Since(well).Round(time.Millisecond))
	cancel()
	following.Wait()
}

// restart kills the server and starts another in its place, and says how long it took until all clients were logged in there.
func (x *chaos) restart(old *program, addr string, clients []*client.Client) *program {
	old.kill()
	begin := time.Now()
	p := x.serve(addr)
	ctx, cancel := context.WithTimeout(x.t.Context(), chaosRecovery)
	defer cancel()
	if _, err := p.out.await(ctx, httpLine); err != nil {
		x.t.Fatalf("%v\n%s", err, p.out)
	}
	up := time.Since(begin)
	for _, c := range clients {
		if err := chaosLogin(ctx, c, begin); err != nil {
			x.t.Fatalf("not back %v after the restart: %v", time.Since(begin), err)
		}
	}
	x.t.Logf("all %d clients were back %v after the kill; the server was up after %v", len(clients), time.Since(begin).Round(time.Millisecond), up.Round(time.Millisecond))
	return p
}

// chaosLogin waits for a login after a moment.
func chaosLogin(ctx context.Context, c *client.Client, after time.Time) error {
	for sc := range c.States(ctx) {
		if sc.To == session.LoggedIn && sc.Time.After(after) {
			return nil
		}
		if sc.To == session.Disconnected {
			return sc.Reason
		}
	}
	return errors.Join(ctx.Err(), lifecycle.ReasonTimeout)
}

// verify waits until every follower has all that was acknowledged in the newest epoch.
func (x *chaos) verify(followers []*chaosFollower) {
	x.t.Helper()
	var heads [chaosSubjects]chaosPlace // the last that was acknowledged
	epochs := make(map[int]uint64)
	for _, f := range followers {
		f.mu.Lock()
		epochs[f.subject] = f.epoch
		f.mu.Unlock()
	}
	x.mu.Lock()
	for p := range x.acked {
		if p.epoch == epochs[p.subject] && p.offset >= heads[p.subject].offset {
			heads[p.subject] = p
		}
	}
	x.mu.Unlock()
	deadline := time.Now().Add(chaosRecovery)
	for _, f := range followers {
		for !f.reached(heads[f.subject]) {
			if time.Now().After(deadline) {
				f.mu.Lock()
				x.t.Fatalf("subject %d: a client stands at %x/%d, want %+v", f.subject, f.epoch, f.next, heads[f.subject])
			}
			time.Sleep(pollInterval)
		}
	}
}
