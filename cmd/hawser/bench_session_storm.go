package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// stormDials is how many clients of a storm connect at once.
	stormDials = 256
	// stormEvery is how often a message is published before it.
	stormEvery = 100 * time.Millisecond
	// stormAway is how many messages are published while the clients are away.
	stormAway = 20
)

// storm kills the server under its clients while it publishes, starts it anew, publishes more, and measures how long it takes until all clients have their subscriptions again and what they missed.
func (o *sessionBench) storm(ctx context.Context, w io.Writer) error {
	dir, err := os.MkdirTemp("", "hawser-storm")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := dataServers()[0]
	s.args = append(s.args, "--data-dir", dir, "--durable", "/bench/**")
	p, found, err := startChild(ctx, s.ready, s.lines, s.args...)
	if err != nil {
		return err
	}
	addr := strings.TrimSuffix(found[1], "/")
	places, before, err := o.calm(ctx, &s, p, addr)
	p.cmd.Wait()
	if err != nil {
		return err
	}
	begin := time.Now()
	s.args[slices.Index(s.args, "127.0.0.1:0")] = addr
	if p, _, err = startChild(ctx, s.ready, s.lines, s.args...); err != nil {
		return err
	}
	defer p.stop()
	up := time.Since(begin)
	l, err := newDataLoad(false)
	if err != nil {
		return err
	}
	defer l.close()
	if err := o.away(ctx, l, addr); err != nil {
		return err
	}
	if err := o.comeBack(l, addr, places); err != nil {
		return err
	}
	if err := l.await(ctx, func() bool { return l.ready.Load() >= int64(o.clients) }); err != nil {
		return err
	}
	back := time.Since(begin)
	if err := l.await(ctx, func() bool { return l.reached(places) }); err != nil {
		return err
	}
	took := time.Since(begin)
	cpu, _ := processorTime(p.cmd.Process.Pid)
	var got int
	var lost, doubled uint64
	for _, at := range places {
		got, lost, doubled = got+at.got, lost+at.lost, doubled+at.doubled
	}
	_, err = fmt.Fprintf(w, "storm: %d clients, %d messages acknowledged before the kill and %d after it while nobody was there; the server began to start anew at 0 s, was up at %.2f s, all were subscribed again at %.2f s "+
		"and had what they missed at %.2f s: %d recovered, %d lost, %d doubled; it used %.2f s of its processor; %s\n",
		o.clients, before, l.acked.Load(), up.Seconds(), back.Seconds(), took.Seconds(), got, lost, doubled, cpu.Seconds(), machine())
	if lost+doubled > 0 {
		err = errors.Join(err, fmt.Errorf("bench data: storm: %d messages lost, %d doubled", lost, doubled))
	}
	return err
}

// calm is what comes before: messages to all clients, and then the kill. It returns where the clients stand and how many messages were acknowledged.
func (o *sessionBench) calm(ctx context.Context, s *dataServer, p *child, addr string) (places []*place, acked int64, err error) {
	l, _, err := o.load(ctx, s, p, addr, onlyFirst)
	if err != nil {
		p.cmd.Process.Signal(syscall.SIGKILL)
		return nil, 0, err
	}
	defer l.close()
	for _, c := range l.clients {
		places = append(places, c.place)
	}
	pub, err := l.publisher(addr)
	last := time.Now()
	l.set(func() error {
		if time.Since(last) >= stormEvery {
			last = time.Now()
			pub.publish(0)
		}
		return pub.flush()
	})
	pause(ctx, o.duration/2)
	l.set(nil)
	p.cmd.Process.Signal(syscall.SIGKILL)
	gone := func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return !slices.ContainsFunc(l.clients, func(c *dataClient) bool { return c.fd >= 0 })
	}
	for ctx.Err() == nil && !gone() { // what is on the way still arrives
		pause(ctx, time.Millisecond)
	}
	if head := l.head.Load(); err == nil && head == 0 {
		err = errors.New("nothing was acknowledged before the kill")
	}
	for _, at := range places {
		at.got = 0
	}
	return places, l.acked.Load(), err
}

// away publishes while the clients are away.
func (o *sessionBench) away(ctx context.Context, l *dataLoad, addr string) error {
	pub, err := l.publisher(addr)
	if err != nil {
		return err
	}
	for range stormAway {
		pub.publish(0)
	}
	l.set(pub.flush)
	defer l.set(nil)
	return l.await(ctx, func() bool { return l.acked.Load() == stormAway })
}

// comeBack connects the clients again, each from its place.
func (o *sessionBench) comeBack(l *dataLoad, addr string, places []*place) (err error) {
	failed := make(chan error, stormDials)
	next := make(chan *place)
	for range stormDials {
		go func() {
			var err error
			for at := range next {
				if err == nil {
					err = l.open(addr, []int{0}, at)
				}
			}
			failed <- err
		}()
	}
	for _, at := range places {
		next <- at
	}
	close(next)
	for range stormDials {
		err = errors.Join(err, <-failed)
	}
	return err
}

// reached says whether all have had the last message that was acknowledged.
func (l *dataLoad) reached(places []*place) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	head := l.head.Load()
	return !slices.ContainsFunc(places, func(at *place) bool { return at.next < head })
}
