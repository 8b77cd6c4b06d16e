package lifecycle

import (
	"maps"
	"sync"
)

// reached counts how often each limit was.
var reached struct {
	mu     sync.Mutex
	counts map[string]uint64
}

// Reached is ReasonLimit for a limit by its name, the option that sets it, and how much it allows. Each call counts as one time that the limit was in somebody's way.
func Reached(limit string, most any) Reason {
	reached.mu.Lock()
	if reached.counts == nil {
		reached.counts = make(map[string]uint64)
	}
	reached.counts[limit]++
	reached.mu.Unlock()
	return ReasonLimit.With("%s is %v", limit, most)
}

// LimitsReached returns how often each limit was reached in this process, by its name.
func LimitsReached() map[string]uint64 {
	reached.mu.Lock()
	defer reached.mu.Unlock()
	counts := make(map[string]uint64, len(reached.counts))
	maps.Copy(counts, reached.counts)
	return counts
}
