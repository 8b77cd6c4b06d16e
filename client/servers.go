package client

import "math/rand/v2"

// servers is the order in which the servers are tried: group after group, those of a group in an order of their own that is drawn anew in each round.
type servers struct {
	groups [][]string
	queue  []string
	last   string
}

// next returns the server that is to be tried next.
func (s *servers) next() string {
	if len(s.queue) == 0 {
		for _, g := range s.groups {
			g = append([]string(nil), g...)
			rand.Shuffle(len(g), func(i, j int) { g[i], g[j] = g[j], g[i] })
			s.queue = append(s.queue, g...)
		}
		if s.queue[0] == s.last && len(s.queue) > 1 { // it has just failed
			s.queue = append(s.queue[1:], s.last)
		}
	}
	s.last, s.queue = s.queue[0], s.queue[1:]
	return s.last
}

// again begins with the first group.
func (s *servers) again() { s.queue, s.last = nil, "" }

func (s *servers) count() (n int) {
	for _, g := range s.groups {
		n += len(g)
	}
	return n
}
