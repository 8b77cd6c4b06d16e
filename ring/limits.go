package ring

// SetLimits changes the bounds, for a ring whose use is known only after it was made; what is past them leaves at once.
func (r *Ring[T]) SetLimits(l Limits) {
	if l.Count <= 0 {
		l.Count = DefaultCount
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.limits = l
	for r.head-r.tail > 1 && (r.head-r.tail > uint64(l.Count) || r.overLocked(r.items[(r.head-1)&r.mask()].Time)) {
		r.evictLocked()
	}
}
