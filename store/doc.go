// Package store keeps entries on disk in the order in which they were committed: plain segments with checksums, and snapshots that stand for the older ones.
//
// It knows nothing of what the entries mean. A batch is on disk, as a whole, when Commit returns nil; what a failed commit wrote is taken back before the next one. The owner
// makes a snapshot of its state now and then (Due), which bounds the disk and the time of a start. There is no goroutine in it and no clock.
//
//	log, report, err := store.Open("/var/lib/hawser", store.Options{}, func(entry []byte) error { return restore(entry) })
//	defer log.Close()
//	var b store.Batch
//	b.Add([]byte("one"))
//	err = log.Commit(&b)
package store
