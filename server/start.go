package server

import (
	"time"

	"hawser/session"
	"hawser/subject"
)

// start is where a subscription starts, until the client is told.
type start struct {
	kind          session.Kind
	image         bool // the image of a record, or the document, belongs into the answer
	hasTime       bool
	epoch, offset uint64
	time          time.Duration
}

// startOf says where a subscription starts.
func startOf(sub *subject.Subject, r session.Subscribe) *start {
	snap := sub.Snapshot()
	m := &start{kind: session.Kind(snap.Kind), epoch: snap.Epoch, offset: snap.Offset, time: snap.Media, hasTime: snap.HasMedia}
	same := r.From == session.FromOffset && r.Epoch == snap.Epoch && r.Offset <= snap.Offset
	tail, _ := sub.Ring().Bounds()
	switch {
	case snap.Kind == subject.Record && same && canResume(sub, r.Offset), snap.Kind == subject.JSON && same && r.Offset >= tail:
		m.offset = r.Offset // no image: the client's stands; what has changed since follows
	case snap.Kind == subject.Record, snap.Kind == subject.JSON:
		m.image = true
	case same:
		m.offset = max(r.Offset, tail)
	case r.From == session.FromOffset && r.Epoch != snap.Epoch:
		m.offset = tail // another life: all that it has
	case r.From == session.FromHistory:
		m.offset = historyStart(sub, r.Want, snap.Offset)
	}
	return m
}

// historyStart is the place so many messages, or so much time, before the head.
func historyStart(sub *subject.Subject, want session.Want, head uint64) uint64 {
	at, _ := sub.Ring().Bounds()
	if at >= head { // what came meanwhile has pushed it all out
		return head
	}
	if want.Count > 0 && want.Count < head-at {
		at = head - want.Count
	}
	if want.Age <= 0 {
		return at
	}
	oldest := time.Now().Add(-want.Age)
	low, high := at, head // the first that is not too old lies in between
	for low < high {
		middle := low + (high-low)/2
		if item, held := sub.Ring().At(middle); held && item.Time.Before(oldest) {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

// canResume says whether what has changed since an offset can be told, by the updates that are held or by the image.
func canResume(sub *subject.Subject, offset uint64) bool {
	if tail, _ := sub.Ring().Bounds(); offset >= tail {
		return true
	}
	_, _, err := sub.ChangedSince(offset)
	return err == nil
}
