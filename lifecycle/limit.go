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

// Reached is ReasonLimit for a limit by its name, that of the option or constant that sets it, and how much it allows. Each call counts as one time that the limit was in somebody's way.
func Reached(limit string, most any) Reason {
	CountReached(limit)
	return ReasonLimit.With("%s is %v", limit, most)
}

// CountReached counts like Reached, where the reason is another one.
func CountReached(limit string) {
	reached.mu.Lock()
	defer reached.mu.Unlock()
	if reached.counts == nil {
		reached.counts = make(map[string]uint64)
	}
	reached.counts[limit]++
}

// LimitsReached returns how often each limit was reached in this process, by its name.
func LimitsReached() map[string]uint64 {
	reached.mu.Lock()
	defer reached.mu.Unlock()
	counts := make(map[string]uint64, len(reached.counts))
	maps.Copy(counts, reached.counts)
	return counts
}
