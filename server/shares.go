package server

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"hawser/lifecycle"
)

// bounds are what one session, or all those of one address or user, may have; 0 is no bound.
type bounds struct {
	of            string  // what the names of the options end in
	subscriptions int     // plays among them
	rate, bytes   float64 // of what is published, a second
}

func (b *bounds) some() bool { return b.subscriptions > 0 || b.rate > 0 || b.bytes > 0 }

// shares are what sessions, addresses and users have of what is bounded. Without any bounds nothing is counted.
type shares struct {
	session, address, user bounds

	mu  sync.Mutex
	all map[party]*share // of addresses and users
}

// party is an address or a user; the zero value is a session.
type party struct {
	addr netip.Addr
	user string
}

// share is what one of them has; guarded by shares.mu.
type share struct {
	party         party
	most          *bounds
	members       int // none: it is forgotten as soon as its buckets are full, so that who comes back at once gets no more
	subscriptions int
	rate, bytes   bucket
	filling       bool // a timer waits for that
}

// sharer is a session, or a request of HTTP, and the shares that it is counted in; guarded by shares.mu.
type sharer struct {
	shares        []*share
	subscriptions int // that are counted
}

func newShares(o *Options) shares {
	return shares{
		session: bounds{rate: o.MaxPublishRate, bytes: float64(o.MaxPublishBytes)},
		address: bounds{"PerAddress", o.MaxSubscriptionsPerAddress, o.MaxPublishRatePerAddress, float64(o.MaxPublishBytesPerAddress)},
		user:    bounds{"PerUser", o.MaxSubscriptionsPerUser, o.MaxPublishRatePerUser, float64(o.MaxPublishBytesPerUser)},
	}
}

// bounded says whether there is anything to count.
func (s *shares) bounded() bool { return s.session.some() || s.address.some() || s.user.some() }

// join counts a session or a request in; leave follows. A user without a name is nobody in particular, and has no bounds.
func (s *shares) join(m *sharer, from netip.Addr, user string) {
	if !s.bounded() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.joinLocked(m, &s.session, party{})
	s.joinLocked(m, &s.address, party{addr: from})
	if user != "" {
		s.joinLocked(m, &s.user, party{user: user})
	}
}

func (s *shares) joinLocked(m *sharer, most *bounds, p party) {
	if !most.some() {
		return
	}
	one := s.all[p]
	if one == nil {
		one = &share{party: p, most: most, rate: bucket{perSecond: most.rate}, bytes: bucket{perSecond: most.bytes}}
		if p != (party{}) {
			if s.all == nil {
				s.all = make(map[party]*share)
			}
			s.all[p] = one
		}
	}
	one.members++
	m.shares = append(m.shares, one)
}

// leave gives back all that it has. Only the first call counts.
func (s *shares) leave(m *sharer) {
	if !s.bounded() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range m.shares {
		one.members--
		one.subscriptions -= m.subscriptions
		s.dropLocked(one)
	}
	*m = sharer{}
}

// dropLocked forgets a share that nobody has, now or when it is full.
func (s *shares) dropLocked(one *share) {
	if one.members > 0 || one.filling || s.all[one.party] != one {
		return
	}
	now := time.Now()
	wait := max(one.rate.missing(now), one.bytes.missing(now))
	if wait == 0 {
		delete(s.all, one.party)
		return
	}
	one.filling = true
	time.AfterFunc(wait, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		one.filling = false
		s.dropLocked(one)
	})
}

// subscribe counts one more subscription or play, or says why there may not be one; unsubscribe follows.
func (s *shares) subscribe(m *sharer) error {
	if !s.bounded() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range m.shares {
		if most := one.most.subscriptions; most > 0 && one.subscriptions >= most {
			return lifecycle.Reached("MaxSubscriptions"+one.most.of, most)
		}
	}
	for _, one := range m.shares {
		one.subscriptions++
	}
	m.subscriptions++
	return nil
}

// unsubscribe gives one back, unless leave has.
func (s *shares) unsubscribe(m *sharer) {
	if !s.bounded() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range m.shares {
		one.subscriptions--
	}
	m.subscriptions = max(m.subscriptions-1, 0)
}

// publish counts a message of so many bytes in all shares, or in none and says why it may not be published.
func (s *shares) publish(m *sharer, size int) error {
	if !s.bounded() {
		return nil
	}
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range m.shares {
		switch {
		case !one.rate.has(now, 1):
			return lifecycle.Reached("MaxPublishRate"+one.most.of, fmt.Sprintf("%g a second", one.most.rate))
		case !one.bytes.has(now, float64(size)):
			return lifecycle.Reached("MaxPublishBytes"+one.most.of, fmt.Sprintf("%.0f bytes a second", one.most.bytes))
		}
	}
	for _, one := range m.shares {
		one.rate.left--
		one.bytes.left -= float64(size)
	}
	return nil
}

// publishOnce is publish for a request of its own.
func (s *shares) publishOnce(from netip.Addr, user string, size int) error {
	var m sharer
	s.join(&m, from, user)
	defer s.leave(&m)
	return s.publish(&m, size)
}

// bucket bounds how often something is done, or how much: perSecond times a second, and as often at once. The zero value bounds nothing.
type bucket struct {
	perSecond float64
	left      float64
	at        time.Time
}

// take has one done, if there is room for it.
func (b *bucket) take(now time.Time) bool {
	if !b.has(now, 1) {
		return false
	}
	b.left--
	return true
}

// has says whether there is room for n, which who does it takes from left. More than fits at all has room when nothing else is in the way; what follows waits until that is made good.
func (b *bucket) has(now time.Time, n float64) bool {
	b.fill(now)
	return b.perSecond <= 0 || b.left >= min(n, b.most())
}

// missing is how long it takes, at most an hour, until the bucket is full.
func (b *bucket) missing(now time.Time) time.Duration {
	b.fill(now)
	if b.perSecond <= 0 {
		return 0
	}
	return time.Duration(min((b.most()-b.left)/b.perSecond, time.Hour.Seconds()) * float64(time.Second))
}

func (b *bucket) most() float64 { return max(b.perSecond, 1) }

func (b *bucket) fill(now time.Time) {
	if b.at.IsZero() {
		b.left = b.most()
	}
	b.left = min(b.left+now.Sub(b.at).Seconds()*b.perSecond, b.most())
	b.at = now
}
